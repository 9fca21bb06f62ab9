"""A draft's rows -> a set of rank tables that spells such rows in few bits.

For each rung K, of the K likeliest ids of every row:

    1. k-means: M groups of rows. What a row costs in a group is its length under the group's rates (how often
       an id is in its rows) as independent variables; rates lean towards those of all rows.
    2. Tables of the rates: ids by falling rate, cut into head and buckets where the expected bits are fewest.
    3. Again, with what a row really costs under these tables, as the encoder will choose.

M and the length of the front, where each table has an order of its own, are the least that rows which the
tables were not learnt from take hardly more bits with. Then all rows move the tables once more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.buckets import divide
from draftwire.codecs.checks import check_digest, check_range, check_text
from draftwire.codecs.errors import LocalError
from draftwire.codecs.lengths import Floats, Ints, bernoulli_prices, level_bits, prices_of
from draftwire.codecs.limits import (
    MAX_PLAIN_K,
    MAX_RUNGS,
    MAX_TABLE_SET_BYTES,
    MAX_TABLES,
    MAX_TEXT_BYTES,
    MAX_VOCAB_SIZE,
    MIN_VOCAB_SIZE,
)
from draftwire.codecs.lookup import table_bits
from draftwire.codecs.rows import TAIL_BITS
from draftwire.codecs.tables import Rung, Table, TableSet

LADDER = (1, 2, 3, 5, 8, 12, 16, 24, 32, 48, 64, 96, 128, 200, 320, 480, 640, 900, 1280, 2000, 3200)
"The rungs: steps of at most 1.7, as a K between two takes up to a tenth more than with tables of its own."

LEAST_ROWS = 256
"Rows to learn from: fewer say little about ids that are not in most of them."

_PRIOR_ROWS = 15
"As many rows as the rates of all rows weigh among those of a group."

_ROUNDS, _TABLE_ROUNDS = 6, 3
"Of k-means by rates, and by tables: more change less than 0.2 %."

_STARTS, _START_ENTRIES = 4, 2**20
"Of k-means, on so many entries; the best goes on. One alone may be 3 % worse than the best."

_ROUND_ENTRIES = 2**23
"Entries that groups are looked for in; all rows take part in the last two rounds."

_LONGEST_FRONT = 2**14
"Places of a front, at most: with 16 tables 0.5 MB a rung, for drafts that propose 50000 ids and more."

_MOST_BUCKETS = 2**14
"Of all the ranks that a rung's tables have in common: `divide` begins none between these."

_PLACE_BYTES = 3
"Of a front in a file, with a bucket for each of its places."

_HEADER_BYTES = 64
"Of a file, of a rung or of a table in it: no more."

_COUNT_LOSS, _FRONT_LOSS = 0.002, 0.004
"Of a row's bits, that fewer tables and a shorter front may cost."

_GIVE_UP = 0.03
"Of a row's bits; where so many are lost, still fewer tables are not tried."

_RUNS, _CHECKED_RUN = 64, 8
"Rows are cut into so many runs, as they came, and every so-manieth is left for choosing M and the front."


def learn(
    ids: NDArray[np.integer],
    log_weights: NDArray[np.floating],
    *,
    vocab_size: int,
    fingerprint: bytes,
    label: str,
    tables: int = 16,
    ladder: Sequence[int] = LADDER,
    seed: int = 0,
    progress: Callable[[Rung], None] = lambda rung: None,
) -> TableSet:
    """The set for rows like these.

    `ids`: shape [N, Kmax], of each row the likeliest ids by falling weight; rows as they followed each other
    in the text. `log_weights`: of the same shape, natural logarithms up to a constant a row. `tables`: the
    most a rung may have. `ladder`: the rungs; those above Kmax are left out. `progress` is told each rung as
    it is done. The same arguments give the same set on one machine.

    Raises LocalError, before anything is learnt, for arrays of another shape, ids outside the vocabulary or
    twice in a row, too few rows, a ladder without a rung up to Kmax or with more rungs than a set may have,
    and a label or fingerprint that no set has.
    """
    _check(ids, log_weights, vocab_size=vocab_size, tables=tables, ladder=ladder)
    check_digest("fingerprint", fingerprint)
    check_text("label", label)
    rungs = sorted({k for k in ladder if k <= ids.shape[1]})
    ever = np.bincount(ids.reshape(-1), minlength=vocab_size) / len(ids)
    shares = [_rates(ids[:, :k], ever) / k for k in rungs]
    order = np.argsort(-np.sum(shares, axis=0), kind="stable").astype(np.int32)
    place = np.empty(vocab_size, np.int32)
    place[order] = np.arange(vocab_size, dtype=np.int32)
    checked = np.arange(len(ids)) * _RUNS // len(ids) % _CHECKED_RUN == _CHECKED_RUN - 1
    longest = _longest_front(vocab_size, rungs=len(rungs), tables=tables)
    made = []
    for k in rungs:
        levels = level_bits(log_weights[:, :k], vocab_size=vocab_size)
        rows = _Rows(
            places=place[ids[:, :k]],
            checked=checked,
            ever=ever[order],
            other_bits=float((levels.coarse + levels.low).mean()) + TAIL_BITS,
        )
        made.append(_rung(rows, most=tables, longest=longest, rng=np.random.default_rng([seed, k])))
        progress(made[-1])
    return TableSet(
        vocab_size=vocab_size, fingerprint=fingerprint, label=label, order=order, rungs=tuple(made)
    )


def _check(
    ids: NDArray[np.integer],
    log_weights: NDArray[np.floating],
    *,
    vocab_size: int,
    tables: int,
    ladder: Sequence[int],
) -> None:
    check_range("vocab_size", vocab_size, MIN_VOCAB_SIZE, MAX_VOCAB_SIZE)
    check_range("tables", tables, 1, MAX_TABLES)
    if ids.ndim != 2 or ids.dtype.kind not in "iu" or ids.shape != log_weights.shape:
        remedy = "must be integers, [rows, Kmax], and log_weights one for each"
        raise LocalError(field="ids", value=(ids.dtype, ids.shape, log_weights.shape), remedy=remedy)
    if len(ids) < LEAST_ROWS:
        raise LocalError(
            field="rows", value=len(ids), remedy=f"must be {LEAST_ROWS} or more to learn from: take more text"
        )
    if not 1 <= min(ladder, default=0) <= ids.shape[1] or max(ladder) > MAX_PLAIN_K:
        remedy = f"must be from 1 to {MAX_PLAIN_K}, and one at least within a row's {ids.shape[1]} ids"
        raise LocalError(field="ladder", value=tuple(ladder), remedy=remedy)
    check_range("len(ladder)", len({k for k in ladder if k <= ids.shape[1]}), 1, MAX_RUNGS)
    check_range("ids", int(ids.min()), 0, vocab_size - 1)
    check_range("ids", int(ids.max()), 0, vocab_size - 1)
    for row in range(0, len(ids), 1024):  # a copy of all of them would be too large
        if (np.diff(np.sort(ids[row : row + 1024], axis=1), axis=1) == 0).any():
            raise LocalError(field="ids", value=f"rows from {row}", remedy="must hold no id twice in a row")
    if not np.isfinite(log_weights).all():
        raise LocalError(field="log_weights", value="one of them", remedy="must be finite")


def _longest_front(vocab_size: int, *, rungs: int, tables: int) -> int:
    """Places that each table may have of its own, so that a file has room for all of them."""
    left = MAX_TABLE_SET_BYTES - _HEADER_BYTES - MAX_TEXT_BYTES - 3 * vocab_size
    a_rung = left // rungs - _HEADER_BYTES - min(_MOST_BUCKETS, vocab_size)
    return min(_LONGEST_FRONT, (a_rung // tables - _HEADER_BYTES) // _PLACE_BYTES)


def source_rates(tables: TableSet, ids: NDArray[np.integer]) -> Floats:
    """Of the source model (lengths.py): how likely each id is in a row of each table, shape [V, M], by place.

    `ids`: shape [N, K], rows that a set was learnt from, or of the same text. Each counts for its table.
    """
    number = tables.rung_of(ids.shape[1])
    if number is None:
        raise LocalError(field="K", value=ids.shape[1], remedy=f"tables begin at K = {tables.rungs[0].k}")
    places = np.argsort(tables.order)[ids].astype(np.int32)
    rung = tables.rungs[number]
    groups = prices_of(rung, tables.vocab_size).of_rows(places).argmin(axis=1)
    rates = _rates(places, np.ones(tables.vocab_size))
    return _leaning([places[groups == m] for m in range(len(rung.tables))], rates)


# One rung --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """What a rung is learnt from."""

    places: NDArray[np.int32]
    "shape [N, K], of the ids in the set's order"
    checked: NDArray[np.bool_]
    "shape [N]: rows that M and the front are chosen by"
    ever: Floats
    "shape [V], by place: how often the id is among all that is known of a row, Kmax ids"
    other_bits: float
    "of a row in the mean, but for its ids"


def _rung(rows: _Rows, *, most: int, longest: int, rng: np.random.Generator) -> Rung:
    """The tables for rows of K entries."""
    learnt, left = rows.places[~rows.checked], rows.places[rows.checked]
    few = max(LEAST_ROWS, _ROUND_ENTRIES // learnt.shape[1])
    if len(learnt) > few:
        learnt = learnt[np.sort(rng.choice(len(learnt), few, replace=False))]
    rates = _rates(learnt, rows.ever)
    # Behind the last id that was ever seen, nothing is known but that the others are rare.
    seen = int(np.flatnonzero((rates > 0) & (rows.ever > 0))[-1]) + 1
    longest = min(seen, longest)

    def taken(rung: Rung) -> float:
        """Bits of a row that the rung was not learnt from."""
        return rows.other_bits + _mean_bits(rung, left, len(rows.ever))

    def of_groups(count: int) -> Rung:
        groups = _groups(learnt, rates, count, rng)
        return _settled(_tabled(learnt, groups, rates, count, longest), learnt, rates, longest, _TABLE_ROUNDS)

    # Fewer tables where that costs next to nothing: their numbers are shorter, too.
    tried = list[tuple[float, Rung]]()
    for count in (most, *(1 << bits for bits in reversed(range(table_bits(most))))):
        rung = of_groups(count)
        tried.append((taken(rung), rung))
        least = min(bits for bits, _ in tried)
        if tried[-1][0] > least * (1 + _GIVE_UP):
            break
    good = [(bits, rung) for bits, rung in tried if bits <= least * (1 + _COUNT_LOSS)]
    whole, best = good[-1]
    # The shortest front that is good enough; by halves, as shorter ones are worse but for noise.
    fronts = [front for front in _fronts(longest) if front or len(best.tables) == 1]
    low, high = 0, len(fronts) - 1
    while low < high:
        middle = (low + high) // 2
        shorter = _settled(best, learnt, rates, fronts[middle], 2)
        low, high = (low, middle) if taken(shorter) <= whole * (1 + _FRONT_LOSS) else (middle + 1, high)
    front = fronts[high]
    best = _settled(best, rows.places, _rates(rows.places, rows.ever), front, 2)
    bits = rows.other_bits + _mean_bits(best, rows.places, len(rows.ever))
    return Rung(k=best.k, tables=best.tables, tail_widths=best.tail_widths, row_bits=round(bits))


def _fronts(longest: int) -> tuple[int, ...]:
    """Lengths to choose from, rising: none, and eighths of `longest` and its halves."""
    return tuple(sorted({longest * part >> 3 + halves for part in range(5, 9) for halves in range(8)} | {0}))


def _groups(places: NDArray[np.int32], rates: Floats, count: int, rng: np.random.Generator) -> Ints:
    """Step 1: the group of each row, shape [N]."""
    if count == 1:
        return np.zeros(len(places), np.int64)
    few = min(len(places), max(LEAST_ROWS, _START_ENTRIES // places.shape[1]))
    some = places[np.sort(rng.choice(len(places), few, replace=False))]
    starts = (_moved(some, _centres(some, rates, count, rng), rates) for _ in range(_STARTS))
    best = min(starts, key=lambda centres: _bernoulli_bits(some, centres).min(axis=1).sum())
    groups: Ints = _bernoulli_bits(places, _moved(places, best, rates)).argmin(axis=1)
    return groups


def _centres(places: NDArray[np.int32], rates: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Rates to begin with, [V, count]: those of single rows, sooner of one that is dear so far."""
    drawn = [int(rng.integers(len(places)))]
    least = np.full(len(places), np.inf)
    for _ in range(count - 1):
        centre = _leaning([places[drawn[-1]][None]], rates)
        least = np.minimum(least, _bernoulli_bits(places, centre)[:, 0])
        excess = least - least.min() + 1e-9
        drawn.append(int(rng.choice(len(places), p=excess / excess.sum())))
    return _leaning([places[row][None] for row in drawn], rates)


def _moved(places: NDArray[np.int32], centres: Floats, rates: Floats) -> Floats:
    """The rates after some rounds of k-means."""
    for _ in range(_ROUNDS):
        groups = _bernoulli_bits(places, centres).argmin(axis=1)
        centres = _leaning([places[groups == m] for m in range(centres.shape[1])], rates)
    return centres


def _bernoulli_bits(places: NDArray[np.int32], rates: Floats) -> Floats:
    return bernoulli_prices(rates).of_rows(places)


def _settled(rung: Rung, places: NDArray[np.int32], rates: Floats, front: int, rounds: int) -> Rung:
    """Step 3: rows choose tables, and tables follow their rows; the last with a front of that length."""
    count = len(rung.tables)
    for _ in range(rounds):
        groups = prices_of(rung, len(rates)).of_rows(places).argmin(axis=1)
        rung = _tabled(places, groups, rates, count, front)
    return rung


def _tabled(places: NDArray[np.int32], groups: Ints, rates: Floats, count: int, front: int) -> Rung:
    """Step 2: a table for each group."""
    own = _leaning([places[groups == m] for m in range(count)], rates)[:front]
    ranked = np.argsort(-own, axis=0, kind="stable")
    heads, widths = divide(np.take_along_axis(own, ranked, axis=0), with_head=True)
    tail = divide(rates[front:, None], with_head=False)[1][0]
    tables = tuple(
        Table(front=_sorted_inside(ranked[:, m], heads[m], widths[m]), head=heads[m], widths=widths[m])
        for m in range(count)
    )
    return Rung(k=places.shape[1], tables=tables, tail_widths=tail, row_bits=0)


def _rates(places: NDArray[np.integer], ever: Floats) -> Floats:
    """How likely each id is in a row, shape [V], all rows taken together.

    New ids come as often as there are ids that came once. They are those that wider rows hold, as far as
    these are known: `ever`. A draft may have thousands of ids that it never proposes.
    """
    counts = np.bincount(places.reshape(-1), minlength=len(ever)).astype(np.float64)
    likely = np.where(counts == 0, ever, 0.0)
    if not likely.any():
        likely = (counts == 0).astype(np.float64)
    if likely.any():
        counts += (counts == 1).sum() * likely / likely.sum()
    return np.minimum(counts / len(places), 1.0)


def _leaning(groups: Sequence[NDArray[np.int32]], rates: Floats) -> Floats:
    """The rates of each group of rows, [V, M], leaning towards those of all."""
    columns = [
        (np.bincount(rows.reshape(-1), minlength=len(rates)) + _PRIOR_ROWS * rates)
        / (len(rows) + _PRIOR_ROWS)
        for rows in groups
    ]
    return np.stack(columns, axis=1)


def _mean_bits(rung: Rung, places: NDArray[np.int32], vocab_size: int) -> float:
    """What the ids of a row take, its table's number included."""
    bits = prices_of(rung, vocab_size).of_rows(places).min(axis=1)
    return float(bits.mean()) + table_bits(len(rung.tables))


def _sorted_inside(ranked: Ints, head: int, widths: tuple[int, ...]) -> NDArray[np.int32]:
    """The same table, places rising within the head and each bucket: no bit more, and files pack better."""
    cuts = head + np.concatenate([[0], np.cumsum(1 << np.array(widths, np.int64))]).astype(np.int64)
    part = np.searchsorted(cuts, np.arange(len(ranked)), side="right")
    return ranked[np.lexsort((ranked, part))].astype(np.int32)


__all__ = ["LADDER", "LEAST_ROWS", "learn", "source_rates"]
