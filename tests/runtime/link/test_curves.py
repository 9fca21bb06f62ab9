"""Rates over time, and traces whose departures are known by hand."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.radio import fadings, mahimahi, steps, streams

from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import Curve, Link, LinkDrop, LinkSpec, Trace
from draftwire.runtime.link.curves import OPPORTUNITY_BITS, Opportunities, Steady, Steps

BARE = LinkSpec(overhead_bytes=0, packet_overhead_bytes=0)

curves: st.SearchStrategy[Curve] = st.one_of(
    st.builds(Steady, rate_bps=st.floats(100, 1e12)),
    mahimahi,
    steps(),
    st.builds(lambda fading, seed: fading.curve(seed), fadings, st.integers(0, 2**127)),
)


def _departures(
    stamps_ms: Sequence[int], messages: Sequence[tuple[float, int]], *, began_s: float = 0.0
) -> list[float]:
    """When messages (ms, bytes) leave, in ms behind the trace's beginning."""
    trace = Trace(name="t", curve=Opportunities(stamps_ms))
    link, leaving = Link[None](replace(BARE, trace=trace), streams(1), began_s=began_s), list[float]()
    for at_ms, size_bytes in messages:
        outcome = link.offer(began_s + at_ms / 1000, size_bytes, None)
        assert not isinstance(outcome, LinkDrop)
        leaving.append(round(1000 * (outcome[0].sent_s - began_s), 6))
    return leaving


@pytest.mark.parametrize(
    ("case", "stamps_ms", "messages", "leaving_ms"),
    [
        ("one opportunity a message", [5, 10, 20], [(0, 1500), (0, 1500), (0, 1500)], [5, 10, 20]),
        ("half of one is shared by what waits", [5, 10], [(0, 700), (0, 800), (0, 1)], [5, 5, 10]),
        ("its rest is lost when nothing waits", [5, 10], [(0, 700), (6, 700)], [5, 10]),
        ("a message of several", [5, 10, 20], [(0, 3001), (0, 1499), (0, 1)], [20, 20, 25]),
        ("unused ones are lost", [5, 10, 20], [(11, 1500), (11, 1500)], [20, 25]),
        ("who comes at its very time has missed it", [5, 10], [(5, 10), (10, 10)], [10, 15]),
        ("the round ends with the last stamp", [5, 10], [(0, 7500)], [25]),
        ("several at one time", [3, 3, 9], [(0, 3000), (0, 1500), (0, 3000)], [3, 9, 12]),
        ("a stamp 0 is at the last one's time, later", [0, 4], [(0, 1500), (0, 1500), (0, 1500)], [4, 4, 8]),
        ("far behind the first round", [5, 10], [(1_000_003, 1500), (1_000_003, 1501)], [1e6 + 5, 1e6 + 15]),
        ("an empty message comes with what it waits for", [5, 10], [(0, 1500), (1, 0), (7, 0)], [5, 5, 7]),
    ],
)
@pytest.mark.parametrize("began_s", [0.0, 12_345.678])
def test_a_mahimahi_trace_sends_as_by_hand(
    case: str,
    stamps_ms: Sequence[int],
    messages: Sequence[tuple[float, int]],
    leaving_ms: list[float],
    began_s: float,
) -> None:
    """Messages leave at the stamps that a person finds with pencil and paper, whenever the trace began."""
    assert _departures(stamps_ms, messages, began_s=began_s) == leaving_ms, case


def test_a_change_in_the_midst_of_a_trace_keeps_what_was_sent() -> None:
    """Two opportunities took 3000 of 4000 bytes; at 8 kbit/s the other 1000 take a second."""
    trace = Trace(name="t", curve=Opportunities([10, 20, 500]))
    link = Link[None](replace(BARE, trace=trace), streams(1))
    outcome = link.offer(0.0, 4000, None)
    assert not isinstance(outcome, LinkDrop)
    link.change(0.02, replace(BARE, rate_bps=8000))
    assert outcome[0].sent_s == pytest.approx(1.02)
    link.change(0.52, replace(BARE, trace=trace))  # 500 bytes wait for its first stamp
    assert outcome[0].sent_s == pytest.approx(0.53)


@given(curves, st.floats(0, 1), st.floats(0, 50))
def test_when_is_the_first_time_by_which_the_bits_are_sent(curve: Curve, share: float, at_s: float) -> None:
    """By `when(bits)` so many bits have been sent, and a moment before they had not."""
    bits = share * curve.bits_by(at_s)
    when_s = curve.when(bits)
    slack = 2e-3 + 1e-9 * bits
    assert when_s <= at_s + 1e-8
    assert curve.bits_by(when_s + 1e-9) >= bits - slack
    before_s = when_s - 1e-6 - 1e-9 * when_s
    if before_s > 0 and bits > 1:
        assert curve.bits_by(before_s) < bits + slack


@given(curves, st.lists(st.floats(0, 100), min_size=2, max_size=20))
def test_a_curve_never_falls(curve: Curve, times_s: list[float]) -> None:
    """Bits that could have been sent never become fewer, nor does the time that more of them take."""
    times_s.sort()
    bits = [curve.bits_by(at_s) for at_s in times_s]
    assert bits == sorted(bits) and bits[0] >= 0
    assert [curve.when(one) for one in bits] == sorted(curve.when(one) for one in bits)


@given(steps() | mahimahi, st.integers(1, 1000))
def test_a_trace_repeats(curve: Steps | Opportunities, rounds: int) -> None:
    """Each round carries as much as the first, and its mean rate is what it carries in the long run."""
    round_s = curve.times_s[-1] if isinstance(curve, Steps) else curve.times_ms[-1] / 1000
    of_one = curve.bits_by(round_s)
    assert curve.mean_rate_bps == pytest.approx(of_one / round_s)
    expected = rounds * of_one + curve.bits_by(0.5 * round_s)
    assert curve.bits_by((rounds + 0.5) * round_s) == pytest.approx(expected, rel=1e-6)


def test_a_step_may_end_a_message_just_before_an_outage() -> None:
    """What fits a step to its last bit does not wait for the end of the outage behind it."""
    curve = Steps([0, 1, 11, 12], [3e6, 0, 7e6])
    assert curve.when(3e6) == 1.0
    assert curve.when(3e6 + 5e-4) == 1.0  # as rounding may have it
    assert curve.when(3e6 + 1) == pytest.approx(11.0)
    assert [curve.when(1000 * 10e6 - rest) for rest in (0, 7e6)] == [12_000.0, 11_989.0]
    third = Steps([0, 0.1, 1], [30e6, 0])
    assert third.when(sum([1e6] * 3)) == pytest.approx(0.1)


def test_steps_have_the_delay_of_their_time() -> None:
    """The delay is that of the step, round after round; a trace without delays knows none."""
    curve = Steps([0, 1, 3], [1e6, 1e6], [0.25, 0.5])
    assert [curve.delay_s(at_s) for at_s in (0, 0.99, 1, 2.99, 3, 4)] == [0.25, 0.25, 0.5, 0.5, 0.25, 0.5]
    others: list[Curve] = [Steps([0, 1], [1e6]), Opportunities([1]), Steady(rate_bps=1)]
    assert [other.delay_s(0.5) for other in others] == [None] * 3


def test_an_outage_carries_nothing() -> None:
    """At rate 0 no bit is ever sent, and what needs none waits too: no bucket has credit in an outage."""
    outage = Steady(rate_bps=0)
    assert (outage.when(1), outage.when(0), outage.bits_by(9)) == (inf, inf, 0)


def test_curves_are_equal_by_content() -> None:
    """Two readings of one trace are one value, also as a key; any other number makes another one."""
    assert Opportunities([1, 2]) == Opportunities((1, 2)) != Opportunities([1, 3])
    assert Steps([0, 1], [5]) == Steps((0.0, 1.0), (5.0,)) != Steps([0, 1], [5], [0])
    assert len({Opportunities([1, 2]), Opportunities([1, 2]), Steps([0, 1], [5]), Steps([0, 1], [5])}) == 2
    assert Opportunities([1]) != Steps([0, 1], [5])


def test_an_opportunity_is_1500_bytes() -> None:
    """A stamp every millisecond is 12 Mbit/s, as in Mahimahi."""
    assert OPPORTUNITY_BITS == 8 * 1500
    assert Opportunities([1]).mean_rate_bps == 12e6


@pytest.mark.parametrize(
    ("stamps_ms", "message"),
    [
        ([], "trace: there is no stamp; write one opportunity a line"),
        ([3, 2], "trace: stamp 2, 2 ms, is before the one ahead of it; sort the stamps"),
        ([-1, 2], "trace: stamp 1, -1 ms, is negative"),
        ([0], "trace: the last stamp is 0 ms; it ends the round"),
        ([10**12], "trace: the last stamp is 1000000000000 ms"),
        ([1] * 90_000, "trace: 90000 opportunities in 1 ms are too many"),
    ],
)
def test_stamps_that_are_none_are_refused(stamps_ms: Sequence[int], message: str) -> None:
    """The error names the stamp and what to write."""
    with pytest.raises(ConfigurationError) as caught:
        Opportunities(stamps_ms)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("times_s", "rates_bps", "delays_s", "message"),
    [
        ([0], [], None, "trace: there are 1 times and 0 rates; write a step at least"),
        ([0, 1], [1, 1], None, "trace: there are 2 times and 2 rates"),
        ([0, 1], [1], [1, 1], "trace: there are 2 delays and 1 rates"),
        ([1, 2], [1], None, "trace: the first time is 1 s; begin at 0"),
        ([0, 2, 2], [1, 1], None, "trace: time 3, 2 s, is not behind the one ahead of it"),
        ([0, nan], [1], None, "trace: time 2, nan s"),
        ([0, inf], [1], None, "trace: the last time is inf s"),
        ([0, 1, 2], [1, -1], None, "trace: rate 2, -1 is out of range; write 0 to 1000000000000 bit/s"),
        ([0, 1], [nan], None, "trace: rate 1, nan is out of range"),
        ([0, 1], [1e13], None, "trace: rate 1, 1e+13 is out of range"),
        ([0, 1], [1], [61], "trace: delay 1, 61 is out of range; write 0 to 60 s"),
        ([0, 1, 2], [0, 0], None, "trace: no step carries anything; write 'rate 0' for an outage"),
    ],
)
def test_steps_that_are_none_are_refused(
    times_s: Sequence[float], rates_bps: Sequence[float], delays_s: Sequence[float] | None, message: str
) -> None:
    """The error names the step and what to write."""
    with pytest.raises(ConfigurationError) as caught:
        Steps(times_s, rates_bps, delays_s)
    assert str(caught.value).startswith(message)
