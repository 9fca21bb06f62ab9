"""Sessions of `up`: what each is at, speeds, shares, fairness."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.harness.outcomes import step

from draftwire.codecs.messages import Plan
from draftwire.nodes.console.api import Generation
from draftwire.nodes.console.fairness import jain_fairness
from draftwire.nodes.console.up_sessions import (
    SHARES_OVER,
    Session,
    State,
    Witness,
)
from draftwire.nodes.device.account import Account
from draftwire.runtime.errors import ConfigurationError


def _generation(*, hints: bool = False, gamma: int = 3, **counts: int) -> Generation:
    """An answer under way, of which nothing but its account and its text is asked."""
    account = Account(vocab_size=64, hints=hints, plan=Plan(number=1, k=8, gamma=gamma, min_draft=gamma))
    for name, value in counts.items():
        setattr(account, name, value)
    return cast(Generation, SimpleNamespace(account=account, text="so far"))


def test_a_session_adds_its_requests_up() -> None:
    """alpha and counts are of all requests; the mean speed is over the time in which one was under way."""
    session = Session("cell/01", now_s=0.0)
    assert (session.alpha, session.k, session.gamma, session.text) == (None, None, None, "")
    session.asks(_generation(seen=10, accepted=5, bytes_up=100), 0.0)
    assert session.state is State.OPENING
    for at_s in (1.0, 2.0):
        session.token(at_s)
    assert (session.state, session.alpha, session.k, session.gamma) == (State.ANSWERING, 0.5, 8, 3)
    session.answers(2.0)
    assert (session.state, session.answered, session.mean_tokens_per_s(50.0)) == (State.WAITING, 1, 1.0)
    session.asks(_generation(seen=30, accepted=3, bytes_up=50, gamma=0), 100.0)
    session.token(104.0)
    assert (session.alpha, session.count("bytes_up"), session.k, session.gamma) == (0.2, 150, None, 0)
    assert session.mean_tokens_per_s(104.0) == 0.5
    session.rests(104.0)
    session.rests(200.0)
    assert (session.state, session.count("seen"), session.mean_tokens_per_s(300.0)) == (State.DONE, 40, 0.5)


def test_ids_only_have_no_k() -> None:
    """Where drafts are hints no rows travel with them."""
    session = Session("cell/01", now_s=0.0)
    session.asks(_generation(hints=True), 0.0)
    assert (session.k, session.gamma) == (None, 3)


def test_a_request_that_fails_is_told() -> None:
    """Its reason and exit code stand, also where none was begun, until another one is asked."""
    session, error = Session("cell/01", now_s=0.0), ConfigurationError("long", key="prompt", remedy="shorten")
    assert not session.has_asked
    session.fails(error, 1.0)
    session.rests(2.0)
    assert session.has_asked
    assert (session.state, session.reason, session.exit_code) == (State.FAILED, str(error), 2)
    session.asks(_generation(), 3.0)
    session.answers(4.0)
    assert (session.state, session.failed, session.answered) == (State.WAITING, 1, 1)


def _shares(direction: str, **shares: float) -> dict[str, Any]:
    return {"event": "channel.shares", "direction": direction, "shares": shares}


def test_a_pass_of_many_sessions_counts_once() -> None:
    """Each session has a step of it: passes are fewer than steps, and both are told a second."""
    witness = Witness(0.0)
    shared = [step(number, ends_s=1.0, position=4, pass_sessions=4) for number in range(4)]
    witness.tell([*shared, step(4, ends_s=1.1, position=4, pass_sessions=1)], 1.0)
    assert (witness.passes, witness.steps) == (2.0, 5)
    assert (witness.passes_per_s(1.0), witness.sessions_a_pass(1.0)) == (2.0, 2.5)
    assert (witness.passes_per_s(90.0), witness.sessions_a_pass(90.0)) == (0.0, None)


def test_shares_are_of_what_the_cell_carried_up() -> None:
    """The last ones, or those all along; nothing where no cell told any."""
    witness = Witness(0.0)
    assert witness.air_shares() == {}
    witness.tell([_shares("uplink", a=0.25, b=0.25), _shares("downlink", a=1.0)], 1.0)
    assert witness.air_shares() == {"a": 0.5, "b": 0.5}
    witness.tell([_shares("uplink", b=0.1)] * SHARES_OVER, 2.0)
    assert witness.air_shares() == {"b": 1.0}
    assert witness.air_shares(all_along=True) == pytest.approx({"a": 0.25, "b": 0.75})


def test_fairness_is_jains() -> None:
    """1 where all are equal, 1/n where one has everything, None where nobody has anything."""
    assert jain_fairness([3.0, 3.0, 3.0]) == pytest.approx(1.0)
    assert jain_fairness([5.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert jain_fairness([1.0, 2.0]) == pytest.approx(0.9)
    assert jain_fairness([0.0]) is jain_fairness([]) is None
