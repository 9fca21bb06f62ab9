"""What rows take in bits, summed and not encoded: for choosing tables, and for reports on them.

Of mode 1 (ranked.py), and of the *source model* that it is held against: a row's ids are in it independently,
each with the probability that it has among the rows of the row's table (a Bernoulli variable an id); its
coarse levels are drawn independently from their frequencies; low bits are spelt as they are.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.lookup import bucket_bits, front_bits, table_bits
from draftwire.codecs.quantize import default_profile, fine_levels
from draftwire.codecs.tables import Rung, TableSet
from draftwire.codecs.weights import COARSE_LEVELS, low_bits, refined

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CHUNK_ITEMS = 2**21
"Looked up at a time: what lies between stays in the processor's cache."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prices:
    """What the ids of a row cost under each of M tables: `fixed` + the sum of `each` over its ids."""

    fixed: Floats
    "shape [M], bits of a row without any id"
    each: NDArray[np.uint8] | NDArray[np.float32]
    "shape [V, M], bits that the id at a place adds"

    def of_rows(self, places: NDArray[np.integer]) -> Floats:
        """Bits, shape [N, M], of rows of ids at these places, shape [N, K]."""
        found = np.empty((len(places), len(self.fixed)))
        total = np.float32 if self.each.dtype == np.float32 else np.int32
        rows = max(1, _CHUNK_ITEMS // (max(1, places.shape[1]) * len(self.fixed)))
        for at in range(0, len(places), rows):
            chunk = self.each.take(places[at : at + rows], axis=0)
            found[at : at + rows] = chunk.sum(axis=1, dtype=total)
        return found + self.fixed


def prices_of(rung: Rung, vocab_size: int) -> Prices:
    """What the tables of a rung ask for the ids, by their places in the set's order."""
    front = front_bits(rung)
    each = np.empty((vocab_size, len(rung.tables)), np.uint8)
    each[: len(front)] = front
    each[len(front) :] = bucket_bits(rung.tail_widths, vocab_size - len(front))[:, None]
    fixed = [table.head + len(table.widths) + len(rung.tail_widths) for table in rung.tables]
    return Prices(fixed=np.array(fixed, np.float64), each=each)


def bernoulli_prices(rates: Floats) -> Prices:
    """The source model's, of ids that are in a row with these probabilities, shape [V, M]."""
    p = np.clip(rates, 1e-7, 1 - 1e-7)
    return Prices(fixed=-np.log2(1 - p).sum(axis=0), each=np.log2((1 - p) / p).astype(np.float32))


def id_bits(tables: TableSet, ids: NDArray[np.integer]) -> Ints:
    """Bits, shape [N], that the ids of rows, shape [N, K], take in mode 1: the number of the table included.

    K must not be below the set's first rung. The order within a row does not matter.
    """
    number = tables.rung_of(ids.shape[1])
    assert number is not None, "K below the first rung"
    rung = tables.rungs[number]
    places = np.argsort(tables.order)[ids]
    best = prices_of(rung, tables.vocab_size).of_rows(places).min(axis=1)
    bits: Ints = best.astype(np.int64) + table_bits(len(rung.tables))
    return bits


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LevelBits:
    """What the levels of N rows of K entries take, in bits."""

    coarse: Ints
    "shape [N]: the runs of mode 1"
    low: Ints
    "shape [N]: low bits of refined entries"
    entropy: float
    "of the coarse levels of all rows, bits an entry"


def level_bits(log_weights: NDArray[np.floating], *, vocab_size: int) -> LevelBits:
    """Of rows with these log-weights, shape [N, K], quantised as `quantize` does."""
    profile = default_profile(k=log_weights.shape[1], vocab_size=vocab_size)
    s = low_bits(profile)
    coarse, low = np.empty(len(log_weights), np.int64), np.empty(len(log_weights), np.int64)
    seen = np.zeros(COARSE_LEVELS, np.int64)
    rows = max(1, _CHUNK_ITEMS // log_weights.shape[1])
    for at in range(0, len(log_weights), rows):
        levels = fine_levels(log_weights[at : at + rows].astype(np.float64), profile)
        coarse[at : at + rows] = (levels >> s).sum(axis=1) + levels.shape[1]
        low[at : at + rows] = s * refined(levels, profile).sum(axis=1)
        seen += np.bincount((levels >> s).reshape(-1), minlength=COARSE_LEVELS)
    shares = seen[seen > 0] / seen.sum()
    return LevelBits(coarse=coarse, low=low, entropy=float(-(shares * np.log2(shares)).sum()))


__all__ = [
    "LevelBits",
    "Prices",
    "bernoulli_prices",
    "id_bits",
    "level_bits",
    "prices_of",
]
