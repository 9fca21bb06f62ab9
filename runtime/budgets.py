"""What each of many may spend: so much at once, and so much a second. Pure: the time is an argument."""

from collections.abc import Hashable
from math import inf
from typing import Final

from draftwire.runtime.memory import remember

MOST_KEYS: Final = 4096
"""Whose budgets are remembered; the oldest is full again."""


class Budgets:
    """Of all keys. A budget is kept as the time by which what was spent will have come back."""

    def __init__(self, *, rate: float, burst: float, debt: float = inf, most: int = MOST_KEYS) -> None:
        """`rate`: what comes back each second; `burst`: what there is at first, and at most; `debt`: what is
        spent beyond it and more than this is forgotten; `most`: keys remembered.
        """
        self._rate, self._burst, self._debt, self._most = rate, burst, debt, most
        self._until_s: dict[Hashable, float] = {}

    def left(self, key: Hashable, now_s: float) -> float:
        """What a key may still spend now; negative where it has spent more."""
        return self._burst - self._rate * max(0.0, self._until_s.get(key, now_s) - now_s)

    def wait_s(self, key: Hashable, now_s: float) -> float:
        """How long until it has spent no more than it may; 0: it has not."""
        return max(0.0, -self.left(key, now_s) / self._rate)

    def spend(self, key: Hashable, amount: float, now_s: float) -> None:
        """So much, whether it is left or not."""
        until_s = max(self._until_s.get(key, now_s), now_s) + amount / self._rate
        most_s = now_s + (self._burst + self._debt) / self._rate
        remember(self._until_s, key, min(until_s, most_s), most=self._most)

    def give_back(self, key: Hashable, amount: float) -> None:
        """So much of what it has spent."""
        if key in self._until_s:
            self._until_s[key] -= amount / self._rate


__all__ = ["MOST_KEYS", "Budgets"]
