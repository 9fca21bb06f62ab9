"""The log of a request: its tokens, where each came from, and a hash for every length."""

from collections.abc import Sequence

from draftwire.codecs.hashes import EMPTY_LOG_HASH, extend_hash
from draftwire.codecs.messages import Origin


class TokenLog:
    """Tokens by position. Only ever grows; `hash_at(n)` names its first n tokens in 8 bytes."""

    def __init__(
        self, prompt: Sequence[int], output: Sequence[int] = (), origins: Sequence[Origin] | None = None
    ) -> None:
        """`origins`: of the output; left out, the target's own, however it came about."""
        self.tokens: list[int] = []
        self.origins: list[Origin] = []
        self.prompt_length = len(prompt)
        self._hashes = [EMPTY_LOG_HASH]
        self.append(prompt, [Origin.PROMPT] * len(prompt))
        self.append(output, [Origin.ALONE] * len(output) if origins is None else origins)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def produced(self) -> int:
        """Output tokens held."""
        return len(self.tokens) - self.prompt_length

    def append(self, tokens: Sequence[int], origins: Sequence[Origin]) -> None:
        """The log goes on with `tokens`."""
        for token, origin in zip(tokens, origins, strict=True):
            self.tokens.append(token)
            self.origins.append(origin)
            self._hashes.append(extend_hash(self._hashes[-1], (token,)))

    def hash_at(self, length: int) -> bytes:
        """Of the first `length` tokens, 0 <= length <= len(self)."""
        return self._hashes[length]

    def hash_with(self, position: int, tokens: Sequence[int]) -> bytes:
        """Of the log as it would be if `tokens` stood from `position` on, position <= len(self)."""
        return extend_hash(self._hashes[position], tokens)

    def continues(self, start: int, tokens: Sequence[int]) -> bool:
        """Whether `tokens` from `start` on agree with the log as far as both reach, start <= len(self)."""
        held = self.tokens[start : start + len(tokens)]
        return held == list(tokens[: len(held)])


__all__ = ["TokenLog"]
