"""The set of tables of tests/codecs/golden/, and the blocks spelt with it."""

import numpy as np

from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row
from draftwire.codecs.tables import Rung, Table, TableSet

V, F = 300, 40


def _table(factor: int, head: int, widths: tuple[int, ...]) -> Table:
    return Table(front=(np.arange(F) * factor % F).astype(np.int32), head=head, widths=widths)


TABLES = TableSet(
    vocab_size=V,
    fingerprint=bytes(range(8)),
    label="golden – ≠",
    order=((np.arange(V) * 7 + 3) % V).astype(np.int32),
    rungs=(
        # An own bucket that reaches beyond F, one without buckets, one without a head.
        Rung(
            k=2,
            tables=(
                _table(1, 2, (0, 1, 2, 5)),
                _table(3, 12, (4, 4)),
                _table(7, 0, (3, 5)),
            ),
            tail_widths=(5, 6, 8),
            row_bits=77,
        ),
        Rung(k=100, tables=(_table(9, F - 3, (0, 1)),), tail_widths=(2,) * 65, row_bits=1234),
        # No front at all: one table, and all ranks are the rung's.
        Rung(
            k=200,
            tables=(Table(front=np.zeros(0, np.int32), head=0, widths=()),),
            tail_widths=(3,) * 38,
            row_bits=0,
        ),
    ),
)


def _row(ids: range | list[int], *, spread: int, tail: int) -> Row:
    """Log-weights of whole numbers: quantising them takes no rounding that could differ between machines."""
    return quantize(ids, [-(5 * i % spread) for i in range(len(ids))], vocab_size=V, tail=tail)


def _at(places: range | list[int]) -> list[int]:
    return [int(TABLES.order[place]) for place in places]


RANKED: dict[str, tuple[Row, ...]] = {
    # One row for each table of the rung, then one that reaches the last bucket.
    "tables_small": (
        _row(_at([0, 1, 2, 3, 30]), spread=7, tail=9),
        _row(_at([9, 12, 15, 27, 33]), spread=3, tail=0),
        _row(_at([0, 7, 14, 21, 28]), spread=40, tail=63),
        _row(_at([0, 40, 71, 72, 299]), spread=9, tail=33),
    ),
    "tables_large": (
        _row(_at(range(0, 240, 2)), spread=11, tail=40),
        _row(_at(range(60, 180)), spread=23, tail=1),
    ),
    "tables_without_front": (
        _row(range(300), spread=13, tail=63),
        _row(range(300), spread=1, tail=63),
    ),
}
"Blocks of mode 1 under TABLES: a rung of three tables, one of one table, one without a front."
