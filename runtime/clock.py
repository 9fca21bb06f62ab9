"""Time for nodes: one clock over the running loop, and a loop whose time jumps to the next timer.

A node asks its clock and nothing else for the time, so the same code runs in real time on asyncio's own
loop and in virtual time on a VirtualLoop: there, whenever every task waits, time jumps to the next timer.
Hours of simulated traffic take seconds, and the same seeds give the same run, event by event.
"""

import asyncio
import gc
import select
import selectors
import sys
from asyncio import get_running_loop
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import ContextVar
from typing import Any, Final, NoReturn, Protocol, TypeVar, TypeVarTuple, Unpack

from draftwire.runtime.errors import DeadlockError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


WHOSE: Final = ContextVar[str]("whose", default="")
"""Of the node at work. Set where a node is started, it is kept by the tasks that the node makes, so that a
DeadlockError tells the same task of two nodes apart. Empty: nobody has said."""

LOOK_EVERY: Final = 64
"""Jumps of virtual time from one look for a signal to the next: a look costs more than a jump."""


class Clock(Protocol):
    """What a node may know about time."""

    def now_s(self) -> float:
        """Monotonic seconds; only differences have a meaning."""
        ...

    async def sleep_until(self, deadline_s: float) -> None:
        """Return at the deadline or, for one that has passed, after other tasks had their turn.

        Never returns early. Cancelling it leaves nothing behind.
        """
        ...


class LoopClock:
    """The running loop's time: real on asyncio's loops, virtual on a VirtualLoop."""

    def now_s(self) -> float:
        return get_running_loop().time()

    async def sleep_until(self, deadline_s: float) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() >= deadline_s:
            await asyncio.sleep(0)
        while loop.time() < deadline_s:  # asyncio lets a timer go up to its clock's resolution early
            woken = loop.create_future()
            timer = loop.call_at(deadline_s, _wake, woken)
            try:
                await woken
            finally:
                timer.cancel()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, from 0 s; deterministic as long as its tasks are.

    Raises DeadlockError out of run_until_complete when every task waits and no timer is left. Files,
    sockets and threads live in real time, so waiting for them here is refused with a RuntimeError.
    """

    def __init__(self) -> None:
        self._now_s = 0.0
        super().__init__(_JumpingSelector(self._jump))
        self._tasks_made = 0
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        return self._now_s

    def _jump(self) -> None:
        # asyncio has already dropped cancelled timers off the head of its heap. The heap's own deadline is
        # taken, not now + timeout: that sum may be one rounding away from the time a task asked for.
        timers: list[asyncio.TimerHandle] = getattr(self, "_scheduled")  # noqa: B009  (private to asyncio)
        if not timers:
            raise DeadlockError(self._now_s, waiting_tasks(self))
        self._now_s = max(self._now_s, timers[0].when())

    def _make_task(self, loop: asyncio.AbstractEventLoop, coro: Any, **keywords: Any) -> asyncio.Task[Any]:
        self._tasks_made += 1
        return _CountedTask(self._tasks_made, coro, loop=loop, **keywords)

    def add_reader(self, fd: Any, callback: Callable[[Unpack[Ts]], Any], *args: *Ts) -> NoReturn:
        raise RuntimeError("a file or socket can't be waited for in virtual time: use MemoryTransport")

    def add_writer(self, fd: Any, callback: Callable[[Unpack[Ts]], Any], *args: *Ts) -> NoReturn:
        raise RuntimeError("a file or socket can't be waited for in virtual time: use MemoryTransport")

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> NoReturn:
        raise RuntimeError("a thread can't be waited for in virtual time: hand the node modelled compute")


class PunctualLoop(asyncio.SelectorEventLoop):
    """asyncio's loop with timers late by the wake-up only: epoll alone rounds up to a millisecond."""

    def __init__(self) -> None:
        super().__init__(_PunctualSelector())


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on a new VirtualLoop and return its result; what it left running is cancelled.

    Raises DeadlockError where `main` waits for something that can't happen.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


class _CountedTask(asyncio.Task[T]):
    """A task with a repeatable hash: asyncio keeps tasks in sets (a task group cancels in a set's order)."""

    def __init__(self, count: int, coro: Coroutine[Any, Any, T], **keywords: Any) -> None:
        self._count: Final = count
        self.whose: Final = WHOSE.get()
        super().__init__(coro, **keywords)

    def __hash__(self) -> int:
        return self._count


class _JumpingSelector(selectors.SelectSelector):
    """Never waits: where asyncio's selector would, time jumps."""

    def __init__(self, jump: Callable[[], None]) -> None:
        super().__init__()
        self._jump = jump
        self._jumps = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return []  # tasks are ready to run
        self._jumps += 1
        # A signal, Ctrl-C above all, must still get through.
        woken = [] if self._jumps % LOOK_EVERY else super().select(0)
        if not woken:
            self._jump()
        return woken


if sys.platform == "linux":

    class _PunctualSelector(selectors.EpollSelector):
        """Waits for the epoll descriptor itself with select(), which takes microseconds."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is not None and timeout > 0:
                ready, _, _ = select.select([self.fileno()], [], [], timeout)
                if not ready:
                    return []
                timeout = 0
            return super().select(timeout)

else:

    class _PunctualSelector(selectors.DefaultSelector):
        """kqueue is punctual by itself."""


def waiting_tasks(loop: asyncio.AbstractEventLoop) -> list[str]:
    """Each task that has not ended: whose it is, its name, and the place it waits at; sorted."""
    return sorted(f"{_name(task)} at {_place(task)}" for task in asyncio.all_tasks(loop))


def _name(task: asyncio.Task[Any]) -> str:
    whose = getattr(task, "whose", "")
    return f"{whose}: {task.get_name()}" if whose else task.get_name()


def _place(task: asyncio.Task[Any]) -> str:
    """Where the task is suspended, the innermost first, as `function (file:line) of caller (file:line)`."""
    suspended, places = task.get_coro(), list[str]()
    while suspended is not None:
        frame = getattr(suspended, "cr_frame", None) or getattr(suspended, "ag_frame", None)
        if frame is not None:
            file = frame.f_code.co_filename.rsplit("/", 1)[-1]
            places.append(f"{frame.f_code.co_qualname} ({file}:{frame.f_lineno})")
        suspended = _awaited(suspended)
    return " of ".join(places[: -_CALLERS - 1 : -1]) or "an unknown place"


def _awaited(suspended: Any) -> Any:
    """The coroutine or asynchronous generator that this one waits for; None: it waits for neither."""
    awaited = getattr(suspended, "cr_await", None) or getattr(suspended, "ag_await", None)
    if awaited is not None and not hasattr(awaited, "cr_frame"):
        # A step of a generator does not say of which one it is; what it refers to does.
        awaited = next((one for one in gc.get_referents(awaited) if hasattr(one, "ag_frame")), None)
    return awaited


_CALLERS: Final = 3
"""Places named of a task: the innermost one is often a primitive of asyncio's."""


__all__ = [
    "WHOSE",
    "Clock",
    "LoopClock",
    "PunctualLoop",
    "VirtualLoop",
    "run_virtual",
    "waiting_tasks",
]
