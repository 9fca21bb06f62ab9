"""How late a channel is: told message by message, and judged once at the end."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import orjson
import pytest
import structlog
from tests.harness.channels import channel

from draftwire.nodes.channel.deliveries import Deliveries
from draftwire.nodes.channel.playing import Direction
from draftwire.nodes.channel.punctuality import (
    LOOK_EVERY_S,
    MOST_IN_AN_EVENT,
    Punctuality,
    Reading,
    late_words,
    told_of_lateness,
)
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.link import parse_link
from draftwire.runtime.security import Service
from draftwire.runtime.telemetry import get_logger
from draftwire.runtime.transport import MemoryNetwork, MemoryTransport

Logs = list[MutableMapping[str, Any]]


def _punctuality(deliveries: Deliveries, reading: Reading | None = None, *, budget_s: float) -> Punctuality:
    clock = LoopClock()
    reading = reading or Reading(clock)
    return Punctuality(deliveries, reading, clock=clock, budget_s=budget_s, logger=get_logger("channel"))


def _of(logs: Logs, event: str) -> Logs:
    return [log for log in logs if log["event"] == event]


def test_each_message_is_told_once_a_second_and_the_rest_at_the_end() -> None:
    """As whole microseconds, in virtual time none; a second without a message has no event."""

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=parse_link("delay 10ms")),
        ):
            clock = LoopClock()
            await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            for at_s in (0.1, 0.2, 0.95, 5.5, 6.2):
                await clock.sleep_until(at_s)
                device.send(b"", b"x")
            await clock.sleep_until(6.5)

    with structlog.testing.capture_logs() as logs:
        run_virtual(main())
    told = _of(logs, "lateness")
    assert [(log["from_s"], log["to_s"], log["late_us"]) for log in told] == [
        (0.0, 1.0, [0, 0, 0]),
        (5.0, 6.0, [0]),
        (6.0, 6.5, [0]),
    ]
    assert not _of(logs, "channel.late")


async def _late_deliveries(late_s: list[float], *, budget_s: float) -> None:
    """Messages that a loop hands over so late, and what is told of them."""
    deliveries = Deliveries(LoopClock())
    told = _punctuality(deliveries, budget_s=budget_s)
    running = asyncio.create_task(deliveries.run())
    await asyncio.sleep(10.0)
    for one in late_s:
        deliveries.add(LoopClock().now_s() - one, lambda: None)
        await asyncio.sleep(0.001)
    told.conclude()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(("budget_s", "marked"), [(0.002, True), (0.01, False)])
def test_a_run_above_its_budget_is_marked(budget_s: float, marked: bool) -> None:
    """By the 99th percentile of all its messages, with the figures that tell how bad it was."""
    with structlog.testing.capture_logs() as logs:
        run_virtual(_late_deliveries([0.0] * 95 + [0.005] * 5, budget_s=budget_s))
    (told,) = _of(logs, "lateness")
    assert told["late_us"] == [0] * 95 + [5000] * 5
    late = _of(logs, "channel.late")
    assert len(late) == marked
    if marked:
        (one,) = late
        assert (one["log_level"], one["messages"], one["budget_ms"]) == ("warning", 100, 2.0)
        assert (one["p50_ms"], one["p99_ms"], one["max_ms"]) == (0.0, pytest.approx(5.0, rel=0.05), 5.0)


def test_what_is_told_first_counts_from_its_start() -> None:
    """A channel that is started late tells of the time since then, and not since the loop began."""

    async def main() -> None:
        deliveries = Deliveries(LoopClock())
        await asyncio.sleep(10.0)
        running = asyncio.create_task(deliveries.run())
        deliveries.add(10.25, lambda: None)
        await asyncio.sleep(0.5)
        told = asyncio.create_task(_punctuality(deliveries, budget_s=1.0).run())
        await asyncio.sleep(1.5)
        for task in (running, told):
            task.cancel()

    with structlog.testing.capture_logs() as logs:
        run_virtual(main())
    assert [(log["from_s"], log["to_s"]) for log in _of(logs, "lateness")] == [(10.5, 11.5)]


class _Busy:
    """A clock of a loop that is away for some time every second."""

    def __init__(self, away_s: float) -> None:
        self._away_s = away_s

    def now_s(self) -> float:
        now_s = asyncio.get_running_loop().time()
        second = float(int(now_s))
        return max(now_s, second + self._away_s) if now_s > second else now_s

    async def sleep_until(self, deadline_s: float) -> None:
        raise AssertionError("nobody sleeps by it")


def test_a_loop_that_comes_late_to_its_input_is_late() -> None:
    """Messages read late are on time from then on; looks while they come tell how late they were read, as
    often as one would have waited, and the run is marked though nothing was handed over late.
    """
    away_s = 0.1

    async def main() -> None:
        clock = _Busy(away_s)
        deliveries, reading = Deliveries(clock), Reading(clock)
        for _ in range(1000):
            reading.look()
            await asyncio.sleep(0.01 * 1.001)
        figures = reading.lateness()
        assert 8 * away_s / LOOK_EVERY_S <= figures.late <= 11 * away_s / LOOK_EVERY_S
        assert away_s - 2 * LOOK_EVERY_S <= figures.max_s <= away_s
        _punctuality(deliveries, reading, budget_s=0.002).conclude()
        _punctuality(deliveries, budget_s=0.002).conclude()

    with structlog.testing.capture_logs() as logs:
        run_virtual(main())
    (late,) = _of(logs, "channel.late")
    assert (late["at"], late["messages"]) == ("reading", 0)
    assert late["p99_ms"] == pytest.approx(1e3 * away_s, rel=0.3)


def test_a_channel_looks_at_its_reading_while_messages_come() -> None:
    """And not otherwise: a channel that nobody uses sets no timer."""

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, channel(transport) as node:
            await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            await asyncio.sleep(5.0)
            assert node.statistics().reading.delivered == 0
            for _ in range(100):
                device.send(b"", b"x")
                await asyncio.sleep(0.001)
            await asyncio.sleep(5.0)
            looks = node.statistics().reading
            assert (looks.delivered, looks.max_s) == (10, 0.0)

    run_virtual(main())


def test_a_flood_is_told_in_parts() -> None:
    """No event has more than so many numbers, and none is left out."""
    count = 2 * MOST_IN_AN_EVENT + 5

    async def main() -> None:
        deliveries = Deliveries(LoopClock())
        told = _punctuality(deliveries, budget_s=1.0)
        running = asyncio.create_task(deliveries.run())
        for _ in range(count):
            deliveries.add(0.5, lambda: None)
        await asyncio.sleep(0.6)
        told.conclude()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    with structlog.testing.capture_logs() as logs:
        run_virtual(main())
    told = _of(logs, "lateness")
    assert [len(log["late_us"]) for log in told] == [MOST_IN_AN_EVENT, MOST_IN_AN_EVENT, 5]


def test_a_message_that_is_put_off_counts_once() -> None:
    """Neither a delivery that an outage holds back nor its first due time is a lateness."""

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=parse_link("rate 8kbit")) as node,
        ):
            clock = LoopClock()
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            device.send(b"", bytes(926))
            await clock.sleep_until(0.5)
            node.set_link(Direction.UPLINK, parse_link("rate 0"))
            await clock.sleep_until(7.0)
            node.set_link(Direction.UPLINK, parse_link("rate 8kbit"))
            assert (await target.receive()).at_s == pytest.approx(7.5)
            assert node.statistics().lateness.delivered == 1
            assert node.statistics().lateness.max_s == 0.0

    run_virtual(main())


def test_the_log_of_a_child_is_read_for_the_mark() -> None:
    """One sentence from its event, and none from any other line."""
    event = {"event": "channel.late", "p99_ms": 3.123, "budget_ms": 2.0}
    sentence = "the channel was late: p99 3.1 ms, budget 2 ms: timings of this run are not the link's"
    assert told_of_lateness(b"noise\n" + orjson.dumps(event) + b"\n") == sentence
    assert late_words(p99_ms=3.123, budget_ms=2.0) == sentence
    for line in (b"", b"channel.late", b'{"event":"channel.late"}', b'["channel.late"]', b'{"event":"link"}'):
        assert told_of_lateness(line) == ""
