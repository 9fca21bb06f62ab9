"""Where a model's computation takes place, and how long it counts as taking.

Three ways behind one interface: as fast as the machine goes, slowed down to emulate other hardware, and in
virtual time. Each is one worker: computations handed to it run one after the other, in the order they came.
"""

import asyncio
import math
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Generic, Literal, Protocol, TypeVar

from draftwire.runtime.clock import Clock

T = TypeVar("T")

Kind = Literal["draft", "target"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed(Generic[T]):
    """A result and what it cost."""

    value: T
    "what the work returned"
    seconds: float
    "from the work's start to its end, the wait for the rest included; time spent in the queue is not"
    overran: bool
    "whether the work took longer than the time it was to be paced to"


class Compute(Protocol):
    """One worker for the computations of a node."""

    async def run(
        self, kind: Kind, positions: int, work: Callable[[], T], *, sessions: int = 1
    ) -> Timed[T]:
        """Do `work`, over `positions` positions of so many sessions; its result, once its time has passed.

        What `work` raises comes out here. Cancelling gives up on the result; a computation that has begun
        still runs to its end, and those behind it wait for that.
        """
        ...

    def close(self) -> None:
        """Take no more work. Idempotent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PassTable:
    """Passes of the target as measured, by sessions and positions of each. ValueError for what can't be."""

    times: tuple[tuple[int, tuple[tuple[int, float], ...]], ...]
    """pairs of a number of sessions, rising from 1, and their passes: pairs of positions a session, rising
    from 1, and seconds, above 0"""

    def __post_init__(self) -> None:
        counts = [[sessions for sessions, _ in self.times]]
        counts += [[each for each, _ in passes] for _, passes in self.times]
        if any(not some or some[0] != 1 or some != sorted(set(some)) for some in counts):
            raise ValueError(f"passes of {counts}: give rising counts, from 1 on")
        if any(not 0 < seconds < math.inf for _, passes in self.times for _, seconds in passes):
            raise ValueError("a pass takes a time above 0")

    def seconds(self, positions: float, *, sessions: int) -> float:
        """Between measured passes along straight lines, beyond the last ones as these go on."""
        each = positions / sessions
        return _along([(count, _along(passes, each)) for count, passes in self.times], sessions)


def _along(points: Sequence[tuple[int, float]], at: float) -> float:
    """Between the two points around `at`; before the first as there, behind the last never falling."""
    if at <= points[0][0] or len(points) == 1:
        return points[0][1]
    above = min(bisect_left(points, at, key=lambda point: point[0]), len(points) - 1)
    (low, low_s), (high, high_s) = points[above - 1], points[above]
    slope_s = (high_s - low_s) / (high - low)
    return low_s + (at - low) * slope_s if at <= high else high_s + (at - high) * max(0.0, slope_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimes:
    """How long steps take: a constant and a part for each position, or as measured passes have it."""

    draft_s: float = 0.0
    "seconds a draft step, whatever its length"
    draft_position_s: float
    "seconds for each drafted position"
    target_s: float
    "seconds a target step, whatever its length"
    target_position_s: float = 0.0
    "seconds for each verified position"
    passes: PassTable | None = None
    "target steps as they were measured, in place of the two above; None: these hold"

    def __post_init__(self) -> None:
        if min(self.draft_s, self.draft_position_s, self.target_s, self.target_position_s) < 0:
            raise ValueError(f"{self}: no time may be negative")

    def seconds(self, kind: Kind, positions: int, *, sessions: int = 1) -> float:
        """The time of one step over `positions` positions, of so many sessions together."""
        if kind == "draft":
            return self.draft_s + positions * self.draft_position_s
        if self.passes is not None:
            return self.passes.seconds(positions, sessions=sessions)
        return self.target_s + positions * self.target_position_s


PAPER: Final = StepTimes(draft_position_s=3.1e-3, target_s=44.5e-3)
"""The hardware of the paper: 3.1 ms a drafted token, 44.5 ms a verification step of any length."""


class NativeCompute:
    """As fast as the machine goes: one thread, so that the event loop stays live beside it.

    The time is measured in that thread, by its own clock, since the loop's can't be read there; it holds
    neither the queue before the work nor the event loop's delay in taking the result.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compute")

    async def run(
        self, kind: Kind, positions: int, work: Callable[[], T], *, sessions: int = 1
    ) -> Timed[T]:
        """See `Compute`."""

        def measured() -> Timed[T]:
            start_s = time.perf_counter()
            value = work()
            return Timed(value=value, seconds=time.perf_counter() - start_s, overran=False)

        return await asyncio.get_running_loop().run_in_executor(self._executor, measured)

    def close(self) -> None:
        """See `Compute`. Does not wait for the work in progress."""
        self._executor.shutdown(wait=False, cancel_futures=True)


class PacedCompute:
    """The real computation, then a wait until it has taken as long as on other hardware.

    Whoever shows times made this way has to say so. A step that takes longer than it should can't be paced:
    it counts as an overrun, and many of them mean that this machine is too slow for the profile.
    """

    def __init__(self, clock: Clock, times: StepTimes = PAPER, *, inner: Compute | None = None) -> None:
        """`inner` does the computing; a NativeCompute by default."""
        self._clock = clock
        self._times = times
        self._inner = inner or NativeCompute()
        self._turn = asyncio.Lock()
        self._steps: dict[Kind, int] = {"draft": 0, "target": 0}
        self._overruns: dict[Kind, int] = {"draft": 0, "target": 0}

    @property
    def steps(self) -> dict[Kind, int]:
        """Steps done so far, by kind."""
        return dict(self._steps)

    @property
    def overruns(self) -> dict[Kind, int]:
        """Those of them that took longer than they should have, by kind."""
        return dict(self._overruns)

    async def run(
        self, kind: Kind, positions: int, work: Callable[[], T], *, sessions: int = 1
    ) -> Timed[T]:
        """See `Compute`. The wait occupies the worker as the computation would have."""
        async with self._turn:
            paced_s = self._times.seconds(kind, positions, sessions=sessions)
            done = await self._inner.run(kind, positions, work)
            begun_s = self._clock.now_s() - done.seconds
            self._steps[kind] += 1
            overran = done.seconds > paced_s
            self._overruns[kind] += overran
            await self._clock.sleep_until(begun_s + paced_s)
            return Timed(value=done.value, seconds=self._clock.now_s() - begun_s, overran=overran)

    def close(self) -> None:
        """See `Compute`."""
        self._inner.close()


class ModelledCompute:
    """For virtual time: the work is done at once, and its time is what the model of it says."""

    def __init__(self, clock: Clock, times: StepTimes = PAPER) -> None:
        self._clock = clock
        self._times = times
        self._turn = asyncio.Lock()

    async def run(
        self, kind: Kind, positions: int, work: Callable[[], T], *, sessions: int = 1
    ) -> Timed[T]:
        """See `Compute`."""
        async with self._turn:
            seconds = self._times.seconds(kind, positions, sessions=sessions)
            start_s = self._clock.now_s()
            value = work()
            await self._clock.sleep_until(start_s + seconds)
            return Timed(value=value, seconds=seconds, overran=False)

    def close(self) -> None:
        """See `Compute`."""


def compute_for(profile: str, clock: Clock) -> Compute:
    """The compute of a profile: 'native' or 'paper'. Raises ValueError for another name."""
    if profile == "native":
        return NativeCompute()
    if profile == "paper":
        return PacedCompute(clock)
    raise ValueError(f"compute profile is '{profile}'; it has to be 'native' or 'paper'")
