"""`draftwire bench channel`: how true the emulated link is, and what it costs.

A channel runs in a process of its own as `draftwire channel` does; this process is the device (DEALER) and
the base station (ROUTER), over TCP's loopback, and clocks of one host are one clock.

A rate is measured at the receiver, between the first and the last delivery of a sender that never pauses,
over the bytes that the model counts. The delay's error is the channel's own lateness: the time at which it
hands a message over, minus the time that the model has planned from when it read it. How long the message
took to be read, and to arrive behind it, is not in that; it is in the far error, at the receiver and against
the model told when the sender sent: two hops through sockets and the scheduler more, which any two processes
would have. The first has goals, as what the channel can do something about; both are shown. The
kernel is a peer: packets cross tc's `tbf` between two network namespaces, and the model is told the same
words and packets.
"""

import argparse
import asyncio
import os
import platform
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import orjson
import zmq

from draftwire.nodes.console.bench.beside import beside
from draftwire.nodes.console.bench.bus import cpu, spread
from draftwire.nodes.console.bench.channel_ends import (
    ChannelBenchError,
    as_they_come,
    channel_between,
    lateness_s,
)
from draftwire.nodes.console.bench.channel_kernel import (
    KernelLinkError,
    compare,
    kernel_link,
    mixed_packets,
)
from draftwire.nodes.console.bench.channel_show import AT_LEAST, AT_MOST, show
from draftwire.nodes.console.bench.goals import judged
from draftwire.nodes.console.foreground import run_foreground
from draftwire.nodes.console.runner import Begin, progress_bar
from draftwire.nodes.console.simulate.outcomes import percentile
from draftwire.runtime.link import parse_link
from draftwire.runtime.telemetry import set_up_logging

RATES_MBIT: Final = ((0.1, 400), (1.0, 1400), (5.0, 8000), (20.0, 8000), (50.0, 8000))
"""Each with the size of its messages in bytes: enough of them in a second, and few enough."""

AHEAD: Final = 64
"""Messages under way of a sender that never pauses; its link always has some to send."""

MIXED: Final = "rate 20mbit delay 10ms 2ms"
MIXED_BYTES: Final = (100, 1000, 8000)
MIXED_PER_S: Final = 100.0

SETTLE_S: Final = 0.5
"""For connections to be made, behind a first message."""

SMALL_LINK: Final = "rate 100mbit delay 5ms 1ms"
SMALL_BYTES: Final = 100
SMALL_AHEAD: Final = 200
"""Below half of a peer's queue: ZeroMQ tells of room in it by halves."""
PACED_PER_S: Final = 2000

KERNEL_MBIT: Final = (1, 5, 20)
KERNEL_LOAD: Final = 0.8
KERNEL_PACKETS: Final = 400

LOAD: Final = "draftwire.nodes.console.bench.channel_load"
LOAD_WITHIN_S: Final = 300.0
"""For the shipped pair to load and begin to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured."""

    repeats: int
    seconds: float
    "of each rate, and of mixed messages"
    flood: int
    "messages as fast as they go"
    trips: int


FULL: Final = Effort(repeats=5, seconds=4.0, flood=20_000, trips=500)
QUICK: Final = Effort(repeats=2, seconds=1.5, flood=5_000, trips=150)


@dataclass(slots=True, kw_only=True)
class Delays:
    """Errors of one repeat's messages."""

    handed_over_s: Sequence[float]
    far_s: Sequence[float]


@dataclass(slots=True, kw_only=True)
class Measured:
    """Each a value a repeat."""

    rate_error_pct: dict[float, list[float]] = field(default_factory=dict)
    "by Mbit/s"
    idle: list[Delays] = field(default_factory=list)
    busy: list[Delays] = field(default_factory=list)
    busy_reason: str = ""
    "why there is none"
    cpu_us_paced: list[float] = field(default_factory=list)
    cpu_us_flood: list[float] = field(default_factory=list)
    flood_per_s: list[float] = field(default_factory=list)
    through_ms: list[float] = field(default_factory=list)
    without_ms: list[float] = field(default_factory=list)
    kernel_error_ms: dict[int, list[float]] = field(default_factory=dict)
    "by Mbit/s, the median of the errors' sizes"
    kernel_reason: str = ""
    load_average: list[float] = field(default_factory=list)
    "of the last minute, before each repeat"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of `draftwire bench channel`."""
    parser.description = __doc__
    parser.epilog = (
        "rate_error_pct                 worst of 0.1 to 50 Mbit/s; goal: at most 1\n"
        "delay_error_ms_p50, _p99       handed over minus planned, mixed sizes; goals: 0.2 and 0.5\n"
        "  ..._busy                     the same while the shipped pair answers; goals: 0.2 and 2\n"
        "far_error_ms_p50, _p99         at the receiver, both hops in it; no goal; also ..._busy\n"
        "cpu_us_per_msg                 of the channel's process, at capacity, where one wake-up serves\n"
        "                               many messages; goal: at most 50\n"
        "cpu_us_per_msg_paced           at 2000 messages a second, each by itself; no goal\n"
        "capacity_msgs_per_s            100 bytes, none dropped; goal: at least 5000\n"
        "added_rtt_ms                   of a link that does nothing, over none; goal: at most 0.6\n"
        "kernel_departure_error_ms_p50  the model against tc's tbf; goal: at most 0.3\n"
        "Each is a median of repeats; `spreads` has the least and the most, `goals` the verdicts.\n"
    )
    parser.add_argument("--quick", action="store_true", help="a minute or more: fewer and shorter repeats")
    parser.add_argument("--json", action="store_true", help="one JSON object, last on standard output")


def run(args: argparse.Namespace) -> int:
    """Run the benchmark."""
    set_up_logging(level="warning")
    return run_foreground(lambda: _bench(args))


async def _bench(args: argparse.Namespace) -> None:
    found = result(await measure(QUICK if args.quick else FULL), quick=args.quick)
    if args.json:
        print(orjson.dumps(found).decode(), flush=True)
    else:
        show(found)


# ---------------------------------------------------------------------------------------- measuring


async def measure(effort: Effort, *, busy: bool = True) -> Measured:
    """All figures; `busy`: also beside the shipped pair. Raises ChannelBenchError."""
    measured = Measured()
    with progress_bar(effort.repeats * (len(RATES_MBIT) + 4 + busy)) as begin:
        for repeat in range(effort.repeats):
            measured.load_average.append(os.getloadavg()[0])
            await _rates(measured, effort, begin)
            begin("delays")
            measured.idle.append(await _delays(effort.seconds, seed=repeat))
            begin("capacity")
            await _costs(measured, effort)
            begin("round trips")
            await _trips(measured, effort)
            begin("the kernel")
            await asyncio.to_thread(_kernel, measured, seed=repeat)
        if busy:
            await delays_beside_load(measured, effort, begin)
    return measured


async def _rates(measured: Measured, effort: Effort, begin: Begin) -> None:
    for mbit, size in RATES_MBIT:
        begin(f"{mbit:g} Mbit/s")
        words = f"rate {mbit:g}mbit delay 5ms"
        bits = 8 * parse_link(words).bytes_on_link(size)
        number = max(20, round(effort.seconds * 1e6 * mbit / bits))
        async with channel_between(words) as ends:
            await ends.meet()
            crossed = await ends.flood(sizes_bytes=[size] * number, ahead=AHEAD)
        error_pct = 100 * (crossed.rate_bps / (1e6 * mbit) - 1)
        measured.rate_error_pct.setdefault(mbit, []).append(error_pct)


async def _delays(seconds: float, *, seed: int) -> Delays:
    coming = list(as_they_come(per_s=MIXED_PER_S, seconds=seconds, sizes_bytes=MIXED_BYTES, seed=seed))
    sizes_bytes = [SMALL_BYTES, *(size for _, size in coming)]
    at_s = [0.0, *(SETTLE_S + at_s for at_s, _ in coming)]
    with tempfile.TemporaryDirectory(prefix="draftwire-") as folder:
        record = Path(folder) / "record.jsonl"
        async with channel_between(MIXED, record=record) as ends:
            crossed = await ends.paced(sizes_bytes=sizes_bytes, at_s=at_s)
        # The first waits for the connections; the model has to know of it, and nothing else.
        return Delays(handed_over_s=lateness_s(record)[1:], far_s=crossed.far_errors_s()[1:])


async def _costs(measured: Measured, effort: Effort) -> None:
    async with channel_between(SMALL_LINK) as ends:
        await ends.meet()
        number = round(PACED_PER_S * effort.seconds)
        at_s = [one / PACED_PER_S for one in range(number)]
        paced = await ends.paced(sizes_bytes=[SMALL_BYTES] * number, at_s=at_s)
        flood = await ends.flood(sizes_bytes=[SMALL_BYTES] * effort.flood, ahead=SMALL_AHEAD)
    measured.flood_per_s.append(flood.per_s)
    for crossed, costs in ((paced, measured.cpu_us_paced), (flood, measured.cpu_us_flood)):
        if crossed.cpu_s is not None:
            costs.append(1e6 * crossed.cpu_s / len(crossed.sizes_bytes))


async def _trips(measured: Measured, effort: Effort) -> None:
    async with channel_between("") as ends:
        await ends.meet()
        through_s, without_s = await ends.trips_s(effort.trips, size_bytes=SMALL_BYTES)
    measured.through_ms.append(1e3 * median(through_s))
    measured.without_ms.append(1e3 * median(without_s))


def _kernel(measured: Measured, *, seed: int) -> None:
    if measured.kernel_reason:
        return
    try:
        with kernel_link() as link:
            for mbit in KERNEL_MBIT:
                packets = mixed_packets(
                    rate_bps=1e6 * mbit, load=KERNEL_LOAD, number=KERNEL_PACKETS, seed=seed
                )
                crossing = link.cross(f"rate {mbit}mbit burst 1600b limit 1000000b", packets)
                errors_ms = [1e3 * abs(error_s) for error_s in compare(crossing).errors_s]
                measured.kernel_error_ms.setdefault(mbit, []).append(median(errors_ms))
    except KernelLinkError as error:
        measured.kernel_reason = str(error)


async def delays_beside_load(measured: Measured, effort: Effort, begin: Begin) -> None:
    """Delays while the shipped pair answers; where it does not, why."""
    async with AsyncExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        load = await stack.enter_async_context(beside(LOAD, log=log))
        assert load.stdout is not None, "a pipe was asked for"
        begin("delays beside the shipped pair")
        try:
            async with asyncio.timeout(LOAD_WITHIN_S):
                answering = await load.stdout.readline()
        except TimeoutError:
            answering = b""
        for repeat in range(effort.repeats if answering else 0):
            if repeat:
                begin("delays beside the shipped pair")
            measured.busy.append(await _delays(effort.seconds, seed=repeat))
        if load.returncode is not None or not answering:
            log.seek(0)
            said = log.read().decode("utf-8", "replace").strip().splitlines()
            measured.busy.clear()
            measured.busy_reason = f"the shipped pair does not answer: {said[-1] if said else 'it ended'}"


# ------------------------------------------------------------------------------------- the figures


def result(measured: Measured, *, quick: bool) -> dict[str, Any]:
    """The JSON object."""
    spreads = _spreads(measured)
    figures = {name: None if one is None else one["median"] for name, one in spreads.items()}
    rates = {f"{mbit:g}": spread(values) for mbit, values in measured.rate_error_pct.items()}
    return figures | {
        "goals": judged(figures, at_most=AT_MOST, at_least=AT_LEAST),
        "cpu_us_per_msg_at": "capacity",
        "cpu_us_per_msg_paced_at_per_s": PACED_PER_S,
        "rate_error_by_mbit": rates,
        "kernel_error_ms_by_mbit": {
            str(mbit): spread(values) for mbit, values in measured.kernel_error_ms.items()
        },
        "kernel_reason": measured.kernel_reason or None,
        "busy_reason": measured.busy_reason or None,
        "rtt_ms": {"through": spread(measured.through_ms), "without": spread(measured.without_ms)},
        "spreads": spreads,
        "delivered": "handed over by the channel's process; far: read from its socket by the receiver",
        "mixed": {"link": MIXED, "sizes_bytes": MIXED_BYTES, "per_s": MIXED_PER_S},
        "repeats": len(measured.idle),
        "messages": sum(len(one.handed_over_s) for one in measured.idle),
        "quick": quick,
        "load_average": measured.load_average,
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "pyzmq": zmq.__version__,
        "libzmq": zmq.zmq_version(),
    }


def _spreads(measured: Measured) -> dict[str, dict[str, float] | None]:
    """Of each figure over the repeats; None: it was not measured."""
    added_ms = [
        through - without for through, without in zip(measured.through_ms, measured.without_ms, strict=True)
    ]
    kernel_ms = [max(each) for each in zip(*measured.kernel_error_ms.values(), strict=False)]
    sizes_pct = [[abs(one) for one in each] for each in measured.rate_error_pct.values()]
    values: dict[str, Sequence[float]] = {
        "rate_error_pct": max(sizes_pct, key=median),
        **_delay_figures(measured.idle, ""),
        **_delay_figures(measured.busy, "_busy"),
        "cpu_us_per_msg": measured.cpu_us_flood,
        "cpu_us_per_msg_paced": measured.cpu_us_paced,
        "capacity_msgs_per_s": measured.flood_per_s,
        "added_rtt_ms": added_ms,
        "kernel_departure_error_ms_p50": [] if measured.kernel_reason else kernel_ms,
    }
    return {name: spread(each) if each else None for name, each in values.items()}


def _delay_figures(repeats: Sequence[Delays], ending: str) -> dict[str, Sequence[float]]:
    figures = dict[str, Sequence[float]]()
    for at, share in (("p50", 0.5), ("p99", 0.99)):
        for name in ("delay", "far"):
            errors = [one.handed_over_s if name == "delay" else one.far_s for one in repeats]
            if not all(errors):
                raise ChannelBenchError("the channel has told of no message")
            figures[f"{name}_error_ms_{at}{ending}"] = [
                1e3 * percentile(sorted(each), share) for each in errors
            ]
    return figures


__all__ = [
    "FULL",
    "LOAD",
    "QUICK",
    "Delays",
    "Effort",
    "Measured",
    "add_arguments",
    "delays_beside_load",
    "measure",
    "result",
    "run",
]
