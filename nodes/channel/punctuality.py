"""How late a channel has been: told message by message, and judged at the end of its run.

A channel that is late shows its machine's timing in place of the link's, so a run above the budget says so.
A message's time counts from when the channel reads it. Where its loop is busy it reads late, which no
message shows; so while messages come a timer looks how late the loop comes to what waits for it.
"""

import asyncio
from typing import Final

import orjson
from structlog.typing import FilteringBoundLogger

from draftwire.nodes.channel.deliveries import Deliveries, History, Lateness
from draftwire.runtime.clock import Clock
from draftwire.runtime.telemetry import LATE_EVENT, LATENESS_EVENT

EVERY_S: Final = 1.0
"""Between two events, where anything was handed over."""

MOST_IN_AN_EVENT: Final = 4096
"""Messages; more are split over several events."""


LOOK_EVERY_S: Final = 0.01
"""From one look at the loop to the next."""

MOST_LOOKS_MISSED: Final = 1000
"""That count of one time in which the loop did nothing else: a machine may have slept for a night."""


class Reading:
    """How late a message would be read, had one come each LOOK_EVERY_S."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waits = False
        self._history = History()

    def look(self) -> None:
        """A message has come; cheap while one look is under way."""
        if not self._waits:
            self._waits = True
            loop, due_s = asyncio.get_running_loop(), self._clock.now_s() + LOOK_EVERY_S
            loop.call_at(due_s + (loop.time() - self._clock.now_s()), self._seen, due_s)

    def lateness(self) -> Lateness:
        """Figures since the start; `delivered` are looks."""
        return self._history.figures()

    def _seen(self, due_s: float) -> None:
        self._waits = False
        late_s = max(0.0, self._clock.now_s() - due_s)
        for _ in range(MOST_LOOKS_MISSED):  # what would have come behind it waited less and less
            self._history.add(late_s)
            late_s -= LOOK_EVERY_S
            if late_s <= 0:
                return


class Punctuality:
    """Logs what its deliveries tell; in virtual time nothing is late."""

    def __init__(
        self,
        deliveries: Deliveries,
        reading: Reading,
        *,
        clock: Clock,
        budget_s: float,
        logger: FilteringBoundLogger,
    ) -> None:
        """`budget_s`: of the 99th percentile of either."""
        self._deliveries, self._reading, self._clock = deliveries, reading, clock
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
        handing_over, reading = self._deliveries.lateness(), self._reading.lateness()
        reads_later = reading.p99_s > handing_over.p99_s
        lateness = reading if reads_later else handing_over
        if lateness.p99_s > self._budget_s:
            self._logger.warning(
                LATE_EVENT,
                at="reading" if reads_later else "handing_over",
                p50_ms=round(1e3 * lateness.p50_s, 3),
                p99_ms=round(1e3 * lateness.p99_s, 3),
                max_ms=round(1e3 * lateness.max_s, 3),
                budget_ms=round(1e3 * self._budget_s, 6),
                messages=handing_over.delivered,
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


__all__ = [
    "EVERY_S",
    "LOOK_EVERY_S",
    "MOST_IN_AN_EVENT",
    "Punctuality",
    "Reading",
    "late_words",
    "told_of_lateness",
]
