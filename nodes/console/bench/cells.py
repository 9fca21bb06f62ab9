"""One pair on one link, with every policy, over several seeds: a row of the controller benchmark."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.control import COUPLED, RowsReport
from draftwire.codecs.tables import NO_TABLES, TableSets, by_tag
from draftwire.nodes.console.bench.cycles import (
    MEAN_JITTER_S,
    PAPER_COMPUTE,
    Course,
    simulate,
)
from draftwire.nodes.console.bench.drafting import Text
from draftwire.nodes.console.bench.lanes import simulate_fixed
from draftwire.nodes.console.bench.links import LINKS, RadioLink
from draftwire.nodes.console.bench.pipelined import PipelinedRun, best_fixed, fixed_plan, simulate_plan
from draftwire.nodes.console.bench.pipelined import simulate as simulate_pipelined
from draftwire.nodes.console.bench.requests import simulate_requests
from draftwire.nodes.console.bench.traces import AcceptanceTrace
from draftwire.nodes.controller.adaptive import AdaptivePolicy
from draftwire.nodes.controller.baselines import (
    PAPER_K,
    OraclePolicy,
    PaperPolicy,
    PidPolicy,
    UcbPolicy,
)
from draftwire.nodes.controller.belief import Belief
from draftwire.nodes.controller.policy import FixedPolicy, PlanValues, Policy, Report
from draftwire.nodes.models.tables import load_tables, shipped_tables
from draftwire.nodes.speculation.cost import LinkEstimate, tokens_per_step
from draftwire.nodes.speculation.frames import on_link_bits

GAMMAS: Final = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)
"""Of the fixed settings, with every K of the ladder."""

SYNCHRONOUS: Final = tuple((gamma, gamma) for gamma in GAMMAS)
"""Of coupled requests: the BS waits for whole blocks."""

EARLY_STOP_GAMMAS: Final = (1, 2, 3, 4, 5, 6, 8, 12)
EARLY_STOP_SEEDS: Final = 3

PAPER_BITS: Final = 31
"""An entry as the paper sends it: 16 bits of probability, 15 of index."""

ROWS: Final = ("alone", "best_rows", "paper", "ucb", "pid", "oracle", "rows_only", "auto")
"""Target alone; best fixed (K, gamma) in hindsight, seed by seed; baselines.py; the adaptive policy under
rejection, first with drafts only, then as shipped."""

HINTS: Final = ("best_sync", "best_pipelined", "coupled", "open")
"""Coupled acceptance: the best fixed gamma in hindsight of a BS that waits for blocks, the best fixed (gamma,
min_draft) of all; the adaptive policy; and where requests leave their acceptance open."""

METHODS: Final = (*ROWS, *HINTS)

RATE_STEP: Final = 10
RTT_STEP: Final = 20
"""Steps after which the estimates of the link are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What all policies reached with one pair on one link."""

    pair: str
    link: str
    changing: bool
    mean_bps: float
    rtt_s: float
    "of an empty message without jitter"
    tokens_per_s: dict[str, list[float]]
    "method -> by seed"
    best_setting: tuple[int, int]
    "K and gamma of the fixed setting that is best over all seeds"
    colocated: float
    "tokens a second, modelled: the draft beside the target, nothing sent"
    rate_errors: list[float]
    "relative; of links that don't change, where rows take over 5 ms"
    rtt_errors_s: list[float]
    plan_s: float
    "median time of the adaptive policy a step, observing included"
    best_plan: tuple[int, int]
    "gamma and min_draft of the fixed plan of coupled requests that is best over all seeds"
    early_stop: list[float]
    "by seed: the best fixed synchronous gamma with early stop over the best without"
    waste: float
    "of the adaptive policy in coupled requests: drafted tokens thrown away for each token of the output"
    passes_per_token: float
    "of the target, there"
    opened_coupled: float
    "share of the requests that left acceptance open"


class Watched:
    """A policy whose time is taken, and whose beliefs are kept."""

    def __init__(self, inner: Policy) -> None:
        self.inner = inner
        self.seconds: list[float] = []
        "a step"
        self.beliefs: list[Belief | None] = []
        "after each step"
        self.rows_bits: list[float] = []
        "on the link, of each message with rows"
        self._spent_s = 0.0

    def observe(self, report: Report) -> None:
        """As the inner policy."""
        if isinstance(report, RowsReport):
            self.rows_bits.append(on_link_bits(report.rows_bytes))
        began_s = time.perf_counter()
        self.inner.observe(report)
        self._spent_s += time.perf_counter() - began_s

    def plan(self, device: str, request: int) -> PlanValues:
        """As the inner policy."""
        began_s = time.perf_counter()
        values = self.inner.plan(device, request)
        self.seconds.append(self._spent_s + time.perf_counter() - began_s)
        self.beliefs.append(values.belief)
        self._spent_s = 0.0
        return values


def run_cell(trace: AcceptanceTrace, link: str, *, seeds: Iterable[int], tokens: int) -> Cell:
    """Every method on this link of LINKS, with each seed: `tokens` tokens from a cold start."""
    courses = [Course(trace=trace, link=LINKS[link](seed), tokens=tokens, seed=seed) for seed in seeds]
    settings = [(k, gamma) for k in trace.ladder for gamma in GAMMAS]
    fixed = simulate_fixed(courses, settings)
    reached: dict[str, list[float]] = {name: [] for name in METHODS}
    rate_errors, rtt_errors, plan_s = list[float](), list[float](), list[float]()
    reached["best_rows"] = fixed.max(axis=0).tolist()
    reached["best_sync"] = best_fixed(courses, plans=SYNCHRONOUS)[0].tolist()
    best_pipelined, best_plan = best_fixed(courses)
    reached["best_pipelined"] = best_pipelined.tolist()
    streams = list[PipelinedRun]()
    opened = Counter[str]()
    for course in courses:
        streams.append(simulate_pipelined(course, adaptive(trace, target_only=True)))
        asked = simulate_requests(course, adaptive(trace, target_only=True))
        reached["coupled"].append(streams[-1].tokens_per_s)
        reached["open"].append(asked.tokens_per_s)
        opened += asked.opened
        policies: dict[str, Policy] = {
            "alone": FixedPolicy(PlanValues(k=trace.ladder[-1], gamma=0, min_draft=0)),
            "ucb": UcbPolicy(k=_paper_k(trace)),
            "pid": PidPolicy(k=_paper_k(trace)),
            "oracle": oracle(course),
        }
        for name, policy in policies.items():
            reached[name].append(simulate(course, policy).tokens_per_s)
        for name, target_only in (("rows_only", False), ("auto", True)):
            watched = Watched(adaptive(trace, target_only=target_only))
            reached[name].append(simulate(course, watched).tokens_per_s)
            plan_s += watched.seconds
            if not target_only:
                rate_errors += _rate_error(watched, course.link)
                rtt_errors += _rtt_error(watched, course.link)
    reached["paper"] = paper(courses, alone=np.array(reached["alone"])).tolist()
    return Cell(
        pair=trace.name,
        link=link,
        changing=courses[0].link.changing,
        mean_bps=float(np.mean([course.link.mean_bps for course in courses])),
        rtt_s=2 * courses[0].link.delay_s,
        tokens_per_s=reached,
        best_setting=settings[int(fixed.mean(axis=1).argmax())],
        colocated=colocated(trace),
        rate_errors=rate_errors,
        rtt_errors_s=rtt_errors,
        plan_s=float(np.median(plan_s)),
        best_plan=best_plan,
        early_stop=early_stop_gains(courses[:EARLY_STOP_SEEDS]),
        waste=float(np.mean([run.waste for run in streams])),
        passes_per_token=float(np.mean([run.steps / run.tokens for run in streams])),
        opened_coupled=opened[COUPLED] / opened.total(),
    )


def early_stop_gains(courses: Sequence[Course]) -> list[float]:
    """By course: synchronous drafts of the best fixed gamma with early stop, over the best without."""
    gains = []
    for course in courses:
        text = Text(course=course)
        best = [
            max(
                simulate_plan(text, fixed_plan(course, gamma, gamma, early_stop=stops)).tokens_per_s
                for gamma in EARLY_STOP_GAMMAS
            )
            for stops in (False, True)
        ]
        gains.append(best[1] / best[0])
    return gains


def adaptive(trace: AcceptanceTrace, *, target_only: bool) -> AdaptivePolicy:
    """The adaptive policy for this pair, with no K that the trace doesn't know."""
    policy = AdaptivePolicy(vocab_size=trace.vocab_size, ladder=trace.ladder, target_only=target_only)
    policy.table_sets = _shipped_sets() if trace.tables else NO_TABLES
    return policy


@cache
def _shipped_sets() -> TableSets:
    """What a controller beside the shipped pair's BS has."""
    return by_tag([load_tables(shipped_tables())])


def oracle(course: Course) -> OraclePolicy:
    """The oracle, told of the course's link and of the text's mean alpha at every K."""
    alphas, radio = course.trace.mean_alphas(), course.link

    def link(at_s: float) -> LinkEstimate:
        rate_bps = radio.rate_bps(at_s)
        return LinkEstimate(
            uplink_bps=rate_bps, downlink_bps=rate_bps, rtt_s=2 * (radio.delay_s + MEAN_JITTER_S)
        )

    return OraclePolicy(
        link=link, alphas=lambda at_s: alphas, compute=course.compute, frames=course.trace.frames
    )


def paper(courses: list[Course], *, alone: NDArray[np.float64]) -> NDArray[np.float64]:
    """The paper's setting, shape [courses]: its frames, its gamma*, AS2 or not, whichever is better."""
    trace, k = courses[0].trace, _paper_k(courses[0].trace)
    reached = np.zeros(len(courses))
    for i, course in enumerate(courses):
        in_paper = Course(
            trace=trace,
            link=course.link,
            tokens=course.tokens,
            seed=course.seed,
            compute=course.compute,
            paper_bits=PAPER_BITS,
        )
        for adaptive_selection in (False, True):
            policy = PaperPolicy(
                alpha=trace.mean_alphas()[k],
                rate_bps=course.link.mean_bps,
                row_bits=PAPER_BITS * k,
                compute=course.compute,
                adaptive_selection=adaptive_selection,
            )
            gamma = policy.values.gamma
            came = alone[i] if not gamma else float(simulate_fixed([in_paper], [(k, gamma)])[0, 0])
            reached[i] = max(reached[i], came)
    return reached


def colocated(trace: AcceptanceTrace) -> float:
    """Tokens a second of draft and target both at the BS: E / (gamma T_draft + T_target(gamma)) at the best.

    Modelled, not simulated: whole rows, the same step times, alpha^j.
    """
    alpha = trace.mean_alphas()[trace.ladder[-1]]
    compute = PAPER_COMPUTE
    return max(
        tokens_per_step(alpha=alpha, gamma=gamma)
        / (compute.target_step_s + gamma * (compute.draft_step_s + compute.target_per_token_s))
        for gamma in range(17)
    )


def _paper_k(trace: AcceptanceTrace) -> int:
    return max(k for k in trace.ladder if k <= PAPER_K)


def _rate_error(watched: Watched, link: RadioLink) -> list[float]:
    belief = watched.beliefs[RATE_STEP] if len(watched.beliefs) > RATE_STEP else None
    if belief is None or link.changing or not watched.rows_bits:
        return []
    rows_s = float(np.mean(watched.rows_bits[:RATE_STEP])) / link.mean_bps
    return [abs(belief.uplink_bps / link.mean_bps - 1)] if rows_s > 5e-3 else []


def _rtt_error(watched: Watched, link: RadioLink) -> list[float]:
    """Against what an empty message takes there and back, the mean jitter of both ways included."""
    belief = watched.beliefs[RTT_STEP] if len(watched.beliefs) > RTT_STEP else None
    return [] if belief is None else [abs(belief.rtt_s - 2 * (link.delay_s + MEAN_JITTER_S))]


__all__ = [
    "GAMMAS",
    "METHODS",
    "PAPER_BITS",
    "Cell",
    "Watched",
    "adaptive",
    "colocated",
    "oracle",
    "paper",
    "run_cell",
]
