"""`draftwire link plot SPEC`: what a link will do, drawn and in numbers, before anything runs over it."""

import argparse
import math
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from draftwire.nodes.channel.links import streams_of
from draftwire.nodes.channel.playing import Direction
from draftwire.nodes.console import options
from draftwire.nodes.console.generate import say
from draftwire.nodes.console.link_picture import link_figure
from draftwire.nodes.console.link_playing import Played, is_lost, is_waiting, play
from draftwire.nodes.console.link_rates import pieces_until
from draftwire.nodes.console.plots import check_picture, save
from draftwire.runtime.config import ChannelSettings, DeviceSettings, load_topology
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import LinkSchedule, parse_schedule, traces_beside
from draftwire.runtime.link.units import SIZE_UNITS, whole

DEVICE = DeviceSettings().name
"""A device that was given no other name."""

MAX_SECONDS = 3600.0
MOST_CHANGES = 20_000
"""Of a link over the time: a change moves what waits, and takes a tenth of a millisecond in all."""

MAX_MESSAGE_BYTES = 2**24
"""16 MiB: no frame is as long."""

EXAMPLES = """\
examples:
  draftwire link plot 'rate 20mbit delay 20ms 5ms distribution normal loss 1%'
  draftwire link plot 'trace lte-like delay 15ms' --output lte.svg
  draftwire link plot 'rayleigh 15db 2mhz 50ms delay 10ms' --seconds 10 --seed 3
  draftwire link plot 'rate 20mbit; 5s rate 1mbit; 10s rate 0; 12s rate 20mbit; repeat 20s'
  draftwire link plot 'tc qdisc add dev eth0 root netem rate 5mbit delay 40ms 10ms 25% loss gemodel 1% 20%'
  draftwire link plot --config configs/radio.toml --json

The picture has, from above: the rate, that of the link itself and what comes through where there is always
more to send; the delay of single messages, sent so rarely that they hardly meet, with those that were lost at
the upper edge; and which share of them took no longer than how long. The model is the channel's own: one
with this seed does the same to these messages of the uplink of a device of this name.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire link plot`."""
    parser.description = "Draw what a link will do, and say it in numbers; nothing has to run."
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "spec", metavar="SPEC", nargs="*", help="a link as tc says it, a schedule, or a pasted tc command"
    )
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="topology file: its channel's links, both ways"
    )
    parser.add_argument("--seconds", type=_seconds, default=60.0, metavar="S", help="of the link's time: 60")
    parser.add_argument(
        "--seed", type=options.seed, metavar="N", help="of the channel's draws; default: the file's, or 0"
    )
    parser.add_argument(
        "--device",
        metavar="NAME",
        help=f"whose link and random numbers; default: the file's first, or {DEVICE}",
    )
    parser.add_argument(
        "--message", type=_message, default=1000, metavar="BYTES", help="of each message timed: 1000b"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("link.png"), metavar="FILE", help="link.png; or .svg, .pdf"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    """What a link will do over time: rate, delay, loss; a picture, and the same in numbers."""
    check_picture(args.output, key="--output")
    channel, device = _channel(args)
    links = [("", Direction.UPLINK, _spec(args))] if channel is None else _both(channel)
    for _, _, schedule in links:
        _check_changes(schedule, args.seconds)
    seed = args.seed if args.seed is not None else 0 if channel is None else channel.seed
    played = [
        (
            name,
            play(
                schedule,
                seconds=args.seconds,
                message_bytes=args.message,
                streams=partial(streams_of, seed, device, direction),
            ),
        )
        for name, direction, schedule in links
    ]
    save(link_figure(played), args.output)
    if args.json:
        print(orjson.dumps(as_json(played, seed=seed)).decode(), flush=True)
    else:
        print_played(Console(), played, seed=seed)
    if channel is not None and channel.cell is not None:
        say(
            f"{device} shares a cell ({channel.cell.scheduler}) with the channel's other devices: "
            "this is its link while nobody else sends"
        )
    say(f"picture: {args.output}")
    return 0


def _channel(args: argparse.Namespace) -> tuple[ChannelSettings | None, str]:
    """The file's, as the device meets it, and whose it is; None: the link is given itself."""
    if args.config is None:
        return None, args.device or DEVICE
    if args.spec:
        raise ConfigurationError("two links", key="SPEC", remedy="leave out SPEC, or --config")
    remedy = "add a section [channel], or give the link itself"
    topology = load_topology(args.config)
    channel = topology.need_channel(remedy=remedy, source=str(args.config))
    device = args.device or topology.device.names[0]
    return channel.for_device(device), device


def _both(channel: ChannelSettings) -> list[tuple[str, Direction, LinkSchedule]]:
    """Name, direction and link; one without a name where both directions do the same."""
    uplink, downlink = channel.uplink_schedule, channel.downlink_schedule
    both = [("uplink", Direction.UPLINK, uplink), ("downlink", Direction.DOWNLINK, downlink)]
    return [("", Direction.UPLINK, uplink)] if uplink == downlink else both


def _spec(args: argparse.Namespace) -> LinkSchedule:
    """The link of the command line."""
    if not args.spec:
        remedy = "write for instance 'rate 5mbit delay 20ms', or --config FILE"
        raise ConfigurationError("no link is given", key="SPEC", remedy=remedy)
    try:
        return parse_schedule(options.link_words(args.spec, key="SPEC"), find_trace=traces_beside())
    except ConfigurationError as error:
        raise error.placed(key="SPEC") from None


def _check_changes(schedule: LinkSchedule, seconds: float) -> None:
    beyond = next(islice(pieces_until(schedule, seconds), MOST_CHANGES, None), None)
    if beyond is not None:
        problem = f"the link changes more than {MOST_CHANGES} times in {seconds:g} s"
        raise ConfigurationError(problem, key="--seconds", remedy=f"write {int(beyond.from_s)} or less")


# What is said -----------------------------------------------------------------------------------------------


def print_played(console: Console, links: Sequence[tuple[str, Played]], *, seed: int) -> None:
    """The words of each link, then a table of what they did."""
    for name, played in links:
        words = played.words or "delay 0"
        console.print(f"{name + ': ' if name else ''}{words}", highlight=False, soft_wrap=True)
    first = links[0][1]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_header=len(links) > 1)
    table.add_column("")
    for name, _ in links:
        table.add_column(name, justify="right")
    rows = [_said(played) for _, played in links]
    for label in dict.fromkeys(label for row in rows for label in row):
        table.add_row(label, *(row.get(label, "-") for row in rows))
    console.print(table)
    console.print(
        f"{first.seconds:g} s, seed {seed}; delay and loss: of {first.messages} messages of "
        f"{first.message_bytes} bytes, sent alone",
        highlight=False,
        soft_wrap=True,
    )


def _said(played: Played) -> dict[str, str]:
    values = fields(played)
    rows = dict[str, str]()
    if played.offered_mean_bps < math.inf:
        rows["mean rate of the link, Mbit/s"] = f"{played.offered_mean_bps / 1e6:.4g}"
        rows["messages through the full link, Mbit/s"] = f"{(played.carried_mean_bps or 0.0) / 1e6:.4g}"
        rows["outage (below 1 % of the mean), % of time"] = f"{100 * played.outage_share:.3g}"
    for name, label in (("delay_p50_s", "delay, median, ms"), ("delay_p99_s", "delay, 99th percentile, ms")):
        rows[label] = "-" if values[name] is None else f"{1e3 * values[name]:.4g}"
    rows["lost, %"] = f"{100 * values['loss_share']:.3g}"
    for name, label in (
        ("waiting_share", "not there at the end, %"),
        ("overtaking_share", "overtook another, %"),
        ("duplicate_share", "arrived twice, %"),
        ("corrupt_share", "a bit flipped, %"),
    ):
        if values[name]:
            rows[label] = f"{100 * values[name]:.3g}"
    return rows


def as_json(links: Sequence[tuple[str, Played]], *, seed: int) -> dict[str, Any]:
    """One object: the link's figures, or those of `uplink` and `downlink`; units in the names."""
    own = {name: fields(played) for name, played in links}
    shown = own[""] if "" in own else own
    first = links[0][1]
    return {"seconds": first.seconds, "seed": seed, "message_bytes": first.message_bytes, **shown}


def fields(played: Played) -> dict[str, Any]:
    """The figures of one direction; None: there is none."""
    rated = played.offered_mean_bps < math.inf
    return {
        "link": played.words or "delay 0",
        "mean_rate_bps": played.offered_mean_bps if rated else None,
        "carried_bps": played.carried_mean_bps,
        "outage_share": played.outage_share,
        "messages": played.messages,
        "delay_p50_s": played.delay_s(0.5),
        "delay_p99_s": played.delay_s(0.99),
        "loss_share": played.share(is_lost),
        "waiting_share": played.share(is_waiting),
        "overtaking_share": played.share(lambda one: one.overtook and not one.is_copy),
        "duplicate_share": played.share(lambda one: one.is_copy),
        "corrupt_share": played.share(lambda one: one.corrupted and not one.is_copy),
    }


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.01 <= seconds <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text}: write 0.01 to {MAX_SECONDS:g}")
    return seconds


def _message(text: str) -> int:
    try:
        size_bytes = whole("message", f"{text}b" if text.isdigit() else text, SIZE_UNITS)
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(f"{error.problem}: write for instance 1000b or 64kb") from None
    if not 1 <= size_bytes <= MAX_MESSAGE_BYTES:
        raise argparse.ArgumentTypeError(f"{text}: write 1b to {MAX_MESSAGE_BYTES // 2**20}mb")
    return size_bytes


__all__ = ["EXAMPLES", "add_arguments", "as_json", "fields", "print_played", "run"]
