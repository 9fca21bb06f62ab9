"""How many tokens to draft, and how many entries of each row to send: the paper's model, then true frames.

alpha is the mean probability that a drafted token is accepted, sum_x min(p(x), q(x)), with q the draft and
p the target. The paper counts time in target steps (one verification = 1): c is a draft step, b(K) one row of
K entries on the uplink, L = b + c what a drafted token costs.

    tokens a step    E = 1 + alpha + ... + alpha^gamma = (1 - alpha^(gamma+1)) / (1 - alpha)
    speedup          S = E / (1 + gamma L)                                                eq. (11)
    best length      gamma0 = (W_{-1}(-(1/e) alpha^(1/L - 1)) + 1) / ln(alpha) - 1/L      eq. (21)
    AS2              speculate only if S(gamma*) > 1
    L in bytes       L(K) = c + b_full K / V

Equations: Zheng and Yang 2025, arXiv 2509.04576. The second half of this file drops what they leave out: it
counts true frame sizes, round trips and rows that travel behind the target's step. Theory: docs/theory.md.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from draftwire.nodes.speculation.lambert import log_minus_w

TIE = 1e-12
"""Two speeds closer than this, relatively, are equal: rounding must not break an exact tie."""

PAPER_ENTRY_BITS = 16
"""The paper's size of one entry: an FP16 probability. Its index is left out."""


# The paper's model ------------------------------------------------------------------------------------------


def tokens_per_step(*, alpha: float, gamma: float) -> float:
    """Expected tokens a verification step yields: the numerator of eq. (11).

    1 at gamma = 0 (the target alone), gamma + 1 at alpha = 1. Real lengths are allowed, as in Theorem 2.
    Raises ValueError for alpha outside [0, 1] or gamma outside [0, inf).
    """
    _require_probability(alpha)
    _require(0 <= gamma < math.inf, "gamma", gamma, "give a draft length of 0 (target alone) or more")
    if gamma == 0 or alpha == 0:
        return 1.0
    if alpha == 1:
        return gamma + 1.0
    return -math.expm1((gamma + 1) * math.log(alpha)) / (1 - alpha)  # no cancellation near alpha = 1


def speedup(*, alpha: float, gamma: float, draft_cost: float) -> float:
    """S(gamma): tokens a second over those of the target alone, eq. (11).

    draft_cost is L in target steps. Raises ValueError as `tokens_per_step`, and for L outside [0, inf).
    """
    _require_cost(draft_cost)
    return tokens_per_step(alpha=alpha, gamma=gamma) / (1 + gamma * draft_cost)


def stationary_length(*, alpha: float, draft_cost: float) -> float:
    """gamma0, the real length at which S is flat: eq. (21) of Theorem 2.

    inf where S rises for ever (L = 0, or alpha = 1 with L < 1); -inf where it only falls (L > 1: the argument
    of W lies left of its branch point); -1, the limit, at alpha = 0 or L = 1.
    Raises ValueError as `speedup`.
    """
    _require_probability(alpha)
    _require_cost(draft_cost)
    if draft_cost > 1:
        return -math.inf
    if draft_cost == 1 or alpha == 0:
        return -1.0
    if draft_cost == 0 or alpha == 1:
        return math.inf
    # W e^W = z gives W + 1 = (1/L - 1) ln(alpha) - ln(-W). Put into eq. (21), the two 1/L cancel on paper
    # instead of in floating point: gamma0 = -ln(-W) / ln(alpha) - 1.
    log_alpha = math.log(alpha)
    return -log_minus_w(-(1 / draft_cost - 1) * log_alpha) / log_alpha - 1


def best_length(*, alpha: float, draft_cost: float, gamma_max: int | None = None) -> int:
    """gamma*: the better of floor and ceil of gamma0 under S, ties to ceil; 1 if gamma0 < 1 (Theorem 2).

    S has one hill, so a bound just cuts it: with gamma_max the result is min(gamma*, gamma_max).
    Raises ValueError as `speedup`, and where S rises for ever and no gamma_max says where to stop.
    """
    gamma0 = stationary_length(alpha=alpha, draft_cost=draft_cost)
    if gamma_max is not None:
        _require(gamma_max >= 1, "gamma_max", gamma_max, "give 1 or more")
        if gamma0 >= gamma_max:
            return gamma_max
    if gamma0 < 1:
        return 1
    if gamma0 == math.inf:
        raise ValueError(
            f"no draft is the longest worth its cost at alpha = {alpha:g}, L = {draft_cost:g}: S never stops "
            "rising; give gamma_max"
        )
    floor, ceil = math.floor(gamma0), math.ceil(gamma0)
    s_floor = speedup(alpha=alpha, gamma=floor, draft_cost=draft_cost)
    s_ceil = speedup(alpha=alpha, gamma=ceil, draft_cost=draft_cost)
    return ceil if s_ceil >= s_floor * (1 - TIE) else floor


def as2(*, alpha: float, draft_cost: float, gamma_max: int | None = None) -> int:
    """Adaptive speculation selection: gamma* if S(gamma*) > 1, else 0, the target decodes alone.

    A tie (S = 1 up to TIE) is not worth a draft. Raises ValueError as `best_length`.
    """
    gamma = best_length(alpha=alpha, draft_cost=draft_cost, gamma_max=gamma_max)
    return gamma if speedup(alpha=alpha, gamma=gamma, draft_cost=draft_cost) > 1 + TIE else 0


def full_row_cost(*, vocab_size: int, rate_bps: float, target_step_s: float) -> float:
    """b_full in target steps: V * 16 bits at the link's rate (bits a second) over T_target (seconds).

    Table II: 32000 * 16 bits at 50 Mbit/s over 44.5 ms is 0.23. Raises ValueError for values not above 0.
    """
    _require_vocabulary(vocab_size)
    _require_positive("rate_bps", rate_bps)
    _require_positive("target_step_s", target_step_s)
    return vocab_size * PAPER_ENTRY_BITS / rate_bps / target_step_s


def draft_cost_of_k(*, k: int, vocab_size: int, c: float, b_full: float) -> float:
    """L(K) = c + b_full K / V in target steps, in the paper's own bytes (Table II).

    Raises ValueError for K outside 1 .. V, or c or b_full outside [0, inf).
    """
    _require_vocabulary(vocab_size)
    _require(1 <= k <= vocab_size, "k", k, f"give a number of entries from 1 to vocab_size = {vocab_size}")
    _require(0 <= c < math.inf, "c", c, "give T_draft / T_target, 0 or more")
    _require(0 <= b_full < math.inf, "b_full", b_full, "give a full row's uplink time / T_target, 0 or more")
    return c + b_full * k / vocab_size


# True cost --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """How long the two models take. All times in seconds; ValueError for a value out of range."""

    draft_step_s: float
    "T_draft, one drafted token, >= 0"
    target_step_s: float
    "T_target, one verification step of no drafted token (the target alone), > 0"
    target_per_token_s: float = 0.0
    "added to a verification step by each drafted token, >= 0"
    overhead_s: float = 0.0
    "fixed time a speculative step: messages handled, tasks woken, >= 0"
    alone_step_s: float | None = None
    "a step of the target by itself, where it was measured, > 0; None: target_step_s"

    def __post_init__(self) -> None:
        _require_positive("target_step_s", self.target_step_s)
        if self.alone_step_s is not None:
            _require_positive("alone_step_s", self.alone_step_s)
        for name in ("draft_step_s", "target_per_token_s", "overhead_s"):
            value = getattr(self, name)
            _require(0 <= value < math.inf, name, value, "give a time in seconds, 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkEstimate:
    """What is known of the link. ValueError for a value out of range."""

    uplink_bps: float
    "bits a second from the device to the BS, > 0; inf: no limit"
    downlink_bps: float
    "bits a second from the BS to the device, > 0; inf: no limit"
    rtt_s: float
    "seconds there and back of an empty message, >= 0"
    off_s_per_bit: tuple[float, ...] = ()
    """seconds a bit by which the uplink may be slower than its rate says, or faster, each as likely;
    empty: the rate holds. The wait for rows is reckoned with them, as it alone is not linear in the rate"""

    def __post_init__(self) -> None:
        for name in ("uplink_bps", "downlink_bps"):
            value = getattr(self, name)
            _require(value > 0, name, value, "give a rate in bits a second above 0")
        _require(0 <= self.rtt_s < math.inf, "rtt_s", self.rtt_s, "give a time in seconds, 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """Sizes on the wire in bits, every header included. Functions must be pure: results are remembered."""

    draft_bits: Callable[[int, int], float]
    "(k, gamma) -> what must have arrived before the target's step may start"
    rows_bits: Callable[[int, int], float]
    "(k, n) -> n rows, sent behind that; 0: none is needed (they came with the draft, or only ids matter)"
    commit_bits: Callable[[int], float]
    "(gamma) -> the answer; gamma = 0: one token of the target alone"
    rows_in_one: bool = False
    "True: one message holds all gamma rows, so the first is there no sooner than the last"


PAPER_FRAMES = Frames(
    draft_bits=lambda k, gamma: gamma * k * PAPER_ENTRY_BITS,
    rows_bits=lambda k, n: 0,
    commit_bits=lambda gamma: 0,
)
"""The paper's frames: 16 bits an entry, all rows before the step, nothing else costs a bit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a plan is expected to bring."""

    k: int
    "entries of each row"
    gamma: int
    "drafted tokens a step; 0: the target alone"
    tokens_per_step: float
    "expected tokens a step"
    step_s: float
    "expected seconds a step"
    alone_tokens_per_s: float
    "what the target reaches alone"

    @property
    def tokens_per_s(self) -> float:
        """Expected tokens a second."""
        return self.tokens_per_step / self.step_s

    @property
    def speedup(self) -> float:
        """Over the target alone, as S of eq. (11)."""
        return self.tokens_per_s / self.alone_tokens_per_s


def alone_step_seconds(*, compute: Compute, link: LinkEstimate, frames: Frames) -> float:
    """Seconds a token of the target alone: its tokens stream down, so the round trip is not paid."""
    step_s = compute.target_step_s if compute.alone_step_s is None else compute.alone_step_s
    return max(step_s, frames.commit_bits(0) / link.downlink_bps)


def forecast(
    *, k: int, gamma: int, alpha: float, compute: Compute, link: LinkEstimate, frames: Frames
) -> Forecast:
    """One plan's expected step; gamma = 0 is the target alone. Raises ValueError as `best_plan`."""
    alone_s = alone_step_seconds(compute=compute, link=link, frames=frames)
    tokens, step_s = 1.0, alone_s
    if gamma:
        grid = _grid((k,), np.array([alpha]), (gamma,), compute, link, frames)
        tokens, step_s = (float(values[0, 0]) for values in grid)
    return Forecast(
        k=k, gamma=gamma, tokens_per_step=tokens, step_s=step_s, alone_tokens_per_s=1 / alone_s
    )


def forecast_grid(
    *,
    alphas: Mapping[int, float],
    gammas: Sequence[int],
    compute: Compute,
    link: LinkEstimate,
    frames: Frames,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What every plan is expected to bring: tokens a step and seconds a step, both of shape [K, gamma].

    Rows in the order of `alphas`, columns in that of `gammas`. Raises ValueError as `best_plan`.
    """
    _require(len(alphas) > 0, "alphas", dict(alphas), "give at least one K with its alpha")
    _require(len(gammas) > 0, "gammas", list(gammas), "give at least one length")
    values = np.array(list(alphas.values()), np.float64)
    return _grid(tuple(alphas), values, tuple(gammas), compute, link, frames)


def best_plan(
    *,
    alphas: Mapping[int, float],
    gammas: Sequence[int],
    compute: Compute,
    link: LinkEstimate,
    frames: Frames,
) -> Forecast:
    """The (K, gamma) of most expected tokens a second, or gamma = 0 where the target alone is not beaten.

    alphas: K -> alpha at that K; gammas: the lengths >= 1 to try. Ties go to the smaller K (fewer bits), then
    to the larger gamma (Theorem 2); a tie with the target alone goes to the target alone (AS2), and then K
    is the best one's, ready for when it pays. With PAPER_FRAMES, no round trip and a constant target step
    this is eq. (11), and its best gamma is eq. (21)'s.
    Raises ValueError for an empty ladder, K < 1, alpha outside [0, 1] or gamma < 1.
    """
    ks, lengths = sorted(alphas), sorted(gammas, reverse=True)
    tokens, steps = forecast_grid(
        alphas={k: alphas[k] for k in ks}, gammas=lengths, compute=compute, link=link, frames=frames
    )
    rates = tokens / steps
    row, column = divmod(int(np.argmax(rates >= rates.max() * (1 - TIE))), len(lengths))
    alone_s = alone_step_seconds(compute=compute, link=link, frames=frames)
    gamma = lengths[column] if rates[row, column] * alone_s > 1 + TIE else 0
    return forecast(
        k=ks[row], gamma=gamma, alpha=alphas[ks[row]], compute=compute, link=link, frames=frames
    )


def _grid(
    ks: tuple[int, ...],
    alphas: NDArray[np.float64],
    gammas: tuple[int, ...],
    compute: Compute,
    link: LinkEstimate,
    frames: Frames,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Expected tokens a step and seconds a step, both [K, gamma]. Axes below: [K, gamma, j].

    step = gamma T_draft + draft / up + RTT + T_target(gamma) + commit / down + overhead
           + sum_{j<=gamma} alpha^(j-1) (1 - alpha) max(0, rows(j) / up - T_target(gamma))
    The sum: only a rejection needs a row, at j the j-th, and the step hides what came meanwhile. rows(j) is
    rows_bits(k, j), or rows_bits(k, gamma) where one message holds them all: then the sum is a product.
    """
    _require(min(ks) >= 1, "k", min(ks), "give 1 entry or more")
    _require(min(gammas) >= 1, "gamma", min(gammas), "give 1 or more; the target alone is compared anyway")
    for alpha in [alpha for alpha in alphas.tolist() if not 0 <= alpha <= 1]:
        _require_probability(alpha)
    sizes = _sizes(frames, ks, gammas)
    g, j, last = sizes.gammas, sizes.drafts, sizes.last
    survives = alphas[:, None] ** j  # [K, j]: the first j drafts all stand
    tokens = 1 + survives.cumsum(axis=1)[:, last]
    target = compute.target_step_s + g * compute.target_per_token_s
    if frames.rows_in_one:
        late = _late(sizes.all_rows_bits, target, link)
        waits = (1 - survives[:, last]) * late
    else:
        late = _late(sizes.rows_bits[:, None, :], target[:, None], link)
        rejected = np.concatenate([1 - survives[:, :1], survives[:, :-1] - survives[:, 1:]], axis=1)
        waits = np.where(j <= g[:, None], rejected[:, None, :] * late, 0.0).sum(axis=2)
    at_any_k = (
        g * compute.draft_step_s
        + target
        + sizes.commit_bits / link.downlink_bps
        + (link.rtt_s + compute.overhead_s)
    )
    steps = sizes.draft_bits / link.uplink_bps + at_any_k + waits
    # Rows that nobody waited for still occupy the uplink: no step is shorter than what it sends.
    return tokens, np.maximum(steps, sizes.up_bits / link.uplink_bps)


def _late(
    bits: NDArray[np.float64], target: NDArray[np.float64], link: LinkEstimate
) -> NDArray[np.float64]:
    """Expected seconds that so many bits come later than the target's step ends."""
    if not link.off_s_per_bit:
        return np.maximum(0.0, bits * max(0.0, 1 / link.uplink_bps) - target)
    off = np.array(link.off_s_per_bit)
    s_per_bit = np.maximum(0.0, 1 / link.uplink_bps + off)
    late = bits[..., None] * s_per_bit - target[..., None]
    np.maximum(0.0, late, out=late)
    mean: NDArray[np.float64] = np.add.reduce(late, axis=-1) / len(s_per_bit)
    return mean


class _Sizes(NamedTuple):
    """What a forecast takes of frames, and what follows from the lengths alone."""

    draft_bits: NDArray[np.float64]
    "[K, gamma]"
    rows_bits: NDArray[np.float64]
    "of n = 1, 2, .. rows, [K, n]"
    all_rows_bits: NDArray[np.float64]
    "of gamma rows, [K, gamma]"
    up_bits: NDArray[np.float64]
    "of the draft and all its rows, [K, gamma]"
    commit_bits: NDArray[np.float64]
    "[gamma]"
    gammas: NDArray[np.float64]
    drafts: NDArray[np.int64]
    "j = 1, 2, .. up to the longest"
    last: NDArray[np.int64] | slice
    "of `drafts`, where each length ends"


@lru_cache(maxsize=1024)  # a controller asks for the same ladders every step, a few for each size of rows
def _sizes(frames: Frames, ks: tuple[int, ...], gammas: tuple[int, ...]) -> _Sizes:
    longest = max(gammas)
    every = gammas == tuple(range(1, longest + 1))
    last: NDArray[np.int64] | slice = slice(None) if every else np.array(gammas, np.int64) - 1
    draft_bits = np.array([[frames.draft_bits(k, gamma) for gamma in gammas] for k in ks], np.float64)
    rows_bits = np.array([[frames.rows_bits(k, n) for n in range(1, longest + 1)] for k in ks], np.float64)
    return _Sizes(
        draft_bits=draft_bits,
        rows_bits=rows_bits,
        all_rows_bits=rows_bits[:, last],
        up_bits=draft_bits + rows_bits[:, last],
        commit_bits=np.array([frames.commit_bits(gamma) for gamma in gammas], np.float64),
        gammas=np.array(gammas, np.float64),
        drafts=np.arange(1, longest + 1, dtype=np.int64),
        last=last,
    )


# Checks -----------------------------------------------------------------------------------------------------


def _require(valid: bool, field: str, value: object, remedy: str) -> None:
    if not valid:
        raise ValueError(f"{field} is {value!r}: {remedy}")


def _require_probability(alpha: float) -> None:
    _require(0 <= alpha <= 1, "alpha", alpha, "give an acceptance probability from 0 to 1")


def _require_cost(draft_cost: float) -> None:
    _require(0 <= draft_cost < math.inf, "draft_cost", draft_cost, "give b + c in target steps, 0 or more")


def _require_vocabulary(vocab_size: int) -> None:
    _require(vocab_size >= 1, "vocab_size", vocab_size, "give the number of token ids, 1 or more")


def _require_positive(field: str, value: float) -> None:
    _require(0 < value < math.inf, field, value, "give a value above 0")


__all__ = [
    "PAPER_ENTRY_BITS",
    "PAPER_FRAMES",
    "TIE",
    "Compute",
    "Forecast",
    "Frames",
    "LinkEstimate",
    "alone_step_seconds",
    "as2",
    "best_length",
    "best_plan",
    "draft_cost_of_k",
    "forecast",
    "forecast_grid",
    "full_row_cost",
    "speedup",
    "stationary_length",
    "tokens_per_step",
]
