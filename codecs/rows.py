"""A sparse row of the draft's distribution q: K ids, their levels, and the integer weights that follow."""

from collections.abc import Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """A sparse row of q: K ids with positive integer weights that sum to exactly 2**24.

    Made by `quantize` or by a decoder. Equal rows have equal vocabulary size, profile, ids and levels, and so
    equal weights. The arrays are read-only. Raises LocalError if a field is not what it says.
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
        _fill(self, ids, levels, derive_weights(levels[None], self.profile)[0])

    def __len__(self) -> int:
        """K."""
        return len(self.ids)

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
            and np.array_equal(self.ids, other.ids)
            and np.array_equal(self.levels, other.levels)
        )

    def __hash__(self) -> int:
        return hash((self.vocab_size, self.profile, self.ids.tobytes(), self.levels.tobytes()))


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


def rows_of_valid(*, vocab_size: int, profile: Profile, ids: Integers, levels: Integers) -> tuple[Row, ...]:
    """R rows from ids and levels of shape [R, K] in which `faults` has found none."""
    weights = derive_weights(levels, profile)
    rows = []
    for row_ids, row_levels, row_weights in zip(ids, levels, weights, strict=True):
        row = object.__new__(Row)
        object.__setattr__(row, "vocab_size", vocab_size)
        object.__setattr__(row, "profile", profile)
        _fill(row, row_ids, row_levels, row_weights)
        rows.append(row)
    return tuple(rows)


def _fill(row: Row, ids: Integers, levels: Integers, weights: Integers) -> None:
    for name, array in (("ids", ids), ("levels", levels), ("weights", weights)):
        array.flags.writeable = False
        object.__setattr__(row, name, array)


__all__ = ["Row", "RowCodec", "check_shape", "faults", "rows_of_valid"]
