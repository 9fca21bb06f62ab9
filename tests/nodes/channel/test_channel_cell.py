"""A channel whose devices share a radio: exact in virtual time, complete over real sockets."""

import asyncio
from collections import Counter

import pytest
import structlog
from tests.harness.channels import SEED, channel

from draftwire.nodes.channel.control import order_link
from draftwire.nodes.channel.links import streams_of
from draftwire.nodes.channel.node import ChannelNode, Direction
from draftwire.nodes.channel.playing import OwnSchedules
from draftwire.runtime.channel_settings import CellSettings
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.link import Cell, LinkDrop, Passage, Scheduler, parse_link, parse_schedule
from draftwire.runtime.security import Service
from draftwire.runtime.transport import Endpoint, MemoryNetwork, MemoryTransport, Transport, ZmqTransport

ROUND_ROBIN = CellSettings(scheduler=Scheduler.ROUND_ROBIN)
PLAIN = parse_link("rate 8mbit overhead 0 limit 100000")
"""A byte a microsecond."""


async def _ends(transport: Transport, count: int) -> tuple[Endpoint, list[Endpoint]]:
    target = await transport.bind("memory://target", service=Service.TARGET)
    return target, [
        await transport.connect("memory://channel", service=Service.CHANNEL, name=f"device/{number:02}")
        for number in range(1, count + 1)
    ]


async def _until(at_s: float) -> None:
    await LoopClock().sleep_until(at_s)


def _own(**words: str) -> OwnSchedules:
    return {
        name.replace("__", "/"): dict.fromkeys(Direction, parse_schedule(text))
        for name, text in words.items()
    }


@pytest.mark.parametrize("scheduler", Scheduler)
def test_virtual_deliveries_are_the_cells_own_times(scheduler: Scheduler) -> None:
    """Three devices at once: each message arrives at the time that the pure model says, and none is late."""
    link = parse_link("rate 2mbit delay 4ms 2ms loss 5%")
    traffic = [(1.0 + 0.0013 * n, n % 3, bytes(200 + 37 * (n % 11))) for n in range(300)]

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=link, cell=CellSettings(scheduler=scheduler)) as node,
        ):
            target, ends = await _ends(transport, 3)
            for at_s, device, data in traffic:
                await _until(at_s)
                ends[device].send(b"", data)
            await _until(10.0)
            heard = [await target.receive() for _ in range(target.statistics().received)]
            assert (node.statistics().lateness.max_s, node.statistics().lateness.late) == (0.0, 0)
        cell = Cell[bytes](scheduler)
        names = [f"device/{number:02}" for number in range(1, 4)]
        links = [
            cell.join(link, streams_of(SEED, name, Direction.UPLINK), began_s=traffic[0][0]) for name in names
        ]
        came: dict[str, list[Passage[bytes]]] = {name: [] for name in names}
        for at_s, device, data in traffic:
            outcome = links[device].offer(at_s, len(data), data)
            if not isinstance(outcome, LinkDrop):
                came[names[device]] += outcome
        cell.advance(100.0)
        for name in names:
            mine = [(one.at_s, one.data) for one in heard if one.name == name]
            model = [(one.delivery_s, one.carried) for one in came[name]]
            assert [data for _, data in mine] == [data for _, data in model]
            assert [at_s for at_s, _ in mine] == pytest.approx([at_s for at_s, _ in model], abs=1e-8)

    run_virtual(main())


def test_devices_share_the_rate_by_weight_and_it_is_told_each_second() -> None:
    """Each has its weight's part of the messages, and `channel.shares` its part of the time."""

    async def main() -> None:
        cell = CellSettings(scheduler=Scheduler.ROUND_ROBIN, weights={"device/01": 2.0})
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=PLAIN, downlink=PLAIN, cell=cell) as node,
        ):
            target, ends = await _ends(transport, 3)
            with structlog.testing.capture_logs() as logs:
                for end in ends:
                    for _ in range(500):
                        end.send(b"", bytes(1000))
                await _until(0.9)
                heard = Counter[str]()
                for _ in range(target.statistics().received):
                    heard[(await target.receive()).name] += 1
                assert heard["device/01"] == pytest.approx(450, abs=4)
                assert heard["device/02"] == pytest.approx(225, abs=4)
                await _until(10.5)
            links = node.statistics().links
            assert all(links[f"device/{n:02}", Direction.UPLINK].delivered == 500 for n in (1, 2, 3))
        told = [log for log in logs if log["event"] == "channel.shares"]
        assert [log["direction"] for log in told] == ["uplink"] * 2  # 1.5 s of sending, and then nothing
        assert told[0]["shares"] == pytest.approx(
            {"device/01": 0.5, "device/02": 0.25, "device/03": 0.25}, abs=0.005
        )
        assert told[1]["shares"] == pytest.approx({"device/02": 0.25, "device/03": 0.25}, abs=0.005)
        for log in told:
            assert log["to_s"] - log["from_s"] == pytest.approx(1.0)

    run_virtual(main())


def test_without_a_cell_nothing_is_shared_or_told() -> None:
    """Each device has its rate for itself, and its channel says nothing of a cell."""

    async def main() -> None:
        with structlog.testing.capture_logs() as logs:
            async with MemoryTransport(MemoryNetwork()) as transport, channel(transport, uplink=PLAIN):
                target, ends = await _ends(transport, 3)
                for end in ends:
                    end.send(b"", bytes(100_000))
                await _until(0.1001)
                assert target.statistics().received == 3
                await _until(2.0)
        assert not [log for log in logs if log["event"] == "channel.shares" or "cell" in log]

    run_virtual(main())


def test_a_channel_says_which_scheduler_its_cell_has() -> None:
    """`channel.ready` names it."""

    async def main() -> None:
        with structlog.testing.capture_logs() as logs:
            async with MemoryTransport(MemoryNetwork()) as transport, channel(transport, cell=ROUND_ROBIN):
                pass
        assert [log["cell"] for log in logs if log["event"] == "channel.ready"] == ["round-robin"]

    run_virtual(main())


def test_schedules_and_orders_change_a_devices_own_link_in_the_cell() -> None:
    """One device's outage by its schedule leaves the air to the other; an order ends it, and all is there."""

    async def main() -> None:
        own = _own(device__01="rate 8mbit overhead 0; 10ms rate 0")
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(
                transport,
                uplink=PLAIN,
                own_links=own,
                cell=ROUND_ROBIN,
                control_address="memory://control",
            ) as node,
        ):
            target, ends = await _ends(transport, 2)
            for _ in range(20):
                ends[0].send(b"", bytes(1000))
                ends[1].send(b"", bytes(1000))
            await _until(0.5)
            heard = [await target.receive() for _ in range(target.statistics().received)]
            # 10 ms shared, then 15 ms for the other one.
            assert Counter(one.name for one in heard) == {"device/01": 5, "device/02": 20}
            assert heard[-1].at_s == pytest.approx(0.025, abs=1e-6)
            await order_link(
                transport,
                "memory://control",
                uplink="rate 4mbit overhead 0",
                device="device/01",
                clock=LoopClock(),
            )
            await _until(1.0)
            heard = [await target.receive() for _ in range(target.statistics().received - 25)]
            assert len(heard) == 15
            assert heard[-1].at_s == pytest.approx(0.53, abs=1e-6)
            links = node.statistics().links
            assert links["device/01", Direction.UPLINK].delivered == 20

    run_virtual(main())


def test_what_a_device_that_is_let_go_had_waiting_is_dropped_and_the_others_have_the_air() -> None:
    """Its place goes to another device, its messages are counted, and the channel's memory is free again."""

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=PLAIN, cell=ROUND_ROBIN, max_devices=1) as node,
        ):
            target = await transport.bind("memory://target", service=Service.TARGET)
            first = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            for _ in range(80):
                first.send(b"", bytes(1_000_000))  # a second each
            await _until(70.5)
            second = await transport.connect("memory://channel", service=Service.CHANNEL, name="b")
            second.send(b"", bytes(1000))
            await _until(70.6)
            heard = [await target.receive() for _ in range(target.statistics().received)]
            assert [one.name for one in heard] == ["a"] * 70 + ["b"]
            assert heard[-1].at_s == pytest.approx(70.501, abs=1e-6)
            assert node.statistics().past[Direction.UPLINK].dropped == {LinkDrop.LET_GO: 10}
            assert node.statistics().links["b", Direction.UPLINK].delivered == 1

    run_virtual(main())


def test_a_channel_that_stops_delivers_what_waits_in_its_cell() -> None:
    """Draining knows of messages that have no times yet."""

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=PLAIN, cell=ROUND_ROBIN) as node,
        ):
            target, ends = await _ends(transport, 2)
            for end in ends:
                for _ in range(100):
                    end.send(b"", bytes(1000))
            await _until(0.01)
            await node.drain(5.0)
            assert target.statistics().received == 200
            assert LoopClock().now_s() == pytest.approx(0.2, abs=0.002)

    run_virtual(main())


def test_real_sockets_share_a_radio() -> None:
    """Over TCP two devices' messages all arrive, each one's in order, no faster than the radio sends both."""

    async def main(node: ChannelNode, transport: Transport, target: Endpoint) -> None:
        ends = [
            await transport.connect(node.address, service=Service.CHANNEL, name=name) for name in ("a", "b")
        ]
        clock = LoopClock()
        began_s = clock.now_s()
        for number in range(40):
            for end in ends:
                assert end.send(b"", number.to_bytes(2) + bytes(998))
        heard = [await asyncio.wait_for(target.receive(), 20) for _ in range(80)]
        for name in ("a", "b"):
            mine = [int.from_bytes(one.data[:2]) for one in heard if one.name == name]
            assert mine == list(range(40))
        assert heard[-1].at_s - began_s >= 0.08
        # Neither has waited for all of the other's.
        assert {one.name for one in heard[:40]} == {"a", "b"}

    async def run() -> None:
        async with ZmqTransport() as transport:
            target = await transport.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            async with channel(
                transport,
                address="tcp://127.0.0.1:*",
                target_address=target.address,
                uplink=PLAIN,
                cell=CellSettings(),
            ) as node:
                await main(node, transport, target)

    asyncio.run(run())
