"""What a node's loop waits on: news, or a deadline of its clock, whichever comes first."""

import asyncio

from draftwire.runtime.clock import Clock


class Wake:
    """An event with an optional deadline."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._event = asyncio.Event()

    def set(self) -> None:
        """There is news."""
        self._event.set()

    async def wait(self, deadline_s: float | None) -> None:
        """Return once `set` has been called since the last return, or at the deadline. Cancel-safe."""
        loop = asyncio.get_running_loop()
        timer = None
        if deadline_s is not None:
            # In this order the sum is exact where both clocks are one, so virtual time never stands still.
            timer = loop.call_at(deadline_s + (loop.time() - self._clock.now_s()), self._event.set)
        try:
            await self._event.wait()
        finally:
            if timer is not None:
                timer.cancel()
        self._event.clear()


__all__ = ["Wake"]
