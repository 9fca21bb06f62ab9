"""How many drafted positions a device may have verified for nothing; docs/operations.md has the arithmetic.

A pass takes longer for each position of it, whoever asked for it, so drafts that never stand are paid for by
all. Each device has a budget: a drafted position that was tested and is no token costs one, each step of the
device gives A_STEP, a step in which a draft stood A_HIT more, and each draft that stood TOKEN. Who has spent
it all is given plans without drafts for a while, twice as long each time, and then a small part of it.

Only counts of tested blocks are looked at, and only the next plan follows from them, so the text's law is not
touched (docs/theory.md, section 2). Pure: no clock.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final

from draftwire.runtime.memory import remember
from draftwire.runtime.security import key_of

BUDGET: Final = 512
"""Positions: what a device has at first, and at most. 0.9 s of passes in all at 1.75 ms a position."""

A_STEP: Final = 1.0
"""For each step, of the target alone too: one draft at a time costs others 2 %, and need not stop."""

A_HIT: Final = 12.0
"""With this a device whose tokens stand with probability 0.35 drafts 6 at a time, and one with 0.1 two."""

TOKEN: Final = 2.0
"""Long blocks of good drafts waste many positions, behind the first that does not stand, and bring more."""

FIRST_S: Final = 10.0
LONGEST_S: Final = 640.0
"""Without drafts; twice as long each time, until the budget has been full again."""

BACK: Final = 1 / 8
"""Of the budget, at the end of that: enough to show that drafts are better now."""

BLOCK_EVERY_S: Final = 4.0
"""Meanwhile a key may have one block of another life tested in so long, or the text that hangs on it would be
lost: 56 ms of a pass at the worst, 1.4 %. A request that has begun asks for 120 s: two dozen names of one
key have their turn."""

MAX_DEVICES: Final = 4096
"""Whose budgets are remembered; beyond it those are full again that were not heard of for longest."""


@dataclass(slots=True)
class _Budget:
    left: float
    "positions"
    refused: int = 0
    "times, since the budget was last full"
    until_s: float | None = None
    "no drafts before; None: they are allowed"
    block_s: float = -inf
    "when a block of another life was last let through meanwhile"


class WasteBudget:
    """Of all devices of a BS, by key: names below one key share."""

    def __init__(
        self,
        *,
        budget: int = BUDGET,
        refuses: Callable[[str, float], None] = lambda key, for_s: None,
        allows: Callable[[str], None] = lambda key: None,
    ) -> None:
        """`budget`: in positions; 0: no bound. `refuses` hears of each key that has spent it, and for how
        long no plan will ask for drafts of it; `allows`, when that is over.
        """
        self._full, self._refuses, self._allows = float(budget), refuses, allows
        self._budgets: dict[str, _Budget] = {}

    def tested(self, device: str, *, drafted: int, accepted: int) -> None:
        """A pass has tested so many drafts of the device, and so many stand.

        Of a block whose outcome waits for its rows none do yet; see `stood`.
        """
        self._add(device, A_STEP - drafted)
        self.stood(device, accepted)

    def stood(self, device: str, accepted: int) -> None:
        """So many of the drafts that were taken for wasted stand."""
        if accepted:
            self._add(device, accepted * (1 + TOKEN) + A_HIT)

    def judge(self, device: str, now_s: float) -> bool:
        """Whether the device's next plan may ask for drafts. Here they are refused to one that has spent its
        budget, and allowed again to one whose time is over.
        """
        key = key_of(device)
        budget = self._budgets.get(key)
        if budget is None:
            return True
        if budget.until_s is not None and now_s >= budget.until_s:
            budget.until_s, budget.left = None, BACK * self._full
            self._allows(key)
        if budget.until_s is None and budget.left <= 0:
            for_s = min(LONGEST_S, FIRST_S * 2.0 ** min(budget.refused, 16))
            budget.refused, budget.until_s = budget.refused + 1, now_s + for_s
            self._refuses(key, for_s)
        return budget.until_s is None

    def refused_s(self, device: str, now_s: float) -> float:
        """How long it is refused drafts from now on, as last judged; 0: it is not."""
        budget = self._budgets.get(key_of(device))
        return 0.0 if budget is None or budget.until_s is None else max(0.0, budget.until_s - now_s)

    def block_wait_s(self, device: str, now_s: float) -> float:
        """How long until a block of another life may come from one that is refused drafts; 0: it may."""
        budget = self._budgets.get(key_of(device))
        again_s = -inf if budget is None else budget.block_s + BLOCK_EVERY_S
        return min(self.refused_s(device, now_s), max(0.0, again_s - now_s))

    def let_through(self, device: str, now_s: float) -> None:
        """A block of another life is to be tested, whatever the device has spent."""
        if self.refused_s(device, now_s):
            self._budgets[key_of(device)].block_s = now_s

    def _add(self, device: str, positions: float) -> None:
        """None grows rich while it is refused."""
        if not self._full:
            return
        key = key_of(device)
        budget = self._budgets.get(key) or _Budget(self._full)
        remember(self._budgets, key, budget, most=MAX_DEVICES)
        most = min(budget.left, 0.0) if budget.until_s is not None else self._full
        budget.left = max(-self._full, min(most, budget.left + positions))
        if budget.left == self._full:
            budget.refused = 0


__all__ = [
    "A_HIT",
    "A_STEP",
    "BACK",
    "BLOCK_EVERY_S",
    "BUDGET",
    "FIRST_S",
    "LONGEST_S",
    "MAX_DEVICES",
    "TOKEN",
    "WasteBudget",
]
