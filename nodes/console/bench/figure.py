"""The figure of the controller benchmark: speed-up over the target alone against the link's rate.

matplotlib is imported when a figure is drawn, and never before: it takes half a second.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from draftwire.nodes.console.bench.cells import GAMMAS, adaptive, paper
from draftwire.nodes.console.bench.cycles import Course, simulate
from draftwire.nodes.console.bench.lanes import simulate_fixed
from draftwire.nodes.console.bench.links import constant
from draftwire.nodes.console.bench.traces import AcceptanceTrace
from draftwire.nodes.controller.policy import FixedPolicy, PlanValues

RATES_MBIT: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
RTTS_MS: Final = (5.0, 20.0, 60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Tokens a second over those of the target alone on the same link, mean over seeds."""

    mbit: float
    rtt_ms: float
    auto: float
    best_rows: float
    paper: float


def submit(pool: Executor, trace: AcceptanceTrace, *, quick: bool) -> list[Future[Point]]:
    """Have every point of the figure computed."""
    seeds, tokens = (2, 1000) if quick else (8, 2500)
    return [
        pool.submit(point, trace, mbit=mbit, rtt_ms=rtt_ms, seeds=range(seeds), tokens=tokens)
        for rtt_ms in RTTS_MS
        for mbit in RATES_MBIT
    ]


def point(trace: AcceptanceTrace, *, mbit: float, rtt_ms: float, seeds: Iterable[int], tokens: int) -> Point:
    """One link of the figure."""
    link = constant(mbit, rtt_ms)
    courses = [Course(trace=trace, link=link, tokens=tokens, seed=seed) for seed in seeds]
    standing = FixedPolicy(PlanValues(k=trace.ladder[-1], gamma=0, min_draft=0))
    alone = np.array([simulate(course, standing).tokens_per_s for course in courses])
    auto = [simulate(course, adaptive(trace, target_only=True)).tokens_per_s for course in courses]
    fixed = simulate_fixed(courses, [(k, gamma) for k in trace.ladder for gamma in GAMMAS])
    return Point(
        mbit=mbit,
        rtt_ms=rtt_ms,
        auto=float((auto / alone).mean()),
        best_rows=float((fixed.max(axis=0) / alone).mean()),
        paper=float((paper(courses, alone=alone) / alone).mean()),
    )


def draw(path: Path, points: Sequence[Point], *, pair: str) -> None:
    """Write the figure: a panel for each round trip; the ending of the file's name is its format."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "draftwire"  # the same figure gives the same file
    from matplotlib import pyplot

    lines = (
        ("auto", "adaptive", "o-", "tab:blue"),
        ("best_rows", "best fixed K, gamma (hindsight)", "s--", "tab:green"),
        ("paper", "paper: Theorem 2, true alpha and rate", "^:", "tab:red"),
    )
    figure, panels = pyplot.subplots(1, len(RTTS_MS), figsize=(10, 3.4), sharey=True, layout="constrained")
    for panel, rtt_ms in zip(panels, RTTS_MS, strict=True):
        row = sorted((one for one in points if one.rtt_ms == rtt_ms), key=lambda one: one.mbit)
        for name, label, style, colour in lines:
            ratios = [getattr(one, name) for one in row]
            panel.semilogx([one.mbit for one in row], ratios, style, color=colour, label=label, markersize=4)
        panel.axhline(1.0, color="grey", linewidth=0.8)
        panel.set_title(f"round trip {rtt_ms:g} ms", fontsize=10)
        panel.set_xlabel("rate, Mbit/s")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("speed-up over the target alone")
    panels[0].legend(fontsize=8, loc="upper left")
    figure.suptitle(f"{pair}: simulated links, the paper's step times (44.5 ms, 3.1 ms)", fontsize=10)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


__all__ = ["RATES_MBIT", "RTTS_MS", "Point", "draw", "point", "submit"]
