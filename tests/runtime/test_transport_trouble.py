"""What a connecting endpoint says of a connection that does not come about, and that it never gives up."""

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import zmq
from tests.harness.sockets import run

from draftwire.runtime.security import Service
from draftwire.runtime.transport import (
    Endpoint,
    MemoryNetwork,
    MemoryTransport,
    TroubleKind,
    ZmqTransport,
    connecting,
    zeromq,
)
from draftwire.runtime.transport.watch import CLOSED_AGAIN, Watch, explain

CONNECTED = (zmq.EVENT_CONNECTED, 28)
RETRIED = (zmq.EVENT_CONNECT_RETRIED, 100)
CLOSED = (zmq.EVENT_CLOSED, 28)
DISCONNECTED = (zmq.EVENT_DISCONNECTED, 28)
SUCCEEDED = (zmq.EVENT_HANDSHAKE_SUCCEEDED, 0)
DENIED = (zmq.EVENT_HANDSHAKE_FAILED_AUTH, 400)
MISMATCH = (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
NONSENSE = (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.PROTOCOL_ERROR_ZMTP_UNSPECIFIED)


def _failed(number: int) -> tuple[int, int]:
    return (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, number)


BROKEN_OFF = (CONNECTED, _failed(errno.EPIPE), DISCONNECTED, RETRIED)


@pytest.mark.parametrize(
    ("events", "kind", "gave_up"),
    [
        ((), None, False),
        ((CONNECTED,), None, False),
        ((CONNECTED, SUCCEEDED), None, False),
        ((CLOSED, RETRIED), TroubleKind.UNREACHABLE, False),
        ((RETRIED,), TroubleKind.UNREACHABLE, False),
        ((CLOSED, RETRIED, CONNECTED), TroubleKind.UNREACHABLE, False),
        ((CLOSED, RETRIED, CONNECTED, SUCCEEDED), None, False),
        ((CONNECTED, SUCCEEDED, DISCONNECTED, RETRIED), TroubleKind.LOST, False),
        ((CONNECTED, SUCCEEDED, DISCONNECTED, RETRIED, CLOSED, RETRIED), TroubleKind.UNREACHABLE, False),
        ((CONNECTED, SUCCEEDED, DISCONNECTED, RETRIED, RETRIED), TroubleKind.UNREACHABLE, False),
        ((CONNECTED, SUCCEEDED, DISCONNECTED, RETRIED, CONNECTED, SUCCEEDED), None, False),
        ((CONNECTED, _failed(errno.EAGAIN), DISCONNECTED, RETRIED), TroubleKind.SILENT, False),
        (BROKEN_OFF, TroubleKind.CLOSED, False),
        ((CONNECTED, _failed(errno.ECONNRESET), DISCONNECTED), TroubleKind.CLOSED, False),
        ((CONNECTED, DENIED, DISCONNECTED), TroubleKind.DENIED, True),
        ((*BROKEN_OFF, CONNECTED, MISMATCH, DISCONNECTED), TroubleKind.MISMATCH, True),
        ((CONNECTED, MISMATCH, DISCONNECTED, *BROKEN_OFF), TroubleKind.MISMATCH, True),
        ((CONNECTED, MISMATCH, DISCONNECTED, *BROKEN_OFF * CLOSED_AGAIN), TroubleKind.CLOSED, True),
        ((CONNECTED, MISMATCH, DISCONNECTED, CLOSED, *BROKEN_OFF), TroubleKind.CLOSED, True),
        ((CONNECTED, NONSENSE, DISCONNECTED), TroubleKind.SILENT, True),
    ],
)
def test_what_the_events_mean(
    events: tuple[tuple[int, int], ...], kind: TroubleKind | None, gave_up: bool
) -> None:
    """Each way in which a try can end is told apart, the last one counts, and success clears it."""
    watch = Watch()
    for event, value in events:
        watch.see(event, value)
    assert (watch.kind, watch.gave_up) == (kind, gave_up)


def test_a_new_try_of_our_own_starts_from_the_beginning() -> None:
    """After `begin_anew` the trouble stands until the new try has an end, whichever that is."""
    watch = Watch()
    for event, value in (CONNECTED, DENIED, DISCONNECTED):
        watch.see(event, value)
    watch.begin_anew()
    assert (watch.kind, watch.gave_up) == (TroubleKind.DENIED, False)
    watch.see(*RETRIED)
    assert watch.kind is TroubleKind.UNREACHABLE
    for event, value in (CONNECTED, SUCCEEDED):
        watch.see(event, value)
    assert watch.kind is None


@pytest.mark.parametrize("kind", TroubleKind)
@pytest.mark.parametrize("service", Service)
def test_every_trouble_is_one_line_with_a_remedy(kind: TroubleKind, service: Service) -> None:
    """Each text begins with the address and fits a line for people."""
    trouble = explain(kind, "tcp://bs:5701", service, None)
    assert trouble.kind is kind
    assert trouble.text.startswith("tcp://bs:5701: ")
    assert trouble.text.isprintable() and len(trouble.text) < 280
    assert trouble.final == (kind in (TroubleKind.DENIED, TroubleKind.REVOKED, TroubleKind.MISMATCH))


# -- real sockets --------------------------------------------------------------------------------------------


async def _until(device: Endpoint, kind: TroubleKind | None) -> str:
    """The trouble's text, once it is of that kind."""
    while (trouble := device.trouble()) is not None or kind is not None:
        if trouble is not None and trouble.kind is kind:
            return trouble.text
        await asyncio.sleep(0.01)
    return ""


@contextmanager
def _server(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """A TCP server that is no node: it answers each connection in its own way. Yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    answer(server.accept()[0])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.fixture(params=["port", "path", "host"])
def nowhere(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address at which nobody is bound."""
    if request.param == "port":
        with socket.create_server(("127.0.0.1", 0)) as server:
            return f"tcp://127.0.0.1:{server.getsockname()[1]}"
    return f"ipc://{tmp_path}/none" if request.param == "path" else "tcp://host.invalid:5701"


def test_where_nobody_listens(nowhere: str) -> None:
    """A refused port, a missing path and an unknown host are UNREACHABLE, with the role to start."""

    async def main() -> None:
        async with ZmqTransport() as transport:
            device = await transport.connect(nowhere, service=Service.CHANNEL, name="device-1")
            text = await _until(device, TroubleKind.UNREACHABLE)
            assert text == (
                f"{nowhere}: nobody listens there, or the name is not known; is the channel running, and "
                "does that address lead to it from here?"
            )

    run(main)


def test_where_the_connection_is_taken_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts and never speaks is SILENT within the bound of a handshake."""
    monkeypatch.setattr(zeromq, "HANDSHAKE_MS", 200)
    kept = list[socket.socket]()

    async def main() -> None:
        with _server(kept.append) as address:
            async with ZmqTransport() as transport:
                device = await transport.connect(address, service=Service.TARGET, name="device-1")
                text = await _until(device, TroubleKind.SILENT)
                assert "it does not answer as a target; is the address right?" in text

    run(main)
    for connection in kept:
        connection.close()


def test_where_another_program_listens() -> None:
    """A server that speaks another protocol is trouble, and what it says reaches nobody."""

    def refuse(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass

    async def main() -> None:
        with _server(refuse) as address:
            async with ZmqTransport() as transport:
                device = await transport.connect(address, service=Service.TARGET, name="device-1")
                while device.trouble() is None:
                    await asyncio.sleep(0.01)
                assert device.statistics().received == 0

    run(main)


def test_where_the_protocol_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an answer that ZeroMQ would never come back from, the endpoint tries again by itself, and says
    when a try last failed.
    """
    monkeypatch.setattr(connecting, "GAVE_UP_S", (0.01, 0.02))
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
    kept = list[socket.socket]()

    def break_it(connection: socket.socket) -> None:
        kept.append(connection)
        with suppress(OSError):
            connection.sendall(greeting + b"\x04\x05\x04JUNK")

    async def main() -> None:
        with _server(break_it) as address:
            async with ZmqTransport() as transport:
                device = await transport.connect(address, service=Service.TARGET, name="device-1")
                await _until(device, TroubleKind.SILENT)
                shown = {trouble.shown_at_s for trouble in [device.trouble()] if trouble is not None}
                while len(kept) < 3 or len(shown) < 3:
                    await asyncio.sleep(0.01)
                    shown |= {trouble.shown_at_s for trouble in [device.trouble()] if trouble is not None}
                assert max(shown) <= asyncio.get_running_loop().time()

    run(main)
    for connection in kept:
        connection.close()


def test_where_the_connection_is_closed_at_once() -> None:
    """A server that closes before it has said anything is CLOSED: one with keys, or a mere forwarder."""

    async def main() -> None:
        with _server(lambda connection: connection.close()) as address:
            async with ZmqTransport() as transport:
                device = await transport.connect(address, service=Service.TARGET, name="device-1")
                text = await _until(device, TroubleKind.CLOSED)
                assert "it expects keys, or a forwarder stands there whose node is not running" in text

    run(main)


@pytest.mark.parametrize("scheme", ["tcp", "ipc"])
def test_a_connection_that_breaks_comes_back(scheme: str, tmp_path: Path) -> None:
    """Trouble shows when the BS goes, and clears by itself when it is bound there again; messages pass."""

    async def main() -> None:
        async with ZmqTransport() as transport:
            address = "tcp://127.0.0.1:*" if scheme == "tcp" else f"ipc://{tmp_path}/bs"
            bound = await transport.bind(address, service=Service.TARGET)
            device = await transport.connect(bound.address, service=Service.TARGET, name="device-1")
            for turn in range(2):
                device.send(b"", b"%d" % turn)
                received = await bound.receive()
                assert (received.name, received.data) == ("device-1", b"%d" % turn)
                assert device.trouble() is None
                await bound.close()
                await _until(device, TroubleKind.UNREACHABLE)
                bound = await transport.bind(bound.address, service=Service.TARGET)
                await _until(device, None)

    run(main)


def test_a_connection_that_is_cut_is_lost_and_comes_back(tmp_path: Path) -> None:
    """Where the BS lives on, a cut connection is LOST for the pause before the next try."""

    async def main() -> None:
        connections = list[tuple[socket.socket, socket.socket]]()

        def relay(near: socket.socket) -> None:
            far = socket.create_connection(("127.0.0.1", port))
            connections.append((near, far))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=_copy, args=(one, other)).start()

        async with ZmqTransport() as transport:
            bound = await transport.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            port = int(bound.address.rpartition(":")[2])
            with _server(relay) as address:
                device = await transport.connect(address, service=Service.TARGET, name="device-1")
                device.send(b"", b"before")
                before = (await bound.receive()).peer
                connections[0][0].shutdown(socket.SHUT_RDWR)
                await _until(device, TroubleKind.LOST)
                await _until(device, None)
                device.send(b"", b"after")
                received = await bound.receive()
                assert (received.peer, received.data) == (before, b"after"), "the same peer as before"
                assert bound.send(received.peer, b"welcome back")
                assert (await device.receive()).data == b"welcome back"
                await device.close()
                await bound.close()
        for near, far in connections:
            near.close()
            far.close()

    run(main)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_RDWR)


def test_a_bound_end_and_memory_have_no_trouble() -> None:
    """Only an end that connects over sockets can lack a connection."""

    async def main() -> None:
        async with ZmqTransport() as transport, MemoryTransport(MemoryNetwork()) as memory:
            bound = await transport.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            device = await memory.connect("memory://bs", service=Service.TARGET, name="device-1")
            assert bound.trouble() is None and device.trouble() is None

    run(main)


def test_nothing_is_left_of_a_transport(nowhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoints in any state close: no descriptor, no thread stays; what was seen last is still told."""
    monkeypatch.setattr(zeromq, "LINGER_MS", 20)

    async def main() -> None:
        async with ZmqTransport() as transport:
            bound = await transport.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            for address in (bound.address, nowhere):
                device = await transport.connect(address, service=Service.TARGET, name="device-1")
                device.send(b"", b"hello")
            await bound.receive()
            await _until(device, TroubleKind.UNREACHABLE)
            await device.close()
            assert device.trouble() is not None

    run(main)  # the first context opens descriptors that the process keeps
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(5):
        run(main)
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == (descriptors, threads)
