"""Connections as real ones can be, inside one process: in trouble, or taken by an impostor."""

from collections.abc import Callable
from dataclasses import dataclass, replace

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

NOT_THE_KEYS = "the key phone-2 can't go by this name"


@dataclass
class _Spoilt:
    """An endpoint, but for what it says of its connections."""

    inner: Endpoint
    trouble_now: Callable[[], Trouble | None]
    impostors: frozenset[str]

    @property
    def address(self) -> str:
        return self.inner.address

    async def receive(self) -> Received:
        received = await self.inner.receive()
        return replace(received, impostor=NOT_THE_KEYS) if received.name in self.impostors else received

    def send(self, peer: bytes, data: bytes) -> bool:
        return self.inner.send(peer, data)

    def offence(self, peer: bytes, offence: Offence) -> None:
        self.inner.offence(peer, offence)

    def statistics(self) -> EndpointStatistics:
        return self.inner.statistics()

    def trouble(self) -> Trouble | None:
        return self.trouble_now()

    async def close(self) -> None:
        await self.inner.close()


class SpoiltTransport(MemoryTransport):
    """Its endpoints take those of the names `impostors` for impostors, and are in the trouble that is set."""

    def __init__(self, network: MemoryNetwork, *, impostors: frozenset[str] = frozenset()) -> None:
        super().__init__(network)
        self.impostors = impostors
        self.trouble: Trouble | None = None

    async def bind(self, address: str, *, service: Service) -> Endpoint:
        return self._spoilt(await super().bind(address, service=service))

    async def connect(self, address: str, *, service: Service, name: str) -> Endpoint:
        return self._spoilt(await super().connect(address, service=service, name=name))

    def _spoilt(self, inner: Endpoint) -> Endpoint:
        return _Spoilt(inner, lambda: self.trouble, self.impostors)


__all__ = ["NOT_THE_KEYS", "SpoiltTransport"]
