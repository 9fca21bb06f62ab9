"""Bit packing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from draftwire.codecs.bits import bits_of_fields, bits_of_runs, fields_of_bits, runs_of_bits


@given(st.lists(st.integers(0, 100), max_size=50))
def test_runs(values: list[int]) -> None:
    """A run is that many 0s, then a 1, and reads back from where its 1s stand."""
    bits = bits_of_runs(np.array(values, np.int64))
    assert "".join(map(str, bits)) == "".join("0" * value + "1" for value in values)
    assert runs_of_bits(np.flatnonzero(bits)).tolist() == values


@given(
    st.lists(
        st.integers(0, 32).flatmap(lambda w: st.tuples(st.integers(0, 2**w - 1), st.just(w))), max_size=50
    )
)
def test_fields(pairs: list[tuple[int, int]]) -> None:
    """A field is its value in binary, most significant bit first, in its own width."""
    values, widths = (
        np.array(column, np.int64) for column in (zip(*pairs, strict=True) if pairs else ([], []))
    )
    bits = bits_of_fields(values, widths)
    assert "".join(map(str, bits)) == "".join(f"{value:0{width}b}" for value, width in pairs if width)
    assert fields_of_bits(bits, widths).tolist() == values.tolist()
