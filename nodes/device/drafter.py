"""Drawing what a device drafts, one token at a time, each by the noise that its acceptance asks for.

Under rejection a token is drawn from its sparse row, the one that travels. With coupled acceptance it is
picked from the whole row by the noise that the target will pick by, and at temperature 0 it is the largest:
both are hints, so nothing but acceptance hangs on how they come about.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import isfinite
from typing import NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.rows import Row
from draftwire.nodes.models.base import Top, TopContext, UnsupportedModelError
from draftwire.nodes.speculation.noise import Key, Noise, Purpose
from draftwire.nodes.speculation.sampling import draw, row_of, sparsify, target_distribution, target_key
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
    """The block that `work` asks for. Its draws are keyed (seed, draft_epoch, position, DRAFT), coupled ones
    as the target's own.

    The draft runs at the request's temperature, a coupled one under its top-k and top-p too; that moves
    acceptance, never the output distribution.
    Raises UnsupportedModelError where the largest of the model's logits is no finite number.
    """
    pen = _Pen(work, request, context, support=support, vocab_size=vocab_size, noise=noise)
    if request.sampling.greedy:
        next_token: Callable[[list[int], int], _Drawn] = pen.greedy
    else:
        next_token = pen.coupled if request.hints else pen.from_row
    tokens = list(work.tokens)
    drawn: list[_Drawn] = []
    for i in range(work.length):
        drawn.append(next_token(tokens, i))
        tokens.append(drawn[-1].token)
    rows = tuple(one.row for one in drawn if one.row is not None)
    return Block(
        draft_epoch=work.draft_epoch,
        start=len(work.tokens),
        plan=work.plan,
        ids=tuple(one.token for one in drawn),
        rows=rows,
        chances=tuple(one.chance for one in drawn if one.chance is not None),
        row_at=work.row_of if request.hints and rows else None,
    )


class _Drawn(NamedTuple):
    token: int
    row: Row | None = None
    chance: float | None = None


class _Pen:
    """The ways to draw number i of a work's tokens, behind `tokens`."""

    def __init__(
        self,
        work: DraftWork,
        request: Request,
        context: DraftLogits,
        *,
        support: NDArray[np.int64] | None,
        vocab_size: int,
        noise: Noise,
    ) -> None:
        self._work, self._request, self._context = work, request, context
        self._support, self._vocab_size, self._noise = support, vocab_size, noise
        self._columns = vocab_size if support is None else len(support)
        self._reader = cast(TopContext, context) if _has_top(type(context)) else _OnHost(context)

    def from_row(self, tokens: list[int], i: int) -> _Drawn:
        """Rejection: from the K largest, as the wire carries them."""
        temperature = self._request.sampling.temperature
        top = self._top(tokens, k=self._work.plan.k, temperature=temperature)
        row = row_of(
            top.columns,
            top.logits,
            self._support,
            left_out=top.left_out,
            temperature=temperature,
            vocab_size=self._vocab_size,
        )
        key = Key(self._request.seed, self._work.draft_epoch, len(tokens), Purpose.DRAFT)
        return _Drawn(draw(row, key, self._noise), row)

    def greedy(self, tokens: list[int], i: int) -> _Drawn:
        """The largest, and its chance at temperature 1."""
        top = self._top(tokens, k=1, temperature=1.0)
        return _Drawn(self._id(int(top.columns[0])), chance=1.0 - top.left_out)

    def coupled(self, tokens: list[int], i: int) -> _Drawn:
        """From all columns, as the target samples its own; one of them may be asked for its sparse row."""
        logits = self._context.logits(tokens, 1)[0, : self._columns]
        _check(logits, len(tokens))
        sampling = self._request.sampling
        q = target_distribution(logits, sampling)
        column = self._noise.draw_masses(target_key(self._request.seed, len(tokens)), q, self._support)
        row = None
        if i == self._work.row_of:
            row = sparsify(
                logits,
                self._support,
                k=self._work.plan.k,
                temperature=sampling.temperature,
                vocab_size=self._vocab_size,
            )
        return _Drawn(self._id(column), row, float(q[column]))

    def _top(self, tokens: list[int], *, k: int, temperature: float) -> Top:
        top = self._reader.top(tokens, k=k, columns=self._columns, temperature=temperature)
        _check(top.logits, len(tokens))
        return top

    def _id(self, column: int) -> int:
        return column if self._support is None else int(self._support[column])


def _check(logits: NDArray[np.float32], position: int) -> None:
    largest = float(np.maximum.reduce(logits))  # NaN, if one of them is
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
