"""The device under plans that change: drafting that is turned off and on, values that the user has fixed."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest
from tests.harness.cell import CHANNEL, VOCAB_SIZE, Cell, cell, greedy, open_for, request, run, text

from draftwire.codecs.control import StepReport
from draftwire.codecs.limits import MAX_PLAIN_K
from draftwire.codecs.messages import Opened, Plan, Reason
from draftwire.nodes.controller.policy import PlanValues, Report
from draftwire.nodes.target.admission import unanswerable
from draftwire.runtime.session.request import Request


class InTurn:
    """Plans one after the other, each for a few steps."""

    def __init__(self, *gammas: int, steps: int = 4) -> None:
        self.gammas, self.steps, self.seen = gammas, steps, 0

    def observe(self, report: Report) -> None:
        """Count steps."""
        self.seen += isinstance(report, StepReport)

    def plan(self, device: str, request: int) -> PlanValues:
        """By the steps so far."""
        gamma = self.gammas[self.seen // self.steps % len(self.gammas)]
        return PlanValues(k=4 + gamma, gamma=gamma, min_draft=gamma)


async def answered(bs: Cell, wanted: Request) -> tuple[int, ...]:
    """The text over a link of 5 Mbit/s."""
    await asyncio.sleep(0.01)  # the controller's first word
    await bs.channel("rate 5mbit delay 5ms")
    return await text(await bs.device(address=CHANNEL), wanted)


@pytest.mark.parametrize("gammas", [(0, 3), (3, 0), (0, 2, 0, 5)])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_drafting_is_turned_off_and_on_in_mid_answer(temperature: float, gammas: tuple[int, ...]) -> None:
    """Every token comes once, each block has its plan's length, and the target alone takes its turns."""

    async def main() -> None:
        async with cell(policy=InTurn(*gammas)) as bs:
            wanted = request(temperature=temperature, max_new_tokens=80)
            tokens = await answered(bs, wanted)
            assert len(tokens) == 80
            if temperature == 0:
                assert tokens == greedy(bs.pair.target, wanted.prompt, 80)
            assert {one.plan.gamma for one in bs.reports} == set(gammas)
            last = len(wanted.prompt) + 80
            for one in bs.reports:
                assert one.drafted <= one.plan.gamma
                assert one.alone == (one.drafted == 0)
                if not one.alone and temperature > 0:
                    assert one.drafted == min(one.plan.gamma, last - one.position)
                    assert one.plan.k == 4 + one.plan.gamma
            turns = [one.alone for one in bs.reports]
            assert sum(a != b for a, b in pairwise(turns)) >= len(gammas)

    run(main())


@pytest.mark.parametrize(("k", "gamma"), [(5, None), (None, 2), (None, 0), (7, 3), (VOCAB_SIZE, 1)])
def test_what_the_user_fixed_is_kept_and_the_rest_adapts(k: int | None, gamma: int | None) -> None:
    """By every block and every step of the answer, from the first on."""

    async def main() -> None:
        async with cell(policy=InTurn(4, 2, 0, 5)) as bs:
            await answered(bs, replace(request(max_new_tokens=80), k=k, gamma=gamma))
            plans = [one.plan for one in bs.reports]
            assert k is None or {plan.k for plan in plans} == {k}
            assert gamma is None or {plan.gamma for plan in plans} == {gamma}
            assert k is not None or len({plan.k for plan in plans}) > 1
            assert gamma is not None or len({plan.gamma for plan in plans}) > 1
            assert all(plan.min_draft == plan.gamma for plan in plans)

    run(main())


def test_what_the_user_fixed_outlives_the_bs() -> None:
    """A new BS without memory is told once more."""

    async def main() -> None:
        async with cell(policy=InTurn(4, 2)) as bs:
            await bs.channel("rate 5mbit delay 5ms")
            device = await bs.device(address=CHANNEL)
            taken = 0
            async for _ in device.answer(replace(request(max_new_tokens=60), k=5, gamma=3)):
                taken += 1
                if taken == 20:
                    await bs.serve()
            assert taken == 60
            assert {(one.plan.k, one.plan.gamma) for one in bs.reports} == {(5, 3)}

    run(main())


def test_opened_shows_what_the_user_fixed() -> None:
    """The first plan is the request's own, before a token has come."""

    async def main() -> None:
        async with cell(k=None, gamma=None) as bs:
            peer = await bs.greeted("dev")
            peer.say(open_for(replace(request(), k=9, gamma=1)))
            answer = await peer.hear_of(Opened)
            assert answer.plan == Plan(number=1, k=9, gamma=1, min_draft=1)

    run(main())


@pytest.mark.parametrize(
    ("k", "gamma", "words"),
    [
        (MAX_PLAIN_K + 1, None, ("k = 4097", "4096", "49152")),
        (49151, 1, ("k = 49151", "4096", "49152")),
        (60000, None, ("k = 60000", "4096", "49152")),
        (49152, 11, ("gamma = 11", "49152", "10")),
    ],
)
def test_what_no_row_can_be_is_refused(k: int, gamma: int | None, words: tuple[str, ...]) -> None:
    """The sentence has the value and what would do; the answer names the try."""
    refused = unanswerable(open_for(replace(request(), k=k, gamma=gamma), device_try=3), 49152, 1000)
    assert refused is not None
    assert (refused.reason, refused.device_try) == (Reason.BAD_SAMPLING, 3)
    assert all(word in refused.detail for word in words), refused.detail


@pytest.mark.parametrize(
    ("k", "gamma"), [(None, None), (MAX_PLAIN_K, 32), (49152, 10), (49152, None), (None, 32), (1, 0)]
)
def test_what_can_be_sent_is_admitted(k: int | None, gamma: int | None) -> None:
    """Up to the limits."""
    assert unanswerable(open_for(replace(request(), k=k, gamma=gamma)), 49152, 1000) is None
