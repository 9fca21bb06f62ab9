"""How a table's ranks are cut into head and buckets: where the expected bits of a row are fewest.

A rank of the head costs 1 bit, whether the row holds it or not. A bucket costs 1 bit, and each id in it its
width and 1. So what a division costs is linear in how likely each rank is, and the best one is found from the
back: the best bucket that begins at a rank is the one that is best together with the best behind it.
"""

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.limits import MAX_WIDTH

_STARTS_BITS = 14
"Buckets of more than 2**14 ranks begin at multiples of a power of two: far behind they are all long."

Division = tuple[list[int], list[tuple[int, ...]]]
"Ranks in the head, and the widths of the buckets behind it, a column each."


def divide(rates: NDArray[np.float64], *, with_head: bool) -> Division:
    """The best head and buckets for each column of `rates`, shape [n, M]: how likely each rank is in a row.

    The buckets reach n, and the last alone may reach beyond. Without a head, buckets begin at rank 0.
    """
    n, columns = rates.shape
    unit = max(0, (n - 1).bit_length() - _STARTS_BITS)
    sums = np.add.reduceat(rates, np.arange(0, n, 1 << unit), axis=0) if n else rates
    best, chosen = _from_the_back(sums, unit)
    units = len(sums)
    heads = np.zeros(columns, np.int64)
    if with_head:
        heads = (best + (np.arange(units + 1) << unit)[:, None]).argmin(axis=0)
    found = []
    for m in range(columns):
        start, widths = int(heads[m]), list[int]()
        while start < units:
            width = int(chosen[start, m])
            widths.append(min(width + unit, MAX_WIDTH))
            start += 1 << width
        found.append(tuple(widths))
    return [min(int(head) << unit, n) for head in heads], found


def _from_the_back(sums: NDArray[np.float64], unit: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Bits from each start on, [n + 1, M], and the first bucket's width, [n, M]; both in steps of 2**unit."""
    n, columns = sums.shape
    running = np.concatenate([np.zeros((1, columns)), np.cumsum(sums, axis=0)])
    expected = np.flatnonzero((running < running[-1] - 1e-12).any(axis=1))
    live = int(expected[-1]) + 1 if len(expected) else 0  # from there on nothing is: one bucket will do
    best = np.ones((n + 1, columns))
    best[n] = 0
    covering = [(left - 1).bit_length() for left in range(n, 0, -1)]
    chosen = np.repeat(np.array(covering, np.int64)[:, None], columns, axis=1)
    widths = np.arange(max(covering, default=0) + 1)
    price, sizes, column = (widths + unit + 1)[:, None], 1 << widths, np.arange(columns)
    for start in range(live - 1, -1, -1):
        ends = np.minimum(start + sizes, n)
        bits = 1 + price * (running[ends] - running[start]) + best[ends]
        chosen[start] = bits.argmin(axis=0)
        best[start] = bits[chosen[start], column]
    return best, chosen


__all__ = ["Division", "divide"]
