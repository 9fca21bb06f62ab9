"""A channel with a cell that has been up for years, was stopped, or has many links: it does its work."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from math import inf, ulp

import pytest
import structlog
from tests.harness.channels import channel

from draftwire.nodes.channel.deliveries import Deliveries
from draftwire.nodes.channel.links import Links
from draftwire.nodes.channel.playing import Direction, PlayedLink, Programme
from draftwire.nodes.channel.radio import LOOK_EVERY_S, MOST_BEHIND_S, Radio
from draftwire.runtime.channel_settings import CellSettings
from draftwire.runtime.clock import LoopClock, VirtualLoop, run_virtual
from draftwire.runtime.link import Cell, Scheduler, parse_link, parse_schedule
from draftwire.runtime.security import Service
from draftwire.runtime.telemetry import get_logger
from draftwire.runtime.transport import Endpoint, MemoryNetwork, MemoryTransport, Transport

PLAIN = parse_link("rate 8mbit overhead 0")
"""A byte a microsecond."""

SLOW = parse_link("rate 8kbit overhead 0")
"""A byte a millisecond."""


class _LateLoop(VirtualLoop):
    """Virtual time that begins somewhere else, and leaps when told."""

    def __init__(self, began_s: float) -> None:
        super().__init__()
        self._now_s = began_s
        # asyncio's own: a timer goes off when it is less than this ahead, and a nanosecond is nothing here.
        self._clock_resolution = max(1e-9, 2 * ulp(began_s))

    def stop_for(self, pause_s: float) -> None:
        """As a process that is stopped, its clock not."""
        self._now_s += pause_s


async def _two_ends(transport: Transport) -> tuple[Endpoint, list[Endpoint]]:
    target = await transport.bind("memory://target", service=Service.TARGET)
    return target, [
        await transport.connect("memory://channel", service=Service.CHANNEL, name=name) for name in ("a", "b")
    ]


@pytest.fixture
def looks_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How much time each look at a cell on which several wait had to go through."""
    advance, seen = Cell.advance, list[float]()

    def counted(cell: Cell[object], now_s: float) -> float:
        if cell.is_contended:
            seen.append(min(now_s - cell.at_s, cell._most_behind_s))
        return advance(cell, now_s)

    monkeypatch.setattr(Cell, "advance", counted)
    return seen


@pytest.mark.parametrize("began_s", [1.7e7, 1e8])
@pytest.mark.parametrize("scheduler", Scheduler)
def test_a_channel_of_a_host_that_is_up_for_years(scheduler: Scheduler, began_s: float) -> None:
    """All that two devices send arrives, at the radio's rate, and no look is for nothing."""

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=PLAIN, cell=CellSettings(scheduler=scheduler)),
        ):
            target, ends = await _two_ends(transport)
            for end in ends:
                for _ in range(50):
                    end.send(b"", bytes(1000))
            heard = [(await target.receive()).at_s - began_s for _ in range(100)]
            assert heard[-1] == pytest.approx(0.1, abs=1e-4)

    with asyncio.Runner(loop_factory=lambda: _LateLoop(began_s)) as runner:
        runner.run(main())


def test_slow_links_are_looked_at_often(looks_s: list[float]) -> None:
    """Two messages of 20 s each are nothing to wait 20 s for and then go through at one go."""

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=SLOW, cell=CellSettings()),
        ):
            target, ends = await _two_ends(transport)
            for end in ends:
                end.send(b"", bytes(10_000))
            heard = [(await target.receive()).at_s for _ in range(2)]
            assert heard == pytest.approx([20.0, 20.0], abs=0.01)

    run_virtual(main())
    assert max(looks_s) <= LOOK_EVERY_S + 1e-6
    assert sum(looks_s) == pytest.approx(20.0, abs=0.1)


def test_a_channel_that_was_stopped_for_an_hour_does_not_work_for_minutes(looks_s: list[float]) -> None:
    """It goes through the last seconds only, and what waits goes on from where it was."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, _LateLoop)
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=SLOW, cell=CellSettings(scheduler=Scheduler.ROUND_ROBIN)),
        ):
            target, ends = await _two_ends(transport)
            for end in ends:
                end.send(b"", bytes(5000))
            await LoopClock().sleep_until(2.0)
            looks_s.clear()
            loop.stop_for(3600.0)
            ends[0].send(b"", bytes(1000))
            heard = [(await target.receive()).at_s for _ in range(3)]
            assert 3602 < min(heard) <= max(heard) <= 3611.001

    with asyncio.Runner(loop_factory=lambda: _LateLoop(0.0)) as runner:
        runner.run(main())
    assert max(looks_s) <= MOST_BEHIND_S
    assert sum(looks_s) <= 11 + 3 * MOST_BEHIND_S


def test_links_of_many_devices_cost_a_message_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No message looks through all that plays for the next change, and figures of all take a look a radio;
    still every change happens at its own time.
    """
    looked = Counter[str]()
    through, reach = Programme.__iter__, Radio.reach

    def counted_through(programme: Programme) -> Iterator[PlayedLink]:
        looked["through"] += 1
        return through(programme)

    def counted_reach(radio: Radio, at_s: float) -> float:
        looked["reach"] += 1
        return reach(radio, at_s)

    monkeypatch.setattr(Programme, "__iter__", counted_through)
    monkeypatch.setattr(Radio, "reach", counted_reach)

    async def main() -> None:
        clock = LoopClock()
        plain, changing = parse_schedule("rate 8mbit"), parse_schedule("rate 8mbit; 1s rate 4mbit")
        own = {f"d{number}": dict.fromkeys(Direction, plain) for number in range(60)}
        own["d7"] = dict.fromkeys(Direction, changing)
        links = Links(
            Programme(uplink=plain, downlink=plain, own=own),
            seed=1,
            most_own=100,
            deliveries=Deliveries(clock),
            clock=clock,
            logger=get_logger("channel"),
            cell=CellSettings(),
        )
        links.start(0.0)
        ways = [links.of(name)[Direction.UPLINK] for name in own]
        looked.clear()
        for way in ways:
            way.take(0.5, lambda peer, data: True, b"", bytes(100))
        assert looked["through"] == 0
        looked.clear()
        links.statistics(0.6)
        links.air_s(0.7)
        assert looked == {"reach": 4}
        ways[0].take(1.5, lambda peer, data: True, b"", bytes(100))
        links.order(Direction.UPLINK, parse_schedule("rate 1mbit; 1s rate 2mbit"), device="d9")
        assert [ways[number].played.due_s for number in (7, 9)] == [inf, 1.0]
        assert links.of("d7")[Direction.UPLINK].played.spec == parse_link("rate 4mbit")

    run_virtual(main())


def test_a_share_of_microseconds_is_told() -> None:
    """Who has sent 20 bytes in a second isn't absent, nor rounded to a tenth of a millisecond."""

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=PLAIN, cell=CellSettings()),
        ):
            _, ends = await _two_ends(transport)
            with structlog.testing.capture_logs() as logs:
                ends[0].send(b"", bytes(20))
                await LoopClock().sleep_until(1.5)
        told = [log["shares"] for log in logs if log["event"] == "channel.shares"]
        assert told == [{"a": pytest.approx(2e-5, abs=1e-6)}]

    run_virtual(main())
