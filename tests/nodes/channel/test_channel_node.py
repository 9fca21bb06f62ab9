"""The channel emulator: exact in virtual time, complete over real sockets, bounded always."""

import asyncio
import random
from dataclasses import fields
from pathlib import Path

import pytest
import structlog
from tests.harness.channels import DOWNLINK, UPLINK, Traffic, arrivals, channel

from draftwire.nodes.channel.links import streams_of
from draftwire.nodes.channel.node import ChannelRefusal, Direction
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.link import LinkDrop, Streams, parse_link
from draftwire.runtime.security import Service
from draftwire.runtime.transport import Endpoint, MemoryNetwork, MemoryTransport, ZmqTransport


async def _send_spread(endpoint: Endpoint, peer: bytes, messages: Traffic) -> None:
    """Send each message at its time."""
    for at_s, data in messages:
        await LoopClock().sleep_until(at_s)
        assert endpoint.send(peer, data)


def _traffic(seed: int) -> Traffic:
    rng, now_s, messages = random.Random(seed), 1.0, Traffic()
    for _ in range(200):
        now_s += rng.choice([0.0, 0.001, rng.random() * 0.05])
        messages.append((now_s, rng.randbytes(rng.randrange(2000))))
    return messages


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
                assert mine == arrivals(UPLINK, _traffic(devices[name]), device=name, origin_s=1.0)

            (peer,) = {received.peer for received in up if received.name == "b"}
            now_s = LoopClock().now_s()
            later = [(now_s + at_s, data) for at_s, data in _traffic(9)]
            sending = asyncio.create_task(_send_spread(target, peer, later))
            down = [await ends["b"].receive() for _ in later]
            expected = arrivals(DOWNLINK, later, device="b", direction=Direction.DOWNLINK, origin_s=1.0)
            assert [(received.at_s, received.data) for received in down] == expected
            await sending
            counts = node.statistics()
            assert counts.devices == 2
            assert counts.lateness.delivered == 600
            assert (counts.lateness.max_s, counts.lateness.late) == (0.0, 0)
            assert counts.links["b", Direction.DOWNLINK].delivered == 200

    run_virtual(main())


def test_every_link_draws_for_itself() -> None:
    """Draws repeat for one seed, device, direction and impairment, and differ when any of them does."""
    streams = [
        streams_of(1, "a", Direction.UPLINK),
        streams_of(2, "a", Direction.UPLINK),
        streams_of(1, "b", Direction.UPLINK),
        streams_of(1, "a", Direction.DOWNLINK),
    ]
    kinds = [field.name for field in fields(Streams) if field.name != "fading"]
    draws = [getattr(one, kind).random() for one in streams for kind in kinds]
    assert len(set(draws)) == len(streams) * len(kinds)
    assert len({one.fading for one in streams}) == len(streams)
    again = streams_of(1, "a", Direction.UPLINK)
    assert [getattr(again, kind).random() for kind in kinds] == draws[: len(kinds)]
    assert again.fading == streams[0].fading


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
    """An outage begins, everything waits, and it ends: then all goes on, late and in order; none is lost."""

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, channel(transport) as node:
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            clock = LoopClock()
            device.send(b"", b"before")
            await clock.sleep_until(0.001)
            node.set_link(Direction.UPLINK, parse_link("rate 0 delay 20ms"))
            device.send(b"", b"waits")
            device.send(b"", b"waits too")
            await clock.sleep_until(1.0)
            assert target.statistics().received == 1 and (await target.receive()).data == b"before"
            node.set_link(Direction.UPLINK, parse_link("rate 8kbit delay 1s"))
            device.send(b"", b"after")
            heard = [await target.receive() for _ in range(3)]
            assert [one.data for one in heard] == [b"waits", b"waits too", b"after"]
            # At a byte a millisecond, overhead included; the first was sent whole before the outage.
            assert [one.at_s for one in heard] == pytest.approx([2.079, 2.162, 2.241])
            link = node.statistics().links["a", Direction.UPLINK]
            assert (link.offered, link.delivered, link.dropped) == (4, 4, {})

    run_virtual(main())


@pytest.mark.parametrize("words", ["delay 1s limit 10", "rate 0 limit 10"])
def test_a_full_link_drops_counts_and_says_so_once(words: str) -> None:
    """Above the link's limit messages are dropped, in an outage too, which keeps no more than that."""

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=parse_link(words)) as node,
        ):
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            with structlog.testing.capture_logs() as logs:
                for _ in range(25):
                    device.send(b"", b"x")
                await LoopClock().sleep_until(0.5)
            link = node.statistics().links["a", Direction.UPLINK]
            assert (link.offered, link.queued, link.dropped) == (25, 10, {LinkDrop.LIMIT_MESSAGES: 15})
            drops = [log for log in logs if log["event"] == "channel.drops"]
            assert [(log["direction"], log["cause"]) for log in drops] == [("uplink", "limit_messages")]
            await LoopClock().sleep_until(1.5)
            assert target.statistics().received == (0 if words.startswith("rate 0") else 10)

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
