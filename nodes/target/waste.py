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

BACK: Final = BUDGET // 8
"""Of the budget, at the end of that: enough to show that drafts are better now."""

MAX_DEVICES: Final = 4096
"""Whose budgets are remembered; beyond it those are full again that were not heard of for longest."""


@dataclass(slots=True)
class _Account:
    left: float
    refused: int = 0
    "times, since the budget was last full"
    until_s: float | None = None
    "no drafts before; None: they are allowed"


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
        self._budget, self._refuses, self._allows = float(budget), refuses, allows
        self._accounts: dict[str, _Account] = {}

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

    def allows(self, device: str, now_s: float) -> bool:
        """Whether the device's next plan may ask for drafts."""
        return self.refused_s(device, now_s) == 0

    def refused_s(self, device: str, now_s: float) -> float:
        """How long it may not; 0: it may."""
        key = key_of(device)
        account = self._accounts.get(key)
        if account is None:
            return 0.0
        if account.until_s is not None and now_s >= account.until_s:
            account.until_s, account.left = None, account.left + BACK
            if account.left > 0:
                self._allows(key)
        if account.until_s is None and account.left <= 0:
            for_s = min(LONGEST_S, FIRST_S * 2.0 ** min(account.refused, 16))
            account.refused, account.until_s = account.refused + 1, now_s + for_s
            self._refuses(key, for_s)
        return 0.0 if account.until_s is None else account.until_s - now_s

    def _add(self, device: str, positions: float) -> None:
        """Nobody's debt grows without end, and none grows rich while it is refused."""
        if not self._budget:
            return
        key = key_of(device)
        account = self._accounts.get(key) or _Account(self._budget)
        remember(self._accounts, key, account, most=MAX_DEVICES)
        most = min(account.left, 0.0) if account.until_s is not None else self._budget
        account.left = max(-self._budget, min(most, account.left + positions))
        if account.left == self._budget:
            account.refused = 0


__all__ = ["A_HIT", "A_STEP", "BACK", "BUDGET", "FIRST_S", "LONGEST_S", "MAX_DEVICES", "TOKEN", "WasteBudget"]
