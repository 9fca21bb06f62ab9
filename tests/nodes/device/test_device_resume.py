"""A device that dies and goes on from its journal: at any write, torn ones too, in virtual time."""

import asyncio
import os
import random
from contextlib import aclosing
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.harness.cell import BS, VOCAB_SIZE, Cell, cell, greedy, hello, request, run, text
from tests.harness.reference import reference_text

from draftwire.codecs.frame import decode_frame
from draftwire.codecs.messages import (
    Commit,
    Draft,
    Incarnation,
    Open,
    Opened,
    Origin,
    Plan,
    Reason,
    Refused,
    StepTimes,
)
from draftwire.nodes.device import journal as journal_module
from draftwire.nodes.device.checks import InvalidRequestError
from draftwire.nodes.device.entries import line_of
from draftwire.nodes.device.journal import Journal
from draftwire.nodes.device.node import DeviceNode, RequestRefusedError
from draftwire.nodes.models.base import LanguageModel
from draftwire.nodes.models.pacing import PAPER, ModelledCompute
from draftwire.nodes.models.synthetic import SyntheticModel, SyntheticPair
from draftwire.nodes.speculation.noise import PhiloxNoise
from draftwire.runtime.session.log import TokenLog
from draftwire.runtime.session.request import Request, Timing
from draftwire.runtime.session.states import Target
from draftwire.runtime.transport import MemoryTransport

TOKENS = 24


class Dead(BaseException):
    """The device is killed; nothing of it may run any more."""


class MortalJournal(Journal):
    """A journal whose device is killed at one of its writes: before, within, or behind it."""

    def __init__(
        self, path: Path, *, dies_at: int = -1, torn: int | None = None, power_cut: bool = False
    ) -> None:
        """`torn`: so many bytes of the fatal write get through; None: all of it.

        `power_cut`: and what was not on disk yet is lost.
        """
        super().__init__(path)
        self._writes, self._dies_at, self._torn, self._power_cut = count(), dies_at, torn, power_cut
        self._on_disk = self._end

    def append(self, *events: dict[str, object]) -> None:
        fatal = next(self._writes) == self._dies_at
        if fatal and self._torn is not None:
            data = b"".join(line_of(event) for event in events)
            assert self._file is not None
            os.write(self._file, data[: self._torn % len(data)])
        else:
            super().append(*events)
        if fatal:
            if self._power_cut:
                os.truncate(self.path, self._on_disk)
            raise Dead

    def to_disk(self) -> None:
        super().to_disk()
        self._on_disk = self._end


async def device(
    bs: Cell, *, model: LanguageModel | None = None, name: str = "dev", timing: Timing | None = None
) -> DeviceNode:
    """One life of the device."""
    node = DeviceNode(
        name=name,
        address=BS,
        transport=MemoryTransport(bs.network),
        clock=bs.clock,
        compute=ModelledCompute(bs.clock, PAPER),
        model=bs.pair.draft if model is None else model,
        hello=hello(),
        logger=structlog.get_logger(),
        numbers=random.Random(len(bs.running)),
        timing=timing,
        draft="small",
    )
    await bs.start(node.run)
    return node


async def end(bs: Cell) -> None:
    """Of the life that began last."""
    bs.running[-1].cancel()
    await asyncio.gather(bs.running[-1], return_exceptions=True)


async def lives(
    bs: Cell,
    path: Path,
    wanted: Request,
    deaths: list[tuple[int, int | None, bool]],
    *,
    power_cut: bool = False,
) -> tuple[int, ...]:
    """The text of a request whose device dies again and again. What was shown is checked never to change.

    A death: at which write of that life, how much of it gets through, and whether the BS dies as well.
    """
    shown, start = dict[int, int](), len(wanted.prompt)
    for dies_at, torn, bs_too in [*deaths, (-1, None, False)]:
        with MortalJournal(path, dies_at=dies_at, torn=torn, power_cut=power_cut) as journal:
            open_ones = journal.open_entries()
            if journal._requests.all() and not open_ones:
                break  # it died behind its last line
            node = await device(bs)
            kept = open_ones[0].output if open_ones else ()
            assert power_cut or len(kept) >= len(shown), "shown, but not kept"
            for position, token in enumerate(kept, start):
                assert shown.setdefault(position, token) == token
            try:
                if open_ones:
                    answer = node.resume(open_ones[0], journal=journal)
                else:
                    answer = node.answer(wanted, journal=journal)
                async with aclosing(answer):
                    following = count(start + len(kept))
                    async for one in answer:
                        assert one.position == next(following)
                        assert shown.setdefault(one.position, one.token) == one.token
            except Dead:
                await end(bs)
                if bs_too:
                    await bs.serve()
                continue
            await end(bs)
            assert not journal.open_entries()
            break
    return tuple(shown[position] for position in range(start, start + len(shown)))


def expected(wanted: Request, k: int = 8, gamma: int = 4) -> tuple[int, ...]:
    """The text of an undisturbed request."""
    pair = SyntheticPair(vocab_size=VOCAB_SIZE, seed=1, noise=0.5)
    if wanted.sampling.greedy:
        return greedy(pair.target, wanted.prompt, wanted.max_new_tokens)
    draft, target, noise = pair.draft.open(), pair.target.open(), PhiloxNoise()
    return reference_text(wanted, draft, target, k=k, gamma=gamma, vocab_size=VOCAB_SIZE, noise=noise)


DEATHS = st.lists(
    st.tuples(st.integers(0, 12), st.none() | st.integers(0, 400), st.booleans()), min_size=1, max_size=14
)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("power_cut", [False, True])
@given(deaths=DEATHS, seed=st.integers(0, 2**32))
@settings(max_examples=12, deadline=None)
def test_deaths_change_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    temperature: float,
    power_cut: bool,
    deaths: list[Any],
    seed: int,
) -> None:
    """Killed at any writes of its lives, torn ones too, with the BS or without it: the text stays the same.

    With K, gamma and seed fixed it is a function of these. No token shown is ever taken back; if the power
    stayed on, none is lost either.
    """
    path = tmp_path_factory.mktemp("j") / "j"

    async def main() -> None:
        async with cell() as bs:
            wanted = request(temperature=temperature, max_new_tokens=TOKENS, seed=seed)
            assert await lives(bs, path, wanted, deaths, power_cut=power_cut) == expected(wanted)

    run(main())


@pytest.mark.parametrize("gamma", [0, 1, 4])
@pytest.mark.parametrize("bs_too", [False, True])
def test_a_death_at_every_write(tmp_path: Path, gamma: int, bs_too: bool) -> None:
    """One death at each write of a request in turn, and the same text each time; at temperature 1."""

    async def main(path: Path, dies_at: int) -> tuple[int, ...]:
        async with cell(gamma=gamma) as bs:
            return await lives(bs, path, wanted, [(dies_at, None, bs_too)])

    wanted = request(max_new_tokens=10)
    undisturbed = run(main(tmp_path / "whole", -1))
    if gamma:
        assert undisturbed == expected(wanted, gamma=gamma)
    writes = (tmp_path / "whole").read_bytes().count(b"\n")
    for dies_at in range(writes):
        assert run(main(tmp_path / str(dies_at), dies_at)) == undisturbed, dies_at


def test_twelve_deaths_in_a_row(tmp_path: Path) -> None:
    """A device that is killed within each step of a row of them gets no further, and loses nothing."""

    async def main() -> None:
        async with cell() as bs:
            wanted = request(max_new_tokens=TOKENS)
            deaths: list[Any] = [(1 + i % 3, None if i % 2 else 37 * i, i % 4 == 3) for i in range(12)]
            assert await lives(bs, tmp_path / "j", wanted, deaths) == expected(wanted)
            assert len(bs.running) > 12

    run(main())


def test_what_is_on_disk_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record is on disk before its Open or Draft leaves, tokens are written before they are shown.

    A step brings data to disk once, whether it is one of a block or of a token.
    """
    happened = list[str]()
    sync, write = journal_module._sync, Journal.append

    def synced(file: int) -> None:
        sync(file)
        happened.append("sync")

    def written(journal: Journal, *events: dict[str, object]) -> None:
        write(journal, *events)
        happened.extend(f"{event['event']}" for event in events)

    monkeypatch.setattr(journal_module, "_sync", synced)
    monkeypatch.setattr(Journal, "append", written)

    async def main(gamma: int) -> list[str]:
        happened.clear()
        async with cell(gamma=gamma) as bs:
            node = await device(bs)
            assert node._endpoint is not None
            send = node._endpoint.send

            def sent(peer: bytes, data: bytes) -> bool:
                message = decode_frame(data).message
                if isinstance(message, Open | Draft):
                    happened.append(type(message).__name__)
                return send(peer, data)

            monkeypatch.setattr(node._endpoint, "send", sent)
            with Journal(tmp_path / f"j{gamma}") as journal:
                async for _ in node.answer(request(max_new_tokens=20), journal=journal):
                    happened.append("shown")
            return list(happened)

    story = run(main(4))
    assert story[:5] == ["request", "state", "sync", "Open", "state"]
    for index, what in enumerate(story):
        if what in ("Open", "Draft"):
            assert story[index - 1] == "sync" and story[index - 2] == "state", story
        if what == "shown" and story[index - 1] != "shown":
            since = story[: index][::-1]
            assert "tokens" in since[: since.index("shown") if "shown" in since else None], story
    assert story[-2:] == ["end", "sync"]
    ends = 2  # the last tokens, and the end
    assert story.count("sync") == story.count("Open") + story.count("Draft") + ends
    alone = run(main(0))
    assert alone.count("sync") == 1 + alone.count("tokens") + 1


def test_a_stopped_device_leaves_its_request_to_the_bs(tmp_path: Path) -> None:
    """Stopped in order, a device with a journal does not end its request: both ends go on from there."""

    async def main() -> None:
        async with cell() as bs:
            wanted, path = request(max_new_tokens=TOKENS), tmp_path / "j"
            first = list[int]()
            with Journal(path) as journal:
                node = await device(bs)
                async with aclosing(node.answer(wanted, journal=journal)) as answer:
                    async for one in answer:
                        first.append(one.token)
                        if len(first) == 9:
                            break
                await end(bs)
            await asyncio.sleep(3)
            (session,) = bs.sessions()
            assert session.state not in (Target.FINISHED, Target.CLOSED)
            with Journal(path) as journal:
                (entry,) = journal.open_entries()
                assert list(entry.output[:9]) == first
                rest = [one.token async for one in (await device(bs)).resume(entry, journal=journal)]
            assert len(bs.sessions()) == 1
            assert entry.output + tuple(rest) == expected(wanted)

    run(main())


@pytest.mark.parametrize("bs_forgets", [False, True])
def test_another_draft_model_is_found_out(tmp_path: Path, bs_forgets: bool) -> None:
    """A block that can't be drawn again ends the request with a message of its own, for good."""

    async def main() -> None:
        async with cell(gamma=6) as bs:
            path, wanted = tmp_path / "j", request(max_new_tokens=200)
            with Journal(path) as journal:
                answer = (await device(bs)).answer(wanted, journal=journal)
                await anext(answer)
                await answer.aclose()
                (entry,) = journal.open_entries()
                assert entry.record.outstanding is not None
            await end(bs)
            if bs_forgets:
                await bs.serve()
            other = SyntheticModel(vocab_size=VOCAB_SIZE, seed=9, noise=0.5)
            with Journal(path) as journal:
                node = await device(bs, model=other)
                with pytest.raises(RequestRefusedError, match=r"draft_state_lost: .*ask anew") as caught:
                    async for _ in node.resume(entry, journal=journal):
                        pass
                assert caught.value.reason == "DRAFT_STATE_LOST"
                assert not journal.open_entries()

    run(main())


def test_an_absent_bs_leaves_the_request_open(tmp_path: Path) -> None:
    """Given up because nobody answers, a request stays open, and goes on when the BS is there again."""

    async def main() -> None:
        async with cell() as bs:
            wanted, timing = request(max_new_tokens=TOKENS), Timing(absent_s=10.0)
            with Journal(tmp_path / "j") as journal:
                answer = (await device(bs, timing=timing)).answer(wanted, journal=journal)
                first = (await anext(answer)).token
                assert bs.serving is not None
                bs.serving.cancel()
                with pytest.raises(RequestRefusedError, match="absent"):
                    async for _ in answer:
                        pass
                (entry,) = journal.open_entries()
                assert entry.output[0] == first
                await end(bs)
                await bs.serve()
                rest = [one.token async for one in (await device(bs)).resume(entry, journal=journal)]
            assert entry.output + tuple(rest) == expected(wanted)

    run(main())


def test_a_device_that_finds_nobody_gives_up_soon(tmp_path: Path) -> None:
    """A new process that goes on with a request waits reach_s for a BS, not absent_s; it stays open."""

    async def main() -> None:
        async with cell() as bs:
            wanted, timing = request(max_new_tokens=TOKENS), Timing(reach_s=5.0, absent_s=100.0)
            with Journal(tmp_path / "j") as journal:
                answer = (await device(bs, timing=timing)).answer(wanted, journal=journal)
                await anext(answer)
                await answer.aclose()
                await end(bs)
                assert bs.serving is not None
                bs.serving.cancel()
                (entry,) = journal.open_entries()
                began_s = bs.clock.now_s()
                with pytest.raises(RequestRefusedError, match="no word from the base station for 5 s"):
                    async for _ in (await device(bs, timing=timing)).resume(entry, journal=journal):
                        pass
                assert 5.0 <= bs.clock.now_s() - began_s <= 5.5
                assert journal.is_open(entry.id)

    run(main())


def test_an_id_that_has_ended_does_not_begin_again(tmp_path: Path) -> None:
    """`enter` refuses the id of a request that has ended or is open, and the journal holds what it held."""

    async def main() -> None:
        async with cell() as bs:
            with Journal(tmp_path / "j") as journal:
                node = await device(bs)
                entry = node.enter(request(max_new_tokens=4), journal, id="aaaaaaaa")
                with pytest.raises(InvalidRequestError, match="aaaaaaaa has begun"):
                    node.enter(request(), journal, id="aaaaaaaa")
                assert len([one async for one in node.resume(entry, journal=journal)]) == 4
                before = journal.path.read_bytes()
                with pytest.raises(InvalidRequestError, match=r"aaaaaaaa has ended \(length\)"):
                    node.enter(request(), journal, id="aaaaaaaa")
                assert journal.path.read_bytes() == before

    run(main())


def test_tokens_that_come_with_the_refusal_are_kept(tmp_path: Path) -> None:
    """What became final before the BS gave up is shown and kept, though both come at once."""

    async def main() -> None:
        async with cell(serve=False) as bs:
            node, wanted, shown = await device(bs), request(), list[int]()
            with Journal(tmp_path / "j") as journal:

                async def ask() -> None:
                    async for one in node.answer(wanted, journal=journal):
                        shown.append(one.token)

                asking = asyncio.create_task(ask())
                await asyncio.sleep(0.1)
                other, log = await bs.impostor("dev"), TokenLog(wanted.prompt)
                (entry,) = journal.open_entries()
                life, plan = Incarnation(boot=1, counter=1), Plan(number=1, k=4, gamma=0, min_draft=0)
                other.say(
                    Opened(
                        device_try=1,
                        incarnation=life,
                        known=3,
                        log_hash=log.hash_at(3),
                        pending=None,
                        plan=plan,
                    ),
                    entry.number,
                )
                other.say(
                    Commit(
                        incarnation=life,
                        position=3,
                        log_hash=log.hash_with(3, (7, 8)),
                        ids=(7, 8),
                        origins=(Origin.ALONE,) * 2,
                        tested_epoch=0,
                        accepted=0,
                        seen=0,
                        plan=plan,
                        times=StepTimes(hold_s=0, step_s=0, wait_s=0),
                    ),
                    entry.number,
                )
                gives_up = Refused(reason=Reason.TARGET_FAILED, detail="no memory", device_try=1)
                other.say(gives_up, entry.number)
                with pytest.raises(RequestRefusedError, match="target_failed"):
                    await asking
                (entry,) = journal.open_entries()
                assert (shown, entry.output) == ([7, 8], (7, 8))
                assert entry.origins == (Origin.ALONE, Origin.ALONE)

    run(main())


def test_a_copy_of_a_journal_serves_one(tmp_path: Path) -> None:
    """Two devices that go on from copies of one journal: the BS serves the first, the other ends for good."""

    async def main() -> None:
        async with cell() as bs:
            wanted, path = request(max_new_tokens=300), tmp_path / "j"
            with Journal(path) as journal:
                answer = (await device(bs)).answer(wanted, journal=journal)
                await anext(answer)
                await answer.aclose()
            await end(bs)
            (tmp_path / "copy").write_bytes(path.read_bytes())
            with Journal(path) as journal, Journal(tmp_path / "copy") as copy:
                (entry,) = journal.open_entries()
                served = (await device(bs)).resume(entry, journal=journal)
                begun = [(await anext(served)).token]
                words = "for another process; a copy of this journal has gone on with it; this one ends"
                with pytest.raises(RequestRefusedError, match=words):
                    async for _ in (await device(bs)).resume(entry, journal=copy):
                        pass
                assert not copy.open_entries()
                begun += [one.token async for one in served]
            assert entry.output + tuple(begun) == expected(wanted)

    run(main())


def test_a_request_is_gone_on_with_by_its_own_device(tmp_path: Path) -> None:
    """Under another name, or while it is being answered, a request does not go on; nothing is sent."""

    async def main() -> None:
        async with cell() as bs:
            with Journal(tmp_path / "j") as journal:
                node = await device(bs)
                answer = node.answer(request(max_new_tokens=50), journal=journal)
                await anext(answer)
                (entry,) = journal.open_entries()
                with pytest.raises(InvalidRequestError, match="is being answered"):
                    node.resume(entry, journal=journal)
                await answer.aclose()
                other = await device(bs, name="other")
                with pytest.raises(InvalidRequestError, match="began with dev, here it is other"):
                    other.resume(entry, journal=journal)
                spoilt = replace(entry, request=replace(entry.request, max_new_tokens=10**9))
                with pytest.raises(InvalidRequestError, match="max_new_tokens"):
                    node.resume(spoilt, journal=journal)

    run(main())


def test_requests_that_alternate_in_one_journal(tmp_path: Path) -> None:
    """Several requests of a device at once share a journal; each goes on with its own."""

    async def main() -> None:
        async with cell() as bs:
            wanted = [request(max_new_tokens=TOKENS, seed=seed) for seed in range(3)]
            with Journal(tmp_path / "j") as journal:
                node = await device(bs)
                answers = [node.answer(one, journal=journal) for one in wanted]
                for _ in range(4):
                    await asyncio.gather(*(anext(answer) for answer in answers))
                for answer in answers:
                    await answer.aclose()
                await end(bs)
            with Journal(tmp_path / "j") as journal:
                node = await device(bs)
                entries = journal.open_entries()
                assert [one.request for one in entries] == wanted

                async def rest(entry: Any) -> tuple[int, ...]:
                    return tuple([one.token async for one in node.resume(entry, journal=journal)])

                rests = await asyncio.gather(*map(rest, entries))
            texts = [entry.output + rest for entry, rest in zip(entries, rests, strict=True)]
            assert texts == [expected(one) for one in wanted]

    run(main())


def test_without_a_journal_nothing_is_written(tmp_path: Path) -> None:
    """The plain request is as it was."""

    async def main() -> None:
        async with cell() as bs:
            assert await text(await device(bs), request()) == expected(request())

    run(main())
    assert list(tmp_path.iterdir()) == []
