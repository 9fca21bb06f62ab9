"""The simulator against the nodes themselves: device, channel and BS over the same link, in virtual time."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from tests.harness.cell import CHANNEL, VOCAB_SIZE, cell, request, run, text

from draftwire.codecs.control import StepReport
from draftwire.nodes.console.bench.cycles import Course, simulate
from draftwire.nodes.console.bench.links import constant
from draftwire.nodes.console.bench.traces import MEASURES, AcceptanceTrace, record
from draftwire.nodes.controller.policy import FixedPolicy, PlanValues, Report
from draftwire.nodes.models.synthetic import SyntheticPair
from draftwire.nodes.speculation.cost import Compute

COMPUTE = Compute(draft_step_s=3.1e-3, target_step_s=44.5e-3)
"As the harness paces its nodes."

NOISE = 1.0
LINKS = [(0.1, 10.0), (1.0, 40.0), (20.0, 2.0)]
PLANS = [(8, 4), (32, 8)]


@cache
def served(mbit: float, rtt_ms: float, k: int, gamma: int, tokens: int) -> tuple[list[StepReport], list[int]]:
    """Reports of a real answer, and its text with the prompt."""
    wanted = request(max_new_tokens=tokens)

    async def main() -> tuple[list[StepReport], list[int]]:
        async with cell(k=k, gamma=gamma, noise=NOISE) as bs:
            await bs.channel(f"rate {mbit}mbit delay {rtt_ms / 2}ms")
            device = await bs.device(address=CHANNEL)
            said = await text(device, wanted)
            return list(bs.reports), [*wanted.prompt, *said]

    return run(main())


def traced(tokens: Sequence[int], *, prompt: int) -> AcceptanceTrace:
    """Acceptance of the harness's pair along this text."""
    pair = SyntheticPair(vocab_size=VOCAB_SIZE, seed=1, noise=NOISE)
    count = len(tokens) - prompt
    told = tokens[: len(tokens) - 1]  # the logits of a row are those of the token behind it
    logits = zip(pair.target.rows(told, count), pair.draft.rows(told, count), strict=True)
    return record(logits, name="harness", vocab_size=VOCAB_SIZE, temperature=1.0)


class Reporting:
    """A fixed plan that keeps what it is told."""

    def __init__(self, k: int, gamma: int) -> None:
        self.values = PlanValues(k=k, gamma=gamma, min_draft=gamma)
        self.reports: list[StepReport] = []

    def observe(self, report: Report) -> None:
        if isinstance(report, StepReport):
            self.reports.append(report)

    def plan(self, device: str, request: int) -> PlanValues:
        return self.values


def speed(reports: Sequence[StepReport]) -> float:
    """Tokens a second, the first step and what comes before it left out."""
    tokens = sum(report.accepted + 1 for report in reports[1:])
    return tokens / (reports[-1].ended_at_s - reports[0].ended_at_s)


def course(trace: AcceptanceTrace, mbit: float, rtt_ms: float, seed: int, tokens: int) -> Course:
    return Course(
        trace=trace,
        link=constant(mbit, rtt_ms),
        tokens=tokens,
        seed=seed,
        compute=COMPUTE,
        jitter=False,
    )


@pytest.mark.parametrize(("k", "gamma"), PLANS)
@pytest.mark.parametrize(("mbit", "rtt_ms"), LINKS)
def test_the_same_outcomes_take_the_same_time(mbit: float, rtt_ms: float, k: int, gamma: int) -> None:
    """Given which drafts were accepted, the simulator's clock agrees with the nodes' to 1 %."""
    reports, tokens = served(mbit, rtt_ms, k, gamma, 120)
    trace = traced(tokens, prompt=3)
    alpha = np.zeros_like(trace.alpha)
    for report in reports:
        start = report.position - 3
        alpha[start : start + report.accepted] = 1.0
    replayed = replace(trace, alpha=alpha)
    # A course begins somewhere in its text: turn the text, so that this one begins at its start.
    start = course(replayed, mbit, rtt_ms, 1, 100).places[0]
    turned = {name: np.roll(getattr(replayed, name), start, axis=0) for name in MEASURES}
    one = course(replace(replayed, **turned), mbit, rtt_ms, 1, 100)
    policy = Reporting(k, gamma)
    simulate(one, policy)
    met, told = policy.reports, reports[: len(policy.reports)]
    assert [report.accepted for report in met] == [report.accepted for report in told]
    assert speed(met) == pytest.approx(speed(told), rel=0.01)
    for ours, theirs in zip(met[1:], told[1:], strict=True):
        assert ours.draft_bytes == pytest.approx(theirs.draft_bytes, abs=4)
        assert ours.asked_bytes == pytest.approx(theirs.asked_bytes, abs=4)
        assert ours.wait_s == pytest.approx(theirs.wait_s, abs=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("k", "gamma"), PLANS)
@pytest.mark.parametrize(("mbit", "rtt_ms"), LINKS)
def test_recorded_acceptance_predicts_the_speed(mbit: float, rtt_ms: float, k: int, gamma: int) -> None:
    """With acceptance recorded along the text, tokens a second are the nodes' to 5 %."""
    reports, tokens = served(mbit, rtt_ms, k, gamma, 1500)
    trace = traced(tokens, prompt=3)
    speeds = []
    for seed in range(20):
        policy = Reporting(k, gamma)
        simulate(course(trace, mbit, rtt_ms, seed, 1500), policy)
        speeds.append(speed(policy.reports))
    assert np.mean(speeds) == pytest.approx(speed(reports), rel=0.05)


def test_the_target_alone_goes_at_its_own_pace() -> None:
    """gamma = 0: a token a target step, whatever the round trip, in both."""
    reports, tokens = served(1.0, 100.0, 8, 0, 60)
    policy = Reporting(8, 0)
    simulate(course(traced(tokens, prompt=3), 1.0, 100.0, 0, 60), policy)
    assert speed(reports) == pytest.approx(1 / 0.0445, rel=1e-6)
    assert speed(policy.reports) == pytest.approx(1 / 0.0445, rel=1e-6)


def test_a_fixed_policy_is_served() -> None:
    """FixedPolicy drives the simulator as Reporting does."""
    _, tokens = served(1.0, 40.0, 8, 4, 120)
    trace = traced(tokens, prompt=3)
    policy = Reporting(8, 4)
    one = course(trace, 1.0, 40.0, 1, 100)
    assert simulate(one, policy) == simulate(one, FixedPolicy(policy.values))
