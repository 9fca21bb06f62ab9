"""`draftwire bench enemies`: what an enemy costs others, and what it gets.

A base station with keys, a controller and four honest devices in real processes over loopback. Each enemy is
a process of its own that takes only processor time that nobody else wants. For each in turn, and all of them
again in each round: a while without it, then its first seconds, then as long with it; its loss is what the
honest devices' tokens a second fall by. Passes are paced (40 ms and 0.5 ms a position), so processors are
mostly free: on two cores an enemy at full speed would else be measured by what it takes from the models.
"""

import argparse
import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median
from typing import Any, Final

import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from draftwire.nodes.console.bench.bus import cpu, spread
from draftwire.nodes.console.bench.enemies_attack import ENEMIES
from draftwire.nodes.console.bench.enemies_play import GUEST, Scene, conditions, on_stage
from draftwire.nodes.console.bench.enemies_station import TIMES, Look
from draftwire.nodes.console.bench.goals import judged
from draftwire.nodes.console.foreground import run_foreground
from draftwire.nodes.console.runner import progress_bar
from draftwire.runtime.errors import ConfigurationError, nearest
from draftwire.runtime.telemetry import set_up_logging

WARM_UP_S: Final = 6.0
"""The controller learns what the devices and their text are like."""

SETTLES_S: Final = 0.5
"""From the end of one enemy to what is measured next."""

RESTS_S: Final = 3.0
"""From the end of the last one to the last look at memory."""

LOSS_GOAL_PCT: Final = 10.0

NONE_OF: Final = ("failed", "stolen", "killed", "starved")
"""Figures whose goal is 0."""

UNKNOWN: Final = "?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured."""

    rounds: int
    first_s: float
    "from an enemy's first message: what it may spend at once"
    seconds: float
    "without an enemy, and as long with it behind that"


FULL: Final = Effort(rounds=2, first_s=4.0, seconds=3.0)
QUICK: Final = Effort(rounds=1, first_s=2.0, seconds=2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """One enemy in one round."""

    without: Mapping[str, float]
    "tokens a second of each honest device before it came"
    first: Mapping[str, float]
    "in its first seconds"
    beside: Mapping[str, float]
    "then, while it went on"
    refused: int
    "frames that the base station refused meanwhile"
    loop_share: float
    "of one processor, that the base station's loop took"
    rss_bytes: int
    "of the base station, that it had more when the enemy was at work"
    spoils: Mapping[str, Any]
    "as the enemy says; empty: it had to be killed"

    @property
    def starved(self) -> bool:
        """Whether the honest devices got nothing before it came: the one before it still costs them all."""
        return not any(self.without.values())

    @property
    def loss_pct(self) -> float | None:
        """Of all honest devices together. This and the next two: None where they were starved."""
        return self._loss_pct(self.beside)

    @property
    def first_pct(self) -> float | None:
        """The same, in its first seconds."""
        return self._loss_pct(self.first)

    @property
    def worst_pct(self) -> float | None:
        """Of the one that lost most."""
        losses = [100 * (1 - self.beside[name] / had) for name, had in self.without.items() if had]
        return max(losses, default=None)

    def _loss_pct(self, meanwhile: Mapping[str, float]) -> float | None:
        if self.starved:
            return None
        return 100 * (1 - sum(meanwhile.values()) / sum(self.without.values()))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of `draftwire bench enemies`."""
    kinds = "\n".join(f"  {name:<17}{one.summary}" for name, one in ENEMIES.items())
    parser.description = f"{__doc__}\n{kinds}"
    parser.epilog = (
        "others_loss_pct    of the worst enemy, once it has spent what it may at once; median of rounds;\n"
        f"                   goal: at most {LOSS_GOAL_PCT:g}; `at_first_pct` is that of its first seconds\n"
        "by_enemy           of each: loss_pct and its spread, what was refused, what it got: `stolen` is\n"
        "                   what it had no right to, `tokens` are those of requests of its own\n"
        "guest_loss_pct     what a fifth honest device costs the four: no enemy can cost less and be served\n"
        "failed             requests of honest devices\n"
        "killed             enemies that did not end when told to, and so did not say what they got\n"
        "starved            rounds that began without a token for anybody: they tell no loss, and a loss of\n"
        "                   which no round tells is null; goal of these three and of `stolen`: 0\n"
    )
    parser.add_argument("--only", metavar="NAME", action="append", help="this enemy; may be repeated")
    parser.add_argument("--quick", action="store_true", help="one round, 2 s each: two minutes")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")


def run(args: argparse.Namespace) -> int:
    """Run the benchmark."""
    set_up_logging(level="error")
    return run_foreground(lambda: _bench(args))


async def _bench(args: argparse.Namespace) -> None:
    names = tuple(args.only or ENEMIES)
    for name in names:
        if name not in ENEMIES:
            remedy = nearest(name, list(ENEMIES))
            raise ConfigurationError(f"there is no enemy {name!r}", key="--only", remedy=remedy)
    found = result(await measure(names, QUICK if args.quick else FULL), quick=args.quick)
    if args.json:
        print(orjson.dumps(found).decode(), flush=True)
    else:
        _show(found)


# ---------------------------------------------------------------------------------------- measuring


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All that was measured."""

    met: Mapping[str, Sequence[Met]]
    "by enemy, and of the guest: each round"
    first: Look
    "at the base station, before the first"
    last: Look
    failed: Sequence[str]
    "why requests of honest devices failed"


async def measure(names: Sequence[str], effort: Effort) -> Found:
    """Every enemy in every round, each time under another name, as nobody pays for an earlier round."""
    keys = {(name, turn): f"{name}-{turn}" for name in names for turn in range(effort.rounds)}
    met: dict[str, list[Met]] = {name: [] for name in (GUEST, *names)}
    async with on_stage(list(keys.values())) as scene:
        await asyncio.sleep(WARM_UP_S)
        first = await scene.look()
        with progress_bar(effort.rounds * len(met)) as begin:
            for turn in range(effort.rounds):
                begin(f"round {turn + 1}: {GUEST}")
                met[GUEST].append(await _with_guest(scene, turn, effort))
                for name in names:
                    begin(f"round {turn + 1}: {name}")
                    met[name].append(await _with_enemy(scene, name, keys[name, turn], effort))
        await asyncio.sleep(RESTS_S)
        return Found(met=met, first=first, last=await scene.look(), failed=scene.failed)


async def _with_enemy(scene: Scene, name: str, key: str, effort: Effort) -> Met:
    async with scene.enemy(name, key) as enemy:
        without = await scene.tok_s(effort.seconds)
        before = await scene.look()
        enemy.attack()
        first = await scene.tok_s(effort.first_s)
        beside = await scene.tok_s(effort.seconds)
        after = await scene.look()
        spoils = await enemy.end()
    await asyncio.sleep(SETTLES_S)
    return _met(without, first, beside, before, after, spoils)


async def _with_guest(scene: Scene, turn: int, effort: Effort) -> Met:
    without = await scene.tok_s(effort.seconds)
    before = await scene.look()
    task = asyncio.create_task(scene.guest.run(100 + turn))
    first = await scene.tok_s(effort.first_s)
    beside = await scene.tok_s(effort.seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return _met(without, first, beside, before, await scene.look(), {})


def _met(
    without: Mapping[str, float],
    first: Mapping[str, float],
    beside: Mapping[str, float],
    before: Look,
    after: Look,
    spoils: Mapping[str, Any],
) -> Met:
    return Met(
        without=without,
        first=first,
        beside=beside,
        refused=after.frames_refused - before.frames_refused,
        loop_share=(after.loop_cpu_s - before.loop_cpu_s) / (after.at_s - before.at_s),
        rss_bytes=after.rss_bytes - before.rss_bytes,
        spoils=spoils,
    )


# ------------------------------------------------------------------------------------- the figures


def result(found: Found, *, quick: bool) -> dict[str, Any]:
    """The JSON object."""
    by_enemy = {name: _of_enemy(rounds) for name, rounds in found.met.items() if name != GUEST}
    guest = _known(one.loss_pct for one in found.met[GUEST])
    every = [one for rounds in found.met.values() for one in rounds]
    figures: dict[str, Any] = {
        "others_loss_pct": max(_known(one["loss_pct"] for one in by_enemy.values()), default=None),
        "guest_loss_pct": _median(guest),
        "by_enemy": by_enemy,
        "memory_growth_mb": (found.last.rss_bytes - found.first.rss_bytes) / 1e6,
        "frames_refused": found.last.frames_refused - found.first.frames_refused,
        "refused_by_reason": {**found.last.refused, **found.last.dropped},
        "files_grown": found.last.files - found.first.files,
        "tasks_grown": found.last.tasks - found.first.tasks,
        "stolen": _stolen([one for name, rounds in found.met.items() if name != GUEST for one in rounds]),
        "killed": sum(one["killed"] for one in by_enemy.values()),
        "starved": sum(one.starved for one in every),
        "failed": len(found.failed),
        "why_failed": sorted(set(found.failed)),
        "honest_tok_s": median(sum(one.without.values()) for one in every),
    }
    return {
        **figures,
        "goals": judged(figures, at_most={"others_loss_pct": LOSS_GOAL_PCT} | dict.fromkeys(NONE_OF, 0)),
        "spreads": {"guest_loss_pct": spread(guest) if guest else None},
        "pass_ms": 1e3 * TIMES.target_s,
        "position_ms": 1e3 * TIMES.target_position_s,
        "rounds": len(found.met[GUEST]),
        "quick": quick,
        "cpu": cpu(),
        **conditions(),
    }


def _of_enemy(rounds: Sequence[Met]) -> dict[str, Any]:
    losses = _known(one.loss_pct for one in rounds)
    killed = sum(not one.spoils for one in rounds)
    return {
        "loss_pct": _median(losses),
        "spread": spread(losses) if losses else None,
        "at_first_pct": _median(_known(one.first_pct for one in rounds)),
        "worst_device_pct": _median(_known(one.worst_pct for one in rounds)),
        "starved": sum(one.starved for one in rounds),
        "frames_refused": sum(one.refused for one in rounds),
        "loop_share": median(one.loop_share for one in rounds),
        "rss_mb": max(one.rss_bytes for one in rounds) / 1e6,
        "sent": sum(one.spoils.get("sent", 0) for one in rounds),
        "tokens": sum(one.spoils.get("tokens", 0) for one in rounds),
        "stolen": None if killed else _stolen(rounds),
        "killed": killed,
        "replies": _summed([one.spoils.get("replies", {}) for one in rounds]),
    }


def _stolen(rounds: Sequence[Met]) -> int | None:
    """Of those that told; None where nobody did."""
    told = [int(one.spoils["stolen"]) for one in rounds if one.spoils]
    return sum(told) if told else None


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _summed(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    names = sorted({name for one in counts for name in one})
    return {name: sum(one.get(name, 0) for one in counts) for name in names}


def _show(found: Mapping[str, Any]) -> None:
    table = Table(title="What enemies cost others", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("enemy", no_wrap=True)
    for heading in ("loss, %", "spread", "at first, %", "sent", "refused", "loop, %", "memory, MB", "stolen"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, one in sorted(found["by_enemy"].items(), key=_by_loss):
        spread_of = one["spread"]
        table.add_row(
            name,
            _told(one["loss_pct"], 1),
            f"{spread_of['least']:.0f} to {spread_of['most']:.0f}" if spread_of else UNKNOWN,
            _told(one["at_first_pct"], 0),
            f"{one['sent']:,}",
            f"{one['frames_refused']:,}",
            f"{100 * one['loop_share']:.0f}",
            f"{one['rss_mb']:.0f}",
            "killed" if one["killed"] else str(one["stolen"]),
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"worst {_told(found['others_loss_pct'], 1)} %; a fifth honest device: "
        f"{_told(found['guest_loss_pct'], 1)} %; failed {found['failed']}; killed {found['killed']}; "
        f"starved {found['starved']}; memory {found['memory_growth_mb']:+.1f} MB"
    )
    console.print(
        f"{found['honest_tok_s']:.0f} tokens a second of four devices; passes of {found['pass_ms']:g} ms and "
        f"{found['position_ms']:g} ms a position; {found['cores']} cores, {found['cpu']}"
    )


def _by_loss(item: tuple[str, Mapping[str, Any]]) -> float:
    """The dearest first, behind those of which nothing is known."""
    loss_pct = item[1]["loss_pct"]
    return -inf if loss_pct is None else -float(loss_pct)


def _told(value: float | None, digits: int) -> str:
    return UNKNOWN if value is None else f"{value:.{digits}f}"


__all__ = ["FULL", "QUICK", "Effort", "Found", "Met", "add_arguments", "measure", "result", "run"]
