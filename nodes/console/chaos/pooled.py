"""Under rejection the text differs with every fault; that its law does not is seen over many runs.

Each token x that was shown behind a context has the law p(. | context), exactly known of a synthetic target.
With the ids in any order that depends on the context alone, and V uniform and drawn by itself,

    u = P(id before x) + V p(x)

is uniform, given all that came before: so all u of all runs are independent, whatever the plans, the link and
the faults made of the past, and counts in bins have a chi-square law. Three orders look for three mistakes:
by id, for any; by falling p, in bins that are narrow at the end, whether the tail gets what it should; by
p/q, where a mistake of acceptance or of the residual moves the most.

Whether a request counts must not depend on its text. Without a journal a request is over as its device dies,
and as whoever it was cut off from has given it up; a text that came quickly has its end by then, another one
does not. So no schedule without a journal counts, whatever happens in it and whatever came.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.messages import Acceptance
from draftwire.nodes.console.chaos.faults import Schedule
from draftwire.nodes.console.chaos.models import NOISE, rows_behind, rows_of
from draftwire.nodes.console.chaos.outcome import Answer
from draftwire.nodes.console.simulate.seeds import stream_of

Floats = NDArray[np.float64]

_EVEN: Final = tuple(bin / 20 for bin in range(21))
_ENDS: Final = (0.92, 0.94, 0.96, 0.97, 0.98, 0.985, 0.99, 0.994, 0.996, 0.998, 1.0)
_TAIL: Final = (*(bin / 10 for bin in range(10)), *_ENDS)

EDGES: Final = {"by_id": _EVEN, "by_rank": _TAIL, "by_ratio": _EVEN}
"""Of the bins, for each order."""

BINS: Final = len(_EVEN) - 1

NEVER: Final = 1e-6
"""A chi-square as unlikely as that is a failure: with three orders, one run in 300,000 without a cause."""

LEAST_TOKENS: Final = 2000
"""So the least bin has 4 on average; of fewer, counts are too small for the chi-square law."""


class Pooled:
    """Counts over runs; a few hundred numbers, however many there are."""

    def __init__(self) -> None:
        self.counts = np.zeros((len(EDGES), BINS), np.int64)

    @property
    def tokens(self) -> int:
        """How many were counted."""
        return int(self.counts[0].sum())

    def add(self, schedule: Schedule, answer: Answer) -> None:
        """Count an answer, if it is one that counts."""
        if not counts(schedule) or not answer.ended or answer.acceptance is not Acceptance.REJECTION:
            return
        if not answer.ids:
            return
        context, shown = (*answer.prompt, *answer.ids[:-1]), len(answer.ids)
        temperature = schedule.scenario.temperature
        p = _law(rows_behind(rows_of(0.0), context, shown), temperature)
        q = _law(rows_behind(rows_of(NOISE), context, shown), temperature)
        draw = stream_of(schedule.seed, "law", answer.device, answer.number)
        where = np.array([draw.random() for _ in range(shown)])
        for order, (key, edges) in enumerate(zip(_keys(p, q), EDGES.values(), strict=True)):
            bins = np.searchsorted(edges[1:-1], _uniform(p, key, answer.ids, where), side="right")
            self.counts[order] += np.bincount(bins, minlength=BINS)

    def chances(self) -> dict[str, float | None]:
        """By order: how likely a chi-square as large is where the law holds. None: too few tokens to say."""
        if self.tokens < LEAST_TOKENS:
            return dict.fromkeys(EDGES)
        from scipy.stats import chi2

        expected = self.tokens * np.diff(np.array(tuple(EDGES.values())), axis=1)
        squares = ((self.counts - expected) ** 2 / expected).sum(axis=1)
        return {name: float(chi2.sf(square, BINS - 1)) for name, square in zip(EDGES, squares, strict=True)}

    @property
    def holds(self) -> bool:
        """Whether nothing speaks against the law."""
        return all(chance is None or chance >= NEVER for chance in self.chances().values())


def counts(schedule: Schedule) -> bool:
    """Whether texts of this schedule have the target's law, by what is asked and by who keeps it."""
    scenario = schedule.scenario
    if scenario.acceptance is not Acceptance.REJECTION or scenario.temperature == 0:
        return False
    return scenario.journal


def _law(logits: NDArray[np.float32], temperature: float) -> Floats:
    scaled = logits.astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    law: Floats = weights / weights.sum(axis=1, keepdims=True)
    return law


def _keys(p: Floats, q: Floats) -> tuple[Floats, Floats, Floats]:
    """By what ids are ordered, for each of EDGES; ids with equal keys by id."""
    ids = np.broadcast_to(np.arange(p.shape[1], dtype=np.float64), p.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(p > 0, p / q, np.inf)
    return ids, -p, ratio


def _uniform(p: Floats, key: Floats, ids: tuple[int, ...], where: Floats) -> Floats:
    """u of each position."""
    rows, shown = np.arange(len(ids)), np.array(ids)
    of_shown = key[rows, shown][:, None]
    earlier = np.arange(p.shape[1])[None, :] < shown[:, None]
    before = (key < of_shown) | ((key == of_shown) & earlier)
    total: Floats = np.where(before, p, 0.0).sum(axis=1) + where * p[rows, shown]
    return total


__all__ = ["BINS", "EDGES", "LEAST_TOKENS", "NEVER", "Pooled", "counts"]
