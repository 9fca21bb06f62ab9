"""Sets of rank tables for tests: the same for the same arguments, for any vocabulary, usual and odd."""

from collections.abc import Sequence

import numpy as np

from draftwire.codecs.limits import MAX_PLAIN_K
from draftwire.codecs.strategies.sets import (
    Widths,
    growing,
    mixed,
    narrow,
    overhanging,
    permutation,
    table,
    widest,
)
from draftwire.codecs.tables import Rung, Table, TableSet

FINGERPRINT = bytes(range(8))

LADDER = (1, 2, 3, 8, 32, 100, 320, 1000, 4096)
"Rungs of the usual sets, as far as their vocabulary has so many ids."


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
                tables=tuple(table(size, min(size, m * k // 2), growing, rng) for m in range(tables)),
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


__all__ = [
    "FINGERPRINT",
    "LADDER",
    "growing",
    "in_order",
    "mixed",
    "narrow",
    "overhanging",
    "permutation",
    "table",
    "usual_set",
    "widest",
]
