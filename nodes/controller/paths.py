"""What is on offer to a request whose drafts are hints, and what each plan is expected to bring.

There the BS may start whenever it is free, so a plan is a pair: gamma, how far the device drafts beyond the
log that it knows, and min_draft, how many drafted tokens a free BS waits for. With min_draft = gamma that is
the synchronous protocol, and gamma = 0 is the target alone. nodes/speculation/pipeline.py has the model.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, log

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.control import COUPLED
from draftwire.nodes.controller.belief import Belief
from draftwire.nodes.controller.policy import PlanValues
from draftwire.nodes.speculation.cost import Frames, alone_step_seconds, forecast_grid
from draftwire.nodes.speculation.frames import frames_of
from draftwire.nodes.speculation.pipeline import Plans, flows, patience_s

Floats = NDArray[np.float64]

ALONE = -1
"In place of an index: the target alone."

EQUAL = 0.003
"Speeds that differ by less, relatively, are equal, and the plan that drafts least wins."

MOST_WAIT = 8
"Drafted tokens that a plan waits for, unless it waits for all."

LESSON_S = 2e-3
"What the row behind every 8th drafted token may occupy the uplink for; where it may, it is a larger one."

LEAST_LESSON_K, MOST_LESSON_K = 8, 320

STEP = 1.2
"Rates and times are told in such steps: each new plan is one more to number."

JITTERS = 4.0
"Standard deviations of a message's delay that a free BS waits beyond the time at which ids should have come."


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """What the user has fixed; None: it is free."""

    k: int | None = None
    gamma: int | None = None
    min_draft: int | None = None


class PathChoices:
    """Every plan on offer. `waiting` is a belief with the target's times while the device waits for it,
    `ahead` one with those while it drafts; else they are alike.
    """

    def __init__(
        self, *, waiting: Belief, ahead: Belief, most_gamma: int, pins: Pins, jitter_s: float
    ) -> None:
        self.alone_s = alone_step_seconds(
            compute=waiting.compute, link=waiting.link, frames=waiting.frames
        )
        self.pins = pins
        self._waiting, self._ahead, self._jitter_s = waiting, ahead, jitter_s
        offered = _offered(most_gamma if pins.gamma is None else pins.gamma, pins)
        self._plans, self._gammas = offered.plans, offered.gammas
        both = [self._synchronous(offered.synchronous), self._pipelined(offered.pipelined)]
        self._rates, self._drafted = (np.concatenate(part) for part in zip(*both, strict=True))
        self._told: dict[tuple[int, str, int], PlanValues] = {}

    def _synchronous(self, gammas: tuple[int, ...]) -> tuple[Floats, Floats]:
        """Tokens a second, and drafted tokens for each of the output."""
        if not gammas:
            return np.empty(0), np.empty(0)
        belief, lengths = self._waiting, np.array(gammas)
        _, seconds = forecast_grid(
            alphas=belief.alphas,
            gammas=gammas,
            compute=belief.compute,
            link=belief.link,
            frames=belief.frames,
        )
        tokens = np.cumsum(belief.survives)[lengths]
        return tokens / seconds[0], lengths / tokens

    def _pipelined(self, plans: Plans) -> tuple[Floats, Floats]:
        """The same."""
        if not plans:
            return np.empty(0), np.empty(0)
        belief = self._ahead
        found = flows(
            plans=plans,
            survives=belief.survives,
            compute=replace(belief.compute, alone_step_s=None),  # the device drafts beside these as well
            link=belief.link,
            frames=belief.frames,
            row_bits=0.0 if belief.greedy else _row_bits(belief, next(iter(belief.alphas))),
        )
        return found.tokens_per_s, found.drafted / found.tokens

    @property
    def plans(self) -> Plans:
        """Pairs of gamma and min_draft, by index."""
        return self._plans

    def best(self, *, longest: int) -> int:
        """The plan of most tokens a second; of equal ones that which drafts least. ALONE: there is none."""
        if not self._plans:
            return ALONE
        rates = np.where(self._gammas <= longest, self._rates, 0.0)
        good = rates >= np.maximum.reduce(rates) * (1 - EQUAL)
        return int(np.where(good, self._drafted, np.inf).argmin())

    def rate(self, plan: int) -> float:
        """Tokens a second."""
        return 1 / self.alone_s if plan == ALONE else float(self._rates[plan])

    def gamma(self, plan: int) -> int:
        """Of a plan."""
        return 0 if plan == ALONE else self._plans[plan][0]

    def survives(self, ids: int) -> float:
        """The probability that so many drafts are all right."""
        known = self._waiting.survives
        return known[min(ids, len(known) - 1)]

    def pays(self, plan: int, patience: float, worth: float) -> bool:
        """Whether it is expected to beat the target alone: by `worth`, or, where the target waits for drafts,
        to come that close.
        """
        waits = plan != ALONE and self._plans[plan][1] > 0
        return self.rate(plan) * self.alone_s > (1 - patience if waits else 1 + worth)

    def told(self, plan: int, reason: str, *, uplink_bps: int) -> PlanValues:
        """A plan as the BS is told it, with what it rests on."""
        question = plan, reason, uplink_bps
        if question not in self._told:
            self._told[question] = self._values(plan, reason, uplink_bps)
        return self._told[question]

    def _values(self, plan: int, reason: str, uplink_bps: int) -> PlanValues:
        gamma, min_draft = (0, 0) if plan == ALONE else self._plans[plan]
        belief = self._ahead if min_draft < gamma else self._waiting
        awaited_s = patience_s(
            min_draft=min_draft, compute=belief.compute, link=belief.link, frames=belief.frames
        )
        return PlanValues(
            k=next(iter(belief.alphas)),
            gamma=gamma,
            min_draft=min_draft,
            early_stop=gamma == min_draft > 0 and self.pins.gamma is None,
            uplink_bps=uplink_bps,
            patience_s=in_steps(awaited_s + JITTERS * self._jitter_s),
            acceptance=COUPLED,
            belief=replace(
                belief,
                tokens_per_s=self.rate(plan),
                alone_tokens_per_s=1 / self.alone_s,
                drafted_per_token=0.0 if plan == ALONE else float(self._drafted[plan]),
                reason=reason,
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offered:
    """Plans, the synchronous ones first."""

    synchronous: tuple[int, ...]
    "gammas"
    pipelined: Plans
    plans: Plans
    "pairs of gamma and min_draft"
    gammas: NDArray[np.int64]


@lru_cache(maxsize=64)
def _offered(longest: int, pins: Pins) -> _Offered:
    gammas = range(1, longest + 1) if pins.gamma is None else range(pins.gamma, longest + 1)
    pairs = [(gamma, wait) for gamma in gammas if gamma for wait in _waits(gamma, pins.min_draft)]
    synchronous = tuple(gamma for gamma, wait in pairs if wait == gamma)
    pipelined = tuple((gamma, wait) for gamma, wait in pairs if wait < gamma)
    plans = (*((gamma, gamma) for gamma in synchronous), *pipelined)
    return _Offered(
        synchronous=synchronous,
        pipelined=pipelined,
        plans=plans,
        gammas=np.array([gamma for gamma, _ in plans], np.int64),
    )


def _waits(gamma: int, pinned: int | None) -> tuple[int, ...]:
    if pinned is not None:
        return (min(pinned, gamma),)
    return (*range(min(gamma, MOST_WAIT)), gamma)


def lesson_k(frames: Frames, *, uplink_bps: float, ladder: tuple[int, ...]) -> int:
    """The K of single rows: as large as the uplink bears without delaying ids much."""
    for k in reversed(ladder):
        if k <= LEAST_LESSON_K:
            return k
        if k <= MOST_LESSON_K and frames.rows_bits(k, 1) <= LESSON_S * uplink_bps:
            return k
    return ladder[0]


def _row_bits(belief: Belief, k: int) -> float:
    """Of a message with one row of K entries, on the link."""
    frames = frames_of(
        vocab_size=belief.vocab_size,
        row_scale=belief.row_scale,
        plain_scale=belief.plain_scale,
        rungs=belief.rung_bits,
    )
    return frames.rows_bits(k, 1)


def in_steps(value: float) -> float:
    """The next larger power of STEP."""
    return float(STEP ** ceil(log(value, STEP)))


__all__ = ["ALONE", "PathChoices", "Pins", "in_steps", "lesson_k"]
