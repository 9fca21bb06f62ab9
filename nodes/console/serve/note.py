"""One event of the log for each request, and what is noted for it on the way."""

import time
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

REQUEST_EVENT: Final = "serve.request"

_PLACE: Final = "draftwire.note"
"""In a request's scope."""

API_PATH: Final = "/v1"
"""Below it every request is told; a page's files and feeds are not."""


@dataclass(slots=True)
class Note:
    """What the log is told of a request."""

    tokens: int = 0
    "that came of it"
    error: str | None = None
    "code or kind of what ended it; None: it was answered"
    status: int = 0
    "HTTP's; 0: nothing was sent"


def note_of(scope: Scope) -> Note:
    """The note of a request; one that nobody reads where none is kept."""
    found = scope.get(_PLACE)
    return found if isinstance(found, Note) else Note()


class Told:
    """Middleware that tells the log of each request to the API, whoever answers it."""

    def __init__(self, app: ASGIApp, *, logger: FilteringBoundLogger) -> None:
        self._app, self._log = app, logger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Of an HTTP request."""
        if scope["type"] != "http" or not scope["path"].startswith(API_PATH):
            await self._app(scope, receive, send)
            return
        note, began_s = Note(), time.monotonic()
        scope[_PLACE] = note

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                note.status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            self._log.info(
                REQUEST_EVENT,
                method=scope["method"],
                path=scope["path"][:200],
                status=note.status,
                tokens=note.tokens,
                seconds=round(time.monotonic() - began_s, 3),
                error=note.error,
            )


__all__ = ["API_PATH", "REQUEST_EVENT", "Note", "Told", "note_of"]
