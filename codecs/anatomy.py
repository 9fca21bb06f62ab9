"""Bytes taken apart, field by field: where each one stands, what it is called, what it holds.

For people who look at frames, and for whoever writes a second implementation. Names and order are those of
docs/wire.md. What `decode_frame` takes is taken apart to the last bit; of what it refuses there is the
refusal, and what could be read before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from draftwire.codecs.blocks import Section, block_sections, decode_rows
from draftwire.codecs.errors import Refusal, WireError
from draftwire.codecs.frame import Frame, decode_frame
from draftwire.codecs.layouts import KIND_NAMES, Field, Knife, cut_block, cut_frame
from draftwire.codecs.limits import MAX_FRAME_BYTES
from draftwire.codecs.messages import SparseLogits
from draftwire.codecs.rows import Row
from draftwire.codecs.tables import NO_TABLES, TableSets


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block of rows."""

    tag: bytes | None
    "of the tables that it is spelt with; None: without"
    sections: tuple[Section, ...] = ()
    "bits from the block's first bit; none if it is refused"
    rows: tuple[Row, ...] = field(default=(), repr=False)
    "none if it is refused"

    @property
    def entries(self) -> int:
        """Of all rows."""
        return sum(map(len, self.rows))

    @property
    def bits(self) -> int:
        """Of the whole block; 0 if it is refused."""
        return self.sections[-1].end if self.sections else 0


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

    @property
    def kind(self) -> int | None:
        """The number of the message; None: this is no frame, or it ends before that."""
        return next((one.value for one in self.fields if one.name == "kind"), None)  # type: ignore[return-value]

    @property
    def name(self) -> str:
        """Of the message."""
        if self.kind is None:
            return "no frame" if self.block is None else "block of rows"
        return KIND_NAMES.get(self.kind, f"kind {self.kind}")


def dissect_frame(data: bytes, *, tables: TableSets = NO_TABLES) -> Anatomy:
    """Take a frame apart; raises nothing, whatever the bytes."""
    try:
        frame = decode_frame(data, tables=tables)
    except WireError as error:
        return _refused(data, cut_frame(data[:MAX_FRAME_BYTES]), error)
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
        return _refused(data, knife, error)
    return Anatomy(length=len(data), fields=tuple(knife.fields), block=_block(data, knife, rows, tables))


def _block(data: bytes, knife: Knife, rows: Sequence[Row], tables: TableSets) -> Block:
    assert knife.block_at is not None, "rows have been read from it"
    sections = block_sections(data[knife.block_at // 8 :], tables=tables)
    return Block(tag=knife.tag, sections=sections, rows=tuple(rows))


def _refused(data: bytes, knife: Knife, error: WireError) -> Anatomy:
    """What stands before the bit of the refusal; all there is where something in it is damaged."""
    damaged = error.reason is Refusal.CHECKSUM
    fields = tuple(one for one in knife.fields if damaged or one.start <= error.offset)
    block = None if knife.block_at is None else Block(tag=knife.tag)
    return Anatomy(length=len(data), fields=fields, block=block, refused=error)


__all__ = ["Anatomy", "Block", "Field", "dissect_block", "dissect_frame"]
