"""A channel node that runs as long as a block, over any transport and without a system around it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from draftwire.nodes.channel.capture import Capture
from draftwire.nodes.channel.node import ChannelNode
from draftwire.runtime.clock import LoopClock
from draftwire.runtime.link import LinkSpec, parse_link
from draftwire.runtime.telemetry import get_logger
from draftwire.runtime.transport import Transport

UPLINK: Final = parse_link("rate 1mbit delay 20ms 5ms")
DOWNLINK: Final = parse_link("rate 8mbit delay 20ms 10ms")


@asynccontextmanager
async def channel(
    transport: Transport,
    *,
    address: str = "memory://channel",
    target_address: str = "memory://target",
    uplink: LinkSpec = UPLINK,
    downlink: LinkSpec = DOWNLINK,
    max_devices: int = 4,
    capture: Capture | None = None,
) -> AsyncIterator[ChannelNode]:
    """A channel between two addresses, started; cancelled with the block."""
    node = ChannelNode(
        transport=transport,
        clock=LoopClock(),
        address=address,
        target_address=target_address,
        uplink=uplink,
        downlink=downlink,
        seed=3,
        max_devices=max_devices,
        wall_s=LoopClock().now_s,
        logger=get_logger("channel"),
        capture=capture,
    )
    started = asyncio.Event()
    running = asyncio.create_task(node.run(started.set))
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
    try:
        yield node
    finally:
        running.cancel()
        waiting.cancel()
        await asyncio.gather(running, return_exceptions=True)


__all__ = ["DOWNLINK", "UPLINK", "channel"]
