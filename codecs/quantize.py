"""Log-weights of the draft model -> a Row. The device alone does this; only the result is sent.

Quantise first, then sample from the row's weights: whatever is lost here is lost before the draw, so it may
cost acceptance and never exactness.
"""

from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from draftwire.codecs.errors import LocalError
from draftwire.codecs.limits import MAX_PLAIN_K
from draftwire.codecs.rows import NO_TAIL, Row, check_shape, check_tail, rows_of_valid
from draftwire.codecs.weights import (
    COARSE_LEVELS,
    DENSE_LEVELS,
    WEIGHT_SUM,
    Integers,
    Profile,
    low_bits,
    refined,
)

Floats = NDArray[np.float64]

LARGE_FROM_K = 100
"From this K on profile LARGE costs fewer bits than SMALL at the same loss of acceptance."

_STEP_NATS = {Profile.SMALL: 1.0, Profile.LARGE: 1.4}
_DENSE_LEVELS_PER_NAT = 2048
_KEPT_BITS = tuple(np.array([-1 << low_bits(profile), -1]) for profile in Profile)
"By profile: the bits that an entry keeps of its fine level, and those that a refined one keeps."


def default_profile(*, k: int, vocab_size: int) -> Profile:
    """SMALL below K = 100, LARGE from there on; DENSE where K = V is more than a plain row may hold."""
    if k == vocab_size and k > MAX_PLAIN_K:
        return Profile.DENSE
    return Profile.SMALL if k < LARGE_FROM_K else Profile.LARGE


def quantize(
    ids: ArrayLike,
    log_weights: ArrayLike,
    *,
    vocab_size: int,
    profile: Profile | None = None,
    tail: int = NO_TAIL,
) -> Row:
    """The row that is nearest to softmax(log_weights) over `ids`.

    `ids`: integers, shape [K], in any order, no repeats. `log_weights`: shape [K], natural logarithms up to a
    common constant, finite. `profile`: None is `default_profile`; DENSE needs K = V. Entries more than 32
    coarse steps (32 nats; 44.8 in LARGE; 32 in DENSE) below the largest count as that far below. `tail`: the
    row's (`tail_of`); as it is, the row leaves out nothing.

    Raises LocalError, which names the argument, its value and the remedy.
    """
    z = np.asarray(log_weights, np.float64)
    tokens = np.asarray(ids)
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        raise LocalError(
            field="ids", value=(tokens.dtype, tokens.shape), remedy="must be integers of shape [K]"
        )
    if z.shape != tokens.shape:
        raise LocalError(
            field="log_weights",
            value=z.shape,
            remedy=f"must be one a token, and ids have shape {tokens.shape}",
        )
    if profile is None:
        profile = default_profile(k=len(tokens), vocab_size=vocab_size)
    check_shape(profile=profile, vocab_size=vocab_size, k=len(tokens), rows=1)
    check_tail(tail, k=len(tokens), vocab_size=vocab_size)
    finite = np.isfinite(z)
    if not finite.all():
        place = int(finite.argmin())
        raise LocalError(
            field=f"log_weights[{place}]",
            value=float(z[place]),
            remedy="must be finite; leave out what has no mass",
        )
    rising = (tokens[1:] > tokens[:-1]).all()
    if not rising:
        order = tokens.argsort()
        tokens, z = tokens[order], z[order]
    _check_within(tokens, vocab_size)
    if not rising:
        _check_repeats(tokens)
    tokens = tokens.astype(np.int64)  # a copy: the caller's array is not ours to freeze
    levels = _dense_levels(z) if profile is Profile.DENSE else fine_levels(z, profile)
    return rows_of_valid(
        vocab_size=vocab_size, profile=profile, ids=tokens[None], levels=levels[None], tails=(index(tail),)
    )[0]


def _check_within(tokens: NDArray[np.integer[Any]], vocab_size: int) -> None:
    for value in (int(tokens[0]), int(tokens[-1])):
        if not 0 <= value < vocab_size:
            raise LocalError(
                field="ids", value=value, remedy=f"must lie in [0, {vocab_size - 1}], the vocabulary"
            )


def _check_repeats(tokens: NDArray[np.integer[Any]]) -> None:
    repeated = tokens[1:] == tokens[:-1]
    if repeated.any():
        value = int(tokens[1:][repeated.argmax()])
        raise LocalError(field="ids", value=value, remedy="stands more than once; each id must stand once")


def fine_levels(z: Floats, profile: Profile) -> Integers:
    """Levels of plain rows from finite log-weights, both of shape [..., K]."""
    s, step = low_bits(profile), _STEP_NATS[profile]
    # A spread of more than 32 coarse steps is cut off below: at the top it would flatten what matters.
    least = np.minimum.reduce(z, axis=-1, keepdims=True)
    least = np.maximum(least, np.maximum.reduce(z, axis=-1, keepdims=True) - COARSE_LEVELS * step)
    above = np.maximum(z, least)
    above -= least
    above *= (1 << s) / step
    levels = above.astype(np.int64)
    np.minimum(levels, (COARSE_LEVELS << s) - 1, out=levels)
    levels &= _KEPT_BITS[profile].take(refined(levels, profile))
    return levels


def _dense_levels(z: Floats) -> Integers:
    z = np.maximum(z, z.max() - DENSE_LEVELS / _DENSE_LEVELS_PER_NAT)
    distance = np.rint((z.max() - z) * _DENSE_LEVELS_PER_NAT).astype(np.int64)
    levels: Integers = DENSE_LEVELS - 1 - np.minimum(distance, DENSE_LEVELS - 1)
    return levels


__all__ = ["LARGE_FROM_K", "WEIGHT_SUM", "default_profile", "fine_levels", "quantize"]
