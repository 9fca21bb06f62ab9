"""What bound sockets keep off: floods, who is in quarantine, and connections that say nothing."""

import asyncio
import errno
import os
import resource
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import zmq
from structlog.testing import capture_logs
from tests.harness.sockets import ANYWHERE, echo, run

from draftwire.runtime.errors import AddressError
from draftwire.runtime.security import Keyring, NodeKeys, Role, Service
from draftwire.runtime.transport import (
    DropReason,
    Endpoint,
    Offence,
    ZmqTransport,
    doorman,
    endpoints,
    quarantine,
)
from draftwire.runtime.transport.base import routing_id
from draftwire.runtime.transport.lines import far_end, hang_up, line_at
from draftwire.runtime.transport.quarantine import BORNE, BURST_MESSAGES, MESSAGES_A_S


async def _trip(device: Endpoint) -> None:
    """A message and its answer, however many it takes."""
    answer = asyncio.create_task(device.receive())
    while not answer.done():
        device.send(b"", b"ping")
        await asyncio.wait([answer], timeout=0.1)


def _condemn(bound: Endpoint, peer: bytes) -> None:
    for _ in range(int(BORNE) + 1):
        bound.offence(peer, Offence.MALFORMED)


def _keys(folder: Path, *devices: str) -> list[NodeKeys]:
    """Of a BS and devices, all on this host."""
    keyring = Keyring(folder / "keys")
    made = [keyring.new("target", role=Role.TARGET)]
    made += [keyring.new(name, role=Role.DEVICE) for name in devices]
    return [NodeKeys(keyring=keyring, own=own) for own in made]


def test_a_flood_is_dropped_and_others_are_answered() -> None:
    """Of a sender that floods no more than its budget reaches the node; who is beside it is answered."""

    async def main() -> None:
        async with ZmqTransport() as transport, ZmqTransport() as elsewhere:
            bound = await transport.bind(ANYWHERE, service=Service.TARGET)
            echoing = asyncio.create_task(echo(bound))
            device = await elsewhere.connect(bound.address, service=Service.TARGET, name="device")
            await _trip(device)
            with zmq.Context() as context, context.socket(zmq.DEALER) as flood:
                flood.set(zmq.LINGER, 0)
                flood.set(zmq.IDENTITY, routing_id("flood", b"12345678"))
                flood.connect(bound.address)
                loop, sent = asyncio.get_running_loop(), 0
                began_s, received = loop.time(), bound.statistics().received
                while DropReason.QUARANTINED not in bound.statistics().dropped:
                    for _ in range(200):
                        try:
                            flood.send(b"x" * 40, zmq.NOBLOCK)
                            sent += 1
                        except zmq.Again:
                            break
                    await asyncio.sleep(0)
                await _trip(device)
                lasted_s = loop.time() - began_s
                most = BURST_MESSAGES + MESSAGES_A_S * lasted_s + 200
                assert bound.statistics().received - received <= most < sent + most
            echoing.cancel()
        assert bound.statistics().dropped[DropReason.FLOOD] > 100

    run(main)


def test_a_key_in_quarantine_is_shut_out_and_let_in_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its connections end, under whatever name, and it gets none; another key's goes on; it comes back by
    itself when its time is over, and both are told."""
    monkeypatch.setattr(quarantine, "QUARANTINE_S", (0.6, 60.0))
    target, phone, other = _keys(tmp_path, "phone", "other")

    async def main() -> None:
        async with ZmqTransport(target) as there, ZmqTransport(phone) as here, ZmqTransport(other) as beside:
            bound = await there.bind(ANYWHERE, service=Service.TARGET)
            devices = [
                await here.connect(bound.address, service=Service.TARGET, name=name)
                for name in ("phone", "phone/2")
            ]
            honest = await beside.connect(bound.address, service=Service.TARGET, name="other")
            peers = []
            for device in (*devices, honest):
                device.send(b"", b"hello")
                peers.append((await bound.receive()).peer)
            _condemn(bound, peers[0])
            echoing = asyncio.create_task(echo(bound))
            for device in devices:
                device.send(b"", b"and now")
                while device.trouble() is None:
                    await asyncio.sleep(0.01)
            await _trip(honest)
            assert honest.trouble() is None
            assert bound.statistics().dropped[DropReason.QUARANTINED] >= 2
            for device in devices:
                await _trip(device)
            echoing.cancel()

    with capture_logs() as logs:
        run(main)
    told = [one for one in logs if one["event"].startswith("transport.")]
    assert [one["event"] for one in told] == ["transport.quarantined", "transport.released"]
    assert (told[0]["peer"], told[0]["reason"], told[0]["lasts_s"]) == ("phone", "malformed", 0.6)
    assert told[1]["peer"] == "phone" and told[1]["dropped"] >= 2


def test_without_keys_a_namesake_is_not_in_quarantine() -> None:
    """A stranger under a device's name, and with it any address, is shut out by itself alone."""

    async def main() -> None:
        async with ZmqTransport() as transport:
            bound = await transport.bind(ANYWHERE, service=Service.TARGET)
            honest, stranger = [
                await transport.connect(bound.address, service=Service.TARGET, name="phone") for _ in range(2)
            ]
            stranger.send(b"", b"hello")
            _condemn(bound, (await bound.receive()).peer)
            stranger.send(b"", b"still there")
            while not bound.statistics().dropped.get(DropReason.QUARANTINED):
                await asyncio.sleep(0.01)
            honest.send(b"", b"honest")
            assert (await bound.receive()).data == b"honest"
            assert stranger.trouble() is None  # it would come back under another name

    run(main)


async def _connected(transport: ZmqTransport, address: str, name: str) -> Endpoint:
    """It shares the files of the end that it connects to, which has some again soon at any time."""
    while True:
        with suppress(AddressError):
            return await transport.connect(address, service=Service.TARGET, name=name)
        await asyncio.sleep(0.01)


_LORIS = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]),) * 2)
port, kept = int(sys.argv[1]), []
for _ in range(300):
    one = socket.socket()
    one.settimeout(10)
    one.connect(("127.0.0.1", port))
    kept.append(one)
print("there", flush=True)
sys.stdin.read()
"""


def test_connections_that_say_nothing_make_room() -> None:
    """With more of them than there are files a newcomer gets in, whoever has spoken stays, and it is told."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def main() -> None:
        await asyncio.to_thread(lambda: None)  # its thread and modules are there before files are scarce
        async with ZmqTransport() as transport, ZmqTransport() as elsewhere:
            bound = await transport.bind(ANYWHERE, service=Service.TARGET)
            echoing = asyncio.create_task(echo(bound))
            early = await elsewhere.connect(bound.address, service=Service.TARGET, name="early")
            await _trip(early)
            command = [sys.executable, "-c", _LORIS, bound.address.rpartition(":")[2], str(hard)]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as loris:
                assert loris.stdout is not None and loris.stdin is not None
                assert await asyncio.to_thread(loris.stdout.readline) == b"there\n"
                while bound._doorman.hung_up < 100:  # type: ignore[attr-defined]
                    await asyncio.sleep(0.01)
                late = await _connected(elsewhere, bound.address, "late")
                await _trip(late)
                await _trip(early)
                assert early.trouble() is None
                loris.stdin.close()
            echoing.cancel()

    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with capture_logs() as logs:
            run(main)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    (told,) = [one for one in logs if one["event"] == "transport.crowded"]
    assert told["open_files"] == 256 and told["connections"] < 256 and "ulimit" in told["remedy"]


def test_keys_stay_where_no_file_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that can't be read for want of files takes nobody's key away."""
    target, phone = _keys(tmp_path, "phone")
    assert target.keyring.known(phone.own.public.public) is not None

    def no_files(path: object) -> None:
        raise OSError(24, "Too many open files")

    (tmp_path / "keys" / "late.key").write_text("")  # what is known is old
    monkeypatch.setattr("os.scandir", no_files)
    assert target.keyring.known(phone.own.public.public) is not None


def test_keys_stay_where_none_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last free file is gone between a look at the folder and its keys: all stay as they were, and what
    is new is read once there are files again, though the folder has not changed since."""
    target, phone = _keys(tmp_path, "phone")
    assert target.keyring.known(phone.own.public.public) is not None
    late = target.keyring.new("late", role=Role.DEVICE)

    def no_files(path: Path) -> str:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", no_files)
        assert target.keyring.known(phone.own.public.public) is not None
        assert not target.keyring.problems()
        (problem, *_) = Keyring(tmp_path / "keys").problems()  # which has read none yet, and says why
        assert "open files" in str(problem)
    assert target.keyring.known(late.public.public) is not None
    assert target.keyring.known(phone.own.public.public) is not None


def test_a_connection_ends_where_no_file_is_left() -> None:
    """To end one takes no file, and its own stays its owner's to close; one that has ended is left alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        line = line_at(ours.fileno())
        assert line is not None
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            assert hang_up(line)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert theirs.recv(1) == b""
        assert line_at(ours.fileno()) == line
    assert not hang_up(line)


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_the_far_end_is_told_as_an_address(host: str, family: socket.AddressFamily) -> None:
    """As people write it; of a connection that has ended, or of another now, nothing."""
    with socket.create_server((host, 0), family=family) as server:
        with socket.create_connection(server.getsockname()[:2]) as caller:
            taken, (_, port, *_) = server.accept()
            with taken:
                line = line_at(taken.fileno())
                assert line is not None
                assert far_end(line) == (f"[::1]:{port}" if host == "::1" else f"127.0.0.1:{port}")
                assert far_end(line._replace(inode=line.inode + 1)) == ""
            assert caller.fileno() >= 0 and far_end(line) == ""


def test_a_local_socket_has_no_far_end() -> None:
    """Of one without an address nothing is told."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        line = line_at(ours.fileno())
        assert line is not None and far_end(line) == ""


def test_room_is_made_by_those_that_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that could not be ended is not counted, and stays listed; the next one ends instead."""

    async def main() -> None:
        async with ZmqTransport() as transport:
            bound = await transport.bind(ANYWHERE, service=Service.TARGET)
            watched = bound._doorman  # type: ignore[attr-defined]
            port = int(bound.address.rpartition(":")[2])
            callers = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
            while len(lines := [line for line, _ in watched.lines()]) < len(callers):
                await asyncio.sleep(0.01)
            monkeypatch.setattr(doorman, "hang_up", lambda line: line != lines[0] and hang_up(line))
            monkeypatch.setattr(watched, "_open_files", lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0])
            monkeypatch.setattr(doorman, "FILES_KEPT", 1)
            watched._make_room()
            assert watched.hung_up == 1
            assert [line for line, _ in watched.lines()] == [lines[0], lines[2]]
            for caller in callers:
                caller.close()

    run(main)


def test_offences_count_behind_the_end_of_a_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever says what can't be and leaves before it is read is in quarantine, with its key; and what is
    read behind the end makes nobody known."""
    monkeypatch.setattr(endpoints, "INBOX_MESSAGES", 1)
    target, phone = _keys(tmp_path, "phone")
    messages = 2 * int(BORNE)

    async def main() -> None:
        async with ZmqTransport(target) as there:
            bound = await there.bind(ANYWHERE, service=Service.TARGET)
            watched, names = bound._doorman, bound._names  # type: ignore[attr-defined]
            async with ZmqTransport(phone) as here:
                device = await here.connect(bound.address, service=Service.TARGET, name="phone")
                for _ in range(messages):
                    device.send(b"", b"nonsense")
                while not bound.statistics().received:
                    await asyncio.sleep(0.01)
                while bound._socket.get(zmq.EVENTS) & zmq.POLLIN == 0:  # type: ignore[attr-defined]
                    await asyncio.sleep(0.01)
            while watched.lines():
                await asyncio.sleep(0.01)
            for _ in range(int(BORNE) + 1):
                bound.offence((await bound.receive()).peer, Offence.MALFORMED)
                assert not names.known and not names.strangers
            while DropReason.QUARANTINED not in bound.statistics().dropped:
                await asyncio.sleep(0.01)
            assert not names.known and not names.strangers

    run(main)
