"""Bit packing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from draftwire.codecs.bits import (
    MAX_FIELD_BITS,
    bits_of_equal_fields,
    bits_of_fields,
    bits_of_runs,
    equal_fields_of_bits,
    fields_at,
    runs_of_bits,
)


@given(st.lists(st.integers(0, 100), max_size=50))
def test_runs(values: list[int]) -> None:
    """A run is that many 0s, then a 1, and reads back from where its 1s stand."""
    bits = bits_of_runs(np.array(values, np.int64))
    assert "".join(map(str, bits)) == "".join("0" * value + "1" for value in values)
    assert runs_of_bits(np.flatnonzero(bits)).tolist() == values


def fields(most: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Values, each with its width."""
    widths = st.integers(0, most)
    return st.lists(widths.flatmap(lambda w: st.tuples(st.integers(0, 2**w - 1), st.just(w))), max_size=50)


@given(fields(MAX_FIELD_BITS), st.integers(32, 60))
def test_fields(pairs: list[tuple[int, int]], start: int) -> None:
    """A field is its value in binary, most significant bit first, in its own width, wherever it stands."""
    values, widths = (
        np.array(column, np.int64) for column in (zip(*pairs, strict=True) if pairs else ([], []))
    )
    bits = bits_of_fields(values, widths)
    assert "".join(map(str, bits)) == "".join(f"{value:0{width}b}" for value, width in pairs if width)
    data = np.packbits(np.concatenate([np.ones(start, np.uint8), bits])).tobytes()
    assert fields_at(data, start, widths).tolist() == values.tolist()


@given(st.integers(1, 12).flatmap(lambda w: st.tuples(st.just(w), st.lists(st.integers(0, 2**w - 1)))))
def test_equal_fields(case: tuple[int, list[int]]) -> None:
    """Fields of one width are spelt as fields of any, and read back."""
    width, values = case
    array = np.array(values, np.int64)
    bits = bits_of_equal_fields(array, width)
    assert bits.tolist() == bits_of_fields(array, np.full(len(values), width)).tolist()
    assert equal_fields_of_bits(bits, width).tolist() == values
