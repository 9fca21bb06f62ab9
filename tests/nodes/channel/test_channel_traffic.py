"""What a channel tells an observer of its links: bytes, drops, what waits, and the true rate."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.harness.channels import SEED, channel

from draftwire.nodes.channel.links import streams_of
from draftwire.nodes.channel.node import Direction
from draftwire.nodes.channel.traffic import EVERY_S, MOST_LINKS
from draftwire.runtime.channel_settings import CellSettings
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.link import LinkSchedule, LinkSpec, Scheduler, Trace, parse_link, parse_schedule
from draftwire.runtime.link.curves import Steps
from draftwire.runtime.security import Service
from draftwire.runtime.transport import Endpoint, MemoryNetwork, MemoryTransport

FREE = parse_link("delay 1ms")
SLOW = parse_link("rate 80kbit")


class Told:
    """Keeps traffic events, by link."""

    def __init__(self) -> None:
        self.events: list[tuple[float, list[Mapping[str, Any]]]] = []

    def __call__(self, event: str, **fields: Any) -> None:
        assert event == "traffic" and set(fields) == {"at_s", "links"}
        assert fields["at_s"] == LoopClock().now_s()
        self.events.append((fields["at_s"], fields["links"]))

    def of(self, device: str, direction: str = "uplink") -> list[Mapping[str, Any]]:
        """Of one link, each with its time."""
        found = [(at_s, one) for at_s, links in self.events for one in links]
        mine = [
            (at_s, one) for at_s, one in found if (one["device"], one["direction"]) == (device, direction)
        ]
        return [{"at_s": at_s, **one} for at_s, one in mine]


async def _until(at_s: float) -> None:
    await LoopClock().sleep_until(at_s)


async def _device(transport: MemoryTransport, name: str = "a") -> Endpoint:
    return await transport.connect("memory://channel", service=Service.CHANNEL, name=name)


def test_bytes_drops_and_what_waits_are_counted_while_anything_moves() -> None:
    """Each EVERY_S from the first message on, until nothing waits and nothing has changed; then no more."""
    told, limited = Told(), parse_link("rate 80kbit limit 3")

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=limited, downlink=FREE, tell=told) as node,
        ):
            target = await transport.bind("memory://target", service=Service.TARGET)
            end = await _device(transport)
            await _until(10.0)
            assert told.events == []
            for _ in range(5):
                end.send(b"", bytes(9_000))
            await _until(60.0)
            before = len(told.events)
            counts = node.statistics().links["a", Direction.UPLINK]
            assert before == len(told.of("a")) and target.statistics().waiting == 3
            assert told.of("a")[-1]["delivered_bytes"] == counts.delivered_bytes == 27_000
            await _until(61.0)
            end.send(b"", bytes(100))
            await _until(70.0)
            assert len(told.events) > before

    run_virtual(main())
    ups = told.of("a")
    assert [one["at_s"] for one in ups[:3]] == [10.0 + EVERY_S * count for count in (1, 2, 3)]
    assert ups[0] == {
        "at_s": 10.5,
        "device": "a",
        "direction": "uplink",
        "rate_bps": 80_000.0,
        "delivered_bytes": 0,
        "dropped": 2,
        "queued_bytes": 27_000,
    }
    delivered = [one["delivered_bytes"] for one in ups]
    assert delivered == sorted(delivered) and {9_000, 18_000, 27_000, 27_100} <= set(delivered)
    assert all(one["queued_bytes"] + one["delivered_bytes"] in (27_000, 27_100) for one in ups)
    assert max(one["at_s"] for one in ups if one["at_s"] < 61.0) < 14.0
    assert told.of("a", "downlink") == []


def test_nothing_is_told_while_nothing_moves() -> None:
    """One message on a fast link is one event, however long the channel waits behind it."""
    told = Told()

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=FREE, downlink=FREE, tell=told),
        ):
            await transport.bind("memory://target", service=Service.TARGET)
            end = await _device(transport)
            end.send(b"", b"x")
            await _until(1000.0)

    run_virtual(main())
    assert [at_s for at_s, _ in told.events] == [0.5]


def _steps(*rates_bps: float) -> LinkSpec:
    """A trace with a rate each 2 s."""
    curve = Steps([2.0 * count for count in range(len(rates_bps) + 1)], list(rates_bps))
    return replace(parse_link("delay 0ms"), trace=Trace(name="steps", curve=curve))


@pytest.mark.parametrize(
    ("link", "rates"),
    [
        (_steps(1e5, 4e5, 2e5), {1.0: 1e5, 2.0: 1e5, 2.5: 4e5, 4.0: 4e5, 5.0: 2e5, 7.0: 1e5}),
        (
            parse_schedule("rate 1mbit; 2s rate 200kbit; 4s rate 0; 6s rate 1mbit"),
            {1.0: 1e6, 3.0: 2e5, 5.0: 0.0},
        ),
        (parse_link("delay 20ms"), {1.0: None, 3.0: None}),
    ],
)
def test_the_true_rate_is_told(link: LinkSpec | LinkSchedule, rates: Mapping[float, float | None]) -> None:
    """Of a trace where it stands now, of a schedule what holds; null: there is no limit, 0: an outage."""
    told = Told()

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=link, downlink=FREE, tell=told),
        ):
            await transport.bind("memory://target", service=Service.TARGET)
            end = await _device(transport)
            for count in range(80):
                await _until(0.1 * count)
                end.send(b"", bytes(100))

    run_virtual(main())
    seen = {round(one["at_s"], 3): one["rate_bps"] for one in told.of("a")}
    assert {at_s: seen[at_s] for at_s in rates} == pytest.approx(dict(rates))


def test_fading_is_told_as_its_mean_over_the_last_half_second() -> None:
    """So that all that is told is, together, what the link could carry."""
    told, link = Told(), parse_link("rayleigh 10db 200khz 20ms")

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=link, downlink=FREE, tell=told),
        ):
            await transport.bind("memory://target", service=Service.TARGET)
            end = await _device(transport)
            for count in range(1000):
                await _until(0.1 * count)
                end.send(b"", bytes(100))

    run_virtual(main())
    assert link.fading is not None
    curve = link.fading.curve(streams_of(SEED, "a", Direction.UPLINK).fading_seed(0))
    rates = [one["rate_bps"] for one in told.of("a")]
    assert len(set(rates)) > 100
    assert sum(rates) * EVERY_S == pytest.approx(curve.bits_by(EVERY_S * len(rates)))


def test_a_cells_device_has_the_rate_of_its_own_link() -> None:
    """Whoever else sends: what it could carry with all the air."""
    told, cell = Told(), CellSettings(scheduler=Scheduler.ROUND_ROBIN)

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=SLOW, downlink=FREE, cell=cell, tell=told),
        ):
            await transport.bind("memory://target", service=Service.TARGET)
            for name in "ab":
                (await _device(transport, name)).send(b"", bytes(10_000))
            await _until(30.0)

    run_virtual(main())
    for name in "ab":
        assert {one["rate_bps"] for one in told.of(name)} == {80_000.0}
        assert told.of(name)[-1]["delivered_bytes"] == 10_000 and told.of(name)[-1]["queued_bytes"] == 0
    assert len({at_s for at_s, _ in told.events}) == len(told.events), "one event has all links"


def test_many_links_have_several_events() -> None:
    """Each of a size that a frame has room for."""
    told, count = Told(), MOST_LINKS + 10

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=SLOW, downlink=FREE, max_devices=count, tell=told),
        ):
            await transport.bind("memory://target", service=Service.TARGET)
            for number in range(count):
                (await _device(transport, f"phone-{number}")).send(b"", bytes(100))
            await _until(0.6)

    run_virtual(main())
    assert [len(links) for _, links in told.events] == [MOST_LINKS, 10]
    assert len({one["device"] for _, links in told.events for one in links}) == count


def test_a_device_that_left_is_told_of_no_more() -> None:
    """Its links are given up; what was under way counts as dropped, once."""
    told = Told()

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=SLOW, downlink=FREE, max_devices=1, tell=told),
        ):
            await transport.bind("memory://target", service=Service.TARGET)
            (await _device(transport, "a")).send(b"", bytes(100_000))
            await _until(100.0)
            (await _device(transport, "b")).send(b"", bytes(100))
            await _until(200.0)

    run_virtual(main())
    assert told.of("b")[-1]["delivered_bytes"] == 100
    assert told.of("a")[-1]["at_s"] <= 101.0
