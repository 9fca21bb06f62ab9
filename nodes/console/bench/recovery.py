"""`draftwire bench recovery`: how long a user waits for the next token when a node dies and is started again.

Four real processes on this machine: the synthetic pair, paced to the paper's step times, over a link of
20 Mbit/s and 5 ms each way; a request under the default rule. One node is killed (SIGKILL) in mid-answer and
started again, at once, or after it was away for 10 s. A node's own start, with Python's imports and the
model, is measured apart: what is promised counts from its line `ready` on, of a device from its word that
the request is kept. A device goes on from its journal. Nobody waits for the controller: of it the longest
pause between tokens counts, and how long it takes to be found by the base station again.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import orjson

from draftwire.codecs.messages import Acceptance
from draftwire.nodes.console.bench.goals import judged, verdict
from draftwire.nodes.console.chaos.real_asked import Answering, Asked
from draftwire.nodes.console.chaos.real_faults import NODES
from draftwire.nodes.console.chaos.real_nodes import Process, System, free_addresses, running, until
from draftwire.nodes.console.chaos.real_setup import check_platform, ended_in_order, real_topology
from draftwire.nodes.console.generate import say
from draftwire.nodes.console.options import count
from draftwire.nodes.console.options import seed as seed_option
from draftwire.runtime.errors import ConfigurationError, LocalError

KILLS, QUICK_KILLS = 8, 2
"""Of each node that is started again at once; a quarter of them, and at least one, is away for AWAY_S."""

AWAY_S: Final = 10.0

GOAL_S: Final = 3.0
"""From ready to the next token, 99th percentile."""

TOKENS: Final = 1500
"""Of a request; another one is asked where fewer are left than come meanwhile if nobody is missed."""

TOKENS_PER_S: Final = 80.0
"""More than come at these step times."""

CALM_S: Final = 2.0
"""Behind the controller's return, in which a pause still counts."""

WITHIN_S: Final = 60.0


class NoRecoveryError(LocalError):
    """Raised when no token comes any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """One death."""

    away_s: float
    "between it and the new process"
    start_s: float
    "from the new process's start until it is ready"
    after_ready_s: float
    "from there to the next token; of the controller: until it knows who reports"
    recompute_s: float | None = None
    "of the target: from the request's being taken up again to the end of its first step"
    pause_s: float | None = None
    "of the controller: the longest between two tokens"

    @property
    def seconds(self) -> float:
        """From the new process's start to the next token."""
        return self.start_s + self.after_ready_s


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of `draftwire bench recovery`."""
    parser.description = __doc__
    parser.epilog = (
        "target, device, channel, controller:\n"
        "  kills                      how many, and at how long an absence by `away_s`\n"
        "  start_s                    from the new process's start until it is ready, median\n"
        "  p50_s, p99_s, worst_s      from the new process's start to the next token\n"
        "  after_ready_p50_s, _p99_s  the same without its own start\n"
        "  recompute_s                in it, of the target: the text so far and the first step, median\n"
        "  longest_pause_s            of the controller: between two tokens, the longest of all deaths\n"
        "  away                       the same figures of absences of 10 s alone\n"
        f"worst_p99_s                  after_ready_p99_s, the worst of the nodes; goal: at most {GOAL_S:g}\n"
        "\nWith a pair of your own, a node's start takes as long as its model takes to load; the rest\n"
        "stays, but for the recomputing of the text so far.\n"
    )
    parser.add_argument("--quick", action="store_true", help="a minute: two deaths of each, and one of 10 s")
    parser.add_argument(
        "--kills",
        type=count,
        metavar="N",
        help=f"of each node at once, and a quarter as many, at least one, of 10 s; default {KILLS}",
    )
    parser.add_argument("--seed", type=seed_option, default=0, metavar="X", help="of when; default 0")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")


def run(args: argparse.Namespace) -> int:
    """Run the benchmark."""
    if args.quick and args.kills is not None:
        raise ConfigurationError("beside --quick, which settles it", key="--kills", remedy="give one")
    check_platform(key="bench recovery", remedy="run it on Linux")
    kills = args.kills or (QUICK_KILLS if args.quick else KILLS)
    began_s = time.monotonic()
    with ended_in_order(), tempfile.TemporaryDirectory(prefix="draftwire-") as name:
        with running(Path(name), real_topology(free_addresses(4)), owned=True) as nodes:
            bench = Bench(nodes, Random(f"recovery {args.seed}"))
            came = {node: bench.deaths(node, kills) for node in NODES}
    found = result(came) | {"quick": args.quick, "wall_s": time.monotonic() - began_s}
    if args.json:
        print(orjson.dumps(found).decode(), flush=True)
    else:
        _show(found)
    return 0


class Bench:
    """Nodes that run, and a request that is under way."""

    def __init__(self, nodes: System, numbers: Random) -> None:
        self.nodes, self.numbers = nodes, numbers
        self.asked = 0
        self.answering: Answering | None = None

    def deaths(self, node: str, kills: int) -> list[Recovered]:
        """Kill it so many times, and some times more with an absence."""
        aways = [0.0] * kills + [AWAY_S] * max(1, kills // 4)
        came = list[Recovered]()
        try:
            for away_s in aways:
                say(f"{node}: death {len(came) + 1} of {len(aways)}")
                came.append(self._death(node, away_s))
        except TimeoutError as error:
            raise NoRecoveryError(f"the {node} was started again, and {error}") from None
        return came

    def _death(self, node: str, away_s: float) -> Recovered:
        answering = self._under_way(left=round(TOKENS_PER_S * (away_s + 2 * CALM_S)))
        answering.wait_for(max(answering.kept, len(answering.device.words())) + 5)
        time.sleep(0.5 * self.numbers.random())
        match node:
            case "device":
                return _device(answering, away_s)
            case "controller":
                return _controller(self.nodes, answering, away_s)
        return _server(self.nodes, node, answering, away_s)

    def _under_way(self, *, left: int) -> Answering:
        """A request with so many tokens to come."""
        now = self.answering
        if now is not None and now.device.runs and TOKENS - len(now.device.words()) >= left:
            return now
        if now is not None and now.device.runs:
            self.nodes.kill("device")
        asked = Asked(
            number=self.asked,
            acceptance=Acceptance.REJECTION,
            temperature=1.0,
            seed=self.numbers.getrandbits(48),
            prompt="hello there",
            tokens=TOKENS,
        )
        self.asked += 1
        self.answering = now = Answering(self.nodes, asked, lambda broken: None, time.monotonic())
        now.live()
        return now


def _server(nodes: System, node: str, answering: Answering, away_s: float) -> Recovered:
    """The target or the channel: nothing comes until it is ready, and little that is still under way."""
    nodes.kill(node)
    time.sleep(away_s)
    process = nodes.start(node)
    nodes.wait_ready(node)
    ready_s = time.monotonic()
    _news(answering)
    now_s = time.monotonic()
    return Recovered(
        away_s=away_s,
        start_s=ready_s - process.began_s,
        after_ready_s=now_s - ready_s,
        recompute_s=_recomputed_s(process) if node == "target" else None,
    )


def _device(answering: Answering, away_s: float) -> Recovered:
    """The device goes on from its journal."""
    answering.nodes.kill("device")
    time.sleep(away_s)
    answering.live()
    device = answering.device
    until(lambda: "is kept in" in device.said() or not device.runs, "its request is kept")
    ready_s = time.monotonic()
    _news(answering)
    now_s = time.monotonic()
    return Recovered(away_s=away_s, start_s=ready_s - device.began_s, after_ready_s=now_s - ready_s)


def _controller(nodes: System, answering: Answering, away_s: float) -> Recovered:
    """The controller: tokens come all the time."""
    nodes.kill("controller")
    times, back = [time.monotonic()], False
    process: Process | None = None
    over_s, count = times[0] + away_s + WITHIN_S, len(answering.device.words())
    ready_s = found_s = 0.0
    while (now_s := time.monotonic()) < over_s and answering.device.runs:
        if process is None and now_s - times[0] >= away_s:
            process = nodes.start("controller")
        if process is not None and not ready_s and process.ready:
            ready_s = now_s
        if process is not None and ready_s and not back and process.logged("controller.registered"):
            back, found_s, over_s = True, now_s, now_s + CALM_S
        if len(answering.device.words()) > count:
            count = len(answering.device.words())
            times.append(now_s)
        time.sleep(0.002)
    if process is None or not back:
        raise TimeoutError("no base station introduces itself")
    pauses = [late - early for early, late in pairwise(times)]
    return Recovered(
        away_s=away_s,
        start_s=ready_s - process.began_s,
        after_ready_s=found_s - ready_s,
        pause_s=max(pauses),
    )


def _news(answering: Answering) -> None:
    if not answering.wait_for_news(WITHIN_S):
        raise TimeoutError(f"the answer has ended: {answering.device.said()}")


def _recomputed_s(target: Process) -> float | None:
    """Between the log's lines on the request and on its first step."""
    taken, steps = target.logged("target.request"), target.logged("step")
    if not taken or not steps:
        return None
    began, ended = (datetime.fromisoformat(one[0]["timestamp"]) for one in (taken, steps))
    return (ended - began).total_seconds()


def result(came: Mapping[str, Sequence[Recovered]]) -> dict[str, Any]:
    """The JSON object, but for what hangs on the options."""
    nodes = {node: _figures(deaths) for node, deaths in came.items()}
    worst = max(figures["after_ready_p99_s"] for figures in nodes.values())
    found = {**nodes, "worst_p99_s": worst}
    return found | {"goals": judged(found, at_most={"worst_p99_s": GOAL_S})}


def _figures(deaths: Sequence[Recovered]) -> dict[str, Any]:
    """Of one node."""
    away = [one for one in deaths if one.away_s]
    return _of(deaths) | {"away_s": AWAY_S, "away": _of(away) if away else None}


def _of(deaths: Sequence[Recovered]) -> dict[str, Any]:
    def of(value: Callable[[Recovered], float | None], share: float) -> float | None:
        values = [found for one in deaths if (found := value(one)) is not None]
        return float(np.percentile(values, share)) if values else None

    return {
        "kills": len(deaths),
        "start_s": of(lambda one: one.start_s, 50),
        "p50_s": of(lambda one: one.seconds, 50),
        "p99_s": of(lambda one: one.seconds, 99),
        "worst_s": of(lambda one: one.seconds, 100),
        "after_ready_p50_s": of(lambda one: one.after_ready_s, 50),
        "after_ready_p99_s": of(lambda one: one.after_ready_s, 99),
        "recompute_s": of(lambda one: one.recompute_s, 50),
        "longest_pause_s": of(lambda one: one.pause_s, 100),
    }


def _show(found: dict[str, Any]) -> None:
    heads = f"{'kills':>6}{'start':>9}{'next token':>12}{'p99':>8}{'after ready':>13}{'p99':>8}"
    print(f"{'seconds':<12}{heads}")
    for node in NODES:
        for name, of in ((node, found[node]), ("  away 10 s", found[node]["away"])):
            if of is not None:
                print(
                    f"{name:<12}{of['kills']:>6}{of['start_s']:>9.2f}{of['p50_s']:>12.2f}{of['p99_s']:>8.2f}"
                    f"{of['after_ready_p50_s']:>13.2f}{of['after_ready_p99_s']:>8.2f}"
                )
    print(f"while the controller was away: the longest pause {found['controller']['longest_pause_s']:.2f} s")
    goal, met = verdict(found["goals"]["worst_p99_s"])
    print(f"worst p99 after ready {found['worst_p99_s']:.2f} s; goal {goal}: {met}", flush=True)


__all__ = ["GOAL_S", "NoRecoveryError", "Recovered", "add_arguments", "result", "run"]
