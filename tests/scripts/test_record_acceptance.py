"""scripts/record_acceptance.py: one file, where it was said to be, that `draftwire simulate` takes."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from draftwire.nodes.console.bench.traces import load
from draftwire.nodes.console.cli import main

SCRIPTS = Path(__file__).parents[2] / "scripts"
PAIR = ("--draft", "synthetic:V=64,seed=1", "--target", "synthetic:V=64,seed=1", "--positions", "24")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The script as a module, run in a folder of its own."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.chdir(tmp_path)
    return importlib.import_module("record_acceptance")


def record(script: Any, monkeypatch: pytest.MonkeyPatch, *how: str) -> int:
    """Run its command line."""
    monkeypatch.setattr(sys, "argv", ["record_acceptance.py", *how])
    return int(script.main())


def test_a_recording_of_ones_own_is_simulated(
    script: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its file lies here, under its name, is told with its size, and accepts as recorded."""
    assert record(script, monkeypatch, "mine", *PAIR) == 0
    said = capsys.readouterr().err
    size = Path("mine.npz").stat().st_size
    assert f"mine.npz: {size / 1e3:.0f} kB, 24 positions" in said.replace("\n", " ")
    how = ("--devices", "2", "--seconds", "2", "--json")
    assert main(["simulate", "--recording", "mine.npz", *how]) == 0
    came = json.loads(capsys.readouterr().out)
    assert came["pair"] == "acceptance of mine, recorded at temperature 1" and came["tokens"] > 20


@pytest.mark.parametrize(("out", "written"), [("own", "own.npz"), ("v1.2", "v1.2.npz"), ("a.npz", "a.npz")])
def test_the_file_that_is_told_is_the_file_that_is_written(
    script: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], out: str, written: str
) -> None:
    """numpy adds an ending of its own; a folder that is called as the file without it is another matter."""
    Path("own").mkdir()
    assert record(script, monkeypatch, "mine", *PAIR, "--out", out) == 0
    assert f"{written}: " in capsys.readouterr().err
    assert load(Path(written)).name == "mine"
    assert sorted(one.name for one in Path().iterdir()) == sorted(["own", written])


def test_a_file_that_can_not_be_is_refused_at_once(
    script: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the minutes in which the models answer."""
    with pytest.raises(SystemExit):
        record(script, monkeypatch, "mine", *PAIR, "--out", "nowhere/own.npz")
    assert "nowhere/own.npz: no file can be there" in capsys.readouterr().err


def test_the_help_says_what_it_is_for(script: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """`simulate` takes what it writes."""
    with pytest.raises(SystemExit):
        record(script, monkeypatch, "--help")
    assert "draftwire simulate --recording mine.npz" in capsys.readouterr().out
