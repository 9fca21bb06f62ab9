"""Where a log ends: end-of-text ids, stop strings, length. Decided by the BS, position by position."""

from collections.abc import Callable, Sequence
from typing import Protocol

from draftwire.codecs.messages import Finish

TAIL_TOKENS = 48
"""Tokens that are decoded again to look for a stop string: more than any sensible one is long."""


class Decoder(Protocol):
    """What stopping needs of a tokenizer."""

    @property
    def eos_ids(self) -> frozenset[int]:
        """Ids that end a text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids."""
        ...


def finish_rule(
    tokenizer: Decoder, *, max_new_tokens: int, stop: Sequence[str]
) -> Callable[[Sequence[int], int], Finish]:
    """finish_of(tokens, prompt_length): what the last token of a log makes of it."""

    def finish_of(tokens: Sequence[int], prompt_length: int) -> Finish:
        if tokens[-1] in tokenizer.eos_ids:
            return Finish.EOS
        if stop:
            tail = tokenizer.decode(tokens[max(prompt_length, len(tokens) - TAIL_TOKENS) :])
            if any(text in tail for text in stop):
                return Finish.STOP
        if len(tokens) - prompt_length >= max_new_tokens:
            return Finish.LENGTH
        return Finish.RUNNING

    return finish_of


__all__ = ["finish_rule"]
