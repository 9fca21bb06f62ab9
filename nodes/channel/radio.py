"""The radio that the ways of one direction share: their cell, and the timer that looks at it again.

A message on a way of its own has its times when it comes. Here it has them when it leaves, so something has
to look then: `Radio` does, when anything may arrive, and while several wait so often that no look is long.
"""

from collections.abc import Callable
from math import inf
from typing import Final

from draftwire.nodes.channel.deliveries import Deliveries
from draftwire.runtime.channel_settings import CellSettings
from draftwire.runtime.clock import Clock
from draftwire.runtime.link import Cell, LinkSpec, Passage, SharedLink, Streams

Parcel = tuple[Callable[[bytes, bytes], object], bytes, bytes]
"""Who sends, to whom, what."""

LOOK_EVERY_S: Final = 0.1
"""While several wait, a tenth of a second of slots is a few milliseconds of work."""

MOST_BEHIND_S: Final = 1.0
"""A channel that was stopped for longer finds that its radio was, too: what waits goes on from there."""


class Radio:
    """A cell in use. Who calls anything of its links calls `settle` behind it."""

    def __init__(
        self,
        settings: CellSettings,
        *,
        deliveries: Deliveries,
        clock: Clock,
        catch_up: Callable[[float], None],
    ) -> None:
        """`catch_up` lets every change of a link happen that is due by a time."""
        self._settings = settings
        self._cell: Cell[Parcel] = Cell(settings.scheduler, most_behind_s=MOST_BEHIND_S)
        self._deliveries, self._clock = deliveries, clock
        self._catch_up = catch_up
        self._leaving = dict[SharedLink[Parcel], Callable[[Passage[Parcel]], None]]()
        "by link, who is told"
        self._timers: list[float] = []
        "when `_look` will be called, the soonest last"

    def join(
        self,
        device: str,
        spec: LinkSpec,
        streams: Streams,
        *,
        began_s: float,
        rates_before: int,
        leaves: Callable[[Passage[Parcel]], None],
    ) -> SharedLink[Parcel]:
        """A device's link; `leaves` is told what has left."""
        weight = self._settings.weight_of(device)
        link = self._cell.join(spec, streams, weight=weight, began_s=began_s, rates_before=rates_before)
        self._leaving[link] = leaves
        return link

    def leave(self, link: SharedLink[Parcel]) -> None:
        """It has been abandoned."""
        del self._leaving[link]
        self.settle()

    @property
    def next_s(self) -> float:
        """Before then nothing arrives that waits; inf: as things are, it never does."""
        return self._cell.next_s

    def reach(self, at_s: float) -> float:
        """Let time go on until then, with every change of a link; the cell's time, which may be later."""
        self._catch_up(at_s)
        return self._cell.advance(at_s)

    def settle(self) -> None:
        """Tell what has left, and be called when to look again, unless that has been seen to."""
        for link, passage in self._cell.take_left():
            leaves = self._leaving.get(link)
            if leaves is not None:
                leaves(passage)
        due_s = self._cell.next_s
        if self._cell.is_contended and due_s < inf:
            due_s = min(due_s, self._cell.at_s + LOOK_EVERY_S)
        if due_s < (self._timers[-1] if self._timers else inf):
            self._timers.append(due_s)
            self._deliveries.add(due_s, self._look)

    def _look(self) -> bool:
        """False: it delivers nothing itself."""
        # As of when it was due, so that what was read since then still comes in its place.
        self.reach(max(self._timers.pop(), self._clock.now_s() - MOST_BEHIND_S))
        self.settle()
        return False


__all__ = ["LOOK_EVERY_S", "MOST_BEHIND_S", "Parcel", "Radio"]
