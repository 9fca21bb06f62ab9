"""When a free base station begins its next pass: at once, or when blocks have come that are about to.

A session under rejection is away for a round trip and its drafting. Blocks that are due soon are waited
for, as long as the whole base station gains by it: nodes/speculation/together.py says how long that is.
When a block is due, the last ones of its session tell. Pure: no clock.
"""

from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import Final

from draftwire.nodes.speculation.together import TOLERANCE, longest_wait_s

MARGIN_S: Final = 2e-3
"A block may be so much later than any of the last ones was."

PASSES: Final = 5
ANSWERS: Final = 4


class Turnaround:
    """How long a device needs from a Commit to its next block, its drafting left out."""

    def __init__(self) -> None:
        self._empty_s = deque[float](maxlen=ANSWERS)

    def observe(self, *, asked_s: float, came_s: float, drafting_s: float) -> None:
        """A Commit left at `asked_s`, and the block that answers it came at `came_s`."""
        self._empty_s.append(max(0.0, came_s - asked_s - drafting_s))

    def due_s(self, *, asked_s: float, drafting_s: float) -> float | None:
        """By when the answer to a Commit should be there; None: none has come yet to go by."""
        if not self._empty_s:
            return None
        return asked_s + max(self._empty_s) + drafting_s + MARGIN_S


class Gathering:
    """Of one base station."""

    def __init__(self) -> None:
        self._passes_s = deque[float](maxlen=PASSES)
        self._since_s: float | None = None
        "since when the model could have begun; None: nobody has been there since the pass before"

    def passed(self, seconds: float) -> None:
        """A pass took so long."""
        self._passes_s.append(seconds)
        self._since_s = None

    def begins_s(
        self, now_s: float, *, steady: int, blocks: int, due_s: Sequence[float], riders: int = 0
    ) -> float:
        """When to begin, `now_s` or later: with whoever is there then.

        steady: sessions that are there, and always are; blocks: sessions that are there with a block; due_s:
        when each of those should be there that are to come with one; riders: sessions that are there, and
        for whom nobody else is to miss a pass.
        """
        if not steady + blocks + riders:
            self._since_s = None
            return now_s
        if self._since_s is None:
            self._since_s = now_s
        if not self._passes_s:
            return now_s
        pass_s, begins_s = median(self._passes_s), now_s
        for one_s in sorted(one_s for one_s in due_s if one_s > now_s):
            blocks += 1
            longest_s = TOLERANCE * longest_wait_s(pass_s=pass_s, steady=steady, blocks=blocks)
            if one_s - self._since_s < longest_s:
                begins_s = one_s
        return begins_s


__all__ = ["Gathering", "Turnaround"]
