"""Models of one family often pad their logits to different widths: here both get the tokenizer's."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from draftwire.nodes.models.base import (
    Ask,
    Context,
    LanguageModel,
    PackingModel,
    Top,
    TopContext,
    UnsupportedModelError,
)


def fitted(model: LanguageModel, vocab_size: int) -> LanguageModel:
    """The model over ids 0 .. vocab_size - 1, the tokenizer's; columns behind stand for no token.

    Raises UnsupportedModelError where the model has fewer columns than the tokenizer has ids.
    """
    if model.vocab_size == vocab_size:
        return model
    if model.vocab_size < vocab_size:
        raise UnsupportedModelError(
            f"the tokenizer has {vocab_size} ids, the model's head only {model.vocab_size}: "
            "take the tokenizer that belongs to the model"
        )
    if isinstance(model, PackingModel):
        return _FittedPacking(model, vocab_size)
    return _Fitted(model, vocab_size)


class _Fitted:
    """A model without the columns that no token stands for."""

    def __init__(self, model: LanguageModel, vocab_size: int) -> None:
        self._model = model
        self.vocab_size = vocab_size
        self.context_length = model.context_length
        self.support = model.support
        if self.support is not None:
            self.support = self.support[self.support < vocab_size]
        self._columns = vocab_size if self.support is None else len(self.support)

    def open(self) -> Context:
        """A context whose rows are as wide as the vocabulary."""
        context = self._model.open()
        if isinstance(context, TopContext):
            return _FittedTopContext(context, self._columns)
        return _FittedContext(context, self._columns)


class _FittedPacking(_Fitted):
    """One whose contexts share passes. A `PackingModel`."""

    def __init__(self, model: PackingModel, vocab_size: int) -> None:
        super().__init__(model, vocab_size)
        self._packing = model
        self.kv_bytes = model.kv_bytes

    def together(self, asks: Sequence[Ask]) -> list[NDArray[np.float32]]:
        """As PackingModel."""
        own = [ask.context for ask in asks if isinstance(ask.context, _FittedContext)]
        if len(own) < len(asks):
            raise ValueError("a context of another model was asked; open one with this model's open()")
        inner = [replace(ask, context=context.fits) for ask, context in zip(asks, own, strict=True)]
        return [rows[:, : self._columns] for rows in self._packing.together(inner)]


class _FittedContext:
    def __init__(self, context: Context, columns: int) -> None:
        self.fits = context
        self._columns = columns

    def logits(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
        """As Context."""
        return self.fits.logits(tokens, rows)[:, : self._columns]

    def close(self) -> None:
        """As Context."""
        self.fits.close()


class _FittedTopContext(_FittedContext):
    def __init__(self, context: TopContext, columns: int) -> None:
        super().__init__(context, columns)
        self._top = context.top

    def top(self, tokens: Sequence[int], *, k: int, columns: int, temperature: float) -> Top:
        """As TopContext."""
        return self._top(tokens, k=k, columns=min(columns, self._columns), temperature=temperature)


__all__ = ["fitted"]
