"""Rows of a pair that stands in as long as the recorded rows are.

What a controller chooses hangs on what a row costs. A plain row takes K gaps between ids and K levels. The
levels follow from the masses; the gaps are ours: ids that lie close together, near 0, make a short row, as
the tables of a real pair do, which know what ids go together.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.plain import rice_parameters
from draftwire.nodes.console.bench.traces import AcceptanceTrace, plain_bits
from draftwire.nodes.models.recorded import RecordedPair, taken
from draftwire.nodes.speculation.sampling import sparsify

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LEVELS_AT: Final = 250
"""Positions of a recording, over which the mean of levels is taken: they differ by more than ..."""

GAPS_AT: Final = 24
"""... gaps do, of which these are enough for 1 %."""

HALVINGS: Final = 9
"""Of what is left of the ids: the last is by a few."""


def spread_as(trace: AcceptanceTrace, pair: RecordedPair) -> RecordedPair:
    """`pair`, which accepts as `trace`, with plain rows as long as the trace's, at each K in the mean.

    Each group's ids reach as far as the row that it ends asks for, K by K. Where V is too small for that, as
    for the rows of a pair without tables, rows are as long as they can be.
    """
    left: list[Integers] = [pair.shuffled(place) for place in _places(pair, GAPS_AT)]
    ids = np.empty((len(left), 0), dtype=np.int64)
    reaches = list[int]()
    for rung, k in enumerate(pair.ladder):
        wanted = float(trace.row_bits[:, rung].mean() - _level_bits(pair, k).mean())
        size = k - ids.shape[1]
        low, high = max(k, *reaches, 1), pair.vocab_size
        for _ in range(HALVINGS):
            reach = (low + high) // 2
            drawn = _drawn(left, size, below=reach)[0]
            longer = gap_bits(np.hstack([ids, drawn]), pair.vocab_size).mean() > wanted
            low, high = (low, reach) if longer else (reach, high)
        reaches.append(high)
        drawn, left = _drawn(left, size, below=high)
        ids = np.hstack([ids, drawn])
    return pair.spread(reaches)


def gap_bits(ids: Integers, vocab_size: int) -> Integers:
    """What the ids of plain rows take; shape [R] of [R, K]."""
    gaps = np.sort(ids, axis=1)
    gaps[:, 1:] -= gaps[:, :-1] + 1
    rice = rice_parameters(gaps, vocab_size)
    bits: Integers = (gaps >> rice[:, None]).sum(axis=1) + ids.shape[1] * (1 + rice)
    return bits


def _places(pair: RecordedPair, most: int) -> Sequence[int]:
    places: list[int] = np.unique(np.linspace(0, len(pair) - 1, most).astype(int)).tolist()
    return places


def _level_bits(pair: RecordedPair, k: int) -> Integers:
    """And all the rest of them, whatever their ids."""
    rows = [
        sparsify(pair.rows_at(place)[0], None, k=k, temperature=pair.temperature, vocab_size=pair.vocab_size)
        for place in _places(pair, LEVELS_AT)
    ]
    bits: Integers = plain_bits(rows) - gap_bits(np.stack([row.ids for row in rows]), pair.vocab_size)
    return bits


def _drawn(left: Sequence[Integers], size: int, *, below: int) -> tuple[Integers, list[Integers]]:
    """At each position, so many of the ids that are left; and what is left then."""
    drawn, rest = zip(*(taken(ids, size, below=below) for ids in left), strict=True)
    return np.stack(drawn), list(rest)


__all__ = ["gap_bits", "spread_as"]
