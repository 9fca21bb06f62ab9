"""Models of one family often pad their logits to different widths: here both get the tokenizer's."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from draftwire.nodes.models.base import Context, LanguageModel, Top, TopContext, UnsupportedModelError


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

    def open(self) -> Context:
        """A context whose rows are as wide as the vocabulary."""
        columns = self.vocab_size if self.support is None else len(self.support)
        context = self._model.open()
        if isinstance(context, TopContext):
            return _FittedTopContext(context, columns)
        return _FittedContext(context, columns)


class _FittedContext:
    def __init__(self, context: Context, columns: int) -> None:
        self._context = context
        self._columns = columns

    def logits(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
        """As Context."""
        return self._context.logits(tokens, rows)[:, : self._columns]

    def close(self) -> None:
        """As Context."""
        self._context.close()


class _FittedTopContext(_FittedContext):
    def __init__(self, context: TopContext, columns: int) -> None:
        super().__init__(context, columns)
        self._top = context.top

    def top(self, tokens: Sequence[int], *, k: int, columns: int, temperature: float) -> Top:
        """As TopContext."""
        return self._top(tokens, k=k, columns=min(columns, self._columns), temperature=temperature)


__all__ = ["fitted"]
