"""Machines on which documented commands are run as they stand: folders, network namespaces, a copy for scp.

`repository` is a clone of the repository on this host. The others, `device-host`, `channel-host`, `bs-host`
and `phone-2-host`, have draftwire, a folder `dw` with the topology files, the addresses of those files, and
nothing else; what is copied there with scp arrives.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Final

from tests.harness.namespaces import ROOT, Namespaces, namespaces, why_not
from tests.harness.processes import WITHIN_S, wait_until

REPOSITORY: Final = "repository"

HOSTS: Final = {
    "device-host": ("device", "192.168.1.10"),
    "channel-host": ("channel", "192.168.1.30"),
    "bs-host": ("bs", "192.168.1.20"),
    "phone-2-host": ("controller", "192.168.1.11"),
}
"""Each machine's namespace, and its address in configs/two-machines.toml and three-machines.toml."""

_TOPOLOGIES: Final = ("two-machines.toml", "three-machines.toml")
_TOKENS: Final = "\n[sampling]\nmax_new_tokens = 4\n"
"""Appended to the machines' topology files, so that an answer takes a second."""

_RUN_WITHIN_S: Final = 300.0

_SCP: Final = """\
#!/bin/sh
cp "$1" "$MACHINES/${2%%:*}/${2#*:}"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A command to run to its end."""

    adding: str = ""
    "options behind the command"
    changing: Mapping[str, str] = field(default_factory=dict)
    "words of the command, and what stands there instead"
    at: str = REPOSITORY
    "the machine"
    typed: str = ""
    "into its standard input"
    code: int = 0
    "it ends with"
    says: str = ""
    "something in its output or its error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """A command that goes on, until it is told to stop."""

    at: str = REPOSITORY
    "the machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """All of them."""

    folder: Path
    net: Namespaces | None
    "None: namespaces can't be made here, so there is only the repository"

    def start_afresh(self) -> None:
        """Make the machines other than the repository as they were before anything was done with them."""
        for host in HOSTS:
            home = self.folder / host
            shutil.rmtree(home, ignore_errors=True)
            (home / "dw").mkdir(parents=True)
            for name in _TOPOLOGIES:
                (home / "dw" / name).write_text((ROOT / "configs" / name).read_text() + _TOKENS)

    def write(self, files: Mapping[str, str]) -> None:
        """Put files, name -> text, in the repository's folder, as a reader would."""
        for name, text in files.items():
            (self.folder / REPOSITORY / name).write_text(text, encoding="utf-8")

    def why_not(self, text: str, at: str) -> str:
        """Why a command can't be run here; empty: it can."""
        return why_not() if at != REPOSITORY or "netns.sh" in text else ""

    def run(self, text: str, how: Run) -> str:
        """Run a command; what is wrong with what it did, if anything."""
        command = f"{_changed(text, how.changing)} {how.adding}".strip()
        try:
            ran = subprocess.run(
                self._words(command, how.at), cwd=self._place(how.at), env=self._environment(),
                input=how.typed, capture_output=True, text=True, timeout=_RUN_WITHIN_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"{command!r} has not ended"
        said = ran.stdout + ran.stderr
        if ran.returncode != how.code or how.says not in said or "Traceback" in said:
            return f"{command!r} ended with {ran.returncode}: {said}"
        return ""

    @contextmanager
    def serving(self, text: str, at: str, wrong: list[str]) -> Iterator[None]:
        """A server that is ready, told to stop behind the block; what goes wrong is appended."""
        with TemporaryFile("w+") as said:
            process = subprocess.Popen(
                self._words(f"exec {text}", at), cwd=self._place(at), env=self._environment(),
                stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
            )  # fmt: skip

            def so_far() -> str:
                return os.pread(said.fileno(), 1 << 20, 0).decode()

            try:
                wait_until(lambda: "ready " in so_far() or process.poll() is not None, f"{text}: ready")
                yield
                process.send_signal(signal.SIGTERM)
                code = process.wait(WITHIN_S)
            finally:
                process.kill()
                process.wait()
            if code != 0 or "Traceback" in so_far():
                wrong.append(f"{text!r} ended with {code}: {so_far()}")

    def _words(self, command: str, at: str) -> list[str]:
        shell = ["bash", "-c", command]
        if at == REPOSITORY:
            return shell
        assert self.net is not None, why_not()
        return ["ip", "netns", "exec", f"{self.net.prefix}-{HOSTS[at][0]}", *shell]

    def _place(self, at: str) -> Path:
        return self.folder / at if at == REPOSITORY else self.folder / at / "dw"

    def _environment(self) -> dict[str, str]:
        """With .venv active and no model hub: what is not here is not downloaded."""
        return os.environ | {
            "PATH": f"{self.folder / 'bin'}:{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
            "MACHINES": str(self.folder),
            "HF_HUB_OFFLINE": "1",
            "NETNS_PREFIX": f"dw{os.getpid()}docs",
        }

    def clear(self) -> None:
        """Remove what a command left of the host's own."""
        if not why_not():
            subprocess.run([ROOT / "scripts" / "netns.sh", "down"], env=self._environment(), check=True)


@contextmanager
def machines() -> Iterator[Machines]:
    """The machines, for as long as the block runs."""
    with TemporaryDirectory(prefix="dw-") as name:
        folder = Path(name)
        _clone(folder / REPOSITORY)
        (folder / "bin").mkdir()
        (folder / "bin" / "scp").write_text(_SCP)
        (folder / "bin" / "scp").chmod(0o755)
        if why_not():
            yield Machines(folder=folder, net=None)
            return
        with namespaces() as net:
            for node, address in HOSTS.values():
                net.run(node, "ip", "address", "add", f"{address}/24", "dev", "eth0")
            made = Machines(folder=folder, net=net)
            try:
                yield made
            finally:
                made.clear()


def _clone(folder: Path) -> None:
    """What a clone has after `make setup`, as far as a command of the documentation asks for it."""
    folder.mkdir()
    shutil.copytree(ROOT / "configs", folder / "configs")
    for name in (".venv", "scripts"):
        (folder / name).symlink_to(ROOT / name)


def _changed(command: str, changing: Mapping[str, str]) -> str:
    """With other words. Raises AssertionError for one that is not there."""
    for old, new in changing.items():
        assert old in command, f"{old!r} is not in {command!r}"
        command = command.replace(old, new)
    return command


__all__ = ["HOSTS", "REPOSITORY", "Machines", "Run", "Serve", "machines"]
