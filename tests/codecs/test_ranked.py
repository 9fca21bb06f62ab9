"""Blocks spelt with rank tables: round trips, which table, which mode, which set."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.codecs.golden_cases import sparse_logits
from tests.harness.tables import growing, in_order, narrow, permutation, table, usual_set

from draftwire.codecs.blocks import (
    Mode,
    decode_rows,
    encode_plain,
    encode_ranked,
    encode_rows,
)
from draftwire.codecs.errors import LocalError, Refusal, WireError
from draftwire.codecs.frame import decode_frame, encode_frame
from draftwire.codecs.hashes import rows_hash
from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row
from draftwire.codecs.strategies import row_blocks, table_sets
from draftwire.codecs.tables import Rung, TableSet, by_tag, table_set_bytes, table_set_from
from draftwire.codecs.weights import WEIGHT_SUM, Profile

# Any rows, any set ------------------------------------------------------------------------------------------


SIZES = st.sampled_from((2, 3, 4, 255, 4096, 4097, 32000, 262144)) | st.integers(2, 9000)


def plain_blocks(v: int) -> st.SearchStrategy[tuple[Row, ...]]:
    """Blocks of rows that have a plain spelling."""
    return row_blocks(vocab_size=v).filter(lambda rows: rows[0].profile is not Profile.DENSE)


@st.composite
def spellable(draw: st.DrawFn) -> tuple[tuple[Row, ...], TableSet]:
    """Rows, and a set with a rung at, just below or just above their K, and any others."""
    v = draw(SIZES)
    rows = draw(plain_blocks(v))
    k = len(rows[0])
    near = [rung for rung in (k, k - 1, k + 1) if 1 <= rung <= min(v, 4096)]
    return rows, draw(table_sets(vocab_size=v, rungs=near))


@settings(max_examples=60)
@given(case=spellable())
def test_round_trip(case: tuple[tuple[Row, ...], TableSet]) -> None:
    """Any rows come back from either spelling; each spelling is the only one of its mode and set."""
    rows, tables = case
    known = by_tag([tables])
    plain, either = encode_plain(rows), encode_rows(rows, tables=tables)
    assert decode_rows(plain, tables=known) == decode_rows(either, tables=known) == rows
    if tables.rung_of(len(rows[0])) is None:
        assert either == plain
        with pytest.raises(LocalError, match="K is"):
            encode_ranked(rows, tables)
        return
    ranked = encode_ranked(rows, tables)
    assert ranked[0] >> 4 == Mode.TABLES and ranked[4:8] == tables.tag
    assert either in (ranked, plain)
    assert len(either) == min(len(ranked), len(plain)) or either == ranked
    decoded = decode_rows(ranked, vocab_size=tables.vocab_size, tables=known)
    assert decoded == rows
    assert encode_ranked(decoded, tables) == ranked and encode_plain(decoded) == plain
    for row, original in zip(decoded, rows, strict=True):
        assert row.weights.tolist() == original.weights.tolist()
        assert row.weights.min() >= 1 and row.weights.sum() == WEIGHT_SUM


@pytest.mark.parametrize("profile", [Profile.SMALL, Profile.LARGE])
@pytest.mark.parametrize("v, k", [(2, 1), (2, 2), (4096, 4096), (262144, 1), (262144, 4096)])
@pytest.mark.parametrize("shape", ["flat", "one hot", "steep"])
def test_the_edges(v: int, k: int, shape: str, profile: Profile) -> None:
    """32 rows of the least and the most entries, over the least and the most ids, come back."""
    logs = {"flat": np.zeros(k), "one hot": np.where(np.arange(k), 0.0, 99.0), "steep": -np.arange(k)}[shape]
    ids = np.random.default_rng(k).choice(v, k, replace=False)
    rows = tuple(
        quantize(ids, np.roll(logs, i), vocab_size=v, profile=profile, tail=63 if k == v else i)
        for i in range(32)
    )
    tables = EDGES[v]
    data = encode_ranked(rows, tables)
    assert decode_rows(data, tables=by_tag([tables])) == rows


EDGES = {v: usual_set(v) for v in (2, 4096, 262144)}


def test_the_longest_front() -> None:
    """Rows that hold ranks and places of a front of 65535 come back, by a set that was read from its file."""
    tables = longest_front()
    again = table_set_from(table_set_bytes(tables))
    rng = np.random.default_rng(3)
    for places in (range(65527, 65537), rng.choice(65537, 300, replace=False), np.arange(32760, 32780)):
        ids = tables.order[np.array(places)]
        rows = (quantize(ids, -(np.arange(len(ids)) % 9), vocab_size=65537, tail=3),)
        data = encode_ranked(rows, tables)
        assert decode_rows(data, tables=by_tag([again])) == rows
    assert again == tables


def longest_front() -> TableSet:
    """Two tables with a front of 65535 in any order, and two ids behind it."""
    rng, v, front = np.random.default_rng(1), 65537, 65535
    kinds = ((0, growing), (40000, narrow))
    made = tuple(table(front, head, widths, rng) for head, widths in kinds)
    rung = Rung(k=8, tables=made, tail_widths=(1,), row_bits=0)
    return replace(in_order(v), order=permutation(v, rng), rungs=(rung,))


def test_a_block_too_large_to_look_up_at_once() -> None:
    """Rows that choose their tables one by one choose as the same rows in blocks of their own."""
    tables = usual_set(32000, tables=16, front=2000)
    rng, k = np.random.default_rng(2), 2000
    rows, kinds = [], tables.rungs[tables.rung_of(k) or 0].tables
    for i in range(32):
        one = kinds[i % 5]
        behind = 2000 + rng.choice(30000, k - one.head, replace=False)
        ids = tables.order[np.concatenate([one.front[: one.head], behind])]
        rows.append(quantize(ids, np.zeros(k), vocab_size=32000, tail=i))
    data = encode_ranked(rows, tables)
    assert decode_rows(data, tables=by_tag([tables])) == tuple(rows)
    bits = "".join(f"{byte:08b}" for byte in data[8:48])
    chosen = [int(bits[10 * i : 10 * i + 4], 2) for i in range(32)]
    assert chosen == [encode_ranked([row], tables)[8] >> 4 for row in rows]
    assert len(set(chosen)) == 5


@pytest.mark.parametrize("heads", [(0,), (300,), (0, 300), (300, 0)])
@pytest.mark.parametrize("k", [1, 2, 29, 30, 150, 299, 300])
def test_all_head_and_no_head(heads: tuple[int, ...], k: int) -> None:
    """Tables that are one bucket, or one head: rows of every density come back, from the shorter one."""
    tables = in_order(300, heads=heads)
    rows = (quantize(range(300 - k, 300), [-(i % 7) for i in range(k)], vocab_size=300),)
    data = encode_ranked(rows, tables)
    assert decode_rows(data, tables=by_tag([tables])) == rows
    if len(heads) == 2:  # a head takes 300 bits; a bucket 9 and a 0 for each entry, and a 1
        assert heads[data[8] >> 7] == (0 if 10 * k + 1 < 300 else 300)


@pytest.mark.parametrize("dear, named", [("-", 0), ("--", 0), ("+--", 1), ("++-+-", 2), ("+" * 63 + "-", 63)])
def test_a_tie_goes_to_the_first_table(dear: str, named: int) -> None:
    """Of tables that take a row in equally many bits, the first is named, wherever it stands."""
    base = in_order(50, heads=(10,), widths=narrow)
    (rung,) = base.rungs
    kinds = {"-": rung.tables[0], "+": replace(rung.tables[0], head=3, widths=(0,) * 7)}
    tables = replace(base, rungs=(replace(rung, tables=tuple(kinds[kind] for kind in dear)),))
    # "-": 10 bits for the head. "+": 3, and one for each of 7 buckets, and one for id 3 in the first.
    rows = (quantize([3, 20], [0, -1], vocab_size=50),)
    data = encode_ranked(rows, tables)
    width = (len(dear) - 1).bit_length()
    assert data[8] >> 8 - width == named
    assert decode_rows(data, tables=by_tag([tables])) == rows


# Which mode -------------------------------------------------------------------------------------------------


def test_tables_are_used_where_they_fit() -> None:
    """Rows at the front of an order are shorter with it; for rows that it does not know there is mode 0."""
    tables = usual_set(32000)
    for k in (8, 32, 320):
        known = (quantize(tables.order[:k], np.zeros(k), vocab_size=32000),)
        data = encode_rows(known, tables=tables)
        assert data == encode_ranked(known, tables)
        assert len(data) < len(encode_plain(known))
        strange = (quantize(range(16000, 16000 + k), np.zeros(k), vocab_size=32000),)
        assert len(encode_ranked(strange, tables)) > len(encode_plain(strange))
    assert encode_rows(strange, tables=tables) == encode_plain(strange)


def test_below_the_first_rung_rows_are_plain() -> None:
    """A K that no rung is for is spelt plainly; mode 1 for it is a local error that names the first rung."""
    tables = usual_set(300, first=8)
    rows = (quantize(range(7), np.zeros(7), vocab_size=300),)
    assert encode_rows(rows, tables=tables) == encode_plain(rows)
    with pytest.raises(LocalError, match=r"K is 7: .*K = 8"):
        encode_ranked(rows, tables)


def test_local_errors() -> None:
    """Tables of another vocabulary, and whole rows in a mode that has none, are local errors that say so."""
    rows = (quantize(range(8), np.zeros(8), vocab_size=300),)
    whole = (quantize(range(300), np.zeros(300), vocab_size=300, profile=Profile.DENSE),)
    ours, others = usual_set(300), usual_set(301)
    assert encode_rows(whole, tables=ours) == encode_rows(whole)
    refused: list[tuple[Callable[[], bytes], str]] = [
        (lambda: encode_ranked(rows, others), "tables"),
        (lambda: encode_rows(rows, tables=others), "tables"),
        (lambda: encode_ranked(whole, ours), "profile"),
        (lambda: encode_plain(whole), "profile"),
    ]
    for encode, field in refused:
        with pytest.raises(LocalError) as caught:
            encode()
        assert caught.value.field == field


# Sets that are not the reader's -----------------------------------------------------------------------------

THEIRS = usual_set(12, seed=9)
ROWS = tuple(quantize([i, 5, 11], [0, -1, -9], vocab_size=12, tail=20 + i) for i in (0, 4))


@pytest.mark.parametrize("ours", [(), (usual_set(12),), (usual_set(12), usual_set(13))])
def test_an_unknown_set_is_named(ours: tuple[TableSet, ...]) -> None:
    """A block in a set that the reader does not have is refused with its tag and the tags of all it has."""
    with pytest.raises(WireError) as caught:
        decode_rows(encode_ranked(ROWS, THEIRS), tables=by_tag(ours))
    assert (caught.value.reason, caught.value.offset) == (Refusal.TABLES, 32)
    assert THEIRS.tag.hex() in caught.value.detail
    assert all(one.tag.hex() in caught.value.detail for one in ours)


def test_many_sets_at_once() -> None:
    """A reader of several sets, also over several vocabularies, takes blocks in each of them at any time."""
    sets = [usual_set(v, seed=seed) for v in (40, 300) for seed in range(3)]
    known = by_tag(sets)
    for tables in sets * 2:
        rows = (quantize(range(8), np.arange(8), vocab_size=tables.vocab_size, tail=5),)
        data = encode_ranked(rows, tables)
        assert decode_rows(data, tables=known) == rows
        with pytest.raises(WireError) as caught:
            decode_rows(data, vocab_size=tables.vocab_size + 1, tables=known)
        assert (caught.value.reason, caught.value.offset) == (Refusal.VOCABULARY, 16)


def test_in_frames() -> None:
    """A frame carries ranked rows to who has their set; to who has not, it is refused at the set's tag."""
    message = sparse_logits(ROWS)
    data = encode_frame(message, session=1, sequence=2, tables=THEIRS)
    assert data[30:] == encode_ranked(ROWS, THEIRS)
    assert decode_frame(data, tables=by_tag([THEIRS])).message == message
    with pytest.raises(WireError) as caught:
        decode_frame(data)
    assert (caught.value.reason, caught.value.offset) == (Refusal.TABLES, 8 * 30 + 32)


def test_rows_hash_alike_in_all_modes() -> None:
    """Rows that came by tables are those that came plainly: equal, and of equal hash."""
    known = by_tag([THEIRS])
    decoded = [decode_rows(data, tables=known) for data in (encode_plain(ROWS), encode_ranked(ROWS, THEIRS))]
    assert decoded[0] == decoded[1] == ROWS
    assert hash(decoded[0]) == hash(decoded[1]) == hash(ROWS)
    assert rows_hash(decoded[0]) == rows_hash(decoded[1]) == rows_hash(ROWS)
