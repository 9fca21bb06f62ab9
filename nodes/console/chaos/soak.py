"""`draftwire chaos --soak HOURS`: a long run in virtual time in which devices come and go, and nothing grows.

A third of the time each server is spared, and the two others die now and then, as devices always do. What the
spared one keeps has hours to grow, over thousands of devices of which most come once and never again.
"""

import asyncio
import gc
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from draftwire.codecs.messages import Acceptance
from draftwire.nodes.console.chaos.checks import text_of
from draftwire.nodes.console.chaos.disk import Disk, MortalJournal
from draftwire.nodes.console.chaos.faults import Scenario
from draftwire.nodes.console.chaos.lives import Life
from draftwire.nodes.console.chaos.loop import FaultyLoop
from draftwire.nodes.console.chaos.machines import Machine
from draftwire.nodes.console.chaos.places import CHANNEL, CONTROLLER, TARGET
from draftwire.nodes.console.chaos.play import MEMORY_FOLDER
from draftwire.nodes.console.chaos.run import last_lines
from draftwire.nodes.console.chaos.sizes import sizes_of
from draftwire.nodes.console.chaos.users import Told, User
from draftwire.nodes.console.chaos.wire import MortalTransport, Wire
from draftwire.nodes.console.chaos.world import World
from draftwire.nodes.console.memory import resident_bytes
from draftwire.nodes.console.simulate.collecting import seldom_collected
from draftwire.nodes.console.simulate.seeds import number_of, stream_of
from draftwire.nodes.console.simulate.tracing import TraceHash
from draftwire.nodes.device.node import DeviceNode

SERVERS: Final = (CONTROLLER, TARGET, CHANNEL)
"""In the order in which they are spared: first the one that remembers most, so memory is flat behind it."""

SAMPLES: Final = (6, 60)
"""So often all is measured, at least and at most: every half hour, or every three minutes of a short run."""

SAMPLES_AN_HOUR: Final = 20
"""Between those."""

PLACES: Final = 8
"""Devices at one time, at most."""

REGULARS: Final = 3
"""Places whose device is always the same; at the others each one comes once and never again."""

PAUSE_S: Final = 80.0
"""A place is empty for so long on average. Each device asks twice: a request every five seconds, about."""

DIES_EVERY_S: Final = 300.0
"""A server, on average."""

DOWN_S: Final = (0.5, 5.0)
"""From so long to so long, a server; a device up to four times as long."""

VISIT_S: Final = 900.0
"""Two answers of eight tokens have come by then, whatever dies meanwhile."""

DEVICE_DIES: Final = 0.15
"""Of visits in which the device dies in mid answer, and comes back."""

DEVICE_LEAVES: Final = 0.1
"""Of visits that end in mid answer, as when a laptop is closed for good."""

SCENARIO: Final = Scenario(
    devices=PLACES, requests=2, tokens=8, k=None, gamma=None, link="rate 5mbit delay 10ms 2ms", journal=True
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What there was at one moment."""

    spared: str
    memory_mb: float | None
    "resident; None: this system does not say"
    tasks: int
    descriptors: int | None
    "open files of this process, and endpoints of its nodes; None: this system does not say"
    tables: Mapping[str, int]
    "of the server that is spared, see sizes_of"


@dataclass(slots=True, kw_only=True)
class Soaked:
    """What a run came to."""

    virtual_h: float = 0.0
    wall_s: float = 0.0
    devices: int = 0
    "by name"
    requests: int = 0
    tokens: int = 0
    deaths: Counter[str] = field(default_factory=Counter)
    "of servers, and of devices together"
    samples: list[Sample] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    "sentences"
    interrupted: bool = False
    "ended by Ctrl-C: this is what came until then"


class Soak:
    """A run; `main` once."""

    def __init__(
        self,
        *,
        hours: float,
        seed: int,
        samples: int,
        loop: FaultyLoop,
        folder: Path,
        progress: Callable[[float], None],
    ) -> None:
        """`progress` hears which part of it is over."""
        self.came = Soaked()
        self._total_s, self._seed, self._loop, self._folder = hours * 3600, seed, loop, folder
        self._samples, self._progress = samples, progress
        self._wire = Wire(loop, trace=TraceHash(), taps=[])
        self._world = World(SCENARIO, seed=seed, wire=self._wire, note=self._log, complain=self._wrong)
        self._users: dict[str, User] = {}
        self._over: dict[str, asyncio.Event] = {}
        self._machines: dict[str, Machine] = {}
        "of those who are there, servers too"
        loop.set_exception_handler(lambda _, context: self._wrong(f"asyncio: {context.get('message')}"))

    async def main(self) -> None:
        """Raises nothing of the nodes: what they raise is broken."""
        for name in SERVERS:
            self._machine(name).start()
        tasks = [
            self._loop.create_task(self._place(number), name=f"place {number}") for number in range(PLACES)
        ]
        tasks.append(self._loop.create_task(self._deaths(), name="deaths"))
        for number in range(1, self._samples + 1):
            await asyncio.sleep(number * self._total_s / self._samples - self._loop.time())
            self.came.samples.append(self._sample())
            self._progress(number / self._samples)
        self.came.virtual_h = self._loop.time() / 3600
        for task in tasks:
            task.cancel()
        for raised in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(raised, Exception):
                raise raised
        for machine in list(self._machines.values()):
            await machine.ended()

    # -- devices -------------------------------------------------------------------------------------------

    async def _place(self, place: int) -> None:
        """One device after the other."""
        numbers, visit = stream_of(self._seed, "place", place), 0
        while True:
            await asyncio.sleep(numbers.expovariate(1 / PAUSE_S))
            name = f"regular-{place}" if place < REGULARS else f"visitor-{place}-{visit}"
            await self._visit(name, visit, numbers)
            if place >= REGULARS:
                await self._machines.pop(name).ended()
            visit += 1

    async def _visit(self, name: str, visit: int, numbers: random.Random) -> None:
        """A device is there, asks, and leaves."""
        scenario, path = _asks(numbers), self._folder / f"{name}-{visit}"
        disk = Disk(path, numbers=numbers) if numbers.random() < 0.5 else None
        self._over[name] = over = asyncio.Event()
        self._users[name] = User(
            name,
            scenario,
            seed=number_of(self._seed, "visit", name, visit, bits=62),
            disk=disk,
            watcher=self,
            ends=lambda _: self._wrong(f"{name}: its journal could not be written"),
        )
        if name in self._machines:
            await self._machines[name].let_up()
        else:
            self._machine(name).start()
            self.came.devices += 1
        machine, fate = self._machines[name], numbers.random()
        if fate < DEVICE_DIES + DEVICE_LEAVES:
            await asyncio.sleep(numbers.uniform(0, 1.5))
            self.came.deaths["device"] += 1
            machine.keep_down()
            if fate < DEVICE_DIES:
                await asyncio.sleep(numbers.uniform(DOWN_S[0], 4 * DOWN_S[1]))
                await machine.let_up()
        if fate < DEVICE_DIES or fate >= DEVICE_DIES + DEVICE_LEAVES:
            try:
                async with asyncio.timeout(VISIT_S):
                    await over.wait()
            except TimeoutError:
                self._wrong(f"{name}: two answers took more than {VISIT_S:g} s")
            await machine.leave()
        del self._users[name], self._over[name]
        self._world.models.pop(name, None)
        path.unlink(missing_ok=True)

    # -- servers -------------------------------------------------------------------------------------------

    @property
    def _spared(self) -> str:
        return SERVERS[min(int(len(SERVERS) * self._loop.time() / self._total_s), len(SERVERS) - 1)]

    async def _deaths(self) -> None:
        """Of servers, one at a time."""
        numbers = stream_of(self._seed, "deaths")
        while True:
            await asyncio.sleep(numbers.expovariate(1 / DIES_EVERY_S))
            name = numbers.choice([one for one in SERVERS if one != self._spared])
            self.came.deaths[name] += 1
            self._machines[name].keep_down()
            await asyncio.sleep(numbers.uniform(*DOWN_S))
            await self._machines[name].let_up()

    # -- lives ---------------------------------------------------------------------------------------------

    def _machine(self, name: str) -> Machine:
        self._machines[name] = made = Machine(
            name, seed=self._seed, loop=self._loop, live=self._live, died=self._died
        )
        return made

    def _live(self, life: Life) -> None:
        node = self._world.node(life)
        ready = asyncio.Event()
        life.begin(self._guarded(life, lambda: node.run(ready.set)), "runs")
        if isinstance(node, DeviceNode):
            life.begin(self._guarded(life, lambda: self._used(life, node, ready)), "is used")

    async def _used(self, life: Life, node: DeviceNode, ready: asyncio.Event) -> None:
        await ready.wait()
        await self._users[life.name].use(life, node)

    async def _guarded(self, life: Life, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await main()
        except Exception as error:
            if not life.dead and not life.leaving:
                self._wrong(f"{life.name}: {last_lines(error)}")

    def _died(self, life: Life) -> None:
        self._world.device.pop(life.name, None)
        user = self._users.get(life.name)
        if user is not None:
            if user.disk is not None:
                user.disk.dies()
            user.died()

    # -- what is seen --------------------------------------------------------------------------------------

    def shown(self, told: Told, position: int, token: int, journal: MortalJournal | None) -> None:
        """See Watcher."""
        place = position - len(told.request.prompt)
        if place > len(told.ids) or (place < len(told.ids) and told.ids[place] != token):
            self._wrong(f"{told.device} {told.id}: {token} at {place} behind {told.ids}")
        elif place == len(told.ids):
            told.ids.append(token)

    def over(self, told: Told) -> None:
        """See Watcher."""
        self.came.requests += 1
        self.came.tokens += len(told.ids)
        if told.request.sampling.greedy or told.acceptance is Acceptance.COUPLED:
            text = text_of(told.request)
            if tuple(told.ids) != text[: len(told.ids)]:
                self._wrong(f"{told.device} {told.id}: {told.ids} was shown, undisturbed {list(text)}")
        if self._users[told.device].now is None:
            self._over[told.device].set()

    def wrong(self, promise: str, what: str) -> None:
        """See Watcher."""
        self._wrong(f"{promise}: {what}")

    def _log(self, node: str, event: str, fields: str) -> None:
        self._wrong(f"{node} logs {event}: {fields}")

    def _wrong(self, what: str) -> None:
        self.came.broken.append(f"at {self._loop.time():.3f} s: {what}")

    def _sample(self) -> Sample:
        self._forget_closed()
        gc.collect()
        network = self._wire.network
        endpoints = len(network.bound) + sum(map(len, network.connected.values()))
        spared, world, measured = self._spared, self._world, sys.platform == "linux"
        node = {TARGET: world.target, CHANNEL: world.channel, CONTROLLER: world.controller}[spared]
        return Sample(
            spared=spared,
            memory_mb=resident_bytes() / 1e6 if measured else None,
            tasks=len(asyncio.all_tasks()),
            descriptors=endpoints + len(os.listdir("/proc/self/fd")) if measured else None,
            tables=sizes_of(node),
        )

    def _forget_closed(self) -> None:
        """What runs the nodes keeps endpoints that are no more, for its ledger: nobody asks for it here."""
        self._wire.endpoints.clear()
        for machine in self._machines.values():
            for part in machine.life.parts if machine.life is not None else ():
                if isinstance(part, MortalTransport):
                    made = part._made
                    made[:] = [one for one in made if not one.closed]  # type: ignore[attr-defined]


def _asks(numbers: random.Random) -> Scenario:
    """What a device asks in one visit."""
    acceptance = numbers.choice((Acceptance.REJECTION, Acceptance.COUPLED, Acceptance.AUTO))
    return replace(SCENARIO, acceptance=acceptance, temperature=numbers.choice((0.0, 1.0, 1.0)))


def soak(
    *,
    hours: float,
    seed: int = 0,
    samples: int | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Soaked:
    """One run; it needs to be called outside of an event loop. `progress` hears which part of it is over.

    Ctrl-C ends it; then it tells what came until then.
    """
    fewest, most = SAMPLES
    began_s = perf_counter()
    shared = MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="draftwire-soak-", dir=shared))
    try:
        with seldom_collected(), asyncio.Runner(loop_factory=FaultyLoop) as runner:
            loop = runner.get_loop()
            assert isinstance(loop, FaultyLoop)
            run = Soak(
                hours=hours,
                seed=seed,
                samples=samples or max(fewest, min(int(SAMPLES_AN_HOUR * hours), most)),
                loop=loop,
                folder=folder,
                progress=progress,
            )
            gc.freeze()  # what is there already is not looked through with each sample
            try:
                runner.run(run.main())
            except KeyboardInterrupt:
                run.came.interrupted, run.came.virtual_h = True, loop.time() / 3600
    finally:
        gc.unfreeze()
        shutil.rmtree(folder, ignore_errors=True)
    run.came.wall_s = perf_counter() - began_s
    return run.came


__all__ = ["SERVERS", "Sample", "Soaked", "soak"]
