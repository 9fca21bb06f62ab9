"""What `link plot` finds by playing messages through a link is what the link's words say."""

import math

import pytest
from tests.harness.played import played

from draftwire.nodes.channel.links import streams_of
from draftwire.nodes.channel.playing import Direction
from draftwire.runtime.link import Link, LinkDrop, LinkSpec, parse_schedule

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


def test_a_moving_rate_is_drawn_as_it_moves() -> None:
    """The bins hold all bits of the curve, and a full link uses nearly all of them, in the same bins."""
    found = played("trace lte-like", seconds=20.0)
    ends = [*(at_s for at_s, _ in found.offered_bps[1:]), 20.0]
    bits = sum(bps * (end_s - at_s) for (at_s, bps), end_s in zip(found.offered_bps, ends, strict=True))
    assert bits == pytest.approx(20.0 * found.offered_mean_bps)
    assert len({bps for _, bps in found.offered_bps}) > 20
    assert 0.9 < (found.carried_mean_bps or 0) / found.offered_mean_bps < 0.98


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
    assert len(found.delays_s) == round((1 - lost) * len(found.probes))
    gone = played("rate 5mbit loss 100%")
    assert gone.delay_s(0.5) is None and gone.carried_mean_bps == 0


def test_a_full_queue_bounds_what_comes_through() -> None:
    """10 messages at most are under way, a delay long: that, and not the rate, is the speed."""
    found = played("rate 100mbit delay 100ms limit 10", seconds=5.0)
    size_bytes = 1448 * math.ceil(100e6 * 5 / 8 / 20_000 / 1448)
    assert found.carried_mean_bps == pytest.approx(10 * 8 * size_bytes / 0.1, rel=0.06)


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
