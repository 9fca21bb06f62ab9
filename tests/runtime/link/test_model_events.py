"""The model of a link against a second one that is written as a queue whose head loses bits."""

from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.harness.radio import EventLink, Put, Turn, lives, specs, streams

from draftwire.runtime.link import Link, LinkDrop, LinkSpec, Passage

BEGAN_S = 64.0
LOOK_S = 16.0
"""How far behind the last event both are compared."""


def _close(left: float, right: float) -> bool:
    return left == right or abs(left - right) < 1e-6


@settings(max_examples=150)
@given(specs(), lives(), st.integers(0, 2**20))
def test_it_does_what_a_queue_does_event_by_event(
    spec: LinkSpec, events: list[Put | Turn], seed: int
) -> None:
    """Whatever the link is and becomes, each message is dropped for the same cause, or leaves and arrives at
    the same times, as in a queue that is played event by event; at every event as many are queued, and as
    many copies and repairs are counted.
    """
    _play_both(spec, events, seed)


@pytest.mark.slow
@settings(max_examples=3000)
@given(specs(), lives(most=120), st.integers(0, 2**20))
def test_it_does_so_for_long(spec: LinkSpec, events: list[Put | Turn], seed: int) -> None:
    """The same, of more and longer lives."""
    _play_both(spec, events, seed)


def _play_both(spec: LinkSpec, events: list[Put | Turn], seed: int) -> None:
    link = Link[None](spec, streams(seed), began_s=BEGAN_S)
    played = EventLink(spec, streams(seed), BEGAN_S)
    now_s, outcomes = BEGAN_S, list[tuple[Passage[None], ...] | LinkDrop]()
    for event in events:
        now_s += event.pause_s
        if isinstance(event, Turn):
            link.change(now_s, event.spec)
            played.change(now_s, event.spec)
        else:
            outcomes.append(link.offer(now_s, event.size_bytes, None))
            played.offer(now_s, event.size_bytes)
        counts = link.statistics(now_s)
        assert counts.queued == len(played.queued)
        assert counts.queued_bytes == sum(one.size_bytes for one in played.queued)
    counts, taken = link.statistics(now_s), played.taken
    assert counts.retransmitted == sum(one.fate.losses for one in taken)
    assert counts.duplicated == sum(one.fate.copied and not one.fate.lost for one in taken)
    end_s = now_s + LOOK_S
    played.advance(end_s)
    for outcome, expected in zip(outcomes, played.messages, strict=True):
        if isinstance(expected, LinkDrop) or isinstance(outcome, LinkDrop):
            assert outcome is expected
            continue
        sent_s = outcome[0].sent_s
        assert _close(sent_s, expected.sent_s) or (expected.sent_s == inf and sent_s > end_s - 1e-6)
        if expected.sent_s < inf:
            arrivals = [expected.delivery_s, *([expected.copy_s] if expected.fate.copied else [])]
            assert [one.delivery_s for one in outcome] == pytest.approx(arrivals, abs=1e-6)
