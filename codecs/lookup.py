"""A rung of tables spread out into arrays, so that all ids of a block are looked up at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.limits import MAX_PLAIN_K, MAX_RUNGS, MAX_TABLE_SETS
from draftwire.codecs.tables import Places, Rung, TableSet
from draftwire.codecs.weights import Integers

_TAKEN_AT_ONCE = 2**19
"Costs looked up together, 2 MiB: 8 rows of 4096 entries under 16 tables. Larger blocks go row by row."

_ONES = np.ones((1, MAX_PLAIN_K), np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lookup:
    """M tables of front F. A bucket's number counts from 1, the table's own ones first; 0 is the head.

    Arrays of shape [M F] hold F values a table: what belongs to i in table m stands at m F + i.
    """

    size: int
    "F"
    table_bits: int
    "ceil(log2 M): of a table's number in a block"
    places: Integers
    "shape [V]: of an id, its place in the set's order"
    ids: Integers
    "shape [V]: the id at a place"
    ranks: Places
    "shape [M F]: by place below F"
    fronts: Places
    "shape [M F]: places, by rank below F"
    numbers: Places
    "shape [M F]: bucket numbers, by rank below F"
    tail_numbers: Places
    "shape [V - F]: bucket numbers by rank from F on, counted from the rung's first bucket"
    costs: NDArray[np.float32]
    "shape [F + 1, M]: bits of the id at a place, but for its level; from F on as 0: all tables agree there"
    fixed: NDArray[np.float32]
    "shape [M]: bits of a row before its first id"
    heads: tuple[int, ...]
    "of each table"
    own: Integers
    "shape [M]: buckets of the table's own"
    counts: tuple[int, ...]
    "of each table: all its buckets, own and common"
    own_buckets: tuple[Integers, ...]
    "for each table, shape [3, n]: width, first rank, and the rank that the bucket ends before"
    tail_buckets: Integers
    "the same of those that all tables have in common"

    def chosen(self, places: Integers | Places) -> Integers:
        """The table of each row, shape [R], of ids at these places, shape [R, K]: fewest bits, then first."""
        if len(self.heads) == 1:
            return np.zeros(len(places), np.int64)
        if places.size * len(self.heads) > _TAKEN_AT_ONCE and len(places) > 1:
            return np.concatenate([self.chosen(row[None]) for row in places])
        costs = self.costs.take(np.minimum(places, self.size), axis=0)
        # Sums of small integers are exact in float32, and a product sums six times as fast as sum does.
        totals = _ONES[:, : places.shape[1]] @ costs
        best: Integers = (totals[:, 0] + self.fixed).argmin(axis=1)
        return best

    def buckets_of(self, tables: Sequence[int]) -> Integers:
        """The buckets of each of these tables, one behind the other, shape [3, n]."""
        return np.concatenate(
            [part for m in tables for part in (self.own_buckets[m], self.tail_buckets)], axis=1
        )

    def ranks_of(self, places: Integers, chosen: Integers) -> Places:
        """Ranks of ids at these places, shape [R, K]."""
        return self._within(self.ranks, places, chosen)

    def places_of(self, ranks: Integers, chosen: Integers) -> Places:
        """Places of ids of these ranks below V, shape [R, K]."""
        return self._within(self.fronts, ranks, chosen)

    def numbers_of(self, ranks: Places, chosen: Integers) -> Places:
        """Bucket numbers of ids of these ranks below V, shape [R, K]."""
        numbers = self._within(self.numbers, ranks, chosen)
        behind = ranks >= self.size
        if behind.any():
            common = self.tail_numbers.take(np.maximum(ranks - self.size, 0))
            numbers[behind] = (common + self.own[chosen][:, None])[behind]
        return numbers

    def _within(self, table: Places, indices: Integers | Places, chosen: Integers) -> Places:
        """Of each row's table where the index is below F, elsewhere the index itself."""
        shifted = indices + (chosen * self.size)[:, None]
        if indices.max() < self.size:
            return table.take(shifted)
        found = table.take(shifted, mode="clip") if self.size else indices
        return np.where(indices < self.size, found, indices).astype(np.int32)


@lru_cache(maxsize=MAX_RUNGS * MAX_TABLE_SETS)  # all: or a peer could make each block cost a spreading
def lookup_of(tables: TableSet, rung: int) -> Lookup:
    """The lookup of a rung, by its number."""
    return _spread(tables.rungs[rung], tables)


def _spread(rung: Rung, tables: TableSet) -> Lookup:
    size, count, v = len(rung.tables[0].front), len(rung.tables), tables.vocab_size
    tail = _buckets(rung.tail_widths, first=size, end=v)
    costs, numbers = np.zeros((size + 1, count), np.float32), np.zeros((count, size), np.int32)
    costs[:size] = front_bits(rung)
    own = []
    for m, table in enumerate(rung.tables):
        own.append(_buckets(table.widths, first=table.head, end=size))
        numbers[m] = np.searchsorted(own[m][1], np.arange(size), side="right")
    heads, owned = tuple(table.head for table in rung.tables), np.array([one.shape[1] for one in own])
    fronts = np.stack([table.front for table in rung.tables])
    shifts = size * np.arange(count)[:, None]
    ranks = np.empty(count * size, np.int32)
    ranks[fronts + shifts] = np.arange(size)
    return Lookup(
        size=size,
        table_bits=table_bits(count),
        places=tables.places,
        ids=tables.ids,
        ranks=ranks,
        fronts=fronts.reshape(-1),
        numbers=numbers.reshape(-1),
        tail_numbers=np.searchsorted(tail[1], np.arange(size, v), side="right").astype(np.int32),
        costs=costs,
        fixed=(np.array(heads) + owned).astype(np.float32),
        heads=heads,
        own=owned,
        counts=tuple((owned + tail.shape[1]).tolist()),
        own_buckets=tuple(own),
        tail_buckets=tail,
    )


def front_bits(rung: Rung) -> NDArray[np.uint8]:
    """What the id at each place below F adds to a row, but for its level, under each table: shape [F, M]."""
    size = len(rung.tables[0].front)
    bits = np.zeros((size, len(rung.tables)), np.uint8)
    for m, table in enumerate(rung.tables):
        bits[table.front[table.head :], m] = bucket_bits(table.widths, size - table.head)
    return bits


def bucket_bits(widths: Sequence[int], ranks: int) -> NDArray[np.uint8]:
    """What an id adds to a row at each of the ranks that buckets of these widths cover."""
    sizes = 1 << np.array(widths, np.int64)
    return np.repeat(np.array(widths, np.uint8) + np.uint8(1), sizes)[:ranks]


def table_bits(count: int) -> int:
    """Of a table's number, one of `count`."""
    return (count - 1).bit_length()


def _buckets(widths: Sequence[int], *, first: int, end: int) -> Integers:
    """Shape [3, n]: width, first rank, and the rank that each ends before."""
    sizes = 1 << np.array(widths, np.int64)
    ends = first + np.cumsum(sizes)
    return np.stack([np.array(widths, np.int64), ends - sizes, np.minimum(ends, end)])


__all__ = ["Lookup", "bucket_bits", "front_bits", "lookup_of", "table_bits"]
