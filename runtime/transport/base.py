"""How nodes reach each other: one interface, ZeroMQ sockets, and queues inside one process.

Two shapes of endpoint. One that **binds** talks to many peers, told apart by the identity they connect
with. One that **connects** has a single peer, written b"". Both carry opaque messages, whole or not at all,
in order per peer. Neither promises that a message arrives: a peer may be gone, or slower than its queue is
long. So `send` never waits and tells at once what it could not hand over; whoever needs more numbers its
messages and repeats them, which the session protocol does.

At which time anything happens is the running loop's own time, as LoopClock tells it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Protocol

from draftwire.runtime.errors import AddressError

PEER_QUEUE_MESSAGES: Final = 512
"""Messages that wait for one peer before `send` returns False; above any session's credit window."""

INBOX_MESSAGES: Final = 1024
"""Messages that wait for `receive` before an endpoint stops reading; its peers' queues then fill up."""

LINGER_MS: Final = 500
"""How long what was sent just before a close may still take to leave: a bound on shutdown too."""

MAX_PORT: Final = 65535
"""TCP's limit on a port number."""

MAX_IDENTITY_BYTES: Final = 255
"""ZMTP's limit on an identity."""


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it came in."""

    peer: bytes
    'identity of the sender; b"" on an endpoint that connects'
    data: bytes
    at_s: float
    "when it was read from the socket, in the loop's time"


class DropReason(StrEnum):
    """Why a message went no further."""

    QUEUE_FULL = "queue_full"
    "sent: the peer takes messages more slowly than they come"
    GONE = "gone"
    "sent: no peer of this identity is connected"
    CLOSED = "closed"
    "sent on an endpoint that is closed"
    OVERSIZE = "oversize"
    "sent: above MAX_FRAME_BYTES; a socket would drop the connection and the messages behind it"
    FRAME_COUNT = "frame_count"
    "received: not one frame, so no message of ours"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStatistics:
    """What an endpoint has seen since it was opened; still told after it is closed."""

    received: int
    "messages handed to `receive` or waiting for it"
    received_bytes: int
    sent: int
    "messages handed over; not a promise that they arrived"
    sent_bytes: int
    dropped: Mapping[DropReason, int]
    "messages; a reason that never occurred is absent"
    waiting: int
    "messages read and not yet received by the node"


class Endpoint(Protocol):
    """One end of a connection, or of many. Receive in one task; send from any task of the loop."""

    @property
    def address(self) -> str:
        """The address bound, its port filled in, or the address connected to."""
        ...

    async def receive(self) -> Received:
        """The next message; waits for one.

        Cancelled, it leaves the message queued. Raises EndpointClosedError once closed, also while waiting.
        """
        ...

    def send(self, peer: bytes, data: bytes) -> bool:
        """Hand one message over, without waiting. False: it was dropped and counted, see DropReason.

        On an endpoint that connects, `peer` is b"" and a peer that is not there yet is waited for: messages
        queue up to the bound. On one that binds, a peer that is not connected is GONE.
        """
        ...

    def statistics(self) -> EndpointStatistics:
        """Counts so far, as a value that will not change."""
        ...

    async def close(self) -> None:
        """Close; what was sent has LINGER_MS to leave, what was not received is lost. Idempotent."""
        ...


class Transport(Protocol):
    """Makes endpoints, and closes those it made."""

    async def bind(self, address: str) -> Endpoint:
        """An endpoint for many peers. Port `*` or 0: a free one, see Endpoint.address.

        Raises AddressInUseError, or AddressError for what can't be bound on this host at all.
        """
        ...

    async def connect(self, address: str, *, identity: bytes) -> Endpoint:
        """An endpoint with one peer, which needs not be there yet, nor stay: it reconnects by itself.

        A newer connection of the same identity takes the older one's place. Raises AddressError for an
        address that makes no sense and ValueError for an identity that is no identity.
        """
        ...

    async def close(self) -> None:
        """Close every endpoint, and wait at most about LINGER_MS for what they still send. Idempotent."""
        ...


def check_address(address: str, *schemes: str) -> None:
    """Raise AddressError unless this is SCHEME://REST of these schemes; for tcp REST is HOST:PORT."""
    scheme, separator, rest = address.partition("://")
    if scheme not in schemes or not separator or not rest:
        raise AddressError(address or "''", "not an address", remedy="write tcp://HOST:PORT or ipc://PATH")
    if scheme == "tcp":
        host, _, port = rest.rpartition(":")
        if not host:
            raise AddressError(address, "not an address", remedy="write tcp://HOST:PORT")
        if port != "*" and not (port.isdecimal() and int(port) <= MAX_PORT):
            raise AddressError(address, f"{port!r} is no port", remedy=f"write a number up to {MAX_PORT}")


def check_identity(identity: bytes) -> None:
    """Raise ValueError unless a peer may call itself this; a leading zero byte marks ZeroMQ's own names."""
    if not 1 <= len(identity) <= MAX_IDENTITY_BYTES or identity[0] == 0:
        raise ValueError(
            f"identity {identity!r}: 1 to {MAX_IDENTITY_BYTES} bytes, the first of them not zero, are needed"
        )


class Counts:
    """The changeable side of EndpointStatistics."""

    def __init__(self) -> None:
        self.received = self.received_bytes = self.sent = self.sent_bytes = 0
        self.dropped: Counter[DropReason] = Counter()

    def drop(self, reason: DropReason) -> bool:
        self.dropped[reason] += 1
        return False

    def send(self, data: bytes) -> bool:
        self.sent += 1
        self.sent_bytes += len(data)
        return True

    def receive(self, data: bytes) -> None:
        self.received += 1
        self.received_bytes += len(data)

    def frozen(self, waiting: int) -> EndpointStatistics:
        return EndpointStatistics(
            received=self.received,
            received_bytes=self.received_bytes,
            sent=self.sent,
            sent_bytes=self.sent_bytes,
            dropped=MappingProxyType(dict(self.dropped)),
            waiting=waiting,
        )


__all__ = [
    "INBOX_MESSAGES",
    "LINGER_MS",
    "MAX_IDENTITY_BYTES",
    "MAX_PORT",
    "PEER_QUEUE_MESSAGES",
    "Counts",
    "DropReason",
    "Endpoint",
    "EndpointStatistics",
    "Received",
    "Transport",
    "check_address",
    "check_identity",
]
