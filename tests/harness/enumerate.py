"""A noise source that enumerates: every outcome of the session code, with its exact probability.

`explore(run)` calls `run(noise)` once for each path through the outcomes that the code asks for. A random
variable is an interval of [0, 1) that shrinks with every question asked of its key, so a key that is used
again is exactly as correlated as it would be in life. Questions with one possible answer make no branch.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.quantize import WEIGHT_SUM
from draftwire.nodes.speculation.noise import Key

T = TypeVar("T", bound=Hashable)


class EnumeratingNoise:
    """Noise along one path: the choices in `path` first, then always the first possible answer."""

    def __init__(self, path: Sequence[int]) -> None:
        self.path = list(path)
        self.choices: list[tuple[int, int]] = []
        "(answer taken, answers possible) of every branch met"
        self.probability = 1.0
        self._intervals: dict[Hashable, tuple[float, float]] = {}

    def draw_weights(self, key: Key, weights: NDArray[np.int64]) -> int:
        """As Noise."""
        return self._ask(key, [0.0, *(np.cumsum(weights) / WEIGHT_SUM)])

    def accepts(self, key: Key, p: float, weight: int) -> bool:
        """As Noise."""
        return self._ask(key, [0.0, min(1.0, p / (weight / WEIGHT_SUM)), 1.0]) == 0

    def draw_masses(
        self, key: Key, masses: NDArray[np.float64], ids: NDArray[np.int64] | None = None
    ) -> int:
        """As Noise, but for how often two draws of a key agree: the noise is one u, read by rising id."""
        order = np.arange(len(masses)) if ids is None else np.argsort(ids)
        edges = np.cumsum(masses[order])
        return int(order[self._ask(key, [0.0, *(edges / edges[-1])])])

    def coin(self, name: Hashable, probability: float) -> bool:
        """An event of the link or of the world, named so that a repeat is the same event."""
        return self._ask(("coin", name), [0.0, probability, 1.0]) == 0

    def _ask(self, key: Hashable, edges: Sequence[float]) -> int:
        low, high = self._intervals.get(key, (0.0, 1.0))
        parts = [
            (i, max(low, float(edges[i])), min(high, float(edges[i + 1])))
            for i in range(len(edges) - 1)
        ]
        possible = [part for part in parts if part[2] - part[1] > 1e-15]
        if len(possible) == 1:
            return possible[0][0]
        taken = self.path[len(self.choices)] if len(self.choices) < len(self.path) else 0
        self.choices.append((taken, len(possible)))
        i, part_low, part_high = possible[taken]
        self.probability *= (part_high - part_low) / (high - low)
        self._intervals[key] = (part_low, part_high)
        return i


def explore(run: Callable[[EnumeratingNoise], T], *, limit: int = 400_000) -> dict[T, float]:
    """The law of `run`'s result. Raises AssertionError beyond `limit` paths, or if they don't sum to 1."""
    law: dict[T, float] = {}
    path: list[int] | None = []
    paths = 0
    while path is not None:
        noise = EnumeratingNoise(path)
        outcome = run(noise)
        law[outcome] = law.get(outcome, 0.0) + noise.probability
        paths += 1
        assert paths <= limit, f"more than {limit} paths"
        path = _next_path(noise.choices)
    assert abs(sum(law.values()) - 1.0) < 1e-9, sum(law.values())
    return law


def _next_path(choices: list[tuple[int, int]]) -> list[int] | None:
    """Depth first: the deepest choice that has an answer left."""
    for depth in range(len(choices) - 1, -1, -1):
        taken, possible = choices[depth]
        if taken + 1 < possible:
            return [choice for choice, _ in choices[:depth]] + [taken + 1]
    return None
