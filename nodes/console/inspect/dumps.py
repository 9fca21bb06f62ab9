"""Bytes as hexadecimal: plain, or a dump of xxd, `hexdump -C` or od, with offsets and rows told once."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from draftwire.codecs.limits import MAX_FRAME_BYTES

REPEATED: Final = "*"
"""A line of it: rows like the one before were left out, up to the next line's offset."""

_DUMP: Final = re.compile(r"\s*0{4,16}:?\s")
"""How the first line of a dump with offsets begins."""

_DUMPED: Final = re.compile(r"\s*(?P<offset>[0-9a-fA-F]{4,16})(?P<colon>:?)(?:\s+(?P<rest>.*))?$")
"""A line of it: xxd has its characters behind two spaces, hexdump between bars."""

_BETWEEN: Final = re.compile(r"0x|[\s,:]", re.IGNORECASE)

_OD_DIGITS: Final = 7
"""od's offsets have so many, and are octal unless it is asked otherwise; those of xxd and hexdump have 8."""


class RepeatedRowsError(ValueError):
    """Raised for a dump that leaves rows out and does not say how many."""


@dataclass(frozen=True, slots=True)
class _Line:
    offset: str
    "as it is written"
    data: bytes
    repeated: bool
    "whether a line of REPEATED stood before it"


def from_hexadecimal(text: str) -> bytes:
    """The bytes. Raises ValueError where they are none, RepeatedRowsError where some are not to be known."""
    if not _DUMP.match(text):
        return _bytes(text)
    lines = list(_lines(text))
    if not any(line.repeated for line in lines):
        return b"".join(line.data for line in lines)
    bases = (8, 16) if len(lines[0].offset) == _OD_DIGITS else (16, 8)
    for base in bases:
        data = _with_repeated(lines, base)
        if data is not None:
            return data
    raise RepeatedRowsError(
        f"has a line of {REPEATED!r} for repeated rows, and offsets that do not say how many "
        f"(at most {MAX_FRAME_BYTES} bytes in all): dump it with -v"
    )


def _lines(text: str) -> Iterator[_Line]:
    repeated = False
    for line in text.splitlines():
        if line.strip() == REPEATED:
            repeated = True
        elif match := _DUMPED.match(line):
            shown = (match["rest"] or "").partition("  " if match["colon"] else "|")[0]
            yield _Line(match["offset"], _bytes(shown), repeated)
            repeated = False
        elif line.strip():
            yield _Line("", _bytes(line), repeated)
    if repeated:
        yield _Line("", b"", repeated)


def _with_repeated(lines: Sequence[_Line], base: int) -> bytes | None:
    """All bytes, if the offsets are numbers of this base and say where each line begins; else None."""
    data, last = bytearray(), b""
    for line in lines:
        try:
            offset = int(line.offset, base)
        except ValueError:
            return None
        missing = offset - len(data)
        if missing < 0 or offset > MAX_FRAME_BYTES or (missing and not line.repeated):
            return None
        if line.repeated:
            if not last or missing % len(last):
                return None
            data += last * (missing // len(last))
        data += line.data
        last = line.data
    return bytes(data)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(_BETWEEN.sub("", text))


__all__ = ["RepeatedRowsError", "from_hexadecimal"]
