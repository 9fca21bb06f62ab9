"""One direction of one device: its link in use, and what is under way there, in the order of its arrivals.

Only the next arrival of a way stands on the node's heap. So a change of the link, which may move everything
that waits, costs one place there. What is under way is bounded by the link's own limit, and by a Room that
all ways of a channel share. Where devices share a Radio, what has not left is no arrival yet: the radio says
when it is one.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from math import inf
from typing import Final

from draftwire.nodes.channel.deliveries import Deliveries
from draftwire.nodes.channel.playing import Direction, PlayedLink
from draftwire.nodes.channel.radio import Parcel, Radio
from draftwire.runtime.link import Link, LinkDrop, LinkStatistics, Passage, SharedLink, Streams

MOST_UNDER_WAY_BYTES: Final = 256 * 2**20
"""On all links of a channel together; above it messages are dropped, CHANNEL_FULL. One link's own limit is of
messages, and a thousand may be a gigabyte."""

MESSAGE_BYTES: Final = 700
"""What a message takes of that beside its own bytes."""

LOOK_AHEAD_S: Final = 0.1
"""Over which the rate of a link that has just begun is told."""


class Room:
    """For what is under way on the links of a channel."""

    __slots__ = ("left_bytes",)

    def __init__(self, most_bytes: int = MOST_UNDER_WAY_BYTES) -> None:
        self.left_bytes = most_bytes


class Way:
    """A link, and its deliveries."""

    __slots__ = (
        "_advance",
        "_deliveries",
        "_last_s",
        "_link",
        "_queue",
        "_radio",
        "_room",
        "_shared",
        "_timers",
        "direction",
        "name",
        "played",
        "unsent",
    )

    def __init__(
        self,
        name: str,
        direction: Direction,
        *,
        played: PlayedLink,
        streams: Streams,
        deliveries: Deliveries,
        room: Room,
        advance: Callable[[PlayedLink, float], None],
        radio: Radio | None = None,
    ) -> None:
        """`played` has been started; `advance` lets its changes happen until a time. `radio`: what it shares
        with others; None: nothing.
        """
        self.name = name
        "of the device"
        self.direction = direction
        self.played = played
        "what the link does over time"
        self.unsent = 0
        "messages that the link has delivered, and whose connection was gone, or did not take them"
        self._advance = advance
        self._deliveries = deliveries
        self._room = room
        self._radio = radio
        spec, began_s, rates_before = played.spec, played.began_s, played.rates_before
        self._shared: SharedLink[Parcel] | None = None
        if radio is not None:
            self._shared = radio.join(
                name, spec, streams, began_s=began_s, rates_before=rates_before, leaves=self._leaves
            )
        self._link: Link[Parcel] = self._shared or Link(
            spec, streams, began_s=began_s, rates_before=rates_before
        )
        self._last_s = played.began_s
        "of what has come so far, messages and changes: the link's own time never goes back"
        self._queue: list[tuple[float, int, bool, Passage[Parcel]]] = []
        self._timers: list[float] = []
        "when `_deliver` will be called, the soonest last"

    @property
    def waits(self) -> bool:
        """Whether anything is under way."""
        return bool(self._queue) or (self._shared is not None and self._shared.waits)

    @property
    def air_s(self) -> float:
        """For how long it has had the radio; 0 without one."""
        return 0.0 if self._shared is None else self._shared.air_s

    def take(
        self, at_s: float, send: Callable[[bytes, bytes], object], peer: bytes, data: bytes
    ) -> LinkDrop | None:
        """Let a message into the link, to be sent on when that delivers it; or why it never does."""
        if at_s >= self.played.due_s:  # it may come before the timer of a change that it comes behind
            self._advance(self.played, at_s)
        if self._radio is not None:
            at_s = self._radio.reach(at_s)
        if at_s > self._last_s:  # else it was read before a change that has been made meanwhile
            self._last_s = at_s
        size_bytes = len(data)
        takes_bytes = size_bytes + MESSAGE_BYTES
        full = LinkDrop.CHANNEL_FULL if takes_bytes > self._room.left_bytes else None
        outcome = self._link.offer(self._last_s, size_bytes, (send, peer, data), refused=full)
        drop = None if isinstance(outcome, tuple) else outcome
        passages = outcome if isinstance(outcome, tuple) else ()
        self._room.left_bytes -= takes_bytes * len(passages)
        if self._radio is not None:
            self._radio.settle()  # which knows when they arrive
            return drop
        for passage in passages:
            heappush(self._queue, (passage.delivery_s, passage.number, passage.is_copy, passage))
        self._arm()
        return drop

    def change(self, at_s: float) -> None:
        """From then on the link is what is played: see Link.change."""
        self._last_s = max(self._last_s, at_s)
        played = self.played
        if self._link.change(
            self._last_s, played.spec, began_s=played.began_s, rates_before=played.rates_before
        ):
            self._queue = [(one.delivery_s, one.number, one.is_copy, one) for *_, one in self._queue]
            heapify(self._queue)
            self._arm()
        if self._radio is not None:
            self._radio.settle()

    @property
    def next_s(self) -> float:
        """When the next message arrives, or the link it waits on changes; inf: as things are, never.

        On a shared radio it may be later.
        """
        if not self.waits:
            return inf
        arrives_s = self._queue[0][0] if self._queue else inf
        if self._radio is not None:
            arrives_s = min(arrives_s, self._radio.next_s)
        return min(arrives_s, self.played.due_s)

    def abandon(self, at_s: float) -> None:
        """Drop what is under way, and count it. It takes nothing more."""
        at_s = max(self._last_s, at_s)
        if self._radio is not None and self._shared is not None:
            self._radio.reach(at_s)
            self._radio.settle()
            waiting = [one for one in self._shared.unsent() if not one.is_lost]
            self._room.left_bytes += sum(map(_takes_bytes, waiting))
        self._link.abandon(at_s)
        if self._radio is not None and self._shared is not None:
            self._radio.leave(self._shared)
        self._room.left_bytes += sum(_takes_bytes(passage) for *_, passage in self._queue)
        self._queue.clear()
        if self._timers:
            self._timers.clear()
            self._deliveries.forget(self._deliver)

    def statistics(self, now_s: float) -> LinkStatistics:
        """The link's counts; whoever asks has let the radio reach that time, see Radio."""
        return self._link.statistics(now_s)

    def rate_bps(self, from_s: float, to_s: float) -> float | None:
        """What the link can carry: its mean over that time, as far as it was what it is now.

        Of a shared radio, if it had all the air. None: sending takes no time.
        """
        curve, began_s = self._link.curve, self._link.began_s
        if curve is None:
            return None
        begin_s, end_s = max(0.0, from_s - began_s), max(0.0, to_s - began_s)
        if end_s <= begin_s:
            end_s = begin_s + LOOK_AHEAD_S  # it has just begun: what it will do
        return (curve.bits_by(end_s) - curve.bits_by(begin_s)) / (end_s - begin_s)

    def _leaves(self, passage: Passage[Parcel]) -> None:
        """The radio has sent it."""
        heappush(self._queue, (passage.delivery_s, passage.number, passage.is_copy, passage))
        self._arm()

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
            self._room.left_bytes += _takes_bytes(passage)
            send, peer, data = passage.carried
            if passage.flipped_bit is not None:
                data = flipped(data, passage.flipped_bit)
            if send(peer, data) is False:
                self.unsent += 1
        self._arm()
        return delivered


def _takes_bytes(passage: Passage[Parcel]) -> int:
    return passage.size_bytes + MESSAGE_BYTES


def flipped(data: bytes, bit: int) -> bytes:
    """A copy with one bit turned; the first one is the lowest of the first byte."""
    copy = bytearray(data)
    copy[bit // 8] ^= 1 << bit % 8
    return bytes(copy)


__all__ = ["MESSAGE_BYTES", "MOST_UNDER_WAY_BYTES", "Room", "Way", "flipped"]
