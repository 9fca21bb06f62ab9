"""A block of 1 to 32 rows <-> bytes. The rows share vocabulary size V, K and profile.

    byte 0      mode (high 4 bits), weight profile (low 4 bits)
    byte 1      R, the number of rows
    bytes 2-4   V                   mode 1: bytes 2-3 K, bytes 4-7 the tag of a set of tables, which has a V
    bytes 5-7   K

Mode 0, plain (profiles 0 and 1), then goes on bit by bit, rows in order, a row's entries by rising id:

    1. per row, 5 bits: its Rice parameter l; 6 bits: its tail
    2. per entry, a run of gap >> l; the gap is the number of ids skipped since the entry before
    3. per entry, a run of its coarse level
    4. per entry, a field of l bits: the rest of the gap
    5. per refined entry, a field of s bits: the low bits of its fine level
    6. 0 bits up to a whole byte

Mode 1, tables (profiles 0 and 1): ranked.py. Mode 2, dense (profile 2, K = V): R * V levels of 16 bits.

In each of its modes a block has one spelling: what decodes re-encodes to the same bytes in that mode. Which
mode it travels in is the sender's choice. docs/wire.md has the full rules.
"""

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from draftwire.codecs import plain, ranked
from draftwire.codecs.bits import Bits, check_length, need
from draftwire.codecs.errors import LocalError, Refusal, WireError
from draftwire.codecs.lookup import Lookup, lookup_of
from draftwire.codecs.rows import NO_TAIL, TAIL_BITS, Row, check_shape, faults, rows_of_valid
from draftwire.codecs.tables import NO_TABLES, TAG_BYTES, TableSet, TableSets
from draftwire.codecs.weights import Profile

HEADER = struct.Struct(">BB3s3s")
HEADER_BITS = 8 * HEADER.size
_TABLES_HEADER = struct.Struct(f">BBH{TAG_BYTES}s")


class Mode(IntEnum):
    """How the rest of a block is spelt."""

    PLAIN = 0
    TABLES = 1
    DENSE = 2


PROFILES = {
    Mode.PLAIN: (Profile.SMALL, Profile.LARGE),
    Mode.TABLES: (Profile.SMALL, Profile.LARGE),
    Mode.DENSE: (Profile.DENSE,),
}


class Section(NamedTuple):
    """A run of a block's bits."""

    name: str
    "as docs/wire.md has it"
    start: int
    "its first bit, counted from the block's first"
    end: int
    "the bit behind it"


def encode_rows(rows: Sequence[Row], *, tables: TableSet | None = None) -> bytes:
    """A block, spelt with `tables` unless they have no rung for K, or fit it badly and plain is shorter.

    Raises LocalError for no rows, too many, unlike V, K or profile, or tables of another V.
    """
    _check_alike(rows)
    if rows[0].profile is Profile.DENSE:
        header = _header(Mode.DENSE, rows)
        return header + np.stack([row.levels for row in rows]).astype(">u2").tobytes()
    if tables is not None and (rung := _rung_for(rows, tables)) is not None:
        block = _ranked(rows, tables, rung)
        # A row outside what the tables know can take 20 bits an id; then plain rows are worth their time.
        if 8 * len(block) <= _most_plain_bits(rows):
            return block
        return min(block, _plain(rows), key=len)
    return _plain(rows)


def encode_plain(rows: Sequence[Row]) -> bytes:
    """The block in mode 0. Raises LocalError as encode_rows, and for dense rows."""
    _check_alike(rows)
    return _plain(rows)


def encode_ranked(rows: Sequence[Row], tables: TableSet) -> bytes:
    """The block in mode 1. Raises LocalError as encode_rows, for dense rows, and for a K below every rung."""
    _check_alike(rows)
    rung = _rung_for(rows, tables)
    if rung is None:
        remedy = f"these tables begin at K = {tables.rungs[0].k}"
        raise LocalError(field="K", value=len(rows[0]), remedy=remedy)
    return _ranked(rows, tables, rung)


def decode_rows(
    data: bytes, *, vocab_size: int | None = None, tables: TableSets = NO_TABLES
) -> tuple[Row, ...]:
    """The rows of a block; WireError, offset in bits from its start, for all but its mode's one spelling.

    `vocab_size` is what the reader expects; None takes what the block names. `tables`: the sets that it has.
    """
    head = _read_header(data, tables)
    if vocab_size is not None and vocab_size != head.vocab_size:
        detail = f"rows over {head.vocab_size} ids where {vocab_size} are expected"
        raise WireError(reason=Refusal.VOCABULARY, offset=16, detail=detail)
    if head.lookup is not None:
        return ranked.decode_ranked(
            data, lookup=head.lookup, shape=head.shape, profile=head.profile, start=HEADER_BITS
        )
    if head.mode is Mode.PLAIN:
        return plain.decode_plain(
            data, vocab_size=head.vocab_size, shape=head.shape, profile=head.profile, start=HEADER_BITS
        )
    return _decode_dense(data, head.shape)


def block_sections(data: bytes, *, tables: TableSets = NO_TABLES) -> tuple[Section, ...]:
    """Where the sections of a block are, header first, padding last. WireError as decode_rows."""
    rows = decode_rows(data, tables=tables)
    head = _read_header(data, tables)
    if head.mode is Mode.DENSE:
        return (Section("header", 0, HEADER_BITS), Section("levels", HEADER_BITS, 8 * len(data)))
    if head.lookup is not None:
        named = zip(ranked.SECTIONS, ranked.ranked_sections(rows, head.lookup), strict=True)
    else:
        named = zip(plain.SECTIONS, plain.plain_sections(rows), strict=True)
    found = [Section("header", 0, HEADER_BITS)]
    for name, part in named:
        found.append(Section(name, found[-1].end, found[-1].end + len(part)))
    return (*found, Section("padding", found[-1].end, 8 * len(data)))


def tag_of(block: bytes) -> bytes | None:
    """The tag of the set that the rows of a block, a valid one, are spelt with; None: plain or dense rows."""
    return _TABLES_HEADER.unpack_from(block)[-1] if block[0] >> 4 == Mode.TABLES else None


def entries_named(block: bytes) -> int:
    """How many entries a block's header says that it has, before anything of it is checked; 0: no header."""
    if len(block) < HEADER.size:
        return 0
    if block[0] >> 4 == Mode.TABLES:
        return block[1] * int(_TABLES_HEADER.unpack_from(block)[2])
    return block[1] * int.from_bytes(HEADER.unpack_from(block)[-1], "big")


class _Head(NamedTuple):
    """What a block's first 8 bytes say."""

    mode: Mode
    profile: Profile
    shape: tuple[int, int]
    "R, K"
    vocab_size: int
    lookup: Lookup | None
    "in mode 1"


def _check_alike(rows: Sequence[Row]) -> None:
    if not rows:
        raise LocalError(field="rows", value=rows, remedy="a block has at least one row")
    first = rows[0]
    check_shape(profile=first.profile, vocab_size=first.vocab_size, k=len(first), rows=len(rows))
    for i, row in enumerate(rows):
        if (row.vocab_size, len(row), row.profile) != (first.vocab_size, len(first), first.profile):
            raise LocalError(
                field=f"rows[{i}]", value=row, remedy=f"must have V, K and profile of rows[0]: {first}"
            )


def _header(mode: Mode, rows: Sequence[Row]) -> bytes:
    first = rows[0]
    if first.profile not in PROFILES[mode]:
        remedy = f"must be a profile of mode {mode.name}"
        raise LocalError(field="profile", value=first.profile.name, remedy=remedy)
    v, k = first.vocab_size.to_bytes(3, "big"), len(first).to_bytes(3, "big")
    return HEADER.pack(mode << 4 | first.profile, len(rows), v, k)


def _packed(sections: Sequence[Bits]) -> bytes:
    return np.packbits(np.concatenate(sections)).tobytes()


def _rung_for(rows: Sequence[Row], tables: TableSet) -> int | None:
    first = rows[0]
    if first.vocab_size != tables.vocab_size:
        remedy = f"must be a set over the rows' {first.vocab_size} ids"
        raise LocalError(field="tables", value=f"V = {tables.vocab_size}", remedy=remedy)
    return tables.rung_of(len(first))


def _plain(rows: Sequence[Row]) -> bytes:
    return _header(Mode.PLAIN, rows) + _packed(plain.plain_sections(rows))


def _ranked(rows: Sequence[Row], tables: TableSet, rung: int) -> bytes:
    first = rows[0]
    if first.profile not in PROFILES[Mode.TABLES]:
        raise LocalError(field="profile", value=first.profile.name, remedy="whole rows have no tables")
    header = _TABLES_HEADER.pack(Mode.TABLES << 4 | first.profile, len(rows), len(first), tables.tag)
    return header + _packed(ranked.ranked_sections(rows, lookup_of(tables, rung)))


def _most_plain_bits(rows: Sequence[Row]) -> int:
    """No more than this does a plain block take, levels aside: a gap costs at most floor(log2(V / K)) + 3."""
    k = len(rows[0])
    return HEADER_BITS + len(rows) * k * ((rows[0].vocab_size // k).bit_length() + 2)


def _read_header(data: bytes, tables: TableSets) -> _Head:
    if len(data) < HEADER.size:
        raise WireError(reason=Refusal.TRUNCATED, offset=8 * len(data), detail="a block begins with 8 bytes")
    mode, profile = _mode_and_profile(data[0])
    if mode is Mode.TABLES:
        _, rows, k, tag = _TABLES_HEADER.unpack_from(data)
        found = _found(tag, tables)
        v = found.vocab_size
    else:
        found = None
        _, rows, *sizes = HEADER.unpack_from(data)
        v, k = (int.from_bytes(size, "big") for size in sizes)
    try:
        check_shape(profile=profile, vocab_size=v, k=k, rows=rows)
    except LocalError as error:
        raise WireError(reason=Refusal.LIMIT, offset=8, detail=str(error)) from None
    if found is None:
        return _Head(mode, profile, (rows, k), v, None)
    rung = found.rung_of(k)
    if rung is None:
        detail = f"K is {k}, and the tables begin at {found.rungs[0].k}"
        raise WireError(reason=Refusal.LIMIT, offset=16, detail=detail)
    need(data, HEADER_BITS + rows * (k + TAIL_BITS))  # nobody has a rung spread out for a header alone
    return _Head(mode, profile, (rows, k), v, lookup_of(found, rung))


def _found(tag: bytes, tables: TableSets) -> TableSet:
    if tag not in tables:
        ours = ", ".join(sorted(one.hex() for one in tables)) or "none"
        detail = f"rows spelt with the tables {tag.hex()}; here are {ours}"
        raise WireError(reason=Refusal.TABLES, offset=32, detail=detail)
    return tables[tag]


def _mode_and_profile(kinds: int) -> tuple[Mode, Profile]:
    try:
        mode = Mode(kinds >> 4)
        profiles = PROFILES[mode]
    except (ValueError, KeyError):
        detail = (
            f"mode {kinds >> 4}; this version speaks {', '.join(f'{m.value} ({m.name})' for m in PROFILES)}"
        )
        raise WireError(reason=Refusal.MODE, offset=0, detail=detail) from None
    if kinds & 15 not in profiles:
        detail = f"mode {mode.name} has no weight profile {kinds & 15}"
        raise WireError(reason=Refusal.PROFILE, offset=4, detail=detail)
    return mode, Profile(kinds & 15)


def _decode_dense(data: bytes, shape: tuple[int, int]) -> tuple[Row, ...]:
    rows, v = shape
    need(data, HEADER_BITS + 16 * rows * v)
    check_length(data, HEADER_BITS + 16 * rows * v)
    levels = np.frombuffer(data, ">u2", offset=HEADER.size).astype(np.int64).reshape(shape)
    ids = np.broadcast_to(np.arange(v), shape)
    for rule, wrong in faults(ids, levels, profile=Profile.DENSE, vocab_size=v):
        if wrong.any():
            row, entry = divmod(int(wrong.argmax()), v)
            detail = f"row {row}, entry {entry}: {rule}"
            raise WireError(reason=Refusal.RANGE, offset=HEADER_BITS, detail=detail)
    return rows_of_valid(vocab_size=v, profile=Profile.DENSE, ids=ids, levels=levels, tails=[NO_TAIL] * rows)


class Packed:
    """Plain and dense blocks as a RowCodec: what any two ends can speak."""

    name = "packed"

    def encode(self, rows: Sequence[Row]) -> bytes:
        """See encode_rows."""
        return encode_rows(rows)

    def decode(self, data: bytes, *, vocab_size: int | None = None) -> tuple[Row, ...]:
        """See decode_rows."""
        return decode_rows(data, vocab_size=vocab_size)


__all__ = [
    "HEADER_BITS",
    "PROFILES",
    "Mode",
    "Packed",
    "Section",
    "block_sections",
    "decode_rows",
    "encode_plain",
    "encode_ranked",
    "encode_rows",
    "entries_named",
    "tag_of",
]
