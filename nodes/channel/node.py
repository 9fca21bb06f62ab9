"""The channel emulator: stands between devices and BS, forwards opaque messages, and shapes each direction.

Devices connect to it as they would to the BS. For each of them it opens one connection to the BS under the
device's own identity, so neither end can tell that it is there. Each device has its own two links: what it
sends waits for its own uplink only. Messages are neither read nor changed.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from types import MappingProxyType

import numpy as np
from structlog.typing import FilteringBoundLogger

from draftwire.nodes.channel.deliveries import Deliveries, Lateness
from draftwire.runtime.clock import Clock
from draftwire.runtime.link import Link, LinkDrop, LinkSpec, LinkStatistics
from draftwire.runtime.transport import Endpoint, EndpointStatistics, Transport

IDLE_S = 60.0
"""A device unheard of for this long gives up its place when another needs one."""


class Direction(StrEnum):
    """Of a link, seen from the device."""

    UPLINK = "uplink"
    DOWNLINK = "downlink"


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
        uplink: LinkSpec,
        downlink: LinkSpec,
        seed: int,
        max_devices: int,
        logger: FilteringBoundLogger,
    ) -> None:
        self.address = address
        "to bind; once started, the one bound"
        self._transport = transport
        self._clock = clock
        self._target_address = target_address
        self._specs = {Direction.UPLINK: uplink, Direction.DOWNLINK: downlink}
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

        Raises AddressError if its address can't be bound.
        """
        downstream = self._downstream = await self._transport.bind(self.address)
        self.address = downstream.address
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._deliveries.run(), name="channel deliveries")
                started()
                while True:
                    received = await downstream.receive()
                    device = await self._device(received.peer, received.at_s, group)
                    if device is not None:
                        device.heard_s = received.at_s
                        send = partial(device.upstream.send, b"", received.data)
                        self._shape(device, Direction.UPLINK, received.at_s, len(received.data), send)
        finally:
            self._logger.info("channel stopped", **_flat(self.statistics()))
            for device in self._devices.values():
                await device.upstream.close()
            await downstream.close()

    def set_link(self, direction: Direction, spec: LinkSpec) -> None:
        """Change a direction of every device's link, now: what is under way keeps its times."""
        self._specs[direction] = spec
        for device in self._devices.values():
            device.links[direction].spec = spec
        self._logger.info("link changed", direction=direction.value, link=str(spec))

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
            lateness=self._deliveries.lateness(),
            facing_devices=self._downstream.statistics(),
            facing_target=MappingProxyType(
                {identity: device.upstream.statistics() for identity, device in self._devices.items()}
            ),
        )

    def _shape(
        self, device: _Device, direction: Direction, at_s: float, size_bytes: int, send: Callable[[], object]
    ) -> None:
        """Let a message into a link, and have it sent on when the link delivers it."""
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
                direction: Link(spec, jitter_stream(self._seed, identity, direction))
                for direction, spec in self._specs.items()
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
