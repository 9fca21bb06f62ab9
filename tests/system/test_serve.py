"""`draftwire serve` with real nodes, asked by the official client."""

import asyncio
import os
import resource
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from tests.harness.processes import WITHIN_S, arguments, children, finished, wait_until
from tests.harness.serving import TARGET, Running, serving

FIXED = {"draftwire": {"k": 8, "gamma": 4}}
"""With both fixed the same seed gives the same text."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One for all that leave it as it was."""
    with serving("--link", "rate 20mbit delay 1ms", folder=tmp_path_factory.mktemp("serve")) as one:
        yield one


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    """The official one."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60) as one:
        yield one


def streamed(client: openai.OpenAI, **asked: Any) -> tuple[str, str | None, Any]:
    """Text, why it ended, and usage of a streamed completion."""
    text, finish, usage = "", None, None
    options: Any = {"include_usage": True}
    for chunk in client.completions.create(model=TARGET, stream=True, stream_options=options, **asked):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text, finish = text + choice.text, choice.finish_reason or finish
    return text, finish, usage


def test_the_official_client_is_answered(client: openai.OpenAI) -> None:
    """Models, a completion, the same in a stream, the same again: the seed settles the text."""
    assert [one.id for one in client.models.list()] == [TARGET]
    asked: Any = {"prompt": "why is it so", "max_tokens": 24, "seed": 3, "extra_body": FIXED}
    whole = client.completions.create(model=TARGET, **asked)
    assert len(whole.choices[0].text.split()) == 24 and whole.choices[0].finish_reason == "length"
    assert streamed(client, **asked)[:2] == (whole.choices[0].text, "length")
    other = client.completions.create(model=TARGET, **asked | {"seed": 4})
    assert other.choices[0].text != whole.choices[0].text


def test_usage_tells_what_the_link_and_the_drafts_did(client: openai.OpenAI) -> None:
    """OpenAI's counts, and the extension, whole and streamed."""
    asked: Any = {"prompt": "why is it so", "max_tokens": 24, "seed": 3, "extra_body": FIXED}
    whole = client.completions.create(model=TARGET, **asked).usage
    for usage in (whole, streamed(client, **asked)[2]):
        assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (4, 24, 28)
        told = usage.draftwire
        assert 0.3 < told["alpha"] <= 1 and told["bytes_up"] > 500 and told["bytes_down"] > 100
        assert (told["k"], told["gamma"], told["seed"], told["acceptance"]) == (8, 4, 3, "rejection")
        assert told["speed_up"] == pytest.approx(told["tokens_per_s"] / told["target_only_tokens_per_s"])
        assert 0 < told["ttft_s"] < WITHIN_S


def test_a_stop_is_cut_and_ends_the_answer(client: openai.OpenAI) -> None:
    """The text is that without the stop, up to it; the base station makes no more."""
    asked: Any = {"prompt": "why is it so", "max_tokens": 24, "seed": 3, "extra_body": FIXED}
    text = client.completions.create(model=TARGET, **asked).choices[0].text
    stop = text.split()[6]
    before = text[: text.index(stop)]
    found = client.completions.create(model=TARGET, stop=[stop, "never"], **asked)
    assert (found.choices[0].text, found.choices[0].finish_reason) == (before, "stop")
    assert found.usage is not None and found.usage.completion_tokens < 24
    assert streamed(client, stop=stop, **asked)[:2] == (before, "stop")


def test_errors_are_those_that_the_client_raises(server: Running, client: openai.OpenAI) -> None:
    """One class each, with the field and the code that a program reads."""
    with pytest.raises(openai.BadRequestError) as bad:
        client.completions.create(model=TARGET, prompt="a", temperature=-1)
    assert bad.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as none:
        client.chat.completions.create(model=TARGET, messages=[{"role": "user", "content": "hi"}])
    assert none.value.code == "no_chat_template"
    with pytest.raises(openai.NotFoundError) as missing:
        client.completions.create(model="gpt-4", prompt="a")
    assert missing.value.code == "model_not_found"
    with httpx.Client(base_url=server.url) as http:
        assert http.post("/v1/completions", content=b"{}").status_code == 415
        assert http.get("/v1/models", headers={"host": "evil.example"}).status_code == 403
        assert http.get("/v1/completions").status_code == 405


def test_many_ask_at_once(server: Running) -> None:
    """32 streams on a base station of 16 sessions: all are answered to the end, by the async client too."""

    async def one(client: openai.AsyncOpenAI, number: int) -> str:
        text = ""
        stream = await client.completions.create(
            model=TARGET, prompt=f"number {number}", max_tokens=24, stream=True
        )
        async for chunk in stream:
            text += chunk.choices[0].text
        return text

    async def ask() -> list[str]:
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=100)
        async with client:
            return await asyncio.gather(*(one(client, number) for number in range(32)))

    assert [len(text.split()) for text in asyncio.run(ask())] == [24] * 32


def test_a_thousand_idle_connections_keep_nobody_out(server: Running, client: openai.OpenAI) -> None:
    """They cost no more descriptors than there are places, and the next client is answered."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    wanted = min(1000, most - 200 if most != resource.RLIM_INFINITY else 1000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(most, 4096)), most))
    port = int(server.url.rpartition(":")[2])
    idle = list[socket.socket]()
    try:
        idle += (socket.create_connection(("127.0.0.1", port)) for _ in range(wanted))
        assert client.completions.create(model=TARGET, prompt="a", max_tokens=4).choices[0].text
        descriptors = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
        assert descriptors < 400
    finally:
        for one in idle:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))


def test_the_page_and_the_metrics_are_on_the_same_port(server: Running, client: openai.OpenAI) -> None:
    """And the feed tells of what was asked, and names the model that the page may ask."""
    client.completions.create(model=TARGET, prompt="a question for the page", max_tokens=4)
    with httpx.Client(base_url=server.url) as http:
        assert "text/html" in http.get("/").headers["content-type"]
        assert "draftwire" in http.get("/metrics").text
        with http.stream("GET", "/feed", timeout=30) as feed:
            first = next(line for line in feed.iter_lines() if line.startswith("data: "))
    assert f'"asks":"{TARGET}"' in first and "a question for the page" in first


def test_every_request_is_one_event(server: Running, client: openai.OpenAI) -> None:
    """Path, status, tokens and seconds; an error has its name."""
    client.completions.create(model=TARGET, prompt="one event", max_tokens=5)
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="none", prompt="a")

    def told() -> set[tuple[Any, ...]]:
        names = ("path", "status", "tokens", "error")
        return {tuple(one[name] for name in names) for one in server.events("serve.request")[-2:]}

    # The first may be told after the second: its client has had all of it by then.
    wanted = {("/v1/completions", 200, 5, None), ("/v1/completions", 404, 0, "model_not_found")}
    wait_until(lambda: told() == wanted, "both events")
    assert all(one["seconds"] >= 0 for one in server.events("serve.request"))


@pytest.mark.slow
def test_a_key_is_asked_for_and_streams_end_with_the_server(tmp_path: Path) -> None:
    """Without it 401, and with it an answer; at Ctrl-C a stream under way hears that it is over."""
    (tmp_path / "api.key").write_text("a-key-of-this-test\n")
    words = ("--host", "0.0.0.0", "--key-file", str(tmp_path / "api.key"), "--profile", "paper")
    with serving(*words, folder=tmp_path) as server:
        base = f"{server.url}/v1"
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=base, api_key="wrong", max_retries=0).models.list()
        with openai.OpenAI(base_url=base, api_key="a-key-of-this-test", max_retries=0) as client:
            stream = client.completions.create(model=TARGET, prompt="a", max_tokens=5000, stream=True)
            next(stream)
            server.process.send_signal(signal.SIGINT)
            with pytest.raises(openai.APIError, match="this server is ending"):
                for _ in stream:
                    pass
        assert server.process.wait(WITHIN_S) == 130
        assert server.events("serve.request")[-1]["error"] == "server_ending"


@pytest.mark.slow
def test_a_node_that_dies_ends_the_server(tmp_path: Path) -> None:
    """Of those that it has started: a stream hears why, and the command ends with that."""
    with serving("--profile", "paper", folder=tmp_path) as server:
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            stream = client.completions.create(model=TARGET, prompt="a", max_tokens=5000, stream=True)
            next(stream)
            target = next(pid for pid in children(server.process.pid) if "target" in arguments(pid))
            os.kill(target, signal.SIGKILL)
            with pytest.raises(openai.APIError, match="the target ended"):
                for _ in stream:
                    pass
        assert server.process.wait(WITHIN_S) not in (0, None)
        assert "draftwire: the target ended" in server.err.read_text()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_conversation_with_a_real_template(tmp_path: Path) -> None:
    """Whole and streamed, by a pair with weights and a chat template; the same seed gives the same text."""
    messages: Any = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello"}]
    pair = ("--draft", "tiny:", "--target", "tiny:", "--dtype", "float32")
    with serving(folder=tmp_path, pair=pair) as server:
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            asked: Any = {"model": "tiny:", "messages": messages, "max_completion_tokens": 16, "seed": 2}
            whole = client.chat.completions.create(**asked, extra_body=FIXED)
            text, roles = "", list[str]()
            for chunk in client.chat.completions.create(**asked, stream=True, extra_body=FIXED):
                text += chunk.choices[0].delta.content or ""
                roles += [chunk.choices[0].delta.role] if chunk.choices[0].delta.role else []
            assert (text, roles) == (whole.choices[0].message.content, ["assistant"])
            again: Any = [*messages, whole.choices[0].message.model_dump(), messages[1]]
            longer = client.chat.completions.create(**asked | {"messages": again})
            assert longer.usage is not None and whole.usage is not None
            assert longer.usage.prompt_tokens > whole.usage.prompt_tokens


def test_other_machines_need_a_key(tmp_path: Path) -> None:
    """A host beyond loopback without one is refused before anything is started."""
    done = finished("serve", "--host", "0.0.0.0", temporary=tmp_path)
    assert done.returncode == 2 and "--host" in done.stderr and "--key-file" in done.stderr
