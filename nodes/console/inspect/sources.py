"""What `draftwire inspect` was handed, recognised by its content.

Frames, a block of rows, a set of tables, or a record. A capture is read line by line, while it is shown.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO, Final

import orjson

from draftwire.codecs.errors import WireError
from draftwire.codecs.limits import MAX_FRAME_BYTES, MAX_TABLE_SET_BYTES
from draftwire.codecs.tables import TableSet, table_set_from
from draftwire.nodes.console.inspect.dumps import RepeatedRowsError, from_hexadecimal
from draftwire.runtime.errors import ConfigurationError

FORMS: Final = (
    "give a frame or a block of rows, in binary or hexadecimal (xxd, hexdump -C), a golden vector of "
    "tests/codecs/golden, a file of --capture or --record, or one of tables"
)

_BLOCK_BYTES: Final = frozenset((0x00, 0x01, 0x10, 0x11, 0x22))
"""A block's first byte, mode and profile: none of them begins a frame."""

_MOST_LINE_BYTES: Final = 2 * MAX_FRAME_BYTES + 2**16
"""Of a capture: the longest frame in hexadecimal, and what else a line says."""

_MOST_BYTES: Final = 16 * 2**20
"""Of a frame or a dump of one, which has at most 6 characters a byte."""

_MOST_JSON_BYTES: Final = 2**28
"""Of a record, or a golden vector, which are read whole."""

_MOST_HELD_BYTES: Final = 4 * 2**20
"""In which a line must tell what JSON lines these are."""

_TABLES_BEGIN: Final = b"DWTABLE"
"""A file of tables, of whatever version."""


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
    tables: bool = False
    "whether it is a file of tables"
    expected: tuple[str, int] | None = None
    "reason and bit of the refusal that a golden vector wants; None: it wants none"


class Captured:
    """The frames of a capture, read as they are asked for, once; lines that are none are counted."""

    def __init__(self, lines: Iterable[bytes], source: str) -> None:
        self._lines = lines
        self._source = source
        self.left_out = 0
        "lines so far that are no frame: a writer was killed, or the disk was full, amid them"
        self.cut = False
        "whether the last line is incomplete: somebody still writes, or was killed"

    def __iter__(self) -> Iterator[Piece]:
        """Raises SourceError at the end where no line at all was a frame."""
        found = False
        for line in self._lines:
            piece = _captured(line)
            if piece is not None:
                found = True
                yield piece
            elif line.endswith(b"\n"):
                self.left_out += bool(line.strip())
            else:
                self.cut = True
        if not found:
            raise SourceError("no line of it is a frame of a capture", source=self._source, remedy=FORMS)

    @property
    def told(self) -> str:
        """A sentence on what was left out; empty: nothing."""
        parts = []
        if self.left_out:
            lines = "1 line is" if self.left_out == 1 else f"{self.left_out} lines are"
            parts.append(f"{lines} no frame of a capture, and left out")
        if self.cut:
            parts.append("the last line is cut and left out: somebody still writes, or was killed")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What was found."""

    pieces: Iterable[Piece] = ()
    "to be read once"
    captured: Captured | None = None
    "the pieces, if they are a capture's frames"
    record: bytes | None = None
    "the lines of a record; then there are no pieces"
    tables: TableSet | None = None
    "a set of tables; then there are none either"
    sets: tuple[TableSet, ...] = ()
    "that a list of golden vectors brings for its blocks"


def recognised(file: BinaryIO, *, source: str, block: bool = False) -> Source:
    """What `file` holds. `source` names it in errors; `block`: a block of rows, whatever its first byte says.

    Raises SourceError for what is none of all this, OSError where it can't be read.
    """
    held, is_capture = _begin(file)
    if is_capture:
        return _capture(chain(held, _lines(file, source)), source)
    data = _whole(b"".join(held), file, source)
    if not data.strip():
        raise SourceError("holds nothing", source=source, remedy=FORMS)
    if data.startswith(_TABLES_BEGIN):
        return Source(tables=_set_in(data, source))
    if data.lstrip().startswith(b"{"):
        return _json(data, source)
    return Source(pieces=(_piece(_bytes_of(data, source), block),))


def _begin(file: BinaryIO) -> tuple[list[bytes], bool]:
    """The first lines, and whether the last of them is a capture's.

    One line, unless it may be JSON that is cut: then as many as it takes to tell a capture from a record.
    """
    held = [file.readline(_MOST_LINE_BYTES)]
    may_be_cut = held[0].lstrip()[:1] in (b"", b"{")
    size = len(held[0])
    while held[-1] and _captured(held[-1]) is None:
        if not may_be_cut or _is_event(held[-1]) or size >= _MOST_HELD_BYTES:
            break
        held.append(file.readline(_MOST_LINE_BYTES))
        size += len(held[-1])
    return held, _captured(held[-1]) is not None


def _lines(file: BinaryIO, source: str) -> Iterator[bytes]:
    """Those of a capture, none longer than a frame's can be. Raises SourceError for one that is."""
    while line := file.readline(_MOST_LINE_BYTES):
        if len(line) == _MOST_LINE_BYTES and not line.endswith(b"\n"):
            problem = f"has a line of more than {_MOST_LINE_BYTES} bytes, and no frame's is so long"
            raise SourceError(problem, source=source, remedy="cut that line out, or give another file")
        yield line


def _whole(first: bytes, file: BinaryIO, source: str) -> bytes:
    """All of it, as much as what begins so can have. Raises SourceError for more."""
    begin = first.lstrip()[:7]
    most = _MOST_JSON_BYTES if begin.startswith(b"{") else _MOST_BYTES
    if begin == _TABLES_BEGIN:
        most = MAX_TABLE_SET_BYTES + 1  # one byte more, so that it is refused by its own rule
    data = first + file.read(max(0, most - len(first)))
    if len(data) >= most and file.read(1):
        problem = f"goes on behind {most // 2**20} MiB, and what begins so has less"
        raise SourceError(problem, source=source, remedy=FORMS)
    return data


def set_in_vector(data: bytes) -> bytes | None:
    """The file that a golden vector of a set of tables holds; None: this is no such vector."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return _set_of(document) if isinstance(document, dict) else None


def _bytes_of(data: bytes, source: str) -> bytes:
    """Binary as it is, and hexadecimal as what it stands for."""
    text = _as_text(data)
    if text is None:
        return data
    try:
        return from_hexadecimal(text)
    except RepeatedRowsError as error:
        raise SourceError(str(error), source=source, remedy=FORMS) from None
    except ValueError:
        raise SourceError("is none of what can be inspected", source=source, remedy=FORMS) from None


def _as_text(data: bytes) -> str | None:
    """None: it is binary."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if all(one.isprintable() or one in "\t\r\n\f" for one in text) else None


def _piece(data: bytes, block: bool) -> Piece:
    return Piece(data=data, block=block or (data[:1] != b"" and data[0] in _BLOCK_BYTES))


# JSON -------------------------------------------------------------------------------------------------------


def _json(data: bytes, source: str) -> Source:
    """A record, a golden vector, or a capture whose first line is no frame."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        lines = data.splitlines(keepends=True)
        event = next((line for line in lines if line.strip()), b"")
        return Source(record=data) if _is_event(event) else _capture(lines, source)
    if isinstance(document.get("event"), str):
        return Source(record=data)
    if (tables := _set_of(document)) is not None:
        return Source(tables=_set_in(tables, source))
    return Source(pieces=tuple(_vectors(document, source)), sets=_sets_of(document, source))


def _is_event(line: bytes) -> bool:
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(fields, dict) and isinstance(fields.get("event"), str)


def _vectors(document: Mapping[str, Any], source: str) -> Iterator[Piece]:
    """Of a golden vector, or of an object of several by name."""
    several = {name: value for name, value in document.items() if isinstance(value, dict)}
    named = {"": document} if "frame" in document or "block" in document else several
    found = False
    for name, vector in named.items():
        for key in ("frame", "block", "file"):
            if isinstance(vector.get(key), str):
                found = True
                yield Piece(
                    data=_hex(vector[key], source),
                    block=key == "block",
                    tables=key == "file",
                    name=name,
                    expected=_expected(vector),
                )
    if not found:
        raise SourceError("a JSON object with no frame, block or set of tables", source=source, remedy=FORMS)


def _expected(vector: Mapping[str, Any]) -> tuple[str, int] | None:
    """The refusal that stands beside it."""
    reason, bit = vector.get("reason"), vector.get("bit")
    return (reason, bit) if isinstance(reason, str) and isinstance(bit, int) else None


def _sets_of(document: Mapping[str, Any], source: str) -> tuple[TableSet, ...]:
    """Those that a list of vectors has for its blocks."""
    found = document.get("tables")
    texts = found if isinstance(found, list) else []
    return tuple(_set_in(_hex(text, source), source) for text in texts if isinstance(text, str))


def _hex(text: str, source: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise SourceError(f"{text[:20]!r} is not hexadecimal", source=source, remedy=FORMS) from None


def _set_of(document: Mapping[str, Any]) -> bytes | None:
    text = document.get("file")
    try:
        data = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        return None
    return data if data.startswith(_TABLES_BEGIN) else None


def _set_in(data: bytes, source: str) -> TableSet:
    try:
        return table_set_from(data)
    except WireError as error:
        raise SourceError(f"no set of tables: {error}", source=source, remedy=FORMS) from None


# Captures ---------------------------------------------------------------------------------------------------


def _capture(lines: Iterable[bytes], source: str) -> Source:
    captured = Captured(lines, source)
    return Source(pieces=captured, captured=captured)


def _captured(line: bytes) -> Piece | None:
    """The frame of a line that --capture wrote; None: it is none."""
    try:
        fields = orjson.loads(line)
        if not isinstance(fields, dict) or not _is_captured(fields):
            return None
        data = bytes.fromhex(fields["frame"])
    except ValueError:  # of JSON, or of hexadecimal
        return None
    return Piece(
        data=data,
        at_s=float(fields["at_s"]),
        direction=fields["direction"],
        device=fields["device"],
        lost=str(fields.get("lost", "")),
    )


def _is_captured(fields: Mapping[str, Any]) -> bool:
    return (
        isinstance(fields.get("frame"), str)
        and isinstance(fields.get("at_s"), int | float)
        and fields.get("direction") in ("up", "down")
        and isinstance(fields.get("device"), str)
    )


__all__ = ["FORMS", "Captured", "Piece", "Source", "SourceError", "recognised", "set_in_vector"]
