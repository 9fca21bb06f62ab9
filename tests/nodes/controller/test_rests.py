"""A device that rests is not taken for one whose link has gone."""

import pytest
from tests.nodes.controller.coupled import DEVICE, belief_of, coupled_report, policy

from draftwire.codecs.messages import Plan
from draftwire.nodes.controller.estimators.link_rate import LOST_BPS


@pytest.mark.parametrize("resting", [True, False])
def test_passes_without_drafts_of_a_device_that_rests_say_nothing_of_its_link(resting: bool) -> None:
    """By its user's bound on waste it drafts nothing for long: rate and pace stay; else the link is lost."""
    planner = policy()
    for step in range(60):
        planner.observe(coupled_report(step, seen=3, accepted=2))
        planner.plan(DEVICE, 1)
    before = belief_of(planner.plan(DEVICE, 1)).uplink_bps
    plan = Plan(number=1, k=32, gamma=8, min_draft=0)
    rates = list[float]()
    for step in range(60, 160):
        report = coupled_report(
            step, seen=0, accepted=0, plan=plan, asked_at_s=None, hold_s=0.0, resting=resting
        )
        planner.observe(report)
        rates.append(belief_of(planner.plan(DEVICE, 1)).uplink_bps)
    assert before > 2 * LOST_BPS
    assert min(rates) == (before if resting else pytest.approx(LOST_BPS))
