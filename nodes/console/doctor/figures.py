"""From round trips to what a hop is: its round trip, and its rate in each direction.

A probe that is longer by n bytes in one direction takes 8 n / rate longer. What both probes have in common,
the delays, the overhead of each message, the turnaround at the other end, falls out of the difference. The
medians of a few of each are compared, and the difference is held against how far they may be off by chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from statistics import median
from typing import Final

TIMER_S: Final = 20e-6
"""No two times are told apart more finely than this on a machine that does other things as well."""

DROWNS: Final = 3.0
"""A difference below this many of its own errors says only that the rate is at least so and so much."""

CLEAR: Final = 20.0
"""A difference above this many is known to some per cent."""

CLEAR_S: Final = 0.025
"""And above this: nodes and links are late by some tenths of a millisecond, and a link with a token bucket
lets the short probe through for nothing."""

_OF_A_MEDIAN: Final = 1.2533 * 1.4826
"""Error of a median of n, in median deviations over the root of n, where the noise is normal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Times of one kind, several of them."""

    median_s: float
    low_s: float
    high_s: float
    count: int
    error_s: float
    "how far the median may be off by chance, one standard deviation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Of one direction of a hop."""

    bps: float
    "bits a second"
    at_least: bool
    "whether it is only known that the rate is no smaller"


def spread(times_s: Sequence[float]) -> Spread:
    """Of at least one time."""
    middle = median(times_s)
    deviation = median(abs(one - middle) for one in times_s)
    return Spread(
        median_s=middle,
        low_s=min(times_s),
        high_s=max(times_s),
        count=len(times_s),
        error_s=max(TIMER_S, _OF_A_MEDIAN * deviation / sqrt(len(times_s))),
    )


def is_clear(small: Spread, large_s: float) -> bool:
    """Whether a longer probe took so much longer that its rate can be told: no longer one is needed."""
    return large_s - small.median_s > max(CLEAR_S, CLEAR * small.error_s)


def rate(small: Spread, large: Spread, *, extra_bytes: int) -> Rate:
    """Of the direction in which the second kind of probe was longer by `extra_bytes`."""
    longer_s = large.median_s - small.median_s
    error_s = hypot(small.error_s, large.error_s)
    if longer_s < DROWNS * error_s:
        return Rate(bps=8 * extra_bytes / (max(0.0, longer_s) + DROWNS * error_s), at_least=True)
    return Rate(bps=8 * extra_bytes / longer_s, at_least=False)


__all__ = ["Rate", "Spread", "is_clear", "rate", "spread"]
