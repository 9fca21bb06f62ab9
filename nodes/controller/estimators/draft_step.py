"""Seconds a drafted token takes on one device: the median of the last 8 blocks' own figures.

A median, since a request's first block reads the prompt as well, and since one slow block on a busy device
must not stop drafting: without drafts no better figure would ever come. For the same reason the prior counts
as one block until there are three, and of two in the middle the lower one is taken: after a time without
drafts a device has text to catch up with, so every other figure may be too large. Expected error: that of the
device's own variation.
"""

from collections import deque
from statistics import median_low

PRIOR_S = 0.003
WINDOW = 8
FEW = 3
"Blocks, below which the prior counts as one."


class DraftStep:
    """Of one device."""

    def __init__(self) -> None:
        self._samples = deque[float](maxlen=WINDOW)

    def observe(self, step_s: float) -> None:
        """A block's mean time for a token."""
        self._samples.append(step_s)

    @property
    def step_s(self) -> float:
        """Seconds a token."""
        few = len(self._samples) < FEW
        return median_low([*self._samples, PRIOR_S] if few else self._samples)


__all__ = ["DraftStep"]
