"""The adaptive policy finds the best plan, follows what changes, and is not trapped."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.nodes.controller.world import VOCAB_SIZE, World, play

from draftwire.codecs.control import ANY_REQUEST, StepReport
from draftwire.codecs.limits import MAX_GAMMA
from draftwire.nodes.controller import blocks, knowledge
from draftwire.nodes.controller.adaptive import AdaptivePolicy
from draftwire.nodes.controller.belief import Belief, belief_forecast
from draftwire.nodes.controller.estimators import acceptance
from draftwire.nodes.controller.policy import PlanValues
from draftwire.nodes.speculation.acceptance import LADDER
from draftwire.nodes.speculation.cost import alone_step_seconds, best_plan, forecast_grid

SETTLED = 30
"Steps after which a policy is expected to know its world."


def policy(**options: int) -> AdaptivePolicy:
    return AdaptivePolicy(vocab_size=VOCAB_SIZE, **options)  # type: ignore[arg-type]


def belief_of(plan: PlanValues) -> Belief:
    assert plan.belief is not None
    return plan.belief


def known_belief(world: World, *, steps: int) -> Belief:
    return belief_of([step.decided for step in play(world, policy(), steps)][-1])


# In a world that stays --------------------------------------------------------------------------------------

CELLS = [
    (0.1e6, 0.001, 0.8),
    (0.1e6, 0.010, 0.6),
    (0.3e6, 0.010, 0.8),
    (0.3e6, 0.040, 0.4),
    (1e6, 0.001, 0.6),
    (1e6, 0.010, 0.4),
    (1e6, 0.040, 0.8),
    (5e6, 0.001, 0.4),
    (5e6, 0.100, 0.4),
    (20e6, 0.001, 0.8),
    (20e6, 0.040, 0.6),
    (20e6, 0.100, 0.6),
]


@pytest.mark.parametrize(("rate_bps", "rtt_s", "alpha"), CELLS)
def test_after_30_steps_it_is_as_fast_as_the_best_plan(rate_bps: float, rtt_s: float, alpha: float) -> None:
    """Its best plans reach 0.97 of the fastest plan that there is; alone where that is the fastest."""
    world = World(rate_bps=rate_bps, rtt_s=rtt_s, alpha=alpha, seed=1)
    decided = [step.decided for step in play(world, policy(), SETTLED + 20)][SETTLED:]
    settled = [plan for plan in decided if belief_of(plan).reason in ("best", "alone")]
    assert len(settled) >= 14
    assert world.speed(settled) >= 0.97 * world.best().tokens_per_s


@pytest.mark.parametrize(
    ("rate_bps", "rtt_s", "alpha"), [(1e6, 0.1, 0.6), (20e6, 0.1, 0.4), (0.1e6, 0.04, 0.4)]
)
def test_where_alone_is_best_tries_cost_little(rate_bps: float, rtt_s: float, alpha: float) -> None:
    """Tries included, it is within 3 % of the target alone over the minute that follows."""
    world = World(rate_bps=rate_bps, rtt_s=rtt_s, alpha=alpha)
    steps = list(play(world, policy(), 1500))
    assert world.best().gamma == 0
    reasons = Counter(belief_of(step.decided).reason for step in steps[SETTLED:])
    assert reasons["retry"] >= 4 and set(reasons) <= {"alone", "retry"}
    first, last = steps[SETTLED].report, steps[-1].report
    tokens = last.position - first.position
    assert tokens / (last.ended_at_s - first.ended_at_s) >= 0.97 / world.target_s


def test_a_steep_target_is_measured() -> None:
    """8 % of a step a drafted token: after 40 steps the slope is known within a quarter, gamma within 1."""
    world = World(slope_s=0.0036, alpha=0.8, seed=3)
    steps = list(play(world, policy(), 40))
    assert belief_of(steps[-1].decided).target_per_token_s == pytest.approx(0.0036, rel=0.25)
    gammas = [step.decided.gamma for step in steps[20:] if belief_of(step.decided).reason == "best"]
    assert all(abs(gamma - world.best().gamma) <= 1 for gamma in gammas)


def test_a_line_that_hides_a_fast_target_alone_is_seen_through() -> None:
    """Kernels for one row twice as fast make alone the best choice, which only a look at it shows."""
    world = World(alpha=0.6, rtt_s=0.02, alone_s=0.022)
    decided = [step.decided for step in play(world, policy(), 40)]
    assert world.best().gamma == 0
    assert {belief_of(plan).reason for plan in decided[-10:]} <= {"alone", "retry"}


@pytest.mark.parametrize("seed", range(3))
def test_the_world_is_known_after_20_steps(seed: int) -> None:
    """Rate within 10 %, round trip within 1 ms, drafting and the BS's own time as they are."""
    world = World(rate_bps=1e6, rtt_s=0.012, draft_s=0.004, seed=seed)
    belief = known_belief(world, steps=20)
    assert belief.uplink_bps == pytest.approx(1e6, rel=0.1)
    assert belief.rtt_s == pytest.approx(0.012, abs=1e-3)
    assert belief.draft_step_s == 0.004
    assert belief.overhead_s == pytest.approx(0.001, abs=1e-4)
    assert belief.target_step_s + 6 * belief.target_per_token_s == pytest.approx(0.0477, rel=0.03)
    for k in (3, 32, 320):
        assert belief.alphas[k] == pytest.approx(world.alpha_at(k), rel=0.08)


def test_rows_that_are_short_are_taken_for_short() -> None:
    """Rows of 0.7 of the model's size are known as such, in steps of 0.05."""
    belief = known_belief(World(row_scale=0.7, rate_bps=0.3e6), steps=20)
    assert belief.row_scale == pytest.approx(0.7, abs=0.051)


def test_a_slow_link_does_not_lengthen_the_round_trip() -> None:
    """Drafts that queue behind the last block's rows are no samples of the round trip."""
    world = World(rate_bps=0.05e6, rtt_s=0.01, alpha=0.9)
    assert known_belief(world, steps=60).rtt_s == pytest.approx(0.01, abs=4e-3)


# In a world that changes ------------------------------------------------------------------------------------


def test_a_link_that_drops_changes_the_plan_within_three_steps() -> None:
    """5 Mbit/s that become 0.25: the third plan after it sends half as many entries at most."""
    world = World(rate_bps=5e6, rtt_s=0.005, alpha=0.8, seed=2)
    change = {45: lambda w: setattr(w, "rate_bps", 0.25e6)}
    decided = [step.decided for step in play(world, policy(), 60, at=change)]
    before, after = decided[44], decided[47]
    assert before.k >= 320
    assert after.k * after.gamma < before.k * before.gamma / 2
    settled = [plan for plan in decided[49:] if belief_of(plan).reason == "best"]
    assert world.speed(settled) >= 0.95 * world.best().tokens_per_s


def test_the_target_alone_is_left_when_the_link_recovers() -> None:
    """Where a long round trip had ended drafting, tries find the short one, and drafts come back for good."""
    world = World(rtt_s=0.15, alpha=0.6)
    steps = list(play(world, policy(), 1200, at={300: lambda w: setattr(w, "rtt_s", 0.001)}))
    assert belief_of(steps[299].decided).reason in ("alone", "retry")
    assert sum(belief_of(step.decided).reason == "best" for step in steps[-50:]) >= 35
    assert world.speed([steps[-1].decided]) > 1.3 / world.target_s


def test_tries_come_in_pairs_of_short_drafts() -> None:
    """Two plans in a row, of at most 2 tokens, at least a second of decoding alone apart."""
    steps = list(play(World(rtt_s=0.2, alpha=0.5), policy(), 1500))
    reasons = [belief_of(step.decided).reason for step in steps]
    runs = "".join("r" if reason == "retry" else "." for reason in reasons).strip(".").split(".")
    assert {len(run) for run in runs if run} == {2}
    assert all(step.decided.gamma <= 2 for step in steps if belief_of(step.decided).reason == "retry")
    ends = [step.report.ended_at_s for step, reason in zip(steps, reasons, strict=True) if reason == "retry"]
    assert all(later - earlier >= 1 for earlier, later in zip(ends[1::2], ends[2::2], strict=False))


def test_a_stalled_device_does_not_end_drafting() -> None:
    """A block drafted a hundred times slower than the others leaves gamma above 0."""
    world = World(alpha=0.8)

    def stall(w: World) -> None:
        w.draft_s = 0.3

    def go_on(w: World) -> None:
        w.draft_s = 0.003

    steps = list(play(world, policy(), 60, at={0: stall, 1: go_on, 40: stall, 41: go_on}))
    reasons = [belief_of(step.decided).reason for step in steps]
    assert "alone" not in reasons and "retry" not in reasons


# Traps ------------------------------------------------------------------------------------------------------

STEEP = dict(zip(LADDER, (0.5, 0.58, 0.62, 0.7, 0.76, 0.88, 0.96, 0.98, 0.99, 1.0, 1.0, 1.0), strict=True))


def _believe_in_small_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prior by which a single entry is as good as all, and hidden mass is worth nothing."""
    monkeypatch.setattr(acceptance, "PRIOR_SHAPE", {1: 1.0, 1280: 1.0})
    monkeypatch.setattr(acceptance, "PRIOR_FILLED", 0.0)


def test_small_rows_are_left_when_larger_ones_are_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of 1 to 3 entries show nothing above; looks there do, and K = 32 or more is found."""
    _believe_in_small_rows(monkeypatch)
    world = World(alpha=0.8, shape=STEEP, rate_bps=2e6)
    decided = [step.decided for step in play(world, policy(), 40)]
    assert decided[0].k == 1
    settled = [plan for plan in decided[30:] if belief_of(plan).reason == "best"]
    assert settled and min(plan.k for plan in settled) >= 32


def test_without_looks_small_rows_are_a_trap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trap is real: the same policy that hardly ever looks stays there."""
    _believe_in_small_rows(monkeypatch)
    world = World(alpha=0.8, shape=STEEP, rate_bps=2e6)
    decided = [step.decided for step in play(world, policy(explore_every=1000), 40)]
    assert max(plan.k for plan in decided) <= 3


def test_looks_go_on_where_they_are_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where rows of 32 would make blocks much slower, a look is one rung up, and rung by rung K rises."""
    _believe_in_small_rows(monkeypatch)
    world = World(alpha=0.8, shape=STEEP, rate_bps=0.02e6, rtt_s=0.001, target_s=0.02, pinned_gamma=8)
    decided = [step.decided for step in play(world, policy(), 250)]
    looks = [plan.k for plan in decided if belief_of(plan).reason == "explore"]
    assert looks[0] == 2
    settled = [plan for plan in decided[200:] if belief_of(plan).reason == "pinned"]
    assert min(plan.k for plan in settled) >= 5


@pytest.mark.parametrize("rate_bps", [0.1e6, 0.3e6])
def test_nothing_is_looked_for_where_it_could_not_pay(rate_bps: float) -> None:
    """Larger rows would be no faster though they held all that is hidden: only steps alone are tried."""
    world = World(alpha=0.7, rate_bps=rate_bps, rtt_s=0.005)
    decided = [step.decided for step in play(world, policy(), 120)][60:]
    assert sum(belief_of(plan).reason == "best" for plan in decided) > 50
    assert not [plan for plan in decided if belief_of(plan).reason == "explore" and plan.gamma]


# What the user fixed, and temperature 0 ---------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0, 1, 5, 20])
def test_a_pinned_gamma_is_kept(gamma: int) -> None:
    """K adapts around it, and neither tries nor steps alone come in between."""
    world = World(pinned_gamma=gamma, rtt_s=0.1)
    decided = [step.decided for step in play(world, policy(), 60)]
    assert {plan.gamma for plan in decided} == {gamma}
    assert {belief_of(plan).reason for plan in decided} <= {"pinned", "explore"}


@pytest.mark.parametrize("k", [1, 24, 640, VOCAB_SIZE])
def test_a_pinned_k_is_kept(k: int) -> None:
    """gamma adapts at it, also at a K that is on no ladder."""
    world = World(pinned_k=k, rate_bps=50e6, alpha=0.8)
    decided = [step.decided for step in play(world, policy(), 40)]
    assert {plan.k for plan in decided} == {k}
    assert {tuple(belief_of(plan).alphas) for plan in decided} == {(k,)}
    assert decided[-1].gamma >= 4


def test_pins_end_with_their_request() -> None:
    """The next request of the device is free again."""
    world, free = World(pinned_k=3, pinned_gamma=2), policy()
    list(play(world, free, 20))
    plan = free.plan(world.device, ANY_REQUEST)
    assert plan.k > 3 and belief_of(plan).reason == "best"


def test_at_temperature_0_only_ids_count() -> None:
    """K stays what it was, no rows are reckoned with, and gamma is the best for ids alone."""
    world = World(temperature=0.0, alpha=0.8, rate_bps=0.1e6, pinned_min_draft=MAX_GAMMA)
    decided = [step.decided for step in play(world, policy(), 150)]
    assert len({plan.k for plan in decided[2:]}) == 1
    assert not any(belief_of(plan).rows for plan in decided)
    settled = [plan for plan in decided[100:] if belief_of(plan).reason == "pinned"]
    assert all(plan.min_draft == plan.gamma for plan in settled)
    assert world.speed(settled) >= 0.93 * world.best().tokens_per_s


def test_a_bs_that_sends_no_rows_reports_is_served_by_hits() -> None:
    """Hits and misses stand in, and the round trip is learnt all the same."""
    world = World(sends_rows_reports=False, alpha=0.9, rtt_s=0.005)
    belief = known_belief(world, steps=150)
    assert belief.alphas[1280] == pytest.approx(0.9, abs=0.08)
    assert belief.rtt_s == pytest.approx(0.005, abs=2e-3)


def test_rows_and_hits_of_one_step_are_not_both_counted() -> None:
    """Where rows are reported, outcomes that contradict them change no alpha."""
    lucky, unlucky = policy(), policy()
    for step in range(40):
        for report in World(seed=step).step(PlanValues(k=32, gamma=4, min_draft=4)):
            report = replace(report, step=step)
            lucky.observe(report)
            if isinstance(report, StepReport):
                report = replace(report, accepted=0, seen=1)
            unlucky.observe(report)
    plans = [belief_of(one.plan("device-1", 1)).alphas for one in (lucky, unlucky)]
    assert plans[0] == plans[1]


# Order, memory, purity --------------------------------------------------------------------------------------


def test_gamma_moves_by_at_most_two() -> None:
    """From one plan with drafts to the next; down to 0 at once."""
    world = World(alpha=0.95, rate_bps=20e6, rtt_s=0.08)
    change = {50: lambda w: setattr(w, "alpha", 0.3)}
    decided = [step.decided for step in play(world, policy(), 120, at=change)]
    drafting = [plan.gamma for plan in decided if plan.gamma]
    assert max(drafting) >= 8
    assert all(abs(later - earlier) <= 2 for earlier, later in pairwise(drafting))


def test_the_first_plan_is_the_best_under_the_prior() -> None:
    """Nothing is known, so the argmax of the model at 5 Mbit/s, 20 ms and the usual alphas it is."""
    plan = policy().plan("new", ANY_REQUEST)
    belief = belief_of(plan)
    assert belief.uplink_bps == pytest.approx(5e6) and belief.rtt_s == 0.020
    best = best_plan(
        alphas=belief.alphas,
        gammas=range(1, 17),
        compute=belief.compute,
        link=belief.link,
        frames=belief.frames,
    )
    assert plan.values == (best.k, best.gamma, best.gamma)
    assert belief.tokens_per_s == pytest.approx(best.tokens_per_s)
    assert belief.alone_tokens_per_s == pytest.approx(best.alone_tokens_per_s)


def test_what_was_learnt_outlives_the_request() -> None:
    """The first plan of the next request is as good as the last of this one."""
    world, learning = World(rate_bps=0.3e6, rtt_s=0.001, alpha=0.8), policy()
    list(play(world, learning, 40))
    world.next_request()
    assert world.speed([learning.plan(world.device, ANY_REQUEST)]) >= 0.97 * world.best().tokens_per_s
    assert world.speed([learning.plan(world.device, world.request)]) >= 0.97 * world.best().tokens_per_s


def test_devices_do_not_mix() -> None:
    """Links and acceptance are a device's own; the target's times are everybody's."""
    shared = policy()
    near = World(device="near", rtt_s=0.002)
    far = World(device="far", rtt_s=0.2, rate_bps=0.2e6, target_s=0.2)
    list(play(near, shared, 25))
    before = belief_of(shared.plan("near", 1))
    list(play(far, shared, 25))
    after = belief_of(shared.plan("near", 1))
    assert (after.rtt_s, after.uplink_bps, after.alphas) == (before.rtt_s, before.uplink_bps, before.alphas)
    assert after.target_step_s > before.target_step_s


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many devices, requests and temperatures of a device come, a fixed number is remembered."""
    monkeypatch.setattr(knowledge, "MAX_DEVICES", 4)
    monkeypatch.setattr(knowledge, "MAX_REQUESTS", 6)
    monkeypatch.setattr(knowledge, "MAX_TEMPERATURES", 3)
    bounded = policy()
    for number in range(30):
        for device in (f"device-{number}", "warmer and warmer"):
            list(play(World(device=device, request=number + 1, temperature=0.1 * number), bounded, 1))
    known = bounded._known
    assert (len(known.devices), len(known.requests)) == (4, 6)
    assert len(known.devices["warmer and warmer"].texts) == 3


def test_one_request_keeps_no_history() -> None:
    """Blocks whose rows never come are forgotten."""
    steady = policy()
    list(play(World(sends_rows_reports=False, alpha=0.98), steady, 200))
    request = steady._known.requests["device-1", 1]
    assert len(request.waiting) <= knowledge.MAX_BLOCKS and len(request.rows_at_s) <= knowledge.MAX_BLOCKS


def test_a_bs_that_restarts_is_understood() -> None:
    """Steps that count from 0 again, on another clock, leave the estimates where they were."""
    world, one = World(rate_bps=1e6), policy()
    list(play(world, one, 30))
    before = belief_of(one.plan(world.device, world.request))
    world.number, world.now_s, world.free_s, world.late = 0, -5000.0, -5000.0, []
    list(play(world, one, 30))
    after = belief_of(one.plan(world.device, world.request))
    assert after.uplink_bps == pytest.approx(before.uplink_bps, rel=0.1)
    assert after.rtt_s == pytest.approx(before.rtt_s, abs=1e-3)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.7, 1.0]), st.floats(0.05e6, 50e6), st.floats(0, 0.3))
def test_the_same_reports_give_the_same_plans(
    seed: int, temperature: float, rate_bps: float, rtt_s: float
) -> None:
    """Pure: two policies told the same plan the same, always within their limits."""
    values = {"seed": seed, "temperature": temperature, "rate_bps": rate_bps, "rtt_s": rtt_s}
    first, second = (list(play(World(**values), policy(), 25)) for _ in range(2))  # type: ignore[arg-type]
    assert first == second
    for step in first:
        plan = step.decided
        assert plan.k in LADDER and 0 <= plan.min_draft <= plan.gamma <= 16
        assert plan.min_draft == plan.gamma or not temperature


def test_a_belief_tells_what_every_other_plan_would_bring() -> None:
    """Rebuilt from a record, it forecasts its own plan as it did, and no other plan as faster by much."""
    plan = [step.decided for step in play(World(), policy(), 30)][-1]
    belief = replace(belief_of(plan), tables="00" * 8, rung_bits=((8, 70), (320, 2000)))
    assert Belief.from_fields(orjson.loads(orjson.dumps(belief.fields()))) == belief
    newer = ("tables", "rung_bits", "plain_scale")
    older = {name: value for name, value in belief.fields().items() if name not in newer}
    again = Belief.from_fields(older)
    assert again == belief_of(plan)
    belief = again
    tokens, seconds = belief_forecast(again, gammas=range(1, 17))
    rates = tokens / seconds
    assert rates.shape == (len(LADDER), 16)
    assert rates[list(again.alphas).index(plan.k), plan.gamma - 1] == pytest.approx(belief.tokens_per_s)
    assert rates.max() <= belief.tokens_per_s * 1.05
    alone_s = alone_step_seconds(compute=again.compute, link=again.link, frames=again.frames)
    assert 1 / alone_s == pytest.approx(belief.alone_tokens_per_s)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"vocab_size": 1}, "vocab_size is 1"),
        ({"max_gamma": 0}, "max_gamma is 0"),
        ({"max_gamma": 33}, "max_gamma is 33"),
        ({"explore_every": 1}, "explore_every is 1"),
        ({"ladder": ()}, r"ladder is \[\]"),
        ({"ladder": (0, 3)}, r"ladder is \[0, 3\]"),
        ({"ladder": (3, 5000)}, r"ladder is \[3, 5000\]"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, object], field: str) -> None:
    """A ValueError with the option, its value and what to give."""
    with pytest.raises(ValueError, match=f"{field}: give"):
        AdaptivePolicy(**options)  # type: ignore[arg-type]


def test_what_is_weighed_once_a_report_follows_the_vocabulary() -> None:
    """A BS that registers with another vocabulary between two questions gets plans of that one."""
    planner = policy()
    assert planner.plan("d", ANY_REQUEST).k > 2
    planner.vocab_size = 2
    assert planner.plan("d", ANY_REQUEST).k <= 2


def test_a_second_question_after_a_report_weighs_nothing_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next request's plan is asked for with this one's: plans are compared once, and again after news."""
    compared = Counter[str]()

    def counted(**arguments: Any) -> Any:
        compared["grids"] += 1
        return forecast_grid(**arguments)

    monkeypatch.setattr(blocks, "forecast_grid", counted)
    world, planner = World(rate_bps=20e6, rtt_s=0.002, alpha=0.8, seed=1), policy()
    report = list(play(world, planner, 5))[-1].report
    planner.observe(report)
    compared.clear()
    first = planner.plan(report.device, ANY_REQUEST)
    assert planner.plan(report.device, ANY_REQUEST) == first
    assert compared["grids"] == 1
    planner.observe(report)
    planner.plan(report.device, ANY_REQUEST)
    assert compared["grids"] == 2
