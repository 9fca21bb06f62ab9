"""`draftwire link set WORDS`, `draftwire link show`: the link of a channel that runs."""

import argparse
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from draftwire.codecs.control import LinkState
from draftwire.codecs.limits import MAX_LISTED_DEVICES
from draftwire.nodes.channel.control import order_link
from draftwire.nodes.console import link_plot
from draftwire.nodes.console.foreground import run_foreground
from draftwire.nodes.console.keys import link_keys, transport_with
from draftwire.nodes.console.options import link_words
from draftwire.runtime.clock import LoopClock
from draftwire.runtime.config import SecuritySettings, Topology, load_topology, with_keys_beside
from draftwire.runtime.errors import ConfigurationError, PeerError
from draftwire.runtime.link import LinkSchedule, Trace, parse_schedule, traces_among
from draftwire.runtime.link.commands import begins_command, take_command
from draftwire.runtime.link.quoting import split_pieces, split_words
from draftwire.runtime.settings_checks import check_device_name

EXAMPLES = """\
examples:
  draftwire link show                                         what the links do now
  draftwire link set 'rate 1mbit delay 40ms'                  both directions, from now on
  draftwire link set 'rate 100kbit delay 40ms' --uplink-only
  draftwire link set 'rate 0' --downlink-only                 an outage: everything waits
  draftwire link set 'loss 100%' --device phone-1             one device's: everything is lost
  draftwire link set 'rate 20mbit delay 2ms; 5s rate 1mbit; 10s rate 100kbit; repeat 15s'
  draftwire link plot 'trace lte-like delay 15ms'             a picture and figures; no channel has to run

What is set takes the whole place of what was before, as with tc's `replace`: words that are left out are back
at their defaults. It may name traces that ship, and those of the channel's topology file as `link show` shows
them. A schedule begins with the order; each of its pieces says what changes. Messages that wait on the link
go on by the new one, those that have left keep their times. Without --device it holds for every device,
whatever had been set for one.

The channel is the one of the topology file given (`draftwire up FILE` and `draftwire channel --config FILE`
start one), or of the address given. An address that other machines reach needs keys: give --config, on a
machine that has the key of the channel or of the controller. The channel of `generate` is private to it: give
it --schedule.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What to send to whom."""

    topology: Topology
    "of the channel, its control where the order goes"
    uplink: str | None = None
    downlink: str | None = None
    device: str | None = None

    @property
    def address(self) -> str:
        """The channel's control."""
        assert self.topology.channel is not None
        return self.topology.channel.control


class LinkUnchangedError(PeerError):
    """Raised when a channel understands an order otherwise than we do, and changes nothing."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"{address}: the channel changed nothing: {reason}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire link`."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, help="show, set, plot")
    show = actions.add_parser("show", help="what both directions do now", description=_SHOW)
    show.set_defaults(order=_asking)
    change = actions.add_parser(
        "set",
        help="change what they do",
        description=_SET,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    change.add_argument(
        "words", metavar="WORDS", nargs="+", help="a link as tc says it, or a schedule of links"
    )
    only = change.add_mutually_exclusive_group()
    only.add_argument("--uplink-only", action="store_true", help="leave the way to the device as it is")
    only.add_argument("--downlink-only", action="store_true", help="leave the way from the device as it is")
    change.set_defaults(order=_changing)
    plot = actions.add_parser("plot", help="draw what a link will do; no channel has to run")
    link_plot.add_arguments(plot)
    plot.set_defaults(run=link_plot.run)
    for action, whose in ((show, "of all"), (change, "of every device")):
        action.add_argument(
            "--device",
            metavar="NAME",
            help=f"the links of this one, and of the names below it; left out: {whose}",
        )
        action.add_argument(
            "--config", metavar="FILE", type=Path, help="topology file of the channel; left out: the default"
        )
        action.add_argument(
            "--address", metavar="ADDR", help="tcp://HOST:PORT in place of the file's [channel] control"
        )
        action.add_argument("--json", action="store_true", help="one JSON object instead of text")


_SHOW = "What the links of a running channel do now."
_SET = "Change the links of a running channel, for all its devices or for one, now."


def run(args: argparse.Namespace) -> int:
    """Look at the link of a running channel, or change it."""
    make: Callable[[argparse.Namespace], _Order] = args.order
    order = make(args)

    keys = link_keys(order.topology)
    who = "channel" if keys is None else keys.own.public.name

    async def main() -> None:
        async with transport_with(keys, order.topology) as transport:

            async def answer(
                device: str | None, *, uplink: str | None = None, downlink: str | None = None
            ) -> LinkState:
                return await order_link(
                    transport,
                    order.address,
                    uplink=uplink,
                    downlink=downlink,
                    device=device,
                    clock=LoopClock(),
                    name=f"{who}/orders",
                )

            state = await answer(order.device, uplink=order.uplink, downlink=order.downlink)
            if state.refused is not None:
                raise LinkUnchangedError(order.address, state.refused)
            others = state.devices if order.device is None else ()
            _print(state, {name: await answer(name) for name in others}, as_json=args.json)
            channel = order.topology.channel
            if channel is not None and channel.cell is not None and not args.json:
                print(f"cell      {channel.cell.scheduler}, by the topology file", flush=True)

    return run_foreground(main)


def _asking(args: argparse.Namespace) -> _Order:
    return _Order(topology=_topology(args), device=_device(args))


def _changing(args: argparse.Namespace) -> _Order:
    topology = _topology(args)

    def find_trace(name: str) -> Trace:
        return traces_among(_schedules(topology))(name)

    try:
        # Refused here, a mistake is named as what was typed.
        text = link_words(args.words, key="WORDS")
        _check_whole(text)
        words = str(parse_schedule(text, find_trace=find_trace))
    except ConfigurationError as error:
        raise error.placed(key="WORDS") from None
    return _Order(
        topology=topology,
        uplink=None if args.downlink_only else words,
        downlink=None if args.uplink_only else words,
        device=_device(args),
    )


def _check_whole(text: str) -> None:
    """tc's `change` leaves what it doesn't say, and an order doesn't."""
    words = deque(split_words(split_pieces(text)[0]))
    if words and begins_command(words[0].lower()) and take_command(words).verb == "change":
        raise ConfigurationError(
            "'change' leaves something as it was, and what is set takes the whole place of it",
            remedy="write the whole link, with 'replace' or from 'netem' or 'tbf' on",
        )


def _schedules(topology: Topology) -> Iterator[LinkSchedule]:
    """Everything that its links are told to do."""
    channel = topology.channel
    assert channel is not None, "checked in _topology"
    for part in (channel, *map(channel.for_device, channel.devices)):
        yield from (part.uplink_schedule, part.downlink_schedule)


def _device(args: argparse.Namespace) -> str | None:
    if args.device is not None:
        check_device_name("--device", args.device)
    return args.device  # type: ignore[no-any-return]


def _topology(args: argparse.Namespace) -> Topology:
    """The file's, or the default one, with the address that was given."""
    topology = Topology.default() if args.config is None else load_topology(args.config)
    remedy = "add a section [channel]: there is no link to change without one"
    channel = topology.need_channel(remedy=remedy, source=str(args.config))
    if args.address is None:
        return topology
    # An address alone comes with no word on keys: plain, unless a file says otherwise.
    security = topology.security if args.config is not None else SecuritySettings(plain=True)
    try:
        there = replace(topology, channel=replace(channel, control=args.address), security=security)
    except ConfigurationError as error:
        raise error.placed(key="--address") from None
    return there if args.config is None else with_keys_beside(args.config, there)


def _print(state: LinkState, others: Mapping[str, LinkState], *, as_json: bool) -> None:
    """`others`: by device, where they differ."""
    if as_json:
        devices = {name: _values(other) for name, other in others.items()}
        print(orjson.dumps({**_values(state), "devices": devices}).decode(), flush=True)
        return
    print(_lines(state), flush=True)
    for name, other in others.items():
        print(f"{name}\n{_lines(other, indent='  ')}", flush=True)
    if len(others) == MAX_LISTED_DEVICES:
        print("and perhaps more: ask with --device", flush=True)


def _values(state: LinkState) -> dict[str, str]:
    return {"uplink": state.uplink, "downlink": state.downlink}


def _lines(state: LinkState, *, indent: str = "") -> str:
    return f"{indent}uplink    {state.uplink or _FREE}\n{indent}downlink  {state.downlink or _FREE}"


_FREE = "delay 0"
"""Words for a link that does nothing, which has none of its own."""


__all__ = ["LinkUnchangedError", "add_arguments", "run"]
