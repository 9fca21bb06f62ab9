"""A server's connections: bounded, timed, and closed at its end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
import structlog
from starlette.types import Receive, Scope, Send
from structlog.testing import LogCapture

from draftwire.runtime.errors import AddressError, AddressInUseError
from draftwire.runtime.telemetry import get_logger
from draftwire.runtime.web import connections
from draftwire.runtime.web.server import bound, served

GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
SOON_S = 20.0
"""Far beyond what anything here takes."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body, then says something."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


def on_a_server(work: Callable[[str, int], Awaitable[None]], app: Any = hello, **options: Any) -> None:
    """Run `work` with the URL and port of a server."""

    async def run() -> None:
        async with served(app, host="127.0.0.1", port=0, logger=get_logger("test"), **options) as url:
            async with asyncio.timeout(60):
                await work(url, int(url.rpartition(":")[2]))

    asyncio.run(run())


async def connected(port: int) -> Streams:
    """A connection that says nothing yet."""
    return await asyncio.open_connection("127.0.0.1", port)


async def said(streams: Streams, data: bytes = GET) -> bytes:
    """The head of the answer to that, and its body of two bytes."""
    reader, writer = streams
    writer.write(data)
    async with asyncio.timeout(SOON_S):
        head = await reader.readuntil(b"\r\n\r\n")
        return head + await reader.readexactly(2)


async def ended(streams: Streams) -> bytes:
    """What still comes, once the other end has closed."""
    reader, _ = streams
    async with asyncio.timeout(SOON_S):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


def code_of(answer: bytes) -> str:
    """Of a refusal."""
    code: str = orjson.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"]
    return code


def test_it_answers_and_keeps_the_connection() -> None:
    """Two requests on one connection."""

    async def work(url: str, port: int) -> None:
        streams = await connected(port)
        for _ in range(2):
            assert (await said(streams)).startswith(b"HTTP/1.1 200")
        streams[1].close()

    on_a_server(work)


def test_a_port_that_is_taken_is_told() -> None:
    """And an address that this machine lacks, and a name that nobody knows."""

    async def work(url: str, port: int) -> None:
        with pytest.raises(AddressInUseError, match=f"http://127.0.0.1:{port}"):
            async with served(hello, host="127.0.0.1", port=port, logger=get_logger("test")):
                pass
        for host in ("192.0.2.1", "no.such.host.invalid"):
            with pytest.raises(AddressError, match="address of this machine"):
                async with served(hello, host=host, port=0, logger=get_logger("test")):
                    pass

    on_a_server(work)


def test_a_place_that_is_bound_is_nobody_elses() -> None:
    """Before there is a server, too; who connects meanwhile is answered once there is."""

    async def run() -> None:
        listener = await bound("127.0.0.1", 0)
        port = listener.getsockname()[1]
        with pytest.raises(AddressInUseError):
            await bound("127.0.0.1", port)
        early = await connected(port)
        place: Any = {"host": "127.0.0.1", "port": port, "listener": listener}
        async with served(hello, logger=get_logger("test"), **place) as url:
            assert url == f"http://127.0.0.1:{port}"
            assert (await said(early)).startswith(b"HTTP/1.1 200")
            early[1].close()
        assert listener.fileno() == -1

    asyncio.run(run())


def test_idle_connections_keep_nobody_out() -> None:
    """Ten times as many as there is room for: the newest are served, the oldest are closed."""

    async def work(url: str, port: int) -> None:
        idle = [await connected(port) for _ in range(40)]
        assert (await said(await connected(port))).startswith(b"HTTP/1.1 200")
        assert await ended(idle[0]) == b""
        assert (await said(idle[-1])).startswith(b"HTTP/1.1 200")
        for _, writer in idle:
            writer.close()

    on_a_server(work, max_connections=4)


def test_where_all_are_at_work_one_more_is_turned_away() -> None:
    """503 in the API's shape, and those that are answered stay."""
    gate = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        await hello(scope, receive, send)

    async def work(url: str, port: int) -> None:
        busy = [await connected(port) for _ in range(2)]
        answers = [asyncio.create_task(said(one)) for one in busy]
        while (refused := await ended_or_none(port)) is None:
            await asyncio.sleep(0.01)
        assert refused.startswith(b"HTTP/1.1 503") and code_of(refused) == "too_many_connections"
        gate.set()
        assert all(one.startswith(b"HTTP/1.1 200") for one in await asyncio.gather(*answers))

    async def ended_or_none(port: int) -> bytes | None:
        reader, writer = await connected(port)
        try:
            async with asyncio.timeout(0.2):
                return await reader.read()
        except TimeoutError:
            return None
        finally:
            writer.close()

    on_a_server(work, slow, max_connections=2)


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"])
def test_a_head_that_does_not_come_closes_the_connection(begun: bytes) -> None:
    """Whether nothing comes or a part of it, and behind an answer too."""

    async def work(url: str, port: int) -> None:
        for before in (b"", GET):
            streams = await connected(port)
            if before:
                await said(streams, before)
            streams[1].write(begun)
            assert await ended(streams) == b""
            streams[1].close()

    on_a_server(work, idle_s=0.2)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xff\xfe\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -4\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000,
    ],
)
def test_what_is_no_http_ends_its_connection(data: bytes) -> None:
    """A refusal, then the end; the next client is answered, and nothing is told to the log as a failure."""
    captured = LogCapture()
    structlog.configure(processors=[captured])

    async def work(url: str, port: int) -> None:
        streams = await connected(port)
        streams[1].write(data)
        answer = await ended(streams)
        assert answer.startswith(b"HTTP/1.1 400") and code_of(answer) == "invalid_http"
        assert (await said(await connected(port))).startswith(b"HTTP/1.1 200")

    on_a_server(work, idle_s=5.0)
    assert [one for one in captured.entries if one["event"] == "web.failed"] == []


def test_bytes_that_trickle_do_not_keep_it() -> None:
    """A byte now and then is no head: the time runs on."""

    async def work(url: str, port: int) -> None:
        reader, writer = await connected(port)

        async def trickle() -> None:
            for byte in b"GET /" + b"x" * 100_000:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.02)

        trickling = asyncio.create_task(trickle())
        assert await ended((reader, writer)) == b""
        trickling.cancel()
        writer.close()

    on_a_server(work, idle_s=0.2)


def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """408, and the application hears that its client has gone."""
    monkeypatch.setattr(connections, "BODY_S", 0.2)
    heard = list[Any]()

    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        heard.append((await receive())["type"])
        heard.append((await receive())["type"])

    async def work(url: str, port: int) -> None:
        streams = await connected(port)
        streams[1].write(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nabc")
        answer = await ended(streams)
        assert answer.startswith(b"HTTP/1.1 408") and code_of(answer) == "request_timeout"
        while len(heard) < 2:
            await asyncio.sleep(0.01)
        assert heard == ["http.request", "http.disconnect"]

    on_a_server(work, reads)


def test_a_reader_that_stalls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes nothing of its answer does not hold the application for ever."""
    monkeypatch.setattr(connections, "STALLED_S", 0.2)
    over = asyncio.Event()

    async def talks(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        gone = asyncio.create_task(receive_until_gone(receive))
        while not gone.done():
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        over.set()

    async def receive_until_gone(receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def work(url: str, port: int) -> None:
        _, writer = await connected(port)
        writer.write(GET)
        async with asyncio.timeout(SOON_S):
            await over.wait()
        writer.close()

    on_a_server(work, talks)


def test_the_end_cancels_what_does_not_end() -> None:
    """An application that waits for ever, such as a feed, ends with the server."""
    ends = list[str]()

    async def feed(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"..", "more_body": True})
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("cancelled")

    async def work(url: str, port: int) -> None:
        reader, writer = await connected(port)
        writer.write(GET)
        await reader.readuntil(b"..")

    on_a_server(work, feed)
    assert ends == ["cancelled"]


def test_an_end_that_is_broken_off_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Cancelled once more it waits for nobody, ends what is under way, and no library says so."""
    ends, begun = list[str](), asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("cancelled")

    async def serve() -> None:
        async with served(waits, host="127.0.0.1", port=0, logger=get_logger("test")) as url:
            _, writer = await connected(int(url.rpartition(":")[2]))
            writer.write(GET)
            await asyncio.Event().wait()

    async def run() -> None:
        serving = asyncio.create_task(serve())
        await begun.wait()
        for _ in range(2):
            serving.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
        async with asyncio.timeout(SOON_S):
            await asyncio.gather(serving, return_exceptions=True)
        assert ends == ["cancelled"] and len(asyncio.all_tasks()) == 1

    asyncio.run(run())
    assert [one.getMessage() for one in caplog.records if one.name.startswith("uvicorn")] == []


def test_what_escapes_an_application_is_an_event() -> None:
    """500 for the client; the log has the error."""
    captured = LogCapture()
    structlog.configure(processors=[captured])

    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("a bug")

    async def work(url: str, port: int) -> None:
        reader, writer = await connected(port)
        writer.write(GET)
        assert (await reader.readline()).startswith(b"HTTP/1.1 500")
        writer.close()

    on_a_server(work, fails)
    events = [one for one in captured.entries if one["event"] == "web.failed"]
    assert [one["detail"] for one in events] == ["RuntimeError: a bug"]
