"""A run: the machines with their nodes, the users at them, the faults, and who watches all of it."""

import asyncio
import traceback
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from typing import Any, Final

from draftwire.codecs.errors import WireError
from draftwire.codecs.frame import decode_frame
from draftwire.codecs.limits import MAX_GAMMA
from draftwire.nodes.console.chaos.checks import Checks
from draftwire.nodes.console.chaos.disk import Disk, MortalJournal
from draftwire.nodes.console.chaos.faults import Kind, Leg, Schedule
from draftwire.nodes.console.chaos.lives import Life
from draftwire.nodes.console.chaos.loop import FaultyLoop
from draftwire.nodes.console.chaos.machines import Machine
from draftwire.nodes.console.chaos.ordeal import Ordeal
from draftwire.nodes.console.chaos.outcome import Event, Outcome
from draftwire.nodes.console.chaos.places import CHANNEL, TARGET
from draftwire.nodes.console.chaos.taps import DeviceTap
from draftwire.nodes.console.chaos.users import BEGINS_WITHIN_S, PAUSE_S, Told, User
from draftwire.nodes.console.chaos.wire import Wire
from draftwire.nodes.console.chaos.words import words_of
from draftwire.nodes.console.chaos.world import World, rate_of, spec_of
from draftwire.nodes.console.simulate.seeds import stream_of
from draftwire.nodes.console.simulate.tracing import TraceHash
from draftwire.nodes.device.node import DeviceNode
from draftwire.nodes.models.pacing import PAPER
from draftwire.nodes.target.contexts import MOST_RETRY_S
from draftwire.runtime.session.request import Timing

LOOK_EVERY_S: Final = 1.0
"""Of virtual time: so often all is looked at, beside each token and each fault."""

READY_WITHIN_S: Final = 5.0
"""A node that can work is ready at once."""

MESSAGE_BYTES: Final = 1000
"""A step's messages of one device, both ways, with what the link adds: more than any takes here."""

SETTLES_WITHIN_S: Final = 60.0
"""Behind the last answer: a session whose device is silent is parked by then."""

_TAKEN: Final = Struct("<Id")


class Run:
    """Of one schedule; `main` once, then `outcome`."""

    def __init__(self, schedule: Schedule, *, loop: FaultyLoop, folder: Path, history: bool) -> None:
        """`folder`: for the journals. `history`: whether to keep one."""
        self.schedule, self._loop = schedule, loop
        scenario, seed = schedule.scenario, schedule.seed
        self.trace = TraceHash()
        self.recovered_s: list[float] = []
        self.met: Mapping[Kind, int] = {}
        self._history: list[Event] | None = [] if history else None
        self._began_s = 0.0
        self._pending: dict[str, list[float]] = {}
        "device -> since when it has been waiting for a token behind a fault's end, and nothing is amiss"
        self._texts: dict[str, Any] = {}
        self._finished = asyncio.Event()
        self._leaving = set[asyncio.Task[None]]()
        self.wire = Wire(loop, trace=self.trace, taps=[])
        self.world = World(scenario, seed=seed, wire=self.wire, note=self._log, complain=self._complain)
        if scenario.journal:
            for name in self.world.devices:
                numbers = stream_of(seed, "disk", name)
                self.world.disks[name] = Disk(folder / name, numbers=numbers)
        self.users = {name: self._user(name) for name in self.world.devices}
        self.checks = Checks(self.world, self.users, self.wire, now_s=self._now_s)
        self.world.tested = self.checks.tested
        self.machines = {name: self._machine(name) for name in self.world.names}
        self.wire.taps += [self._hash, DeviceTap(self.users, wrong=self.wrong)]
        if history:
            self.wire.taps.append(partial(self._tell_message, "says"))
            self.wire.hears.append(partial(self._tell_message, "hears"))
        loop.set_exception_handler(self._unretrieved)

    def _user(self, name: str) -> User:
        user = User(
            name,
            self.schedule.scenario,
            seed=self.schedule.seed,
            disk=self.world.disks.get(name),
            watcher=self,
            ends=self._disk_full,
        )
        if name != self.world.devices[0]:
            user.begins_s = stream_of(self.schedule.seed, "begins", name).uniform(0, BEGINS_WITHIN_S)
        self._texts[name] = blake2b(digest_size=16)
        return user

    def _machine(self, name: str) -> Machine:
        return Machine(
            name, seed=self.schedule.seed, loop=self._loop, live=self._live, died=self._died
        )

    # -- the course of it ----------------------------------------------------------------------------------

    async def main(self) -> None:
        """Until all requests are over, or should be, and everything has come to rest."""
        self._began_s = self._loop.time()
        for machine in self.machines.values():
            machine.start()
        ordeal = Ordeal(
            self.schedule,
            machines=self.machines,
            disks=self.world.disks,
            world=self.world,
            wire=self.wire,
            witness=self,
        )
        self.met = ordeal.met
        playing = ordeal.play(self._began_s)
        try:
            await self._answered(ordeal)
            await self._calm(ordeal, playing)
            await self._settled()
            self.checks.rest()
        finally:
            for task in (*playing, *self._leaving):
                task.cancel()
            raised = await asyncio.gather(*playing, *self._leaving, return_exceptions=True)
            for name, user in self.users.items():
                self.trace.text(name, self._texts[name].digest())
                user.journal = None
            for machine in self.machines.values():
                await machine.ended()
        for error in raised:
            if isinstance(error, Exception):
                raise error

    async def _answered(self, ordeal: Ordeal) -> None:
        """All requests are over; or the time has passed in which they should have been."""
        while not self._finished.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._finished.wait()
            self.checks.look()
            calm_s = self._loop.time() - ordeal.last_s
            if not ordeal.active and calm_s > self.ends_within_s and not self._finished.is_set():
                left = [f"{one.device} {one.id} ({len(one.ids)})" for one in self._left()]
                what = f"{', '.join(left)} not over {calm_s:.0f} s behind the last fault"
                self.wrong("ends", what)
                return

    async def _calm(self, ordeal: Ordeal, playing: "list[asyncio.Task[None]]") -> None:
        """Faults that are under way come to their end; what was still to come has nobody to happen to."""
        ordeal.over()
        longest_s = max((fault.for_s for fault in self.schedule.faults), default=0.0)
        limit_s = self._loop.time() + longest_s + SETTLES_WITHIN_S
        while ordeal.active or self._leaving:
            await asyncio.sleep(LOOK_EVERY_S)
            self.checks.look()
            if self._loop.time() > limit_s:
                self.wrong("ends", "a node that was told to end, or a fault, has not come to its end")
                return

    async def _settled(self) -> None:
        """Nothing is on its way, and no session has anything to say."""
        limit_s = self._loop.time() + SETTLES_WITHIN_S
        while self._loop.time() < limit_s:
            await asyncio.sleep(LOOK_EVERY_S)
            if self.checks.rests():
                return

    @property
    def ends_within_s(self) -> float:
        """How long a request may take behind the last fault: until both ends have found each other again, a
        place at the base station is free, and the rest of it has been answered at the scenario's worst speed.
        """
        timing, scenario = Timing(), self.schedule.scenario
        finds_s = timing.resend_most_s * (timing.reopen_after + 1) + timing.reach_s + 2 * PAUSE_S
        place_s = timing.parked_s + 2 * MOST_RETRY_S
        spec, rate_bps = spec_of(self.world), rate_of(self.world)
        round_trip_s = 0.0 if spec is None else 2 * (spec.delay_s + 4 * spec.jitter_s)
        sending_s = 0.0 if rate_bps is None else 8 * MESSAGE_BYTES / rate_bps
        token_s = round_trip_s + sending_s + PAPER.target_s * scenario.devices
        token_s += PAPER.draft_position_s * (scenario.gamma or MAX_GAMMA)
        if spec is not None and spec.loss is not None and spec.arq_s is None:
            token_s += timing.resend_most_s / 2  # each step may have to be said again
        return finds_s + place_s + scenario.requests * scenario.devices * scenario.tokens * token_s

    # -- lives ---------------------------------------------------------------------------------------------

    def _live(self, life: Life) -> None:
        """Begin the tasks of a new life."""
        node = self.world.node(life)
        ready = asyncio.Event()
        life.begin(self._guarded(life, node.run(ready.set)), "runs")
        if isinstance(node, DeviceNode):
            life.begin(self._guarded(life, self._used(life, node, ready)), "is used")
        self._tell(life.name, f"life {life.number} begins")

    async def _used(self, life: Life, node: DeviceNode, ready: asyncio.Event) -> None:
        await ready.wait()
        await self.users[life.name].use(life, node)

    async def _guarded(self, life: Life, main: Any) -> None:
        """What a life raises that is not over is a bug."""
        try:
            await main
        except Exception as error:
            if not life.dead and not life.leaving:
                self.wrong("no_bug", f"{life.name}: {last_lines(error)}")

    def _died(self, life: Life) -> None:
        """At once, whatever is on the stack."""
        self._tell(life.name, f"life {life.number} is over")
        if life.name == TARGET:
            self.world.target = None
        elif life.name == CHANNEL:
            self.world.channel = None
        elif life.name in self.users:
            self.world.device.pop(life.name, None)
            if life.name in self.world.disks:
                disk = self.world.disks[life.name]
                cuts = disk.lost
                disk.dies()
                if disk.lost > cuts:
                    self.checks.cut(life.name, disk.tokens_kept())
            self.users[life.name].died()

    def _disk_full(self, device: str) -> None:
        self._leaving.add(task := self._loop.create_task(self._leaves(device), name=f"{device} leaves"))
        task.add_done_callback(self._leaving.discard)

    async def _leaves(self, device: str) -> None:
        """A device whose journal can't be written ends in order; it begins again when there is room."""
        machine, disk = self.machines[device], self.world.disks[device]
        await machine.leave()
        while True:
            await asyncio.sleep(PAUSE_S)
            if not disk.full:
                break
        await machine.let_up()

    # -- what is seen --------------------------------------------------------------------------------------

    def shown(self, told: Told, position: int, token: int, journal: MortalJournal | None) -> None:
        """See Watcher."""
        if self.checks.shown(told, position, token, journal):
            told.ids.append(token)
        now_s = self._now_s()
        self._texts[told.device].update(_TAKEN.pack(token, now_s))
        self.recovered_s += [now_s - since_s for since_s in self._pending.pop(told.device, ())]
        self._tell(told.device, f"shows {token} at {position}")

    def over(self, told: Told) -> None:
        """See Watcher."""
        self.checks.over(told)
        self._pending.pop(told.device, None)
        self._texts[told.device].update(b"\xff")
        self._tell(told.device, f"{told.id} is over: {told.reason or 'answered'}")
        if not self._left():
            self._finished.set()

    def wrong(self, promise: str, what: str) -> None:
        """See Watcher."""
        self.checks.wrong(promise, what, who=what.partition(":")[0])

    def fault(self, text: str, *, begins: bool) -> None:
        """See Witness. What recovers while something else goes wrong tells nothing."""
        if begins:
            self._pending.clear()
        self._tell("", text)
        self.checks.look()

    def calmed(self) -> None:
        """See Witness."""
        for name, user in self.users.items():
            told = user.now
            if told is not None and told.under_way:
                self._pending.setdefault(name, []).append(self._now_s())

    def _left(self) -> list[Told]:
        return [told for user in self.users.values() for told in user.told if not told.over]

    def _now_s(self) -> float:
        return self._loop.time() - self._began_s

    def _hash(self, life: Life, leg: Leg, data: bytes) -> None:
        name = f"{life.name} {leg.value}"
        self.trace.message(at_s=self._loop.time(), up=leg is Leg.UP, device=name, data=data)

    def _tell_message(self, what: str, life: Life, leg: Leg, data: bytes) -> None:
        """The channel reads none, and says what it hears."""
        if life.name != CHANNEL and not life.dead:
            try:
                self._tell(life.name, f"{what} {words_of(decode_frame(data).message)}")
            except WireError as error:
                self._tell(life.name, f"{what} what can't be read: {error}")

    def _tell(self, node: str, text: str) -> None:
        if self._history is not None:
            self._history.append(Event(at_s=round(self._now_s(), 6), node=node, text=text))

    def _log(self, node: str, event: str, fields: str) -> None:
        """An error that a node has logged."""
        self.wrong("no_bug", f"{node}: it logs {event}: {fields}")

    def _complain(self, what: str) -> None:
        self.wrong("kv", what)

    def _unretrieved(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        error = context.get("exception")
        lines = "" if error is None else last_lines(error)
        self.wrong("no_bug", f"asyncio: {context.get('message')}: {lines}")

    def outcome(self) -> Outcome:
        """What it came to."""
        return Outcome(
            answers=tuple(told.answer() for user in self.users.values() for told in user.told),
            broken=tuple(self.checks.broken),
            trace_hash=self.trace.hex(),
            virtual_s=round(self._now_s(), 6),
            recovered_s=tuple(self.recovered_s),
            met=self.met,
            events=tuple(self._history or ()),
        )


def last_lines(error: BaseException, lines: int = 12) -> str:
    """Of its traceback."""
    whole = "".join(traceback.format_exception(error)).splitlines()
    return "\n".join(whole[-lines:])


__all__ = ["LOOK_EVERY_S", "Run", "last_lines"]
