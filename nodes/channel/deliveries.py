"""What is under way on the emulated link, ordered by due time, and the one timer that delivers it."""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final

from draftwire.runtime.clock import Clock
from draftwire.runtime.wake import Wake

LATE_S: Final = 0.002
"""A delivery later than this no longer shows the link's own timing; such deliveries are counted."""

KEPT_LATENESS: Final = 65_536
"""Deliveries whose lateness waits for `take_lateness`: some 10 s of a channel at its limit. Older ones go, so
one that nobody asks keeps its size."""

AT_ONCE: Final = 128
"""Hand-overs in one turn of the loop, so that it goes on reading while it is behind."""

_LEAST_S: Final = 1e-7
"""The histogram's first bucket: what is less counts as nothing."""

_BUCKETS_AN_OCTAVE: Final = 16
"""So a percentile is right to 2.2 %, and all that can be, up to days, are some hundred buckets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """How far behind their due time messages were handed over; in virtual time never."""

    delivered: int
    mean_s: float
    max_s: float
    late: int
    "deliveries more than LATE_S behind"
    p50_s: float
    "median, right to 2.2 %"
    p99_s: float
    "the same of the 99th percentile"


class Deliveries:
    """A heap of deliveries with absolute due times, and a timer on its head."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._added = 0
        self._broken: asyncio.Future[None] | None = None
        "of the `run` that is under way"
        self._timer: asyncio.TimerHandle | None = None
        self._handing_over = False
        "then the timer is set once, behind the last of them"
        self._progress = Wake(clock)
        self._history = History()

    def add(self, due_s: float, hand_over: Callable[[], object]) -> None:
        """Call `hand_over` at `due_s`, or as soon as possible after it; of equal times the first added first.

        One that returns False has delivered nothing, and does not count. Nothing is kept of an infinite time:
        whoever plans the message anew adds it again.
        """
        if due_s == math.inf:
            return
        self._added += 1  # tells entries of one time apart, so that functions are never compared
        heappush(self._heap, (due_s, self._added, hand_over))
        if self._heap[0][1] == self._added and not self._handing_over:
            self._set_timer()

    async def run(self) -> None:
        """Deliver for ever. Cancelled, it drops what is still under way: the link is gone.

        Raises what a `hand_over` raises.
        """
        self._broken = asyncio.get_running_loop().create_future()
        self._set_timer()
        try:
            await self._broken
        finally:
            self._broken = None
            self._heap.clear()
            self._set_timer()
            self._progress.set()

    def forget(self, hand_over: Callable[[], object]) -> None:
        """Call it no more, however often it was added."""
        self._heap = [one for one in self._heap if one[2] != hand_over]
        heapify(self._heap)
        if not self._handing_over:
            self._set_timer()

    async def progress(self, deadline_s: float) -> bool:
        """Return when something has been handed over, or at the deadline. False: nobody delivers."""
        if self._broken is not None:
            await self._progress.wait(deadline_s)
        return self._broken is not None

    def lateness(self) -> Lateness:
        """Figures since the start."""
        return self._history.figures()

    def take_lateness(self) -> Sequence[float]:
        """Seconds behind of each delivery since the last call, in order, of the last KEPT_LATENESS."""
        return self._history.take()

    def _set_timer(self) -> None:
        """On the head, while somebody runs it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap and self._broken is not None:
            loop = asyncio.get_running_loop()
            # In this order the sum is exact where both clocks are one, so virtual time never stands still.
            at_s = self._heap[0][0] + (loop.time() - self._clock.now_s())
            self._timer = loop.call_at(at_s, self._hand_over)

    def _hand_over(self) -> None:
        """All that is due as this begins, AT_ONCE at most: the loop has other work besides."""
        assert self._broken is not None, "a timer is set while somebody runs it"
        self._timer = None
        self._handing_over = True
        try:
            self._hand_over_until(self._clock.now_s())
        except Exception as error:
            if not self._broken.done():
                self._broken.set_exception(error)
            return
        finally:
            self._handing_over = False
        self._progress.set()
        self._set_timer()

    def _hand_over_until(self, now_s: float) -> None:
        for _ in range(AT_ONCE):
            if not self._heap or self._heap[0][0] > now_s:
                return
            due_s, _, hand_over = heappop(self._heap)
            behind_s = self._clock.now_s() - due_s
            if hand_over() is not False:
                self._history.add(behind_s)


class History:
    """Of deliveries, in bounded memory."""

    def __init__(self) -> None:
        self._delivered = self._late = 0
        self._sum_s = self._max_s = 0.0
        self._buckets: Counter[int] = Counter()
        self._last_s: deque[float] = deque(maxlen=KEPT_LATENESS)

    def add(self, behind_s: float) -> None:
        """One more."""
        self._delivered += 1
        self._sum_s += behind_s
        self._max_s = max(self._max_s, behind_s)
        self._late += behind_s > LATE_S
        octaves = math.log2(behind_s / _LEAST_S) if behind_s > _LEAST_S else -1.0
        self._buckets[math.floor(octaves * _BUCKETS_AN_OCTAVE)] += 1
        self._last_s.append(behind_s)

    def take(self) -> Sequence[float]:
        """Each since the last call, of the last KEPT_LATENESS."""
        taken = tuple(self._last_s)
        self._last_s.clear()
        return taken

    def figures(self) -> Lateness:
        """Of all."""
        return Lateness(
            delivered=self._delivered,
            mean_s=self._sum_s / self._delivered if self._delivered else 0.0,
            max_s=self._max_s,
            late=self._late,
            p50_s=self._percentile_s(0.5),
            p99_s=self._percentile_s(0.99),
        )

    def _percentile_s(self, share: float) -> float:
        """The middle, in ratio, of the bucket that it lies in."""
        rank, below = math.ceil(share * self._delivered), 0
        for bucket, count in sorted(self._buckets.items()):
            below += count
            if below >= rank:
                middle_s = _LEAST_S * 2 ** ((bucket + 0.5) / _BUCKETS_AN_OCTAVE)
                return 0.0 if bucket < 0 else min(self._max_s, middle_s)
        return 0.0


__all__ = ["AT_ONCE", "KEPT_LATENESS", "LATE_S", "Deliveries", "History", "Lateness"]
