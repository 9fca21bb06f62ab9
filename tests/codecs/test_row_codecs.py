"""What every row codec guarantees. Each test runs on each codec (see conftest.py)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from draftwire.codecs.errors import LocalError, WireError
from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row, RowCodec
from draftwire.codecs.strategies import hostile_bytes, row_blocks
from draftwire.codecs.weights import WEIGHT_SUM, Profile


def some_rows(*, v: int = 300, k: int = 8, count: int = 2, profile: Profile = Profile.SMALL) -> list[Row]:
    return [quantize(range(i, i + k), range(k), vocab_size=v, profile=profile) for i in range(count)]


@settings(max_examples=60)
@given(rows=row_blocks())
def test_round_trip(row_codec: RowCodec, rows: tuple[Row, ...]) -> None:
    """Any block comes back as it was: ids, levels, tails, and weights that are positive and sum to 2**24."""
    decoded = row_codec.decode(row_codec.encode(rows))
    assert decoded == rows
    for row, original in zip(decoded, rows, strict=True):
        assert row.weights.tolist() == original.weights.tolist()
        assert row.weights.min() >= 1
        assert row.weights.sum() == WEIGHT_SUM


@settings(max_examples=30)
@given(rows=row_blocks(vocab_size=300))
def test_same_bytes_whatever_the_rows_came_from(row_codec: RowCodec, rows: tuple[Row, ...]) -> None:
    """Rows that were decoded, and rows built from their parts, have the spelling of the originals."""
    data = row_codec.encode(rows)
    rebuilt = [
        Row(vocab_size=r.vocab_size, profile=r.profile, ids=r.ids, levels=r.levels, tail=r.tail) for r in rows
    ]
    assert row_codec.encode(rebuilt) == data
    assert row_codec.encode(row_codec.decode(data)) == data


@settings(max_examples=60)
@given(data=st.data())
def test_hostile_bytes(row_codec: RowCodec, data: st.DataObject) -> None:
    """Any bytes are a block, whose spelling is just these bytes, or the one typed error."""
    blocks = st.sampled_from((2, 300, 32000)).flatmap(lambda v: row_blocks(vocab_size=v))
    raw = data.draw(hostile_bytes(blocks.map(row_codec.encode)))
    try:
        rows = row_codec.decode(raw)
    except WireError as error:
        assert error.offset >= 0
        return
    assert row_codec.encode(rows) == raw
    assert all(row.weights.min() >= 1 and row.weights.sum() == WEIGHT_SUM for row in rows)


@settings(max_examples=30)
@given(rows=row_blocks(vocab_size=32000), data=st.data())
def test_every_cut_is_refused(row_codec: RowCodec, rows: tuple[Row, ...], data: st.DataObject) -> None:
    """A block that lost its end, and a block with something behind it, are refused."""
    whole = row_codec.encode(rows)
    cut = data.draw(st.integers(0, len(whole) - 1))
    for wrong in (whole[:cut], whole + b"\0", whole + whole):
        with pytest.raises(WireError):
            row_codec.decode(wrong)


def test_another_vocabulary_is_refused(row_codec: RowCodec) -> None:
    """A reader that names its vocabulary size takes no rows over another."""
    data = row_codec.encode(some_rows())
    assert row_codec.decode(data, vocab_size=300)
    with pytest.raises(WireError):
        row_codec.decode(data, vocab_size=301)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        some_rows(count=33),
        some_rows(k=8) + some_rows(k=9),
        some_rows(v=300) + some_rows(v=301),
        some_rows() + some_rows(profile=Profile.LARGE),
    ],
    ids=["none", "33", "unlike K", "unlike V", "unlike profile"],
)
def test_what_is_no_block(row_codec: RowCodec, rows: list[Row]) -> None:
    """No rows, more than 32, and rows of unlike V, K or profile are a local error."""
    with pytest.raises(LocalError):
        row_codec.encode(rows)
