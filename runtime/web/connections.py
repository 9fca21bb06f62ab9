"""A server's connections: no more than it may have, none idle for long, none that is fed or read too slowly.

uvicorn times only the pause between two requests. A connection that never sends one, or a byte at a time,
or that never reads its answer, would hold its descriptor for ever.
"""

import asyncio
from enum import Enum, auto
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

BODY_S: Final = 30.0
"""A request's body has come by then: 4 MB at 1.1 Mbit/s."""

STALLED_S: Final = 60.0
"""Whoever reads nothing of an answer for so long is gone."""


def _raw(status: str, text: bytes, *more: str) -> bytes:
    """A whole response, for where no application has been asked."""
    lines = (f"HTTP/1.1 {status}", "content-type: text/plain", f"content-length: {len(text)}", *more)
    return "\r\n".join((*lines, "connection: close", "", "")).encode() + text


_LATE: Final = _raw("408 Request Timeout", b"the body did not come in time")
_FULL: Final = _raw("503 Service Unavailable", b"all connections are in use: try later", "retry-after: 1")


class Phase(Enum):
    """What a connection waits for."""

    HEAD = auto()
    "a whole request head: it is idle"
    BODY = auto()
    "the rest of a request"
    ANSWER = auto()
    "the application"


class Room:
    """At most `most` connections. For a new one the idle one makes room that has been so longest."""

    def __init__(self, *, most: int, idle_s: float) -> None:
        self.most, self.idle_s = most, idle_s
        self._all: set[Connection] = set()
        self._idle: dict[Connection, None] = {}
        "who became idle first comes first"

    def __len__(self) -> int:
        return len(self._all)

    def enter(self, connection: "Connection") -> bool:
        """Whether there is a place for it, which an idle one may have had to leave."""
        if len(self._all) >= self.most:
            longest = next(iter(self._idle), None)
            if longest is None:
                return False
            self.leave(longest)
            longest.transport.abort()  # a descriptor is free now, and not when the other end agrees
        self._all.add(connection)
        return True

    def moved(self, connection: "Connection", phase: Phase) -> None:
        """It waits for something else now."""
        self._idle.pop(connection, None)
        if phase is Phase.HEAD and connection in self._all:
            self._idle[connection] = None

    def leave(self, connection: "Connection") -> None:
        """It is gone; idempotent."""
        self._all.discard(connection)
        self._idle.pop(connection, None)

    def empty(self) -> None:
        """End them all, whatever they are at."""
        for connection in list(self._all):
            connection.transport.abort()


class Connection(H11Protocol):
    """uvicorn's, with a place in a room and a time for everything but the application's own."""

    def __init__(self, *, room: Room, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._room = room
        self._phase: Phase | None = None
        self._late: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
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

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def _look(self) -> None:
        phase = self._now()
        if phase is self._phase or self.transport.is_closing():
            return
        self._phase = phase
        self._room.moved(self, phase)
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if phase is not Phase.ANSWER:
            within_s = self._room.idle_s if phase is Phase.HEAD else BODY_S
            self._late = self.loop.call_later(within_s, self._too_late)

    def _now(self) -> Phase:
        if self.cycle is None or self.cycle.response_complete:
            return Phase.HEAD
        return Phase.BODY if self.cycle.more_body else Phase.ANSWER

    def _too_late(self) -> None:
        if self._phase is Phase.BODY and not self.cycle.response_started:
            self.transport.write(_LATE)
        self.transport.close()


__all__ = ["BODY_S", "STALLED_S", "Connection", "Phase", "Room"]
