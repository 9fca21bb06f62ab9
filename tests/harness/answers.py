"""A device whose base station is a script: what the server does with answers, without any other node."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
from starlette.types import ASGIApp

from draftwire.codecs.messages import Finish, Origin
from draftwire.nodes.console.api import ConnectedDevice
from draftwire.nodes.console.serve.app import Api, Offer, application
from draftwire.nodes.device.account import Account
from draftwire.nodes.device.checks import check_request
from draftwire.nodes.device.node import DeviceNode
from draftwire.nodes.models.pacing import NativeCompute
from draftwire.nodes.models.synthetic import SyntheticTokenizer
from draftwire.nodes.models.tokenizer import Tokenizer
from draftwire.runtime.config import ModelSettings, PairSettings, SamplingSettings
from draftwire.runtime.session.request import Request, Taken

VOCAB_SIZE = 64
MODEL = "the-target"

Script = Callable[[Request], Iterable[int | Exception | asyncio.Event]]
"""What a request is answered with: ids, waits, and an error that ends it."""


def counted(request: Request) -> Sequence[int | Exception | asyncio.Event]:
    """As many tokens as it wants: ids that count up from the last one of the prompt."""
    return [(request.prompt[-1] + 1 + step) % VOCAB_SIZE for step in range(request.max_new_tokens)]


@dataclass
class ScriptedNode:
    """In place of a DeviceNode."""

    script: Script = counted
    context_length: int = 256
    name: str = "device-1"
    stops: bool = False
    "whether all come with one Commit, the last, as where a stop ends an answer at the base station"
    requests: list[Request] = field(default_factory=list)
    left: list[Request] = field(default_factory=list)
    "those whose reader went before the end"

    async def answer(self, request: Request, *, account: Account) -> AsyncGenerator[Taken, None]:
        """As DeviceNode.answer."""
        check_request(request, vocab_size=VOCAB_SIZE, context_length=self.context_length)
        self.requests.append(request)
        position = len(request.prompt)
        if self.stops:
            account.finish = Finish.STOP
        try:
            for one in self.script(request):
                if isinstance(one, asyncio.Event):
                    await one.wait()
                    continue
                if isinstance(one, Exception):
                    raise one
                account.tokens += 1
                yield Taken(position=position, token=one, origin=Origin.ALONE)
                position += 1
        except (GeneratorExit, asyncio.CancelledError):
            self.left.append(request)
            raise
        whole = position - len(request.prompt) == request.max_new_tokens
        account.finish = Finish.LENGTH if whole else Finish.STOP


def scripted_api(
    node: ScriptedNode,
    *,
    tokenizer: Tokenizer | None = None,
    max_requests: int = 64,
    defaults: SamplingSettings | None = None,
) -> tuple[Api, ASGIApp]:
    """The API over such a device, and the application of its routes."""
    defaults = defaults or SamplingSettings(max_new_tokens=16)
    device = ConnectedDevice(
        cast(DeviceNode, node),
        tokenizer or SyntheticTokenizer(VOCAB_SIZE),
        NativeCompute(),
        defaults,
    )
    pair = PairSettings(
        draft=ModelSettings(model="the-draft", dtype="float32", revision="main"),
        target=ModelSettings(model=MODEL),
    )
    offer = Offer(pair=pair, defaults=defaults, max_requests=max_requests, wall_s=lambda: 1e9)
    api = Api(device, offer)
    return api, application(api.routes())


def client_of(app: ASGIApp) -> httpx.AsyncClient:
    """Asks the application in this process; a stream is read once it has ended."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


def completion(**fields: Any) -> dict[str, Any]:
    """A body for /v1/completions."""
    return {"model": MODEL, "prompt": "ba", "max_tokens": 4} | fields


__all__ = ["MODEL", "VOCAB_SIZE", "ScriptedNode", "client_of", "completion", "counted", "scripted_api"]
