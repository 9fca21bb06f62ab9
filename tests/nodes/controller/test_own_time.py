"""What a step took by itself: waits for its own device count, turns of other sessions do not."""

import pytest
from tests.nodes.controller.coupled import DEVICE, coupled_report, policy

from draftwire.codecs.control import COUPLED, REJECTION, StepReport
from draftwire.codecs.messages import Plan
from draftwire.nodes.controller.own_time import MOST_BETWEEN, handling_seconds, own_seconds

AHEAD = Plan(number=1, k=8, gamma=8, min_draft=0)
SOME = Plan(number=1, k=8, gamma=8, min_draft=2)
WHOLE = Plan(number=1, k=8, gamma=4, min_draft=4)
ALONE = Plan(number=1, k=8, gamma=0, min_draft=0)
STEP_S = 0.04
MOST_S = MOST_BETWEEN * STEP_S
HANDLING_S = MOST_S - STEP_S


def step(plan: Plan, **values: object) -> StepReport:
    """A pass of 40 ms that ended at 10 s."""
    usual: dict[str, object] = {"plan": plan, "step_s": STEP_S, "hold_s": STEP_S, "ended_at_s": 10.0}
    return coupled_report(7, seen=2, accepted=1, **(usual | values))


def test_a_step_that_waits_for_nothing_is_its_pass_and_the_handling() -> None:
    """Whatever is above that was another's turn: where the target is alone, or waits for no draft."""
    for report in (step(AHEAD), step(ALONE, drafted=0), step(SOME, drafted=0, resting=True)):
        assert own_seconds(report, passed_s=0.042, hints=True) == 0.042
        assert own_seconds(report, passed_s=0.5, hints=True) == MOST_S
    assert own_seconds(step(ALONE, drafted=0, hold_s=0.0), passed_s=0.5, hints=False) == MOST_S


@pytest.mark.parametrize(("plan", "hints"), [(SOME, True), (WHOLE, True), (WHOLE, False)])
def test_waits_for_drafts_count_and_waits_for_the_model_do_not(plan: Plan, hints: bool) -> None:
    """Drafts came after 0.3 s; the pass over them began at once, or another's of 0.1 s was first."""
    at_once = step(plan, hold_s=STEP_S + 0.002)
    assert own_seconds(at_once, passed_s=0.342, hints=hints) == pytest.approx(0.342)
    behind = step(plan, hold_s=STEP_S + 0.102)
    assert own_seconds(behind, passed_s=0.442, hints=hints) == pytest.approx(0.3 + MOST_S)


def test_a_patience_that_ended_counts() -> None:
    """Nothing came, so all of the time was waited for the device."""
    report = step(SOME, drafted=0, hold_s=0.0)
    assert own_seconds(report, passed_s=0.3, hints=True) == 0.3


@pytest.mark.parametrize(("rows_at_s", "own_s"), [(9.95, 0.2), (9.5, 0.0), (None, 0.25)])
def test_waits_for_rows_count_until_they_are_there(rows_at_s: float | None, own_s: float) -> None:
    """Tested at 9.75 s and settled at 10 s, after another's pass: rows came before, or had been there."""
    report = step(WHOLE, acceptance=REJECTION, wait_s=0.25, hold_s=0.25 + STEP_S, rows_at_s=rows_at_s)
    own = own_seconds(report, passed_s=0.25 + STEP_S, hints=False)
    assert own == pytest.approx(min(0.25 + STEP_S, own_s + MOST_S))


def test_handling_is_no_turn_of_another() -> None:
    """Around a pass over a block: what is more than a share of it was waited for the model."""
    assert handling_seconds(step(WHOLE, hold_s=STEP_S + 0.004)) == pytest.approx(0.004)
    assert handling_seconds(step(WHOLE, hold_s=STEP_S + 0.2)) == pytest.approx(HANDLING_S)


@pytest.mark.parametrize("acceptance", [REJECTION, COUPLED])
def test_a_busy_target_does_not_count_against_the_acceptance_in_use(acceptance: str) -> None:
    """Three sessions in turn: steps take three passes, and their own promise is still believed."""
    planner, plan = policy(), WHOLE if acceptance == REJECTION else AHEAD
    for number in range(300):
        ended_s = 0.15 * number
        report = coupled_report(
            number,
            seen=4,
            accepted=number % 4,
            plan=plan,
            hold_s=0.145,
            draft_at_s=ended_s - 0.145,
            asked_at_s=ended_s - 0.15,
            asked_drafted=0,
            ended_at_s=ended_s,
            acceptance=acceptance,
        )
        planner.observe(report)
        planner.plan(DEVICE, 1)
    delivered = planner._known.devices[DEVICE].texts[1.0].delivered
    assert delivered.slower(acceptance) < 1.5
