"""A file of prompts becomes a file of answers: each is there at once, whole, and once, whatever happens."""

import asyncio
import io
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from draftwire.nodes.console import batch
from draftwire.nodes.console.batch_files import Item, read_items, read_kept, settings_of, still_to_ask
from draftwire.nodes.console.cli import main
from draftwire.nodes.device.checks import InvalidRequestError
from draftwire.nodes.device.node import RequestRefusedError
from draftwire.runtime.config import Topology
from draftwire.runtime.errors import ConfigurationError

# The prompts ------------------------------------------------------------------------------------------------


def written(path: Path, text: str) -> str:
    """A file's name, with that in it."""
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_prompts_of_a_text(tmp_path: Path) -> None:
    """One a line, without white space around it; empty lines count for nothing; ids are numbers from 1."""
    items = read_items(written(tmp_path / "p.txt", "\ufeff one \n\n  \n{two}\nthree"))
    assert [(one.id, one.number, one.prompt) for one in items] == [
        ("1", 0, "one"),
        ("2", 1, "{two}"),
        ("3", 2, "three"),
    ]


@pytest.mark.parametrize("name", ["p.txt", "p.jsonl"])
def test_a_line_ends_where_a_text_file_says(name: str, tmp_path: Path) -> None:
    """At a line feed, with or without a carriage return: other separators are part of a prompt."""
    prompts = ["a\u2028b", "c\x85d", "e\u2029f"]
    text = [f'{{"prompt":"{one}"}}' for one in prompts]
    if name == "p.txt":
        text = prompts = [*prompts, "g\x0ch", "i\x0bj", "k\x1cl"]  # in JSON they are escaped
    (tmp_path / name).write_bytes("\r\n".join(text).encode())
    assert [one.prompt for one in read_items(str(tmp_path / name))] == prompts


def test_prompts_of_json_lines(tmp_path: Path) -> None:
    """What a line says of its request is kept; null says nothing; a lone stop is a list of one."""
    first = {"prompt": "a\nb", "id": 7, "max_new_tokens": 5, "seed": 0, "temperature": 0, "stop": "x"}
    second = {"prompt": "c", "id": None, "top_p": 0.5, "top_k": 3, "stop": ["y", "z"], "seed": None}
    text = "\n".join(orjson.dumps(one).decode() for one in (first, second))
    one, two = read_items(written(tmp_path / "p.jsonl", text))
    assert (one.id, one.prompt, two.id) == ("7", "a\nb", "2")
    assert one.said == {"max_new_tokens": 5, "seed": 0, "temperature": 0, "stop": ("x",)}
    assert two.said == {"top_p": 0.5, "top_k": 3, "stop": ("y", "z")}


@pytest.mark.parametrize(
    ("text", "prompts"),
    [('{"prompt": "a"}\n{"prompt": "b"}\n', ["a", "b"]), ('{"prompt": "a"}\nb\n', ['{"prompt": "a"}', "b"])],
)
def test_a_pipe_and_a_file_are_told_by_their_lines(
    text: str, prompts: Sequence[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """JSON lines if each of them is an object, else a text; of a .jsonl each has to be one."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    assert [one.prompt for one in read_items("-")] == prompts
    assert [one.prompt for one in read_items(written(tmp_path / "p.txt", text))] == prompts
    assert [one.prompt for one in read_items(written(tmp_path / "p.json", text))] == prompts
    with pytest.raises(ConfigurationError, match="no JSON"):
        read_items(written(tmp_path / "p.jsonl", text + "b\n"))


BAD = {
    "no JSON": "{prompt",
    "no object with a text `prompt`": '{"promt": "x"}',
    "temprature: no key that is known; did you mean 'temperature'?": '{"prompt": "x", "temprature": 1}',
    "max_new_tokens: 0 will not do": '{"prompt": "x", "max_new_tokens": 0}',
    "max_new_tokens: 1.5 is no whole number": '{"prompt": "x", "max_new_tokens": 1.5}',
    "seed: True is no whole number": '{"prompt": "x", "seed": true}',
    "seed: -1 will not do": '{"prompt": "x", "seed": -1}',
    "temperature: '1' is no number": '{"prompt": "x", "temperature": "1"}',
    "top_p: 0 will not do": '{"prompt": "x", "top_p": 0}',
    "prompt: it is empty": '{"prompt": " "}',
    "stop: 3 is no text": '{"prompt": "x", "stop": 3}',
    "stop: 3 is no text; give": '{"prompt": "x", "stop": [3]}',
    "stop: '' will not do": '{"prompt": "x", "stop": ""}',
    "id: True is none": '{"prompt": "x", "id": true}',
    "id: 'a' is the id of line 1 as well": '{"prompt": "x", "id": "a"}',
}


@pytest.mark.parametrize("says", BAD)
def test_a_bad_line_is_told_with_its_number(says: str, tmp_path: Path) -> None:
    """And the key of it that is to blame."""
    path = written(tmp_path / "p.jsonl", f'{{"prompt": "fine", "id": "a"}}\n\n{BAD[says]}\n')
    with pytest.raises(ConfigurationError) as raised:
        read_items(path)
    assert str(raised.value).startswith("--prompts, line 3")
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"a\nb\xff\n", "line 2 is not UTF-8 text"), (b"\n \n", "is empty"), (None, "No such file")],
)
def test_a_file_without_prompts(data: bytes | None, says: str, tmp_path: Path) -> None:
    """Is told by its name."""
    path = tmp_path / "p.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigurationError, match=says):
        read_items(str(path))


# What is there already --------------------------------------------------------------------------------------

KEPT = b'{"id":"1","prompt":"a","settings":"s","text":"x"}'


def test_what_is_answered_is_not_asked_again(tmp_path: Path) -> None:
    """A prompt with an error is; a line that was cut short counts for nothing."""
    path = tmp_path / "a.jsonl"
    failed = b'{"id":"2","prompt":"b","settings":"s","error":"no"}\n'
    whole = KEPT + b"\n" + failed
    items = [Item(id=str(n + 1), number=n, prompt=prompt) for n, prompt in enumerate("abc")]
    for torn in (b"", b"{", b'{"id":"', b'{"id":"3","prompt":"c","te'):
        path.write_bytes(whole + torn)
        kept = read_kept(path)
        assert (dict(kept.answered), set(kept.failed)) == ({"1": ("a", "s")}, {"2"})
        assert kept.whole_bytes == len(whole)
        todo = still_to_ask(items, kept, path=path, settings=dict.fromkeys("123", "s"))
        assert [one.id for one in todo] == ["2", "3"]
    assert read_kept(tmp_path / "none").whole_bytes == 0


@pytest.mark.parametrize("before", [b"", KEPT + b"\n"])
@pytest.mark.parametrize(
    "last",
    [b"my notes", b'{"id": "1"', b'{"prompt":"a"}', b'{"id":"q","text":"of another program"}', b"\0\0\0"],
)
def test_a_file_of_somebody_else_stays_as_it_is(
    before: bytes, last: bytes, device: "Device", capfd: pytest.CaptureFixture[str]
) -> None:
    """Though its last line has no end: only the beginning of a line of ours is cut off."""
    Path("a.jsonl").write_bytes(before + last)
    Path("p.txt").write_text("a\n")
    assert main(["generate", "--prompts", "p.txt", "--output", "a.jsonl"]) == 2
    assert f"line {2 if before else 1} is no answer" in capfd.readouterr().err
    assert Path("a.jsonl").read_bytes() == before + last and device.asked == []


def test_a_whole_last_line_is_an_answer_without_its_end_too(device: "Device") -> None:
    """As an editor may save it: it is kept, and the next one stands on a line of its own."""
    ask("a")
    path = Path("a.jsonl")
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    device.asked.clear()
    assert [one["prompt"] for one in ask("a", "b")] == ["a", "b"]
    assert [one["prompt"] for one in device.asked] == ["b"]


def test_an_error_that_was_followed_by_an_answer_is_none(tmp_path: Path) -> None:
    """A later run has asked again."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(KEPT.replace(b'"text"', b'"error"') + b"\n" + KEPT + b"\n")
    assert read_kept(path).failed == set()


def test_answers_to_other_prompts_are_refused(tmp_path: Path) -> None:
    """As is a file with anything else in it, by the line."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(KEPT + b"\n")
    with pytest.raises(ConfigurationError, match="has an answer '1' to another prompt"):
        still_to_ask([Item(id="1", number=0, prompt="b")], read_kept(path), path=path, settings={"1": "s"})
    path.write_bytes(KEPT + b"\nnotes\n")
    with pytest.raises(ConfigurationError, match="line 2 is no answer"):
        read_kept(path)


OTHERS = (
    ["--temperature", "0.5"],
    ["--seed", "8"],
    ["--max-new-tokens", "7"],
    ["--acceptance", "coupled"],
    ["--stop", "x"],
    ["--draft", "tiny:"],
    ["--target", "tiny:"],
    ["--dtype", "float32"],
)


@pytest.mark.parametrize("other", OTHERS, ids=" ".join)
def test_answers_by_others_are_refused(
    other: Sequence[str], device: "Device", capfd: pytest.CaptureFixture[str]
) -> None:
    """Models and sampling are those of the answers that are there, or the file is another one."""
    first = ask("a", more=["--seed", "7"])
    assert ask("a", "b", code=2, more=["--seed", "7", *other]) == first
    err = capfd.readouterr().err
    assert "--output: 'a.jsonl' has an answer '1' by other models or with other sampling; name a new" in err
    device.asked.clear()
    ask("a", "b", more=["--seed", "7", "--temperature", "1.0", "--k", "9", "--at-once", "1"])
    assert [one["prompt"] for one in device.asked] == ["b"]


def test_settings_are_those_of_a_line() -> None:
    """What it says of its request is among them, and says nothing where it says what holds anyway."""

    def of(**said: Any) -> str:
        return settings_of(Item(id="1", number=0, prompt="a", said=said), Topology.default(), stop=["x"])

    assert of() == of(temperature=1) == of(temperature=1.0, top_p=1, stop=("x",))
    others = (of(), of(temperature=0.5), of(top_k=3), of(seed=1), of(stop=("y",)), of(stop=("x", "y")))
    assert len(set(others)) == len(others) and all(len(one) == 8 for one in others)


# Asking -----------------------------------------------------------------------------------------------------


@dataclass
class Device:
    """Answers by what the test says of each prompt."""

    does: Callable[[str], Any]
    "awaited for a prompt's answer"
    compute: None = None
    asked: list[Mapping[str, Any]] = field(default_factory=list)
    tokenizer: Any = field(default_factory=lambda: SimpleNamespace(vocab_size=1000))
    under_way: int = 0
    most_under_way: int = 0

    def generate(self, prompt: str, **said: Any) -> AsyncIterator[str]:
        """One token."""
        self.asked.append({"prompt": prompt, **said})

        async def tokens() -> AsyncIterator[str]:
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            try:
                await self.does(prompt)
                yield prompt
            finally:
                self.under_way -= 1

        return tokens()


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Device:
    """In place of four nodes; the working directory is empty."""

    async def at_once(prompt: str) -> None:
        await asyncio.sleep(0)

    made = Device(at_once)

    @asynccontextmanager
    async def connect(*_: Any, **__: Any) -> AsyncIterator[Device]:
        yield made

    monkeypatch.setattr(batch, "connect", connect)
    monkeypatch.setattr(batch, "summary_fields", lambda generation, compute: {"text": "said"})
    monkeypatch.chdir(tmp_path)
    return made


def ask(*prompts: str, code: int = 0, more: Sequence[str] = ()) -> list[Mapping[str, Any]]:
    """Run the command over prompts; the lines of its output."""
    Path("p.txt").write_text("\n".join(prompts))
    assert main(["generate", "--prompts", "p.txt", "--output", "a.jsonl", *more]) == code
    return lines()


def lines() -> list[Mapping[str, Any]]:
    """Of the output."""
    data = Path("a.jsonl").read_bytes()
    assert data == b"" or data.endswith(b"\n")
    return [orjson.loads(line) for line in data.splitlines()]


PROMPTS = ("a", "b", "c", "d", "e", "f")


def test_an_answer_is_written_when_it_is_there(device: Device) -> None:
    """It waits for none that is slower, so a run that is killed has lost none; so many are under way."""
    found = list[str]()

    async def first_is_last(prompt: str) -> None:
        if prompt == "a":
            deadline_s = time.monotonic() + 10
            while len(lines()) < len(PROMPTS) - 1 and time.monotonic() < deadline_s:
                await asyncio.sleep(0)
            found.extend(one["prompt"] for one in lines())
        else:
            await asyncio.sleep(0)

    device.does = first_is_last
    said = ask(*PROMPTS, more=["--at-once", "3"])
    assert found == list("bcdef")
    assert [(one["id"], one["prompt"], one["text"]) for one in said] == [
        (str(PROMPTS.index(prompt) + 1), prompt, "said") for prompt in "bcdefa"
    ]
    assert device.most_under_way == 3


def test_a_refused_prompt_is_an_error_and_no_end(device: Device, capfd: pytest.CaptureFixture[str]) -> None:
    """The others are answered, the exit code is 1, and the next run asks it again."""

    async def refuses(prompt: str) -> None:
        if prompt == "b":
            raise RequestRefusedError("PROMPT_TOO_LONG", "the context has 9 tokens")
        if prompt == "c":
            raise InvalidRequestError("too long", key="prompt", remedy="shorten it")

    device.does = refuses
    said = ask(*PROMPTS, code=1)
    assert [one.get("error") for one in said][:4] == [
        None,
        "prompt_too_long: the context has 9 tokens",
        "prompt: too long; shorten it",
        None,
    ]
    assert "4 answered" in capfd.readouterr().err

    async def answers(prompt: str) -> None:
        pass

    device.does = answers
    device.asked.clear()
    assert len(ask(*PROMPTS)) == len(PROMPTS) + 2
    assert [one["prompt"] for one in device.asked] == ["b", "c"]
    told = capfd.readouterr().err
    assert "4 of 6 prompts are answered already" in told and "2 with an error are asked again" in told
    device.asked.clear()
    ask(*PROMPTS)
    assert device.asked == []


def test_a_run_that_was_stopped_goes_on(device: Device, capfd: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C keeps what is done, and the next run asks the rest."""

    async def stops(prompt: str) -> None:
        if prompt == "b":
            await asyncio.Event().wait()
        if prompt == "d":
            signal.raise_signal(signal.SIGINT)
            await asyncio.Event().wait()

    device.does = stops
    assert [one["prompt"] for one in ask(*PROMPTS, code=130, more=["--at-once", "2"])] == ["a", "c"]
    assert "2 of 6 answered; the same command goes on with the rest" in capfd.readouterr().err

    async def answers(prompt: str) -> None:
        pass

    device.does = answers
    assert [one["prompt"] for one in ask(*PROMPTS)] == ["a", "c", "b", "d", "e", "f"]


def test_a_line_that_was_cut_short_is_written_anew(device: Device) -> None:
    """What a killed process had not written to its end does not stay."""
    first = ask("a")
    with Path("a.jsonl").open("ab") as file:
        file.write(b'{"id":"2","pro')
    said = ask("a", "b")
    assert said[:1] == first and [(one["id"], one["text"]) for one in said] == [("1", "said"), ("2", "said")]


def test_seeds_are_of_the_batch_and_the_number(device: Device) -> None:
    """So each prompt has its own, the same in every run and however many are asked; a line's own counts."""
    ask(*PROMPTS, more=["--seed", "5"])
    seeds = {one["prompt"]: one["seed"] for one in device.asked}
    assert len(set(seeds.values())) == len(PROMPTS) and all(0 <= one < 2**63 for one in seeds.values())
    device.asked.clear()
    Path("a.jsonl").write_bytes(b"".join(Path("a.jsonl").read_bytes().splitlines(keepends=True)[:4]))
    ask(*PROMPTS, more=["--seed", "5"])
    assert {one["prompt"]: one["seed"] for one in device.asked} == {one: seeds[one] for one in "ef"}
    Path("q.jsonl").write_text('{"prompt": "a", "seed": 9, "stop": "x"}\n{"prompt": "b"}\n')
    device.asked.clear()
    assert main(["generate", "--prompts", "q.jsonl", "--output", "b.jsonl", "--stop", "y"]) == 0
    assert [(one["seed"], one["stop"]) for one in device.asked] == [(9, ("x",)), (None, ("y",))]


def test_one_run_at_a_time_writes_a_file(device: Device, capfd: pytest.CaptureFixture[str]) -> None:
    """The second one is told, and changes nothing."""
    found = list[int]()

    async def second(prompt: str) -> None:
        found.append(await asyncio.to_thread(main, ["generate", "--prompts", "p.txt", "--output", "a.jsonl"]))

    device.does = second
    ask("a")
    assert found == [2] and "'a.jsonl' is being written by another run" in capfd.readouterr().err


def test_json_says_what_came_of_it(device: Device, capfd: pytest.CaptureFixture[str]) -> None:
    """One object on standard output, or beside it where the answers go there."""
    ask("a", "b", more=["--json"])
    said = orjson.loads(capfd.readouterr().out)
    assert (said["answered"], said["refused"], said["tokens"]) == (2, 0, 2) and said["seconds"] > 0
    assert main(["generate", "--prompts", "p.txt", "--output", "-", "--json"]) == 0
    out, err = capfd.readouterr()
    assert [orjson.loads(line)["id"] for line in out.splitlines()] == ["1", "2"]
    assert orjson.loads(err.splitlines()[-1])["answered"] == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--prompts", "p.txt"], "--output: there is none"),
        (["hello", "--output", "a"], "--output: there is no file of prompts"),
        (["hello", "--at-once", "2"], "--at-once: there is no file of prompts"),
        (["hello", "--prompts", "p.txt", "--output", "a"], "PROMPT: beside --prompts"),
        (["--prompts", "p.txt", "--output", "a", "--journal", "j"], "--journal: beside --prompts"),
        (["--prompts", "p.txt", "--output", "p.txt"], "--output: the file of --prompts"),
        (["--prompts", "p.txt", "--output", "no/where"], "--output: 'no/where': No such file"),
        (["--prompts", "p.txt", "--output", "a", "--at-once", "17"], "--at-once: 17 requests"),
        (["--prompts", "p.txt", "--output", "a", "--k", "0"], "--k: 0 will not do"),
        (["--prompts", "p.txt", "--output", "a", "--k", "2000"], "--k: 2000 entries, but the vocabulary"),
    ],
)
def test_options_that_will_not_do(
    words: Sequence[str], says: str, device: Device, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each is named, with a remedy, and nothing is asked."""
    Path("p.txt").write_text("a\n")
    assert main(["generate", *words]) == 2
    assert f"draftwire: {says}" in capfd.readouterr().err
    assert device.asked == [] and Path("p.txt").read_text() == "a\n"
