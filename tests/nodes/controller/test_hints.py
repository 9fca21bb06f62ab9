"""Plans of requests whose drafts are hints are found and never stuck."""

from collections import Counter
from collections.abc import Callable
from functools import cache

import numpy as np
import orjson
import pytest
from tests.nodes.controller.coupled import DEVICE, belief_of, coupled_report, policy, trace
from tests.nodes.controller.world import World, play

from draftwire.codecs.control import ANY_REQUEST, COUPLED, REJECTION, RowsReport, StepReport
from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import Plan
from draftwire.nodes.console.bench.cycles import PAPER_COMPUTE, Course
from draftwire.nodes.console.bench.links import RadioLink, alternating, constant
from draftwire.nodes.console.bench.pipelined import simulate
from draftwire.nodes.controller.adaptive import AdaptivePolicy
from draftwire.nodes.controller.belief import Belief
from draftwire.nodes.controller.policy import FixedPolicy, PlanValues, Report
from draftwire.nodes.speculation.cost import Compute
from draftwire.nodes.speculation.pipeline import patience_s


class Watched:
    """A policy, with the plans that it gave."""

    def __init__(self, inner: AdaptivePolicy) -> None:
        self.inner, self.plans = inner, list[PlanValues]()
        self.observe: Callable[[Report], None] = inner.observe
        self.openings = inner.openings

    def plan(self, device: str, request: int) -> PlanValues:
        self.plans.append(self.inner.plan(device, request))
        return self.plans[-1]


def run(link: RadioLink, *, tokens: int = 500, compute: Compute = PAPER_COMPUTE, seed: int = 0) -> Watched:
    """The policy from a cold start, with what it came to in `speed`."""
    watched = Watched(policy())
    course = Course(trace=trace(), link=link, tokens=tokens, seed=seed, compute=compute)
    watched.speed = simulate(course, watched).tokens_per_s  # type: ignore[attr-defined]
    return watched


@cache
def ran(mbit: float, rtt_ms: float) -> Watched:
    """On a link that stands still: one run for all that is looked at in it."""
    return run(constant(mbit, rtt_ms))


def speed(watched: Watched) -> float:
    return float(watched.speed)  # type: ignore[attr-defined]


def fixed_speed(link: RadioLink, gamma: int, min_draft: int, *, tokens: int = 500) -> float:
    plan = PlanValues(
        k=trace().ladder[0],
        gamma=gamma,
        min_draft=min_draft,
        uplink_bps=int(link.mean_bps),
        patience_s=2 * link.delay_s + 0.02,
    )
    course = Course(trace=trace(), link=link, tokens=tokens, seed=0)
    return simulate(course, FixedPolicy(plan)).tokens_per_s


# The plan itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mbit", "rtt_ms"), [(20, 1), (1, 10), (0.1, 10), (20, 100)])
def test_it_is_as_fast_as_good_fixed_plans(mbit: float, rtt_ms: float) -> None:
    """From a cold start, 500 tokens: 0.96 of the best of some fixed plans that know the link, at least."""
    link = constant(mbit, rtt_ms)
    best = max(fixed_speed(link, *plan) for plan in ((0, 0), (4, 0), (12, 0), (12, 2), (4, 4)))
    assert speed(ran(mbit, rtt_ms)) >= 0.96 * best


def test_a_long_round_trip_does_not_end_drafts() -> None:
    """At half a second there is hardly anything to gain: drafts are tried on, and cost nothing."""
    watched = run(constant(20, 500), tokens=300)
    assert any(plan.gamma for plan in watched.plans[-150:])
    assert speed(watched) >= 0.98 * fixed_speed(constant(20, 500), 0, 0, tokens=300)


def test_where_the_round_trip_is_short_the_target_waits_for_some() -> None:
    """And with a patience that covers the round trip, with its jitter, and no more than twice of it."""
    plans = [one for one in ran(20, 1).plans[40:] if belief_of(one).reason == "best"]
    assert Counter(plan.min_draft > 0 for plan in plans)[True] > 0.7 * len(plans)
    plan = plans[-1]
    belief = belief_of(plan)
    least_s = patience_s(
        min_draft=plan.min_draft, compute=belief.compute, link=belief.link, frames=belief.frames
    )
    assert plan.patience_s is not None and least_s < plan.patience_s < 2 * least_s


def test_drafts_stop_where_passes_grow_with_them_too_much() -> None:
    """A pass that is as much longer for a draft as a pass is: no draft can pay, and it is found out."""
    steep = Compute(draft_step_s=0.005, target_step_s=0.04, target_per_token_s=0.04, overhead_s=0.0005)
    watched = run(constant(20, 5), compute=steep, tokens=400)
    reasons = Counter(belief_of(plan).reason for plan in watched.plans[-200:])
    assert reasons["alone"] > 150 and reasons["retry"] > 0
    assert speed(watched) >= 0.93 / steep.target_step_s


def test_early_stop_goes_with_whole_blocks_only() -> None:
    """Where the target waits for a block, the device may end it; ahead of the log that gains nothing."""
    for watched in (ran(20, 1), ran(1, 10)):
        for plan in watched.plans:
            assert plan.early_stop == (plan.gamma > 0 and plan.gamma == plan.min_draft)


def test_rates_are_told_in_steps() -> None:
    """A device is told another rate when it differs by a fifth, not after every row."""
    told = [plan.uplink_bps for plan in run(constant(1, 10), seed=1).plans[50:]]
    assert len(set(told)) <= 4
    assert 0.6e6 < told[-1] < 1.6e6


# Links that change ------------------------------------------------------------------------------------------


def test_a_link_that_drops_does_not_drown_in_drafts() -> None:
    """20 Mbit/s and 0.1 in turn: what was sent at the old rate is gone soon, and drafts are in time again."""
    link = alternating(20, 0.1, every_s=3, rtt_ms=10)
    best = max(fixed_speed(link, *plan) for plan in ((0, 0), (4, 0), (12, 0)))
    assert speed(run(link)) >= 0.98 * best


@pytest.mark.parametrize("mbit", [0.05, 0.1])
def test_greedy_drafts_find_a_slow_link_without_rows(mbit: float) -> None:
    """Nothing measures the rate there; but drafts that never come in time tell that it is too high."""
    told = list[PlanValues]()

    class Greedy(Watched):
        def plan(self, device: str, request: int) -> PlanValues:
            told.append(super().plan(device, request))
            return told[-1]

        def as_greedy(self, report: Report) -> None:
            if isinstance(report, StepReport):
                values = {name: getattr(report, name) for name in report.__dataclass_fields__}
                self.inner.observe(StepReport(**(values | {"temperature": 0.0})))

    watched = Greedy(policy())
    watched.observe = watched.as_greedy
    link = constant(mbit, 10)
    course = Course(trace=trace(), link=link, tokens=500, seed=0)
    reached = simulate(course, watched).tokens_per_s
    assert reached >= 0.97 * fixed_speed(link, 0, 0)


# Pins -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gamma", "min_draft", "expected"),
    [
        (None, None, None),
        (3, None, (3, None)),
        (None, 2, (None, 2)),
        (5, MAX_GAMMA, (5, 5)),
        (5, 0, (5, 0)),
        (0, None, (0, 0)),
        (2, 7, (2, 2)),
    ],
)
def test_what_is_fixed_is_kept(
    gamma: int | None, min_draft: int | None, expected: tuple[int | None, int | None] | None
) -> None:
    """gamma, min_draft or both; what is not fixed adapts around it. A fixed draft does not end early."""
    planner = policy()
    for step in range(60):
        pins = {"pinned_gamma": gamma, "pinned_min_draft": min_draft, "pinned_k": 5}
        planner.observe(coupled_report(step, seen=2, accepted=2, **pins))
        plan = planner.plan(DEVICE, 1)
        assert plan.k == 5 and plan.min_draft <= plan.gamma
        if expected is not None and belief_of(plan).reason == "pinned":
            fixed_gamma, fixed_wait = expected
            assert fixed_gamma in (None, plan.gamma) and fixed_wait in (None, plan.min_draft)
        if gamma is not None:
            assert belief_of(plan).reason == "pinned" and not plan.early_stop


def test_a_coupled_plan_is_recorded_with_what_was_believed() -> None:
    """Acceptance, chances along a path, drafts a token: all of it comes back from a record."""
    planner = policy()
    for step in range(30):
        planner.observe(coupled_report(step, seen=3, accepted=2))
    belief = belief_of(planner.plan(DEVICE, 1))
    assert Belief.from_fields(orjson.loads(orjson.dumps(belief.fields()))) == belief
    assert belief.acceptance == COUPLED and not belief.rows and not belief.greedy
    assert belief.survives[0] == 1 and 0.5 < belief.survives[1] < 1
    assert belief.coupled_alpha == pytest.approx(2 / 3, abs=0.05)
    assert belief.drafted_per_token > 0.5


def test_passes_beside_drafting_are_told_from_others() -> None:
    """A target that slows down while the device drafts slows down the plans that draft ahead, no others."""
    planner = policy()
    whole = Plan(number=1, k=32, gamma=3, min_draft=3)
    for step in range(40):
        planner.observe(coupled_report(step, seen=3, accepted=2, step_s=0.04, plan=whole))
    for step in range(40, 80):
        planner.observe(coupled_report(step, seen=3, accepted=2, step_s=0.08))
    known = planner._known
    assert known.passes(beside=True).at_zero_s > 1.7 * known.passes(beside=False).at_zero_s
    plan = planner.plan(DEVICE, 1)
    assert plan.min_draft == plan.gamma > 0


# What is learnt, and for whom -------------------------------------------------------------------------------


def test_coupled_requests_keep_alpha_and_link_known() -> None:
    """By the single rows behind their drafts, as a request under rejection would by whole blocks."""
    planner = policy()
    course = Course(trace=trace(), link=constant(1, 10), tokens=600, seed=1)
    simulate(course, planner)
    rejection = next(one for one in planner.openings("device") if one.acceptance == REJECTION)
    belief = belief_of(rejection)
    assert belief.uplink_bps == pytest.approx(1e6, rel=0.2)
    assert belief.alphas[128] == pytest.approx(float(np.mean(trace().alpha[:, -1])), abs=0.1)
    assert belief.coupled_alpha == pytest.approx(float(trace().coupled.mean()), abs=0.1)


def test_the_next_request_is_planned_for_by_what_was_learnt() -> None:
    """The opening for coupled requests is the plan of the one that has just gone on, or as good."""
    planner = policy()
    for step in range(100):
        planner.observe(coupled_report(step, seen=3, accepted=2))
    now = planner.plan(DEVICE, 1)
    later = next(one for one in planner.openings(DEVICE) if one.acceptance == COUPLED)
    assert belief_of(later).tokens_per_s == pytest.approx(belief_of(now).tokens_per_s, rel=0.02)
    assert planner.plan(DEVICE, ANY_REQUEST).acceptance == REJECTION


def test_blocks_are_tested_whole_where_rows_come_in_time() -> None:
    """Under rejection: at 50 Mbit/s, with two drafts or more, above temperature 0; not at 0.1 Mbit/s."""
    fast, slow = AdaptivePolicy(vocab_size=4096), AdaptivePolicy(vocab_size=4096)
    decided = [step.decided for step in play(World(alpha=0.8, rate_bps=50e6), fast, 60)][20:]
    assert all(plan.blockwise == (plan.gamma >= 2) for plan in decided)
    assert any(plan.blockwise for plan in decided)
    pinned = World(alpha=0.8, rate_bps=0.1e6, pinned_k=320, pinned_gamma=4)
    decided = [step.decided for step in play(pinned, slow, 30)][20:]
    assert not any(plan.blockwise for plan in decided)


def test_rows_reports_of_older_base_stations_say_nothing_of_coupled_picks() -> None:
    """A report without `coupled` is taken in all the same."""
    planner = policy()
    told = RowsReport(
        device=DEVICE,
        request=1,
        step=0,
        temperature=1.0,
        k=2,
        ladder=(1, 2),
        alphas=((0.3, 0.4),),
        low=(0.3,),
        high=(0.5,),
        gap=(0.2,),
        filled=(0.1,),
        rows_bytes=50,
        draft_at_s=0.1,
        rows_at_s=0.11,
    )
    before = belief_of(planner.openings(DEVICE)[1]).coupled_alpha
    planner.observe(told)
    assert before is not None and belief_of(planner.openings(DEVICE)[1]).coupled_alpha is not None
