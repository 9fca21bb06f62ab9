"""Who gets how much of a cell: weights, fairness, and what proportional fair gains where links fade."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.harness.radio import streams

from draftwire.runtime.link import Cell, LinkSpec, Scheduler, SharedLink, parse_link

SLOT_S = 0.001
PACKET_BYTES = 1500
RR, PF = Scheduler.ROUND_ROBIN, Scheduler.PROPORTIONAL_FAIR

weights = st.lists(st.sampled_from([0.25, 0.5, 1.0, 1.0, 2.0, 4.0]), min_size=2, max_size=6)


def _backlogged(
    scheduler: Scheduler, words: Sequence[str], *, weights: Sequence[float] = (), packets: int = 1000
) -> tuple[Cell[None], list[SharedLink[None]]]:
    """A cell with so much waiting on each link, from 0 s on."""
    cell = Cell[None](scheduler)
    links = [
        cell.join(parse_link(f"{text} overhead 0"), streams(number), weight=weight)
        for number, (text, weight) in enumerate(zip(words, weights or [1.0] * len(words), strict=True))
    ]
    for link in links:
        for _ in range(packets):
            link.offer(0.0, PACKET_BYTES, None)
    return cell, links


@settings(max_examples=12)
@given(weights)
def test_round_robin_shares_the_air_by_weight_to_a_slot(weights: list[float]) -> None:
    """At any time of a long backlog each has had its weight's share of the air, to two of its turns."""
    cell, links = _backlogged(RR, ["rate 5mbit"] * len(weights), weights=weights)
    for count in range(1, 8):
        at_s = 0.0437 * count
        cell.advance(at_s)
        for link, weight in zip(links, weights, strict=True):
            share_s = at_s * weight / sum(weights)
            assert abs(link.air_s - share_s) <= 2 * SLOT_S * max(1.0, weight)


@settings(max_examples=10)
@given(st.lists(st.sampled_from([1.0, 1.5, 2.0, 4.0]), min_size=2, max_size=5))
def test_proportional_fair_shares_steady_links_by_weight(weights: list[float]) -> None:
    """So with proportional fair, once its averages have settled, to a tenth: a small share is rather more."""
    cell, links = _backlogged(PF, ["rate 5mbit"] * len(weights), weights=weights)
    cell.advance(0.3)
    before_s = [link.air_s for link in links]
    cell.advance(0.9)
    for link, weight, had_s in zip(links, weights, before_s, strict=True):
        share_s = 0.6 * weight / sum(weights)
        assert link.air_s - had_s == pytest.approx(share_s, rel=0.1, abs=2 * SLOT_S)


@settings(max_examples=10)
@given(st.integers(2, 16))
def test_both_are_the_same_over_equal_steady_links(count: int) -> None:
    """The same messages leave at the same times."""
    times = list[list[float]]()
    for scheduler in (RR, PF):
        cell, _ = _backlogged(scheduler, ["rate 20mbit"] * count, packets=20)
        cell.advance(10.0)
        times.append([one.sent_s for _, one in cell.take_left()])
    assert len(times[0]) == 20 * count
    assert times[0] == pytest.approx(times[1], abs=1e-9)


def test_unequal_steady_links_have_equal_air() -> None:
    """Either scheduler gives time, not bits: a slow link has as much of the air as a fast one."""
    for scheduler in (RR, PF):
        cell, links = _backlogged(scheduler, ["rate 1mbit", "rate 10mbit", "rate 4mbit"])
        cell.advance(0.9)
        assert [link.air_s for link in links] == pytest.approx([0.3] * 3, abs=0.01), scheduler


def _bits_by(link: SharedLink[None], at_s: float) -> float:
    return 8.0 * link.statistics(at_s).delivered_bytes


def test_proportional_fair_gains_where_links_fade() -> None:
    """With eight fading links it sends more than round robin for every one, and 1.3 times as much in all."""
    fading = ["rayleigh 10db 2mhz 10ms limit 10000"] * 8
    by = dict[Scheduler, list[float]]()
    for scheduler in (RR, PF):
        cell, links = _backlogged(scheduler, fading, packets=1000)
        cell.advance(3.0)
        by[scheduler] = [_bits_by(link, 3.0) for link in links]
    assert all(pf > rr for pf, rr in zip(by[PF], by[RR], strict=True))
    assert sum(by[PF]) > 1.3 * sum(by[RR])


@settings(max_examples=8)
@given(
    st.sampled_from(Scheduler),
    st.lists(st.sampled_from([0.1, 1.0, 10.0]), min_size=3, max_size=3),
    st.permutations(["rate 200kbit", "rate 50mbit", "rayleigh 0db 1mhz 5ms"]),
)
def test_nobody_starves(scheduler: Scheduler, weights: list[float], words: list[str]) -> None:
    """However small its weight and however slow its link, each device gets a turn within 0.65 s."""
    cell, links = _backlogged(
        scheduler, [f"{text} limit 5000" for text in words], weights=weights, packets=2000
    )
    had_s = [0.0] * 3
    for look in range(1, 4):
        cell.advance(0.65 * look)
        for number, link in enumerate(links):
            assert link.air_s > had_s[number] or not link.waits
            had_s[number] = link.air_s


def test_who_comes_back_is_owed_nothing_and_owes_nothing() -> None:
    """Air that a device had while nobody else waited, or didn't want, counts neither against nor for it."""
    cell = Cell[None](RR)
    spec = LinkSpec(rate_bps=8e6, overhead_bytes=0, packet_overhead_bytes=0)
    a, b = (cell.join(spec, streams(number)) for number in range(2))
    for _ in range(200):
        a.offer(0.0, 1000, None)  # 200 ms alone
    cell.advance(0.5)
    for link in (b, a):
        for _ in range(100):
            link.offer(0.5, 1000, None)
    had_s = a.air_s
    cell.advance(0.5 + 0.05)
    assert (a.air_s - had_s, b.air_s) == pytest.approx((0.025, 0.025), abs=1.5 * SLOT_S)


def test_a_short_message_does_not_wait_for_long_ones() -> None:
    """Proportional fair gives a device that has sent nothing lately the next slot, come who may."""
    cell, _ = _backlogged(PF, ["rate 5mbit"] * 8)
    rare = cell.join(parse_link("rate 5mbit overhead 0"), streams(9))
    rng = random.Random(1)
    for number in range(1, 11):
        at_s = 0.3 * number + rng.random() * 0.01
        outcome = rare.offer(at_s, 300, None)
        cell.advance(at_s + 0.1)
        assert isinstance(outcome, tuple)
        assert outcome[0].sent_s - at_s <= 1.6 * SLOT_S
