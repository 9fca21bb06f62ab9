"""Drawing a block: the device's half of TK-SLT, one row and one token at a time."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.rows import Row
from draftwire.nodes.speculation.noise import Key, Noise, Purpose
from draftwire.nodes.speculation.sampling import draw, sparsify
from draftwire.runtime.session.request import Block, DraftWork, Request


class DraftLogits(Protocol):
    """The one call of a model's context that drafting needs (nodes/models/base.py)."""

    def logits(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
        """Shape [rows, columns]."""
        ...


def draw_block(
    work: DraftWork,
    request: Request,
    context: DraftLogits,
    *,
    support: NDArray[np.int64] | None,
    vocab_size: int,
    noise: Noise,
) -> Block:
    """The block that `work` asks for. Its draws are keyed (seed, draft_epoch, position, DRAFT).

    The draft runs at the request's temperature; that moves acceptance, never the output distribution.
    """
    tokens = list(work.tokens)
    start = len(tokens)
    rows: list[Row] = []
    for _ in range(work.length):
        logits = context.logits(tokens, 1)[0]
        if request.sampling.greedy:
            column = int(np.argmax(logits))
            tokens.append(column if support is None else int(support[column]))
            continue
        row = sparsify(
            logits,
            support,
            k=work.plan.k,
            temperature=request.sampling.temperature,
            vocab_size=vocab_size,
        )
        key = Key(request.seed, work.draft_epoch, len(tokens), Purpose.DRAFT)
        tokens.append(draw(row, key, noise))
        rows.append(row)
    return Block(
        draft_epoch=work.draft_epoch,
        start=start,
        plan=work.plan,
        ids=tuple(tokens[start:]),
        rows=tuple(rows),
    )


__all__ = ["DraftLogits", "draw_block"]
