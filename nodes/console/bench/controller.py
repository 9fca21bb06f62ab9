"""`draftwire bench controller`: the adaptive controller against what it could have been, in virtual time."""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from draftwire.nodes.console.bench.cells import METHODS, Cell, run_cell
from draftwire.nodes.console.bench.links import LINKS
from draftwire.nodes.console.bench.traces import SYNTHETIC, AcceptanceTrace, recorded, synthetic
from draftwire.nodes.console.plots import check_picture
from draftwire.runtime.errors import ConfigurationError

T = TypeVar("T")

RECORDED: Final = ("smollm2", "smollm2-0.7")
"""The shipped pair, at temperatures 1 and 0.7."""

PAIRS: Final = (*RECORDED, *(recipe.name for recipe in SYNTHETIC))
QUICK_PAIRS: Final = (*RECORDED, "synthetic-easy", "synthetic-sharp")

SEEDS, QUICK_SEEDS = 20, 3
TOKENS, QUICK_TOKENS = 2500, 1000

LOW_BPS: Final = 1e6
"""A stationary link of at most this rate counts as slow."""

GOALS: Final = {
    "rows_only_vs_best_rows": (1.0, "drafts only, over the best fixed (K, gamma) in hindsight: mean"),
    "rows_only_vs_best_rows_p5": (0.97, "the same, 5th percentile"),
    "rows_only_vs_best_rows_changing": (1.0, "the same, mean over links that change"),
    "worst_vs_target_only": (0.97, "as shipped, over the target alone: least of all pairs and links"),
    "vs_paper_low_rate": (1.2, "as shipped, over the paper's setting at 1 Mbit/s and below: mean"),
    "rate_error_pct_after_10": (-10.0, "error of the estimated rate after 10 steps, %: median"),
    "rtt_error_ms_after_20": (-1.0, "error of the estimated round trip after 20 steps, ms: median"),
    "plan_us": (-300.0, "time of the policy a step, us: median"),
}
"""Figure -> its bound (negative: at most that much) and what it says."""

WHY_SPLIT: Final = (
    "colocated: the draft beside the target at the base station, nothing sent; modelled from step times. One "
    "user is served faster that way. The split's case is many users: the base station's cycles go into "
    "verification alone, up to 1 + gamma t_draft / t_target times as many users, and the device's are free."
)

DESCRIPTION: Final = """\
Measure the adaptive controller against the target alone, the best fixed (K, gamma) in hindsight, the paper's
rule, a bandit, a regulator and an oracle.

Everything runs in virtual time, on no network: acceptance is replayed along recorded texts (the shipped pair)
and synthetic ones that nothing was tuned on; messages have their true sizes (the shipped pair's rows spelt
with its tables, the others' plain) and go over the link model that the channel node uses; steps take the
paper's times (44.5 ms a verification, 1 % more for each drafted token, 3.1 ms a drafted token). 13 links: 0.1
to 20 Mbit/s, round trips of 1 to 100 ms, rates that jump, fading, a busy LTE cell. Each run starts cold. The
same seeds give the same numbers, but for plan_us.
"""

EPILOG: Final = """\
examples:
  draftwire bench controller --quick              two minutes; 4 pairs, 3 seeds, 1000 tokens a run
  draftwire bench controller --json > full.json   7 pairs, 20 seeds, 2500 tokens a run
  draftwire bench controller --quick --plot controller.svg

columns, in tokens a second
  alone       the target by itself
  best rows   the best fixed K and gamma, chosen in hindsight for each seed
  paper       Theorem 2 with the true alpha and rate, K = 320, 31 bits an entry, all rows before the step
  ucb, pid    gamma by a bandit, or by a regulator of acceptance, at K = 320
  oracle      the cost model with the true link and alpha
  rows only   adaptive, always drafting
  auto        adaptive, as shipped
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of `draftwire bench controller`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("--quick", action="store_true", help="a smaller set, about two minutes")
    parser.add_argument("--json", action="store_true", help="one JSON object, last on standard output")
    parser.add_argument("--seeds", type=int, metavar="N", help="runs of each pair on each link")
    parser.add_argument("--processes", type=int, metavar="N", help="default: one a core")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw speed-up by rate: .svg, .png, .pdf")


def run(args: argparse.Namespace) -> int:
    """Run the benchmark; returns 0."""
    seeds = args.seeds if args.seeds is not None else QUICK_SEEDS if args.quick else SEEDS
    processes = args.processes if args.processes is not None else len(os.sched_getaffinity(0))
    for option, value in (("--seeds", seeds), ("--processes", processes)):
        if value < 1:
            raise ConfigurationError(f"{value} is too few", key=option, remedy="give 1 or more")
    check_picture(args.plot)
    pairs = QUICK_PAIRS if args.quick else PAIRS
    tokens = QUICK_TOKENS if args.quick else TOKENS
    console = Console(stderr=args.json)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        traces = list(pool.map(trace_of, pairs))
        cells = _in_parallel(
            [
                pool.submit(run_cell, trace, link, seeds=range(seeds), tokens=tokens)
                for trace in traces
                for link in LINKS
            ],
            "pairs and links",
        )
        if args.plot is not None:
            from draftwire.nodes.console.bench import figure

            points = _in_parallel(figure.submit(pool, traces[0], quick=args.quick), "points of the figure")
            figure.draw(args.plot, points, pair=traces[0].name)
    order = {key: i for i, key in enumerate((trace.name, link) for trace in traces for link in LINKS)}
    cells.sort(key=lambda cell: order[cell.pair, cell.link])
    found = summary(cells) | {"quick": bool(args.quick), "seeds": seeds, "tokens": tokens}
    show(console, cells, found)
    if args.json:
        print(json.dumps(found | {"table": table_of(cells)}))
    return 0


def trace_of(pair: str) -> AcceptanceTrace:
    """The trace of a pair by its name."""
    recipe = next((recipe for recipe in SYNTHETIC if recipe.name == pair), None)
    return recorded(pair) if recipe is None else synthetic(recipe)


def _in_parallel(futures: Sequence[Future[T]], what: str) -> list[T]:
    """Results in the order in which they come, with progress on standard error."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    try:
        with Progress(*columns, console=Console(file=sys.stderr)) as progress:
            task = progress.add_task(what, total=len(futures))
            done = []
            for future in as_completed(futures):
                done.append(future.result())
                progress.advance(task)
            return done
    except BaseException:
        for future in futures:
            future.cancel()
        raise


# Figures ----------------------------------------------------------------------------------------------------


def summary(cells: Sequence[Cell]) -> dict[str, float]:
    """The figures of GOALS, and some more; ratios are of tokens a second."""
    rows = _ratios(cells, "rows_only", "best_rows")
    changing = [cell for cell in cells if cell.changing]
    slow = [cell for cell in cells if not cell.changing and cell.mean_bps <= LOW_BPS]
    return {
        "rows_only_vs_best_rows": float(rows.mean()),
        "rows_only_vs_best_rows_p5": float(np.percentile(rows, 5)),
        "rows_only_vs_best_rows_changing": float(_ratios(changing, "rows_only", "best_rows").mean()),
        "worst_vs_target_only": min(_mean(cell, "auto") / _mean(cell, "alone") for cell in cells),
        "vs_paper_low_rate": float(_ratios(slow, "auto", "paper").mean()),
        "rate_error_pct_after_10": _median(100 * error for cell in cells for error in cell.rate_errors),
        "rtt_error_ms_after_20": _median(1e3 * error for cell in cells for error in cell.rtt_errors_s),
        "plan_us": 1e6 * _median(cell.plan_s for cell in cells),
        "rows_only_vs_best_rows_least": float(rows.min()),
        "least_run_vs_target_only": float(_ratios(cells, "auto", "alone").min()),
        "auto_vs_target_only": float(_ratios(cells, "auto", "alone").mean()),
        "auto_vs_better_of_best_rows_and_alone": float(_best_ratios(cells).mean()),
        "auto_vs_better_of_best_rows_and_alone_p5": float(np.percentile(_best_ratios(cells), 5)),
        "auto_vs_oracle": float(_ratios(cells, "auto", "oracle").mean()),
        "auto_vs_ucb": float(_ratios(cells, "auto", "ucb").mean()),
        "auto_vs_pid": float(_ratios(cells, "auto", "pid").mean()),
        "auto_vs_paper": float(_ratios(cells, "auto", "paper").mean()),
    }


def _ratios(cells: Iterable[Cell], over: str, under: str) -> NDArray[np.float64]:
    """One a cell and seed."""
    return np.concatenate([np.divide(cell.tokens_per_s[over], cell.tokens_per_s[under]) for cell in cells])


def _best_ratios(cells: Iterable[Cell]) -> NDArray[np.float64]:
    return np.concatenate(
        [
            np.divide(
                cell.tokens_per_s["auto"],
                np.maximum(cell.tokens_per_s["best_rows"], cell.tokens_per_s["alone"]),
            )
            for cell in cells
        ]
    )


def _mean(cell: Cell, method: str) -> float:
    return float(np.mean(cell.tokens_per_s[method]))


def _median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))


def table_of(cells: Iterable[Cell]) -> list[dict[str, object]]:
    """A record a pair and link: mean tokens a second of each method."""
    return [
        {
            "pair": cell.pair,
            "link": cell.link,
            **{method: round(_mean(cell, method), 3) for method in METHODS},
            "best_k": cell.best_setting[0],
            "best_gamma": cell.best_setting[1],
            "colocated": round(cell.colocated, 3),
            "colocated_is": "modelled",
        }
        for cell in cells
    ]


def show(console: Console, cells: Sequence[Cell], found: dict[str, float]) -> None:
    """Tables for people."""
    table = Table(title="Tokens a second", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("pair", "link", *(name.replace("_", " ") for name in METHODS), "best", "colocated"):
        table.add_column(heading, justify="left" if heading in ("pair", "link") else "right")
    for cell in cells:
        values = [f"{_mean(cell, method):.1f}" for method in METHODS]
        k, gamma = cell.best_setting
        table.add_row(cell.pair, cell.link, *values, f"K{k} g{gamma}", f"{cell.colocated:.1f}")
    console.print(table)
    console.print(WHY_SPLIT)
    goals = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("figure", "value", "goal", "", "what it is"):
        goals.add_column(heading, justify="right" if heading in ("value", "goal") else "left")
    for name, value in found.items():
        bound, says = GOALS.get(name, (None, ""))
        if bound is None:
            goals.add_row(name, f"{value:.3f}" if isinstance(value, float) else str(value), "", "", "")
            continue
        met = value <= -bound if bound < 0 else value >= bound
        goal = f"{'<=' if bound < 0 else '>='} {abs(bound):g}"
        goals.add_row(name, f"{value:.3f}", goal, "" if met else "missed", says)
    console.print(goals)


__all__ = ["GOALS", "PAIRS", "QUICK_PAIRS", "add_arguments", "run", "summary", "table_of", "trace_of"]
