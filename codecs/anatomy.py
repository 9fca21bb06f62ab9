"""Bytes taken apart, field by field: where each one stands, what it is called, what it holds.

For people who look at frames, and for whoever writes a second implementation. Names and order are those of
docs/wire.md. What `decode_frame` takes is taken apart to the last bit; of what it refuses there is the
refusal, and what could be read before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from draftwire.codecs.blocks import HEADER_BITS, Mode, Section, decode_rows
from draftwire.codecs.errors import Refusal, WireError
from draftwire.codecs.frame import ENVELOPE_BYTES, Frame, decode_frame, sealed
from draftwire.codecs.layouts import KIND_NAMES, Field, Knife, cut_block, cut_frame
from draftwire.codecs.limits import MAX_FRAME_BYTES
from draftwire.codecs.messages import SparseLogits
from draftwire.codecs.outline import Outline, RowHead, RungSize, outline
from draftwire.codecs.padding import PADDED
from draftwire.codecs.rows import Row
from draftwire.codecs.tables import NO_TABLES, TableSets, table_set_from


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block of rows."""

    tag: bytes | None
    "of the tables that it is spelt with; None: without"
    start: int = field(default=0, compare=False)
    "bits before it, in the frame that it came in"
    outline: Outline
    "its sections, bits from the block's first bit; of one that is refused as far as reading goes"
    rows: tuple[Row, ...] = field(default=(), repr=False)
    "none if it is refused"

    @property
    def mode(self) -> Mode | None:
        """None: it is none of ours."""
        return self.outline.mode

    @property
    def sections(self) -> tuple[Section, ...]:
        """See `outline`."""
        return self.outline.sections

    @property
    def heads(self) -> tuple[RowHead, ...]:
        """See `outline`."""
        return self.outline.heads

    @property
    def rung(self) -> RungSize | None:
        """See `outline`."""
        return self.outline.rung

    @property
    def entries(self) -> int:
        """Of all rows, as the header has it; 0 where that can't be."""
        rows, k = self.outline.shape or (0, 0)
        return rows * k

    @property
    def bits(self) -> int:
        """Of all sections that are known."""
        return self.sections[-1].end if self.sections else 0

    def section_at(self, bit: int) -> str:
        """The name of the one that has this bit, counted as `start` is; empty: none has."""
        at = bit - self.start
        return next((part.name for part in self.sections if part.start <= at < part.end), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """A frame, or a block of rows that stands alone."""

    length: int
    "bytes"
    fields: tuple[Field, ...]
    "one behind the other from the first bit on, and to the last if nothing is refused"
    block: Block | None = None
    "None: no rows are in it"
    frame: Frame | None = None
    "what it says; None: it is refused, or a block alone"
    refused: WireError | None = None
    mended: "Anatomy | None" = field(default=None, repr=False)
    "where the CRC does not fit: the same bytes with one that fits"
    of_tables: bool = False
    "whether these bytes are a file of tables"

    @property
    def kind(self) -> int | None:
        """The number of the message, padded or not; None: this is no frame, or it ends before that."""
        named = next((one.value for one in self.fields if one.name == "kind"), None)
        return named & ~PADDED if isinstance(named, int) else None

    @property
    def name(self) -> str:
        """Of the message."""
        if self.of_tables:
            return "file of tables"
        if self.kind is None:
            return "no frame" if self.block is None else "block of rows"
        return KIND_NAMES.get(self.kind, f"kind {self.kind}")


def dissect_frame(data: bytes, *, tables: TableSets = NO_TABLES) -> Anatomy:
    """Take a frame apart; raises nothing, whatever the bytes."""
    try:
        frame = decode_frame(data, tables=tables)
    except WireError as error:
        found = _refused(data, cut_frame(data[:MAX_FRAME_BYTES]), error, tables)
        if error.reason is not Refusal.CHECKSUM:
            return found
        mended = dissect_frame(_with_crc(data), tables=tables)
        block = None if mended.block is None else replace(mended.block, rows=())
        return replace(found, mended=mended, block=block)
    knife = cut_frame(data)
    block = None
    if isinstance(frame.message, SparseLogits):
        block = _block(data, knife, frame.message.rows, tables)
    return Anatomy(length=len(data), fields=tuple(knife.fields), block=block, frame=frame)


def dissect_block(data: bytes, *, tables: TableSets = NO_TABLES) -> Anatomy:
    """Take a block of rows apart that stands alone; raises nothing, whatever the bytes."""
    knife = cut_block(data)
    try:
        rows = decode_rows(data, tables=tables)
    except WireError as error:
        return _refused(data, knife, error, tables)
    return Anatomy(length=len(data), fields=tuple(knife.fields), block=_block(data, knife, rows, tables))


def dissect_tables(data: bytes) -> Anatomy:
    """Whether a file of tables is refused; raises nothing, whatever the bytes."""
    try:
        table_set_from(data)
    except WireError as error:
        return Anatomy(length=len(data), fields=(), refused=error, of_tables=True)
    return Anatomy(length=len(data), fields=(), of_tables=True)


def _block(data: bytes, knife: Knife, rows: Sequence[Row], tables: TableSets) -> Block:
    assert knife.block_at is not None, "rows have been read from it"
    found = outline(data[knife.block_at // 8 : knife.length], tables=tables)
    return Block(tag=knife.tag, start=knife.block_at, outline=found, rows=tuple(rows))


def _refused(data: bytes, knife: Knife, error: WireError, tables: TableSets) -> Anatomy:
    """What stands before the bit of the refusal, and a block's header; all there is where it is damaged."""
    block_at, last = knife.block_at, error.offset
    if error.reason is Refusal.CHECKSUM:
        last = 8 * len(data)
    elif block_at is not None and last >= block_at and error.reason is not Refusal.MODE:
        last = max(last, block_at + HEADER_BITS - 1)
    fields = tuple(one for one in knife.fields if one.start <= last)
    block = None if block_at is None else _block(data, knife, (), tables)
    return Anatomy(length=len(data), fields=fields, block=block, refused=error)


def _with_crc(data: bytes) -> bytes:
    """The same frame with a CRC that fits."""
    return sealed(data[: ENVELOPE_BYTES - 4], data[ENVELOPE_BYTES:])


__all__ = ["Anatomy", "Block", "Field", "dissect_block", "dissect_frame", "dissect_tables"]
