"""What is under way on the emulated link, ordered by due time, and the one timer that delivers it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from draftwire.runtime.clock import Clock
from draftwire.runtime.wake import Wake

LATE_S = 0.002
"""A delivery later than this no longer shows the link's own timing; such deliveries are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """How far behind their due time messages were handed over; in virtual time never."""

    delivered: int
    mean_s: float
    max_s: float
    late: int
    "deliveries more than LATE_S behind"


@dataclass(frozen=True, slots=True, order=True)
class _Delivery:
    due_s: float
    number: int
    "keeps messages that are due at one time in the order in which they came"
    hand_over: Callable[[], object] = field(compare=False)


class Deliveries:
    """A heap of deliveries with absolute due times, and the task that waits for its head."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[_Delivery] = []
        self._added = 0
        self._earlier = asyncio.Event()
        self._progress = Wake(clock)
        self._delivered = self._late = 0
        self._sum_s = self._max_s = 0.0

    def add(self, due_s: float, hand_over: Callable[[], object]) -> None:
        """Call `hand_over` at `due_s`, or as soon as possible after it."""
        self._added += 1
        delivery = _Delivery(due_s, self._added, hand_over)
        heappush(self._heap, delivery)
        if self._heap[0] is delivery:
            self._earlier.set()

    async def run(self) -> None:
        """Deliver for ever. Cancelled, it drops what is still under way: the link is gone."""
        while True:
            self._earlier.clear()
            await self._until_due_or_earlier()
            now_s = self._clock.now_s()
            while self._heap and self._heap[0].due_s <= now_s:
                delivery = heappop(self._heap)
                delivery.hand_over()
                self._count(now_s - delivery.due_s)
            self._progress.set()

    async def emptied(self, deadline_s: float) -> None:
        """Return once nothing is under way, or at the deadline."""
        while self._heap and self._clock.now_s() < deadline_s:
            await self._progress.wait(deadline_s)

    def lateness(self) -> Lateness:
        """Figures since the start."""
        return Lateness(
            delivered=self._delivered,
            mean_s=self._sum_s / self._delivered if self._delivered else 0.0,
            max_s=self._max_s,
            late=self._late,
        )

    async def _until_due_or_earlier(self) -> None:
        """Wait for the head of the heap to fall due, or for a new head."""
        if not self._heap:
            await self._earlier.wait()
            return
        if self._heap[0].due_s <= self._clock.now_s():
            return
        due = asyncio.create_task(self._clock.sleep_until(self._heap[0].due_s), name="channel timer")
        earlier = asyncio.create_task(self._earlier.wait(), name="channel earlier")
        try:
            await asyncio.wait((due, earlier), return_when=asyncio.FIRST_COMPLETED)
        finally:
            due.cancel()
            earlier.cancel()

    def _count(self, behind_s: float) -> None:
        self._delivered += 1
        self._sum_s += behind_s
        self._max_s = max(self._max_s, behind_s)
        self._late += behind_s > LATE_S


__all__ = ["LATE_S", "Deliveries", "Lateness"]
