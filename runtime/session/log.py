"""The log of a request: its tokens, where each came from, and a hash for every length."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from draftwire.codecs.hashes import EMPTY_LOG_HASH, HASH_BYTES, extend_hash
from draftwire.codecs.messages import Origin

LONG_PROMPT: Final = 4096
"""Tokens from which on the hashes of a prompt are kept for the next request of the same: they take more than
some milliseconds."""

PROMPTS_KEPT: Final = 16
"""Of MAX_TOKENS each they would take 70 MB."""


@lru_cache(maxsize=PROMPTS_KEPT)
def prompt_hashes(prompt: tuple[int, ...]) -> bytes:
    """What names each length of a prompt, from 1 on, one behind the other.

    Whoever can't wait for a long one calls this in a thread, before the log is made.
    """
    return _hashes_behind(EMPTY_LOG_HASH, prompt)


def _hashes_behind(last: bytes, tokens: Sequence[int]) -> bytes:
    hashes = bytearray()
    for token in tokens:
        last = extend_hash(last, (token,))
        hashes += last
    return bytes(hashes)


class TokenLog:
    """Tokens by position. Only ever grows; `hash_at(n)` names its first n tokens in 8 bytes."""

    def __init__(
        self, prompt: Sequence[int], output: Sequence[int] = (), origins: Sequence[Origin] | None = None
    ) -> None:
        """`origins`: of the output; left out, the target's own, however it came about."""
        self.tokens: list[int] = []
        self.origins: list[Origin] = []
        self.prompt_length = len(prompt)
        self._hashes = bytearray(EMPTY_LOG_HASH)
        of_prompt = [Origin.PROMPT] * len(prompt)
        if len(prompt) >= LONG_PROMPT:
            self._extend(prompt, of_prompt, prompt_hashes(tuple(prompt)))
        else:
            self.append(prompt, of_prompt)
        self.append(output, [Origin.ALONE] * len(output) if origins is None else origins)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def produced(self) -> int:
        """Output tokens held."""
        return len(self.tokens) - self.prompt_length

    def append(self, tokens: Sequence[int], origins: Sequence[Origin]) -> None:
        """The log goes on with `tokens`."""
        if len(tokens) != len(origins):
            raise ValueError(f"{len(tokens)} tokens have {len(origins)} origins")
        self._extend(tokens, origins, _hashes_behind(self.hash_at(len(self)), tokens))

    def _extend(self, tokens: Sequence[int], origins: Sequence[Origin], hashes: bytes) -> None:
        self.tokens += tokens
        self.origins += origins
        self._hashes += hashes

    def hash_at(self, length: int) -> bytes:
        """Of the first `length` tokens, 0 <= length <= len(self)."""
        return bytes(self._hashes[length * HASH_BYTES : (length + 1) * HASH_BYTES])

    def hash_with(self, position: int, tokens: Sequence[int]) -> bytes:
        """Of the log as it would be if `tokens` stood from `position` on, position <= len(self)."""
        return extend_hash(self.hash_at(position), tokens)

    def continues(self, start: int, tokens: Sequence[int]) -> bool:
        """Whether `tokens` from `start` on agree with the log as far as both reach, start <= len(self)."""
        held = self.tokens[start : start + len(tokens)]
        return held == list(tokens[: len(held)])


__all__ = ["LONG_PROMPT", "PROMPTS_KEPT", "TokenLog", "prompt_hashes"]
