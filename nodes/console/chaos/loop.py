"""Virtual time in which one node can stand still while the others go on, and in which its own clock can jump.

Whose a callback is says the context it runs in: WHOSE, which a node's tasks take from the one that starts it.
A node that is frozen is what a stopped process is: nothing of it runs, what others do to it waits, and its
timers are late.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from heapq import heapify
from math import ceil
from typing import Any, Final, TypeVarTuple, Unpack

from draftwire.runtime.clock import WHOSE, VirtualLoop, waiting_tasks
from draftwire.runtime.errors import DeadlockError

Ts = TypeVarTuple("Ts")

GRID: Final = 2**30
"""Moments of the loop a second. On a grid, times of clocks that differ by whole seconds differ exactly, so no
timer is ever a rounding early."""

MOST_TURNS: Final = 100_000
"""Of the loop at one moment: far more than a moment's work takes."""


class FaultyLoop(VirtualLoop):
    """See above. With nothing frozen it is a VirtualLoop."""

    def __init__(self) -> None:
        super().__init__()
        self._frozen: dict[str, list[asyncio.Handle]] = {}
        "node -> what it will run when it goes on, in order"
        self._seen_s, self._turns = 0.0, 0

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return super().call_at(ceil(when * GRID) / GRID, callback, *args, context=context)

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        if self._frozen:
            context = copy_context() if context is None else context
            held = self._frozen.get(context.get(WHOSE, ""))
            if held is not None:
                handle = asyncio.Handle(callback, args, self, context)
                held.append(handle)
                return handle
        return super().call_soon(callback, *args, context=context)

    def _process_events(self, event_list: Any) -> None:
        """Called each turn; raises DeadlockError where time has not gone on for MOST_TURNS of them."""
        self._turns += 1
        if self._turns >= MOST_TURNS:
            moved, self._seen_s, self._turns = self.time() > self._seen_s, self.time(), 0
            if not moved:
                raise DeadlockError(self.time(), waiting_tasks(self), cause="time stands still")
        process: Callable[[Any], None] = getattr(super(), "_process_events")  # noqa: B009
        process(event_list)

    def freeze(self, node: str, until_s: float) -> None:
        """Nothing of the node runs any more; `thaw` it at `until_s`, when what was due meanwhile is late."""
        ready = getattr(self, "_ready")  # noqa: B009  (private to asyncio, as the next)
        held = [one for one in ready if _whose(one) == node]
        for one in held:
            ready.remove(one)
        self._frozen.setdefault(node, []).extend(held)
        late = sorted((one for one in self._timers() if _whose(one) == node), key=_when)
        for place, timer in enumerate(late):
            if _when(timer) < until_s:
                _set_when(timer, until_s + place / GRID)
        heapify(self._timers())

    def thaw(self, node: str) -> None:
        """It goes on. Idempotent."""
        held = self._frozen.pop(node, [])
        getattr(self, "_ready").extend(held)  # noqa: B009

    def jump(self, node: str, seconds: float) -> None:
        """The node's clock is so much ahead of what it was: its timers are due earlier by that."""
        for timer in self._timers():
            if _whose(timer) == node:
                _set_when(timer, max(self.time(), _when(timer) - seconds))
        heapify(self._timers())

    def _timers(self) -> list[asyncio.TimerHandle]:
        timers: list[asyncio.TimerHandle] = getattr(self, "_scheduled")  # noqa: B009
        return timers


def _whose(handle: asyncio.Handle) -> str:
    context: Context = getattr(handle, "_context")  # noqa: B009
    whose: str = context.get(WHOSE, "")
    return whose


def _when(timer: asyncio.TimerHandle) -> float:
    return timer.when()


def _set_when(timer: asyncio.TimerHandle, when_s: float) -> None:
    anyhow: Any = timer
    anyhow._when = ceil(when_s * GRID) / GRID


class OwnClock:
    """A node's own: it runs as the loop does, from a time of its own that nobody can compare with others'."""

    def __init__(self, loop: FaultyLoop, *, ahead_s: int, wall_s: float) -> None:
        """`ahead_s`: of the loop. `wall_s`: what the clock on the wall shows at the loop's time 0, UTC."""
        self._loop = loop
        self._ahead_s, self._wall_s = float(ahead_s), wall_s

    @property
    def ahead_s(self) -> float:
        """Of the loop."""
        return self._ahead_s

    def now_s(self) -> float:
        return self._loop.time() + self._ahead_s

    def wall_s(self) -> float:
        """The clock on the wall, UTC."""
        return self._loop.time() + self._wall_s

    def jumps(self, seconds: float, *, wall_s: float) -> float:
        """Be so much further ahead from now on, on the grid: the value. The wall's moves by `wall_s`."""
        seconds = round(seconds * GRID) / GRID
        self._ahead_s += seconds
        self._wall_s += wall_s
        return seconds

    async def sleep_until(self, deadline_s: float) -> None:
        if self.now_s() >= deadline_s:
            await asyncio.sleep(0)
        while self.now_s() < deadline_s:
            woken = self._loop.create_future()
            timer = self._loop.call_at(deadline_s - self._ahead_s, _wake, woken)
            try:
                await woken
            finally:
                timer.cancel()


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


__all__ = ["GRID", "FaultyLoop", "OwnClock"]
