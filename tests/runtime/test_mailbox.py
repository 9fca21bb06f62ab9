"""The queue behind `receive`: nothing is lost, whoever is cancelled when."""

import asyncio

import pytest

from draftwire.runtime.clock import run_virtual
from draftwire.runtime.errors import EndpointClosedError
from draftwire.runtime.transport.mailbox import Mailbox


def test_a_waiter_cancelled_as_it_is_woken_passes_the_item_on() -> None:
    """When the first of two waiters is woken and cancelled in one turn, the second gets the item."""

    async def main() -> None:
        mailbox: Mailbox[int] = Mailbox("memory://x")
        first, second = (asyncio.create_task(mailbox.get()) for _ in range(2))
        await asyncio.sleep(0)
        mailbox.put(1)
        first.cancel()
        assert await second == 1
        assert first.cancelled() and not len(mailbox)

    run_virtual(main())


def test_waiters_are_served_in_turn() -> None:
    """Items go out in the order in which they came, to waiters in the order in which they asked."""

    async def main() -> None:
        mailbox: Mailbox[int] = Mailbox("memory://x")
        waiting = [asyncio.create_task(mailbox.get()) for _ in range(3)]
        await asyncio.sleep(0)
        for item in range(4):
            mailbox.put(item)
        assert await asyncio.gather(*waiting) == [0, 1, 2]
        assert await mailbox.get() == 3

    run_virtual(main())


def test_closing_ends_every_get() -> None:
    """Closing drops what is queued and ends all who wait, with the address in the error."""

    async def main() -> None:
        mailbox: Mailbox[int] = Mailbox("memory://x")
        waiting = [asyncio.create_task(mailbox.get()) for _ in range(3)]
        await asyncio.sleep(0)
        mailbox.close()
        for task in waiting:
            with pytest.raises(EndpointClosedError, match="memory://x"):
                await task
        mailbox.put(1)
        with pytest.raises(EndpointClosedError):
            await mailbox.get()

    run_virtual(main())
