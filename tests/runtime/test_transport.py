"""One test body over TCP, ipc and memory: what every transport promises."""

import asyncio
import gc
import itertools
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from draftwire.codecs.limits import MAX_FRAME_BYTES
from draftwire.runtime.clock import run_virtual
from draftwire.runtime.errors import AddressError, AddressInUseError, EndpointClosedError
from draftwire.runtime.security import Service
from draftwire.runtime.transport import (
    DropReason,
    Endpoint,
    MemoryNetwork,
    MemoryTransport,
    Received,
    Transport,
    ZmqTransport,
)
from draftwire.runtime.transport.base import INBOX_MESSAGES, PEER_QUEUE_MESSAGES, name_in, routing_id

Body = Callable[[Transport, str], Awaitable[None]]
Run = Callable[[Body], None]


@pytest.fixture(params=["tcp", "ipc", "memory"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Runs a test body with a transport of this kind and an address to bind; memory runs in virtual time."""
    if request.param == "memory":
        return lambda body: run_virtual(_with(MemoryTransport(MemoryNetwork()), body, "memory://bs:*"))
    address = "tcp://127.0.0.1:*" if request.param == "tcp" else f"ipc://{tmp_path}/bs"
    return lambda body: asyncio.run(_with(ZmqTransport(), body, address))


async def _with(transport: Transport, body: Body, address: str) -> None:
    try:
        await body(transport, address)
    finally:
        await transport.close()


async def _greeted(bound: Endpoint, device: Endpoint) -> bytes:
    """The device says hello; when that has arrived the two are connected. Returns the device's connection."""
    assert device.send(b"", b"hello")
    received = await bound.receive()
    assert received.data == b"hello"
    return received.peer


def test_messages_go_both_ways_whole_and_in_order(run: Run) -> None:
    """Each side receives what the other sent, in order, the empty and the largest message included."""
    messages = [b"", b"x", b"\0" * MAX_FRAME_BYTES, *(bytes([n]) * n for n in range(200))]

    async def body(transport: Transport, address: str) -> None:
        bound = await transport.bind(address, service=Service.TARGET)
        device = await transport.connect(bound.address, service=Service.TARGET, name="device-1")
        peer = await _greeted(bound, device)
        assert name_in(peer) == "device-1"
        for message in messages:
            assert device.send(b"", message)
            assert bound.send(peer, message)
        assert [(await bound.receive()).data for _ in messages] == messages
        down = [await device.receive() for _ in messages]
        assert [received.data for received in down] == messages
        assert {received.peer for received in down} == {b""}
        times = [received.at_s for received in down]
        assert times == sorted(times)

    run(body)


def test_peers_are_told_apart(run: Run) -> None:
    """A bound endpoint hears each peer under its name, and answers it where no other peer hears it."""

    async def body(transport: Transport, address: str) -> None:
        bound = await transport.bind(address, service=Service.TARGET)
        names = ("a", "b", "phone 1", "Gerät/doctor", "電話")
        for name in names:
            device = await transport.connect(bound.address, service=Service.TARGET, name=name)
            device.send(b"", b"hello")
            received = await bound.receive()
            assert (received.name, received.impostor, received.data) == (name, "", b"hello")
            assert bound.send(received.peer, b"for " + name.encode())
            answer = await device.receive()
            assert (answer.peer, answer.name, answer.data) == (b"", "", b"for " + name.encode())
            assert device.statistics().waiting == 0

    run(body)


def test_two_connections_of_one_name_are_both_answered(run: Run) -> None:
    """Who connects twice under one name is two peers, each heard and answered by itself."""

    async def body(transport: Transport, address: str) -> None:
        bound = await transport.bind(address, service=Service.TARGET)
        devices = [
            await transport.connect(bound.address, service=Service.TARGET, name="device-1") for _ in range(2)
        ]
        peers = [await _greeted(bound, device) for device in devices]
        assert len(set(peers)) == 2
        for turn in range(3):
            for number, peer in enumerate(peers):
                assert bound.send(peer, b"%d %d" % (turn, number))
            for number, device in enumerate(devices):
                assert (await device.receive()).data == b"%d %d" % (turn, number)
                assert device.send(b"", b"thanks")
                received = await bound.receive()
                assert (received.peer, received.name) == (peers[number], "device-1")

    run(body)


def test_a_device_may_come_before_the_bs(run: Run) -> None:
    """What a device sends before anybody is bound arrives once somebody is."""

    async def body(transport: Transport, address: str) -> None:
        first = await transport.bind(address, service=Service.TARGET)
        taken = first.address
        await first.close()
        device = await transport.connect(taken, service=Service.TARGET, name="early")
        for number in range(10):
            assert device.send(b"", b"%d" % number)
        bound = await transport.bind(taken, service=Service.TARGET)
        assert [(await bound.receive()).data for _ in range(10)] == [b"%d" % n for n in range(10)]

    run(body)


def test_a_device_hears_the_bs_again_after_it_restarted(run: Run) -> None:
    """When the bound end goes and comes back, the same connecting endpoint works on."""

    async def body(transport: Transport, address: str) -> None:
        bound = await transport.bind(address, service=Service.TARGET)
        device = await transport.connect(bound.address, service=Service.TARGET, name="device-1")
        await _greeted(bound, device)
        await bound.close()
        bound = await transport.bind(bound.address, service=Service.TARGET)
        answered = asyncio.create_task(device.receive())
        hearing = asyncio.create_task(_echo_until(bound, answered))
        while not answered.done():  # messages under way at the restart may be lost, so say it again
            device.send(b"", b"again")
            await asyncio.wait([answered], timeout=0.05)
        assert answered.result().data == b"again"
        await hearing

    run(body)


async def _echo_until(bound: Endpoint, done: asyncio.Task[Received]) -> None:
    while not done.done():
        receiving = asyncio.create_task(bound.receive())
        await asyncio.wait([receiving, done], return_when=asyncio.FIRST_COMPLETED)
        if receiving.done():
            bound.send(receiving.result().peer, receiving.result().data)
        receiving.cancel()


def test_a_device_that_comes_back_is_another_peer(run: Run) -> None:
    """A name that comes back on a new connection is heard and answered there; the old one is gone."""

    async def body(transport: Transport, address: str) -> None:
        bound = await transport.bind(address, service=Service.TARGET)
        old = await transport.connect(bound.address, service=Service.TARGET, name="device-1")
        before = await _greeted(bound, old)
        await old.close()
        new = await transport.connect(bound.address, service=Service.TARGET, name="device-1")
        now = await _greeted(bound, new)
        assert now != before
        assert bound.send(now, b"welcome back")
        assert (await new.receive()).data == b"welcome back"
        while bound.send(before, b"still there?"):  # what was sent before its end is known is lost
            await asyncio.sleep(0.01)
        assert bound.statistics().dropped == {DropReason.GONE: 1}

    run(body)


def test_a_peer_nobody_knows_is_gone(run: Run) -> None:
    """Sending to an unknown peer returns False at once and is counted as GONE."""

    async def body(transport: Transport, address: str) -> None:
        bound = await transport.bind(address, service=Service.TARGET)
        assert not bound.send(b"nobody", b"hello")
        assert bound.statistics().dropped == {DropReason.GONE: 1}
        assert bound.statistics().sent == 0

    run(body)


def test_a_stuck_peer_fills_its_own_queue_only(run: Run) -> None:
    """A peer that doesn't read makes `send` return False, counted; other peers are served on."""
    data = bytes(MAX_FRAME_BYTES // 4)

    async def body(transport: Transport, address: str) -> None:
        bound = await transport.bind(address, service=Service.TARGET)
        stuck = await transport.connect(bound.address, service=Service.TARGET, name="stuck")
        lively = await transport.connect(bound.address, service=Service.TARGET, name="lively")
        to_stuck, to_lively = await _greeted(bound, stuck), await _greeted(bound, lively)
        accepted = next(n for n in itertools.count() if not bound.send(to_stuck, data))
        assert PEER_QUEUE_MESSAGES <= accepted <= 10 * PEER_QUEUE_MESSAGES
        assert bound.statistics().dropped[DropReason.QUEUE_FULL] == 1
        assert bound.statistics().sent == accepted
        assert bound.send(to_lively, b"still here?")
        assert (await lively.receive()).data == b"still here?"

    run(body)


def test_a_flood_arrives_completely(run: Run) -> None:
    """More messages than all queues hold, sent before any is received, arrive in order once they are."""
    total = 4 * INBOX_MESSAGES
    messages = [b"%d" % number + bytes(10_000) for number in range(total)]

    async def body(transport: Transport, address: str) -> None:
        bound = await transport.bind(address, service=Service.TARGET)
        device = await transport.connect(bound.address, service=Service.TARGET, name="device-1")
        full = asyncio.Event()

        async def flood() -> None:
            for message in messages:
                while not device.send(b"", message):
                    full.set()
                    await asyncio.sleep(0.001)

        sending = asyncio.create_task(flood())
        await full.wait()
        await _settled(bound)
        for message in messages:
            assert (await bound.receive()).data == message
        await sending
        assert bound.statistics().received == device.statistics().sent == total
        assert bound.statistics().received_bytes == device.statistics().sent_bytes

    run(body)


async def _settled(endpoint: Endpoint) -> None:
    """Wait until an endpoint has stopped reading."""
    waiting = -1
    while waiting != endpoint.statistics().waiting:
        waiting = endpoint.statistics().waiting
        await asyncio.sleep(0.02)


def test_a_cancelled_receive_loses_nothing(run: Run) -> None:
    """Cancelling `receive` before, at and after a message's arrival leaves that message for the next call."""

    async def body(transport: Transport, address: str) -> None:
        bound = await transport.bind(address, service=Service.TARGET)
        device = await transport.connect(bound.address, service=Service.TARGET, name="device-1")
        got = list[bytes]()
        for number in range(100):
            receiving = asyncio.create_task(bound.receive())
            device.send(b"", b"%d" % number)
            for _ in range(number % 7):
                await asyncio.sleep(0)
            receiving.cancel()
            await asyncio.wait([receiving])
            if not receiving.cancelled():
                got.append(receiving.result().data)
        while len(got) < 100:
            got.append((await bound.receive()).data)
        assert got == [b"%d" % n for n in range(100)]

    run(body)


def test_closing_ends_a_waiting_receive(run: Run) -> None:
    """A receive that waits, and any later one, raises EndpointClosedError; sends are counted as CLOSED."""

    async def body(transport: Transport, address: str) -> None:
        bound = await transport.bind(address, service=Service.TARGET)
        receiving = asyncio.create_task(bound.receive())
        await asyncio.sleep(0)
        await bound.close()
        await bound.close()
        with pytest.raises(EndpointClosedError):
            await receiving
        with pytest.raises(EndpointClosedError):
            await bound.receive()
        assert not bound.send(b"device-1", b"late")
        assert bound.statistics().dropped == {DropReason.CLOSED: 1}

    run(body)


def test_a_closed_endpoint_is_let_go(run: Run) -> None:
    """A transport that lives on keeps no connection that is over, nor what was counted of its peer: a channel
    makes one for each that a device makes.
    """

    async def body(transport: Transport, address: str) -> None:
        bound = await transport.bind(address, service=Service.TARGET)
        device = await transport.connect(bound.address, service=Service.TARGET, name="device-1")
        peer = await _greeted(bound, device)
        await device.close()
        over = weakref.ref(device)
        device = await transport.connect(bound.address, service=Service.TARGET, name="device-2")
        await _greeted(bound, device)
        gc.collect()
        assert over() is None
        assert peer not in getattr(bound, "_waiting", ())

    run(body)


def test_closing_frees_the_address(run: Run) -> None:
    """An address can be bound again as soon as its endpoint is closed."""

    async def body(transport: Transport, address: str) -> None:
        first = await transport.bind(address, service=Service.TARGET)
        await first.close()
        second = await transport.bind(first.address, service=Service.TARGET)
        assert second.address == first.address

    run(body)


def test_an_oversize_message_is_refused_here(run: Run) -> None:
    """A message over MAX_FRAME_BYTES is dropped and counted; the connection and later messages live on."""

    async def body(transport: Transport, address: str) -> None:
        bound = await transport.bind(address, service=Service.TARGET)
        device = await transport.connect(bound.address, service=Service.TARGET, name="device-1")
        await _greeted(bound, device)
        assert not device.send(b"", bytes(MAX_FRAME_BYTES + 1))
        assert device.statistics().dropped == {DropReason.OVERSIZE: 1}
        assert device.send(b"", b"next")
        assert (await bound.receive()).data == b"next"

    run(body)


def test_a_taken_address_is_a_typed_error(run: Run) -> None:
    """Binding where somebody is bound names the address and the remedy, and leaves the first one working."""

    async def body(transport: Transport, address: str) -> None:
        bound = await transport.bind(address, service=Service.TARGET)
        with pytest.raises(AddressInUseError, match="already in use; stop the process") as caught:
            await transport.bind(bound.address, service=Service.TARGET)
        assert caught.value.address == bound.address
        assert caught.value.exit_code == 3
        await _greeted(bound, await transport.connect(bound.address, service=Service.TARGET, name="device-1"))

    run(body)


@pytest.mark.parametrize("name", ["", "x" * 129, "𝄞" * 62, "two\nlines", "null\0"])
def test_a_bad_name_is_refused(run: Run, name: str) -> None:
    """A name that can't be carried, or shown on a line, is an error at once, on every transport."""

    async def body(transport: Transport, address: str) -> None:
        with pytest.raises(ValueError, match="printable characters in at most 246 bytes"):
            await transport.connect("tcp://127.0.0.1:9", service=Service.TARGET, name=name)

    run(body)


@pytest.mark.parametrize(
    "peer",
    [
        b"",
        b"device-1",
        b"device-1" + bytes(8),
        b"\0" + bytes(8),
        b"two\nlines\0" + bytes(8),
        b"\xff\0" + bytes(8),
    ],
)
def test_a_routing_id_of_other_make_has_no_name(peer: bytes) -> None:
    """Only name, zero byte and nonce make a name: nothing else is taken for one."""
    assert name_in(peer) is None


def test_a_routing_id_carries_any_name() -> None:
    """What was put in comes out, whatever bytes the nonce has."""
    for name in ("d", "x" * 128, "𝄞" * 61, "phone-1/doctor"):
        for nonce in (bytes(8), b"\xff" * 8, b"abcdefgh"):
            assert name_in(routing_id(name, nonce)) == name


def test_nonsense_addresses_are_refused(run: Run) -> None:
    """What is no address at all can neither be bound nor connected, and the remedy shows a good one."""

    async def body(transport: Transport, address: str) -> None:
        for nonsense in ("5701", "localhost:5701", ""):
            with pytest.raises(AddressError, match="write tcp://HOST:PORT"):
                await transport.bind(nonsense, service=Service.TARGET)
            with pytest.raises(AddressError, match="write tcp://HOST:PORT"):
                await transport.connect(nonsense, service=Service.TARGET, name="device-1")

    run(body)
