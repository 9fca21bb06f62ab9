"""What two ways to test a block come to, given what the draft drew: token by token, and the block as a whole.

Both leave the text's distribution as it is (docs/theory.md); the second accepts more, where the first would
give up a draft whose beginning was likelier than it had to be. An expectation over their coins is taken here,
so that a few hundred blocks tell the ratio to a part in a hundred.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.rows import Row
from draftwire.codecs.weights import WEIGHT_SUM
from draftwire.nodes.speculation.noise import Key, PhiloxNoise, Purpose
from draftwire.nodes.speculation.sampling import BlockRejection, draw, sparsify

Floats = NDArray[np.float64]
Logits = NDArray[np.float32]

GAMMA: Final = 4
"""Drafted tokens of a block."""

BLOCK_K: Final = 320
"""Entries of their rows at most: beyond it alpha hardly grows."""

SEED: Final = 1
"""Of the draft's draws."""


class Block(NamedTuple):
    """A block as the device draws it."""

    ids: tuple[int, ...]
    rows: tuple[Row, ...]
    "that they were drawn from"


class Expected(NamedTuple):
    """Tokens of a step, 1 to n + 1, over the coins of its tests."""

    token: float
    "1 + sum_i prod_{j <= i} min(1, r_j), r = p/q of the draft"
    block: float
    "1 + sum_i (1 - prod_{j >= i} (1 - h_j)), h as in BlockRejection"


def drafted(
    logits: Callable[[Sequence[int]], Logits],
    *,
    place: int,
    vocab_size: int,
    temperature: float,
    support: NDArray[np.int64] | None = None,
) -> Block:
    """GAMMA tokens, each from its row's weights, as under rejection.

    `logits`: the draft's, one for each id of `support`, behind the ids drawn so far. `place`: of the block in
    the text; its draws are keyed by it.
    """
    noise, ids, rows = PhiloxNoise(), list[int](), list[Row]()
    while len(ids) < GAMMA:
        scores = logits(ids)
        row = sparsify(
            scores, support, k=min(BLOCK_K, len(scores)), temperature=temperature, vocab_size=vocab_size
        )
        rows.append(row)
        ids.append(draw(row, Key(SEED, place, len(ids), Purpose.DRAFT), noise))
    return Block(tuple(ids), tuple(rows))


def expected_tokens(p: Sequence[Floats], block: Block) -> Expected:
    """By both rules; p[i], shape [V], is the target's distribution in front of draft i."""
    weights = [row.weight_of(x) for row, x in zip(block.rows, block.ids, strict=True)]
    ratios = [float(one[x]) * WEIGHT_SUM / q for one, x, q in zip(p, block.ids, weights, strict=True)]
    stands = np.minimum(ratios, 1).cumprod()
    shares = BlockRejection.shares(p, block.ids, weights)
    inner = zip(p[1:], block.rows[1:], shares[1:-1], strict=True)
    chances = [*(BlockRejection.chance(*one) for one in inner), shares[-1]]
    at_least = 1 - (1 - np.array(chances))[::-1].cumprod()[::-1]
    return Expected(token=1 + float(stands.sum()), block=1 + float(at_least.sum()))


__all__ = ["BLOCK_K", "GAMMA", "Block", "Expected", "drafted", "expected_tokens"]
