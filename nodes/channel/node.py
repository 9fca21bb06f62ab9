"""The channel emulator: stands between devices and BS, forwards opaque messages, and shapes each direction.

Devices connect to it as they would to the BS. For each of their connections it opens one to the BS under
the device's own name, so neither end can tell that it is there. Each device has its own two links, however
often it connects: what it sends waits for its own uplink only. Messages are neither read nor changed.

What the links do may change: by a schedule, and by orders to an address of their own; see control.py. A
device may have other links than the rest. A message goes from a socket to its Way, waits there until
Deliveries' timer is due, and leaves by the other socket.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from structlog.typing import FilteringBoundLogger

from draftwire.codecs.errors import Refusal
from draftwire.codecs.frame import encode_frame
from draftwire.codecs.messages import Reason, Refused
from draftwire.nodes.channel.airtime import AirTime
from draftwire.nodes.channel.capture import TakesFrames
from draftwire.nodes.channel.control import LinkOrders
from draftwire.nodes.channel.deliveries import Deliveries, Lateness
from draftwire.nodes.channel.links import Links
from draftwire.nodes.channel.places import MAX_CONNECTIONS, Connection, Places, files_lacking
from draftwire.nodes.channel.playing import Direction, OwnSchedules, Programme
from draftwire.nodes.channel.punctuality import Punctuality, Reading
from draftwire.nodes.channel.traffic import Tell, Traffic
from draftwire.nodes.channel.way import Way
from draftwire.runtime.absence import LOOK_S, Absence
from draftwire.runtime.channel_settings import CellSettings
from draftwire.runtime.clock import Clock
from draftwire.runtime.errors import LocalError
from draftwire.runtime.link import LinkDrop, LinkSchedule, LinkSpec, LinkStatistics, traces_among
from draftwire.runtime.security import Service
from draftwire.runtime.transport import (
    Endpoint,
    EndpointStatistics,
    Offence,
    Received,
    Transport,
    Trouble,
)

LATENESS_BUDGET_S: Final = 0.002
"""Of the 99th percentile, where the topology says nothing."""


class ChannelRefusal(StrEnum):
    """Why the channel takes no message from a peer."""

    IMPOSTOR = "impostor"
    "it goes by a name that its key does not have"
    TOO_MANY_DEVICES = "too_many_devices"
    "every place is taken by a device that is active"
    NO_UPSTREAM = "no_upstream"
    "no connection to the BS can be made for it now: files or keys are lacking; its later messages try again"
    STOPPING = "stopping"
    "the channel has been told to stop, and only delivers what is under way"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStatistics:
    """What the channel has done since it started."""

    devices: int
    connections: int
    "of devices"
    links: Mapping[tuple[str, Direction], LinkStatistics]
    "of the devices it serves now, by name"
    past: Mapping[Direction, LinkStatistics]
    "sums of those that it has let go; absent: none"
    unsent: int
    "messages that a link has delivered, and whose connection was gone, or did not take them"
    refused: Mapping[ChannelRefusal, int]
    "messages"
    orders_refused: Mapping[Refusal | str, int]
    "messages to the control address that were answered by nothing, by cause"
    lateness: Lateness
    reading: Lateness
    "how late its loop was to read, by looks while messages came"
    facing_devices: EndpointStatistics
    facing_target: Mapping[bytes, EndpointStatistics]
    "by the device's connection"


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
        wall_s: Callable[[], float],
        logger: FilteringBoundLogger,
        control_address: str | None = None,
        capture: TakesFrames | None = None,
        own_links: OwnSchedules = MappingProxyType({}),
        lateness_budget_s: float = LATENESS_BUDGET_S,
        connections_a_key: int = MAX_CONNECTIONS,
        cell: CellSettings | None = None,
        tell: Tell | None = None,
    ) -> None:
        """`wall_s` is the clock on the wall, UTC. `capture` gets every frame, and is closed at the end.

        `own_links`: of devices by name, in place of uplink and downlink; a name below it has them too.
        `connections_a_key`: most of one key, whatever names they have. `cell`: all devices share a radio, a
        direction for itself; None: each has its links to itself. `tell`: who is told of traffic.
        """
        self.address = address
        "to bind; once started, the one bound"
        self.control_address = control_address
        "the same, for orders; None: it takes none"
        self._transport, self._clock, self._target_address = transport, clock, target_address
        self._max_devices, self._connections_a_key = max_devices, connections_a_key
        self._capture, self._logger = capture, logger
        self._deliveries = Deliveries(clock)
        self._links = Links(
            Programme(uplink=_schedule(uplink), downlink=_schedule(downlink), own=own_links),
            seed=seed,
            most_own=max_devices,
            deliveries=self._deliveries,
            clock=clock,
            logger=logger,
            cell=cell,
        )
        self._cell = cell
        self._air_time = AirTime(self._links, clock=clock, logger=logger)
        self._traffic = None if tell is None else Traffic(tell, clock=clock, reach=self._links.reach)
        self._orders = LinkOrders(
            links=self._links,
            wall_s=wall_s,
            logger=logger,
            find_trace=traces_among(
                [
                    *(_schedule(link) for link in (uplink, downlink)),
                    *(one for schedules in own_links.values() for one in schedules.values()),
                ]
            ),
        )
        self._reading = Reading(clock)
        self._punctuality = Punctuality(
            self._deliveries, self._reading, clock=clock, budget_s=lateness_budget_s, logger=logger
        )
        self._places = Places(max_devices, each=connections_a_key)
        self._refused: Counter[ChannelRefusal] = Counter()
        self._refusals_said = set[tuple[ChannelRefusal, str]]()
        self._dropped_causes = set[tuple[Direction, LinkDrop]]()
        self._downstream: Endpoint | None = None
        self._absence = Absence(away=self._log_away, back=self._log_back)
        self._stopping = False

    async def run(self, started: Callable[[], None]) -> None:
        """Forward until cancelled; what is under way then is lost, as when a link breaks: see `drain`.

        Time 0 of the schedules it was made with is the first message of any device. Raises AddressError if an
        address can't be bound, or the BS's is none, and ConfigurationError if a key is missing.
        """
        async with AsyncExitStack() as stack:
            if self._capture is not None:
                stack.callback(self._capture.close)
            downstream = self._downstream = await self._transport.bind(self.address, service=Service.CHANNEL)
            stack.push_async_callback(downstream.close)
            self.address = downstream.address
            control = None
            if self.control_address is not None:
                control = await self._transport.bind(self.control_address, service=Service.LINKS)
                stack.push_async_callback(control.close)
                self.control_address = control.address
            own = await self._transport.connect(self._target_address, service=Service.TARGET, name=self.name)
            stack.push_async_callback(own.close)
            self._warn_of_files()
            stack.push_async_callback(self._stop)
            self._links.tell()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._deliveries.run(), name="channel deliveries")
                group.create_task(self._punctuality.run(), name="channel lateness")
                group.create_task(self._links.play(), name="channel schedule")
                group.create_task(self._watch(own), name="channel watches")
                if control is not None:
                    group.create_task(self._orders.run(control), name="channel orders")
                if self._cell is not None:
                    group.create_task(self._air_time.run(), name="channel air time")
                if self._traffic is not None:
                    group.create_task(self._traffic.run(), name="channel traffic")
                cell = {} if self._cell is None else {"cell": self._cell.scheduler.value}
                self._logger.info("channel.ready", address=self.address, **cell)
                started()
                await self._hear_devices(downstream, group)

    async def drain(self, within_s: float) -> None:
        """Take nothing new, and return when all has been delivered that can come within so long."""
        self._stopping = True
        deadline_s = self._clock.now_s() + within_s
        while self._clock.now_s() <= deadline_s and self._links.next_s() <= deadline_s:
            change_s = self._links.held_until_s()  # what an outage holds goes on with the next link
            if not await self._deliveries.progress(min(deadline_s, change_s)):
                return
            self._links.advance(self._clock.now_s())

    def set_link(
        self, direction: Direction, link: LinkSpec | LinkSchedule, *, device: str | None = None
    ) -> None:
        """As an order does, see Links.order."""
        self._links.order(direction, _schedule(link), device=device)

    def statistics(self) -> ChannelStatistics:
        """Counts so far; needs to have started."""
        assert self._downstream is not None, "not started"
        now_s = self._clock.now_s()
        return ChannelStatistics(
            devices=len(self._links),
            connections=len(self._places),
            links=self._links.statistics(now_s),
            past=self._links.past(),
            unsent=self._links.unsent(),
            refused=MappingProxyType(dict(self._refused)),
            orders_refused=self._orders.refused(),
            lateness=self._deliveries.lateness(),
            reading=self._reading.lateness(),
            facing_devices=self._downstream.statistics(),
            facing_target=MappingProxyType(
                {peer: connection.upstream.statistics() for peer, connection in self._places}
            ),
        )

    async def _hear_devices(self, downstream: Endpoint, group: asyncio.TaskGroup) -> None:
        while True:
            received = await downstream.receive()
            connection = self._places.get(received.peer)
            if connection is None:
                connection = await self._connected(received, group)
                if connection is None:
                    continue
            connection.heard_s = received.at_s
            self._shape(connection.uplink, received, connection.upstream.send, b"")

    async def _watch(self, own: Endpoint) -> None:
        """Say it if the BS can't be reached: devices, who have their connection, see silence only.

        `own` is a connection that lasts, whereas devices come and go with theirs, and a new one has no
        trouble yet. Without devices nobody misses the BS.
        """
        while True:
            await self._clock.sleep_until(self._clock.now_s() + LOOK_S)
            if self._places:
                self._absence.look(own.trouble(), self._clock.now_s())

    def _log_away(self, trouble: Trouble) -> None:
        self._logger.warning("channel.no_target", kind=trouble.kind.value, text=trouble.text)

    def _log_back(self, after_s: float) -> None:
        self._logger.info("channel.target_back", after_s=after_s)

    async def _stop(self) -> None:
        self._punctuality.conclude()
        self._logger.info("channel.stopped", **_flat(self.statistics()))
        for _, connection in self._places:
            await connection.upstream.close()

    def _shape(
        self, way: Way, received: Received, send: Callable[[bytes, bytes], object], peer: bytes
    ) -> None:
        """Let a message into a link, and have it sent on when the link delivers it."""
        if self._stopping:
            detail = "what is under way is delivered, no more"
            self._refuse(ChannelRefusal.STOPPING, way.name, detail=detail)
            return
        self._reading.look()
        drop = way.take(received.at_s, send, peer, received.data)
        if self._traffic is not None:
            self._traffic.moved(way)
        if self._capture is not None:
            self._capture.take(
                at_s=received.at_s, direction=way.direction, device=way.name, data=received.data, lost=drop
            )
        if drop is not None and (way.direction, drop) not in self._dropped_causes:
            self._dropped_causes.add((way.direction, drop))  # said once; how often is in the statistics
            self._logger.warning("channel.drops", direction=way.direction.value, cause=drop.value)

    async def _connected(self, received: Received, group: asyncio.TaskGroup) -> Connection | None:
        """Who sent the first message of a connection, joined to the BS; None: it was refused."""
        peer, name, now_s = received.peer, received.name, received.at_s
        if received.impostor:
            self._refuse(ChannelRefusal.IMPOSTOR, name, detail=received.impostor)
            self._answer_impostor(received)
            return None
        in_the_way = self._places.in_the_way(name, now_s)
        if in_the_way is None:
            taken = f"all {self._max_devices} places are taken"
            self._refuse(ChannelRefusal.TOO_MANY_DEVICES, name, detail=taken)
            return None
        for other in in_the_way:
            await self._let_go(other, unless=name)
        try:
            upstream = await self._transport.connect(self._target_address, service=Service.TARGET, name=name)
        except LocalError as error:  # of this device: the others go on
            self._refuse(ChannelRefusal.NO_UPSTREAM, name, detail=str(error), kind=type(error).__name__)
            return None
        self._links.start(now_s)
        ways = self._links.of(name)
        listening = group.create_task(
            self._hear_target(peer, ways[Direction.DOWNLINK], upstream), name=f"channel to {name}"
        )
        connection = Connection(
            name=name,
            uplink=ways[Direction.UPLINK],
            upstream=upstream,
            heard_s=now_s,
            listening=listening,
        )
        self._places.add(peer, connection)
        self._logger.info("channel.connected", device=name)
        return connection

    def _answer_impostor(self, received: Received) -> None:
        """To no request of it: its messages are not read here."""
        assert self._downstream is not None, "started by run"
        refused = Refused(reason=Reason.IDENTITY, detail=received.impostor)
        self._downstream.send(received.peer, encode_frame(refused, session=0, sequence=0))
        self._downstream.offence(received.peer, Offence.IMPOSTOR)

    async def _hear_target(self, peer: bytes, way: Way, upstream: Endpoint) -> None:
        assert self._downstream is not None, "started by run"
        send = self._downstream.send
        while True:
            self._shape(way, await upstream.receive(), send, peer)

    async def _let_go(self, peer: bytes, *, unless: str) -> None:
        """A name without connections gives up its links, `unless` it is this one."""
        connection = self._places.remove(peer)
        if connection.name != unless and not self._places.has(connection.name):
            self._links.forget(connection.name)
        connection.listening.cancel()
        await connection.upstream.close()
        self._logger.info("channel.let_go", device=connection.name)

    def _warn_of_files(self) -> None:
        lacking = files_lacking(self._max_devices, each=self._connections_a_key)
        if lacking is not None:
            self._logger.warning(
                "channel.few_files",
                open_files=lacking[0],
                needed_files=lacking[1],
                detail=f"too few for {self._max_devices} devices: raise `ulimit -n`, or lower max_devices",
            )

    def _refuse(self, reason: ChannelRefusal, name: str, *, detail: str, kind: str = "") -> None:
        """Every one counted, the first of a reason, and of each kind of error, logged."""
        if (reason, kind) not in self._refusals_said:
            self._refusals_said.add((reason, kind))
            self._logger.warning("channel.refused", reason=reason.value, peer=name, detail=detail)
        self._refused[reason] += 1


def _schedule(link: LinkSpec | LinkSchedule) -> LinkSchedule:
    return LinkSchedule.constant(link) if isinstance(link, LinkSpec) else link


def _flat(statistics: ChannelStatistics) -> dict[str, object]:
    """The totals of all devices that there were, for one log line."""
    values: dict[str, object] = {"devices": statistics.devices}
    for direction in Direction:
        links = [link for (_, at), link in statistics.links.items() if at is direction]
        if direction in statistics.past:
            links.append(statistics.past[direction])
        values[f"{direction.value}_delivered"] = sum(link.delivered for link in links)
        values[f"{direction.value}_delivered_bytes"] = sum(link.delivered_bytes for link in links)
        values[f"{direction.value}_dropped"] = sum(sum(link.dropped.values()) for link in links)
    values["unsent"] = statistics.unsent
    values["refused"] = sum(statistics.refused.values())
    values["lateness_mean_s"] = statistics.lateness.mean_s
    values["lateness_max_s"] = statistics.lateness.max_s
    values["late"] = statistics.lateness.late
    values["reading_mean_s"] = statistics.reading.mean_s
    values["reading_max_s"] = statistics.reading.max_s
    return values


__all__ = [
    "ChannelNode",
    "ChannelRefusal",
    "ChannelStatistics",
    "Direction",
]
