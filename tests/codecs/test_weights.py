"""The integers that weights are made of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.codecs.reference_decoder import exponential, weights_of

from draftwire.codecs import exponents
from draftwire.codecs.strategies import row_blocks
from draftwire.codecs.weights import DENSE_LEVELS, WEIGHT_SUM, Profile, derive_weights


@pytest.mark.parametrize(
    "name, scale_bits, numerator, denominator",
    [("E_SMALL", 30, 1, 8), ("E_LARGE", 30, 7, 80), ("E_DENSE_HIGH", 31, 1, 8), ("E_DENSE_LOW", 31, 1, 2048)],
)
def test_shipped_exponentials(name: str, scale_bits: int, numerator: int, denominator: int) -> None:
    """Every shipped integer is the exact exponential, rounded, and a table that ends early ends in zeros."""
    table = getattr(exponents, name)
    assert list(table) == [exponential(scale_bits, numerator * j, denominator) for j in range(len(table))]
    assert len(table) == 256 or exponential(scale_bits, numerator * len(table), denominator) == 0


@settings(max_examples=50)
@given(rows=row_blocks(vocab_size=300))
def test_weights_by_the_book(rows: tuple[object, ...]) -> None:
    """Vectorised weights are those of the document, computed entry by entry with Python's integers."""
    for row in rows[:3]:
        assert row.weights.tolist() == weights_of(row.levels.tolist(), int(row.profile))  # type: ignore[attr-defined]


@pytest.mark.parametrize("k", [2, 4097, 2**18])
@pytest.mark.parametrize("shape", ["flat", "one hot", "two"])
def test_dense_extremes(k: int, shape: str) -> None:
    """At the largest vocabulary no product overflows: weights stay positive and sum to 2**24."""
    levels = np.full((1, k), DENSE_LEVELS - 1)
    if shape != "flat":
        levels[0, 1 if shape == "one hot" else 2 :] = 0
    weights = derive_weights(levels, Profile.DENSE)[0]
    assert weights.min() >= 1
    assert weights.sum() == WEIGHT_SUM
    assert weights[0] == weights.max()


@given(k=st.integers(1, 4096), profile=st.sampled_from((Profile.SMALL, Profile.LARGE)))
def test_flat_rows_share_alike(k: int, profile: Profile) -> None:
    """In a flat row all weights are equal but the first, which takes what does not divide."""
    weights = derive_weights(np.zeros((1, k), np.int64), profile)[0]
    assert set(weights[1:].tolist()) <= {WEIGHT_SUM // k}
    assert weights[0] == WEIGHT_SUM - (k - 1) * (WEIGHT_SUM // k)
