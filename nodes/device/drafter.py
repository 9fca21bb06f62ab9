"""Drawing a block: the device's half of TK-SLT, one row and one token at a time."""

from collections.abc import Sequence
from functools import lru_cache
from math import isfinite
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.rows import Row
from draftwire.nodes.models.base import Top, TopContext, UnsupportedModelError
from draftwire.nodes.speculation.noise import Key, Noise, Purpose
from draftwire.nodes.speculation.sampling import draw, row_of
from draftwire.nodes.speculation.topk import left_out_mass, top_k
from draftwire.runtime.session.request import Block, DraftWork, Request


class DraftLogits(Protocol):
    """The call of a model's context that drafting needs where there is no `top` (nodes/models/base.py)."""

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
    Raises UnsupportedModelError where the largest of the model's logits is no finite number.
    """
    tokens = list(work.tokens)
    start = len(tokens)
    rows: list[Row] = []
    temperature, greedy = request.sampling.temperature, request.sampling.greedy
    reader = cast(TopContext, context) if _has_top(type(context)) else _OnHost(context)
    columns = vocab_size if support is None else len(support)
    for _ in range(work.length):
        top = reader.top(tokens, k=1 if greedy else work.plan.k, columns=columns, temperature=temperature)
        _check(top, len(tokens))
        if greedy:
            column = int(top.columns[0])
            tokens.append(column if support is None else int(support[column]))
            continue
        row = row_of(
            top.columns,
            top.logits,
            support,
            left_out=top.left_out,
            temperature=temperature,
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


def _check(top: Top, position: int) -> None:
    largest = float(np.maximum.reduce(top.logits))  # NaN, if one of them is
    if not isfinite(largest):
        raise UnsupportedModelError(
            f"the draft model's largest logit for token {position} is {largest}: its weights are broken, "
            "or too large for their type; try --dtype float32"
        )


@lru_cache  # to ask a protocol each time takes longer than to draw a token
def _has_top(context: type) -> bool:
    return issubclass(context, TopContext)


class _OnHost:
    """`top` of a context whose logits lie in this machine's memory: numpy finds them."""

    def __init__(self, context: DraftLogits) -> None:
        self._context = context

    def top(self, tokens: Sequence[int], *, k: int, columns: int, temperature: float) -> Top:
        """As TopContext."""
        logits = self._context.logits(tokens, 1)[0, :columns]
        found = top_k(logits, k)
        return Top(
            columns=found,
            logits=logits[found],
            left_out=left_out_mass(logits, found, temperature) if temperature else 0.0,
        )


__all__ = ["DraftLogits", "draw_block"]
