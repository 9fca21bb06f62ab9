"""The channel emulator: stands between devices and BS, forwards opaque messages, and shapes each direction.

Devices connect to it as they would to the BS. For each of them it opens one connection to the BS under the
device's own identity, so neither end can tell that it is there. Each device has its own two links: what it
sends waits for its own uplink only. Messages are neither read nor changed.

What the links do may change: by a schedule, and by orders to an address of their own; see control.py.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from types import MappingProxyType

import numpy as np
from structlog.typing import FilteringBoundLogger

from draftwire.codecs.errors import Refusal
from draftwire.nodes.channel.control import LinkOrders
from draftwire.nodes.channel.deliveries import Deliveries, Lateness
from draftwire.nodes.channel.playing import Direction, PlayedLink
from draftwire.runtime.clock import Clock
from draftwire.runtime.link import Link, LinkDrop, LinkSpec, LinkStatistics
from draftwire.runtime.link_schedule import LinkSchedule
from draftwire.runtime.telemetry import LINK_EVENT
from draftwire.runtime.transport import Endpoint, EndpointStatistics, Transport
from draftwire.runtime.wake import Wake

IDLE_S = 60.0
"""A device unheard of for this long gives up its place when another needs one."""


class ChannelRefusal(StrEnum):
    """Why the channel takes no message from a peer."""

    ANONYMOUS = "anonymous"
    "it connected without an identity, so it can't be known to the BS by one"
    TOO_MANY_DEVICES = "too_many_devices"
    "every place is taken by a device that is active"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStatistics:
    """What the channel has done since it started."""

    devices: int
    links: Mapping[tuple[bytes, Direction], LinkStatistics]
    "of the devices it serves now"
    refused: Mapping[ChannelRefusal, int]
    "messages"
    orders_refused: Mapping[Refusal | str, int]
    "messages to the control address that were answered by nothing, by cause"
    lateness: Lateness
    facing_devices: EndpointStatistics
    facing_target: Mapping[bytes, EndpointStatistics]


@dataclass(slots=True, kw_only=True)
class _Device:
    upstream: Endpoint
    links: dict[Direction, Link]
    heard_s: float
    listening: asyncio.Task[None]


class ChannelNode:
    """An actor that emulates a link; see `run`."""

    name = "channel"

    def __init__(
        self,
        *,
        transport: Transport,
        clock: Clock,
        address: str,
        target_address: str,
        uplink: LinkSpec | LinkSchedule,
        downlink: LinkSpec | LinkSchedule,
        seed: int,
        max_devices: int,
        logger: FilteringBoundLogger,
        control_address: str | None = None,
    ) -> None:
        self.address = address
        "to bind; once started, the one bound"
        self.control_address = control_address
        "the same, for orders; None: it takes none"
        self._transport = transport
        self._clock = clock
        self._target_address = target_address
        self._played = {
            Direction.UPLINK: PlayedLink(_schedule(uplink)),
            Direction.DOWNLINK: PlayedLink(_schedule(downlink)),
        }
        self._changing = Wake(clock)
        self._orders = LinkOrders(
            current=lambda direction: self._played[direction].schedule, follow=self.set_link, logger=logger
        )
        self._seed = seed
        self._max_devices = max_devices
        self._logger = logger
        self._deliveries = Deliveries(clock)
        self._devices: dict[bytes, _Device] = {}
        self._refused: Counter[ChannelRefusal] = Counter()
        self._dropped_causes = set[tuple[Direction, LinkDrop]]()
        self._downstream: Endpoint | None = None

    async def run(self, started: Callable[[], None]) -> None:
        """Forward until cancelled; what is under way then is lost, as when a link breaks.

        Time 0 of the schedules it was made with is the first message of any device. Raises AddressError if an
        address can't be bound.
        """
        async with AsyncExitStack() as stack:
            downstream = self._downstream = await self._transport.bind(self.address)
            stack.push_async_callback(downstream.close)
            self.address = downstream.address
            control = None
            if self.control_address is not None:
                control = await self._transport.bind(self.control_address)
                stack.push_async_callback(control.close)
                self.control_address = control.address
            stack.push_async_callback(self._stop)
            for direction in Direction:
                self._log_link(direction, self._clock.now_s())
            async with asyncio.TaskGroup() as group:
                group.create_task(self._deliveries.run(), name="channel deliveries")
                group.create_task(self._play(), name="channel schedule")
                if control is not None:
                    group.create_task(self._orders.run(control), name="channel orders")
                started()
                await self._hear_devices(downstream, group)

    def set_link(self, direction: Direction, link: LinkSpec | LinkSchedule) -> None:
        """Change a direction of every device's link, now: what is under way keeps its times.

        Time 0 of a schedule is now too. It takes the place of a schedule that was under way.
        """
        played = self._played[direction] = PlayedLink(_schedule(link))
        now_s = self._clock.now_s()
        played.start(now_s)
        self._apply(direction, now_s)

    def statistics(self) -> ChannelStatistics:
        """Counts so far; needs to have started."""
        assert self._downstream is not None, "not started"
        now_s = self._clock.now_s()
        return ChannelStatistics(
            devices=len(self._devices),
            links=MappingProxyType(
                {
                    (identity, direction): link.statistics(now_s)
                    for identity, device in self._devices.items()
                    for direction, link in device.links.items()
                }
            ),
            refused=MappingProxyType(dict(self._refused)),
            orders_refused=self._orders.refused(),
            lateness=self._deliveries.lateness(),
            facing_devices=self._downstream.statistics(),
            facing_target=MappingProxyType(
                {identity: device.upstream.statistics() for identity, device in self._devices.items()}
            ),
        )

    async def _hear_devices(self, downstream: Endpoint, group: asyncio.TaskGroup) -> None:
        while True:
            received = await downstream.receive()
            device = await self._device(received.peer, received.at_s, group)
            if device is not None:
                device.heard_s = received.at_s
                for played in self._played.values():
                    if played.start(received.at_s):
                        self._changing.set()
                send = partial(device.upstream.send, b"", received.data)
                self._shape(device, Direction.UPLINK, received.at_s, len(received.data), send)

    async def _play(self) -> None:
        """Let each change of a schedule happen at its time, for ever."""
        while True:
            due = [due_s for played in self._played.values() if (due_s := played.due_s()) is not None]
            await self._changing.wait(min(due, default=None))
            for direction in Direction:
                self._advance(direction, self._clock.now_s())

    def _advance(self, direction: Direction, now_s: float) -> None:
        if self._played[direction].advance(now_s):
            self._apply(direction, now_s)

    def _apply(self, direction: Direction, now_s: float) -> None:
        """Let what holds now hold for every device that is there."""
        for device in self._devices.values():
            device.links[direction].spec = self._played[direction].spec
        self._changing.set()
        self._log_link(direction, now_s)

    def _log_link(self, direction: Direction, now_s: float) -> None:
        spec = self._played[direction].spec
        self._logger.info(
            LINK_EVENT,
            direction=direction.value,
            link=str(spec),
            rate_bps=spec.rate_bps,
            delay_s=spec.delay_s,
            jitter_s=spec.jitter_s,
            at_s=now_s,
        )

    async def _stop(self) -> None:
        self._logger.info("channel stopped", **_flat(self.statistics()))
        for device in self._devices.values():
            await device.upstream.close()

    def _shape(
        self, device: _Device, direction: Direction, at_s: float, size_bytes: int, send: Callable[[], object]
    ) -> None:
        """Let a message into a link, and have it sent on when the link delivers it."""
        self._advance(direction, at_s)  # it may come before the timer of a change that it comes behind
        outcome = device.links[direction].offer(at_s, size_bytes)
        if not isinstance(outcome, LinkDrop):
            self._deliveries.add(outcome, send)
        elif (direction, outcome) not in self._dropped_causes:
            self._dropped_causes.add((direction, outcome))  # said once; how often is in the statistics
            self._logger.warning("link drops messages", direction=direction.value, cause=outcome.value)

    async def _device(self, identity: bytes, now_s: float, group: asyncio.TaskGroup) -> _Device | None:
        """The device of this identity, connected to the BS on its first message; None: it was refused."""
        if identity in self._devices:
            return self._devices[identity]
        if identity.startswith(b"\0"):
            self._refuse(ChannelRefusal.ANONYMOUS, identity)
            return None
        if len(self._devices) >= self._max_devices and not await self._let_go_of_an_idle_one(now_s):
            self._refuse(ChannelRefusal.TOO_MANY_DEVICES, identity)
            return None
        upstream = await self._transport.connect(self._target_address, identity=identity)
        device = self._devices[identity] = _Device(
            upstream=upstream,
            links={
                direction: Link(played.spec, jitter_stream(self._seed, identity, direction))
                for direction, played in self._played.items()
            },
            heard_s=now_s,
            listening=group.create_task(
                self._hear_target(identity, upstream), name=f"channel to {identity!r}"
            ),
        )
        self._logger.info("device connected", device=identity.decode(errors="replace"))
        return device

    async def _hear_target(self, identity: bytes, upstream: Endpoint) -> None:
        assert self._downstream is not None, "started by run"
        while True:
            received = await upstream.receive()
            send = partial(self._downstream.send, identity, received.data)
            device = self._devices[identity]
            self._shape(device, Direction.DOWNLINK, received.at_s, len(received.data), send)

    async def _let_go_of_an_idle_one(self, now_s: float) -> bool:
        identity, device = min(self._devices.items(), key=lambda item: item[1].heard_s)
        if now_s - device.heard_s < IDLE_S:
            return False
        del self._devices[identity]
        device.listening.cancel()
        await device.upstream.close()
        self._logger.info("idle device let go", device=identity.decode(errors="replace"))
        return True

    def _refuse(self, reason: ChannelRefusal, identity: bytes) -> None:
        if not self._refused[reason]:
            self._logger.warning("peer refused", reason=reason.value, peer=identity.decode(errors="replace"))
        self._refused[reason] += 1


def jitter_stream(seed: int, identity: bytes, direction: Direction) -> np.random.Generator:
    """The jitter of one direction of one device: its own stream, the same whoever else is connected."""
    name = hashlib.sha256(direction.value.encode() + b"\0" + identity).digest()
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *name])))


def _schedule(link: LinkSpec | LinkSchedule) -> LinkSchedule:
    return LinkSchedule.constant(link) if isinstance(link, LinkSpec) else link


def _flat(statistics: ChannelStatistics) -> dict[str, object]:
    """The totals of all devices, for one log line."""
    values: dict[str, object] = {"devices": statistics.devices}
    for direction in Direction:
        links = [link for (_, at), link in statistics.links.items() if at is direction]
        values[f"{direction.value}_delivered"] = sum(link.delivered for link in links)
        values[f"{direction.value}_delivered_bytes"] = sum(link.delivered_bytes for link in links)
        values[f"{direction.value}_dropped"] = sum(sum(link.dropped.values()) for link in links)
    values["refused"] = sum(statistics.refused.values())
    values["lateness_mean_s"] = statistics.lateness.mean_s
    values["lateness_max_s"] = statistics.lateness.max_s
    values["late"] = statistics.lateness.late
    return values


__all__ = [
    "ChannelNode",
    "ChannelRefusal",
    "ChannelStatistics",
    "Direction",
    "jitter_stream",
]
