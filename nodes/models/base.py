"""The few calls a node needs of a language model.

A model opens contexts; a context answers one question: the logits behind these tokens. Its cache never
shows: the answer depends on the tokens alone, and roll-back is what happens when the tokens change. A model
that can answer several contexts in one pass is a `PackingModel`; `answers` asks either kind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


class UnsupportedModelError(Exception):
    """Raised when a model cannot serve here: no roll-back, wrong kind, broken files. The text says why."""


class NoChatTemplateError(UnsupportedModelError):
    """Raised when messages are to be encoded for a model that comes without a chat template."""

    def __init__(self) -> None:
        super().__init__("This model has no chat template: give it a text to continue instead of messages.")


class ChatTemplateError(UnsupportedModelError):
    """Raised when a model's chat template fails, as many do for roles or an order that they do not know."""

    def __init__(self, cause: Exception) -> None:
        self.said = " ".join(str(cause).split()) or type(cause).__name__
        "by the template, or by what runs it"
        super().__init__(f"The model's chat template fails: {self.said}")


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Top:
    """The K largest of a row of logits: all that drafting needs of it."""

    columns: NDArray[np.int64]
    "shape [K], rising; of logits that are equal at the edge the first ones; NaN counts as the largest"
    logits: NDArray[np.float32]
    "shape [K], of these columns"
    left_out: float
    "0 to 1: the part that all other columns have of the row's mass at the temperature asked for"


@runtime_checkable
class TopContext(Context, Protocol):
    """A context whose logits lie on an accelerator, which finds the largest there: only these cross over."""

    def top(self, tokens: Sequence[int], *, k: int, columns: int, temperature: float) -> Top:
        """The K largest logits behind `tokens`, of the first `columns`; all of these where K is more.

        As `logits(tokens, 1)` otherwise. `temperature`: what `left_out` is read at; at 0 nobody asks for it,
        and it is 0.
        """
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What one context is asked for in a pass that it shares with others."""

    context: Context
    "of the model that is asked; at most once a pass"
    tokens: Sequence[int]
    "the whole sequence, as in Context.logits"
    rows: int
    "0 to len(tokens): logits wanted at so many last positions; 0: the context only computes what it lacks"


@runtime_checkable
class PackingModel(LanguageModel, Protocol):
    """A model that computes the new tokens of several contexts in one pass."""

    def together(self, asks: Sequence[Ask]) -> list[NDArray[np.float32]]:
        """What each context's `logits` gives, shape [rows, columns] each, in the order of `asks`.

        Whatever it raises, contexts whose asks were in order answer the next call as if this one had not
        been, and have kept what they had computed.
        """
        ...

    def kv_bytes(self, tokens: int) -> int:
        """Memory that a context of so many tokens takes, exactly; what `close` gives back."""
        ...


def answers(model: LanguageModel, asks: Sequence[Ask]) -> list[NDArray[np.float32]]:
    """What each context answers: in one pass where the model can, else in turn."""
    if isinstance(model, PackingModel):
        return model.together(asks)
    return [ask.context.logits(ask.tokens, max(1, ask.rows))[: ask.rows] for ask in asks]


__all__ = [
    "Ask",
    "ChatTemplateError",
    "Context",
    "LanguageModel",
    "NoChatTemplateError",
    "PackingModel",
    "Top",
    "TopContext",
    "UnsupportedModelError",
    "answers",
]
