"""Seconds of a pass over several sessions, by how many they are and the positions of all.

    T(sessions, rows) = a + b rows + c sessions + what passes nearby took beyond that

Passes are kept as means by size, sizes a factor of about 1.2 apart: what is not seen for a while is not
forgotten at once, as most of the time all passes are of one size, and a line through one point has no
slope. A plane is fitted through the means, weighted by how many passes each has of late and drawn towards a
prior; beside it counts what the nearest means are off by, as kernels for few positions are others than for
many. A pass that took CLIP times what its size takes counts as that: a shared machine stalls at times.
Expected error: that of a mean over about 30 passes, where passes of the size have been seen.
"""

from dataclasses import dataclass
from math import exp, log

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
        self._plane: tuple[float, float, float] | None = None
        "a, b, c; None: to be fitted anew"

    @property
    def known(self) -> bool:
        """Whether a pass has been seen."""
        return bool(self._means)

    def observe(self, *, sessions: int, rows: int, step_s: float) -> None:
        """A pass took so long. Each of its sessions reports it, one after the other: it counts once."""
        newest = sessions, rows, step_s
        if newest == self._newest:
            return
        self._newest, self._plane = newest, None
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
        a, b, c = self._fitted()
        near, off_s = DOUBT, 0.0
        for mean in self._means.values():
            far = abs(log(sessions / mean.sessions)) + abs(log(rows / mean.rows))
            weight = mean.weight * exp(-((far / NEARBY) ** 2))
            near += weight
            off_s += weight * (mean.seconds - (a + b * mean.rows + c * mean.sessions))
        return max(a + b * rows + c * sessions + off_s / near, 0.1 * self._usual_s())

    def _usual_s(self) -> float:
        weights = sum(mean.weight for mean in self._means.values())
        return sum(mean.weight * mean.seconds for mean in self._means.values()) / weights

    def _fitted(self) -> tuple[float, float, float]:
        if self._plane is None:
            self._plane = self._fit()
        return self._plane

    def _fit(self) -> tuple[float, float, float]:
        """Least squares about the means' own mean; a prior draws both slopes, which are never below 0."""
        points: Floats = np.array(
            [(one.rows, one.sessions, one.seconds, one.weight) for one in self._means.values()]
        )
        weights = points[:, 3]
        middle = weights @ points[:, :3] / weights.sum()
        off = points[:, :3] - middle
        usual_s = float(middle[2])
        at_zero_s = usual_s / (1 + PRIOR_ROW * middle[0] + PRIOR_SESSION * middle[1])
        prior = at_zero_s * np.array([PRIOR_ROW, PRIOR_SESSION])
        squares = off[:, :2].T @ (weights[:, None] * off[:, :2]) + PRIOR_WEIGHT * np.eye(2)
        both = off[:, :2].T @ (weights * off[:, 2]) + PRIOR_WEIGHT * prior
        b, c = np.maximum(np.linalg.solve(squares, both), 0.0).tolist()
        return usual_s - b * float(middle[0]) - c * float(middle[1]), b, c


__all__ = ["PassTime"]
