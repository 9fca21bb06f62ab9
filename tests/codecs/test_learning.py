"""Learning sets of tables from rows, and the lengths that it goes by."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from draftwire.codecs import learning
from draftwire.codecs.blocks import HEADER, decode_rows, encode_ranked, encode_rows
from draftwire.codecs.buckets import divide
from draftwire.codecs.errors import LocalError
from draftwire.codecs.learning import LADDER, learn, source_rates
from draftwire.codecs.lengths import bernoulli_prices, id_bits, level_bits
from draftwire.codecs.limits import MAX_RUNGS
from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import TAIL_BITS, Row
from draftwire.codecs.tables import TableSet, by_tag, table_set_bytes, table_set_from

V = 600
LIVE = 200
"Ids that any row holds; the others are never proposed."

Ids = NDArray[np.int32]
Weights = NDArray[np.float32]


def rows_of(
    kinds: int, *, count: int, width: int = 40, seed: int = 0, live: int = LIVE
) -> tuple[Ids, Weights]:
    """Rows of `kinds` kinds in turn: each kind prefers other ids, by Zipf's law with Gumbel noise."""
    rng = np.random.default_rng(seed)
    orders = [np.random.default_rng([7, kind]).permutation(live) for kind in range(kinds)]
    scores = rng.gumbel(size=(count, live)).astype(np.float32)
    for row in range(count):
        scores[row, orders[row % kinds]] -= 2.5 * np.log(np.arange(1, live + 1))
    ids = np.argsort(-scores, axis=1)[:, :width]
    return ids.astype(np.int32), np.take_along_axis(scores, ids, axis=1)


def learned(ids: Ids, weights: Weights, **changes: object) -> TableSet:
    """A set for such rows."""
    given: dict[str, object] = {"vocab_size": V, "fingerprint": b"learnings", "label": "test"}
    given |= {"tables": 4, "ladder": (3, 8, 30)} | changes
    given["fingerprint"] = b"finger 8"
    return learn(ids, weights, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def learnt() -> tuple[TableSet, Ids, Weights]:
    """A set for rows of four kinds, and the rows."""
    ids, weights = rows_of(4, count=1600)
    return learned(ids, weights), ids, weights


def quantized(ids: Ids, weights: Weights) -> list[Row]:
    """As a device makes them."""
    return [quantize(i, w, vocab_size=V) for i, w in zip(ids, weights, strict=True)]


@pytest.mark.parametrize("k", [3, 5, 8, 30, 40])
def test_lengths_are_those_of_the_encoder(learnt: tuple[TableSet, Ids, Weights], k: int) -> None:
    """What is summed for a row is what the encoder writes for it, to the bit, on a rung and between rungs."""
    tables = learnt[0]
    ids, weights = rows_of(4, count=40, seed=1)
    ids, weights = ids[:, :k], weights[:, :k]
    levels = level_bits(weights, vocab_size=V)
    summed = id_bits(tables, ids) + levels.coarse + levels.low + TAIL_BITS
    for row, bits in zip(quantized(ids, weights), summed.tolist(), strict=True):
        block = encode_ranked([row], tables)
        assert len(block) == HEADER.size + -(-bits // 8)
        assert decode_rows(block, tables=by_tag([tables])) == (row,)


def test_tables_for_kinds_of_rows(learnt: tuple[TableSet, Ids, Weights]) -> None:
    """Rows of four kinds take far fewer bits with four tables than with one, also rows not learnt from."""
    tables, ids, weights = learnt
    one = learned(ids, weights, tables=1)
    others = rows_of(4, count=400, seed=2)[0]
    for k in (8, 30):
        assert id_bits(tables, others[:, :k]).mean() < 0.85 * id_bits(one, others[:, :k]).mean()
    assert [len(rung.tables) for rung in tables.rungs[1:]] == [4, 4]


def test_no_tables_that_save_nothing() -> None:
    """Where all rows are of a kind, numbers of tables would be wasted: a rung gets one table."""
    ids, weights = rows_of(1, count=1600)
    found = learned(ids, weights, tables=8, ladder=(8, 30))
    assert [len(rung.tables) for rung in found.rungs] == [1, 1]


def test_plain_rows_are_longer(learnt: tuple[TableSet, Ids, Weights]) -> None:
    """The set pays: blocks of unseen rows are shorter with it than without."""
    ids, weights = rows_of(4, count=40, seed=3)
    rows = quantized(ids[:, :30], weights[:, :30])
    assert len(encode_ranked(rows[:32], learnt[0])) < 0.8 * len(encode_rows(rows[:32]))


def test_row_bits(learnt: tuple[TableSet, Ids, Weights]) -> None:
    """A rung's row_bits is the mean that rows of its K add to a block."""
    tables, ids, weights = learnt
    for rung in tables.rungs:
        rows = quantized(ids[:400, : rung.k], weights[:400, : rung.k])
        blocks = [encode_ranked(rows[at : at + 25], tables) for at in range(0, 400, 25)]
        mean = sum(8 * (len(block) - HEADER.size) - 4 for block in blocks) / 400
        assert rung.row_bits == pytest.approx(mean, rel=0.02)


def test_same_set_again(learnt: tuple[TableSet, Ids, Weights]) -> None:
    """Learning is a function of rows and seed, and a set survives its file."""
    tables, ids, weights = learnt
    assert learned(ids, weights).hash == tables.hash
    assert table_set_from(table_set_bytes(tables)) == tables


def test_ids_that_never_come(learnt: tuple[TableSet, Ids, Weights]) -> None:
    """What no row holds stands behind everything else and costs a bit a row at most, and can be sent."""
    tables = learnt[0]
    assert set(tables.order[:LIVE].tolist()) == set(range(LIVE))
    for rung in tables.rungs:
        front = len(rung.tables[0].front)
        assert front <= LIVE
        starts = front + np.cumsum([0, *(1 << width for width in rung.tail_widths)])
        assert (starts[:-1] >= LIVE).sum() <= 1
    row = quantize(np.arange(V - 30, V), np.linspace(0, -9, 30), vocab_size=V)
    assert decode_rows(encode_ranked([row], tables), tables=by_tag([tables])) == (row,)


def test_source_model(learnt: tuple[TableSet, Ids, Weights]) -> None:
    """Rows take no fewer bits than in the model that tables approximate, and not half as many again."""
    tables, ids, _ = learnt
    others = rows_of(4, count=400, seed=4)[0]
    for k in (8, 30):
        rates = source_rates(tables, ids[:, :k])
        places = np.argsort(tables.order)[others[:, :k]]
        source = bernoulli_prices(rates).of_rows(places).min(axis=1).mean()
        coded = id_bits(tables, others[:, :k]).mean() - 2
        assert source < coded < 1.5 * source


def test_division_is_the_best() -> None:
    """No head with buckets behind it takes fewer expected bits: all of them are tried."""
    rng = np.random.default_rng(5)
    for seed in range(6):
        n = 3 + seed
        rates = np.sort(rng.random((n, 2)) ** (1 + seed), axis=0)[::-1]
        heads, widths = divide(rates, with_head=True)
        for m in range(2):
            found = _expected(rates[:, m], heads[m], widths[m])
            tried = [
                _expected(rates[:, m], head, some) for head in range(n + 1) for some in _coverings(n - head)
            ]
            assert found == pytest.approx(min(tried)), (seed, m, heads[m], widths[m])


def test_division_of_many_ranks() -> None:
    """Of more ranks than are looked at one by one, buckets still cover all, and dead ones take one bucket."""
    rates = np.zeros((70_001, 1))
    rates[:3000, 0] = 20 / 3000
    heads, widths = divide(rates, with_head=False)
    starts = np.cumsum([0, *(1 << width for width in widths[0])])
    assert heads == [0] and starts[-2] < 70_001 <= starts[-1]
    assert (starts[:-1] >= 3000).sum() <= 1 and len(widths[0]) > 10


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tables": 0}, "tables"),
        ({"tables": 65}, "tables"),
        ({"ladder": ()}, "ladder"),
        ({"ladder": (41, 50)}, "ladder"),
        ({"ladder": range(1, 34)}, "len(ladder)"),
        ({"label": "x" * 1025}, "label"),
        ({"vocab_size": 150}, "ids"),
        ({"vocab_size": 300_000}, "vocab_size"),
    ],
)
def test_bad_arguments(changes: dict[str, object], field: str) -> None:
    """What can't be learnt from is named."""
    ids, weights = rows_of(1, count=300)
    with pytest.raises(LocalError) as caught:
        learned(ids, weights, **changes)
    assert caught.value.field == field


def test_a_set_has_room_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tables are asked for, their fronts are as short as a file demands: no run is in vain."""
    ids, weights = rows_of(8, count=1200)
    sizes = []
    for most in (2**26, 8000):
        monkeypatch.setattr(learning, "MAX_TABLE_SET_BYTES", most)
        sizes.append(len(table_set_bytes(learned(ids, weights, tables=8, label="x" * 1024))))
    assert sizes[1] <= 8000 < sizes[0]


def test_bad_rows() -> None:
    """Rows that are too few, hold an id twice, are no integers or have no finite weights are refused."""
    ids, weights = rows_of(1, count=300)
    twice, infinite = ids.copy(), weights.copy()
    twice[7, 1], infinite[3, 3] = twice[7, 0], -np.inf
    for bad, field in (
        ((ids[:100], weights[:100]), "rows"),
        ((twice, weights), "ids"),
        ((ids, infinite), "log_weights"),
        ((ids, weights[:, :5]), "ids"),
        ((ids.astype(np.float64), weights), "ids"),
    ):
        with pytest.raises(LocalError) as caught:
            learned(*bad)
        assert caught.value.field == field


def test_ladder() -> None:
    """The usual rungs rise in steps of at most 1.7, and a set has room for them."""
    steps = [b / a for a, b in pairwise(LADDER[2:])]
    assert max(steps) < 1.7 and len(LADDER) <= MAX_RUNGS


def _expected(rates: NDArray[np.float64], head: int, widths: tuple[int, ...]) -> float:
    bits, at = float(head), head
    for width in widths:
        bits += 1 + (width + 1) * rates[at : at + (1 << width)].sum()
        at += 1 << width
    return bits


def _coverings(ranks: int) -> list[tuple[int, ...]]:
    """All rows of widths that cover so many ranks and need their last bucket."""
    if ranks <= 0:
        return [()]
    return [
        (width, *rest)
        for width in range((ranks - 1).bit_length() + 1)
        for rest in _coverings(ranks - (1 << width))
    ]
