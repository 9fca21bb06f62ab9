"""Sets of rank tables."""

from collections.abc import Callable, Iterator, Sequence

import hypothesis.strategies as st
import numpy as np
from hypothesis.strategies import DrawFn

from draftwire.codecs.limits import MAX_PLAIN_K, MAX_TABLES, MAX_WIDTH
from draftwire.codecs.strategies.blocks import vocab_sizes
from draftwire.codecs.tables import Places, Rung, Table, TableSet

_MOST_BUCKETS = 4096
"Of narrow buckets over many ranks a row would be all counts: so many do."

_LONG_FRONT = 2000
"Places of a drawn front, at most: 64 tables of more take long to make."

Widths = Callable[[int, np.random.Generator], tuple[int, ...]]
"Widths of buckets over so many ranks, none of them empty."


@st.composite
def table_sets(draw: DrawFn, *, vocab_size: int | None = None, rungs: Sequence[int] = ()) -> TableSet:
    """Any set for a vocabulary: any fronts and heads, 1 to 64 tables, buckets of all sizes and overhangs.

    `rungs`: values of K of which it has at least one.
    """
    v = draw(vocab_sizes()) if vocab_size is None else vocab_size
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    most = min(v, MAX_PLAIN_K)
    ks = draw(st.sets(st.integers(1, most), max_size=2))
    if rungs:
        ks |= draw(st.sets(st.sampled_from(rungs), min_size=1, max_size=2))
    return TableSet(
        vocab_size=v,
        fingerprint=rng.bytes(8),
        label=draw(st.text(st.characters(codec="utf-8"), max_size=20)),
        order=permutation(v, rng),
        rungs=tuple(draw(_rungs(v, k, rng)) for k in sorted(ks or {1})),
    )


@st.composite
def _rungs(draw: DrawFn, v: int, k: int, rng: np.random.Generator) -> Rung:
    size = draw(st.sampled_from((0, 1, min(v, _LONG_FRONT))) | st.integers(0, min(v, _LONG_FRONT)))
    count = draw(st.sampled_from((1, 2, 3, 16, MAX_TABLES)))
    ways = st.sampled_from((growing, widest, narrow, overhanging, mixed))
    way, tail_way = draw(ways), draw(ways)
    alike = draw(st.booleans())  # then rows cost the same under all of them: the first must be taken
    first = table(size, int(rng.integers(size + 1)), way, rng)
    return Rung(
        k=k,
        tables=tuple(
            first if alike or m == 0 else table(size, int(rng.integers(size + 1)), way, rng)
            for m in range(count)
        ),
        tail_widths=tail_way(v - size, rng),
        row_bits=draw(st.integers(0, 2**24 - 1)),
    )


def table(size: int, head: int, widths: Widths, rng: np.random.Generator) -> Table:
    """A table of a front of `size`, in any order."""
    return Table(front=permutation(size, rng), head=head, widths=widths(size - head, rng))


def permutation(size: int, rng: np.random.Generator) -> Places:
    """0 to size - 1 in any order."""
    return rng.permutation(size).astype(np.int32)


def growing(ranks: int, _: np.random.Generator) -> tuple[int, ...]:
    """1, 1, 2, 2, 4, 4, ... ranks a bucket."""
    return _cover(ranks, (min(i // 2, MAX_WIDTH) for i in range(1 << 20)))


def widest(ranks: int, _: np.random.Generator) -> tuple[int, ...]:
    """One bucket, as narrow as will do."""
    return _cover(ranks, iter([max(0, ranks - 1).bit_length()]))


def overhanging(ranks: int, _: np.random.Generator) -> tuple[int, ...]:
    """One bucket of 2**18, however few the ranks."""
    return _cover(ranks, iter([MAX_WIDTH]))


def narrow(ranks: int, _: np.random.Generator) -> tuple[int, ...]:
    """A rank a bucket, or as near as 4096 buckets come to it."""
    width = max(0, (ranks - 1) // _MOST_BUCKETS).bit_length()
    return _cover(ranks, (width for _ in range(_MOST_BUCKETS + 1)))


def mixed(ranks: int, rng: np.random.Generator) -> tuple[int, ...]:
    """Any widths, in any order."""
    least = max(0, (ranks - 1) // _MOST_BUCKETS).bit_length()
    return _cover(ranks, (int(rng.integers(least, MAX_WIDTH + 1)) for _ in range(_MOST_BUCKETS + 1)))


def _cover(ranks: int, widths: Iterator[int]) -> tuple[int, ...]:
    found, reached = [], 0
    while reached < ranks:
        found.append(next(widths))
        reached += 1 << found[-1]
    return tuple(found)


__all__ = [
    "Widths",
    "growing",
    "mixed",
    "narrow",
    "overhanging",
    "permutation",
    "table",
    "table_sets",
    "widest",
]
