"""A cell at its limits: late clocks, long stops, and links that carry next to nothing."""

from math import inf

import pytest
from tests.harness.radio import streams

from draftwire.runtime.link import Cell, Link, LinkSpec, Passage, Scheduler, Trace, parse_link
from draftwire.runtime.link.curves import Steps

SLOW = parse_link("rate 8kbit overhead 0")
"""A byte a millisecond."""

A_BIT_A_SECOND = LinkSpec(
    trace=Trace(name="slow", curve=Steps([0, 1000], [1.0])), overhead_bytes=0, packet_overhead_bytes=0
)


def _looked_at(cell: Cell[int], *, looks: int) -> list[Passage[int]]:
    """What leaves while somebody looks as `next_s` says, so often at most."""
    left = list[Passage[int]]()
    while cell.next_s < inf:
        looks -= 1
        assert looks, "it makes no progress"
        next_s = cell.next_s
        cell.advance(next_s)
        left += [one for _, one in cell.take_left()]
        assert cell.next_s > next_s
    return left


@pytest.mark.parametrize("scheduler", Scheduler)
@pytest.mark.parametrize("words", ["rate 20mbit", "trace lte-like", "rayleigh 14db 5mhz 50ms"])
@pytest.mark.parametrize("began_s", [0.0, 1.7e7, 3.4e7, 1e8])
def test_a_host_may_be_up_for_years(scheduler: Scheduler, words: str, began_s: float) -> None:
    """Where a clock tells no nanoseconds any more, three devices still send all they have, one at a time, and
    waste no air: as one would send it alone.
    """
    spec = parse_link(f"{words} delay 5ms overhead 0")
    for part in range(5):
        origin_s = began_s + 0.2137 * part
        cell = Cell[int](scheduler)
        links = [cell.join(spec, streams(1), began_s=origin_s) for _ in range(3)]
        alone = Link[int](spec, streams(1), began_s=origin_s)
        for number in range(20):
            for link in links:
                link.offer(origin_s, 3000, number)
                last = alone.offer(origin_s, 3000, number)
        left = _looked_at(cell, looks=3000)
        assert len(left) == 60
        assert isinstance(last, tuple)
        assert max(one.sent_s for one in left) == pytest.approx(last[0].sent_s, rel=0, abs=1e-5)
        assert sum(link.air_s for link in links) <= last[0].sent_s - origin_s + 1e-6


def test_slots_of_a_late_clock_are_whole() -> None:
    """On every day of three years a slot that ends is followed by the next one, never by itself."""
    for day in range(1, 1200, 7):
        began_s = 86_400.0 * day + 0.001 * (day % 997)
        cell = Cell[int](Scheduler.ROUND_ROBIN)
        links = [cell.join(parse_link("rate 8mbit overhead 0"), streams(number)) for number in range(2)]
        for link in links:
            link.offer(began_s, 2000, 0)
        cell.advance(began_s + 1.0)
        sent_s = [one.sent_s - began_s for _, one in cell.take_left()]
        assert sent_s == pytest.approx([0.003, 0.004], abs=1e-6), day


def test_who_comes_late_finds_that_the_air_has_rested() -> None:
    """Of an hour that nobody looked at only the last second counts; what waits goes on from there, whole."""
    cell = Cell[int](Scheduler.ROUND_ROBIN, most_behind_s=1.0)
    links = [cell.join(SLOW, streams(number)) for number in range(2)]
    sent = [link.offer(0.0, 2000, 0) for link in links]
    cell.advance(0.5)
    cell.advance(3600.0)
    assert sum(link.air_s for link in links) == pytest.approx(1.5, abs=0.002)
    for step in range(1, 40):
        cell.advance(3600 + 0.1 * step)
    last_s = [passages[0].sent_s for passages in sent if isinstance(passages, tuple)]
    assert max(last_s) == pytest.approx(3602.5, abs=0.002)
    assert sum(link.air_s for link in links) == pytest.approx(4.0, abs=0.002)


def test_one_alone_is_late_for_nothing() -> None:
    """A look costs it no slots, so it has all of its air, however late the look is."""
    cell = Cell[int](Scheduler.ROUND_ROBIN, most_behind_s=1.0)
    sent = cell.join(SLOW, streams(0)).offer(0.0, 2000, 0)
    cell.advance(3600.0)
    assert isinstance(sent, tuple) and sent[0].sent_s == pytest.approx(2.0)


@pytest.mark.parametrize("scheduler", Scheduler)
def test_what_is_too_little_for_a_turn_is_sent_once(scheduler: Scheduler) -> None:
    """Two links of a bit a second carry a bit a second together, and what waits on both leaves."""
    cell = Cell[int](scheduler)
    links = [cell.join(A_BIT_A_SECOND, streams(number)) for number in range(2)]
    for link in links:
        link.offer(0.0003, 10, 0)
    cell.advance(300.0)
    assert [one.sent_s for _, one in cell.take_left()] == pytest.approx([80, 160], abs=1.0)
