"""The channel's connections and its end: who has which link, who is refused, what is still delivered."""

import asyncio

import pytest
import structlog
from tests.harness.channels import channel
from tests.harness.spoilt import NOT_THE_KEYS, SpoiltTransport

from draftwire.codecs.frame import decode_frame
from draftwire.codecs.messages import Reason, Refused
from draftwire.nodes.channel.node import ChannelRefusal
from draftwire.nodes.channel.places import MAX_CONNECTIONS
from draftwire.runtime.absence import PATIENCE_S
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.link import parse_link, parse_schedule
from draftwire.runtime.security import Service
from draftwire.runtime.transport import MemoryNetwork, MemoryTransport, Trouble, TroubleKind


def test_a_device_has_its_two_links_however_often_it_connects() -> None:
    """Two connections of one name share the rate of one uplink, and each is answered on its own."""

    async def main() -> None:
        link = parse_link("rate 8kbit")
        async with MemoryTransport(MemoryNetwork()) as transport, channel(transport, uplink=link) as node:
            target = await transport.bind("memory://target", service=Service.TARGET)
            ends = [
                await transport.connect("memory://channel", service=Service.CHANNEL, name=name)
                for name in ("a", "a")
            ]
            for number, end in enumerate(ends):
                end.send(b"", bytes([number]) * 926)  # 1 s each
            heard = [await target.receive() for _ in ends]
            assert [received.at_s for received in heard] == pytest.approx([1.0, 2.0])
            assert [received.name for received in heard] == ["a", "a"]
            for received in heard:
                target.send(received.peer, received.data[:1])
            assert [(await end.receive()).data for end in ends] == [b"\0", b"\1"]
            assert (node.statistics().devices, node.statistics().connections) == (1, 2)

    run_virtual(main())


def test_a_device_that_connects_anew_takes_no_places() -> None:
    """Its oldest connection makes room for its newest, so that it can be started as often as it likes."""

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, channel(transport, max_devices=2) as node:
            target = await transport.bind("memory://target", service=Service.TARGET)
            for _ in range(20):
                end = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
                end.send(b"", b"hello")
                assert (await target.receive()).name == "a"
            other = await transport.connect("memory://channel", service=Service.CHANNEL, name="b")
            other.send(b"", b"hello")
            assert (await target.receive()).name == "b"
            counts = node.statistics()
            assert (counts.devices, counts.connections) == (2, MAX_CONNECTIONS + 1)
            assert not counts.refused

    run_virtual(main())


def test_an_impostor_is_told_and_gets_no_link() -> None:
    """It is answered by Refused, of no request; its messages reach nobody; an honest one's do."""

    async def main() -> None:
        async with (
            SpoiltTransport(MemoryNetwork(), impostors=frozenset({"phone-1"})) as transport,
            channel(transport) as node,
        ):
            target = await transport.bind("memory://target", service=Service.TARGET)
            impostor, honest = [
                await transport.connect("memory://channel", service=Service.CHANNEL, name=name)
                for name in ("phone-1", "phone-2")
            ]
            impostor.send(b"", b"hello")
            frame = decode_frame((await impostor.receive()).data)
            assert (frame.session, frame.message) == (
                0,
                Refused(reason=Reason.IDENTITY, detail=NOT_THE_KEYS),
            )
            honest.send(b"", b"hello")
            assert (await target.receive()).name == "phone-2"
            assert node.statistics().refused == {ChannelRefusal.IMPOSTOR: 1}
            assert node.statistics().connections == 1

    run_virtual(main())


def test_a_channel_told_to_stop_delivers_what_is_on_its_links() -> None:
    """Both ways and in full; what comes later is refused and counted."""

    async def main() -> None:
        link = parse_link("rate 8kbit")
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=link, downlink=link) as node,
        ):
            clock = LoopClock()
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            device.send(b"", b"hello")
            peer = (await target.receive()).peer
            for _ in range(3):
                device.send(b"", bytes(926))  # 1 s each
            target.send(peer, bytes(926))
            await clock.sleep_until(began_s := clock.now_s() + 0.5)
            draining = asyncio.create_task(node.drain(5.0))
            await asyncio.sleep(0)
            device.send(b"", b"too late")
            await draining
            assert clock.now_s() - began_s == pytest.approx(2.5)
            assert target.statistics().received == 4 and device.statistics().received == 1
            assert node.statistics().refused == {ChannelRefusal.STOPPING: 1}

    run_virtual(main())


@pytest.mark.parametrize(
    ("words", "drained_s", "came"),
    [
        ("rate 8kbit; 1500ms rate 0", 0.0, 1),
        ("rate 8kbit; 1500ms rate 0; 3s rate 8kbit", 2.5, 3),
        ("rate 8kbit; 1500ms rate 0; 20s rate 8kbit", 0.0, 1),
        ("rate 8kbit; 1500ms rate 0; 3s rate 500bit", 1.0, 1),
    ],
)
def test_what_an_outage_holds_is_waited_for_if_it_can_come_in_time(
    words: str, drained_s: float, came: int
) -> None:
    """A channel that drains lets the schedule go on; it ends at once where nothing more can arrive."""

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=parse_schedule(words)) as node,
        ):
            clock = LoopClock()
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            for _ in range(3):
                device.send(b"", bytes(926))  # 1 s each at 8 kbit/s
            await clock.sleep_until(2.0)
            await node.drain(5.0)
            assert clock.now_s() == pytest.approx(2.0 + drained_s)
            assert target.statistics().received == came

    run_virtual(main())


def test_a_channel_does_not_drain_for_longer_than_it_may() -> None:
    """Of a link too slow to be emptied in time, the last that can still come is waited for, and no longer."""

    async def main() -> None:
        link = parse_link("rate 8kbit")
        async with MemoryTransport(MemoryNetwork()) as transport, channel(transport, uplink=link) as node:
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            for _ in range(20):
                device.send(b"", bytes(926))
            await LoopClock().sleep_until(0.5)
            await node.drain(5.0)
            assert LoopClock().now_s() == 5.0
            assert target.statistics().received == 5

    run_virtual(main())


def test_a_bs_that_cannot_be_reached_is_said_once_by_kind() -> None:
    """In the transport's words, after some seconds and for a channel with devices; and when it is back."""
    trouble = Trouble(kind=TroubleKind.DENIED, text="tcp://bs:1: the target does not allow this key")

    async def main() -> None:
        clock = LoopClock()
        async with SpoiltTransport(MemoryNetwork()) as transport, channel(transport) as node:
            target = await transport.bind("memory://target", service=Service.TARGET)
            for name in "ab":
                device = await transport.connect(node.address, service=Service.CHANNEL, name=name)
                device.send(b"", b"hello")
                await target.receive()
            for now, for_s in ((trouble, PATIENCE_S - 1), (None, 10), (trouble, 60), (None, 10)):
                transport.trouble = now
                await clock.sleep_until(clock.now_s() + for_s)

    with structlog.testing.capture_logs() as logs:
        run_virtual(main())
    said = [log for log in logs if "target" in log["event"]]
    assert [(log["event"], log.get("kind"), log.get("text")) for log in said] == [
        ("channel.no_target", "denied", trouble.text),
        ("channel.target_back", None, None),
    ]
    assert said[1]["after_s"] == pytest.approx(60, abs=1)
