"""What waits on a link: how much may, for how long, and what becomes of it when nobody wants it any more."""

import weakref
from dataclasses import replace
from math import inf

from tests.harness.radio import streams

from draftwire.runtime.link import Link, LinkDrop, LinkSpec, Passage, RandomLoss

BARE = LinkSpec(overhead_bytes=0, packet_overhead_bytes=0)
"""A message of n bytes is n bytes on the link."""


def _link(spec: LinkSpec, seed: int = 1) -> Link[None]:
    return Link[None](spec, streams(seed))


def _one(outcome: tuple[Passage[None], ...] | LinkDrop) -> Passage[None]:
    assert not isinstance(outcome, LinkDrop) and len(outcome) == 1
    return outcome[0]


def test_a_limit_of_the_queue_leaves_out_what_is_on_its_way() -> None:
    """As tbf's: a long delay takes no room of it, what has not left does, and so does what will be lost."""
    spec = replace(BARE, rate_bps=80_000, delay_s=10.0, limit_bytes=3000)
    assert isinstance(_offers(spec, 0.2)[-1], LinkDrop)
    link = _link(replace(spec, limit_is_of_queue=True, loss=RandomLoss(share=1.0)))
    for at_s in range(20):
        outcomes = [link.offer(at_s, 1000, None) for _ in range(4)]
        assert outcomes == [LinkDrop.LOSS] * 3 + [LinkDrop.LIMIT_BYTES]
    assert LinkDrop.LIMIT_BYTES not in _offers(replace(spec, limit_is_of_queue=True), 0.1)
    assert LinkDrop.LIMIT_BYTES in _offers(replace(spec, limit_is_of_queue=True), 0.05)


def test_a_limit_of_the_queue_holds_after_a_change() -> None:
    """What waits is counted anew, whichever limit there was."""
    spec = replace(BARE, rate_bps=8000, delay_s=10.0, limit_bytes=3000)
    for before in (spec, replace(spec, limit_is_of_queue=True)):
        link = _link(before)
        for _ in range(3):
            link.offer(0.0, 1000, None)
        link.change(1.5, replace(spec, limit_is_of_queue=True))
        assert not isinstance(link.offer(1.5, 1000, None), LinkDrop)
        assert link.offer(1.5, 1, None) is LinkDrop.LIMIT_BYTES
        assert not isinstance(link.offer(2.0, 1000, None), LinkDrop)


def test_a_bucket_gives_nothing_in_an_outage() -> None:
    """What it holds stays in it until the rate is back."""
    spec = replace(BARE, rate_bps=8000, burst_bytes=8000)
    link = _link(spec)
    assert _one(link.offer(1.0, 6000, None)).sent_s == 1.0
    link.change(1.0, replace(spec, rate_bps=0))
    held = [_one(link.offer(1.5, 1000, None)) for _ in range(3)]
    assert [one.delivery_s for one in held] == [inf] * 3
    link.change(60.0, spec)
    assert [one.sent_s for one in held] == [60.0, 60.0, 61.0]


def test_a_link_that_is_given_up_delivers_nothing_more_and_counts_it() -> None:
    """All that was under way is dropped, copies and what was lost apart."""
    link = _link(replace(BARE, delay_s=1.0, duplicate=1.0, limit_bytes=9000, limit_is_of_queue=True))
    for at_s in (0.0, 0.5, 0.75):
        link.offer(at_s, 100, None)
    link.abandon(1.25)
    counts = link.statistics(9.0)
    assert (counts.delivered, counts.queued, counts.queued_bytes) == (1, 0, 0)
    assert (counts.dropped, counts.dropped_bytes) == ({LinkDrop.LET_GO: 2}, 200)
    both = counts + counts
    assert (both.offered, both.dropped, both.dropped_bytes) == (6, {LinkDrop.LET_GO: 4}, 400)


def test_who_holds_a_link_may_refuse_for_it() -> None:
    """The message counts as the link's, and the next one meets the numbers that it would have met."""
    spec, refused = replace(BARE, loss=RandomLoss(share=0.5)), LinkDrop.CHANNEL_FULL
    link, other = _link(spec), _link(spec)
    fates = [link.offer(0.0, 10, None, refused=refused if at % 2 else None) for at in range(40)]
    assert fates[1::2] == [refused] * 20
    assert [isinstance(one, LinkDrop) for one in fates[::2]] == [
        isinstance(other.offer(0.0, 10, None), LinkDrop) for _ in range(40)
    ][::2]
    assert link.statistics(0.0).dropped[refused] == 20


def test_of_a_lost_message_nothing_is_kept() -> None:
    """It takes its time on the link, and not its memory."""

    class Carried:
        pass

    link = Link[Carried](replace(BARE, rate_bps=0, loss=RandomLoss(share=1.0)), streams(1))
    carried = Carried()
    kept = weakref.ref(carried)
    assert link.offer(0.0, 1000, carried) is LinkDrop.LOSS
    del carried
    assert kept() is None


def _offers(spec: LinkSpec, every_s: float) -> list[tuple[Passage[None], ...] | LinkDrop]:
    """What becomes of 20 messages of 1000 bytes, one after the other."""
    link = _link(spec)
    return [link.offer(number * every_s, 1000, None) for number in range(20)]
