"""`draftwire bench e2e`: the shipped pair through four real processes, on five links and one that changes.

Each setting answers the same prompt with the same number of tokens, setting after setting on one link, in
turned order for each repeat. A speed is tokens over the time from the first Open to the last token. Fixed
settings have a device of their own: what the controller knows comes from its own requests. On a link that
stands still it is measured from its second request on; on one that changes, as it comes.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson

from draftwire.nodes.console.bench.exact import Exactness, exactness
from draftwire.nodes.console.bench.scores import Scores, scores_of, scores_table
from draftwire.nodes.console.foreground import run_foreground
from draftwire.nodes.console.generate import say
from draftwire.nodes.console.options import add_acceptance_argument, check_record, count
from draftwire.nodes.console.outcome import ALONE, Outcome, Scene, Setting, auto, fixed
from draftwire.nodes.console.record import read_record
from draftwire.nodes.console.runner import experiment, interleaved, progress_bar
from draftwire.runtime.config import AcceptanceRule, Profile, Topology
from draftwire.runtime.telemetry import set_up_logging

GOOD: Final = Scene(name="20/5", link="rate 20mbit delay 2500us")
FAR: Final = Scene(name="20/100", link="rate 20mbit delay 50ms")
LINKS: Final = (
    GOOD,
    Scene(name="0.1/10", link="rate 100kbit delay 5ms"),
    Scene(name="1/10", link="rate 1mbit delay 5ms"),
    Scene(name="5/40", link="rate 5mbit delay 20ms"),
    FAR,
)
"""Mbit/s and round trip in ms."""

GRID: Final = tuple(fixed(k, gamma) for k in (8, 32, 320) for gamma in (2, 4, 8))
QUICK_GRID: Final = (fixed(8, 2), fixed(32, 4), fixed(320, 2))


def changing(every_s: float) -> Scene:
    """20 Mbit/s and 0.1 Mbit/s in turn."""
    return Scene(
        name="20<>0.1",
        link=f"rate 20mbit delay 5ms; {every_s:g}s rate 100kbit; repeat {2 * every_s:g}s",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured."""

    grid: tuple[Setting, ...]
    tokens: int
    "of an answer on a link that stands still"
    settle_tokens: int
    "of the answer before it, with which the controller meets that link"
    changing_tokens: int
    changing_every_s: float
    repeats: int
    greedy_prompts: int
    greedy_tokens: int
    texts: int
    "sampled, for their law"


FULL: Final = Effort(
    grid=GRID,
    tokens=40,
    settle_tokens=24,
    changing_tokens=90,
    changing_every_s=3.0,
    repeats=3,
    greedy_prompts=6,
    greedy_tokens=40,
    texts=400,
)
QUICK: Final = Effort(
    grid=QUICK_GRID,
    tokens=16,
    settle_tokens=12,
    changing_tokens=40,
    changing_every_s=1.5,
    repeats=1,
    greedy_prompts=2,
    greedy_tokens=16,
    texts=60,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of `draftwire bench e2e`."""
    parser.description = (
        "Measure the shipped pair through four real processes: the adaptive controller, the target alone "
        "and a grid of fixed settings, interleaved, on five links and one that changes; natively and paced "
        "to the paper's hardware. Then exactness, with the target in fp32. --acceptance is that of the "
        "adaptive requests; the fixed settings stay under rejection."
    )
    parser.epilog = (
        "speedup_good_link           auto over the target alone at 20 Mbit/s, RTT 5 ms\n"
        "speedup_rtt100              the same at 20 Mbit/s, RTT 100 ms\n"
        "worst_vs_target_only        auto over the target alone, the least of the links that stand still\n"
        "adaptive_over_best_fixed    auto over the best fixed setting of each link in hindsight, mean\n"
        "measured_over_predicted     tokens a second over what the controller expected, median of requests\n"
        "tv, tv_noise_floor          of sampled texts against the target's own law\n"
        "greedy_mismatches           texts at temperature 0 that differ from the target's own\n"
        "with --acceptance coupled or auto besides:\n"
        "pipelined_mismatches        the same with gamma 8 and a target that never waits\n"
        "coupled_mismatches          coupled texts that differ from the target's own of the same seed\n"
        "gaps                        of each that differs, by what the target prefers its own token there\n"
    )
    parser.add_argument(
        "--quick", action="store_true", help="at most 3 minutes: less of everything, a smaller grid"
    )
    add_acceptance_argument(parser, of="the adaptive requests")
    parser.add_argument("--repeats", type=count, metavar="N", help="interleaved; default: 3, quick 1")
    parser.add_argument(
        "--profile",
        choices=[one.value for one in Profile],
        action="append",
        help="only this one; default: both",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, last on standard output")
    parser.add_argument("--record", metavar="FILE", type=Path, help="append all events there")


def run(args: argparse.Namespace) -> int:
    """Run the benchmark."""
    check_record(args.record)
    set_up_logging(level="warning")
    return run_foreground(lambda: _bench(args))


async def _bench(args: argparse.Namespace) -> None:
    effort = QUICK if args.quick else FULL
    effort = replace(effort, repeats=args.repeats or effort.repeats)
    acceptance = args.acceptance or AcceptanceRule.REJECTION
    profiles = [Profile(name) for name in args.profile or ("native", "paper")]
    began_s = asyncio.get_running_loop().time()
    with tempfile.TemporaryDirectory(prefix="draftwire-") as folder:
        measured: dict[str, Scores] = {}
        for profile in profiles:
            record = args.record or Path(folder) / f"{profile.value}.jsonl"
            outcomes = await _speeds(profile, effort, record, auto(acceptance))
            measured[profile.value] = scores_of(outcomes, read_record(record), good=GOOD, far=FAR)
            say(f"\n{profile.value}{' (paced)' if profile is Profile.PAPER else ''}")
            scores_table(measured[profile.value])
        found = await _exactness(effort, acceptance)
    say("")
    for line in found.lines():
        say(line)
    wall_s = asyncio.get_running_loop().time() - began_s
    if args.json:
        fields = result(
            measured, found, effort, acceptance=acceptance, quick=args.quick, wall_s=wall_s
        )
        print(orjson.dumps(fields).decode(), flush=True)
    else:
        say(f"{wall_s:.0f} s")


def result(
    measured: Mapping[str, Scores],
    found: Exactness,
    effort: Effort,
    *,
    acceptance: AcceptanceRule,
    quick: bool,
    wall_s: float,
) -> dict[str, Any]:
    """The JSON object: the paper profile's figures on top, the native ones under `native`.

    `found` is of one run, in fp32 at full speed, and stands in both: pacing waits, it changes no token.
    """
    by_profile = {
        name: {**scores.fields(), **asdict(found), "paced": name == Profile.PAPER}
        for name, scores in measured.items()
    }
    native = by_profile.pop(Profile.NATIVE, None)
    return {
        "quick": quick,
        "acceptance": acceptance.value,
        "repeats": effort.repeats,
        "grid": [setting.name for setting in effort.grid],
        "tokens": effort.tokens,
        "wall_s": wall_s,
        **by_profile.get(Profile.PAPER, {}),
        "native": native,
    }


async def _speeds(profile: Profile, effort: Effort, record: Path, adaptive: Setting) -> list[Outcome]:
    """All settings on all links."""
    topology = Topology.default()
    topology = replace(topology, compute=replace(topology.compute, profile=profile))
    settings: Sequence[Setting] = (adaptive, ALONE, *effort.grid)
    plan = (
        (LINKS, effort.tokens),
        ((changing(effort.changing_every_s),), effort.changing_tokens),
    )
    outcomes: list[Outcome] = []
    async with experiment(topology, record=record, progress=_loading(profile)) as bench:
        total = effort.repeats * len(settings) * sum(len(scenes) for scenes, _ in plan)
        with progress_bar(total) as begin:
            for scenes, tokens in plan:
                async for outcome in interleaved(
                    bench,
                    settings=settings,
                    scenes=scenes,
                    tokens=tokens,
                    repeats=effort.repeats,
                    settle_tokens=effort.settle_tokens,
                    progress=lambda name: begin(f"{profile.value}: {name}"),
                ):
                    outcomes.append(outcome)
    return outcomes


async def _exactness(effort: Effort, acceptance: AcceptanceRule) -> Exactness:
    topology = Topology.default()
    target = replace(topology.pair.target, dtype="float32")
    topology = replace(topology, pair=replace(topology.pair, target=target))
    async with experiment(topology, progress=lambda text: None) as bench:
        with progress_bar(1) as begin:
            return await exactness(
                bench,
                prompts=effort.greedy_prompts,
                tokens=effort.greedy_tokens,
                texts=effort.texts,
                acceptance=acceptance,
                progress=begin,
            )


def _loading(profile: Profile) -> Callable[[str], None]:
    return lambda text: say(f"{profile.value}: {text}")


__all__ = [
    "FAR",
    "FULL",
    "GOOD",
    "GRID",
    "LINKS",
    "QUICK",
    "Effort",
    "add_arguments",
    "changing",
    "result",
    "run",
]
