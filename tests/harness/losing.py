"""A transport inside one process whose bound endpoints lose and repeat messages as a test says."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from draftwire.codecs.frame import Frame, decode_frame
from draftwire.runtime.security import Service
from draftwire.runtime.transport import (
    Endpoint,
    EndpointStatistics,
    MemoryNetwork,
    MemoryTransport,
    Offence,
    Received,
    Trouble,
)

CopiesOf = Callable[[Frame], int]
"""How many copies of a frame arrive: 0 loses it."""


@dataclass
class _Losing:
    """An endpoint that hands on so many copies of what comes in."""

    inner: Endpoint
    copies_of: CopiesOf
    waiting: deque[Received] = field(default_factory=deque)

    @property
    def address(self) -> str:
        return self.inner.address

    async def receive(self) -> Received:
        while not self.waiting:
            received = await self.inner.receive()
            self.waiting.extend([received] * self.copies_of(decode_frame(received.data)))
        return self.waiting.popleft()

    def send(self, peer: bytes, data: bytes) -> bool:
        return self.inner.send(peer, data)

    def offence(self, peer: bytes, offence: Offence) -> None:
        self.inner.offence(peer, offence)

    def statistics(self) -> EndpointStatistics:
        return self.inner.statistics()

    def trouble(self) -> Trouble | None:
        return self.inner.trouble()

    async def close(self) -> None:
        await self.inner.close()


class LosingTransport(MemoryTransport):
    """Its bound endpoints lose and repeat; those that connect do not."""

    def __init__(self, network: MemoryNetwork, copies_of: CopiesOf) -> None:
        super().__init__(network)
        self._copies_of = copies_of

    async def bind(self, address: str, *, service: Service) -> Endpoint:
        return _Losing(await super().bind(address, service=service), self._copies_of)


__all__ = ["CopiesOf", "LosingTransport"]
