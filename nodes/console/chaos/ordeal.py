"""The faults of a schedule, played: each at its time, on the machine, the leg or the link that it is of."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import replace
from typing import Final, Protocol

from draftwire.nodes.console.chaos.disk import Disk
from draftwire.nodes.console.chaos.faults import Fault, Kind, Moment, Schedule
from draftwire.nodes.console.chaos.machines import Machine
from draftwire.nodes.console.chaos.places import CHANNEL, OF_LEGS, moments_of
from draftwire.nodes.console.chaos.telling import what_happens
from draftwire.nodes.console.chaos.wire import LegFault, Wire
from draftwire.nodes.console.chaos.world import World
from draftwire.nodes.console.simulate.seeds import stream_of
from draftwire.runtime.clock import WHOSE

WALL_JUMP_S: Final = 3600.0
"""A wall clock jumps by up to so much, either way."""


class Witness(Protocol):
    """Who hears of faults."""

    def fault(self, text: str, *, begins: bool) -> None:
        """One has begun, or is over."""
        ...

    def calmed(self) -> None:
        """One is over from which a request has to recover: a death, a stall, a partition. None is left."""
        ...


class Ordeal:
    """Of one run."""

    def __init__(
        self,
        schedule: Schedule,
        *,
        machines: Mapping[str, Machine],
        disks: Mapping[str, Disk],
        world: World,
        wire: Wire,
        witness: Witness,
    ) -> None:
        self.active = 0
        "faults that are under way"
        self.last_s = 0.0
        "when one has begun, ended or struck last, in the loop's time"
        self.met: dict[Kind, int] = {}
        "kind -> faults that have happened"
        self._schedule, self._machines, self._disks = schedule, machines, disks
        self._world, self._wire, self._witness = world, wire, witness
        self._loop = asyncio.get_running_loop()
        self._rates: list[float] = []
        self._over = False

    def play(self, began_s: float) -> list["asyncio.Task[None]"]:
        """A task for each fault."""
        return [
            self._loop.create_task(self._play(place, fault, began_s), name=f"fault {place}")
            for place, fault in enumerate(self._schedule.faults)
        ]

    def over(self) -> None:
        """None begins any more; those under way go on to their end."""
        self._over = True
        for machine in self._machines.values():
            if machine.life is not None:
                machine.life.armed = None

    async def _play(self, place: int, fault: Fault, began_s: float) -> None:
        await _until(self._loop, began_s + fault.at_s)
        if self._over:
            return
        if fault.kind in OF_LEGS:
            await self._on_leg(place, fault)
        elif fault.kind is Kind.COLLAPSE:
            await self._collapse(fault)
        elif fault.node in self._machines:
            await self._on_machine(place, fault, self._machines[fault.node])

    @contextmanager
    def _under_way(self, fault: Fault) -> Iterator[None]:
        what = what_happens(fault)
        self.active += 1
        self.met[fault.kind] = self.met.get(fault.kind, 0) + 1
        self._struck(what, begins=True)
        try:
            yield
        finally:
            self.active -= 1
            self._struck(f"over: {what}", begins=False)
        if fault.kind in (Kind.CRASH, Kind.STALL, Kind.PARTITION) and not self.active:
            self._witness.calmed()

    def _struck(self, what: str, *, begins: bool) -> None:
        self.last_s = self._loop.time()
        self._witness.fault(what, begins=begins)

    async def _lasts(self, fault: Fault) -> None:
        await _until(self._loop, self._loop.time() + fault.for_s)

    async def _on_leg(self, place: int, fault: Fault) -> None:
        assert fault.leg is not None, fault
        numbers = stream_of(self._schedule.seed, "fault", place)
        one = LegFault(kind=fault.kind, leg=fault.leg, amount=fault.amount, numbers=numbers)
        with self._under_way(fault):
            self._wire.faults.append(one)
            await self._lasts(fault)
            self._wire.faults.remove(one)

    async def _collapse(self, fault: Fault) -> None:
        if not self._world.scenario.link:
            return
        with self._under_way(fault):
            self._rates.append(fault.amount)
            self._set_rate()
            await self._lasts(fault)
            self._rates.remove(fault.amount)
            self._set_rate()

    def _set_rate(self) -> None:
        """As an order to the channel, which hears it when it does not stand still."""
        self._world.rate_bps = min(self._rates, default=None)
        context = copy_context()
        context.run(WHOSE.set, CHANNEL)
        self._loop.call_soon(self._world.set_link, context=context)

    async def _on_machine(self, place: int, fault: Fault, machine: Machine) -> None:
        match fault.kind:
            case Kind.CRASH:
                await self._crash(fault, machine)
            case Kind.STALL:
                life = machine.stall(self._loop.time() + fault.for_s)
                if life is not None:
                    with self._under_way(fault):
                        with suppress(TimeoutError):
                            async with asyncio.timeout(fault.for_s):
                                await life.death.wait()
                        machine.go_on(life)
            case Kind.SLOW:
                with self._under_way(fault):
                    machine.slow_down(fault.amount)
                    await self._lasts(fault)
                    machine.speed_up(fault.amount)
            case Kind.CLOCK:
                wall_s = stream_of(self._schedule.seed, "wall", place).uniform(-WALL_JUMP_S, WALL_JUMP_S)
                with self._under_way(fault):
                    machine.jump(fault.amount, wall_s=wall_s)
            case Kind.FULL:
                with self._under_way(fault):
                    machine.fill(1)
                    await self._lasts(fault)
                    machine.fill(-1)
            case Kind.DISK if fault.node in self._disks:
                disk = self._disks[fault.node]
                with self._under_way(fault):
                    disk.full += 1
                    await self._lasts(fault)
                    disk.full -= 1
            case _:
                pass

    async def _crash(self, fault: Fault, machine: Machine) -> None:
        """At its moment, which may never come: then nothing happens."""
        possible = moments_of(machine.name, self._schedule.scenario)
        moment = fault.moment if fault.moment in possible else Moment.NOW
        if moment is not Moment.NOW and not await self._dies(machine, moment):
            return
        with self._under_way(replace(fault, moment=moment)):
            machine.keep_down()
            await self._lasts(fault)
            await machine.let_up()

    async def _dies(self, machine: Machine, moment: Moment) -> bool:
        """Wait until it has died of it. False: of something else before, or none begins any more."""
        while not self._over:
            life = machine.life
            if life is not None and not life.dead and life.armed is None:
                life.armed = moment
                await life.death.wait()
                return life.armed_killed
            await _until(self._loop, self._loop.time() + 0.1)
        return False


async def _until(loop: asyncio.AbstractEventLoop, at_s: float) -> None:
    """In the loop's time, which is nobody's own."""
    while loop.time() < at_s:
        woken = loop.create_future()
        loop.call_at(at_s, _wake, woken)
        await woken


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


__all__ = ["Ordeal", "Witness"]
