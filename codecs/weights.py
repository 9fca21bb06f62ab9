"""Levels -> integer weights, in integers alone: the same at both ends of a link, on any machine.

A row's distribution travels as one small *level* an entry, a logarithm. Its *weights* are what is sampled,
tested and subtracted: positive integers that sum to exactly 2**24. Both ends derive them from the levels, so
the weights' precision costs no bits, and what was sampled and what was sent can't differ.
"""

from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.exponents import E_DENSE_HIGH, E_DENSE_LOW, E_LARGE, E_SMALL
from draftwire.codecs.limits import MAX_GAMMA

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

WEIGHT_BITS = 24
WEIGHT_SUM = 2**WEIGHT_BITS
"The weights of every row sum to this. At 24 bits, precision costs less than 0.01 % of acceptance at K = 320."

COARSE_LEVELS = 32
"Coarse levels of profiles 0 and 1; a fine level is below COARSE_LEVELS << low_bits(profile)."

REFINED_LEVELS = 4
"Entries in this many top coarse levels keep the low bits of their fine level: acceptance is lost up there."

DENSE_LEVELS = 2**16
"Levels of profile 2; the row's largest entry always has the last one."


class Profile(IntEnum):
    """What a level means."""

    SMALL = 0
    "coarse step 1.0 nat, 2 low bits; chosen for K < 100"
    LARGE = 1
    "coarse step 1.4 nat, 3 low bits; chosen for K >= 100"
    DENSE = 2
    "K = V: 16-bit levels of 1/2048 nat, no coarse levels"


_LOW_BITS = (2, 3, 0)


_HALVES = tuple(np.array([1 << bits, 1]) for bits in _LOW_BITS)
"Half fine levels up to an entry's middle: of one without low bits, and of a refined one."


def low_bits(profile: Profile) -> int:
    """s: how many bits of a fine level lie below its coarse level."""
    return _LOW_BITS[profile]


def _padded(table: tuple[int, ...], length: int) -> Integers:
    padded = np.zeros(length, np.int64)
    padded[: len(table)] = table
    return padded


_ROWS = np.arange(MAX_GAMMA)

# A distance is at most twice the largest fine level plus one half step.
_E = (_padded(E_SMALL, 2 * COARSE_LEVELS << 2), _padded(E_LARGE, 2 * COARSE_LEVELS << 3))
_E_HIGH = _padded(E_DENSE_HIGH, 256)
_E_LOW = _padded(E_DENSE_LOW, 256)


def refined(levels: Integers, profile: Profile) -> Mask:
    """Which entries keep their low bits: their coarse level is among the row's top 4. Shape [..., K]."""
    coarse = levels >> low_bits(profile)
    mask: Mask = coarse > np.maximum.reduce(coarse, axis=-1, keepdims=True) - REFINED_LEVELS
    return mask


@lru_cache(maxsize=(COARSE_LEVELS << 2) + (COARSE_LEVELS << 3))  # of either profile every largest level
def _masses(largest: int, profile: Profile) -> Integers:
    """By level, up to the row's largest: the mass of an entry before a row's are made to sum to 2**24."""
    levels = np.arange(largest + 1)
    # In half fine levels: the middle of the fine level, or of the coarse one where that is all there is.
    points = 2 * levels + _HALVES[profile].take(refined(levels, profile))
    masses: Integers = _E[profile].take(points[-1] - points)  # <= 2**30
    return masses


def derive_weights(levels: Integers, profile: Profile) -> Integers:
    """Weights, shape [R, K], of R rows of K levels; each row sums to 2**24 and every weight is >= 1.

    `levels` must be valid for `profile` (a Row's are): then no product reaches 2**63.
    """
    mass: Integers
    if profile is Profile.DENSE:
        distance = levels.max(axis=-1, keepdims=True) - levels
        mass = (_E_HIGH[distance >> 8] * _E_LOW[distance & 255]) >> 24  # <= 2**38
    else:
        mass = np.empty(levels.shape, np.int64)
        for row, largest, its in zip(levels, np.maximum.reduce(levels, axis=-1).tolist(), mass, strict=True):
            # All lie within the table; numpy takes straight into an array only if it need not find that out.
            _masses(largest, profile).take(row, out=its, mode="clip")
    totals = np.add.reduce(mass, axis=-1, keepdims=True)
    mass *= WEIGHT_SUM - levels.shape[-1]
    mass //= totals
    mass += 1
    # What the floors left over goes to the first of the largest.
    mass[_ROWS[: len(levels)], levels.argmax(axis=-1)] += WEIGHT_SUM - np.add.reduce(mass, axis=-1)
    return mass


__all__ = [
    "COARSE_LEVELS",
    "DENSE_LEVELS",
    "REFINED_LEVELS",
    "WEIGHT_BITS",
    "WEIGHT_SUM",
    "Integers",
    "Mask",
    "Profile",
    "derive_weights",
    "low_bits",
    "refined",
]
