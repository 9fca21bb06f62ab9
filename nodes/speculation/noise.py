"""Where randomness comes from: counter-based, so that any draw can be repeated from its key alone.

The session code asks a `Noise` for outcomes and never for random numbers, so that a test may hand it a
source that enumerates every outcome (tests/harness/enumerate.py) through the very same code.

Keys. The device's draws and the acceptance tests are keyed (seed, draft_epoch, position, purpose): a new
epoch never meets the noise of an old one. What the BS draws is keyed (seed, position): at most one draw of a
position ever enters a log.

Shared noise. A draw by masses gives each id of the vocabulary an exponential of its own, whatever the masses
are and however many ids are asked about. So two ends with the same key and like distributions mostly pick the
same id, without a word between them (docs/theory.md, coupled acceptance).
"""

import threading
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.quantize import WEIGHT_SUM

NOISE_VERSION = 2
"""Agreed in Hello: both ends must turn a key into the same numbers."""


class Purpose(IntEnum):
    """What a random number is for; purposes never share numbers."""

    DRAFT = 1
    "the device draws from its row"
    ACCEPT = 2
    "the BS tests a drafted token"
    TARGET = 3
    "the BS draws from p or from the residual"


@dataclass(frozen=True, slots=True)
class Key:
    """Names one random variable."""

    seed: int
    draft_epoch: int
    "0 for TARGET"
    position: int
    purpose: Purpose


class Noise(Protocol):
    """A source of outcomes."""

    def draw_weights(self, key: Key, weights: NDArray[np.int64]) -> int:
        """Index i with probability weights[i] / 2**24 exactly; weights sum to 2**24."""
        ...

    def accepts(self, key: Key, p: float, weight: int) -> bool:
        """True with probability min(1, p / q), q = weight / 2**24 > 0: u q < p."""
        ...

    def draw_masses(
        self, key: Key, masses: NDArray[np.float64], ids: NDArray[np.int64] | None = None
    ) -> int:
        """Index i with probability masses[i] / sum(masses); masses >= 0, not all 0.

        By the noise that the key gives the id ids[i], or i: draws from two distributions agree as often as
        `coupling.equal_probability` says.
        """
        ...


class PhiloxNoise:
    """Philox 4x64 (Salmon et al. 2011): key words (seed, purpose | epoch), counter words (draw, position)."""

    def draw_weights(self, key: Key, weights: NDArray[np.int64]) -> int:
        """24 random bits against the cumulative weights: no rounding anywhere."""
        ticket = _word(key) >> 40
        return int(weights.cumsum().searchsorted(ticket, side="right"))

    def accepts(self, key: Key, p: float, weight: int) -> bool:
        """u has 53 bits; the products are compared, so nothing is divided."""
        u = (_word(key) >> 11) * 2.0**-53
        return bool(u * weight < p * WEIGHT_SUM)

    def draw_masses(
        self, key: Key, masses: NDArray[np.float64], ids: NDArray[np.int64] | None = None
    ) -> int:
        """An exponential race: the least e_i / masses[i], e_i = -log u_i; a Gumbel-max draw, one log less.

        u_i belongs to the id, so the same key favours the same id whatever the masses.
        """
        times = _log_uniforms(_word(key), len(masses), ids)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            times /= masses  # negative, so that the greatest wins; without a mass -inf or not a number
        winner = int(times.argmax())
        if masses[winner] == 0:  # however the others round, what has no mass must not win
            possible = np.flatnonzero(masses)
            winner = int(possible[np.argmax(times[possible])])
        return winner


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"SplitMix64's step (Steele, Lea and Flood 2014): 2**64 over the golden ratio."

_CHUNK = 16384
"Numbers made at a time: their 64 bits stay in the cache, and all V take half as long."


def _log_uniforms(word: int, count: int, ids: NDArray[np.int64] | None) -> NDArray[np.float64]:
    """log u of `count` ids: 53 bits of SplitMix64's output number id, in the stream that starts at `word`.

    Each output is a function of the start and its number alone: a few ids cost as much as a few of V.
    """
    logs = np.empty(count)
    numbers, shifted = np.empty((2, min(count, _CHUNK)), np.uint64)
    for first in range(0, count, _CHUNK):
        u = logs[first : first + _CHUNK]
        z, t = numbers[: len(u)], shifted[: len(u)]
        z[:] = np.arange(first, first + len(u)) if ids is None else ids[first : first + _CHUNK]
        z += np.uint64(1)
        z *= _GOLDEN
        z += np.uint64(word)
        z ^= np.right_shift(z, 30, out=t)
        z *= np.uint64(0xBF58476D1CE4E5B9)
        z ^= np.right_shift(z, 27, out=t)
        z *= np.uint64(0x94D049BB133111EB)
        z ^= np.right_shift(z, 31, out=t)
        z >>= np.uint64(11)
        u[:] = z
        u += 0.5
        u *= 2.0**-53
        np.log(u, out=u)
    return logs


class _Source(threading.local):
    """A generator for each thread, told every time where to stand: to make one costs six times as much."""

    def __init__(self) -> None:
        self.philox = np.random.Philox(key=0)


_SOURCE = _Source()


def _word(key: Key) -> int:
    """The 64 random bits that belong to `key`."""
    words = key.seed, key.purpose << 32 | key.draft_epoch
    philox = _SOURCE.philox
    state: Any = {  # numpy's types want arrays; it reads tuples too, in half the time
        "bit_generator": "Philox",
        "state": {"counter": (0, key.position, 0, 0), "key": words},
        "buffer": (0, 0, 0, 0),
        "buffer_pos": 4,  # nothing is left of the numbers before
        "has_uint32": 0,
        "uinteger": 0,
    }
    philox.state = state
    return int(philox.random_raw())


__all__ = ["NOISE_VERSION", "Key", "Noise", "PhiloxNoise", "Purpose"]
