"""Early stop at a device: what it learns from Commits, and when one more token is not worth its cost."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.harness.cell import CHANNEL, VOCAB_SIZE, cell, request, run, text
from tests.harness.policies import Steady

from draftwire.codecs.messages import Acceptance, Plan, Sampling, StepTimes
from draftwire.nodes.controller.policy import PlanValues
from draftwire.nodes.device.account import Account
from draftwire.nodes.device.running import Running
from draftwire.nodes.device.stopping import ID_BITS, MAX_REQUESTS, MAX_TEMPERATURES, SLOPE, Stopping
from draftwire.nodes.models.synthetic import SyntheticPair
from draftwire.nodes.speculation.stopping import EarlyStop
from draftwire.runtime.session.ahead import Judged
from draftwire.runtime.session.request import Block

PLAN = Plan(number=1, k=8, gamma=8, min_draft=0, early_stop=True, uplink_bps=10_000)
STEP_S, TOKEN_S = 0.05, 0.004


@dataclass
class Drafting:
    """What Stopping looks at of a request under way."""

    plan: Plan | None = PLAN
    temperature: float = 1.0
    chances: tuple[float, ...] = ()
    judged: list[Judged] = field(default_factory=list)
    tokens_per_s: float | None = 20.0
    hints: bool = True
    number: int = 1

    def after(self, rule: Stopping, *chances: float) -> bool:
        """Whether drafting stops behind tokens that were just drawn with these chances."""
        block = Block(
            draft_epoch=1, start=9, plan=PLAN, ids=(3,) * len(chances), chances=chances, token_s=TOKEN_S
        )
        times = StepTimes(hold_s=0.0, step_s=STEP_S, wait_s=0.0)
        session = SimpleNamespace(
            ahead=SimpleNamespace(chances=self.chances, judged=self.judged) if self.hints else None,
            plan=self.plan,
            request=SimpleNamespace(sampling=Sampling(temperature=self.temperature)),
            last_commit=SimpleNamespace(times=times),
        )
        account = SimpleNamespace(tokens_per_s=self.tokens_per_s)
        running = SimpleNamespace(number=self.number, session=session, account=account)
        return rule.after(cast(Running, running), block)


def test_it_stops_where_the_rule_says_so() -> None:
    """With all outstanding chances, and what a token costs: in the target's pass, and where the BS waits for
    it also at the device and on the link.
    """
    for min_draft, speed in ((0, 200.0), (0, 1500.0), (8, 20.0), (8, 60.0), (8, 120.0), (8, 400.0)):
        plan = replace(PLAN, min_draft=min_draft)
        cost_s = SLOPE * STEP_S + ((TOKEN_S + ID_BITS / 10_000) if min_draft == 8 else 0.0)
        for chances in ((0.9,), (0.9, 0.9), (0.9, 0.3), (0.1,), (0.9, 0.9, 0.9, 0.05)):
            stops = Drafting(plan=plan, chances=chances[:-1], tokens_per_s=speed).after(
                Stopping(), chances[-1]
            )
            assert stops == EarlyStop().stops(chances, tokens_per_s=speed, token_s=cost_s)
    assert Drafting(plan=replace(PLAN, min_draft=8), tokens_per_s=200.0).after(Stopping(), 0.05)
    assert not Drafting(plan=replace(PLAN, min_draft=8), tokens_per_s=20.0).after(Stopping(), 0.95)


@pytest.mark.parametrize(
    "drafting",
    [
        Drafting(hints=False),
        Drafting(plan=None),
        Drafting(plan=replace(PLAN, early_stop=False)),
        Drafting(tokens_per_s=None),
    ],
)
def test_it_never_stops_where_it_may_not_or_knows_no_speed(drafting: Drafting) -> None:
    """Blocks that bind, plans without early stop, a request's first tokens."""
    assert not drafting.after(Stopping(), 0.01)


def test_it_learns_from_what_was_judged_once_and_by_temperature() -> None:
    """Also while no plan asks for it; only a request at another temperature begins anew."""
    rule = Stopping()
    told = [Judged(0.95, False)] * 200
    drafting = Drafting(plan=replace(PLAN, early_stop=False), judged=list(told))
    assert not drafting.after(rule, 0.95)
    assert drafting.judged == []
    costly = replace(PLAN, min_draft=8)
    assert Drafting(plan=costly, tokens_per_s=50.0, number=2).after(rule, 0.95)
    assert not Drafting(plan=costly, tokens_per_s=50.0, number=3, temperature=0.7).after(rule, 0.95)
    assert not Drafting(plan=costly, tokens_per_s=50.0).after(Stopping(), 0.95)


def test_it_remembers_the_temperatures_and_requests_of_late() -> None:
    """A device that is asked at ever new temperatures keeps so many, and forgets the oldest."""
    rule = Stopping()
    for number in range(3 * MAX_REQUESTS):
        Drafting(temperature=1 + number / 1000, number=number).after(rule, 0.5)
        assert len(rule._hits) <= MAX_TEMPERATURES and len(rule._rules) <= MAX_REQUESTS
    assert list(rule._hits)[-1] == 1 + (3 * MAX_REQUESTS - 1) / 1000
    assert list(rule._rules)[-1] == 3 * MAX_REQUESTS - 1


def test_a_request_has_its_own_run() -> None:
    """Beside another one, whose tokens never stand, it drafts on in its easy stretch, and learns of it."""
    stretches = [Judged(0.5, hit) for hit in ([True] * 12 + [False, False, True, False, False, False])]

    def stops(*, beside: bool) -> bool:
        rule = Stopping()
        Drafting(judged=stretches * 60).after(rule, 0.5)
        Drafting(judged=[Judged(0.5, True)] * 6).after(rule, 0.5)
        if beside:
            Drafting(number=2, judged=[Judged(0.5, False)]).after(rule, 0.5)
        return Drafting(chances=(0.5,) * 2, tokens_per_s=1000.0).after(rule, 0.5)

    assert not stops(beside=False)
    assert not stops(beside=True)
    behind_a_miss = Stopping()
    Drafting(judged=stretches * 60).after(behind_a_miss, 0.5)
    assert Drafting(chances=(0.5,) * 2, tokens_per_s=1000.0).after(behind_a_miss, 0.5)


@pytest.mark.parametrize("how", [{"temperature": 0.0}, {"acceptance": Acceptance.COUPLED}])
def test_a_device_with_a_bad_draft_throws_less_away(how: dict[str, Any]) -> None:
    """Blocks of 8, waited for, of a draft that is seldom right: stopped early they cost less, in time too."""

    async def main(early_stop: bool) -> Account:
        account = Account(vocab_size=VOCAB_SIZE)
        values = PlanValues(k=8, gamma=8, min_draft=8, early_stop=early_stop, uplink_bps=1_000_000)
        async with cell(policy=Steady(values)) as bs:
            await bs.channel("rate 1mbit delay 5ms")
            bad = SyntheticPair(vocab_size=VOCAB_SIZE, seed=1, noise=2.0).draft
            device = await bs.device(address=CHANNEL, model=bad)
            await text(device, request(max_new_tokens=150, **how), account)
        return account

    whole, stopped = run(main(False)), run(main(True))
    assert stopped.wasted < 0.7 * whole.wasted
    assert (stopped.tokens_per_s or 0) > (whole.tokens_per_s or 0)
