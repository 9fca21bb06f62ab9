"""The nodes of a simulation, built as a real run builds them, over memory instead of sockets.

Each BS has a network of its own, with its channel, its controller and its devices in it: the addresses are
those of the topology, and here they are names.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from draftwire.codecs.control import StepReport
from draftwire.codecs.frame import PROTOCOL_VERSION
from draftwire.codecs.messages import Hello
from draftwire.codecs.tables import by_tag
from draftwire.nodes.channel.node import ChannelNode
from draftwire.nodes.channel.playing import Direction
from draftwire.nodes.console.assemble import build_channel
from draftwire.nodes.console.simulate.asking import Ask, User
from draftwire.nodes.console.simulate.outcomes import Series
from draftwire.nodes.console.simulate.pairs import Pair
from draftwire.nodes.console.simulate.seeds import number_of, stream_of
from draftwire.nodes.console.simulate.telling import Telling
from draftwire.nodes.console.simulate.tracing import Tap, TraceHash
from draftwire.nodes.controller.choice import make_policy
from draftwire.nodes.controller.node import ControllerNode
from draftwire.nodes.device.node import DeviceNode
from draftwire.nodes.models.pacing import ModelledCompute, StepTimes
from draftwire.nodes.speculation.noise import NOISE_VERSION
from draftwire.nodes.target.node import TargetNode
from draftwire.runtime.clock import WHOSE, LoopClock, waiting_tasks
from draftwire.runtime.config import ChannelSettings, Topology
from draftwire.runtime.errors import DeadlockError
from draftwire.runtime.link import LinkSchedule
from draftwire.runtime.security import Service
from draftwire.runtime.session.request import Timing
from draftwire.runtime.transport import MemoryNetwork, MemoryTransport

FIRST_REQUESTS_S: Final = 1.0
"""Devices begin to ask spread over so long."""

READY_WITHIN_S: Final = 60.0
"""Of virtual time, in which a node that works takes none to be ready."""

Run = Callable[[Callable[[], None]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Who is where: `devices` devices, `per_bs` of them at each BS."""

    devices: int
    per_bs: int
    named: Sequence[str] = ()
    "take the first places; one that is called as a place is, device-0007, has that place"

    def __iter__(self) -> Iterator[tuple[str, list[str]]]:
        """Each BS with its devices, by name."""
        digits = max(4, len(str(self.devices)))
        names = [f"device-{number:0{digits}}" for number in range(1, self.devices + 1)]
        free = [place for place, name in enumerate(names) if name not in self.named]
        others = [name for name in self.named if name not in names]
        for place, name in zip(free, others, strict=False):
            names[place] = name
        for first in range(0, self.devices, self.per_bs):
            yield f"bs-{first // self.per_bs + 1:0{digits}}", names[first : first + self.per_bs]


class Fleet:
    """All nodes, and who asks at each device; see `start`."""

    def __init__(
        self,
        topology: Topology,
        *,
        pair: Pair,
        times: StepTimes,
        seed: int,
        seconds: float,
        ask: Ask,
        keep_texts: bool,
        telling: Telling,
        colocated: bool = False,
        on_step: Callable[[StepReport], None] | None = None,
    ) -> None:
        """See `simulate`."""
        self.users: dict[str, User] = {}
        "by device"
        self.bs_of: dict[str, str] = {}
        self._at_bs = Counter[str]()
        self.trace = TraceHash()
        self.tasks: list[asyncio.Task[None]] = []
        self._topology = _in_memory(topology)
        self._pair, self._times, self._seed, self._seconds = pair, times, seed, seconds
        self._ask, self._keep_texts, self._telling = ask, keep_texts, telling
        self._colocated, self._on_step = colocated, on_step
        self._clock = LoopClock()
        self._tables = by_tag(pair.tables)
        self._hello = Hello(
            protocol_version=PROTOCOL_VERSION,
            noise_version=NOISE_VERSION,
            vocab_size=pair.vocab_size,
            fingerprint=pair.fingerprint,
        )

    def end(self) -> None:
        """The time is over: what is under way counts so far, and every node is told to end."""
        for name, user in self.users.items():
            user.cut()
            self.trace.text(name, user.texts)
        for task in self.tasks:
            task.cancel()

    def sharing(self, device: str) -> int:
        """How many devices its BS has, itself included."""
        return self._at_bs[self.bs_of[device]]

    async def start(self, places: Places, tasks: asyncio.TaskGroup) -> None:
        """Start every node, each once those are ready that it talks to; devices then begin to ask.

        Raises ConfigurationError for a policy that can't be had, DeadlockError for a node that never is.
        """
        for bs, devices in places:
            await self._serve(bs, devices, tasks)
            for device in devices:
                await self._join(device, bs, tasks)
        for name, user in self.users.items():
            self._begin(user.run(), "asks", whose=name, tasks=tasks)

    async def _serve(self, bs: str, devices: Sequence[str], tasks: asyncio.TaskGroup) -> None:
        """A BS, its controller, and its channel where there is one, for these devices."""
        self._network = network = MemoryNetwork()
        self._compute = ModelledCompute(self._clock, self._times)
        controller = self._controller(bs, network)
        await self._ready(controller.run, "runs", whose=f"{bs} controller", tasks=tasks)
        target = self._target(bs, network)
        await self._ready(target.run, "runs", whose=f"{bs} target", tasks=tasks)
        if self._topology.channel is not None:
            channel = self._channel(bs, devices, self._topology.channel, network)
            await self._ready(channel.run, "runs", whose=f"{bs} channel", tasks=tasks)

    def _controller(self, bs: str, network: MemoryNetwork) -> ControllerNode:
        settings = self._topology.controller
        return ControllerNode(
            transport=MemoryTransport(network),
            address=settings.address,
            policy=make_policy(settings.policy),
            wall_s=self._clock.now_s,
            logger=self._telling.logger(node="controller", bs=bs),
            table_sets=self._tables,
        )

    def _target(self, bs: str, network: MemoryNetwork) -> TargetNode:
        return TargetNode(
            self._topology.target,
            self._topology.controller,
            transport=MemoryTransport(network),
            clock=self._clock,
            compute=self._compute,
            model=self._pair.target,
            tokenizer=self._pair.decoder,
            hello=self._hello,
            boot=number_of(self._seed, "boot", bs, bits=32),
            wall_s=self._clock.now_s,
            logger=self._telling.logger(node="target", bs=bs),
            on_step=self._stepped,
            tables=self._tables,
            pad_to=self._topology.security.pad_to,
        )

    def _channel(
        self, bs: str, devices: Sequence[str], settings: ChannelSettings, network: MemoryNetwork
    ) -> ChannelNode:
        """With the own links of its own devices only: all of them at each BS would take long to read."""
        own = {name: settings.devices[name] for name in devices if name in settings.devices}
        settings = replace(settings, seed=channel_seed(self._seed, bs, settings), devices=own)
        return build_channel(
            replace(self._topology, channel=settings),
            transport=MemoryTransport(network),
            logger=self._telling.logger(node="channel", bs=bs),
            capture=Tap(self.trace, self._heard),
        )

    async def _join(self, name: str, bs: str, tasks: asyncio.TaskGroup) -> None:
        """A device of the BS that was started last, and who asks at it."""
        topology, numbers = self._topology, stream_of(self._seed, "device", name)
        node = DeviceNode(
            name=name,
            address=topology.device_connects_to,
            service=Service.TARGET if topology.channel is None else Service.CHANNEL,
            transport=MemoryTransport(self._network),
            clock=self._clock,
            compute=self._compute if self._colocated else ModelledCompute(self._clock, self._times),
            model=self._pair.draft,
            hello=replace(self._hello, tables=tuple(one.hash for one in self._pair.tables)),
            logger=self._telling.logger(node=name, bs=bs),
            numbers=numbers,
            timing=Timing(reach_s=topology.device.reach_s, absent_s=topology.device.absent_s),
            tables=self._tables,
            pad_to=topology.security.pad_to,
        )
        await self._ready(node.run, "hears", whose=name, tasks=tasks)
        within_s = min(FIRST_REQUESTS_S, self._seconds)
        self.bs_of[name] = bs
        self._at_bs[bs] += 1
        self.users[name] = User(
            node,
            clock=self._clock,
            ask=self._ask,
            begins_s=stream_of(self._seed, "first request", name).uniform(0, within_s),
            pauses=stream_of(self._seed, "pauses", name),
            series=Series(self._seconds),
            keep_texts=self._keep_texts,
        )

    async def _ready(self, run: Run, name: str, *, whose: str, tasks: asyncio.TaskGroup) -> None:
        """Start a node's `run`, and wait until it says that it is ready."""
        ready = asyncio.Event()

        async def main() -> None:
            await run(ready.set)

        self._begin(main(), name, whose=whose, tasks=tasks)
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                await ready.wait()
        except TimeoutError:
            raise stuck(self._clock.now_s(), f"{whose} is not ready") from None

    def _begin(
        self, main: Coroutine[Any, Any, None], name: str, *, whose: str, tasks: asyncio.TaskGroup
    ) -> None:
        outside = WHOSE.set(whose)
        self.tasks.append(tasks.create_task(main, name=name))
        WHOSE.reset(outside)

    def _heard(self, device: str, at_s: float) -> None:
        """A device has sent something."""
        user = self.users.get(device)
        if user is not None:
            user.active_s = at_s

    def _stepped(self, report: StepReport) -> None:
        user = self.users.get(report.device)
        if user is not None:
            user.active_s = report.ended_at_s
            user.series.add(report)
        if self._on_step is not None:
            self._on_step(report)


def stuck(now_s: float, cause: str) -> DeadlockError:
    """The error that says who waits, the one that asks left out."""
    return DeadlockError(now_s, waiting_tasks(asyncio.get_running_loop()), cause=cause)


def longest_silent(users: Sequence[User]) -> User | None:
    """Of the devices with a request under way the one unheard of for longest."""
    asking = [one for one in users if one.account is not None]
    return min(asking, key=lambda one: one.active_s, default=None)


def channel_seed(seed: int, bs: str, channel: ChannelSettings) -> int:
    """Of the channel in front of this BS; [channel] seed counts too. One that `link plot --seed` takes."""
    return number_of(seed, "channel", bs, channel.seed, bits=62)


def named_devices(topology: Topology) -> Sequence[str]:
    """Whom the file gives links of their own, in its order."""
    return () if topology.channel is None else tuple(topology.channel.devices)


def schedules_of(channel: ChannelSettings, device: str) -> Mapping[Direction, LinkSchedule]:
    """What the links of a device do, its own where the channel has some for it."""
    own = channel.for_device(device) if channel.devices else channel
    return {Direction.UPLINK: own.uplink_schedule, Direction.DOWNLINK: own.downlink_schedule}


def _in_memory(topology: Topology) -> Topology:
    """Each node binds the very address that others connect to."""
    channel = topology.channel
    return replace(
        topology,
        target=replace(topology.target, bind=None),
        controller=replace(topology.controller, bind=None),
        channel=None if channel is None else replace(channel, bind=None),
    )


__all__ = [
    "FIRST_REQUESTS_S",
    "READY_WITHIN_S",
    "Fleet",
    "Places",
    "channel_seed",
    "longest_silent",
    "named_devices",
    "schedules_of",
    "stuck",
]
