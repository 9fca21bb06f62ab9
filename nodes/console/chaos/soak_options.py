"""`draftwire chaos --soak`: its option and what it prints, apart from the run: nobody else waits for it."""

import argparse
from typing import TYPE_CHECKING, Final

import orjson
from rich.console import Console

from draftwire.nodes.console.bars import bar_on
from draftwire.runtime.errors import ConfigurationError

if TYPE_CHECKING:
    from draftwire.nodes.console.chaos.soak import Soaked

MOST_HOURS: Final = 10_000.0
"""A year, and days of real time."""

MOST_TOLD: Final = 10
"""Broken promises that are printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` --soak."""
    parser.add_argument(
        "--soak",
        type=float,
        metavar="HOURS",
        help="so many virtual hours in which devices come and go, and nodes die: does anything grow?",
    )


def is_asked(args: argparse.Namespace) -> bool:
    """Whether a soak is meant. Raises ConfigurationError for what does not fit together."""
    if args.soak is None:
        return False
    for option in ("schedules", "replay", "schedule"):
        if getattr(args, option) is not None:
            raise ConfigurationError("beside --soak, which is one run", key=f"--{option}", remedy="give one")
    if not 0 < args.soak <= MOST_HOURS:
        remedy = f"give more than 0 hours, up to {MOST_HOURS:g}"
        raise ConfigurationError(f"{args.soak:g} will not do", key="--soak", remedy=remedy)
    return True


def run(args: argparse.Namespace) -> int:
    """The run; returns the exit code: 1 where a promise broke, or something grew."""
    from draftwire.nodes.console.chaos.flatness import as_fields, broken_by
    from draftwire.nodes.console.chaos.soak import soak

    with bar_on(Console(stderr=True)) as bar:
        task = bar.add_task(f"{args.soak:g} virtual hours", total=1.0)
        came = soak(
            hours=args.soak, seed=args.seed or 0, progress=lambda part: bar.update(task, completed=part)
        )
    if args.json:
        print(orjson.dumps(as_fields(came)).decode(), flush=True)
    else:
        print("\n".join(_lines(came)), flush=True)
    return 130 if came.interrupted else 1 if came.broken or broken_by(came) else 0


def _lines(came: "Soaked") -> list[str]:
    from draftwire.nodes.console.chaos.flatness import JUDGED_FROM_H, as_fields

    fields = as_fields(came)
    deaths = ", ".join(f"{name} {number}" for name, number in sorted(came.deaths.items()))
    lines = [
        f"{round(came.virtual_h, 3):g} h of virtual time in {came.wall_s:.0f} s: {came.devices} devices, "
        f"{came.requests} requests, {came.tokens} tokens",
        f"deaths: {deaths or 'none'}",
        f"over the second half: memory {_told(fields['memory_growth_mb'], '+.1f')} MB of "
        f"{_told(fields['memory_mb'], '.0f')}, tasks {_told(fields['tasks_growth'], '+.0f')}, "
        f"descriptors {_told(fields['descriptors_growth'], '+.0f')}",
    ]
    if not fields["judged"]:
        lines.append(f"no growth is judged below {JUDGED_FROM_H:g} h: until then what remembers still fills")
    broken = fields["broken"]
    lines += [f"broken: {one}" for one in broken[:MOST_TOLD]]
    return [*lines, f"broken: {len(broken)}"]


def _told(value: float | None, spec: str) -> str:
    return "not measured" if value is None else f"{value:{spec}}"


__all__ = ["add_arguments", "is_asked", "run"]
