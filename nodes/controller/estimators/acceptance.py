"""alpha(K) for every K, of one device at one temperature, from its rows, or from hits and misses.

A row of K entries tells alpha exactly for each K' <= K and bounds it for whole rows; nodes/speculation/
acceptance.py has the maths. Two things are kept apart, as they change at different speeds:

- the *shape*, how alpha at one K compares with alpha at another: decayed means over about 200 positions;
- the *level*, how easy the text is just now: a decayed mean of alpha at the K in use, over about 30
  positions.

    alpha(K) = level shape(K) / shape(K in use)

Of a device that is new to a busy base station, what the others there have told is a better guess than any
prior: it may take the place of what is left of that, which fades as the device's own positions come.

The mean runs over the positions reached, first rejections included, which is what `alpha^j` of the cost model
wants (docs/theory.md). Expected error: up to the row's K only that of a mean over a few dozen positions of
text; for whole rows 1 to 3 % at K = 24, below 1.5 % from K = 75 on.
"""

from bisect import bisect_right
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.control import RowsReport
from draftwire.nodes.speculation.acceptance import LADDER

Floats = NDArray[np.float64]

PRIOR_ALPHA = 0.65
"For whole rows, before anything was seen."

PRIOR_SHAPE = {1: 0.75, 2: 0.85, 3: 0.88, 5: 0.92, 8: 0.94, 14: 0.96, 24: 0.975, 75: 0.99, 320: 1.0}
"alpha(K) over that of whole rows, as typical pairs have it; between them linear in log K, beyond them flat."

PRIOR_POSITIONS = 8.0
"What the prior weighs."

LEAST_GUESS = 0.02
"Of what is known: with less of the prior left, no guess is asked for."

SHAPE_DECAY = 0.995
FIRST_DECAY, FIRST_POSITIONS = 0.98, 100
"At first the prior has to be left behind."

MASS_DECAY = 0.97
"A mass is exact, so few of them make a level."

HIT_DECAY = 0.985
"A hit or miss is a single bit: more of them are needed."

MAX_ALPHA = 0.985
"More was never seen for long, and would make every length pay."

PRIOR_FILLED, PRIOR_GAP = 0.3, 0.5
"Positions of text fill some 60 % of the gap between what a row shows and what whole rows could give at most."

MIN_K_TO_LEARN_FILL = 8
"A third of fewer entries is one or two: how the gap fills up from there says nothing about larger K."


class AcceptanceEstimate:
    """Of one device at one temperature."""

    def __init__(self, ladder: tuple[int, ...] = LADDER) -> None:
        """ladder: the K of interest, rising. alpha is known between its rungs too, linear in log K."""
        self.ladder = ladder
        self._log_ladder = np.log(ladder)
        self._places = {k: place for place, k in enumerate(ladder)}
        rungs, shares = np.log(list(PRIOR_SHAPE)), list(PRIOR_SHAPE.values())
        self._prior: Floats = np.interp(self._log_ladder, rungs, shares)
        # Of alpha by rung; the last: of its bound.
        self._sums = PRIOR_POSITIONS * np.append(self._prior, 1.0)
        self._weight = PRIOR_POSITIONS  # of these sums
        self._used_k = ladder[-1]
        self._positions = PRIOR_POSITIONS
        self._level = PRIOR_POSITIONS * PRIOR_ALPHA
        self._guess = PRIOR_ALPHA  # the prior's, for whole rows
        self._guess_weight = PRIOR_POSITIONS  # what is left of it in the level, and in the sums
        self._guess_in_sums = PRIOR_POSITIONS
        self._gap, self._filled = PRIOR_GAP, PRIOR_FILLED
        self._told_k = 1
        self.seen = 0
        "positions so far"

    def observe_rows(self, report: RowsReport) -> None:
        """Take the tested positions of one block into account."""
        if not report.low:
            return
        looks = report.k > self._used_k  # beyond the K in use: rare, so it counts for more
        self._use(report.k)
        values = self._by_rung(report)
        own = [row[-1] for row in report.alphas]
        decay = FIRST_DECAY if looks or self.seen < FIRST_POSITIONS else SHAPE_DECAY
        self._told_k = max(self._told_k, report.k)
        decays = decay ** np.arange(len(own) - 1, -1, -1.0)
        self._sums = decay ** len(own) * self._sums + decays @ values
        self._weight = decay ** len(own) * self._weight + float(decays.sum())
        self._guess_in_sums *= decay ** len(own)
        self._add(own, MASS_DECAY)
        if report.k >= MIN_K_TO_LEARN_FILL:
            self._gap = decay ** len(own) * self._gap + float(decays @ report.gap)
            self._filled = decay ** len(own) * self._filled + float(decays @ report.filled)

    def observe_hits(self, *, k: int, accepted: int, seen: int) -> None:
        """Take a block of which only the outcome is known: `accepted` hits, and a miss if `seen` is more.

        The shape stays as it is. A guess at the K that were not seen, fed back into it, would creep.
        """
        self._use(k)
        self._add([1.0] * accepted + [0.0] * (seen - accepted), HIT_DECAY)

    def alphas(self, ks: Iterable[int], *, since: int = 0) -> dict[int, float]:
        """K -> alpha for these K. since: positions of which nothing is known, behind the last that is: the
        more they are, the more is the text there as it usually is.
        """
        ks = tuple(ks)
        if ks == self.ladder:
            found = self._sums[:-1].copy()
        elif len(ks) == 1 and ks[0] in self._places:
            found = self._sums[self._places[ks[0]]][None]
        else:
            found = np.interp(np.log(ks), self._log_ladder, self._sums[:-1])
        level, shape = self._level / self._positions, self._shape_at(self._used_k)
        if since:
            assumed = self._guess_in_sums * (1 - self._guess) * self._prior_at(self._used_k)
            usual = (shape - assumed) / self._weight
            level = usual + (level - usual) * MASS_DECAY**since
        found *= level / shape
        return dict(zip(ks, np.minimum(found, MAX_ALPHA).tolist(), strict=True))

    def told(self) -> tuple[float, float]:
        """Positions that it rests on, the prior's left out, and alpha of whole rows summed over them."""
        positions = self._positions - self._guess_weight
        return positions, self._level * self._whole_over_used - self._guess_weight * self._guess

    @property
    def is_new(self) -> bool:
        """Whether a better guess than the prior still makes a difference."""
        return self._guess_weight > LEAST_GUESS * self._positions

    def guess(self, told: Iterable[tuple[float, float]]) -> None:
        """What others have `told` takes the place of the prior, which counts beside it for what it weighs."""
        positions, summed = PRIOR_POSITIONS, PRIOR_POSITIONS * PRIOR_ALPHA
        for more, alphas in told:
            positions, summed = positions + more, summed + alphas
        before, self._guess = self._guess, summed / positions
        self._level += self._guess_weight * (self._guess - before) / self._whole_over_used

    @property
    def _whole_over_used(self) -> float:
        """alpha of whole rows over that at the K in use."""
        return float(self._sums[len(self.ladder) - 1]) / self._shape_at(self._used_k)

    def hidden(self, k: int) -> float:
        """The most that whole rows could add to alpha at this K, relative to it: a bound, no estimate."""
        return max(0.0, float(self._sums[-1]) / self._shape_at(k) - 1)

    def _by_rung(self, report: RowsReport) -> Floats:
        """alpha by position and rung: exact up to the report's K, imputed above; and its bound, the last."""
        seen, rungs = bisect_right(self.ladder, report.k), len(self.ladder)
        values = np.empty((len(report.low), rungs + 1))
        values[:, rungs] = report.high
        if report.ladder[:seen] == self.ladder[:seen]:
            values[:, :seen] = [alphas[:seen] for alphas in report.alphas]
        else:  # of a BS with another ladder
            logs = np.log(report.ladder)
            values[:, :rungs] = [np.interp(self._log_ladder, logs, alphas) for alphas in report.alphas]
        if seen == rungs:
            return values
        own = np.array([[alphas[-1]] for alphas in report.alphas])
        low, high = np.array([report.low, report.high])[:, :, None]
        share = min(1.0, self._filled / self._gap)
        values[:, seen:rungs] = own + (low + share * (high - low) - own) * self._missing(report.k)
        # Guesses would outvote the few looks: a rung once told keeps its ratio until it is told again.
        told = bisect_right(self.ladder, self._told_k)
        values[:, seen:told] = own * (self._sums[seen:told] / self._shape_at(report.k))
        return values

    def _missing(self, k: int) -> Floats:
        """Of what K lacks to whole rows, the share that each larger rung gives, by the prior's shape."""
        at_k = self._prior_at(k)
        above = self._prior[bisect_right(self.ladder, k) :]
        if at_k < 1:
            return (above - at_k) / (1 - at_k)
        return np.arange(1, len(above) + 1) / len(above)  # where the prior is flat, evenly

    def _use(self, k: int) -> None:
        """The level is one of alpha at the K in use: restate it at `k`."""
        before, self._used_k = self._shape_at(self._used_k), k
        self._level *= self._shape_at(k) / before

    def _shape_at(self, k: int) -> float:
        if k in self._places:
            return float(self._sums[self._places[k]])
        return float(np.interp(np.log(k), self._log_ladder, self._sums[:-1]))

    def _prior_at(self, k: int) -> float:
        return float(np.interp(np.log(k), self._log_ladder, self._prior))

    def _add(self, values: list[float], decay: float) -> None:
        self.seen += len(values)
        self._guess_weight *= decay ** len(values)
        for value in values:
            self._positions = decay * self._positions + 1
            self._level = decay * self._level + value


__all__ = ["AcceptanceEstimate"]
