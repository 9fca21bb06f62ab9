"""A sparse row of the draft's distribution q: K ids, their levels, and the integer weights that follow."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log2
from operator import index
from typing import Protocol

import numpy as np

from draftwire.codecs.checks import check_range
from draftwire.codecs.errors import LocalError
from draftwire.codecs.limits import MAX_GAMMA, MAX_PLAIN_K, MAX_VOCAB_SIZE, MIN_VOCAB_SIZE
from draftwire.codecs.weights import (
    COARSE_LEVELS,
    DENSE_LEVELS,
    Integers,
    Mask,
    Profile,
    derive_weights,
    low_bits,
    refined,
)

NO_TAIL = 63
"The tail of a row that leaves out 2**-15.75 of the mass or less; of a row with K = V always."

TAIL_BITS = 6
"Bits of a tail in a block."

_TAIL_STEPS = 4
"Steps of a tail to a halving of the mass."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """A sparse row of q: K ids with positive integer weights that sum to exactly 2**24.

    Made by `quantize` or by a decoder. Equal rows have equal vocabulary size, profile, ids, levels and tail,
    and so equal weights. The arrays are read-only. Raises LocalError if a field is not what it says.
    """

    vocab_size: int
    "V, 2 to 262144"
    profile: Profile
    "what a level means; DENSE has K = V"
    ids: Integers = field(repr=False)
    "shape [K], strictly rising, below V; 1 <= K <= min(V, 4096), or K = V where dense"
    levels: Integers = field(repr=False)
    """shape [K]. SMALL and LARGE: fine levels above the row's smallest, which is 0; an entry below the top 4
    coarse levels has zero low bits. DENSE: 16-bit levels, the largest is 65535."""
    tail: int = NO_TAIL
    """0 to 63: what the draft's whole row has outside the K entries, at the request's temperature, is
    2**(-tail / 4) of its mass, to the nearest step; 63: that or less. A row with K = V has 63.
    For estimates of what a larger K would bring: no draw and no test reads it."""
    weights: Integers = field(init=False, repr=False)
    "shape [K], derived from the levels: q(ids[i]) * 2**24"

    def __post_init__(self) -> None:
        ids = np.array(self.ids, np.int64)
        levels = np.array(self.levels, np.int64)
        if ids.ndim != 1 or ids.shape != levels.shape:
            raise LocalError(
                field="levels",
                value=levels.shape,
                remedy=f"must be one level an id, and ids have {ids.shape}",
            )
        check_shape(profile=self.profile, vocab_size=self.vocab_size, k=len(ids), rows=1)
        for name, wrong in faults(ids[None], levels[None], profile=self.profile, vocab_size=self.vocab_size):
            if wrong.any():
                raise LocalError(field="row", value=self, remedy=f"entry {int(wrong.argmax())}: {name}")
        check_tail(self.tail, k=len(ids), vocab_size=self.vocab_size)
        object.__setattr__(self, "tail", index(self.tail))
        _fill(self, ids, levels, derive_weights(levels[None], self.profile)[0])

    def __len__(self) -> int:
        """K."""
        return len(self.ids)

    @property
    def kept_mass(self) -> float:
        """The part of the draft's whole row that the K entries have of it, 0 to 1, as the tail tells."""
        return 1.0 if self.tail == NO_TAIL else 1.0 - 2.0 ** (-self.tail / _TAIL_STEPS)

    def weight_of(self, token: int) -> int:
        """q(token) * 2**24; 0 if the row does not hold it."""
        place = int(self.ids.searchsorted(token))
        return int(self.weights[place]) if place < len(self.ids) and self.ids[place] == token else 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Row):
            return NotImplemented
        return (
            self.vocab_size == other.vocab_size
            and self.profile is other.profile
            and self.tail == other.tail
            and np.array_equal(self.ids, other.ids)
            and np.array_equal(self.levels, other.levels)
        )

    def __hash__(self) -> int:
        return hash((self.vocab_size, self.profile, self.tail, self.ids.tobytes(), self.levels.tobytes()))


def tail_of(mass: float) -> int:
    """The tail, 0 to 63, of a row that leaves out `mass` of the draft's, 0 to 1: -4 log2(mass), rounded.

    Raises LocalError if `mass` lies outside [0, 1].
    """
    check_range("mass", mass, 0, 1)
    return min(NO_TAIL, round(-_TAIL_STEPS * log2(mass))) if mass > 0 else NO_TAIL


def check_tail(tail: int, *, k: int, vocab_size: int) -> None:
    """Raise LocalError unless a row of K entries over V ids may have this tail."""
    check_range("tail", tail, 0, NO_TAIL)
    if k == vocab_size and tail != NO_TAIL:
        raise LocalError(field="tail", value=tail, remedy=f"must be {NO_TAIL}: nothing lies outside K = V")


class RowCodec(Protocol):
    """A block of rows <-> bytes. Implement it, and tests/codecs runs every property on yours."""

    name: str
    "shown in test ids"

    def encode(self, rows: Sequence[Row]) -> bytes:
        """The one spelling of 1 to 32 rows that share V, K and profile; LocalError if they do not."""
        ...

    def decode(self, data: bytes, *, vocab_size: int | None = None) -> tuple[Row, ...]:
        """The rows whose spelling is `data`, over `vocab_size` ids if that is given; else WireError."""
        ...


def check_shape(*, profile: Profile, vocab_size: int, k: int, rows: int) -> None:
    """Raise LocalError unless `rows` rows of K entries over V ids are within the limits."""
    check_range("rows", rows, 1, MAX_GAMMA)
    check_range("vocab_size", vocab_size, MIN_VOCAB_SIZE, MAX_VOCAB_SIZE)
    if profile is Profile.DENSE:
        check_range("k of a dense row", k, vocab_size, vocab_size)
    else:
        check_range("k", k, 1, min(vocab_size, MAX_PLAIN_K))


def faults(
    ids: Integers, levels: Integers, *, profile: Profile, vocab_size: int
) -> tuple[tuple[str, Mask], ...]:
    """What a valid row never has: (rule, where it is broken), masks of shape [R, K], for R rows at once."""
    rising = np.diff(ids, axis=-1, prepend=-1) > 0
    if profile is Profile.DENSE:
        return (
            ("ids must be 0, 1, ... V - 1", ~(rising & (ids < vocab_size))),
            ("levels must lie in [0, 65535]", (levels < 0) | (levels >= DENSE_LEVELS)),
            ("the row's largest level must be 65535", levels.max(axis=-1, keepdims=True) != DENSE_LEVELS - 1),
        )
    s = low_bits(profile)
    low = levels & ((1 << s) - 1)
    return (
        (f"ids must rise strictly and lie in [0, {vocab_size - 1}]", ~(rising & (ids < vocab_size))),
        (
            f"levels must lie in [0, {(COARSE_LEVELS << s) - 1}]",
            (levels < 0) | (levels >= COARSE_LEVELS << s),
        ),
        ("the row's smallest level must be 0", levels.min(axis=-1, keepdims=True) != 0),
        ("below the top 4 coarse levels the low bits must be 0", (low != 0) & ~refined(levels, profile)),
    )


def rows_of_valid(
    *, vocab_size: int, profile: Profile, ids: Integers, levels: Integers, tails: Sequence[int]
) -> tuple[Row, ...]:
    """R rows from ids and levels of shape [R, K] in which `faults` has found none, and R valid tails."""
    weights = derive_weights(levels, profile)
    for array in (ids, levels, weights):
        array.flags.writeable = False  # and so are the rows of it
    rows, fill = [], object.__setattr__
    for row_ids, row_levels, row_weights, tail in zip(ids, levels, weights, tails, strict=True):
        row = object.__new__(Row)
        fill(row, "vocab_size", vocab_size)
        fill(row, "profile", profile)
        fill(row, "tail", tail)
        fill(row, "ids", row_ids)
        fill(row, "levels", row_levels)
        fill(row, "weights", row_weights)
        rows.append(row)
    return tuple(rows)


def _fill(row: Row, ids: Integers, levels: Integers, weights: Integers) -> None:
    for name, array in (("ids", ids), ("levels", levels), ("weights", weights)):
        array.flags.writeable = False
        object.__setattr__(row, name, array)


__all__ = [
    "NO_TAIL",
    "TAIL_BITS",
    "Row",
    "RowCodec",
    "check_shape",
    "check_tail",
    "faults",
    "rows_of_valid",
    "tail_of",
]
