"""What links carry, as `traffic` events for an observer: bytes, drops, what waits, and the true rate.

One event each EVERY_S has every link on which anything moved, or waits. While nothing does there is no event,
and no timer.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from draftwire.nodes.channel.way import Way
from draftwire.runtime.clock import Clock
from draftwire.runtime.link import LinkStatistics
from draftwire.runtime.telemetry import TRAFFIC_EVENT
from draftwire.runtime.wake import Wake

EVERY_S: Final = 0.5
"""From one event to the next."""

MOST_LINKS: Final = 128
"""In one event: with the longest names 40 kB, and a frame holds 64 KiB. More links have more events."""


class Tell(Protocol):
    """Who is told of events: a Reporter's `tell`."""

    def __call__(self, event: str, **fields: Any) -> None:
        """An event, and its fields."""
        ...


class Traffic:
    """Tells of the ways that it was told of."""

    def __init__(self, tell: Tell, *, clock: Clock, reach: Callable[[float], None]) -> None:
        """`reach`: let every radio be where it is at a time, before ways are asked."""
        self._tell, self._clock, self._reach = tell, clock, reach
        self._told = dict[Way, LinkStatistics | None]()
        "on which something moved, and what was last said of each"
        self._moving = Wake(clock)

    def moved(self, way: Way) -> None:
        """A message has come there; cheap."""
        if way not in self._told:
            self._told[way] = None
            self._moving.set()

    async def run(self) -> None:
        """Tell for ever."""
        while True:
            await self._moving.wait(None)
            while self._told:
                now_s = self._clock.now_s()
                await self._clock.sleep_until(now_s + EVERY_S)
                self._look(now_s, self._clock.now_s())

    def _look(self, from_s: float, now_s: float) -> None:
        self._reach(now_s)
        links = list[Mapping[str, Any]]()
        for way, before in list(self._told.items()):
            counts = way.statistics(now_s)
            if counts == before and not counts.queued:
                del self._told[way]  # until it moves again
                continue
            self._told[way] = counts
            links.append(_fields(way, counts, way.rate_bps(from_s, now_s)))
        for begin in range(0, len(links), MOST_LINKS):
            self._tell(TRAFFIC_EVENT, at_s=now_s, links=links[begin : begin + MOST_LINKS])


def _fields(way: Way, counts: LinkStatistics, rate_bps: float | None) -> Mapping[str, Any]:
    return {
        "device": way.name,
        "direction": way.direction.value,
        "rate_bps": rate_bps,
        "delivered_bytes": counts.delivered_bytes,
        "dropped": sum(counts.dropped.values()),
        "queued_bytes": counts.queued_bytes,
    }


__all__ = ["EVERY_S", "MOST_LINKS", "Tell", "Traffic"]
