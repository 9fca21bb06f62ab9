"""Starting the other nodes of a topology as processes of this host, and stopping them again.

A child says one line on its standard output when it is ready. Its standard input is a pipe that nobody
writes to: when this process ends, however it ends, the pipe closes and the child stops by itself.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from draftwire.runtime.config import SecuritySettings, Topology, to_toml
from draftwire.runtime.errors import DraftwireError
from draftwire.runtime.security import Keyring, Role, key_of

READY_WITHIN_S = 300.0
"""Loading a large target from disk may take minutes; a child that ends earlier is noticed at once."""

STOP_WITHIN_S = 8.0
"""A child drains for at most 5 s."""


class ChildFailedError(DraftwireError):
    """Raised when a node that was started here ends by itself; tells what it said last."""

    def __init__(self, role: str, said: str, exit_code: int, *, what: str = "did not start") -> None:
        self.exit_code = max(1, exit_code)
        super().__init__(f"the {role} {what}: {said or _ended_with(exit_code)}")


def _ended_with(exit_code: int) -> str:
    return f"signal {-exit_code} ended it" if exit_code < 0 else f"it ended with code {exit_code}"


OBSERVER = Role.OBSERVER.value

PAGE = "page "
"""How the line begins by which an observer tells where its page is, before it is ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A node in a process of its own."""

    role: str
    process: asyncio.subprocess.Process
    log: IO[bytes]

    def said(self) -> str:
        """Its last word on standard error: the error it ended with, where there is one."""
        self.log.seek(0)
        lines = self.log.read().decode("utf-8", "replace").strip().splitlines()
        said = [line.removeprefix("draftwire: ") for line in lines if line.startswith("draftwire: ")]
        return said[-1] if said else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """Nodes that were started here."""

    children: Sequence[Child]
    progress: Callable[[str], None]
    "is told of each that is ready, and where its page is"

    async def ready(self) -> None:
        """Return when all are ready. Raises ChildFailedError for one that does not come up; but without an
        observer the others go on.
        """
        deadline_s = asyncio.get_running_loop().time() + READY_WITHIN_S
        for child in self.children:
            try:
                await _ready_by(deadline_s, child, self.progress)
            except ChildFailedError as error:
                if child.role != OBSERVER:
                    raise
                if child.process.returncode is None:  # its end is told by whoever watches it
                    self.progress(f"note: {error}")
            else:
                self.progress(f"{child.role} is ready")

    async def lost(self) -> ChildFailedError:
        """The first of them to end by itself that an answer can't do without; waits for that."""
        # The controller's last plan stays; and nobody waits for the observer.
        needed = [child for child in self.children if child.role not in ("controller", OBSERVER)]
        ends = [asyncio.create_task(child.process.wait()) for child in needed]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        child = next(one for one in needed if one.process.returncode is not None)
        assert child.process.returncode is not None
        return ChildFailedError(child.role, child.said(), child.process.returncode, what="ended")


def on_this_host(topology: Topology, folder: Path) -> Topology:
    """The same system with addresses that no other process can have taken, sockets in a private folder, and
    with throw-away keys there.
    """
    topology = sharing_cores(topology)
    links = f"ipc://{folder}/links"
    placed = replace(
        topology,
        target=replace(topology.target, address=f"ipc://{folder}/target", bind=None),
        channel=topology.channel
        and replace(topology.channel, address=f"ipc://{folder}/channel", bind=None, control=links),
        controller=replace(topology.controller, address=f"ipc://{folder}/controller", bind=None),
        observer=topology.observer
        and replace(topology.observer, address=f"ipc://{folder}/observer", bind=None),
    )
    return with_throw_away_keys(placed, folder)


def with_throw_away_keys(topology: Topology, folder: Path) -> Topology:
    """The same system with new keys in a private folder, one for each role, that end with it.

    So nobody but the nodes that this process starts can be one of them, whatever their addresses are.
    """
    keyring = Keyring(folder / "keys")
    for role in (Role.TARGET, Role.CHANNEL, Role.CONTROLLER, Role.OBSERVER):
        keyring.new(_apart_from(topology.device.name, role), role=role)
    keyring.new(key_of(topology.device.name), role=Role.DEVICE)
    return replace(
        topology,
        target=replace(topology.target, key=None),
        channel=topology.channel and replace(topology.channel, key=None),
        controller=replace(topology.controller, key=None),
        observer=topology.observer and replace(topology.observer, key=None),
        security=SecuritySettings(folder=str(keyring.folder)),
    )


def _apart_from(device: str, role: Role) -> str:
    """A key's name: two keys can't share one, and a device may be called `target`."""
    return role if key_of(device) != role else f"{role}-here"


def sharing_cores(topology: Topology) -> Topology:
    """The same system with threads for a target and a device on this one host, where the file names none."""
    return replace(
        topology,
        target=replace(topology.target, threads=topology.target.threads or max(1, _cores() - 1)),
        device=replace(topology.device, threads=topology.device.threads or 1),
    )


def _cores() -> int:
    """Those that this process may use: a container or taskset often leaves fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@asynccontextmanager
async def launched(
    topology: Topology,
    *,
    progress: Callable[[str], None],
    record: Path | None = None,
    capture: Path | None = None,
    command: Callable[[str, Path], Sequence[str]] | None = None,
    observer: bool = False,
) -> AsyncIterator[Launched]:
    """Start target, controller and channel, which are not ready yet: the caller can load its own model
    meanwhile. All are stopped when the block ends. `record` is appended to by each, `capture` by the channel.
    `command`: in place of node_command. `observer`: whether to start that of the topology too, where it has
    one; if not, the caller is it.
    """
    with tempfile.TemporaryDirectory(prefix="draftwire-") as folder:
        config = Path(folder) / "topology.toml"
        config.write_text(to_toml(topology), encoding="utf-8")
        roles = ["target", "controller", *(["channel"] if topology.channel is not None else [])]
        if observer and topology.observer is not None:
            roles.insert(0, OBSERVER)
        children: list[Child] = []
        watching = list[asyncio.Task[None]]()
        try:
            for role in roles:
                files = {
                    "--record": None if role == OBSERVER else record,  # it would have all of it twice
                    "--capture": capture if role == "channel" else None,
                }
                child = await _start(role, config, files, command or node_command)
                children.append(child)
                if role == OBSERVER:
                    watching.append(asyncio.create_task(_tell_end(child, progress), name=f"watch {role}"))
            yield Launched(children=children, progress=progress)
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            await _stop(children)
            _tell_of_channel(children, progress)
            for child in children:
                child.log.close()


async def _tell_end(child: Child, tell: Callable[[str], None]) -> None:
    """Say so when one ends that the others do without."""
    code = await child.process.wait()
    error = ChildFailedError(child.role, child.said(), code, what="ended")
    tell(f"note: {error}; all else goes on without it")


def _tell_of_channel(children: Sequence[Child], progress: Callable[[str], None]) -> None:
    """Say so where the channel's capture has ended before its channel, and where the channel was late."""
    from draftwire.nodes.channel.capture import told_of_end
    from draftwire.nodes.channel.punctuality import told_of_lateness

    for child in children:
        if child.role == "channel":
            child.log.seek(0)
            log = child.log.read()
            for told in (told_of_end(log), told_of_lateness(log)):
                if told:
                    progress(f"note: {told}")


async def _start(
    role: str,
    config: Path,
    files: Mapping[str, Path | None],
    command: Callable[[str, Path], Sequence[str]],
) -> Child:
    log = (config.parent / f"{role}.log").open("w+b")
    process = await asyncio.create_subprocess_exec(
        *command(role, config),
        *(word for name, path in files.items() if path is not None for word in (name, str(path.absolute()))),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
        start_new_session=True,  # Ctrl-C is for this process, which stops its children in order
    )
    return Child(role=role, process=process, log=log)


def node_command(role: str, config: Path) -> Sequence[str]:
    """What starts a node. -P: the working directory may hold folders named runtime or codecs."""
    return (sys.executable, "-P", "-m", "draftwire", role, "--config", str(config), "--until-stdin-ends")


async def _ready_by(deadline_s: float, child: Child, tell: Callable[[str], None]) -> None:
    """Return when it is ready. Raises ChildFailedError."""
    try:
        async with asyncio.timeout_at(deadline_s):
            await _ready(child, tell)
    except TimeoutError:
        raise ChildFailedError(child.role, f"it was not ready within {READY_WITHIN_S:g} s", 3) from None


async def _ready(child: Child, tell: Callable[[str], None]) -> None:
    assert child.process.stdout is not None
    while line := await child.process.stdout.readline():
        if line.startswith(PAGE.encode()):
            tell(line.decode().strip())
        if line.startswith(b"ready"):
            return
    raise ChildFailedError(child.role, child.said(), await child.process.wait())


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


__all__ = [
    "PAGE",
    "ChildFailedError",
    "Launched",
    "launched",
    "node_command",
    "on_this_host",
    "sharing_cores",
    "with_throw_away_keys",
]
