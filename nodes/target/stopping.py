"""Where a log ends: end-of-text ids, stop strings, length. Decided by the BS, position by position."""

from collections.abc import Callable, Sequence
from typing import Protocol

from draftwire.codecs.messages import Finish

SPARE_TOKENS = 16
"""Beyond a stop string's length: special tokens have no text, and a decoder may drop a first space."""


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
    # A token with text has a byte of it or more, so a stop string never spans more tokens than it has bytes.
    tail_tokens = SPARE_TOKENS + max((len(text.encode()) for text in stop), default=0)

    def finish_of(tokens: Sequence[int], prompt_length: int) -> Finish:
        if tokens[-1] in tokenizer.eos_ids:
            return Finish.EOS
        if stop:
            tail = tokenizer.decode(tokens[max(prompt_length, len(tokens) - tail_tokens) :])
            if any(text in tail for text in stop):
                return Finish.STOP
        if len(tokens) - prompt_length >= max_new_tokens:
            return Finish.LENGTH
        return Finish.RUNNING

    return finish_of


__all__ = ["finish_rule"]
