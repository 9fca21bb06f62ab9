"""What only real sockets can get wrong."""

import asyncio
from pathlib import Path

import pytest
import zmq

from draftwire.codecs.limits import MAX_FRAME_BYTES
from draftwire.runtime.errors import AddressError
from draftwire.runtime.transport import DropReason, ZmqTransport


def _dealer(context: zmq.Context[zmq.Socket[bytes]], address: str) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.DEALER)
    socket.set(zmq.LINGER, 0)
    socket.connect(address)
    return socket


def test_other_frame_counts_are_counted_and_dropped() -> None:
    """A peer that sends none or several frames in a message is counted; the message behind is received."""

    async def main() -> None:
        async with ZmqTransport() as transport:
            bound = await transport.bind("tcp://127.0.0.1:*")
            with zmq.Context() as context:
                with _dealer(context, bound.address) as stranger:
                    stranger.send_multipart([b"a", b"b"])
                    stranger.send_multipart([b""] * 100)
                    stranger.send(b"one")
                    assert (await bound.receive()).data == b"one"
        assert bound.statistics().dropped == {DropReason.FRAME_COUNT: 2}

    asyncio.run(main())


def test_a_strangers_oversize_frame_harms_only_its_own_connection() -> None:
    """An oversize frame never reaches the node, and other peers are served on."""

    async def main() -> None:
        async with ZmqTransport() as transport:
            bound = await transport.bind("tcp://127.0.0.1:*")
            with zmq.Context() as context, _dealer(context, bound.address) as stranger:
                with stranger.get_monitor_socket(zmq.EVENT_DISCONNECTED) as monitor:
                    stranger.send(bytes(MAX_FRAME_BYTES + 1))
                    assert await asyncio.to_thread(monitor.poll, 30_000)
                    stranger.disable_monitor()
                device = await transport.connect(bound.address, identity=b"device-1")
                device.send(b"", b"hello")
                assert (await bound.receive()).data == b"hello"
                assert bound.statistics().received == 1

    asyncio.run(main())


def test_a_dead_connection_does_not_keep_its_identity() -> None:
    """A device comes back while its old connection still looks alive: the new one is heard and answered."""

    async def main() -> None:
        async with ZmqTransport() as transport:
            bound = await transport.bind("tcp://127.0.0.1:*")
            with zmq.Context() as context, context.socket(zmq.DEALER) as ghost:
                ghost.set(zmq.LINGER, 0)
                ghost.set(zmq.IDENTITY, b"device-1")
                ghost.set(zmq.RECONNECT_IVL, -1)
                ghost.connect(bound.address)
                ghost.send(b"hello")
                await bound.receive()
                device = await transport.connect(bound.address, identity=b"device-1")
                device.send(b"", b"back")
                assert (await bound.receive()).data == b"back"
                assert bound.send(b"device-1", b"welcome back")
                assert (await device.receive()).data == b"welcome back"

    asyncio.run(main())


@pytest.mark.parametrize("port", ["*", "0"])
def test_the_system_chooses_a_port(port: str) -> None:
    """Both spellings of a free port bind, and the address tells the port."""

    async def main() -> int:
        async with ZmqTransport() as transport:
            return int((await transport.bind(f"tcp://127.0.0.1:{port}")).address.rpartition(":")[2])

    assert asyncio.run(main()) > 0


def test_a_name_can_be_bound() -> None:
    """Devices connect to a name, so the node behind it can bind that same name."""

    async def main() -> str:
        async with ZmqTransport() as transport:
            return (await transport.bind("tcp://localhost:*")).address

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
            await transport.bind(address)

    with pytest.raises(AddressError) as caught:
        asyncio.run(main())
    assert str(caught.value).startswith(f"{address}: ")
    assert message in str(caught.value)


def test_a_stale_ipc_path_is_taken_over(tmp_path: Path) -> None:
    """A path that a killed process left behind doesn't keep the next one from binding."""
    import socket

    with socket.socket(socket.AF_UNIX) as leftover:
        leftover.bind(f"{tmp_path}/bs")

    async def main() -> None:
        async with ZmqTransport() as transport:
            bound = await transport.bind(f"ipc://{tmp_path}/bs")
            device = await transport.connect(bound.address, identity=b"device-1")
            device.send(b"", b"hello")
            assert (await bound.receive()).data == b"hello"

    asyncio.run(main())


def test_every_socket_is_configured_before_use() -> None:
    """`configure` sees each socket and whether it binds, early enough to set keys on it."""
    seen = list[tuple[bool, str]]()

    def configure(socket: zmq.Socket[bytes], binds: bool) -> None:
        seen.append((binds, socket.get_string(zmq.LAST_ENDPOINT)))

    async def main() -> None:
        async with ZmqTransport(configure=configure) as transport:
            bound = await transport.bind("tcp://127.0.0.1:*")
            await transport.connect(bound.address, identity=b"device-1")

    asyncio.run(main())
    assert seen == [(True, ""), (False, "")]


def test_closing_delivers_what_was_just_sent() -> None:
    """A message sent right before close still leaves, within the linger."""

    async def main() -> None:
        async with ZmqTransport() as transport:
            bound = await transport.bind("tcp://127.0.0.1:*")
            async with ZmqTransport() as other:
                device = await other.connect(bound.address, identity=b"device-1")
                device.send(b"", b"last words")
            assert (await bound.receive()).data == b"last words"
            device = await transport.connect(bound.address, identity=b"device-2")
            device.send(b"", b"hello")
            await bound.receive()
            bound.send(b"device-2", b"farewell")
            await bound.close()
            assert (await device.receive()).data == b"farewell"

    asyncio.run(main())
