"""`draftwire bench simulate`: what a step costs in virtual time, and whether virtual time is true.

Devices at base stations of their own, each with a channel and an adaptive controller, ask one request after
the other over the default link; the draft accepts as the shipped pair was recorded to, and every message is
encoded, sent, decoded and tested as in a real run. All of it is one process and one thread. The rows of the
recording, which all devices share, are made before anything is measured.

growth_exponent says how the work grows with the devices: ten times as many, the same virtual seconds each, so
ten times the steps, take 10^e times the processor's time, set-up included; 1 is proportional.

For virtual_vs_real_pct the same requests go through four real processes that are paced to the paper's times,
and through the simulation of the same topology. Real nodes take some milliseconds a step more: to handle
messages, from one process to the next, and until a timer is noticed. How much is measured at K 32 and gamma 1
(`handling_ms`, what `draftwire simulate --handling` takes), and what is compared are other settings: K 32 and
gamma 4, and the target alone. Texts and steps have to be the same ones. With the controller's own choice they
are not: it chooses by what it has measured, so texts differ, and a few short requests differ by chance.
"""

import argparse
import gc
import math
import os
import platform
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
from draftwire.nodes.console.bench.goals import judged, verdict
from draftwire.nodes.console.bench.simulate_both import (
    LEARNING,
    WAYS,
    Answer,
    Both,
    asked_in_all_ways,
    handling_s,
    in_real_time,
    in_virtual_time,
    small_topology,
    times_with,
)
from draftwire.nodes.console.foreground import run_foreground
from draftwire.nodes.console.memory import resident_bytes
from draftwire.nodes.console.options import seed as seed_option
from draftwire.nodes.console.runner import progress_bar
from draftwire.nodes.console.simulate.outcomes import Simulation
from draftwire.nodes.console.simulate.pairs import Pair, pair_of
from draftwire.nodes.console.simulate.run import simulate
from draftwire.nodes.models.base import TopContext
from draftwire.nodes.models.pacing import PAPER, StepTimes
from draftwire.nodes.models.recorded import KEPT_POSITIONS
from draftwire.runtime.config import Topology
from draftwire.runtime.session.request import Request
from draftwire.runtime.telemetry import set_up_logging

GOALS: Final = {"wall_s": 120.0, "growth_exponent": 1.1, "virtual_vs_real_pct": 5.0}
"""Figure -> at most. The first is of the full run: 90,000 steps or more."""

COMPARED: Final = ("fixed", "alone")
"""Ways of asking whose texts are the same in both times, and in which `handling` was not measured."""


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
    "of each way of asking"
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
    memory_bytes: int | None
    "of this process at its end, all nodes still there; None: this system does not tell"
    trace_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """By way of asking."""

    plain: Mapping[str, Both]
    "steps take the paper's times, and nothing else does"
    handled: Mapping[str, Both]
    "and what was measured in `calibrating`"
    handling_s: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of `draftwire bench simulate`."""
    parser.description = __doc__
    parser.epilog = (
        "us_per_step            of wall_s, set-up left out; goal: 90,000 steps of 100 devices in 120 s\n"
        "growth_exponent        from 100 to 1000 devices; goal: at most 1.1\n"
        "kb_per_device          of memory, with its channel, BS and controller; the pair's rows left out\n"
        "trace_hash             of every message and text: the same with the same versions and kind of CPU\n"
        "virtual_vs_real_pct    medians of tokens a second, apart by; the worse of gamma 4 and the target\n"
        "                       alone; goal: at most 5\n"
        "handling_ms            of a block and of a pass, measured at gamma 1: `simulate --handling`\n"
        "without_handling_pct   virtual_vs_real_pct without it\n"
        "overruns               real blocks and passes that took longer than they are paced to; many of\n"
        "                       them: this machine was too busy to compare\n"
        "Each has its verdict in `goals`, where it has a goal; `ways` holds all speeds.\n"
    )
    parser.add_argument("--quick", action="store_true", help="a minute or so: fewer devices, less time")
    parser.add_argument(
        "--seed", type=seed_option, default=0, metavar="X", help="of devices, links and requests; default 0"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")


def run(args: argparse.Namespace) -> int:
    """Run the benchmark."""
    set_up_logging(level="warning")
    effort = QUICK if args.quick else FULL
    topology = Topology.default()
    pair = pair_of(topology)
    make_rows(pair, temperature=topology.sampling.temperature)
    few, many = _grown(topology, pair, effort, seed=args.seed)
    main = _played(topology, pair, devices=effort.devices, seconds=effort.seconds, seed=args.seed)
    asked = asked_in_all_ways(effort.answers, tokens=effort.tokens, seed=args.seed)
    real: dict[str, list[Answer]] = {}

    async def real_ones() -> None:
        with progress_bar(sum(map(len, asked.values()))) as begin:
            real.update(await in_real_time(small_topology(), asked, begin=begin))

    code = run_foreground(real_ones)
    if code:
        return code
    compared = _compared(asked, real, seed=args.seed)
    found = result(main, few, many, compared=compared, quick=args.quick)
    if args.json:
        print(orjson.dumps(found).decode(), flush=True)
    else:
        _show(found)
    return 0


def make_rows(pair: Pair, *, temperature: float) -> None:
    """Of every position of the recording: else they are made where one is first met, in what is measured."""
    context = pair.draft.open()
    assert isinstance(context, TopContext), "a recorded pair's draft knows its order"
    for length in range(1, KEPT_POSITIONS + 1):
        context.top(range(length), k=1, columns=pair.vocab_size, temperature=temperature)


def _compared(
    asked: Mapping[str, Sequence[Request]], real: Mapping[str, Sequence[Answer]], *, seed: int
) -> Compared:
    def with_times(times: StepTimes) -> dict[str, Both]:
        virtual = {
            way: in_virtual_time(small_topology(), some, times=times, seed=seed)
            for way, some in asked.items()
        }
        left_out = {"auto": LEARNING}
        return {
            way: Both(virtual=virtual[way][left_out.get(way, 0) :], real=real[way][left_out.get(way, 0) :])
            for way in asked
        }

    plain = with_times(PAPER)
    measured_s = handling_s(plain["calibrating"])
    return Compared(plain=plain, handled=with_times(times_with(measured_s)), handling_s=measured_s)


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
    console, memory = Console(stderr=True), list[int | None]()
    gc.collect()  # what was played before is gone, not counted here
    began_s = time.process_time()
    with bar_on(console) as bar:
        task = bar.add_task(f"{devices} devices, virtual s", total=round(seconds))

        def progress(now_s: float, steps: int) -> None:
            bar.update(task, completed=int(now_s))
            if now_s >= seconds:
                memory.append(_memory_bytes())

        came = simulate(topology, devices=devices, seconds=seconds, seed=seed, pair=pair, progress=progress)
    return _costs(came, cpu_s=time.process_time() - began_s, memory_bytes=memory[-1])


def _memory_bytes() -> int | None:
    """What this process has in memory now."""
    try:
        return resident_bytes()
    except OSError:
        return None


def _costs(came: Simulation, *, cpu_s: float, memory_bytes: int | None) -> Played:
    tallies = [one.tally for one in came.devices]
    return Played(
        devices=len(came.devices),
        steps=sum(one.steps for one in tallies),
        drafted=sum(one.steps - one.gamma_used[0] for one in tallies),
        virtual_s=came.seconds,
        wall_s=came.wall_s,
        cpu_s=cpu_s,
        memory_bytes=memory_bytes,
        trace_hash=came.trace_hash,
    )


def growth_exponent(few: Sequence[Played], many: Played) -> float:
    """e of cpu ~ devices^e, the virtual seconds of each device the same: of several few the median."""
    ratio = many.cpu_s / median(one.cpu_s for one in few)
    return math.log(ratio) / math.log(many.devices / few[0].devices)


def kb_per_device(few: Played, many: Played) -> float | None:
    """What each device more takes; None: this system does not tell."""
    if few.memory_bytes is None or many.memory_bytes is None:
        return None
    return (many.memory_bytes - few.memory_bytes) / 1000 / (many.devices - few.devices)


def result(
    main: Played, few: Sequence[Played], many: Played, *, compared: Compared, quick: bool
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
        "kb_per_device": kb_per_device(few[0], many),
        "trace_hash": main.trace_hash,
        "virtual_vs_real_pct": _worst_pct(compared.handled),
        "without_handling_pct": _worst_pct(compared.plain),
        "handling_ms": 1e3 * compared.handling_s,
        "overruns": sum(one.overruns for both in compared.plain.values() for one in both.real),
        "real_steps": sum(one.steps for both in compared.plain.values() for one in both.real),
        "ways": {way: both.fields() for way, both in compared.handled.items()},
        "load_average": os.getloadavg()[0],
        "quick": quick,
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    goals = {name: most for name, most in GOALS.items() if not (quick and name == "wall_s")}
    return found | {"goals": judged(found, at_most=goals)}


def _worst_pct(ways: Mapping[str, Both]) -> float:
    return max(ways[way].off_pct for way in COMPARED)


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
    memory = found["kb_per_device"]
    lines = (
        ("steps", f"{found['steps']}", ""),
        ("  with drafts", f"{found['drafted_steps']}", ""),
        ("wall, s", f"{found['wall_s']:.1f}", "wall_s"),
        ("us a step", f"{found['us_per_step']:.0f}", ""),
        (f"growth exponent, {few} to {many} devices", f"{found['growth_exponent']:.3f}", "growth_exponent"),
        ("memory of a device, kB", "-" if memory is None else f"{memory:.0f}", ""),
        ("virtual against real, worst, %", f"{found['virtual_vs_real_pct']:.2f}", "virtual_vs_real_pct"),
        ("  without handling, %", f"{found['without_handling_pct']:.2f}", ""),
        ("  the controller's choice, other texts, %", f"{found['ways']['auto']['off_pct']:.2f}", ""),
    )
    for what, value, goal in lines:
        table.add_row(what, value, *verdict(found["goals"].get(goal)))
    console = Console(highlight=False)
    console.print(table)
    for way, (k, gamma) in WAYS.items():
        console.print(_speeds(found["ways"][way], name=_named(way, k, gamma)), soft_wrap=True)
    console.print(
        f"handling, measured at gamma 1: --handling {found['handling_ms']:.1f}ms; {found['overruns']} of "
        f"{found['real_steps']} real steps took longer than they are paced to",
        soft_wrap=True,
    )
    console.print(f"trace {found['trace_hash']}")
    console.print(
        f"load average {found['load_average']:.1f}; {found['cores']} cores, {found['cpu']}; "
        f"Python {found['python']}, numpy {found['numpy']}",
        soft_wrap=True,
    )


def _named(way: str, k: int | None, gamma: int | None) -> str:
    return {"alone": "target alone", "auto": "controller"}.get(way, f"K {k}, gamma {gamma}")


def _speeds(way: Mapping[str, Any], *, name: str) -> str:
    virtual, real = (median(way[f"{which}_tokens_per_s"]) for which in ("virtual", "real"))
    same = "the same texts" if way["same_texts"] else "other texts"
    return f"{name}: {virtual:.2f} tokens/s virtual, {real:.2f} real, {same}"


__all__ = [
    "COMPARED",
    "FULL",
    "GOALS",
    "QUICK",
    "Compared",
    "Effort",
    "Played",
    "add_arguments",
    "growth_exponent",
    "kb_per_device",
    "make_rows",
    "result",
    "run",
]
