"""What people and programs are told of an answer: its plans, and what a journal had kept of it."""

import asyncio
import io
import random
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from rich.console import Console
from tests.harness.cell import BS, cell, greedy, hello, request, run

from draftwire.codecs.messages import Acceptance, Origin, Plan
from draftwire.nodes.console.api import ConnectedDevice, Token
from draftwire.nodes.console.generate import show
from draftwire.nodes.console.summary import Printer, summary_fields, summary_line
from draftwire.nodes.device.account import Account
from draftwire.nodes.device.checks import InvalidRequestError
from draftwire.nodes.device.journal import Journal
from draftwire.nodes.device.node import DeviceNode, RequestRefusedError
from draftwire.nodes.models.pacing import PAPER, ModelledCompute, NativeCompute
from draftwire.nodes.models.synthetic import SyntheticTokenizer
from draftwire.runtime.config import SamplingSettings
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.transport import MemoryTransport


@pytest.mark.parametrize(
    ("spelt", "tables", "words"),
    [
        ({"": 2}, "", "plain"),
        ({"1a2b3c4d5e6f7a8b": 2}, "1a2b3c4d5e6f7a8b", "tables 1a2b3c4d"),
        ({"": 1, "1a2b3c4d5e6f7a8b": 5}, "1a2b3c4d5e6f7a8b", "tables 1a2b3c4d in 5 of 6 messages"),
        ({"": 7, "1a2b3c4d5e6f7a8b": 1}, "", "plain in 7 of 8 messages"),
    ],
)
def test_the_spelling_of_rows_is_told_where_rows_were_sent(
    spelt: dict[str, int], tables: str, words: str
) -> None:
    """Bits an entry, envelope included, and what most of them came in; nothing of either at temperature 0."""
    account = Account(vocab_size=64, rows_bytes=160, row_entries=200, spelt=Counter(spelt))
    line = summary_line(account, NativeCompute())
    assert f" | rows 6.4 bits an entry with frames, {words} |" in f"{line} |"
    assert account.tables == tables
    assert "an entry" not in summary_line(Account(vocab_size=64), NativeCompute())


@pytest.mark.parametrize(
    ("ks", "gammas", "words"),
    [
        ({32: 9}, {2: 9}, "K 32, gamma 2"),
        ({320: 3, 32: 2, 128: 1}, {5: 1, 2: 5}, "K 32-320, gamma 2-5"),
        ({32: 2}, {0: 7, 2: 2}, "K 32, gamma 0-2"),
        ({}, {0: 7}, "target alone"),
        ({}, {}, "K 16, gamma 4"),
    ],
)
def test_plans_are_told_as_one_value_or_a_range(
    ks: dict[int, int], gammas: dict[int, int], words: str
) -> None:
    """What was used, not what would have come next; before the first step, what is in force."""
    account = Account(vocab_size=64, plan=Plan(number=9, k=16, gamma=4, min_draft=4))
    account.k_used.update(ks)
    account.gamma_used.update(gammas)
    assert summary_line(account, NativeCompute()).endswith(f" | {words}")


@pytest.mark.parametrize(
    ("acceptance", "waits", "synchronous", "words"),
    [
        (Acceptance.COUPLED, {2: 9}, 0, "coupled, mostly gamma 8, waits for 2"),
        (Acceptance.COUPLED, {0: 1, 2: 9}, 0, "coupled, mostly gamma 8, waits for 2"),
        (Acceptance.COUPLED, {}, 9, "coupled, mostly gamma 8, waits for all"),
        (Acceptance.REJECTION, {0: 4}, 5, "ids only (temperature 0), mostly gamma 8, waits for all"),
    ],
)
def test_drafts_that_are_hints_are_told_by_what_became_of_them(
    acceptance: Acceptance, waits: dict[int, int], synchronous: int, words: str
) -> None:
    """The commonest plan, without K and full rows, as none travel; drafted, used, wasted, passes a token."""
    account = Account(
        vocab_size=64, acceptance=acceptance, hints=True, tokens=20, passes=12, drafted=30, used=8,
        outstanding=3, seen=20, accepted=8, rows_bytes=160, row_entries=200, spelt=Counter({"": 2}),
        plan=Plan(number=9, k=16, gamma=4, min_draft=0), k_used=Counter({16: 9}),
        gamma_used=Counter({4: 3, 8: 6}), min_draft_used=Counter(waits), synchronous=synchronous,
    )  # fmt: skip
    line = summary_line(account, NativeCompute())
    assert f" | {words} | 30 drafted: 8 used, 19 wasted, 3 open; 0.60 passes a token" in line
    assert "full rows" not in line and "K 16" not in line and "an entry" not in line
    assert " | right 0.40 | " in line and "alpha" not in line
    account.outstanding = 0
    assert "8 used, 22 wasted; 0.60" in summary_line(account, NativeCompute())
    account.gamma_used, account.min_draft_used, account.synchronous = Counter({4: 9}), Counter({0: 9}), 0
    assert ", gamma 4, waits for 0 | " in summary_line(account, NativeCompute())
    account.gamma_used, account.min_draft_used = Counter({0: 9, 4: 1}), Counter({0: 1})
    assert ", mostly target alone | " in summary_line(account, NativeCompute())


def test_python_asks_for_ids_only() -> None:
    """The text is that of the target alone with the same seed, whatever is fixed; fields tell how it came."""

    async def main() -> None:
        async with _device() as (device, _):

            async def answer(**how: Any) -> tuple[list[int], dict[str, Any]]:
                generation = device.generate([1, 2, 3], temperature=1.0, seed=5, **how)
                ids = [token.id async for token in generation]
                return ids, summary_fields(generation, NativeCompute())

            alone, fields = await answer(gamma=0)
            assert (fields["acceptance"], fields["min_draft"]) == ("rejection", None)
            assert None not in (fields["k"], fields["k_used"], fields["full_rows_bytes"])
            for how in (
                {"acceptance": "coupled"},
                {"acceptance": "coupled", "gamma": 8, "min_draft": np.int64(2)},
                {"acceptance": "coupled", "gamma": 4, "min_draft": 32},
                {"acceptance": "auto", "max_waste": 1},
            ):
                ids, fields = await answer(**how)
                assert ids == alone, how
                assert fields["acceptance"] == "coupled"
                assert fields["drafted"] == fields["used"] + fields["wasted"] > 0
                assert fields["tokens"] == fields["passes"] + fields["used"]
                assert fields["max_waste"] == how.get("max_waste")
                of_rows = ("k", "k_used", "full_rows_bytes", "bits_per_entry")
                assert [fields[name] for name in of_rows] == [None] * 4
                if "max_waste" in how:
                    assert fields["wasted"] <= fields["tokens"]
            assert sum(fields["min_draft_used"].values()) + fields["synchronous"] <= fields["steps"]

    run(main())


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"acceptance": "copled"}, "acceptance: 'copled' will not do; write rejection, coupled or auto"),
        ({"min_draft": 2}, "min_draft: 2 has no effect with acceptance rejection"),
        ({"max_waste": 0.5}, "max_waste: 0.5 has no effect with acceptance rejection"),
        ({"min_draft": "x"}, "min_draft: 'x' is no whole number"),
        ({"max_waste": "x"}, "max_waste: 'x' is no number; write one"),
        ({"max_waste": [1]}, "max_waste: [1] is no number"),
        ({"top_p": "0.5"}, "top_p: '0.5' is no number"),
        (
            {"acceptance": "coupled", "gamma": 0, "min_draft": 3},
            "min_draft: 3 drafted tokens to wait for, but gamma is 0",
        ),
        ({"acceptance": "coupled", "min_draft": 33}, "min_draft: 33 will not do; write a number from 0"),
        ({"acceptance": "coupled", "min_draft": True}, "min_draft: True is no whole number"),
        ({"acceptance": "coupled", "max_waste": -1}, "max_waste: -1 will not do; write 0 to 1000"),
        ({"acceptance": "coupled", "max_waste": float("nan")}, "max_waste: nan will not do"),
    ],
)
def test_what_no_request_can_say_of_its_drafts(how: dict[str, Any], words: str) -> None:
    """Named by its field, with what to write, before a byte is sent."""

    async def main() -> None:
        async with _device() as (device, _):
            with pytest.raises(InvalidRequestError, match=re.escape(words)):
                async for _ in device.generate([1, 2, 3], temperature=1.0, **how):
                    pass

    run(main())


@asynccontextmanager
async def _device(*, name: str = "dev") -> AsyncIterator[tuple[ConnectedDevice, list[int]]]:
    """A device beside a BS, and the ids of its greedy answer of 30 tokens to (1, 2, 3)."""
    async with cell() as bs:
        node = DeviceNode(
            name=name,
            address=BS,
            transport=MemoryTransport(bs.network),
            clock=bs.clock,
            compute=ModelledCompute(bs.clock, PAPER),
            model=bs.pair.draft,
            hello=hello(),
            logger=structlog.get_logger(),
            numbers=random.Random(1),
        )
        await bs.start(node.run)
        defaults = SamplingSettings(temperature=0, max_new_tokens=30)
        device = ConnectedDevice(node, SyntheticTokenizer(64), NativeCompute(), defaults)
        yield device, list(greedy(bs.pair.target, (1, 2, 3), 30))


async def _begin(path: Path, *, tokens: int) -> str:
    """A request that is left after so many tokens; its id."""
    with Journal(path) as journal:
        async with _device() as (device, _):
            generation = device.generate([1, 2, 3], journal=journal)
            left = 0
            async for _ in generation:
                left += 1
                if left == tokens:
                    break
            await asyncio.sleep(0)
            return generation.id


def test_a_resumed_answer_is_shown_whole(tmp_path: Path) -> None:
    """What was kept comes first, dimmed on a terminal, then what comes; the fields tell both apart."""

    async def main() -> None:
        id = await _begin(tmp_path / "j", tokens=7)
        with Journal(tmp_path / "j") as journal:
            async with _device() as (device, ids):
                generation = device.resume(journal, id)
                text = SyntheticTokenizer(64).decode(ids)
                kept = generation.text
                assert kept and text.startswith(kept) and generation.resumed_tokens >= 7
                shown = io.StringIO()
                printer = Printer(Console(file=shown, force_terminal=True, color_system="standard"))
                printer.kept(generation)
                assert shown.getvalue() == f"\x1b[2m{kept}\x1b[0m"
                async for token in generation:
                    printer.token(token)
                printer.end(generation)
                assert re.sub("\x1b\\[[0-9;]*m", "", shown.getvalue()) == text + "\n"
                fields = summary_fields(generation, NativeCompute())
                assert fields["text"] == text
                assert fields["tokens"] + fields["resumed_tokens"] == 30
                line = summary_line(generation.account, NativeCompute(), resumed_tokens=9)
                assert line.startswith(f"{fields['tokens']} tokens behind 9 kept | ")
                with pytest.raises(ConfigurationError, match="has ended"):
                    device.resume(journal, id)

    run(main())


def test_a_request_of_another_device_is_told_at_once(tmp_path: Path) -> None:
    """Before anything is shown, with both names."""

    async def main() -> None:
        id = await _begin(tmp_path / "j", tokens=2)
        with Journal(tmp_path / "j") as journal:
            async with _device(name="other") as (device, _):
                with pytest.raises(InvalidRequestError, match="began with dev, here it is other"):
                    device.resume(journal, id)

    run(main())


@pytest.mark.parametrize("kept", [False, True])
def test_an_answer_is_iterated_once(tmp_path: Path, kept: bool) -> None:
    """A second iteration is an error: it would ask again, and the text would be there twice."""

    async def main() -> None:
        with Journal(tmp_path / "j") as journal:
            async with _device() as (device, ids):
                generation = device.generate([1, 2, 3], journal=journal if kept else None)
                assert [token.id async for token in generation] == ids
                text = generation.text
                with pytest.raises(InvalidRequestError, match="has been iterated already"):
                    async for _ in generation:
                        pass
                assert (generation.text, generation.account.tokens) == (text, 30)

    run(main())


def test_a_resumed_answer_does_not_begin_again(tmp_path: Path) -> None:
    """One that has ended by another iteration meanwhile is told so, and does not start from its prompt."""

    async def main() -> None:
        id = await _begin(tmp_path / "j", tokens=3)
        with Journal(tmp_path / "j") as journal:
            async with _device() as (device, _):
                first, second = device.resume(journal, id), device.resume(journal, id)
                async for _ in first:
                    pass
                with pytest.raises(ConfigurationError, match=f"request {id} has ended"):
                    async for _ in second:
                        pass
                (entry,) = journal._requests.all()
                assert len(entry.output) == 30

    run(main())


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    """Token ids and figures of another library make the same answer, with a journal too; True is refused."""

    async def main() -> None:
        with Journal(tmp_path / "j") as journal:
            async with _device() as (device, ids):
                generation = device.generate(
                    np.array([1, 2, 3]),  # type: ignore[arg-type]
                    seed=np.uint64(7),  # type: ignore[arg-type]
                    max_new_tokens=np.int32(30),  # type: ignore[arg-type]
                    temperature=np.float64(0),
                    top_k=np.int64(0),  # type: ignore[arg-type]
                    k=np.int8(8),  # type: ignore[arg-type]
                    journal=journal,
                )
                assert [token.id async for token in generation] == ids
                wrong: Any
                for wrong in ({"prompt": [1, True]}, {"prompt": [1], "k": True}, {"prompt": [1, 2.0]}):
                    with pytest.raises(InvalidRequestError, match="no whole number"):
                        async for _ in device.generate(**wrong, journal=journal):
                            pass
                assert len(journal._requests.all()) == 1
        Journal(tmp_path / "j").close()

    run(main())


@pytest.mark.parametrize(("tokens", "shown"), [(0, ""), (3, "{}\n")])
def test_an_answer_that_fails_ends_its_line(
    capsys: pytest.CaptureFixture[str], tokens: int, shown: str
) -> None:
    """What is said next does not stand behind the text; where nothing was shown there is no empty line."""

    class Failing:
        text = ""

        async def __aiter__(self) -> AsyncIterator[Token]:
            for i in range(tokens):
                yield Token(text="ab", id=i, position=i, origin=Origin.BONUS)
            raise RequestRefusedError("ABSENT", "nobody there")

    with pytest.raises(RequestRefusedError):
        asyncio.run(show(Failing()))  # type: ignore[arg-type]
    assert capsys.readouterr().out == shown.format("ab" * tokens)


def test_an_answer_without_a_journal_keeps_nothing() -> None:
    """No token is resumed, and none is dimmed."""

    async def main() -> None:
        async with _device() as (device, ids):
            generation = device.generate(list(request().prompt))
            shown = io.StringIO()
            Printer(Console(file=shown, force_terminal=True)).kept(generation)
            assert shown.getvalue() == ""
            assert [token.id async for token in generation] == ids
            assert summary_fields(generation, NativeCompute())["resumed_tokens"] == 0

    run(main())
