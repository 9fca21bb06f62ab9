"""What enters the target's next pass, of all that wait for one.

A pass takes a step of every session that has one to do: its drafts, or one token for a target that decodes
alone. Beside them it reads a piece of prompts, bounded so that nobody waits for a long one. Where not all
have room, turns are shared by weight: whoever has had the fewest positions for its weight comes first, and
one that comes, or comes back, begins level with the others. No tensors, no clock, no session.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from draftwire.runtime.memory import remember

MOST_ROWS: Final = 256
"""Positions of the steps in a pass: beyond it a pass takes longer for each."""

CHUNK: Final = 64
"""Positions of prompts beside steps: a pass over 16 blocks takes about 1.3 times as long with them."""

CHUNK_BETWEEN: Final = 128
"""The same where no step waits, but one may come at any time."""

CHUNK_ALONE: Final = 512
"""The same where there is nobody else."""

MAX_KEYS: Final = 4096
"""Sessions whose share is remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What a session would do in a pass now."""

    key: Hashable
    "tells sessions apart"
    unread: int = 0
    "tokens to be computed before its step: of a prompt, or of a log whose cache was dropped"
    rows: int = 0
    "positions of its step; 0: none now"
    weight: float = 1.0
    "> 0"


class Part(NamedTuple):
    """What of a session enters a pass."""

    key: Hashable
    rows: int
    reads: bool
    "whether the rows are of its unread tokens, and not its step"


class Batcher:
    """See above."""

    def __init__(self) -> None:
        self._had: dict[Hashable, float] = {}
        "positions by weight"
        self._level = 0.0
        "of who was chosen last, at least"

    def choose(self, waiting: Sequence[Waiting], *, others: bool) -> list[Part]:
        """The next pass, empty if nobody waits; `others`: whether more sessions than these are under way."""
        turn = sorted(waiting, key=lambda one: self._share(one.key))
        parts = self._steps([one for one in turn if one.rows and not one.unread])
        room = CHUNK if parts else CHUNK_BETWEEN if others or len(turn) > 1 else CHUNK_ALONE
        for one in turn:
            if one.unread and room > 0:
                parts.append(Part(one.key, min(one.unread, room), True))
                room -= parts[-1].rows
        self._count(parts, {one.key: one.weight for one in waiting})
        return parts

    def _steps(self, turn: Sequence[Waiting]) -> list[Part]:
        """As many as have room, one at least."""
        parts, room = list[Part](), MOST_ROWS
        for one in turn:
            if one.rows <= room or not parts:
                parts.append(Part(one.key, one.rows, False))
                room -= one.rows
        return parts

    def _share(self, key: Hashable) -> float:
        return max(self._had.get(key, 0.0), self._level)

    def _count(self, parts: Sequence[Part], weights: dict[Hashable, float]) -> None:
        if parts:
            level = min(self._share(part.key) for part in parts)
            for part in parts:
                had = self._share(part.key) + part.rows / weights[part.key]
                remember(self._had, part.key, had, most=MAX_KEYS)
            self._level = level


__all__ = ["CHUNK", "CHUNK_ALONE", "CHUNK_BETWEEN", "MOST_ROWS", "Batcher", "Part", "Waiting"]
