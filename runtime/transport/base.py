"""How nodes reach each other: one interface, ZeroMQ sockets, and queues inside one process.

Two shapes of endpoint. One that **binds** talks to many peers, told apart by the connection they came by.
One that **connects** has a single peer, written b"". Both carry opaque messages, whole or not at all, in
order per peer. Neither promises that a message arrives: a peer may be gone, or slower than its queue is long.
So `send` never waits and tells at once what it could not hand over; whoever needs more numbers its messages
and repeats them, which the session protocol does.

A connection has a **name** besides: what people and other nodes call whoever is at its other end. Several
connections may have one name, at a time or one after the other; each of them is its own peer. With keys a
name is proved, see runtime/security; without them it is what the peer says.

At which time anything happens is the running loop's own time, as LoopClock tells it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from types import MappingProxyType
from typing import Final, Protocol

from draftwire.codecs.limits import MAX_NAME_LENGTH
from draftwire.runtime.errors import AddressError
from draftwire.runtime.security import Service

PEER_QUEUE_MESSAGES: Final = 512
"""Messages that wait for one peer before `send` returns False; above any session's credit window."""

INBOX_MESSAGES: Final = 1024
"""Messages that wait for `receive` before an endpoint stops reading; its peers' queues then fill up."""

INBOX_BYTES: Final = 2**26
"""64 MiB in all of them: a thousand frames as long as can be would be a gigabyte."""

LINGER_MS: Final = 500
"""How long what was sent just before a close may still take to leave: a bound on shutdown too."""

MAX_PORT: Final = 65535
"""TCP's limit on a port number."""

NONCE_BYTES: Final = 8
"""Random bytes that tell connections of one name apart, and that nobody else can guess."""

MAX_PEER_NAME_BYTES: Final = 255 - 1 - NONCE_BYTES
"""ZMTP's limit on a routing id is 255; a name's zero byte and nonce stand behind it."""


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it came in."""

    peer: bytes
    'the connection it came by, as `send` takes it; b"" on an endpoint that connects'
    data: bytes
    at_s: float
    "when it was read from the socket, in the loop's time"
    name: str = ""
    "of the sender; empty on an endpoint that connects"
    impostor: str = ""
    "why the sender may not go by that name, as a sentence for it; empty: it may"
    key: str = ""
    "the name of the key that the sender has proved; empty: it is an impostor, or no keys are used"


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
    NAMELESS = "nameless"
    "received: from a connection that does not say who it is, so none of ours"
    FLOOD = "flood"
    "received: above what one sender may send while there are others, see quarantine.py"
    ENDLESS = "endless"
    "received: the beginning of a message without end; its connection was ended with it, see endless.py"
    QUARANTINED = "quarantined"
    "received: from a sender that is not listened to for a while"


class Offence(StrEnum):
    """What a sender did that no honest node does, or does rarely. How much each weighs: quarantine.py."""

    DAMAGED = "damaged"
    "a frame whose checksum does not fit: a radio link does that too"
    FOREIGN = "foreign"
    "a frame of another protocol"
    MALFORMED = "malformed"
    "its checksum fits, and it says what can't be"
    MISPLACED = "misplaced"
    "a message that it has no business sending here"
    IMPOSTOR = "impostor"
    "it goes by a name that its key does not have"
    FRAMES = "frames"
    "a message of several frames, or of a connection without a name"
    ENDLESS = "endless"
    "a message of frames without end, of a great many, or of several that are too long in all"
    FLOOD = "flood"
    "a message above what it may send"


class TroubleKind(StrEnum):
    """What keeps an endpoint that connects from its peer."""

    UNREACHABLE = "unreachable"
    "nobody listens there, or no way leads there"
    SILENT = "silent"
    "the connection is taken, but nobody answers as a node would"
    CLOSED = "closed"
    """the other end closes the connection before it stands: it has another key than the one allowed here, or
    it is a forwarder, as ssh has them, whose node is not running"""
    DENIED = "denied"
    "the other end does not allow our key"
    REVOKED = "revoked"
    "no key of the other end is allowed here any more, so that nothing is sent there"
    MISMATCH = "mismatch"
    "one end uses keys, the other does not"
    LOST = "lost"
    "the connection stood, and broke"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why an endpoint that connects has no connection now."""

    kind: TroubleKind
    text: str
    "one line for a person: the address, what is wrong, and the remedy"
    shown_at_s: float = inf
    "when a try to connect last showed it, in the loop's time; inf: it holds now, whatever tries may show"

    @property
    def final(self) -> bool:
        """Whether trying again is no use until somebody has changed a key or a file."""
        return self.kind in (TroubleKind.DENIED, TroubleKind.REVOKED, TroubleKind.MISMATCH)


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

    def offence(self, peer: bytes, offence: Offence) -> None:
        """The node has met this in a message of `peer`. One that goes on so is not listened to for a while,
        on an endpoint that binds. With keys that holds for all that its key connects, else for the
        connection alone, since anybody may use its name.
        """
        ...

    def statistics(self) -> EndpointStatistics:
        """Counts so far, as a value that will not change."""
        ...

    def trouble(self) -> Trouble | None:
        """Why there is no connection now; None while there is one, or none has failed yet, or it binds."""
        ...

    async def close(self) -> None:
        """Close; what was sent has LINGER_MS to leave, what was not received is lost. Idempotent."""
        ...


class Transport(Protocol):
    """Makes endpoints, and closes those it made."""

    async def bind(self, address: str, *, service: Service) -> Endpoint:
        """An endpoint for many peers. Port `*` or 0: a free one, see Endpoint.address.

        Raises AddressInUseError, or AddressError for what can't be bound on this host at all.
        """
        ...

    async def connect(self, address: str, *, service: Service, name: str) -> Endpoint:
        """An endpoint with one peer, which needs not be there yet, nor stay: it reconnects by itself.

        `service` is what is expected there, `name` how this end is known to it. Raises AddressError for an
        address that makes no sense and ValueError for a name that can't be.
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


def routing_id(name: str, nonce: bytes) -> bytes:
    """How a connection introduces itself: its name, a zero byte, and a nonce. Raises ValueError for a name
    that can't be: see is_name.
    """
    if not is_name(name):
        raise ValueError(
            f"name {name!r}: 1 to {MAX_NAME_LENGTH} printable characters in at most {MAX_PEER_NAME_BYTES} "
            "bytes are needed"
        )
    return name.encode() + b"\0" + nonce


def is_name(text: str) -> bool:
    """Whether a connection can have this name."""
    fits = 1 <= len(text) <= MAX_NAME_LENGTH and len(text.encode(errors="replace")) <= MAX_PEER_NAME_BYTES
    return fits and text.isprintable()


def name_in(peer: bytes) -> str | None:
    """The name in a routing id; None: it is none of ours."""
    name, zero = peer[: -1 - NONCE_BYTES].decode(errors="replace"), peer[-1 - NONCE_BYTES : -NONCE_BYTES]
    return name if zero == b"\0" and is_name(name) and peer.startswith(name.encode() + zero) else None


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
    "INBOX_BYTES",
    "INBOX_MESSAGES",
    "LINGER_MS",
    "MAX_PEER_NAME_BYTES",
    "MAX_PORT",
    "NONCE_BYTES",
    "PEER_QUEUE_MESSAGES",
    "Counts",
    "DropReason",
    "Endpoint",
    "EndpointStatistics",
    "Offence",
    "Received",
    "Transport",
    "Trouble",
    "TroubleKind",
    "check_address",
    "is_name",
    "name_in",
    "routing_id",
]
