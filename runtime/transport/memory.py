"""Endpoints inside one process: bounded queues, no sockets; they live in virtual time as well."""

import asyncio
from collections import Counter, deque
from typing import Final, Self

from draftwire.codecs.limits import MAX_FRAME_BYTES
from draftwire.runtime.errors import AddressInUseError
from draftwire.runtime.security import Service
from draftwire.runtime.transport.base import (
    NONCE_BYTES,
    PEER_QUEUE_MESSAGES,
    Counts,
    DropReason,
    Endpoint,
    EndpointStatistics,
    Offence,
    Received,
    Trouble,
    check_address,
    name_in,
    routing_id,
)
from draftwire.runtime.transport.mailbox import Mailbox
from draftwire.runtime.transport.quarantine import Senders
from draftwire.runtime.transport.verdicts import Verdicts


class MemoryNetwork:
    """What the nodes of one process share instead of a network: who is bound where, who connected to it.

    An address is a name here, so what was bound as tcp://*:5701 is not found as tcp://127.0.0.1:5701.
    """

    def __init__(self) -> None:
        self._ports = self._connections = 0
        self.bound: dict[str, _MemoryEndpoint] = {}
        self.connected: dict[str, dict[bytes, _MemoryEndpoint]] = {}

    def free(self, address: str) -> str:
        """The address, a `*` or port 0 at its end replaced by a number that was not used before."""
        head, separator, port = address.rpartition(":")
        if port in ("*", "0", "//*"):
            self._ports += 1
            return f"{head}{separator}{port.removesuffix('*').removesuffix('0')}{self._ports}"
        return address

    def nonce(self) -> bytes:
        """Of the next connection: counted, so that a run can be repeated."""
        self._connections += 1
        return self._connections.to_bytes(NONCE_BYTES, "big")


class MemoryTransport:
    """Endpoints inside one process, with the semantics and bounds of ZmqTransport; deterministic.

    A message is at the other end the moment it is sent. Delay is the business of a channel node.
    """

    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network
        self._endpoints: list[_MemoryEndpoint] = []

    async def bind(self, address: str, *, service: Service) -> Endpoint:
        check_address(address, "memory", "tcp", "ipc")
        address = self._network.free(address)
        if address in self._network.bound:
            raise AddressInUseError(address)
        endpoint = self._network.bound[address] = _MemoryEndpoint(self._network, address, identity=b"")
        self._keep(endpoint)
        for peer in self._network.connected.get(address, {}).values():
            peer.flush()
        return endpoint

    async def connect(self, address: str, *, service: Service, name: str) -> Endpoint:
        check_address(address, "memory", "tcp", "ipc")
        identity = routing_id(name, self._network.nonce())
        endpoint = _MemoryEndpoint(self._network, address, identity=identity)
        self._network.connected.setdefault(address, {})[identity] = endpoint
        self._keep(endpoint)
        return endpoint

    def _keep(self, endpoint: "_MemoryEndpoint") -> None:
        """Until it is closed: a channel makes one for each connection of a device."""
        self._endpoints = [other for other in self._endpoints if not other.closed]
        self._endpoints.append(endpoint)

    async def close(self) -> None:
        for endpoint in self._endpoints:
            await endpoint.close()
        self._endpoints.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _MemoryEndpoint:
    """One end: `identity` is empty where it binds. A sender has PEER_QUEUE_MESSAGES places at a receiver."""

    def __init__(self, network: MemoryNetwork, address: str, *, identity: bytes) -> None:
        self.address: Final = address
        self._network = network
        self._identity = identity
        self._name = name_in(identity) or ""
        self._loop = asyncio.get_running_loop()
        self._inbox: Mailbox[Received] = Mailbox(address)
        self._waiting: Counter[bytes] = Counter()  # of the inbox, by sender
        self._unsent: deque[bytes] = deque()  # of an end that connects, while nobody is bound
        self._counts = Counts()
        self._offenders = Senders()  # a connection each; they have no budget
        self._verdicts = Verdicts(address)
        self._closed = False

    async def receive(self) -> Received:
        received = await self._inbox.get()
        self._waiting[received.peer] -= 1
        if not self._waiting[received.peer]:
            del self._waiting[received.peer]  # peers come and go
        return received

    def send(self, peer: bytes, data: bytes) -> bool:
        if self._closed:
            return self._counts.drop(DropReason.CLOSED)
        if len(data) > MAX_FRAME_BYTES:
            return self._counts.drop(DropReason.OVERSIZE)
        connected = self._network.connected.get(self.address, {})
        if not self._identity:
            receiver = connected.get(peer)
            if receiver is None:
                return self._counts.drop(DropReason.GONE)
            taken = receiver.take(b"", "", data)
        elif self.address in self._network.bound:
            taken = self._network.bound[self.address].take(self._identity, self._name, data)
        else:
            taken = len(self._unsent) < PEER_QUEUE_MESSAGES
            if taken:
                self._unsent.append(data)
        return self._counts.send(data) if taken else self._counts.drop(DropReason.QUEUE_FULL)

    def take(self, peer: bytes, name: str, data: bytes) -> bool:
        """Called by the sender's end. False: this sender has as many messages waiting here as it may have."""
        if self._offenders and not self._listens_to(peer, name):
            self._counts.drop(DropReason.QUARANTINED)
            return True
        if self._waiting[peer] >= PEER_QUEUE_MESSAGES:
            return False
        self._waiting[peer] += 1
        self._counts.receive(data)
        self._inbox.put(Received(peer, data, self._loop.time(), name=name))
        return True

    def _listens_to(self, peer: bytes, name: str) -> bool:
        sender, now_s = self._offenders.of(peer, name), self._loop.time()
        if not sender.listened_to(now_s):
            return False
        if sender.dropped:
            self._verdicts.released(sender, now_s=now_s)
        return True

    def offence(self, peer: bytes, offence: Offence) -> None:
        if self._identity:
            return
        sender, now_s = self._offenders.of(peer, name_in(peer) or ""), self._loop.time()
        lasts_s = sender.offends(offence, now_s)
        if lasts_s is not None:
            self._verdicts.quarantined(sender, offence, lasts_s=lasts_s, now_s=now_s)

    def flush(self) -> None:
        """Somebody has bound: hand over what waited for it."""
        receiver = self._network.bound[self.address]
        while self._unsent:
            receiver.take(self._identity, self._name, self._unsent.popleft())

    @property
    def closed(self) -> bool:
        """Whether it is no more."""
        return self._closed

    def statistics(self) -> EndpointStatistics:
        return self._counts.frozen(len(self._inbox))

    def trouble(self) -> Trouble | None:
        return None  # a name in a dictionary is always reachable; whether anybody is bound shows in silence

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._inbox.close()
        if not self._identity:
            del self._network.bound[self.address]
        else:
            del self._network.connected[self.address][self._identity]


__all__ = ["MemoryNetwork", "MemoryTransport"]
