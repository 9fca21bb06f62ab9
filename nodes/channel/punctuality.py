"""How late a channel has been: told message by message, and judged at the end of its run.

A channel that is late shows its machine's timing in place of the link's, so a run above the budget says so.
"""

from typing import Final

import orjson
from structlog.typing import FilteringBoundLogger

from draftwire.nodes.channel.deliveries import Deliveries
from draftwire.runtime.clock import Clock
from draftwire.runtime.telemetry import LATE_EVENT, LATENESS_EVENT

EVERY_S: Final = 1.0
"""Between two events, where anything was handed over."""

MOST_IN_AN_EVENT: Final = 4096
"""Messages; more are split over several events."""


class Punctuality:
    """Logs what its deliveries tell; in virtual time nothing is late."""

    def __init__(
        self, deliveries: Deliveries, *, clock: Clock, budget_s: float, logger: FilteringBoundLogger
    ) -> None:
        """`budget_s`: of the 99th percentile."""
        self._deliveries, self._clock = deliveries, clock
        self._budget_s, self._logger = budget_s, logger
        self._told_s = 0.0
        "up to when; once started"

    async def run(self) -> None:
        """Tell for ever; what is told first counts from now."""
        self._told_s = self._clock.now_s()
        while True:
            await self._clock.sleep_until(self._told_s + EVERY_S)
            self._tell()

    def conclude(self) -> None:
        """Tell the rest, and whether it was too late in all."""
        self._tell()
        lateness = self._deliveries.lateness()
        if lateness.p99_s > self._budget_s:
            self._logger.warning(
                LATE_EVENT,
                p50_ms=round(1e3 * lateness.p50_s, 3),
                p99_ms=round(1e3 * lateness.p99_s, 3),
                max_ms=round(1e3 * lateness.max_s, 3),
                budget_ms=round(1e3 * self._budget_s, 6),
                messages=lateness.delivered,
            )

    def _tell(self) -> None:
        from_s, self._told_s = self._told_s, self._clock.now_s()
        late_us = [round(1e6 * late_s) for late_s in self._deliveries.take_lateness()]
        for at in range(0, len(late_us), MOST_IN_AN_EVENT):
            part = late_us[at : at + MOST_IN_AN_EVENT]
            self._logger.info(LATENESS_EVENT, from_s=from_s, to_s=self._told_s, late_us=part)


def told_of_lateness(log: bytes) -> str:
    """A sentence on a channel that was late, from its events as JSON lines; empty: it was not."""
    for line in log.splitlines():
        if LATE_EVENT.encode() in line:
            try:
                fields = orjson.loads(line)
                return late_words(p99_ms=float(fields["p99_ms"]), budget_ms=float(fields["budget_ms"]))
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
                continue
    return ""


def late_words(*, p99_ms: float, budget_ms: float) -> str:
    """A sentence for whoever reads figures of such a run."""
    return (
        f"the channel was late: p99 {p99_ms:.1f} ms, budget {budget_ms:g} ms: "
        "timings of this run are not the link's"
    )


__all__ = ["EVERY_S", "MOST_IN_AN_EVENT", "Punctuality", "late_words", "told_of_lateness"]
