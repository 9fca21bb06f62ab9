"""The round trip of an empty message, from what the BS sees: its question out, the device's block in.

    round trip = block in - question out - drafting - (bits of both) x seconds a bit

The device's handling of the messages is part of it, as it is of every step. Median of 15, never below 0.
Expected error: 0.1 to 0.3 ms at a jitter of 0.3 ms. Blocks that queued behind rows on the uplink are no
samples: the caller leaves them out. While the target decodes alone, Commits and the Pings that they make
the device send are samples as well, with no drafting in them. Three in a row that lie far off on one side
are a new path, and what was before is forgotten.
"""

from collections import deque
from collections.abc import Iterable
from statistics import median, median_low

PRIOR_S = 0.020
WINDOW = 15
FEW = 3
"Samples, below which the prior counts as one: a single slow answer must not end drafting."

PRIOR_JITTER_S = 0.3e-3
MAX_JITTER_S = 5e-3
MAD_TO_SIGMA = 1.4826
"A normal distribution's standard deviation over its median absolute deviation."

MIN_FOR_JITTER = 5

JUMP = 3
"Samples in a row."

SURPRISE = 4.0
"Standard deviations: beyond it a sample lies far off."

MIN_JUMP_S = 2e-3


class RoundTrip:
    """Of one device."""

    def __init__(self) -> None:
        self._samples = deque[float](maxlen=WINDOW)

    def observe(self, *, turnaround_s: float, drafting_s: float, bits: float, s_per_bit: float) -> None:
        """A question was answered in turnaround_s, `bits` of question and answer together."""
        self._samples.append(turnaround_s - drafting_s - bits * s_per_bit)
        every = list(self._samples)
        older, newest = every[:-JUMP], every[-JUMP:]
        if len(older) < JUMP:
            return
        middle = median(older)
        limit_s = max(MIN_JUMP_S, SURPRISE * _deviation_s(older, middle))
        if min(newest) > middle + limit_s or max(newest) < middle - limit_s:
            self._samples = deque(newest, maxlen=WINDOW)

    @property
    def rtt_s(self) -> float:
        """Seconds there and back."""
        few = len(self._samples) < FEW
        return max(0.0, median_low([*self._samples, PRIOR_S] if few else self._samples))

    @property
    def jitter_s(self) -> float:
        """Standard deviation of one message's delay: two of them make a round trip."""
        if len(self._samples) < MIN_FOR_JITTER:
            return PRIOR_JITTER_S
        spread_s = _deviation_s(self._samples, median(self._samples))
        return min(max(spread_s / 2**0.5, PRIOR_JITTER_S), MAX_JITTER_S)


def _deviation_s(samples: Iterable[float], middle: float) -> float:
    return MAD_TO_SIGMA * median(abs(sample - middle) for sample in samples)


__all__ = ["RoundTrip"]
