"""Sessions that wait, for rows, for memory or for others, and passes that come to nothing; virtual time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs
from tests.harness.cell import VOCAB_SIZE, Peer, greedy, open_for, request, run, text
from tests.harness.messages import a_row
from tests.harness.packing import PackedModel
from tests.harness.station import ROOM_MB, TARGET, all_of, station

from draftwire.codecs.hashes import ids_hash, log_hash, rows_hash
from draftwire.codecs.messages import Commit, Draft, Opened, Ping, Reason, Refused, SparseLogits
from draftwire.nodes.device.errors import RequestRefusedError
from draftwire.nodes.models.base import Ask
from draftwire.nodes.target import work
from draftwire.nodes.target.batcher import Waiting
from draftwire.nodes.target.residency import IDLE_S
from draftwire.runtime.clock import Clock
from draftwire.runtime.session.request import Timing

WRONG = 5
"A token that the target of these tests rejects behind its prompts."

ROW = a_row(WRONG, vocab_size=VOCAB_SIZE)


async def owes_rows(peer: Peer, number: int = 9) -> Opened:
    """A request whose block has been tested, and whose device owes the row of what was rejected."""
    peer.say(open_for(request(seed=number)), number=number)
    opened = await peer.hear_of(Opened)
    rows = (ROW,) * 4
    peer.say(
        Draft(
            incarnation=opened.incarnation,
            draft_epoch=1,
            known=3,
            start=3,
            path_hash=log_hash((1, 2, 3)),
            plan=opened.plan,
            ids=(WRONG,) * 4,
            weights=(ROW.weight_of(WRONG),) * 4,
            rows_hash=rows_hash(rows),
        ),
        number=number,
    )
    return opened


@dataclass
class Ticking:
    """A clock that goes on with every look at it, as those of machines do."""

    inner: Clock
    last_s: float = 0.0
    looks: int = 0

    def now_s(self) -> float:
        self.looks += 1
        self.last_s = max(self.last_s + 1e-6, self.inner.now_s())
        return self.last_s

    async def sleep_until(self, deadline_s: float) -> None:
        await self.inner.sleep_until(deadline_s)


def test_the_loop_rests_while_nothing_comes() -> None:
    """A session waits for its block: the loop has no turn in that time, though each look at the clock finds
    it a little later."""

    async def main() -> None:
        async with station() as (bs, _):
            clock = bs.target._work._clock = Ticking(bs.clock)
            peer = await bs.greeted("dev")
            peer.say(open_for(request()))
            await peer.hear_of(Opened)
            await asyncio.sleep(1)
            looks = clock.looks
            await asyncio.sleep(3)
            assert clock.looks == looks

    run(main())


def test_the_loop_rests_while_it_gathers() -> None:
    """A path has been waited for long enough, and the blocks of others are due: they are waited for, in no
    more turns than messages call for (`station` counts)."""

    async def main() -> None:
        async with station(patience_s=0.15) as (bs, _):
            await bs.channel("rate 1mbit delay 100ms")
            await bs.channel("rate 1mbit delay 15ms", address="ipc://near")
            near = asyncio.create_task(
                all_of(
                    bs,
                    [request((i, 7), seed=i, max_new_tokens=60) for i in range(3)],
                    address="ipc://near",
                )
            )
            device = await bs.device("far", address="ipc://channel")
            wanted = request(temperature=0.0, max_new_tokens=60, min_draft=4)
            assert await text(device, wanted) == greedy(TARGET, (1, 2, 3), 60)
            await near

    run(main())


def test_the_loop_rests_while_a_step_waits_for_memory() -> None:
    """A reader comes back after a pause, and its path has been waited for long enough, but there is no memory
    for its step before another is through (`station` counts turns)."""

    async def main() -> None:
        async with station(kv_budget_mb=ROOM_MB) as (bs, _):
            await bs.channel("rate 1mbit delay 450ms")

            async def one(name: str, pause_s: float, **kind: Any) -> list[int]:
                device = await bs.device(name, address="ipc://channel", timing=Timing(reach_s=900.0))
                tokens = list[int]()
                async for taken in device.answer(request(**kind)):
                    tokens.append(taken.token)
                    if len(tokens) == 1:
                        await asyncio.sleep(pause_s)
                return tokens

            paused = asyncio.create_task(one("paused", 7.0, temperature=0.0, min_draft=4))
            await asyncio.sleep(2)
            assert len(await one("other", 0.0, prompt=(7, 7))) == 40
            assert tuple(await paused) == greedy(TARGET, (1, 2, 3), 40)

    run(main())


def test_a_log_that_was_cut_back_goes_on() -> None:
    """A device comes back with a log that is all in the cache, the drafts of a pass that were rejected: its
    next step is a step like any other."""

    async def main() -> None:
        async with station(gamma=8, ahead=1) as (bs, _):
            peer = await bs.greeted("dev")
            wanted = request(temperature=0.0, min_draft=4)
            peer.say(open_for(wanted))
            opened = await peer.hear_of(Opened)
            ids = tuple((one + 1) % VOCAB_SIZE for one in greedy(TARGET, (1, 2, 3), 4))
            peer.say(
                Draft(
                    incarnation=opened.incarnation,
                    draft_epoch=1,
                    known=3,
                    start=3,
                    path_hash=log_hash((1, 2, 3)),
                    plan=opened.plan,
                    ids=ids,
                    weights=(),
                    rows_hash=ids_hash(ids),
                )
            )
            await asyncio.sleep(1)
            again = (1, 2, 3, *ids[:2])
            peer.say(open_for(wanted, device_try=2, tokens=again, draft_epoch=1))
            await peer.hear_of(Opened)
            await asyncio.sleep(6)
            (session,) = bs.sessions()
            assert tuple(session.log.tokens) == (*again, *greedy(TARGET, again, 1))

    run(main())


def test_one_that_waits_for_rows_gives_way_and_goes_on() -> None:
    """A device owes rows, and its session has no memory when they come: the outcome is what it was, and what
    follows is computed anew."""

    async def main(evicted: bool) -> list[int]:
        async with station(kv_budget_mb=ROOM_MB) as (bs, _):
            peer = await bs.greeted("owes")
            opened = await owes_rows(peer)
            await asyncio.sleep(IDLE_S + 0.5)
            (served,) = bs.target._requests
            assert served.session.state.name == "ROW_WAIT" and served.context is not None
            if evicted:
                await text(await bs.device(), request(temperature=0.0))
                assert served.context is None
            rows = SparseLogits(incarnation=opened.incarnation, draft_epoch=1, start=3, rows=(ROW,) * 4)
            peer.say(rows)
            commit = await peer.hear_of(Commit)
            assert commit.ids == tuple(served.session.log.tokens[3:])
            tokens = tuple(served.session.log.tokens)
            peer.say(
                Draft(
                    incarnation=opened.incarnation,
                    draft_epoch=2,
                    known=len(tokens),
                    start=len(tokens),
                    path_hash=log_hash(tokens),
                    plan=commit.plan,
                    ids=(WRONG,) * 4,
                    weights=(ROW.weight_of(WRONG),) * 4,
                    rows_hash=rows_hash((ROW,) * 4),
                )
            )
            peer.say(
                SparseLogits(
                    incarnation=opened.incarnation, draft_epoch=2, start=len(tokens), rows=(ROW,) * 4
                )
            )
            await asyncio.sleep(2)
            assert len(served.session.log) > len(tokens)
            return served.session.log.tokens

    assert run(main(evicted=True)) == run(main(evicted=False))


def test_a_device_that_never_sends_its_rows_keeps_nobody_out() -> None:
    """Three sessions that hold all memory owe rows, and their device only says that it lives: four others are
    answered as soon as these have been idle."""

    async def main() -> None:
        async with station(kv_budget_mb=3 * ROOM_MB) as (bs, _):
            peer = await bs.greeted("hoard")
            lives = {number: (await owes_rows(peer, number)).incarnation for number in range(1, 4)}
            await asyncio.sleep(0.5)
            assert [one.state.name for one in bs.sessions()] == ["ROW_WAIT"] * 3

            async def live() -> None:
                while True:
                    for number, life in lives.items():
                        peer.say(Ping(incarnation=life, known=3, stamp=1), number=number)
                    await asyncio.sleep(1)

            living = asyncio.create_task(live())
            wanted = [request((i,), temperature=0.0) for i in range(4)]
            assert await all_of(bs, wanted) == [greedy(TARGET, (i,), 40) for i in range(4)]
            assert bs.clock.now_s() < 10
            living.cancel()

    run(main())


def test_memory_just_given_is_not_idle() -> None:
    """A prompt of one token has nothing to be read, so its session has had no pass: it keeps its memory for a
    second like any other."""

    async def main() -> None:
        async with station(kv_budget_mb=ROOM_MB) as (bs, _):
            await asyncio.sleep(100)
            first, second = await bs.greeted("first"), await bs.greeted("second")
            first.say(open_for(request((1,))))
            await first.hear_of(Opened)
            second.say(open_for(request((2,))))
            assert (await second.hear_of(Refused)).reason is Reason.BUSY
            with capture_logs() as logs:
                await asyncio.sleep(IDLE_S)
                second.say(open_for(request((2,))))
                await second.hear_of(Opened)
            (evicted,) = [one for one in logs if one["event"] == "target.evicted"]
            assert evicted["idle_s"] == pytest.approx(IDLE_S, abs=0.01)

    run(main())


def test_no_more_are_let_in_than_will_have_room() -> None:
    """Ten devices come while a pass of another is under way that holds all memory: two of its three sessions
    will give way, so two devices are let in, and the others are told to come again."""

    async def main() -> None:
        async with station(kv_budget_mb=3 * ROOM_MB, gamma=0, max_sessions=64) as (bs, _):
            hoard = await bs.greeted("hoard")
            for number in range(1, 4):
                hoard.say(open_for(request(seed=number)), number=number)
            await asyncio.sleep(0.1)
            peers = [await bs.greeted(f"dev-{i}") for i in range(10)]
            while bs.target._work.idle:
                await asyncio.sleep(0.001)
            for i, peer in enumerate(peers):
                peer.say(open_for(request((i,))))
            answers = [await peer.hear() for peer in peers]
            assert [type(one) for one in answers].count(Opened) == 2
            for one in answers:
                assert isinstance(one, Opened) or (isinstance(one, Refused) and one.retry_ms > 0)

    run(main())


def test_a_fault_over_rows_ends_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong when rows have come ends the request that they are of; the BS serves on."""

    def fails(*_: object) -> int:
        raise RuntimeError("no such row")

    async def main() -> None:
        async with station() as (bs, model):
            monkeypatch.setattr(work, "correct", fails)
            device = await bs.device("unlucky")
            unlucky = asyncio.create_task(text(device, request()))
            texts = await all_of(bs, [request((i,), temperature=0.0) for i in range(3)])
            assert texts == [greedy(TARGET, (i,), 40) for i in range(3)]
            with pytest.raises(RequestRefusedError, match="no such row") as caught:
                await unlucky
            assert caught.value.reason == "TARGET_FAILED"
            await asyncio.sleep(2)
            assert model.in_use == 0

    run(main())


class Forgetful(PackedModel):
    """Leaves an answer out of passes over several sessions, or over one whose log begins with token 63."""

    def together(self, asks: Sequence[Ask]) -> list[NDArray[np.float32]]:
        rows = super().together(asks)
        return rows[1:] if len(asks) > 1 or asks[0].tokens[0] == 63 else rows


def test_a_model_that_gives_too_few_answers() -> None:
    """Its passes over several are done again for each alone, and told of as passes of one, of their own time
    and positions; who is left without an answer there too is told so."""

    async def main() -> None:
        async with station(model=Forgetful(TARGET)) as (bs, _):
            unlucky = asyncio.create_task(text(await bs.device("unlucky"), request((63, 1))))
            texts = await all_of(bs, [request((i,), temperature=0.0, gamma=0) for i in range(3)])
            assert texts == [greedy(TARGET, (i,), 40) for i in range(3)]
            with pytest.raises(RequestRefusedError, match="0 answers to 1 sessions"):
                await unlucky
            assert {(one.pass_sessions, one.pass_rows) for one in bs.reports} == {(1, 1)}
            assert {one.step_s for one in bs.reports} == {0.0445}

    run(main())


def test_the_outcome_for_one_that_was_let_go_in_the_pass() -> None:
    """Places are full, and one of three of a device goes to another in the middle of its pass: the pass tells
    nothing of it, to nobody, and its memory comes back."""

    async def main() -> None:
        async with station(max_sessions=3, gamma=0) as (bs, model):
            hoard, other = await bs.greeted("hoard"), await bs.greeted("other")
            for number in range(1, 4):
                hoard.say(open_for(request(seed=number)), number=number)
            await asyncio.sleep(0.1)
            newest = bs.target._requests.get("hoard", 3)
            assert newest is not None
            while not newest.computing:
                await asyncio.sleep(0.001)
            sent, told = newest.sequence, [one.request for one in bs.reports].count(3)
            other.say(open_for(request((8, 8))))
            await other.hear_of(Opened)
            assert newest.computing and not bs.target._requests.holds(newest)
            assert newest.context is not None and len(model.contexts) == 4
            await asyncio.sleep(0.5)
            assert newest.context is None and len(model.contexts) == 3
            assert newest.sequence == sent and [one.request for one in bs.reports].count(3) == told
            assert [one.request for one in bs.reports].count(9) > 3

    run(main())


def test_a_pass_that_is_cancelled_keeps_its_contexts() -> None:
    """The worker's thread goes on to its end, so nothing may free what it computes with, also not of a
    request that was let go meanwhile."""

    async def main() -> None:
        async with station(gamma=0) as (bs, _):
            peer = await bs.greeted("dev")
            peer.say(open_for(request()))
            await peer.hear_of(Opened)
            (served,) = bs.target._requests
            while not served.computing:
                await asyncio.sleep(0.001)
            bs.target._requests.drop(served)
            assert bs.serving is not None
            bs.serving.cancel()
            await asyncio.gather(bs.serving, return_exceptions=True)
            assert served.computing and served.context is not None
            bs.target._requests.add(served)  # `station` looks at what is held

    run(main())


def test_who_is_worth_a_wait() -> None:
    """A block that is due is waited for by others' steps, but not by prompts alone, and not if its session
    has no memory to test it with."""

    async def main() -> None:
        async with station() as (bs, _):
            await bs.channel("rate 1mbit delay 3ms")
            device = await bs.device(address="ipc://channel")
            asking = asyncio.create_task(text(device, request()))
            while not (held := [*bs.target._requests]) or held[0].steps < 5 or not held[0].due_s:
                await asyncio.sleep(0.001)
            (served,), now_s, here = held, bs.clock.now_s(), Waiting(key="here", device="other", rows=1)
            reads = Waiting(key="here", device="other", unread=100)
            waiting: dict[Any, Any] = {"here": served, "away": served}
            gathered_s = bs.target._work._gathered_s
            assert served.due_s is not None and now_s < served.due_s == gathered_s(waiting, [here], now_s)
            assert gathered_s(waiting, [reads], now_s) == now_s
            context, served.context = served.context, None
            assert gathered_s(waiting, [here], now_s) == now_s
            served.context = context
            await asking

    run(main())
