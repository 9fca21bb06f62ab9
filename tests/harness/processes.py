"""Real processes for tests: start the command line, find what it started, wait with a deadline."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PAIR = "synthetic:V=64,seed=1"
SYNTHETIC = ("--draft", PAIR, "--target", PAIR, "--k", "8", "--gamma", "4")

WITHIN_S = 60.0
"""Far beyond what anything here takes: a deadline that only a hang meets."""


def command(*args: str) -> list[str]:
    """The command line as a user would start it; -P, since the working directory holds our folders."""
    return [sys.executable, "-P", "-m", "draftwire", *args]


@contextmanager
def started(
    *args: str, temporary: Path, stdin: int | IO[bytes] = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """A running command, its temporary files under `temporary`; killed, children too, if the test left it."""
    environment = os.environ | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command(*args),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    try:
        yield process
    finally:
        left = {process.pid, *children(process.pid)} if process.poll() is None else set[int]()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def finished(
    *args: str, temporary: Path, stdin: bytes = b"", within_s: float = WITHIN_S
) -> subprocess.CompletedProcess[str]:
    """A command run to its end."""
    with started(*args, temporary=temporary, stdin=subprocess.PIPE) as process:
        out, err = process.communicate(stdin, timeout=within_s)
        return subprocess.CompletedProcess(args, process.returncode, out.decode(), err.decode())


def children(pid: int) -> set[int]:
    """Of a process, now."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.add(int(stat.parent.name))
    return found


def arguments(pid: int) -> list[str]:
    """A process's command line."""
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return once it holds. Raises TimeoutError, naming `what`, after WITHIN_S."""
    deadline_s = time.monotonic() + WITHIN_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(what)
        time.sleep(0.02)


def sockets_in(folder: Path) -> list[Path]:
    """Socket files anywhere below a folder."""
    return [path for path in folder.rglob("*") if path.is_socket()]
