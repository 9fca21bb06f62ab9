"""The figure of the controller benchmark: speed-up over the target alone against the link's rate.

matplotlib is imported when a figure is drawn, and never before: it takes half a second.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from draftwire.nodes.console.bench.cells import GAMMAS, adaptive, paper
from draftwire.nodes.console.bench.cycles import Course, simulate
from draftwire.nodes.console.bench.lanes import simulate_fixed
from draftwire.nodes.console.bench.links import constant
from draftwire.nodes.console.bench.traces import AcceptanceTrace
from draftwire.nodes.console.plots import BLACK, BLUE, GREEN, ORANGE, WIDTH_IN, in_style, save
from draftwire.nodes.controller.policy import FixedPolicy, PlanValues

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


LINES: Final = (
    ("auto", "adaptive", "o-", BLUE),
    ("best_rows", "best fixed K, gamma (hindsight)", "s--", GREEN),
    ("paper", "paper: Theorem 2, true alpha and rate", "^:", ORANGE),
)
"""Field of a point, its name in the legend, marker and dash, colour."""


def draw(path: Path, points: Sequence[Point], *, pair: str) -> None:
    """Write the figure; the ending of the file's name is its format."""
    save(speedup_figure(points, pair=pair), path)


@in_style
def speedup_figure(points: Sequence[Point], *, pair: str) -> "Figure":
    """A panel for each round trip: speed-up over rate, a line a method."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, 2.9), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(RTTS_MS), sharey=True)
    for panel, rtt_ms in zip(panels, RTTS_MS, strict=True):
        row = sorted((one for one in points if one.rtt_ms == rtt_ms), key=lambda one: one.mbit)
        for name, label, look, colour in LINES:
            ratios = [getattr(one, name) for one in row]
            panel.semilogx([one.mbit for one in row], ratios, look, color=colour, label=label)
        panel.axhline(1.0, color=BLACK, linewidth=1.0, linestyle=":", label="target alone")
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panel.minorticks_off()
        panel.set_title(f"round trip {rtt_ms:g} ms")
        panel.set_xlabel("rate, Mbit/s")
    panels[0].set_ylabel("speed-up over the target alone")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.suptitle(f"{pair}: simulated links, the paper's step times (44.5 ms, 3.1 ms)", fontsize=9)
    return figure


__all__ = ["RATES_MBIT", "RTTS_MS", "Point", "draw", "point", "speedup_figure", "submit"]
