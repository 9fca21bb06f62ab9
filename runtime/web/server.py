"""An ASGI application served over HTTP/1.1 in the loop that runs already, by uvicorn."""

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger

from draftwire.runtime.errors import AddressError, AddressInUseError
from draftwire.runtime.web.connections import Connection, Room

END_WITHIN_S: Final = 1
"""What is under way when the server ends has so long, then its task is cancelled. A whole number, as uvicorn
takes it."""

BACKLOG: Final = 1024
"""Connections that the kernel keeps until the loop comes to them."""


@asynccontextmanager
async def served(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    logger: FilteringBoundLogger,
    listener: socket.socket | None = None,
    max_connections: int = 256,
    idle_s: float = 10.0,
) -> AsyncIterator[str]:
    """Serve `app` while the block runs; gives the URL, `http://HOST:PORT`.

    `port` 0: a free one. `listener`: this place, taken before by `bound`; it is closed at the end.
    `max_connections`: for one more that one makes room that has waited longest for its client, and where all
    are at work it is turned away. `idle_s`: a connection that has sent no whole request head for so long is
    closed. Signals are left alone. Raises AddressInUseError, or AddressError, for a place that can't be had.
    """
    if listener is None:
        listener = await bound(host, port)
    room = Room(most=max_connections, idle_s=idle_s)
    server = _Server(_config(app, room))
    with listener, _told_to(logger):
        task = asyncio.create_task(server.serve(sockets=[listener]), name="web server")
        await server.up.wait()
        try:
            yield _url(listener)
        finally:
            await _ended(server, task, room)


async def _ended(server: "_Server", task: asyncio.Task[None], room: Room) -> None:
    """What is under way has END_WITHIN_S, or none where this is cancelled."""
    server.should_exit = True
    try:
        await task
    finally:
        room.empty()
        answers = list(server.server_state.tasks)
        for answer in answers:
            answer.cancel()
        await asyncio.gather(*answers, return_exceptions=True)


class _Server(uvicorn.Server):
    """Says when it listens, and leaves signals to whoever runs it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


def _config(app: ASGIApp, room: Room) -> uvicorn.Config:
    protocol: Any = partial(Connection, room=room)  # uvicorn only calls it
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=max(1, round(room.idle_s)),
        timeout_graceful_shutdown=END_WITHIN_S,
    )


async def bound(host: str, port: int) -> socket.socket:
    """A place for `served`, nobody else's from now on; who connects before there is a server waits.

    Raises AddressInUseError, or AddressError, for one that can't be had.
    """
    place = f"http://{_bracketed(host)}:{port}"
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        problem = getattr(error, "strerror", None) or str(error)
        raise AddressError(place, problem, remedy="write 127.0.0.1, or an address of this machine") from None
    family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)  # Linux gives a place to two that only bind
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUseError(place) from None
        remedy = "choose an address of this machine, and a port above 1023"
        raise AddressError(place, error.strerror or str(error), remedy=remedy) from None
    return listener


def _url(listener: socket.socket) -> str:
    """As somebody on this machine writes it."""
    host, port = listener.getsockname()[:2]
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{_bracketed(here)}:{port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@contextmanager
def _told_to(logger: FilteringBoundLogger) -> Iterator[None]:
    """What escapes an application is an event of ours; what uvicorn says beside it is nobody's concern."""
    of_uvicorn = logging.getLogger("uvicorn.error")
    handler, propagates = _Failures(logger), of_uvicorn.propagate
    of_uvicorn.addHandler(handler)
    of_uvicorn.propagate = False
    try:
        yield
    finally:
        of_uvicorn.removeHandler(handler)
        of_uvicorn.propagate = propagates


class _Failures(logging.Handler):
    def __init__(self, logger: FilteringBoundLogger) -> None:
        super().__init__(logging.ERROR)
        self._log = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Those with an error, and not that tasks were cancelled at the end."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, Exception):
            self._log.error("web.failed", detail=f"{type(error).__name__}: {error}", exc_info=error)


__all__ = ["END_WITHIN_S", "bound", "served"]
