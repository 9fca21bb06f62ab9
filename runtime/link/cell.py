"""A cell: one direction of a radio that several devices share, each over a link of its own.

Time is cut into slots of 1 ms, at whole milliseconds. In each, a scheduler (schedulers.py) picks one of the
devices that wait and could send; it sends what its own curve carries in that time, as if it were alone. What
it doesn't need of the slot, and what its link can't carry of it, goes to the next one; a device that finds
nobody sending begins at once, in the midst of a slot.

So a device has of its curve what the others leave it, and all else is as on a link alone, with that curve:

    bits_by(t) = own(t) - lost(t)       lost: what its own curve carried while others sent

Who comes changes when others leave. So nothing is planned ahead: a message has no times until its last bit
has left, and `next_s` says when to look again. Between looks time goes on slot by slot only while two or more
wait; a cell that is idle, or has one sender, costs nothing. Pure, as the link model is.
"""

import math
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from draftwire.runtime.link.curves import slack_bits
from draftwire.runtime.link.model import Passage
from draftwire.runtime.link.schedulers import Claim, Scheduler, SlotRule, rule_of
from draftwire.runtime.link.shared import SharedLink
from draftwire.runtime.link.spec import LinkSpec
from draftwire.runtime.link.streams import Streams

T = TypeVar("T")

SLOTS_A_SECOND: Final = 1000

_LEAST_ROUNDING_S: Final = 1e-9
_ROUNDING: Final = 2.0**-50
"""Of a time, a few of its last digits: above 13 days that is more."""


class Cell(Generic[T]):
    """One direction of a shared radio, in use. Its time never goes back."""

    def __init__(self, scheduler: Scheduler, *, most_behind_s: float = math.inf) -> None:
        """`most_behind_s`: while several wait no look goes back further, and before that the air has rested.
        It bounds what a look costs.
        """
        self._rule: SlotRule = rule_of(scheduler)
        self._most_behind_s = most_behind_s
        self._at_s = -math.inf
        self._rounding_s = _LEAST_ROUNDING_S
        "what ends so close to the end of a slot ends with it; floats around now are closer together"
        self.blur_s = 0.0
        "what of that is more than curves allow for"
        self._waiting: list[SharedLink[T]] = []
        "those on which something waits, the one that has for longest first"
        self._sender: SharedLink[T] | None = None
        "who has the air; None: of several the next one has not been chosen"
        self._until_s = -math.inf
        "when its turn ends, the end of a slot at the latest; says something while several wait"
        self._left: list[tuple[SharedLink[T], Passage[T]]] = []

    def join(
        self,
        spec: LinkSpec,
        streams: Streams,
        *,
        weight: float = 1.0,
        began_s: float = 0.0,
        rates_before: int = 0,
    ) -> SharedLink[T]:
        """A link of this cell, as Link makes one; `abandon` it to leave."""
        return SharedLink(self, spec, streams, weight=weight, began_s=began_s, rates_before=rates_before)

    @property
    def at_s(self) -> float:
        """Its time; -inf: nobody has looked yet."""
        return self._at_s

    @property
    def is_contended(self) -> bool:
        """Whether several wait: then time costs, slot by slot."""
        return len(self._waiting) > 1

    @property
    def next_s(self) -> float:
        """When to call `advance`: of what waits nothing arrives earlier. Inf: as things are, it never does.

        It is later than the cell's time.
        """
        sender = self._sender
        # Where nobody has been chosen yet something may leave at once, and no look may be for nothing.
        free_s = self._at_s + self._rounding_s if sender is None else min(self._until_s, sender.leaves_s)
        alone = len(self._waiting) == 1
        while True:
            soonest_s, whose = math.inf, None
            for link in self._waiting:
                leaves_s = link.leaves_not_before_s
                if leaves_s < free_s and link is not sender and not alone:
                    leaves_s = free_s
                if leaves_s + link.least_delay_s < soonest_s:
                    soonest_s, whose = leaves_s + link.least_delay_s, link
            if whose is None or not whose.has_lost:
                return soonest_s
            _ = whose.leaves_s  # which counts what it has lost since

    def take_left(self) -> list[tuple[SharedLink[T], Passage[T]]]:
        """What has left since the last call, in order; what is lost is not told."""
        left, self._left = self._left, []
        return left

    def advance(self, now_s: float) -> float:
        """Let time go on until then; returns the cell's time, which is later where it was."""
        waiting = self._waiting
        if now_s * _ROUNDING > self._rounding_s:
            self._rounding_s = now_s * _ROUNDING
            self.blur_s = self._rounding_s - _LEAST_ROUNDING_S
        if now_s - self._at_s > self._most_behind_s and self.is_contended:
            self._rest(now_s - self._most_behind_s)
        while waiting and self._at_s < now_s:
            if len(waiting) == 1:
                self._serve_alone(waiting[0], now_s)
            else:
                self._serve_slot(now_s)
        self._at_s = max(self._at_s, now_s)
        return self._at_s

    # -- by its links --------------------------------------------------------------------------------------

    def has_left(self, link: SharedLink[T], passages: Sequence[Passage[T]]) -> None:
        """These have their times."""
        self._left += [(link, one) for one in passages if not one.is_lost]

    def wait(self, link: SharedLink[T]) -> None:
        """Something waits on it, perhaps since now."""
        if link in self._waiting:
            return
        self._let_go_at_once(link)
        if not link.waits:
            return
        link.settle(self._at_s)
        slot = self._slot()
        self._rule.join(link.standing, slot)
        others = tuple(self._waiting)
        self._waiting.append(link)
        if len(others) == 1:  # who was alone is in the midst of a slot
            self._begin_turn(others[0], slot)
        if others and self._sender is None and not any(_bits_until(one, _end_s(slot)) for one in others):
            self._begin_turn(link, slot)

    def settle(self, link: SharedLink[T]) -> None:
        """It may be another one after this: count what has been up to now."""
        if self._sender is link:
            self._settle_turn()
        elif self._sender is not None and link.waits:
            link.lose(self._at_s)

    def changed(self, link: SharedLink[T]) -> None:
        """Its curve is another one perhaps, or nothing waits on it any more."""
        if link not in self._waiting:
            return
        if link.waits:
            self._let_go_at_once(link)
        if not link.waits:
            self._forget(link)
            return
        link.settle(self._at_s)
        if self._sender is link:
            self._begin_turn(link, self._slot())

    # -- slots ---------------------------------------------------------------------------------------------

    def _serve_alone(self, link: SharedLink[T], now_s: float) -> None:
        """Nobody else waits: the air is its own."""
        self._at_s = self._send(link, now_s, now_s)
        self._account(link, in_turn=False)
        if not link.waits:
            self._forget(link)

    def _serve_slot(self, now_s: float) -> None:
        """Several wait: go on to the end of a turn, or until now."""
        sender = self._sender or self._choose()
        if sender is None:
            self._trickle(min(now_s, self._next_chance_s()))
            return
        ends = self._until_s <= now_s
        to_s = min(self._until_s, now_s)
        self._at_s = self._send(sender, to_s, to_s + self._rounding_s if ends else to_s)
        if not sender.waits or (ends and self._at_s == to_s):
            self._settle_turn()
            self._sender = None
            if not sender.waits:
                self._forget(sender)

    def _trickle(self, to_s: float) -> None:
        """Until then no curve carries what would fill a turn. What little there is goes to whoever waits for
        longest and has any: others have lost it, as in a turn.
        """
        sender = next((link for link in self._waiting if link.look_ahead(to_s) > 0), None)
        self._at_s = to_s if sender is None else self._send(sender, to_s, to_s)
        for link in self._waiting:
            if link is sender:
                link.settle(self._at_s)
            else:
                link.lose(self._at_s)
        if sender is not None and not sender.waits:
            self._forget(sender)

    def _rest(self, until_s: float) -> None:
        """Until then nobody has the air."""
        if self._sender is not None:
            self._settle_turn()
            self._sender = None
        self._at_s = until_s
        for link in self._waiting:
            link.lose(until_s)

    def _send(self, link: SharedLink[T], to_s: float, until_s: float) -> float:
        """Let it send until then, or until it has nothing more; returns when that was. What would leave by
        `until_s` leaves by `to_s`.
        """
        while link.leaves_s <= until_s:
            at_s = min(link.leaves_s, to_s)
            link.leave(at_s)
            if not link.waits:
                return at_s
        return to_s

    def _settle_turn(self) -> None:
        """Whose turn it is has had the air up to now, and the others have lost it."""
        for link in self._waiting:
            if link is self._sender:
                self._account(link, in_turn=True)
            else:
                link.lose(self._at_s)

    def _account(self, link: SharedLink[T], *, in_turn: bool) -> None:
        """It has had the air."""
        took_s = self._at_s - link.known[0]
        sent_bits = link.settle(self._at_s)
        if sent_bits > 0:
            link.air_s += took_s
            slots = took_s * SLOTS_A_SECOND if in_turn else 0.0
            self._rule.served(link.standing, slots=slots, bits=sent_bits)

    def _choose(self) -> SharedLink[T] | None:
        """Who sends from now on, in this slot."""
        assert all(link.known[0] == self._at_s for link in self._waiting), "nobody has the air"
        slot = self._slot()
        end_s = _end_s(slot)
        part = (end_s - self._at_s) * SLOTS_A_SECOND
        claims: list[Claim] = [(link.standing, _bits_until(link, end_s) / part) for link in self._waiting]
        chosen = self._rule.choose(claims, slot)
        for link in self._waiting:
            if link.standing is chosen:
                self._begin_turn(link, slot)
        return self._sender

    def _begin_turn(self, link: SharedLink[T], slot: int) -> None:
        """It has the air until the end of the slot, or until its curve carries no more in it."""
        end_s = _end_s(slot)
        if not _bits_until(link, end_s):
            self._sender = None
            return
        until_s = link.carries_until_s(link.ahead[1])
        # What it carries at this very moment may have been rounded into the next one.
        until_s = max(until_s, self._at_s + self._rounding_s)
        self._until_s = end_s if until_s > end_s - self._rounding_s else until_s
        self._sender = link

    def _next_chance_s(self) -> float:
        """When the first slot begins, behind this one, in which anybody can send."""
        carries_s = min(link.carries_until_s(link.known[1] + _CHANCE_BITS) for link in self._waiting)
        if carries_s == math.inf:
            return math.inf
        slot = math.ceil((carries_s - self._rounding_s) * SLOTS_A_SECOND) - 1
        return max(slot, self._slot() + 1) / SLOTS_A_SECOND

    def _slot(self) -> int:
        """The number of the slot that goes on, or begins, now; it ends later than now."""
        return math.floor((self._at_s + self._rounding_s) * SLOTS_A_SECOND)

    def _let_go_at_once(self, link: SharedLink[T]) -> None:
        """What a bucket holds, and what is nothing, takes no air."""
        while link.leaves_s <= self._at_s:
            link.leave(self._at_s)

    def _forget(self, link: SharedLink[T]) -> None:
        """Nothing waits on it."""
        self._waiting.remove(link)
        if link is self._sender:
            self._sender = None


_CHANCE_BITS: Final = 1.0
"""Behind so many more it could send for a while."""


def _end_s(slot: int) -> float:
    """When it ends."""
    return (slot + 1) / SLOTS_A_SECOND


def _bits_until(link: SharedLink[T], end_s: float) -> float:
    """What its own curve carries until then; 0 for what may be rounding."""
    bits = link.look_ahead(end_s)
    return bits if bits > slack_bits(link.ahead[1]) else 0.0


__all__ = ["SLOTS_A_SECOND", "Cell"]
