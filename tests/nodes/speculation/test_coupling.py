"""P(equal) of two picks by one noise: its definition, its bounds, and what real picks come to."""

from dataclasses import dataclass

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row
from draftwire.codecs.weights import WEIGHT_SUM
from draftwire.nodes.speculation.coupling import coupled_acceptance, equal_probability
from draftwire.nodes.speculation.noise import Key, PhiloxNoise, Purpose

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A target's p over V ids, and the row of K of them that a device picks from."""

    p: Floats
    row: Row

    @property
    def q(self) -> Floats:
        """Of all V ids."""
        q = np.zeros(len(self.p))
        q[self.row.ids] = self.row.weights / WEIGHT_SUM
        return q


def a_case(seed: int, v: int, k: int, *, likeness: float = 0.5, cut_p: bool = False) -> Case:
    """A row of `k` of `v` ids, and a p that has `likeness` of the row, and perhaps lacks half of the ids."""
    rng = np.random.default_rng(seed)
    row = quantize(np.sort(rng.choice(v, k, replace=False)), rng.normal(0, 3, k), vocab_size=v)
    p = (1 - likeness) * rng.dirichlet(np.full(v, 0.3))
    p[row.ids] += likeness * row.weights / WEIGHT_SUM
    if cut_p:
        p[np.argsort(p)[: v // 2]] = 0.0
    return Case(p / p.sum(), row)


def by_definition(p: Floats, q: Floats) -> float:
    """The double sum, id by id."""
    held = [x for x in range(len(p)) if p[x] > 0 and q[x] > 0]
    return sum(
        1 / sum(max(float(p[y]) / float(p[x]), float(q[y]) / float(q[x])) for y in range(len(p)))
        for x in held
    )


CASES = st.builds(
    lambda seed, v, share, likeness, cut_p: a_case(
        seed, v, max(1, round(share * v)), likeness=likeness, cut_p=cut_p
    ),
    st.integers(0, 2**32 - 1),
    st.integers(2, 24),
    st.floats(0, 1),
    st.floats(0, 1),
    st.booleans(),
)


@given(CASES)
def test_it_is_its_definition(case: Case) -> None:
    """From the row, from all of q, and from q by its ids in any order."""
    expected = by_definition(case.p, case.q)
    backwards = case.row.ids[::-1]
    assert coupled_acceptance(case.p, case.row) == pytest.approx(expected, abs=1e-12)
    assert equal_probability(case.p, case.q) == pytest.approx(expected, abs=1e-12)
    assert equal_probability(case.p, case.q[backwards], backwards) == pytest.approx(expected, abs=1e-12)


@given(CASES)
def test_it_lies_between_its_bounds(case: Case) -> None:
    """No coupling agrees more often than 1 - TV; this one at least (1 - TV) / (1 + TV) of the time."""
    tv = float(np.abs(case.p - case.q).sum()) / 2
    equal = coupled_acceptance(case.p, case.row)
    assert (1 - tv) / (1 + tv) - 1e-12 <= equal <= 1 - tv + 1e-12


@given(CASES)
def test_it_is_the_same_both_ways(case: Case) -> None:
    """Who of the two is the draft does not count."""
    assert equal_probability(case.q, case.p) == pytest.approx(equal_probability(case.p, case.q), abs=1e-12)


def test_ends_of_the_range() -> None:
    """Equal distributions always agree, disjoint ones never."""
    case = a_case(1, 20, 20)
    assert equal_probability(case.p, case.p) == pytest.approx(1.0, abs=1e-12)
    halves = np.array([0.5, 0.5, 0.0, 0.0])
    assert equal_probability(halves, halves[::-1].copy()) == 0.0


def test_the_smallest_masses_do_no_harm() -> None:
    """Quotients that overflow, and masses that vanish beside the others."""
    p, q = np.array([5e-324, 1.0, 1e-300]), np.array([1.0, 1e-310, 0.0])
    assert 0.0 <= equal_probability(p, q) < 1e-300
    assert equal_probability(np.array([1.0, 1e-300]), np.array([1.0, 5e-324])) == 1.0


@pytest.mark.parametrize(("v", "k", "likeness"), [(12, 5, 0.5), (300, 300, 0.7)])
def test_real_picks_agree_as_often(v: int, k: int, likeness: float) -> None:
    """20000 positions of one request: a device that knows its K ids, a BS that knows all V."""
    case, noise, n = a_case(4, v, k, likeness=likeness), PhiloxNoise(), 20_000
    q, ids = case.row.weights / WEIGHT_SUM, case.row.ids
    agreed = 0
    for position in range(n):
        key = Key(99, 0, position, Purpose.TARGET)
        agreed += ids[noise.draw_masses(key, q, ids)] == noise.draw_masses(key, case.p)
    equal = coupled_acceptance(case.p, case.row)
    assert abs(agreed - n * equal) < 4 * (n * equal * (1 - equal)) ** 0.5
