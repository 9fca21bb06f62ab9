"""Prompts and requests without end, of one device: what they cost the others, and that honest ones go on."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from tests.harness.cell import Cell, cell, hello, open_for, request, run

from draftwire.codecs.messages import Opened, Reason, Refused
from draftwire.nodes.models.pacing import StepTimes
from draftwire.nodes.target.batcher import Waiting
from draftwire.nodes.target.opening import (
    A_REQUEST,
    BURST_TOKENS,
    MOST_REFUSED,
    TOKENS_A_S,
    Openings,
)
from draftwire.nodes.target.reading import BURST, CRAWL, POSITIONS_A_S, QUIET_S, Reading
from draftwire.nodes.target.waste import BUDGET
from draftwire.runtime.session.messages import log_of

TIMES = StepTimes(draft_position_s=3.1e-3, target_s=40e-3, target_position_s=0.5e-3)
HONEST = 4
LONG = tuple(i % 64 for i in range(2000))
AT_FIRST_S, MEASURED_S = 15.0, 20.0


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


def test_prompts_without_end_cost_the_others_less_than_a_tenth() -> None:
    """Once its budget is spent, a device that only opens long requests slows four others by less than 10 %."""
    first, alone = _tokens_a_s(None)
    first_beside, beside = _tokens_a_s(0.05)
    told = f"first {1 - first_beside / first:.1%}, then {1 - beside / alone:.1%}"
    assert beside > 0.9 * alone, told
    assert first_beside > 0.7 * first, told
