"""`draftwire bench serve`: what HTTP costs an answer, and whether a crowd of streams is served.

All nodes run on this machine as `draftwire serve` starts them. The shipped pair answers the same request in
turn through the Python interface and, streamed, through HTTP on the loopback interface; K, gamma and the seed
are fixed, so that both make the same steps, and who comes first turns. The client is a bare socket in this
process, so its own work counts as HTTP's. A synthetic pair that is paced does the same. Then many streams ask
at once for answers of a synthetic pair whose base station has half as many places.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

import orjson
from rich.console import Console
from rich.table import Table

from draftwire.nodes.console.api import ConnectedDevice
from draftwire.nodes.console.bench.goals import judged, verdict
from draftwire.nodes.console.foreground import run_foreground
from draftwire.nodes.console.options import count
from draftwire.nodes.console.runner import PROMPT, progress_bar
from draftwire.runtime.config import (
    ComputeSettings,
    ModelSettings,
    PairSettings,
    Profile,
    ServeSettings,
    TargetSettings,
    Topology,
)
from draftwire.runtime.errors import DraftwireError
from draftwire.runtime.telemetry import set_up_logging

K, GAMMA = 32, 2
"""What the controller keeps to on a good link, about."""

TOKENS, QUICK_TOKENS = 96, 32
REPEATS, QUICK_REPEATS = 10, 2

STREAMS, PLACES = 32, 16
CROWD_TOKENS: Final = 40
CROWD: Final = PairSettings(
    draft=ModelSettings(model="synthetic:V=64,seed=1,noise=0.5"),
    target=ModelSettings(model="synthetic:V=64,seed=1"),
)

GOALS: Final = {"overhead_pct": 3.0, "failed": 0.0, "page_kb": 300.0}
"""At most."""


class ServeBenchError(DraftwireError):
    """Raised when an answer does not come, or is not that of the other way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One answer."""

    text: str
    seconds: float
    "from the request to the last token"
    first_s: float
    "to the first text"
    tokens: int
    cpu_s: float
    "of the loop's thread, where neither model computes"

    @property
    def tokens_per_s(self) -> float:
        """Of the whole of it."""
        return self.tokens / self.seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of `draftwire bench serve`."""
    parser.description = __doc__
    parser.epilog = (
        "overhead_pct   tokens a second through HTTP, below those of the Python interface, per cent:\n"
        f"               the median of pairs; goal: at most {GOALS['overhead_pct']:g}\n"
        "paced_overhead_pct   the same of a synthetic pair paced to the paper's step times: what else the\n"
        "               machine does changes it less\n"
        "added_cpu_us   CPU that HTTP adds a token, client and server, in microseconds, median of pairs\n"
        "ttft_ms        from the request to the first text through HTTP, median; python_ttft_ms: without\n"
        f"failed         of {STREAMS} streams on {PLACES} places those that did not come to an end; goal: 0\n"
        f"page_kb        all files of the live page, uncompressed; goal: at most {GOALS['page_kb']:g}\n"
    )
    parser.add_argument("--quick", action="store_true", help="shorter answers, and fewer")
    parser.add_argument(
        "--repeats", type=count, metavar="N", help=f"pairs; default {REPEATS}, quick {QUICK_REPEATS}"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, last on standard output")


def run(args: argparse.Namespace) -> int:
    """Run the benchmark."""
    set_up_logging(level="warning")
    return run_foreground(lambda: _bench(args))


async def _bench(args: argparse.Namespace) -> None:
    began_s = time.monotonic()
    tokens = QUICK_TOKENS if args.quick else TOKENS
    repeats = args.repeats or (QUICK_REPEATS if args.quick else REPEATS)
    pairs = await _pairs(Topology.default(), tokens, repeats)
    paced = replace(Topology.default(), pair=CROWD, compute=ComputeSettings(profile=Profile.PAPER))
    paced_pairs = await _pairs(paced, tokens, repeats)
    failed, crowd_s = await _crowd()
    found = result(pairs, paced_pairs, failed=failed, page_bytes=page_bytes()) | {
        "crowd_s": crowd_s,
        "tokens": tokens,
        "repeats": repeats,
        "quick": args.quick,
        "wall_s": time.monotonic() - began_s,
    }
    if args.json:
        print(orjson.dumps(found).decode(), flush=True)
    else:
        _show(found)


async def _pairs(topology: Topology, tokens: int, repeats: int) -> list[tuple[Timed, Timed]]:
    """Python's and HTTP's answer of each repeat."""
    from draftwire.nodes.console.serve.hosting import api_served, nodes_here

    topology = replace(topology, serve=ServeSettings(port=0))
    pairs = list[tuple[Timed, Timed]]()
    async with (
        nodes_here(topology) as here,
        api_served(topology, here.device, key=None, page=here.page) as url,
    ):
        model = topology.pair.target.model
        await _by_python(here.device, tokens=16, seed=0)
        await _by_http(url, model, tokens=16, seed=0)
        with progress_bar(repeats) as begin:
            for repeat in range(repeats):
                begin(f"pair {repeat + 1}")
                ways = [_by_python(here.device, tokens=tokens, seed=repeat)]
                ways.insert(repeat % 2, _by_http(url, model, tokens=tokens, seed=repeat))
                came = [await way for way in ways]
                http = came.pop(repeat % 2)
                if http.text != came[0].text:
                    raise ServeBenchError("the two ways gave two texts for one seed")
                pairs.append((came[0], http))
    return pairs


async def _by_python(device: ConnectedDevice, *, tokens: int, seed: int) -> Timed:
    began_s, first_s, cpu_s = time.perf_counter(), None, time.thread_time()
    generation = device.generate(PROMPT, chat=False, max_new_tokens=tokens, seed=seed, k=K, gamma=GAMMA)
    async for token in generation:
        if first_s is None and token.text:
            first_s = time.perf_counter()
    ended_s = time.perf_counter()
    return Timed(
        text=generation.text,
        seconds=ended_s - began_s,
        first_s=(first_s or ended_s) - began_s,
        tokens=generation.account.tokens,
        cpu_s=time.thread_time() - cpu_s,
    )


async def _by_http(url: str, model: str, *, tokens: int, seed: int, prompt: str = PROMPT) -> Timed:
    """Raises ServeBenchError for an answer that is an error, or that does not come to its end."""
    body = {
        "model": model,
        "prompt": prompt,
        "max_tokens": tokens,
        "seed": seed,
        "stream": True,
        "stream_options": {"include_usage": True},
        "draftwire": {"k": K, "gamma": GAMMA},
    }
    began_s, cpu_s = time.perf_counter(), time.thread_time()
    first_s, text, made, finish = None, "", 0, None
    async for event in _events(url, orjson.dumps(body)):
        if "error" in event:
            raise ServeBenchError(str(event["error"]["message"]))
        for choice in event["choices"]:
            text += choice["text"]
            first_s = first_s or (time.perf_counter() if text else None)
            finish = choice["finish_reason"] or finish
        made = event["usage"]["completion_tokens"] if event.get("usage") else made
    ended_s = time.perf_counter()
    if finish is None:
        raise ServeBenchError("a stream ended without its end")
    return Timed(
        text=text,
        seconds=ended_s - began_s,
        first_s=(first_s or ended_s) - began_s,
        tokens=made,
        cpu_s=time.thread_time() - cpu_s,
    )


async def _events(url: str, body: bytes) -> AsyncIterator[dict[str, Any]]:
    """Of one streamed answer, by a client that does no more than it must."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    try:
        writer.write(head.encode() + body)
        if not (await reader.readline()).startswith(b"HTTP/1.1 200"):
            raise ServeBenchError((await reader.read()).decode(errors="replace").rpartition("\n")[2])
        async for line in reader:
            if line.startswith(b"data: {"):
                yield orjson.loads(line[6:])
    finally:
        writer.close()


async def _crowd() -> tuple[int, float]:
    """How many of the streams did not come to their end, and how long all took, in seconds."""
    from draftwire.nodes.console.serve.hosting import api_served, nodes_here

    topology = replace(
        Topology.default(),
        pair=CROWD,
        target=TargetSettings(max_sessions=PLACES),
        serve=ServeSettings(port=0),
    )
    async with nodes_here(topology) as here, api_served(topology, here.device, key=None) as url:
        began_s = time.monotonic()
        came = await asyncio.gather(
            *(
                _by_http(url, CROWD.target.model, tokens=CROWD_TOKENS, seed=number, prompt=f"number {number}")
                for number in range(STREAMS)
            ),
            return_exceptions=True,
        )
        seconds = time.monotonic() - began_s
    whole = [one for one in came if isinstance(one, Timed) and one.tokens == CROWD_TOKENS]
    return STREAMS - len(whole), seconds


def page_bytes() -> int:
    """What a browser loads of the live page, before it is compressed."""
    from draftwire.nodes.observer.web import PAGE, TYPES

    return sum(path.stat().st_size for path in Path(PAGE).rglob("*") if path.suffix in TYPES)


Pairs = Sequence[tuple[Timed, Timed]]
"""Python's and HTTP's answer each."""


def result(pairs: Pairs, paced: Pairs, *, failed: int, page_bytes: int) -> dict[str, Any]:
    """The JSON object."""
    overheads, paced_overheads = _overheads(pairs), _overheads(paced)
    found: dict[str, Any] = {
        "overhead_pct": median(overheads),
        "overhead_pct_quartiles": _quartiles(overheads),
        "paced_overhead_pct": median(paced_overheads),
        "paced_overhead_pct_quartiles": _quartiles(paced_overheads),
        "added_cpu_us": median(
            1e6 * (http.cpu_s / http.tokens - python.cpu_s / python.tokens) for python, http in pairs
        ),
        "ttft_ms": 1e3 * median(http.first_s for _, http in pairs),
        "python_ttft_ms": 1e3 * median(python.first_s for python, _ in pairs),
        "tokens_per_s": median(http.tokens_per_s for _, http in pairs),
        "python_tokens_per_s": median(python.tokens_per_s for python, _ in pairs),
        "failed": failed,
        "streams": STREAMS,
        "places": PLACES,
        "page_kb": page_bytes / 1e3,
    }
    return found | {"goals": judged(found, at_most=GOALS)}


def _overheads(pairs: Pairs) -> list[float]:
    return [100 * (1 - http.tokens_per_s / python.tokens_per_s) for python, http in pairs]


def _quartiles(values: Sequence[float]) -> list[float]:
    return quantiles(values, n=4) if len(values) > 1 else [*values] * 3


def _show(found: dict[str, Any]) -> None:
    table = Table(title=f"{found['repeats']} pairs of {found['tokens']} tokens, K {K}, gamma {GAMMA}")
    for name in ("figure", "value", "goal", ""):
        table.add_column(name, justify="right" if name == "value" else "left")
    low, _, high = found["overhead_pct_quartiles"]
    table.add_row(
        "HTTP below Python, % of tok/s (quartiles)",
        f"{found['overhead_pct']:.1f} ({low:.1f} to {high:.1f})",
        *verdict(found["goals"]["overhead_pct"]),
    )
    low, _, high = found["paced_overhead_pct_quartiles"]
    table.add_row(
        "the same, paced to the paper's steps", f"{found['paced_overhead_pct']:.1f} ({low:.1f} to {high:.1f})"
    )
    table.add_row("CPU that HTTP adds, us a token", f"{found['added_cpu_us']:.0f}")
    table.add_row("first text through HTTP, ms", f"{found['ttft_ms']:.0f}")
    table.add_row("first text through Python, ms", f"{found['python_ttft_ms']:.0f}")
    table.add_row(
        f"of {STREAMS} streams on {PLACES} places failed",
        str(found["failed"]),
        *verdict(found["goals"]["failed"]),
    )
    table.add_row("page, kB", f"{found['page_kb']:.0f}", *verdict(found["goals"]["page_kb"]))
    Console(stderr=True).print(table)


__all__ = ["ServeBenchError", "Timed", "add_arguments", "page_bytes", "result", "run"]
