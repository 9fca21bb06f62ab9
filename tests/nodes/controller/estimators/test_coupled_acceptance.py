"""How often coupled picks are equal: from rows before there are hits, then by hits, by place in a run."""

from dataclasses import replace

import numpy as np
import pytest
from tests.harness.reports import ROWS

from draftwire.nodes.controller.estimators.coupled import (
    PLACES,
    PRIOR_RATIO,
    CoupledAcceptance,
    survives,
)

WHOLE = 0.6


def told(share: float, *, positions: int = 2) -> object:
    """Rows whose coupled picks are equal in this share of alpha."""
    alphas = ROWS.alphas[:1] * positions
    single = {name: getattr(ROWS, name)[:1] * positions for name in ("low", "high", "gap", "filled")}
    return replace(ROWS, alphas=alphas, coupled=tuple(share * row[-1] for row in alphas), **single)


def fed(chances: list[float], *, paths: int = 1200, seed: int = 0) -> CoupledAcceptance:
    """Paths that go on with the chance of each place until their first miss, told in pieces."""
    rng, estimate = np.random.default_rng(seed), CoupledAcceptance()
    for _ in range(paths):
        place = 0
        while rng.random() < chances[min(place, len(chances) - 1)]:
            place += 1
            if place % 3 == 0:
                estimate.observe_hits(accepted=3, seen=3, whole=WHOLE)
        estimate.observe_hits(accepted=place % 3, seen=place % 3 + 1, whole=WHOLE)
    return estimate


def test_before_anything_it_is_the_usual_share_of_alpha() -> None:
    """At every place."""
    assert CoupledAcceptance().chances(WHOLE) == pytest.approx([WHOLE * PRIOR_RATIO] * PLACES)


def test_rows_alone_tell_the_share() -> None:
    """Of requests under rejection: the share of alpha that they have is that of whole rows."""
    estimate = CoupledAcceptance()
    for _ in range(150):
        estimate.observe_rows(told(0.7), binding=True)  # type: ignore[arg-type]
    assert estimate.mean(WHOLE) == pytest.approx(0.7 * WHOLE, abs=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_places_of_a_run_are_told_apart(seed: int) -> None:
    """Paths that grow surer as they go on are seen to; what was told in pieces is put together."""
    chances = [0.5, 0.6, 0.7, 0.8]
    means = np.mean([fed(chances, seed=10 * seed + i).chances(WHOLE) for i in range(12)], axis=0)
    assert means[:4] == pytest.approx(chances, abs=0.06), f"seed {seed}"


def test_hits_outweigh_what_rows_promise() -> None:
    """Whatever share of alpha rows promise, after 200 hits and misses it is what hits say."""
    estimate = CoupledAcceptance()
    for step in range(200):
        estimate.observe_rows(told(1.0, positions=1), binding=False)  # type: ignore[arg-type]
        estimate.observe_hits(accepted=int(step % 4 == 0), seen=1, whole=WHOLE)
    assert estimate.mean(WHOLE) == pytest.approx(0.25, abs=0.03)


def test_what_hits_taught_is_kept_while_requests_are_under_rejection() -> None:
    """Rows follow the text again, and go on being corrected by how much they had promised too much."""
    estimate = CoupledAcceptance()
    for step in range(1500):
        estimate.observe_hits(accepted=int(step % 4 == 0), seen=1, whole=WHOLE)
    for _ in range(400):
        estimate.observe_rows(told(PRIOR_RATIO), binding=True)  # type: ignore[arg-type]
    assert estimate.mean(WHOLE) == pytest.approx(0.25, abs=0.04)
    assert estimate.mean(WHOLE / 2) == pytest.approx(0.125, abs=0.02)


def test_survivors_multiply_chances() -> None:
    """1 for no draft; behind the last place its chance goes on."""
    assert survives([0.5, 0.8], 4) == pytest.approx((1, 0.5, 0.4, 0.32, 0.256))
