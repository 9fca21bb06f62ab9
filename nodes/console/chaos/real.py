"""`draftwire chaos --real`: four real processes, killed, stopped and cut off while they answer.

Requests come one after the other, by turns coupled, at temperature 0, and under rejection at temperature 1;
each meets three faults or so. Every device keeps a journal, and one that was killed goes on from it.
"""

import os
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import orjson

from draftwire.codecs.messages import Acceptance
from draftwire.nodes.console.chaos.outcome import Broken
from draftwire.nodes.console.chaos.real_asked import Answering, Asked
from draftwire.nodes.console.chaos.real_faults import NODES, Player, RealFault, RealKind, drawn
from draftwire.nodes.console.chaos.real_nodes import (
    SERVERS,
    System,
    free_addresses,
    running,
)
from draftwire.nodes.console.chaos.real_setup import VIRTUAL, check_platform, ended_in_order, real_topology
from draftwire.nodes.console.chaos.real_trouble import (
    bound_by,
    full_journal,
    full_log,
    full_record,
    prepare_record,
    taken_port,
)
from draftwire.nodes.console.generate import say

TOKENS: Final = 160
"""Of a request: three seconds without a fault."""

FAULTS_EACH: Final = 3
"""Of a request, at most."""

MOST_IDLE: Final = 2
"""Requests, one after the other, that are over before a fault was due: then the rest is not played."""

TURNS: Final = ((Acceptance.COUPLED, 1.0), (Acceptance.REJECTION, 0.0), (Acceptance.REJECTION, 1.0))
"""Acceptance and temperature of requests, by turns."""


@dataclass
class Campaign:
    """A run: its nodes, what is asked of them, and what came of it."""

    nodes: System
    addresses: list[str]
    seed: int
    began_s: float
    player: Player
    broken: list[Broken] = field(default_factory=list)
    requests: int = 0
    played: Counter[tuple[RealKind, str]] = field(default_factory=Counter)
    checked: list[str] = field(default_factory=list)
    "troubles of the machine that were tried"
    _told: set[int] = field(default_factory=set)
    "processes of whose traceback was told"

    def next(self) -> Answering:
        """Another request, not yet asked."""
        number, numbers = self.requests, Random(f"real request {self.seed} {self.requests}")
        self.requests += 1
        acceptance, temperature = TURNS[number % len(TURNS)]
        asked = Asked(
            number=number,
            acceptance=acceptance,
            temperature=temperature,
            seed=numbers.getrandbits(48),
            prompt=f"hello {number} of {self.seed}",
            tokens=TOKENS,
        )
        return Answering(self.nodes, asked, self._broke, self.began_s)

    def play(self, faults: Sequence[RealFault]) -> None:
        """All of them, over as many requests as that takes; none is left but where requests end too soon."""
        left, idle = list(faults), 0
        while left and idle < MOST_IDLE:
            before = len(left)
            answering = self.next()
            answering.live()
            for _ in range(min(FAULTS_EACH, len(left))):
                if not self._play_next(left, answering):
                    break
            self._servers_up(answering)
            answering.finish()
            self._traces()
            idle = idle + 1 if len(left) == before else 0
        if left:
            self.breaks("ends", f"{MOST_IDLE} requests came to no fault; {len(left)} faults were not played")

    def _play_next(self, left: list[RealFault], answering: Answering) -> bool:
        """The first of them, once it is due. False: the answer was over, or did not go on, before."""
        fault = left[0]
        try:
            if fault.after_tokens is not None:
                count = max(answering.kept, len(answering.device.words()))
                if not answering.wait_for(count + 1 + fault.after_tokens):
                    return False
            elif not answering.device.runs:
                return False
            del left[0]
            self.played[fault.kind, fault.node] += 1
            say(f"{len(left) + 1:>4} left, request {answering.asked.number}: {fault.text}")
            self.player.play(fault, answering, hurried=bool(left) and left[0].after_tokens is None)
        except TimeoutError as error:
            answering.breaks("ends", f"{fault.text}: {error}")
            return False
        return True

    def trouble(self) -> None:
        """The disk is full for a journal, a record, the log; a port is taken."""
        self._check("journal_full", lambda: full_journal(self.next()))
        self._check("record_full", lambda: full_record(self.nodes, self.next(), self.next()))
        self._check("log_full", lambda: full_log(self.nodes, self.next()))
        for role in SERVERS:
            address = bound_by(role, self.addresses)
            broke = partial(self.breaks, "told")
            self._check(f"{role}_port_taken", partial(taken_port, self.nodes, role, address, broke))
        self._check("after_all", self._answer)
        self._traces()

    def stop(self) -> None:
        """Tell the servers to stop, and see what they leave."""
        for role in reversed(SERVERS):
            process = self.nodes.now[role]
            process.popen.terminate()
            try:
                code = process.ended(15.0)
            except TimeoutError as error:
                self.breaks("left", str(error))
                continue
            if code:
                said = process.said()[-500:]
                self.breaks("left", f"told to stop, the {role} ends with code {code}: {said!r}")
        for address in self.addresses:
            if not _free(address):
                self.breaks("left", f"{address} is still bound")
        for path in self.nodes.folder.rglob("*"):
            if path.is_socket():
                self.breaks("left", f"the socket {path}")
        if left := _children():
            self.breaks("left", f"processes {left}")
        self._traces()

    def breaks(self, promise: str, what: str) -> None:
        """It does not hold."""
        self._broke(Broken(promise=promise, at_s=time.monotonic() - self.began_s, what=what))

    def result(self, *, complete: bool = True) -> dict[str, Any]:
        """The JSON object. Not `complete`: it was told to stop before all was played."""
        recovered = self.player.recovered_s
        kinds = Counter[str]()
        for (kind, _), count in self.played.items():
            kinds[kind.value] += count
        return {
            "seed": self.seed,
            "complete": complete,
            "requests": self.requests,
            "failed": len({one.what for one in self.broken}),
            "broken": [asdict(one) for one in self.broken],
            "kills_by_node": {node: self.played[RealKind.KILL, node] for node in NODES},
            "faults_by_kind": dict(kinds),
            "checked": self.checked,
            "recovered_p50_s": float(np.percentile(recovered, 50)) if recovered else None,
            "recovered_p99_s": float(np.percentile(recovered, 99)) if recovered else None,
            "wall_s": time.monotonic() - self.began_s,
        }

    def _answer(self) -> None:
        answering = self.next()
        answering.live()
        answering.finish()

    def _check(self, name: str, what: Callable[[], None]) -> None:
        say(f"{name}")
        self.checked.append(name)
        try:
            what()
        except TimeoutError as error:
            self.breaks("ends", f"{name}: {error}")

    def _servers_up(self, answering: Answering) -> None:
        """Wait for those that were started last; one that has ended is started again, and told."""
        for role in SERVERS:
            try:
                self.nodes.wait_ready(role)
            except TimeoutError as error:
                answering.breaks("ends", str(error))
                self.nodes.now[role].popen.kill()
                self.nodes.start(role)

    def _traces(self) -> None:
        """Whether anybody has ended with a traceback; each process is looked at until it has ended."""
        for process in self.nodes.started:
            said = process.said()
            if "Traceback" in said and process.popen.pid not in self._told:
                self._told.add(process.popen.pid)
                self.breaks("no_bug", f"the {process.role}: {said[said.index('Traceback') :][-1500:]}")

    def _broke(self, broken: Broken) -> None:
        say(f"  broken: {broken.promise}: {broken.what}")
        self.broken.append(broken)


def run_real(*, kills: int = 20, seed: int = 0, as_json: bool = False, stops: int = 1) -> int:
    """Kill each node so many times, stop each, cut the link, fill the disk; 1 where a promise broke."""
    check_platform(key="--real", remedy=VIRTUAL)
    with ended_in_order(), tempfile.TemporaryDirectory(prefix="draftwire-") as name:
        folder, addresses = Path(name), free_addresses(4)
        with running(
            folder, real_topology(addresses), owned=True, always={"target": prepare_record(folder)}
        ) as nodes:
            campaign = Campaign(nodes, addresses, seed, time.monotonic(), Player(nodes))
            faults = drawn(seed, kills=kills, stops=stops, outages=max(1, kills // 4))
            try:
                campaign.play(faults)
                campaign.trouble()
                campaign.stop()
            except (KeyboardInterrupt, SystemExit):
                _tell(campaign.result(complete=False), as_json=as_json)
                raise
    found = campaign.result()
    _tell(found, as_json=as_json)
    return 1 if found["failed"] else 0


def _tell(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(orjson.dumps(found).decode(), flush=True)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    kills = ", ".join(f"{count} of the {node}" for node, count in found["kills_by_node"].items())
    print(f"{found['requests']} requests, {sum(found['faults_by_kind'].values())} faults; kills: {kills}")
    if found["recovered_p99_s"] is not None:
        times = f"{found['recovered_p50_s']:.2f} s, p99 {found['recovered_p99_s']:.2f} s"
        print(f"from a node's start to the next token: {times}")
    for one in found["broken"]:
        print(f"broken at {one['at_s']:.1f} s: {one['promise']}: {one['what']}")
    verdict = "failed" if found["failed"] else "every promise held"
    ended = "" if found["complete"] else ", ended before its time"
    print(f"{verdict}{ended} ({found['wall_s']:.0f} s)", flush=True)


def _free(address: str) -> bool:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    try:
        socket.create_server((host, int(port))).close()
    except OSError:
        return False
    return True


def _children() -> list[int]:
    """Processes that this one has started and that are there, those that nobody has collected too."""
    found = list[int]()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
        if parent == os.getpid():
            found.append(int(stat.parent.name))
    return found


__all__ = ["Campaign", "run_real"]
