"""`draftwire chaos --real`: its options, apart from what they start, which no other command waits for."""

import argparse
from typing import Final

from draftwire.nodes.console.options import count
from draftwire.runtime.errors import ConfigurationError

DEFAULT_KILLS: Final = 20

MOST_MINUTES: Final = 100_000.0
"""Two months."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` --real, and what is said beside it."""
    group = parser.add_argument_group("real processes of this machine, in place of virtual time")
    group.add_argument(
        "--real",
        action="store_true",
        help="kill, stop, cut off and fill up target, channel, controller and a device that answers",
    )
    group.add_argument("--kills", type=count, metavar="N", help=f"of each node; default {DEFAULT_KILLS}")
    group.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help="in place of kills: have them work for so long, and see whether memory, files or threads grow",
    )


def is_asked(args: argparse.Namespace) -> bool:
    """Whether real processes are meant. Raises ConfigurationError for what does not fit together."""
    if not args.real:
        for option in ("kills", "minutes"):
            if getattr(args, option) is not None:
                raise ConfigurationError(
                    "it is of real processes", key=f"--{option}", remedy="add --real, or leave it out"
                )
        return False
    for option in ("schedules", "replay", "schedule", "soak"):
        if getattr(args, option) is not None:
            raise ConfigurationError(
                "it is of virtual time", key=f"--{option}", remedy="leave it out, or leave out --real"
            )
    if args.kills is not None and args.minutes is not None:
        raise ConfigurationError("beside --minutes, which kills no server", key="--kills", remedy="give one")
    if args.minutes is not None and not 0 < args.minutes <= MOST_MINUTES:
        remedy = f"give more than 0, up to {MOST_MINUTES:g}"
        raise ConfigurationError(f"{args.minutes:g} will not do", key="--minutes", remedy=remedy)
    return True


def run(args: argparse.Namespace) -> int:
    """Real processes; returns the exit code: 1 where a promise broke, or something grew."""
    seed = args.seed or 0
    if args.minutes is not None:
        from draftwire.nodes.console.chaos.soak_real import run_soak

        return run_soak(minutes=args.minutes, seed=seed, as_json=args.json)
    from draftwire.nodes.console.chaos.real import run_real

    return run_real(kills=args.kills or DEFAULT_KILLS, seed=seed, as_json=args.json)


__all__ = ["DEFAULT_KILLS", "add_arguments", "is_asked", "run"]
