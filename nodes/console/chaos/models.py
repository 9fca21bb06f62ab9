"""The models of a run: exact, so small that every row they can give is made once, and watched.

A row hangs on the last two tokens alone. A context remembers what it has computed, so that its node's belief
about that can be held against it.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from draftwire.nodes.console.chaos.lives import Life
from draftwire.nodes.models.base import Ask
from draftwire.nodes.models.synthetic import SYNTHETIC_CONTEXT, SyntheticModel, SyntheticTokenizer

VOCAB_SIZE: Final = 24
ORDER: Final = 2
SEED: Final = 3
NOISE: Final = 0.8
"""Of the draft: two thirds of what it drafts are accepted."""

TOKENIZER: Final = SyntheticTokenizer(VOCAB_SIZE)

Rows = NDArray[np.float32]
Complain = Callable[[str], None]


@lru_cache
def rows_of(noise: float) -> Rows:
    """What follows each two tokens, shape [V * V, V]; the target's have no noise."""
    model = SyntheticModel(vocab_size=VOCAB_SIZE, seed=SEED, noise=noise, order=ORDER)
    pairs = [one for first in range(VOCAB_SIZE) for second in range(VOCAB_SIZE) for one in (first, second)]
    rows = model.rows(pairs, len(pairs))[1::2].copy()
    rows.flags.writeable = False
    return rows


def rows_behind(table: Rows, tokens: Sequence[int], rows: int) -> Rows:
    """At the last `rows` positions of `tokens`, of which at least ORDER lie before the last of them."""
    end = len(tokens)
    at = [tokens[i - 1] * VOCAB_SIZE + tokens[i] for i in range(end - rows, end)]
    found: Rows = table[at]
    return found


class WatchedContext:
    """A context of a life's model; complains of what a real one could not bear."""

    def __init__(self, model: "TabledModel") -> None:
        self._model = model
        self.tokens: Sequence[int] = ()
        "what it has computed"
        self.closed = False

    def logits(self, tokens: Sequence[int], rows: int) -> Rows:
        model = self._model
        if self.closed:
            model.complain("a context was used after it had been closed")
        if not (0 <= rows <= len(tokens) and tokens):
            model.complain(f"{rows} rows of {len(tokens)} tokens were asked for")
        self.tokens = list(tokens)
        return rows_behind(model.table, tokens, rows)

    def close(self) -> None:
        self.closed = True
        self._model.contexts.pop(id(self), None)


class TabledModel:
    """A model as one life of a node has it. Memory for a token is one byte."""

    vocab_size = VOCAB_SIZE
    context_length = SYNTHETIC_CONTEXT
    support = None

    def __init__(self, life: Life, *, noise: float, complain: Complain) -> None:
        """`complain` hears what is wrong, as a sentence, while the life lasts."""
        self.table = rows_of(noise)
        self.contexts: dict[int, WatchedContext] = {}
        "those that are open"
        self._life, self._complain = life, complain

    def complain(self, what: str) -> None:
        """Unless it is over."""
        if not self._life.dead:
            self._complain(f"{self._life.name}: {what}")

    def open(self) -> WatchedContext:
        context = WatchedContext(self)
        self.contexts[id(context)] = context
        return context

    def together(self, asks: Sequence[Ask]) -> list[Rows]:
        """In one pass; each context at most once."""
        if len({id(ask.context) for ask in asks}) < len(asks):
            self.complain("a context was asked twice in one pass")
        answers = list[Rows]()
        for ask in asks:
            assert isinstance(ask.context, WatchedContext)
            answers.append(ask.context.logits(ask.tokens, ask.rows))
        return answers

    def kv_bytes(self, tokens: int) -> int:
        return tokens


__all__ = ["NOISE", "TOKENIZER", "VOCAB_SIZE", "TabledModel", "WatchedContext", "rows_behind", "rows_of"]
