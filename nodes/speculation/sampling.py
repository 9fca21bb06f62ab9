"""The maths of a step: distributions, the draft's sparse row, and four rules by which drafts are accepted.

    Rejection       TK-SLT as the paper has it (Zheng and Yang 2025): accept each draft, else draw a residual
    BlockRejection  the same rows, tested together (Sun et al. 2024): never fewer accepted, but all rows first
    Coupled         both ends pick by the same noise, and a draft stands if it is the target's pick
    Greedy          temperature 0: a draft stands if it is the target's argmax

q is the draft's distribution, p the target's. Under each rule every output token follows p exactly, whatever
q was (docs/theory.md has the proofs). All functions are pure; noise is handed in.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.messages import Acceptance, Sampling
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
        _cut_tail(p, sampling.top_p)
        p /= p.sum()
    return p


NUCLEUS = 1024
"""Ids that are sorted to find a nucleus, which is seldom larger: to sort all of a vocabulary takes 5 ms."""


def _cut_tail(p: Floats, top_p: float) -> None:
    """Leave the likeliest ids of `p` whose mass reaches top_p; of equal ones at the edge the first."""
    likeliest = top_k(p, NUCLEUS)
    if p[likeliest].sum() < top_p:
        likeliest = np.arange(len(p))
    order = likeliest[np.argsort(-p[likeliest], kind="stable")]
    before = np.cumsum(p[order]) - p[order]
    kept = order[before < top_p]
    masses = p[kept]
    p[:] = 0.0
    p[kept] = masses


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


def residual(p: Floats, row: Row, scale: float = 1.0) -> Floats:
    """max(0, scale p - q), shape [V], not normalised; q is zero outside the row."""
    masses = p * scale
    masses[row.ids] = np.maximum(0.0, masses[row.ids] - row.weights / WEIGHT_SUM)
    return masses


def sample_target(p: Floats, seed: int, position: int, noise: Noise) -> int:
    """The target's pick from p, shape [V]: a bonus token, a token alone, what a hint is held against."""
    return noise.draw_masses(target_key(seed, position), p)


def target_key(seed: int, position: int) -> Key:
    """What the BS draws with at a position, and what coupled drafts are picked with."""
    return Key(seed, 0, position, Purpose.TARGET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafted:
    """Drafted tokens as a rule sees them."""

    ids: tuple[int, ...]
    weights: tuple[int, ...]
    "q(ids[i]) * 2**24 in the row it was drawn from; empty where drafts are hints"
    seed: int
    draft_epoch: int
    start: int
    "position of ids[0]"

    def accept_keys(self) -> list[Key]:
        """What each of them is tested with."""
        positions = range(self.start, self.start + len(self.ids))
        return [Key(self.seed, self.draft_epoch, position, Purpose.ACCEPT) for position in positions]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a test came to."""

    accepted: int
    "drafted tokens that stand, left to right"
    token: int | None
    "the one behind them; None: a correction, which needs the rejected draft's row"


class Needs(Enum):
    """Which rows a rule has to have, beside the q(x) of the drafted tokens."""

    NONE = 0
    ONE = 1
    "that of a rejected draft, once it is known which that is: `Rejection.correction`"
    ALL = 2
    "those of all drafts, before anything is known"


class AcceptRule(Protocol):
    """How drafted tokens are tested, and what comes behind those that stand."""

    needs: Needs

    def outcome(self, p: Rows, drafted: Drafted, rows: Sequence[Row], noise: Noise) -> Outcome:
        """Of n drafted tokens, with p at their positions and behind them, n + 1 in all, each of shape [V].

        `rows`: of every draft where the rule needs all; else none are read.
        """
        ...


class Rejection:
    """TK-SLT's rule: accept x with probability min(1, p(x)/q(x)), else draw from the residual.

        P(x) = q(x) min(1, p(x)/q(x))  +  P(rejected) max(0, p(x) - q(x)) / sum_y max(0, p(y) - q(y))  =  p(x)
    """

    needs = Needs.ONE

    def outcome(self, p: Rows, drafted: Drafted, rows: Sequence[Row], noise: Noise) -> Outcome:
        """The token is known if all stand."""
        n = self.accepted(p, drafted.ids, drafted.weights, drafted.accept_keys(), noise)
        all_stand = n == len(drafted.ids)
        token = sample_target(p[n], drafted.seed, drafted.start + n, noise) if all_stand else None
        return Outcome(accepted=n, token=token)

    def accepted(
        self, p: Rows, ids: Sequence[int], weights: Sequence[int], keys: Sequence[Key], noise: Noise
    ) -> int:
        """How many of the drafted `ids` stand; weights are q 2**24. Tests stop at the first rejection."""
        for i, (x, weight, key) in enumerate(zip(ids, weights, keys, strict=True)):
            if not noise.accepts(key, float(p[i][x]), weight):
                return i
        return len(ids)

    def correction(self, p: Floats, drafted: int, row: Row, key: Key, noise: Noise) -> int:
        """The token in place of the rejected `drafted`: a draw from max(0, p - q); p has shape [V].

        No mass left (p equals q up to rounding): the draft stands.
        """
        masses = residual(p, row)
        return noise.draw_masses(key, masses) if masses.any() else drafted


class BlockRejection:
    """Block verification (Sun et al. 2024, arXiv 2403.10444, algorithm 2): the block's tests are one.

    w_i is how much more of the first i drafts the target has than the draft, capped at 1 as it goes: what a
    token has to spare serves those behind it. With p_i, q_i at the position of draft i, drafts 1 .. n,

        w_0 = 1,  w_i = min(1, w_{i-1} p_i(x_i) / q_i(x_i)),  S_i = sum_x max(0, w_i p_{i+1}(x) - q_{i+1}(x)),
        h_i = S_i / (S_i + 1 - w_i) for i < n,  h_n = w_n;

    the largest i with u_i < h_i is accepted, and behind it comes a draw from max(0, w_i p_{i+1} - q_{i+1}).
    """

    needs = Needs.ALL

    def outcome(self, p: Rows, drafted: Drafted, rows: Sequence[Row], noise: Noise) -> Outcome:
        """Tests run from the last draft to the first, and stop at the first that passes."""
        ids, n = drafted.ids, len(drafted.ids)
        shares = self.shares(p, ids, drafted.weights)
        keys, accepted = drafted.accept_keys(), n
        while accepted > 0:
            chance = shares[n]
            if accepted < n:
                chance = self.chance(p[accepted], rows[accepted], shares[accepted])
            if noise.accepts(keys[accepted - 1], chance, WEIGHT_SUM):
                break
            accepted -= 1
        position = drafted.start + accepted
        if accepted == n:
            return Outcome(accepted=n, token=sample_target(p[n], drafted.seed, position, noise))
        masses = residual(p[accepted], rows[accepted], shares[accepted])
        key = target_key(drafted.seed, position)
        # No mass left: p equals q up to rounding, and the next draft stands.
        token = noise.draw_masses(key, masses) if masses.any() else ids[accepted]
        return Outcome(accepted=accepted, token=token)

    @staticmethod
    def shares(p: Rows, ids: Sequence[int], weights: Sequence[int]) -> list[float]:
        """w_0 .. w_n, from q by its integers."""
        shares = [1.0]
        for i, (x, weight) in enumerate(zip(ids, weights, strict=True)):
            shares.append(min(1.0, shares[-1] * float(p[i][x]) * WEIGHT_SUM / weight))
        return shares

    @staticmethod
    def chance(p: Floats, row: Row, share: float) -> float:
        """h_i, from p and q of the next position, and w_i; 0 where p = q: if w_i = 1, the next one passes."""
        p_kept = p[row.ids]
        left = share * max(0.0, 1.0 - float(p_kept.sum()))
        left += float(np.maximum(0.0, share * p_kept - row.weights / WEIGHT_SUM).sum())
        return left / (left + 1.0 - share) if left > 0 else 0.0


class Coupled:
    """Drafts are hints: a draft stands if it is the target's own pick by the shared noise.

    So the text is the target's alone, whoever guesses and however well.
    """

    needs = Needs.NONE

    def outcome(self, p: Rows, drafted: Drafted, rows: Sequence[Row], noise: Noise) -> Outcome:
        """Picks stop at the first that is another token than the draft."""

        def pick(i: int) -> int:
            return sample_target(p[i], drafted.seed, drafted.start + i, noise)

        return _as_far_as_equal(drafted.ids, pick)


class Greedy:
    """Temperature 0: p is one-hot, so its pick needs no noise."""

    needs = Needs.NONE

    def outcome(self, p: Rows, drafted: Drafted, rows: Sequence[Row], noise: Noise) -> Outcome:
        """The agreeing prefix, and p's one token behind it."""
        return _as_far_as_equal(drafted.ids, lambda i: int(p[i].argmax()))


def _as_far_as_equal(ids: Sequence[int], pick: Callable[[int], int]) -> Outcome:
    """Drafts stand while they are the picks; the first pick that is none of them comes behind."""
    for i, x in enumerate(ids):
        token = pick(i)
        if token != x:
            return Outcome(accepted=i, token=token)
    return Outcome(accepted=len(ids), token=pick(len(ids)))


def accept_rule(
    sampling: Sampling, acceptance: Acceptance = Acceptance.REJECTION, *, blockwise: bool = False
) -> AcceptRule:
    """The rule of a request, and of a block's plan where rejection has two. AUTO has none: ValueError."""
    if sampling.greedy:
        return Greedy()
    if acceptance is Acceptance.AUTO:
        raise ValueError("acceptance is AUTO: a request has REJECTION or COUPLED once it is opened")
    if acceptance is Acceptance.COUPLED:
        return Coupled()
    return BlockRejection() if blockwise else Rejection()


__all__ = [
    "AcceptRule",
    "BlockRejection",
    "Coupled",
    "Drafted",
    "Greedy",
    "Needs",
    "Outcome",
    "Rejection",
    "TargetRows",
    "accept_rule",
    "draw",
    "residual",
    "row_of",
    "sample_target",
    "sparsify",
    "target_distribution",
    "target_key",
]
