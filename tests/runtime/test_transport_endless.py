"""What bound sockets keep off: messages without end, which ZeroMQ keeps until their last frame has come."""

import asyncio
import os
from contextlib import suppress
from math import inf
from pathlib import Path

import pytest
import zmq
from structlog.testing import capture_logs
from tests.harness.sockets import ANYWHERE, echo, run

from draftwire.codecs.limits import MAX_FRAME_BYTES
from draftwire.runtime.security import Keyring, NodeKeys, Role, Service
from draftwire.runtime.transport import DropReason, Endpoint, ZmqTransport, bound
from draftwire.runtime.transport.base import routing_id
from draftwire.runtime.transport.endless import MANY_FRAMES, UNREAD_BYTES, Seen, Unfinished
from draftwire.runtime.transport.endpoints import SKIPPED_FRAMES
from draftwire.runtime.transport.lines import Line
from draftwire.runtime.transport.quarantine import MESSAGES_A_S

CHUNK = 2**16
MOST_SENT = 6 * UNREAD_BYTES
"""Far more than is borne: so much memory would be taken."""


@pytest.fixture(autouse=True)
def _looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bound, "EACH_S", 0.02)


async def _trip(device: Endpoint) -> None:
    """A message and its answer; as often as a device may say something, which it would else do faster."""
    device.send(b"", b"ping")
    assert (await device.receive()).data == b"ping"
    await asyncio.sleep(1 / MESSAGES_A_S)


def _memory_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _property(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + len(value).to_bytes(4, "big") + value


def _frame(size: int, *, more: bool) -> bytes:
    """ZMTP's, with a length of 8 bytes."""
    return bytes([2 | more]) + size.to_bytes(8, "big") + b"x" * size


async def _caller(address: str, name: str, *, says: bytes) -> asyncio.StreamWriter:
    """A connection of a DEALER without keys, byte by byte as ZMTP 3.0 has it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
    writer.write(b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16 + 1 + 31))
    ready = b"\x05READY" + _property(b"Socket-Type", b"DEALER")
    ready += _property(b"Identity", routing_id(name, b"12345678"))
    writer.write(b"\x04" + bytes([len(ready)]) + ready)
    await reader.readexactly(64)
    await reader.readexactly((await reader.readexactly(2))[1])
    writer.write(says)  # before it, libzmq would take this for a second READY
    return writer


@pytest.mark.parametrize("spoke", [True, False])
@pytest.mark.parametrize("size", [40, CHUNK])
def test_a_message_without_end_is_cut(spoke: bool, size: int) -> None:
    """It takes a bounded memory and ends with its connection, and who has spoken is in quarantine; whoever is
    beside it is answered all the while."""
    sent = 0

    async def main() -> None:
        nonlocal sent
        async with ZmqTransport() as transport, ZmqTransport() as elsewhere:
            there = await transport.bind(ANYWHERE, service=Service.TARGET)
            echoing = asyncio.create_task(echo(there))
            device = await elsewhere.connect(there.address, service=Service.TARGET, name="device")
            await _trip(device)
            before_bytes = _memory_bytes()
            enemy = await _caller(there.address, "enemy", says=b"\x00\x02hi" if spoke else b"")
            chunk = _frame(size, more=True) * (CHUNK // size)
            with suppress(ConnectionError):
                while sent < MOST_SENT:
                    enemy.write(chunk)
                    await enemy.drain()
                    sent += len(chunk)
                    await _trip(device)
            enemy.close()
            assert _memory_bytes() - before_bytes < 2 * UNREAD_BYTES
            assert there.statistics().dropped[DropReason.ENDLESS] == 1
            await _trip(device)
            assert device.trouble() is None
            echoing.cancel()

    with capture_logs() as logs:
        run(main)
    assert sent < 2 * UNREAD_BYTES
    told = [one for one in logs if one["event"].startswith("transport.")]
    assert told[0]["event"] == "transport.endless" and told[0]["unfinished_bytes"] > MAX_FRAME_BYTES
    assert told[0]["peer"] == ("enemy" if spoke else "") and told[0]["caller"].startswith("127.0.0.1:")
    assert [one["reason"] for one in told[1:]] == ["endless"] * spoke


def test_with_keys_it_is_the_key_that_is_shut_out(tmp_path: Path) -> None:
    """A message of a thousand frames of 1 MiB, none of which is too long, is cut on its way."""
    keyring = Keyring(tmp_path / "keys")
    target = NodeKeys(keyring=keyring, own=keyring.new("target", role=Role.TARGET))
    enemy = keyring.new("enemy", role=Role.DEVICE)

    async def main() -> None:
        async with ZmqTransport(target) as transport:
            there = await transport.bind(ANYWHERE, service=Service.TARGET)
            with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
                socket.set(zmq.LINGER, 0)
                socket.set(zmq.IDENTITY, routing_id("enemy", b"12345678"))
                socket.set(zmq.CURVE_PUBLICKEY, enemy.public.public.encode())
                socket.set(zmq.CURVE_SECRETKEY, enemy.secret.encode())
                socket.set(zmq.CURVE_SERVERKEY, target.own.public.public.encode())
                socket.connect(there.address)
                socket.send(b"hello")
                await there.receive()
                before_bytes, frame = _memory_bytes(), bytes(MAX_FRAME_BYTES)
                for _ in range(1000):
                    socket.send(frame, zmq.SNDMORE, copy=False)
                socket.send(b"")
                while not there.statistics().dropped.get(DropReason.ENDLESS):
                    await asyncio.sleep(0.01)
                assert _memory_bytes() - before_bytes < 2 * UNREAD_BYTES

    with capture_logs() as logs:
        run(main)
    (told,) = [one for one in logs if one["event"] == "transport.quarantined"]
    assert (told["peer"], told["reason"]) == ("enemy", "endless")


def test_a_great_many_frames_are_as_bad() -> None:
    """A message that has an end, and more frames than anybody can mean, brings into quarantine by itself."""

    async def main() -> None:
        async with ZmqTransport() as transport:
            there = await transport.bind(ANYWHERE, service=Service.TARGET)
            says = _frame(0, more=True) * MANY_FRAMES + _frame(0, more=False)
            enemy = await _caller(there.address, "enemy", says=says)
            enemy.write(b"\x00\x02hi")
            while not there.statistics().dropped.get(DropReason.QUARANTINED):
                await asyncio.sleep(0.01)
            assert there.statistics().dropped[DropReason.FRAME_COUNT] == 1
            enemy.close()

    run(main)


def test_other_tasks_run_while_a_great_many_frames_are_dropped() -> None:
    """So many are read in a turn of the loop and no more; whoever comes behind them is heard."""
    frames = 40 * SKIPPED_FRAMES

    async def main() -> None:
        async with ZmqTransport() as transport, ZmqTransport() as elsewhere:
            there = await transport.bind(ANYWHERE, service=Service.TARGET)
            echoing = asyncio.create_task(echo(there))
            says = _frame(0, more=True) * (frames - 1) + _frame(0, more=False)
            enemy = await _caller(there.address, "enemy", says=says)
            await enemy.drain()
            before = most = 0
            while before < frames:
                await asyncio.sleep(0)
                now = there._passed_over  # type: ignore[attr-defined]
                before, most = now, max(most, now - before)
            assert most <= 2 * SKIPPED_FRAMES, "a signal and a call of its own may fall into one turn"
            device = await elsewhere.connect(there.address, service=Service.TARGET, name="device")
            await _trip(device)
            assert there.statistics().dropped == {DropReason.FRAME_COUNT: 1}
            enemy.close()
            echoing.cancel()

    run(main)


@pytest.mark.parametrize(("frames", "reason"), [(2, "endless"), (1, None)])
def test_what_is_too_long_in_all_is_as_bad(frames: int, reason: str | None) -> None:
    """A message of two frames that are together above the limit on one brings into quarantine by itself."""

    async def main() -> None:
        async with ZmqTransport() as transport:
            there = await transport.bind(ANYWHERE, service=Service.TARGET)
            says = b"".join(_frame(MAX_FRAME_BYTES, more=left > 0) for left in reversed(range(frames)))
            enemy = await _caller(there.address, "enemy", says=says)
            while not (there.statistics().received or there.statistics().dropped):
                await asyncio.sleep(0.01)
            enemy.close()

    with capture_logs() as logs:
        run(main)
    told = [one["reason"] for one in logs if one["event"] == "transport.quarantined"]
    assert told == ([] if reason is None else [reason])


def test_the_longest_frame_may_take_its_time() -> None:
    """One of 1 MiB that comes in pieces, and ten of them in a row, are taken."""
    frames = 10

    async def main() -> None:
        async with ZmqTransport() as transport:
            there = await transport.bind(ANYWHERE, service=Service.TARGET)
            honest = await _caller(there.address, "honest", says=b"\x00\x02hi")
            await there.receive()
            whole = _frame(MAX_FRAME_BYTES, more=False)
            for start in range(0, len(whole), 4 * CHUNK):
                honest.write(whole[start : start + 4 * CHUNK])
                await honest.drain()
                await asyncio.sleep(0.05)
            assert len((await there.receive()).data) == MAX_FRAME_BYTES
            honest.write(whole * frames)
            for _ in range(frames):
                assert len((await there.receive()).data) == MAX_FRAME_BYTES
            assert not there.statistics().dropped
            honest.close()

    run(main)


def test_a_peer_that_comes_by_another_connection_is_known_there() -> None:
    """The one before, which ZeroMQ takes nothing from any more, and keeps open, is ended."""

    async def main() -> None:
        async with ZmqTransport() as transport:
            there = await transport.bind(ANYWHERE, service=Service.TARGET)
            doorman = there._doorman  # type: ignore[attr-defined]
            first = await _caller(there.address, "phone", says=b"\x00\x02hi")
            await there.receive()
            ((old, peer),) = doorman.lines()
            second = await _caller(there.address, "phone", says=b"\x00\x02hi")
            await there.receive()
            while len(doorman.lines()) == 2:
                second.write(b"\x00\x02hi")
                await there.receive()
                await asyncio.sleep(0.01)
            ((new, same),) = doorman.lines()
            assert peer == same == routing_id("phone", b"12345678") and new != old
            first.close()
            second.close()

    run(main)


def test_only_what_came_since_the_last_message_counts() -> None:
    """From the first look at a connection that knew of its last message, which may be none."""
    unfinished, silent, spoke = Unfinished(), Line(5, 50), Line(6, 60)
    looks = [
        ([(silent, Seen(-inf, 100)), (spoke, Seen(1.0, 1000))], {silent: 0, spoke: 0}),
        ([(silent, Seen(-inf, 150)), (spoke, Seen(1.0, 1500))], {silent: 50, spoke: 500}),
        ([(silent, Seen(2.5, 900)), (spoke, Seen(2.0, 9000))], {silent: 0, spoke: 0}),
        ([(spoke, Seen(2.0, 9001))], {spoke: 1}),
        ([(Line(6, 61), Seen(-inf, 7)), (silent, Seen(2.5, 950))], {Line(6, 61): 0, silent: 0}),
    ]
    for seen, expected in looks:
        assert unfinished.look(seen) == expected
