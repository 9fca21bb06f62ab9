"""`draftwire bench controller`: the adaptive controller against what it could have been, in virtual time."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
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

from draftwire.nodes.console.bench.acceptance_trace import (
    block_over_token,
    coupled_alpha_over_rejection_alpha,
)
from draftwire.nodes.console.bench.cells import HINTS, METHODS, ROWS, Cell, run_cell
from draftwire.nodes.console.bench.links import LINKS
from draftwire.nodes.console.bench.renewal import Compared, error_percentile, renewal_errors
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

LONG_RTT_S: Final = 10e-3
"""From here on a BS that waits for blocks pays for it."""

GOALS: Final = {
    "rows_only_vs_best_rows": (1.0, "drafts only, over the best fixed (K, gamma) in hindsight: mean"),
    "rows_only_vs_best_rows_p5": (0.97, "the same, 5th percentile"),
    "rows_only_vs_best_rows_changing": (1.0, "the same, mean over links that change"),
    "worst_vs_target_only": (0.97, "as shipped, over the target alone: least of all pairs and links"),
    "vs_paper_low_rate": (1.2, "as shipped, over the paper's setting at 1 Mbit/s and below: mean"),
    "auto_vs_best_fixed": (0.98, "acceptance left open, over the best fixed plan of any kind: mean"),
    "auto_vs_best_fixed_p5": (0.95, "the same, 5th percentile"),
    "auto_vs_best_fixed_changing": (1.0, "the same, mean over links that change"),
    "pipelined_vs_best_sync_rtt10": (1.08, "coupled, over the best that waits or drafts not, RTT >= 10 ms"),
    "pipelined_worst_vs_target_only": (0.99, "coupled, over the target alone: least of all pairs and links"),
    "renewal_model_error_p90_pct": (-6.0, "error of the renewal model, %: 90th percentile"),
    "early_stop_gain": (1.01, "coupled, waiting for blocks: the best gamma with early stop over without"),
    "block_over_token": (1.01, "tokens a step, gamma 4: block verification over token by token, mean"),
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
  draftwire bench controller --quick              some minutes; 4 pairs, 3 seeds, 1000 tokens a run
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
and of requests with coupled acceptance
  best sync       the best fixed gamma in hindsight of a base station that waits for blocks
  best pipelined  the best fixed (gamma, min_draft) in hindsight of all
  coupled         adaptive
  open            acceptance left open, in requests of 250 tokens: the controller chooses at each Open
  waste, pass     of coupled: drafted tokens thrown away, and the target's passes, for each token
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of `draftwire bench controller`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("--quick", action="store_true", help="a smaller set, some minutes")
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
        compared = _in_parallel([pool.submit(renewal_errors, [trace]) for trace in traces], "renewal model")
        renewal = [one for of_pair in compared for one in of_pair]
        if args.plot is not None:
            from draftwire.nodes.console.bench import figure

            points = _in_parallel(figure.submit(pool, traces[0], quick=args.quick), "points of the figure")
            figure.draw(args.plot, points, pair=traces[0].name)
    order = {key: i for i, key in enumerate((trace.name, link) for trace in traces for link in LINKS)}
    cells.sort(key=lambda cell: order[cell.pair, cell.link])
    found = summary(cells) | of_pairs(traces, renewal)
    found |= {"quick": bool(args.quick), "seeds": seeds, "tokens": tokens}
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
    better = _over_best(cells, "auto", ("best_rows", "alone"))
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
        "auto_vs_better_of_best_rows_and_alone": float(better.mean()),
        "auto_vs_better_of_best_rows_and_alone_p5": float(np.percentile(better, 5)),
        "auto_vs_oracle": float(_ratios(cells, "auto", "oracle").mean()),
        "auto_vs_ucb": float(_ratios(cells, "auto", "ucb").mean()),
        "auto_vs_pid": float(_ratios(cells, "auto", "pid").mean()),
        "auto_vs_paper": float(_ratios(cells, "auto", "paper").mean()),
    } | _of_hints(cells)


def _of_hints(cells: Sequence[Cell]) -> dict[str, float]:
    """Of requests with coupled acceptance, and of those that leave it open."""
    fixed = ("best_rows", "best_pipelined", "alone")
    waiting = ("best_rows", "best_sync", "alone")
    open_ratios = _over_best(cells, "open", fixed)
    far = [cell for cell in cells if cell.rtt_s >= LONG_RTT_S]
    over_waiting = _over_best(far, "coupled", waiting)
    over_pipelined = _over_best(cells, "coupled", ("best_pipelined",))
    return {
        "auto_vs_best_fixed": float(open_ratios.mean()),
        "auto_vs_best_fixed_p5": float(np.percentile(open_ratios, 5)),
        "auto_vs_best_fixed_changing": float(
            _over_best([cell for cell in cells if cell.changing], "open", fixed).mean()
        ),
        "pipelined_vs_best_sync_rtt10": float(over_waiting.mean()),
        "pipelined_worst_vs_target_only": min(
            _mean(cell, "coupled") / _mean(cell, "alone") for cell in cells
        ),
        "early_stop_gain": float(np.mean([gain for cell in cells for gain in cell.early_stop])),
        "auto_vs_best_fixed_least": float(open_ratios.min()),
        "pipelined_vs_best_sync_rtt10_p5": float(np.percentile(over_waiting, 5)),
        "pipelined_vs_best_pipelined": float(over_pipelined.mean()),
        "pipelined_vs_best_pipelined_p5": float(np.percentile(over_pipelined, 5)),
        "pipelined_vs_target_only": float(_ratios(cells, "coupled", "alone").mean()),
        "pipelined_waste": float(np.mean([cell.waste for cell in cells])),
        "pipelined_passes_per_token": float(np.mean([cell.passes_per_token for cell in cells])),
        "auto_opened_coupled": float(np.mean([cell.opened_coupled for cell in cells])),
        **_of_shipped(cells),
    }


def _of_shipped(cells: Sequence[Cell]) -> dict[str, float]:
    """What coupling's lower alpha does to the shipped pair."""
    shipped = [cell for cell in cells if cell.pair == RECORDED[0] and cell.rtt_s >= LONG_RTT_S]
    if not shipped:
        return {}
    ratios = _over_best(shipped, "coupled", ("best_rows", "best_sync", "alone"))
    return {"pipelined_vs_best_sync_rtt10_shipped": float(ratios.mean())}


def of_pairs(traces: Sequence[AcceptanceTrace], renewal: Sequence[Compared]) -> dict[str, float]:
    """Figures that hang on no link."""
    shipped = next(trace for trace in traces if trace.name == RECORDED[0])
    return {
        "renewal_model_error_p90_pct": error_percentile(renewal, 90),
        "renewal_model_error_p50_pct": error_percentile(renewal, 50),
        "block_over_token": float(np.mean([block_over_token(trace) for trace in traces])),
        "block_over_token_shipped": block_over_token(shipped),
        "coupled_alpha_over_rejection_alpha": coupled_alpha_over_rejection_alpha(shipped),
    }


def _over_best(cells: Iterable[Cell], over: str, under: Sequence[str]) -> NDArray[np.float64]:
    """One a cell and seed: over the best of these, seed by seed."""
    return np.concatenate(
        [
            np.divide(cell.tokens_per_s[over], np.max([cell.tokens_per_s[name] for name in under], axis=0))
            for cell in cells
        ]
    )


def _ratios(cells: Iterable[Cell], over: str, under: str) -> NDArray[np.float64]:
    """One a cell and seed."""
    return np.concatenate([np.divide(cell.tokens_per_s[over], cell.tokens_per_s[under]) for cell in cells])


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
            "best_pipelined_gamma": cell.best_plan[0],
            "best_pipelined_min_draft": cell.best_plan[1],
            "waste": round(cell.waste, 3),
            "passes_per_token": round(cell.passes_per_token, 3),
            "colocated": round(cell.colocated, 3),
            "colocated_is": "modelled",
        }
        for cell in cells
    ]


def rows_table(cells: Sequence[Cell]) -> Table:
    """Requests by rejection beside the target alone."""

    def told(cell: Cell) -> list[str]:
        k, gamma = cell.best_setting
        speeds = [f"{_mean(cell, method):.1f}" for method in ROWS]
        return [*speeds, f"{k},{gamma}", f"{cell.colocated:.1f}"]

    return _table("Tokens a second: rows", (*ROWS, "best", "colocated"), cells, told)


def hints_table(cells: Sequence[Cell]) -> Table:
    """Coupled requests, and those that leave acceptance open, beside the target alone and the best rows."""
    shown = ("alone", "best_rows", *HINTS)

    def told(cell: Cell) -> list[str]:
        gamma, min_draft = cell.best_plan
        speeds = [f"{_mean(cell, method):.1f}" for method in shown]
        counts = f"{cell.waste:.1f}", f"{cell.passes_per_token:.2f}", f"{100 * cell.opened_coupled:.0f}"
        return [*speeds, f"{gamma}/{min_draft}", *counts]

    headings = (*shown, "best", "waste", "pass", "ids %")
    return _table("Tokens a second: ids only, and either", headings, cells, told)


def _table(
    title: str, headings: Sequence[str], cells: Sequence[Cell], told: Callable[[Cell], list[str]]
) -> Table:
    """A line a pair and one for each of its links; every number is readable within 80 columns."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("pair\n  link", no_wrap=True)
    for heading in headings:
        words = SHORT.get(heading, heading.replace("_", " "))
        table.add_column(words.replace(" ", "\n"), justify="right", no_wrap=True)
    pair = None
    for cell in cells:
        if cell.pair != pair:
            pair = cell.pair
            table.add_row(pair)
        table.add_row(f"  {cell.link}", *told(cell))
    return table


SHORT: Final = {"best_pipelined": "best pipe", "colocated": "coloc"}
"""Headings that 80 columns have no room for."""

LEGEND: Final = (
    "link: Mbit/s / RTT ms, or what its rate does. best: K,gamma of the best rows; gamma/min_draft of the "
    "best pipelined (best pipe). coloc: colocated. waste, pass: of coupled, for each token. ids %: of the "
    "requests of open, those that went by coupled."
)


def show(console: Console, cells: Sequence[Cell], found: dict[str, float]) -> None:
    """Tables for people, and below them a figure a line, with what it is in the next one."""
    console.print(rows_table(cells))
    console.print(hints_table(cells))
    console.print(LEGEND, highlight=False)
    console.print(WHY_SPLIT, highlight=False)
    for name, value in found.items():
        bound, says = GOALS.get(name, (None, ""))
        told = f"{name:<41} {f'{value:.3f}' if isinstance(value, float) else str(value):>9}"
        if bound is not None:
            met = value <= -bound if bound < 0 else value >= bound
            told += f"  {'<=' if bound < 0 else '>='} {abs(bound):<5g} {'' if met else 'missed'}\n    {says}"
        console.print(told.rstrip(), highlight=False, markup=False, soft_wrap=True)


__all__ = ["GOALS", "PAIRS", "QUICK_PAIRS", "add_arguments", "run", "summary", "table_of", "trace_of"]
