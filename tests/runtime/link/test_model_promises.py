"""What the model of a link promises of any link, whatever becomes of it."""

from dataclasses import replace
from itertools import pairwise
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.harness.radio import Put, Turn, lives, specs, streams, traffic

from draftwire.runtime.link import Distribution, Link, LinkDrop, LinkSpec, Passage

BEGAN_S = 64.0
Outcome = tuple[Passage[int], ...] | LinkDrop

MOST_JITTER = {
    Distribution.UNIFORM: 1.0,
    Distribution.NORMAL: 4.0,
    Distribution.PARETO: 0.78,
    Distribution.PARETONORMAL: 1.77,
}
"""Ahead of the delay, in units of the link's jitter."""


def _live(spec: LinkSpec, events: list[Put | Turn], seed: int = 1) -> tuple[Link[int], float, list[Outcome]]:
    """The link behind the events, the time of the last one, and what became of the messages."""
    link, now_s, outcomes = Link[int](spec, streams(seed), began_s=BEGAN_S), BEGAN_S, list[Outcome]()
    for event in events:
        now_s += event.pause_s
        if isinstance(event, Turn):
            link.change(now_s, event.spec)
        else:
            outcomes.append(link.offer(now_s, event.size_bytes, len(outcomes)))
    return link, now_s, outcomes


def _passages(outcomes: list[Outcome]) -> list[Passage[int]]:
    return [one for out in outcomes if not isinstance(out, LinkDrop) for one in out]


@settings(max_examples=60)
@given(specs(reorders=False), lives(reorders=False))
def test_first_in_first_out(spec: LinkSpec, events: list[Put | Turn]) -> None:
    """However large the jitter, and however the link changes, no message arrives before one that was put in
    earlier, nor before that one's copy.
    """
    arrivals = [one.delivery_s for one in _passages(_live(spec, events)[2])]
    assert all(a <= b for a, b in pairwise(arrivals))


@settings(max_examples=60)
@given(specs(), lives())
def test_messages_leave_in_the_order_they_came(spec: LinkSpec, events: list[Put | Turn]) -> None:
    """Overtaking or not, the link itself sends one message behind the other, and none before it came."""
    leaving = [one.sent_s for one in _passages(_live(spec, events)[2])]
    assert all(a <= b for a, b in pairwise([BEGAN_S, *leaving]))


@settings(max_examples=60)
@given(specs(), traffic)
def test_delay_has_a_floor(spec: LinkSpec, events: list[Put | Turn]) -> None:
    """No message is faster than its sending plus delay minus jitter; one that overtakes has none."""
    for one in _passages(_live(spec, events)[2]):
        of_trace = None if spec.trace is None else spec.trace.curve.delay_s(one.sent_s - BEGAN_S)
        delay_s = spec.delay_s + (of_trace or 0.0)
        most_s = spec.jitter_s * MOST_JITTER[spec.distribution]
        floor_s = 0.0 if spec.reorder else max(0.0, delay_s - most_s)
        assert one.delivery_s >= one.sent_s + floor_s - 1e-9


@settings(max_examples=60)
@given(specs(reorders=False), traffic)
def test_delay_never_builds_up(spec: LinkSpec, events: list[Put | Turn]) -> None:
    """A message that leaves when everything before it has arrived is late by its own delay and jitter."""
    spec = replace(spec, distribution=Distribution.UNIFORM, jitter_s=min(spec.jitter_s, spec.delay_s))
    before_s = -inf
    for one in _passages(_live(spec, events)[2]):
        of_trace = None if spec.trace is None else spec.trace.curve.delay_s(one.sent_s - BEGAN_S)
        delay_s = spec.delay_s + (of_trace or 0.0)
        if before_s <= one.sent_s < inf and spec.arq_s is None:
            assert one.delivery_s <= one.sent_s + delay_s + spec.jitter_s + 1e-9
        before_s = one.delivery_s


@settings(max_examples=60)
@given(specs(), traffic)
def test_no_window_carries_more_than_the_curve_and_a_burst(
    spec: LinkSpec, events: list[Put | Turn]
) -> None:
    """Between any two moments no more bits leave than the rate gives in that time, plus one burst."""
    link, _, outcomes = _live(spec, events)
    if link.curve is None:
        return
    sent = [one for one in _passages(outcomes) if not one.is_copy and one.sent_s < inf]
    for first in range(len(sent)):
        bits = 0.0
        # What left at the first one's time may have shared its opportunity.
        by_first = link.curve.bits_by(max(0.0, sent[first].sent_s - BEGAN_S - 1e-7))
        for one in sent[first + 1 :]:
            bits += 8 * spec.bytes_on_link(one.size_bytes)
            most = link.curve.bits_by(one.sent_s - BEGAN_S + 1e-9) - by_first
            assert bits <= (most + 8 * spec.burst_bytes) * (1 + 1e-6) + 1


@settings(max_examples=60)
@given(specs(), lives(), st.floats(0, 20))
def test_messages_are_conserved(spec: LinkSpec, events: list[Put | Turn], later_s: float) -> None:
    """At any time offered = delivered + queued + dropped, in messages and bytes, and the limits hold."""
    link, now_s, outcomes = _live(replace(spec, limit_messages=7, limit_bytes=9000), events)
    counts = link.statistics(now_s + later_s)
    first = [out[0] for out in outcomes if not isinstance(out, LinkDrop)]
    put_in = [event.size_bytes for event in events if isinstance(event, Put)]
    assert counts.offered == len(put_in) == counts.delivered + counts.queued + sum(counts.dropped.values())
    assert counts.offered_bytes == sum(put_in)
    assert counts.offered_bytes == counts.delivered_bytes + counts.queued_bytes + counts.dropped_bytes
    assert counts.delivered == sum(one.delivery_s <= now_s + later_s for one in first)
    assert counts.delivered_bytes == sum(
        one.size_bytes for one in first if one.delivery_s <= now_s + later_s
    )
    assert sum(counts.dropped.values()) == sum(isinstance(out, LinkDrop) for out in outcomes)
    assert counts.duplicated == sum(len(out) - 1 for out in outcomes if not isinstance(out, LinkDrop))
    assert counts.corrupted == sum(one.flipped_bit is not None for one in first)
    if not any(isinstance(event, Turn) for event in events):
        assert counts.queued <= 7 and counts.queued_bytes <= 9000


@settings(max_examples=60)
@given(specs(), lives(), st.integers(1, 4), st.booleans())
def test_time_may_pass_in_one_leap_or_in_many_steps(
    spec: LinkSpec, events: list[Put | Turn], looks: int, changing: bool
) -> None:
    """Looking at a link, or changing it into what it is, alters no time, to the last bit."""
    link, now_s, outcomes = Link[int](spec, streams(1), began_s=BEGAN_S), BEGAN_S, list[Outcome]()
    for event in events:
        for look in range(looks):
            at_s = now_s + event.pause_s * look / looks
            link.statistics(at_s)
            if changing:
                assert link.change(at_s, replace(link.spec)) == []
        now_s += event.pause_s
        if isinstance(event, Turn):
            link.change(now_s, event.spec)
        else:
            outcomes.append(link.offer(now_s, event.size_bytes, len(outcomes)))
    if changing:
        assert link.change(now_s, link.spec) == []
    assert [out if isinstance(out, LinkDrop) else _times(out) for out in outcomes] == [
        out if isinstance(out, LinkDrop) else _times(out) for out in _live(spec, events)[2]
    ]


def _times(passages: tuple[Passage[int], ...]) -> list[tuple[float, float]]:
    return [(one.sent_s, one.delivery_s) for one in passages]


@settings(max_examples=60)
@given(specs(), lives(), specs())
def test_a_change_tells_which_arrivals_moved(
    spec: LinkSpec, events: list[Put | Turn], other: LinkSpec
) -> None:
    """`change` returns just the passages that arrive at another time now; what has left is none of them."""
    link, now_s, outcomes = _live(spec, events)
    passages = _passages(outcomes)
    before = {(one.number, one.is_copy): one.delivery_s for one in passages}
    left = [one for one in passages if one.sent_s <= now_s]
    changed = link.change(now_s, other)
    moved = [one for one in passages if one.delivery_s != before[one.number, one.is_copy]]
    assert list(changed) == moved
    assert not [one for one in moved if one in left]
