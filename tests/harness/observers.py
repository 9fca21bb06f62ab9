"""An observer that runs as long as a block, and an ear that keeps what it hears."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from draftwire.codecs.control import Json
from draftwire.nodes.observer.node import ObserverNode, Sink
from draftwire.runtime.clock import LoopClock
from draftwire.runtime.security import Role
from draftwire.runtime.telemetry import get_logger
from draftwire.runtime.transport import Transport

OBSERVER: Final = "memory://observer"
WALL_S: Final = 1.7e9


class Ear:
    """A sink that keeps all."""

    def __init__(self) -> None:
        self.all: list[tuple[str, Mapping[str, Json], float]] = []

    def hear(self, node: str, event: Mapping[str, Json], at_s: float) -> None:
        self.all.append((node, event, at_s))

    def of(self, event: str, node: str | None = None) -> list[Mapping[str, Json]]:
        """Events of that name, of one node or of all."""
        told = [(who, one) for who, one, _ in self.all if one["event"] == event]
        return [one for who, one in told if node in (None, who)]


@asynccontextmanager
async def listening(
    transport: Transport,
    *,
    address: str = OBSERVER,
    sinks: Sequence[Sink],
    role_of: Callable[[str], Role | None] | None = None,
    refused: Callable[[str], None] = lambda reason: None,
) -> AsyncIterator[ObserverNode]:
    """An observer, started; cancelled with the block."""
    node = ObserverNode(
        transport=transport,
        address=address,
        clock=LoopClock(),
        logger=get_logger("observer"),
        sinks=sinks,
        role_of=role_of,
        wall_s=lambda: WALL_S,
        refused=refused,
    )
    started = asyncio.Event()
    running = asyncio.create_task(node.run(started.set))
    await started.wait()
    try:
        yield node
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


__all__ = ["OBSERVER", "WALL_S", "Ear", "listening"]
