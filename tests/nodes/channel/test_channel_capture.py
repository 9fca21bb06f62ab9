"""A capture has every frame that a channel carries, and nothing about it can stop the channel."""

import os
import stat
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs
from tests.harness.channels import channel

from draftwire.nodes.channel.capture import Capture
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.link import parse_link
from draftwire.runtime.security import Service
from draftwire.runtime.telemetry import get_logger
from draftwire.runtime.transport import MemoryNetwork, MemoryTransport

FAST = parse_link("rate 1mbit delay 10ms")


def _lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def _carry(capture: Capture, *, up: list[bytes], down: list[bytes]) -> list[bytes]:
    """Send these through a channel, first up, then down, 1 s apart; what arrived at the target."""
    arrived = list[bytes]()

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=FAST, capture=capture),
        ):
            target = await transport.bind("memory://target", service=Service.TARGET)
            end = await transport.connect("memory://channel", service=Service.CHANNEL, name="phone-1")
            peer = b""
            for data in up:
                end.send(b"", data)
            for _ in up:
                received = await target.receive()
                arrived.append(received.data)
                peer = received.peer
            await LoopClock().sleep_until(LoopClock().now_s() + 1.0)
            for data in down:
                target.send(peer, data)
                assert (await end.receive()).data == data

    run_virtual(main())
    return arrived


def test_every_frame_with_its_time_and_way(tmp_path: Path) -> None:
    """One line a frame, in order, both ways, appended to what was there; only the owner can read it."""
    path = tmp_path / "c"
    for _ in range(2):
        _carry(Capture(path, logger=get_logger("channel")), up=[b"one", b"two"], down=[b"three"])
    lines = _lines(path)
    assert [line["direction"] for line in lines] == ["up", "up", "down"] * 2
    assert [bytes.fromhex(line["frame"]) for line in lines[:3]] == [b"one", b"two", b"three"]
    assert {line["device"] for line in lines} == {"phone-1"}
    assert list(lines[0]) == ["at_s", "direction", "device", "frame"]
    assert lines[0]["at_s"] == lines[1]["at_s"] < lines[2]["at_s"] - 1.0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    """Though it was there before."""
    path = tmp_path / "c"
    path.write_bytes(b"")
    path.chmod(0o664)
    Capture(path, logger=get_logger("channel")).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_behind_a_line_that_is_cut(tmp_path: Path) -> None:
    """A new one begins: what a full disk or a killed writer left costs no other line."""
    path = tmp_path / "c"
    _carry(Capture(path, logger=get_logger("channel")), up=[b"one", b"two"], down=[])
    path.write_bytes(path.read_bytes()[:-5])
    _carry(Capture(path, logger=get_logger("channel")), up=[b"three", b"four"], down=[])
    one, cut, three, four = path.read_bytes().splitlines()
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(cut)
    assert [bytes.fromhex(orjson.loads(line)["frame"]) for line in (one, three, four)] == [
        b"one",
        b"three",
        b"four",
    ]


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    """At once, whether somebody reads it or not, and no file stays open."""
    os.mkfifo(tmp_path / "p")
    before = set(os.listdir("/proc/self/fd")) if sys.platform == "linux" else set()
    with pytest.raises(OSError, match="a pipe"):
        Capture(tmp_path / "p", logger=get_logger("channel"))
    if sys.platform == "linux":
        assert set(os.listdir("/proc/self/fd")) <= before


def test_what_the_link_loses_is_told(tmp_path: Path) -> None:
    """A frame that the link drops is in the capture all the same, with the cause."""
    path = tmp_path / "c"
    capture = Capture(path, logger=get_logger("channel"))

    async def main() -> None:
        narrow = parse_link("rate 8kbit delay 1ms limit 1")
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=narrow, capture=capture),
        ):
            target = await transport.bind("memory://target", service=Service.TARGET)
            end = await transport.connect("memory://channel", service=Service.CHANNEL, name="phone-1")
            for number in range(4):
                end.send(b"", bytes([number]) * 500)
            await target.receive()

    run_virtual(main())
    lines = _lines(path)
    assert len(lines) == 4
    lost = [line.get("lost") for line in lines]
    assert lost[0] is None and isinstance(lost[-1], str) and lost[-1]


def test_it_ends_at_its_limit_and_the_channel_goes_on(tmp_path: Path) -> None:
    """What does not fit is not begun, one event says so, and frames are delivered as before."""
    path = tmp_path / "c"
    with capture_logs() as logs:
        capture = Capture(path, logger=get_logger("channel"), most_bytes=250)
        arrived = _carry(capture, up=[bytes([n]) * 20 for n in range(6)], down=[b"x"])
    assert arrived == [bytes([n]) * 20 for n in range(6)]
    lines = _lines(path)
    assert 0 < len(lines) < 6 and path.stat().st_size <= 250
    (said,) = [one for one in logs if one["event"] == "channel.capture_ended"]
    assert (said["frames"], said["bytes"]) == (len(lines), path.stat().st_size)


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk_ends_the_capture_alone() -> None:
    """The frames are delivered, and one event names the file and the reason."""
    with capture_logs() as logs:
        capture = Capture(Path("/dev/full"), logger=get_logger("channel"))
        assert _carry(capture, up=[b"one", b"two"], down=[b"three"]) == [b"one", b"two"]
    (said,) = [one for one in logs if one["event"] == "channel.capture_ended"]
    assert (said["path"], said["frames"]) == ("/dev/full", 0)
    assert "space" in said["detail"]


def test_its_file_is_closed_with_the_channel(tmp_path: Path) -> None:
    """No file stays open, and frames that come too late are nobody's error."""
    before = set(os.listdir("/proc/self/fd")) if sys.platform == "linux" else set()
    capture = Capture(tmp_path / "c", logger=get_logger("channel"))
    _carry(capture, up=[b"one"], down=[])
    if sys.platform == "linux":
        assert set(os.listdir("/proc/self/fd")) <= before
    capture.close()
