"""`draftwire serve` as a process, and the nodes behind it."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.processes import WITHIN_S, children, command

TARGET = "synthetic:V=64,seed=1"
DRAFT = "synthetic:V=64,seed=1,noise=0.5"
PAIR = ("--draft", DRAFT, "--target", TARGET)

READY_WITHIN_S = 2 * WITHIN_S
"""Three processes may have torch and weights to load."""


@dataclass
class Running:
    """A command under way; what it says goes to files, so that nobody has to read along."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    @property
    def url(self) -> str:
        """Of a server that is ready."""
        return next(line for line in self.out.read_text().splitlines() if line.startswith("ready ")).split()[
            1
        ]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Of its log."""
        lines = [line for line in self.err.read_text().splitlines() if line.startswith("{")]
        found = [json.loads(line) for line in lines if line.endswith("}")]
        return [one for one in found if one["event"] == name]

    def ready(self) -> "Running":
        """Wait until it is. Raises AssertionError with what it said where it has ended."""

        def is_ready() -> bool:
            assert self.process.poll() is None, self.err.read_text()
            return any(line.startswith("ready") for line in self.out.read_text().splitlines())

        deadline_s = time.monotonic() + READY_WITHIN_S
        while not is_ready():
            assert time.monotonic() < deadline_s, f"{self.out.name} is not ready: {self.err.read_text()}"
            time.sleep(0.05)
        return self

    def stop(self, number: int = signal.SIGINT) -> int:
        """Tell it to; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(WITHIN_S)


@contextmanager
def running(
    *args: str, folder: Path, name: str, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """A command; killed, children too, if the test left it."""
    out, err = folder / f"{name}.out", folder / f"{name}.err"
    variables = os.environ | {"TMPDIR": str(folder), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    variables.pop("DRAFTWIRE_API_KEY", None)
    with out.open("wb") as to_out, err.open("wb") as to_err:
        process = subprocess.Popen(
            command(*args),
            stdin=subprocess.DEVNULL,
            stdout=to_out,
            stderr=to_err,
            env=variables | dict(environment or {}),
        )
    try:
        yield Running(process=process, out=out, err=err)
    finally:
        left = {process.pid, *children(process.pid)} if process.poll() is None else set[int]()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        process.wait()


@contextmanager
def serving(
    *args: str, folder: Path, pair: Sequence[str] = PAIR, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """A server of a synthetic pair, with all nodes, at a free port; ready."""
    words = ("serve", "--port", "0", *pair, *args)
    with running(*words, folder=folder, name="serve", environment=environment) as server:
        yield server.ready()


__all__ = ["DRAFT", "PAIR", "TARGET", "Running", "running", "serving"]
