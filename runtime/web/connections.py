"""A server's connections: no more than it may have, none idle for long, none that is fed or read too slowly.

uvicorn times only the pause between two requests. A connection that never sends one, or a byte at a time,
or that never reads its answer, would hold its descriptor for ever.
"""

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final

import h11
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import H11Protocol

from draftwire.runtime.web.replies import JSON, error_body

BODY_S: Final = 30.0
"""A request's body has come by then: 4 MB at 1.1 Mbit/s."""

STALLED_S: Final = 60.0
"""Whoever reads nothing of an answer for so long is gone."""

LINGER_S: Final = 2.0
"""Whoever is answered while he still sends has so long to read it."""

READ_BYTES: Final = 4096
"""That are read at a time: of chunks of one byte 256 KiB, asyncio's own, hold the loop for seconds."""


def _raw(status: str, message: str, *more: str, kind: str, code: str) -> bytes:
    """A whole response, for where no application has been asked."""
    body = error_body(message, kind=kind, code=code)
    lines = (f"HTTP/1.1 {status}", f"content-type: {JSON}", f"content-length: {len(body)}", *more)
    return "\r\n".join((*lines, "connection: close", "", "")).encode() + body


_WRONG: Final = "invalid_request_error"
_BAD: Final = _raw("400 Bad Request", "this is no HTTP/1.1 request", kind=_WRONG, code="invalid_http")
_LATE: Final = _raw(
    "408 Request Timeout", "the body did not come in time", kind=_WRONG, code="request_timeout"
)
_FULL: Final = _raw(
    "503 Service Unavailable",
    "all connections are in use: try later",
    "retry-after: 1",
    kind="server_error",
    code="too_many_connections",
)


class Phase(Enum):
    """What a connection waits for."""

    HEAD = auto()
    "a whole request head: it is idle"
    BODY = auto()
    "the rest of a request"
    ANSWER = auto()
    "the application"


class Room:
    """At most `most` connections. For a new one that one makes room that waited longest for its client."""

    def __init__(self, *, most: int, idle_s: float) -> None:
        self.most, self.idle_s = most, idle_s
        self._all: set[Connection] = set()
        self._waiting: dict[Connection, None] = {}
        "for the client, not for the application; who began first comes first"

    def __len__(self) -> int:
        return len(self._all)

    def enter(self, connection: "Connection") -> bool:
        """Whether there is a place for it, which one that waits may have had to leave."""
        if len(self._all) >= self.most:
            longest = next(iter(self._waiting), None)
            if longest is None:
                return False
            self.leave(longest)
            longest.transport.abort()  # a descriptor is free now, and not when the other end agrees
        self._all.add(connection)
        return True

    def moved(self, connection: "Connection", phase: Phase) -> None:
        """It waits for something else now."""
        self._waiting.pop(connection, None)
        if phase is not Phase.ANSWER and connection in self._all:
            self._waiting[connection] = None

    def leave(self, connection: "Connection") -> None:
        """It is gone; idempotent."""
        self._all.discard(connection)
        self._waiting.pop(connection, None)

    def empty(self) -> None:
        """End them all, whatever they are at."""
        for connection in list(self._all):
            connection.transport.abort()


class _Parting:
    """A transport that is closed in order where the other end still sends.

    The kernel answers what comes to a closed socket with a reset, which overtakes the answer. So the way
    there ends, and what still comes is read and dropped, until the other end has closed too, or LINGER_S.
    """

    def __init__(self, transport: asyncio.Transport, sends: Callable[[], bool]) -> None:
        """`sends`: whether the other end does."""
        self._transport, self._sends = transport, sends
        self._parts = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._parts or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._transport.write(data)

    def close(self) -> None:
        if self._parts:
            return
        if self._transport.is_closing() or not self._sends():
            self._transport.close()
            return
        self._parts = True
        try:
            self._transport.write_eof()
        except OSError:  # it is gone, and the loop has not come to that yet
            self._transport.abort()
            return
        self._transport.resume_reading()
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)


class Connection(H11Protocol):
    """uvicorn's, with a place in a room and a time for everything but the application's own."""

    def __init__(self, *, room: Room, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._room = room
        self._phase: Phase | None = None
        self._late: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]  # asyncio's, of each read
        parting: Any = _Parting(transport, self._they_send)
        super().connection_made(parting)
        if self._room.enter(self):
            self._look()
        else:
            transport.write(_FULL)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._room.leave(self)
        for timer in (self._late, self._stalled):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def send_400_response(self, msg: str) -> None:
        self._refuse(_BAD)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def _look(self) -> None:
        phase = self._now()
        if phase is self._phase:
            return
        self._phase = phase
        self._room.moved(self, phase)
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if self.transport.is_closing():
            return
        if phase is not Phase.ANSWER:
            within_s = self._room.idle_s if phase is Phase.HEAD else BODY_S
            self._late = self.loop.call_later(within_s, self._too_late)
        if phase is not Phase.HEAD:
            # An answer before the end of its request is the connection's last one: nobody wants the rest.
            last = [CLOSE_HEADER] if phase is Phase.BODY else []
            self.cycle.default_headers = [*self.server_state.default_headers, *last]

    def _now(self) -> Phase:
        if self.cycle is None or self.cycle.response_complete:
            return Phase.HEAD
        return Phase.BODY if self.cycle.more_body else Phase.ANSWER

    def _they_send(self) -> bool:
        """Whether the rest of a request may come, or of what is none."""
        return self.conn.their_state in (h11.SEND_BODY, h11.ERROR)

    def _too_late(self) -> None:
        if self._phase is Phase.BODY:
            self._refuse(_LATE)
        else:
            self.transport.close()

    def _refuse(self, answer: bytes) -> None:
        """End it with that, unless something else was said; the application hears that nobody listens."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(answer)
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()


__all__ = ["BODY_S", "LINGER_S", "READ_BYTES", "STALLED_S", "Connection", "Phase", "Room"]
