"""`draftwire bench cell`: 1, 2, 4, 8 and 16 devices at one base station, in one cell of 20 Mbit/s.

First the shipped pair is timed here: passes of the target by sessions and positions of each, in bfloat16
and in float32, the faster of which counts; and a draft step. Then the real nodes run in virtual time with
these times: devices that ask one request after the other, each of 200 tokens by rejection at temperature 1,
over links of 20 Mbit/s and 5 ms each way that share one radio (proportional fair); acceptance as it was
recorded of the shipped pair. The controller as shipped, the target alone, and a controller for each device
that knows of no other meet the same seeds. The first seconds, in which devices come and estimates settle,
are left out.

Colocated is the same with the draft models beside the target, on its machine and with no link: every draft
step of every session takes the target's time. At `capacity_rate`, what each of 16 devices has here, it
sustains fewer sessions, or more: capacity_over_colocated is 16 over their number, for the best of gamma 1,
2 and 3, between measured numbers of sessions along a line of seconds a token. Nothing can make it more than
capacity_bound = 1 + gamma t_draft / t_verify, t_verify being a session's part of a pass.
"""

import argparse
import os
import platform
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Final

import numpy as np
import orjson
from rich.console import Console

from draftwire.nodes.console.bars import bar_on
from draftwire.nodes.console.bench.bus import cpu
from draftwire.nodes.console.bench.cell_figures import COUNTS, GAMMAS, figures
from draftwire.nodes.console.bench.cell_plans import plan_us
from draftwire.nodes.console.bench.cell_play import (
    ALONE,
    COLOCATED,
    FIXED,
    SELFISH,
    TOGETHER,
    WARM_S,
    Came,
    Case,
    play,
)
from draftwire.nodes.console.bench.cell_real import in_real_processes
from draftwire.nodes.console.bench.cell_show import show
from draftwire.nodes.console.bench.cell_times import MEASURED_S, Measured, measured
from draftwire.nodes.console.bench.goals import judged
from draftwire.nodes.console.options import seed as seed_option
from draftwire.nodes.models.pacing import PAPER, StepTimes
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.telemetry import set_up_logging

PAIR: Final = "smollm2"
OTHERS: Final = ("smollm2-0.7", "synthetic-easy", "synthetic-near")
"""Pairs of other alpha: what the figures hang on. One seed, less time, and these counts:"""

OTHER_COUNTS: Final = (1, 4, 16)

SECONDS, QUICK_SECONDS = 18.0, 10.0
"""Virtual, of each run."""

SHORT_S: Final = 6.0
"""Behind the first seconds, at least: of runs that explain the others."""

MOST_SECONDS: Final = 3600.0
SEEDS, QUICK_SEEDS = 2, 1

GOALS: Final = {
    "over_target_only_up_to_4": 1.3,
    "over_target_only_at_16": 1.1,
    "jain_fairness": 0.95,
}
"""At least."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of `draftwire bench cell`."""
    parser.description = __doc__
    parser.epilog = (
        "total_tok_s              by devices: tokens a second of all, mean over seeds\n"
        "over_target_only         by devices: that over the target alone of the same devices and seeds;\n"
        "                         goals: at least 1.3 up to 4 devices, 1.1 at 16\n"
        "selfish_over_target_only the same of controllers that know of no other device; one seed\n"
        "best_fixed               by devices: the best of gamma 0 to 3 at K = 75 for all, in hindsight,\n"
        "                         over the target alone; one seed, blocks are waited for as ever\n"
        "bound_over_target_only   by devices: the best of gamma 0 to 8 with these passes, this acceptance,\n"
        "                         if neither a round trip nor a draft step took any time\n"
        "jain_fairness            of the devices' tokens a second, least of all runs; goal: at least 0.95\n"
        "p99_gap_ms               of the pauses between tokens shown at a device, at 16 devices\n"
        "capacity_over_colocated  see above; 16 over the sessions of a base station that drafts by itself\n"
        "other_pairs              over_target_only of pairs with other acceptance, and at the paper's times\n"
        "plan_us                  processor time of a plan at 16 devices, median\n"
        "real                     with --real: total_tok_s and over_target_only of up to 4 real devices\n"
    )
    parser.add_argument("--quick", action="store_true", help="a minute or two: less time, one seed")
    default = f"virtual, of each run; default {SECONDS:g}, quick {QUICK_SECONDS:g}"
    parser.add_argument("--seconds", type=float, metavar="S", help=default)
    parser.add_argument("--real", action="store_true", help="up to 4 real devices too, in real processes")
    parser.add_argument("--processes", type=int, metavar="N", help="default: one a core")
    parser.add_argument("--seed", type=seed_option, default=0, metavar="X", help="of the first; default 0")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")


def run(args: argparse.Namespace) -> int:
    """Run the benchmark."""
    set_up_logging(level="warning")
    processes = args.processes if args.processes is not None else len(os.sched_getaffinity(0))
    if processes < 1:
        raise ConfigurationError(f"{processes} is too few", key="--processes", remedy="give 1 or more")
    seconds = args.seconds if args.seconds is not None else QUICK_SECONDS if args.quick else SECONDS
    if not WARM_S < seconds <= MOST_SECONDS:
        remedy = f"give more than {WARM_S:g}, which are left out, up to {MOST_SECONDS:g}"
        raise ConfigurationError(f"{seconds:g} s will not do", key="--seconds", remedy=remedy)
    console = Console(stderr=True)
    with bar_on(console) as bar:
        task = bar.add_task("", total=3)
        timed = measured(
            within_s=0.0 if args.quick else MEASURED_S,
            progress=lambda what: bar.update(task, description=what, advance=1),
        )
    real: dict[str, Any] | None = None
    if args.real:
        code, real = in_real_processes(timed.dtype)
        if code:
            return code
    cases = cases_of(timed.times, seconds=seconds, quick=args.quick, seed=args.seed)
    came = _played(cases, processes, console)
    plans_us = plan_us(timed.times, pair=PAIR, devices=max(COUNTS), seed=args.seed)
    found = result(timed, came, quick=args.quick) | {"real": real, "plan_us": plans_us}
    if args.json:
        print(orjson.dumps(found).decode(), flush=True)
    else:
        show(found)
    return 0


def cases_of(times: StepTimes, *, seconds: float, quick: bool, seed: int) -> list[Case]:
    """All simulations, the ways of a seed beside each other; the long ones first."""
    seeds = range(seed, seed + (QUICK_SEEDS if quick else SEEDS))

    def case(
        pair: str, devices: int, way: str, seed: int, times: StepTimes, gamma: int | None = None
    ) -> Case:
        own = (pair, times) == (PAIR, measured_times) and way != COLOCATED
        run_s = seconds if own or quick else max(seconds / 2, WARM_S + SHORT_S)
        return Case(
            pair=pair, devices=devices, way=way, times=times, seconds=run_s, seed=seed, gamma=gamma
        )

    measured_times, cases = times, list[Case]()
    for devices in sorted(COUNTS, reverse=True):
        for one in seeds:
            cases += [case(PAIR, devices, way, one, times) for way in (TOGETHER, ALONE)]
        cases.append(case(PAIR, devices, SELFISH, seed, times))
        for gamma in GAMMAS:
            cases += [case(PAIR, devices, way, seed, times, gamma) for way in (COLOCATED, FIXED)]
        if not quick and devices in OTHER_COUNTS:
            for way in (TOGETHER, ALONE):
                cases += [case(pair, devices, way, seed, times) for pair in OTHERS]
                cases.append(case(PAIR, devices, way, seed, PAPER))
    return cases


def _played(cases: Sequence[Case], processes: int, console: Console) -> dict[Case, Came]:
    came = dict[Case, Came]()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool, bar_on(console) as bar:
        task = bar.add_task("runs in virtual time", total=len(cases))
        futures = {case: pool.submit(play, case) for case in cases}
        try:
            for case, future in futures.items():
                came[case] = future.result()
                bar.advance(task)
        except BaseException:
            for future in futures.values():
                future.cancel()
            raise
    return came


def result(timed: Measured, came: Mapping[Case, Came], *, quick: bool) -> dict[str, Any]:
    """The JSON object, but for `real` and `plan_us`."""
    found = figures(came, pair=PAIR, times=timed.times)
    ratios = found["over_target_only"]
    judgeable = {
        "over_target_only_up_to_4": min(ratios[str(count)] for count in COUNTS if count <= 4),
        "over_target_only_at_16": ratios["16"],
        "jain_fairness": found["jain_fairness"],
    }
    return found | {
        "pair": PAIR,
        "target_dtype": timed.dtype,
        "draft_step_ms": 1e3 * timed.times.draft_position_s,
        "pass_times_ms": {
            dtype: {
                str(sessions): {str(each): 1e3 * seconds for each, seconds in passes}
                for sessions, passes in table.times
            }
            for dtype, table in timed.tables.items()
        },
        "goals": judged(judgeable, at_least=GOALS),
        "quick": quick,
        "load_average": os.getloadavg()[0],
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


__all__ = ["GOALS", "OTHERS", "PAIR", "add_arguments", "cases_of", "result", "run"]
