"""A BS with many sessions: shared passes, memory, overload, bad input; whole nodes, virtual time.

Texts are what each gets alone. `PackedModel` fails where a context is closed in use, asked when closed, or
asked beyond the context's length.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from structlog.testing import capture_logs
from tests.harness.cell import VOCAB_SIZE, Peer, greedy, open_for, request, run, text
from tests.harness.losing import LosingTransport
from tests.harness.packing import PackedModel
from tests.harness.station import ROOM_MB, TARGET, all_of, alone, station

from draftwire.codecs.frame import Frame
from draftwire.codecs.hashes import ids_hash, log_hash
from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import (
    Acceptance,
    Close,
    Draft,
    Opened,
    Ping,
    Plan,
    Reason,
    Refused,
)
from draftwire.nodes.device.errors import RequestRefusedError
from draftwire.nodes.models.base import Ask
from draftwire.nodes.models.synthetic import SyntheticModel
from draftwire.nodes.target import batcher
from draftwire.nodes.target.batcher import CHUNK, CHUNK_ALONE
from draftwire.nodes.target.contexts import MB
from draftwire.nodes.target.residency import IDLE_S
from draftwire.runtime.session.request import Request, Timing

KINDS: list[dict[str, Any]] = [
    {"temperature": 0.0, "min_draft": 4},
    {"acceptance": Acceptance.COUPLED},
    {"gamma": 0},
    {},
]

Spoil = Callable[[Ask, NDArray[np.float32]], NDArray[np.float32]]


def mixed(count: int) -> list[Request]:
    """Requests of every kind, each with a prompt and a seed of its own."""
    return [request((i + 1, i % 5, 7), seed=i, **KINDS[i % 4]) for i in range(count)]


def test_sessions_share_passes() -> None:
    """Eight at once take far fewer passes than eight in turn; a report tells what its pass was."""

    async def main() -> None:
        async with station() as (bs, model):
            texts = await all_of(bs, mixed(8))
            assert [await alone(one) for one in mixed(8)] == texts
            sizes = [(len(one), sum(new for new, _ in one)) for one in model.passes]
            told = {(report.pass_sessions, report.pass_rows) for report in bs.reports}
            assert told <= set(sizes)
            assert max(sessions for sessions, _ in sizes) >= 6
            assert len(bs.reports) > 2 * len(sizes)

    run(main())


def test_more_sessions_than_memory() -> None:
    """Ten requests, room for three: all are answered in the end, each as alone, and all memory comes back."""

    async def main() -> None:
        async with station(kv_budget_mb=3 * ROOM_MB) as (bs, model):
            with capture_logs() as logs:
                texts = await all_of(bs, mixed(10))
            assert texts == [await alone(one) for one in mixed(10)]
            assert 2 * ROOM_MB * MB < model.peak <= 3 * ROOM_MB * MB
            assert bs.target.refused[Reason.BUSY] >= 7
            waits = [one for one in logs if one["event"] == "device.waits"]
            assert len({one["device"] for one in waits}) == len(waits) >= 7
            assert all("MB" in one["detail"] and one["again_s"] > 0 for one in waits)
            await asyncio.sleep(2)
            assert model.in_use == 0 and not model.contexts
            assert bs.target._contexts.residency.reserved == 0

    run(main())


def test_a_busy_bs_is_not_hammered() -> None:
    """A device asks again after the time it is told, a little later than others; it gives up after reach_s,
    with the reason, though the BS has answered all along."""
    opens = Counter[str]()

    def copies_of(frame: Frame) -> int:
        opens[type(frame.message).__name__] += 1
        return 1

    async def main() -> None:
        async with station(max_sessions=1, transport=lambda net: LosingTransport(net, copies_of)) as (bs, _):
            holder = await bs.greeted("holder")
            holder.say(open_for(request(max_new_tokens=1000)))
            opened = await holder.hear_of(Opened)
            devices = [await bs.device(f"dev-{i}", timing=Timing(reach_s=12.0)) for i in range(4)]
            asking = [asyncio.create_task(text(one, request())) for one in devices]
            opens.clear()
            for _ in range(11):
                await asyncio.sleep(1)
                holder.say(Ping(incarnation=opened.incarnation, known=3, stamp=1))
            assert not any(one.done() for one in asking)
            assert 4 <= opens["Open"] <= 4 * 12 / 0.5
            errors = await asyncio.gather(*asking, return_exceptions=True)
            for error in errors:
                assert isinstance(error, RequestRefusedError)
                assert error.reason == "BUSY" and "all 1 sessions are taken" in str(error)

    run(main())


def test_a_request_that_has_begun_waits_longer_for_room() -> None:
    """A device that was let go, and finds no room when it comes back, waits for far more than reach_s: what
    it has shown of its text is not lost."""

    async def main() -> None:
        async with station(max_sessions=1) as (bs, _):
            device, peer = await bs.device(timing=Timing(reach_s=5.0)), await bs.greeted("other")
            answer = device.answer(request(temperature=0.0))
            tokens = [(await anext(answer)).token]
            await asyncio.sleep(25)  # the reader sleeps, so nothing is driven: the BS hears nothing
            peer.say(open_for(request(max_new_tokens=1000)))
            life = (await peer.hear_of(Opened)).incarnation

            async def hold() -> None:
                for _ in range(40):
                    await asyncio.sleep(1)
                    peer.say(Ping(incarnation=life, known=3, stamp=1))
                peer.say(Close(incarnation=life, known=3))

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(hold())
                tokens += [taken.token async for taken in answer]
            assert bs.clock.now_s() > 60
            assert tuple(tokens) == greedy(TARGET, (1, 2, 3), 40)

    run(main())


def test_what_can_never_fit_is_refused_for_good() -> None:
    """A request larger than all memory: PROMPT_TOO_LONG at once, with both sizes and what helps; one token
    less is served."""

    async def main() -> None:
        async with station(kv_budget_mb=8) as (bs, _):
            device = await bs.device()
            with pytest.raises(RequestRefusedError) as caught:
                await text(device, request(max_new_tokens=78))  # 81 tokens, 96 with rounding
            assert caught.value.reason == "PROMPT_TOO_LONG"
            assert "9.6 MB" in str(caught.value) and "8.0 MB" in str(caught.value)
            assert "kv_budget_mb" in str(caught.value)
            assert bs.clock.now_s() < 1
            assert len(await text(device, request(max_new_tokens=77))) == 77

    run(main())


def test_a_newer_try_can_not_ask_for_more() -> None:
    """Under the number of a request that is served somebody asks for a longer text, or has a longer prompt:
    that is another request, which has to be admitted as one."""

    async def main() -> None:
        async with station(kv_budget_mb=ROOM_MB, gamma=0) as (bs, model):
            peer = await bs.greeted("dev")
            peer.say(open_for(request(max_new_tokens=10)))
            await peer.hear_of(Opened)
            await asyncio.sleep(2)
            peer.say(open_for(request(max_new_tokens=100), device_try=2))
            assert (await peer.hear_of(Refused)).reason is Reason.PROMPT_TOO_LONG
            peer.say(open_for(request(tuple(range(1, 31)), max_new_tokens=10), device_try=3))
            await peer.hear_of(Opened)
            await asyncio.sleep(2)
            assert [len(one.log) for one in bs.sessions()] == [40]
            assert model.peak == 48 * 10**5

    run(main())


def test_an_idle_session_gives_way_and_goes_on() -> None:
    """One whose device says nothing loses its memory to others after a second, not before, and keeps its log:
    when the device speaks, it goes on where it was."""

    async def main() -> None:
        async with station(kv_budget_mb=ROOM_MB, gamma=0, ahead=6) as (bs, _):
            peer, device = await bs.greeted("slow"), await bs.device(timing=Timing(reach_s=30.0))
            peer.say(open_for(request(temperature=0.0)))
            opened = await peer.hear_of(Opened)
            await asyncio.sleep(0.5)
            with capture_logs() as logs:
                began_s = bs.clock.now_s()
                answer = asyncio.create_task(text(device, request((9, 9), temperature=0.0)))
                await asyncio.sleep(0.3)
                assert not [one for one in logs if one["event"] == "target.evicted"]
                assert await answer == greedy(TARGET, (9, 9), 40)
                (evicted,) = [one for one in logs if one["event"] == "target.evicted"]
                assert evicted["device"] == "slow" and evicted["idle_s"] >= IDLE_S
                assert evicted["log_tokens"] == 3 + 6
                peer.say(Ping(incarnation=opened.incarnation, known=9, stamp=1))
                await asyncio.sleep(1)
                recomputed = [one for one in logs if one["event"] == "target.recomputed"]
                assert [one["device"] for one in recomputed] == ["slow"]
            assert bs.clock.now_s() > began_s
            session = next(one for one in bs.sessions() if one.log.prompt_length == 3)
            assert tuple(session.log.tokens[3:]) == greedy(TARGET, (1, 2, 3), 12)

    run(main())


def test_one_that_waits_goes_on_when_another_falls_idle() -> None:
    """Nothing happens but that a second passes without a pass of the session that has the memory."""

    async def main() -> None:
        async with station(kv_budget_mb=ROOM_MB, gamma=0, ahead=6) as (bs, _):
            first, second = await bs.greeted("first"), await bs.greeted("second")
            first.say(open_for(request(temperature=0.0)))
            opened = await first.hear_of(Opened)
            await asyncio.sleep(2)
            second.say(open_for(request((7, 7), temperature=0.0)))
            await second.hear_of(Opened)
            await asyncio.sleep(0.5)
            first.say(Ping(incarnation=opened.incarnation, known=9, stamp=1))
            await asyncio.sleep(0.4)
            lengths = {one.log.prompt_length: len(one.log) for one in bs.sessions()}
            assert lengths == {3: 9, 2: 8}
            await asyncio.sleep(1.2)
            lengths = {one.log.prompt_length: len(one.log) for one in bs.sessions()}
            assert lengths == {3: 15, 2: 8}

    run(main())


def test_a_prompt_that_is_being_read_is_not_evicted_in_its_pass() -> None:
    """The newer of two long prompts of one device is in a pass when another device comes: that one gets its
    memory when the pass is over, not before (`station` checks)."""

    async def main() -> None:
        async with station(kv_budget_mb=185) as (bs, model):
            greedy_device = await bs.device("greedy", timing=Timing(reach_s=500.0))
            prompts = [tuple((i + j) % VOCAB_SIZE for j in range(900)) for i in range(2)]
            wanted = [request(one, temperature=0.0, max_new_tokens=10) for one in prompts]
            hoard = [asyncio.create_task(text(greedy_device, one)) for one in wanted]
            while not [*bs.target._requests][-1:] or not [*bs.target._requests][-1].computing:
                await asyncio.sleep(0.01)
            assert len(model.contexts) == 2
            modest = await bs.device("modest")
            assert await text(modest, request(temperature=0.0)) == greedy(TARGET, (1, 2, 3), 40)
            assert [await one for one in hoard] == [greedy(TARGET, one.prompt, 10) for one in wanted]

    run(main())


def test_one_that_waits_to_go_on_is_served_before_new_ones() -> None:
    """Sessions that lost their memory wait for it in turn, and everybody is answered, also where nobody may
    stay for long: room for one, five devices that are slow to say anything."""

    async def main() -> None:
        async with station(kv_budget_mb=ROOM_MB) as (bs, _):
            await bs.channel("rate 1mbit delay 700ms")
            wanted = [request((i, 2, 3), temperature=0.0, max_new_tokens=12) for i in range(5)]
            texts = await all_of(bs, wanted, address="ipc://channel", timing=Timing(reach_s=200.0))
            assert texts == [greedy(TARGET, one.prompt, 12) for one in wanted]

    run(main())


def test_a_session_that_never_acknowledges() -> None:
    """It is decoded for no further than `ahead`; others are answered as fast as without it."""

    async def main(mute: bool) -> float:
        async with station(gamma=0, ahead=10) as (bs, _):
            if mute:
                peer = await bs.greeted("mute")
                peer.say(open_for(request(max_new_tokens=500)))
            texts = await all_of(bs, [request((i,), temperature=0.0) for i in range(3)])
            assert texts == [greedy(TARGET, (i,), 40) for i in range(3)]
            took_s = bs.clock.now_s()
            if mute:
                (session,) = [one for one in bs.sessions() if one.log.prompt_length == 3]
                assert len(session.log) == 3 + 10
            return took_s

    assert run(main(mute=True)) <= run(main(mute=False)) + 0.1


def test_drafts_that_come_faster_than_they_are_verified() -> None:
    """A peer that sends a hundred paths before each pass is over has no more of the BS than a step in each
    pass, and others get what they get without it."""

    async def flood(peer: Peer, opened: Opened) -> None:
        for epoch in range(1, 4000):
            ids = tuple((epoch + i) % VOCAB_SIZE for i in range(8))
            peer.say(
                Draft(
                    incarnation=opened.incarnation,
                    draft_epoch=epoch,
                    known=3,
                    start=3,
                    path_hash=log_hash((1, 2, 3)),
                    plan=Plan(number=1, k=8, gamma=8, min_draft=0),
                    ids=ids,
                    weights=(),
                    rows_hash=ids_hash(ids),
                )
            )
            await asyncio.sleep(0.0005)

    async def main(flooded: bool) -> float:
        async with station(gamma=8) as (bs, model):
            tasks = []
            if flooded:
                peer = await bs.greeted("flood")
                peer.say(open_for(request(temperature=0.0, max_new_tokens=500)))
                tasks.append(asyncio.create_task(flood(peer, await peer.hear_of(Opened))))
            began_s = bs.clock.now_s()
            texts = await all_of(bs, [request((i,), temperature=0.0) for i in range(3)])
            assert texts == [greedy(TARGET, (i,), 40) for i in range(3)]
            took_s = bs.clock.now_s() - began_s
            assert all(len(one) <= 4 for one in model.passes)
            for task in tasks:
                task.cancel()
            return took_s

    assert run(main(flooded=True)) <= 1.3 * run(main(flooded=False))


@pytest.mark.parametrize("kind", [{"temperature": 0.0}, {"acceptance": Acceptance.COUPLED}, {}])
def test_a_prompt_at_the_limit(kind: dict[str, Any]) -> None:
    """Prompt and new tokens fill the context to the last position, drafts at the very end included: no pass
    goes beyond it, the text is whole, and the memory was enough."""

    async def main() -> None:
        limit = SyntheticModel(vocab_size=VOCAB_SIZE, seed=1, context_length=64)
        wanted = request(tuple(range(1, 44)), max_new_tokens=21, **kind)
        async with station(model=PackedModel(limit), gamma=8, noise=0.0, kv_budget_mb=7) as (bs, model):
            assert len(await text(await bs.device(), wanted)) == 21
            assert model.peak == 64 * 10**5
            with pytest.raises(RequestRefusedError, match="exceed the target's context of 64"):
                await text(await bs.device("other"), request(tuple(range(1, 45)), max_new_tokens=21))

    run(main())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_drafts_beyond_the_end_are_cut(temperature: float) -> None:
    """A peer that drafts more than its request has left makes no pass longer than what is reserved."""

    async def main() -> None:
        async with station(gamma=4) as (bs, model):
            peer = await bs.greeted("dev")
            wanted = request(tuple(range(1, 15)), temperature=temperature, max_new_tokens=2)
            peer.say(open_for(wanted))
            opened = await peer.hear_of(Opened)
            ids = (5,) * MAX_GAMMA
            peer.say(
                Draft(
                    incarnation=opened.incarnation,
                    draft_epoch=1,
                    known=14,
                    start=14,
                    path_hash=log_hash(wanted.prompt),
                    plan=replace(opened.plan, gamma=MAX_GAMMA, min_draft=MAX_GAMMA),
                    ids=ids,
                    weights=(2**23,) * MAX_GAMMA if temperature else (),
                    rows_hash=ids_hash(ids),
                )
            )
            await asyncio.sleep(1)
            assert bs.reports or bs.sessions()[0].state.name == "ROW_WAIT"
            assert model.peak == 16 * 10**5

    run(main())


def _spoilt(spoil: Spoil) -> PackedModel:
    """For logs that begin with token 63 twice, once they have some length, `spoil` has the word."""

    def chosen(ask: Ask, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return spoil(ask, rows) if list(ask.tokens[:2]) == [63, 63] and len(ask.tokens) > 12 else rows

    return PackedModel(TARGET, spoil=chosen)


def _nan(ask: Ask, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    spoilt = rows.copy()
    spoilt[-1:, 3] = np.nan
    return spoilt


def _raise(ask: Ask, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    raise RuntimeError("no memory for this one")


@pytest.mark.parametrize(("spoil", "why"), [(_nan, "not numbers"), (_raise, "no memory for this one")])
def test_what_fails_of_one_session_is_no_others(spoil: Spoil, why: str) -> None:
    """A NaN in one row, or a pass that raises over one session: the request that it is of ends with the
    reason, and those that shared the pass are answered as alone."""

    async def main() -> None:
        async with station(model=_spoilt(spoil)) as (bs, model):
            device = await bs.device("unlucky")
            unlucky = asyncio.create_task(text(device, request((63, 63, 1), temperature=0.0)))
            texts = await all_of(bs, mixed(6))
            with pytest.raises(RequestRefusedError, match=why) as caught:
                await unlucky
            assert caught.value.reason == "TARGET_FAILED"
            assert texts == [await alone(one) for one in mixed(6)]
            assert any(len(one) > 3 for one in model.passes)
            assert bs.target.refused[Reason.TARGET_FAILED] == 1
            await asyncio.sleep(2)
            assert model.in_use == 0

    run(main())


@pytest.mark.parametrize("bound", [{"kv_budget_mb": 4 * ROOM_MB}, {"max_sessions": 4}])
def test_one_device_can_not_have_it_all(bound: dict[str, Any]) -> None:
    """A device that holds all memory, or all places, and wants more: another one is served at once, in no
    more than a few passes longer than with the BS to itself; the first loses no text."""

    async def main() -> None:
        async with station(gamma=0, **bound) as (bs, _):
            greedy_device = await bs.device("greedy", timing=Timing(reach_s=500.0, absent_s=500.0))
            wanted = [request((i, 1), temperature=0.0, seed=i) for i in range(8)]
            hoard = [asyncio.create_task(text(greedy_device, one)) for one in wanted]
            await asyncio.sleep(0.15)
            assert not any(one.done() for one in hoard)
            modest, began_s = await bs.device("modest"), bs.clock.now_s()
            with capture_logs() as logs:
                assert await text(modest, request(temperature=0.0)) == greedy(TARGET, (1, 2, 3), 40)
            assert not [one for one in logs if one["event"] == "device.waits" and one["device"] == "modest"]
            took_s = bs.clock.now_s() - began_s
            assert [await one for one in hoard] == [greedy(TARGET, one.prompt, 40) for one in wanted]
        async with station(gamma=0) as (bs, _):
            await text(await bs.device(), request(temperature=0.0))
            assert took_s < bs.clock.now_s() + 10 * 0.0445

    run(main())


def test_a_device_that_opens_and_closes_quickly() -> None:
    """Hundreds of requests that are closed as soon as they are open leave no memory behind, and the others
    are answered."""

    async def main() -> None:
        async with station(kv_budget_mb=3 * ROOM_MB, max_sessions=4) as (bs, model):
            peer = await bs.greeted("hasty")

            async def hurry() -> None:
                for number in range(1, 400):
                    peer.say(open_for(request()), number=number)
                    answer = await peer.hear()
                    while not isinstance(answer, Opened | Refused):
                        answer = await peer.hear()
                    if isinstance(answer, Opened):
                        peer.say(Close(incarnation=answer.incarnation, known=3), number=number)
                    await asyncio.sleep(0.01)

            hurrying = asyncio.create_task(hurry())
            wanted = [request((i,), temperature=0.0) for i in range(2)]
            assert await all_of(bs, wanted) == [greedy(TARGET, (i,), 40) for i in range(2)]
            await hurrying
            await asyncio.sleep(1)
            assert model.in_use == 0 and not model.contexts

    run(main())


def test_a_long_prompt_beside_others() -> None:
    """Prompts of hundreds of tokens are read in pieces beside the others' steps, whose passes stay bounded;
    nobody misses a pass for them."""

    async def main() -> None:
        async with station() as (bs, model):
            talking = asyncio.create_task(
                all_of(bs, [request((i,), temperature=0.0, max_new_tokens=100, gamma=0) for i in range(3)])
            )
            await asyncio.sleep(1)
            before = len(model.passes)
            long = await bs.device("long")
            prompt = tuple(i % VOCAB_SIZE for i in range(900))
            assert await text(long, request(prompt, temperature=0.0)) == greedy(TARGET, prompt, 40)
            reading = [one for one in model.passes[before:] if any(rows == 0 for _, rows in one)]
            assert len(reading) >= 900 // CHUNK
            assert all(sum(new for new, _ in one) <= CHUNK + 3 for one in reading)
            assert all(sum(rows > 0 for _, rows in one) == 3 for one in reading)
            assert await talking == [greedy(TARGET, (i,), 100) for i in range(3)]
            assert all(report.computed <= report.pass_rows for report in bs.reports)

    run(main())


def test_a_prompt_that_is_alone_is_read_quickly() -> None:
    """With nobody else there a prompt is read in large pieces."""

    async def main() -> None:
        async with station() as (bs, model):
            prompt = tuple(i % VOCAB_SIZE for i in range(1000))
            await text(await bs.device(), request(prompt, temperature=0.0, max_new_tokens=4))
            assert [new for ((new, rows),) in model.passes if rows == 0] == [CHUNK_ALONE, 999 - CHUNK_ALONE]

    run(main())


def test_weights_share_a_crowded_bs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not all have room in a pass, a device of twice the weight is through in half the time, whether it
    is named itself or by its key."""
    monkeypatch.setattr(batcher, "MOST_ROWS", 4)

    async def main() -> None:
        async with station(gamma=0, weights={"heavy": 2.0}) as (bs, _):
            ended = dict[str, float]()

            async def one(name: str) -> None:
                await text(await bs.device(name), request((1, 2), temperature=0.0))
                ended[name] = bs.clock.now_s()

            names = ["heavy/1", *(f"light-{i}" for i in range(10))]
            await asyncio.gather(*(one(name) for name in names))
            others = [at_s for name, at_s in ended.items() if name != "heavy/1"]
            assert 0.45 < ended["heavy/1"] / min(others) < 0.6

    run(main())


@settings(max_examples=2)
@given(st.data())
def test_any_schedule_is_answered_as_alone(data: st.DataObject) -> None:
    """See `check_schedule`."""
    check_schedule(data)


@pytest.mark.slow
@settings(max_examples=60)
@given(st.data())
def test_any_of_many_schedules_is_answered_as_alone(data: st.DataObject) -> None:
    """See `check_schedule`."""
    check_schedule(data)


def check_schedule(data: st.DataObject) -> None:
    """Requests of any kind and length that begin at any time, devices that stop listening for a while, a BS
    that is patient or not, memory for few: texts that their seeds fix are what they are alone, the others as
    long; at no time more memory is taken than reserved, or reserved than there is (`station` checks)."""
    budget_mb = data.draw(st.integers(10, 25), label="budget")
    patience_s = data.draw(st.sampled_from([0.05, 0.5, 5.0]), label="patience")
    plans = data.draw(
        st.lists(
            st.tuples(
                st.floats(0, 3),
                st.integers(1, 30),
                st.integers(1, 60),
                st.sampled_from([0.0, 3.0, 7.0]),
                st.sampled_from(KINDS),
            ),
            min_size=3,
            max_size=9,
        ),
        label="begins, prompt, new tokens, pause, kind",
    )

    async def main() -> None:
        async with station(kv_budget_mb=budget_mb, max_sessions=6, patience_s=patience_s) as (bs, _):

            async def one(
                i: int, begins_s: float, prompt: int, new: int, pause_s: float, kind: dict[str, Any]
            ) -> None:
                await asyncio.sleep(begins_s)
                device = await bs.device(f"dev-{i % 4}/{i}", timing=Timing(reach_s=900.0))
                wanted = request((i,) * prompt, max_new_tokens=new, seed=i, **kind)
                tokens = list[int]()
                async for taken in device.answer(wanted):
                    tokens.append(taken.token)
                    if len(tokens) == 1:
                        await asyncio.sleep(pause_s)
                if wanted.sampling.greedy:
                    assert tuple(tokens) == greedy(TARGET, wanted.prompt, new)
                elif wanted.acceptance is Acceptance.COUPLED:
                    assert tuple(tokens) == await alone(wanted)
                assert len(tokens) == new

            async with asyncio.TaskGroup() as tasks:
                for i, plan in enumerate(plans):
                    tasks.create_task(one(i, *plan))

    run(main())
