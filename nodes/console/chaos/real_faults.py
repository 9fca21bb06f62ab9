"""What happens to real nodes while they answer, drawn from a seed, and how it is done.

Which faults come in which order is the seed's; when exactly a process dies is the machine's, so a run is not
repeated to the token. Faults are placed by tokens shown, and one in four comes while the node before it is
still being started or found again.
"""

import subprocess
import time
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

from draftwire.nodes.console.chaos.real_asked import Answering
from draftwire.nodes.console.chaos.real_nodes import LOOK_S, SERVERS, WITHIN_S, System, command

NODES: Final = ("device", *SERVERS)

LINK: Final = "rate 20mbit delay 5ms"
"""Between device and base station, as the channel begins."""

DOWN: Final = ("loss 100%", "rate 0")
"""Links that let nothing through: all is lost, or all waits."""

STOPPED_S: Final = 10.0


class RealKind(StrEnum):
    """Of faults."""

    KILL = "kill"
    "SIGKILL; the node is started again after `for_s`"
    STOP = "stop"
    "SIGSTOP, and SIGCONT after `for_s`"
    LINK = "link"
    "the channel is told of a link that is down, and after `for_s` of the one before"


@dataclass(frozen=True, slots=True, kw_only=True)
class RealFault:
    """One thing that happens."""

    kind: RealKind
    node: str = ""
    "of NODES; empty: the link"
    after_tokens: int | None
    "it comes when so many more are shown; None: at once, while the one before it is being made good"
    for_s: float
    words: str = ""
    "of a LINK: what it is told to be"

    @property
    def text(self) -> str:
        """For people."""
        where = self.words if self.kind is RealKind.LINK else self.node
        return f"{self.kind} {where}" + (f" for {self.for_s:g} s" if self.for_s else "")


def drawn(seed: int, *, kills: int, stops: int = 1, outages: int = 4) -> list[RealFault]:
    """So many kills and stops of each node, and outages, in an order that the seed settles."""
    numbers = Random(f"real faults {seed}")

    def after() -> int | None:
        return None if numbers.random() < 0.25 else numbers.randrange(25)

    faults = [
        RealFault(
            kind=RealKind.KILL,
            node=node,
            after_tokens=after(),
            for_s=numbers.choice((0.0, 0.0, 0.0, 0.3, 1.0, 3.0)),
        )
        for node in NODES
        for _ in range(kills)
    ]
    faults += [
        RealFault(kind=RealKind.STOP, node=node, after_tokens=numbers.randrange(25), for_s=STOPPED_S)
        for node in NODES
        for _ in range(stops)
    ]
    faults += [
        RealFault(
            kind=RealKind.LINK,
            after_tokens=numbers.randrange(25),
            for_s=numbers.choice((1.0, 3.0, 6.0)),
            words=numbers.choice(DOWN),
        )
        for _ in range(outages)
    ]
    numbers.shuffle(faults)
    return faults


class Player:
    """Plays faults while a request is answered, and measures how long the nodes take to go on."""

    def __init__(self, nodes: System) -> None:
        self.nodes = nodes
        self.recovered_s = list[float]()
        """Of each kill that was waited for: from the new process's start to the next token. The controller's
        are left out: nobody waits for it"""

    def play(self, fault: RealFault, answering: Answering, *, hurried: bool) -> None:
        """Do it, and wait for the next token unless the next fault is to come before. Raises TimeoutError."""
        match fault.kind:
            case RealKind.KILL:
                self._kill(fault, answering, hurried=hurried)
            case RealKind.STOP:
                with self.nodes.suspended(fault.node):
                    time.sleep(fault.for_s)
            case RealKind.LINK:
                self.nodes.wait_ready("channel")
                self._order(fault.words)
                time.sleep(fault.for_s)
                self._order(LINK)

    def _kill(self, fault: RealFault, answering: Answering, *, hurried: bool) -> None:
        if fault.node == "device":
            answering.die()
            time.sleep(fault.for_s)
            answering.live()
        else:
            self.nodes.kill(fault.node)
            time.sleep(fault.for_s)
            self.nodes.start(fault.node)
        if hurried:
            time.sleep(LOOK_S)
            return
        began_s = self.nodes.now[fault.node].began_s
        if fault.node != "device":
            self.nodes.wait_ready(fault.node)
        if answering.wait_for_news() and fault.node != "controller":
            self.recovered_s.append(time.monotonic() - began_s)

    def _order(self, words: str) -> None:
        """Tell the channel. Raises TimeoutError where it does not follow."""
        try:
            ran = subprocess.run(
                command("link", "set", words, "--config", str(self.nodes.config)),
                capture_output=True,
                timeout=WITHIN_S,
            )
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"within {WITHIN_S:g} s the link is not {words}") from None
        if ran.returncode:
            raise TimeoutError(f"the link is not {words}: {ran.stderr.decode()}")


__all__ = ["DOWN", "LINK", "NODES", "STOPPED_S", "Player", "RealFault", "RealKind", "drawn"]
