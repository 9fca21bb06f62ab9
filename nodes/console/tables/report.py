"""What a set of tables is worth on text that it was not learnt from, rung by rung."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.blocks import HEADER, encode_plain, encode_ranked
from draftwire.codecs.learning import source_rates
from draftwire.codecs.lengths import bernoulli_prices, id_bits, level_bits
from draftwire.codecs.lookup import table_bits
from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row, tail_of
from draftwire.codecs.tables import TableSet

BLOCK_ROWS = 4
"Of a block that is measured: a usual draft."

ENCODED_ROWS = 1000
"Held-out rows that are encoded, evenly spread: lengths vary by a tenth from row to row, so that is plenty."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """A draft's rows along a text."""

    ids: NDArray[np.int32]
    "shape [N, Kmax], of each row the likeliest by falling weight"
    log_weights: NDArray[np.float32]
    "shape [N, Kmax], natural logarithms, the largest of a row 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """Bits an entry of held-out rows of K entries, in blocks of 4, but for the block's header of 8 bytes."""

    k: int
    tables: int
    "M"
    front: int
    "F"
    bits: float
    "with the set, as encoded: table numbers, tails and padding included"
    ids: float
    "of these, ids and table numbers"
    levels: float
    "of these, coarse levels and low bits"
    plain: float
    "without tables, as encoded"
    source: float
    "of the source model: best of M Bernoulli models and its number, entropy of coarse levels, low bits"

    @property
    def over_source(self) -> float:
        """How many times the source model's bits the set takes."""
        return self.bits / self.source


def worth(
    tables: TableSet, *, learnt: Rows, held_out: Rows, progress: Callable[[int], None] = lambda k: None
) -> tuple[Worth, ...]:
    """Of every rung of a set that was learnt from `learnt`. `progress` is told each K before its turn."""
    found = []
    for rung in tables.rungs:
        progress(rung.k)
        ids, weights = held_out.ids[:, : rung.k], held_out.log_weights[:, : rung.k]
        levels = level_bits(weights, vocab_size=tables.vocab_size)
        places = np.argsort(tables.order)[ids]
        rates = source_rates(tables, learnt.ids[:, : rung.k])
        source = bernoulli_prices(rates).of_rows(places).min(axis=1).mean() + table_bits(len(rung.tables))
        low = levels.low.mean() / rung.k
        blocks = _blocks(ids, weights, tables.vocab_size)
        found.append(
            Worth(
                k=rung.k,
                tables=len(rung.tables),
                front=len(rung.tables[0].front),
                bits=_bits_per_entry(blocks, lambda rows: encode_ranked(rows, tables)),
                ids=float(id_bits(tables, ids).mean() / rung.k),
                levels=float(levels.coarse.mean() / rung.k + low),
                plain=_bits_per_entry(blocks, encode_plain),
                source=float(source / rung.k + levels.entropy + low),
            )
        )
    return tuple(found)


def bits_with(other: TableSet, *, held_out: Rows, ks: Sequence[int]) -> tuple[float, ...]:
    """Bits an entry of the same held-out rows, spelt with another set of their vocabulary, for each K."""
    found = []
    for k in ks:
        blocks = _blocks(held_out.ids[:, :k], held_out.log_weights[:, :k], other.vocab_size)
        spelt = other.rung_of(k) is not None
        found.append(_bits_per_entry(blocks, partial(encode_ranked, tables=other) if spelt else encode_plain))
    return tuple(found)


def _blocks(ids: NDArray[np.int32], weights: NDArray[np.float32], vocab_size: int) -> list[list[Row]]:
    step = max(1, len(ids) // ENCODED_ROWS)
    some = range(0, len(ids), step)
    tail = tail_of(0.25) if ids.shape[1] < vocab_size else tail_of(0)  # any: it takes 6 bits
    rows = [quantize(ids[i], weights[i], vocab_size=vocab_size, tail=tail) for i in some]
    return [rows[at : at + BLOCK_ROWS] for at in range(0, len(rows), BLOCK_ROWS)]


def _bits_per_entry(blocks: list[list[Row]], encode: Callable[[list[Row]], bytes]) -> float:
    taken = sum(8 * (len(encode(rows)) - HEADER.size) for rows in blocks)
    return taken / sum(len(row) for rows in blocks for row in rows)


__all__ = ["Rows", "Worth", "bits_with", "worth"]
