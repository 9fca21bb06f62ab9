"""Requests whose rest nobody waits for: answered before their end, or never sent to it."""

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from tests.runtime.web.test_web_server import SOON_S, connected, ended, hello, on_a_server, said
from uvicorn.protocols.http.h11_impl import H11Protocol

from draftwire.runtime.web import connections
from draftwire.runtime.web.replies import refusal

HEAD = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
    """Asks for no body."""
    await refusal(401, "no")(scope, receive, send)


def test_an_answer_before_the_end_of_its_request_is_the_last_one() -> None:
    """It says so, and the connection ends: its client need not, and what it still sends is nothing's head."""

    async def work(url: str, port: int) -> None:
        streams = await connected(port)
        streams[1].write(CHUNKED + b"1\r\na\r\n")
        answer = await ended(streams)
        assert answer.startswith(b"HTTP/1.1 401") and b"connection: close" in answer
        streams[1].close()

    on_a_server(work, refuses, idle_s=3 * SOON_S)


def test_an_answer_behind_its_request_keeps_the_connection() -> None:
    """Where head and body come apart, too."""
    begun = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await hello(scope, receive, send)

    async def work(url: str, port: int) -> None:
        streams = await connected(port)
        for _ in range(2):
            streams[1].write(HEAD + b"Content-Length: 4\r\n\r\n")
            await begun.wait()
            begun.clear()
            assert b"connection: close" not in await said(streams, b"abcd")
        streams[1].close()

    on_a_server(work, app)


def test_an_early_answer_comes_through_to_whoever_sends_on() -> None:
    """A client that sends all of a large body before it reads is not reset before it has read."""

    async def work(url: str, port: int) -> None:
        for _ in range(5):
            streams = await connected(port)
            streams[1].write(HEAD + b"Content-Length: 3000000\r\n\r\n" + b"x" * 3_000_000)
            async with asyncio.timeout(SOON_S):
                await streams[1].drain()
                answer = await streams[0].read()
            assert answer.startswith(b"HTTP/1.1 401") and answer.endswith(b"}")
            streams[1].close()

    on_a_server(work, refuses)


def test_what_comes_behind_an_early_answer_is_not_read_as_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is much of it read at once before: chunks of one byte cost a thousand times what they weigh."""
    parsed = list[int]()
    of_uvicorn = H11Protocol.data_received

    def counted(self: H11Protocol, data: bytes) -> None:
        parsed.append(len(data))
        of_uvicorn(self, data)

    monkeypatch.setattr(H11Protocol, "data_received", counted)

    async def work(url: str, port: int) -> None:
        streams = await connected(port)
        streams[1].write(CHUNKED + b"1\r\na\r\n" * 200_000)
        assert (await ended(streams)).startswith(b"HTTP/1.1 401")
        streams[1].close()
        assert (await said(await connected(port))).startswith(b"HTTP/1.1 401")

    on_a_server(work, refuses)
    assert max(parsed) <= 8192 and sum(parsed) <= 32768, parsed


def test_a_client_that_sends_for_ever_behind_its_answer_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it reads or not."""
    monkeypatch.setattr(connections, "LINGER_S", 0.2)

    async def work(url: str, port: int) -> None:
        _, writer = await connected(port)
        writer.write(CHUNKED)
        async with asyncio.timeout(SOON_S):
            with pytest.raises(ConnectionError):
                while True:
                    writer.write(b"1\r\na\r\n" * 1000)
                    await writer.drain()
                    await asyncio.sleep(0)

    on_a_server(work, refuses, idle_s=3 * SOON_S)


def test_heads_without_their_bodies_keep_nobody_out() -> None:
    """Of more requests than there is room for, whose bodies don't come, the oldest makes room."""
    began, left = asyncio.Semaphore(0), list[str]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "GET":
            await hello(scope, receive, send)
            return
        began.release()
        while (kind := (await receive())["type"]) != "http.disconnect":
            pass
        left.append(kind)

    async def work(url: str, port: int) -> None:
        stuck = list[Any]()
        for _ in range(4):
            stuck.append(await connected(port))
            stuck[-1][1].write(HEAD + b"Content-Length: 10\r\n\r\n")
            await began.acquire()
        assert (await said(await connected(port))).startswith(b"HTTP/1.1 200")
        assert await ended(stuck[0]) == b"" and left == ["http.disconnect"]
        for _, writer in stuck:
            writer.close()

    on_a_server(work, app, max_connections=4)


def test_a_body_that_is_no_http_ends_its_request() -> None:
    """400 in the API's shape, and the application hears that nobody listens."""
    heard = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        heard.set()
        await refusal(401, "to nobody")(scope, receive, send)

    async def work(url: str, port: int) -> None:
        streams = await connected(port)
        streams[1].write(CHUNKED + b"zz\r\n")
        assert (await ended(streams)).count(b"HTTP/1.1 400") == 1
        async with asyncio.timeout(SOON_S):
            await heard.wait()
        streams[1].close()

    on_a_server(work, app)
