"""What `link plot` finds by playing messages through a link is what the link's words say."""

import math

import pytest
from tests.harness.played import played

from draftwire.nodes.channel.links import streams_of
from draftwire.nodes.channel.playing import Direction
from draftwire.nodes.console import link_messages
from draftwire.nodes.console.link_playing import Times, is_lost
from draftwire.runtime.link import Link, LinkDrop, LinkSpec, parse_schedule, shipped_trace

SENDING_S = 8 * (1000 + 74) / 1e6
"""1000 bytes at 1 Mbit/s."""


def test_a_steady_link_is_as_it_was_written() -> None:
    """Its rate, what packets leave of it for messages, and one delay for all."""
    found = played("rate 1mbit delay 20ms")
    assert found.offered_bps == [(0.0, 1e6)]
    assert found.offered_mean_bps == 1e6
    assert found.outage_share == 0
    assert found.carried_mean_bps == pytest.approx(1e6 * 1448 / (1448 + 74), rel=2e-3)
    assert {round(one.delay_s, 9) for one in found.probes} == {round(0.02 + SENDING_S, 9)}
    for share in (0.5, 0.99):
        assert found.delay_s(share) == pytest.approx(0.02 + SENDING_S)


def test_a_fast_link_needs_no_more_messages() -> None:
    """They get longer: a second of 100 Gbit/s is full of 20,000 messages, and all of it is used."""
    found = played("rate 100gbit", seconds=1.0)
    assert found.carried_mean_bps == pytest.approx(1e11 * 1448 / (1448 + 66), rel=5e-3)


def test_an_outage_makes_wait_and_then_goes_on() -> None:
    """Messages of the outage come when it is over; rates and shares are by the clock."""
    found = played("rate 1mbit; 4s rate 0; 6s rate 2mbit")
    assert found.offered_bps == [(0.0, 1e6), (4.0, 0.0), (6.0, 2e6)]
    assert found.offered_mean_bps == pytest.approx(1.2e6)
    assert found.outage_share == pytest.approx(0.2)
    waited = [one for one in found.probes if 4.0 <= one.sent_s < 6.0]
    assert waited and all(6.0 <= one.sent_s + one.delay_s < 6.5 for one in waited)
    carried = dict(found.carried_bps)
    assert max(bps for at_s, bps in carried.items() if 4.1 < at_s < 5.9) < 1e4
    assert found.carried_mean_bps == pytest.approx(1.2e6 * 1448 / (1448 + 74), rel=0.01)


def test_what_waits_for_ever_has_no_delay() -> None:
    """Nor is it lost, while the queue has room: it is told apart."""
    found = played("rate 0 limit 50")
    assert (found.offered_mean_bps, found.carried_mean_bps, found.outage_share) == (0, 0, 1)
    assert {one.delay_s for one in found.probes} == {math.inf}
    assert [one.lost for one in found.probes[:51]] == [None] * 50 + [LinkDrop.LIMIT_MESSAGES]
    assert found.delay_s(0.5) is None


def _full_bps(mean_bps: float, seconds: float) -> float:
    """What packets, and the messages of so many of them that fill the time, leave of a link's rate."""
    packets = math.ceil(mean_bps * seconds / 8 / 20_000 / 1448)
    return mean_bps * 1448 * packets / ((1448 + 66) * packets + 8)


def _bits(rates: Times, seconds: float) -> float:
    ends = [*(at_s for at_s, _ in rates[1:]), seconds]
    return sum(bps * (end_s - at_s) for (at_s, bps), end_s in zip(rates, ends, strict=True))


@pytest.mark.parametrize("seconds", [5.0, 20.0])
def test_a_moving_rate_is_drawn_as_it_moves(seconds: float) -> None:
    """The bins hold all bits of the curve, and a full link uses all of them but what packets add."""
    found = played("trace lte-like", seconds=seconds)
    assert found.offered_mean_bps == shipped_trace("lte-like").curve.bits_by(seconds) / seconds
    assert _bits(found.offered_bps, seconds) == pytest.approx(seconds * found.offered_mean_bps)
    assert len({bps for _, bps in found.offered_bps}) > 20
    carried_bps = _full_bps(found.offered_mean_bps, seconds)
    assert found.carried_mean_bps == pytest.approx(carried_bps, rel=2e-3)
    assert _bits(found.carried_bps, seconds) == pytest.approx(seconds * carried_bps, rel=2e-3)


@pytest.mark.parametrize(
    "words", ["trace lte-like; 5s loss 0.001%", "trace lte-like; 3s delay 1ms; 6s delay 0; repeat 7s"]
)
def test_a_trace_goes_on_through_the_pieces_that_leave_it(words: str) -> None:
    """What is drawn, and every figure of the rate, is the trace's from its own beginning on."""
    found, plain = played(words, seconds=20.0), played("trace lte-like", seconds=20.0)
    assert found.offered_mean_bps == pytest.approx(plain.offered_mean_bps)
    assert found.outage_share == plain.outage_share > 0
    for t_s in (4.0, 5.0, 6.0, 7.0, 14.0, 20.0):  # those bins end there whose pieces do
        cut = [one for one in found.offered_bps if one[0] < t_s - 1e-9]
        exact = shipped_trace("lte-like").curve.bits_by(t_s)
        assert _bits(cut, t_s) == pytest.approx(exact, rel=0.02), t_s
    assert found.carried_mean_bps == pytest.approx(_full_bps(found.offered_mean_bps, 20.0), rel=2e-3)


def test_each_fading_of_a_schedule_is_the_links_own() -> None:
    """The second one too: it is drawn as the model draws it, by the rates that came before it."""
    schedule = parse_schedule("rayleigh 15db 2mhz 100ms; 2s rate 1mbit; 4s rayleigh 15db 2mhz 100ms")
    link = Link[None](schedule.steps[0].link, streams_of(0, "device-1", Direction.UPLINK))
    curves = [link.curve]
    for step in schedule.steps[1:]:
        link.change(step.at_s, step.link)
        curves.append(link.curve)
    found = played(str(schedule), seconds=6.0)
    first, _, second = (None if curve is None else curve.bits_by(2.0) for curve in curves)
    assert first != second
    for from_s, bits in ((0.0, first), (4.0, second)):
        part = [(at_s, bps) for at_s, bps in found.offered_bps if from_s <= at_s < from_s + 2.0]
        assert _bits(part, from_s + 2.0) == pytest.approx(bits)
    assert found.carried_mean_bps == pytest.approx(_full_bps(found.offered_mean_bps, 6.0), rel=0.01)


def test_fading_is_drawn_from_the_seed_of_the_channel() -> None:
    """The same seed draws the same blocks, another one others; the mean is near the ergodic rate."""
    words = "rayleigh 15db 2mhz 10ms"
    found = played(words)
    assert found.offered_bps == played(words).offered_bps != played(words, seed=1).offered_bps
    ergodic_bps = parse_schedule(words).steps[0].link.mean_rate_bps
    assert found.offered_mean_bps == pytest.approx(ergodic_bps, rel=0.05)


def test_lost_messages_are_counted() -> None:
    """In their share, and out of what comes through, which is less by as much."""
    found = played("rate 5mbit loss 20%")
    lost = found.share(lambda one: one.lost is LinkDrop.LOSS)
    assert lost == pytest.approx(0.2, abs=0.04)
    assert found.carried_mean_bps == pytest.approx(0.8 * 5e6 * 1448 / (1448 + 74), rel=0.03)
    assert len(found.delays) == round((1 - lost) * len(found.probes))
    gone = played("rate 5mbit loss 100%")
    assert gone.delay_s(0.5) is None and gone.carried_mean_bps == 0


def test_a_full_queue_bounds_what_comes_through() -> None:
    """10 messages at most are under way, a delay long: that, and not the rate, is the speed."""
    found = played("rate 100mbit delay 100ms limit 10", seconds=5.0)
    size_bytes = 1448 * math.ceil(100e6 * 5 / 8 / 20_000 / 1448)
    assert found.carried_mean_bps == pytest.approx(10 * 8 * size_bytes / 0.1, rel=0.06)


def test_places_of_lost_messages_are_filled_again() -> None:
    """The queue is short, nobody says when what is lost leaves it, and the link stays full all the same."""
    found = played("rate 5mbit loss 50% limit 3")
    assert found.carried_mean_bps == pytest.approx(0.5 * 5e6 * 1448 / (1448 + 74), rel=0.05)
    assert played("rate 5mbit loss 100% limit 1000000").carried_mean_bps == 0


def test_more_messages_than_can_be_sent_leave_the_rest_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue of one packet on a fast link: the mean is that of the time there was, and no line goes on."""
    monkeypatch.setattr(link_messages, "MOST_BULK", 5000)
    found = played("rate 10gbit limit 2kb", seconds=1.0)
    assert found.carried_mean_bps == pytest.approx(10e9 * 1448 / (1448 + 74), rel=0.01)
    assert found.carried_bps[-1][0] < 0.1 and math.isnan(found.carried_bps[-1][1])


def test_a_slow_piece_spoils_no_other() -> None:
    """In each piece messages are as far apart as its own rate asks for, and none waits for another."""
    found = played("rate 20mbit; 5s rate 1kbit; 6s rate 20mbit", seconds=60.0)
    assert len(found.probes) > 1900 and len(found.carried_bps) == 400
    found = played("rate 20mbit; 2s rate 50kbit; 8s rate 20mbit", seconds=10.0)
    slow = [one for one in found.probes if 2.0 <= one.sent_s < 8.0]
    assert 5 <= len(slow) <= 8 < 500 < len(found.probes)
    alone_s = 8 * (1000 + 74)
    assert {round(one.delay_s * 5e4) for one in slow} == {alone_s}
    assert {round(one.delay_s * 20e6) for one in found.probes if one not in slow} == {alone_s}


def test_shares_are_of_the_time() -> None:
    """A slow piece has fewer messages, and they count for as long as it lasts: in the share that was lost or
    late, in percentiles, in the curve that is drawn.
    """
    found = played("rate 20mbit; 4s rate 100kbit loss 100%", seconds=10.0)
    assert found.share(is_lost) == pytest.approx(0.6, abs=0.03)
    assert found.delays[-1][1] == pytest.approx(0.4, abs=0.03)
    found = played("rate 20mbit; 4s rate 100kbit", seconds=10.0)
    fast_s, slow_s = (8 * (1000 + 74) / rate_bps for rate_bps in (20e6, 1e5))
    assert [found.delay_s(share) for share in (0.3, 0.5, 0.99)] == pytest.approx([fast_s, slow_s, slow_s])
    assert max(within for delay_s, within in found.delays if delay_s < 0.01) == pytest.approx(0.4, abs=0.03)


def test_an_outage_takes_the_distance_of_those_around_it() -> None:
    """What it holds back is no more than the link has room for when it goes on, at its end as well."""
    found = played("rate 100kbit; 4s rate 0; 6s rate 100kbit; 8s rate 0", seconds=10.0)
    assert {round(one.stands_s, 6) for one in found.probes} == {round(8 * 1074 / 1e5 / 0.2, 6)}
    assert len([one for one in found.probes if one.sent_s > 8]) == pytest.approx(5, abs=1)


def test_what_a_message_may_expect_is_what_it_meets() -> None:
    """The band of the picture lies around the delays: a trace's own delay is in it, as it changes."""
    found = played("trace nr-like delay 5ms 2ms; 5s delay 20ms 2ms", seconds=10.0)
    trace = shipped_trace("nr-like")
    sending_s = 8 * (1000 + 74) / trace.mean_rate_bps
    assert {one.at_s for one in found.expected} > {0.0, 5.0}
    for each in found.expected:
        own_s = trace.curve.delay_s(each.at_s) or 0.0
        assert each.delay_s == pytest.approx(own_s + sending_s + (0.005 if each.at_s < 5.0 else 0.02))
    inside = 0
    for one in found.probes:
        band = [near for near in found.expected if near.at_s <= one.sent_s][-1]
        inside += abs(one.delay_s - band.delay_s) < band.jitter_s + 1e-3
    assert inside > 0.9 * len(found.probes)


def test_the_delays_are_those_of_the_channels_own_model() -> None:
    """Message by message, for what else arrives twice, late or damaged."""
    words = "rate 2mbit delay 20ms 5ms loss 5% duplicate 5% corrupt 5% reorder 5%"
    found = played(words, seconds=4.0)
    link = Link[None](parse_schedule(words).steps[0].link, streams_of(0, "device-1", Direction.UPLINK))
    expected = list[float]()
    for at_s in dict.fromkeys(one.sent_s for one in found.probes):
        outcome = link.offer(at_s, 1000, None)
        expected += (
            [math.inf] if isinstance(outcome, LinkDrop) else [one.delivery_s - at_s for one in outcome]
        )
    assert [one.delay_s for one in found.probes] == expected
    assert any(one.is_copy for one in found.probes) and any(one.corrupted for one in found.probes)


def test_a_link_without_a_rate_has_none() -> None:
    """Nothing fills it, and nothing is an outage."""
    found = played("delay 20ms")
    assert found.offered_mean_bps == math.inf
    assert found.carried_mean_bps is None and not found.carried_bps
    assert found.delay_s(0.5) == pytest.approx(0.02)
    assert LinkSpec().mean_rate_bps is None
