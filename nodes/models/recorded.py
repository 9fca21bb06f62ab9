"""A pair of models whose acceptance is a recorded one, at every position and every K of the ladder.

A recording (scripts/record_acceptance.py) holds of each position of a text what share alpha(K) of drafted
tokens the target accepted when rows were cut to K entries. This pair has two true distributions at each
position, so that sampling, rows, verification and reports run as they do with weights, and come to the same
acceptance. What it does not keep is the text: ids are arbitrary, others at each position. How close together
those of a row lie may be said (`spread`), since that is what a row of theirs takes to send.

How q and p come of alpha. The rungs K_1 < K_2 < ... cut the ids, ordered by q, into groups; group j has the
ids from K_(j-1) + 1 to K_j. Within a group p and q are proportional; q has mass w_j there and p has P_j, and
what is left of p, 1 - sum P, lies on ids that the draft never draws. With m_K the sum of w up to K, a row of
K entries is q_K = q / m_K on its ids, so that in each group

    sum min(p, q_K)  =  min(P_j, w_j / m_K)        and        alpha(K)  =  sum over j up to K of that,

exactly, whatever w and P are, as long as q falls from group to group and sum P <= 1. Were alpha to rise ever
more slowly, P_j = alpha(K_J) w_j with m_K = alpha(K) / alpha(K_J) would do: then p = alpha(K_J) q on all of
q's ids, P_j <= w_j / m_K always, and the sum is alpha(K_J) m_K = alpha(K). Real positions rise and fall. So
w_j is searched group by group, and P_j follows from it within 0 <= P_j <= w_j / m_K: `solved`. Some recorded
positions have no solution of this form, since each rung was recorded of a row quantised by itself; these get
the nearest one that was found. Over the shipped recordings the mean alpha at each K is met within 0.001, and
single positions within 0.002 in the mean. Rows are quantised before they are drawn from, as those of any
model are; here that costs up to 0.007 of the mean alpha once more.

Coupled picks are not fitted: alpha leaves open how p and q differ where they do not overlap, and with it how
often picks by the same noise are equal, from alpha/(2 - alpha) to alpha. This form comes to what was recorded
all the same: within 0.008 in the mean, 0.02 in the mean over positions, and the two correlate by 0.99.
"""

from collections import OrderedDict
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from draftwire.nodes.models.base import Top
from draftwire.nodes.models.synthetic import SYNTHETIC_CONTEXT, StatelessContext

Floats = NDArray[np.float64]
Logits = NDArray[np.float32]
Ids = NDArray[np.int64]
KeptIds = NDArray[np.unsignedinteger[Any]]

VOCAB_SIZE: Final = 4096
"""Ids of a recorded pair by default: enough for plain rows of K = 1280 to be as long as those of a vocabulary
of 49152 ids are when they are spelt with tables; shorter rows are by how their ids are `spread`."""

LEAST_BESIDE: Final = 64
"""Ids beyond the ladder's end, at least: where p lies that q never meets."""

KEPT_POSITIONS: Final = 4096
"""Positions whose two rows are kept, at most; at V = 4096 they take 134 MB, and the orders of q 101 MB."""

NOTHING: Final = -60.0
"""The logarithm of a mass that no draw ever meets, e-26; finite, as a model's logits are."""

TILT: Final = 2e-6
"""Natural logarithm by which q falls from one id to the next within a group, so that its order is certain."""

MET: Final = 1e-3
"""A position whose alpha is met so well at every rung needs no further search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Masses:
    """What q and p have in each group; both of shape [positions, rungs]."""

    q: Floats
    "w: sums to 1"
    p: Floats
    "P: sums to 1 at most"

    def alphas(self) -> Floats:
        """sum_x min(p(x), q_K(x)) at each K; shape [positions, rungs]."""
        kept = self.q.cumsum(axis=1)
        rungs = range(self.q.shape[1])
        return np.stack(
            [
                np.minimum(self.p[:, : j + 1], self.q[:, : j + 1] / kept[:, j, None]).sum(axis=1)
                for j in rungs
            ],
            axis=1,
        )


class RecordedPair:
    """A draft and a target that agree as recorded, position by position.

    A text's first token says where in the recording it begins; behind its end comes its beginning.
    Both models are pure functions of their fields and the tokens, in every process.
    """

    def __init__(
        self,
        alpha: Floats,
        ladder: Sequence[int],
        *,
        temperature: float,
        kept: Floats | None = None,
        vocab_size: int = VOCAB_SIZE,
        seed: int = 0,
    ) -> None:
        """`alpha`: shape [positions, rungs], 0 to 1; `ladder`: K of each rung, rising; `temperature`: of the
        requests at which it holds, above 0. `kept`: the mass that the draft's own K likeliest ids had, as far
        as it is known; None: as if alpha had grown with it. `seed` orders the ids.

        Raises ValueError for shapes or values that don't fit, and for a vocabulary too small for the ladder.
        """
        if alpha.ndim != 2 or alpha.shape[1] != len(ladder) or not alpha.size:
            raise ValueError(f"alpha has shape {alpha.shape}: give one value a position and rung")
        if not ((alpha >= 0) & (alpha <= 1)).all():
            raise ValueError("alpha has values outside [0, 1]")
        if list(ladder) != sorted(set(ladder)) or ladder[0] < 1:
            raise ValueError(f"ladder is {tuple(ladder)}: give rising K, 1 or more")
        if temperature <= 0:
            raise ValueError(f"temperature is {temperature}: a recording's is above 0")
        if vocab_size < ladder[-1] + LEAST_BESIDE:
            raise ValueError(
                f"vocab_size is {vocab_size}: the ladder ends at {ladder[-1]}, so give "
                f"{ladder[-1] + LEAST_BESIDE} or more"
            )
        self.ladder = tuple(ladder)
        self.temperature = temperature
        self.vocab_size = vocab_size
        self.masses = solved(alpha, ladder, kept)
        self._seed = seed
        self._sizes = np.diff([0, *ladder])
        self._reaches = (vocab_size,) * len(ladder)
        self._order = -TILT * np.arange(ladder[-1])
        beside = 1 / np.arange(1, vocab_size - ladder[-1] + 1)
        self._beside = np.log(beside / beside.sum())
        self._rows: OrderedDict[int, tuple[Logits, Logits]] = OrderedDict()
        self._orders: OrderedDict[int, tuple[KeptIds, Logits]] = OrderedDict()
        self._id_type = np.uint16 if vocab_size <= 2**16 else np.uint32

    def spread(self, reaches: Sequence[int]) -> Self:
        """The same pair with the ids of each group drawn from those below its reach, not from all.

        Raises ValueError for reaches that fall, that are not one a rung, or leave too few ids for a group.
        """
        rising = list(reaches) == sorted(reaches) and len(reaches) == len(self.ladder)
        if not rising or any(reach < k for reach, k in zip(reaches, self.ladder, strict=True)):
            raise ValueError(f"reaches are {tuple(reaches)}: give one a rung, its K or more, never falling")
        if reaches[-1] > self.vocab_size:
            raise ValueError(f"the last reach is {reaches[-1]}: give {self.vocab_size}, V, at most")
        other = copy(self)
        other._reaches = tuple(reaches)
        other._rows, other._orders = OrderedDict(), OrderedDict()
        return other

    def __len__(self) -> int:
        """Positions."""
        return len(self.masses.q)

    @property
    def draft(self) -> "RecordedModel":
        """q."""
        return RecordedModel(self, 0)

    @property
    def target(self) -> "RecordedModel":
        """p."""
        return RecordedModel(self, 1)

    def begins_at(self, first: int) -> int:
        """Where in the recording a text begins whose first token this is."""
        mixed = (first + 1) * 0x9E3779B97F4A7C15 + self._seed * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        return (mixed ^ mixed >> 29) % len(self)

    def rows_at(self, position: int) -> tuple[Logits, Logits]:
        """The logits of q and p at a position of the recording, each of shape [V]; not to be written to."""
        rows = self._rows.get(position)
        if rows is None:
            rows = self._rows[position] = self._made(position)
            if len(self._rows) > KEPT_POSITIONS:
                self._rows.popitem(last=False)
        else:
            self._rows.move_to_end(position)
        return rows

    def order_at(self, position: int) -> tuple[KeptIds, Logits]:
        """The ids by q at a position, the likeliest first, and what part of the mass lies from each on."""
        order = self._orders.get(position)
        if order is None:
            logits = self.rows_at(position)[0]
            ids = np.argsort(-logits, kind="stable")
            mass = np.exp((logits[ids] - logits[ids[0]]).astype(np.float64) / self.temperature)
            beyond = mass[::-1].cumsum()[::-1]
            share = (beyond / beyond[0]).astype(np.float32)
            order = self._orders[position] = ids.astype(self._id_type), share
            if len(self._orders) > KEPT_POSITIONS:
                self._orders.popitem(last=False)
        else:
            self._orders.move_to_end(position)
        return order

    def _made(self, position: int) -> tuple[Logits, Logits]:
        """Groups in the order of q, then ids beyond them; each laid to the place that its id has here."""
        ids = self._ids_at(position)
        q_group, p_group = self.masses.q[position], self.masses.p[position]
        q = np.log(np.maximum(q_group / self._sizes, 1e-300)).repeat(self._sizes) + self._order
        tilted = np.add.reduceat(np.exp(self._order), np.cumsum(self._sizes) - self._sizes)
        p = np.log(np.maximum(p_group / tilted, 1e-300)).repeat(self._sizes) + self._order
        left = 1 - p_group.sum()
        beside = self._beside + np.log(max(left, 1e-300))
        rows = np.full((2, self.vocab_size), NOTHING)
        rows[0, ids[: len(q)]] = q
        rows[1, ids[: len(q)]] = p
        rows[1, ids[len(q) :]] = beside
        rows = (self.temperature * np.maximum(rows, NOTHING)).astype(np.float32)
        rows.flags.writeable = False
        return rows[0], rows[1]

    def shuffled(self, position: int) -> Ids:
        """All ids, in an order of this position's own."""
        ids: Ids = np.random.Generator(np.random.PCG64([self._seed, position])).permutation(self.vocab_size)
        return ids

    def _ids_at(self, position: int) -> Ids:
        """By group, those of the draft; then all others."""
        left = self.shuffled(position)
        groups = list[Ids]()
        for size, reach in zip(self._sizes.tolist(), self._reaches, strict=True):
            found, left = taken(left, size, below=reach)
            groups.append(found)
        return np.concatenate([*groups, left])


def taken(ids: Ids, count: int, *, below: int) -> tuple[Ids, Ids]:
    """The first `count` of the ids below that one, and those that are left, both in their order."""
    places = np.flatnonzero(ids < below)[:count]
    left = np.ones(len(ids), dtype=bool)
    left[places] = False
    return ids[places], ids[left]


class RecordedModel:
    """One end of a RecordedPair; a LanguageModel."""

    support = None
    context_length = SYNTHETIC_CONTEXT

    def __init__(self, pair: RecordedPair, end: int) -> None:
        self.vocab_size = pair.vocab_size
        self._pair = pair
        self._end = end

    def open(self) -> StatelessContext:
        """A fresh context."""
        return StatelessContext(self) if self._end else DraftContext(self, self._pair)

    def rows(self, tokens: Sequence[int], rows: int) -> Logits:
        """The logits themselves, shape [rows, V]; for `StatelessContext`."""
        pair, end = self._pair, self._end
        first = pair.begins_at(tokens[0]) + len(tokens) - rows
        if rows == 1:
            return pair.rows_at(first % len(pair))[end][None]
        return np.stack([pair.rows_at((first + i) % len(pair))[end] for i in range(rows)])


class DraftContext(StatelessContext):
    """Of the draft, whose order of ids is known: nothing has to be looked for. A TopContext."""

    def __init__(self, model: RecordedModel, pair: RecordedPair) -> None:
        super().__init__(model)
        self._pair = pair

    def top(self, tokens: Sequence[int], *, k: int, columns: int, temperature: float) -> Top:
        """See TopContext. Raises ValueError for columns of another vocabulary, or at a temperature that is
        neither the recording's nor 0.
        """
        pair = self._pair
        if columns != pair.vocab_size or temperature not in (0, pair.temperature):
            raise ValueError(f"{columns} columns at temperature {temperature}: the recording has other ones")
        position = (pair.begins_at(tokens[0]) + len(tokens) - 1) % len(pair)
        order, beyond = pair.order_at(position)
        found = np.sort(order[:k]).astype(np.int64)
        left_out = float(beyond[k]) if temperature and k < columns else 0.0
        return Top(columns=found, logits=pair.rows_at(position)[0][found], left_out=left_out)


# The search -------------------------------------------------------------------------------------------------

_SHARES: Final = np.concatenate([np.geomspace(1e-5, 0.3, 20), np.linspace(0.35, 1, 20)])
"""Of the density before: where the next group's is looked for, beside the guess."""

_REACHES: Final = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 0.5, 12.0)
_PEAKS: Final = (1.0, 2.0, 0.5, 4.0)
"""What a guess is multiplied by in turn, while positions are left that are not met."""


def solved(alpha: Floats, ladder: Sequence[int], kept: Floats | None = None) -> Masses:
    """The masses whose alphas are nearest to `alpha`, shape [positions, rungs], by a search that is repeated
    with other guesses for the positions that are not met; the same in every process.

    `kept`: see RecordedPair.
    """
    sizes = np.diff([0, *ladder]).astype(float)
    if kept is None:
        grown = np.maximum.accumulate(np.maximum(alpha, 1e-3), axis=1)
        kept = grown / grown[:, -1:]
    kept = np.maximum.accumulate(np.maximum(kept, 1e-3), axis=1)
    best = _search(alpha, sizes, kept, peak=1.0, reach=1.0)
    missed = np.abs(best.alphas() - alpha).max(axis=1)
    for peak in _PEAKS:
        for reach in _REACHES:
            left = np.flatnonzero(missed > MET)
            if not len(left):
                return best
            found = _search(alpha[left], sizes, kept[left], peak=peak, reach=reach)
            off = np.abs(found.alphas() - alpha[left]).max(axis=1)
            better = off < missed[left]
            missed[left[better]] = off[better]
            best.q[left[better]], best.p[left[better]] = found.q[better], found.p[better]
    return best


def _search(alpha: Floats, sizes: Floats, kept: Floats, *, peak: float, reach: float) -> Masses:
    """Group by group, all positions at once: q's density no higher than before, then what p needs to have.

    A rise of alpha can be met only where q still has so much of a row, a fall only by thinning the row out.
    So no density is guessed below what a later group needs, times `reach`. `peak` makes q more or less flat.
    """
    positions, rungs = alpha.shape
    q, p = np.zeros((2, positions, rungs))
    q[:, 0], p[:, 0] = 1.0, alpha[:, 0]
    density = mass = np.ones(positions)
    steps = np.maximum(alpha[:, 1:] - alpha[:, :-1], alpha[:, :-1] / np.maximum(alpha[:, 1:], 1e-3) - 1)
    needed = np.maximum.accumulate((steps / sizes[1:])[:, ::-1], axis=1)[:, ::-1]
    each = np.arange(positions)
    for j in range(1, rungs):
        guess = peak * (kept[:, j] / kept[:, j - 1] - 1) * mass / sizes[j]
        guess = np.maximum(guess, reach * needed[:, j - 1] * mass).clip(1e-9 * density, density)
        tried = np.concatenate([guess[:, None], density[:, None] * _SHARES], axis=1)
        masses = mass[:, None] + sizes[j] * tried
        before = np.minimum(p[:, None, :j], q[:, None, :j] / masses[:, :, None]).sum(axis=2)
        room = np.minimum(1 - p.sum(axis=1)[:, None], sizes[j] * tried / masses)
        own = np.clip(alpha[:, j, None] - before, 0, room)
        off = np.maximum(np.abs(before + own - alpha[:, j, None]), MET / 2)
        chosen = np.argmin(1e6 * off + np.abs(np.log(tried / guess[:, None])), axis=1)
        density, mass = tried[each, chosen], masses[each, chosen]
        q[:, j], p[:, j] = sizes[j] * density, own[each, chosen]
    return Masses(q=q / q.sum(axis=1, keepdims=True), p=p)


__all__ = [
    "KEPT_POSITIONS",
    "LEAST_BESIDE",
    "VOCAB_SIZE",
    "DraftContext",
    "Masses",
    "RecordedModel",
    "RecordedPair",
    "solved",
    "taken",
]
