"""Calls that block, and that nobody waits for at the end: a name or a hub may never be answered."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def in_a_thread(work: Callable[[], T], *, within_s: float) -> T:
    """What `work` returns or raises. Raises TimeoutError where it takes longer; then it goes on unheard."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def settle(set_it: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(lambda: None if result.done() else set_it())

    def run() -> None:
        try:
            value = work()
        except Exception as error:
            failure = error
            settle(lambda: result.set_exception(failure))
        else:
            settle(lambda: result.set_result(value))

    threading.Thread(target=run, name="doctor", daemon=True).start()
    async with asyncio.timeout(within_s):
        return await result


__all__ = ["in_a_thread"]
