"""alpha is learnt for every K: exactly below the row's, closely above it, and never from guesses."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from draftwire.codecs.control import RowsReport
from draftwire.nodes.controller.estimators.acceptance import MAX_ALPHA, PRIOR_ALPHA, AcceptanceEstimate
from draftwire.nodes.speculation.acceptance import LADDER, acceptance, rungs
from draftwire.nodes.speculation.sampling import sparsify

V = 512


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    weights: NDArray[np.float64] = np.exp(logits - logits.max())
    weights /= weights.sum()
    return weights


def block(k: int, *, rng: np.random.Generator, positions: int) -> tuple[RowsReport, list[float]]:
    """Rows of a draft that is a noisy target's, tested for real; and alpha of its whole rows, by position."""
    told, wholes = [], []
    for _ in range(positions):
        logits = 3.5 * rng.normal(size=V)
        p, log_q = softmax(logits), (logits + rng.normal(size=V)).astype(np.float32)
        wholes.append(float(np.minimum(p, softmax(log_q.astype(np.float64))).sum()))
        told.append(acceptance(p, sparsify(log_q, None, k=k, temperature=1.0, vocab_size=V)))
    report = rows_report(
        k,
        alphas=tuple(one.alphas for one in told),
        low=tuple(one.low for one in told),
        high=tuple(one.high for one in told),
        gap=tuple(one.gap for one in told),
        filled=tuple(one.filled for one in told),
    )
    return report, wholes


def report(k: int, alphas: list[list[float]], *, low: float, high: float) -> RowsReport:
    """The same for every position but alpha; half of the gap is filled."""
    count = len(alphas)
    return rows_report(
        k,
        alphas=tuple(map(tuple, alphas)),
        low=(low,) * count,
        high=(high,) * count,
        gap=(0.2,) * count,
        filled=(0.1,) * count,
    )


def rows_report(k: int, **masses: Any) -> RowsReport:
    return RowsReport(
        device="d",
        request=1,
        step=0,
        temperature=1.0,
        k=k,
        ladder=rungs(k),
        rows_bytes=100,
        draft_at_s=0.0,
        rows_at_s=0.0,
        **masses,
    )


def test_the_prior_rises_to_what_is_usual() -> None:
    """Before any report: whole rows at 0.65, smaller K by the usual shape, everything between them."""
    alphas = AcceptanceEstimate().alphas((1, 3, 4, 5, 320, 1280))
    assert alphas[320] == alphas[1280] == pytest.approx(PRIOR_ALPHA)
    assert alphas[1] == pytest.approx(0.75 * PRIOR_ALPHA)
    assert alphas[3] < alphas[4] < alphas[5]


def test_below_the_rows_k_alpha_is_what_the_rows_say() -> None:
    """Constant masses are recovered to a few percent within 100 positions, at every K' of the ladder."""
    estimate = AcceptanceEstimate()
    truth = dict(zip(rungs(64), (0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7), strict=True))
    for _ in range(25):
        estimate.observe_rows(report(64, [list(truth.values())] * 4, low=0.69, high=0.75))
    for k, alpha in estimate.alphas(truth).items():
        assert alpha == pytest.approx(truth[k], rel=0.03)


@pytest.mark.parametrize("k", [24, 64])
def test_whole_rows_are_told_from_cut_ones(k: int) -> None:
    """From real tests of rows of K, alpha of whole rows comes out within 4 %; alpha at K is further off."""
    rng = np.random.default_rng(k)
    estimate, wholes = AcceptanceEstimate(), list[float]()
    for _ in range(50):
        one, exact = block(k, rng=rng, positions=4)
        estimate.observe_rows(one)
        wholes += exact
    recent = float(np.average(wholes, weights=0.96 ** np.arange(len(wholes))[::-1]))
    found = estimate.alphas((k, 1280))
    assert found[1280] == pytest.approx(recent, rel=0.04)
    assert abs(found[1280] - recent) < abs(found[k] - recent)


def test_a_change_of_k_keeps_the_level() -> None:
    """The next K starts from where the last one's level puts it; a row that agrees changes nothing."""
    estimate = AcceptanceEstimate()
    small, large = [0.4, 0.45, 0.5], [0.4, 0.45, 0.5, 0.52, 0.54, 0.56, 0.6]
    for _ in range(40):
        estimate.observe_rows(report(32, [large] * 4, low=0.6, high=0.6))
    for _ in range(3):
        before = estimate.alphas((3, 32))
        estimate.observe_rows(report(3, [small], low=0.5, high=0.7))
        assert estimate.alphas((3, 32)) == pytest.approx(before, rel=0.02)


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=60), st.sampled_from(LADDER))
def test_hits_never_bend_the_shape(blocks: list[tuple[int, bool]], k: int) -> None:
    """However often drafts stand, the K that were not used keep their ratio to the one that was."""
    estimate = AcceptanceEstimate()
    before = estimate.alphas((1, 32, 1280))
    for accepted, missed in blocks:
        estimate.observe_hits(k=k, accepted=accepted, seen=accepted + missed)
    estimate.observe_hits(k=k, accepted=0, seen=40)  # back below the cap
    after = estimate.alphas((1, 32, 1280))
    assert after[1] / after[1280] == pytest.approx(before[1] / before[1280])
    assert after[32] / after[1280] == pytest.approx(before[32] / before[1280])


def test_hits_and_misses_are_counted() -> None:
    """At temperature 0 alpha is the share of hits, with a long memory, and below 1 whatever happens."""
    estimate, rng = AcceptanceEstimate(), np.random.default_rng(0)
    for hit in rng.random(600) < 0.8:
        estimate.observe_hits(k=32, accepted=int(hit), seen=1)
    assert estimate.alphas((32,))[32] == pytest.approx(0.8, abs=0.08)
    estimate.observe_hits(k=32, accepted=1000, seen=1000)
    assert estimate.alphas((32,))[32] == MAX_ALPHA


def test_a_row_of_few_entries_teaches_nothing_about_the_gap() -> None:
    """Rows of 3 entries leave the share that is filled alone; rows of 32 learn it."""
    alphas = {3: [0.5, 0.5, 0.5], 32: [0.5] * 7}
    few, many = AcceptanceEstimate(), AcceptanceEstimate()
    for _ in range(40):
        few.observe_rows(report(3, [alphas[3]] * 4, low=0.5, high=0.9))
        many.observe_rows(report(32, [alphas[32]] * 4, low=0.5, high=0.9))
    assert few.alphas((1280,))[1280] == pytest.approx(0.5 + 0.6 * 0.4, rel=0.03)
    assert many.alphas((1280,))[1280] == pytest.approx(0.5 + 0.5 * 0.4, rel=0.03)


def test_what_a_row_hides_is_a_bound() -> None:
    """`hidden` falls to what high says, relative to alpha at that K."""
    estimate = AcceptanceEstimate()
    for _ in range(60):
        estimate.observe_rows(report(3, [[0.4, 0.45, 0.5]] * 4, low=0.5, high=0.6))
    assert estimate.hidden(3) == pytest.approx(0.2, abs=0.02)
    assert estimate.hidden(1) == pytest.approx(0.5, abs=0.03)


@given(st.sampled_from([*LADDER, 24, 4000]), st.floats(0.01, 1.0), st.integers(0, 6))
def test_estimates_are_probabilities(k: int, alpha: float, positions: int) -> None:
    """Any report leaves every alpha a finite number in (0, 1)."""
    estimate = AcceptanceEstimate()
    for _ in range(20):
        estimate.observe_rows(report(k, [[alpha] * len(rungs(k))] * positions, low=alpha, high=1.0))
    for value in estimate.alphas((1, 7, 320, 4000)).values():
        assert math.isfinite(value) and 0 < value < 1


def test_a_report_of_another_ladder_is_read_between_its_rungs() -> None:
    """A BS that tells fewer rungs than the controller knows: alpha lies between them, linear in log K."""
    whole, parts = AcceptanceEstimate((1, 2, 4, 8)), AcceptanceEstimate((1, 2, 4, 8))
    masses = {"low": (0.35,), "high": (0.55,), "gap": (0.2,), "filled": (0.1,)}
    for _ in range(20):
        told = rows_report(4, alphas=((0.2, 0.3, 0.3, 0.4),), **masses)
        whole.observe_rows(replace(told, ladder=(1, 2, 4), alphas=((0.2, 0.3, 0.4),)))
        parts.observe_rows(replace(told, ladder=(1, 4), alphas=((0.2, 0.4),)))
    ks = (1, 2, 3, 4, 8)
    assert parts.alphas(ks) == pytest.approx(whole.alphas(ks))
