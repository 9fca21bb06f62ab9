"""An answer as an HTTP response: whole, or as a stream of events; one whose client leaves is broken off."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from draftwire.nodes.console.serve.answering import Answering, Beat, Piece
from draftwire.nodes.console.serve.errors import ApiError, as_api_error
from draftwire.nodes.console.serve.shapes import DONE, Shape
from draftwire.nodes.console.serve.usage import tokens_of
from draftwire.nodes.console.serve.note import note_of
from draftwire.runtime.web.replies import JSON

WAITING: Final = b": waiting for the base station\n\n"
"""A comment: clients ignore it, and what is between knows that the connection lives."""

_EVENTS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


class Gone(Exception):
    """Raised when the client has left."""


class Reply(Response):
    """What a request is answered with; begins to answer when it is called."""

    def __init__(self, answering: Answering, shape: Shape) -> None:
        self._answering, self._shape = answering, shape

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or say why not. A client that leaves ends the request at the base station."""
        note = note_of(scope)
        try:
            async with self._news(receive) as news:
                await (self._stream if self._answering.asked.fields.stream else self._whole)(news, scope, receive, send)
        except Gone:
            note.error = "client_left"
        finally:
            note.tokens = tokens_of(self._answering)
