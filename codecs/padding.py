"""Padding: zeros behind a frame's body, so that an encrypted frame's size says less of what is in it.

A padded frame has PADDED added to its kind, and behind its body zeros and, in the last two bytes, how many
bytes there are behind the body, these two included. It is no part of the message, and the CRC is over it too.
"""

from struct import Struct
from typing import Final

from draftwire.codecs.errors import LocalError, Refusal, WireError
from draftwire.codecs.limits import MAX_FRAME_BYTES, MAX_PADDING

PADDED: Final = 0x80
"The bit of a kind that says so."

_COUNT: Final = Struct(">H")


def padding_bytes(count: int) -> bytes:
    """So many bytes of it, 2 to MAX_PADDING, else LocalError."""
    if not _COUNT.size <= count <= MAX_PADDING:
        remedy = f"must be {_COUNT.size} to {MAX_PADDING} bytes"
        raise LocalError(field="padding", value=count, remedy=remedy)
    return bytes(count - _COUNT.size) + _COUNT.pack(count)


def padding_for(length: int, *, multiple: int) -> int:
    """How much makes a frame of so many bytes a multiple of so many long.

    None where it is so already, or would grow beyond MAX_FRAME_BYTES; a multiple more where a single byte is
    lacking, since the count takes two.
    """
    short = -length % multiple
    if 0 < short < _COUNT.size:
        short += multiple
    return short if length + short <= MAX_FRAME_BYTES else 0


def unpadded(body: bytes) -> tuple[bytes, int]:
    """The body of a padded frame, and how many bytes are behind it. Raises WireError, offsets in `body`."""
    counted = len(body) - _COUNT.size
    if counted < 0:
        detail = f"padding ends with {_COUNT.size} bytes"
        raise WireError(reason=Refusal.TRUNCATED, offset=8 * len(body), detail=detail)
    (count,) = _COUNT.unpack_from(body, counted)
    if not _COUNT.size <= count <= MAX_PADDING:
        detail = f"{count} bytes of padding, {_COUNT.size} to {MAX_PADDING} will do"
        raise WireError(reason=Refusal.LIMIT, offset=8 * counted, detail=detail)
    if count > len(body):
        detail = f"{count} bytes of padding in {len(body)}"
        raise WireError(reason=Refusal.RANGE, offset=8 * counted, detail=detail)
    zeros = body[len(body) - count : counted]
    if zeros.strip(b"\0"):
        first = len(zeros) - len(zeros.lstrip(b"\0"))
        raise WireError(
            reason=Refusal.NOT_CANONICAL,
            offset=8 * (len(body) - count + first),
            detail="padding is not zero",
        )
    return body[: len(body) - count], count


__all__ = ["PADDED", "padding_bytes", "padding_for", "unpadded"]
