"""The rules of the model of a link, by example."""

from dataclasses import replace
from math import inf

import pytest
from tests.harness.radio import streams

from draftwire.runtime.link import (
    ONE_PACKET_OVERHEAD_BYTES,
    BurstLoss,
    Distribution,
    Fading,
    Link,
    LinkDrop,
    LinkSpec,
    Passage,
    RandomLoss,
    Trace,
)
from draftwire.runtime.link.curves import Steps

BARE = LinkSpec(overhead_bytes=0, packet_overhead_bytes=0)
"""A message of n bytes is n bytes on the link."""


def _link(spec: LinkSpec, seed: int = 1) -> Link[None]:
    return Link[None](spec, streams(seed))


def _one(outcome: tuple[Passage[None], ...] | LinkDrop) -> Passage[None]:
    assert not isinstance(outcome, LinkDrop) and len(outcome) == 1
    return outcome[0]


def test_a_message_takes_its_time_on_the_link_then_the_delay() -> None:
    """At 1 Mbit/s and 10 ms, 926 + 74 bytes arrive 8 + 10 ms later; the next waits for the link first."""
    assert ONE_PACKET_OVERHEAD_BYTES == 74
    link = _link(LinkSpec(rate_bps=1e6, delay_s=0.01))
    arrivals = [_one(link.offer(at_s, 926, None)).delivery_s for at_s in (0.0, 0.001, 1.0)]
    assert arrivals == pytest.approx([0.018, 0.026, 1.018])


@pytest.mark.parametrize(
    ("size_bytes", "on_link_bytes"), [(0, 74), (1448, 1448 + 74), (1449, 1449 + 140), (4344, 4344 + 206)]
)
def test_every_packet_costs(size_bytes: int, on_link_bytes: int) -> None:
    """A message takes 8 bytes more than its own, and 66 for each packet of 1448, an empty one too."""
    assert LinkSpec().bytes_on_link(size_bytes) == on_link_bytes


def test_a_full_queue_drops_and_says_so() -> None:
    """Over a limit in messages or bytes the newest is dropped; a delivered message makes room again."""
    link = _link(LinkSpec(delay_s=1, limit_messages=2))
    outcomes = [link.offer(t, 10, None) for t in (0.0, 0.1, 0.2, 1.0)]
    assert outcomes[2] is LinkDrop.LIMIT_MESSAGES
    assert [_one(outcomes[at]).delivery_s for at in (0, 1, 3)] == [1.0, 1.1, 2.0]
    link = _link(LinkSpec(delay_s=1, limit_bytes=1500))
    outcomes = [link.offer(0.0, size, None) for size in (1000, 501, 1501, 500)]
    assert outcomes[1:3] == [LinkDrop.LIMIT_BYTES, LinkDrop.OVERSIZE]
    assert _one(outcomes[3]).delivery_s == 1.0
    assert link.statistics(0.5).dropped == {LinkDrop.LIMIT_BYTES: 1, LinkDrop.OVERSIZE: 1}


def test_in_an_outage_everything_waits() -> None:
    """At rate 0 nothing leaves, the queue fills and then drops; when the rate is back all of it goes on."""
    link = _link(replace(BARE, rate_bps=8000, delay_s=0.5, limit_messages=3))
    half = _one(link.offer(0.0, 1000, None))
    assert list(link.change(0.5, replace(link.spec, rate_bps=0))) == [half]
    waiting = [_one(link.offer(at_s, 1000, None)) for at_s in (0.6, 0.7)]
    assert link.offer(0.8, 1000, None) is LinkDrop.LIMIT_MESSAGES
    assert [one.delivery_s for one in (half, *waiting)] == [inf] * 3
    assert link.statistics(1e6).queued == 3
    assert list(link.change(10.0, replace(link.spec, rate_bps=8000))) == [half, *waiting]
    assert [one.delivery_s for one in (half, *waiting)] == pytest.approx([11.0, 12.0, 13.0])


def test_a_rate_step_meets_a_message_that_is_half_sent() -> None:
    """What of a message was sent stays sent: its other half goes by the new rate, and so does the rest."""
    link = _link(replace(BARE, rate_bps=8000, delay_s=0.25))
    gone, half, behind = (_one(link.offer(0.0, 1000, None)) for _ in range(3))
    assert list(link.change(1.5, replace(BARE, rate_bps=4000, delay_s=0.125))) == [half, behind]
    assert (gone.sent_s, gone.delivery_s) == (1.0, 1.25)
    assert [one.sent_s for one in (half, behind)] == [2.5, 4.5]
    assert [one.delivery_s for one in (half, behind)] == [2.625, 4.625]
    assert _one(link.offer(2.0, 500, None)).sent_s == 5.5


def test_what_has_left_is_not_overtaken_by_a_shorter_delay() -> None:
    """A message on its way keeps its time, and those behind a shortened delay wait for it."""
    link = _link(LinkSpec(delay_s=1.0))
    _one(link.offer(0.0, 10, None))
    assert list(link.change(0.5, LinkSpec(delay_s=0.1))) == []
    assert _one(link.offer(0.5, 10, None)).delivery_s == 1.0
    assert _one(link.offer(0.95, 10, None)).delivery_s == pytest.approx(1.05)


def test_without_a_rate_nothing_waits_and_no_backlog_comes_back() -> None:
    """Where sending takes no time any more all that waits leaves at once, and is not owed later."""
    link = _link(replace(BARE, rate_bps=8000))
    waiting = [_one(link.offer(0.0, 1000, None)) for _ in range(3)]
    link.change(0.5, BARE)
    assert [one.delivery_s for one in waiting] == [0.5] * 3
    link.change(0.5, replace(BARE, rate_bps=8000))
    assert _one(link.offer(0.5, 1000, None)).sent_s == 1.5


def test_unused_time_is_lost_without_a_burst() -> None:
    """However long a link was idle, the next message takes its whole time, and the one behind it too."""
    link = _link(replace(BARE, rate_bps=8000))
    for at_s in (0.0, 1000.0):
        assert _one(link.offer(at_s, 1000, None)).sent_s == at_s + 1
        assert _one(link.offer(at_s, 1000, None)).sent_s == at_s + 2


def test_a_burst_is_a_token_bucket() -> None:
    """The bucket is full at first; what it holds leaves at once, the rest at the rate; idle time fills it to
    the brim.
    """
    link = _link(replace(BARE, rate_bps=8000, burst_bytes=1500))
    leaving = [_one(link.offer(at_s, 1000, None)).sent_s for at_s in (0.0, 0.0, 0.0, 3.0, 9.0, 9.0)]
    assert leaving == pytest.approx([0.0, 0.5, 1.5, 3.0, 9.0, 9.5])


def test_a_bucket_keeps_what_it_holds_over_changes() -> None:
    """A change neither fills nor empties it; a bucket that becomes smaller loses what is over its brim."""
    link = _link(replace(BARE, rate_bps=8000, burst_bytes=1500))
    link.offer(0.0, 1000, None)
    link.change(0.25, replace(link.spec, rate_bps=4000))  # 500 + 250 bytes
    link.change(0.5, replace(link.spec, delay_s=0.0, burst_bytes=10_000))  # + 125
    assert _one(link.offer(0.5, 1000, None)).sent_s == pytest.approx(0.75)
    link.change(100.0, replace(link.spec, burst_bytes=1000))
    assert [_one(link.offer(100.0, 1000, None)).sent_s for _ in range(2)] == pytest.approx([100.0, 102.0])
    plain = _link(replace(BARE, rate_bps=8000))
    plain.change(50.0, replace(plain.spec, burst_bytes=5000))
    assert _one(plain.offer(50.25, 1000, None)).sent_s == pytest.approx(51.0)


def test_a_lost_message_takes_its_time_and_its_place() -> None:
    """What is lost on the air was sent: the next message waits for it, the queue holds it until it left."""
    lossy = replace(BARE, rate_bps=8000, loss=RandomLoss(share=1.0), limit_messages=2)
    link = _link(lossy)
    assert [link.offer(at_s, 1000, None) for at_s in (0.0, 0.0, 0.0, 1.0)] == [
        LinkDrop.LOSS,
        LinkDrop.LOSS,
        LinkDrop.LIMIT_MESSAGES,
        LinkDrop.LOSS,
    ]
    assert link.change(1.5, replace(lossy, rate_bps=16_000, loss=None)) == []
    assert _one(link.offer(2.0, 1000, None)).sent_s == 1.5 + 0.25 + 0.5 + 0.5
    counts = link.statistics(1e6)
    assert (counts.dropped, counts.queued) == ({LinkDrop.LOSS: 3, LinkDrop.LIMIT_MESSAGES: 1}, 0)
    assert counts.dropped_bytes == 4000 and counts.delivered == 1


def test_a_lost_message_takes_its_bytes_of_the_queue() -> None:
    """A limit in bytes counts what is lost until it has left, as it does what arrives."""
    spec = replace(BARE, rate_bps=8000, loss=RandomLoss(share=1.0), limit_bytes=1500)
    link = _link(spec)
    assert [link.offer(at_s, 1000, None) for at_s in (0.0, 0.9, 1.0)] == [
        LinkDrop.LOSS,
        LinkDrop.LIMIT_BYTES,
        LinkDrop.LOSS,
    ]


def test_a_repaired_loss_costs_its_sending_and_arq_and_keeps_the_order() -> None:
    """With `arq` nothing is lost: each loss costs the sending and the time once more, and delays what is
    behind it.
    """
    spec = replace(BARE, rate_bps=8000, delay_s=0.5, loss=BurstLoss(to_bad=1.0, to_good=1.0), arq_s=2.0)
    link = _link(spec)  # every other message is lost once
    passages = [_one(link.offer(0.0, 1000, None)) for _ in range(3)]
    assert [one.sent_s for one in passages] == [1.0, 3.0, 4.0]
    assert [one.delivery_s for one in passages] == [1.5, 5.5, 5.5]
    assert link.statistics(9.0).retransmitted == 1


def test_repairs_delay_by_what_theory_says() -> None:
    """On a link that is rarely used the mean delay is sending / (1 - p) + delay + arq p / (1 - p)."""
    spec = replace(BARE, rate_bps=80_000, delay_s=0.02, loss=RandomLoss(share=0.3), arq_s=0.008)
    link = _link(spec)
    times = [9.0 * number for number in range(10_000)]
    delays = [_one(link.offer(at_s, 1000, None)).delivery_s - at_s for at_s in times]
    expected = 0.1 / 0.7 + 0.02 + 0.008 * 0.3 / 0.7
    deviation = 0.108 * (0.3**0.5 / 0.7) / len(delays) ** 0.5
    assert sum(delays) / len(delays) == pytest.approx(expected, abs=4.5 * deviation)


def test_a_copy_is_the_same_bytes_and_takes_no_bits() -> None:
    """A duplicated message arrives twice, the copy by a jitter of its own, damaged alike, never early; the
    message behind it is neither sent later nor delivered before the copy.
    """
    spec = replace(BARE, rate_bps=8000, delay_s=4.0, jitter_s=4.0, duplicate=1, corrupt=1)
    link, apart_s = Link[str](spec, streams(5)), []
    for number in range(50):
        outcome = link.offer(0.0, 1000, f"{number}")
        assert not isinstance(outcome, LinkDrop)
        first, copy = outcome
        assert (first.is_copy, copy.is_copy, first.carried, copy.carried) == (False, True, *[f"{number}"] * 2)
        assert first.flipped_bit == copy.flipped_bit is not None
        assert first.sent_s == copy.sent_s == number + 1
        apart_s.append(copy.delivery_s - first.delivery_s)
    assert min(apart_s) >= 0 and max(apart_s) > 0
    counts = link.statistics(1e6)
    assert (counts.delivered, counts.duplicated, counts.corrupted) == (50, 50, 50)


def test_a_flipped_bit_is_any_of_the_message() -> None:
    """One bit, anywhere from the first to the last; an empty message has none to flip."""
    link = _link(LinkSpec(corrupt=1.0))
    flipped = {_one(link.offer(float(n), 2, None)).flipped_bit for n in range(400)}
    assert flipped == set(range(16))
    assert _one(link.offer(500.0, 0, None)).flipped_bit is None


def test_every_gap_th_message_overtakes() -> None:
    """With `reorder 100% gap 3` every third message skips the delay, and what it overtakes keeps its time."""
    link = _link(LinkSpec(delay_s=1.0, reorder=1.0, reorder_gap=3))
    arrivals = [_one(link.offer(n / 8, 10, None)).delivery_s for n in range(6)]
    assert arrivals == [1.0, 1.125, 0.25, 1.375, 1.5, 0.625]


def test_nothing_waits_for_one_that_overtakes() -> None:
    """An overtaking message that is repaired arrives when it does, and holds nobody up, nor does a change."""
    loss = BurstLoss(to_bad=1.0, to_good=1.0)  # the second message is lost once
    spec = replace(BARE, rate_bps=8000, delay_s=1.0, reorder=1.0, reorder_gap=2, loss=loss, arq_s=9.0)
    link = _link(spec)
    first, second = (_one(link.offer(0.0, 1000, None)) for _ in range(2))
    assert (first.delivery_s, second.sent_s, second.delivery_s) == (2.0, 3.0, 12.0)
    assert list(link.change(4.0, replace(spec, loss=None, arq_s=None))) == []
    assert _one(link.offer(4.0, 1000, None)).delivery_s == 6.0


def test_a_copy_overtakes_with_its_message() -> None:
    """Both arrivals of an overtaking message skip the delay."""
    outcome = _link(LinkSpec(delay_s=1.0, reorder=1.0, duplicate=1.0)).offer(0.0, 10, None)
    assert not isinstance(outcome, LinkDrop)
    assert [one.delivery_s for one in outcome] == [0.0, 0.0]


def test_jitter_brings_nothing_before_it_was_sent() -> None:
    """A jitter that is wider than the delay is cut off where the message left."""
    spec = LinkSpec(delay_s=0.001, jitter_s=0.1, distribution=Distribution.NORMAL)
    early_s = [_one(_link(spec, seed).offer(0.0, 10, None)).delivery_s for seed in range(50)]
    assert min(early_s) == 0.0 and max(early_s) > 0.1


def test_a_trace_tells_the_delay_of_what_is_sent_then() -> None:
    """Where a trace knows delays, a message has that of the moment it leaves, not of when it came, and the
    link's own besides.
    """
    trace = Trace(name="t", curve=Steps([0, 1, 2], [8000, 8000], [0.5, 0.25]))
    link = Link[None](replace(BARE, trace=trace, delay_s=9.0), streams(1), began_s=10.0)
    passages = [_one(link.offer(10.0, 900, None)) for _ in range(3)]
    assert [one.delivery_s for one in passages] == pytest.approx([20.4, 21.05, 22.2])


def test_a_trace_goes_on_when_something_else_changes() -> None:
    """An order that leaves the trace alone doesn't begin it anew; another rate in between does."""
    trace = Trace(name="t", curve=Steps([0, 1, 2], [0, 8000]))
    link = Link[None](replace(BARE, trace=trace), streams(1), began_s=10.0)
    link.change(11.5, replace(link.spec, delay_s=0.25))
    assert (link.began_s, _one(link.offer(11.5, 500, None)).delivery_s) == (10.0, 12.25)
    link.change(12.5, replace(BARE, rate_bps=8000))
    link.change(12.5, replace(BARE, trace=trace))
    assert (link.began_s, _one(link.offer(12.5, 500, None)).delivery_s) == (12.5, 14.0)


def test_a_fading_that_comes_back_is_another_one() -> None:
    """A schedule that fades again and again doesn't play the same blocks; a link made anew does."""
    fading = LinkSpec(fading=Fading(snr_db=10, bandwidth_hz=1e6, coherence_s=0.1))
    link = _link(fading)
    first = link.curve
    link.change(5.0, LinkSpec(rate_bps=0))
    link.change(6.0, fading)
    again, anew = link.curve, _link(fading).curve
    assert first is not None and again is not None and anew is not None
    assert first.bits_by(1.0) == anew.bits_by(1.0) != again.bits_by(1.0)


def test_a_fadings_blocks_follow_from_the_rates_before_it() -> None:
    """Whoever joins later, or draws a picture, needs to know nothing of the past but how many there were."""
    spec = LinkSpec(fading=Fading(snr_db=10, bandwidth_hz=1e6, coherence_s=0.1))
    played = _link(spec)
    for at_s, other in ((1.0, LinkSpec(rate_bps=5e6)), (2.0, LinkSpec(rate_bps=6e6)), (3.0, spec)):
        played.change(at_s, other)
    joined = Link[None](spec, streams(1), began_s=3.0, rates_before=3)
    assert spec.fading is not None
    drawn = spec.fading.curve(streams(1).fading_seed(3))
    for at_s in (0.35, 7.0):
        assert _bits(played, at_s) == _bits(joined, at_s) == drawn.bits_by(at_s)
    late = _link(LinkSpec(rate_bps=5e6))
    late.change(9.0, spec, began_s=3.0, rates_before=3)
    assert (late.began_s, _bits(late, 7.0)) == (3.0, drawn.bits_by(7.0))


def test_a_change_can_bring_a_rate_that_began_before() -> None:
    """What waits goes by it from now on, and no bit of before is owed."""
    trace = Trace(name="t", curve=Steps([0, 10, 11, 12], [80_000, 0, 8000]))
    link = _link(replace(BARE, rate_bps=8000))
    half = _one(link.offer(10.0, 1000, None))
    link.change(10.5, replace(BARE, trace=trace), began_s=0.0, rates_before=4)
    assert link.began_s == 0.0
    assert half.sent_s == pytest.approx(11.5)  # half of it waits for the trace's last second
    assert _one(link.offer(10.6, 500, None)).sent_s == pytest.approx(12.0)


def _bits(link: Link[None], at_s: float) -> float:
    assert link.curve is not None
    return link.curve.bits_by(at_s)


def test_hours_at_a_high_rate_stay_exact() -> None:
    """Nine hours of a saturated link at 20 Mbit/s, changed 400 times: the last message is right to 1 us."""
    link, size_bytes, now_s = _link(replace(BARE, rate_bps=20e6)), 2**22, 0.0
    for number in range(1, 20_001):
        passage = _one(link.offer(now_s, size_bytes, None))
        now_s = passage.sent_s - 0.01  # never idle
        if number % 100 == 0:
            link.change(now_s, replace(link.spec, rate_bps=10e6))
            link.change(now_s, replace(link.spec, rate_bps=20e6))
    spent_s = 20_000 * size_bytes * 8 / 20e6
    assert spent_s > 9 * 3600
    assert passage.sent_s == pytest.approx(spent_s, abs=1e-6)
