"""What requests begin with: by device and acceptance, and which acceptance where a request leaves it open."""

from typing import Any

import pytest
from tests.harness.cell import VOCAB_SIZE, cell, open_for, request, run
from tests.harness.policies import Steady

from draftwire.codecs.control import ANY_DEVICE, ANY_REQUEST, COUPLED, REJECTION, PlanOrder
from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import Acceptance, Commit, Open, Opened
from draftwire.nodes.controller.policy import PlanValues
from draftwire.nodes.target.plans import START_GAMMA, START_HINTS, FirstPlans
from draftwire.runtime.config import ControllerSettings


def first_plans(**settings: Any) -> FirstPlans:
    return FirstPlans(ControllerSettings(**settings), vocab_size=VOCAB_SIZE)


def order(
    device: str = "dev", *, acceptance: str = REJECTION, preferred: bool = False, **values: Any
) -> PlanOrder:
    usual = {"k": 8, "gamma": 4, "min_draft": 4}
    return PlanOrder(
        device=device,
        request=ANY_REQUEST,
        acceptance=acceptance,
        preferred=preferred,
        **(usual | values),
    )


def opened(acceptance: Acceptance, *, temperature: float = 1.0) -> Open:
    return open_for(request(temperature=temperature), acceptance=acceptance)


def test_before_a_controller_has_spoken_the_target_waits_for_no_hints() -> None:
    """Coupled or at temperature 0 a few drafts are asked for and none waited for; else a short block is."""
    plans = first_plans()
    greedy = opened(Acceptance.REJECTION, temperature=0)
    for asked in (opened(Acceptance.COUPLED), opened(Acceptance.AUTO), greedy):
        plan = plans.first("dev", asked)
        assert (plan.gamma, plan.min_draft) == (START_HINTS, 0)
    plan = plans.first("dev", opened(Acceptance.REJECTION))
    assert (plan.gamma, plan.min_draft) == (START_GAMMA, START_GAMMA)


def test_each_acceptance_begins_with_its_own_order() -> None:
    """The device's before everybody's, with all that an order says; greedy requests take that of hints."""
    plans = first_plans()
    plans.ordered(order(ANY_DEVICE, k=3))
    plans.ordered(order(ANY_DEVICE, acceptance=COUPLED, k=4, min_draft=1))
    plans.ordered(order(acceptance=COUPLED, k=5, min_draft=2, early_stop=True, uplink_bps=7000))
    plans.ordered(order(k=6, blockwise=True))
    coupled = plans.first("dev", opened(Acceptance.COUPLED))
    assert (coupled.k, coupled.min_draft, coupled.early_stop, coupled.uplink_bps) == (5, 2, True, 7000)
    assert plans.first("dev", opened(Acceptance.COUPLED, temperature=0)) == coupled
    assert plans.first("dev", opened(Acceptance.REJECTION, temperature=0)) == coupled
    rejection = plans.first("dev", opened(Acceptance.REJECTION))
    assert (rejection.k, rejection.blockwise, rejection.number) == (6, True, 1)
    assert plans.first("other", opened(Acceptance.COUPLED)).k == 4
    assert plans.first("other", opened(Acceptance.REJECTION)).k == 3


def test_a_policy_that_opens_one_way_is_followed_in_both() -> None:
    """Where nothing is said of hints, they begin with what is said of blocks: synchronous, as it says."""
    plans = first_plans()
    plans.ordered(order(k=9, gamma=3, min_draft=3))
    plan = plans.first("dev", opened(Acceptance.COUPLED))
    assert (plan.k, plan.gamma, plan.min_draft) == (9, 3, 3)


def test_the_preferred_acceptance_is_chosen() -> None:
    """The device's preference, else everybody's, else coupled; the newest word holds, in whatever order."""
    plans = first_plans()
    assert plans.chosen("dev") is Acceptance.COUPLED
    plans.ordered(order(ANY_DEVICE, preferred=True))
    assert plans.chosen("dev") is Acceptance.REJECTION
    plans.ordered(order(acceptance=COUPLED, preferred=True))
    plans.ordered(order())
    assert plans.chosen("dev") is Acceptance.COUPLED
    assert plans.chosen("other") is Acceptance.REJECTION
    plans.ordered(order(preferred=True))
    plans.ordered(order(acceptance=COUPLED))
    assert plans.chosen("dev") is Acceptance.REJECTION


def test_a_preference_holds_until_another_is_told() -> None:
    """Each acceptance has an order of its own: between the two that turn it, what was preferred stays so."""
    plans = first_plans()
    plans.ordered(order(ANY_DEVICE, preferred=True))
    plans.ordered(order(acceptance=COUPLED, preferred=True))
    plans.ordered(order())
    plans.ordered(order(acceptance=COUPLED))  # the first of two
    assert plans.chosen("dev") is Acceptance.COUPLED
    plans.ordered(order(preferred=True))
    assert plans.chosen("dev") is Acceptance.REJECTION


def test_hints_have_the_patience_of_their_order() -> None:
    """The device's before everybody's, that of hints before that of blocks; without an order as usual."""
    plans = first_plans()
    assert plans.patience_s("dev") is None
    plans.ordered(order(ANY_DEVICE, patience_s=0.4))
    assert plans.patience_s("dev") == 0.4
    plans.ordered(order(ANY_DEVICE, acceptance=COUPLED, patience_s=0.3))
    plans.ordered(order(acceptance=COUPLED, patience_s=0.2))
    assert (plans.patience_s("dev"), plans.patience_s("other")) == (0.2, 0.3)
    plans.ordered(order(acceptance=COUPLED))
    assert plans.patience_s("dev") is None


@pytest.mark.parametrize("ordered_s", [None, 0.3])
def test_a_request_begins_with_that_patience(ordered_s: float | None) -> None:
    """A device that says nothing: the first token comes after what the controller said, else the settings."""

    async def main() -> float:
        policy = Steady(PlanValues(k=8, gamma=4, min_draft=4, patience_s=ordered_s))
        async with cell(policy=policy, patience_s=0.7) as bs:
            peer = await bs.greeted("dev")
            peer.say(open_for(request(acceptance=Acceptance.COUPLED)))
            await peer.hear_of(Opened)
            began_s = bs.clock.now_s()
            await peer.hear_of(Commit)
            return bs.clock.now_s() - began_s

    waited_s = 0.7 if ordered_s is None else ordered_s
    assert waited_s <= run(main()) < waited_s + 0.1


@pytest.mark.parametrize(
    ("asked", "fixed", "found"), [(None, None, None), (None, 3, 3), (MAX_GAMMA, 3, MAX_GAMMA)]
)
def test_min_draft_is_fixed_by_the_request_before_the_settings(
    asked: int | None, fixed: int | None, found: int | None
) -> None:
    """[controller] min_draft holds for requests that fix none themselves."""
    wanted = open_for(request(), pinned_min_draft=asked)
    assert first_plans(min_draft=fixed).pinned(wanted).pinned_min_draft == found
