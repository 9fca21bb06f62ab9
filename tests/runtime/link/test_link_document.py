"""docs/link.md: what it shows can be written, and it leaves nothing out."""

import re
from pathlib import Path

import pytest
from tests.harness.namespaces import ROOT

from draftwire.runtime.link import parse_csv, parse_link, parse_mahimahi, parse_schedule
from draftwire.runtime.link.commands import KINDS
from draftwire.runtime.link.reading import WORDS
from draftwire.runtime.link.traces import SHIPPED
from draftwire.runtime.link.units import FREQUENCY_UNITS, RATE_UNITS, SIZE_UNITS, TIME_UNITS

TEXT = (ROOT / "docs" / "link.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+) .*?` \| `([^`]+)` \|", TEXT, re.MULTILINE)
"""The table of words: each with its example."""

BLOCKS = [block.replace("    ", "") for block in re.findall(r"(?:^    \S.*\n)+", TEXT, re.MULTILINE)]


@pytest.mark.parametrize(("word", "example"), ROWS)
def test_examples_are_links(word: str, example: str) -> None:
    """Each example has its word and can be written; what it prints too."""
    assert word in example
    link = parse_link(example)
    assert parse_link(str(link)) == link


def test_every_word_is_there() -> None:
    """The table has all words that a link takes, the other names of some among them."""
    table = TEXT[TEXT.index("## The words") : TEXT.index("## Commands of tc")]
    assert {word for word in WORDS if f"`{word}" not in table} == set()
    assert {word for word, _ in ROWS} <= set(WORDS)


def test_units_are_there() -> None:
    """Each unit that is named is one."""
    named = re.findall(r"`([a-z%]+)`", TEXT[TEXT.index("| unit of |") : TEXT.index("Mistakes are")])
    assert set(named) - {"%", "db"} <= {*RATE_UNITS, *TIME_UNITS, *SIZE_UNITS, *FREQUENCY_UNITS}
    assert set(FREQUENCY_UNITS) <= set(named) and set(TIME_UNITS) <= set(named)


def test_blocks_can_be_written() -> None:
    """Commands of tc, schedules and files of traces that stand by themselves are what they are said to be."""
    commands = next(block for block in BLOCKS if block.startswith("netem"))
    for command in commands.splitlines():
        assert any(kind in command for kind in KINDS)
        parse_link(command)
    schedule = next(block for block in BLOCKS if "repeat" in block)
    assert len(parse_schedule(schedule).steps) == 4
    mahimahi = next(block for block in BLOCKS if block.startswith("3\n"))
    csv = next(block for block in BLOCKS if block.startswith("time_s"))
    assert parse_mahimahi(mahimahi, name="x").mean_rate_bps == pytest.approx(4 * 12_000 / 0.02)
    assert parse_csv(csv, name="x").mean_rate_bps == pytest.approx((0.5 * 12.5e6 + 3e6) / 2)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_traces_are_told_to_be_made_up(name: str) -> None:
    """Here, and beside the files."""
    beside = (ROOT / "runtime" / "link" / "data" / "README.md").read_text(encoding="utf-8")
    for text in (TEXT, beside):
        assert f"`{name}`" in text
        assert re.search(r"[Mm]ade up", text)


def test_links_within_the_document_lead_somewhere() -> None:
    """Each anchor is a heading, of this document or of operations.md."""
    for file, anchor in re.findall(r"\]\(([\w.]*)#([\w-]+)\)", TEXT):
        text = (Path(ROOT / "docs") / file).read_text(encoding="utf-8") if file else TEXT
        headings = [line.lstrip("# ").lower() for line in text.splitlines() if line.startswith("#")]
        assert anchor in [re.sub(r"[^\w-]", "", one.replace(" ", "-")) for one in headings], anchor
