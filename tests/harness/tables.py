"""Sets of rank tables for tests: the same for the same arguments, for any vocabulary, usual and odd."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from draftwire.codecs.limits import MAX_PLAIN_K, MAX_TABLES, MAX_WIDTH
from draftwire.codecs.tables import Places, Rung, Table, TableSet

FINGERPRINT = bytes(range(8))

_MOST_BUCKETS = 4096
"Of narrow buckets over many ranks a row would be all counts: so many do."

LADDER = (1, 2, 3, 8, 32, 100, 320, 1000, 4096)
"Rungs of the usual sets, as far as their vocabulary has so many ids."

Widths = Callable[[int, np.random.Generator], tuple[int, ...]]
"Widths of buckets over so many ranks, none of them empty."


def usual_set(
    vocab_size: int, *, seed: int = 0, first: int = 1, tables: int = 4, front: int = 256
) -> TableSet:
    """A set as learning makes them: a head, then buckets that grow, rungs of LADDER from `first` on.

    The tables of a rung have unlike heads, so that rows of all kinds meet each of them.
    """
    rng = np.random.default_rng((seed, vocab_size))
    size = min(front, vocab_size)
    return TableSet(
        vocab_size=vocab_size,
        fingerprint=FINGERPRINT,
        label=f"usual, seed {seed}",
        order=permutation(vocab_size, rng),
        rungs=tuple(
            Rung(
                k=k,
                tables=tuple(_table(size, min(size, m * k // 2), growing, rng) for m in range(tables)),
                tail_widths=growing(vocab_size - size, rng),
                row_bits=10 * k,
            )
            for k in LADDER
            if first <= k <= min(vocab_size, MAX_PLAIN_K)
        ),
    )


def in_order(
    vocab_size: int, *, k: int = 1, heads: Sequence[int] = (0,), widths: Widths | None = None
) -> TableSet:
    """A set whose ranks are the ids themselves: one rung, no front of its own, or one that the heads are in.

    Its tables differ in nothing but their heads: easy to follow on paper.
    """
    rng, size, cover = np.random.default_rng(0), max(heads), widths or widest
    return TableSet(
        vocab_size=vocab_size,
        fingerprint=FINGERPRINT,
        label="in order",
        order=np.arange(vocab_size, dtype=np.int32),
        rungs=(
            Rung(
                k=k,
                tables=tuple(
                    Table(front=np.arange(size, dtype=np.int32), head=head, widths=cover(size - head, rng))
                    for head in heads
                ),
                tail_widths=cover(vocab_size - size, rng),
                row_bits=0,
            ),
        ),
    )


@st.composite
def odd_sets(draw: DrawFn, *, vocab_size: int, rungs: Sequence[int] = ()) -> TableSet:
    """Anything that is a set: any front and heads, 1 to 64 tables, buckets of all sizes and overhangs.

    `rungs`: values of K of which it has at least one.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    most = min(vocab_size, MAX_PLAIN_K)
    ks = draw(st.sets(st.integers(1, most), max_size=2))
    if rungs:
        ks |= draw(st.sets(st.sampled_from(rungs), min_size=1, max_size=2))
    return TableSet(
        vocab_size=vocab_size,
        fingerprint=rng.bytes(8),
        label=draw(st.text(st.characters(codec="utf-8"), max_size=20)),
        order=permutation(vocab_size, rng),
        rungs=tuple(draw(_odd_rungs(vocab_size, k, rng)) for k in sorted(ks or {1})),
    )


@st.composite
def _odd_rungs(draw: DrawFn, vocab_size: int, k: int, rng: np.random.Generator) -> Rung:
    size = draw(st.sampled_from((0, 1, min(vocab_size, 2000))) | st.integers(0, min(vocab_size, 2000)))
    count = draw(st.sampled_from((1, 2, 3, 16, MAX_TABLES)))
    ways = st.sampled_from((growing, widest, narrow, overhanging, mixed))
    way, tail_way = draw(ways), draw(ways)
    alike = draw(st.booleans())  # then rows cost the same under all of them: the first must be taken
    first = _table(size, int(rng.integers(size + 1)), way, rng)
    return Rung(
        k=k,
        tables=tuple(
            first if alike or m == 0 else _table(size, int(rng.integers(size + 1)), way, rng)
            for m in range(count)
        ),
        tail_widths=tail_way(vocab_size - size, rng),
        row_bits=draw(st.integers(0, 2**24 - 1)),
    )


def _table(size: int, head: int, widths: Widths, rng: np.random.Generator) -> Table:
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
    "FINGERPRINT",
    "LADDER",
    "growing",
    "in_order",
    "mixed",
    "narrow",
    "odd_sets",
    "overhanging",
    "permutation",
    "usual_set",
    "widest",
]
