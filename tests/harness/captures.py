"""Captures of frames, written without a channel."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from draftwire.codecs.frame import AnyMessage, encode_frame


def framed(message: AnyMessage, session: int = 7) -> bytes:
    """A frame of it."""
    return encode_frame(message, session=session, sequence=1)


def captured_line(way: str, data: bytes, *, at_s: float = 100.0, **more: Any) -> bytes:
    """A line of a capture: `way` is up or down, `more` other fields or others in their place."""
    fields = {"at_s": at_s, "direction": way, "device": "phone-1", "frame": data.hex(), **more}
    return orjson.dumps(fields) + b"\n"


def write_capture(path: Path, frames: Sequence[tuple[str, bytes]], **more: Any) -> Path:
    """A capture of these, a second between two."""
    path.write_bytes(
        b"".join(captured_line(way, data, at_s=100.0 + i, **more) for i, (way, data) in enumerate(frames))
    )
    return path


__all__ = ["captured_line", "framed", "write_capture"]
