"""The pipelined simulation against the nodes: device, channel, BS and controller in virtual time."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import pytest
from tests.harness.cell import CHANNEL, VOCAB_SIZE, cell, request, run, text
from tests.harness.coins import trace_of

from draftwire.codecs.control import COUPLED, StepReport
from draftwire.codecs.messages import Acceptance, Sampling
from draftwire.nodes.console.bench.cycles import Course
from draftwire.nodes.console.bench.links import constant
from draftwire.nodes.console.bench.pipelined import simulate as simulate_pipelined
from draftwire.nodes.console.bench.traces import AcceptanceTrace
from draftwire.nodes.controller.policy import PlanValues, Report
from draftwire.nodes.models.synthetic import SyntheticPair
from draftwire.nodes.speculation.cost import Compute
from draftwire.nodes.speculation.noise import Key, PhiloxNoise, Purpose
from draftwire.nodes.speculation.sampling import target_distribution

COMPUTE = Compute(draft_step_s=3.1e-3, target_step_s=44.5e-3)
"As the harness paces its nodes."

NOISE = 0.6
LINKS = [(0.1, 10.0), (1.0, 40.0), (20.0, 2.0)]
PLANS = [(8, 0), (8, 3), (4, 4), (0, 0)]
CASES = [
    *((*link, *plan) for link in LINKS for plan in PLANS),
    (20.0, 2.0, 24, 2),  # so long a window that the device is in the middle of a token when a path ends
]
K = 8


@dataclass
class Planned:
    """Opens with one plan, keeps to it, and keeps what it is told."""

    values: PlanValues
    reports: list[StepReport] = field(default_factory=list)

    def openings(self, device: str) -> tuple[PlanValues, ...]:
        return (self.values,)

    def observe(self, report: Report) -> None:
        if isinstance(report, StepReport):
            self.reports.append(report)

    def plan(self, device: str, request: int) -> PlanValues:
        return self.values


def planned(gamma: int, min_draft: int, mbit: float, rtt_ms: float) -> Planned:
    """With the link's rate, and a patience that is enough."""
    values = PlanValues(
        k=K,
        gamma=gamma,
        min_draft=min_draft,
        uplink_bps=int(mbit * 1e6),
        patience_s=0.5,
        acceptance=COUPLED,
        preferred=True,
    )
    return Planned(values)


@cache
def served(
    gamma: int, min_draft: int, mbit: float, rtt_ms: float, tokens: int
) -> tuple[list[StepReport], list[int]]:
    """Reports of a real answer, and its text with the prompt."""
    wanted = request(max_new_tokens=tokens, acceptance=Acceptance.COUPLED)

    async def main() -> tuple[list[StepReport], list[int]]:
        async with cell(policy=planned(gamma, min_draft, mbit, rtt_ms), noise=NOISE) as bs:
            await bs.channel(f"rate {mbit}mbit delay {rtt_ms / 2}ms")
            device = await bs.device(address=CHANNEL)
            said = await text(device, wanted)
            return list(bs.reports), [*wanted.prompt, *said]

    return run(main())


def traced(tokens: Sequence[int], *, prompt: int, seed: int) -> AcceptanceTrace:
    """Where the draft's picks along this text are its tokens."""
    pair = SyntheticPair(vocab_size=VOCAB_SIZE, seed=1, noise=NOISE)
    count = len(tokens) - prompt
    noise, ids = PhiloxNoise(), np.arange(VOCAB_SIZE)
    hits = []
    for i, logits in enumerate(pair.draft.rows(tokens[: len(tokens) - 1], count)):
        q = target_distribution(logits, Sampling(temperature=1.0))
        position = prompt + i
        pick = noise.draw_masses(Key(seed, 0, position, Purpose.TARGET), q, ids)
        hits.append(pick == tokens[position])
    return trace_of(np.array(hits), ladder=(K,))


def replayed(tokens: Sequence[int], mbit: float, rtt_ms: float) -> Course:
    """The course that begins where the text does."""
    trace = traced(tokens, prompt=3, seed=5)

    def course(trace: AcceptanceTrace) -> Course:
        return Course(
            trace=trace,
            link=constant(mbit, rtt_ms),
            tokens=len(tokens) - 3 - 2 * 24,  # near its end an answer is drafted less far ahead
            seed=1,
            compute=COMPUTE,
            jitter=False,
        )

    start = course(trace).places[0]
    return course(replace(trace, hits=np.roll(trace.hits, start, axis=0)))


@pytest.mark.parametrize(("mbit", "rtt_ms", "gamma", "min_draft"), CASES)
def test_the_same_picks_take_the_same_time(mbit: float, rtt_ms: float, gamma: int, min_draft: int) -> None:
    """Given where both ends' picks are equal, the simulation's reports are the nodes', pass by pass."""
    reports, tokens = served(gamma, min_draft, mbit, rtt_ms, 150)
    policy = planned(gamma, min_draft, mbit, rtt_ms)
    simulate_pipelined(replayed(tokens, mbit, rtt_ms), policy)
    met, theirs = policy.reports[:-1], reports[: len(policy.reports) - 1]
    assert len(theirs) == len(met) > 20
    ours_s, theirs_s = met[2].ended_at_s, theirs[2].ended_at_s
    for one, real in zip(met[2:], theirs[2:], strict=True):  # what comes before is another beginning
        assert told(one, prompt=0) == told(real, prompt=3)
        assert one.ended_at_s - ours_s == pytest.approx(real.ended_at_s - theirs_s, abs=1e-3)
        # Rows are of the usual size in one and their own in the other: a message may leave a token later.
        assert one.hold_s == pytest.approx(real.hold_s, abs=1.5 * COMPUTE.draft_step_s)
        if one.drafted:
            assert one.draft_at_s - ours_s == pytest.approx(real.draft_at_s - theirs_s, abs=1e-3)
        if real.asked_at_s is not None:
            assert one.asked_at_s is not None
            assert one.asked_at_s - ours_s == pytest.approx(real.asked_at_s - theirs_s, abs=1e-3)
            assert (one.asked_drafted, one.asked_bytes) == (real.asked_drafted, real.asked_bytes)


def told(report: StepReport, *, prompt: int) -> dict[str, object]:
    """What does not hang on a clock."""
    names = ("drafted", "tokens", "seen", "accepted", "computed", "alone", "draft_bytes", "acceptance")
    answers = report.asked_at_s is not None
    return {name: getattr(report, name) for name in names} | {
        "position": report.position - prompt,
        "answers": answers,
    }
