"""Mode 1: rows spelt by their ids' ranks in a table that both ends have. tables.py says what a table is.

Behind the block's header, bit by bit; rows in order, a row's entries by rising rank in its table:

    1. per row, ceil(log2 M) bits: its table; 6 bits: its tail
    2. per row, a bit for each rank of the table's head: 1 if the row holds it
    3. per row and bucket, a run of as many as the row holds in it
    4. per entry, a run of its coarse level
    5. per entry behind the head, a field of the bucket's width: its place in the bucket
    6. per refined entry, a field of s bits: the low bits of its fine level
    7. 0 bits up to a whole byte

A row's table is the one with the fewest bits for its ids, the first of equals; so there is one spelling.
Every section is fixed in length, or ends with the n-th 1 from its beginning: all rows are read at once,
without a loop over symbols.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from draftwire.codecs.bits import (
    Bits,
    bits_of_equal_fields,
    bits_of_fields,
    bits_of_runs,
    check_end,
    check_length,
    equal_fields_of_bits,
    fields_at,
    need,
    runs_of_bits,
)
from draftwire.codecs.errors import Refusal, WireError
from draftwire.codecs.limits import MAX_WIDTH
from draftwire.codecs.lookup import Lookup
from draftwire.codecs.rows import NO_TAIL, TAIL_BITS, Row, rows_of_valid
from draftwire.codecs.weights import COARSE_LEVELS, Integers, Profile, low_bits, refined

SECTIONS = (
    "tables and tails",
    "head bitmaps",
    "bucket counts",
    "coarse levels",
    "bucket offsets",
    "low bits",
)

_LEVEL_BITS = 8
_LEVEL = (1 << _LEVEL_BITS) - 1


def ranked_sections(rows: Sequence[Row], lookup: Lookup) -> tuple[Bits, ...]:
    """Sections 1 to 6 of rows that share V, K and a plain profile."""
    profile, s = rows[0].profile, low_bits(rows[0].profile)
    places = lookup.places.take(np.array([row.ids for row in rows]))
    chosen = lookup.chosen(places)
    keys = lookup.ranks_of(places, chosen).astype(np.int32)
    keys <<= _LEVEL_BITS
    keys |= np.array([row.levels for row in rows], np.int32)
    keys.sort(axis=1)  # by rank, and no two ranks are equal
    levels, ranks = keys & _LEVEL, keys >> _LEVEL_BITS
    numbers = lookup.numbers_of(ranks, chosen)
    behind = numbers > 0

    of_rows = chosen.tolist()
    heads, counts = [lookup.heads[m] for m in of_rows], [lookup.counts[m] for m in of_rows]
    bitmaps = np.zeros(sum(heads), np.uint8)
    bitmaps[(ranks + _column(_starts(heads)))[~behind]] = 1

    buckets = lookup.buckets_of(of_rows)
    numbers = (numbers + _column(_starts(counts)) - 1)[behind]
    # Before the j-th entry behind the heads stand j others, and a 1 for each bucket before its own.
    members = np.ones(len(numbers) + buckets.shape[1], np.uint8)
    members[np.arange(len(numbers)) + numbers] = 0

    return (
        _head_bits(of_rows, rows, lookup.table_bits),
        bitmaps,
        members,
        bits_of_runs((levels >> s).reshape(-1)),
        bits_of_fields(ranks[behind] - buckets[1].take(numbers), buckets[0].take(numbers)),
        bits_of_equal_fields(levels[refined(levels, profile)] & ((1 << s) - 1), s),
    )


def _head_bits(chosen: Sequence[int], rows: Sequence[Row], table_bits: int) -> Bits:
    """Section 1. Of a few rows: an integer is faster here than arrays are."""
    width, fields = table_bits + TAIL_BITS, 0
    for table, row in zip(chosen, rows, strict=True):
        fields = fields << width | table << TAIL_BITS | row.tail
    size = width * len(rows)
    return np.unpackbits(np.frombuffer((fields << -size % 8).to_bytes(-(-size // 8), "big"), np.uint8))[:size]


def decode_ranked(
    data: bytes, *, lookup: Lookup, shape: tuple[int, int], profile: Profile, start: int
) -> tuple[Row, ...]:
    """The rows, [R, K], behind a header of `start` bits. WireError for all but their one spelling."""
    heads = _heads(data, lookup, shape, start)
    ranks, levels, offsets_at = _entries(data, lookup, heads, shape[1], profile)
    falling = ranks[:, 1:] <= ranks[:, :-1]
    if falling.any():
        row, entry = divmod(int(falling.argmax()), shape[1] - 1)
        detail = f"row {row}, entry {entry + 1} by rank: ranks within a bucket must rise"
        raise _refused(Refusal.NOT_CANONICAL, offsets_at, detail)
    chosen = np.array(heads.chosen)
    places = lookup.places_of(ranks, chosen)
    if (wrong := lookup.chosen(places) != chosen).any():
        detail = f"row {int(wrong.argmax())}: a table that is not the first of the shortest"
        raise _refused(Refusal.NOT_CANONICAL, start, detail)
    keys = (lookup.ids.take(places) << _LEVEL_BITS | levels).astype(np.int32)
    keys.sort(axis=1)
    return rows_of_valid(
        vocab_size=len(lookup.ids),
        profile=profile,
        ids=(keys >> _LEVEL_BITS).astype(np.int64),
        levels=(keys & _LEVEL).astype(np.int64),
        tails=heads.tails,
    )


class _Heads(NamedTuple):
    """Section 1."""

    chosen: list[int]
    "table of each row"
    tails: list[int]
    end: int
    "bit behind it"


def _heads(data: bytes, lookup: Lookup, shape: tuple[int, int], start: int) -> _Heads:
    (rows, k), width = shape, lookup.table_bits + TAIL_BITS
    end = start + rows * width
    need(data, end + rows * k)
    whole = int.from_bytes(data[start // 8 : -(-end // 8)], "big") >> -end % 8
    fields = [whole >> width * i & ((1 << width) - 1) for i in range(rows - 1, -1, -1)]
    chosen, tails = [field >> TAIL_BITS for field in fields], [field & NO_TAIL for field in fields]
    if max(chosen) >= len(lookup.heads):
        detail = f"table {max(chosen)} of a rung that has {len(lookup.heads)}"
        raise _refused(Refusal.LIMIT, start, detail)
    if k == len(lookup.ids) and min(tails) != NO_TAIL:
        raise _refused(Refusal.RANGE, start, f"a tail other than {NO_TAIL} where K = V")
    return _Heads(chosen, tails, end)


class _Entries(NamedTuple):
    """Sections 2 to 6."""

    ranks: Integers
    "shape [R, K]: not yet known to rise"
    levels: Integers
    "shape [R, K]: fine levels"
    offsets_at: int
    "bit where section 5 begins"


def _entries(data: bytes, lookup: Lookup, heads: _Heads, k: int, profile: Profile) -> _Entries:
    rows, s = len(heads.chosen), low_bits(profile)
    sizes, counts = [lookup.heads[m] for m in heads.chosen], [lookup.counts[m] for m in heads.chosen]
    n, ends, runs_at = rows * k, sum(counts), heads.end + sum(sizes)
    need(data, runs_at + ends + n)  # now nothing can be larger than a multiple of the block
    check_length(data, runs_at + ends + n * (1 + COARSE_LEVELS + MAX_WIDTH + s))

    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    in_bitmaps = bits[heads.end : runs_at].view(np.bool_).nonzero()[0]
    ones = bits[runs_at:].view(np.bool_).nonzero()[0][: ends + n]
    if len(ones) < ends + n:
        detail = f"{len(ones)} runs end where {ends + n} must"
        raise _refused(Refusal.TRUNCATED, len(bits), detail)
    runs = runs_of_bits(ones)
    members, coarse = runs[:ends], runs[ends:].reshape(rows, k)
    in_heads = _within(in_bitmaps.searchsorted(_ends(sizes)).tolist())
    in_rows = _within([int(ones[end - 1]) - end + 1 if end else 0 for end in _ends(counts)])
    for row, (head, behind) in enumerate(zip(in_heads, in_rows, strict=True)):
        if head + behind != k:
            detail = f"row {row} has {head + behind} entries where K is {k}"
            raise _refused(Refusal.RANGE, heads.end, detail)

    buckets = lookup.buckets_of(heads.chosen).repeat(members, axis=1)
    levels = coarse << s
    mask = refined(levels, profile)
    offsets_at = runs_at + int(ones[-1]) + 1
    low_at = offsets_at + int(buckets[0].sum())
    end = low_at + s * int(np.count_nonzero(mask))
    check_end(bits, end)
    behind_ranks = buckets[1] + fields_at(data, offsets_at, buckets[0])
    if (behind_ranks >= buckets[2]).any():
        raise _refused(Refusal.RANGE, offsets_at, "a rank beyond the last of its table")
    levels[mask] |= equal_fields_of_bits(bits[low_at:end], s)
    if levels.max() >= COARSE_LEVELS << s:
        row, entry = divmod(int(levels.argmax()), k)
        detail = f"row {row}, entry {entry} by rank: coarse levels must lie in [0, {COARSE_LEVELS - 1}]"
        raise _refused(Refusal.RANGE, runs_at, detail)
    if (least := np.minimum.reduce(levels, axis=1)).any():
        detail = f"row {int(least.argmax())}: the row's smallest level must be 0"
        raise _refused(Refusal.RANGE, runs_at, detail)

    # Both kinds of entries come row by row, and those in the head first.
    ranks, in_head = np.empty((rows, k), np.int64), np.arange(k) < _column(in_heads)
    ranks[in_head] = in_bitmaps - np.array(_starts(sizes)).repeat(in_heads)
    ranks[~in_head] = behind_ranks
    return _Entries(ranks, levels, offsets_at)


def _ends(sizes: Sequence[int]) -> list[int]:
    return list(accumulate(sizes))


def _starts(sizes: Sequence[int]) -> list[int]:
    return [end - size for end, size in zip(accumulate(sizes), sizes, strict=True)]


def _within(totals: Sequence[int]) -> list[int]:
    """What each adds to the one before."""
    return [after - before for before, after in pairwise((0, *totals))]


def _column(values: Sequence[int]) -> Integers:
    """One a row, beside arrays of shape [R, K]."""
    return np.array(values)[:, None]


def _refused(reason: Refusal, offset: int, detail: str) -> WireError:
    return WireError(reason=reason, offset=offset, detail=detail)


__all__ = ["SECTIONS", "decode_ranked", "ranked_sections"]
