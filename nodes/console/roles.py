"""`draftwire target|channel|controller|device --config FILE`: nodes by themselves."""

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from draftwire.nodes.console.api import Generation, connect
from draftwire.nodes.console.assemble import build_channel, build_controller, build_target
from draftwire.nodes.console.captures import add_capture_argument
from draftwire.nodes.console.conversation import Conversation, tell_answer
from draftwire.nodes.console.doctor.reach import Binding, place_of, try_to_bind
from draftwire.nodes.console.foreground import run_foreground
from draftwire.nodes.console.generate import say
from draftwire.nodes.console.journals import (
    NO_JOURNAL,
    add_journal_arguments,
    check_resume,
    opened_journal,
    told_how_to_go_on,
)
from draftwire.nodes.console.keys import node_keys, transport_with
from draftwire.nodes.console.options import (
    add_drafting_arguments,
    add_tables_argument,
    told_of_tables_option,
    with_chosen_drafting,
    with_chosen_tables,
)
from draftwire.nodes.console.reports import reporter_of
from draftwire.runtime.actor import DRAIN_BOUND_S, Actor, run_actor, run_process
from draftwire.runtime.config import Profile, Topology, load_topology
from draftwire.runtime.errors import AddressError, AddressInUseError, ConfigurationError
from draftwire.runtime.punctual import be_punctual
from draftwire.runtime.reporting import Reporter
from draftwire.runtime.security import Role
from draftwire.runtime.telemetry import (
    DECISION_EVENT,
    LATE_EVENT,
    LATENESS_EVENT,
    LINK_EVENT,
    ROWS_EVENT,
    SHARES_EVENT,
    STEP_EVENT,
    Recorder,
    get_logger,
    log_step,
    set_up_logging,
    step_fields,
)
from draftwire.runtime.transport import Transport

_RECORDED: Final = {
    "target": (STEP_EVENT,),
    "controller": (ROWS_EVENT, DECISION_EVENT),
    "channel": (LINK_EVENT, LATENESS_EVENT, LATE_EVENT, SHARES_EVENT),
}
"""The events that a node records: its own, so that a file of several nodes has none twice."""

OF_A_DEVICE: Final = """\
what else `draftwire generate` takes is said elsewhere:
  --temperature, --top-k, --top-p,
  --seed, --max-new-tokens          [sampling] of the file
  --k, --gamma                      [controller] of the base station's file
  --draft, --dtype, --profile       [pair] and [compute] of the file
  --link, --schedule                [channel] of the channel's file
  --record, --capture               options of target, controller, channel
  --stop, --json                    Python: draftwire.connect(FILE)
"""
"""Below its help: what people look for there."""


def add_role_arguments(parser: argparse.ArgumentParser) -> None:
    """What every node's command takes."""
    parser.add_argument("--config", metavar="FILE", type=Path, help="topology file; left out: all defaults")
    parser.add_argument("--until-stdin-ends", action="store_true", help=argparse.SUPPRESS)


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `draftwire target`."""
    add_role_arguments(parser)
    add_tables_argument(parser)
    parser.add_argument("--record", metavar="FILE", type=Path, help="append an event a step, JSON lines")


def add_controller_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `draftwire controller`."""
    add_role_arguments(parser)
    add_tables_argument(parser)
    parser.add_argument(
        "--record", metavar="FILE", type=Path, help="append what it learns and decides, JSON lines"
    )


def add_channel_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `draftwire channel`."""
    add_role_arguments(parser)
    parser.add_argument(
        "--record", metavar="FILE", type=Path, help="append links and how late messages are, JSON lines"
    )
    add_capture_argument(parser)


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `draftwire device`."""
    parser.epilog = OF_A_DEVICE
    add_role_arguments(parser)
    parser.add_argument("--name", help="in place of [device] name: that of this device's key, or below it")
    add_tables_argument(parser)
    parser.add_argument("prompt", nargs="?", help="what to answer; left out: every line of standard input")
    add_drafting_arguments(parser.add_argument_group("drafts"))
    add_journal_arguments(parser)


def run_target(args: argparse.Namespace) -> int:
    """The target base station alone: binds target.address, verifies drafts, until it is told to stop."""
    topology = with_chosen_tables(chosen_topology(args), args)
    keys = node_keys(topology, Role.TARGET)
    reporter = reporter_of(topology, Role.TARGET, keys)
    recorder = _recorder(args.record, _RECORDED["target"]) if args.record is not None else None
    set_up_logging(recorder=recorder, reporter=reporter)
    logger = get_logger("target")
    if topology.compute.profile is Profile.PAPER:
        logger = logger.bind(paced=True)  # so that no record of a paced run passes for another

    async def main() -> None:
        await _check_bindable(topology.target.binds)
        transport = transport_with(keys, topology)
        with told_of_tables_option(args):
            node = build_target(
                topology,
                transport=transport,
                logger=logger,
                progress=lambda text: logger.info("target.loading", what=text),
                on_step=lambda report: log_step(logger, **step_fields(report)),
                name="target" if keys is None else keys.own.public.name,
            )
        await _run_telling(reporter, node, transport, args)

    return run_node(main, args)


async def _check_bindable(address: str) -> None:
    """Raise the AddressError of a bind that can't be, before a model is loaded for minutes."""
    if place_of(address).host in (name for _, name in socket.if_nameindex()):
        return  # which address that is, and so whether it is free, the bind itself finds out
    found = await asyncio.to_thread(try_to_bind, address)
    match found.binding:
        case Binding.HELD:
            raise AddressInUseError(address)
        case Binding.IMPOSSIBLE:
            raise AddressError(address, found.problem, remedy=found.remedy)


def run_channel(args: argparse.Namespace) -> int:
    """The channel emulator alone: stands between devices and target and shapes both directions."""
    topology = chosen_topology(args)
    be_punctual()  # before there is a socket: what a socket's own thread takes over counts too
    return _run_one(args, topology, Role.CHANNEL, partial(build_channel, capture=args.capture))


def run_controller(args: argparse.Namespace) -> int:
    """The controller alone: takes the target's reports and answers with plans (K, gamma)."""
    return _run_one(args, with_chosen_tables(chosen_topology(args), args), Role.CONTROLLER, build_controller)


def _run_one(args: argparse.Namespace, topology: Topology, role: Role, build: Callable[..., Actor]) -> int:
    """A node that needs nothing but its topology."""
    keys = node_keys(topology, role)
    reporter = reporter_of(topology, role, keys)
    record: Path | None = getattr(args, "record", None)
    recorder = None if record is None else _recorder(record, _RECORDED[role])
    set_up_logging(recorder=recorder, reporter=reporter)
    if reporter is not None and role is Role.CHANNEL:
        build = partial(build, tell=reporter.tell)

    async def main() -> None:
        transport = transport_with(keys, topology)
        node = build(topology, transport=transport, logger=get_logger(role))
        await _run_telling(reporter, node, transport, args)

    return run_node(main, args)


async def _run_telling(
    reporter: Reporter | None, node: Actor, transport: Transport, args: argparse.Namespace
) -> None:
    """Run a node, and tell the observer of it, where there is one."""
    async with nullcontext() if reporter is None else reporter.telling(transport):
        await run_actor(node, transport=transport, drain_s=_drain_s(args))


def run_device(args: argparse.Namespace) -> int:
    """The draft device alone: answers the prompt given, or every line of standard input."""
    check_resume(args)  # before the options are looked at: beside --resume they have no say at all
    topology = _named(with_chosen_tables(chosen_topology(args), args), args.name)
    topology = with_chosen_drafting(topology, args)
    _check_one_is_meant(topology, args)
    set_up_logging(level="warning")
    conversation = Conversation()

    async def main() -> None:
        async with AsyncExitStack() as stack:
            journal = stack.enter_context(opened_journal(args))
            with _name_of_the_option(args.name), told_of_tables_option(args):
                device = await stack.enter_async_context(connect(topology, launch=False, progress=say))

            async def answer(generation: Generation) -> None:
                with told_how_to_go_on(generation, "device", args):
                    await tell_answer(device, generation)

            if journal is None:
                say(NO_JOURNAL)
            if journal is not None and args.resume is not None:
                await answer(device.resume(journal, args.resume))
            else:
                await conversation.hold(
                    lambda line: answer(device.generate(line, min_draft=args.min_draft, journal=journal)),
                    args.prompt,
                )

    return run_foreground(main, rests=lambda: conversation.waits) or conversation.failed


def _recorder(path: Path, events: Sequence[str]) -> Recorder:
    try:
        return Recorder(path, events=events)
    except OSError as error:
        raise ConfigurationError(
            f"{str(path)!r}: {error.strerror}", key="--record", remedy="name a file that can be written"
        ) from None


def _named(topology: Topology, name: str | None) -> Topology:
    """With another device's name than the file's. Raises ConfigurationError for one that can't be."""
    if name is None:
        return topology
    with _name_of_the_option(name):
        topology = replace(topology, device=replace(topology.device, name=name, count=1))
    return topology


def _check_one_is_meant(topology: Topology, args: argparse.Namespace) -> None:
    """Raise ConfigurationError where a file of several devices leaves open which one is to read lines."""
    if topology.device.count > 1 and args.prompt is None and args.resume is None:
        name = topology.device.names[0]
        raise ConfigurationError(
            f"the file has {topology.device.count} devices, and this command is one",
            key="device.count",
            remedy=f"give a prompt, or --name {name} for one of them; `draftwire up` starts all",
        )


@contextmanager
def _name_of_the_option(name: str | None) -> Iterator[None]:
    """A name that --name gave, where there is one, is told by that option when it can't be used."""
    try:
        yield
    except ConfigurationError as error:
        if name is None or error.key not in ("name", "device.name"):
            raise
        raise error.placed(key="--name") from None


def chosen_topology(args: argparse.Namespace) -> Topology:
    """Of --config, or all defaults."""
    return Topology.default() if args.config is None else load_topology(args.config)


def _drain_s(args: argparse.Namespace) -> float:
    """A node that belongs to a command outlives its device: nobody waits for what is under way."""
    return 0.0 if getattr(args, "until_stdin_ends", False) else DRAIN_BOUND_S


def run_node(main: Callable[[], Coroutine[Any, Any, None]], args: argparse.Namespace) -> int:
    """Run a node; with --until-stdin-ends, stop when whoever started this process is gone."""
    if not getattr(args, "until_stdin_ends", False):
        return run_process(main)

    async def watched() -> None:
        loop = asyncio.get_running_loop()

        def ended() -> None:
            if not os.read(sys.stdin.fileno(), 1024):
                loop.remove_reader(sys.stdin.fileno())
                os.kill(os.getpid(), signal.SIGTERM)

        loop.add_reader(sys.stdin.fileno(), ended)
        await main()

    return run_process(watched)


__all__ = [
    "add_channel_arguments",
    "add_controller_arguments",
    "add_device_arguments",
    "add_role_arguments",
    "add_target_arguments",
    "chosen_topology",
    "run_channel",
    "run_controller",
    "run_device",
    "run_node",
    "run_target",
]
