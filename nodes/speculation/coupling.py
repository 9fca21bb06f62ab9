"""How often two draws by the same noise agree: the acceptance of coupled drafts.

Both ends let each id x race with the same exponential e_x, the device by e_x / q(x), the BS by e_x / p(x),
and the least wins (`Noise.draw_masses`). x wins both races exactly if e_y >= e_x max(p(y)/p(x), q(y)/q(x))
for all other y, and as these are independent exponentials that has the probability

    P(both pick x) = 1 / sum_y max(p(y)/p(x), q(y)/q(x)),        P(equal) = sum_x P(both pick x)

(docs/theory.md, coupled acceptance). With r = p/q the maximum is p(y)/p(x) where r(y) >= r(x), else
q(y)/q(x): once the ids are sorted by r, the inner sums are running sums. q is the draft's distribution, p the
target's.
"""

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.rows import Row
from draftwire.codecs.weights import WEIGHT_SUM

Floats = NDArray[np.float64]


def coupled_acceptance(p: Floats, row: Row) -> float:
    """P(equal), 0 to 1, of picks from `row` and from the target's `p`, shape [V], summing to 1."""
    return equal_on(p[row.ids], row.weights / WEIGHT_SUM)


def equal_probability(p: Floats, q: Floats, ids: NDArray[np.int64] | None = None) -> float:
    """P(equal), 0 to 1, of picks from `p`, shape [V], and from `q`, both summing to 1.

    q[i] belongs to the id ids[i], each of them once; None: to i. What is no id of `ids` has no q.
    """
    drafted = np.flatnonzero(q)
    return equal_on(p[drafted if ids is None else ids[drafted]], q[drafted])


def equal_on(p: Floats, q: Floats) -> float:
    """P(equal) from the ids alone that q has: there q > 0, and it sums to 1; the rest of p lies elsewhere.

    Both have shape [K]; O(K log K).
    """
    with np.errstate(over="ignore"):
        order = np.argsort(p / q)
    p, q = p[order], q[order]
    from_here_on = p[::-1].cumsum()[::-1]
    elsewhere = max(0.0, 1.0 - float(from_here_on[0]))  # there r is infinite
    before = q.cumsum() - q
    both = p * q / ((from_here_on + elsewhere) * q + before * p)
    return min(1.0, float(both.sum()))


__all__ = ["coupled_acceptance", "equal_on", "equal_probability"]
