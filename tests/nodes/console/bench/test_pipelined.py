"""The pipelined simulation by itself, and the renewal model against it.

test_pipelined_against_nodes.py holds the simulation against the nodes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from tests.harness.coins import VOCAB_SIZE, tossed, trace_of

from draftwire.codecs.control import ANY_REQUEST, COUPLED, RowsReport, StepReport
from draftwire.codecs.messages import Plan
from draftwire.nodes.console.bench.acceptance_trace import SAMPLES
from draftwire.nodes.console.bench.cycles import DEVICE, PAPER_COMPUTE, Course
from draftwire.nodes.console.bench.drafting import Drafting, Heard, Text, commit_bytes, draft_bytes
from draftwire.nodes.console.bench.links import LINKS, RadioLink, constant
from draftwire.nodes.console.bench.pipelined import (
    FIXED,
    best_fixed,
    fixed_plan,
    simulate,
    simulate_plan,
)
from draftwire.nodes.console.bench.renewal import error_percentile, renewal_errors, survives_of
from draftwire.nodes.console.bench.traces import SYNTHETIC, synthetic
from draftwire.nodes.controller.policy import FixedPolicy, PlanValues, Report
from draftwire.nodes.speculation.cost import LinkEstimate
from draftwire.nodes.speculation.frames import true_frames
from draftwire.nodes.speculation.pipeline import synchronous
from draftwire.runtime.session.ahead import ROW_EVERY

PLANS = [(0, 0), (1, 0), (4, 4), (8, 0), (8, 3), (16, 2)]


def course(
    link: RadioLink, *, alpha: float = 0.7, seed: int = 1, tokens: int = 300, jitter: bool = True
) -> Course:
    return Course(trace=tossed(alpha), link=link, tokens=tokens, seed=seed, jitter=jitter)


class Listener:
    """Goes through these plans, one a report, and keeps what it hears."""

    def __init__(self, plans: Sequence[PlanValues]) -> None:
        self.plans = plans
        self.steps: list[StepReport] = []
        self.rows: list[RowsReport] = []
        self.asked: list[int] = []

    def observe(self, report: Report) -> None:
        if isinstance(report, StepReport):
            self.steps.append(report)
        else:
            self.rows.append(report)

    def plan(self, device: str, request: int) -> PlanValues:
        self.asked.append(request)
        return self.plans[len(self.steps) % len(self.plans)]


def listened(one: Course, *plans: tuple[int, int]) -> Listener:
    policy = Listener([fixed_plan(one, *plan) for plan in plans])
    simulate(one, policy)
    return policy


@pytest.mark.parametrize("gamma", [1, 4, 16])
@pytest.mark.parametrize(("mbit", "rtt_ms"), [(0.1, 10), (20, 40)])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_blocks_take_what_the_cost_model_says(alpha: float, mbit: float, rtt_ms: float, gamma: int) -> None:
    """min_draft = gamma: where nothing is left to chance, each step is the synchronous one."""
    one = course(constant(mbit, rtt_ms), alpha=alpha, jitter=False)
    frames = true_frames(vocab_size=VOCAB_SIZE, rows=False)
    if alpha == 0:  # the model counts a Commit of gamma + 1 ids, and this one has a single id
        commit_bits = frames.commit_bits(0)
        frames = replace(frames, commit_bits=lambda gamma: commit_bits)
    expected = synchronous(
        gamma=gamma,
        survives=[1.0, alpha],
        compute=PAPER_COMPUTE,
        link=LinkEstimate(uplink_bps=mbit * 1e6, downlink_bps=mbit * 1e6, rtt_s=rtt_ms / 1e3),
        frames=frames,
    )
    run = simulate_plan(Text(course=one), fixed_plan(one, gamma, gamma))
    assert run.tokens_per_s == pytest.approx(expected.tokens_per_s, rel=0.01)
    assert run.steps == pytest.approx(one.tokens / expected.tokens, abs=1)


def test_the_target_alone_goes_at_its_own_pace() -> None:
    """gamma = 0: a token a target step, whatever the round trip, and nobody drafts."""
    one = course(constant(1, 100))
    run = simulate_plan(Text(course=one), fixed_plan(one, 0, 0))
    assert run.steps == run.tokens and run.drafted == run.used == 0
    seconds = one.tokens * PAPER_COMPUTE.target_step_s
    assert run.seconds == pytest.approx(seconds, abs=0.1)


@pytest.mark.parametrize("rtt_ms", [1, 100])
def test_a_bs_that_never_waits_is_never_idle(rtt_ms: float) -> None:
    """min_draft = 0: passes follow each other without a gap, with whatever ids have come."""
    policy = listened(course(constant(20, rtt_ms)), (8, 0))
    ended = 0.0
    for step in policy.steps:
        overhead_s = PAPER_COMPUTE.overhead_s if step.drafted else 0.0
        assert step.ended_at_s - step.step_s - overhead_s == pytest.approx(ended)
        ended = step.ended_at_s


def test_every_plan_meets_the_same_text() -> None:
    """Whether a token of a right path is right hangs on its position alone: so at no time is more used."""
    one = course(LINKS["1/10"](1))
    text = Text(course=one)
    right = {position for position, wrong in enumerate(text.right) if wrong > position}
    for plan in PLANS[1:]:
        policy = listened(one, plan)
        for before, step in zip(policy.steps, policy.steps[1:], strict=False):
            assert step.position == before.position + before.tokens
            accepted = range(step.position, step.position + step.tokens - 1)
            assert right.issuperset(accepted)
            assert step.tokens - 1 <= step.drafted == step.computed - 1
        last = policy.steps[-1]
        guessed = [position for position in range(last.position) if position in right]
        assert sum(step.accepted for step in policy.steps) <= len(guessed) + 16
        assert all(0 <= step.accepted <= step.seen for step in policy.steps)


def test_most_tokens_are_guessed_where_the_device_drafts_ahead() -> None:
    """All but a path's first wrong one are right: hits over seen is what the text's own picks are."""
    policy = listened(course(constant(20, 40), alpha=0.8, tokens=2000), (16, 0))
    hits, seen = (sum(getattr(step, name) for step in policy.steps) for name in ("accepted", "seen"))
    assert hits / seen == pytest.approx(tossed(0.8).hits.mean(), abs=0.03)
    assert seen > 1900


def test_reports_say_what_the_nodes_would() -> None:
    """Drafts are hints: no rows are waited for, and the question is told once a path."""
    one = course(LINKS["1/10"](1))
    policy = listened(one, (16, 0))
    assert policy.asked[0] == ANY_REQUEST
    asked = [step for step in policy.steps if step.asked_at_s is not None]
    assert 10 < len(asked) < len(policy.steps)
    for step in policy.steps:
        assert (step.acceptance, step.wait_s, step.rows_at_s) == (COUPLED, 0.0, None)
        assert step.alone == (step.drafted == 0)
    least_s = 10e-3 + PAPER_COMPUTE.draft_step_s
    for step in asked:
        assert step.asked_at_s is not None and step.draft_at_s - step.asked_at_s > least_s
        assert (step.draft_bytes, step.asked_drafted >= 1) == (draft_bytes(step.asked_drafted), True)
        assert step.asked_bytes >= commit_bytes(1)
    assert policy.rows and all(0 <= rows.rows_at_s - rows.draft_at_s < 5e-3 for rows in policy.rows)


def test_rows_are_told_when_they_come_and_when_the_log_has_their_position() -> None:
    """Of the link each row that comes, once; of acceptance each of a right path, once, after it came.

    Positions that the target decoded before their drafts came are among them.
    """
    one = course(LINKS["20/100"](1), tokens=1200)
    policy = listened(one, (16, 0))
    of_link = [(rows.draft_at_s, rows.rows_at_s) for rows in policy.rows if not rows.low]
    of_text = [(rows.draft_at_s, rows.rows_at_s) for rows in policy.rows if rows.low]
    assert len(set(of_link)) == len(of_link) > len(of_text) == len(set(of_text)) > 40
    assert set(of_text) < set(of_link)
    assert all(len(rows.alphas) == len(rows.coupled) == len(rows.low) <= 1 for rows in policy.rows)
    assert len(of_text) <= one.tokens / ROW_EVERY + 1
    tested = {at for step in policy.steps for at in range(step.position, step.position + step.drafted)}
    assert len(of_text) > 1.2 * sum(at % ROW_EVERY == 0 for at in tested)


def test_rows_tell_of_hard_stretches_as_often_as_of_easy_ones() -> None:
    """Drafts are late behind a miss, where text is hard: what rows say is of the text all the same.

    Stretches of 40 that are all right take turns with stretches of coins, and where those miss, the target
    has decoded positions before the next path comes.
    """
    rng, positions = np.random.default_rng(5), 1600
    easy = np.arange(positions) // 40 % 2 == 0
    hits = easy[:, None] | (rng.random((positions, SAMPLES)) < 0.3)
    trace = trace_of(hits, ladder=(1,))
    trace = replace(trace, row_coupled=np.where(easy, 0.9, 0.3)[:, None])
    policy = Listener([PlanValues(k=1, gamma=16, min_draft=0)])
    one = Course(trace=trace, link=LINKS["20/40"](1), tokens=positions, seed=2)
    simulate(one, policy)
    told = [rows.coupled[0] for rows in policy.rows if rows.coupled]
    of_easy, of_hard = told.count(0.9), told.count(0.3)
    assert min(of_easy, of_hard) >= 0.95 * positions / 2 / ROW_EVERY, (of_easy, of_hard)


def test_a_plan_is_in_force_from_the_second_step_on() -> None:
    """What is planned on report n governs step n + 2."""
    plans = [(gamma, 0) for gamma in (1, 2, 3, 5, 6, 8)]
    policy = listened(course(LINKS["1/10"](1), tokens=60), *plans)
    met = [step.plan.gamma for step in policy.steps]
    planned = [policy.plans[n % 6].gamma for n in range(len(met) + 1)]
    assert met[:2] == [1, 1]
    assert met[2:] == planned[1 : len(met) - 1]


def test_a_listening_device_is_heard() -> None:
    """Alone, pings tell the round trip."""
    policy = listened(course(constant(20, 100), tokens=80), (0, 0))
    told = [step.echo_s for step in policy.steps if step.echo_s is not None]
    assert len(told) > 15 and all(0.1 < echo_s < 0.106 for echo_s in told)


def test_a_bs_that_waits_starts_when_its_patience_ends() -> None:
    """Where fewer than min_draft ids come, it goes on with what it has."""
    one = course(constant(1, 100), tokens=60)
    hasty = fixed_plan(one, 8, 8)._replace(patience_s=20e-3)
    run = simulate_plan(Text(course=one), hasty)
    assert run.seconds <= run.tokens * (PAPER_COMPUTE.target_step_s + 21e-3) + 0.2


def told_sizes(uplink_bps: int) -> list[int]:
    """Ids of each Draft that a device sends by itself over 0.1 Mbit/s."""
    one = course(constant(0.1, 10))
    plan = Plan(number=1, k=1, gamma=16, min_draft=0, uplink_bps=uplink_bps)
    device = Drafting(Text(course=one), plan)
    device.advance(1.0)
    return [message.end - message.start for message in device.told if message.end]


def test_ids_that_find_the_link_busy_share_a_message() -> None:
    """Paced by the link's rate; without an estimate each token goes by itself, and queues."""
    assert told_sizes(0) == [1] * 16
    shared = told_sizes(100_000)
    assert sum(shared) == 16 and shared[0] == 1 and len(shared) <= 6


def test_a_right_path_goes_on_and_a_wrong_one_ends() -> None:
    """A Commit that agrees opens the window; one that does not starts an epoch behind it."""
    one = course(constant(20, 10), alpha=0.7)
    text = Text(course=one)
    wrong = text.right[0]
    plan = Plan(number=1, k=1, gamma=8, min_draft=0)
    for length, fresh in ((wrong, False), (wrong + 1, True)):
        device = Drafting(text, plan)
        device.advance(0.5)
        before = [message for message in device.told if message.end]
        device.heard.append(Heard(1.0, length, plan, 44.5e-3))
        device.advance(2.0)
        after = [message for message in device.told if message.end][len(before) :]
        assert before[-1].last and before[-1].end == 8
        if length:
            assert (after[0].epoch > before[0].epoch) == fresh
            assert after[0].start == (length if fresh else 8)
            assert after[-1].end == length + 8 and after[-1].last


def test_early_stop_ends_blocks_that_are_not_worth_their_time() -> None:
    """With a poor draft, blocks of at most 16 are cut to about what pays, and are much faster so."""
    trace = synthetic(replace(SYNTHETIC[0], positions=200))
    one = Course(trace=trace, link=constant(5, 2), tokens=600, seed=1)
    text = Text(course=one)
    whole, stopped = (
        simulate_plan(text, fixed_plan(one, 16, 16, early_stop=early)) for early in (False, True)
    )
    assert stopped.tokens_per_s > 1.3 * whole.tokens_per_s
    assert stopped.waste < 0.3 * whole.waste


def test_reports_change_nothing_and_the_same_seed_is_the_same_run() -> None:
    """Simulations are functions of their course and plans."""
    one = course(LINKS["LTE-like"](3), seed=3)
    for plan in PLANS:
        values = fixed_plan(one, *plan)
        assert simulate(one, FixedPolicy(values)) == simulate_plan(Text(course=one), values)
    other = course(LINKS["LTE-like"](3), seed=4)
    assert simulate_plan(Text(course=other), values) != simulate_plan(Text(course=one), values)


def test_hindsight_finds_the_best_plan() -> None:
    """With all plans tried on every course it is the best of them; with some, it is none that was not."""
    courses = [course(constant(20, 1), seed=seed, tokens=120) for seed in (1, 2, 3)]
    plans = [(0, 0), (2, 0), (8, 3), (16, 16)]
    rates = np.array(
        [
            [simulate_plan(Text(course=one), fixed_plan(one, *plan)).tokens_per_s for plan in plans]
            for one in courses
        ]
    )
    reached, best = best_fixed(courses, plans=plans, tried=3)
    assert reached == pytest.approx(rates.max(axis=1))
    assert best == plans[int(rates.mean(axis=0).argmax())]
    some, _ = best_fixed(courses, plans=plans, tried=1, kept=1)
    assert some[0] == reached[0] and (some <= reached).all()
    assert len(set(FIXED)) == len(FIXED) and all(wait <= gamma for gamma, wait in FIXED)


def test_a_plan_that_the_trace_does_not_know_is_refused() -> None:
    """A K between the rungs has no rows."""
    one = course(constant(1, 10))
    with pytest.raises(ValueError, match="k is 9"):
        simulate(one, FixedPolicy(PlanValues(k=9, gamma=4, min_draft=0)))


def test_a_policy_that_opens_begins_with_its_coupled_plan() -> None:
    """The first plan is the one of its openings that is for coupled requests."""

    class Opening(Listener):
        def openings(self, device: str) -> tuple[PlanValues, ...]:
            assert device == DEVICE
            return PlanValues(k=8, gamma=2, min_draft=2), self.plans[0]._replace(gamma=7)

    one = course(constant(1, 10), tokens=40)
    policy = Opening([fixed_plan(one, 3, 0)])
    simulate(one, policy)
    assert [step.plan.gamma for step in policy.steps[:3]] == [7, 7, 3] and ANY_REQUEST not in policy.asked


# The renewal model ------------------------------------------------------------------------------------------


def test_survives_are_those_of_the_text() -> None:
    """Along a toss of coins they are alpha^k, and 1 at the start."""
    text = Text(course=Course(trace=tossed(0.7, positions=4000), link=constant(1, 10), tokens=4000, seed=1))
    found = survives_of(text)
    assert found[0] == 1.0
    assert found[1:5] == pytest.approx([0.7**k for k in range(1, 5)], abs=0.03)


def test_the_renewal_model_is_close_to_the_simulation() -> None:
    """Long-run hazards, long and short round trips, slow and fast drafts: 9 of 10 within 6 %."""
    found = renewal_errors(
        [tossed(0.6, positions=900)], seeds=(0,), rates_mbit=(1.0,), rtts_ms=(1.0, 40.0), tokens=900
    )
    assert len(found) == 40
    assert error_percentile(found, 90) < 6, [one for one in found if abs(one.error) > 0.06]
    assert error_percentile(found, 50) < 2


@pytest.mark.slow
def test_the_renewal_model_is_close_over_all_pairs_and_links() -> None:
    """The same with the synthetic pairs, whose texts have easy and hard stretches."""
    traces = [synthetic(replace(recipe, positions=1200)) for recipe in SYNTHETIC]
    found = renewal_errors(traces, seeds=(0,), rates_mbit=(0.1, 20.0), tokens=1200)
    assert error_percentile(found, 90) < 6, sorted(found, key=lambda one: -abs(one.error))[:5]
    assert error_percentile(found, 50) < 2
