"""TK-SLT as the paper has it (Zheng and Yang 2025): sparsify, then sample; accept; residual; bonus.

q is the draft's sparse row, p the target's distribution. Every output token follows p exactly, for every K:

    P(x) = q(x) min(1, p(x)/q(x))  +  P(rejected) * max(0, p(x) - q(x)) / sum_y max(0, p(y) - q(y))  =  p(x)

(docs/theory.md has the three lines in between.) All functions are pure; noise is handed in.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.messages import Sampling
from draftwire.codecs.quantize import WEIGHT_SUM, quantize
from draftwire.codecs.rows import Row, tail_of
from draftwire.nodes.speculation.noise import Key, Noise, Purpose
from draftwire.nodes.speculation.topk import left_out_mass, top_k

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


class Rows(Protocol):
    """p by position: what a test reads."""

    def __getitem__(self, i: int, /) -> Floats:
        """Shape [V]."""
        ...


def target_distribution(logits: NDArray[np.float32], sampling: Sampling) -> Floats:
    """p, shape [V], of one row of the target's logits: the request's top-k, then temperature, then top-p.

    At temperature 0, p is one-hot at the first of the largest logits.
    """
    if sampling.greedy:
        one_hot = np.zeros(len(logits))
        one_hot[np.argmax(logits)] = 1.0
        return one_hot
    scores = _scaled(logits, sampling.temperature)
    if 0 < sampling.top_k < len(scores):
        scores[scores < np.partition(scores, -sampling.top_k)[-sampling.top_k]] = -np.inf
    p: Floats = np.exp(scores, out=scores)
    p /= np.add.reduce(p)
    if sampling.top_p < 1:
        order = np.argsort(-p, kind="stable")
        before = np.cumsum(p[order]) - p[order]
        p[order[before >= sampling.top_p]] = 0.0
        p /= p.sum()
    return p


def _scaled(logits: NDArray[np.float32], temperature: float) -> Floats:
    """Log-weights at a temperature, the largest 0; finite, however small the temperature or a logit is."""
    scores: Floats = logits.astype(np.float64)
    scores -= np.maximum.reduce(logits)
    if temperature != 1:
        with np.errstate(over="ignore"):
            scores /= temperature
    return np.maximum(scores, -1e9, out=scores)


class TargetRows:
    """p at the positions of a pass, each worked out when first asked for: tests stop at a rejection."""

    def __init__(self, logits: NDArray[np.float32], sampling: Sampling) -> None:
        self._logits = logits
        self._sampling = sampling
        self._rows: dict[int, Floats] = {}

    def __getitem__(self, i: int) -> Floats:
        """p, shape [V], of row i."""
        if i not in self._rows:
            self._rows[i] = target_distribution(self._logits[i], self._sampling)
        return self._rows[i]


def sparsify(
    logits: NDArray[np.float32], support: Ids | None, *, k: int, temperature: float, vocab_size: int
) -> Row:
    """The K largest logits of a draft row, renormalised, as the integers that will be sent (TK-SLT).

    `logits` has one entry for each id of `support` (None: all V). Quantise first, then sample: whatever is
    lost here is lost before the draw, so it costs acceptance and never exactness.
    """
    columns = top_k(logits, k)
    return row_of(
        columns,
        logits[columns],
        support,
        left_out=left_out_mass(logits, columns, temperature),
        temperature=temperature,
        vocab_size=vocab_size,
    )


def row_of(
    columns: Ids,
    logits: NDArray[np.float32],
    support: Ids | None,
    *,
    left_out: float,
    temperature: float,
    vocab_size: int,
) -> Row:
    """`sparsify`, once the K largest are known: their `columns`, rising, and their `logits`, shape [K].

    `left_out`: the part, 0 to 1, of the whole row's mass at the temperature that lies outside them.
    """
    return quantize(
        columns if support is None else support[columns],
        _scaled(logits, temperature),
        vocab_size=vocab_size,
        tail=tail_of(left_out),
    )


def draw(row: Row, key: Key, noise: Noise) -> int:
    """A token from the row's integer weights: exactly the distribution that the wire carries."""
    return int(row.ids[noise.draw_weights(key, row.weights)])


def residual(p: Floats, row: Row) -> Floats:
    """max(0, p - q), shape [V], not normalised; q is zero outside the row."""
    masses = p.copy()
    masses[row.ids] = np.maximum(0.0, p[row.ids] - row.weights / WEIGHT_SUM)
    return masses


class AcceptRule(Protocol):
    """How drafted tokens are tested. One is fixed for a request."""

    needs_rows: bool
    "whether a correction needs the row that its draft was drawn from"

    def accepted(
        self, p: Rows, ids: Sequence[int], weights: Sequence[int], keys: Sequence[Key], noise: Noise
    ) -> int:
        """How many of the n drafted `ids` stand, left to right; p[i] has shape [V], weights are q 2**24."""
        ...

    def correction(self, p: Floats, drafted: int, row: Row | None, key: Key, noise: Noise) -> int:
        """The token in place of the rejected `drafted`; p has shape [V]."""
        ...


class Rejection:
    """TK-SLT's rule: accept x with probability min(1, p(x)/q(x)), else draw from the residual."""

    needs_rows = True

    def accepted(
        self, p: Rows, ids: Sequence[int], weights: Sequence[int], keys: Sequence[Key], noise: Noise
    ) -> int:
        """Tests stop at the first rejection."""
        for i, (x, weight, key) in enumerate(zip(ids, weights, keys, strict=True)):
            if not noise.accepts(key, float(p[i][x]), weight):
                return i
        return len(ids)

    def correction(self, p: Floats, drafted: int, row: Row | None, key: Key, noise: Noise) -> int:
        """A draw from max(0, p - q). No mass left (p equals q up to rounding): the draft stands."""
        if row is None:
            raise ValueError("a correction under rejection needs the row of the rejected draft")
        masses = residual(p, row)
        return noise.draw_masses(key, masses) if masses.any() else drafted


class Greedy:
    """Temperature 0: p is one-hot, so a draft stands if it is p's token, and ids are all it takes."""

    needs_rows = False

    def accepted(
        self, p: Rows, ids: Sequence[int], weights: Sequence[int], keys: Sequence[Key], noise: Noise
    ) -> int:
        """The length of the agreeing prefix."""
        for i, x in enumerate(ids):
            if p[i][x] != 1.0:
                return i
        return len(ids)

    def correction(self, p: Floats, drafted: int, row: Row | None, key: Key, noise: Noise) -> int:
        """p's one token."""
        return int(np.argmax(p))


def accept_rule(sampling: Sampling) -> AcceptRule:
    """The rule of a request."""
    return Greedy() if sampling.greedy else Rejection()


def sample_target(p: Floats, seed: int, position: int, noise: Noise) -> int:
    """The bonus token, or a token the target decodes by itself: a draw from p, shape [V]."""
    return noise.draw_masses(Key(seed, 0, position, Purpose.TARGET), p)


__all__ = [
    "AcceptRule",
    "Greedy",
    "Rejection",
    "TargetRows",
    "accept_rule",
    "draw",
    "residual",
    "row_of",
    "sample_target",
    "sparsify",
    "target_distribution",
]
