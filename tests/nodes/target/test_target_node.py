"""The target node, whole: whom it serves, what it refuses, and that nobody can harm another; virtual time."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.harness.cell import (
    CHANNEL,
    VOCAB_SIZE,
    cell,
    greedy,
    hello,
    open_for,
    request,
    run,
    text,
)

from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import (
    Close,
    Commit,
    Finish,
    Incarnation,
    Opened,
    Ping,
    Pong,
    Reason,
    Refused,
    Welcome,
)
from draftwire.nodes.models.base import Context
from draftwire.nodes.models.synthetic import SyntheticPair
from draftwire.nodes.target.work import Work
from draftwire.runtime.session.request import Timing
from draftwire.runtime.session.sendable import can_be_sent
from draftwire.runtime.session.states import Target


def test_a_pass_begins_before_the_rows_behind_its_draft_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block's rows, which come right behind it, are decoded while the model is at work; the text is what it
    is without that."""
    pair, held = SyntheticPair(vocab_size=VOCAB_SIZE, seed=1, noise=0.5), list[int]()

    async def main() -> tuple[int, ...]:
        class Watching:
            """The synthetic target; it notes how many rows of the block have been read when a pass begins."""

            vocab_size, context_length, support = VOCAB_SIZE, 2000, None

            def open(self) -> Context:
                inner = pair.target.open()

                class _Context:
                    def logits(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
                        if rows > 1:
                            held.append(bs.sessions()[0].rows_held)
                        return inner.logits(tokens, rows)

                    def close(self) -> None:
                        inner.close()

                return _Context()

        async with cell(model=Watching()) as bs:
            return await text(await bs.device(), request())

    first = run(main())
    assert len(held) > 5 and not any(held[1:])  # the model may be at the prompt when the first block comes
    held.clear()
    monkeypatch.setattr(Work, "idle", False)
    assert run(main()) == first
    assert any(held[1:])


def test_run_ahead_is_bounded() -> None:
    """Without a word from the device the BS stops at `ahead` tokens, and goes on when it hears of them."""

    async def main() -> None:
        async with cell(gamma=0, ahead=10) as bs:
            peer = await bs.greeted("silent")
            peer.say(open_for(request(max_new_tokens=300)))
            opened = await peer.hear_of(Opened)
            await asyncio.sleep(15)
            (session,) = bs.sessions()
            assert len(session.log) == 3 + 10
            peer.say(Ping(incarnation=opened.incarnation, known=8, stamp=1))
            await peer.hear_of(Pong)
            await asyncio.sleep(15)
            assert len(session.log) == 8 + 10

    run(main())


def test_a_silent_device_is_served_within_the_bound_under_speculation() -> None:
    """Temperature 0, gamma > 0 and no draft ever: it decodes alone after its patience, up to the bound."""

    async def main() -> None:
        async with cell(gamma=4, ahead=6, patience_s=0.5) as bs:
            peer = await bs.greeted("silent")
            peer.say(open_for(request(max_new_tokens=300, temperature=0)))
            await asyncio.sleep(60)
            (session,) = bs.sessions()
            assert len(session.log) == 3 + 6
            assert all(report.alone for report in bs.reports)

    run(main())


def test_a_listening_device_keeps_the_bs_going() -> None:
    """Target-only over a slow link: the device acknowledges in time, so the run-ahead never stops the BS."""

    async def main() -> None:
        async with cell(gamma=0, ahead=64) as bs:
            await bs.channel("rate 1mbit delay 100ms")
            device = await bs.device(address=CHANNEL)
            began_s = bs.clock.now_s()
            assert len(await text(device, request(max_new_tokens=400))) == 400
            assert bs.clock.now_s() - began_s < 400 * 0.0445 + 1

    run(main())


def test_hello_comes_first() -> None:
    """An Open of a stranger is refused until it has said Hello; then it is served."""

    async def main() -> None:
        async with cell() as bs:
            peer = await bs.peer("stranger")
            peer.say(open_for(request()))
            assert (await peer.hear_of(Refused)).reason is Reason.NO_HELLO
            peer.say(hello())
            assert isinstance(await peer.hear(), Welcome)
            peer.say(open_for(request()))
            await peer.hear_of(Opened)

    run(main())


def test_busy_and_eviction() -> None:
    """All places taken: BUSY, naming how many. Closed sessions go first, then those of silent devices."""

    async def main() -> None:
        async with cell(max_sessions=2) as bs:
            first, second, third = [await bs.greeted(name) for name in ("a", "b", "c")]
            first.say(open_for(request()))
            life = (await first.hear_of(Opened)).incarnation
            second.say(open_for(request()))
            await second.hear_of(Opened)
            third.say(open_for(request()))
            refused = await third.hear_of(Refused)
            assert refused.reason is Reason.BUSY
            assert "2 sessions" in refused.detail
            first.say(Close(incarnation=life, known=3))
            await asyncio.sleep(1)  # a pass that is under way keeps its context until it ends
            third.say(open_for(request(), device_try=2))
            await third.hear_of(Opened)
            first.say(open_for(request()), number=10)
            assert (await first.hear_of(Refused)).reason is Reason.BUSY
            await asyncio.sleep(Timing().parked_s - 1)
            third.say(open_for(request(), device_try=2))  # a sign of life
            await asyncio.sleep(2)
            first.say(open_for(request()), number=10)
            await first.hear_of(Opened)
            third.say(Ping(incarnation=Incarnation(boot=0, counter=0), known=3, stamp=1))
            second.say(Ping(incarnation=life, known=3, stamp=1))
            assert (await second.hear_of(Refused)).reason is Reason.UNKNOWN_REQUEST

    run(main())


def test_a_device_that_was_let_go_comes_back() -> None:
    """An evicted session that its device still wants is opened again, and the text at T = 0 stays."""

    async def main() -> None:
        async with cell(max_sessions=1) as bs:
            device, peer = await bs.device(), await bs.greeted("other")
            answer = device.answer(request(temperature=0.0, min_draft=MAX_GAMMA))
            tokens = [(await anext(answer)).token]
            await asyncio.sleep(25)  # the reader sleeps, so nothing is driven: the BS hears nothing
            peer.say(open_for(request()))
            life = (await peer.hear_of(Opened)).incarnation
            peer.say(Close(incarnation=life, known=3))
            await asyncio.sleep(1)
            tokens += [taken.token async for taken in answer]
            assert tuple(tokens) == greedy(bs.pair.target, (1, 2, 3), 40)
            assert bs.target.refused[Reason.UNKNOWN_REQUEST] >= 1

    run(main())


def test_a_late_copy_of_an_open_does_not_raise_the_dead() -> None:
    """An Open that arrives once more behind its Close is nobody's wish; a newer try is."""

    async def main() -> None:
        async with cell() as bs:
            peer = await bs.greeted("dev")
            peer.say(open_for(request()))
            peer.say(Close(incarnation=(await peer.hear_of(Opened)).incarnation, known=3))
            peer.say(open_for(request()))
            await asyncio.sleep(10)
            assert [session.state for session in bs.sessions()] == [Target.CLOSED]
            peer.say(open_for(request(), device_try=2))
            await peer.hear_of(Opened)

    run(main())


def test_the_last_commit_is_repeated_until_close() -> None:
    """A finished request says so again and again, more and more rarely, and stops when the device is gone."""

    async def main() -> None:
        async with cell(gamma=0) as bs:
            peer = await bs.greeted("silent")
            peer.say(open_for(request(max_new_tokens=2)))
            times = []
            for _ in range(4):
                commit = await peer.hear_of(Commit)
                if commit.finish is Finish.LENGTH:
                    times.append(bs.clock.now_s())
            waits = [later - earlier for earlier, later in pairwise(times)]
            assert waits == sorted(waits)
            assert waits[0] >= 0.9
            before = bs.target._endpoint.statistics().sent if bs.target._endpoint else 0
            await asyncio.sleep(100)
            after = bs.target._endpoint.statistics().sent if bs.target._endpoint else 0
            assert after - before <= 3

    run(main())


def test_which_k_can_be_sent() -> None:
    """Plain rows reach to 4096 entries, dense ones have all V; nothing lies between."""
    answers = [can_be_sent(k, 49152) for k in (1, 4096, 4097, 49151, 49152)]
    assert answers == [True, True, False, False, True]
    assert can_be_sent(64, 64)
