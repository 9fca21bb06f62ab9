"""Acceptance from a row and p: each K', coupled, and the bounds for whole rows, against the definitions."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row
from draftwire.codecs.strategies import rows
from draftwire.codecs.weights import WEIGHT_SUM
from draftwire.nodes.speculation.acceptance import LADDER, acceptance, rungs
from draftwire.nodes.speculation.coupling import coupled_acceptance

Floats = NDArray[np.float64]


@st.composite
def _cases(draw: st.DrawFn) -> tuple[Floats, Row]:
    row = draw(rows(vocab_size=draw(st.sampled_from([2, 3, 64, 700, 2000]))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = rng.normal(0, draw(st.sampled_from([0.1, 3.0, 30.0])), row.vocab_size)
    if draw(st.booleans()):  # near the draft, as a target is
        scores[row.ids] += 3 * np.log(row.weights)
    p = np.exp(scores - scores.max())
    return p / p.sum(), row


def _naive(p: Floats, row: Row, k: int, mass: float) -> tuple[float, set[int]]:
    """sum min(p, mass q_k), id by id, and the ids."""
    entries = list(zip(row.ids.tolist(), row.weights.tolist(), strict=True))
    entries = sorted(entries, key=lambda entry: (-entry[1], entry[0]))[:k]
    total = sum(weight for _, weight in entries)
    return sum(min(p[x], mass * weight / total) for x, weight in entries), {x for x, _ in entries}


@given(_cases())
def test_every_rung_and_both_bounds_are_their_definitions(case: tuple[Floats, Row]) -> None:
    """Each figure equals the sum that defines it, worked out id by id."""
    p, row = case
    told = acceptance(p, row)
    assert told.ladder == (*[k for k in LADDER if k < len(row)], len(row))
    for k, alpha in zip(told.ladder, told.alphas, strict=True):
        assert alpha == pytest.approx(_naive(p, row, k, 1.0)[0], abs=1e-12)
    m = row.kept_mass
    low, kept = _naive(p, row, len(row), m)
    outside = 1 - sum(p[x] for x in kept)
    assert told.low == pytest.approx(low, abs=1e-12)
    assert told.high == pytest.approx(low + min(outside, 1 - m), abs=1e-12)
    third = max(1, len(row) // 3)
    _, largest = _naive(p, row, third, 1.0)
    mass = m * sum(row.weight_of(x) for x in largest) / WEIGHT_SUM
    low, _ = _naive(p, row, third, mass)
    assert told.gap == pytest.approx(min(1 - sum(p[x] for x in largest), 1 - mass), abs=1e-12)
    assert told.filled == pytest.approx(told.alphas[-1] - low, abs=1e-12)
    assert told.coupled == pytest.approx(coupled_acceptance(p, row), abs=1e-12)


@given(_cases())
def test_figures_are_probabilities_in_order(case: tuple[Floats, Row]) -> None:
    """Nothing is negative or, but for rounding, above 1; low stands below high and alpha."""
    told = acceptance(*case)
    for value in (*told.alphas, told.low, told.high, told.gap, told.filled, told.coupled):
        assert 0.0 <= value <= 1 + 1e-9
    assert told.coupled <= told.alphas[-1] + 1e-9  # no coupling agrees more often
    assert told.low <= told.high
    assert told.low <= told.alphas[-1] + 1e-12


@dataclass(frozen=True)
class _Cut:
    """A row with the mass it kept in full precision."""

    ids: NDArray[np.int64]
    weights: NDArray[np.int64]
    kept_mass: float

    def __len__(self) -> int:
        return len(self.ids)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3, 7, 32, 100]))
def test_bounds_hold_for_the_whole_row(seed: int, k: int) -> None:
    """Cut from a whole distribution, a row's bounds enclose that distribution's own acceptance."""
    rng = np.random.default_rng(seed)
    p, q = (rng.dirichlet(np.full(200, 0.1)) for _ in range(2))
    ids = np.sort(np.argsort(-q)[:k])
    kept = float(q[ids].sum())
    weights = np.maximum(1, np.rint(q[ids] / kept * WEIGHT_SUM)).astype(np.int64)
    told = acceptance(p, _Cut(ids, weights, kept))  # type: ignore[arg-type]
    whole = float(np.minimum(p, q).sum())
    assert told.low - 1e-5 <= whole <= told.high + 1e-5


def test_ties_go_to_the_lower_id() -> None:
    """Of equal entries those with lower ids stay: K' = 1 of a flat row is its first id."""
    row = quantize(np.array([3, 5, 8]), np.zeros(3), vocab_size=10)
    p = np.zeros(10)
    p[[3, 5]] = 0.25, 0.75
    heaviest = int(row.ids[row.weights.argmax()])
    assert heaviest == 3  # what rounding leaves over goes there
    told = acceptance(p, row)
    assert told.alphas[:2] == pytest.approx((0.25, 0.75), abs=1e-6)


def test_rungs() -> None:
    """The ladder below K, and K itself, once."""
    assert rungs(1) == (1,)
    assert rungs(4) == (1, 2, 3, 4)
    assert rungs(5) == (1, 2, 3, 5)
    assert rungs(49152) == (*LADDER, 49152)
