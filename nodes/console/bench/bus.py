"""`draftwire bench bus`: our transport against raw pyzmq sockets, and with keys against without.

Two processes on one machine, over TCP's loopback: this one asks, the other one echoes. A round trip is one
message there and the same one back, by DEALER and ROUTER; raw means the same sockets from zmq.asyncio, used
as its documentation shows. Within a round all ways and sizes take turns in short batches, so that a machine
that is busy for a while is so for all of them; a round's figure is the median of its trips, and a ratio is
taken within its round.
"""

import argparse
import asyncio
import os
import platform
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import orjson
import zmq
import zmq.asyncio
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from draftwire.nodes.console.bench.beside import beside
from draftwire.nodes.console.bench.bus_echo import COUNT, ECHO, TELL, TOLD
from draftwire.nodes.console.foreground import run_foreground
from draftwire.nodes.console.runner import progress_bar
from draftwire.runtime.errors import DraftwireError
from draftwire.runtime.security import Keyring, NodeKeys, Role, Service
from draftwire.runtime.telemetry import set_up_logging
from draftwire.runtime.transport import Endpoint, ZmqTransport

SIZES: Final = (100, 8000)
"""Bytes: about a Draft or a Commit, and a wide block of rows."""

RAW, PLAIN, KEYS = "raw", "plain", "keys"
WAYS: Final = (RAW, PLAIN, KEYS)

BATCH_TRIPS: Final = 25
"""Round trips of one way and size before the next has its turn."""

ANSWER_WITHIN_S: Final = 60.0
"""A batch that takes longer has lost a message."""

Trip = Callable[[bytes], Awaitable[None]]


class BusError(DraftwireError):
    """Raised when the other process, or a message to it, is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured."""

    rounds: int
    batches: int
    "of each way and size in a round"
    flood: int
    "messages sent one way in a round"


FULL: Final = Effort(rounds=15, batches=12, flood=20_000)
QUICK: Final = Effort(rounds=5, batches=4, flood=5_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round has measured."""

    trip_us: Mapping[tuple[str, int], float]
    "(way, bytes) -> median of the round trips"
    per_s: Mapping[str, float]
    "way -> messages a second, one way"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of `draftwire bench bus`."""
    parser.description = __doc__
    parser.epilog = (
        "bus_over_raw       a round trip through our transport over one through zmq.asyncio; median of\n"
        "                   rounds, the worse of both sizes; goal: at most 1.25\n"
        "curve_over_plain   the same, our transport with keys over without\n"
        "msgs_per_s         one way, 100 bytes, through our transport; msgs_per_s_keys: with keys\n"
    )
    parser.add_argument("--quick", action="store_true", help="a few seconds: fewer and shorter rounds")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")


def run(args: argparse.Namespace) -> int:
    """Run the benchmark."""
    set_up_logging(level="warning")
    return run_foreground(lambda: _bench(args))


async def _bench(args: argparse.Namespace) -> None:
    found = result(await measure(QUICK if args.quick else FULL), quick=args.quick)
    if args.json:
        print(orjson.dumps(found).decode(), flush=True)
    else:
        _show(found)


# ---------------------------------------------------------------------------------------- measuring


async def measure(effort: Effort) -> list[Round]:
    """Start the other process, measure, and stop it. Raises BusError."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="draftwire-")))
        keys = _keys(folder)
        addresses = await stack.enter_async_context(_echo(folder))
        raw = stack.enter_context(zmq.asyncio.Context()).socket(zmq.DEALER)
        stack.callback(raw.close, linger=0)
        raw.connect(addresses[RAW])
        ours: dict[str, Endpoint] = {}
        for way, transport in ((PLAIN, ZmqTransport()), (KEYS, ZmqTransport(keys))):
            await stack.enter_async_context(transport)
            ours[way] = await transport.connect(addresses[way], service=Service.TARGET, name="bench")
        trips: dict[str, Trip] = {RAW: _raw_trip(raw), **{way: _our_trip(one) for way, one in ours.items()}}
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                for trip in trips.values():
                    await trip(ECHO)  # connected
            with progress_bar(effort.rounds) as begin:
                rounds = list[Round]()
                for number in range(effort.rounds):
                    begin(f"round {number + 1}")
                    rounds.append(await _round(trips, ours, effort))
                return rounds
        except TimeoutError:
            raise BusError(f"no answer from the other process within {ANSWER_WITHIN_S:g} s") from None


async def _round(trips: Mapping[str, Trip], ours: Mapping[str, Endpoint], effort: Effort) -> Round:
    taken: dict[tuple[str, int], list[float]] = {(way, size): [] for way in WAYS for size in SIZES}
    for batch in range(effort.batches):
        for size in SIZES:
            data = ECHO + bytes(size - 1)
            for turn in range(len(WAYS)):
                way = WAYS[(batch + turn) % len(WAYS)]
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    await _batch(trips[way], data, taken[way, size])
    per_s = {way: await _flood(endpoint, effort.flood) for way, endpoint in ours.items()}
    return Round(trip_us={key: 1e6 * median(values) for key, values in taken.items()}, per_s=per_s)


async def _batch(trip: Trip, data: bytes, taken: list[float]) -> None:
    await trip(data)  # the one after another way's turn meets cold caches
    for _ in range(BATCH_TRIPS):
        began = time.perf_counter()
        await trip(data)
        taken.append(time.perf_counter() - began)


def _raw_trip(socket: zmq.asyncio.Socket) -> Trip:
    async def trip(data: bytes) -> None:
        await socket.send(data)
        await socket.recv()

    return trip


def _our_trip(endpoint: Endpoint) -> Trip:
    async def trip(data: bytes) -> None:
        endpoint.send(b"", data)
        await endpoint.receive()

    return trip


async def _flood(endpoint: Endpoint, count: int) -> float:
    """Messages a second, as the other end took them."""
    data = COUNT + bytes(SIZES[0] - 1)
    async with asyncio.timeout(ANSWER_WITHIN_S):
        for message in (*[data] * count, TELL):
            while not endpoint.send(b"", message):
                await asyncio.sleep(0)  # the queue is full
        counted, seconds = TOLD.unpack((await endpoint.receive()).data)
    if counted != count:
        raise BusError(f"{count - counted} of {count} messages did not arrive")
    return float((count - 1) / seconds)


def _keys(folder: Path) -> NodeKeys:
    """Keys for both ends, in a folder of their own."""
    keyring = Keyring(folder)
    keyring.new("target", role=Role.TARGET)
    return NodeKeys(keyring=keyring, own=keyring.new("bench", role=Role.DEVICE))


@asynccontextmanager
async def _echo(folder: Path) -> AsyncIterator[dict[str, str]]:
    """The other process; its addresses. Raises BusError where it does not start."""
    async with beside("draftwire.nodes.console.bench.bus_echo", str(folder)) as process:
        assert process.stdout is not None, "a pipe was asked for"
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                line = await process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            raise BusError("the other process did not start")
        yield orjson.loads(line)


# ------------------------------------------------------------------------------------- the figures


def result(rounds: Sequence[Round], *, quick: bool) -> dict[str, Any]:
    """The JSON object."""
    over_raw = {size: spread(_ratios(rounds, PLAIN, RAW, size)) for size in SIZES}
    over_plain = {size: spread(_ratios(rounds, KEYS, PLAIN, size)) for size in SIZES}
    per_s = {way: spread([one.per_s[way] for one in rounds]) for way in (PLAIN, KEYS)}
    return {
        "bus_over_raw": max(one["median"] for one in over_raw.values()),
        "curve_over_plain": max(one["median"] for one in over_plain.values()),
        "msgs_per_s": per_s[PLAIN]["median"],
        "msgs_per_s_keys": per_s[KEYS]["median"],
        "spreads": {
            "bus_over_raw": {str(size): one for size, one in over_raw.items()},
            "curve_over_plain": {str(size): one for size, one in over_plain.items()},
            "msgs_per_s": per_s,
        },
        "trip_us": {
            way: {str(size): spread([one.trip_us[way, size] for one in rounds]) for size in SIZES}
            for way in WAYS
        },
        "sizes_bytes": list(SIZES),
        "rounds": len(rounds),
        "quick": quick,
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "pyzmq": zmq.__version__,
        "libzmq": zmq.zmq_version(),
    }


def _ratios(rounds: Sequence[Round], way: str, over: str, size: int) -> list[float]:
    return [one.trip_us[way, size] / one.trip_us[over, size] for one in rounds]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Of repeats, for the JSON object."""
    return {"median": median(values), "least": min(values), "most": max(values)}


def cpu() -> str:
    """The processor, as Linux names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _show(found: Mapping[str, Any]) -> None:
    def spread(one: Mapping[str, float], digits: int) -> tuple[str, str]:
        return f"{one['median']:.{digits}f}", f"{one['least']:.{digits}f}-{one['most']:.{digits}f}"

    table = Table(
        title=f"TCP loopback: medians of {found['rounds']} rounds, least and most of them",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("what", no_wrap=True)
    for heading in ("bytes", "us", "spread", "ratio", "spread"):
        table.add_column(heading, justify="right", no_wrap=True)
    ratios = {PLAIN: "bus_over_raw", KEYS: "curve_over_plain"}
    names = {RAW: "zmq.asyncio", PLAIN: "ours", KEYS: "ours, with keys"}
    for size in map(str, found["sizes_bytes"]):
        for way, name in names.items():
            over = spread(found["spreads"][ratios[way]][size], 2) if way in ratios else ("", "")
            table.add_row(name, size, *spread(found["trip_us"][way][size], 0), *over)
    console = Console(highlight=False)
    console.print(table)
    console.print("ratio: ours over zmq.asyncio, with keys over without")
    for way, name in ((PLAIN, "ours"), (KEYS, "ours, with keys")):
        per_s, range_ = spread(found["spreads"]["msgs_per_s"][way], 0)
        console.print(f"one way, {SIZES[0]} bytes, {name}: {per_s} messages a second ({range_})")
    versions = f"Python {found['python']}, pyzmq {found['pyzmq']}, libzmq {found['libzmq']}"
    console.print(f"{found['cores']} cores, {found['cpu']}; {versions}")


__all__ = [
    "FULL",
    "QUICK",
    "SIZES",
    "BusError",
    "Effort",
    "Round",
    "add_arguments",
    "cpu",
    "measure",
    "result",
    "run",
    "spread",
]
