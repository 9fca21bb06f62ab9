"""Block verification, enumerated: the target's law, and never fewer accepted than token by token."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import prod

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from tests.harness.enumerate import EnumeratingNoise, explore
from tests.harness.pair import total_variation

from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row
from draftwire.codecs.weights import WEIGHT_SUM
from draftwire.nodes.speculation import sampling
from draftwire.nodes.speculation.noise import Key, PhiloxNoise, Purpose
from draftwire.nodes.speculation.sampling import (
    BlockRejection,
    Drafted,
    draw,
    sample_target,
)

Text = tuple[int, ...]
Floats = NDArray[np.float64]
RULE = BlockRejection()


@dataclass(frozen=True)
class Models:
    """Two models, by what stands before: p, and the row of k ids that a draft is drawn from."""

    p: Callable[[Text], Floats]
    row: Callable[[Text], Row]


def models(seed: int, v: int, k: int, *, likeness: float = 0.0, cut_p: bool = False) -> Models:
    """Random ones over `v` ids; `likeness` 0: unrelated, 1: p is the uncut q; `cut_p`: p lacks an id."""

    @cache
    def q(text: Text) -> Floats:
        return np.random.default_rng([seed, 1, *text]).dirichlet(np.full(v, 0.7)) * 0.98 + 0.02 / v

    @cache
    def p(text: Text) -> Floats:
        own = np.random.default_rng([seed, 2, *text]).dirichlet(np.full(v, 0.7))
        mixed = likeness * q(text) + (1 - likeness) * own
        if cut_p:
            mixed[mixed.argmin()] = 0.0
        return np.asarray(mixed / mixed.sum())

    @cache
    def row(text: Text) -> Row:
        ids = np.sort(np.argsort(-q(text))[:k])
        return quantize(ids, np.log(q(text)[ids]), vocab_size=v)

    return Models(p, row)


def a_block(within: Models, n: int, noise: EnumeratingNoise, rule: BlockRejection = RULE) -> Text:
    """n tokens drafted and tested as a block, then as many of the target's own as make n + 1."""
    text: Text = ()
    rows = []
    for position in range(n):
        rows.append(within.row(text))
        text += (draw(rows[-1], Key(1, 1, position, Purpose.DRAFT), noise),)
    weights = tuple(row.weight_of(x) for row, x in zip(rows, text, strict=True))
    block = Drafted(ids=text, weights=weights, seed=1, draft_epoch=1, start=0)
    p = [within.p(text[:i]) for i in range(n + 1)]
    found = rule.outcome(p, block, rows, noise)
    assert found.token is not None
    text = (*text[: found.accepted], found.token)
    while len(text) <= n:
        text += (sample_target(within.p(text), 1, len(text), noise),)
    return text


def law_of_the_target(within: Models, length: int, v: int) -> dict[Text, float]:
    """Every text with its probability."""
    return {
        text: prod(float(within.p(text[:i])[x]) for i, x in enumerate(text))
        for text in product(range(v), repeat=length)
    }


def distance(within: Models, n: int, v: int) -> float:
    """Total variation between what the rule makes and the target's law."""
    return total_variation(
        explore(lambda noise: a_block(within, n, noise)), law_of_the_target(within, n + 1, v)
    )


@pytest.mark.parametrize("likeness", [0.0, 0.8])
@pytest.mark.parametrize(("n", "v", "k"), [(1, 4, 4), (1, 4, 2), (2, 3, 3), (2, 3, 2), (3, 2, 2), (3, 3, 1)])
def test_the_law_is_the_targets(n: int, v: int, k: int, likeness: float) -> None:
    """All drafts, all tests, all corrections: whole rows and cut ones, unrelated models and alike ones."""
    for seed in range(3):
        assert distance(models(seed, v, k, likeness=likeness), n, v) < 1e-12, seed
    assert distance(models(7, v, k, likeness=likeness, cut_p=True), n, v) < 1e-12


@settings(max_examples=25)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([(1, 3), (2, 2), (2, 3)]), st.integers(1, 3), st.floats(0, 1)
)
def test_the_law_is_the_targets_in_any_world(
    seed: int, shape: tuple[int, int], k: int, likeness: float
) -> None:
    """Worlds of hypothesis' choice."""
    n, v = shape
    assert distance(models(seed, v, min(k, v), likeness=likeness), n, v) < 1e-12


def test_a_p_that_equals_q_is_accepted_whole() -> None:
    """To the last bit of the integers: nothing is ever left for a residual, and nothing divides by zero."""
    within = models(3, 3, 3)

    def same(text: Text) -> Floats:
        return np.asarray(within.row(text).weights / WEIGHT_SUM)

    law = explore(lambda noise: a_block(Models(same, within.row), 2, noise))
    assert total_variation(law, law_of_the_target(Models(same, within.row), 3, 3)) < 1e-12
    row, block = within.row(()), Drafted(ids=(0, 1), weights=(1, 1), seed=1, draft_epoch=1, start=0)
    assert RULE.chance(same(()), row, 1.0) == 0.0
    assert RULE.outcome([same(())] * 3, block, [row, row], PhiloxNoise()).accepted == 2


def test_the_token_rules_residual_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """max(0, p - q) behind drafts of which the target has less: not its law."""
    right = sampling.residual

    def wrong(p: Floats, row: Row, scale: float = 1.0) -> Floats:
        return right(p, row)

    worlds = [models(seed, 3, 3, likeness=0.5) for seed in range(5)]
    monkeypatch.setattr(sampling, "residual", wrong)
    tv = max(distance(within, 2, 3) for within in worlds)
    print(f"block verification with the token rule's residual: TV {tv:.4f}")
    assert tv > 1e-3


def test_a_share_of_the_last_token_alone_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """w_i = min(1, p/q) of one position: what the tokens before have cost is forgotten."""

    def alone(p: list[Floats], ids: Text, weights: Text) -> list[float]:
        ratios = [float(p[i][x]) * WEIGHT_SUM / w for i, (x, w) in enumerate(zip(ids, weights, strict=True))]
        return [1.0, *(min(1.0, ratio) for ratio in ratios)]

    monkeypatch.setattr(BlockRejection, "shares", staticmethod(alone))
    assert distance(models(0, 3, 3), 2, 3) > 1e-3


# ------------------------------------------------------------------------------------- how many it accepts


def accepted_by_token(within: Models, text: Text) -> float:
    """Expected, of a draft, tested token by token."""
    shares = [1.0]
    for i, x in enumerate(text):
        q = within.row(text[:i]).weight_of(x) / WEIGHT_SUM
        shares.append(shares[-1] * min(1.0, float(within.p(text[:i])[x]) / q))
    return sum(shares[1:])


def accepted_by_block(within: Models, text: Text) -> float:
    """Expected, of a draft, tested as a block: the sum over i of the chance that i or more are."""
    n, rows = len(text), [within.row(text[:i]) for i in range(len(text))]
    p = [within.p(text[:i]) for i in range(n)]
    shares = RULE.shares(p, text, [row.weight_of(x) for row, x in zip(rows, text, strict=True)])
    chances = [*(RULE.chance(p[i], rows[i], shares[i]) for i in range(1, n)), shares[n]]
    return sum(1 - prod(1 - h for h in chances[i:]) for i in range(n))


def expected(within: Models, n: int, accepted: Callable[[Models, Text], float]) -> float:
    """Over all drafts of n tokens."""

    def drafts(text: Text) -> list[tuple[Text, float]]:
        if len(text) == n:
            return [(text, 1.0)]
        row = within.row(text)
        return [
            (whole, chance * weight / WEIGHT_SUM)
            for x, weight in zip(row.ids.tolist(), row.weights.tolist(), strict=True)
            for whole, chance in drafts((*text, x))
        ]

    return sum(chance * accepted(within, text) for text, chance in drafts(()))


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(2, 4), st.integers(1, 4), st.floats(0, 1)
)
def test_never_fewer_are_accepted(seed: int, n: int, v: int, k: int, likeness: float) -> None:
    """Than token by token, in expectation over the drafts; the same for a block of one."""
    within = models(seed, v, min(k, v), likeness=likeness)
    by_block, by_token = (expected(within, n, rule) for rule in (accepted_by_block, accepted_by_token))
    assert by_block >= by_token - 1e-12
    if n == 1:
        assert by_block == pytest.approx(by_token, abs=1e-12)


def test_more_are_accepted_where_there_is_something_to_spare() -> None:
    """Models that are alike, blocks of 4: at least 2 % more drafts stand."""
    within = [models(seed, 3, 3, likeness=0.6) for seed in range(5)]
    by_block = sum(expected(one, 4, accepted_by_block) for one in within)
    by_token = sum(expected(one, 4, accepted_by_token) for one in within)
    print(f"block over token, accepted of 4: {by_block / by_token:.3f}")
    assert by_block > 1.02 * by_token


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_an_outcome_is_a_token_that_may_stand_there(seed: int, n: int) -> None:
    """With real noise: what comes behind the accepted drafts has mass in p, and is not the rejected draft."""
    within, rng = models(seed, 4, 3, likeness=0.3), np.random.default_rng(seed)
    text: Text = ()
    for _ in range(n):
        text += (int(rng.choice(within.row(text).ids)),)
    rows = [within.row(text[:i]) for i in range(n)]
    weights = tuple(row.weight_of(x) for row, x in zip(rows, text, strict=True))
    block = Drafted(ids=text, weights=weights, seed=seed, draft_epoch=1, start=0)
    found = RULE.outcome([within.p(text[:i]) for i in range(n + 1)], block, rows, PhiloxNoise())
    assert found.token is not None
    assert within.p(text[: found.accepted])[found.token] > 0
    if found.accepted < n:
        assert found.token != text[found.accepted]
