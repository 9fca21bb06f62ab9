"""The live table of a cell, its line, and the object for programs."""

from io import StringIO
from types import SimpleNamespace
from typing import cast

from rich.console import Console
from tests.harness.outcomes import step

from draftwire.nodes.console.api import Generation
from draftwire.nodes.console.cell_sessions import Session, Witness
from draftwire.nodes.console.cell_views import cell_fields, final_words, live_table, overall_words
from draftwire.nodes.device.account import Account
from draftwire.runtime.errors import ConfigurationError


def _sessions(count: int) -> list[Session]:
    return [Session(f"cell/{number:02}", now_s=0.0) for number in range(1, count + 1)]


def _shown(sessions: list[Session], witness: Witness, *, height: int) -> list[str]:
    console = Console(file=StringIO(), width=80)
    console.print(live_table(sessions, witness, 1.0, width=80, height=height))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def test_the_table_has_a_row_a_session() -> None:
    """With its state, or why its request failed; a table with one fits its line."""
    sessions, witness = _sessions(3), Witness(0.0)
    sessions[1].fails(ConfigurationError("too long", key="prompt", remedy="shorten it"), 0.5)
    lines = _shown(sessions, witness, height=40)
    assert [line.split()[:2] for line in lines if "cell/" in line] == [
        ["cell/01", "waits"],
        ["cell/02", "failed"],
        ["cell/03", "waits"],
    ]
    assert any("prompt: too long" in line for line in lines)
    assert max(map(len, lines)) <= 80 and "answers of" not in lines[-1]
    assert "0 of 3 answer, 1 failed | 0.0 tok/s" in lines[-2] + lines[-1]


def test_who_waits_for_room_is_told_why() -> None:
    """In its row while nothing has come, and in the line, where it is none of those that answer."""
    sessions = [
        Session("cell/01", now_s=0.0),
        Session("cell/02", now_s=0.0, busy=lambda: "all 1 sessions are taken"),
    ]
    for one in sessions:
        one.asks(cast(Generation, SimpleNamespace(account=Account(vocab_size=64), text="")), 0.0)
    lines = _shown(sessions, Witness(0.0), height=40)
    assert [("all 1 sessions" in line) for line in lines if "cell/" in line] == [False, True]
    assert "1 of 2 answer, 1 wait for room | 0.0 tok/s" in lines[-2] + lines[-1]


def test_a_small_screen_shows_those_that_failed() -> None:
    """Of more sessions than there are lines those with a reason come first, and the rest is counted."""
    sessions = _sessions(40)
    sessions[30].fails(ConfigurationError("no", key="prompt", remedy="say something"), 0.5)
    lines = _shown(sessions, Witness(0.0), height=20)
    rows = [line.split()[0] for line in lines if "cell/" in line]
    assert len(lines) <= 20 and rows[:2] == ["cell/31", "cell/01"]
    assert f"and {40 - len(rows)} more" in "\n".join(lines)


def test_the_object_has_every_device() -> None:
    """Names and order as the devices have them; what is not known is null, and nothing divides by 0."""
    witness = Witness(0.0)
    witness.tell([step(0, ends_s=1.0, position=1, pass_sessions=1)] * 4, 1.0)
    answers = {"cell/02": [{"text": "hello"}]}
    fields = cell_fields(_sessions(2), witness, 2.0, began_s=0.0, answers=answers, paced=True)
    assert [one["device"] for one in fields["devices"]] == ["cell/01", "cell/02"]
    assert [one["answers"] for one in fields["devices"]] == [[], [{"text": "hello"}]]
    assert (fields["tokens"], fields["total_tok_s"], fields["jain_fairness"]) == (0, 0.0, None)
    assert (fields["passes_per_s"], fields["sessions_a_pass"]) == (2.0, 1.0)
    assert fields["devices"][0]["air_share"] is fields["devices"][0]["token_share"] is None
    assert "2.0 passes a second, 1.0 sessions a pass | fairness - | paced" in final_words(fields)
    assert "0 of 2 answer | 0.0 tok/s" in overall_words(_sessions(2), Witness(0.0), 0.0)
