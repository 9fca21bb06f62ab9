"""Rank tables: what ids a draft's top-K rows usually hold, agreed between both ends beforehand.

A *set* of tables belongs to a vocabulary and is a file, named by its hash. It has tables for several K, the
*rungs*; a block of K entries uses those of the largest rung that is not above K. A table puts all V ids in
an order, the likeliest first: an id's place in it is its *rank*. A row is then spelt as the ranks that it
holds, which lie close together at the front: one bit for each of the first `head` ranks, and behind them the
ranks are in buckets of 2**width, of which the usual row holds about one id each.

    order                                  all V ids, the set's own order
    rung K: front F, tables 0 .. M - 1     each table puts the first F ids of `order` in an order of its own,
                                           for rows of a kind; behind them all tables of a rung agree

    ranks   0 ... head | widths[0] | widths[1] | ...   F | tail_widths[0] | ...  V
            one bit each  the table's own buckets          the rung's buckets

How a row is spelt with them: ranked.py. How they are learnt: learning.py. The file: docs/wire.md.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from itertools import pairwise
from struct import Struct

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.checks import check_digest, check_range, check_text
from draftwire.codecs.errors import LocalError, Refusal, WireError
from draftwire.codecs.hashes import HASH_BYTES
from draftwire.codecs.limits import (
    MAX_FRONT,
    MAX_PLAIN_K,
    MAX_ROW_BITS,
    MAX_RUNGS,
    MAX_TABLE_SET_BYTES,
    MAX_TABLES,
    MAX_VOCAB_SIZE,
    MAX_WIDTH,
    MIN_VOCAB_SIZE,
)
from draftwire.codecs.reader import Reader, text_bytes, tokens_bytes

TAG_BYTES = 4
"What a block names its set by: the first bytes of the set's hash."

Places = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """One order of a rung's front, and how the ranks in it are divided."""

    front: Places = field(repr=False)
    "shape [F], a permutation of 0 .. F - 1: front[rank] is the id's place in the set's order"
    head: int
    "ranks that have one bit each, 0 to F"
    widths: tuple[int, ...]
    "log2 of the size of each bucket behind them, 0 to 18; they reach F, the last alone may reach beyond"

    def __post_init__(self) -> None:
        object.__setattr__(self, "front", _frozen(self.front))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rung:
    """The tables for rows of `k` entries and a few more."""

    k: int
    "1 to min(V, 4096)"
    tables: tuple[Table, ...]
    "M of them, 1 to 64, all with the same F"
    tail_widths: tuple[int, ...]
    "log2 of the size of each bucket from rank F on; they reach V, the last alone may reach beyond"
    row_bits: int
    "of a usual row of k entries in a block, as measured when the set was learnt: for plans, not for the wire"


@dataclass(frozen=True, kw_only=True, eq=False)
class TableSet:
    """A set of rank tables. Equal sets have equal hashes. LocalError if a field is not what it says."""

    vocab_size: int
    "V, 2 to 262144"
    fingerprint: bytes
    "of the tokenizer, 8 bytes, as in Hello"
    label: str
    "for people: which draft, which text"
    order: Places = field(repr=False)
    "shape [V], a permutation of all ids, the likeliest first"
    rungs: tuple[Rung, ...] = field(repr=False)
    "1 to 32 of them, by rising k"

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", _frozen(self.order))
        check_range("vocab_size", self.vocab_size, MIN_VOCAB_SIZE, MAX_VOCAB_SIZE)
        check_digest("fingerprint", self.fingerprint)
        check_text("label", self.label)
        _check_permutation("order", self.order, self.vocab_size)
        check_range("len(rungs)", len(self.rungs), 1, MAX_RUNGS)
        if any(before.k >= after.k for before, after in pairwise(self.rungs)):
            raise LocalError(field="rungs", value=[rung.k for rung in self.rungs], remedy="k must rise")
        for i, rung in enumerate(self.rungs):
            _check_rung(f"rungs[{i}]", rung, self.vocab_size)
        check_range("bytes of the file", _file_bytes(self), 0, MAX_TABLE_SET_BYTES)

    @cached_property
    def hash(self) -> bytes:
        """The set's name, 8 bytes: BLAKE2b("tables" | the file)."""
        return blake2b(b"tables" + table_set_bytes(self), digest_size=HASH_BYTES).digest()

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """The order once more, wide enough to be an index."""
        ids = self.order.astype(np.int64)
        ids.flags.writeable = False
        return ids

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """Of each id, its place in the order; shape [V]."""
        places = np.argsort(self.order)
        places.flags.writeable = False
        return places

    @property
    def tag(self) -> bytes:
        """What blocks name it by, 4 bytes."""
        return self.hash[:TAG_BYTES]

    def rung_of(self, k: int) -> int | None:
        """The number of the rung that a block of k entries uses; None: k is below them all."""
        found = bisect_right(self._ks, k)
        return found - 1 if found else None

    @cached_property
    def _ks(self) -> tuple[int, ...]:
        return tuple(rung.k for rung in self.rungs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TableSet) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)


TableSets = Mapping[bytes, TableSet]
"The sets that an end has, by their tags: `by_tag`."

NO_TABLES: TableSets = {}


def by_tag(sets: Sequence[TableSet]) -> TableSets:
    """Sets by the tag that blocks name them by. Raises LocalError for two of one tag."""
    found: dict[bytes, TableSet] = {}
    for one in sets:
        if found.setdefault(one.tag, one) != one:
            remedy = "two sets have this tag: leave one out"
            raise LocalError(field="tables", value=one.tag.hex(), remedy=remedy)
    return found


def by_hash(sets: TableSets, name: bytes) -> TableSet | None:
    """The set of this name, 8 bytes; None: it is not among them, even if one of its tag is."""
    found = sets.get(name[:TAG_BYTES])
    return found if found is not None and found.hash == name else None


def _frozen(places: Places) -> Places:
    """A copy that nobody changes: a set is named by a hash."""
    copy = np.array(places, np.int32)
    copy.flags.writeable = False
    return copy


def _check_rung(name: str, rung: Rung, vocab_size: int) -> None:
    check_range(f"{name}.k", rung.k, 1, min(vocab_size, MAX_PLAIN_K))
    check_range(f"len({name}.tables)", len(rung.tables), 1, MAX_TABLES)
    check_range(f"{name}.row_bits", rung.row_bits, 0, MAX_ROW_BITS)
    size = len(rung.tables[0].front)
    check_range(f"{name}.front", size, 0, min(vocab_size, MAX_FRONT))
    _check_widths(f"{name}.tail_widths", rung.tail_widths, vocab_size - size)
    for i, table in enumerate(rung.tables):
        where = f"{name}.tables[{i}]"
        _check_permutation(f"{where}.front", table.front, size)
        check_range(f"{where}.head", table.head, 0, size)
        _check_widths(f"{where}.widths", table.widths, size - table.head)


def _check_permutation(name: str, places: Places, size: int) -> None:
    if places.shape != (size,) or not np.array_equal(np.sort(places), np.arange(size)):
        raise LocalError(field=name, value=places, remedy=f"must hold each of 0 to {size - 1} once")


def _check_widths(name: str, widths: Sequence[int], ranks: int) -> None:
    """Buckets cover `ranks` ranks, and none begins behind them."""
    if not all(0 <= width <= MAX_WIDTH for width in widths):
        raise LocalError(field=name, value=widths, remedy=f"each must lie in [0, {MAX_WIDTH}]")
    whole = sum(1 << width for width in widths)
    if whole < ranks or (widths and whole - (1 << widths[-1]) >= ranks):
        raise LocalError(field=name, value=widths, remedy=f"must cover {ranks} ranks, the last bucket needed")


# The file ---------------------------------------------------------------------------------------------------

_MAGIC = b"DWTABLE1"
_SET = Struct(">3s8sB")
_RUNG = Struct(">HBH3sI")
_TABLE = Struct(">HI")


def table_set_bytes(tables: TableSet) -> bytes:
    """The set as a file: its one spelling."""
    parts = [
        _MAGIC,
        _SET.pack(tables.vocab_size.to_bytes(3, "big"), tables.fingerprint, len(tables.rungs)),
        text_bytes(tables.label),
        tokens_bytes(tables.order.tolist()),
    ]
    for rung in tables.rungs:
        size, bits = len(rung.tables[0].front), rung.row_bits.to_bytes(3, "big")
        parts.append(_RUNG.pack(rung.k, len(rung.tables), size, bits, len(rung.tail_widths)))
        parts.append(bytes(rung.tail_widths))
        for table in rung.tables:
            parts.append(_TABLE.pack(table.head, len(table.widths)))
            parts.append(bytes(table.widths) + table.front.astype(">u2").tobytes())
    return b"".join(parts)


def _file_bytes(tables: TableSet) -> int:
    """The length of the file, without writing it."""
    size = len(_MAGIC) + _SET.size + len(text_bytes(tables.label)) + 3 * tables.vocab_size
    for rung in tables.rungs:
        size += _RUNG.size + len(rung.tail_widths)
        size += sum(_TABLE.size + len(table.widths) + 2 * len(table.front) for table in rung.tables)
    return size


def table_set_from(data: bytes) -> TableSet:
    """The set whose one spelling is `data`. Raises WireError, and nothing else, for any other bytes."""
    if len(data) > MAX_TABLE_SET_BYTES:
        detail = f"{len(data)} bytes, at most {MAX_TABLE_SET_BYTES} will do"
        raise WireError(reason=Refusal.TOO_LARGE, offset=8 * MAX_TABLE_SET_BYTES, detail=detail)
    reader = Reader(data)
    _magic(reader)
    try:
        found = _table_set_from(reader)
    except LocalError as error:
        raise WireError(reason=Refusal.RANGE, offset=reader.offset, detail=str(error)) from None
    reader.end()
    return found


def _magic(reader: Reader) -> None:
    if (magic := reader.take(len(_MAGIC))) != _MAGIC:
        detail = f"begins with {magic!r}; a set of tables begins with {_MAGIC!r}"
        raise WireError(reason=Refusal.VERSION, offset=0, detail=detail)


def vocabulary_of(data: bytes) -> tuple[int, bytes]:
    """V and the tokenizer's fingerprint of a set, from the first 20 bytes of its file or more.

    Raises WireError for what begins otherwise; of what follows nothing is known then.
    """
    reader = Reader(data)
    _magic(reader)
    v, fingerprint, _ = reader.unpack(_SET)
    return int.from_bytes(v, "big"), fingerprint


def _table_set_from(reader: Reader) -> TableSet:
    v, fingerprint, rungs = reader.unpack(_SET)
    vocab_size = reader.limited("V", int.from_bytes(v, "big"), MAX_VOCAB_SIZE)
    reader.limited("the number of rungs", rungs, MAX_RUNGS)
    return TableSet(
        vocab_size=vocab_size,
        fingerprint=fingerprint,
        label=reader.text(),
        order=np.array(reader.tokens(vocab_size), np.int32),
        rungs=tuple(_rung_from(reader) for _ in range(rungs)),
    )


def _rung_from(reader: Reader) -> Rung:
    k, count, size, bits, tail = reader.unpack(_RUNG)
    reader.limited("the number of tables", count, MAX_TABLES)
    return Rung(
        k=k,
        row_bits=int.from_bytes(bits, "big"),
        tail_widths=_widths_from(reader, tail),
        tables=tuple(_table_from(reader, size) for _ in range(count)),
    )


def _widths_from(reader: Reader, buckets: int) -> tuple[int, ...]:
    return tuple(reader.take(reader.limited("the number of buckets", buckets, MAX_VOCAB_SIZE)))


def _table_from(reader: Reader, size: int) -> Table:
    head, buckets = reader.unpack(_TABLE)
    widths = _widths_from(reader, buckets)
    front = np.frombuffer(reader.take(2 * size), ">u2").astype(np.int32)
    return Table(front=front, head=head, widths=widths)


__all__ = [
    "NO_TABLES",
    "TAG_BYTES",
    "Places",
    "Rung",
    "Table",
    "TableSet",
    "TableSets",
    "by_hash",
    "by_tag",
    "table_set_bytes",
    "table_set_from",
    "vocabulary_of",
]
