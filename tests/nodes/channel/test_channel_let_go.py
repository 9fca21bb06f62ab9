"""Devices that make room for others: what becomes of their links, their numbers and their counts."""

import asyncio
from typing import Any

import pytest
import structlog
from tests.harness.channels import channel

from draftwire.nodes.channel.node import ChannelNode, Direction
from draftwire.nodes.channel.places import IDLE_S, Connection, Places
from draftwire.nodes.channel.way import MOST_UNDER_WAY_BYTES
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.link import LinkDrop, parse_link
from draftwire.runtime.security import Service
from draftwire.runtime.transport import Endpoint, MemoryNetwork, MemoryTransport

SECOND = bytes(926)
"""At 8 kbit/s."""


async def _device(transport: MemoryTransport, name: str) -> Endpoint:
    return await transport.connect("memory://channel", service=Service.CHANNEL, name=name)


async def _with_room_for_one(words: str) -> tuple[ChannelNode, list[Any]]:
    """Device a sends 90 messages both ways, goes silent, gives way to b, and comes back."""
    link = parse_link(words)
    async with (
        MemoryTransport(MemoryNetwork()) as transport,
        channel(transport, uplink=link, downlink=link, max_devices=1) as node,
    ):
        clock = LoopClock()
        target = await transport.bind("memory://target", service=Service.TARGET)
        a, b = await _device(transport, "a"), await _device(transport, "b")
        a.send(b"", SECOND)
        peer = (await target.receive()).peer
        for number in range(89):
            a.send(b"", bytes([number]) + SECOND[1:])
            target.send(peer, bytes([number]) + SECOND[1:])
        await clock.sleep_until(IDLE_S + 10.5)
        b.send(b"", SECOND)
        await clock.sleep_until(2 * IDLE_S + 20.5)
        a.send(b"", b"again")
        await clock.sleep_until(10 * IDLE_S)
        return node, [a.statistics().received, target.statistics().received, node.statistics()]


def test_what_is_under_way_for_who_is_let_go_is_dropped_and_counted() -> None:
    """Nothing of it arrives later, on the way of the same name that comes back neither; none of it counts as
    delivered, and no memory is kept.
    """
    node, (came_down, came_up, statistics) = run_virtual(_with_room_for_one("rate 8kbit"))
    assert (came_down, came_up) == (69, 70 + 1 + 1)
    past = statistics.past
    assert past[Direction.UPLINK].dropped == {LinkDrop.LET_GO: 20}
    assert past[Direction.DOWNLINK].dropped == {LinkDrop.LET_GO: 20}
    assert (past[Direction.UPLINK].delivered, past[Direction.UPLINK].offered) == (70 + 1, 90 + 1)
    assert statistics.unsent == 0
    assert statistics.lateness.delivered == came_down + came_up
    assert node._links._room.left_bytes == MOST_UNDER_WAY_BYTES


def test_what_an_outage_holds_is_dropped_and_counted_too() -> None:
    """Though no timer stands for it."""

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=parse_link("rate 0"), max_devices=1) as node,
        ):
            await transport.bind("memory://target", service=Service.TARGET)
            for name in "ab":
                (await _device(transport, name)).send(b"", b"x")
                await asyncio.sleep(IDLE_S + 1)
            assert node.statistics().past[Direction.UPLINK].dropped == {LinkDrop.LET_GO: 1}

    run_virtual(main())


def test_names_that_come_and_go_leave_nothing_behind() -> None:
    """One key under many names, each with a full queue on a slow link: only those that are there hold any."""

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=parse_link("rate 1kbit")) as node,
        ):
            await transport.bind("memory://target", service=Service.TARGET)
            for number in range(12):
                end = await _device(transport, f"a/{number}")
                for _ in range(200):
                    end.send(b"", bytes(10_000))
                await asyncio.sleep(0.01)
            held = MOST_UNDER_WAY_BYTES - node._links._room.left_bytes
            assert node.statistics().devices == 4
            assert 4 * 200 * 10_000 < held < 4 * 200 * 11_000
            assert len(node._deliveries._heap) == 4

    run_virtual(main())


def test_who_returns_meets_other_numbers() -> None:
    """A loss pattern does not begin again with each visit; who never left has the same in every run."""

    async def patterns() -> list[str]:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=parse_link("loss 50%"), max_devices=1),
        ):
            target = await transport.bind("memory://target", service=Service.TARGET)
            found = []
            for name in "aba":
                end, pattern = await _device(transport, name), ""
                for _ in range(40):
                    before = target.statistics().received
                    end.send(b"", b"x")
                    await asyncio.sleep(0.01)
                    pattern += str(target.statistics().received - before)
                found.append(pattern)
                await asyncio.sleep(IDLE_S + 1)
            return found

    first, other, again = run_virtual(patterns())
    assert len({first, other, again}) == 3
    assert run_virtual(patterns()) == [first, other, again]


def test_the_last_line_has_those_that_were_let_go() -> None:
    """Its totals are of all devices that there were."""
    with structlog.testing.capture_logs() as logs:
        run_virtual(_with_room_for_one("rate 8kbit"))
    (last,) = [log for log in logs if log["event"] == "channel.stopped"]
    assert (last["uplink_delivered"], last["uplink_dropped"]) == (72, 20)
    assert (last["downlink_delivered"], last["downlink_dropped"]) == (69, 20)


def test_what_a_link_delivers_to_nobody_is_counted() -> None:
    """A message whose connection was closed while it was under way, the device having made new ones."""

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=parse_link("delay 5s"), max_devices=1) as node,
        ):
            await transport.bind("memory://target", service=Service.TARGET)
            for _ in range(6):
                (await _device(transport, "a")).send(b"", b"x")
                await asyncio.sleep(0.1)
            await asyncio.sleep(10.0)
            statistics = node.statistics()
            assert (statistics.unsent, statistics.links["a", Direction.UPLINK].delivered) == (2, 6)
            await asyncio.sleep(IDLE_S)
            (await _device(transport, "b")).send(b"", b"x")
            await asyncio.sleep(1.0)
            assert (node.statistics().devices, node.statistics().unsent) == (1, 2)

    run_virtual(main())


def test_an_order_for_all_takes_each_device_to_where_the_trace_is() -> None:
    """One that had another link meanwhile goes on with the rest, as the event tells, and not from time 0."""

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=parse_link("trace lte-like")) as node,
        ):
            clock = LoopClock()
            target = await transport.bind("memory://target", service=Service.TARGET)
            ends = [await _device(transport, name) for name in "ab"]
            for end in ends:
                end.send(b"", b"x")
                await target.receive()
            await clock.sleep_until(10.0)
            node.set_link(Direction.UPLINK, parse_link("rate 5mbit"), device="a")
            await clock.sleep_until(20.0)
            node.set_link(Direction.UPLINK, parse_link("trace lte-like"))
            await clock.sleep_until(23.456)
            for end in ends:
                end.send(b"", bytes(30_000))
            heard = [await target.receive() for _ in ends]
            assert heard[0].at_s == heard[1].at_s

    with structlog.testing.capture_logs() as logs:
        run_virtual(main())
    told = [log for log in logs if log["event"] == "link" and log["ordered"]]
    began = [(log["device"], log["began_s"], log["rates_before"]) for log in told]
    assert began == [("a", 10.0, 1), (None, 0.0, 0)]


def test_a_drain_ends_when_nothing_is_under_way() -> None:
    """Timers of times that no longer hold are not waited for."""

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=parse_link("rate 1kbit")) as node,
        ):
            clock = LoopClock()
            target = await transport.bind("memory://target", service=Service.TARGET)
            a = await _device(transport, "a")
            for _ in range(2):
                a.send(b"", SECOND)
            await clock.sleep_until(0.5)
            node.set_link(Direction.UPLINK, parse_link("rate 1mbit"))
            await clock.sleep_until(2.0)
            assert target.statistics().received == 2
            await node.drain(100.0)
            assert clock.now_s() == 2.0

    run_virtual(main())


class _CountedPlaces(Places):
    looks = 0

    def _heard_s(self, key: str) -> float:
        self.looks += 1
        return super()._heard_s(key)


@pytest.mark.parametrize("names", [1, 3])
def test_a_flood_of_refused_messages_searches_nothing(names: int) -> None:
    """Once all places are taken the channel knows until when; who comes then has the idlest one's."""
    places, most = _CountedPlaces(100), 100
    made: Any = {"uplink": None, "upstream": None, "listening": None}
    for number in range(most):
        for name in range(names):
            connection = Connection(name=f"{number}/{name}", heard_s=100.0 - number, **made)
            places.add(f"{number}/{name}".encode(), connection)
    assert places.in_the_way("new", 50.0) is None
    looks = places.looks
    for _ in range(1000):
        assert places.in_the_way("new", 1.0 + IDLE_S - 0.1) is None
    assert places.looks == looks
    connection.heard_s = 30.0  # the idlest one's last name was heard meanwhile
    assert places.in_the_way("new", 1.0 + IDLE_S) is None
    idlest = places.in_the_way("new", 2.0 + IDLE_S)
    assert idlest is not None and {peer.split(b"/")[0] for peer in idlest} == {b"98"} and len(idlest) == names
    for peer in idlest:
        places.remove(peer)
    assert not places.has("98/0") and places.has("97/0")
    assert places.in_the_way("new", 2.0 + IDLE_S) == []
