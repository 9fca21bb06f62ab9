"""The API over a scripted device: shapes, errors, limits, and what ends an answer."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.answers import (
    MODEL,
    ScriptedNode,
    client_of,
    completion,
    counted,
    scripted_api,
)

from draftwire.codecs.limits import MAX_TOKENS
from draftwire.nodes.console.serve import answering
from draftwire.nodes.console.serve import asked as asked_module
from draftwire.nodes.console.serve.app import MAX_BODY_BYTES
from draftwire.nodes.device.errors import RequestRefusedError
from draftwire.nodes.models.base import ChatTemplateError
from draftwire.nodes.models.synthetic import SyntheticTokenizer
from draftwire.runtime.config import SamplingSettings
from draftwire.runtime.session.request import Request


class Chatty(SyntheticTokenizer):
    """Takes messages whose roles it knows."""

    def encode_chat(self, messages: Sequence[Any]) -> list[int]:
        """One word a role and the words of each message."""
        if messages[0]["role"] == "assistant":
            raise ChatTemplateError(ValueError("an answer can't come first"))
        return self.encode_prompt(" ".join(f"{one['role']} {one['content']}" for one in messages))


def asked(
    work: Callable[[httpx.AsyncClient], Awaitable[Any]], node: ScriptedNode | None = None, **options: Any
) -> Any:
    """What a client is told."""

    async def ask() -> Any:
        _, app = scripted_api(node or ScriptedNode(), **options)
        async with client_of(app) as client:
            return await work(client)

    return asyncio.run(ask())


def post(
    body: Any, *, path: str = "/v1/completions", node: ScriptedNode | None = None, **options: Any
) -> httpx.Response:
    """The answer to one request."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    response: httpx.Response = asked(lambda client: client.post(path, content=content), node, **options)
    return response


def events(response: httpx.Response) -> list[Any]:
    """Of a stream, comments left out; the last one is None where it ended as it should."""
    data = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    return [None if one == "[DONE]" else orjson.loads(one) for one in data]


# ------------------------------------------------------------------------------------------------ answers


def test_a_completion_has_the_shape_that_clients_know() -> None:
    """Ids, texts, why it ended, and what it came to, the extension included."""
    found = post(completion()).json()
    assert found["object"] == "text_completion" and found["model"] == MODEL and found["created"] == 10**9
    assert found["choices"] == [
        {"index": 0, "finish_reason": "length", "logprobs": None, "text": " be bi bo bu"}
    ]
    usage = found["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (1, 4, 5)
    assert {"alpha", "bytes_up", "speed_up", "ttft_s", "seed"} <= usage["draftwire"].keys()


def test_a_stream_says_the_same() -> None:
    """The pieces join to the text; the last event but one is what it came to, and then it is done."""
    response = post(completion(stream=True, stream_options={"include_usage": True}))
    *pieces, usage, end = events(response)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "".join(one["choices"][0]["text"] for one in pieces) == " be bi bo bu"
    assert [one["choices"][0]["finish_reason"] for one in pieces][-1] == "length"
    assert usage["choices"] == [] and usage["usage"]["completion_tokens"] == 4
    assert end is None
    assert len({one["id"] for one in (*pieces, usage)}) == 1


def test_a_conversation_is_answered() -> None:
    """Messages go through the template; parts of text are joined, and `developer` is `system`."""
    node = ScriptedNode()
    messages = [
        {"role": "developer", "content": "ba"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "be", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "bi", "annotations": None},
            ],
        },
    ]
    tokenizer = Chatty(64)
    body = {"model": MODEL, "messages": messages, "max_completion_tokens": 2}
    found = post(body, path="/v1/chat/completions", node=node, tokenizer=tokenizer).json()
    assert node.requests[0].prompt == tuple(tokenizer.encode_prompt("system ba user be bi"))
    assert found["object"] == "chat.completion"
    assert found["choices"][0]["message"]["role"] == "assistant"
    streamed = events(post(body | {"stream": True}, path="/v1/chat/completions", tokenizer=tokenizer))
    deltas = [one["choices"][0]["delta"] for one in streamed[:-1]]
    assert deltas[0] == {"role": "assistant", "content": ""} and deltas[-1] == {}
    text = "".join(delta.get("content", "") for delta in deltas)
    assert text == found["choices"][0]["message"]["content"]


def test_several_prompts_and_choices_have_their_places() -> None:
    """Two prompts, one in ids, two answers each: by prompt, then by repeat; each repeat has its own seed."""
    node = ScriptedNode()
    found = post(completion(prompt=["ba", "be"], n=2, seed=7), node=node).json()
    assert [one["index"] for one in found["choices"]] == [0, 1, 2, 3]
    texts = [one["text"] for one in found["choices"]]
    assert texts[0] == texts[1] == " be bi bo bu" and texts[2] == texts[3] == " bi bo bu da"
    assert [one.seed for one in node.requests] == [7, 8, 7, 8]
    assert found["usage"]["prompt_tokens"] == 2 and found["usage"]["completion_tokens"] == 16
    ids = post(completion(prompt=[0]), node=node).json()["choices"][0]["text"]
    assert ids == " be bi bo bu"


def test_a_stop_ends_the_text_before_it() -> None:
    """It is cut from the answer, of which nothing behind it is made; the base station is told of it too."""
    node = ScriptedNode()
    for stream in (False, True):
        response = post(completion(stop=" bo", stream=stream), node=node)
        choices = (
            [one["choices"][0] for one in events(response)[:-1]] if stream else response.json()["choices"]
        )
        assert "".join(one["text"] for one in choices) == " be bi"
        assert choices[-1]["finish_reason"] == "stop"
    assert node.requests[0].stop == (" bo",) and len(node.left) == 2


def test_an_answer_that_has_ended_is_not_left() -> None:
    """Where the base station has ended it at the stop, what came with it is read to its end, and cut."""
    node = ScriptedNode(stops=True)
    choice = post(completion(stop=" be"), node=node).json()["choices"][0]
    assert (choice["text"], choice["finish_reason"], node.left) == ("", "stop", [])


def test_what_a_request_leaves_out_is_the_servers() -> None:
    """max_tokens is [sampling]'s, as far as the context has room; the extension reaches the request."""
    node = ScriptedNode(context_length=10)
    post({"model": MODEL, "prompt": "ba be"}, node=node)
    assert node.requests[0].max_new_tokens == 8
    body = completion(temperature=0.5, top_p=0.9, top_k=5, seed=3, draftwire={"k": 8, "gamma": 2})
    post(body, node=node)
    request = node.requests[1]
    assert (request.k, request.gamma, request.seed) == (8, 2, 3)
    assert (request.sampling.temperature, request.sampling.top_p, request.sampling.top_k) == (0.5, 0.9, 5)


def test_a_seed_of_the_server_is_the_first_answers() -> None:
    """Of several answers the next ones have the next seeds, as where the request gives the seed."""
    node = ScriptedNode()
    defaults = SamplingSettings(seed=5, top_k=3, max_new_tokens=2)
    found = post({"model": MODEL, "prompt": ["ba", "be"], "n": 3}, node=node, defaults=defaults).json()
    assert [one.seed for one in node.requests] == [5, 6, 7, 5, 6, 7]
    assert found["usage"]["draftwire"]["seed"] == 5 and node.requests[0].sampling.top_k == 3
    post(completion(seed=9), node=node, defaults=defaults)
    assert node.requests[-1].seed == 9


def test_what_holds_where_a_request_says_nothing_is_told() -> None:
    """With the model: a client can see which temperature it gets."""
    defaults = SamplingSettings(temperature=0.5, top_p=0.9, top_k=3, max_new_tokens=2, seed=5)
    (found,) = asked(lambda client: client.get("/v1/models"), defaults=defaults).json()["data"]
    assert found["draftwire"]["defaults"] == {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "max_tokens": 2,
        "seed": 5,
        "acceptance": "rejection",
    }


def test_the_fingerprint_names_weights_and_vocabulary() -> None:
    """Version, both models with revision and dtype, and the ids' meaning: another of them, another one."""
    found = post(completion()).json()["system_fingerprint"]
    vocabulary = SyntheticTokenizer(64).fingerprint.hex()
    assert found.split(" ", 1)[1] == f"the-draft@main[float32]>{MODEL}[auto] vocabulary:{vocabulary}"


def test_there_is_one_model() -> None:
    """It is listed, and found by its name."""
    found = asked(lambda client: client.get("/v1/models")).json()
    assert [one["id"] for one in found["data"]] == [MODEL]
    assert asked(lambda client: client.get(f"/v1/models/{MODEL}")).json()["owned_by"] == "draftwire"
    missing = asked(lambda client: client.get("/v1/models/gpt-4"))
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


# ------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("change", "param", "words"),
    [
        ({"temperature": -1}, "temperature", "greater than or equal to 0"),
        ({"temperature": "hot"}, "temperature", "number"),
        ({"max_tokens": -3}, "max_tokens", "greater than or equal to 1"),
        ({"max_tokens": 1.5}, "max_tokens", "integer"),
        ({"top_p": 0}, "top_p", "greater than 0"),
        ({"n": 9}, "n", "less than or equal to 8"),
        ({"seed": -1}, "seed", "0"),
        ({"stop": ["a"] * 5}, "stop", "at most 4"),
        ({"stop": ""}, "stop", "1 to"),
        ({"stop": 3}, "stop", "list of texts"),
        ({"stream": 1}, "stream", "boolean"),
        ({"temprature": 1}, "temprature", "did you mean 'temperature'"),
        ({"draftwire": {"gama": 1}}, "draftwire.gama", "did you mean 'gamma'"),
        ({"draftwire": {"k": 65}}, "draftwire.k", "64 ids"),
        ({"draftwire": {"min_draft": 2}}, "draftwire.min_draft", "acceptance coupled"),
        ({"prompt": None}, "prompt", "missing"),
        ({"prompt": []}, "prompt", "there is none"),
        ({"prompt": [[]]}, "prompt", "list of token ids"),
        ({"prompt": ["a", 1]}, "prompt", "list of either"),
        ({"prompt": [64]}, "prompt", "0 to 63"),
        ({"prompt": [True]}, "prompt", "token ids"),
        ({"prompt": ["ba"] * 257}, "prompt", "at most 256"),
        ({"prompt": ["ba"] * 65}, "prompt", "gives 64"),
        ({"prompt": ["ba"] * 9, "n": 8}, "prompt", "gives 64"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "without `stream`"),
        ({"stream": True, "stream_options": {"usage": True}}, "stream_options.usage", "include_usage"),
        ({"logprobs": 2}, "logprobs", "leave it out"),
        ({"best_of": 3}, "best_of", "leave it out"),
        ({"echo": True}, "echo", "leave it out"),
        ({"suffix": "x"}, "suffix", "leave it out"),
        ({"presence_penalty": 0.5}, "presence_penalty", "leave it out"),
        ({"frequency_penalty": True}, "frequency_penalty", "leave it out"),
        ({"logit_bias": {"3": 100}}, "logit_bias", "leave it out"),
        ({"model": "gpt-4"}, "model", MODEL),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], param: str, words: str) -> None:
    """400 or 404, the field, and what to write instead; nothing is asked of the device."""
    node = ScriptedNode()
    response = post(completion(**change), node=node)
    error = response.json()["error"]
    assert response.status_code == (404 if "model" in change else 400)
    assert error["param"] == param and words in error["message"] and param in error["message"] + "model"
    assert node.requests == []


@pytest.mark.parametrize(
    "change",
    [
        {"best_of": 1},
        {"echo": False},
        {"suffix": ""},
        {"presence_penalty": 0},
        {"frequency_penalty": 0.0},
        {"logit_bias": {}},
        {"logprobs": None},
        {"user": "me", "metadata": {"a": "b"}, "store": True},
        {"temperature": None, "stop": None, "seed": None, "stream_options": None},
        {"draftwire": {"k": None, "acceptance": None}},
        {"stream": True, "stream_options": {"include_usage": None}},
    ],
)
def test_what_says_nothing_is_taken(change: dict[str, Any]) -> None:
    """Fields of OpenAI's API that change nothing are no reason to refuse."""
    assert post(completion(**change)).status_code == 200


@pytest.mark.parametrize(
    ("messages", "param", "words"),
    [
        ([], "messages", "at least 1"),
        ("hi", "messages", "list"),
        (["hi"], "messages[0]", "object"),
        ([{"role": "king", "content": "hi"}], "messages[0].role", "'user'"),
        ([{"role": "user"}], "messages[0].content", "missing"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content", "nothing else"),
        (
            [{"role": "user", "content": [{"type": "text", "text": "hi", "image_url": "x"}]}],
            "messages[0].content",
            "no field 'image_url'",
        ),
        ([{"role": "user", "content": "hi", "name": "me"}], "messages[0].name", "leave it out"),
        ([{"role": "user", "content": "hi", "tone": "me"}], "messages[0].tone", "no such field"),
        ([{"role": "assistant", "content": "hi"}], "messages", "an answer can't come first"),
    ],
)
def test_what_is_wrong_with_messages_is_named(messages: Any, param: str, words: str) -> None:
    """The message, its field, and why; a template's own words where it refuses."""
    body = {"model": MODEL, "messages": messages}
    response = post(body, path="/v1/chat/completions", tokenizer=Chatty(64))
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, param) and words in error["message"]


def test_a_model_without_a_template_says_where_to_go() -> None:
    """400 with a code that a program knows, and the remedy."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    error = post(body, path="/v1/chat/completions").json()["error"]
    assert error["code"] == "no_chat_template" and "/v1/completions" in error["message"]


def test_an_answer_that_was_got_can_be_sent_back() -> None:
    """The official client's own messages have fields that say nothing."""
    said: dict[str, Any] = {
        "role": "assistant",
        "content": "be",
        "refusal": None,
        "tool_calls": None,
        "annotations": [],
    }
    body = {"model": MODEL, "messages": [{"role": "user", "content": "ba"}, said]}
    assert post(body, path="/v1/chat/completions", tokenizer=Chatty(64)).status_code == 200


def test_a_context_that_overflows_has_its_code() -> None:
    """Both numbers are told; of a prompt that leaves no room for a token too."""
    node = ScriptedNode(context_length=8)
    for body in (completion(max_tokens=8), {"model": MODEL, "prompt": "ba " * 8}):
        error = post(body, node=node).json()["error"]
        assert error["code"] == "context_length_exceeded" and "8" in error["message"]
    node.script = lambda request: [RequestRefusedError("PROMPT_TOO_LONG", "the target has 4")]
    response = post(completion(), node=node)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "context_length_exceeded")
    assert error["message"].endswith("the target has 4")


@pytest.mark.parametrize("stream", [False, True])
def test_a_smaller_context_of_the_target_tells_what_was_taken_for_max_tokens(stream: bool) -> None:
    """Of a request that says none: how many were wanted, and that fewer may do."""
    node = ScriptedNode(script=lambda request: [RequestRefusedError("PROMPT_TOO_LONG", "the target has 4")])
    for path, body in (
        ("/v1/completions", {"prompt": "ba"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "ba"}]}),
    ):
        response = post({"model": MODEL, "stream": stream} | body, path=path, node=node, tokenizer=Chatty(64))
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (400, "context_length_exceeded")
        assert "no max_tokens was given, so 16 new tokens were asked for" in error["message"]


def test_more_than_a_message_can_carry_is_too_long() -> None:
    """Also where the draft's context is larger: 400, and nothing is asked of the device."""
    node = ScriptedNode(context_length=10**9)
    response = post(completion(prompt=[1] * 500_000), node=node)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "context_length_exceeded")
    assert str(MAX_TOKENS) in error["message"] and node.requests == []
    model = asked(lambda client: client.get(f"/v1/models/{MODEL}"), node).json()
    assert model["draftwire"]["context_length"] == MAX_TOKENS


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "line 1, column 2"),
        (b"", "no JSON"),
        (b"[1]", "one JSON object"),
        (b'{"a": "\xff"}', "no JSON"),
    ],
)
def test_what_is_no_json_is_told_with_its_place(body: bytes, words: str) -> None:
    """400, in the shape that the client reads."""
    response = post(body)
    assert response.status_code == 400 and words in response.json()["error"]["message"]


def test_a_body_that_is_too_large_is_not_read() -> None:
    """413, whether it says so before or not."""

    async def chunks() -> Any:
        for _ in range(MAX_BODY_BYTES // 65536 + 2):
            yield b" " * 65536

    assert post(b" " * (MAX_BODY_BYTES + 1)).status_code == 413
    assert asked(lambda client: client.post("/v1/completions", content=chunks())).status_code == 413


async def _request(client: httpx.AsyncClient, *, method: str, path: str) -> httpx.Response:
    return await client.request(method, path)


def test_other_paths_and_methods_are_told_what_there_is() -> None:
    """404 and 405 have the shape of all errors."""
    for method, path, status in (("GET", "/v1/completions", 405), ("POST", "/v1/embeddings", 404)):
        response = asked(partial(_request, method=method, path=path))
        assert response.status_code == status
        assert "/v1/chat/completions" in response.json()["error"]["message"]


def test_a_lost_base_station_is_a_503_or_the_last_event() -> None:
    """Before the first token a status, behind it an event; never an end that looks like one."""
    lost = RequestRefusedError("ABSENT", "no word from the base station")
    node = ScriptedNode(script=lambda request: [lost])
    for stream in (False, True):
        response = post(completion(stream=stream), node=node)
        assert response.status_code == 503 and response.headers["retry-after"]
        assert response.json()["error"]["code"] == "base_station_unavailable"
    node.script = lambda request: [1, lost]
    assert post(completion(), node=node).status_code == 503
    *_, last = events(post(completion(stream=True), node=node))
    assert "no word" in last["error"]["message"] and last["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        ("ABSENT", 503, "base_station_unavailable"),
        ("TARGET_FAILED", 500, "target_failed"),
        ("VOCABULARY", 500, "vocabulary"),
        ("DRAFT_STATE_LOST", 500, "draft_state_lost"),
        ("DENIED", 500, "denied"),
    ],
)
def test_only_what_may_pass_is_worth_another_try(reason: str, status: int, code: str) -> None:
    """503 with Retry-After for a base station that is away; what stays refused is a 500 of its own."""
    node = ScriptedNode(script=lambda request: [RequestRefusedError(reason, "so it is")])
    response = post(completion(), node=node)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert ("retry-after" in response.headers) is (status == 503)
    node.script = lambda request: [1, RequestRefusedError(reason, "so it is")]
    *_, last = events(post(completion(stream=True), node=node))
    assert last["error"]["code"] == code


def test_a_bug_is_a_500_that_tells_nothing() -> None:
    """What escapes is not shown; in a stream the last event says that it failed."""
    node = ScriptedNode(script=lambda request: [1, RuntimeError("secret")])
    response = post(completion(), node=node)
    assert response.status_code == 500 and "secret" not in response.text
    *_, last = events(post(completion(stream=True), node=node))
    assert last["error"]["type"] == "server_error" and "secret" not in str(last)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    "model prompt messages n max_tokens max_completion_tokens temperature top_p top_k seed stop stream "
    "stream_options draftwire logprobs tools response_format echo suffix user role content".split()
)


@given(
    path=st.sampled_from(["/v1/completions", "/v1/chat/completions"]),
    body=st.binary(max_size=40)
    | st.dictionaries(FIELDS, JSON_VALUES, max_size=5).map(lambda one: {"model": MODEL} | one)
    | st.dictionaries(FIELDS, JSON_VALUES, max_size=3).map(
        lambda one: completion(messages=[one]) | one if len(one) % 2 else completion(**one)
    ),
)
def test_no_body_is_a_reason_to_fail(path: str, body: Any) -> None:
    """Whatever comes: an answer, or an error that blames the request and says so in the right shape."""
    try:
        content = body if isinstance(body, bytes) else orjson.dumps(body)
    except TypeError:  # of integers that no JSON library writes
        return
    response = post(content, path=path, tokenizer=Chatty(64))
    assert response.status_code in (200, 400, 404, 413)
    if response.status_code != 200:
        error = response.json()["error"]
        assert error["type"] == "invalid_request_error" and error["message"]


# ------------------------------------------------------------------------------------ limits and endings


def test_more_requests_than_there_are_places_come_again() -> None:
    """429 with Retry-After while others are under way, and room again behind them."""

    async def ask() -> None:
        gate = asyncio.Event()
        node = ScriptedNode(script=lambda request: [1, gate, 2])
        _, app = scripted_api(node, max_requests=2)
        async with client_of(app) as client:
            first = asyncio.create_task(client.post("/v1/completions", json=completion(n=2)))
            while len(node.requests) < 2:
                await asyncio.sleep(0)
            turned_away = await client.post("/v1/completions", json=completion())
            assert (turned_away.status_code, turned_away.headers["retry-after"]) == (429, "1")
            assert turned_away.json()["error"]["code"] == "rate_limit_exceeded"
            gate.set()
            assert (await first).status_code == 200
            assert (await client.post("/v1/completions", json=completion())).status_code == 200

    asyncio.run(ask())


def _scope(path: str = "/v1/completions") -> dict[str, Any]:
    """Of a POST, as a server has it."""
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
    }


def test_what_can_not_be_answered_now_is_not_read() -> None:
    """While all places are taken, or the server ends, no body is waited for."""

    async def ask() -> None:
        gate = asyncio.Event()
        node = ScriptedNode(script=lambda request: [1, gate])
        api, app = scripted_api(node, max_requests=1)
        sent = list[Any]()

        async def receive() -> Any:
            raise AssertionError("the body was read")

        async def send(message: Any) -> None:
            sent.append(message)

        async with client_of(app) as client:
            first = asyncio.create_task(client.post("/v1/completions", json=completion()))
            while not node.requests:
                await asyncio.sleep(0)
            await app(_scope(), receive, send)
            assert sent[0]["status"] == 429
            gate.set()
            assert (await first).status_code == 200
        await api.end()
        sent.clear()
        await app(_scope(), receive, send)
        assert sent[0]["status"] == 503

    asyncio.run(ask())


class Watched(SyntheticTokenizer):
    """Knows in which threads texts were encoded."""

    def __init__(self) -> None:
        super().__init__(64)
        self.threads = set[threading.Thread]()

    def encode_prompt(self, text: str, *, chat: bool = True) -> list[int]:
        """As ever."""
        self.threads.add(threading.current_thread())
        return super().encode_prompt(text, chat=chat)


def test_too_many_answers_cost_no_encoding() -> None:
    """Their number is known from the fields alone."""
    tokenizer = Watched()
    assert post(completion(prompt=["ba"] * 9, n=8), tokenizer=tokenizer).status_code == 400
    assert tokenizer.threads == set()


def test_a_long_body_is_encoded_beside_the_loop() -> None:
    """However short each of its prompts is; a short one is not worth a thread."""
    short, long = Watched(), Watched()
    assert post(completion(), tokenizer=short).status_code == 200
    assert short.threads == {threading.main_thread()}
    prompts = ["ba " * 200] * 32
    node = ScriptedNode(context_length=1000)
    assert post(completion(prompt=prompts), node=node, tokenizer=long).status_code == 200
    assert long.threads and threading.main_thread() not in long.threads


def test_a_long_prompt_is_hashed_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for all answers to it; what is too long, or no id of any vocabulary, not at all."""
    hashed = list[tuple[int, threading.Thread]]()
    monkeypatch.setattr(
        asked_module, "prompt_hashes", lambda ids: hashed.append((len(ids), threading.current_thread()))
    )
    node = ScriptedNode(context_length=10_000)
    assert post(completion(prompt=[[1] * 9000, [2] * 5], n=8), node=node).status_code == 200
    ((length, thread),) = hashed
    assert length == 9000 and thread is not threading.main_thread()
    for prompt in ([1] * 10_001, [-1] * 9000, [2**40] * 9000):
        assert post(completion(prompt=prompt), node=node).status_code == 400
    assert len(hashed) == 1


def test_an_answer_that_nobody_reads_waits() -> None:
    """The device is asked for a bounded number of tokens more; all come once they are read."""

    async def ask() -> None:
        made = list[int]()

        def script(request: Request) -> Iterator[int]:
            for step in range(request.max_new_tokens):
                made.append(step)
                yield step % 64

        _, app = scripted_api(ScriptedNode(script=script, context_length=5000))
        body = orjson.dumps(completion(stream=True, max_tokens=4000))
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        reading, sent = asyncio.Event(), list[Any]()

        async def receive() -> Any:
            if not messages:
                await asyncio.Event().wait()
            return messages.pop()

        async def send(message: Any) -> None:
            await reading.wait()
            sent.append(message)

        replying = asyncio.ensure_future(app(_scope(), receive, send))
        while not made:
            await asyncio.sleep(0)
        for _ in range(1000):
            await asyncio.sleep(0)
        # As many again are one piece already, which is being sent.
        assert answering.MOST_UNREAD <= len(made) <= 2 * answering.MOST_UNREAD + 2
        reading.set()
        await replying
        assert len(made) == 4000 and sent[-1]["body"].endswith(b"data: [DONE]\n\n")

    asyncio.run(ask())


def test_a_base_station_without_room_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is refused for want of room, before its first token, waits its turn and is answered."""
    monkeypatch.setattr(answering, "AGAIN_S", 0.0)
    node = ScriptedNode()
    busy: list[Exception] = [RequestRefusedError("BUSY", "all sessions are taken") for _ in range(3)]
    node.script = lambda request: [busy.pop()] if busy else counted(request)
    assert post(completion(), node=node).json()["choices"][0]["text"] == " be bi bo bu"
    assert len(node.requests) == 4
    node.script = lambda request: [1, RequestRefusedError("BUSY", "all sessions are taken")]
    assert post(completion(), node=node).status_code == 503  # what it has said would be said again


def test_a_long_wait_is_filled_with_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that has nothing to say says that it waits, before its first token too."""
    monkeypatch.setattr(answering, "BEAT_S", 0.02)

    async def ask() -> str:
        gate = asyncio.Event()
        node = ScriptedNode(script=lambda request: [gate, 1, 2, 3, 4])
        _, app = scripted_api(node)
        async with client_of(app) as client:
            asyncio.get_running_loop().call_later(0.2, gate.set)
            return (await client.post("/v1/completions", json=completion(stream=True))).text

    text = asyncio.run(ask())
    assert text.startswith(": waiting for the base station\n\n") and text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_request(stream: bool) -> None:
    """The device is not asked for a token more, and its generator has been closed when the reply returns."""

    async def ask() -> None:
        never, gone = asyncio.Event(), asyncio.Event()
        node = ScriptedNode(script=lambda request: [1, never])
        api, app = scripted_api(node)
        body = [{"type": "http.request", "body": orjson.dumps(completion(stream=stream)), "more_body": False}]
        sent = list[Any]()

        async def receive() -> Any:
            if body:
                return body.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        replying = asyncio.ensure_future(app(_scope(), receive, send))
        while not node.requests or (stream and not sent):
            await asyncio.sleep(0)
        gone.set()
        async with asyncio.timeout(10):
            await replying
        assert len(node.left) == 1
        await api.end(within_s=0)  # nothing is under way

    asyncio.run(ask())


def test_the_end_lets_answers_end_and_then_ends_them() -> None:
    """Nothing new is taken; what is under way has its time, and then an event that says why."""

    async def ask() -> None:
        gate, never = asyncio.Event(), asyncio.Event()
        node = ScriptedNode(script=lambda request: [1, gate if request.seed == 1 else never, 2])
        api, app = scripted_api(node)
        async with client_of(app) as client:
            streams = [
                asyncio.create_task(client.post("/v1/completions", json=completion(stream=True, seed=seed)))
                for seed in (1, 2)
            ]
            while len(node.requests) < 2:
                await asyncio.sleep(0)
            ending = asyncio.create_task(api.end(within_s=0.3))
            await asyncio.sleep(0)
            assert (await client.post("/v1/completions", json=completion())).status_code == 503
            gate.set()
            *_, done = events(await streams[0])
            *_, last = events(await streams[1])
            await ending
            assert done is None and last["error"]["code"] == "server_ending"

    asyncio.run(ask())
