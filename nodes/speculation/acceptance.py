"""What a drafted row tells about acceptance: at its own K, at every smaller one, coupled, and for whole rows.

A token drawn from q is accepted with probability alpha = sum_x min(p(x), q(x)) (Zheng and Yang 2025, arXiv
2509.04576). With the row and p at hand it is known exactly for each K' up to the row's K: the row of K' would
have held its K' largest entries, renormalised. Beyond K the draft's distribution is unknown but for its mass,
which gives bounds. q is the draft's row, p the target's distribution.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.rows import Row
from draftwire.codecs.weights import WEIGHT_SUM
from draftwire.nodes.speculation.coupling import equal_on

Floats = NDArray[np.float64]

LADDER = (1, 2, 3, 5, 8, 16, 32, 64, 128, 320, 640, 1280)
"""The K that acceptance is told at, and that a controller chooses from: factors of 1.5 to 2.5, since alpha
grows with the logarithm of K at best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowAcceptance:
    """Of one position whose draft was tested. All are probabilities."""

    ladder: tuple[int, ...]
    "K' <= K, rising; the last is K"
    alphas: tuple[float, ...]
    "sum_x min(p(x), q_K'(x)) for each of them"
    low: float
    "of alpha with whole rows, at least this much"
    high: float
    "and at most this much"
    gap: float
    "high - low as they would be known from a third of the entries, the largest"
    filled: float
    "and how far above that low alpha at K lies: the share of the gap that two thirds more entries fill"
    coupled: float
    "that a token picked from this row by the shared noise is the target's pick (coupling.py)"


def rungs(k: int) -> tuple[int, ...]:
    """The K' that a row of `k` entries tells acceptance at: LADDER below k, and k."""
    return (*(rung for rung in LADDER if rung < k), k)


def acceptance(p: Floats, row: Row) -> RowAcceptance:
    """What `row` tells at a position where the target's distribution is `p`, shape [V], summing to 1.

    With m = row.kept_mass, the mass of its K ids S before they were renormalised, the whole row is m q on S
    and unknown outside, where it has 1 - m:

        sum_S min(p, m q)  <=  sum min(p, whole)  <=  sum_S min(p, m q) + min(1 - p(S), 1 - m)
    """
    order = np.argsort(-row.weights, kind="stable")  # ids rise, so ties go to the lower id
    q, p_kept = row.weights[order] / WEIGHT_SUM, p[row.ids[order]]
    ladder = _ladder(len(row))
    q_sums, p_sums = q.cumsum(), p_kept.cumsum()
    renormalised = q[ladder.entries] / q_sums[ladder.lasts].repeat(ladder.rungs)
    alphas = np.add.reduceat(np.minimum(p_kept[ladder.entries], renormalised), ladder.starts)
    kept_mass = row.kept_mass
    known = np.minimum(p_kept, kept_mass * q).cumsum()
    third = max(1, len(row) // 3) - 1
    low, low_third = float(known[-1]), float(known[third])
    return RowAcceptance(
        ladder=rungs(len(row)),
        alphas=tuple(alphas.tolist()),
        low=low,
        high=low + _beyond(float(p_sums[-1]), kept_mass),
        gap=_beyond(float(p_sums[third]), kept_mass * float(q_sums[third])),
        filled=max(0.0, float(alphas[-1]) - low_third),
        coupled=equal_on(p_kept, q),
    )


class _Ladder(NamedTuple):
    """The first K' entries for every K', one behind the other: all rungs in one pass of numpy."""

    rungs: NDArray[np.int64]
    lasts: NDArray[np.int64]
    "of each rung, as an index of entries"
    starts: NDArray[np.int64]
    "of each rung, in `entries`"
    entries: NDArray[np.int64]


@lru_cache(maxsize=32)
def _ladder(k: int) -> _Ladder:
    ladder = np.array(rungs(k))
    entries = np.concatenate([np.arange(rung) for rung in ladder])
    return _Ladder(ladder, ladder - 1, ladder.cumsum() - ladder, entries)


def _beyond(p_kept: float, q_kept: float) -> float:
    """The most that min(p, q) can add up to outside of entries that hold so much of both."""
    return max(0.0, min(1.0 - p_kept, 1.0 - q_kept))


__all__ = ["LADDER", "RowAcceptance", "acceptance", "rungs"]
