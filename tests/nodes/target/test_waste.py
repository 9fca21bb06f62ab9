"""The budget of wasted positions: who meets it, for how long, and what a device costs others that does."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from structlog.testing import capture_logs
from tests.harness.cell import VOCAB_SIZE, Cell, cell, open_for, request, run, text

from draftwire.codecs.messages import Acceptance, Opened, Reason, Refused
from draftwire.nodes.models.base import Context
from draftwire.nodes.models.pacing import StepTimes
from draftwire.nodes.models.synthetic import SyntheticModel
from draftwire.nodes.target import waste
from draftwire.nodes.target.waste import (
    BACK,
    BLOCK_EVERY_S,
    BUDGET,
    FIRST_S,
    LONGEST_S,
    MAX_DEVICES,
    WasteBudget,
)
from draftwire.runtime.config import TargetSettings
from draftwire.runtime.session.request import Request, Timing

CPU = StepTimes(draft_position_s=3.1e-3, target_s=51e-3, target_position_s=1.75e-3)
"Of the shipped target on two cores: docs/operations.md, What one pass over many sessions gains."


@dataclass
class Liar:
    """A draft that proposes what the target is least likely to say."""

    vocab_size: int = VOCAB_SIZE
    context_length: int = 500
    support: None = None

    def open(self) -> Context:
        """Of a target turned upside down."""
        inner = SyntheticModel(vocab_size=VOCAB_SIZE, seed=1).open()

        class _Upside:
            def logits(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
                return -8 * inner.logits(tokens, rows)

            def close(self) -> None:
                inner.close()

        return _Upside()


def spend(
    budget: WasteBudget, device: str = "a", *, steps: int = 1, drafted: int = 32, now_s: float = 0.0
) -> None:
    """Blocks of which nothing stands."""
    for _ in range(steps):
        budget.tested(device, drafted=drafted, accepted=0)
        budget.judge(device, now_s)


def test_who_has_spent_it_is_refused_and_comes_back() -> None:
    """Twice as long each time, to a bound, with a part of the budget; and anew once it has been full."""
    told: list[object] = []
    budget = WasteBudget(
        refuses=lambda key, for_s: told.append((key, for_s)), allows=lambda key: told.append(key)
    )
    now_s, waits = 0.0, list[float]()
    for _ in range(9):
        while budget.judge("a", now_s):
            spend(budget, now_s=now_s)
        waits.append(budget.refused_s("a", now_s))
        assert not budget.judge("a", now_s + waits[-1] - 0.001)
        now_s += waits[-1]
        assert budget.judge("a", now_s)
    assert waits == [min(LONGEST_S, FIRST_S * 2.0**n) for n in range(9)]
    assert told == [one for wait in waits for one in (("a", wait), "a")]
    for _ in range(60):
        budget.tested("a", drafted=4, accepted=4)
    spend(budget, steps=BUDGET // 31 + 1, now_s=now_s)
    assert budget.refused_s("a", now_s) == FIRST_S


@pytest.mark.parametrize("whole", [BUDGET // 4, BUDGET, 16 * BUDGET])
def test_what_is_spent_before_the_first_refusal_is_bounded(whole: int) -> None:
    """The budget, and a block more; after that an eighth of it, whatever it is."""
    budget = WasteBudget(budget=whole)
    spent = 0
    while budget.judge("a", 0.0):
        spend(budget)
        spent += 32
    assert whole <= spent <= 1.04 * whole + 2 * 32
    assert budget.judge("a", FIRST_S)
    spent = 0
    while budget.judge("a", FIRST_S):
        spend(budget, drafted=4, now_s=FIRST_S)
        spent += 3
    assert BACK * whole - 32 <= spent <= BACK * whole + 4


@pytest.mark.parametrize(("alpha", "gamma"), [(0.35, 2), (0.35, 4), (0.35, 6), (0.1, 1), (0.1, 2), (0.9, 20)])
def test_poor_drafts_and_long_ones_never_meet_it(alpha: float, gamma: int) -> None:
    """Over 20,000 steps of independent positions."""
    rng, budget = np.random.default_rng(5), WasteBudget()
    for _ in range(20_000):
        misses = np.flatnonzero(rng.random(gamma) >= alpha)
        budget.tested("a", drafted=gamma, accepted=int(misses[0]) if len(misses) else gamma)
        assert budget.judge("a", 0.0)


def test_names_of_a_key_share_and_others_do_not() -> None:
    """A budget is a key's, however many names are below it."""
    budget = WasteBudget()
    for n in range(BUDGET):
        spend(budget, f"phone/{n % 7}", drafted=3)
    assert not budget.judge("phone/99", 0.0)
    assert budget.judge("phone-2", 0.0)


def test_rows_that_never_come_pay_for_nothing() -> None:
    """A block that is tested as a whole counts as wasted until its rows have settled it."""
    budget = WasteBudget()
    budget.tested("a", drafted=10, accepted=0)
    budget.stood("a", 4)
    other = WasteBudget()
    other.tested("a", drafted=10, accepted=4)
    assert budget._budgets == other._budgets


@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 32), st.integers(0, 32), st.floats(0, 99)),
        max_size=99,
    )
)
def test_it_is_bounded_whatever_comes(steps: list[tuple[str, int, int, float]]) -> None:
    """Neither debts nor riches nor refusals grow without end; without a bound nobody is ever refused."""
    budget, free, now_s = WasteBudget(), WasteBudget(budget=0), 0.0
    for device, drafted, accepted, later_s in steps:
        now_s += later_s
        for one in (budget, free):
            one.tested(device, drafted=drafted, accepted=min(drafted, accepted))
        assert 0 <= budget.refused_s(device, now_s) <= LONGEST_S
        assert free.judge(device, now_s)
        assert all(-BUDGET <= one.left <= BUDGET for one in budget._budgets.values())


def test_no_more_devices_are_remembered_than_may_be() -> None:
    """Whoever was not heard of for longest is forgotten."""
    budget = WasteBudget()
    for n in range(MAX_DEVICES + 5):
        spend(budget, f"d{n}")
    assert len(budget._budgets) == MAX_DEVICES


async def _asks(bs: Cell, name: str, wanted: Request, until_s: float, *, lies: bool = False) -> int:
    """Tokens of whole answers, one after the other."""
    device = await bs.device(name, model=Liar() if lies else None)
    tokens = 0
    while bs.clock.now_s() < until_s:
        async for _ in device.answer(wanted):
            tokens += bs.clock.now_s() < until_s
    return tokens


def _honest_tokens(*, acceptance: Acceptance, liar_gamma: int | None, waste_budget: int) -> int:
    """What 4 honest devices at gamma 2 get in 30 s, beside one that drafts garbage, if any."""
    until_s = 30.0

    async def main() -> int:
        async with cell(gamma=2, times=CPU, waste_budget=waste_budget) as bs:
            honest = [
                _asks(bs, f"dev-{n}", request(seed=n, max_new_tokens=100, acceptance=acceptance), until_s)
                for n in range(4)
            ]
            if liar_gamma is None:
                return sum(await asyncio.gather(*honest))
            lie = request(
                seed=9, max_new_tokens=100, gamma=liar_gamma, min_draft=liar_gamma, acceptance=acceptance
            )
            liar = asyncio.create_task(_asks(bs, "liar", lie, until_s, lies=True))
            tokens = sum(await asyncio.gather(*honest))
            await liar
            return tokens

    return run(main())


@pytest.mark.slow
@pytest.mark.parametrize("acceptance", [Acceptance.REJECTION, Acceptance.COUPLED])
def test_drafts_that_never_stand_cost_others_less_than_a_tenth(acceptance: Acceptance) -> None:
    """4 honest devices, and one that fixes gamma 32 and drafts garbage; a CPU's passes; `-s` prints."""
    alone = _honest_tokens(acceptance=acceptance, liar_gamma=None, waste_budget=BUDGET)
    losses = {
        budget: 1 - _honest_tokens(acceptance=acceptance, liar_gamma=32, waste_budget=budget) / alone
        for budget in (BUDGET, 0)
    }
    print(f"{acceptance.name}: loss {losses[BUDGET]:.1%}, without a budget {losses[0]:.1%}")
    assert losses[BUDGET] < 0.1
    assert losses[0] > 0.15


def test_a_refused_device_decodes_alone_and_is_told_so() -> None:
    """Its text goes on; the log says who, and when it is over; of blocks of another life one is let through
    at once, and another waits for its turn.
    """

    async def main() -> None:
        async with cell(gamma=32) as bs:
            device = await bs.device("liar/1", model=Liar())
            with capture_logs() as logs:
                assert len(await text(device, request(max_new_tokens=60))) == 60
                assert not bs.target._work.waste.judge("liar/2", bs.clock.now_s())
                peer = await bs.greeted("liar/2")
                out = open_for(request(), draft_epoch=1, outstanding=True)
                peer.say(out)
                assert (await peer.hear_of(Opened)).plan.gamma == 0
                peer.say(out)
                assert (await peer.hear_of(Opened)).device_try == 1, "repeated, it is no other block"
                peer.say(open_for(request(), draft_epoch=2, outstanding=True, device_try=2))
                refused = await peer.hear_of(Refused)
                assert refused.reason is Reason.BUSY and 0 < refused.retry_ms <= 1000 * BLOCK_EVERY_S
                peer.say(open_for(request(), device_try=2))
                assert (await peer.hear_of(Opened)).plan.gamma == 0
                await asyncio.sleep(FIRST_S)
                peer.say(open_for(request(seed=6)), number=10)
                assert (await peer.hear_of(Opened)).plan.gamma == 32
            events = [one for one in logs if str(one["event"]).startswith("target.drafts_")]
            assert [(one["event"], one["device"]) for one in events] == [
                ("target.drafts_refused", "liar"),
                ("target.drafts_allowed", "liar"),
            ]
            alone = [one for one in bs.reports if one.plan.gamma == 0]
            assert alone and not any(one.drafted for one in alone)

    run(main())


def test_the_settings_default_is_the_budget() -> None:
    """One number, in two layers that may not import each other."""
    assert TargetSettings().waste_budget == waste.BUDGET


def test_blocks_of_another_life_have_their_turn_however_long_drafts_are_refused() -> None:
    """A key that may have none for LONGEST_S has one let through every BLOCK_EVERY_S, many within the time
    that a request goes on asking; and to ask how long to wait changes nothing."""
    budget, now_s = WasteBudget(), 0.0
    while budget.refused_s("a", now_s) < LONGEST_S:
        now_s += budget.refused_s("a", now_s)
        spend(budget, steps=BUDGET, now_s=now_s)
    let, until_s = 0, now_s + Timing().absent_s / 2
    while now_s < until_s:
        assert budget.block_wait_s("a", now_s) == budget.block_wait_s("a", now_s) == 0
        budget.let_through("a", now_s)
        let += 1
        assert budget.block_wait_s("a", now_s + 1) == BLOCK_EVERY_S - 1
        now_s += BLOCK_EVERY_S
    assert let >= 12 and not budget.judge("a", now_s)
    assert budget.block_wait_s("b", now_s) == 0
