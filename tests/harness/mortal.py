"""The nodes of one topology file as real processes, which a test kills, stops and starts again.

    with system(folder, temperature=1.0, tokens=200) as nodes:
        device = nodes.start("device", "hello there")
        nodes.wait_for_tokens(device, 20)
        nodes.kill("target")
        nodes.start("target")

What a process writes goes to files: a pipe that nobody reads would stop it.
"""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from tests.harness.cell import VOCAB_SIZE, cell, request, run, text
from tests.harness.processes import PAIR, WITHIN_S, command, wait_until

from draftwire.nodes.models.synthetic import SyntheticTokenizer

K, GAMMA, SEED = 8, 4, 5
SERVERS = ("target", "controller", "channel")


@dataclass
class Process:
    """One that runs, or has run."""

    role: str
    popen: subprocess.Popen[bytes]
    out: Path
    err: Path

    def words(self) -> list[str]:
        """What it has printed so far; of a synthetic model's answer each is a token."""
        return self.out.read_text().split()

    def events(self) -> list[dict[str, Any]]:
        """What it has logged so far."""
        lines = self.err.read_bytes().splitlines(keepends=True)
        return [orjson.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"\n")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Events of one name."""
        return [one for one in self.events() if one["event"] == event]

    def ended(self) -> int:
        """Its exit code; waits for it."""
        return self.popen.wait(WITHIN_S)


@dataclass
class System:
    """See `system`."""

    folder: Path
    config: Path
    now: dict[str, Process] = field(default_factory=dict)
    "by role: the one started last"
    started: list[Process] = field(default_factory=list)

    def start(self, role: str, *args: str) -> Process:
        """Start a node of the file; one that serves others is ready when this returns."""
        number = len(self.started)
        out, err = (self.folder / f"{role}-{number}.{kind}" for kind in ("out", "err"))
        with out.open("wb") as stdout, err.open("wb") as stderr:
            popen = subprocess.Popen(
                command(role, "--config", str(self.config), *args),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
            )
        process = self.now[role] = Process(role, popen, out, err)
        self.started.append(process)
        return process

    def wait_ready(self, *roles: str) -> None:
        """Return once they serve."""
        for role in roles:
            process = self.now[role]
            wait_until(
                lambda process=process: "ready" in process.words() or process.popen.poll() is not None,  # type: ignore[misc]
                f"{role} is ready",
            )
            assert process.popen.poll() is None, process.err.read_text()

    def kill(self, role: str) -> None:
        """SIGKILL: it has no time for anything, and is gone when this returns."""
        self.now[role].popen.kill()
        self.now[role].ended()

    def restart(self, role: str) -> Process:
        """Kill it, and start it again from the same file."""
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
        """Return once it has printed so many. Fails at once for one that has ended before."""
        wait_until(
            lambda: len(device.words()) >= count or device.popen.poll() is not None, f"{count} tokens"
        )
        assert len(device.words()) >= count, device.err.read_text()


@contextmanager
def system(folder: Path, *, temperature: float, tokens: int) -> Iterator[System]:
    """Target, controller and channel of one file, on loopback, ready; whatever runs is killed in the end.

    Steps are paced, so that an answer takes about 20 ms a token; K, gamma and the seed are fixed.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(4)]
        target, controller, channel, control = (
            f"'tcp://127.0.0.1:{one.getsockname()[1]}'" for one in sockets
        )
    config = folder / "topology.toml"
    config.write_text(
        f"[pair]\ndraft = '{PAIR}'\ntarget = '{PAIR}'\n"
        f"[target]\naddress = {target}\n"
        f"[controller]\naddress = {controller}\nk = {K}\ngamma = {GAMMA}\n"
        f"[channel]\naddress = {channel}\ncontrol = {control}\n"
        f"[sampling]\ntemperature = {temperature}\nmax_new_tokens = {tokens}\nseed = {SEED}\n"
        "[compute]\nprofile = 'paper'\n"
    )
    nodes = System(folder, config)
    try:
        for role in SERVERS:
            nodes.start(role)
        nodes.wait_ready(*SERVERS)
        yield nodes
    finally:
        for process in nodes.started:
            if process.popen.poll() is None:
                process.popen.kill()
                process.popen.wait()


def undisturbed(prompt: str, *, temperature: float, tokens: int) -> list[str]:
    """The words of the answer when nothing goes wrong, in virtual time: a function of what is given here."""
    tokenizer = SyntheticTokenizer(VOCAB_SIZE)
    wanted = request(
        tuple(tokenizer.encode_prompt(prompt)), temperature=temperature, max_new_tokens=tokens, seed=SEED
    )

    async def main() -> tuple[int, ...]:
        async with cell(k=K, gamma=GAMMA) as bs:
            return await text(await bs.device(), wanted)

    return tokenizer.decode(run(main())).split()


__all__ = ["SERVERS", "Process", "System", "system", "undisturbed"]
