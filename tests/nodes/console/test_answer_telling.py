"""What a device tells an observer of each answer: asked, its tokens, and how it ended. In virtual time."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.harness.cell import VOCAB_SIZE, Cell, cell, run
from tests.harness.observers import OBSERVER, Ear, listening

from draftwire.codecs.messages import Origin
from draftwire.nodes.console.answer_telling import GATHER_S, LEFT, MOST_CHARACTERS, AnswerTelling
from draftwire.nodes.console.api import ConnectedDevice
from draftwire.nodes.device.checks import InvalidRequestError
from draftwire.nodes.device.errors import RequestRefusedError
from draftwire.nodes.device.journal import Journal
from draftwire.nodes.models.pacing import PAPER, ModelledCompute
from draftwire.nodes.models.synthetic import SyntheticTokenizer
from draftwire.runtime.clock import LoopClock
from draftwire.runtime.config import SamplingSettings
from draftwire.runtime.reporting import CUT, MOST_TEXT, Reporter
from draftwire.runtime.security import Role
from draftwire.runtime.session.request import Timing
from draftwire.runtime.telemetry import get_logger
from draftwire.runtime.transport import MemoryTransport

KINDS = ("asked", "tokens", "answer")


@asynccontextmanager
async def _observed(bs: Cell, ear: Ear, name: str = "phone-1") -> AsyncIterator[ConnectedDevice]:
    """A device of the cell, and an observer that hears it; all that was told has arrived behind the block."""
    clock = LoopClock()
    node = await bs.device(name, timing=Timing(reach_s=2.0, absent_s=2.0))
    reporter = Reporter(
        name=name, role=Role.DEVICE, address=OBSERVER, clock=clock, logger=get_logger("device")
    )
    transport = MemoryTransport(bs.network)
    compute = ModelledCompute(clock, PAPER)
    tokenizer = SyntheticTokenizer(VOCAB_SIZE)
    async with listening(transport, sinks=[ear]), reporter.telling(transport):
        yield ConnectedDevice(
            node, tokenizer, compute, SamplingSettings(max_new_tokens=30), reporter=reporter
        )
        await clock.sleep_until(clock.now_s() + 1.0)


def _of_answers(ear: Ear) -> list[Mapping[str, Any]]:
    return [event for _, event, _ in ear.all if event["event"] in KINDS]


def _text(told: list[Mapping[str, Any]]) -> str:
    return "".join(text for one in told if one["event"] == "tokens" for text, _ in one["pieces"])


def test_an_answer_is_told_from_its_question_to_its_end() -> None:
    """What was asked, each token with where it came from, and at last the fields of its summary."""
    ear = Ear()

    async def main() -> tuple[str, str, list[str]]:
        async with cell() as bs, _observed(bs, ear) as device:
            generation = device.generate("why is it so", temperature=0.7, seed=3)
            origins = [token.origin.name.lower() async for token in generation if token.text]
            return generation.id, generation.text, origins

    request, text, origins = run(main())
    told = _of_answers(ear)
    assert {(one["device"], one["request"]) for one in told} == {("phone-1", request)}
    assert [one["event"] for one in told] == ["asked", *["tokens"] * (len(told) - 2), "answer"]
    assert told[0] == {
        "event": "asked",
        "device": "phone-1",
        "request": request,
        "prompt": "why is it so",
        "temperature": 0.7,
        "acceptance": "rejection",
        "max_new_tokens": 30,
        "kept": "",
    }
    assert _text(told) == text == told[-1]["text"]
    assert [one["number"] for one in told[1:-1]] == [*range(len(told) - 2)], "so that a gap shows"
    assert [origin for one in told[1:-1] for _, origin in one["pieces"]] == origins
    assert {"accepted", "bonus"} <= set(origins)
    ended = told[-1]
    assert ended["finish"] == "length" and ended["tokens"] == 30 and "error" not in ended
    assert ended["bytes_up"] > 0 and ended["k"] == 8 and ended["gamma_used"] == {"4": ended["steps"]}


def test_tokens_are_gathered_for_a_moment() -> None:
    """One event has all tokens of GATHER_S, and none waits longer."""
    ear = Ear()

    async def main() -> list[float]:
        now_s, came = LoopClock().now_s, list[float]()
        async with cell() as bs, _observed(bs, ear) as device:
            async for token in device.generate("hello", seed=3):
                if token.text:
                    came.append(now_s())
        return came

    came = run(main())
    heard = [(at_s, len(event["pieces"])) for _, event, at_s in ear.all if event["event"] == "tokens"]  # type: ignore[arg-type]
    assert len(heard) < len(came)
    for at_s, count in heard:
        some, came = came[:count], came[count:]
        assert at_s - some[0] <= GATHER_S + 1e-9 and some[-1] <= at_s


def test_an_answer_that_fails_ends_with_its_error() -> None:
    """Nobody answers: what was asked, and then why there is no answer; the error still reaches who asked."""
    ear = Ear()

    async def main() -> str:
        async with cell(serve=False) as bs, _observed(bs, ear) as device:
            with pytest.raises(RequestRefusedError) as failed:
                async for _ in device.generate("hello"):
                    pass
            return str(failed.value)

    error = run(main())
    asked, answer = _of_answers(ear)
    assert asked["event"] == "asked" and answer["event"] == "answer"
    assert answer["error"] == error and answer["tokens"] == 0


def test_an_answer_that_is_left_says_so() -> None:
    """Its tokens until then are told, and that nobody waits for more; an answer never begun is not told."""
    ear = Ear()

    async def main() -> str:
        async with cell() as bs, _observed(bs, ear) as device:
            device.generate("never begun")
            generation = device.generate("hello")
            async with aclosing(aiter(generation)) as tokens:
                async for token in tokens:
                    if token.position > 8:
                        break
            return generation.text

    text = run(main())
    told = _of_answers(ear)
    assert [one["event"] for one in told if one["event"] != "tokens"] == ["asked", "answer"]
    assert _text(told) == text and told[-1]["error"] == LEFT


def test_what_a_journal_kept_is_told_as_kept(tmp_path: Path) -> None:
    """An answer that goes on is asked again, by its id, with the text so far; its tokens are the new ones."""
    ear = Ear()

    async def main() -> tuple[str, str, str]:
        async with cell() as bs, _observed(bs, ear) as device:
            with Journal(tmp_path / "journal.jsonl") as journal:
                first = device.generate("hello", seed=1, journal=journal)
                async with aclosing(aiter(first)) as tokens:
                    async for token in tokens:
                        if token.position > 8:
                            break
                ear.all.clear()
                again = device.resume(journal, first.id)
                kept = again.text
                async for _ in again:
                    pass
            return first.id, kept, again.text

    id, kept, text = run(main())
    told = [one for one in _of_answers(ear) if one.get("error") != LEFT]
    asked = next(one for one in told if one["event"] == "asked")
    assert (asked["request"], asked["kept"], asked["prompt"]) == (id, kept, "hello") and kept
    new = told[told.index(asked) :]
    assert kept + _text(new) == text
    assert next(one["number"] for one in new if one["event"] == "tokens") == 0


def test_a_question_in_ids_is_told_as_its_text() -> None:
    """Also one that can't be, which fails as ever."""
    ear, ids = Ear(), [1, 2, 3]

    async def main() -> None:
        async with cell() as bs, _observed(bs, ear) as device:
            async for _ in device.generate(ids):
                pass
            with pytest.raises(InvalidRequestError) as failed:
                async for _ in device.generate([-1, 10**9, 1]):
                    pass
        assert ear.of("answer")[1]["error"] == str(failed.value)

    run(main())
    decode = SyntheticTokenizer(VOCAB_SIZE).decode
    assert [one["prompt"] for one in ear.of("asked")] == [decode(ids), decode([1])]


def test_long_texts_are_told_in_parts() -> None:
    """A prompt's first 500 characters; tokens in as many events as it takes for each to fit into a frame."""
    ear, long = Ear(), "\0" * (MOST_CHARACTERS // 2 + 1)

    async def main() -> None:
        async with cell() as bs, _observed(bs, ear) as device:
            async for _ in device.generate("hello " * 1000, max_new_tokens=1):
                pass
            assert device._reporter is not None
            telling = AnswerTelling(device._reporter, device="phone-1", compute=device.compute, prompt="")
            for _ in range(7):
                telling.token(long, Origin.BONUS)
            await LoopClock().sleep_until(LoopClock().now_s() + 1.0)

    run(main())
    (asked,) = ear.of("asked")
    assert asked["prompt"] == ("hello " * 1000)[:500]
    parts = [one["number"] for one in ear.of("tokens") if one["pieces"] == [[long, "bonus"]]]
    assert parts == [*range(7)] and MOST_TEXT >= MOST_CHARACTERS


@pytest.mark.parametrize("more", [0, 1, 50_000])
def test_of_a_long_kept_text_its_end_is_told(more: int) -> None:
    """What new tokens go on from; that it was cut shows in front, and it fits into one text."""
    ear, kept = Ear(), "x" * more + "".join(chr(ord("a") + number % 26) for number in range(MOST_TEXT))

    async def main() -> None:
        async with cell() as bs, _observed(bs, ear) as device:
            generation = device.generate("hello")
            generation.text = kept
            assert device._reporter is not None
            telling = AnswerTelling(device._reporter, device="phone-1", compute=device.compute, prompt="")
            telling.asked(generation)

    run(main())
    (asked,) = ear.of("asked")
    assert asked["kept"] == (kept if not more else CUT + kept[-(MOST_TEXT - 1) :])
