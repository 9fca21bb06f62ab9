"""How devices in this process come up: their logger, what is waited for, and the tasks that they are."""

import asyncio
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

from draftwire.nodes.console.launch import Launched
from draftwire.runtime.actor import Actor
from draftwire.runtime.telemetry import get_logger


def device_logger() -> FilteringBoundLogger:
    """The program's own where it has set structlog up. If not, a library is quiet: warnings, on stderr."""
    if structlog.is_configured():
        return get_logger("device")
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("warning"),
    )
    return logger.bind(node="device")


async def whichever_fails_first(*waits: "asyncio.Future[Any]") -> None:
    """Return when all are done; raise what the first of them raised, and let the others go."""
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_EXCEPTION)
        for wait in waits:
            if wait.done():
                wait.result()
    finally:
        for wait in waits:
            if not wait.done():
                wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def unless_lost(nodes: Launched, work: Coroutine[Any, Any, None]) -> None:
    """Do the work. Raises ChildFailedError as soon as a node that answers need has ended.

    An answer under way hears of that by itself; who waits for a line to answer would not.
    """
    working, losing = asyncio.ensure_future(work), asyncio.ensure_future(nodes.lost())
    both = (working, losing)
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise losing.result()
        working.result()
    finally:
        for one in both:
            one.cancel()
        await asyncio.gather(*both, return_exceptions=True)


async def run_beside(node: Actor, stack: AsyncExitStack) -> None:
    """Start the node's own task; it ends with the stack."""
    started = asyncio.Event()
    task = asyncio.create_task(node.run(started.set), name=node.name)
    waiting = asyncio.create_task(started.wait())

    async def end() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(end)
    await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        await task


__all__ = ["device_logger", "run_beside", "unless_lost", "whichever_fails_first"]
