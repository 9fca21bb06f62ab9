"""A device that serves, and a base station elsewhere: clients that leave, and a station that goes away."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from tests.harness.processes import wait_until
from tests.harness.serving import DRAFT, TARGET, Running, running

pytestmark = pytest.mark.slow

ALONE = {"draftwire": {"k": 8, "gamma": 0}}
FIXED = {"draftwire": {"k": 8, "gamma": 4}}
"""With both fixed the same seed gives the same text, whatever happens meanwhile."""

Start = Callable[[], Any]


@contextmanager
def served(folder: Path, **target: int) -> Iterator[tuple[Running, Start, Path]]:
    """A server whose base station is a process of its own, which `start` starts, and its record; it is paced
    as the paper's, 44.5 ms a pass, so that an answer takes a while.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(2)]
        ports = [one.getsockname()[1] for one in sockets]
    config, record = folder / "topology.toml", folder / "record.jsonl"
    config.write_text(
        f"[pair]\ndraft = '{DRAFT}'\ntarget = '{TARGET}'\n"
        f"[target]\naddress = 'tcp://127.0.0.1:{ports[0]}'\n"
        + "".join(f"{key} = {value}\n" for key, value in target.items())
        + f"[controller]\naddress = 'tcp://127.0.0.1:{ports[1]}'\n"
        "[compute]\nprofile = 'paper'\n[device]\nreach_s = 2\nabsent_s = 4\n[serve]\nport = 0\n"
    )
    words = ("--config", str(config))

    def start() -> Any:
        return running("target", *words, "--record", str(record), folder=folder, name="target")

    with running("serve", *words, folder=folder, name="serve") as server:
        yield server.ready(), start, record


def client_of(server: Running) -> openai.OpenAI:
    """The official client, which tries once."""
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=100)


def answer(server: Running, **asked: Any) -> str:
    """A whole answer."""
    with client_of(server) as client:
        text: str = client.completions.create(model=TARGET, prompt="hello", **asked).choices[0].text
        return text


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_session(tmp_path: Path, stream: bool) -> None:
    """The base station has one place, and may go on for thousands of tokens: it is given up at once, long
    before the silence of a device would park it."""
    with served(tmp_path, max_sessions=1, ahead=4096) as (server, start, record), start() as target:
        target.ready()
        with client_of(server) as client:
            asked: Any = {"prompt": "hello", "max_tokens": 5000, "extra_body": ALONE}
            if stream:
                chunks = client.completions.create(model=TARGET, stream=True, **asked)
                next(chunks)
                chunks.close()
            else:
                with pytest.raises(openai.APITimeoutError):
                    client.with_options(timeout=2).completions.create(model=TARGET, **asked)
        assert len(answer(server, max_tokens=4, extra_body=ALONE).split()) == 4
        steps = [orjson.loads(line) for line in record.read_bytes().splitlines()]
        first = [step for step in steps if step["request"] == steps[0]["request"]]
        assert first[-1]["position"] < 200
        assert server.events("serve.request")[0]["error"] == "client_left"


def test_a_stream_goes_on_when_its_base_station_is_back(tmp_path: Path) -> None:
    """Killed in the middle and started again: the stream waits, and its text is the one without a fault."""
    asked: Any = {"max_tokens": 120, "seed": 5, "extra_body": FIXED}
    with served(tmp_path) as (server, start, _):
        with start() as target:
            target.ready()
            whole = answer(server, **asked)
        with client_of(server) as client:
            with start() as target:
                target.ready()
                chunks = client.completions.create(model=TARGET, prompt="hello", stream=True, **asked)
                text = next(chunks).choices[0].text
                target.process.send_signal(signal.SIGKILL)
            with start() as target:
                target.ready()
                finish = None
                for chunk in chunks:
                    text += chunk.choices[0].text
                    finish = chunk.choices[0].finish_reason
        assert (text, finish) == (whole, "length")


def test_a_base_station_that_stays_away_is_an_error(tmp_path: Path) -> None:
    """A stream ends with an event that the client raises, by absent_s; whoever asks then gets 503."""
    with served(tmp_path) as (server, start, _), client_of(server) as client:
        with start() as target:
            target.ready()
            asked: Any = {"prompt": "hello", "max_tokens": 5000}
            chunks = client.completions.create(model=TARGET, stream=True, **asked)
            next(chunks)
            target.process.send_signal(signal.SIGKILL)
            target.process.wait()
        with pytest.raises(openai.APIError, match="no word from the base station") as lost:
            for _ in chunks:
                pass
        assert lost.value.code == "base_station_unavailable"
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError) as gone:
                client.completions.create(model=TARGET, stream=stream, **asked)
            assert gone.value.status_code == 503 and gone.value.code == "base_station_unavailable"


def test_streams_wait_in_line_for_a_base_station_that_is_full(tmp_path: Path) -> None:
    """32 on 16 sessions, for much longer than a device looks for a base station: all come to their end."""

    async def one(client: openai.AsyncOpenAI, number: int) -> int:
        tokens = 0
        stream = await client.completions.create(
            model=TARGET, prompt=f"number {number}", max_tokens=60, stream=True, extra_body=ALONE
        )
        async for chunk in stream:
            tokens += len(chunk.choices[0].text.split())
        return tokens

    async def ask(server: Running) -> list[int]:
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=100)
        async with client:
            return await asyncio.gather(*(one(client, number) for number in range(32)))

    with served(tmp_path) as (server, start, _), start() as target:
        target.ready()
        assert asyncio.run(ask(server)) == [60] * 32
        wait_until(lambda: len(server.events("serve.request")) == 32, "all are told")
        assert {one["error"] for one in server.events("serve.request")} == {None}
