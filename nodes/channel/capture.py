"""What a channel has carried, as JSON lines, a frame each: for `draftwire inspect`.

    {"at_s":12.5,"direction":"up","device":"phone-1","frame":"d306..."}

`at_s` is when the frame came to the channel, by the host's monotonic clock; `lost`, where it stands, why the
link dropped it. Frames hold tokens, and so the text of requests and answers.
"""

import errno
import os
import stat
from pathlib import Path
from typing import Any, Final, Protocol

import orjson
from structlog.typing import FilteringBoundLogger

from draftwire.nodes.channel.playing import Direction
from draftwire.runtime.link import LinkDrop

MOST_BYTES: Final = 2**30
"""Of one file: six days at 1 kB a second, in hexadecimal; a capture that was forgotten fills no disk."""

SHORT: Final = {Direction.UPLINK: "up", Direction.DOWNLINK: "down"}
"""As a line says it."""


class TakesFrames(Protocol):
    """Who is told of every frame that comes to a channel; a file's Capture is one."""

    def take(
        self, *, at_s: float, direction: Direction, device: str, data: bytes, lost: LinkDrop | None
    ) -> None:
        """A frame came at that time; `lost`: why the link dropped it."""
        ...

    def close(self) -> None:
        """There will be no more."""
        ...


class Capture:
    """Appends each frame to a file that only its owner can read, until the file has `most_bytes`.

    A file that is there already is closed to others, and behind a line that is cut in it a new one begins.
    A line is one write to the kernel's own buffer, some microseconds for a usual frame, so a killed process
    loses none. A disk that is full ends the capture and nothing else.
    """

    def __init__(self, path: Path, *, logger: FilteringBoundLogger, most_bytes: int = MOST_BYTES) -> None:
        """Raises OSError for a file that can't be written or closed to others, and for a pipe."""
        self._path = path
        self._logger = logger
        self._most_bytes = most_bytes
        self._frames = 0
        # Without waiting: a pipe that nobody reads would hold the node up for ever.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        file = os.open(path, flags, 0o600)
        try:
            self._bytes = _made_private(file)
            self._cut = self._bytes > 0 and os.pread(file, 1, self._bytes - 1) != b"\n"
        except OSError:
            os.close(file)
            raise
        self._file: int | None = file

    def take(
        self, *, at_s: float, direction: Direction, device: str, data: bytes, lost: LinkDrop | None
    ) -> None:
        """Append a frame."""
        if self._file is None:
            return
        fields: dict[str, Any] = {"at_s": at_s, "direction": SHORT[direction], "device": device}
        if lost is not None:
            fields["lost"] = lost.value
        line = orjson.dumps({**fields, "frame": data.hex()}) + b"\n"
        if self._cut:
            line = b"\n" + line
        if self._bytes + len(line) > self._most_bytes:
            self._end(f"a capture has at most {self._most_bytes} bytes")
            return
        try:
            written = os.write(self._file, line)
        except OSError as error:
            self._end(error.strerror or str(error))
            return
        self._bytes += written
        if written < len(line):
            self._end("the disk is full; the last line is cut")
            return
        self._cut = False
        self._frames += 1

    def close(self) -> None:
        """Take no more; idempotent."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _end(self, detail: str) -> None:
        self._logger.error(
            "channel.capture_ended",
            path=str(self._path),
            frames=self._frames,
            bytes=self._bytes,
            detail=detail,
        )
        self.close()


def told_of_end(log: bytes) -> str:
    """A sentence on a capture that has ended too early, from its channel's events; empty: none has."""
    for line in log.splitlines():
        try:
            fields = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(fields, dict) and fields.get("event") == "channel.capture_ended":
            frames = fields.get("frames")
            count = "1 frame" if frames == 1 else f"{frames} frames"
            return f"the capture {str(fields.get('path'))!r} has ended after {count}: {fields.get('detail')}"
    return ""


def _made_private(file: int) -> int:
    """Its size in bytes, once nobody but its owner can read it; a device such as /dev/null stays as it is."""
    found = os.fstat(file)
    if stat.S_ISFIFO(found.st_mode):
        raise OSError(errno.EINVAL, "a pipe, and no file")
    if stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) & 0o077:
        os.fchmod(file, 0o600)
    return found.st_size


__all__ = ["MOST_BYTES", "SHORT", "Capture", "TakesFrames", "told_of_end"]
