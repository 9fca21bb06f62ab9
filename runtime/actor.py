"""The life of a node in a process of its own: ready, drain, stop, and how it ends when it can't go on.

    code = run_process(lambda: run_actor(node, transport=transport))

The process prints one line when it is ready. At the first SIGINT or SIGTERM it finishes what is under way, if
the node knows how to, and stops; at the second it stops at once, computing or not. Either way its sockets
are closed before it ends. An error that somebody can mend is one line on stderr and an exit code, never a
traceback.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, Final, Protocol, runtime_checkable

from draftwire.runtime.clock import PunctualLoop
from draftwire.runtime.errors import DraftwireError
from draftwire.runtime.transport import Transport

DRAIN_BOUND_S: Final = 5.0
"""How long a node may go on with what is under way after it was told to stop."""

INTERRUPTED_EXIT_CODE: Final = 130
"""The shell's code for Ctrl-C; for one that comes before the node has taken charge of signals."""

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Actor(Protocol):
    """A node: something with a name that runs until it is done or cancelled.

    One that binds an address says so in an attribute `address`, and one that can finish what is under way has
    a method `drain`; see Addressed and Drains.
    """

    @property
    def name(self) -> str:
        """What people call it: `target`, `channel`, `device-1`."""
        ...

    async def run(self, started: Callable[[], None]) -> None:
        """Do the node's work; call `started` once others may talk to it.

        Returns when the work is done. Cancelled, it ends its tasks and closes its endpoints before it lets
        the cancellation through. A node that can't work raises a DraftwireError.
        """
        ...


@runtime_checkable
class Addressed(Protocol):
    """A node that others connect to; the readiness line then tells where, ports chosen by the system too."""

    @property
    def address(self) -> str:
        """Where it is bound; asked for once it has started."""
        ...


@runtime_checkable
class Drains(Protocol):
    """A node that can finish what is under way when it is told to stop."""

    async def drain(self, within_s: float) -> None:
        """Take nothing new, finish the rest within so long; what can't be broken off may take longer.

        Cancelled at a second signal.
        """
        ...


def print_ready(line: str) -> None:
    """Write the readiness line to standard output, at once: whoever started this process waits for it."""
    with suppress(BrokenPipeError):  # nobody waits any more
        print(line, flush=True)


async def run_actor(
    actor: Actor,
    *,
    transport: Transport,
    ready: Callable[[str], None] = print_ready,
    drain_s: float = DRAIN_BOUND_S,
) -> None:
    """Run a node until it ends or is told to stop by a signal, and has drained; then close the transport.

    `drain_s` is the time for that, of a node that Drains. `ready` gets exactly one line, `ready NAME` or
    `ready NAME ADDRESS`, when the node has started. What the node raises comes out as an ExceptionGroup.
    Needs the main thread, where signals arrive.
    """
    loop = asyncio.get_running_loop()
    stop, stop_now = asyncio.Event(), asyncio.Event()
    said = False

    def started() -> None:
        nonlocal said
        if not said:
            said = True
            ready(" ".join(["ready", actor.name, *([actor.address] if isinstance(actor, Addressed) else [])]))

    def on_signal() -> None:
        if stop.is_set():
            stop_now.set()
            _leave_signals_to_the_system(loop)  # a third one ends even a node that ignores being cancelled
        stop.set()

    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(actor.run(started), name=actor.name)
            ending = _stop(actor, running, stop, stop_now, drain_s)
            stopping = group.create_task(ending, name=f"{actor.name} stops")
            running.add_done_callback(lambda _: stopping.cancel())
    finally:
        await transport.close()
        _leave_signals_to_the_system(loop)
    if stop_now.is_set():
        _end_at_once()


async def _stop(
    actor: Actor, running: asyncio.Task[None], stop: asyncio.Event, now: asyncio.Event, drain_s: float
) -> None:
    await stop.wait()
    if isinstance(actor, Drains):
        draining = asyncio.create_task(actor.drain(drain_s), name=f"{actor.name} drains")
        hurried = asyncio.create_task(now.wait(), name=f"{actor.name} is told again to stop")
        try:
            await asyncio.wait((draining, hurried), return_when=asyncio.FIRST_COMPLETED)
            if draining.done():
                draining.result()
        finally:
            hurried.cancel()
            draining.cancel()
            await asyncio.gather(draining, hurried, return_exceptions=True)
    running.cancel()


def _end_at_once() -> None:
    """End the process without waiting for its threads: a computation in one can't be broken off."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _leave_signals_to_the_system(loop: asyncio.AbstractEventLoop) -> None:
    for number in _STOP_SIGNALS:
        loop.remove_signal_handler(number)


def run_process(main: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run `main` in an event loop and return what the process should exit with.

    0: it ended, by itself or because it was told to. A DraftwireError is printed as one line on stderr and
    gives its exit code (2: configuration, 3: an address or a peer). Anything else is a bug and is raised.
    """
    try:
        with asyncio.Runner(loop_factory=PunctualLoop) as runner:
            runner.run(main())
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT_CODE
    except (DraftwireError, BaseExceptionGroup) as error:
        errors = _mendable(error)
        if not errors:
            raise
        for mendable in errors:
            print(f"draftwire: {mendable}", file=sys.stderr)
        return errors[0].exit_code
    return 0


def _mendable(error: BaseException) -> list[DraftwireError]:
    """The typed errors that this one consists of; empty if there is any other among them."""
    parts = list(leaves(error))
    mendable = [part for part in parts if isinstance(part, DraftwireError)]
    return mendable if len(mendable) == len(parts) else []


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group, and in the groups in it; of one that is no group itself."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from leaves(part)
    else:
        yield error


__all__ = [
    "DRAIN_BOUND_S",
    "Actor",
    "Addressed",
    "Drains",
    "leaves",
    "print_ready",
    "run_actor",
    "run_process",
]
