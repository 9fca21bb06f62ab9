"""The scene of `draftwire bench enemies`: a base station, a controller, honest devices that never pause, and
enemies that come and go; all but the devices in processes of their own, over loopback, with keys.
"""

import asyncio
import os
import tempfile
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import orjson

from draftwire.nodes.console.api import ConnectedDevice, connect
from draftwire.nodes.console.bench.beside import beside
from draftwire.nodes.console.bench.enemies_line import Aim
from draftwire.nodes.console.bench.enemies_station import Look
from draftwire.nodes.console.chaos.real_nodes import free_addresses
from draftwire.runtime.config import PairSettings, Topology, to_toml
from draftwire.runtime.errors import DraftwireError
from draftwire.runtime.security import Keyring, Role
from draftwire.runtime.settings import ModelSettings, SecuritySettings

HONEST: Final = ("phone-1", "phone-2", "phone-3", "phone-4")
"""Devices, each with a key of its own."""

GUEST: Final = "guest"
"""A fifth one, as honest as they are: what it costs them is no enemy's fault."""

CAPTURED: Final = "captured"
"""A device whose frames an enemy has come by."""

PAIR: Final = "synthetic:V=512,seed=1,noise=0.5"
TOKENS: Final = 96
"""Of each answer."""

PROMPT: Final = tuple(range(24))

K: Final = 128
GAMMA: Final = 4
"""Fixed for the honest devices' requests: what the controller learns meanwhile would be taken for an enemy's
work, or hide it."""

WITHIN_S: Final = 60.0
"""For another process to answer; only one that hangs takes so long."""

ENDS_WITHIN_S: Final = 10.0
"""For an enemy to say what it came to; then it is killed."""

LINES: Final = 3
"""Of the log, that tell why."""


class EnemiesBenchError(DraftwireError):
    """Raised when a process of the scene does not start, does not answer, or ends by itself."""


@dataclass(slots=True, kw_only=True)
class Asking:
    """What one honest device has come to."""

    device: ConnectedDevice
    at_s: list[float] = field(default_factory=list)
    "when each token came"
    failed: list[str] = field(default_factory=list)
    "why requests failed"

    async def run(self, number: int) -> None:
        """Ask one request after the other, each by its own seed, until cancelled."""
        seed = 1_000_000 * number
        while True:
            seed += 1
            try:
                async for _ in self.device.generate(
                    PROMPT, max_new_tokens=TOKENS, seed=seed, k=K, gamma=GAMMA
                ):
                    self.at_s.append(time.monotonic())
            except DraftwireError as error:
                self.failed.append(str(error))
                await asyncio.sleep(1.0)

    def tokens(self, from_s: float, to_s: float) -> int:
        """That came between."""
        return bisect_left(self.at_s, to_s) - bisect_left(self.at_s, from_s)


class Scene:
    """See `on_stage`."""

    def __init__(
        self,
        asking: Sequence[Asking],
        guest: Asking,
        station: asyncio.subprocess.Process,
        aim: Aim,
        log: Path,
    ) -> None:
        self.asking, self.guest, self._station, self._aim, self._log = asking, guest, station, aim, log

    async def look(self) -> Look:
        """The base station now. Raises EnemiesBenchError where it does not answer."""
        assert self._station.stdin is not None
        self._station.stdin.write(b"\n")
        line = await _line_of(self._station, "the base station", self._log)
        return Look(**orjson.loads(line))

    async def tok_s(self, seconds: float) -> dict[str, float]:
        """Tokens a second of each honest device, from now on for so long."""
        from_s = time.monotonic()
        await asyncio.sleep(seconds)
        to_s = time.monotonic()
        return {one.device.name: one.tokens(from_s, to_s) / (to_s - from_s) for one in self.asking}

    @asynccontextmanager
    async def enemy(self, name: str, key: str) -> AsyncIterator["Prowling"]:
        """One that is ready to attack; it ends with the block. `key`: the name of its own."""
        aim = replace(self._aim, name=key)
        arguments = ("draftwire.nodes.console.bench.enemies_attack", name)
        with self._log.open("ab") as log:
            async with beside(*arguments, log=log) as process:
                assert process.stdin is not None
                process.stdin.write(orjson.dumps(asdict(aim)) + b"\n")
                await _line_of(process, name, self._log)
                yield Prowling(process, name, self._log)

    @property
    def failed(self) -> list[str]:
        """Why requests of honest devices failed."""
        return [text for one in (*self.asking, self.guest) for text in one.failed]


class Prowling:
    """An enemy's process."""

    def __init__(self, process: asyncio.subprocess.Process, name: str, log: Path) -> None:
        self._process, self._name, self._log = process, name, log

    def attack(self) -> None:
        """From now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")

    async def end(self) -> dict[str, Any]:
        """Its Spoils, as JSON; empty where it had to be killed.

        Raises EnemiesBenchError where it has ended by itself, and so has attacked nobody, or not for long.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), ENDS_WITHIN_S)
        except TimeoutError:
            self._process.kill()
            return {}
        if not line:
            raise EnemiesBenchError(f"{self._name} has ended: {_last_lines(self._log)}")
        return dict(orjson.loads(line))


@asynccontextmanager
async def on_stage(enemy_keys: Sequence[str]) -> AsyncIterator[Scene]:
    """All but the enemies, whose keys are allowed; honest devices ask from now on.

    Raises EnemiesBenchError for a process that does not start.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="draftwire-")))
        topology = _topology(folder, enemy_keys)
        config, log = folder / "topology.toml", folder / "log"
        config.write_text(to_toml(topology), encoding="utf-8")
        written = stack.enter_context(log.open("ab"))
        station = await stack.enter_async_context(
            beside("draftwire.nodes.console.bench.enemies_station", str(config), log=written)
        )
        controller = await stack.enter_async_context(
            beside("draftwire", "controller", "--config", str(config), "--until-stdin-ends", log=written)
        )
        await _line_of(station, "the base station", log)
        await _line_of(controller, "the controller", log)
        asking = [await _connected(name, topology, stack) for name in (*HONEST, GUEST)]
        for number, one in enumerate(asking[:-1]):
            _keep_running(one, number, stack)
        aim = Aim(
            address=topology.target.address,
            keys=str(topology.keys_folder),
            name="",
            victim=HONEST[0],
            own_victim=CAPTURED,
            config=str(config),
            model=PAIR,
        )
        yield Scene(asking[:-1], asking[-1], station, aim, log)


async def _connected(name: str, topology: Topology, stack: AsyncExitStack) -> Asking:
    own = replace(topology, device=replace(topology.device, name=name))
    return Asking(device=await stack.enter_async_context(connect(own, launch=False)))


def _keep_running(one: Asking, number: int, stack: AsyncExitStack) -> None:
    task = asyncio.create_task(one.run(number), name=one.device.name)

    async def end() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(end)


def _topology(folder: Path, enemy_keys: Sequence[str]) -> Topology:
    """With keys for all in a folder."""
    keyring = Keyring(folder / "keys")
    for role in (Role.TARGET, Role.CONTROLLER):
        keyring.new(role, role=role)
    for name in (*HONEST, GUEST, CAPTURED, *enemy_keys):
        keyring.new(name, role=Role.DEVICE)
    topology, addresses = Topology.default(), free_addresses(2)
    model = ModelSettings(model=PAIR)
    return replace(
        topology,
        pair=PairSettings(draft=model, target=model, tables=()),
        target=replace(topology.target, address=addresses[0]),
        controller=replace(topology.controller, address=addresses[1]),
        channel=None,
        security=SecuritySettings(folder=str(keyring.folder)),
    )


async def _line_of(process: asyncio.subprocess.Process, who: str, log: Path) -> bytes:
    assert process.stdout is not None, "a pipe was asked for"
    try:
        async with asyncio.timeout(WITHIN_S):
            line = await process.stdout.readline()
    except TimeoutError:
        raise EnemiesBenchError(f"{who} said nothing within {WITHIN_S:g} s: {_last_lines(log)}") from None
    if not line:
        raise EnemiesBenchError(f"{who} has ended: {_last_lines(log)}")
    return line


def _last_lines(log: Path) -> str:
    said = log.read_text(errors="replace").strip().splitlines()
    return " / ".join(said[-LINES:]) or "it has logged nothing"


def conditions() -> Mapping[str, Any]:
    """Of this machine, for whoever reads the figures."""
    return {"cores": os.cpu_count(), "load": os.getloadavg()[0]}


__all__ = [
    "CAPTURED",
    "GUEST",
    "HONEST",
    "EnemiesBenchError",
    "Prowling",
    "Scene",
    "conditions",
    "on_stage",
]
