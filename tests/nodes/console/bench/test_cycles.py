"""The simulator by itself: what it computes, and what it tells a policy."""

from dataclasses import replace

import numpy as np
import pytest
from tests.harness.tables import usual_set

from draftwire.codecs.control import ANY_REQUEST, RowsReport, StepReport
from draftwire.codecs.tables import by_tag
from draftwire.nodes.console.bench.cells import adaptive
from draftwire.nodes.console.bench.cycles import DEVICE, PAPER_COMPUTE, REQUEST, Course, simulate
from draftwire.nodes.console.bench.lanes import simulate_fixed
from draftwire.nodes.console.bench.links import LINKS, constant
from draftwire.nodes.console.bench.traces import SYNTHETIC, AcceptanceTrace, synthetic
from draftwire.nodes.controller.policy import FixedPolicy, PlanValues, Report
from draftwire.nodes.speculation.cost import LinkEstimate, forecast
from draftwire.runtime.session.device import ACKNOWLEDGE_EVERY

TRACE = synthetic(replace(SYNTHETIC[2], positions=200))
SETTINGS = [(1, 1), (8, 4), (320, 8), (1280, 16)]


def course(link: str = "1/10", *, seed: int = 1, tokens: int = 120, paper_bits: int | None = None) -> Course:
    return Course(trace=TRACE, link=LINKS[link](seed), tokens=tokens, seed=seed, paper_bits=paper_bits)


def fixed(k: int, gamma: int) -> FixedPolicy:
    return FixedPolicy(PlanValues(k=k, gamma=gamma, min_draft=gamma))


class Listener:
    """Plans by a rule of the number of reports heard, and keeps everything."""

    def __init__(self, gammas: tuple[int, ...] = (4,), k: int = 8, *, blockwise: bool = False) -> None:
        self.gammas, self.k, self.blockwise = gammas, k, blockwise
        self.steps: list[StepReport] = []
        self.rows: list[RowsReport] = []
        self.heard: list[Report] = []
        self.asked: list[int] = []

    def observe(self, report: Report) -> None:
        self.heard.append(report)
        if isinstance(report, StepReport):
            self.steps.append(report)
        else:
            self.rows.append(report)

    def plan(self, device: str, request: int) -> PlanValues:
        self.asked.append(request)
        gamma = self.gammas[len(self.steps) % len(self.gammas)]
        return PlanValues(k=self.k, gamma=gamma, min_draft=gamma, blockwise=self.blockwise)


@pytest.mark.parametrize("paper_bits", [None, 31])
@pytest.mark.parametrize("link", ["0.1/10", "20/40", "20<>0.1", "fading 50ms", "LTE-like"])
def test_many_at_once_are_one_by_one(link: str, paper_bits: int | None) -> None:
    """Every setting and seed comes out as its own simulation does."""
    courses = [course(link, seed=seed, paper_bits=paper_bits) for seed in (1, 2)]
    together = simulate_fixed(courses, SETTINGS)
    for i, setting in enumerate(SETTINGS):
        for j, one in enumerate(courses):
            assert together[i, j] == pytest.approx(simulate(one, fixed(*setting)).tokens_per_s, rel=1e-9)


@pytest.mark.parametrize(
    ("mbit", "rtt_ms", "k", "gamma"), [(0.1, 10, 8, 4), (1, 40, 320, 5), (20, 2, 1280, 12)]
)
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_step_takes_what_the_cost_model_says(
    alpha: float, mbit: float, rtt_ms: float, k: int, gamma: int
) -> None:
    """Where nothing is left to chance, tokens a second are those of the forecast."""
    size = TRACE.row_bits.mean(axis=0)
    certain = replace(
        TRACE, alpha=np.full_like(TRACE.alpha, alpha), row_bits=np.tile(np.round(size), (len(TRACE.alpha), 1))
    )
    one = Course(trace=certain, link=constant(mbit, rtt_ms), tokens=200, seed=1, jitter=False)
    frames = certain.frames
    if alpha == 0:  # the forecast counts a Commit of gamma + 1 ids, and this one has a single id
        frames = replace(frames, commit_bits=lambda gamma: certain.frames.commit_bits(0))
    expected = forecast(
        k=k,
        gamma=gamma,
        alpha=alpha,
        compute=PAPER_COMPUTE,
        link=LinkEstimate(uplink_bps=mbit * 1e6, downlink_bps=mbit * 1e6, rtt_s=rtt_ms / 1e3),
        frames=frames,
    )
    assert simulate(one, fixed(k, gamma)).tokens_per_s == pytest.approx(expected.tokens_per_s, rel=0.01)


def test_a_plan_is_in_force_from_the_second_step_on() -> None:
    """What is planned on report n governs step n + 2; the first plan is the one for any request."""
    policy = Listener(gammas=(1, 2, 3, 4, 5, 6))
    simulate(course(), policy)
    assert policy.asked[0] == ANY_REQUEST
    drawn = [report.plan.gamma for report in policy.steps]
    assert drawn[:2] == [1, 1]
    planned = [policy.gammas[(n + 1) % 6] for n in range(len(drawn))]
    assert drawn[2:] == planned[: len(drawn) - 2]


def test_every_block_s_rows_are_reported_once_before_the_next_block() -> None:
    """Rows that came in time are told before their StepReport, late ones before the next."""
    policy = Listener(k=320)
    simulate(course("0.1/10"), policy)
    told = [report.step for report in policy.rows]
    assert told == [report.step for report in policy.steps][: len(told)]
    assert len(policy.rows) >= len(policy.steps) - 1
    by_step = {report.step: report for report in policy.rows}
    late = 0
    for before, step in zip([None, *policy.steps], policy.steps, strict=False):
        rows = by_step.get(step.step)
        if rows is None:
            continue
        assert len(rows.low) == step.seen == min(step.accepted + 1, step.drafted)
        assert rows.ladder[-1] == rows.k == step.plan.k
        assert rows.draft_at_s == step.draft_at_s < rows.rows_at_s
        if step.rows_at_s is None:
            late += 1
            assert rows.rows_at_s > step.ended_at_s
        else:
            assert (step.rows_at_s, step.rows_bytes) == (rows.rows_at_s, rows.rows_bytes)
            assert policy.heard.index(rows) < policy.heard.index(step)
        if before is not None:
            assert (step.asked_at_s, step.position) == (
                before.ended_at_s,
                before.position + before.accepted + 1,
            )
            assert step.draft_at_s > before.ended_at_s
        assert step.hold_s == pytest.approx(step.step_s + step.wait_s + PAPER_COMPUTE.overhead_s)
    assert late > 0


def test_a_rejected_draft_waits_for_its_rows_and_an_accepted_block_does_not() -> None:
    """On a slow link the Commit leaves when the rows are there, if they are needed at all."""
    policy = Listener(k=320)
    simulate(course("0.1/10"), policy)
    for step in policy.steps:
        assert (step.wait_s > 0) == (step.accepted < step.drafted)


@pytest.mark.parametrize("link", ["0.1/10", "20/40"])
def test_a_block_tested_as_a_whole_waits_for_all_its_rows(link: str) -> None:
    """Accepted or not: its outcome needs them. Where they come before the pass ends, that costs nothing."""
    policy = Listener(k=320, blockwise=True)
    whole = simulate(course(link), policy)
    for step in policy.steps:
        assert step.plan.blockwise and step.rows_at_s is not None
        assert step.wait_s == pytest.approx(
            max(0.0, step.rows_at_s - step.draft_at_s - step.step_s - PAPER_COMPUTE.overhead_s)
        )
    by_token = simulate(course(link), fixed(320, 4))
    assert whole.steps == by_token.steps
    assert (whole.seconds > by_token.seconds) == (link == "0.1/10")
    together = simulate_fixed([course(link)], [(320, 4)], blockwise=True)
    assert together[0, 0] == pytest.approx(whole.tokens_per_s, rel=1e-9)


def test_rows_tell_what_coupled_picks_would_have_been() -> None:
    """Each tested position with the probability that picks of its row and of p are equal."""
    policy = Listener(k=320)
    one = course()
    simulate(one, policy)
    rung = TRACE.ladder.index(320)
    for rows, step in zip(policy.rows, policy.steps, strict=False):
        places = one.places[step.position : step.position + step.seen]
        assert rows.coupled == pytest.approx(TRACE.row_coupled[places, rung])


def test_the_target_alone_is_told_without_a_block() -> None:
    """Reports of steps alone name no sizes and no question; their times go on from the last."""
    policy = Listener(gammas=(0, 3, 3, 0, 0, 0))
    simulate(course(), policy)
    for before, step in zip(policy.steps, policy.steps[1:], strict=False):
        assert step.tokens == step.accepted + 1 and step.asked_drafted == step.drafted
        assert step.alone == (step.plan.gamma == 0)
        if step.alone:
            assert (step.draft_bytes, step.rows_bytes, step.asked_at_s, step.rows_at_s) == (0, 0, None, None)
            assert step.ended_at_s == pytest.approx(before.ended_at_s + PAPER_COMPUTE.target_step_s)


def test_a_listening_device_is_heard() -> None:
    """Alone, a ping every few tokens tells the round trip, with the bytes of both messages."""
    policy = Listener(gammas=(0,))
    simulate(course("20/100"), policy)
    told = [step for step in policy.steps if step.echo_s is not None]
    assert len(told) >= len(policy.steps) // ACKNOWLEDGE_EVERY - 1
    assert all(0.1 < step.echo_s < 0.106 and step.echo_bytes > 80 for step in told if step.echo_s)
    drafting = Listener()
    simulate(course("20/100"), drafting)
    assert all(step.echo_s is None and step.echo_bytes == 0 for step in drafting.steps)


def test_the_same_seed_is_the_same_run() -> None:
    """Simulations are functions of their course and policy."""
    assert simulate(course("LTE-like"), fixed(8, 4)) == simulate(course("LTE-like"), fixed(8, 4))
    assert simulate(course(seed=1), fixed(8, 4)) != simulate(course(seed=2), fixed(8, 4))


def test_a_plan_that_the_trace_does_not_know_is_refused() -> None:
    """A K between the rungs has no acceptance."""
    with pytest.raises(ValueError, match="k is 9"):
        simulate(course(), fixed(9, 4))


def test_a_course_needs_a_token() -> None:
    """0 tokens are no run."""
    trace: AcceptanceTrace = TRACE
    with pytest.raises(ValueError, match="tokens"):
        Course(trace=trace, link=constant(1, 10), tokens=0, seed=1)


def test_a_policy_knows_the_size_of_rows_by_the_reports_spelling() -> None:
    """Rows of a set that says twice the plain size are known for what they are, also at K not yet sent."""
    usual = usual_set(TRACE.vocab_size)
    size = dict(zip(TRACE.ladder, 2 * TRACE.row_bits.mean(axis=0), strict=True))
    rungs = tuple(
        replace(rung, k=k, row_bits=round(bits))
        for rung, (k, bits) in zip(usual.rungs * 2, size.items(), strict=False)
    )
    tables = replace(usual, rungs=rungs)
    spelt = replace(TRACE, row_bits=2 * TRACE.row_bits, tables=tables.hash.hex())
    policy = adaptive(TRACE, target_only=False)
    policy.table_sets = by_tag([tables])
    simulate(Course(trace=spelt, link=constant(0.3, 10.0), tokens=60, seed=1), policy)
    belief = policy.plan(DEVICE, REQUEST).belief
    assert belief is not None and belief.tables == tables.hash.hex()
    assert belief.row_scale == pytest.approx(1.0, abs=0.051)
    for k in (3, 32, 320):
        assert belief.frames.rows_bits(k, 4) == pytest.approx(spelt.frames.rows_bits(k, 4), rel=0.08)
