"""The K largest of a row, and the mass that they leave out."""

from collections.abc import Callable
from math import inf, nan

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given
from numpy.typing import NDArray

from draftwire.nodes.speculation.topk import left_out_mass, top_k

Row = NDArray[np.float32]


def plainly(logits: Row, k: int) -> list[int]:
    """By sorting: the larger first, of equal ones the first."""
    best = sorted(range(len(logits)), key=lambda i: (-logits[i], i))[:k]
    return sorted(best)


def scattered(rng: np.random.Generator, v: int) -> Row:
    """As a model's rows are."""
    return rng.normal(0, 3, v).astype(np.float32)


def tied(rng: np.random.Generator, v: int) -> Row:
    """A handful of values."""
    return rng.integers(0, rng.integers(1, 9), v).astype(np.float32)


def halved(rng: np.random.Generator, v: int) -> Row:
    """As half precision has them: many ties everywhere, both zeros."""
    return (np.round(rng.normal(0, 3, v) * 4) / 4).astype(np.float32)


def cut(rng: np.random.Generator, v: int) -> Row:
    """Most ids have no mass at all."""
    logits = scattered(rng, v)
    logits[rng.random(v) < rng.random()] = -np.inf
    return logits


def clustered(rng: np.random.Generator, v: int) -> Row:
    """All that is large in one place, among neighbours or a stride apart, where a sample would not look."""
    logits = scattered(rng, v)
    start, stride = rng.integers(0, v), rng.choice([1, 16, 64, v // 4 + 1, v // 64 + 1])
    logits[start::stride] += 50
    return logits


def rising(rng: np.random.Generator, v: int) -> Row:
    """Sorted."""
    return np.sort(scattered(rng, v))


def falling(rng: np.random.Generator, v: int) -> Row:
    """Sorted, the largest first."""
    return rising(rng, v)[::-1]


KINDS: list[Callable[[np.random.Generator, int], Row]] = [
    scattered,
    tied,
    halved,
    cut,
    clustered,
    rising,
    falling,
]


@given(st.sampled_from(KINDS), st.integers(0, 2**32 - 1), st.integers(1, 2500), st.floats(0, 1))
@example(kind=scattered, seed=0, v=1, part=0.0)
@example(kind=clustered, seed=0, v=2500, part=0.1)
@example(kind=tied, seed=5, v=2500, part=1.0)
def test_top_k_is_what_sorting_gives(
    kind: Callable[[np.random.Generator, int], Row], seed: int, v: int, part: float
) -> None:
    """For any row and any K from 1 to V: the K largest, rising, of equal ones at the edge the first."""
    logits = kind(np.random.default_rng(seed), v)
    k = max(1, round(v * part**3))  # small ones matter more
    before = logits.tobytes()
    columns = top_k(logits, k)
    assert columns.dtype == np.int64
    assert columns.tolist() == plainly(logits, k)
    assert logits.tobytes() == before


@pytest.mark.parametrize("k", [1, 2, 100, 666, 667, 1000, 3999, 4000, 9000])
def test_a_constant_row_has_its_first_columns(k: int) -> None:
    """All of them where K is V or more."""
    for value in (0.0, -inf, 3.5):
        assert top_k(np.full(4000, value, np.float32), k).tolist() == list(range(min(k, 4000)))


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 60))
def test_what_is_not_a_number_is_never_left_out(seed: int, k: int, wrong: int) -> None:
    """NaN counts as the largest, so a row with one is refused; infinity is the largest anyway."""
    rng = np.random.default_rng(seed)
    logits = scattered(rng, 1000)
    logits[rng.choice(1000, wrong, replace=False)] = rng.choice([nan, inf], wrong)
    columns = top_k(logits, k)
    assert len(set(columns.tolist())) == k
    kept, nans = np.isnan(logits[columns]).sum(), np.isnan(logits).sum()
    assert kept == min(k, nans)
    assert np.isinf(logits[columns]).sum() == min(k, wrong) - kept


@pytest.mark.parametrize("v, k", [(4096, 32), (49152, 3), (49152, 320), (262144, 32), (262144, 3200)])
def test_a_whole_row_is_not_partitioned(v: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is partitioned is a small part of a row, however the large ones lie."""
    partition, sizes = np.partition, list[int]()

    def counted(values: Row, kth: int) -> Row:
        sizes.append(len(values))
        return partition(values, kth)

    monkeypatch.setattr(np, "partition", counted)
    for kind in (scattered, rising, halved):
        sizes.clear()
        top_k(kind(np.random.default_rng(v), v), k)
        assert sum(sizes) <= max(v / 8, 6 * k), kind.__name__


@given(
    st.sampled_from([scattered, tied, halved, clustered, rising]),
    st.integers(0, 2**32 - 1),
    st.integers(1, 1000),
    st.integers(1, 1000),
    st.floats(0.2, 5),
)
def test_the_mass_left_out_is_that_of_the_softmax(
    kind: Callable[[np.random.Generator, int], Row], seed: int, v: int, k: int, temperature: float
) -> None:
    """Relative to the whole row's, however small it is; none where nothing is left out."""
    logits = kind(np.random.default_rng(seed), v)
    columns = top_k(logits, k)
    masses = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    exact = float(np.delete(masses, columns).sum() / masses.sum())
    assert left_out_mass(logits, columns, temperature) == pytest.approx(exact, rel=2e-4, abs=1e-30)


def test_no_mass_is_told_of_a_row_that_will_be_refused() -> None:
    """Its error is the row's, not the tail's."""
    for wrong in (nan, inf):
        logits = np.array([0.0, wrong, 1.0], np.float32)
        assert left_out_mass(logits, top_k(logits, 2), 1.0) == 0.0
