"""Four machines on this one, by scripts/netns.sh: network namespaces `device`, `channel`, `bs`, `controller`.

Each has its own interfaces, addresses and ports; a bridge in a fifth joins them. Their names carry this
process's number, so two runs at once don't meet, and they are removed however the block ends. The host's own
network stays as it is.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Final

from tests.harness.processes import WITHIN_S, alive, children, wait_until

ROOT: Final = Path(__file__).parents[2]
NODES: Final = ("device", "channel", "bs", "controller")

_SCRIPT: Final = ROOT / "scripts" / "netns.sh"
_HUB, _ROUTER = "hub", "router"
_SETS = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A process in a namespace. What it says goes to files: a pipe that nobody reads would stop it."""

    process: subprocess.Popen[bytes]
    out: Path
    log: Path

    def wait_for(self, text: str, *, file: Path | None = None) -> None:
        """Return once the text stands in a file of its, by default standard output.

        Raises AssertionError, with what it said, if it ends before that; TimeoutError after WITHIN_S.
        """
        file = self.out if file is None else file

        def there() -> bool:
            ended = self.process.poll() is not None
            found = text in file.read_text()
            assert found or not ended, f"ended without {text!r}: {self.log.read_text()}"
            return found

        wait_until(there, f"{text!r} in {file.name}")

    def end(self) -> int:
        """Its exit code, which is waited for."""
        return self.process.wait(WITHIN_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespaces:
    """Made by `namespaces()`. A node is one of NODES, or `router` behind `put_behind_nat`."""

    prefix: str

    def address(self, node: str) -> str:
        """On the bridge."""
        return f"10.77.0.{[*NODES, _ROUTER].index(node) + 1}"

    def run(self, node: str, *command: str, env: dict[str, str] | None = None, cwd: Path = ROOT) -> str:
        """A command's standard output. Raises CalledProcessError, with its standard error as a note."""
        return _run(*self._inside(node), *command, env=env, cwd=cwd)

    @contextmanager
    def started(
        self, node: str, *command: str, folder: Path, name: str, env: dict[str, str] | None = None
    ) -> Iterator[Running]:
        """A command that runs on a node, in a folder, until the block ends; NAME.out and NAME.log are its."""
        out, log = folder / f"{name}.out", folder / f"{name}.log"
        with out.open("wb") as out_file, log.open("wb") as log_file:
            process = subprocess.Popen(
                (*self._inside(node), *command),
                stdin=subprocess.DEVNULL,
                stdout=out_file,
                stderr=log_file,
                env=os.environ | (env or {}),
                cwd=folder,
            )
        try:
            yield Running(process=process, out=out, log=log)
        finally:
            _kill(process)

    def up(self) -> None:
        """Make them. Raises CalledProcessError where they can't be made, or are there already."""
        self._script("up")

    def cut(self, node: str) -> None:
        """Pull the cable out: the node's interface has no carrier."""
        self._script("cut", node)

    def mute(self, node: str) -> None:
        """Lose every packet to and from the node; nobody is told."""
        self._script("mute", node)

    def mend(self, node: str) -> None:
        """Undo `cut` and `mute`."""
        self._script("mend", node)

    def listening(self, node: str) -> set[str]:
        """ADDRESS:PORT of every TCP socket that listens on the node."""
        return {line.split()[3] for line in self.run(node, "ss", "-H", "-l", "-t", "-n").splitlines()}

    def peers(self, node: str, port: int) -> set[str]:
        """The hosts that are connected to a port of the node, by the addresses that the node sees."""
        lines = self.run(node, "ss", "-H", "-t", "-n", "state", "established", f"sport = :{port}")
        return {line.split()[3].rpartition(":")[0] for line in lines.splitlines()}

    def put_behind_nat(self, node: str) -> None:
        """Move a node into a private network, 192.168.77.0/24, behind a router that hides it as itself.

        Only connections that the node opens get through. Raises CalledProcessError where the kernel can't.
        """
        there, router, hub = (f"{self.prefix}-{name}" for name in (node, _ROUTER, _HUB))
        _ip("netns", "add", router)
        _ip("-n", router, "link", "set", "lo", "up")
        _ip("-n", hub, "link", "add", _ROUTER, "type", "veth", "peer", "eth0", "netns", router)
        _ip("-n", hub, "link", "set", _ROUTER, "master", "bridge", "up")
        _ip("-n", router, "address", "add", f"{self.address(_ROUTER)}/24", "dev", "eth0")
        _ip("-n", router, "link", "set", "eth0", "up")
        _ip("-n", there, "link", "delete", "eth0")
        _ip("-n", router, "link", "add", "inside", "type", "veth", "peer", "eth0", "netns", there)
        for where, end, address in ((router, "inside", "192.168.77.1"), (there, "eth0", "192.168.77.2")):
            _ip("-n", where, "address", "add", f"{address}/24", "dev", end)
            _ip("-n", where, "link", "set", end, "up")
        _ip("-n", there, "route", "add", "default", "via", "192.168.77.1")
        self.run(_ROUTER, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        self.run(_ROUTER, *module("tests.harness.masquerade"), env=MODULE_ENVIRONMENT)

    def _inside(self, node: str) -> Sequence[str]:
        return ("ip", "netns", "exec", f"{self.prefix}-{node}")

    def _script(self, *arguments: str) -> None:
        _run(str(_SCRIPT), *arguments, env={"NETNS_PREFIX": self.prefix})

    def _remove(self) -> None:
        self._script("down")
        router = f"{self.prefix}-{_ROUTER}"
        if Path("/run/netns", router).exists():
            _ip("netns", "delete", router)


MODULE_ENVIRONMENT: Final = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
"""For `module`: with -P, the root is no place to import from unless it is named."""


def module(name: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs one of our modules."""
    return (sys.executable, "-P", "-m", name, *arguments)


@contextmanager
def namespaces() -> Iterator[Namespaces]:
    """The four, up and connected; removed when the block ends."""
    made = Namespaces(prefix=f"dw{os.getpid()}n{next(_SETS)}")
    try:
        made.up()
        yield made
    finally:
        made._remove()


@cache
def why_not() -> str:
    """Why namespaces can't be made here; empty: they can."""
    if sys.platform != "linux" or shutil.which("ip") is None:
        return "network namespaces need Linux and iproute2"
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = f"dw{os.getpid()}probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode != 0:
        return f"no network namespace can be made here: {made.stderr.strip()}"
    try:
        for needed in (
            ("ip", "-n", probe, "link", "add", "switch", "type", "bridge"),
            ("ip", "-n", probe, "link", "add", "cable", "type", "veth", "peer", "name", "end"),
            ("ip", "netns", "exec", probe, "true"),
        ):
            ran = subprocess.run(needed, capture_output=True, text=True)
            if ran.returncode != 0:
                return f"{' '.join(needed)}: {ran.stderr.strip()}"
    finally:
        _ip("netns", "delete", probe)
    return ""


def _kill(process: subprocess.Popen[bytes]) -> None:
    left = {process.pid, *children(process.pid)} if process.poll() is None else set[int]()
    for pid in left:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str, env: dict[str, str] | None = None, cwd: Path = ROOT) -> str:
    try:
        ran = subprocess.run(
            command, check=True, capture_output=True, text=True, env=os.environ | (env or {}), cwd=cwd,
            timeout=WITHIN_S,
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        error.add_note(error.stderr)
        raise
    return ran.stdout


__all__ = ["MODULE_ENVIRONMENT", "NODES", "ROOT", "Namespaces", "Running", "module", "namespaces", "why_not"]
