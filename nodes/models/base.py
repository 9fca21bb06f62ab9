"""The few calls a node needs of a language model.

A model opens contexts; a context answers one question: the logits behind these tokens. Its cache never
shows: the answer depends on the tokens alone, and roll-back is what happens when the tokens change.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class UnsupportedModelError(Exception):
    """Raised when a model cannot serve here: no roll-back, wrong kind, broken files. The text says why."""


class Context(Protocol):
    """The cached state of one sequence."""

    def logits(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
        """Logits at the last `rows` positions of `tokens`, shape [rows, columns].

        Row i is the model's answer to what follows tokens[len(tokens) - rows + i]. `tokens` is the whole
        sequence; what the context has computed of it before is kept, whatever differs is dropped.
        Needs 1 <= rows <= len(tokens) <= context_length.
        """
        ...

    def close(self) -> None:
        """Free the cache. Idempotent."""
        ...


class LanguageModel(Protocol):
    """A causal language model over ids 0 .. vocab_size - 1."""

    @property
    def vocab_size(self) -> int:
        """V, the number of ids."""
        ...

    @property
    def context_length(self) -> int:
        """Most tokens a context may hold."""
        ...

    @property
    def support(self) -> NDArray[np.int64] | None:
        """The ids that the columns of a logits row stand for, rising; None: column i is id i, all V."""
        ...

    def open(self) -> Context:
        """A fresh context."""
        ...
