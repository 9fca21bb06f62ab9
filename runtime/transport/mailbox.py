"""The bounded queue between a socket and the one task that receives from it."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

from draftwire.runtime.errors import EndpointClosedError

T = TypeVar("T")


class Mailbox(Generic[T]):
    """First in, first out; `put` never waits, `get` does. Its endpoint keeps it within bounds."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._queue: deque[T] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, item: T) -> None:
        self._queue.append(item)
        self._wake_one()

    async def get(self) -> T:
        """The oldest item; waits for one.

        Cancelled, it leaves the queue as it is. Raises EndpointClosedError once closed, also while it waits.
        """
        while not self._queue and not self._closed:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake_one()  # woken and cancelled in one turn: the item is the next waiter's
                raise
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        if self._closed:
            raise EndpointClosedError(self._address)
        return self._queue.popleft()

    def close(self) -> None:
        """Drop what is queued and end every `get` with EndpointClosedError."""
        self._closed = True
        self._queue.clear()
        while self._waiters:
            self._wake_one()

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


__all__ = ["Mailbox"]
