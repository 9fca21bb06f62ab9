"""What only real sockets can get wrong."""

import asyncio
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import zmq

from draftwire.codecs.limits import MAX_FRAME_BYTES
from draftwire.runtime.errors import AddressError
from draftwire.runtime.security import Service
from draftwire.runtime.transport import DropReason, Endpoint, ZmqTransport
from draftwire.runtime.transport.base import routing_id


def _dealer(
    context: zmq.Context[zmq.Socket[bytes]], address: str, *, name: str = "stranger"
) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.DEALER)
    socket.set(zmq.LINGER, 0)
    if name:
        socket.set(zmq.IDENTITY, routing_id(name, b"12345678"))
    socket.connect(address)
    return socket


def test_other_frame_counts_are_counted_and_dropped() -> None:
    """A message of several frames is counted and dropped, before a peer is known and after; others arrive."""

    async def main() -> None:
        async with ZmqTransport() as transport:
            bound = await transport.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            with zmq.Context() as context:
                with _dealer(context, bound.address) as stranger:
                    for _ in range(2):
                        stranger.send_multipart([b"a", b"b"])
                        stranger.send_multipart([b""] * 50)
                        stranger.send(b"one")
                        received = await bound.receive()
                        assert (received.name, received.data) == ("stranger", b"one")
        assert bound.statistics().dropped == {DropReason.FRAME_COUNT: 4}

    asyncio.run(main())


def test_a_connecting_end_drops_other_frame_counts_too() -> None:
    """What a server sends in several frames is no message of ours; the next one is received."""

    async def main() -> None:
        async with ZmqTransport() as transport:
            with zmq.Context() as context, context.socket(zmq.ROUTER) as server:
                server.set(zmq.LINGER, 0)
                port = server.bind_to_random_port("tcp://127.0.0.1")
                device = await transport.connect(
                    f"tcp://127.0.0.1:{port}", service=Service.TARGET, name="device-1"
                )
                device.send(b"", b"hello")
                peer, _ = await asyncio.to_thread(server.recv_multipart)
                server.send_multipart([peer, *[b"part"] * 50])
                server.send_multipart([peer, b"whole"])
                assert (await device.receive()).data == b"whole"
        assert device.statistics().dropped == {DropReason.FRAME_COUNT: 1}

    asyncio.run(main())


def test_a_connection_without_a_name_is_no_peer() -> None:
    """Whoever does not introduce itself as our nodes do is counted, and never reaches the node."""

    async def main() -> None:
        async with ZmqTransport() as transport:
            bound = await transport.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            with zmq.Context() as context, _dealer(context, bound.address, name="") as nameless:
                nameless.send_multipart([b"several", b"frames"])
                nameless.send(b"hello")
                with _dealer(context, bound.address) as stranger:
                    while bound.statistics().dropped.get(DropReason.NAMELESS) is None:
                        await asyncio.sleep(0.01)
                    stranger.send(b"hello")
                    assert (await bound.receive()).name == "stranger"
        assert bound.statistics().dropped == {DropReason.NAMELESS: 1, DropReason.FRAME_COUNT: 1}

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_strangers_oversize_frame_harms_only_its_own_connection() -> None:
    """An oversize frame never reaches the node, and other peers are served on."""

    async def main() -> None:
        async with ZmqTransport() as transport:
            bound = await transport.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            with zmq.Context() as context, _dealer(context, bound.address) as stranger:
                with stranger.get_monitor_socket(zmq.EVENT_DISCONNECTED) as monitor:
                    stranger.send(bytes(MAX_FRAME_BYTES + 1))
                    assert await asyncio.to_thread(monitor.poll, 30_000)
                    stranger.disable_monitor()
                device = await transport.connect(bound.address, service=Service.TARGET, name="device-1")
                device.send(b"", b"hello")
                assert (await bound.receive()).data == b"hello"
                assert bound.statistics().received == 1

    asyncio.run(main())


def test_a_dead_connection_does_not_keep_its_routing_id() -> None:
    """A connection comes back while the old one still looks alive: the new one is heard and answered."""

    async def main() -> None:
        async with ZmqTransport() as transport:
            bound = await transport.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            with zmq.Context() as context, _dealer(context, bound.address) as ghost:
                ghost.send(b"hello")
                peer = (await bound.receive()).peer
                with _dealer(context, bound.address) as back:
                    back.send(b"back")
                    received = await bound.receive()
                    assert (received.peer, received.name, received.data) == (peer, "stranger", b"back")
                    assert bound.send(peer, b"welcome back")
                    assert await asyncio.to_thread(back.recv) == b"welcome back"

    asyncio.run(main())


@pytest.mark.parametrize("port", ["*", "0"])
def test_the_system_chooses_a_port(port: str) -> None:
    """Both spellings of a free port bind, and the address tells the port."""

    async def main() -> int:
        async with ZmqTransport() as transport:
            bound = await transport.bind(f"tcp://127.0.0.1:{port}", service=Service.TARGET)
            return int(bound.address.rpartition(":")[2])

    assert asyncio.run(main()) > 0


def _speaks_ipv6() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6) as one:
        one.bind(("::1", 0))
        return True
    return False


@pytest.mark.skipif(not _speaks_ipv6(), reason="this host has no IPv6")
@pytest.mark.parametrize("host", ["[::1]", "[::]"])
def test_ipv6_in_brackets(host: str) -> None:
    """An address of IPv6 is bound and connected to like any other."""

    async def main() -> None:
        async with ZmqTransport() as transport:
            bound = await transport.bind(f"tcp://{host}:*", service=Service.TARGET)
            address = bound.address.replace("[::]", "[::1]")
            device = await transport.connect(address, service=Service.TARGET, name="device-1")
            device.send(b"", b"hello")
            received = await bound.receive()
            assert bound.send(received.peer, received.data)
            assert (await device.receive()).data == b"hello"
            await bound.close()
            await transport.bind(bound.address, service=Service.TARGET)

    asyncio.run(asyncio.wait_for(main(), 30))


@contextmanager
def _files_left(left: int) -> Iterator[None]:
    """This process may open so many files more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    filling = list[int]()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 50, hard))
        with suppress(OSError):
            while True:
                filling.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(left):
            os.close(filling.pop())
        yield
    finally:
        for one in filling:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("left", range(3))
def test_no_file_left_for_a_connection(left: int) -> None:
    """It is a typed error with its remedy, at whatever step; nothing else suffers, and later it succeeds."""

    async def main() -> None:
        async with ZmqTransport() as transport:
            bound = await transport.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            first = await transport.connect(bound.address, service=Service.TARGET, name="device-1")
            first.send(b"", b"hello")
            await bound.receive()
            with _files_left(left), pytest.raises(AddressError, match=_NO_FILES) as caught:
                await transport.connect(bound.address, service=Service.TARGET, name="device-2")
            assert str(caught.value).startswith(f"{bound.address}: ")
            second = await transport.connect(bound.address, service=Service.TARGET, name="device-2")
            for device in (first, second):
                device.send(b"", b"hello")
                assert (await bound.receive()).data == b"hello"

    asyncio.run(asyncio.wait_for(main(), 30))


_NO_FILES = r"this process has as many files or sockets open as it may; raise the limit \(ulimit -n\)"


def test_no_socket_left_of_zeromqs_own() -> None:
    """ZeroMQ's bound on sockets is far above its default, and to reach it is the same error at either end."""

    async def connected(transport: ZmqTransport, count: int) -> list[Endpoint]:
        return [
            await transport.connect("ipc:///tmp/nobody", service=Service.TARGET, name=f"device-{n}")
            for n in range(count)
        ]

    async def main() -> None:
        async with ZmqTransport() as transport:
            assert transport._context.get(zmq.MAX_SOCKETS) >= 16384
            transport._context.set(zmq.MAX_SOCKETS, 20)
            made = await connected(transport, 6)
            with pytest.raises(AddressError, match=_NO_FILES):
                await connected(transport, 2)
            with pytest.raises(AddressError, match=_NO_FILES):
                for _ in range(3):
                    await transport.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            await made[0].close()

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_name_can_be_bound() -> None:
    """Devices connect to a name, so the node behind it can bind that same name."""

    async def main() -> str:
        async with ZmqTransport() as transport:
            return (await transport.bind("tcp://localhost:*", service=Service.TARGET)).address

    assert asyncio.run(main()).startswith("tcp://127.0.0.1:")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "tcp://192.0.2.1:5701",
            "no interface of this host has that address; bind on the host it belongs to",
        ),
        ("tcp://host.invalid:5701", "unknown host 'host.invalid'; write its IP address"),
        ("ipc:///nowhere/at/all", "no such folder; create the folder"),
        ("ipc://" + "x" * 200, "the path is longer than a socket's may be; choose a shorter one"),
        ("tcp://127.0.0.1:99999", "'99999' is no port; write a number up to 65535"),
        ("udp://127.0.0.1:5701", "not an address"),
    ],
)
def test_bind_errors_say_what_to_do(address: str, message: str) -> None:
    """Every way in which a bind fails becomes one typed error with a remedy."""

    async def main() -> None:
        async with ZmqTransport() as transport:
            await transport.bind(address, service=Service.TARGET)

    with pytest.raises(AddressError) as caught:
        asyncio.run(main())
    assert str(caught.value).startswith(f"{address}: ")
    assert message in str(caught.value)


def test_a_stale_ipc_path_is_taken_over(tmp_path: Path) -> None:
    """A path that a killed process left behind doesn't keep the next one from binding."""
    with socket.socket(socket.AF_UNIX) as leftover:
        leftover.bind(f"{tmp_path}/bs")

    async def main() -> None:
        async with ZmqTransport() as transport:
            bound = await transport.bind(f"ipc://{tmp_path}/bs", service=Service.TARGET)
            device = await transport.connect(bound.address, service=Service.TARGET, name="device-1")
            device.send(b"", b"hello")
            assert (await bound.receive()).data == b"hello"

    asyncio.run(main())


def test_closing_delivers_what_was_just_sent() -> None:
    """A message sent right before close still leaves, within the linger."""

    async def main() -> None:
        async with ZmqTransport() as transport:
            bound = await transport.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            async with ZmqTransport() as other:
                device = await other.connect(bound.address, service=Service.TARGET, name="device-1")
                device.send(b"", b"last words")
            assert (await bound.receive()).data == b"last words"
            device = await transport.connect(bound.address, service=Service.TARGET, name="device-2")
            device.send(b"", b"hello")
            bound.send((await bound.receive()).peer, b"farewell")
            await bound.close()
            assert (await device.receive()).data == b"farewell"

    asyncio.run(main())


def test_a_full_inbox_keeps_no_other_task_from_running() -> None:
    """A node that works on each message it receives lets others run every few of them."""

    async def main() -> None:
        loop, turns = asyncio.get_running_loop(), 0
        async with ZmqTransport() as transport:
            bound = await transport.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            peer = await transport.connect(bound.address, service=Service.TARGET, name="dev")
            for _ in range(100):
                assert peer.send(b"", b"work")
            async with asyncio.timeout(20):
                while bound.statistics().waiting < 100:
                    await asyncio.sleep(0.01)

            async def other() -> None:
                nonlocal turns
                while True:
                    await asyncio.sleep(0)
                    turns += 1

            running = asyncio.create_task(other())
            await asyncio.sleep(0)
            before = turns
            for _ in range(100):
                await bound.receive()
                busy_until_s = loop.time() + 1e-3
                while loop.time() < busy_until_s:
                    pass
            running.cancel()
            assert turns - before >= 100 // 4

    asyncio.run(main())
