"""A cell: what several links that share a radio promise, whatever they do and whoever comes when."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.harness.radio import Put, Turn, lives, specs, streams, ticks

from draftwire.runtime.link import (
    Cell,
    Link,
    LinkDrop,
    LinkSpec,
    Passage,
    Scheduler,
    SharedLink,
    parse_link,
)

BEGAN_S = 64.0
MOST_S = 1e5
"""Of a life's end; what waits for longer is not looked at."""

schedulers = st.sampled_from(Scheduler)


@dataclass(slots=True)
class _Lived:
    """What became of the messages of each device."""

    links: list[SharedLink[int]]
    outcomes: list[list[tuple[Passage[int], ...] | LinkDrop]]
    now_s: float

    def times(self, device: int) -> list[tuple[float, float] | LinkDrop]:
        """Of its messages and their copies, in order."""
        return [
            time
            for out in self.outcomes[device]
            for time in (
                [out] if isinstance(out, LinkDrop) else [(one.sent_s, one.delivery_s) for one in out]
            )
        ]

    def passages(self, device: int) -> list[Passage[int]]:
        """The same, where they arrive."""
        return [one for out in self.outcomes[device] if not isinstance(out, LinkDrop) for one in out]


Event = tuple[int, Put | Turn]
"""Whose, what."""


def _live(
    scheduler: Scheduler,
    own: Sequence[LinkSpec],
    events: Sequence[Event],
    *,
    looks: int = 0,
    more_s: float = 0.3,
) -> _Lived:
    """The cell behind the events and some time more; somebody looks so often between two of them."""
    cell = Cell[int](scheduler)
    links = [cell.join(spec, streams(number), began_s=BEGAN_S) for number, spec in enumerate(own)]
    lived = _Lived(links, [[] for _ in own], BEGAN_S)
    for device, event in events:
        for look in range(looks):
            links[look % len(links)].statistics(lived.now_s + event.pause_s * look / looks)
        lived.now_s += event.pause_s
        if isinstance(event, Turn):
            links[device].change(lived.now_s, event.spec)
        else:
            size_bytes = event.size_bytes
            lived.outcomes[device].append(links[device].offer(lived.now_s, size_bytes, event.size_bytes))
    lived.now_s += more_s
    cell.advance(lived.now_s)
    return lived


def _events(devices: int, *, turns: bool = True) -> st.SearchStrategy[list[Event]]:
    put = st.builds(Put, pause_s=ticks(20), size_bytes=st.integers(0, 5000))
    one = st.one_of(put, put, put, st.builds(Turn, pause_s=ticks(20), spec=specs())) if turns else put
    return st.lists(st.tuples(st.integers(0, devices - 1), one), min_size=1, max_size=25)


@settings(max_examples=25)
@given(schedulers, specs(), lives())
def test_a_device_alone_has_its_link_to_itself(
    scheduler: Scheduler, spec: LinkSpec, events: list[Put | Turn]
) -> None:
    """In a cell where nobody else sends each message has the very times that it has without a cell."""
    alone = Link[int](spec, streams(0), began_s=BEGAN_S)
    now_s, outcomes = BEGAN_S, []
    for event in events:
        now_s += event.pause_s
        if isinstance(event, Turn):
            alone.change(now_s, event.spec)
        else:
            outcomes.append(alone.offer(now_s, event.size_bytes, event.size_bytes))
    lived = _live(scheduler, [spec, LinkSpec(rate_bps=1e6)], [(0, event) for event in events], more_s=MOST_S)
    mine = _Lived([], [outcomes], 0.0)
    for expected, found in zip(mine.times(0), lived.times(0), strict=True):
        if isinstance(expected, LinkDrop) or expected[0] <= lived.now_s:
            assert found == expected
        else:
            assert found == (inf, inf)
    assert lived.links[0].statistics(lived.now_s) == alone.statistics(lived.now_s)


@settings(max_examples=25)
@given(schedulers, st.lists(specs(), min_size=3, max_size=3), _events(3), st.integers(1, 4))
def test_looking_alters_nothing(
    scheduler: Scheduler, own: list[LinkSpec], events: list[Event], looks: int
) -> None:
    """Time may pass in one leap or in many steps, and a life that is lived again is the same."""
    first, again, looked = (_live(scheduler, own, events, looks=count) for count in (0, 0, looks))
    for device in range(3):
        assert first.times(device) == again.times(device)
        for one, other in zip(first.times(device), looked.times(device), strict=True):
            assert one == other or (not isinstance(one, LinkDrop) and one == pytest.approx(other, abs=1e-6))


@settings(max_examples=25)
@given(schedulers, st.lists(specs(), min_size=3, max_size=3), _events(3))
def test_nothing_arrives_before_somebody_looks(
    scheduler: Scheduler, own: list[LinkSpec], events: list[Event]
) -> None:
    """Who looks at `next_s`, and no more often, learns of each message once, before it arrives."""
    cell = Cell[int](scheduler)
    links = [cell.join(spec, streams(number), began_s=BEGAN_S) for number, spec in enumerate(own)]
    told, looks, now_s = list[Passage[int]](), 0, BEGAN_S
    taken = list[Passage[int]]()

    def look(at_s: float) -> None:
        nonlocal looks
        looks += 1
        cell.advance(at_s)
        left = [one for _, one in cell.take_left()]
        assert all(one.delivery_s >= at_s - 2e-9 for one in left)
        told.extend(left)

    for device, event in [*events, (0, Put(0.2, 0))]:
        while (next_s := cell.next_s) <= now_s + event.pause_s:
            look(next_s)
        now_s += event.pause_s
        look(now_s)
        if isinstance(event, Turn):
            links[device].change(now_s, event.spec)
        elif not isinstance(outcome := links[device].offer(now_s, event.size_bytes, 0), LinkDrop):
            taken += outcome
        look(now_s)
        assert cell.next_s > now_s
    assert sorted(map(id, told)) == sorted(id(one) for one in taken if one.sent_s < inf)
    assert looks <= 3 * len(events) + 3 + 1000 * (now_s - BEGAN_S) + 2 * len(taken) + len(events)


@settings(max_examples=25)
@given(schedulers, st.lists(specs(reorders=False), min_size=3, max_size=3), _events(3, turns=False))
def test_messages_of_a_device_are_in_order_and_conserved(
    scheduler: Scheduler, own: list[LinkSpec], events: list[Event]
) -> None:
    """First in, first out on each link; and offered = delivered + queued + dropped, in messages and bytes."""
    lived = _live(scheduler, own, events)
    for device, link in enumerate(lived.links):
        sent = [one.sent_s for one in lived.passages(device) if one.sent_s < inf]
        arrived = [one.delivery_s for one in lived.passages(device) if one.sent_s < inf]
        assert sent == sorted(sent) and arrived == sorted(arrived)
        counts = link.statistics(lived.now_s)
        dropped = sum(counts.dropped.values())
        assert counts.offered == len(lived.outcomes[device]) == counts.delivered + counts.queued + dropped
        assert counts.offered_bytes == counts.delivered_bytes + counts.queued_bytes + counts.dropped_bytes
        first = [out[0] for out in lived.outcomes[device] if not isinstance(out, LinkDrop)]
        assert counts.delivered == sum(one.delivery_s <= lived.now_s for one in first)


@settings(max_examples=25)
@given(schedulers, st.lists(specs(), min_size=3, max_size=3), _events(3, turns=False))
def test_nobody_sends_more_than_its_own_link_carries_and_one_at_a_time(
    scheduler: Scheduler, own: list[LinkSpec], events: list[Event]
) -> None:
    """The bits of each device fit its own curve, and the times that they have had the air fit the time."""
    own = [replace(spec, burst_bytes=0, loss=None, arq_s=None) for spec in own]
    lived = _live(scheduler, own, events)
    assert sum(link.air_s for link in lived.links) <= (lived.now_s - BEGAN_S) * (1 + 1e-9)
    for device, link in enumerate(lived.links):
        if link.curve is None:
            continue
        bits = sum(
            8 * link.spec.bytes_on_link(one.size_bytes)
            for one in lived.passages(device)
            if one.sent_s < inf and not one.is_copy
        )
        last_s = max((one.sent_s for one in lived.passages(device) if one.sent_s < inf), default=BEGAN_S)
        assert bits <= link.curve.bits_by(last_s - BEGAN_S + 2e-9) * (1 + 1e-9) + 1


@settings(max_examples=25)
@given(schedulers, st.integers(18, 26), _events(4, turns=False), st.booleans())
def test_no_air_is_wasted(scheduler: Scheduler, power: int, events: list[Event], stuck: bool) -> None:
    """Links of one rate together send as one link of this rate would: nothing rests while anything waits, but
    what waits on a link that carries nothing, which is in nobody's way.
    """
    spec = LinkSpec(rate_bps=2.0**power)
    own = [spec] * 4 + [LinkSpec(rate_bps=0.0)] * stuck
    lived = _live(scheduler, own, [(4, Put(0.0, 1000))] * 3 * stuck + events, more_s=10)
    one, now_s, last_s, bits = Link[int](spec, streams(0), began_s=BEGAN_S), BEGAN_S, BEGAN_S, 0
    for _, event in events:
        assert isinstance(event, Put)
        now_s += event.pause_s
        outcome = one.offer(now_s, event.size_bytes, 0)
        assert isinstance(outcome, tuple)
        last_s, bits = outcome[0].sent_s, bits + 8 * spec.bytes_on_link(event.size_bytes)
    came = [passage.sent_s for device in range(4) for passage in lived.passages(device)]
    assert max(came) == pytest.approx(last_s, abs=1e-6)
    assert sum(link.air_s for link in lived.links) == pytest.approx(bits / 2.0**power, rel=1e-6, abs=1e-8)
    assert not stuck or lived.times(4) == [(inf, inf)] * 3


@settings(max_examples=25)
@given(schedulers, specs(), _events(1))
def test_an_outage_is_its_devices_own(scheduler: Scheduler, spec: LinkSpec, events: list[Event]) -> None:
    """Beside devices whose links carry nothing, and on which much waits, one sends as if it were alone."""
    alone = _live(scheduler, [spec], events)
    stuck = [(device, Put(0.0, 1000)) for device in (1, 2, 1)]
    beside = _live(scheduler, [spec, LinkSpec(rate_bps=0.0), LinkSpec(rate_bps=0.0)], [*stuck, *events])
    for one, other in zip(alone.times(0), beside.times(0), strict=True):
        assert one == other or (not isinstance(one, LinkDrop) and one == pytest.approx(other, abs=1e-5))


def test_an_idle_cell_begins_at_once_and_who_comes_second_waits_for_the_next_slot() -> None:
    """A slot belongs to who was alone in it up to its end, then turns are slots; the last one is alone."""
    spec = parse_link("rate 8mbit overhead 0")  # a byte a microsecond
    cell = Cell[str](Scheduler.ROUND_ROBIN)
    a, b = (cell.join(spec, streams(number)) for number in range(2))
    first = a.offer(0.0004, 2600, "a")
    second = b.offer(0.0005, 1500, "b")
    cell.advance(1.0)
    assert isinstance(first, tuple) and isinstance(second, tuple)
    # a: 0.4 to 1 ms, 2 to 3, 3.5 to 4.5; b: 1 to 2, 3 to 3.5.
    assert (second[0].sent_s, first[0].sent_s) == pytest.approx((0.0035, 0.0045), abs=1e-9)
    assert (a.air_s, b.air_s) == pytest.approx((0.0026, 0.0015), abs=1e-9)


def test_what_a_device_does_not_need_of_its_slot_is_the_next_ones() -> None:
    """Small messages of several devices share a slot, each behind the other."""
    spec = parse_link("rate 8mbit overhead 0")
    cell = Cell[str](Scheduler.PROPORTIONAL_FAIR)
    links = [cell.join(spec, streams(number)) for number in range(4)]
    for link in links:
        link.offer(0.0, 200, "x")
    cell.advance(1.0)
    sent = [one.sent_s for _, one in cell.take_left()]
    assert sent == pytest.approx([0.0002, 0.0004, 0.0006, 0.0008], abs=1e-9)


def test_a_link_that_changes_takes_what_waits_along_and_the_rest_as_before() -> None:
    """In a cell too what waits goes on by the new rate, and bits that were sent stay sent."""
    cell = Cell[str](Scheduler.ROUND_ROBIN)
    a, b = (cell.join(parse_link("rate 8mbit overhead 0"), streams(number)) for number in range(2))
    first = a.offer(0.0, 4000, "a")
    second = b.offer(0.0, 3000, "b")
    a.change(0.002, parse_link("rate 4mbit overhead 0"))  # it has sent 1000 bytes, and b as many
    cell.advance(1.0)
    assert isinstance(first, tuple) and isinstance(second, tuple)
    # b at 3 to 4 and 5 to 6 ms; a needs 6 ms more: 2 to 3, 4 to 5, 6 to 10.
    assert (second[0].sent_s, first[0].sent_s) == pytest.approx((0.006, 0.010), abs=1e-9)


@pytest.mark.parametrize("words", ["rate 0", "rate unlimited", "trace lte-like", "rayleigh 15db 5mhz 20ms"])
def test_whoever_leaves_in_the_midst_of_its_turn_leaves_the_air_to_the_others(words: str) -> None:
    """What it had under way is dropped, and they go on at once; so with a link that takes no air any more."""
    cell = Cell[str](Scheduler.ROUND_ROBIN)
    a, b = (cell.join(parse_link("rate 8mbit overhead 0"), streams(number)) for number in range(2))
    a.offer(0.0, 40_000, "a")
    second = b.offer(0.0, 3000, "b")
    assert isinstance(second, tuple)
    a.change(0.0004, parse_link(words))
    a.abandon(0.0005)
    cell.advance(1.0)
    assert second[0].sent_s <= 0.0035 + 1e-9
    dropped = sum(a.statistics(1.0).dropped.values())
    assert dropped == (0 if words == "rate unlimited" else 1)
    assert cell.next_s == inf


def test_turns_of_one_device_end_where_its_trace_has_nothing_more_for_the_slot() -> None:
    """An opportunity of one device is at its stamp; the rest of the slot is another one's."""
    cell = Cell[str](Scheduler.ROUND_ROBIN)
    trace, steady = parse_link("trace lte-like overhead 0"), parse_link("rate 8mbit overhead 0")
    a, b = cell.join(trace, streams(1)), cell.join(steady, streams(2))
    for _ in range(400):
        a.offer(0.0, 1500, "a")
    b.offer(0.0, 200_000, "b")
    cell.advance(60.0)
    left = cell.take_left()
    assert len(left) == 401
    last = {link: max(one.sent_s for of, one in left if of is link) for link in (a, b)}
    alone = Link[str](trace, streams(1))
    alone_s = [
        out[0].sent_s for out in (alone.offer(0.0, 1500, "a") for _ in range(400)) if isinstance(out, tuple)
    ]
    # Half of its chances at the most go to the other one, who has at least half of the time.
    assert alone_s[-1] < last[a] <= 2 * alone_s[-1] + 1
    assert 0.2 < last[b] <= 0.41
    assert all(x <= y for x, y in pairwise(one.sent_s for _, one in left))


def test_a_message_that_skips_the_delay_is_looked_for_in_time_whatever_its_link_becomes() -> None:
    """It was drawn when it came: a link that reorders nothing any more may still have one of those."""
    cell = Cell[str](Scheduler.ROUND_ROBIN)
    link = cell.join(parse_link("rate 8mbit delay 50ms reorder 100% overhead 0"), streams(1))
    outcome = link.offer(0.0, 1000, "x")
    link.change(0.0005, parse_link("rate 8mbit delay 50ms overhead 0"))
    assert cell.next_s == pytest.approx(0.001)
    cell.advance(1.0)
    assert isinstance(outcome, tuple) and outcome[0].delivery_s == pytest.approx(0.001)
