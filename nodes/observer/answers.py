"""One answer of a device: its text in pieces, how it stands, and what it takes of memory. Pure."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from sys import getsizeof
from typing import Final

from draftwire.codecs.control_fields import Json
from draftwire.nodes.observer.heard import Asked, Ended, Tokens

MAX_TEXT: Final = 65_536
"""Characters of an answer that are kept, its last ones."""

MAX_ANSWER_PIECES: Final = 16_384
"""Pieces of it, some of which have no text."""

KEPT: Final = "kept"
"""The origin of what a journal had of an answer, beside those of tokens."""

GAP: Final = "gap"
"""The origin of what stands where tokens were lost on their way to the observer."""

GAP_TEXT: Final = "…"
GAP_WORDS: Final = "a part of its text did not come here"

PIECE_BYTES: Final = 104
"""What a piece takes beside its text."""

ANSWER_BYTES: Final = 1024
"""What an answer takes without any."""


@dataclass(slots=True, kw_only=True)
class Answer:
    """One answer."""

    request: str
    prompt: str
    state: str = "running"
    "or done, or failed"
    detail: str = ""
    summary: dict[str, Json] | None = None
    pieces: deque[tuple[int, str, str]] = field(default_factory=deque)
    "(number, text, origin)"
    length: int = 0
    "characters of them"
    size: int = ANSWER_BYTES
    "bytes of all texts, and of what holds them"
    events: int = 0
    "with tokens, that have come or were lost"
    has_gap: bool = False
    number: int = 0
    "of its last change"
    heard_s: float = 0.0

    @classmethod
    def begun(cls, asked: Asked, number: int) -> "Answer":
        """As its device asks for it; `number`: of the piece that a journal had of it."""
        answer = cls(request=asked.request, prompt=asked.prompt)
        answer.size += getsizeof(asked.request) + getsizeof(asked.prompt)
        if asked.kept:
            answer._add(number, asked.kept, KEPT)
        return answer

    def grow(self, tokens: Tokens, next_number: Callable[[], int]) -> int:
        """It goes on, what failed for want of news included. Number of the newest piece that is forgotten for
        it; 0: none is.
        """
        if self.state == "failed" and self.summary is None:
            self.state, self.detail = "running", GAP_WORDS if self.has_gap else ""
        if tokens.number is not None:
            if tokens.number != self.events:
                self._add(next_number(), GAP_TEXT, GAP)
                self.has_gap, self.detail = True, GAP_WORDS
            self.events = tokens.number + 1
        for text, origin in tokens.pieces:
            self._add(next_number(), text[-MAX_TEXT:], origin)
        forgotten = 0
        while self.length > MAX_TEXT or len(self.pieces) > MAX_ANSWER_PIECES:
            forgotten = self._cut()
        return forgotten

    def end(self, ended: Ended) -> None:
        """As its device has told."""
        self.state, self.detail = "failed" if ended.failed else "done", ended.detail
        if self.has_gap and not ended.failed:
            self.detail += f"; {GAP_WORDS}"
        self.size += _size_of(ended.summary) - _size_of(self.summary or {})
        self.summary = ended.summary

    def fields(self, since: int) -> dict[str, Json]:
        """As a feed tells it, with the pieces above that number."""
        new = list(takewhile(lambda piece: piece[0] > since, reversed(self.pieces)))
        return {
            "request": self.request,
            "prompt": self.prompt,
            "state": self.state,
            "detail": self.detail,
            "pieces": [[text, origin] for _, text, origin in reversed(new)],
            "summary": self.summary,
        }

    def _add(self, number: int, text: str, origin: str) -> None:
        self.pieces.append((number, text, origin))
        self.length += len(text)
        self.size += PIECE_BYTES + getsizeof(text)

    def _cut(self) -> int:
        """Let the oldest piece go; its number."""
        number, text, _ = self.pieces.popleft()
        self.length -= len(text)
        self.size -= PIECE_BYTES + getsizeof(text)
        return number


def _size_of(summary: Mapping[str, Json]) -> int:
    return sum(PIECE_BYTES + getsizeof(name) + getsizeof(value) for name, value in summary.items())


__all__ = ["GAP_WORDS", "Answer"]
