"""`draftwire bench serve`: figures from what was measured, and a client that notices a broken stream."""

import asyncio

import pytest

from draftwire.nodes.console.bench.serve import ServeBenchError, Timed, _by_http, page_bytes, result


def timed(seconds: float, *, first_s: float = 0.1, cpu_s: float = 0.0) -> Timed:
    """An answer of 10 tokens."""
    return Timed(text="", seconds=seconds, first_s=first_s, tokens=10, cpu_s=cpu_s)


def test_the_overhead_is_the_median_of_pairs() -> None:
    """A pair that another process slowed down is one of several, whichever half it hit."""
    first = (timed(1.0, cpu_s=0.1), timed(1.02, cpu_s=0.3))
    pairs = [first, (timed(1.0), timed(1.04)), (timed(3.0), timed(1.0))]
    found = result(pairs, [(timed(1.0), timed(1.25))], failed=0, page_bytes=12_500)
    assert found["overhead_pct"] == pytest.approx(100 * (1 - 1 / 1.02))
    assert found["overhead_pct_quartiles"][0] < -100
    assert (found["ttft_ms"], found["page_kb"]) == (100, 12.5)
    assert (found["added_cpu_us"], found["paced_overhead_pct"]) == (0, pytest.approx(20))
    assert result([first], [first], failed=0, page_bytes=0)["added_cpu_us"] == pytest.approx(20_000)
    assert [found["goals"][name]["met"] for name in ("overhead_pct", "failed", "page_kb")] == [True] * 3
    slow = [(timed(1.0), timed(1.1))]
    missed = result(slow, slow, failed=1, page_bytes=301_000)["goals"]
    assert [goal["met"] for goal in missed.values()] == [False] * 3


def test_the_page_has_a_size() -> None:
    """Of the files that a browser asks for."""
    assert page_bytes() > 1000


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Service Unavailable\r\n\r\nno",
        b'HTTP/1.1 200 OK\r\n\r\ndata: {"error": {"message": "lost"}}\n\n',
        b'HTTP/1.1 200 OK\r\n\r\ndata: {"choices": [{"text": "a", "finish_reason": null}]}\n\n',
    ],
)
def test_an_answer_that_is_none_is_a_failure(answer: bytes) -> None:
    """A status, an error event, an end without its reason: each is counted, none is taken for an answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}}")
        writer.write(answer)
        writer.close()

    async def ask() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(ServeBenchError):
                await _by_http(f"http://127.0.0.1:{port}", "m", tokens=1, seed=0)

    asyncio.run(ask())
