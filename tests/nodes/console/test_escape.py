"""What others have written reaches no terminal as it is: labels of sets, in every command that shows them."""

from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.tables import usual_set

from draftwire.codecs.tables import TableSet, table_set_bytes
from draftwire.nodes.console.cli import main
from draftwire.nodes.console.doctor.spelling import TablesFound, judge_tables
from draftwire.nodes.console.escape import json_line, quoted, safe
from draftwire.nodes.models.tables import tables_folder

EVIL = "\x1b]0;owned\x07\x9b31m\u202e\U000e0001 [bold]x"


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TableSet:
    """A set with such a label, in the folder of this user."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    found = replace(usual_set(2000, seed=0), label=EVIL)
    tables_folder().mkdir(parents=True)
    (tables_folder() / "a.tables").write_bytes(table_set_bytes(found))
    return found


@given(st.text())
def test_nothing_is_lost(text: str) -> None:
    """What is shown can be printed; JSON says the same as before, in one line."""
    assert safe(text).isprintable() and quoted(text).isprintable()
    line = json_line({text: [text, 1.5]})
    assert line.isprintable() and orjson.loads(line) == {text: [text, 1.5]}
    assert safe("plain – ≠ text") == "plain – ≠ text"


@pytest.mark.parametrize("command", ["list", "show", "plan"])
def test_labels(command: str, tables: TableSet, capsys: pytest.CaptureFixture[str]) -> None:
    """`tables list`, `tables show` and `plan` print them escaped, and JSON of them can be printed too."""
    path = str(tables_folder() / "a.tables")
    words = {
        "list": ["tables", "list"],
        "show": ["tables", "show", path],
        "plan": ["plan", "--alpha", "0.5", "--c", "0.1", "--rate", "5mbit", "--rtt", "2ms", "--tables", path],
    }[command]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    assert r"\x1b]0;owned\x07\x9b31m\u202e" in "".join(out.split()) and "[bold]x" in out
    assert main([*words, "--json"]) == 0
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    if command == "show":
        assert orjson.loads(out)["label"] == EVIL


def test_labels_of_the_doctor(tables: TableSet) -> None:
    """The same for what it has found."""
    found = TablesFound(vocab_size=2000, chosen=False, files=((Path("some.tables"), tables),))
    (check,) = judge_tables(found, draft="d", hello=None, answer=None)
    assert check.seen.isprintable() and r"\x1b]0;owned" in check.seen
