"""An answer as an HTTP response: whole, or as a stream of events; one whose client leaves is broken off."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from draftwire.nodes.console.serve.answering import Answering, Beat, News
from draftwire.nodes.console.serve.errors import SERVER, ApiError, as_api_error
from draftwire.nodes.console.serve.note import Note, note_of
from draftwire.nodes.console.serve.shapes import DONE, Shape
from draftwire.nodes.console.serve.usage import tokens_of
from draftwire.runtime.web.replies import JSON

WAITING: Final = b": waiting for the base station\n\n"
"""A comment: clients ignore it, and whatever is in between knows that the connection lives."""

_EVENTS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class GoneError(Exception):
    """Raised when the client has left."""


class Reply(Response):
    """What a request is answered with; the answer begins when this is called."""

    def __init__(
        self,
        answering: Answering,
        shape: Shape,
        *,
        under_way: Callable[[Answering], AbstractContextManager[None]],
    ) -> None:
        """`under_way`: counts it, as long as it is."""
        self._answering, self._shape, self._under_way = answering, shape, under_way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or say why not. A client that leaves ends the request at the base station."""
        note = note_of(scope)
        answer = self._stream if self._answering.asked.fields.stream else self._whole
        try:
            with self._under_way(self._answering):
                async with self._answering.begun() as news, _told_if_gone(self._answering, receive):
                    failed = await answer(news, send, note)
            if failed is not None:
                note.error = failed.name
                await failed.response(scope, receive, send)
        except GoneError:
            note.error = "client_left"
        finally:
            note.tokens = tokens_of(self._answering)

    async def _whole(self, news: AsyncGenerator[News, None], send: Send, note: Note) -> ApiError | None:
        """Returns why there is no answer."""
        try:
            async for _ in news:
                pass
        except Exception as error:
            return self._told(error)
        body = self._shape.whole(self._answering)
        headers = [(b"content-type", JSON.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return None

    async def _stream(self, news: AsyncGenerator[News, None], send: Send, note: Note) -> ApiError | None:
        """The headers wait for the first news: until then there can be another status than 200.

        Returns why there is no answer, where nothing has been sent; later an event says so.
        """
        started = False
        try:
            async for one in news:
                if not started:
                    started = True
                    await send({"type": "http.response.start", "status": 200, "headers": _EVENTS})
                    await _send(send, b"".join(map(self._shape.opening, self._answering.choices)))
                await _send(send, WAITING if isinstance(one, Beat) else self._shape.piece(one))
        except GoneError:
            raise
        except Exception as error:
            if not started:
                return self._told(error)
            told = self._as_api_error(error)
            shown = told or ApiError(500, "this server has failed; its log says how", kind=SERVER)
            note.error = shown.name
            await send({"type": "http.response.body", "body": shown.event})
            if told is None:
                raise
            return None
        options = self._answering.asked.fields.stream_options
        last = self._shape.usage(self._answering) if options.include_usage else b""
        await send({"type": "http.response.body", "body": last + DONE})
        return None

    def _told(self, error: Exception) -> ApiError:
        """Raises a bug, and GoneError, as they are."""
        told = self._as_api_error(error)
        if told is None:
            raise error
        return told

    def _as_api_error(self, error: Exception) -> ApiError | None:
        asked = self._answering.asked
        unsaid = None if asked.max_tokens_said else asked.max_tokens
        return as_api_error(error, max_tokens=asked.max_tokens_field, unsaid=unsaid)


async def _send(send: Send, data: bytes) -> None:
    if data:
        await send({"type": "http.response.body", "body": data, "more_body": True})


@asynccontextmanager
async def _told_if_gone(answering: Answering, receive: Receive) -> AsyncIterator[None]:
    """The answer hears of it when its client leaves."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        answering.fail(GoneError())

    watching = asyncio.create_task(watch(), name="client")
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


__all__ = ["WAITING", "GoneError", "Reply"]
