"""The links of a channel in use: a Way a device and direction, and what changes them when.

A change moves all that waits, 1.5 us a message. So that no schedule keeps a channel from its other work,
changes have a Share of its time; those that come meanwhile happen as one.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping
from math import inf
from types import MappingProxyType
from typing import Final

from structlog.typing import FilteringBoundLogger

from draftwire.nodes.channel.cpu_share import Share
from draftwire.nodes.channel.deliveries import Deliveries
from draftwire.nodes.channel.playing import Direction, PlayedLink, Programme
from draftwire.nodes.channel.radio import Radio
from draftwire.nodes.channel.telling import LinkTelling
from draftwire.nodes.channel.way import Room, Way
from draftwire.runtime.channel_settings import CellSettings
from draftwire.runtime.clock import Clock
from draftwire.runtime.link import LinkSchedule, LinkSpec, LinkStatistics, Streams
from draftwire.runtime.security import key_of
from draftwire.runtime.wake import Wake

KEPT_VISITS: Final = 16_384
"""Names that had links and have none: one that returns meets other random numbers than before. Behind so many
it meets its first ones again."""


class Links:
    """Two ways for each name that is connected. Times do not go back from call to call."""

    def __init__(
        self,
        programme: Programme,
        *,
        seed: int,
        most_own: int,
        deliveries: Deliveries,
        clock: Clock,
        logger: FilteringBoundLogger,
        cell: CellSettings | None = None,
    ) -> None:
        """`most_own`: devices that may have links of their own. `cell`: all share a radio a direction."""
        self._programme, self._seed, self._most_own = programme, seed, most_own
        self._deliveries, self._clock = deliveries, clock
        self._telling = LinkTelling(seed=seed, logger=logger)
        self._ways = dict[str, Mapping[Direction, Way]]()
        self._room = Room()
        self._radios = dict[Direction, Radio]()
        if cell is not None:
            self._radios = {
                direction: Radio(cell, deliveries=deliveries, clock=clock, catch_up=self._catch_up)
                for direction in Direction
            }
        self._visits = dict[str, int]()
        "how often a name was let go, the last one at the end"
        self._past = dict[Direction, LinkStatistics]()
        self._past_unsent = 0
        self._share = Share(clock)
        self._soonest_s = inf
        "no change is due earlier"
        self._changing = Wake(clock)

    def __len__(self) -> int:
        """Names that have ways."""
        return len(self._ways)

    def start(self, now_s: float) -> None:
        """Time 0 of the schedules that it was made with is now; later calls do nothing."""
        if self._programme.start(now_s):
            self._changing.set()
            self._soonest_s = min(played.due_s for played in self._programme)
            for played in self._programme:
                if played.began_s == now_s and _moves(played.spec) and self._is_told(played):
                    self._telling.tell(played, now_s)

    def of(self, name: str) -> Mapping[Direction, Way]:
        """A device's, new ones on its first connection; needs to have been started."""
        if name not in self._ways:
            visit = self._visits.get(name, 0)
            self._ways[name] = {
                direction: Way(
                    name,
                    direction,
                    played=self._programme.of(name, direction),
                    streams=streams_of(self._seed, name, direction, visit=visit),
                    deliveries=self._deliveries,
                    room=self._room,
                    advance=self._advance,
                    radio=self._radios.get(direction),
                )
                for direction in Direction
            }
        return self._ways[name]

    def forget(self, name: str) -> None:
        """The device has no connection any more, and what is under way is dropped with its links."""
        now_s = self._clock.now_s()
        for direction, way in self._ways.pop(name).items():
            way.abandon(now_s)
            counts, past = way.statistics(now_s), self._past.get(direction)
            self._past[direction] = counts if past is None else past + counts
            self._past_unsent += way.unsent
        self._visits[name] = self._visits.pop(name, 0) + 1
        if len(self._visits) > KEPT_VISITS:
            del self._visits[next(iter(self._visits))]

    def past(self) -> Mapping[Direction, LinkStatistics]:
        """Sums of the devices that were let go; a direction is absent where none was."""
        return MappingProxyType(dict(self._past))

    def unsent(self) -> int:
        """Messages that links have delivered, and whose connection was gone, or did not take them."""
        return self._past_unsent + sum(way.unsent for way in self._each_way())

    def statistics(self, now_s: float) -> Mapping[tuple[str, Direction], LinkStatistics]:
        """By name and direction."""
        self.reach(now_s)
        return MappingProxyType(
            {
                (name, direction): way.statistics(now_s)
                for name, ways in self._ways.items()
                for direction, way in ways.items()
            }
        )

    def air_s(self, now_s: float) -> Mapping[tuple[str, Direction], float]:
        """For how long each device has had the radio, by name and direction; empty where none is shared."""
        self.reach(now_s)
        return {(way.name, way.direction): way.air_s for way in self._each_way()} if self._radios else {}

    def reach(self, now_s: float) -> None:
        """Let every radio be where it is now: who asks a way of it does so before."""
        for radio in self._radios.values():
            radio.reach(now_s)
            radio.settle()

    # -- changes -------------------------------------------------------------------------------------------

    async def play(self) -> None:
        """Let each change of a schedule happen at its time, for ever."""
        while True:
            change_s = max(self._share.again_s, min(played.due_s for played in self._programme))
            due_s = min(change_s, self._telling.due_s)
            await self._changing.wait(None if due_s == inf else due_s)
            now_s = self._clock.now_s()
            self.advance(now_s)
            self._telling.tell_held(now_s)

    def advance(self, now_s: float) -> None:
        """Let every change that is due by now happen, each at its own time."""
        for played in self._programme:
            if played.due_s <= now_s:
                self._advance(played, now_s)

    def held_until_s(self) -> float:
        """When the next change comes of a link that something waits on; inf: none does."""
        change_s = min((way.played.due_s for way in self._each_way() if way.waits), default=inf)
        return max(change_s, self._share.again_s)

    def next_s(self) -> float:
        """When something that is under way arrives, or its link changes; inf: as things are, never."""
        return min((way.next_s for way in self._each_way()), default=inf)

    def order(self, direction: Direction, schedule: LinkSchedule, *, device: str | None = None) -> None:
        """From now on every device's link does this, or one device's and those of the names below it.

        What waits goes on by the new link, what has left keeps its times. Time 0 of the schedule is now. It
        takes the place of whatever was there, of what devices had of their own as well.
        """
        now_s = self._clock.now_s()
        self.advance(now_s)
        before = list(self._programme)
        ordered = self._programme.order(direction, schedule, now_s, device=device)
        self._soonest_s = min(self._soonest_s, ordered.due_s)
        with self._share.spent():
            for name, ways in self._ways.items():
                way, played = ways[direction], self._programme.of(name, direction)
                if way.played is not played:
                    way.played = played
                    way.change(now_s)
        for played in set(before) - set(self._programme):
            self._telling.forget(played)
        self._changing.set()
        self._telling.tell(ordered, now_s, ordered=True)

    def tell(self) -> None:
        """Log what every link does now, those of devices of their own where they differ."""
        now_s = self._clock.now_s()
        for played in self._programme:
            if self._is_told(played):
                self._telling.tell(played, now_s)

    def _catch_up(self, now_s: float) -> None:
        """Every change that is due by now, one behind the other: on a radio each is of concern to all."""
        while self._soonest_s <= now_s and not self._share.is_spent():
            played = min(self._programme, key=_due_s)
            self._soonest_s = played.due_s
            if played.due_s <= now_s:
                self._advance(played, played.due_s)

    def _is_told(self, played: PlayedLink) -> bool:
        return played.device is None or self._programme.differs(played)

    def _advance(self, played: PlayedLink, now_s: float) -> None:
        if self._share.is_spent():
            return  # `play` comes back to it
        for at_s in played.advances(now_s, in_a_hurry=self._share.is_spent):
            with self._share.spent():
                for ways in self._ways.values():
                    way = ways[played.direction]
                    if way.played is played:
                        way.change(at_s)
                self._telling.tell_change(played, at_s)

    def _each_way(self) -> Iterator[Way]:
        return (way for ways in self._ways.values() for way in ways.values())

    # -- questions of those who order ----------------------------------------------------------------------

    def schedule_of(self, direction: Direction, *, device: str | None = None) -> LinkSchedule:
        """What a direction does over time, for a device, or for those without a link of their own."""
        return self._programme.of(device, direction).schedule

    def differing(self) -> list[str]:
        """The devices whose links are others than the rest's, in order."""
        return self._programme.differing()

    def why_not(self, device: str) -> str:
        """Why no order can be for this device; empty: one can."""
        own = self._programme.own()
        there = sorted({*own, *self._programme.named, *self._ways})
        if device not in there and not any(key_of(name) == device for name in there):
            names = f"there are {', '.join(there)}" if there else "there is none"
            return f"device {device!r} is not connected, and has no link of its own; {names}"
        if device not in own and len(own) >= self._most_own:
            remedy = "raise [channel] max_devices, or order a link for all"
            return f"{len(own)} devices have links of their own already; {remedy}"
        return ""


def _due_s(played: PlayedLink) -> float:
    return played.due_s


def _moves(spec: LinkSpec) -> bool:
    """Whether its rate changes by itself: whoever reads of it has to know when it began."""
    return spec.rate_bps is None and spec.mean_rate_bps is not None


def streams_of(seed: int, device: str, direction: Direction, *, visit: int = 0) -> Streams:
    """The random numbers of one direction of one device: its own, the same whoever else is connected.

    `visit`: how often it was let go before. Fading is the same each time: it goes on while nobody is there.
    """
    name = hashlib.sha256(direction.value.encode() + b"\0" + device.encode()).digest()

    def stream(impairment: str) -> random.Random:
        return random.Random(f"{seed} {name.hex()} {impairment}")

    again = f" {visit}" if visit else ""
    impairments = ("jitter", "loss", "retransmission", "duplicate", "corrupt", "reorder")
    return Streams(
        **{one: stream(one + again) for one in impairments}, fading=stream("fading").getrandbits(63)
    )


__all__ = ["KEPT_VISITS", "Links", "streams_of"]
