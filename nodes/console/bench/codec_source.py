"""What rows would take under the model that rank tables stand on: a bound to hold the codec's bits against.

A row's ids are independent of each other given its table: each is in the row with a probability of its own.
The best table of a row is free to choose and costs log2 M bits to name. Coarse levels cost their entropy,
whatever the entry; low bits of refined entries are what they are.

    bits = min over tables of  sum over ids in the row of -log2 P(in)  +  over all others of -log2(1 - P(in))
           + log2 M  +  K H(coarse level)  +  s for each refined entry

A table tells ids apart by their rank in its head and by their bucket behind it. How likely each of these is,
is counted in the rows themselves: so this model has seen what it is asked about, which no codec has. Tails
are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.tables import Rung, TableSet
from draftwire.codecs.weights import Profile, low_bits, refined

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ROUNDS: Final = 4
"Of choosing tables by the probabilities, and probabilities by the tables; more change nothing measurable."

_AT_ONCE: Final = 2**20
"Entries whose prices under all tables are looked up together."


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceBits:
    """Bits an entry."""

    ids: float
    table: float
    "log2(M) / K"
    coarse_levels: float
    low_bits: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.ids + self.table + self.coarse_levels + self.low_bits


def source_bits(
    ids: NDArray[np.integer], levels: NDArray[np.integer], profile: Profile, tables: TableSet
) -> SourceBits | None:
    """Of N rows, ids and fine levels of shape [N, K]; None where the set has no rung for K."""
    k = ids.shape[1]
    number = tables.rung_of(k)
    if number is None:
        return None
    s, kinds = low_bits(profile), kinds_of(tables.rungs[number], tables.vocab_size)
    places: Ints = np.argsort(tables.order)[ids]
    return SourceBits(
        ids=float(best_costs(places, kinds, spelt_tables(places, kinds, tables.rungs[number])).mean() / k),
        table=float(np.log2(len(kinds)) / k),
        coarse_levels=entropy_bits(np.bincount((levels >> s).reshape(-1))),
        low_bits=float(s * refined(levels.astype(np.int64), profile).mean()),
    )


def entropy_bits(histogram: Ints) -> float:
    """Order-0 entropy of symbols that came so often."""
    shares = histogram[histogram > 0] / histogram.sum()
    return float(-(shares * np.log2(shares)).sum())


def kinds_of(rung: Rung, vocab_size: int) -> list[Ints]:
    """For each table the kind of the id at each place of the set's order, shape [V].

    Kinds are the head's ranks, then the buckets; a table says nothing more of an id.
    """
    front, kinds = len(rung.tables[0].front), []
    for table in rung.tables:
        sizes = [1] * table.head + [1 << width for width in table.widths]
        own = np.repeat(np.arange(len(sizes)), sizes)[:front]  # by rank; the last bucket may reach beyond
        tail = np.repeat(np.arange(len(rung.tail_widths)), [1 << width for width in rung.tail_widths])
        of_place = np.concatenate([np.empty(front, np.int64), len(sizes) + tail[: vocab_size - front]])
        of_place[table.front] = own
        kinds.append(of_place)
    return kinds


def spelt_tables(places: Ints, kinds: Sequence[Ints], rung: Rung) -> Ints:
    """The table that each row is spelt with, shape [N]: the one with the fewest bits."""
    prices, fixed = [], []
    for table, kind in zip(rung.tables, kinds, strict=True):
        widths = np.array(table.widths + rung.tail_widths)
        prices.append(np.concatenate([np.zeros(table.head, np.int64), widths + 1])[kind])
        fixed.append(table.head + len(widths))
    chosen: Ints = _sums(np.stack(prices, axis=1), places, np.array(fixed)).argmin(axis=1)
    return chosen


def best_costs(places: Ints, kinds: Sequence[Ints], tables: Ints) -> Floats:
    """Bits of each row's ids under its best table, shape [N]; `tables` are those to begin with."""
    costs = np.zeros((len(places), len(kinds)))
    for _ in range(ROUNDS):
        prices, fixed = _prices(places, kinds, tables)
        costs = _sums(prices, places, fixed)
        tables = costs.argmin(axis=1)
    least: Floats = costs.min(axis=1)
    return least


def _prices(places: Ints, kinds: Sequence[Ints], tables: Ints) -> tuple[Floats, Floats]:
    """Bits that the id at each place adds to a row that holds it, [V, M], and of a row without ids, [M]."""
    prices, fixed = [], []
    for m, kind in enumerate(kinds):
        rows = places[tables == m]
        members = np.bincount(kind[rows.reshape(-1)], minlength=int(kind.max()) + 1)
        p = members / (np.bincount(kind) * max(1, len(rows)))
        p = np.clip(p, 1e-6, 1 - 1e-6)  # what never came, or always, costs a row of another table 20 bits
        inside, outside = -np.log2(p)[kind], -np.log2(1 - p)[kind]
        prices.append(inside - outside)
        fixed.append(outside.sum())
    return np.stack(prices, axis=1), np.array(fixed)


def _sums(prices: Floats | Ints, places: Ints, fixed: Floats | Ints) -> Floats:
    """What each row's places cost under each table, [N, M]; some rows at a time."""
    parts = np.array_split(places, max(1, places.size // _AT_ONCE))
    sums: Floats = np.concatenate([prices[part].sum(axis=1) for part in parts]) + fixed
    return sums


__all__ = ["SourceBits", "best_costs", "entropy_bits", "kinds_of", "source_bits", "spelt_tables"]
