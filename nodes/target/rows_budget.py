"""How many rows of a device are decoded: as many as its drafts bring, and a few for nothing.

To decode an entry of a row takes 50 to 80 ns of the loop, so 7 to 11 ms for a block of 32 rows of 4096; a
link of 100 Mbit/s, which each device may fill, brings 56 of them a second. Rows are worth that where their
draft is tested. Those that nobody asked for, of drafts that never come or that others take the place of, or
that come again and again, have a budget, by the device's key: what is above it is not decoded, and is to the
protocol as if it were lost. Pure: the time is an argument.
"""

from typing import Final

from draftwire.codecs.frame import entries_of
from draftwire.codecs.limits import MAX_FRAME_BYTES
from draftwire.runtime.budgets import Budgets
from draftwire.runtime.security import key_of

ENTRIES_A_S: Final = 2**20
"""5 to 9 % of the loop for rows of 512 entries and more. A message has a cost besides, 0.13 ms, which is not
counted: blocks of 32 rows of 64 entries take up to 19 %."""

BURST_ENTRIES: Final = 2**21
"""At once: 16 of the largest blocks, or 5 blocks of 8 whole rows over 49152 ids."""

MOST_ENTRIES: Final = MAX_FRAME_BYTES // 2
"""Of a frame: whole rows take 2 bytes an entry, and of others there are fewer. The decoder finds one that
says it has more by its first bytes, and that is no honest device's."""

EARNED: Final = 2
"""Times a tested draft's own row: it may come twice, as its link doubles it, or as it was asked for again."""

TOO_FAST: Final = "rows come faster than the drafts that they belong to are tested: they are not decoded"


class RowsBudget:
    """Of all devices."""

    def __init__(self) -> None:
        self._decoded = Budgets(rate=ENTRIES_A_S, burst=BURST_ENTRIES)

    def take(self, device: str, frame: bytes, now_s: float) -> bool:
        """Whether a frame that came now is decoded: any without rows is. What is has been counted."""
        entries, key = entries_of(frame), key_of(device)
        if not 0 < entries <= MOST_ENTRIES:
            return True
        if entries > self._decoded.left(key, now_s):
            return False
        self._decoded.spend(key, entries, now_s)
        return True

    def tested(self, device: str, entries: int) -> None:
        """Drafts whose rows have so many entries have been tested."""
        self._decoded.give_back(key_of(device), EARNED * entries)


__all__ = ["BURST_ENTRIES", "EARNED", "ENTRIES_A_S", "MOST_ENTRIES", "TOO_FAST", "RowsBudget"]
