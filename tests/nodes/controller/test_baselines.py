"""What an adaptive controller is compared with."""

from dataclasses import replace

import pytest
from tests.harness.reports import REPORT

from draftwire.codecs.control import StepReport
from draftwire.codecs.messages import Plan
from draftwire.nodes.controller.baselines import (
    PAPER_K,
    OraclePolicy,
    PaperPolicy,
    PidPolicy,
    UcbPolicy,
)
from draftwire.nodes.controller.policy import Policy
from draftwire.nodes.speculation.cost import Compute, LinkEstimate, best_plan, tokens_per_step
from draftwire.nodes.speculation.frames import true_frames

COMPUTE = Compute(draft_step_s=3.1e-3, target_step_s=44.5e-3)

def report(*, gamma: int, accepted: int, ended_at_s: float) -> StepReport:
    """A step that went like this."""
    return replace(
        REPORT,
        device="dev",
        plan=Plan(number=1, k=320, gamma=gamma, min_draft=gamma),
        drafted=gamma,
        seen=min(accepted + 1, gamma),
        accepted=accepted,
        computed=gamma + 1,
        alone=not gamma,
        ended_at_s=ended_at_s,
    )


def paper(alpha: float, cost: float, **changes: bool) -> PaperPolicy:
    """The paper's rule where a drafted token costs so many target steps, drafting included."""
    bits = (cost * COMPUTE.target_step_s - COMPUTE.draft_step_s) * 1e6
    return PaperPolicy(alpha=alpha, rate_bps=1e6, row_bits=bits, compute=COMPUTE, **changes)


@pytest.mark.parametrize(
    ("alpha", "cost", "gamma"),
    [(0.4, 0.1, 2), (0.6, 0.1, 3), (0.8, 0.1, 6), (0.6, 0.2, 2), (0.8, 0.2, 4), (0.8, 0.4, 2), (0.8, 0.6, 1)],
)
def test_the_paper_s_lengths_are_those_of_its_table(alpha: float, cost: float, gamma: int) -> None:
    """gamma* of Table I, at K = 320, from b and c put together."""
    plan = paper(alpha, cost).plan("dev", 1)
    assert plan.values == (PAPER_K, gamma, gamma)


def test_the_paper_s_selection_can_be_left_out() -> None:
    """Where Table I has a star AS2 lets the target decode alone; without it one token is drafted."""
    assert paper(0.4, 0.6).plan("dev", 1).gamma == 0
    assert paper(0.4, 0.6, adaptive_selection=False).plan("dev", 1).gamma == 1


def play(policy: Policy, alpha: float, cost: float, steps: int) -> list[int]:
    """The gammas that a policy chose where every step came out as expected."""
    now_s, tokens, made, chosen = 0.0, 0.0, 0, list[int]()
    for _ in range(steps):
        gamma = policy.plan("dev", 1).gamma
        chosen.append(gamma)
        now_s += 0.0445 * (1 + gamma * cost)
        tokens += tokens_per_step(alpha=alpha, gamma=gamma)
        accepted = min(gamma, max(0, int(tokens) - made - 1))
        made += accepted + 1
        policy.observe(report(gamma=gamma, accepted=accepted, ended_at_s=now_s))
    return chosen


@pytest.mark.parametrize(
    ("alpha", "cost", "best"), [(0.8, 0.1, {5, 6, 7}), (0.2, 0.9, {0}), (0.6, 0.3, {1, 2, 3})]
)
def test_ucb_settles_near_the_best_length(alpha: float, cost: float, best: set[int]) -> None:
    """Every arm is tried; then most steps go to the best one and its equals. K never moves."""
    policy = UcbPolicy(width=0.1)
    chosen = play(policy, alpha, cost, 1500)
    assert set(chosen) == set(range(9))
    assert sum(gamma in best for gamma in chosen[-300:]) > 150
    assert policy.plan("dev", 1).k == PAPER_K


def test_ucb_needs_an_arm() -> None:
    """No gamma at all is refused by name."""
    with pytest.raises(ValueError, match="gammas"):
        UcbPolicy(gammas=())


def test_pid_moves_gamma_with_acceptance() -> None:
    """Above the set point gamma rises to its bound, below it falls to 1, and never leaves them."""
    policy = PidPolicy(max_gamma=10)
    before = policy.plan("dev", 1).gamma
    for step in range(40):
        policy.observe(report(gamma=4, accepted=4, ended_at_s=step * 0.05))
    assert before < policy.plan("dev", 1).gamma == 10
    for step in range(80):
        policy.observe(report(gamma=4, accepted=0, ended_at_s=2 + step * 0.05))
    assert policy.plan("dev", 1).gamma == 1


def test_the_oracle_plans_by_the_link_of_the_moment() -> None:
    """Its plan is the cost model's best for what is true at the time of the newest report."""
    frames, alphas = true_frames(vocab_size=32_000), {8: 0.6, 320: 0.75}

    def link(at_s: float) -> LinkEstimate:
        rate_bps = 20e6 if at_s < 1 else 1e5
        return LinkEstimate(uplink_bps=rate_bps, downlink_bps=rate_bps, rtt_s=0.005)

    policy = OraclePolicy(link=link, alphas=lambda at_s: alphas, compute=COMPUTE, frames=frames)
    for at_s in (0.5, 2.0):
        policy.observe(report(gamma=4, accepted=4, ended_at_s=at_s))
        best = best_plan(alphas=alphas, gammas=range(1, 17), compute=COMPUTE, link=link(at_s), frames=frames)
        assert policy.plan("dev", 1).values == (best.k, best.gamma, best.gamma)
    assert policy.plan("dev", 1).k == 8
