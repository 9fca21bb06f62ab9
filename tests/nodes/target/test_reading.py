"""Prompts and requests without end, of one device: what they cost the others, and that honest ones go on."""

import asyncio
import heapq
import random
from contextlib import suppress
from dataclasses import replace

import pytest
from tests.harness.cell import Cell, cell, open_for, request, run

from draftwire.codecs.messages import Draft, Incarnation, Opened, Plan, Reason, Refused
from draftwire.codecs.probes import Echo, Probe
from draftwire.nodes.models.pacing import StepTimes
from draftwire.nodes.target.batcher import Waiting
from draftwire.nodes.target.opening import (
    A_REQUEST,
    BURST_TOKENS,
    LEAST_WAIT_S,
    LOOKED_AT,
    MOST_TOLD,
    TOKENS_A_S,
    Openings,
)
from draftwire.nodes.target.reading import BURST, CRAWL, POSITIONS_A_S, QUIET_S, Reading

TIMES = StepTimes(draft_position_s=3.1e-3, target_s=40e-3, target_position_s=0.5e-3)
HONEST = 4
LONG = tuple(i % 64 for i in range(2000))
AT_FIRST_S, MEASURED_S = 5.0, 6.0


async def _asks(bs: Cell, name: str, at_s: list[float]) -> None:
    device, seed = await bs.device(name), 0
    while True:
        seed += 1
        async for _ in device.answer(request(seed=seed, max_new_tokens=96, k=32, gamma=4)):
            at_s.append(bs.clock.now_s())


async def _opens(bs: Cell, every_s: float) -> None:
    peer, number = await bs.greeted("mallory"), 100
    while True:
        number += 1
        peer.say(open_for(request(prompt=LONG, max_new_tokens=64, seed=number)), number)
        await asyncio.sleep(every_s)


def _tokens_a_s(enemy_every_s: float | None) -> tuple[float, float]:
    """Of four honest devices: in the first seconds of an enemy that opens requests, and from then on."""
    at_s: list[float] = []

    async def main() -> None:
        async with cell(times=TIMES, k=None, gamma=None, noise=0.25) as bs:
            for number in range(HONEST):
                bs.tasks.create_task(_asks(bs, f"dev-{number}", at_s))
            if enemy_every_s is not None:
                bs.tasks.create_task(_opens(bs, enemy_every_s))
            await asyncio.sleep(AT_FIRST_S + MEASURED_S)
            raise _Enough

    with suppress(BaseExceptionGroup, _Enough):
        run(main())
    first = sum(one < AT_FIRST_S for one in at_s)
    return first / AT_FIRST_S, (len(at_s) - first) / MEASURED_S


class _Enough(Exception):
    """All that is measured has been."""


@pytest.mark.slow
def test_prompts_without_end_cost_the_others_less_than_a_tenth() -> None:
    """Once its budget is spent, a device that only opens requests slows four others by less than 10 %."""
    first, alone = _tokens_a_s(None)
    first_beside, beside = _tokens_a_s(0.05)
    told = f"first {1 - first_beside / first:.1%}, then {1 - beside / alone:.1%}"
    assert beside > 0.9 * alone, told
    assert first_beside > 0.6 * first, told


def test_a_budget_of_opened_tokens_is_spent_and_comes_back() -> None:
    """One burst is taken at once, whatever it consists of; then the device is told when there is more."""
    openings, opened = Openings(), open_for(request(prompt=LONG))
    taken = 0
    while (refused := openings.look_at("phone-1/a", taken, opened, 100.0)) is None:
        openings.begins("phone-1/a", len(LONG), 100.0)
        taken += 1
    assert BURST_TOKENS / (len(LONG) + 2 * A_REQUEST) <= taken <= BURST_TOKENS / len(LONG) + 1
    assert refused.reason is Reason.BUSY and refused.device_try == opened.device_try
    assert openings.look_at("phone-1/b", 1, opened, 100.0) is not None, "of one key"
    assert openings.look_at("phone-2", 1, opened, 100.0) is None, "of another"
    later_s = 100.0 + refused.retry_ms / 1e3
    assert openings.look_at("phone-1/a", taken, opened, later_s) is None
    assert openings.wait_s("phone-1/a", 9, later_s + BURST_TOKENS / TOKENS_A_S) == 0


def test_an_open_that_repeats_costs_as_much_to_look_at() -> None:
    """So many for nothing but that: A_REQUEST and an eighth of the tokens, each."""
    openings, opened, looked = Openings(), open_for(request(prompt=LONG)), 0
    while openings.look_at("phone-1", 1, opened, 1.0) is None:
        looked += 1
    assert looked == BURST_TOKENS // (A_REQUEST + len(LONG) // LOOKED_AT) + 1


@pytest.mark.parametrize(("devices", "tokens"), [(128, 4000), (64, 8000), (1024, 60)])
def test_devices_that_come_back_when_told_to_never_offend_and_one_that_does_not_does(
    devices: int, tokens: int
) -> None:
    """All of one key at once, as behind a restart, each 0 to half as long later than it was told; then one
    of them asks again at once, and again, and again: its own Opens are offences, and no others'."""
    openings, opened = Openings(), open_for(request(prompt=(1,) * tokens))
    later = random.Random(7)
    due = [(0.001 * number, f"cell/{number}") for number in range(devices)]
    asked = 0
    while due:
        now_s, name = heapq.heappop(due)
        asked += 1
        refused = openings.look_at(name, 3, opened, now_s)
        assert not openings.offends(name, 3), f"{name} at {now_s:.1f} s, seed 7"
        if refused is None:
            openings.begins(name, tokens, now_s)
        else:
            heapq.heappush(due, (now_s + refused.retry_ms / 1e3 * later.uniform(1, 1.5), name))
    assert asked > devices or tokens < 1000
    while openings.look_at("cell/0", 3, opened, now_s) is None:
        pass
    worth = 0
    while not openings.offends("cell/0", 3) and worth <= 2 * BURST_TOKENS:
        openings.look_at("cell/0", 3, opened, now_s)
        worth += A_REQUEST + tokens
    assert worth <= BURST_TOKENS + 2 * (A_REQUEST + tokens)
    refused = openings.look_at("cell/1", 3, opened, now_s)
    assert refused is not None
    openings.look_at("cell/1", 3, opened, now_s + refused.retry_ms / 1e3)
    assert not openings.offends("cell/1", 3), "it does as it is told"
    rested_s = now_s + 3 * BURST_TOKENS / TOKENS_A_S
    assert openings.look_at("cell/0", 3, opened, rested_s) is None
    assert not openings.offends("cell/0", 3)


def test_ever_new_requests_are_no_way_round_it() -> None:
    """Each of them may ask once, but not without end; and what is remembered of them is bounded."""
    openings, opened = Openings(), open_for(request(prompt=LONG))
    while openings.look_at("mallory", 0, opened, 0.0) is None:
        pass
    offends = [False]
    for number in range(MOST_TOLD + 9):
        openings.look_at("mallory", number, opened, 0.0)
        offends.append(openings.offends("mallory", number))
    assert not offends[300] and offends[-1]
    assert len(openings._told) == MOST_TOLD


def test_an_open_waits_as_long_as_its_tokens_are_worth() -> None:
    """So a request that always asks when it may has no more of its key's Opens looked at than its rate."""
    openings, opened = Openings(), open_for(request())
    while openings.look_at("cell/0", 1, opened, 0.0) is None:
        pass
    assert openings.wait_s("cell/0", 10, 0.0) == LEAST_WAIT_S
    assert openings.wait_s("cell/0", 10 * TOKENS_A_S, 0.0) == 10


def test_a_slow_key_reads_beside_steps_of_others_or_where_nobody_steps() -> None:
    """Whoever has spent its budget crawls, one session of its key a pass, and never stands still for long."""
    reading = Reading()
    step = Waiting(key=1, device="phone-1", rows=5)
    prompts = [Waiting(key=key, device=f"mallory/{key}", unread=900) for key in (2, 3)]
    both, now_s = {"phone-1", "mallory/2", "mallory/3"}, 10.0
    assert reading.paced([step, *prompts], under_way=both, now_s=now_s) == [step, *prompts]
    reading.read("mallory/2", BURST + 1, now_s)
    crawls = [step, replace(prompts[0], unread=CRAWL)]
    assert reading.paced([step, *prompts], under_way=both, now_s=now_s) == crawls
    reading.stepped(now_s)
    assert reading.paced(prompts, under_way=both, now_s=now_s) == []
    assert reading.again_s == now_s + QUIET_S
    assert reading.paced(prompts, under_way=both, now_s=now_s + QUIET_S) == prompts
    assert reading.paced(prompts, under_way={"mallory/2", "mallory/3"}, now_s=now_s) == prompts, "alone"
    rested_s = now_s + 2 * BURST / POSITIONS_A_S
    assert reading.paced([step, *prompts], under_way=both, now_s=rested_s) == [step, *prompts]


def test_opens_beyond_the_budget_are_refused_as_busy_by_the_base_station() -> None:
    """They are told when to come back, nothing is opened for them, and another device is served meanwhile."""

    async def main() -> None:
        async with cell(max_sessions=4096, gamma=0) as bs:
            peer = await bs.greeted("mallory")
            enough = BURST_TOKENS // len(LONG) + 8
            for number in range(1, enough + 1):
                peer.say(open_for(request(prompt=LONG)), number)
            heard = [await peer.hear_of(Refused) for _ in range(4)]
            assert {one.reason for one in heard} == {Reason.BUSY}
            assert all(one.retry_ms > 0 for one in heard)
            assert len(bs.sessions()) < enough
            honest = await bs.greeted("dev")
            honest.say(open_for(request()), 1)
            assert (await honest.hear_of(Opened)).known == 3

    run(main())


def test_drafts_of_no_request_keep_nobody_waiting() -> None:
    """A free base station reads on at once behind a Draft that concerns no session of it."""

    async def main() -> None:
        async with cell() as bs:
            peer = await bs.greeted("mallory")
            nobodys = Draft(
                incarnation=Incarnation(boot=1, counter=1),
                draft_epoch=1,
                known=3,
                start=3,
                path_hash=bytes(8),
                plan=Plan(number=1, k=1, gamma=1, min_draft=1),
                ids=(1,),
                weights=(1,),
                rows_hash=bytes(8),
            )
            for _ in range(100):
                peer.say(nobodys)
            peer.say(Probe(stamp=1))
            began_s = bs.clock.now_s()
            await peer.hear_of(Echo)
            assert bs.clock.now_s() == began_s

    run(main())
