"""Which share of a shared radio's time each device has had: told once a second while anything was sent."""

from typing import Final

from structlog.typing import FilteringBoundLogger

from draftwire.nodes.channel.links import Links
from draftwire.nodes.channel.playing import Direction
from draftwire.runtime.clock import Clock
from draftwire.runtime.telemetry import SHARES_EVENT

EVERY_S: Final = 1.0
"""From one event to the next."""

PLACES: Final = 6
"""Of a share: to a microsecond, and small messages take some tens of them."""


class AirTime:
    """Logs what links tell of it."""

    def __init__(self, links: Links, *, clock: Clock, logger: FilteringBoundLogger) -> None:
        self._links, self._clock, self._logger = links, clock, logger
        self._told_s = 0.0
        "up to when; once started"
        self._had_s = dict[tuple[str, Direction], float]()
        "by then"

    async def run(self) -> None:
        """Tell for ever; what is told first counts from now."""
        self._told_s = self._clock.now_s()
        while True:
            await self._clock.sleep_until(self._told_s + EVERY_S)
            self._tell()

    def _tell(self) -> None:
        from_s, self._told_s = self._told_s, self._clock.now_s()
        before_s, self._had_s = self._had_s, dict(self._links.air_s(self._told_s))
        shares: dict[Direction, dict[str, float]] = {direction: {} for direction in Direction}
        for (device, direction), air_s in self._had_s.items():
            new_s = air_s - before_s.get((device, direction), 0.0)
            # Below none: it was let go, and has come again.
            share = round(max(new_s, 0.0) / (self._told_s - from_s), PLACES)
            if share:
                shares[direction][device] = share
        for direction, by_device in shares.items():
            if by_device:
                self._logger.info(
                    SHARES_EVENT,
                    direction=direction.value,
                    from_s=from_s,
                    to_s=self._told_s,
                    shares=by_device,
                )


__all__ = ["EVERY_S", "AirTime"]
