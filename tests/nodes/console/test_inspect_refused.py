"""`draftwire inspect` of what is refused: what can still be read of it, and what a golden vector wants."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.codecs.golden_cases import CASES, sparse_logits
from tests.codecs.golden_tables import RANKED, TABLES
from tests.codecs.test_anatomy import framed_block
from tests.harness.captures import framed

from draftwire.codecs.blocks import encode_plain, encode_ranked
from draftwire.codecs.messages import Open
from draftwire.codecs.quantize import quantize
from draftwire.codecs.tables import table_set_bytes
from draftwire.nodes.console.cli import main
from draftwire.nodes.console.inspect.view import kept, shown_q

GOLDEN = Path(__file__).parents[2] / "codecs" / "golden"
ROWS = RANKED["tables_small"]


@pytest.fixture
def sets(tmp_path: Path) -> list[str]:
    """Options for the golden set."""
    (tmp_path / "t").write_bytes(table_set_bytes(TABLES))
    return ["--tables", str(tmp_path / "t"), "--model", "none"]


def _shown(path: Path, sets: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[str, dict[str, Any]]:
    """For people, and for programs; it is refused."""
    assert main(["inspect", str(path), *sets]) == 1
    text = capsys.readouterr().out
    assert main(["inspect", str(path), *sets, "--json"]) == 1
    return text, orjson.loads(capsys.readouterr().out)


def test_a_flipped_bit(tmp_path: Path, sets: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Header, sections, tables and tails are shown, and in which section the refusal is."""
    block = bytearray(encode_ranked(ROWS, TABLES))
    block[14] ^= 4
    (tmp_path / "f").write_bytes(framed_block(bytes(block)))
    text, shown = _shown(tmp_path / "f", sets, capsys)
    assert "in head bitmaps: row 0 has 4 entries where K is 5" in text
    assert "rung of k = 2: M = 3, F = 40" in text and "row 2, table 2 of 3, tail 63" in text
    assert shown["refused"]["section"] == "head bitmaps"
    assert [part["name"] for part in shown["block"]["sections"]][:3] == [
        "header", "tables and tails", "head bitmaps",
    ]  # fmt: skip
    assert shown["block"]["heads"][1] == {"table": 1, "tail": 0}
    assert shown["block"]["rung"] == {"k": 2, "tables": 3, "front": 40}


def test_a_frame_that_is_cut(tmp_path: Path, sets: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The sections up to the cut, with the row and the entry, and what would be without the checksum."""
    (tmp_path / "f").write_bytes(framed_block(encode_ranked(ROWS, TABLES))[:50])
    text, shown = _shown(tmp_path / "f", sets, capsys)
    assert "it ends within coarse levels, row 0, entry 2" in text
    assert "with a crc that fits: refused, truncated at bit 400" in text
    assert shown["block"]["ends_within"] == "coarse levels, row 0, entry 2"
    assert shown["with_crc"]["refused"]["reason"] == "truncated"


def test_a_crc_that_does_not_fit(tmp_path: Path, sets: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Whether the bytes would be taken without it."""
    data = bytearray(framed(CASES["ping"]))
    data[10] ^= 1
    (tmp_path / "f").write_bytes(data)
    text, shown = _shown(tmp_path / "f", sets, capsys)
    assert "with a crc that fits: it would be taken" in text and shown["with_crc"] == {"refused": None}


def test_a_bare_block_that_is_cut(
    tmp_path: Path, sets: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The same of plain rows, with their Rice parameters."""
    (tmp_path / "f").write_bytes(encode_plain(RANKED["tables_large"])[:200])
    text, shown = _shown(tmp_path / "f", sets, capsys)
    assert "it ends within coarse levels, row 1, entry 63" in text and "row 1, l = 0, tail 1" in text
    assert shown["block"]["heads"] == [{"l": 1, "tail": 40}, {"l": 0, "tail": 1}]
    assert "header" in text and "V        300" in text


def test_what_rows_are_spelt_with(
    tmp_path: Path, sets: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each row of a block that is taken says its table, and the block its rung."""
    (tmp_path / "f").write_bytes(framed_block(encode_ranked(ROWS, TABLES)))
    assert main(["inspect", str(tmp_path / "f"), *sets]) == 0
    out = capsys.readouterr().out
    assert "row 1, position 0, table" not in out and "row 1, position 1, table 1 of 3: tail 0, 8 % of" in out
    assert "rung of k = 2: M = 3, F = 40" in out


@pytest.mark.parametrize("name", ["blocks", "tables", "frames"])
def test_lists_of_vectors(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each vector is refused as it says, by the sets that the list brings, and where not, that is said."""
    path = GOLDEN / f"refused_{name}.json"
    vectors = {key: one for key, one in orjson.loads(path.read_bytes()).items() if isinstance(one, dict)}
    assert main(["inspect", str(path), "--model", "none"]) == 1
    out = capsys.readouterr().out
    assert out.count("as its vector says") == len(vectors) and "says otherwise" not in out

    changed = orjson.loads(path.read_bytes())
    first = next(iter(vectors))
    changed[first]["bit"] += 1
    (tmp_path / "v.json").write_bytes(orjson.dumps(changed))
    assert main(["inspect", str(tmp_path / "v.json"), "--model", "none"]) == 1
    assert f"its vector says otherwise: {vectors[first]['reason']} at bit" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "v.json"), "--json", "--model", "none"]) == 1
    said = [orjson.loads(line)["as_said"] for line in capsys.readouterr().out.splitlines()]
    assert said == [False, *[True] * (len(vectors) - 1)]


def test_a_vector_that_is_taken_though_it_should_not_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is a failure, for all that nothing is refused."""
    vector = {"frame": framed(CASES["ping"]).hex(), "reason": "kind", "bit": 8}
    (tmp_path / "v.json").write_bytes(orjson.dumps({"odd": vector}))
    assert main(["inspect", str(tmp_path / "v.json")]) == 1
    assert "its vector says otherwise: kind at bit 8" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("tail", "whole", "words"),
    [
        (0, False, "8 % of the draft's mass or less"),
        (1, False, "8 to 23 % of"),
        (40, False, "all but 0.09 to 0.11 % of"),
        (63, False, "all but 2**-15.75 of the draft's mass, or more"),
        (63, True, "all of the draft's mass"),
    ],
)
def test_a_tail_is_a_range(tail: int, whole: bool, words: str) -> None:
    """Half a step each way, and open at both ends of the scale."""
    assert words in kept(tail, whole=whole)


def test_small_probabilities(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No positive weight is shown as zero, and the weight stands beside it."""
    assert (shown_q(1), shown_q(2**23)) == ("5.96e-08", "0.500000")
    row = quantize([3, 40], [0, -30], vocab_size=64, tail=21)
    (tmp_path / "f").write_bytes(framed(sparse_logits((row,))))
    assert main(["inspect", str(tmp_path / "f"), "--model", "none"]) == 0
    out = capsys.readouterr().out
    assert "0.000000" not in out and str(row.weight_of(3)) in out


def test_tokens_behind_a_prompt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of an Open that are no prompt are told to be output."""
    message = CASES["open"]
    assert isinstance(message, Open)
    (tmp_path / "f").write_bytes(framed(message))
    assert main(["inspect", str(tmp_path / "f"), "--json", "--entries", "all"]) == 0
    tokens = orjson.loads(capsys.readouterr().out)["tokens"]
    output = len(message.tokens) - message.prompt_length
    assert output and [token["origin"] for token in tokens] == (
        ["prompt"] * message.prompt_length + ["output"] * output
    )
