"""The pipelined simulation against the nodes: device, channel, BS and controller in virtual time."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import pytest
from tests.harness.cell import CHANNEL, VOCAB_SIZE, cell, request, run, text
from tests.harness.coins import trace_of

from draftwire.codecs.control import COUPLED, RowsReport, StepReport
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
from draftwire.runtime.session.ahead import ROW_EVERY

COMPUTE = Compute(draft_step_s=3.1e-3, target_step_s=44.5e-3)
"As the harness paces its nodes."

NOISE = 0.6
LINKS = [(0.1, 10.0), (1.0, 40.0), (20.0, 2.0)]
PLANS = [(8, 0), (8, 3), (4, 4), (0, 0)]
CASES = [
    *((*link, *plan) for link in LINKS for plan in PLANS),
    (1.0, 40.0, 12, 12),  # a block with two positions whose rows could come
    (20.0, 2.0, 24, 2),  # so long a window that the device is in the middle of a token when a path ends
]
K = 8
PROMPT = tuple(range(1, ROW_EVERY + 1))
"""Of a length that leaves positions what they are, modulo ROW_EVERY: the same drafts come with their rows."""


@dataclass
class Planned:
    """Opens with one plan, keeps to it, and keeps what it is told."""

    values: PlanValues
    reports: list[StepReport] = field(default_factory=list)
    rows: list[tuple[float, RowsReport]] = field(default_factory=list)
    "and when the last pass before it ended"

    def openings(self, device: str) -> tuple[PlanValues, ...]:
        return (self.values,)

    def observe(self, report: Report) -> None:
        if isinstance(report, StepReport):
            self.reports.append(report)
        else:
            self.rows.append((self.reports[-1].ended_at_s if self.reports else 0.0, report))

    def plan(self, device: str, request: int) -> PlanValues:
        return self.values._replace(preferred=False)


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
) -> tuple[Planned, list[int]]:
    """What a controller is told of a real answer, and its text with the prompt."""
    wanted = request(PROMPT, max_new_tokens=tokens, acceptance=Acceptance.COUPLED)

    async def main() -> tuple[Planned, list[int]]:
        policy = planned(gamma, min_draft, mbit, rtt_ms)
        async with cell(policy=policy, noise=NOISE) as bs:
            await bs.channel(f"rate {mbit}mbit delay {rtt_ms / 2}ms")
            device = await bs.device(address=CHANNEL)
            said = await text(device, wanted)
            return policy, [*wanted.prompt, *said]

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
    trace = traced(tokens, prompt=len(PROMPT), seed=5)

    def course(trace: AcceptanceTrace) -> Course:
        return Course(
            trace=trace,
            link=constant(mbit, rtt_ms),
            tokens=len(tokens) - len(PROMPT) - 2 * 24,  # near its end an answer is drafted less far ahead
            seed=1,
            compute=COMPUTE,
            jitter=False,
        )

    start = course(trace).places[0]
    return course(replace(trace, hits=np.roll(trace.hits, start, axis=0)))


@pytest.mark.parametrize(("mbit", "rtt_ms", "gamma", "min_draft"), CASES)
def test_the_same_picks_take_the_same_time(mbit: float, rtt_ms: float, gamma: int, min_draft: int) -> None:
    """Given where both ends' picks are equal, the simulation's reports are the nodes', pass by pass."""
    real_policy, tokens = served(gamma, min_draft, mbit, rtt_ms, 150)
    policy = planned(gamma, min_draft, mbit, rtt_ms)
    simulate_pipelined(replayed(tokens, mbit, rtt_ms), policy)
    met, theirs = together(policy.reports[:-1], real_policy.reports)
    ours_s, theirs_s = met[0].ended_at_s, theirs[0].ended_at_s
    for one, real in zip(met, theirs, strict=True):
        assert one.ended_at_s - ours_s == pytest.approx(real.ended_at_s - theirs_s, abs=1e-3)
        # Rows are of the usual size in one and their own in the other: a message may leave a token later.
        assert one.hold_s == pytest.approx(real.hold_s, abs=1.5 * COMPUTE.draft_step_s)
        if one.drafted and one.draft_at_s > ours_s:  # before that a request is opened, which takes its time
            assert one.draft_at_s - ours_s == pytest.approx(real.draft_at_s - theirs_s, abs=1e-3)
        if one.asked_at_s is not None and one.asked_at_s > ours_s:
            assert real.asked_at_s is not None
            assert one.asked_at_s - ours_s == pytest.approx(real.asked_at_s - theirs_s, abs=1e-3)
            assert (one.asked_drafted, one.asked_bytes) == (real.asked_drafted, real.asked_bytes)
    ours, theirs_rows = rows_told(policy, met), rows_told(real_policy, theirs)
    assert [kind for kind, _ in ours] == [kind for kind, _ in theirs_rows]
    assert bool(ours) == (gamma > 0)
    for (_, row), (_, real_row) in zip(ours, theirs_rows, strict=True):
        assert row.draft_at_s - ours_s == pytest.approx(real_row.draft_at_s - theirs_s, abs=1e-3)
        assert row.rows_bytes == pytest.approx(real_row.rows_bytes, abs=3)


def together(
    met: Sequence[StepReport], theirs: Sequence[StepReport]
) -> tuple[Sequence[StepReport], Sequence[StepReport]]:
    """Both from where they say the same, up to the shorter one's end. That is soon, or it is an error.

    They begin differently, as an Open takes a round trip that the simulation knows nothing of.
    """
    starts = {one.position - len(PROMPT): i for i, one in enumerate(theirs)}
    for i, one in enumerate(met[: len(met) // 4]):
        ours, real = met[i:], theirs[starts.get(one.position, len(theirs)) :][: len(met) - i]
        said = [told(each, prompt=0) for each in ours[1:]]
        if said == [told(each, prompt=len(PROMPT)) for each in real[1:]]:
            return ours[1:], real[1:]
    ends = told(met[-1], prompt=0), told(theirs[len(met) - 1], prompt=len(PROMPT))
    raise AssertionError(f"they never come together; the last of each: {ends}")


def rows_told(
    policy: Planned, reports: Sequence[StepReport]
) -> list[tuple[tuple[int, bool], RowsReport]]:
    """Reports of rows among these: behind how many passes, and whether of acceptance."""
    ended_s = [one.ended_at_s for one in reports]
    began_s = ended_s[len(ended_s) // 4]  # what they tell of began behind the first of them, too
    return [
        ((ended_s.index(after_s), bool(row.low)), row)
        for after_s, row in policy.rows
        if began_s <= after_s < ended_s[-1]
    ]


def told(report: StepReport, *, prompt: int) -> dict[str, object]:
    """What does not hang on a clock."""
    names = ("drafted", "tokens", "seen", "accepted", "computed", "alone", "draft_bytes", "acceptance")
    answers = report.asked_at_s is not None
    return {name: getattr(report, name) for name in names} | {
        "position": report.position - prompt,
        "answers": answers,
    }
