"""A channel whose links change: by schedules and by orders, exactly when they say."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.harness.spoilt import NOT_THE_KEYS, SpoiltTransport

from draftwire.codecs.control import LinkOrder, LinkState, Register
from draftwire.codecs.errors import Refusal
from draftwire.codecs.frame import decode_frame, encode_frame
from draftwire.codecs.probes import Echo, Probe
from draftwire.nodes.channel.control import (
    IMPOSTOR,
    UNEXPECTED,
    NoChannelError,
    OrderRefusedError,
    order_link,
)
from draftwire.nodes.channel.node import ChannelNode, Direction, jitter_stream
from draftwire.nodes.channel.playing import PlayedLink
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.errors import AddressInUseError
from draftwire.runtime.link import Link, LinkDrop, LinkSpec, parse_link
from draftwire.runtime.link_schedule import LinkSchedule, parse_schedule
from draftwire.runtime.security import Service
from draftwire.runtime.telemetry import get_logger
from draftwire.runtime.transport import MemoryNetwork, MemoryTransport, Transport, ZmqTransport

CONTROL = "memory://control"
WALL_S = 1.7e9
FAST = parse_link("rate 8mbit delay 10ms")

Traffic = list[tuple[float, bytes]]


@asynccontextmanager
async def _channel(
    transport: Transport,
    *,
    uplink: LinkSpec | LinkSchedule = FAST,
    downlink: LinkSpec | LinkSchedule = FAST,
    folder: str = "memory:/",
) -> AsyncIterator[ChannelNode]:
    node = ChannelNode(
        transport=transport,
        clock=LoopClock(),
        address=f"{folder}/channel",
        target_address=f"{folder}/target",
        uplink=uplink,
        downlink=downlink,
        seed=3,
        max_devices=4,
        wall_s=lambda: WALL_S,
        logger=get_logger("channel"),
        control_address=f"{folder}/control",
    )
    started = asyncio.Event()
    running = asyncio.create_task(node.run(started.set))
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if running.done():
        running.result()
    try:
        yield node
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place for sockets with a short name: the path of a socket has at most 107 bytes."""
    with TemporaryDirectory(prefix="dw-") as name:
        yield Path(name)


def _traffic(seed: int, *, count: int = 300, begin_s: float = 0.0) -> Traffic:
    """Messages at irregular times; some of them together, and some at whole seconds, where links change."""
    rng, now_s, messages = random.Random(seed), begin_s, Traffic()
    for _ in range(count):
        now_s += rng.choice([0.0, 0.001, rng.random() * 0.05])
        if rng.random() < 0.1:
            now_s = float(int(now_s) + 1)
        messages.append((now_s, rng.randbytes(rng.randrange(3000))))
    return messages


def _model(
    schedule: LinkSchedule, direction: Direction, messages: Traffic, *, origin_s: float = 0.0
) -> Traffic:
    """What the link model says if each message meets the link that the schedule has for its own time."""
    link = Link(schedule.spec_at(0.0), jitter_stream(3, "a", direction))
    arrivals = Traffic()
    for at_s, data in messages:
        link.spec = schedule.spec_at(at_s - origin_s)
        outcome = link.offer(at_s, len(data))
        if not isinstance(outcome, LinkDrop):
            arrivals.append((outcome, data))
    return arrivals


@pytest.mark.parametrize(
    "words",
    [
        "rate 4mbit delay 10ms 5ms; 1s rate 400kbit; 3s rate 8mbit delay 30ms",
        "rate 4mbit delay 10ms 5ms; 1s rate 400kbit; 2s delay 0; repeat 3s",
        "rate 1mbit delay 5ms; 1s rate 0; 2s rate 20mbit; repeat 4s",
        "rate 1mbit; 1s rate 2mbit",
    ],
)
def test_a_schedule_changes_delivery_times_exactly_when_it_says(words: str) -> None:
    """Every message arrives at the float that its own time's link gives, also at the time of a change."""
    schedule = parse_schedule(words)
    up, down = _traffic(1), _traffic(2, begin_s=0.5)
    expected_up = _model(schedule, Direction.UPLINK, up)
    expected_down = _model(schedule, Direction.DOWNLINK, down)
    assert expected_up != _model(LinkSchedule.constant(schedule.steps[0].link), Direction.UPLINK, up)

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            _channel(transport, uplink=schedule, downlink=schedule),
        ):
            clock = LoopClock()
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")

            async def send(end: Any, peer: bytes, messages: Traffic) -> None:
                for at_s, data in messages:
                    await clock.sleep_until(at_s)
                    assert end.send(peer, data)

            async with asyncio.TaskGroup() as group:
                group.create_task(send(device, b"", up))
                heard_up = [await target.receive()]
                assert heard_up[0].name == "a"
                group.create_task(send(target, heard_up[0].peer, down))
                heard_up += [await target.receive() for _ in expected_up[1:]]
                heard_down = [await device.receive() for _ in expected_down]
            assert [(one.at_s, one.data) for one in heard_up] == expected_up
            assert [(one.at_s, one.data) for one in heard_down] == expected_down

    assert up[0][0] == 0.0  # so the schedule's time is the loop's
    run_virtual(main())


def test_a_configured_schedule_begins_with_the_first_message() -> None:
    """However long the models load: time 0 is the first message of any device, for every device."""
    schedule = parse_schedule("delay 10ms; 5s delay 1s")

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            _channel(transport, uplink=schedule, downlink=schedule),
        ):
            clock = LoopClock()
            target = await transport.bind("memory://target", service=Service.TARGET)
            first = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            second = await transport.connect("memory://channel", service=Service.TARGET, name="b")
            arrivals = []
            sent = ((first, 100.0), (second, 104.0), (first, 104.75), (second, 105.0), (first, 107.0))
            for end, at_s in sent:
                await clock.sleep_until(at_s)
                end.send(b"", b"x")
                arrivals.append((await target.receive()).at_s - at_s)
            assert arrivals == pytest.approx([0.01, 0.01, 0.01, 1.0, 1.0])

    run_virtual(main())


def test_a_late_timer_is_no_excuse() -> None:
    """A message meets the link of its own time also while the timer of a change has not gone off yet."""
    schedule = parse_schedule("delay 10ms; 5s delay 1s; 6s delay 2s; repeat 9s")

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, _channel(transport, uplink=schedule):
            (timer,) = [task for task in asyncio.all_tasks() if task.get_name() == "channel schedule"]
            timer.cancel()
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            delays_s = []
            for at_s in (0.0, 4.5, 7.5, 10.0, 14.0):
                await LoopClock().sleep_until(at_s)
                device.send(b"", b"x")
                delays_s.append((await target.receive()).at_s - at_s)
            assert delays_s == pytest.approx([0.01, 0.01, 2.0, 0.01, 1.0])

    run_virtual(main())


def test_a_played_link_catches_up() -> None:
    """Called late, it goes to what holds now and tells the next change; called at a change, it is there."""
    played = PlayedLink(parse_schedule("rate 1mbit; 1s rate 2mbit; 2s rate 3mbit; 3s rate 4mbit; repeat 4s"))
    assert (played.due_s(), played.advance(100.0)) == (None, False)
    assert (played.start(0.1), played.start(50.0)) == (True, False)
    assert not played.advance(1.0)
    for _ in range(3000):  # at times that are sums of floats
        due_s = played.due_s()
        assert due_s is not None and played.advance(due_s)
    assert (played.spec, played.due_s()) == (parse_link("rate 1mbit"), 3001.1)
    assert played.advance(3003.5)
    assert played.spec == parse_link("rate 4mbit")
    assert played.due_s() == pytest.approx(3004.1)


def test_what_is_under_way_keeps_its_times() -> None:
    """A change to a faster or slower link moves no message that was put in before it."""
    schedule = parse_schedule("rate 100kbit; 1s rate 100mbit; 2s rate 1kbit")

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, _channel(transport, uplink=schedule):
            clock = LoopClock()
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            for _ in range(3):
                device.send(b"", bytes(6176))  # 0.5 s each on the first link
            await clock.sleep_until(1.25)
            device.send(b"", bytes(12_426))  # 1 ms on the second, behind them
            arrivals = [(await target.receive()).at_s for _ in range(4)]
            assert arrivals == pytest.approx([0.5, 1.0, 1.5, 1.501])

    run_virtual(main())


def test_every_change_is_told_and_the_beginning_too() -> None:
    """A `link` event a direction at the start, and one at each change that is one, with the time it began."""

    async def main() -> list[Any]:
        words = "rate 8mbit delay 10ms 5ms; 1s rate 0; 2s rate 0; 3s rate unlimited; repeat 4s"
        schedule = parse_schedule(words)
        with structlog.testing.capture_logs() as logs:
            async with MemoryTransport(MemoryNetwork()) as transport, _channel(transport, uplink=schedule):
                await transport.bind("memory://target", service=Service.TARGET)
                device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
                await LoopClock().sleep_until(50.0)
                device.send(b"", b"x")
                await LoopClock().sleep_until(56.5)
        return [log for log in logs if log["event"] == "link"]

    logs = run_virtual(main())
    assert logs[0] == {
        "event": "link",
        "log_level": "info",
        "node": "channel",
        "direction": "uplink",
        "link": "rate 8mbit delay 10ms 5ms",
        "rate_bps": 8e6,
        "delay_s": 0.01,
        "jitter_s": 0.005,
        "at_s": 0.0,
    }
    assert [(log["direction"], log["rate_bps"], log["at_s"]) for log in logs[1:]] == [
        ("downlink", 8e6, 0.0),
        ("uplink", 0.0, 51.0),
        ("uplink", None, 53.0),
        ("uplink", 8e6, 54.0),
        ("uplink", 0.0, 55.0),
    ]


def test_orders_change_the_link_and_are_answered() -> None:
    """An order holds from its moment on; it leaves the other direction alone; asking changes nothing."""

    async def main() -> None:
        clock = LoopClock()
        schedule = parse_schedule("delay 10ms; 5s delay 1s; repeat 9s")
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            _channel(transport, uplink=schedule, downlink=FAST) as node,
        ):
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")

            async def delay_s(*, up: bool = True) -> float:
                sent_s = clock.now_s()
                assert device.send(b"", b"x") if up else target.send(peer, b"x")
                return (await (target if up else device).receive()).at_s - sent_s

            device.send(b"", b"hello")
            peer = (await target.receive()).peer
            before = LinkState(uplink=str(schedule), downlink="rate 8mbit delay 10ms", refused=None)
            assert await order_link(transport, CONTROL, clock=clock) == before
            assert await delay_s() == pytest.approx(0.01)

            await clock.sleep_until(3.0)
            state = await order_link(transport, CONTROL, uplink="delay 20ms; 1s delay 2s", clock=clock)
            assert (state.uplink, state.downlink) == ("delay 20ms; 1s delay 2s", before.downlink)
            assert await delay_s() == pytest.approx(0.02)
            await clock.sleep_until(4.0)
            assert await delay_s() == pytest.approx(2.0)
            assert await delay_s(up=False) == pytest.approx(0.01, abs=1e-3)
            await clock.sleep_until(20.0)  # the first schedule is over, not only overlaid
            assert await delay_s() == pytest.approx(2.0)

            await order_link(transport, CONTROL, uplink="delay 1ms", downlink="delay 3ms", clock=clock)
            assert (await delay_s(), await delay_s(up=False)) == pytest.approx((0.001, 0.003))
            node.set_link(Direction.UPLINK, FAST)
            assert (await order_link(transport, CONTROL, clock=clock)).uplink == str(FAST)

    run_virtual(main())


def test_an_order_that_can_not_be_followed_changes_nothing() -> None:
    """One wrong direction refuses the whole order; the answer says why and what still holds."""

    async def main() -> None:
        clock = LoopClock()
        async with MemoryTransport(MemoryNetwork()) as transport, _channel(transport):
            for uplink, downlink, reason in (
                ("rate 1mbit", "rate fast", "downlink: 'fast' is no number"),
                ("rate 1mbit; 5s", None, "uplink: piece 2 ('5s'): the piece says no change; write"),
                ("5s rate 1mbit", None, "uplink: nothing says what the link is before; begin"),
                ("x" * 4096, None, "uplink: 'xxx"),
                ("\x01" * 4096, None, "uplink: '\\x01"),
            ):
                state = await order_link(transport, CONTROL, uplink=uplink, downlink=downlink, clock=clock)
                assert (state.uplink, state.downlink) == (str(FAST), str(FAST))
                assert state.refused is not None and state.refused.startswith(reason)

    run_virtual(main())


def test_what_is_no_order_is_counted_and_not_answered() -> None:
    """Damaged frames and other messages are counted by cause; the next order is answered all the same."""

    async def main() -> None:
        clock = LoopClock()
        async with MemoryTransport(MemoryNetwork()) as transport, _channel(transport) as node:
            stranger = await transport.connect(CONTROL, service=Service.LINKS, name="s")
            register = encode_frame(Register(role="target", name="bs", vocab_size=64), session=0, sequence=0)
            with structlog.testing.capture_logs() as logs:
                for data in (b"", b"x", register[:-1] + b"?", register, register):
                    stranger.send(b"", data)
                assert (await order_link(transport, CONTROL, uplink="rate 0", clock=clock)).uplink == "rate 0"
            assert node.statistics().orders_refused == {
                Refusal.TRUNCATED: 2,
                Refusal.CHECKSUM: 1,
                UNEXPECTED: 2,
            }
            assert [log["event"] for log in logs].count("channel.refused") == 3
            assert stranger.statistics().received == 0

    run_virtual(main())


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=60) | st.text(max_size=60), max_size=8), st.integers())
def test_no_bytes_stop_the_orders(garbage: list[bytes | str], seed: int) -> None:
    """After any bytes, any text for a link, and any damage to an order, an order is still followed."""
    rng = random.Random(seed)

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, _channel(transport):
            stranger = await transport.connect(CONTROL, service=Service.LINKS, name="s")
            for item in garbage:
                order = bytearray(
                    encode_frame(LinkOrder(uplink="rate 1mbit", downlink=None), session=0, sequence=0)
                )
                order[rng.randrange(len(order))] ^= 1 << rng.randrange(8)
                stranger.send(b"", bytes(order))
                if isinstance(item, str):
                    item = encode_frame(LinkOrder(uplink=item, downlink=item), session=0, sequence=0)
                stranger.send(b"", item)
            state = await order_link(transport, CONTROL, uplink="delay 1s", downlink="", clock=LoopClock())
            assert (state.uplink, state.downlink, state.refused) == ("delay 1s", "", None)

    run_virtual(main())


def test_the_control_address_answers_probes() -> None:
    """An Echo with the clock on the wall, of the size asked for; no link changes by it."""

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, _channel(transport) as node:
            doctor = await transport.connect(CONTROL, service=Service.LINKS, name="channel/doctor")
            doctor.send(b"", encode_frame(Probe(stamp=3, reply_padding=500), session=0, sequence=0))
            frame = decode_frame((await doctor.receive()).data)
            assert (frame.session, frame.message) == (0, Echo(stamp=3, clock_s=WALL_S, padding=500))
            assert not node.statistics().orders_refused

    run_virtual(main())


def test_an_impostor_gives_no_orders() -> None:
    """One by a name that its key does not have is told so, which the call raises; nothing changes."""

    async def main() -> None:
        clock = LoopClock()
        async with (
            SpoiltTransport(MemoryNetwork(), impostors=frozenset({"bs-1"})) as transport,
            _channel(transport) as node,
        ):
            with pytest.raises(OrderRefusedError, match=NOT_THE_KEYS) as caught:
                await order_link(transport, CONTROL, uplink="rate 0", clock=clock, name="bs-1")
            assert caught.value.exit_code == 3
            assert (await order_link(transport, CONTROL, clock=clock)).uplink == str(FAST)
            assert node.statistics().orders_refused == {IMPOSTOR: 1}

    run_virtual(main())


def test_the_devices_address_takes_no_orders() -> None:
    """An order that a device sends is a message like others: it goes to the BS and changes nothing."""

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, _channel(transport):
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            order = encode_frame(LinkOrder(uplink="rate 0", downlink="rate 0"), session=0, sequence=0)
            device.send(b"", order)
            assert (await target.receive()).data == order
            assert (await order_link(transport, CONTROL, clock=LoopClock())).uplink == str(FAST)

    run_virtual(main())


def test_nobody_there_is_an_error_after_the_time_given() -> None:
    """Without a channel, or with somebody else at the address, the error names address and remedy."""

    async def main() -> None:
        clock = LoopClock()
        async with MemoryTransport(MemoryNetwork()) as transport:
            with pytest.raises(NoChannelError, match=r"memory://control: no channel answered within 2 s;"):
                await order_link(transport, CONTROL, clock=clock)
            assert clock.now_s() == 2.0
            other = await transport.bind(CONTROL, service=Service.LINKS)
            asking = asyncio.create_task(order_link(transport, CONTROL, timeout_s=7.0, clock=clock))
            received = await other.receive()
            for data in (b"who?", encode_frame(decode_frame(received.data).message, session=0, sequence=0)):
                other.send(received.peer, data)
            with pytest.raises(NoChannelError) as caught:
                await asking
            assert (caught.value.address, caught.value.exit_code, clock.now_s()) == (CONTROL, 3, 9.0)

    run_virtual(main())


def test_a_control_address_that_is_taken_is_an_error() -> None:
    """The channel does not run without its control address, and leaves no other address bound."""

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport:
            await transport.bind(CONTROL, service=Service.LINKS)
            with pytest.raises(AddressInUseError):
                async with _channel(transport):
                    pass
            await transport.bind("memory://channel", service=Service.TARGET)

    run_virtual(main())


def test_orders_over_real_sockets(folder: Path) -> None:
    """Over ipc an order reaches a running channel, is answered, and messages meet the new link."""

    async def main() -> None:
        clock = LoopClock()
        async with ZmqTransport() as transport:
            target = await transport.bind(f"ipc://{folder}/target", service=Service.TARGET)
            async with _channel(transport, folder=f"ipc://{folder}") as node:
                assert node.control_address == f"ipc://{folder}/control"
                device = await transport.connect(node.address, service=Service.CHANNEL, name="a")
                device.send(b"", b"hello")
                peer = (await target.receive()).peer
                states = await asyncio.gather(
                    order_link(transport, node.control_address, uplink="delay 300ms", clock=clock),
                    order_link(transport, node.control_address, downlink="rate 0", clock=clock),
                )
                assert all(state.refused is None for state in states)
                state = await order_link(transport, node.control_address, clock=clock)
                assert (state.uplink, state.downlink) == ("delay 300ms", "rate 0")
                sent_s = clock.now_s()
                device.send(b"", b"slow")
                assert (await target.receive()).at_s - sent_s >= 0.3
                target.send(peer, b"lost")
                device.send(b"", b"again")
                await target.receive()
                assert node.statistics().links["a", Direction.DOWNLINK].dropped == {LinkDrop.OUTAGE: 1}

    asyncio.run(main())
