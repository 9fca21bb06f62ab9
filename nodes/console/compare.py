"""`draftwire compare`: the target alone, the paper's setting, a grid, ids only, the controller: on one link.

All take turns on the same four nodes, with the same prompt, so what the machine does besides hits them alike.
"""

import argparse
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import orjson
from rich.console import Console

from draftwire.nodes.console import options
from draftwire.nodes.console.comparison import (
    CALIBRATING,
    CALIBRATION_GAMMA,
    PAPER_K,
    Conditions,
    all_settings,
    as_json,
    ids_only,
    paper_setting,
)
from draftwire.nodes.console.comparison_views import HEADER_EVENT, comparison_in, picture, print_comparison
from draftwire.nodes.console.foreground import run_foreground
from draftwire.nodes.console.generate import say
from draftwire.nodes.console.outcome import ALONE, PROMPT, Outcome, Scene, Setting, append_event, fixed
from draftwire.nodes.console.plots import check_picture, save
from draftwire.nodes.console.record import Record, read_record
from draftwire.nodes.console.runner import Begin, Bench, experiment, interleaved, progress_bar
from draftwire.nodes.device.checks import check_pins, check_text
from draftwire.runtime.config import DEFAULT_LINK, AcceptanceRule, ChannelSettings, Topology
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import parse_link, parse_schedule, traces_beside
from draftwire.runtime.telemetry import set_up_logging

DEFAULT_K = (8, 32, 320)
DEFAULT_GAMMA = (2, 4, 8)
DEFAULTS = {"tokens": 96, "repeats": 3, "temperature": 1.0, "seed": 0}
"""Of options that are None until the person says otherwise: `--from` refuses those that were said."""

OF_A_RUN = (
    *("prompt", "link", "schedule", "k", "gamma", "acceptance", *DEFAULTS, "record"),
    *("draft", "target", "dtype", "config", "profile"),
)
"""Options that mean nothing where nothing is run."""

EXAMPLES = """\
examples:
  draftwire compare
  draftwire compare "Tell me a story." --link 'rate 1mbit delay 20ms' --k 8,32 --gamma 2,4
  draftwire compare --schedule 'rate 20mbit delay 2ms; 5s rate 1mbit; repeat 10s' --tokens 256
  draftwire compare --acceptance auto --link 'rate 20mbit delay 50ms'
  draftwire compare --profile paper --record runs.jsonl --plot runs.png
  draftwire compare --from runs.jsonl --plot runs.pdf
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire compare`."""
    parser.epilog = EXAMPLES
    parser.add_argument("prompt", nargs="?", default=None, help="what to answer; default: a long story")
    link = parser.add_mutually_exclusive_group()
    link.add_argument(
        "--link", metavar="WORDS", help=f"both directions, as tc says it; default: '{DEFAULT_LINK}'"
    )
    link.add_argument(
        "--schedule", metavar="WORDS", help="a link that changes; it begins anew with each request"
    )
    parser.add_argument("--k", type=options.widths, metavar="N,...", help="of the grid; default: 8,32,320")
    parser.add_argument("--gamma", type=options.lengths, metavar="N,...", help="of the grid; default: 2,4,8")
    options.add_acceptance_argument(parser, of="the controller's own row, auto")
    parser.add_argument("--tokens", type=options.tokens, metavar="N", help="of each answer: 96")
    parser.add_argument("--repeats", type=options.count, metavar="N", help="of each setting: 3")
    parser.add_argument("--temperature", type=options.temperature, metavar="T", help="default 1")
    parser.add_argument("--seed", type=options.seed, metavar="S", help="of the first repeat: 0")
    options.add_pair_arguments(
        parser, config="models, nodes, policy, and the link if none is said; not [sampling], k or gamma"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="one JSON object, last on standard output")
    output.add_argument("--record", metavar="FILE", type=Path, help="keep every step, decision and outcome")
    output.add_argument(
        "--from", dest="source", metavar="FILE", type=Path, help="run nothing: show such a record again"
    )
    output.add_argument("--plot", metavar="FILE", type=Path, help="a picture: .png, .svg or .pdf")


def run(args: argparse.Namespace) -> int:
    """Which K and gamma are fastest on a link, and does the controller find them? Measured, one table.

    With rows of requests that send ids only: coupled, and pipelined.
    """
    set_up_logging(level="warning")
    check_picture(args.plot)
    if args.source is not None:
        for name in OF_A_RUN:
            if getattr(args, name) is not None:
                option = "PROMPT" if name == "prompt" else f"--{name}"
                raise ConfigurationError("--from runs nothing", key=option, remedy=f"leave out {option}")
        record = read_record(args.source)
        _show(record, args)
        for warning in record.warnings:
            say(f"note: {warning}")
        return 0
    for name, value in DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    options.check_record(args.record)
    return run_foreground(lambda: options.as_typed(args, _run(args)))


async def _run(args: argparse.Namespace) -> None:
    scene, topology = _scene_and_topology(args)
    prompt = PROMPT if args.prompt is None else args.prompt
    check_text(prompt, key="PROMPT")
    with ExitStack() as stack:
        record = args.record
        if record is None:
            record = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="draftwire-"))) / "record"
        also = ids_only(args.temperature)
        async with experiment(topology, record=record, settings=also, progress=say) as bench:
            conditions = Conditions(
                prompt=prompt,
                link=scene.name,
                rate_bps=scene.rate_bps,
                tokens=args.tokens,
                repeats=args.repeats,
                temperature=args.temperature,
                seed=args.seed,
                draft=topology.pair.draft.model,
                target=topology.pair.target.model,
                profile=topology.compute.profile.value,
                vocab_size=bench.vocab_size,
            )
            append_event(record, HEADER_EVENT, conditions.fields())
            grid = _grid(args, bench.vocab_size)
            rule = args.acceptance or AcceptanceRule.REJECTION
            async for _ in measure(bench, conditions, scene, *grid, acceptance=rule):
                pass
        _show(read_record(record), args)


async def measure(
    bench: Bench,
    conditions: Conditions,
    scene: Scene,
    ks: Sequence[int],
    gammas: Sequence[int],
    *,
    acceptance: str,
) -> AsyncIterator[Outcome]:
    """Every outcome of a comparison: first two requests that calibrate the paper's setting, then in turns.

    acceptance: of the controller's own row.
    """
    wide = fixed(min(PAPER_K, bench.vocab_size), CALIBRATION_GAMMA)
    calibration = list[Outcome]()
    with progress_bar(2) as progress:
        async for outcome in _once(bench, conditions, scene, (ALONE, wide), progress):
            calibration.append(outcome)
            yield outcome
    try:
        paper, _ = paper_setting(calibration, conditions)
    except ValueError as error:
        raise ConfigurationError(
            str(error), key="--tokens", remedy="ask for more tokens, or of a prompt with a longer answer"
        ) from None
    settings = all_settings(
        paper, ks, gammas, temperature=conditions.temperature, acceptance=acceptance
    )
    with progress_bar(conditions.repeats * len(settings)) as progress:
        async for outcome in interleaved(
            bench,
            settings=settings,
            scenes=[scene],
            prompt=conditions.prompt,
            tokens=conditions.tokens,
            repeats=conditions.repeats,
            seed=conditions.seed,
            temperature=conditions.temperature,
            progress=progress,
        ):
            yield outcome


async def _once(
    bench: Bench, conditions: Conditions, scene: Scene, settings: Sequence[Setting], begin: Begin
) -> AsyncIterator[Outcome]:
    for setting in settings:
        begin(f"calibrating: {setting.name}")
        await bench.link(scene)
        yield await bench.run(
            setting,
            conditions.prompt,
            tokens=conditions.tokens,
            seed=conditions.seed,
            temperature=conditions.temperature,
            repeat=CALIBRATING,
        )


def _scene_and_topology(args: argparse.Namespace) -> tuple[Scene, Topology]:
    """The link of the comparison: the one asked for, or the file's own; the channel starts with it."""
    topology = options.chosen_pair(args)
    channel = topology.channel or ChannelSettings()
    source = ""
    if args.link is not None or args.schedule is not None:
        key = "--schedule" if args.link is None else "--link"
        try:
            words = _words(args)
        except ConfigurationError as error:
            raise error.placed(key=key) from None
    else:
        key = "channel.uplink" if channel.schedule is None else "channel.schedule"
        source = "" if args.config is None else str(args.config)
        words = _of_both_directions(channel.for_device(topology.device.name), source=source)
    scene = Scene.of(words)
    if scene.carries_nothing:
        back = ", or let it come back" if scene.changes else ""
        remedy = f"give a rate above 0 and a loss below 100%{back}"
        raise ConfigurationError("an outage for ever", key=key, remedy=remedy, source=source)
    first = scene.schedule.steps[0].link
    schedule = scene.link if scene.changes else None  # so that orders may name its traces, see control.py
    channel = replace(channel, uplink=first, downlink=first, schedule=schedule, devices={})
    return scene, replace(topology, channel=channel)


def _words(args: argparse.Namespace) -> str:
    """The link or schedule of the command line; both find traces in files."""
    if args.link is None:
        return str(parse_schedule(args.schedule, find_trace=traces_beside()))
    return str(parse_link(args.link, find_trace=traces_beside()))


def _of_both_directions(channel: ChannelSettings, *, source: str) -> str:
    """The file's link in words. Raises ConfigurationError where the two directions are not the same."""
    uplink, downlink = channel.uplink_schedule, channel.downlink_schedule
    if uplink != downlink:
        raise ConfigurationError(
            f"uplink {str(channel.uplink)!r} and downlink {str(channel.downlink)!r} differ, and a comparison "
            "has one link for both",
            key="channel",
            remedy="give it by --link or --schedule",
            source=source,
        )
    return str(uplink)


def _grid(args: argparse.Namespace, vocab_size: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """K and gamma of the grid. At temperature 0 no rows travel, so one K stands for all."""
    ks = args.k or tuple(k for k in DEFAULT_K if k <= vocab_size) or (vocab_size,)
    gammas = args.gamma or DEFAULT_GAMMA
    for k in ks:
        check_pins(k, max(gammas), vocab_size, key="--k")
    return (ks[:1] if args.temperature == 0 else ks), gammas


# What is shown ----------------------------------------------------------------------------------------------


def _show(record: Record, args: argparse.Namespace) -> None:
    comparison = comparison_in(record)
    if args.json:
        print(orjson.dumps(as_json(comparison)).decode(), flush=True)
    else:
        print_comparison(Console(), comparison)
    if args.plot is not None:
        save(picture(comparison, record), args.plot)
        say(f"picture: {args.plot}")


__all__ = ["add_arguments", "measure", "run"]
