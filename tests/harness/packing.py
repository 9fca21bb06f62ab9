"""A model for virtual time that answers several contexts in one pass, and counts the memory they take."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from draftwire.nodes.models.base import Ask, LanguageModel

BLOCK: Final = 16
"""Memory comes in blocks of so many tokens."""

TOKEN_BYTES: Final = 10**5


@dataclass(eq=False)
class PackedContext:
    """Its cache are the tokens themselves."""

    model: "PackedModel"
    tokens: list[int] = field(default_factory=list)
    size: int = 0
    "bytes"
    closed: bool = False

    def logits(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
        return self.model.together([Ask(context=self, tokens=tokens, rows=rows)])[0]

    def close(self) -> None:
        assert not self.model.computing, "a context was closed while a pass used it"
        self.closed, self.size = True, 0
        self.model.contexts.discard(self)

    def compute(self, tokens: Sequence[int]) -> int:
        """Hold these tokens; how many of them were new."""
        assert not self.closed, "a closed context was asked"
        shorter = min(len(tokens), len(self.tokens))
        kept = next((i for i in range(shorter) if tokens[i] != self.tokens[i]), shorter)
        self.tokens = list(tokens)
        self.size = max(self.size, self.model.kv_bytes(len(tokens)))
        return len(tokens) - kept


class PackedModel:
    """`inner` for answers; `spoil` may change, or refuse by raising, what a pass answers to one ask."""

    def __init__(
        self,
        inner: LanguageModel,
        *,
        spoil: Callable[[Ask, NDArray[np.float32]], NDArray[np.float32]] = lambda ask, rows: rows,
    ) -> None:
        self._inner, self._answers, self._spoil = inner, inner.open(), spoil
        self.vocab_size, self.context_length = inner.vocab_size, inner.context_length
        self.support = inner.support
        self.contexts = set[PackedContext]()
        self.computing = False
        self.check: Callable[[], None] = lambda: None
        "called with every pass"
        self.peak = 0
        "bytes, of all contexts"
        self.passes = list[list[tuple[int, int]]]()
        "of each pass the new positions and the rows asked for, by ask"

    @property
    def in_use(self) -> int:
        """Bytes."""
        return sum(context.size for context in self.contexts)

    def kv_bytes(self, tokens: int) -> int:
        return -(-tokens // BLOCK) * BLOCK * TOKEN_BYTES

    def open(self) -> PackedContext:
        context = PackedContext(self)
        self.contexts.add(context)
        return context

    def together(self, asks: Sequence[Ask]) -> list[NDArray[np.float32]]:
        assert len({id(ask.context) for ask in asks}) == len(asks)
        assert all(len(ask.tokens) <= self.context_length for ask in asks)
        self.computing = True
        try:
            new = list[int]()
            for ask in asks:
                assert isinstance(ask.context, PackedContext)
                new.append(ask.context.compute(ask.tokens))
            self.passes.append([(count, ask.rows) for count, ask in zip(new, asks, strict=True)])
            self.peak = max(self.peak, self.in_use)
            self.check()
            return [self._spoil(ask, self._rows(ask)) for ask in asks]
        finally:
            self.computing = False

    def _rows(self, ask: Ask) -> NDArray[np.float32]:
        return self._answers.logits(ask.tokens, max(1, ask.rows))[: ask.rows]


__all__ = ["BLOCK", "TOKEN_BYTES", "PackedContext", "PackedModel"]
