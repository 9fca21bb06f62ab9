"""The base station of `draftwire bench enemies`: a real one, whose passes take as long as they are told to.

    python -m draftwire.nodes.console.bench.enemies_station TOPOLOGY

prints `ready` once it is bound. Each line on its standard input is answered with one JSON object, a Look; it
ends when its standard input does. A pass costs a constant and a part for each position, and hardly any
processor time: so what others lose is what an enemy takes from them, and not what two models take from each
other on one machine.
"""

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import orjson

from draftwire.nodes.console.bench.enemies_line import hello_of
from draftwire.nodes.console.keys import node_transport
from draftwire.nodes.console.memory import resident_bytes
from draftwire.nodes.models.catalogue import load_target, load_tokenizer
from draftwire.nodes.models.pacing import PacedCompute, StepTimes
from draftwire.nodes.target.node import TargetNode
from draftwire.runtime.clock import LoopClock, PunctualLoop
from draftwire.runtime.config import Topology, load_topology
from draftwire.runtime.security import Role
from draftwire.runtime.telemetry import get_logger, set_up_logging
from draftwire.runtime.transport import Transport

TIMES: Final = StepTimes(draft_position_s=0.0, target_s=40e-3, target_position_s=0.5e-3)
"""A pass, and what a position adds: 1 % of a pass of four sessions. More than an accelerator takes, less than
a processor without matrix units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The base station at one moment."""

    at_s: float
    "of a clock that all processes of this machine share"
    loop_cpu_s: float
    "processor time of the thread that the loop runs in, since the start"
    rss_bytes: int
    "memory in use"
    files: int
    "open descriptors"
    tasks: int
    "of the loop"
    refused: dict[str, int]
    "by reason: frames that the node has refused"
    dropped: dict[str, int]
    "by reason: messages that went no further than its socket, either way"

    @property
    def frames_refused(self) -> int:
        """Of both."""
        return sum(self.refused.values()) + sum(self.dropped.values())


def station_of(topology: Topology, *, transport: Transport, times: StepTimes = TIMES) -> TargetNode:
    """The node."""
    name = topology.pair.target.model
    return TargetNode(
        topology.target,
        topology.controller,
        transport=transport,
        clock=LoopClock(),
        compute=PacedCompute(LoopClock(), times),
        model=load_target(name),
        tokenizer=load_tokenizer(name, end="target"),
        hello=hello_of(name),
        boot=random.SystemRandom().getrandbits(32),
        wall_s=time.time,
        logger=get_logger("target"),
    )


def look_at(station: TargetNode) -> Look:
    """Call it in the loop's own thread."""
    statistics = station.statistics()
    return Look(
        at_s=time.monotonic(),
        loop_cpu_s=time.thread_time(),
        rss_bytes=resident_bytes(),
        files=len(os.listdir("/proc/self/fd")),
        tasks=len(asyncio.all_tasks()),
        refused={reason.name.lower(): count for reason, count in station.refused.items()},
        dropped={} if statistics is None else {str(why): n for why, n in statistics.dropped.items()},
    )


async def _serve(path: Path) -> None:
    topology = load_topology(path)
    async with node_transport(topology, Role.TARGET) as transport:
        station = station_of(topology, transport=transport)
        running = asyncio.create_task(station.run(lambda: print("ready", flush=True)))
        ended = asyncio.get_running_loop().create_future()
        _on_lines(
            lambda: print(orjson.dumps(asdict(look_at(station))).decode(), flush=True),
            ended=lambda: None if ended.done() else ended.set_result(None),
        )
        await asyncio.wait((running, ended), return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        await asyncio.gather(running, return_exceptions=not running.done())


def _on_lines(asked: Callable[[], None], *, ended: Callable[[], None]) -> None:
    loop, stdin = asyncio.get_running_loop(), sys.stdin.fileno()

    def readable() -> None:
        data = os.read(stdin, 4096)
        for _ in range(data.count(b"\n")):
            asked()
        if not data:
            loop.remove_reader(stdin)
            ended()

    loop.add_reader(stdin, readable)


if __name__ == "__main__":
    set_up_logging(level="warning")
    with asyncio.Runner(loop_factory=PunctualLoop) as runner:
        runner.run(_serve(Path(sys.argv[1])))

__all__ = ["TIMES", "Look", "look_at", "station_of"]
