"""A device's link in a cell: as any link, but that its messages leave when the cell lets them.

See cell.py, which counts what the others take of its curve.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from heapq import heapify, heappush
from typing import TYPE_CHECKING, TypeVar

from draftwire.runtime.link.impairments import CUT
from draftwire.runtime.link.model import Link, LinkDrop, LinkStatistics, Passage
from draftwire.runtime.link.schedulers import Standing
from draftwire.runtime.link.spec import Distribution, LinkSpec
from draftwire.runtime.link.streams import Streams

if TYPE_CHECKING:
    from draftwire.runtime.link.cell import Cell

T = TypeVar("T")


class SharedLink(Link[T]):
    """A device's link in a cell, see `Cell.join`. Passages have no times until they leave: see `take_left`.

    Times that are before the cell's own count as that. Whoever uses it uses what any link has, and may read
    `air_s`, `waits` and `unsent`. The rest, fields and all that stands under "for the cell only", is how the
    cell counts: nobody else calls or sets it.
    """

    def __init__(
        self,
        cell: "Cell[T]",
        spec: LinkSpec,
        streams: Streams,
        *,
        weight: float,
        began_s: float,
        rates_before: int,
    ) -> None:
        self._cell = cell
        self._unsent: deque[tuple[Passage[T], ...]] = deque()
        "messages with their copies"
        self.standing = Standing(weight=weight)
        self.air_s = 0.0
        "for how long it has had the air"
        self.known = self.ahead = (-math.inf, 0.0)
        """a time, and what its own curve has carried by then. `known`: up to which all is settled. Of all on
        which something waits that is the cell's time while nobody has the air, and no later than that while
        somebody has it, or one alone waits: a turn counts at its end. `ahead`: one to come, perhaps"""
        self.leaves_not_before_s = math.inf
        "see `leaves_s`"
        self.has_lost = False
        "since that was found"
        super().__init__(spec, streams, began_s=began_s, rates_before=rates_before)
        self._most_early = 0.0
        "by so many times the jitter any message was drawn to be ahead of the delay; inf: one may skip it"
        self.least_delay_s = self._least_delay_s()
        "of any message, behind its last bit"

    # -- as of any link ------------------------------------------------------------------------------------

    def offer(
        self, now_s: float, size_bytes: int, carried: T, *, refused: LinkDrop | None = None
    ) -> tuple[Passage[T], ...] | LinkDrop:
        now_s = self._cell.advance(now_s)
        self._cell.settle(self)
        outcome = super().offer(now_s, size_bytes, carried, refused=refused)
        if self._unsent:
            self._cell.wait(self)
        return outcome

    def change(
        self, now_s: float, spec: LinkSpec, *, began_s: float | None = None, rates_before: int | None = None
    ) -> Sequence[Passage[T]]:
        now_s = self._cell.advance(now_s)
        self._cell.settle(self)
        changed = super().change(now_s, spec, began_s=began_s, rates_before=rates_before)
        self.least_delay_s = self._least_delay_s()
        self.ahead = (-math.inf, 0.0)
        self._look()
        self._cell.changed(self)
        return changed

    def abandon(self, now_s: float) -> None:
        now_s = self._cell.advance(now_s)
        self._cell.settle(self)
        super().abandon(now_s)
        self._unsent.clear()
        self._cell.changed(self)

    def statistics(self, now_s: float) -> LinkStatistics:
        return super().statistics(self._cell.advance(now_s))

    def _put(self, passages: Sequence[Passage[T]], now_s: float) -> None:
        if self._curve is None:  # that takes no air
            super()._put(passages, now_s)
            self._cell.has_left(self, passages)
        else:
            self._unsent.append(tuple(passages))
            if len(self._unsent) == 1:
                self._look()

    def _divided(self, now_s: float) -> tuple[list[Passage[T]], list[Passage[T]]]:
        return [one for *_, one in self._under_way], list(self.unsent())

    def _go_on(
        self, left: Sequence[Passage[T]], waiting: Sequence[Passage[T]], now_s: float
    ) -> list[Passage[T]]:
        if self._curve is None:
            self._unsent.clear()
            changed = super()._go_on(left, waiting, now_s)
            self._cell.has_left(self, waiting)
            return changed
        self._under_way = [(one.delivery_s, one.number, one.is_copy, one) for one in left]
        heapify(self._under_way)
        return []

    # -- for the cell only ---------------------------------------------------------------------------------

    def unsent(self) -> Iterator[Passage[T]]:
        """What waits, in order."""
        return (one for passages in self._unsent for one in passages)

    @property
    def waits(self) -> bool:
        """Whether anything does."""
        return bool(self._unsent)

    @property
    def leaves_s(self) -> float:
        """When the first one that waits has left, if the link has all the air from now on."""
        if self.has_lost:
            self._look()
        return self.leaves_not_before_s

    def leave(self, at_s: float) -> None:
        """The first one that waits has left."""
        passages = self._unsent.popleft()
        for passage in passages:
            self._plan(passage, at_s, at_s)
            heappush(self._under_way, (passage.delivery_s, passage.number, passage.is_copy, passage))
        self._look()
        self._cell.has_left(self, passages)

    def bits_by(self, at_s: float) -> float:
        """What its own curve has carried by then, whoever had the air."""
        assert self._curve is not None, "something waits on it"
        return self._curve.bits_by(max(0.0, at_s - self._origin_s + self._cell.blur_s))

    def carries_until_s(self, own_bits: float) -> float:
        """When its own curve has carried so many: behind that, and before it carries more, it can't send."""
        assert self._curve is not None, "something waits on it"
        return self._origin_s + self._curve.when(own_bits)

    def look_ahead(self, to_s: float) -> float:
        """What its own curve carries from what is settled to then."""
        if self.ahead[0] != to_s:
            self.ahead = (to_s, self.bits_by(to_s))
        return self.ahead[1] - self.known[1]

    def settle(self, at_s: float) -> float:
        """All is settled up to then; returns what its own curve has carried in that time."""
        before_bits = self.known[1]
        self.known = self.ahead if self.ahead[0] == at_s else (at_s, self.bits_by(at_s))
        return self.known[1] - before_bits

    def lose(self, at_s: float) -> None:
        """The same, and others had the air."""
        lost_bits = self.settle(at_s)
        if lost_bits > 0:
            self._lost_bits += lost_bits
            self.has_lost = True

    def _least_delay_s(self) -> float:
        """What waits was drawn by what the link was when it came, so what the link has been counts too."""
        spec = self._spec
        most_early = 1.0 if spec.distribution is Distribution.UNIFORM else CUT
        self._most_early = max(self._most_early, math.inf if spec.reorder else most_early)
        if self._most_early == math.inf:
            return 0.0
        return max(0.0, spec.delay_s - self._most_early * spec.jitter_s)

    def _look(self) -> None:
        self.leaves_not_before_s = self._when(self._unsent[0][0]._end_bits) if self._unsent else math.inf
        self.has_lost = False


__all__ = ["SharedLink"]
