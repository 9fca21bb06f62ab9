"""The envelope: 14 bytes before the body of every message.

    byte 0        0xD3: high 4 bits say draftwire, low 4 bits are the version of the wire
    byte 1        kind of message: 1 to 63 data plane, 64 to 127 control plane; 128 more: padded (padding.py)
    bytes 2-5     session: which of a connection's requests this belongs to
    bytes 6-9     sequence: counts the sender's frames of the session; for logs, nothing depends on it
    bytes 10-13   CRC-32 (zlib) over bytes 0 to 9 and the body

There is no length field: the transport delivers whole frames. The CRC catches what the radio link or a bug
damaged; against forgery there is the transport's encryption.
"""

from dataclasses import dataclass
from struct import Struct
from zlib import crc32

from draftwire.codecs.bodies import KINDS, decode_body, encode_body, entries_named_in, rows_tag_of
from draftwire.codecs.checks import check_uint32
from draftwire.codecs.control import CONTROL_KINDS, ControlMessage, decode_control, encode_control
from draftwire.codecs.errors import FrameTooLarge, LocalError, Refusal, WireError
from draftwire.codecs.limits import MAX_FRAME_BYTES
from draftwire.codecs.messages import Message, SparseLogits
from draftwire.codecs.padding import PADDED, padding_bytes, padding_for, unpadded
from draftwire.codecs.tables import NO_TABLES, TableSet, TableSets

WIRE_VERSION = 3
"How values are spelt in bytes; every frame names it, so that a stranger's frame is not even parsed."

PROTOCOL_VERSION = 6
"What the messages mean and how the ends answer them; agreed in Hello, refused there with both values."

_FIRST_BYTE = 0xD0 | WIRE_VERSION
_HEADER = Struct(">BBII")
_CRC = Struct(">I")
ENVELOPE_BYTES = _HEADER.size + _CRC.size

_DATA_KINDS = frozenset(KINDS.values())
_CONTROL_KINDS = frozenset(CONTROL_KINDS.values())

AnyMessage = Message | ControlMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What decode_frame returns."""

    session: int
    "32 bits"
    sequence: int
    "32 bits"
    message: AnyMessage
    padding: int = 0
    "bytes behind its body, which say nothing"


def encode_frame(
    message: AnyMessage, *, session: int, sequence: int, tables: TableSet | None = None, pad_to: int = 0
) -> bytes:
    """A message as a frame; its one spelling but for rows, which `tables` make shorter (blocks.py).
    `pad_to`: a multiple of so many bytes long; 0: as short as it is.

    Raises LocalError if `message` is none of ours or can't be spelt (rows of unlike shape), if `session` or
    `sequence` need more than 32 bits; FrameTooLarge if the frame would exceed MAX_FRAME_BYTES.
    """
    check_uint32(session=session, sequence=sequence)
    message_type = type(message)
    if message_type in KINDS:
        kind, body = KINDS[message_type], encode_body(message, tables)  # type: ignore[arg-type]
    elif message_type in CONTROL_KINDS:
        kind, body = CONTROL_KINDS[message_type], encode_control(message)  # type: ignore[arg-type]
    else:
        raise LocalError(
            field="message", value=message, remedy="must be a message of the data or control plane"
        )
    length = ENVELOPE_BYTES + len(body)
    if length > MAX_FRAME_BYTES:
        remedy = f"send fewer rows or entries: {MAX_FRAME_BYTES} bytes is the limit"
        raise FrameTooLarge(field=f"{message_type.__name__} frame's length", value=length, remedy=remedy)
    frame = sealed(_HEADER.pack(_FIRST_BYTE, kind, session, sequence), body)
    return with_padding(frame, padding_for(length, multiple=pad_to)) if pad_to else frame


def with_padding(frame: bytes, count: int) -> bytes:
    """A frame that has none, with so many bytes of padding; 0: as it is. LocalError for 1, or too many."""
    if not count:
        return frame
    header = bytes((frame[0], frame[1] | PADDED)) + frame[2 : _HEADER.size]
    return sealed(header, frame[ENVELOPE_BYTES:] + padding_bytes(count))


def sealed(header: bytes, body: bytes) -> bytes:
    """The frame of 10 bytes of header and a body: with the CRC that fits both."""
    return header + _CRC.pack(crc32(body, crc32(header))) + body


def decode_frame(data: bytes | bytearray | memoryview, *, tables: TableSets = NO_TABLES) -> Frame:
    """The frame that `data` spells. Raises WireError, and nothing else, for any other bytes.

    `tables`: the sets that rows in it may be spelt with.
    """
    if len(data) > MAX_FRAME_BYTES:
        detail = f"{len(data)} bytes, at most {MAX_FRAME_BYTES} will do"
        raise WireError(reason=Refusal.TOO_LARGE, offset=8 * MAX_FRAME_BYTES, detail=detail)
    data = bytes(data)
    if len(data) < ENVELOPE_BYTES:
        detail = f"a frame begins with {ENVELOPE_BYTES} bytes"
        raise WireError(reason=Refusal.TRUNCATED, offset=8 * len(data), detail=detail)
    first, kind, session, sequence = _HEADER.unpack_from(data)
    if first != _FIRST_BYTE:
        detail = f"first byte {first:#04x}; this version of the wire has {_FIRST_BYTE:#04x}"
        raise WireError(reason=Refusal.VERSION, offset=0, detail=detail)
    body = data[ENVELOPE_BYTES:]
    (named,) = _CRC.unpack_from(data, _HEADER.size)
    actual = crc32(body, crc32(data[: _HEADER.size]))
    if named != actual:
        detail = f"CRC-32 {named:08x} named, {actual:08x} found"
        raise WireError(reason=Refusal.CHECKSUM, offset=8 * _HEADER.size, detail=detail)
    plain_kind, padding = kind & ~PADDED, 0
    message: AnyMessage
    try:
        if kind & PADDED:
            body, padding = unpadded(body)
        if plain_kind in _DATA_KINDS:
            message = decode_body(plain_kind, body, tables)
            return Frame(session=session, sequence=sequence, message=message, padding=padding)
        if plain_kind in _CONTROL_KINDS:
            message = decode_control(plain_kind, body)
            return Frame(session=session, sequence=sequence, message=message, padding=padding)
    except WireError as error:
        raise error.shifted(8 * ENVELOPE_BYTES) from None
    raise WireError(reason=Refusal.KIND, offset=8, detail=f"no message has kind {kind}")


def rows_tag(data: bytes) -> bytes | None:
    """The tag of the set that the rows in a frame are spelt with; None: plain or dense ones, or no rows.

    A message does not know how its rows travel, so this asks the frame: one that encode_frame has made, or
    that decode_frame has taken.
    """
    return rows_tag_of(data[ENVELOPE_BYTES:]) if data[1] & ~PADDED == KINDS[SparseLogits] else None


def entries_of(data: bytes) -> int:
    """Entries of the rows that a frame says it has, whatever bytes it may be: before they are decoded, which
    takes time for each. 0: no rows.
    """
    if len(data) < ENVELOPE_BYTES or data[1] & ~PADDED != KINDS[SparseLogits]:
        return 0
    return entries_named_in(data, start=ENVELOPE_BYTES)


def spelling_of(data: bytes, *, tables: TableSets) -> bytes | None:
    """As `rows_tag`, the whole hash of the set, which is one of `tables`."""
    tag = rows_tag(data)
    return None if tag is None else tables[tag].hash


__all__ = [
    "ENVELOPE_BYTES",
    "PROTOCOL_VERSION",
    "WIRE_VERSION",
    "AnyMessage",
    "Frame",
    "decode_frame",
    "encode_frame",
    "entries_of",
    "rows_tag",
    "sealed",
    "spelling_of",
    "with_padding",
]
