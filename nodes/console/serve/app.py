"""The API as an ASGI application: its routes, the limits of a request, and an end in order."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from draftwire import __version__
from draftwire.nodes.console.serve.answering import Answering, Device
from draftwire.nodes.console.serve.asked import as_asked, prompts_of, read_fields
from draftwire.nodes.console.serve.errors import ENDING_CODE, SERVER, ApiError, as_api_error, bad
from draftwire.nodes.console.serve.note import note_of
from draftwire.nodes.console.serve.replying import Reply
from draftwire.nodes.console.serve.shapes import Shape
from draftwire.nodes.models.base import NoChatTemplateError, UnsupportedModelError
from draftwire.nodes.models.tokenizer import Tokenizer
from draftwire.runtime.config import ModelSettings, PairSettings, SamplingSettings
from draftwire.runtime.errors import DraftwireError
from draftwire.runtime.web.replies import JSON

MAX_BODY_BYTES: Final = 4_000_000
"""Of a request: more text than the context of any model that runs here."""

END_WITHIN_S: Final = 5.0
"""Answers under way at the end have so long."""

FAILED_WITHIN_S: Final = 1.0
"""They are told then that the server ends, and have so long to tell their clients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a server answers with."""

    pair: PairSettings
    "as this machine knows it; the target's name is that of the API's one model"
    defaults: SamplingSettings
    "of an answer whose request says nothing"
    max_requests: int
    "answers under way at a time"
    wall_s: Callable[[], float]
    "seconds since 1970"

    @property
    def model(self) -> str:
        """What it is called."""
        return self.pair.target.model

    def fingerprint(self, vocabulary: bytes) -> str:
        """What an answer hangs on besides its request, as far as this machine knows."""
        weights = f"{_weights(self.pair.draft)}>{_weights(self.pair.target)}"
        return f"draftwire-{__version__} {weights} vocabulary:{vocabulary.hex()}"


def _weights(end: ModelSettings) -> str:
    revision = "" if end.revision is None else f"@{end.revision}"
    return f"{end.model}{revision}[{end.dtype or 'auto'}]"


class Api:
    """OpenAI's API over one device."""

    def __init__(self, device: Device, offer: Offer) -> None:
        self._device, self._offer = device, offer
        self._under_way: set[Answering] = set()
        self._ended = asyncio.Event()
        self._ended.set()
        self._ending = False
        self._hurried = asyncio.Event()
        self._created_s = int(offer.wall_s())
        self._chats = has_template(device.tokenizer)

    def routes(self) -> list[BaseRoute]:
        """Below /v1."""
        return [
            Route("/v1/models", self._models, methods=["GET"]),
            Route("/v1/models/{name:path}", self._model, methods=["GET"]),
            Route("/v1/completions", self._completions, methods=["POST"]),
            Route("/v1/chat/completions", self._chat_completions, methods=["POST"]),
        ]

    @property
    def busy(self) -> bool:
        """Whether answers are under way."""
        return bool(self._under_way)

    async def end(self, *, within_s: float = END_WITHIN_S) -> None:
        """Take nothing new; return when what is under way has ended, which it has to within so long.

        Of a client that reads nothing it has not ended FAILED_WITHIN_S later, and is left to the server.
        """
        self._ending = True
        waits = [asyncio.create_task(one.wait()) for one in (self._ended, self._hurried)]
        try:
            await asyncio.wait(waits, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            for answering in self._under_way:
                answering.fail(ApiError(503, "this server is ending", kind=SERVER, code=ENDING_CODE))
            await asyncio.wait(waits[:1], timeout=FAILED_WITHIN_S)
        finally:
            for one in waits:
                one.cancel()

    def hurry(self) -> None:
        """The end waits no longer."""
        self._hurried.set()

    async def _models(self, request: Request) -> Response:
        return _json({"object": "list", "data": [self._as_model()]})

    async def _model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name != self._offer.model:
            message = f"the model {name[:200]!r} does not exist here: this server has {self._offer.model!r}"
            raise ApiError(404, message, param="model", code="model_not_found")
        return _json(self._as_model())

    async def _completions(self, request: Request) -> Response:
        return await self._asked(request, chat=False)

    async def _chat_completions(self, request: Request) -> Response:
        return await self._asked(request, chat=True)

    async def _asked(self, request: Request, *, chat: bool) -> Response:
        # What can't be answered now costs no reading, and what is too much no encoding.
        self._check_room(1)
        body = await _body(request)
        offer, device = self._offer, self._device
        fields = await read_fields(body, chat=chat, model=offer.model)
        prompts = len(prompts_of(fields))
        self._check_room(prompts * fields.n, param="prompt" if prompts > 1 else "n")
        asked = await as_asked(
            fields,
            size=len(body),
            tokenizer=device.tokenizer,
            context_length=device.context_length,
            defaults=offer.defaults,
        )
        self._check_room(asked.choices)  # others may have come meanwhile
        fingerprint = offer.fingerprint(device.tokenizer.fingerprint)
        shape = Shape(chat=chat, model=offer.model, fingerprint=fingerprint, created_s=int(offer.wall_s()))
        return Reply(Answering(asked, device), shape, under_way=self._counted)

    def _check_room(self, choices: int, *, param: str | None = None) -> None:
        """Raises ApiError. `param`: the field to blame where there are more than ever could be."""
        most = self._offer.max_requests
        if choices > most:
            raise bad(f"{choices} answers at once are too many: this server gives {most}", param=param)
        if self._ending:
            raise ApiError(503, "this server is ending", kind=SERVER, code=ENDING_CODE)
        busy = sum(len(one.choices) for one in self._under_way)
        if busy + choices > most:
            message = f"{busy} answers are under way, and this server gives {most} at a time: try later"
            raise ApiError(
                429,
                message,
                kind="rate_limit_error",
                code="rate_limit_exceeded",
                headers={"retry-after": "1"},
            )

    @contextmanager
    def _counted(self, answering: Answering) -> Iterator[None]:
        """It is under way while the block runs."""
        self._under_way.add(answering)
        self._ended.clear()
        try:
            yield
        finally:
            self._under_way.discard(answering)
            if not self._under_way:
                self._ended.set()

    def _as_model(self) -> dict[str, Any]:
        defaults = self._offer.defaults
        return {
            "id": self._offer.model,
            "object": "model",
            "created": self._created_s,
            "owned_by": "draftwire",
            "draftwire": {
                "draft": self._offer.pair.draft.model,
                "chat": self._chats,
                "context_length": self._device.context_length,
                "defaults": {
                    "temperature": defaults.temperature,
                    "top_p": defaults.top_p,
                    "top_k": defaults.top_k,
                    "max_tokens": defaults.max_new_tokens,
                    "seed": defaults.seed,
                    "acceptance": defaults.acceptance.value,
                },
                "version": __version__,
            },
        }


def application(routes: Sequence[BaseRoute]) -> Starlette:
    """An application of these routes whose errors have the API's shape."""
    return Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: _not_found,
            ClientDisconnect: _left,
            DraftwireError: _failed,
            UnsupportedModelError: _failed,
            Exception: _failed,
        },
    )


def has_template(tokenizer: Tokenizer) -> bool:
    """Whether the model takes messages."""
    try:
        tokenizer.encode_chat([{"role": "user", "content": "?"}])
    except NoChatTemplateError:
        return False
    except UnsupportedModelError:
        return True  # it has one, which says what is wrong with messages
    return True


async def _body(request: Request) -> bytes:
    """Raises ApiError for one that is too large, as soon as that is known."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > MAX_BODY_BYTES:
        raise _too_large()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
    return bytes(body)


def _too_large() -> ApiError:
    message = f"the body is larger than {MAX_BODY_BYTES} bytes: send less"
    return ApiError(413, message, code="body_too_large")


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type=JSON)


async def _failed(request: Request, error: Exception) -> Response:
    """Of an error that is known; of a bug, which is raised behind the answer and comes into the log."""
    told = as_api_error(error) or ApiError(500, "this server has failed; its log says how", kind=SERVER)
    note_of(request.scope).error = told.name
    return told.response


async def _not_found(request: Request, error: Exception) -> Response:
    """Of a path that there is not, or not by this method."""
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.url.path[:200]}"
    known = "GET /v1/models, POST /v1/chat/completions and POST /v1/completions"
    code = "method_not_allowed" if error.status_code == 405 else "not_found"
    note_of(request.scope).error = code
    message = f"{where}: there is no such thing here; the API is {known}"
    return ApiError(error.status_code, message, code=code, headers=error.headers).response


async def _left(request: Request, error: Exception) -> Response:
    """Nobody reads it."""
    note_of(request.scope).error = "client_left"
    return Response(status_code=400)


__all__ = ["END_WITHIN_S", "FAILED_WITHIN_S", "MAX_BODY_BYTES", "Api", "Offer", "application", "has_template"]
