"""`draftwire doctor`: whether this machine can do its part, and which hop fails.

`checks` is what it finds, `examine` the order in which it looks; `whereabouts` guesses which nodes run here;
`hops`, `ports`, `trust`, `pair`, `machine` each judge one kind of thing, `probing` and `reach` ask the
network and the operating system.
"""

import argparse
import shlex
from dataclasses import replace
from pathlib import Path

from draftwire.nodes.console.doctor.checks import Check, Status
from draftwire.nodes.console.doctor.examine import Report, examine
from draftwire.nodes.console.doctor.view import Screen
from draftwire.nodes.console.doctor.whereabouts import roles_of
from draftwire.nodes.console.foreground import run_foreground
from draftwire.nodes.console.options import add_tables_argument, with_chosen_tables
from draftwire.runtime.config import Topology, load_topology
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.security import Role

EXAMPLES = """\
examples:
  draftwire doctor --config two-machines.toml                    what this machine's keys say it is
  draftwire doctor --config two-machines.toml --role target --role controller
  draftwire doctor --config two-machines.toml --name phone-2     as another device than the file's
  draftwire doctor --config two-machines.toml --json             for a program

Each check is one line: ok, warn, FAIL or skip; under one that needs it stands what to do. Nothing is changed,
no weights are loaded: run it before the nodes, or while they run.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire doctor`."""
    parser.epilog = EXAMPLES
    parser.add_argument("--config", metavar="FILE", type=Path, help="topology file; left out: all defaults")
    parser.add_argument(
        "--role",
        action="append",
        choices=[role.value for role in Role],
        help="a node that runs on this machine; may be repeated; left out: those whose keys are here, or, "
        "without keys, whose addresses are",
    )
    parser.add_argument("--name", metavar="DEVICE", help="in place of [device] name")
    add_tables_argument(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Whether this machine can do its part, and which hop of the way fails; 0 where nothing fails, else 1."""
    screen = Screen(silent=args.json)
    config = "" if args.config is None else f" --config {shlex.quote(str(args.config))}"
    report = Report(checks=[], hops=[])

    async def main() -> None:
        nonlocal report
        try:
            topology = with_chosen_tables(_topology(args), args)
            roles = await _roles(args, topology)
        except ConfigurationError as error:
            report = Report(checks=[_will_not_do(error)], hops=[])
            screen.tell(*report.checks)
        else:
            report = await examine(topology, roles, config=config, tell=screen.tell, progress=screen.progress)
        screen.end(report)

    return run_foreground(main) or (0 if report.ok else 1)


def _will_not_do(error: ConfigurationError) -> Check:
    problem = ": ".join(part for part in (error.source, error.key, error.problem) if part)
    return Check(name="configuration", subject="", status=Status.FAIL, seen=problem, remedy=error.remedy)


def _topology(args: argparse.Namespace) -> Topology:
    topology = Topology.default() if args.config is None else load_topology(args.config)
    if args.name is None:
        return topology
    try:
        return replace(topology, device=replace(topology.device, name=args.name))
    except ConfigurationError as error:
        raise error.placed(key="--name") from None


async def _roles(args: argparse.Namespace, topology: Topology) -> tuple[Role, ...]:
    if args.role is None:
        return await roles_of(topology)
    wanted = tuple(role for role in Role if role.value in args.role)
    if Role.CHANNEL in wanted:
        remedy = "add a section [channel], or leave that role out"
        topology.need_channel(remedy=remedy, key="--role", source=str(args.config))
    if Role.OBSERVER in wanted:
        topology.need_observer(source=str(args.config))
    return wanted


__all__ = ["add_arguments", "run"]
