"""`draftwire bench loop`: what the loop around the models costs.

The shipped pair answers through real processes without a channel, K and gamma fixed, at temperature 1. A
step begins when a Commit has come to the device and ends when the next one has. Off its time go the two
models, the codec as far as the step waits for it (quantising the rows, Draft and Commit at both ends), and
the time that the same bytes take on raw pyzmq sockets; the rest is the loop's: the mathematics of drawing
and testing, the session, threads changing hands, and whatever else the machine does meanwhile. The raw round
trips are made between the answers, by two processes with the same two models behind raw sockets, so that a
message finds caches and cores as the loop's own do: the models have just been through them.
"""

import argparse
import asyncio
import platform
import tempfile
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

import orjson
import zmq
import zmq.asyncio
from rich.console import Console
from rich.table import Table

from draftwire.codecs.messages import Commit, Draft
from draftwire.nodes.console.api import ConnectedDevice, connect
from draftwire.nodes.console.bench.beside import beside
from draftwire.nodes.console.bench.loop_echo import POSITIONS, PROMPT_TOKENS, SECONDS
from draftwire.nodes.console.bench.stopwatch import MODEL, QUANTISE, WORK, Span, read_spans, stopwatches
from draftwire.nodes.console.foreground import run_foreground
from draftwire.nodes.console.generate import say
from draftwire.nodes.console.launch import launched, node_command, on_this_host, sharing_cores
from draftwire.nodes.console.options import count
from draftwire.nodes.console.outcome import fixed
from draftwire.nodes.console.runner import PROMPT, progress_bar
from draftwire.nodes.device.account import Account
from draftwire.nodes.models.catalogue import load_draft
from draftwire.runtime.config import Topology
from draftwire.runtime.errors import DraftwireError
from draftwire.runtime.telemetry import set_up_logging

SETTING: Final = fixed(32, 2)
"""What the controller begins with, and about what it keeps to on a good link."""

TOKENS: Final = 96
QUICK_TOKENS: Final = 32
ROUND_TRIPS: Final = 24
"""Raw ones behind each answer."""

ANSWER_WITHIN_S: Final = 30.0
"""A raw round trip that takes longer has nobody at its other end; the first one waits until that starts."""

WARM_UP_STEPS: Final = 2
"""Of each answer: caches fill, and the prompt's pass is still under way."""


class LoopError(DraftwireError):
    """Raised when the process that echoes is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepShares:
    """One step, in seconds."""

    wall_s: float
    draft_model_s: float
    target_model_s: float
    codec_s: float
    mathematics_s: float
    "drawing and testing without the models and without quantising"

    def overhead_s(self, wire_s: float) -> float:
        """All that is neither model, codec nor wire."""
        return self.wall_s - self.draft_model_s - self.target_model_s - self.codec_s - wire_s


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of `draftwire bench loop`."""
    parser.description = __doc__
    parser.epilog = (
        "loop_overhead_pct   median of (step - models - codec - raw pyzmq) over the step, per cent\n"
        "shares              medians of each part over the step, per cent\n"
    )
    parser.add_argument("--quick", action="store_true", help="shorter answers")
    parser.add_argument("--repeats", type=count, metavar="N", help="answers; default: 5, quick 2")
    parser.add_argument("--json", action="store_true", help="one JSON object, last on standard output")


def run(args: argparse.Namespace) -> int:
    """Run the benchmark."""
    set_up_logging(level="warning")
    return run_foreground(lambda: _bench(args))


async def _bench(args: argparse.Namespace) -> None:
    tokens = QUICK_TOKENS if args.quick else TOKENS
    repeats = args.repeats or (2 if args.quick else 5)
    steps: list[StepShares] = []
    with tempfile.TemporaryDirectory(prefix="draftwire-") as name:
        at_bs = Path(name) / "spans.json"
        answers: list[tuple[int, int]] = []
        trips: list[float] = []
        with stopwatches() as at_device, progress_bar(repeats) as begin:
            async with _nodes(at_bs) as device:
                warm = await _answer(device, tokens=16, seed=0)
                draft, commit = warm.draft_bytes // warm.sparse_frames, warm.bytes_down // warm.steps
                raw = raw_echo(Path(name), Topology.default(), sent=draft, answered=commit)
                async with raw as trip:
                    for repeat in range(repeats):
                        begin(f"answer {repeat + 1}")
                        first = len(at_device)
                        await _answer(device, tokens=tokens, seed=repeat + 1)
                        answers.append((first, len(at_device)))
                        trips += [await trip() for _ in range(ROUND_TRIPS)][WARM_UP_STEPS:]
        there = read_spans(at_bs)
    for first, last in answers:
        steps += shares(at_device[first:last], there)[WARM_UP_STEPS:]
    found = result(steps, trips, tokens=tokens, repeats=repeats, quick=args.quick)
    _show(found)
    if args.json:
        print(orjson.dumps(found).decode(), flush=True)


async def _answer(device: ConnectedDevice, *, tokens: int, seed: int) -> Account:
    generation = device.generate(
        PROMPT, max_new_tokens=tokens, temperature=1.0, seed=seed, k=SETTING.k, gamma=SETTING.gamma
    )
    async for _ in generation:
        pass
    return generation.account


@asynccontextmanager
async def _nodes(spans: Path) -> AsyncIterator[ConnectedDevice]:
    """Device, target and controller, without a channel; the target writes its spans when it ends."""
    watched = "draftwire.nodes.console.bench.stopwatch"

    def command(role: str, config: Path) -> Sequence[str]:
        plain = node_command(role, config)
        if role != "target":
            return plain
        place = plain.index("draftwire")
        return (*plain[:place], watched, str(spans), *plain[place + 1 :])

    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="draftwire-")))
        topology = on_this_host(replace(Topology.default(), channel=None), folder)
        nodes = await stack.enter_async_context(launched(topology, progress=say, command=command))
        await nodes.ready()
        device = await stack.enter_async_context(connect(topology, launch=False, progress=say))
        await stack.enter_async_context(device.dependent_on(nodes))
        yield device


def shares(device: Sequence[Span], bs: Sequence[Span]) -> list[StepShares]:
    """The steps of one answer: from the Commit behind which a block is drawn to the next Commit."""
    device, bs = sorted(device, key=_begun_s), sorted(bs, key=_begun_s)
    commits = [span for span in device if span.kind == Commit.__name__]
    found = list[StepShares]()
    for begin, end in pairwise(commits):
        here, there = _between(device, begin, end), _between(bs, begin, end)
        if not any(span.kind == Draft.__name__ for span in here):
            continue
        coded = (QUANTISE, Draft.__name__, Commit.__name__)
        model_s, quantise_s = _seconds(here, MODEL), _seconds(here, QUANTISE)
        pass_s = _seconds(there, MODEL)
        found.append(
            StepShares(
                wall_s=end.begun_s - begin.begun_s,
                draft_model_s=model_s,
                target_model_s=pass_s,
                codec_s=_seconds(here, *coded) + _seconds(there, *coded),
                mathematics_s=_seconds(here, WORK) - model_s - quantise_s + _seconds(there, WORK),
            )
        )
    return found


def _begun_s(span: Span) -> float:
    return span.begun_s


def _between(spans: Sequence[Span], begin: Span, end: Span) -> Sequence[Span]:
    """Of spans in the order in which they begin: from one on, up to another."""
    first, last = (bisect_left(spans, one.begun_s, key=_begun_s) for one in (begin, end))
    return spans[first:last]


def _seconds(spans: Sequence[Span], *kinds: str) -> float:
    return sum(span.seconds for span in spans if span.kind in kinds)


# ------------------------------------------------------------------------------------- raw pyzmq

Trip = Callable[[], Awaitable[float]]
"""One round trip; the seconds of it that neither model took."""


@asynccontextmanager
async def raw_echo(
    folder: Path, topology: Topology, *, sent: int, answered: int
) -> AsyncIterator[Trip]:
    """The two models of a topology, and raw pyzmq between them: so many bytes there, so many back.

    The other process ends with this one. A trip raises LoopError where nothing comes back.
    """
    address, topology = f"ipc://{folder}/raw", sharing_cores(topology)
    model, threads = topology.pair.target.model, str(topology.target.threads)
    context, tokens = load_draft(topology.pair.draft.model).open(), [1] * PROMPT_TOKENS
    async with AsyncExitStack() as stack:
        echo = beside("draftwire.nodes.console.bench.loop_echo", address, str(answered), model, threads)
        await stack.enter_async_context(echo)
        socket = stack.enter_context(zmq.asyncio.Context()).socket(zmq.DEALER)
        stack.callback(socket.close, linger=0)
        socket.connect(address)

        async def trip() -> float:
            for _ in range(POSITIONS - 1):
                tokens.append(2)
                context.logits(tokens, 1)
            begun_s = time.perf_counter()
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    await socket.send(bytes(sent))
                    (pass_s,) = SECONDS.unpack_from(await socket.recv())
            except TimeoutError:
                raise LoopError(f"no answer from the other process within {ANSWER_WITHIN_S:g} s") from None
            return time.perf_counter() - begun_s - float(pass_s)

        await trip()
        yield trip


# ------------------------------------------------------------------------------------- the figures


def result(
    steps: Sequence[StepShares], trips: Sequence[float], *, tokens: int, repeats: int, quick: bool
) -> dict[str, Any]:
    """The JSON object."""
    wire_s = median(trips)
    overheads = [100 * step.overhead_s(wire_s) / step.wall_s for step in steps]
    parts: dict[str, Callable[[StepShares], float]] = {
        "draft_model": lambda step: step.draft_model_s,
        "target_model": lambda step: step.target_model_s,
        "codec": lambda step: step.codec_s,
        "wire": lambda step: wire_s,
        "mathematics": lambda step: step.mathematics_s,
        "rest": lambda step: step.overhead_s(wire_s) - step.mathematics_s,
    }
    return {
        "loop_overhead_pct": median(overheads),
        "loop_overhead_pct_quartiles": _quartiles(overheads),
        "shares": {
            name: median(100 * part(step) / step.wall_s for step in steps) for name, part in parts.items()
        },
        "step_ms": 1e3 * median(step.wall_s for step in steps),
        "parts_ms": {name: 1e3 * median(map(part, steps)) for name, part in parts.items()},
        "raw_trip_ms_quartiles": _quartiles([1e3 * trip for trip in trips]),
        "steps": len(steps),
        "setting": SETTING.name,
        "tokens": tokens,
        "repeats": repeats,
        "quick": quick,
        "python": platform.python_version(),
        "pyzmq": zmq.__version__,
        "libzmq": zmq.zmq_version(),
    }


def _quartiles(values: Sequence[float]) -> list[float]:
    return quantiles(values, n=4) if len(values) > 1 else [*values] * 3


def _show(found: dict[str, Any]) -> None:
    table = Table(title=f"one step of {found['step_ms']:.1f} ms, {found['setting']}, {found['steps']} steps")
    table.add_column("part")
    table.add_column("ms", justify="right")
    table.add_column("%", justify="right")
    for name, share in found["shares"].items():
        table.add_row(name.replace("_", " "), f"{found['parts_ms'][name]:.2f}", f"{share:.1f}")
    console = Console(stderr=True)
    console.print(table)
    low, _, high = found["loop_overhead_pct_quartiles"]
    overhead = found["loop_overhead_pct"]
    console.print(f"overhead of the loop: {overhead:.1f} % (quartiles {low:.1f} to {high:.1f})")


__all__ = ["SETTING", "LoopError", "StepShares", "add_arguments", "raw_echo", "result", "run", "shares"]
