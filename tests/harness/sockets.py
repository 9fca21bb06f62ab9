"""Tests over real sockets: within a bound on time, with an end that echoes."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from draftwire.runtime.errors import EndpointClosedError
from draftwire.runtime.transport import Endpoint

BOUND_S: Final = 20.0
"""What should happen takes a second at most; longer than this it does not happen."""

ANYWHERE: Final = "tcp://127.0.0.1:*"


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Until it ends, within BOUND_S."""

    async def bounded() -> None:
        async with asyncio.timeout(BOUND_S):
            await main()

    asyncio.run(bounded())


async def echo(bound: Endpoint) -> None:
    """Send each message back, until the endpoint is closed."""
    with suppress(EndpointClosedError):
        while True:
            received = await bound.receive()
            bound.send(received.peer, received.data)


__all__ = ["ANYWHERE", "BOUND_S", "echo", "run"]
