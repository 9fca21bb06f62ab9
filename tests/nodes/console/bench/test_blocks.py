"""Blocks as drafted, and what two ways to test them are expected to bring."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row
from draftwire.codecs.weights import WEIGHT_SUM
from draftwire.nodes.console.bench.blocks import BLOCK_K, GAMMA, Block, drafted, expected_tokens
from draftwire.nodes.speculation.noise import Key, PhiloxNoise, Purpose
from draftwire.nodes.speculation.sampling import (
    AcceptRule,
    BlockRejection,
    Drafted,
    Rejection,
    draw,
    sparsify,
)

Floats = NDArray[np.float64]


def world(seed: int, *, length: int, size: int = 3) -> tuple[list[Floats], list[Row]]:
    """p and q of a text whose positions do not hang on each other."""
    rng = np.random.default_rng(seed)
    p = list(rng.dirichlet(np.full(size, 0.7), size=length))
    q = rng.dirichlet(np.full(size, 0.7), size=length)
    return p, [quantize(np.arange(size), np.log(np.maximum(one, 1e-6)), vocab_size=size) for one in q]


def over_all_drafts(p: list[Floats], rows: Sequence[Row]) -> tuple[float, float]:
    """Tokens of a step by both rules, whatever was drafted."""
    token = block = 0.0
    for ids in product(range(len(p[0])), repeat=len(rows)):
        chance = np.prod([row.weight_of(x) / WEIGHT_SUM for row, x in zip(rows, ids, strict=True)])
        if chance:
            expected = expected_tokens(p, Block(ids, tuple(rows)))
            token += float(chance) * expected.token
            block += float(chance) * expected.block
    return token, block


@pytest.mark.parametrize("seed", range(12))
def test_over_all_drafts_a_token_stands_with_alpha_and_blocks_bring_no_less(seed: int) -> None:
    """Positions that do not hang on each other: 1 + alpha_1 + alpha_1 alpha_2 + ..."""
    p, rows = world(seed, length=3)
    alphas = [np.minimum(one, row.weights / WEIGHT_SUM).sum() for one, row in zip(p, rows, strict=True)]
    token, block = over_all_drafts(p, rows)
    assert token == pytest.approx(1 + np.cumprod(alphas).sum(), abs=1e-9)
    assert block >= token - 1e-9


def test_of_one_draft_both_rules_are_one() -> None:
    """There is nothing behind it that its surplus could serve."""
    p, rows = world(3, length=1)
    for x in range(3):
        expected = expected_tokens(p, Block((x,), tuple(rows)))
        assert expected.block == pytest.approx(expected.token, abs=1e-12)


@pytest.mark.parametrize("rule", [Rejection(), BlockRejection()])
def test_expected_tokens_are_those_of_the_rules_that_run(rule: AcceptRule) -> None:
    """The mean over 4000 seeds of what the BS would accept of one block, and one token behind it."""
    p, rows = world(11, length=GAMMA)
    ids = (1, 2, 1, 0)  # token by token 2.2, as a block 4.1
    weights = tuple(row.weight_of(x) for row, x in zip(rows, ids, strict=True))
    accepted = [
        rule.outcome(
            [*p, p[0]],
            Drafted(ids=ids, weights=weights, seed=seed, draft_epoch=0, start=7),
            rows,
            PhiloxNoise(),
        ).accepted
        for seed in range(4000)
    ]
    expected = expected_tokens(p, Block(ids, tuple(rows)))
    wanted = expected.block if isinstance(rule, BlockRejection) else expected.token
    error = np.std(accepted) / np.sqrt(len(accepted))
    assert abs(expected.block - expected.token) > 1.5
    assert 1 + np.mean(accepted) == pytest.approx(wanted, abs=4 * error)


def test_drafts_that_are_the_target_s_all_stand() -> None:
    """q is p, up to what a row's integers cannot say."""
    _, rows = world(6, length=GAMMA)
    p = [row.weights / WEIGHT_SUM for row in rows]
    assert expected_tokens(p, Block((0, 1, 2, 0), tuple(rows))) == pytest.approx((5.0, 5.0), abs=1e-5)


def test_a_block_is_drawn_as_the_device_draws() -> None:
    """Each token from the row of its place, behind those drawn before, of K = BLOCK_K at most."""
    rng = np.random.default_rng(8)
    support = np.sort(rng.permutation(900)[:400])
    logits = rng.normal(scale=3, size=(GAMMA, 400)).astype(np.float32)
    asked = list[tuple[int, ...]]()

    def model(ids: Sequence[int]) -> NDArray[np.float32]:
        asked.append(tuple(ids))
        row: NDArray[np.float32] = logits[len(ids)]
        return row

    block = drafted(model, place=3, vocab_size=900, temperature=0.8, support=support)
    assert asked == [block.ids[:n] for n in range(GAMMA)]
    for n, (x, row) in enumerate(zip(block.ids, block.rows, strict=True)):
        assert row == sparsify(logits[n], support, k=BLOCK_K, temperature=0.8, vocab_size=900)
        assert x == draw(row, Key(1, 3, n, Purpose.DRAFT), PhiloxNoise())
    others = drafted(lambda ids: logits[len(ids)], place=4, vocab_size=900, temperature=0.8, support=support)
    assert others.ids != block.ids
