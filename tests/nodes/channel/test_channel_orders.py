"""Orders to a running channel: followed in full or not at all, and answered either way."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.harness.channels import WALL_S, channel
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
from draftwire.nodes.channel.node import ChannelNode, Direction
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.errors import AddressInUseError
from draftwire.runtime.link import LinkDrop, parse_link, parse_schedule, traces_beside
from draftwire.runtime.security import Service
from draftwire.runtime.transport import MemoryNetwork, MemoryTransport, Transport, ZmqTransport

CONTROL = "memory://control"
FAST = parse_link("rate 8mbit delay 10ms")


def _channel(transport: Transport, **changes: Any) -> AbstractAsyncContextManager[ChannelNode]:
    """One that takes orders; both its links are FAST unless told otherwise."""
    values: dict[str, Any] = {"control_address": CONTROL, "uplink": FAST, "downlink": FAST}
    return channel(transport, **(values | changes))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place for sockets with a short name: the path of a socket has at most 107 bytes."""
    with TemporaryDirectory(prefix="dw-") as name:
        yield Path(name)


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


def test_orders_name_the_traces_of_the_channels_own_links(tmp_path: Path) -> None:
    """By the names that they have there, those of a device's links too; a file that is there but not named
    in them is not found.
    """
    for name in ("a.csv", "b.csv", "c.csv"):
        (tmp_path / name).write_text("time_s,rate_bps\n0,1e6\n1,0\n2\n")
    find_trace = traces_beside(tmp_path)
    uplink = parse_schedule("rate 1mbit; 5s trace a.csv", find_trace=find_trace)
    own = {"edge": {Direction.DOWNLINK: parse_schedule("trace b.csv", find_trace=find_trace)}}

    async def main() -> None:
        clock = LoopClock()
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            _channel(transport, uplink=uplink, own_links=own),
        ):
            known = f"trace {tmp_path}/a.csv; 1s trace {tmp_path}/b.csv"
            state = await order_link(transport, CONTROL, uplink=known, clock=clock)
            assert (state.uplink, state.refused) == (known, None)
            for name in (f"{tmp_path}/c.csv", f"{tmp_path}/./a.csv", "a.csv"):
                state = await order_link(transport, CONTROL, uplink=f"trace {name}", clock=clock)
                assert state.uplink == known
                assert state.refused is not None and f"{name!r} is no trace that ships" in state.refused

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
            async with _channel(
                transport,
                address=f"ipc://{folder}/channel",
                target_address=target.address,
                control_address=f"ipc://{folder}/control",
            ) as node:
                assert node.control_address == f"ipc://{folder}/control"
                device = await transport.connect(node.address, service=Service.CHANNEL, name="a")
                device.send(b"", b"hello")
                peer = (await target.receive()).peer
                states = await asyncio.gather(
                    order_link(transport, node.control_address, uplink="delay 300ms", clock=clock),
                    order_link(transport, node.control_address, downlink="loss 100%", clock=clock),
                )
                assert all(state.refused is None for state in states)
                state = await order_link(transport, node.control_address, clock=clock)
                assert (state.uplink, state.downlink) == ("delay 300ms", "loss 100%")
                sent_s = clock.now_s()
                device.send(b"", b"slow")
                assert (await target.receive()).at_s - sent_s >= 0.3
                target.send(peer, b"lost")
                device.send(b"", b"again")
                await target.receive()
                assert node.statistics().links["a", Direction.DOWNLINK].dropped == {LinkDrop.LOSS: 1}

    asyncio.run(main())
