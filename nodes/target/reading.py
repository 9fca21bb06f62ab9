"""How fast prompts of one device are read while other devices have something to do.

What is read beside steps makes everybody's pass longer, and a pass that only reads is in the way of steps
that come meanwhile. So a device, by its key, has a budget of positions that are read as fast as the batcher
has it. Whoever has spent it is read CRAWL positions at a time, beside steps of others, until some is back.
While nobody else is under way nothing is counted. Pure: the time is an argument.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from math import inf
from typing import Final

from draftwire.nodes.target.batcher import Waiting
from draftwire.runtime.budgets import Budgets
from draftwire.runtime.security import key_of

BURST: Final = 2048
"""Positions: a document of three pages, or a dozen questions. 1 s of passes in all at 0.5 ms a position."""

POSITIONS_A_S: Final = 32
"""That come back; a minute for all."""

CRAWL: Final = 8
"""A pass of four blocks takes 1.05 times as long with these, and so two minutes are a document of 20,000."""

QUIET_S: Final = 0.25
"""Without a step of anybody for so long, a pass that only reads is in nobody's way."""

MOST_DEBT: Final = POSITIONS_A_S
"""A second's worth, whatever is read beyond the budget: a device has waited for that already."""


class Reading:
    """Of all devices."""

    def __init__(self) -> None:
        self.again_s: float | None = None
        "when those are to be looked at again that `paced` has left out; None: it has left out nobody"
        self._budgets = Budgets(rate=POSITIONS_A_S, burst=BURST, debt=MOST_DEBT)
        self._stepped_s = -inf

    def slow(self, device: str, now_s: float) -> bool:
        """Whether the device has spent its budget."""
        return self._budgets.left(key_of(device), now_s) < 0

    def read(self, device: str, positions: int, now_s: float) -> None:
        """So much of its prompts has been read while others were under way."""
        self._budgets.spend(key_of(device), positions, now_s)

    def stepped(self, now_s: float) -> None:
        """A pass with a step begins."""
        self._stepped_s = now_s

    def paced(
        self, wanted: Sequence[Waiting], *, under_way: Collection[str], now_s: float
    ) -> list[Waiting]:
        """Those that may be part of a pass now, and what of them. `under_way`: devices with a session that is
        not over.
        """
        self.again_s = None
        if not any(one.unread and self.slow(one.device, now_s) for one in wanted):
            return list(wanted)
        keys = set(map(key_of, under_way))
        stepping = {key_of(one.device) for one in wanted if one.rows and not one.unread}
        paced, crawling = list[Waiting](), set[str]()
        for one in wanted:
            key = key_of(one.device)
            if not one.unread or keys <= {key} or not self.slow(one.device, now_s):
                paced.append(one)
            elif not stepping <= {key}:
                if key not in crawling:
                    crawling.add(key)
                    paced.append(replace(one, unread=min(one.unread, CRAWL)))
            elif now_s >= self._stepped_s + QUIET_S:
                paced.append(one)
            else:
                self.again_s = self._stepped_s + QUIET_S
        return paced


__all__ = ["BURST", "CRAWL", "MOST_DEBT", "POSITIONS_A_S", "QUIET_S", "Reading"]
