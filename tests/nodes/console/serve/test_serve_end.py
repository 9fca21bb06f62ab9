"""A server's beginning and end: its place comes first, and Ctrl-C, once and again, ends it in order."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import orjson
import pytest
from tests.harness.answers import VOCAB_SIZE, ScriptedNode, completion, scripted_api

from draftwire.nodes.console.api import ConnectedDevice
from draftwire.nodes.console.serve import app as app_module
from draftwire.nodes.console.serve import hosting
from draftwire.nodes.device.node import DeviceNode
from draftwire.nodes.models.pacing import NativeCompute
from draftwire.nodes.models.synthetic import SyntheticTokenizer
from draftwire.runtime.config import SamplingSettings, ServeSettings, Topology
from draftwire.runtime.errors import AddressError, AddressInUseError

SOON_S = 20.0
"""Far beyond what anything here takes."""


# ---------------------------------------------------------------------------------------------- its place


@pytest.mark.parametrize("start", [hosting.all_here, hosting.device_alone])
def test_a_place_that_can_not_be_had_is_told_first(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a node is started or a model is loaded."""

    @asynccontextmanager
    async def loads(*_: Any, **__: Any) -> AsyncIterator[Any]:
        raise AssertionError("models are loaded")
        yield

    monkeypatch.setattr(hosting, "nodes_here", loads)
    monkeypatch.setattr(hosting, "connect", loads)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = ServeSettings(port=other.getsockname()[1])
        with pytest.raises(AddressInUseError):
            asyncio.run(start(Topology(serve=taken), key=None))
    with pytest.raises(AddressError, match=r"no\.such\.host"):
        asyncio.run(start(Topology(serve=ServeSettings(host="no.such.host.invalid")), key="a-key"))


# ------------------------------------------------------------------------------------------------ its end


class Client:
    """One that is connected to the application itself, and takes what it says when it likes."""

    def __init__(self, app: Any, **fields: Any) -> None:
        self.reads = asyncio.Event()
        self.sent = b""
        self._body: list[Any] = [
            {"type": "http.request", "body": orjson.dumps(completion(**fields)), "more_body": False}
        ]
        path = "/v1/completions"
        scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode()}
        scope |= {"query_string": b"", "headers": [], "http_version": "1.1"}
        self.answered = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> Any:
        if self._body:
            return self._body.pop()
        return await asyncio.Event().wait()

    async def _send(self, message: Any) -> None:
        self.sent += message.get("body", b"")
        if self.sent:
            await self.reads.wait()


def test_an_end_does_not_wait_for_who_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It returns all the same; the server behind it breaks that answer off."""
    monkeypatch.setattr(app_module, "FAILED_WITHIN_S", 0.1)

    async def end() -> None:
        api, app = scripted_api(ScriptedNode(script=lambda request: range(1, 9)))
        client = Client(app, stream=True, max_tokens=8)
        while not client.sent:
            await asyncio.sleep(0)
        async with asyncio.timeout(SOON_S):
            await api.end(within_s=0.1)
        assert not client.answered.done()
        client.answered.cancel()
        await asyncio.gather(client.answered, return_exceptions=True)
        assert not api.busy

    asyncio.run(end())


def test_the_end_comes_before_what_nobody_has_read() -> None:
    """A client that reads again gets the error, and not first what had come meanwhile."""

    async def end() -> None:
        never = asyncio.Event()
        node = ScriptedNode(script=lambda request: [1, never] if request.seed == 1 else [2, 3, 4, never])
        api, app = scripted_api(node)
        client = Client(app, stream=True, prompt="ba", n=2, seed=1)
        while not client.sent or len(node.requests) < 2:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        ending = asyncio.create_task(api.end(within_s=0))
        for _ in range(5):
            await asyncio.sleep(0)
        before = client.sent
        client.reads.set()
        async with asyncio.timeout(SOON_S):
            await client.answered
            await ending
        rest = client.sent.removeprefix(before)
        assert b"server_ending" in rest and b'"text":" b' not in rest, rest

    asyncio.run(end())


def test_ctrl_c_again_ends_answers_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The first says how long they have; at the second each stream ends with its error, in silence here."""
    monkeypatch.setattr(hosting, "END_WITHIN_S", SOON_S + 10)
    said, read = list[str](), list[bytes]()

    def say(text: str) -> None:
        said.append(text)
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)

    monkeypatch.setattr(hosting, "say", say)
    never = asyncio.Event()
    device = ConnectedDevice(
        cast(DeviceNode, ScriptedNode(script=lambda request: [1, never])),
        SyntheticTokenizer(VOCAB_SIZE),
        NativeCompute(),
        SamplingSettings(),
    )
    topology = Topology(serve=ServeSettings(port=0))

    async def serve() -> None:
        async with hosting.api_served(topology, device, key=None) as url:
            host, _, port = url.removeprefix("http://").rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            body = orjson.dumps(completion(model=topology.pair.target.model, stream=True))
            head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await reader.readuntil(b"data: ")
            client = asyncio.create_task(rest(reader, writer))
            try:
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.Event().wait()
            finally:
                reading.append(client)
        await client

    async def rest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(SOON_S):
            read.append(await reader.read())
        writer.close()

    reading = list[asyncio.Task[None]]()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(serve())
    assert signal.getsignal(signal.SIGINT) is before
    assert said == [f"answers under way have {SOON_S + 10:g} s; Ctrl-C again ends them"]
    assert len(read) == 1 and b"server_ending" in read[0]
    assert "Traceback" not in capsys.readouterr().err
    assert [one.getMessage() for one in caplog.records if one.name.startswith("uvicorn")] == []
