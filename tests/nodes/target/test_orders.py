"""Who decides K and gamma: the controller step by step, the last plan, what is fixed; virtual time."""

import asyncio
from itertools import pairwise

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.cell import CHANNEL, CONTROLLER, VOCAB_SIZE, cell, greedy, open_for, request, run, text
from tests.harness.policies import Scripted, plan

from draftwire.codecs.control import ANY_DEVICE, ANY_REQUEST, PlanOrder, StepReport
from draftwire.codecs.limits import MAX_PLAIN_K
from draftwire.codecs.messages import Opened, Plan
from draftwire.nodes.controller.node import POLICY_FAILED
from draftwire.nodes.controller.policy import PlanValues, Report
from draftwire.nodes.target.plans import MAX_DEVICES, START_GAMMA, START_K, FirstPlans
from draftwire.runtime.config import ControllerSettings
from draftwire.runtime.session.sendable import can_be_sent, most_rows

LINK = "rate 1mbit delay 20ms"


class Climbing:
    """A controller of one's own: gamma follows acceptance, K follows gamma; now and then the target alone."""

    def __init__(self) -> None:
        self.gamma, self.steps = 2, 0

    def observe(self, report: Report) -> None:
        """Longer after a block that was accepted whole, shorter after one that was not."""
        if isinstance(report, StepReport):
            self.steps += 1
            if report.drafted and report.accepted == report.drafted:
                self.gamma = min(8, self.gamma + 2)
            elif report.drafted:
                self.gamma = max(1, self.gamma - 1)

    def plan(self, device: str, request: int) -> PlanValues:
        """Every sixth and seventh step without drafts."""
        gamma = 0 if self.steps % 7 > 4 else self.gamma
        return plan(4 + 4 * self.gamma, gamma)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_policy_steers_in_mid_answer(temperature: float) -> None:
    """K and gamma change from step to step, to 0 and back; at temperature 0 the text is the target's own."""

    async def main() -> None:
        async with cell(policy=Climbing()) as bs:
            await bs.channel(LINK)
            wanted = request(max_new_tokens=120, temperature=temperature)
            tokens = await text(await bs.device(address=CHANNEL), wanted)
            assert len(tokens) == 120
            assert temperature or tokens == greedy(bs.pair.target, wanted.prompt, 120)
            assert len({step.plan.k for step in bs.reports if step.drafted}) >= 3
            gammas = [step.plan.gamma for step in bs.reports]
            assert {0, 1, 2} < set(gammas)
            assert any(before == 0 < after for before, after in pairwise(gammas))
            assert all(step.drafted <= step.plan.gamma for step in bs.reports)

    run(main())


def test_an_order_holds_from_the_block_after_next() -> None:
    """The plan made on a step's report reaches the device on the next Commit, over any link."""

    async def main() -> None:
        plans = [(1 + number, 1 + number % 5) for number in range(60)]
        async with cell(policy=Scripted(plans)) as bs:
            await bs.channel(LINK)
            await text(await bs.device(address=CHANNEL), request(max_new_tokens=60))
            drawn = [(step.plan.k, step.plan.gamma) for step in bs.reports]
            assert drawn == [plans[max(0, number - 1)] for number in range(len(drawn))]

    run(main())


def test_without_a_word_of_the_controller_requests_begin_as_built_in() -> None:
    """K = 32 and gamma = 2 until somebody plans, or what [controller] fixes."""

    async def main() -> None:
        async with cell(k=None, gamma=None) as bs:
            await text(await bs.device(), request())
            assert {(step.plan.k, step.plan.gamma) for step in bs.reports} == {(START_K, START_GAMMA)}
            assert {(step.pinned_k, step.pinned_gamma) for step in bs.reports} == {(None, None)}

    run(main())


def test_the_next_request_begins_with_its_devices_plan() -> None:
    """ANY_REQUEST with a device's name is for that device, be it the BS's too; ANY_DEVICE for the others."""

    async def main() -> None:
        async with cell(k=None, gamma=None) as bs:
            controller = await bs.impostor("target", address=CONTROLLER)
            for name, k, gamma in ((ANY_DEVICE, 5, 1), ("known", 7, 3), ("target", 9, 9)):
                controller.say(
                    PlanOrder(device=name, request=ANY_REQUEST, k=k, gamma=gamma, min_draft=gamma)
                )
            await asyncio.sleep(0.01)
            for name, values in (("known", (7, 3)), ("new", (5, 1)), ("target", (9, 9))):
                peer = await bs.greeted(name)
                peer.say(open_for(request()))
                begun = (await peer.hear_of(Opened)).plan
                assert (begun.k, begun.gamma, begun.min_draft) == (*values, values[1])

    run(main())


def test_an_order_reaches_its_own_device_only() -> None:
    """Two devices may have drawn one request number; an order for the one leaves the other's plan alone."""

    async def main() -> None:
        async with cell(k=None, gamma=None, ahead=300) as bs:
            controller = await bs.impostor("target", address=CONTROLLER)
            controller.say(PlanOrder(device=ANY_DEVICE, request=ANY_REQUEST, k=3, gamma=0, min_draft=0))
            await asyncio.sleep(0.01)
            for name in ("a", "b", "c"):
                peer = await bs.greeted(name)
                peer.say(open_for(request(max_new_tokens=300)), number=9)
                await peer.hear_of(Opened)
            for device, number, k in (("a", 9, 7), ("b", 9, 5), ("c", 8, 9)):
                controller.say(PlanOrder(device=device, request=number, k=k, gamma=0, min_draft=0))
            await asyncio.sleep(1)  # an order is in force from the next token on
            assert [session.plan.k for session in bs.sessions()] == [7, 5, 3]

    run(main())


def test_a_device_with_the_name_of_the_bs_plans_for_itself_only() -> None:
    """What is learnt of it and ordered for it is no other's: neither at the BS nor at the controller."""

    class Partial:
        """Has something special in mind for a device called as the BS is."""

        def __init__(self) -> None:
            self.asked = set[str]()

        def observe(self, report: Report) -> None:
            pass

        def plan(self, device: str, request: int) -> PlanValues:
            self.asked.add(device)
            return plan(3, 1) if device == "target" else plan(9, 2)

    async def main() -> None:
        policy = Partial()
        async with cell(policy=policy) as bs:
            await text(await bs.device("target"), request(max_new_tokens=20))
            assert {(step.plan.k, step.plan.gamma) for step in bs.reports[3:]} == {(3, 1)}
            for name, k in (("target", 3), ("another", 9)):
                peer = await bs.greeted(name)
                peer.say(open_for(request()))
                assert (await peer.hear_of(Opened)).plan.k == k
            assert policy.asked == {"target", ANY_DEVICE}

    run(main())


def test_a_device_goes_on_as_it_ended() -> None:
    """A second request of a device begins with what the controller plans for the device by then."""

    class Learning:
        steps = 0

        def observe(self, report: Report) -> None:
            self.steps += isinstance(report, StepReport)

        def plan(self, device: str, request: int) -> PlanValues:
            return plan(20, 5) if self.steps and device == "dev" else plan(3, 1)

    async def main() -> None:
        async with cell(policy=Learning()) as bs:
            device, other = await bs.device(), await bs.device("other")
            for node in (device, device, other):
                bs.reports.clear()
                await asyncio.sleep(0.01)
                await text(node, request())
                first = bs.reports[0].plan
                assert (first.k, first.gamma) == ((3, 1) if node is other else firsts.pop(0))

    firsts = [(3, 1), (20, 5)]
    run(main())


@pytest.mark.parametrize(
    ("of_bs", "of_user", "fixed"),
    [
        ((None, None), (5, None), (5, None)),
        ((None, None), (None, 3), (None, 3)),
        ((6, None), (None, None), (6, None)),
        ((None, 0), (None, None), (None, 0)),
        ((6, 4), (5, None), (5, 4)),
        ((6, 4), (None, 0), (6, 0)),
        ((6, 4), (5, 3), (5, 3)),
    ],
)
def test_what_is_fixed_stays_and_the_rest_adapts(
    of_bs: tuple[int | None, int | None],
    of_user: tuple[int | None, int | None],
    fixed: tuple[int | None, int | None],
) -> None:
    """The user's word goes first, then the BS's; every report names both, so the controller sees them."""

    async def main() -> None:
        policy = Scripted(((8, 4), (16, 2), (32, 1)))
        async with cell(k=of_bs[0], gamma=of_bs[1]) as bs:
            await bs.controller(policy)
            await text(await bs.device(), request(k=of_user[0], gamma=of_user[1]))
            ks = {step.plan.k for step in bs.reports[2:]}
            gammas = {step.plan.gamma for step in bs.reports[2:]}
            assert ks == ({8, 16, 32} if fixed[0] is None else {fixed[0]})
            assert gammas == ({4, 2, 1} if fixed[1] is None else {fixed[1]})
            assert {(step.pinned_k, step.pinned_gamma) for step in policy.steps} == {fixed}

    run(main())


def test_a_policy_that_raises_leaves_the_last_plan_in_force() -> None:
    """Its error is logged once, with the traceback, and counted; the answer goes on as planned before."""

    class Failing(Scripted):
        def plan(self, device: str, request: int) -> PlanValues:
            if len(self.steps) >= 4:
                raise RuntimeError("no idea")
            return plan(5, 1 + len(self.steps))

    async def main() -> None:
        with structlog.testing.capture_logs() as logs:
            async with cell(k=None, gamma=None, serve=False) as bs:
                controller = await bs.controller(Failing(()))
                await bs.serve()
                await asyncio.sleep(0.01)
                assert len(await text(await bs.device(), request(max_new_tokens=60))) == 60
                plans = [(step.plan.k, step.plan.gamma) for step in bs.reports]
                assert plans[:4] == [(5, 1), (5, 1), (5, 2), (5, 3)]
                assert set(plans[4:]) == {(5, 4)}
                assert controller.refused()[POLICY_FAILED] > 4
        failures = [log for log in logs if log["event"] == "controller.policy_failed"]
        assert len(failures) == 1 and failures[0]["exc_info"]

    run(main())


def test_a_controller_that_dies_leaves_the_last_plan_in_force() -> None:
    """Without it the answer goes on, and the device's next request begins, as planned last."""

    async def main() -> None:
        policy = Scripted([(3 + number, 1 + number % 3) for number in range(50)])
        async with cell(policy=policy) as bs:
            (controlling, *_) = bs.running
            device = await bs.device()
            answering = asyncio.create_task(text(device, request(max_new_tokens=60)))
            while len(bs.reports) < 5:
                await asyncio.sleep(0.01)
            controlling.cancel()
            assert len(await answering) == 60
            await text(device, request(seed=6))
            last = policy.plans[len(policy.steps)]
            plans = [(step.plan.k, step.plan.gamma) for step in bs.reports]
            assert len(policy.steps) < 8
            assert set(plans[len(policy.steps) + 1 :]) == {last}

    run(main())


def test_a_controller_started_anew_is_told_who_reports() -> None:
    """It learns V with the next request, so its plans fit again; its word for devices not heard of holds."""

    async def main() -> None:
        policy = Scripted(((4, 1),))
        async with cell(policy=policy) as bs:
            (controlling, *_) = bs.running
            device = await bs.device()
            await text(device, request())
            controlling.cancel()
            await asyncio.gather(controlling, return_exceptions=True)
            anew = await bs.controller(Scripted(((320, 3),)))
            await text(device, request(seed=6))
            assert bs.reports[-1].plan.k == VOCAB_SIZE
            assert anew.refused() == {} and not bs.target.refused

    run(main())


def _order(device: str = "dev", *, k: int = 8, gamma: int = 4) -> PlanOrder:
    return PlanOrder(device=device, request=ANY_REQUEST, k=k, gamma=gamma, min_draft=gamma)


def test_plans_of_devices_are_bounded() -> None:
    """The device whose order is oldest is forgotten first, and then begins like any other."""
    plans = FirstPlans(ControllerSettings(), vocab_size=VOCAB_SIZE)
    for number in range(MAX_DEVICES):
        plans.ordered(_order(f"dev-{number}", k=5))
    plans.ordered(_order("dev-0", k=6))
    plans.ordered(_order("one more", k=7))
    opened = open_for(request())
    ks = [plans.first(name, opened).k for name in ("dev-0", "dev-1", "dev-2", "one more", "nobody")]
    assert ks == [6, START_K, 5, 7, START_K]


@given(
    vocab_size=st.sampled_from([2, 20, 64, 4096, 5000, 40_000, 49_152, 262_144]),
    k=st.integers(1, 262_144),
    gamma=st.integers(0, 32),
    pinned_k=st.none() | st.integers(1, MAX_PLAIN_K),
    pinned_gamma=st.none() | st.integers(0, 32),
    whole=st.booleans(),
)
def test_what_is_followed_can_be_sent(
    vocab_size: int, k: int, gamma: int, pinned_k: int | None, pinned_gamma: int | None, whole: bool
) -> None:
    """Whatever is ordered and fixed, a message has room for the rows; a small order is followed as it is."""
    plans = FirstPlans(ControllerSettings(), vocab_size=vocab_size)
    if whole:
        pinned_k = vocab_size
    if pinned_gamma is not None and pinned_k is not None:
        pinned_gamma = min(pinned_gamma, most_rows(pinned_k, vocab_size))
    if not can_be_sent(k, vocab_size):
        k = vocab_size
    plan = plans.followed(_order(k=k, gamma=gamma), pinned_k=pinned_k, pinned_gamma=pinned_gamma)
    used_k = plan.k if pinned_k is None else pinned_k
    used_gamma = plan.gamma if pinned_gamma is None else pinned_gamma
    assert can_be_sent(used_k, vocab_size)
    assert used_gamma <= most_rows(used_k, vocab_size)
    assert plan.min_draft <= plan.gamma
    if max(k, pinned_k or 0) <= min(MAX_PLAIN_K, vocab_size):
        assert plan == Plan(number=1, k=k, gamma=gamma, min_draft=gamma)
