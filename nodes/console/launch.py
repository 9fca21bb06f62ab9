"""Starting the other nodes of a topology as processes of this host, and stopping them again.

A child says one line on its standard output when it is ready. Its standard input is a pipe that nobody
writes to: when this process ends, however it ends, the pipe closes and the child stops by itself.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from draftwire.runtime.config import Topology, to_toml
from draftwire.runtime.errors import DraftwireError

READY_WITHIN_S = 300.0
"""Loading a large target from disk may take minutes; a child that ends earlier is noticed at once."""

STOP_WITHIN_S = 8.0
"""A child drains for at most 5 s."""


class ChildFailedError(DraftwireError):
    """Raised when a node that was started here ends before it is ready; tells what it said last."""

    def __init__(self, role: str, said: str, exit_code: int) -> None:
        self.exit_code = exit_code or 1
        super().__init__(f"the {role} did not start: {said or f'it ended with code {exit_code}'}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A node in a process of its own."""

    role: str
    process: asyncio.subprocess.Process
    log: IO[bytes]


def on_this_host(topology: Topology, folder: Path) -> Topology:
    """The same system with addresses that no other process can have taken: sockets in a private folder."""
    cores = os.cpu_count() or 1
    return replace(
        topology,
        target=replace(
            topology.target,
            address=f"ipc://{folder}/target",
            threads=topology.target.threads or max(1, cores - 1),
        ),
        channel=topology.channel and replace(topology.channel, address=f"ipc://{folder}/channel"),
        controller=replace(topology.controller, address=f"ipc://{folder}/controller"),
        device=replace(topology.device, threads=topology.device.threads or 1),
    )


@asynccontextmanager
async def launched(
    topology: Topology, *, progress: Callable[[str], None], record: Path | None = None
) -> AsyncIterator[Callable[[], "asyncio.Future[None]"]]:
    """Start target, controller and channel; the value is a function that waits until all are ready.

    So the caller can load its own model meanwhile. All are stopped when the block ends. Raises
    ChildFailedError out of the wait for a node that does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="draftwire-") as folder:
        config = Path(folder) / "topology.toml"
        config.write_text(to_toml(topology), encoding="utf-8")
        roles = ["target", "controller", *(["channel"] if topology.channel is not None else [])]
        children: list[Child] = []
        try:
            for role in roles:
                children.append(await _start(role, config, record if role == "target" else None))

            async def wait_until_ready() -> None:
                deadline_s = asyncio.get_running_loop().time() + READY_WITHIN_S
                for child in children:
                    try:
                        async with asyncio.timeout_at(deadline_s):
                            await _ready(child)
                    except TimeoutError:
                        said = f"it was not ready within {READY_WITHIN_S:g} s"
                        raise ChildFailedError(child.role, said, 3) from None
                    progress(f"{child.role} is ready")

            yield lambda: asyncio.ensure_future(wait_until_ready())
        finally:
            await _stop(children)


async def _start(role: str, config: Path, record: Path | None) -> Child:
    log = (config.parent / f"{role}.log").open("w+b")
    process = await asyncio.create_subprocess_exec(
        *_command(role, config),
        *(("--record", str(record.absolute())) if record is not None else ()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
        start_new_session=True,  # Ctrl-C is for this process, which stops its children in order
    )
    return Child(role=role, process=process, log=log)


def _command(role: str, config: Path) -> Sequence[str]:
    """-P: the working directory may hold folders named runtime or codecs."""
    return (sys.executable, "-P", "-m", "draftwire", role, "--config", str(config), "--until-stdin-ends")


async def _ready(child: Child) -> None:
    assert child.process.stdout is not None
    while line := await child.process.stdout.readline():
        if line.startswith(b"ready"):
            return
    code = await child.process.wait()
    child.log.seek(0)
    lines = child.log.read().decode("utf-8", "replace").strip().splitlines()
    said = [line.removeprefix("draftwire: ") for line in lines if line.startswith("draftwire: ")]
    raise ChildFailedError(child.role, (said or lines or [""])[-1], code)


async def _stop(children: Sequence[Child]) -> None:
    """Ask all, wait for all, and end those that do not listen; the one nearest to the user first."""
    for child in reversed(children):
        if child.process.returncode is None:
            child.process.terminate()
    for child in reversed(children):
        try:
            await asyncio.wait_for(child.process.wait(), STOP_WITHIN_S)
        except TimeoutError:
            child.process.kill()
            await child.process.wait()
        child.log.close()


__all__ = ["ChildFailedError", "launched", "on_this_host"]
