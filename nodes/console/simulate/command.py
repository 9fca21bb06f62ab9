"""`draftwire simulate`: its options, what runs, what is printed."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from rich.console import Console

from draftwire.nodes.console.bars import bar_on
from draftwire.nodes.console.generate import say
from draftwire.nodes.console.options import add_acceptance_argument, check_record
from draftwire.nodes.console.options import seed as seed_option
from draftwire.nodes.console.plots import check_picture, save
from draftwire.nodes.models.pacing import PAPER, StepTimes
from draftwire.runtime.config import ChannelSettings, Profile, Topology, load_topology
from draftwire.runtime.errors import ConfigurationError, DeadlockError
from draftwire.runtime.link import parse_link, parse_time, traces_beside

if TYPE_CHECKING:
    from draftwire.nodes.console.simulate.outcomes import Simulation
    from draftwire.nodes.console.simulate.run import Progress

EXAMPLES = """\
examples:
  draftwire simulate --devices 100 --seconds 60
  draftwire simulate --devices 20 --seconds 60 --link 'rate 1mbit delay 20ms'
  draftwire simulate --devices 20 --seconds 60 --acceptance coupled       ids only, a target that never waits
  draftwire simulate configs/changing-link.toml --devices 50 --seconds 120 --plot fleet.png
  draftwire simulate cell.toml --devices 32 --per-bs 16 --seconds 60      16 devices share a BS and its model
  draftwire simulate --devices 3 --seconds 20 --record run.jsonl
  draftwire explain run.jsonl --device device-0002

Nodes, protocol and codec are those of a real run; models are synthetic ones, or accept as a real pair was
recorded to; steps take the paper's times unless you give your own. The same seed gives the same run, with the
same versions of draftwire, Python and numpy, on the same kind of CPU.

Devices are called device-0001 and so on; those that [channel.devices] of the file names come first.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire simulate`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "config", nargs="?", metavar="CONFIG", type=Path, help="topology file; left out: the default one"
    )
    parser.add_argument("--config", metavar="FILE", dest="config_option", type=Path, help="the same")
    parser.add_argument(
        "--link", metavar="WORDS", help="both directions, as tc says it, in place of the file's links"
    )
    parser.add_argument("--devices", type=int, default=1, metavar="N", help="how many; default 1")
    parser.add_argument(
        "--seconds", type=float, default=60.0, metavar="S", help="of virtual time; default 60"
    )
    parser.add_argument(
        "--per-bs", type=int, default=1, metavar="M", help="devices that share a BS and a channel; default 1"
    )
    add_acceptance_argument(parser, of="every request")
    parser.add_argument("--seed", type=seed_option, default=0, metavar="X", help="of everything; default 0")
    models = parser.add_argument_group("models")
    models.add_argument(
        "--recording",
        metavar="FILE",
        type=Path,
        help="of scripts/record_acceptance.py: how your own pair accepts; left out: the shipped pair",
    )
    models.add_argument("--draft-step", metavar="TIME", help="of a drafted token; default 3.1ms, the paper's")
    models.add_argument("--target-step", metavar="TIME", help="of a verification step; default 44.5ms")
    models.add_argument("--target-token", metavar="TIME", help="of each token in it besides; default 0s")
    models.add_argument(
        "--handling", metavar="TIME", help="of each block and each step besides, at either end; default 0s"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--record", metavar="FILE", type=Path, help="a new file for steps and decisions")
    output.add_argument("--plot", metavar="FILE", type=Path, help="a picture: .png, .svg or .pdf")
    output.add_argument("--json", action="store_true", help="one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """The four nodes in virtual time, for as many devices as you like."""
    # Imported when asked for: no other command waits for it.
    from draftwire.nodes.console.simulate.pairs import pair_of
    from draftwire.nodes.console.simulate.run import Interrupted, check_size, simulate

    topology = chosen_topology(args)
    times = step_times(args)
    check_size(topology, devices=args.devices, seconds=args.seconds, per_bs=args.per_bs, times=times)
    _check_output(args)
    pair = pair_of(topology, recording=args.recording)
    if not args.json:
        say(f"times: {_told(times, topology.compute.profile)}")
    try:
        with _bar(args.seconds) as progress:
            came = simulate(
                topology,
                devices=args.devices,
                seconds=args.seconds,
                seed=args.seed,
                per_bs=args.per_bs,
                pair=pair,
                times=times,
                record=args.record,
                progress=progress,
            )
    except DeadlockError as error:
        say("\n  ".join([f"draftwire: {error.summary}:", *error.groups]))
        return error.exit_code
    except Interrupted as error:
        so_far = error.so_far
        say(f"stopped after {so_far.seconds:.1f} s of {args.seconds:g} s of virtual time; until then:")
        _show(so_far, topology, args)
        return 130
    _show(came, topology, args)
    return 0


def chosen_topology(args: argparse.Namespace) -> Topology:
    """The file's topology, or the default one, with what the command line says. Raises ConfigurationError."""
    if args.config is not None and args.config_option is not None:
        raise ConfigurationError(
            f"{str(args.config_option)!r} beside {str(args.config)!r}",
            key="--config",
            remedy="name one topology file",
        )
    path = args.config or args.config_option
    topology = Topology.default() if path is None else load_topology(path)
    if args.acceptance is not None:
        topology = replace(topology, sampling=replace(topology.sampling, acceptance=args.acceptance))
    if args.link is None:
        return topology
    try:
        link = parse_link(args.link, find_trace=traces_beside())
    except ConfigurationError as error:
        raise error.placed(key="--link") from None
    channel = topology.channel or ChannelSettings()
    return replace(topology, channel=replace(channel, uplink=link, downlink=link, schedule=None, devices={}))


def _check_output(args: argparse.Namespace) -> None:
    check_picture(args.plot)
    check_record(args.record)
    if args.plot is not None and args.record is not None and args.plot.resolve() == args.record.resolve():
        raise ConfigurationError(
            f"{str(args.plot)!r}: the record goes there", key="--plot", remedy="name another file"
        )


def step_times(args: argparse.Namespace) -> StepTimes:
    """The paper's, but for what is given. Raises ConfigurationError, naming the option."""

    def given(option: str, otherwise: float) -> float:
        text = getattr(args, option.removeprefix("--").replace("-", "_"))
        return otherwise if text is None else parse_time(option, text)

    handling_s = given("--handling", 0.0)
    return StepTimes(
        draft_s=PAPER.draft_s + handling_s,
        draft_position_s=given("--draft-step", PAPER.draft_position_s),
        target_s=given("--target-step", PAPER.target_s) + handling_s,
        target_position_s=given("--target-token", PAPER.target_position_s),
    )


def _told(times: StepTimes, profile: Profile) -> str:
    paper = ", the paper's" + ("" if profile is Profile.PAPER else ": this machine's own count for nothing")
    block = f" and {1e3 * times.draft_s:g} ms a block" if times.draft_s else ""
    step = f" and {1e3 * times.target_position_s:g} ms a token in it" if times.target_position_s else ""
    return (
        f"{1e3 * times.draft_position_s:g} ms a drafted token{block}, "
        f"{1e3 * times.target_s:g} ms a verification step{step}{paper if times == PAPER else ''}"
    )


def _show(came: "Simulation", topology: Topology, args: argparse.Namespace) -> None:
    from draftwire.nodes.console.simulate.picture import simulation_figure, uplink_rates
    from draftwire.nodes.console.simulate.report import fields, lines

    if topology.channel is not None:
        unmet = sorted(set(topology.channel.devices) - {one.device for one in came.devices})
        if unmet:
            enough = f"all have room from --devices {len(topology.channel.devices)} on"
            say(f"note: [channel.devices] {', '.join(unmet)}: not among the devices; {enough}")
    if args.plot is not None:
        save(simulation_figure(came, rate_bps=uplink_rates(topology.channel, came)), args.plot)
        say(f"picture: {args.plot}")
    if args.json:
        print(orjson.dumps(fields(came)).decode(), flush=True)
    else:
        print("\n".join(lines(came)), flush=True)


@contextmanager
def _bar(seconds: float) -> "Iterator[Progress | None]":
    """On a terminal: virtual seconds, steps, and how much faster than time it goes."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with bar_on(console) as bar:
        task = bar.add_task("", total=max(1, round(min(seconds, 1e9))) if seconds > 0 else 1)

        def progress(now_s: float, steps: int) -> None:
            spent_s = bar.tasks[0].elapsed or 0.0
            fast = f", {now_s / spent_s:.2g} times as fast" if spent_s else ""
            bar.update(task, completed=round(now_s), description=f"virtual s, {steps} steps{fast}")

        yield progress


__all__ = ["add_arguments", "chosen_topology", "run", "step_times"]
