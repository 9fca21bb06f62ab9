"""The nodes of one topology file as real processes of this machine, which are killed, stopped, started again.

    with running(folder, topology_text(...)) as nodes:
        device = nodes.start("device", "hello there")
        nodes.wait_for_tokens(device, 20)
        nodes.kill("target")
        nodes.start("target")

What a process writes goes to files: a pipe that nobody reads would stop it, and what it said outlives it.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import orjson

PAIR: Final = "synthetic:V=64,seed=1"
"""Starts in a second, is exact, and the same in every process."""

SERVERS: Final = ("target", "controller", "channel")
"""In the order in which they are started."""

WITHIN_S: Final = 60.0
"""Far beyond what anything here takes: a deadline that only a hang meets."""

LOOK_S: Final = 0.01
"""How often a file is looked at for what is waited for."""


@dataclass
class Process:
    """One that runs, or has run."""

    role: str
    popen: subprocess.Popen[bytes]
    out: Path
    err: Path
    began_s: float
    "when it was started, by the monotonic clock"

    def words(self) -> list[str]:
        """What it has printed so far; of a synthetic model's answer each is a token."""
        return self.out.read_text().split()

    def said(self) -> str:
        """What it has written to standard error so far."""
        return self.err.read_text(errors="replace")

    def events(self) -> list[dict[str, Any]]:
        """What it has logged so far."""
        lines = self.err.read_bytes().splitlines(keepends=True)
        found = list[dict[str, Any]]()
        for line in lines:
            if line.startswith(b"{") and line.endswith(b"\n"):
                with suppress(orjson.JSONDecodeError):  # one that a full disk has cut
                    found.append(orjson.loads(line))
        return found

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Events of one name."""
        return [one for one in self.events() if one["event"] == event]

    @property
    def ready(self) -> bool:
        """Whether it has said that others may talk to it."""
        return self.out.read_bytes().startswith(b"ready")

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.popen.poll() is None

    def ended(self, within_s: float = WITHIN_S) -> int:
        """Its exit code; waits for it. Raises TimeoutError."""
        try:
            return self.popen.wait(within_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"the {self.role} has not ended within {within_s:g} s") from None

    def may_write(self, most_bytes: int) -> None:
        """From now on no file of it grows beyond this, as on a full disk; -1: there is room again."""
        import resource  # here: whoever says that this needs Linux imports the file first

        _, hard = resource.prlimit(self.popen.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.popen.pid, resource.RLIMIT_FSIZE, (most_bytes, hard))


@dataclass
class System:
    """See `running`."""

    folder: Path
    config: Path
    owned: bool = False
    "whether servers end with this process, however it ends: told to stop they then finish nothing"
    always: Mapping[str, Sequence[str]] = field(default_factory=dict)
    "by role: options of each start"
    now: dict[str, Process] = field(default_factory=dict)
    "by role: the one started last"
    started: list[Process] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)
    "of processes, in the names of what they write"

    def start(self, role: str, *args: str, config: Path | None = None, stdin: int | None = None) -> Process:
        """Start a node of the file, or of another `config`; `wait_ready` waits for it."""
        number = next(self._numbers)
        out, err = (self.folder / f"{role}-{number}.{kind}" for kind in ("out", "err"))
        held = self.owned and role in SERVERS
        with out.open("wb") as stdout, err.open("wb") as stderr:
            began_s = time.monotonic()
            popen = subprocess.Popen(
                command(
                    role,
                    *("--config", str(config or self.config)),
                    *(("--until-stdin-ends",) if held else ()),
                    *self.always.get(role, ()),
                    *args,
                ),
                stdin=subprocess.PIPE if held else subprocess.DEVNULL if stdin is None else stdin,
                stdout=stdout,
                stderr=stderr,
                env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
                start_new_session=self.owned,  # Ctrl-C is for this process, which ends them in order
            )
        process = self.now[role] = Process(role, popen, out, err, began_s)
        self.started.append(process)
        return process

    def wait_ready(self, *roles: str) -> None:
        """Return once they serve. Raises TimeoutError, also where one has ended."""
        for role in roles:
            process = self.now[role]
            until(lambda process=process: process.ready or not process.runs, f"{role} is ready")  # type: ignore[misc]
            if not process.ready:
                raise TimeoutError(f"the {role} has ended: {process.said()}")

    def kill(self, role: str) -> None:
        """SIGKILL: it has no time for anything, and is gone when this returns."""
        self.now[role].popen.kill()
        self.now[role].ended()

    def restart(self, role: str) -> Process:
        """Kill it, and start it again from the same file; it serves when this returns."""
        self.kill(role)
        process = self.start(role)
        self.wait_ready(role)
        return process

    @contextmanager
    def suspended(self, role: str) -> Iterator[None]:
        """It stands still as long as the block."""
        process = self.now[role].popen
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def wait_for_tokens(self, device: Process, count: int) -> None:
        """Return once it has printed so many. Raises TimeoutError, at once for one that has ended before."""
        until(lambda: len(device.words()) >= count or not device.runs, f"{count} tokens")
        if len(device.words()) < count:
            raise TimeoutError(f"the device has ended with fewer than {count} tokens: {device.said()}")

    def end(self) -> None:
        """Kill whatever runs, stopped ones too."""
        for process in self.started:
            if process.runs:
                process.popen.kill()
                process.popen.wait()
            if process.popen.stdin is not None:
                with suppress(BrokenPipeError):  # what it never read
                    process.popen.stdin.close()


@contextmanager
def running(
    folder: Path,
    topology: str,
    *,
    owned: bool = False,
    always: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Iterator[System]:
    """Target, controller and channel of this topology, ready; whatever runs is killed in the end."""
    config = folder / "topology.toml"
    config.write_text(topology, encoding="utf-8")
    nodes = System(folder, config, owned, always)
    try:
        for role in SERVERS:
            nodes.start(role)
        nodes.wait_ready(*SERVERS)
        yield nodes
    finally:
        nodes.end()


def free_addresses(count: int) -> list[str]:
    """Addresses of this host that nobody is bound to."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(count)]
        return [f"tcp://127.0.0.1:{one.getsockname()[1]}" for one in sockets]


def topology_text(
    *, addresses: list[str], controller: str = "", sampling: str = "", link: str = "", more: str = ""
) -> str:
    """A topology file of the synthetic pair, paced to the paper's step times: about 20 ms a token.

    `addresses` of target, controller, channel and of orders to the channel; the others are lines of the
    sections [controller], [sampling] and [channel], and further sections.
    """
    target, controller_at, channel, control = addresses
    return (
        f"[pair]\ndraft = '{PAIR}'\ntarget = '{PAIR}'\n"
        f"[target]\naddress = '{target}'\n"
        f"[controller]\naddress = '{controller_at}'\n{controller}"
        f"[channel]\naddress = '{channel}'\ncontrol = '{control}'\n{link}"
        f"[sampling]\n{sampling}"
        f"[compute]\nprofile = 'paper'\n{more}"
    )


def command(*args: str) -> list[str]:
    """The command line as a user would start it; -P, since the working directory may hold our folders."""
    return [sys.executable, "-P", "-m", "draftwire", *args]


def until(condition: Callable[[], bool], what: str, *, within_s: float = WITHIN_S) -> None:
    """Return once it holds. Raises TimeoutError, naming `what`, after `within_s`."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"within {within_s:g} s not: {what}")
        time.sleep(LOOK_S)


__all__ = [
    "LOOK_S",
    "PAIR",
    "SERVERS",
    "WITHIN_S",
    "Process",
    "System",
    "command",
    "free_addresses",
    "running",
    "topology_text",
    "until",
]
