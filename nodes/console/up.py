"""`draftwire up FILE`: all nodes of a file on this host, with one device or with many."""

import argparse
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from draftwire.nodes.console.api import connect
from draftwire.nodes.console.captures import add_capture_argument, check_capture
from draftwire.nodes.console.conversation import Conversation, tell_answer
from draftwire.nodes.console.foreground import run_foreground
from draftwire.nodes.console.generate import say
from draftwire.nodes.console.launch import launched, sharing_cores, with_throw_away_keys
from draftwire.nodes.console.options import (
    add_drafting_arguments,
    add_tables_argument,
    as_typed,
    check_writable,
    count,
    with_chosen_drafting,
    with_chosen_tables,
)
from draftwire.nodes.console.starting import unless_lost
from draftwire.nodes.console.up_many import run_many
from draftwire.runtime.config import Topology, load_topology
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.telemetry import set_up_logging

EXAMPLES = """\
examples:
  draftwire up configs/demo.toml                           one device: type prompts
  draftwire up configs/cell-16.toml                        sixteen: examples and a live table, until Ctrl-C
  draftwire up configs/cell-16.toml < prompts.txt > a.txt  the lines of a file, each by who is free first
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `draftwire up`."""
    parser.epilog = EXAMPLES
    parser.add_argument("config", metavar="FILE", type=Path, help="topology file")
    add_tables_argument(parser)
    add_drafting_arguments(parser.add_argument_group("drafts"))
    parser.add_argument(
        "--record", metavar="FILE", type=Path, help="append what all nodes tell, JSON lines, for `explain`"
    )
    add_capture_argument(parser)
    several = parser.add_argument_group("several devices ([device] count)")
    several.add_argument(
        "--prompts",
        metavar="FILE",
        type=Path,
        help="one a line; devices answer them in turn, each beginning with another. Left out: the lines of "
        "standard input, each by the device that is free first; examples where that is a terminal, or empty",
    )
    several.add_argument(
        "--answers",
        metavar="N",
        type=count,
        help="so many by each device, then it ends. Left out: all lines of standard input; where there are "
        "none, or with --prompts, 1 by each device, and on a terminal no end before Ctrl-C",
    )
    several.add_argument("--json", action="store_true", help="one JSON object, last on standard output")


def run(args: argparse.Namespace) -> int:
    """All nodes of a file on this host, at its addresses: its device, or its many, answer prompts.

    They have throw-away keys: no other node can join them, unless [security] says `plain = true`. One device
    answers every line of standard input. Several ([device] count) answer at the same time, each by itself,
    and a table shows what they are at.
    """
    topology = sharing_cores(with_chosen_tables(load_topology(args.config), args))
    topology = with_chosen_drafting(topology, args)
    check_capture(args.capture, topology, record=args.record)
    check_writable(args.record, key="--record")
    if topology.device.count > 1:
        return run_many(args, topology, partial(_with_keys, topology))
    _check_for_one(args)
    set_up_logging(level="warning")
    conversation = Conversation()

    async def main() -> None:
        async with AsyncExitStack() as stack:
            system = _with_keys(topology, stack)
            nodes = await stack.enter_async_context(
                launched(system, record=args.record, capture=args.capture, progress=say, observer=True)
            )
            await nodes.ready()
            device = await stack.enter_async_context(connect(system, launch=False, progress=say))
            await stack.enter_async_context(device.dependent_on(nodes))
            answers = conversation.hold(
                lambda line: tell_answer(device, device.generate(line, min_draft=args.min_draft)), None
            )
            await unless_lost(nodes, answers)

    return (
        run_foreground(lambda: as_typed(args, main()), rests=lambda: conversation.waits)
        or conversation.failed
    )


def _with_keys(topology: Topology, stack: AsyncExitStack) -> Topology:
    """With throw-away keys for as long as the stack stands, unless the file does without any."""
    if topology.security.plain:
        return topology
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="draftwire-"))
    return with_throw_away_keys(topology, Path(folder))


def _check_for_one(args: argparse.Namespace) -> None:
    """Raise ConfigurationError for an option that only several devices have."""
    given = {"--prompts": args.prompts, "--answers": args.answers, "--json": args.json or None}
    for key, value in given.items():
        if value is not None:
            problem, remedy = f"{args.config} has one device", "leave it out, or write [device] count = 2"
            raise ConfigurationError(problem, key=key, remedy=f"{remedy} or more")


__all__ = ["add_arguments", "run"]
