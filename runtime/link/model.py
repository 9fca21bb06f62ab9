"""The model of one direction of a link: what arrives at one end when, given what was put in at the other.

A link has a curve, bits_by(t): how many bits it could have sent by then. A message of b bits, overhead
included, that comes at time t:

    from     = max(end, bits_by(t) - burst)      it waits for what came before; unused time is lost
    end      = from + b                          then takes its own bits of the curve
    sent     = the first time with bits_by >= end
    delivery = sent + delay + jitter             added once, never building up
    delivery = max(delivery, delivery before)    and never overtakes the message before it

So a rate is a rate whatever its curve, jitter can't reorder, and a link that changes goes on with what waits
on it: see `Link.change`. What befalls a message on the way (impairments.py) enters so:

    lost          it takes its b bits all the same, and its place in the queue until it has left
    sent again    b bits for each try, and delay + `arq` for each loss; what is behind it waits
    overtaking    delivery = sent, whatever is on its way
    a copy        made behind the link: it takes no bits, has a jitter of its own, and is the same bytes;
                  it overtakes as its message does

A message that finds the queue full is dropped, counted and told so; the queue is everything accepted and not
yet delivered, as with netem, or in bytes what has not left yet, as with tbf. Pure: no clock, no socket, no
task. The caller brings the time of each message, non-decreasing, and uniform numbers.
"""

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from heapq import heapify, heappop, heappush
from operator import attrgetter
from types import MappingProxyType
from typing import Final, Generic, Self, TypeVar, cast

from draftwire.runtime.link.curves import Steady
from draftwire.runtime.link.impairments import Draws, Fate
from draftwire.runtime.link.spec import Curve, LinkSpec
from draftwire.runtime.link.streams import Streams

T = TypeVar("T")


class LinkDrop(StrEnum):
    """Why a link took a message and delivers it never."""

    LIMIT_MESSAGES = "limit_messages"
    LIMIT_BYTES = "limit_bytes"
    OVERSIZE = "oversize"
    "the message alone is larger than the limit in bytes"
    LOSS = "loss"
    "lost on the way, as `loss` says"
    CHANNEL_FULL = "channel_full"
    "there was no room in whatever holds this link and others"
    LET_GO = "let_go"
    "under way when the link was given up, see `Link.abandon`"


@dataclass(slots=True, kw_only=True)
class Passage(Generic[T]):
    """A message on its way. Its times are as planned; `Link.change` may plan them anew."""

    number: int
    carried: T
    "nothing, of a lost one"
    size_bytes: int
    sent_s: float = math.inf
    "when its last bit has left; inf: not as things are"
    delivery_s: float = math.inf
    "when it arrives; inf: not as things are"
    flipped_bit: int | None = None
    "of the message, 0 to 8 size - 1; None: it arrives as it was"
    is_copy: bool = False
    "whether it is the second arrival of a message"
    _end_bits: float = 0.0
    _fate: Fate = field(repr=False)

    @property
    def is_lost(self) -> bool:
        """Whether it never arrives; nobody but its link has such a one."""
        return self._fate.lost


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStatistics:
    """Counts since the link was made: offered = delivered + queued + dropped, in messages and in bytes.

    Copies are none of these: a message that arrives twice is delivered once.
    """

    offered: int
    offered_bytes: int
    delivered: int
    delivered_bytes: int
    queued: int
    queued_bytes: int
    dropped: Mapping[LinkDrop, int]
    "messages; a cause that never occurred is absent"
    dropped_bytes: int
    duplicated: int
    "copies"
    corrupted: int
    retransmitted: int
    "times that a message was sent again"

    def __add__(self, other: Self) -> Self:
        """Both together."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        dropped = Counter(self.dropped)
        dropped.update(other.dropped)
        return type(self)(**sums, dropped=MappingProxyType(dict(dropped)))


_COUNTS: Final = tuple(one.name for one in fields(LinkStatistics) if one.name != "dropped")


class Link(Generic[T]):
    """One direction of a link, in use."""

    def __init__(
        self, spec: LinkSpec, streams: Streams, *, began_s: float = 0.0, rates_before: int = 0
    ) -> None:
        """`began_s`: when it began to be so, time 0 of a trace and no later than the first message.
        `rates_before`: how often the rate had become another one by then, which tells fadings apart.
        """
        self._streams = streams
        self._draws = Draws(streams)
        self._under_way: list[tuple[float, int, bool, Passage[T]]] = []
        "a heap by delivery; of what is lost, by when it has left"
        self._waiting: deque[Passage[T]] = deque()
        self._waiting_bytes = 0
        "of what has not left, where the limit asks"
        self._number = 0
        self._queued = self._queued_bytes = 0
        self._doomed = self._doomed_bytes = 0
        "lost messages that have not left"
        self._end_bits = -math.inf
        "where on the curve the last message ends; far behind: the bucket is full"
        self._lost_bits = 0.0
        "of its curve, which others have had: see cell.py"
        self._sent_s = self._in_order_s = -math.inf
        "when the last message leaves, and when the last that overtakes nothing arrives"
        self._offered_bytes = self._dropped_bytes = 0
        self._dropped: Counter[LinkDrop] = Counter()
        self._duplicated = self._corrupted = self._retransmitted = 0
        self._spec = spec
        self._begin(began_s, rates_before)

    @property
    def spec(self) -> LinkSpec:
        """What it does now; see `change`."""
        return self._spec

    @property
    def curve(self) -> Curve | None:
        """Its rate over time, counted from `began_s`; None: sending takes no time."""
        return self._curve

    @property
    def began_s(self) -> float:
        """When its rate began to be what it is: a change of something else leaves a trace where it is."""
        return self._origin_s

    def offer(
        self, now_s: float, size_bytes: int, carried: T, *, refused: LinkDrop | None = None
    ) -> tuple[Passage[T], ...] | LinkDrop:
        """Put a message in, no earlier than the last one or the last change.

        One passage, two if it is duplicated, or why it never arrives. `refused`: why whoever holds the link
        takes none now, which counts as a drop of the link's own.
        """
        self._number += 1
        self._offered_bytes += size_bytes
        spec = self._spec
        fate = self._draws.next(spec, size_bytes)
        self._release(now_s)
        cause = refused or self._refusal(size_bytes, now_s)
        if cause is not None:
            return self._drop(cause, size_bytes)
        bits = 8.0 * spec.bytes_on_link(size_bytes)
        if fate.losses:
            bits *= 1 + fate.losses
            self._retransmitted += fate.losses
        end_bits = self._take(now_s, bits)
        passage = Passage(
            number=self._number,
            carried=carried,
            size_bytes=size_bytes,
            flipped_bit=fate.flipped_bit,
            _end_bits=end_bits,
            _fate=fate,
        )
        passages: tuple[Passage[T], ...] = (passage,)
        if fate.copied and not fate.lost:
            passages = (passage, replace(passage, is_copy=True))
            self._duplicated += 1
        self._put(passages, now_s)
        if spec.limit_is_of_queue:
            self._waiting.append(passage)
            self._waiting_bytes += size_bytes
        if fate.lost:
            passage.carried = cast("T", None)  # nobody asks for it again, and it may be large
            self._doomed += 1
            self._doomed_bytes += size_bytes
            return self._drop(LinkDrop.LOSS, size_bytes)
        self._queued += 1
        self._queued_bytes += size_bytes
        self._corrupted += fate.flipped_bit is not None
        return passages

    def change(
        self, now_s: float, spec: LinkSpec, *, began_s: float | None = None, rates_before: int | None = None
    ) -> Sequence[Passage[T]]:
        """From now on it is this: what has left keeps its times, what waits goes on by the new curve.

        Bits that were sent stay sent; what the bucket of `burst` holds stays in it. A rate, trace or fading
        that is what it was goes on where it was; another one begins now, unless `began_s` and `rates_before`
        say where it is. Returns the passages whose arrivals are other ones now. The time is no earlier than
        the last message's, nor than `began_s`.
        """
        self._release(now_s)
        before, self._spec = self._spec, spec
        left, waiting = self._divided(now_s)
        done_bits = 0.0
        if self._curve is not None:
            done_bits = self._bits_by(now_s)
            self._end_bits = max(self._end_bits, done_bits - 8.0 * before.burst_bytes)
        goes_on = spec.has_rate_of(before)
        if began_s is None:
            began_s = self._origin_s if goes_on else now_s
        if rates_before is None:
            rates_before = self._rates_before + (not goes_on)
        if not goes_on or (began_s, rates_before) != (self._origin_s, self._rates_before):
            self._begin(began_s, rates_before)
            if self._curve is not None and began_s < now_s:
                done_bits -= self._bits_by(now_s)
            self._end_bits -= done_bits
            for passage in waiting:
                passage._end_bits -= done_bits
        self._sent_s = now_s
        in_order = (one.delivery_s for one in left if not one._fate.overtakes)
        self._in_order_s = max(in_order, default=-math.inf)
        changed = self._go_on(left, waiting, now_s)
        self._waiting.clear()
        if spec.limit_is_of_queue:
            self._waiting.extend(one for one in waiting if not one.is_copy)
        self._waiting_bytes = sum(one.size_bytes for one in self._waiting)
        return changed

    def abandon(self, now_s: float) -> None:
        """Nothing that is under way arrives any more: all of it is dropped, and counted."""
        self._release(now_s)
        if self._queued:
            self._dropped[LinkDrop.LET_GO] += self._queued
            self._dropped_bytes += self._queued_bytes
        self._queued = self._queued_bytes = self._doomed = self._doomed_bytes = self._waiting_bytes = 0
        self._under_way.clear()
        self._waiting.clear()

    def statistics(self, now_s: float) -> LinkStatistics:
        """The counts as they stand at `now_s`; asking changes no delivery."""
        self._release(now_s)
        return LinkStatistics(
            offered=self._number,
            offered_bytes=self._offered_bytes,
            delivered=self._number - self._queued - self._dropped.total(),
            delivered_bytes=self._offered_bytes - self._queued_bytes - self._dropped_bytes,
            queued=self._queued,
            queued_bytes=self._queued_bytes,
            dropped=MappingProxyType(dict(self._dropped)),
            dropped_bytes=self._dropped_bytes,
            duplicated=self._duplicated,
            corrupted=self._corrupted,
            retransmitted=self._retransmitted,
        )

    def _begin(self, began_s: float, rates_before: int) -> None:
        """The rate is another one, since then."""
        self._origin_s, self._rates_before, self._lost_bits = began_s, rates_before, 0.0
        self._curve = self._new_curve()
        if self._curve is None:
            self._end_bits = -math.inf

    def _new_curve(self) -> Curve | None:
        spec = self._spec
        if spec.trace is not None:
            return spec.trace.curve
        if spec.fading is not None:
            return spec.fading.curve(self._streams.fading_seed(self._rates_before))
        return None if spec.rate_bps is None else Steady(rate_bps=spec.rate_bps)

    def _take(self, now_s: float, bits: float) -> float:
        """The end on the curve of a message that comes now."""
        if self._curve is None:
            return 0.0
        idle_bits = self._bits_by(now_s) - 8.0 * self._spec.burst_bytes
        self._end_bits = max(self._end_bits, idle_bits) + bits
        return self._end_bits

    def _bits_by(self, at_s: float) -> float:
        """What it could have sent by then; it has a curve."""
        assert self._curve is not None
        return self._curve.bits_by(max(0.0, at_s - self._origin_s)) - self._lost_bits

    def _when(self, bits: float) -> float:
        """By when it can have sent them."""
        assert self._curve is not None
        return self._origin_s + self._curve.when(bits + self._lost_bits)

    def _put(self, passages: Sequence[Passage[T]], now_s: float) -> None:
        """A message that has come, and its copy, as the last ones to leave."""
        for passage in passages:
            self._plan(passage, now_s if self._curve is None else self._when(passage._end_bits), now_s)
            heappush(self._under_way, (passage.delivery_s, passage.number, passage.is_copy, passage))

    def _divided(self, now_s: float) -> tuple[list[Passage[T]], list[Passage[T]]]:
        """What has left by now and is under way, and what waits, in order."""
        under_way = [passage for *_, passage in self._under_way]
        waiting = sorted((one for one in under_way if one.sent_s > now_s), key=_BY_NUMBER)
        return [one for one in under_way if one.sent_s <= now_s], waiting

    def _go_on(
        self, left: Sequence[Passage[T]], waiting: Sequence[Passage[T]], now_s: float
    ) -> list[Passage[T]]:
        """Plan anew what waits; returns what arrives at another time now."""
        changed = list[Passage[T]]()
        for passage in waiting:
            delivery_s = passage.delivery_s
            self._plan(passage, now_s if self._curve is None else self._when(passage._end_bits), now_s)
            if passage.delivery_s != delivery_s and not passage._fate.lost:
                changed.append(passage)
        self._under_way = [(one.delivery_s, one.number, one.is_copy, one) for one in (*left, *waiting)]
        heapify(self._under_way)
        return changed

    def _plan(self, passage: Passage[T], leaves_s: float, now_s: float) -> None:
        """Its times, as the next one to leave, by the curve then."""
        # The curve keeps the order by itself, but for rounding.
        self._sent_s = passage.sent_s = max(now_s, self._sent_s, leaves_s)
        fate = passage._fate
        if fate.lost:
            passage.delivery_s = passage.sent_s
            return
        passage.delivery_s = passage.sent_s + fate.losses * (self._spec.arq_s or 0.0)
        if not fate.overtakes:
            jitter = fate.copy_jitter if passage.is_copy else fate.jitter
            passage.delivery_s += max(0.0, self._delay_s(passage.sent_s) + jitter * self._spec.jitter_s)
            self._in_order_s = passage.delivery_s = max(self._in_order_s, passage.delivery_s)

    def _delay_s(self, sent_s: float) -> float:
        of_curve = None if self._curve is None else self._curve.delay_s(sent_s - self._origin_s)
        return self._spec.delay_s + (of_curve or 0.0)

    def _refusal(self, size_bytes: int, now_s: float) -> LinkDrop | None:
        spec = self._spec
        if self._queued + self._doomed >= spec.limit_messages:
            return LinkDrop.LIMIT_MESSAGES
        if spec.limit_bytes is not None:
            if size_bytes > spec.limit_bytes:
                return LinkDrop.OVERSIZE
            under_way_bytes = self._queued_bytes + self._doomed_bytes
            if spec.limit_is_of_queue:
                under_way_bytes = self._waits_bytes(now_s)
            if under_way_bytes + size_bytes > spec.limit_bytes:
                return LinkDrop.LIMIT_BYTES
        return None

    def _waits_bytes(self, now_s: float) -> int:
        """Of what has not left, lost or not."""
        while self._waiting and self._waiting[0].sent_s <= now_s:
            self._waiting_bytes -= self._waiting.popleft().size_bytes
        return self._waiting_bytes

    def _drop(self, cause: LinkDrop, size_bytes: int) -> LinkDrop:
        self._dropped[cause] += 1
        self._dropped_bytes += size_bytes
        return cause

    def _release(self, now_s: float) -> None:
        """What has arrived by now, or has left and is lost, gives up its place."""
        under_way = self._under_way
        while under_way and under_way[0][0] <= now_s:
            passage = heappop(under_way)[3]
            if passage.is_copy:
                continue
            if passage._fate.lost:
                self._doomed -= 1
                self._doomed_bytes -= passage.size_bytes
            else:
                self._queued -= 1
                self._queued_bytes -= passage.size_bytes


_BY_NUMBER: Final = attrgetter("number", "is_copy")

__all__ = ["Link", "LinkDrop", "LinkStatistics", "Passage"]
