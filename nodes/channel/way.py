"""One direction of one device: its link in use, and what is under way there, in the order of its arrivals.

Only the next arrival of a way stands on the node's heap. So a change of the link, which may move everything
that waits, costs one place there, and what is under way is bounded by the link's own limit.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from math import inf

from draftwire.nodes.channel.deliveries import Deliveries
from draftwire.nodes.channel.playing import Direction, PlayedLink
from draftwire.runtime.link import Link, LinkDrop, LinkSpec, LinkStatistics, Passage, Streams

Parcel = tuple[Callable[[bytes, bytes], object], bytes, bytes]
"""Who sends, to whom, what."""


class Way:
    """A link, and its deliveries."""

    __slots__ = (
        "_advance",
        "_deliveries",
        "_last_s",
        "_link",
        "_queue",
        "_timers",
        "direction",
        "name",
        "played",
    )

    def __init__(
        self,
        name: str,
        direction: Direction,
        *,
        played: PlayedLink,
        streams: Streams,
        deliveries: Deliveries,
        advance: Callable[[PlayedLink, float], None],
    ) -> None:
        """`played` has been started; `advance` lets its changes happen until a time."""
        self.name = name
        "of the device"
        self.direction = direction
        self.played = played
        "what the link does over time"
        self._advance = advance
        self._deliveries = deliveries
        self._link: Link[Parcel] = Link(played.spec, streams, began_s=played.began_s)
        self._last_s = played.began_s
        "of what has come so far, messages and changes: the link's own time never goes back"
        self._queue: list[tuple[float, int, bool, Passage[Parcel]]] = []
        self._timers: list[float] = []
        "when `_deliver` will be called, the soonest last"

    @property
    def waits(self) -> bool:
        """Whether anything is under way."""
        return bool(self._queue)

    def take(
        self, at_s: float, send: Callable[[bytes, bytes], object], peer: bytes, data: bytes
    ) -> LinkDrop | None:
        """Let a message into the link, to be sent on when that delivers it; or why it never does."""
        if at_s >= self.played.due_s:  # it may come before the timer of a change that it comes behind
            self._advance(self.played, at_s)
        if at_s > self._last_s:  # else it was read before a change that has been made meanwhile
            self._last_s = at_s
        outcome = self._link.offer(self._last_s, len(data), (send, peer, data))
        if not isinstance(outcome, tuple):
            return outcome
        for passage in outcome:
            heappush(self._queue, (passage.delivery_s, passage.number, passage.is_copy, passage))
        self._arm()
        return None

    def change(self, at_s: float, spec: LinkSpec) -> None:
        """From then on the link is this one: see Link.change."""
        self._last_s = max(self._last_s, at_s)
        if self._link.change(self._last_s, spec):
            self._queue = [(one.delivery_s, one.number, one.is_copy, one) for *_, one in self._queue]
            heapify(self._queue)
            self._arm()

    def statistics(self, now_s: float) -> LinkStatistics:
        """The link's counts."""
        return self._link.statistics(now_s)

    def _arm(self) -> None:
        """Be called for the next arrival, unless that has been seen to; what an outage holds has none."""
        if self._queue:
            due_s = self._queue[0][0]
            if due_s < (self._timers[-1] if self._timers else inf):
                self._timers.append(due_s)
                self._deliveries.add(due_s, self._deliver)

    def _deliver(self) -> bool:
        """Hand the next message over; False: it has been put off since."""
        due_s = self._timers.pop()
        if due_s >= self.played.due_s:  # a change that is late may put it off, too
            self._advance(self.played, due_s)
        delivered = bool(self._queue) and self._queue[0][0] <= due_s
        if delivered:
            passage = heappop(self._queue)[3]
            send, peer, data = passage.carried
            send(peer, data if passage.flipped_bit is None else flipped(data, passage.flipped_bit))
        self._arm()
        return delivered


def flipped(data: bytes, bit: int) -> bytes:
    """A copy with one bit turned; the first one is the lowest of the first byte."""
    copy = bytearray(data)
    copy[bit // 8] ^= 1 << bit % 8
    return bytes(copy)


__all__ = ["Way", "flipped"]
