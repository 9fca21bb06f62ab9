"""Seconds that the target's pass takes by the number of drafted tokens in it: a line, learnt as it goes.

    T(d) = at_zero + slope d,  least squares with forgetting

On a GPU a pass hardly grows with d; on a CPU each position may add a tenth, and to take it for constant makes
drafts run to their limit. The means of d and T are over about 33 steps. Evidence of the slope fades only as
new evidence comes: where d stays the same, nothing new is learnt and nothing forgotten. The slope is drawn
towards 1 % of a step by a prior that weighs as much as one step at a d one off the mean; it is never below 0.
Residuals count for at most 3 standard deviations, by the median of the last 15, since a shared machine stalls
at times. Steps decoded alone have a mean of their own: kernels for one position are often other ones.
Expected error of the slope: the noise of a step over the root of `spread`.
"""

from collections import deque
from statistics import median

PRIOR_S = 0.045
PRIOR_SLOPE = 0.01
"Of a step, each drafted token."

PRIOR_WEIGHT = 1.0
"Tokens squared, as `spread` is."

KNOWN_SPREAD = 6.0
"Tokens squared: with less, the slope is the prior's rather than measured."

DECAY = 0.97
ALONE_DECAY = 0.9
WINDOW = 15
MIN_TO_CLIP = 5
CLIP = 3 * 1.4826
"3 standard deviations in median absolute deviations."

MIN_CLIP = 0.02
"Of a step: residuals as small as this are never clipped."


class TargetStep:
    """Of one BS, all its devices together."""

    def __init__(self) -> None:
        self._weight = self._mean_d = self._mean_s = 0.0
        self.spread = 0.0
        "of d about its mean: a decayed sum of squares, tokens squared; how well the slope is known"
        self._together = 0.0  # the same of d and T, token seconds
        self._residuals = deque[float](maxlen=WINDOW)
        self._alone_weight = self._alone = 0.0
        self._alone_residuals = deque[float](maxlen=WINDOW)
        self._overheads = deque[float](maxlen=WINDOW)
        self.since_alone = 0
        "steps with drafts since one alone"
        self.steps = 0
        "passes seen, those alone left out"

    def observe(self, *, drafted: int, step_s: float, overhead_s: float | None) -> None:
        """A pass over `drafted` tokens, and what the BS needed around it; None: it is not known."""
        self.since_alone += 1
        self.steps += 1
        if overhead_s is not None:
            self._overheads.append(max(0.0, overhead_s))
        if self._weight:
            expected_s = self.at_zero_s + self.slope_s * drafted
            step_s = expected_s + _clipped(step_s - expected_s, self._residuals, expected_s)
        self._weight = DECAY * self._weight + 1
        off_d, off_s = drafted - self._mean_d, step_s - self._mean_s
        self._mean_d += off_d / self._weight
        self._mean_s += off_s / self._weight
        fade, part = DECAY ** min(1.0, off_d**2), 1 - 1 / self._weight
        self.spread = fade * self.spread + part * off_d**2
        self._together = fade * self._together + part * off_d * off_s

    def observe_alone(self, step_s: float) -> None:
        """A pass of the target by itself."""
        self.since_alone = 0
        if self._alone_weight:
            expected = self._alone / self._alone_weight
            step_s = expected + _clipped(step_s - expected, self._alone_residuals, expected)
        self._alone_weight = ALONE_DECAY * self._alone_weight + 1
        self._alone = ALONE_DECAY * self._alone + step_s

    @property
    def slope_s(self) -> float:
        """Seconds more for each drafted token."""
        if not self._weight:
            return PRIOR_SLOPE * self.at_zero_s
        prior_s = PRIOR_SLOPE * self._mean_s / (1 + PRIOR_SLOPE * self._mean_d)
        return max(0.0, (self._together + PRIOR_WEIGHT * prior_s) / (self.spread + PRIOR_WEIGHT))

    @property
    def knows_slope(self) -> bool:
        """Whether passes of different lengths have been seen, and lately."""
        return self.spread >= KNOWN_SPREAD

    @property
    def at_zero_s(self) -> float:
        """Where the line starts."""
        if self._weight:
            return max(0.1 * self._mean_s, self._mean_s - self.slope_s * self._mean_d)
        return self._alone / self._alone_weight if self._alone_weight else PRIOR_S

    @property
    def knows_alone(self) -> bool:
        """Whether it has seen a step decoded alone."""
        return self._alone_weight > 0

    @property
    def alone_s(self) -> float:
        """A step of the target by itself: as measured, else where the line starts."""
        return self._alone / self._alone_weight if self._alone_weight else self.at_zero_s

    @property
    def overhead_s(self) -> float:
        """The BS's own time a step, the pass and the wait for a row left out."""
        return median(self._overheads) if self._overheads else 0.0


def _clipped(residual_s: float, residuals: deque[float], expected_s: float) -> float:
    """At most 3 standard deviations of it; remembered unclipped, so that a lasting change gets through."""
    limit_s = MIN_CLIP * expected_s
    if len(residuals) >= MIN_TO_CLIP:
        limit_s = max(limit_s, CLIP * median(residuals))
        clipped = min(max(residual_s, -limit_s), limit_s)
    else:
        clipped = residual_s
    residuals.append(abs(residual_s))
    return clipped


__all__ = ["TargetStep"]
