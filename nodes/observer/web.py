"""The page of an observer, what it shows, and what it orders: routes for an ASGI application.

    GET /               the page           GET /feed?device=NAME    what happens, as server-sent events
    GET /page/FILE      its parts          POST /link               sets the channel's links
    GET /metrics        Prometheus' text

Who may ask is no concern of theirs: a guard stands before them (runtime/web).
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from draftwire.codecs.limits import MAX_NAME_LENGTH
from draftwire.nodes.observer.feed import MAX_SUBSCRIBERS, Feeds
from draftwire.nodes.observer.hearing import Hearing
from draftwire.nodes.observer.ordering import MAX_BODY, Order, carry_out, wish_of
from draftwire.runtime.clock import Clock, LoopClock
from draftwire.runtime.errors import ConfigurationError, DraftwireError
from draftwire.runtime.web.replies import JSON, refusal

PAGE: Final = Path(__file__).with_name("page")

TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}
"""Of files that may be asked for; others are not there."""

SAFE: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""The page asks nobody else, runs nothing that stands in its text, and stands in no other page."""

_FILE: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
"""A name that leads nowhere but into the folder."""


def routes(
    hearing: Hearing,
    *,
    order: Order | None,
    asks: str | None,
    clock: Clock | None = None,
    page: Path = PAGE,
) -> list[Route]:
    """`order`: changes the channel's links; None: nobody may. `asks`: the model that the page may ask on this
    very port; None: none. `clock`: the one by which events were heard; None: the running loop's.
    """
    clock = clock or LoopClock()
    observation, metrics = hearing.observation, hearing.metrics
    feeds = Feeds(observation, clock=clock, controllable=order is not None, asks=asks)

    async def index(request: Request) -> Response:
        return _file(request, page / "index.html")

    async def part(request: Request) -> Response:
        name = request.path_params["file"]
        if _FILE.fullmatch(name) is None:
            return _not_found(name)
        return _file(request, page / name)

    async def feed(request: Request) -> Response:
        device = request.query_params.get("device") or None
        if device is not None and len(device) > MAX_NAME_LENGTH:
            return _refusal(400, f"device: at most {MAX_NAME_LENGTH} characters will do")
        if not feeds.has_room:
            message = f"{MAX_SUBSCRIBERS} pages are open already; close one of them"
            return refusal(503, message, headers=SAFE | {"Retry-After": "10"})
        headers = SAFE | {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return _Events(feeds, device, headers)

    async def link(request: Request) -> Response:
        if order is None:
            return _refusal(409, "there is no channel here that takes orders")
        try:
            wish = wish_of(await _body(request))
            fields = await carry_out(wish, order, now=observation.words(wish.device))
        except ConfigurationError as error:
            return _refusal(400, str(error))
        except DraftwireError as error:
            return _refusal(409, str(error))
        return Response(orjson.dumps(fields), headers=SAFE, media_type=JSON)

    async def text(request: Request) -> Response:
        return Response(metrics.text(clock.now_s()), headers=SAFE, media_type=CONTENT_TYPE_LATEST)

    return [
        Route("/", index),
        Route("/page/{file}", part),
        Route("/feed", feed),
        Route("/link", link, methods=["POST"]),
        Route("/metrics", text),
    ]


class _Events(StreamingResponse):
    """A feed, which has its place from the moment it was let in until its page is gone."""

    def __init__(self, feeds: Feeds, device: str | None, headers: Mapping[str, str]) -> None:
        super().__init__(feeds.stream(device), headers=headers, media_type="text/event-stream")
        self._feeds = feeds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._feeds.place():
            await super().__call__(scope, receive, send)


async def _body(request: Request) -> bytes:
    """Raises ConfigurationError for what is far too long, and for one that its sender did not end."""
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise ConfigurationError(f"the body has more than {MAX_BODY} bytes")
    except ClientDisconnect:
        raise ConfigurationError("the body is not whole") from None
    return body


def _file(request: Request, path: Path) -> Response:
    """A part of the page, or that the browser's copy of it is still right."""
    kind = TYPES.get(path.suffix)
    try:
        content = path.read_bytes() if kind is not None else None
    except OSError:
        content = None
    if content is None:
        return _not_found(path.name)
    headers = SAFE | {"ETag": f'"{sha256(content).hexdigest()[:32]}"', "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=kind)


def _not_found(name: str) -> Response:
    return _refusal(404, f"the page has no file {name[:99]!r}")


def _refusal(status: int, message: str) -> Response:
    return refusal(status, message, headers=SAFE)


__all__ = ["PAGE", "SAFE", "routes"]
