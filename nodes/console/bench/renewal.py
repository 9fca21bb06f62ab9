"""How far the renewal model (nodes/speculation/pipeline.py) is from the simulation of what it models."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import numpy as np

from draftwire.codecs.limits import MAX_GAMMA
from draftwire.nodes.console.bench.cycles import MEAN_JITTER_S, PAPER_COMPUTE, Course
from draftwire.nodes.console.bench.drafting import Text
from draftwire.nodes.console.bench.links import constant
from draftwire.nodes.console.bench.pipelined import fixed_plan, simulate_plan
from draftwire.nodes.console.bench.traces import AcceptanceTrace
from draftwire.nodes.speculation.cost import LinkEstimate
from draftwire.nodes.speculation.frames import true_frames
from draftwire.nodes.speculation.pipeline import flow

DRAFT_STEPS_S: Final = (3.1e-3, 8e-3)
RTTS_MS: Final = (1.0, 10.0, 40.0, 100.0)
RATES_MBIT: Final = (1.0, 20.0)
PLANS: Final = ((2, 0), (2, 1), (4, 0), (4, 2), (8, 0), (8, 1), (8, 3), (16, 0), (16, 2), (16, 5))
"""(gamma, min_draft)."""

TOKENS: Final = 2500

LEAST_RUNS: Final = 20
"""Paths that got so far, for a hazard to be known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One plan of one pair on one link."""

    pair: str
    draft_step_s: float
    mbit: float
    rtt_ms: float
    gamma: int
    min_draft: int
    modelled: float
    "tokens a second"
    simulated: float

    @property
    def error(self) -> float:
        """Relative, of the model."""
        return self.modelled / self.simulated - 1


def survives_of(text: Text, *, most: int = 2 * MAX_GAMMA) -> tuple[float, ...]:
    """The chance that the first k ids of a path are right, k = 0, 1, .. up to `most`, along a text.

    Of paths that begin behind a miss, as a renewal's does: in hard stretches more often than in easy ones. It
    ends where fewer than LEAST_RUNS paths got.
    """
    start, runs = 0, list[int]()
    while start < text.course.tokens:
        runs.append(text.right[start] - start)
        start = text.right[start] + 1
    lengths = np.array(runs)
    reached = [int((lengths >= k).sum()) for k in range(most + 1)]
    known = max(2, sum(count >= LEAST_RUNS for count in reached))
    return tuple(count / len(runs) for count in reached[:known])


def renewal_errors(
    traces: Iterable[AcceptanceTrace],
    *,
    seeds: Sequence[int] = (0, 1),
    draft_steps_s: Sequence[float] = DRAFT_STEPS_S,
    rates_mbit: Sequence[float] = RATES_MBIT,
    rtts_ms: Sequence[float] = RTTS_MS,
    plans: Sequence[tuple[int, int]] = PLANS,
    tokens: int = TOKENS,
) -> list[Compared]:
    """The model, told of a text's long-run hazards, against the simulation, over pairs, links and plans.

    Both are means over the seeds. A minute a trace.
    """
    found = []
    for trace, draft_step_s, mbit, rtt_ms in product(traces, draft_steps_s, rates_mbit, rtts_ms):
        compute = replace(PAPER_COMPUTE, draft_step_s=draft_step_s)
        link = constant(mbit, rtt_ms)
        texts = [
            Text(course=Course(trace=trace, link=link, tokens=tokens, seed=seed, compute=compute))
            for seed in seeds
        ]
        found += [_compared(texts, *plan, mbit=mbit, rtt_ms=rtt_ms) for plan in plans]
    return found


def _compared(
    texts: Sequence[Text], gamma: int, min_draft: int, *, mbit: float, rtt_ms: float
) -> Compared:
    first = texts[0].course
    trace, compute = first.trace, first.compute
    rate_bps = mbit * 1e6
    link = LinkEstimate(
        uplink_bps=rate_bps, downlink_bps=rate_bps, rtt_s=rtt_ms / 1e3 + 2 * MEAN_JITTER_S
    )
    modelled, simulated = [], []
    for text in texts:
        expected = flow(
            gamma=gamma,
            min_draft=min_draft,
            survives=survives_of(text),
            compute=compute,
            link=link,
            frames=true_frames(vocab_size=trace.vocab_size, rows=False),
            row_bits=trace.frames.rows_bits(trace.ladder[0], 1),
        )
        modelled.append(expected.tokens_per_s)
        simulated.append(simulate_plan(text, fixed_plan(text.course, gamma, min_draft)).tokens_per_s)
    return Compared(
        pair=trace.name,
        draft_step_s=compute.draft_step_s,
        mbit=mbit,
        rtt_ms=rtt_ms,
        gamma=gamma,
        min_draft=min_draft,
        modelled=float(np.mean(modelled)),
        simulated=float(np.mean(simulated)),
    )


def error_percentile(compared: Iterable[Compared], percent: float) -> float:
    """Of |error|, in percent."""
    return 100 * float(np.percentile([abs(one.error) for one in compared], percent))


__all__ = ["Compared", "error_percentile", "renewal_errors", "survives_of"]
