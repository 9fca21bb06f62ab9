"""Schedules of links under way: when each began, what holds now, when that changes, and for whom."""

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from math import inf
from types import MappingProxyType
from typing import Final

from draftwire.runtime.link import LinkPiece, LinkSchedule
from draftwire.runtime.security import key_of

MOST_CAUGHT_UP: Final = 100
"""Changes that a caller who comes late has happen one by one; of those behind them only the last counts: a
channel that was asleep has no time for the past."""


class Direction(StrEnum):
    """Of a link, seen from the device."""

    UPLINK = "uplink"
    DOWNLINK = "downlink"


OwnSchedules = Mapping[str, Mapping[Direction, LinkSchedule]]
"""Of devices that have other links than the rest, by name."""


class PlayedLink:
    """One direction's schedule against a clock; its first link holds until it has been started."""

    def __init__(self, schedule: LinkSchedule, *, direction: Direction, device: str | None = None) -> None:
        self.schedule = schedule
        self.direction = direction
        self.device = device
        "whose it is; None: of all that have none of their own"
        self._pieces = schedule.pieces()
        self._piece = next(self._pieces)
        self.spec = self._piece.link
        "what holds now"
        self.began_s = 0.0
        "since when its rate is what it is, once started: time 0 of a trace or of fading"
        self.rates_before = 0
        "how often the rate of its link had become another one by then: it seeds a fading's blocks"
        self.due_s = inf
        "when `advances` has something to do next"
        self._origin_s: float | None = None
        self._rates_ahead = 0
        "of what it took the place of"

    def start(self, now_s: float) -> None:
        """Time 0 of the schedule is now, unless it has been started before."""
        if self._origin_s is None:
            self._origin_s = self.began_s = now_s
            self._reach(self._piece)

    def follow(self, before: "PlayedLink") -> None:
        """It takes this one's place: a rate that both have goes on where it was."""
        if before._origin_s is None:
            return
        goes_on = self.spec.has_rate_of(before.spec)
        if goes_on:
            self.began_s = before.began_s
        self.rates_before = self._rates_ahead = before.rates_before + (not goes_on)

    def advances(self, now_s: float, *, in_a_hurry: Callable[[], bool] = lambda: False) -> Iterator[float]:
        """Let happen what is due by now, one change at a time, and tell the time of each.

        At each of them `spec` is what holds from then on. `in_a_hurry` is asked before each: then all that is
        due happens as one, now.
        """
        for _ in range(MOST_CAUGHT_UP):
            if self.due_s > now_s:
                return
            if in_a_hurry():
                break
            at_s = self.due_s
            self._reach(next(self._pieces))
            yield at_s
        if self.due_s <= now_s:
            assert self._origin_s is not None, "it is due"
            self._pieces = self.schedule.pieces(max(self._piece.until_s, now_s - self._origin_s))
            self._reach(next(self._pieces))
            yield now_s

    def _reach(self, piece: LinkPiece) -> None:
        assert self._origin_s is not None, "it has been started"
        self._piece, self.spec = piece, piece.link
        self.due_s = self._origin_s + piece.until_s
        if piece.rates_before:  # else its rate is the first one, which may have begun before the schedule
            self.began_s = self._origin_s + piece.began_s
        self.rates_before = self._rates_ahead + piece.rates_before


class Programme:
    """What plays for whom: a schedule a direction for all devices, and others for devices of their own.

    A schedule of a device is that of the names below it too, where they have none themselves.
    """

    def __init__(
        self, *, uplink: LinkSchedule, downlink: LinkSchedule, own: OwnSchedules = MappingProxyType({})
    ) -> None:
        self._for_all = {
            direction: PlayedLink(schedule, direction=direction)
            for direction, schedule in ((Direction.UPLINK, uplink), (Direction.DOWNLINK, downlink))
        }
        self._own = {
            name: {
                direction: PlayedLink(schedule, direction=direction, device=name)
                for direction, schedule in schedules.items()
            }
            for name, schedules in own.items()
        }
        self.named = frozenset(own)
        "devices that began with schedules of their own; what is ordered for all takes these, not the names"
        self._started = False

    def of(self, name: str | None, direction: Direction) -> PlayedLink:
        """What plays for a device; None: for those without a schedule of their own."""
        if name is not None:
            for known in (name, key_of(name)):
                played = self._own.get(known, {}).get(direction)
                if played is not None:
                    return played
        return self._for_all[direction]

    def own(self) -> list[str]:
        """The devices with a schedule of their own."""
        return list(self._own)

    def differing(self) -> list[str]:
        """Those of them with another one than the rest has, in order."""
        return sorted({one.device for one in self if one.device is not None and self.differs(one)})

    def differs(self, played: PlayedLink) -> bool:
        """Whether it is another schedule than the rest has."""
        return played.schedule != self._for_all[played.direction].schedule

    def start(self, now_s: float) -> bool:
        """Time 0 of all that has not been started is now. False: this has been called before."""
        if self._started:
            return False
        self._started = True
        for played in self:
            played.start(now_s)
        return True

    def order(
        self, direction: Direction, schedule: LinkSchedule, now_s: float, *, device: str | None
    ) -> PlayedLink:
        """From now on, its time 0, this plays for the device, or for all.

        It takes the place of what plays for the names below the device; for all, of all that plays.
        """
        before = self.of(device, direction)
        played = PlayedLink(schedule, direction=direction, device=device)
        played.start(now_s)
        played.follow(before)
        for name in list(self._own):
            if device is None or (name != device and key_of(name) == device):
                self._own[name].pop(direction, None)
                if not self._own[name]:
                    del self._own[name]
        if device is None:
            self._for_all[direction] = played
        else:
            self._own.setdefault(device, {})[direction] = played
        return played

    def __iter__(self) -> Iterator[PlayedLink]:
        """All that plays; first what does for all."""
        yield from self._for_all.values()
        for schedules in self._own.values():
            yield from schedules.values()


__all__ = ["MOST_CAUGHT_UP", "Direction", "OwnSchedules", "PlayedLink", "Programme"]
