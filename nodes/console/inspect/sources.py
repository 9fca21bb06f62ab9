"""What `draftwire inspect` was handed, recognised by its content: frames, a block of rows, or a record."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from draftwire.runtime.errors import ConfigurationError

FORMS: Final = (
    "give a frame or a block of rows, in binary or hexadecimal (xxd, hexdump -C), a golden vector of "
    "tests/codecs/golden, or a file of --capture or --record"
)

_FRAME_BYTE: Final = 0xD0
_BLOCK_BYTES: Final = frozenset((0x00, 0x01, 0x10, 0x11, 0x22))
"""A block's first byte, mode and profile: none of them begins a frame."""

_DUMP: Final = re.compile(r"\s*0{4,16}:?\s")
"""How the first line of a dump with offsets begins."""

_DUMPED: Final = re.compile(r"\s*[0-9a-fA-F]{4,16}(?P<colon>:?)(?:\s+(?P<rest>.*))?$")
"""A line of it: xxd has its characters behind two spaces, hexdump between bars."""

_BETWEEN: Final = re.compile(r"0x|[\s,:]", re.IGNORECASE)


class SourceError(ConfigurationError):
    """Raised when a file is nothing that can be inspected; says what can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A frame, or a block of rows that stands alone, and what is known of how it travelled."""

    data: bytes
    block: bool = False
    "whether it is a block of rows without a frame"
    name: str = ""
    "of a vector with several"
    at_s: float | None = None
    "when the channel saw it, by its host's monotonic clock"
    direction: str = ""
    "up, down, or empty where nothing is known of it"
    device: str = ""
    lost: str = ""
    "why the link dropped it; empty: it did not"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What was found."""

    pieces: Sequence[Piece] = ()
    capture: bool = False
    "whether the pieces are a capture's frames"
    record: bytes | None = None
    "the lines of a record; then there are no pieces"
    cut: bool = False
    "whether the last line is incomplete: somebody still writes, or was killed"


def recognised(data: bytes, *, source: str, block: bool = False) -> Source:
    """What `data` is. `source` names it in errors; `block`: a block of rows, whatever its first byte says.

    Raises SourceError for what is none of all this.
    """
    if not data.strip():
        raise SourceError("holds nothing", source=source, remedy=FORMS)
    text = _as_text(data)
    if text is None:
        return Source(pieces=(_piece(data, block),))
    if not text.lstrip().startswith("{"):
        return Source(pieces=(_piece(_hexadecimal(text, source), block),))
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return _lines(data, source)
    if "event" in document or _is_captured(document):
        return _lines(data, source)
    return Source(pieces=tuple(_vectors(document, source)))


def _as_text(data: bytes) -> str | None:
    """None: it is binary."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    shown = text.lstrip().startswith("{") or all(one.isprintable() or one in "\t\r\n\f" for one in text)
    return text if shown else None


def _piece(data: bytes, block: bool) -> Piece:
    return Piece(data=data, block=block or (data[:1] != b"" and data[0] in _BLOCK_BYTES))


def _hexadecimal(text: str, source: str) -> bytes:
    """The bytes of a dump: offsets and the column of characters are left out."""
    dump = _DUMP.match(text)
    digits = list[str]()
    for line in text.splitlines():
        if dump and (match := _DUMPED.match(line)):
            line = (match["rest"] or "").partition("  " if match["colon"] else "|")[0]
        digits.append(_BETWEEN.sub("", line))
    try:
        return bytes.fromhex("".join(digits))
    except ValueError:
        raise SourceError("is none of what can be inspected", source=source, remedy=FORMS) from None


def _vectors(document: Mapping[str, Any], source: str) -> Iterator[Piece]:
    """Of a golden vector, or of an object of several by name."""
    several = {name: value for name, value in document.items() if isinstance(value, dict)}
    named = {"": document} if "frame" in document or "block" in document else several
    found = False
    for name, vector in named.items():
        for key in ("frame", "block"):
            if isinstance(vector.get(key), str):
                found = True
                yield Piece(data=_hex(vector[key], source), block=key == "block", name=name)
    if not found:
        raise SourceError("a JSON object with neither frame nor block", source=source, remedy=FORMS)


def _lines(data: bytes, source: str) -> Source:
    """Of a capture or a record, as the first line says."""
    lines = data.split(b"\n")
    pieces = list[Piece]()
    for number, line in enumerate(lines, start=1):
        place = f"{source}:{number}"
        if not line.strip():
            continue
        try:
            fields = orjson.loads(line)
        except orjson.JSONDecodeError:
            if number == len(lines) and pieces:
                return Source(pieces=tuple(pieces), capture=True, cut=True)
            raise SourceError("this line is no JSON", source=place, remedy=FORMS) from None
        if not pieces and isinstance(fields, dict) and isinstance(fields.get("event"), str):
            return Source(record=data)
        if not isinstance(fields, dict) or not _is_captured(fields):
            raise SourceError("this line is no frame of a capture", source=place, remedy=FORMS)
        pieces.append(
            Piece(
                data=_hex(fields["frame"], place),
                at_s=float(fields["at_s"]),
                direction=fields["direction"],
                device=fields["device"],
                lost=str(fields.get("lost", "")),
            )
        )
    return Source(pieces=tuple(pieces), capture=True)


def _is_captured(fields: Mapping[str, Any]) -> bool:
    """Whether this is a line that --capture writes."""
    return (
        isinstance(fields.get("frame"), str)
        and isinstance(fields.get("at_s"), int | float)
        and fields.get("direction") in ("up", "down")
        and isinstance(fields.get("device"), str)
    )


def _hex(text: str, source: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise SourceError(f"{text[:20]!r} is not hexadecimal", source=source, remedy=FORMS) from None


__all__ = ["FORMS", "Piece", "Source", "SourceError", "recognised"]
