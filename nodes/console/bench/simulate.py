"""`draftwire bench simulate`: what a step costs in virtual time, and whether virtual time is true.

Devices at base stations of their own, each with a channel and an adaptive controller, ask one request after
the other over the default link; the draft accepts as the shipped pair was recorded to, and every message is
encoded, sent, decoded and tested as in a real run. All of it is one process and one thread.

growth_exponent says how the work grows with the devices: ten times as many, the same virtual seconds each, so
ten times the steps, take 10^e times the processor's time, set-up included; 1 is proportional. For
virtual_vs_real_pct the same requests, K and gamma fixed, go through four real processes that are paced to the
paper's times, and through the simulation of the same topology.
"""

import argparse
import math
import os
import platform
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import numpy as np
import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from draftwire.nodes.console.bars import bar_on
from draftwire.nodes.console.bench.bus import cpu
from draftwire.nodes.console.bench.simulate_both import (
    Answer,
    in_real_time,
    in_virtual_time,
    requests,
    small_topology,
)
from draftwire.nodes.console.foreground import run_foreground
from draftwire.nodes.console.options import seed as seed_option
from draftwire.nodes.console.runner import progress_bar
from draftwire.nodes.console.simulate.outcomes import Simulation
from draftwire.nodes.console.simulate.pairs import Pair, pair_of
from draftwire.nodes.console.simulate.run import simulate
from draftwire.runtime.config import Topology
from draftwire.runtime.telemetry import set_up_logging

GOALS: Final = {"wall_s": 120.0, "growth_exponent": 1.1, "virtual_vs_real_pct": 5.0}
"""Figure -> at most. The first is of the full run: 90,000 steps or more."""

LEARNING: Final = 1
"""Requests with which the controller meets the link, left out of its figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured."""

    devices: int
    seconds: float
    "virtual"
    growth: tuple[int, int]
    "devices, few and many"
    growth_seconds: float
    growth_repeats: int
    "of the few"
    answers: int
    "of each way, K and gamma fixed or the controller's"
    tokens: int
    "of an answer"


FULL: Final = Effort(
    devices=100,
    seconds=60.0,
    growth=(100, 1000),
    growth_seconds=3.0,
    growth_repeats=3,
    answers=7,
    tokens=64,
)
QUICK: Final = Effort(
    devices=20,
    seconds=5.0,
    growth=(10, 100),
    growth_seconds=2.0,
    growth_repeats=3,
    answers=3,
    tokens=24,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A simulation, and what it cost."""

    devices: int
    steps: int
    drafted: int
    "steps with a block"
    virtual_s: float
    wall_s: float
    "set-up left out"
    cpu_s: float
    "of this process, set-up included"
    peak_bytes: int
    "of this process up to its end"
    trace_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    """One way of asking, in virtual and in real time: a pair of answers for each request."""

    virtual: Sequence[Answer]
    real: Sequence[Answer]

    @property
    def off_pct(self) -> float:
        """How far the median speeds lie apart, of the real one."""
        virtual, real = (median(one.tokens_per_s for one in some) for some in (self.virtual, self.real))
        return 100 * abs(virtual - real) / real

    def fields(self) -> dict[str, Any]:
        """For the JSON object."""
        return {
            "off_pct": self.off_pct,
            "virtual_tokens_per_s": [one.tokens_per_s for one in self.virtual],
            "real_tokens_per_s": [one.tokens_per_s for one in self.real],
            "virtual_steps": [one.steps for one in self.virtual],
            "real_steps": [one.steps for one in self.real],
            "same_texts": [one.ids for one in self.virtual] == [one.ids for one in self.real],
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of `draftwire bench simulate`."""
    parser.description = __doc__
    parser.epilog = (
        "us_per_step           of wall_s, set-up left out; goal: 90,000 steps of 100 devices in 120 s\n"
        "growth_exponent       from 100 to 1000 devices; goal: at most 1.1\n"
        "trace_hash            of every message and text: the same on every machine with the same versions\n"
        "virtual_vs_real_pct   medians of tokens a second, apart by; goal: at most 5\n"
    )
    parser.add_argument("--quick", action="store_true", help="half a minute: fewer devices, less time")
    parser.add_argument("--seed", type=seed_option, default=0, metavar="X", help="of everything; default 0")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")


def run(args: argparse.Namespace) -> int:
    """Run the benchmark."""
    set_up_logging(level="warning")
    effort = QUICK if args.quick else FULL
    topology, pair = Topology.default(), pair_of(Topology.default())
    main = _played(topology, pair, devices=effort.devices, seconds=effort.seconds, seed=args.seed)
    few, many = _grown(topology, pair, effort, seed=args.seed)
    real: list[list[Answer]] = []
    asked = [
        requests(effort.answers, tokens=effort.tokens),
        requests(effort.answers + LEARNING, tokens=effort.tokens, k=None, gamma=None),
    ]
    virtual = [in_virtual_time(small_topology(), some) for some in asked]

    async def real_ones() -> None:
        with progress_bar(sum(map(len, asked))) as begin:
            real.extend(await in_real_time(small_topology(), asked, begin=begin))

    code = run_foreground(real_ones)
    if code:
        return code
    fixed, auto = (
        Both(virtual=one[-effort.answers :], real=other[-effort.answers :])
        for one, other in zip(virtual, real, strict=True)
    )
    found = result(main, few, many, fixed=fixed, auto=auto, quick=args.quick)
    if args.json:
        print(orjson.dumps(found).decode(), flush=True)
    else:
        _show(found)
    return 0


def _grown(
    topology: Topology, pair: Pair, effort: Effort, *, seed: int
) -> tuple[Sequence[Played], Played]:
    """The few before and after the many, so that a machine that grows slower does so for both."""

    def play(devices: int) -> Played:
        return _played(topology, pair, devices=devices, seconds=effort.growth_seconds, seed=seed)

    few, many = effort.growth
    before = [play(few) for _ in range(-(-effort.growth_repeats // 2))]
    at_once = play(many)
    return [*before, *(play(few) for _ in range(effort.growth_repeats // 2))], at_once


def _played(topology: Topology, pair: Pair, *, devices: int, seconds: float, seed: int) -> Played:
    console = Console(stderr=True)
    began_s = time.process_time()
    with bar_on(console) as bar:
        task = bar.add_task(f"{devices} devices, virtual s", total=round(seconds))

        def progress(now_s: float, steps: int) -> None:
            bar.update(task, completed=int(now_s))

        came = simulate(topology, devices=devices, seconds=seconds, seed=seed, pair=pair, progress=progress)
    return _costs(came, cpu_s=time.process_time() - began_s)


def _costs(came: Simulation, *, cpu_s: float) -> Played:
    tallies = [one.tally for one in came.devices]
    return Played(
        devices=len(came.devices),
        steps=sum(one.steps for one in tallies),
        drafted=sum(one.steps - one.gamma_used[0] for one in tallies),
        virtual_s=came.seconds,
        wall_s=came.wall_s,
        cpu_s=cpu_s,
        peak_bytes=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        trace_hash=came.trace_hash,
    )


def growth_exponent(few: Sequence[Played], many: Played) -> float:
    """e of cpu ~ devices^e, the virtual seconds of each device the same: of several few the median."""
    ratio = many.cpu_s / median(one.cpu_s for one in few)
    return math.log(ratio) / math.log(many.devices / few[0].devices)


def result(
    main: Played, few: Sequence[Played], many: Played, *, fixed: Both, auto: Both, quick: bool
) -> dict[str, Any]:
    """The JSON object."""
    found: dict[str, Any] = {
        "devices": main.devices,
        "steps": main.steps,
        "drafted_steps": main.drafted,
        "virtual_s": main.virtual_s,
        "wall_s": main.wall_s,
        "cpu_s": main.cpu_s,
        "us_per_step": 1e6 * main.wall_s / main.steps,
        "growth_exponent": growth_exponent(few, many),
        "growth": {
            "devices": [few[0].devices, many.devices],
            "virtual_s": many.virtual_s,
            "steps": [few[0].steps, many.steps],
            "cpu_s": [[one.cpu_s for one in few], many.cpu_s],
        },
        "kb_per_device": max(0.0, many.peak_bytes - few[0].peak_bytes)
        / 1000
        / (many.devices - few[0].devices),
        "trace_hash": main.trace_hash,
        "virtual_vs_real_pct": fixed.off_pct,
        "fixed": fixed.fields(),
        "auto": auto.fields(),
        "load_average": os.getloadavg()[0],
        "quick": quick,
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    found["goals"] = {
        name: {"at_most": most, "met": bool(found[name] <= most)}
        for name, most in GOALS.items()
        if not (quick and name == "wall_s")
    }
    return found


def _show(found: Mapping[str, Any]) -> None:
    table = Table(
        title=f"{found['devices']} devices at base stations of their own, {found['virtual_s']:g} virtual s",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("what", no_wrap=True)
    for heading in ("value", "goal", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    few, many = found["growth"]["devices"]
    lines = (
        ("steps", f"{found['steps']}", ""),
        ("  with drafts", f"{found['drafted_steps']}", ""),
        ("wall, s", f"{found['wall_s']:.1f}", "wall_s"),
        ("us a step", f"{found['us_per_step']:.0f}", ""),
        (f"growth exponent, {few} to {many} devices", f"{found['growth_exponent']:.3f}", "growth_exponent"),
        ("memory of a device, kB", f"{found['kb_per_device']:.0f}", ""),
        (
            "virtual against real, K and gamma fixed, %",
            f"{found['virtual_vs_real_pct']:.2f}",
            "virtual_vs_real_pct",
        ),
        ("  the controller's choice, %", f"{found['auto']['off_pct']:.2f}", ""),
    )
    for what, value, goal in lines:
        table.add_row(what, value, *_verdict(found["goals"].get(goal)))
    console = Console(highlight=False)
    console.print(table)
    for name in ("fixed", "auto"):
        speeds = [median(found[name][f"{way}_tokens_per_s"]) for way in ("virtual", "real")]
        same = "the same texts" if found[name]["same_texts"] else "other texts"
        console.print(f"{name}: {speeds[0]:.2f} tokens/s virtual, {speeds[1]:.2f} real, {same}")
    console.print(f"trace {found['trace_hash']}")
    console.print(
        f"load average {found['load_average']:.1f}; {found['cores']} cores, {found['cpu']}; "
        f"Python {found['python']}, numpy {found['numpy']}"
    )


def _verdict(goal: Mapping[str, Any] | None) -> tuple[str, str]:
    if goal is None:
        return "", ""
    return f"<= {goal['at_most']:g}", "met" if goal["met"] else "missed"


__all__ = [
    "FULL",
    "GOALS",
    "QUICK",
    "Both",
    "Effort",
    "Played",
    "add_arguments",
    "growth_exponent",
    "result",
    "run",
]
