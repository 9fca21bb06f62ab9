"""The live table of `up`, its line, and the object for programs."""

from io import StringIO
from types import SimpleNamespace
from typing import cast

import pytest
from rich.console import Console, RenderableType
from tests.harness.outcomes import step

from draftwire.nodes.console.api import Generation
from draftwire.nodes.console.up_sessions import Session, Witness
from draftwire.nodes.console.up_views import (
    PAGE_S,
    final_table,
    final_words,
    live_table,
    overall_words,
    up_fields,
)
from draftwire.nodes.device.account import Account
from draftwire.runtime.errors import ConfigurationError


def _sessions(count: int) -> list[Session]:
    return [Session(f"cell/{number:02}", now_s=0.0) for number in range(1, count + 1)]


def _printed(what: RenderableType, *, width: int) -> list[str]:
    console = Console(file=StringIO(), width=width)
    console.print(what)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def _shown(
    sessions: list[Session], witness: Witness, *, height: int, width: int = 80, now_s: float = 1.0
) -> list[str]:
    return _printed(live_table(sessions, witness, now_s, width=width, height=height), width=width)


def _asking(session: Session, *, tokens: int = 0, text: str = "") -> Session:
    """With an answer under way, of which so many tokens came by 1.0 s."""
    session.asks(cast(Generation, SimpleNamespace(account=Account(vocab_size=64), text=text)), 0.0)
    for _ in range(tokens):
        session.token(1.0)
    return session


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
    assert lines[-1] == "0 of 3 answer, 1 failed", "where nobody is asked there are no figures"


def test_who_waits_for_room_is_told_why() -> None:
    """In its row while nothing has come, and in the line, where it is none of those that answer."""
    sessions = [
        Session("cell/01", now_s=0.0),
        Session("cell/02", now_s=0.0, busy=lambda: "all 1 sessions are taken"),
    ]
    for one in sessions:
        _asking(one)
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


def test_a_small_screen_shows_all_sessions_in_turn() -> None:
    """Page after page, each as long as the screen allows, those that failed on all of them."""
    sessions = _sessions(40)
    sessions[30].fails(ConfigurationError("no", key="prompt", remedy="say something"), 0.5)
    pages = []
    for number in range(10):
        lines = _shown(sessions, Witness(0.0), height=20, now_s=number * PAGE_S)
        pages.append([line.split()[0] for line in lines if "cell/" in line])
    assert {page[0] for page in pages} == {"cell/31"} and {len(set(page)) for page in pages} == {12}
    assert set().union(*pages[:4]) == {one.name for one in sessions}


@pytest.mark.parametrize("width", range(24, 121, 4))
def test_a_narrow_screen_has_fewer_columns(width: int) -> None:
    """Names and speeds are always whole, and no line is longer than the screen."""
    sessions = _sessions(3)
    for one in sessions:
        _asking(one, tokens=5, text="word " * 60)
    for what in (
        live_table(sessions, Witness(0.0), 1.0, width=width, height=40),
        final_table(sessions, 1.0, width=width),
    ):
        lines = _printed(what, width=width)
        rows = [line for line in lines if "cell/" in line]
        assert [row.split()[0] for row in rows] == [one.name for one in sessions]
        assert max(map(len, lines)) <= width
        assert width < 32 or all("5.0" in row for row in rows), rows
        if width >= 72 and "answer" in lines[1]:
            assert all("…" in row and "word word" in row for row in rows)


def test_who_gets_nothing_counts_for_fairness() -> None:
    """One that failed, or waits for room, has asked: it has nothing, where the others have something."""
    sessions = [_asking(one, tokens=5) for one in _sessions(4)]
    sessions[3] = _asking(Session("cell/04", now_s=0.0, busy=lambda: "all sessions are taken"))
    idle = Session("cell/05", now_s=0.0)
    words = overall_words([*sessions, idle], Witness(0.0), 1.0)
    assert "3 of 5 answer, 1 wait for room" in words and words.endswith("fairness 0.75")
    sessions[3].fails(ConfigurationError("no", key="prompt", remedy="say something"), 1.0)
    assert overall_words([*sessions, idle], Witness(0.0), 1.0).endswith("fairness 0.75")
    fields = up_fields([*sessions, idle], Witness(0.0), 1.0, began_s=0.0, answers={}, paced=False)
    assert fields["jain_fairness"] == pytest.approx(0.75)


def test_the_object_has_every_device() -> None:
    """Names and order as the devices have them; what is not known is null, and nothing divides by 0."""
    witness = Witness(0.0)
    witness.tell([step(0, ends_s=1.0, position=1, pass_sessions=1)] * 4, 1.0)
    answers = {"cell/02": [{"text": "hello"}]}
    fields = up_fields(_sessions(2), witness, 2.0, began_s=0.0, answers=answers, paced=True)
    assert [one["device"] for one in fields["devices"]] == ["cell/01", "cell/02"]
    assert [one["answers"] for one in fields["devices"]] == [[], [{"text": "hello"}]]
    assert (fields["tokens"], fields["total_tok_s"], fields["jain_fairness"]) == (0, 0.0, None)
    assert (fields["passes_per_s"], fields["sessions_a_pass"]) == (2.0, 1.0)
    assert fields["devices"][0]["air_share"] is fields["devices"][0]["token_share"] is None
    assert "2.0 passes a second, 1.0 sessions a pass | fairness - | paced" in final_words(fields)
    assert overall_words(_sessions(2), Witness(0.0), 0.0) == "0 of 2 answer"
