"""The channel emulator: exact in virtual time, complete over real sockets, bounded always."""

import asyncio
import random
from pathlib import Path

import pytest
import structlog
from tests.harness.channels import DOWNLINK, UPLINK, channel

from draftwire.nodes.channel.node import ChannelRefusal, Direction, jitter_stream
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.link import Link, LinkDrop, LinkSpec, parse_link
from draftwire.runtime.security import Service
from draftwire.runtime.transport import Endpoint, MemoryNetwork, MemoryTransport, ZmqTransport


async def _send_spread(endpoint: Endpoint, peer: bytes, messages: list[tuple[float, bytes]]) -> None:
    """Send each message at its time."""
    for at_s, data in messages:
        await LoopClock().sleep_until(at_s)
        assert endpoint.send(peer, data)


def _traffic(seed: int) -> list[tuple[float, bytes]]:
    rng, now_s, messages = random.Random(seed), 1.0, list[tuple[float, bytes]]()
    for _ in range(200):
        now_s += rng.choice([0.0, 0.001, rng.random() * 0.05])
        messages.append((now_s, rng.randbytes(rng.randrange(2000))))
    return messages


def _model(
    spec: LinkSpec, device: str, direction: Direction, messages: list[tuple[float, bytes]]
) -> list[tuple[float, bytes]]:
    """What the link model alone says: when each message arrives."""
    link = Link(spec, jitter_stream(3, device, direction))
    offered = [(link.offer(at_s, len(data)), data) for at_s, data in messages]
    return [(at_s, data) for at_s, data in offered if not isinstance(at_s, LinkDrop)]


def test_virtual_deliveries_are_the_models_own_times() -> None:
    """Two devices at once, both directions: each message arrives at the very float that its link says."""
    devices = {"a": 1, "b": 2}

    async def main() -> None:
        network = MemoryNetwork()
        async with MemoryTransport(network) as transport, channel(transport) as node:
            target = await transport.bind("memory://target", service=Service.TARGET)
            ends = {
                name: await transport.connect("memory://channel", service=Service.CHANNEL, name=name)
                for name in devices
            }
            async with asyncio.TaskGroup() as group:
                for name, end in ends.items():
                    group.create_task(_send_spread(end, b"", _traffic(devices[name])))
                up = [await target.receive() for _ in range(400)]
            for name in devices:
                mine = [(received.at_s, received.data) for received in up if received.name == name]
                assert mine == _model(UPLINK, name, Direction.UPLINK, _traffic(devices[name]))

            (peer,) = {received.peer for received in up if received.name == "b"}
            now_s = LoopClock().now_s()
            later = [(now_s + at_s, data) for at_s, data in _traffic(9)]
            sending = asyncio.create_task(_send_spread(target, peer, later))
            down = [await ends["b"].receive() for _ in later]
            assert [(received.at_s, received.data) for received in down] == _model(
                DOWNLINK, "b", Direction.DOWNLINK, later
            )
            await sending
            counts = node.statistics()
            assert counts.devices == 2
            assert counts.lateness.delivered == 600
            assert (counts.lateness.max_s, counts.lateness.late) == (0.0, 0)
            assert counts.links["b", Direction.DOWNLINK].delivered == 200

    run_virtual(main())


def test_every_link_has_its_own_jitter() -> None:
    """Jitter repeats for one seed, device and direction, and differs when any of them does."""
    streams = [
        jitter_stream(1, "a", Direction.UPLINK),
        jitter_stream(2, "a", Direction.UPLINK),
        jitter_stream(1, "b", Direction.UPLINK),
        jitter_stream(1, "a", Direction.DOWNLINK),
    ]
    draws = [stream.random() for stream in streams]
    assert len(set(draws)) == len(streams)
    assert jitter_stream(1, "a", Direction.UPLINK).random() == draws[0]


def test_a_device_does_not_wait_for_another_ones_link() -> None:
    """A device that floods its uplink delays its own messages only."""

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, channel(transport):
            target = await transport.bind("memory://target", service=Service.TARGET)
            greedy = await transport.connect("memory://channel", service=Service.CHANNEL, name="greedy")
            modest = await transport.connect("memory://channel", service=Service.CHANNEL, name="modest")
            for _ in range(100):
                greedy.send(b"", bytes(10_000))
            modest.send(b"", b"hello")
            first = await target.receive()
            assert first.name == "modest" and first.at_s < 0.03

    run_virtual(main())


def test_the_link_can_change_in_use() -> None:
    """set_link holds for messages from then on: an outage begins, drops and counts, and ends."""

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, channel(transport) as node:
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            clock = LoopClock()
            device.send(b"", b"before")
            await clock.sleep_until(0.001)
            node.set_link(Direction.UPLINK, parse_link("rate 0"))
            with structlog.testing.capture_logs() as logs:
                device.send(b"", b"lost")
                device.send(b"", b"lost too")
                await clock.sleep_until(0.002)
            node.set_link(Direction.UPLINK, parse_link("delay 1s"))
            device.send(b"", b"after")
            assert [(await target.receive()).data for _ in range(2)] == [b"before", b"after"]
            assert clock.now_s() == 1.002
            link = node.statistics().links["a", Direction.UPLINK]
            assert link.dropped == {LinkDrop.OUTAGE: 2}
            assert [(log["event"], log["cause"]) for log in logs] == [("channel.drops", "outage")]

    run_virtual(main())


def test_a_full_link_drops_and_counts() -> None:
    """Above the link's limit messages are dropped; offered = delivered + queued + dropped throughout."""

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=parse_link("delay 1s limit 10")) as node,
        ):
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            for _ in range(25):
                device.send(b"", b"x")
            await LoopClock().sleep_until(0.5)
            link = node.statistics().links["a", Direction.UPLINK]
            assert (link.offered, link.queued, link.dropped) == (25, 10, {LinkDrop.LIMIT_MESSAGES: 15})
            await LoopClock().sleep_until(1.5)
            assert target.statistics().received == 10

    run_virtual(main())


def test_places_for_devices_are_bounded() -> None:
    """A device too many is refused, counted and logged once, until an idle one gives its place up."""

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, channel(transport, max_devices=2) as node:
            target = await transport.bind("memory://target", service=Service.TARGET)
            ends = {
                name: await transport.connect("memory://channel", service=Service.CHANNEL, name=name)
                for name in "abc"
            }
            clock = LoopClock()
            with structlog.testing.capture_logs() as logs:
                for end in ends.values():
                    end.send(b"", b"hello")
                    end.send(b"", b"hello again")
                await clock.sleep_until(30.0)
                assert node.statistics().refused == {ChannelRefusal.TOO_MANY_DEVICES: 2}
                ends["b"].send(b"", b"alive")
                await clock.sleep_until(61.0)
                ends["c"].send(b"", b"hello at last")
                await clock.sleep_until(62.0)
            heard = [await target.receive() for _ in range(6)]
            assert [received.name for received in heard][-2:] == ["b", "c"]
            assert node.statistics().devices == 2
            assert [log["event"] for log in logs].count("channel.refused") == 1
            assert not target.send(heard[0].peer, b"who is there?")

    run_virtual(main())


def test_what_is_under_way_is_lost_with_the_channel() -> None:
    """When the node stops, its endpoints are closed and nothing is delivered any more."""

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport:
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            async with channel(transport) as node:
                device.send(b"", b"hello")
                peer = (await target.receive()).peer
                sent_s = LoopClock().now_s()
                device.send(b"", b"lost")
                await LoopClock().sleep_until(sent_s + 0.01)
                assert node.statistics().links["a", Direction.UPLINK].queued == 1
            await LoopClock().sleep_until(10.0)
            assert target.statistics().received == 1
            assert not target.send(peer, b"gone?")

    run_virtual(main())


@pytest.mark.parametrize("kind", ["tcp", "ipc"])
def test_real_sockets_deliver_all(kind: str, tmp_path: Path) -> None:
    """Over TCP and ipc every message arrives once, whole and in order, both ways, for each device."""
    addresses = {
        name: "tcp://127.0.0.1:*" if kind == "tcp" else f"ipc://{tmp_path}/{name}"
        for name in ("target", "channel")
    }
    messages = [data for _, data in _traffic(4)]

    async def main() -> None:
        async with ZmqTransport() as transport:
            target = await transport.bind(addresses["target"], service=Service.TARGET)
            link = parse_link("rate 100mbit delay 2ms 2ms")
            async with channel(
                transport,
                address=addresses["channel"],
                target_address=target.address,
                uplink=link,
                downlink=link,
            ) as node:
                ends = {
                    name: await transport.connect(node.address, service=Service.CHANNEL, name=name)
                    for name in "abc"
                }
                for end in ends.values():
                    for data in messages:
                        assert end.send(b"", data)
                up: dict[str, list[bytes]] = {name: [] for name in ends}
                for _ in range(len(ends) * len(messages)):
                    received = await target.receive()
                    up[received.name].append(received.data)
                    assert target.send(received.peer, received.data)
                assert up == {name: messages for name in ends}
                for end in ends.values():
                    assert [(await end.receive()).data for _ in messages] == messages
                counts = node.statistics()
                assert counts.lateness.delivered == 2 * len(ends) * len(messages)
                assert not counts.refused and not counts.facing_devices.dropped

    asyncio.run(main())
