"""Seconds of a pass over several sessions, by how many they are and the positions of all.

    T(sessions, rows) = a + b rows + c sessions + what passes nearby took beyond that

Passes are kept as means by size, sizes a factor of about 1.2 apart: what is not seen for a while is not
forgotten at once, as most of the time all passes are of one size, and a line through one point has no
slope. A plane is fitted through the means, weighted by how many passes each has of late and drawn towards a
prior; beside it counts what the nearest means are off by, as kernels for few positions are others than for
many. A pass that took CLIP times what its size takes counts as that: a shared machine stalls at times.
Expected error: that of a mean over about 30 passes, where passes of the size have been seen.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEP = 0.18
"Of the logarithm of a size."

DECAY = 0.97
"Of a mean, for each new pass of its size."

FADES = 0.998
"Of its weight, for each pass of another size."

LEAST_WEIGHT = 0.02
"A mean with less is dropped."

MOST_SIZES = 64
CLIP = 2.0
NEARBY = 0.25
"In logarithms of sizes: how far around it a mean tells what the plane lacks."

DOUBT = 0.3
"What the plane weighs beside the means nearby, in passes."

LEAST_SHARE = 0.1
"Of a usual pass: none is taken for shorter."

PRIOR_ROW, PRIOR_SESSION = 0.01, 0.01
"Of a pass, for each position and each session more."

PRIOR_WEIGHT = 0.5
"In passes whose sizes are one position, or one session, off the mean."


@dataclass(slots=True)
class _Mean:
    sessions: float
    rows: float
    seconds: float
    weight: float


class PassTime:
    """Of one BS."""

    def __init__(self) -> None:
        self._means: dict[tuple[int, int], _Mean] = {}
        self._newest = 0, 0, 0.0
        self._told_by = set[Hashable]()
        "that pass"
        self._fitted: _Fit | None = None
        "None: to be fitted anew"
        self._answers: dict[tuple[float, float], float] = {}
        "of what is fitted: the sessions of a pass ask for the same sizes"

    @property
    def known(self) -> bool:
        """Whether a pass has been seen."""
        return bool(self._means)

    def observe(self, *, sessions: int, rows: int, step_s: float, whose: Hashable = None) -> None:
        """A pass took so long, as this session tells. All of its sessions tell it, one after the other: it
        counts once, and the next time that one of them tells the same it is another pass.
        """
        newest = sessions, rows, step_s
        if newest == self._newest and whose not in self._told_by:
            self._told_by.add(whose)
            return
        self._newest, self._told_by, self._fitted = newest, {whose}, None
        self._answers.clear()
        size = round(log(sessions) / STEP), round(log(rows) / STEP)
        for mean in self._means.values():
            mean.weight *= FADES
        self._means = {key: mean for key, mean in self._means.items() if mean.weight >= LEAST_WEIGHT}
        mean = self._means.setdefault(size, _Mean(sessions, rows, step_s, 0.0))
        step_s = min(step_s, CLIP * mean.seconds)
        mean.weight = DECAY * mean.weight + 1
        mean.sessions += (sessions - mean.sessions) / mean.weight
        mean.rows += (rows - mean.rows) / mean.weight
        mean.seconds += (step_s - mean.seconds) / mean.weight
        if len(self._means) > MOST_SIZES:
            del self._means[min(self._means, key=lambda one: self._means[one].weight)]

    def seconds(self, *, sessions: float, rows: float) -> float:
        """Expected of a pass. Raises ValueError before one has been seen."""
        if not self._means:
            raise ValueError("no pass has been seen")
        if self._fitted is None:
            self._fitted = _fit(self._means.values())
        asked = sessions, rows
        if asked not in self._answers:
            self._answers[asked] = self._fitted.seconds(sessions, rows)
        return self._answers[asked]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """The plane, and what the means lack to it."""

    a: float
    b: float
    c: float
    least_s: float
    log_sessions: Floats
    log_rows: Floats
    weights: Floats
    off_s: Floats

    def seconds(self, sessions: float, rows: float) -> float:
        far = np.abs(self.log_sessions - log(sessions)) + np.abs(self.log_rows - log(rows))
        near = self.weights * np.exp(-((far / NEARBY) ** 2))
        off_s = float(near @ self.off_s) / (float(near.sum()) + DOUBT)
        return max(self.a + self.b * rows + self.c * sessions + off_s, self.least_s)


def _fit(means: Iterable[_Mean]) -> _Fit:
    """Least squares about the means' own mean; a prior draws both slopes, which are never below 0."""
    points: Floats = np.array([(one.rows, one.sessions, one.seconds, one.weight) for one in means])
    rows, sessions, seconds, weights = points.T
    middle = weights @ points[:, :3] / weights.sum()
    off = points[:, :3] - middle
    usual_s = float(middle[2])
    at_zero_s = usual_s / (1 + PRIOR_ROW * middle[0] + PRIOR_SESSION * middle[1])
    prior = at_zero_s * np.array([PRIOR_ROW, PRIOR_SESSION])
    squares = off[:, :2].T @ (weights[:, None] * off[:, :2]) + PRIOR_WEIGHT * np.eye(2)
    both = off[:, :2].T @ (weights * off[:, 2]) + PRIOR_WEIGHT * prior
    b, c = np.maximum(np.linalg.solve(squares, both), 0.0).tolist()
    a = usual_s - b * float(middle[0]) - c * float(middle[1])
    return _Fit(
        a=a,
        b=b,
        c=c,
        least_s=LEAST_SHARE * usual_s,
        log_sessions=np.log(sessions),
        log_rows=np.log(rows),
        weights=weights,
        off_s=seconds - (a + b * rows + c * sessions),
    )


__all__ = ["PassTime"]
