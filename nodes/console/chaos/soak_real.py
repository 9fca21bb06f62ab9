"""`draftwire chaos --real --minutes M`: whether nodes that run for long take ever more of the machine.

Target, channel and controller, and a device that answers one line after the other, run all the time. Beside
them devices come, ask, and go, and every third one is killed in mid-answer and does not come back. Of the
four that stay the memory, the open files and the threads are read every few seconds. In the first half
buffers fill and what has vanished is not yet forgotten; from then on all three must stay where they are.
"""

import math
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import orjson

from draftwire.nodes.console.chaos.real_nodes import Process, System, free_addresses, running
from draftwire.nodes.console.chaos.real_setup import VIRTUAL, check_platform, ended_in_order, real_topology
from draftwire.nodes.console.generate import say
from draftwire.nodes.console.memory import resident_bytes

SAMPLE_S: Final = 2.0

VISITORS: Final = 2
"""Devices that come and go, at a time."""

NAMES: Final = 6
"""Of these devices: a channel keeps a few connections of each name, and so comes to rest."""

TOKENS: Final = 60
"""Of an answer."""

MOST_GROWTH_MB: Final = 4.0
"""Of a node's memory over the second half: an allocator's pages come and go by as much."""

LINES_AHEAD: Final = 4
"""Of the device that stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Of a process, at a time."""

    at_s: float
    memory_mb: float
    "resident"
    files: int
    threads: int


@dataclass
class Watched:
    """A node that stays."""

    process: Process
    samples: list[Sample] = field(default_factory=list)

    def look(self, at_s: float) -> None:
        """Read what it takes now; of one that has ended nothing."""
        proc = Path(f"/proc/{self.process.popen.pid}")
        try:
            memory_mb = resident_bytes(self.process.popen.pid) / 1e6
            files, threads = (len(list((proc / name).iterdir())) for name in ("fd", "task"))
        except OSError:
            return
        if memory_mb:  # else it has ended, and is not yet collected
            self.samples.append(Sample(at_s=at_s, memory_mb=memory_mb, files=files, threads=threads))


class Words:
    """How many words a file has that grows: only what is new is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at, self._count = 0, 0

    def count(self) -> int:
        """So far; the last one counts once there is something behind it."""
        with self._path.open("rb") as file:
            file.seek(self._at)
            new = file.read()
        whole = new[: 1 + max(new.rfind(b" "), new.rfind(b"\n"))]
        self._at += len(whole)
        self._count += len(whole.split())
        return self._count


def run_soak(*, minutes: float, seed: int = 0, as_json: bool = False) -> int:
    """Let real nodes work for so long; 1 where one has grown, or ended."""
    check_platform(key="--real", remedy=VIRTUAL)
    began_s = time.monotonic()
    with ended_in_order(), tempfile.TemporaryDirectory(prefix="draftwire-") as name:
        sampling = f"max_new_tokens = {TOKENS}\n"
        topology = real_topology(free_addresses(4), sampling=sampling)
        with running(Path(name), topology, owned=True) as nodes:
            soak = Soak(nodes, Random(f"soak {seed}"))
            complete = False
            try:
                soak.work(60 * minutes)
                complete = True
            finally:  # told to stop, it tells what came so far
                found = soak.result() | {"minutes": minutes, "seed": seed, "complete": complete}
                found["wall_s"] = time.monotonic() - began_s
                _tell(found, as_json=as_json)
    return 0 if found["flat"] else 1


class Soak:
    """Nodes at work."""

    def __init__(self, nodes: System, numbers: Random) -> None:
        self.nodes, self.numbers = nodes, numbers
        self.stays = nodes.start("device", "--name", "stays", stdin=subprocess.PIPE)
        self._shown = Words(self.stays.out)
        self.watched = {process.role: Watched(process) for process in nodes.now.values()}
        self.visitors = list[Process]()
        self.came, self.killed, self.failed = 0, 0, list[str]()
        self._asked = 0
        self._dies_at = dict[int, int]()
        "process -> tokens shown at which it is killed"

    def work(self, seconds: float) -> None:
        """Have them work, and look at them."""
        began_s = time.monotonic()
        looked_s = told_s = -SAMPLE_S
        while (at_s := time.monotonic() - began_s) < seconds:
            self._ask()
            self._churn()
            if at_s >= looked_s + SAMPLE_S:
                looked_s = at_s
                for one in self.watched.values():
                    one.look(at_s)
            if at_s >= told_s + 60:
                told_s = at_s
                say(f"{at_s / 60:4.0f} min: {self._now()}")
            time.sleep(0.2)

    def _now(self) -> str:
        words = [
            f"{role} {one.samples[-1].memory_mb:.0f} MB {one.samples[-1].files} files"
            for role, one in self.watched.items()
            if one.samples
        ]
        return ", ".join([*words, f"{self.came} devices came, {self.killed} were killed"])

    def _ask(self) -> None:
        """Keep the one that stays at work."""
        done = self._shown.count() // TOKENS
        stdin = self.stays.popen.stdin
        assert stdin is not None
        with suppress(BrokenPipeError):  # it has just ended, which the result tells
            while self.stays.runs and self._asked - done < LINES_AHEAD:
                stdin.write(f"line {self._asked}\n".encode())
                stdin.flush()
                self._asked += 1

    def _churn(self) -> None:
        """One that has ended is followed by another; some are killed."""
        for visitor in list(self.visitors):
            if visitor.runs and len(visitor.words()) >= self._dies_at.get(visitor.popen.pid, math.inf):
                visitor.popen.kill()
                visitor.ended()
                self.killed += 1
            if not visitor.runs:
                self._leave(visitor)
        while len(self.visitors) < VISITORS:
            visitor = self.nodes.start(
                "device", "--name", f"visitor-{self.came % NAMES}", f"hello {self.came}"
            )
            self.visitors.append(visitor)
            self.came += 1
            if self.came % 3 == 0:
                self._dies_at[visitor.popen.pid] = self.numbers.randrange(1, TOKENS // 2)

    def _leave(self, visitor: Process) -> None:
        """One has ended; what it has written is looked at, and goes."""
        self.visitors.remove(visitor)
        self._dies_at.pop(visitor.popen.pid, None)
        if (code := visitor.ended()) > 0:
            self.failed.append(f"a device ended with code {code}: {visitor.said().strip()[-300:]}")
        if "Traceback" in visitor.said():
            self.failed.append(f"a device ended with a traceback: {visitor.said()[-1000:]}")
        self.nodes.started.remove(visitor)
        visitor.out.unlink()
        visitor.err.unlink()

    def result(self) -> dict[str, Any]:
        """The JSON object, but for what hangs on the options."""
        for one in self.watched.values():
            if not one.process.runs:
                self.failed.append(f"the {one.process.role} has ended: {one.process.said()[-1000:]}")
            elif "Traceback" in one.process.said():
                self.failed.append(f"the {one.process.role} has told of a traceback")
        nodes = {role: growth(one.samples) for role, one in self.watched.items()}
        flat = all(one is not None and one["flat"] for one in nodes.values())
        return {
            "nodes": nodes,
            "flat": flat and not self.failed,
            "failed": self.failed,
            "devices_came": self.came,
            "devices_killed": self.killed,
            "answers_of_the_one_that_stays": self._shown.count() // TOKENS,
        }


def growth(samples: list[Sample]) -> dict[str, Any] | None:
    """From the middle of the time to its end; None: there are too few samples to tell.

    Of memory along a line through the second half; of files and threads the most in its two halves.
    """
    late = samples[len(samples) // 2 :]
    if len(late) < 4:
        return None
    at_s, memory = (np.array([getattr(one, name) for one in late]) for name in ("at_s", "memory_mb"))
    slope = float(np.polyfit(at_s, memory, 1)[0])
    grown_mb = slope * float(at_s[-1] - at_s[0])
    first, last = late[: len(late) // 2], late[len(late) // 2 :]
    files, threads = (
        max(getattr(one, name) for one in last) - max(getattr(one, name) for one in first)
        for name in ("files", "threads")
    )
    return {
        "memory_mb": late[-1].memory_mb,
        "memory_growth_mb": grown_mb,
        "memory_mb_per_hour": 3600 * slope,
        "files": late[-1].files,
        "files_growth": files,
        "threads": late[-1].threads,
        "threads_growth": threads,
        "flat": grown_mb <= MOST_GROWTH_MB and files <= VISITORS and threads <= 0,
    }


def _tell(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(orjson.dumps(found).decode(), flush=True)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    print(f"{'':<12}{'MB':>8}{'grown':>8}{'files':>7}{'more':>6}{'threads':>9}{'more':>6}")
    for role, one in found["nodes"].items():
        if one is not None:
            print(
                f"{role:<12}{one['memory_mb']:>8.1f}{one['memory_growth_mb']:>8.1f}{one['files']:>7}"
                f"{one['files_growth']:>6}{one['threads']:>9}{one['threads_growth']:>6}"
            )
    for what in found["failed"]:
        print(f"failed: {what}")
    print(f"{found['devices_came']} devices came, {found['devices_killed']} were killed")
    if not found["complete"]:
        print(f"ended before its time, after {found['wall_s'] / 60:.1f} min")
    print("flat over the second half" if found["flat"] else "not flat", flush=True)


__all__ = ["MOST_GROWTH_MB", "Sample", "growth", "run_soak"]
