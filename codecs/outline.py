"""How a block of rows is divided, whether it is valid or not: for people who look for what is wrong in one.

Each section ends where docs/wire.md says that it does, so it is read forwards as far as the bytes go; nothing
here judges what stands in it, `decode_rows` does.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from draftwire.codecs import plain, ranked
from draftwire.codecs.bits import Bits, runs_of_bits
from draftwire.codecs.blocks import HEADER_BITS, PROFILES, Mode, Section
from draftwire.codecs.errors import LocalError
from draftwire.codecs.limits import MAX_VOCAB_SIZE
from draftwire.codecs.lookup import table_bits
from draftwire.codecs.rows import TAIL_BITS, check_shape
from draftwire.codecs.tables import NO_TABLES, TAG_BYTES, Rung, TableSets
from draftwire.codecs.weights import Integers, Profile, low_bits, refined


class RowHead(NamedTuple):
    """What a row begins with."""

    number: int
    "mode 0: l, its Rice parameter; mode 1: m, its table"
    tail: int
    "0 to 63"


class RungSize(NamedTuple):
    """The rung that the rows of a block of mode 1 are spelt with."""

    k: int
    "entries of the rows that it was learnt for"
    tables: int
    "M"
    front: int
    "F"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """The division of a block."""

    mode: Mode | None = None
    "None: the block ends before it, or it is none of ours"
    shape: tuple[int, int] | None = None
    "R, K; None: not there, or beyond the limits"
    sections: tuple[Section, ...] = ()
    "header first; all whose first bit is known, the last one cut where the block ends too early"
    heads: tuple[RowHead, ...] = ()
    "of each row; empty: the block ends before them, or rows of its mode have none"
    rung: RungSize | None = None
    "in mode 1, where the set is known"
    stopped: str = ""
    "what the bytes end within; empty: all sections are whole"


def outline(data: bytes, *, tables: TableSets = NO_TABLES) -> Outline:
    """The division of a block of rows, valid or not; raises nothing, whatever the bytes."""
    header = Section("header", 0, min(HEADER_BITS, 8 * len(data)))
    mode, profile = _mode_and_profile(data)
    if len(data) < HEADER_BITS // 8:
        return Outline(mode=mode, sections=(header,) if data else (), stopped="the header")
    rows, found = data[1], tables.get(data[8 - TAG_BYTES : 8])
    if mode is Mode.TABLES:
        k, v = int.from_bytes(data[2:4], "big"), MAX_VOCAB_SIZE if found is None else found.vocab_size
    else:
        v, k = int.from_bytes(data[2:5], "big"), int.from_bytes(data[5:8], "big")
    try:
        if mode is None or profile is None:
            return Outline(mode=mode, sections=(header,))
        check_shape(profile=profile, vocab_size=v, k=k, rows=rows)
    except LocalError:
        return Outline(mode=mode, sections=(header,))
    reading, shape = _Reading(data, header), (rows, k)
    heads, rung = tuple[RowHead, ...](), None
    try:
        if mode is Mode.DENSE:
            reading.equal_fields("levels", 16, rows * v, _entry(v))
        elif mode is Mode.PLAIN:
            heads = _heads(reading, plain.SECTIONS[0], rows, plain.PARAMETER_BITS)
            _plain(reading, shape, profile, heads)
        elif found is not None and (number := found.rung_of(k)) is not None:
            used = found.rungs[number]
            rung = RungSize(used.k, len(used.tables), len(used.tables[0].front))
            heads = _heads(reading, ranked.SECTIONS[0], rows, table_bits(rung.tables))
            _ranked(reading, shape, profile, heads, used)
    except _Ended as ended:
        stopped = str(ended)
    else:
        stopped = ""
    return Outline(
        mode=mode,
        shape=shape,
        sections=tuple(reading.sections),
        heads=heads,
        rung=rung,
        stopped=stopped,
    )


def _mode_and_profile(data: bytes) -> tuple[Mode | None, Profile | None]:
    """None for what there is not, and for a profile that the mode does not have."""
    try:
        mode = Mode(data[0] >> 4)
    except (IndexError, ValueError):
        return None, None
    return mode, next((one for one in PROFILES[mode] if one == data[0] & 15), None)


class _Ended(Exception):
    """Raised where the bytes end within a section, or say what no section can follow."""


class _Reading:
    """Sections one behind the other, from behind the header on."""

    def __init__(self, data: bytes, header: Section) -> None:
        self._bits = np.unpackbits(np.frombuffer(data, np.uint8))
        self._at = header.end
        self.sections = [header]

    def fields(self, name: str, widths: Integers, where: Callable[[int], str]) -> Bits:
        """The bits of fields of these widths; `where` says which one a number is of."""
        ends = np.cumsum(widths)
        size = int(ends[-1]) if len(ends) else 0
        left = len(self._bits) - self._at
        if size > left:
            self._end(name, where(int(ends.searchsorted(left, side="right"))))
        return self._take(name, size)

    def equal_fields(self, name: str, width: int, count: int, where: Callable[[int], str]) -> Bits:
        """The same of one width: without an array, as a header of a few bytes may name millions."""
        left = len(self._bits) - self._at
        if width * count > left:
            self._end(name, where(left // width))
        return self._take(name, width * count)

    def runs(self, name: str, count: int, where: Callable[[int], str]) -> Integers:
        """So many runs."""
        ones = self._bits[self._at :].view(np.bool_).nonzero()[0][:count]
        if len(ones) < count:
            self._end(name, where(len(ones)))
        self._take(name, int(ones[-1]) + 1 if count else 0)
        return runs_of_bits(ones)

    def padding(self) -> None:
        """The rest of the last byte, and what stands behind it."""
        self._take("padding", min(-self._at % 8, len(self._bits) - self._at))
        if self._at < len(self._bits):
            self._take("behind the last byte", len(self._bits) - self._at)

    def _take(self, name: str, size: int) -> Bits:
        start, self._at = self._at, self._at + size
        self.sections.append(Section(name, start, self._at))
        return self._bits[start : self._at]

    def _end(self, name: str, where: str) -> None:
        self._take(name, len(self._bits) - self._at)
        raise _Ended(f"{name}, {where}")


def _heads(reading: _Reading, name: str, rows: int, number_bits: int) -> tuple[RowHead, ...]:
    width = number_bits + TAIL_BITS
    bits = reading.equal_fields(name, width, rows, _row).reshape(rows, width)
    values = (bits.astype(np.int64) << np.arange(width - 1, -1, -1)).sum(axis=1).tolist()
    return tuple(RowHead(value >> TAIL_BITS, value & ((1 << TAIL_BITS) - 1)) for value in values)


def _plain(reading: _Reading, shape: tuple[int, int], profile: Profile, heads: Sequence[RowHead]) -> None:
    _, quotients, coarse_levels, remainders, low = plain.SECTIONS
    (rows, k), entry = shape, _entry(shape[1])
    reading.runs(quotients, rows * k, entry)
    coarse = reading.runs(coarse_levels, rows * k, entry).reshape(shape)
    reading.fields(remainders, np.repeat([head.number for head in heads], k), entry)
    _low_bits(reading, low, coarse, profile)


def _ranked(
    reading: _Reading, shape: tuple[int, int], profile: Profile, heads: Sequence[RowHead], rung: Rung
) -> None:
    _, bitmaps, counts, coarse_levels, offsets, low = ranked.SECTIONS
    if any(head.number >= len(rung.tables) for head in heads):
        raise _Ended(f"{ranked.SECTIONS[0]}: a table that the rung does not have")
    chosen = [rung.tables[head.number] for head in heads]
    widths = [(*table.widths, *rung.tail_widths) for table in chosen]
    heads_of = [table.head for table in chosen]
    reading.equal_fields(bitmaps, 1, sum(heads_of), _part(heads_of, "rank"))
    members = reading.runs(counts, sum(map(len, widths)), _part([len(one) for one in widths], "bucket"))
    coarse = reading.runs(coarse_levels, shape[0] * shape[1], _entry(shape[1])).reshape(shape)
    of_buckets = np.array([width for one in widths for width in one], np.int64)
    in_rows = [
        int(part.sum()) for part in np.split(members, list(accumulate(len(one) for one in widths))[:-1])
    ]
    reading.fields(offsets, of_buckets.repeat(members), _part(in_rows, "entry behind the head"))
    _low_bits(reading, low, coarse, profile)


def _low_bits(reading: _Reading, name: str, coarse: Integers, profile: Profile) -> None:
    s = low_bits(profile)
    which = np.flatnonzero(refined(coarse << s, profile)).tolist()
    entry = _entry(coarse.shape[1])
    reading.equal_fields(name, s, len(which), lambda i: entry(which[i]))
    reading.padding()


# Where one of many stands -----------------------------------------------------------------------------------


def _row(number: int) -> str:
    return f"row {number}"


def _entry(k: int) -> Callable[[int], str]:
    return lambda i: f"row {i // k}, entry {i % k}"


def _part(sizes: Sequence[int], what: str) -> Callable[[int], str]:
    """Of rows that have unlike numbers of them."""
    ends = list(accumulate(sizes))

    def where(i: int) -> str:
        row = bisect_right(ends, i)
        return f"row {row}, {what} {i - (ends[row] - sizes[row])}"

    return where


__all__ = ["Outline", "RowHead", "RungSize", "outline"]
