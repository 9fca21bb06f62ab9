"""What `draftwire compare` says of its outcomes: a row a setting, the paper's setting, one machine for both.

Pure: outcomes in, figures out; from a run that has just ended or from its record.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, median
from typing import Any, Final, Self

import numpy as np

from draftwire.codecs.limits import MAX_GAMMA
from draftwire.nodes.console.outcome import ALONE, COUPLED, PIPELINED, Outcome, Setting, auto, fixed
from draftwire.nodes.speculation.cost import (
    PAPER_ENTRY_BITS,
    best_length,
    draft_cost_of_k,
    speedup,
    tokens_per_step,
)

PAPER_K: Final = 320
"""The paper's best K end to end, at both temperatures it tried (Zheng and Yang 2025)."""

PAPER_NAME: Final = "paper"
"""How the name of its setting begins."""

CALIBRATION_GAMMA: Final = 4
"""Of the request whose alpha and step times choose the paper's gamma; its speed is not compared."""

CALIBRATING: Final = -1
"""Its repeat."""

LONGEST_COLOCATED: Final = 16
"""Longer blocks would lie far from the lengths at which the target's pass was timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Under what the outcomes were measured; a record's line `compare`."""

    prompt: str
    link: str
    "both directions"
    rate_bps: float | None
    "the link's own; of one whose rate moves the mean over time. None: no rate"
    tokens: int
    repeats: int
    temperature: float
    seed: int
    "of the first repeat"
    draft: str
    target: str
    profile: str
    vocab_size: int

    def fields(self) -> dict[str, Any]:
        """Plain values, as a record holds them."""
        return asdict(self)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Back from `fields`. Raises KeyError or TypeError for anything else."""
        return cls(**{name: fields[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One setting over its repeats."""

    setting: Setting
    tokens_per_s: float
    "the median"
    least: float
    most: float
    ratio: float | None
    "over the target alone: the median of the ratios within each repeat; None: it was not run"
    alpha: float | None
    "over all its tested tokens; None: none were tested"
    bytes_up_a_token: float
    "whole frames"
    paper_l: float | None
    "L(K) = b + c by the paper's count of bytes, in target steps a drafted token; None: nothing is drafted"
    speeds: tuple[float, ...]
    "tokens a second, by repeat"
    passes_a_token: float | None = None
    "of the target; None: the record does not tell"
    wasted_a_token: float | None = None
    "drafted tokens thrown away for each one of the output; None likewise"
    acceptances: tuple[str, ...] = ()
    "that its requests were answered with"


@dataclass(frozen=True, slots=True, kw_only=True)
class Colocated:
    """The draft model beside the target, on one machine: modelled, never run."""

    gamma: int
    alpha: float
    draft_step_s: float
    target_step_s: float
    "the pass at this gamma"
    tokens_per_s: float
    "E / (gamma t_d + t_v): no prompt, no overhead, so a bound from above"
    users: float
    "how many times as many users the BS serves when the draft is elsewhere: 1 + gamma t_d / t_v"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All that is said of one `draftwire compare`."""

    conditions: Conditions
    rows: tuple[Compared, ...]
    colocated: Colocated | None
    "None: nothing was drafted"

    def row(self, setting: Setting) -> Compared | None:
        """Of this setting; None: it was not run."""
        return next((row for row in self.rows if row.setting == setting), None)

    @property
    def auto(self) -> Compared | None:
        """The controller's row, whichever acceptance it had; None: it was not run."""
        return next((row for row in self.rows if row.setting.rivals), None)

    @property
    def best_fixed(self) -> Compared | None:
        """The fastest of the settings that draft by a K and a gamma fixed beforehand."""
        rows = [row for row in self.rows if not row.setting.is_auto and row.setting.gamma]
        return max(rows, key=lambda row: row.tokens_per_s, default=None)


def compare(outcomes: Iterable[Outcome], conditions: Conditions) -> Comparison:
    """The comparison that these outcomes are; those of repeat -1 calibrate and do not compete."""
    every = list(outcomes)
    competing = [one for one in every if one.repeat >= 0 and one.tokens]
    settings = list(dict.fromkeys(one.setting for one in competing))
    times = step_times(every)
    alone = {one.repeat: one.tokens_per_s for one in competing if one.setting == ALONE}
    rows = tuple(
        _row([one for one in competing if one.setting == setting], alone, conditions, times)
        for setting in settings
    )
    return Comparison(conditions=conditions, rows=rows, colocated=colocated(every, times))


def _row(
    outcomes: Sequence[Outcome],
    alone: Mapping[int, float],
    conditions: Conditions,
    times: "StepSeconds | None",
) -> Compared:
    speeds = [one.tokens_per_s for one in outcomes]
    ratios = [one.tokens_per_s / alone[one.repeat] for one in outcomes if alone.get(one.repeat)]
    seen = sum(one.seen for one in outcomes)
    setting = outcomes[0].setting
    cost = None
    if setting.k is not None and setting.gamma and times is not None:
        cost = paper_cost(setting.k, conditions=conditions, times=times)
    return Compared(
        setting=setting,
        tokens_per_s=median(speeds),
        least=min(speeds),
        most=max(speeds),
        ratio=median(ratios) if ratios else None,
        alpha=sum(one.accepted for one in outcomes) / seen if seen else None,
        bytes_up_a_token=sum(one.bytes_up for one in outcomes) / sum(one.tokens for one in outcomes),
        passes_a_token=_mean([one.passes_per_token for one in outcomes]),
        wasted_a_token=_mean([one.wasted_per_token for one in outcomes]),
        acceptances=tuple(dict.fromkeys(one.acceptance for one in outcomes if one.acceptance)),
        paper_l=cost,
        speeds=tuple(speeds),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [one for one in values if one is not None]
    return fmean(known) if len(known) == len(values) else None


# Step times and the paper's setting -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSeconds:
    """What steps were measured to take."""

    draft_s: float
    "one drafted token"
    target_s: float
    "the target's pass without drafts"
    target_per_token_s: float
    "more for each drafted token in it"

    def pass_s(self, gamma: int) -> float:
        """The target's pass over a block of gamma drafted tokens."""
        return self.target_s + gamma * self.target_per_token_s


def step_times(outcomes: Sequence[Outcome]) -> StepSeconds | None:
    """A line through the medians of requests with a fixed gamma. None: nothing was drafted."""
    drafts = [one.draft_step_s for one in outcomes if one.draft_step_s is not None]
    passes = [
        (one.setting.gamma, one.target_step_s)
        for one in outcomes
        if one.setting.gamma is not None and one.target_step_s is not None
    ]
    if not drafts or not passes:
        return None
    lengths, seconds = (np.array(column, np.float64) for column in zip(*passes, strict=True))
    slope = 0.0
    if np.ptp(lengths) > 0:
        slope = max(0.0, float(np.polyfit(lengths, seconds, 1)[0]))  # noise alone can make it fall
    level = float(np.mean(seconds - slope * lengths))
    return StepSeconds(draft_s=median(drafts), target_s=level, target_per_token_s=slope)


def paper_cost(k: int, *, conditions: Conditions, times: StepSeconds) -> float:
    """L(K) as the paper counts it: 16 bits an entry, no index, no header, no round trip; in target steps."""
    vocab_size, rate = conditions.vocab_size, conditions.rate_bps
    b_full = vocab_size * PAPER_ENTRY_BITS / rate / times.target_s if rate else 0.0
    return draft_cost_of_k(
        k=min(k, vocab_size), vocab_size=vocab_size, c=times.draft_s / times.target_s, b_full=b_full
    )


def paper_setting(calibration: Sequence[Outcome], conditions: Conditions) -> tuple[Setting, float]:
    """The paper's setting for this pair and link, and the speedup its formula promises.

    K = 320, gamma by Theorem 2 (eq. 21) from the alpha measured at that K and L(K) of `paper_cost` at the
    link's true rate. The speedup is eq. (11)'s. Raises ValueError if nothing was drafted.
    """
    times = step_times(calibration)
    seen = sum(one.seen for one in calibration)
    if times is None or not seen:
        raise ValueError("nothing was drafted, so there is no alpha to choose the paper's gamma by")
    alpha = sum(one.accepted for one in calibration) / seen
    k = min(PAPER_K, conditions.vocab_size)
    cost = paper_cost(k, conditions=conditions, times=times)
    gamma = best_length(alpha=alpha, draft_cost=cost, gamma_max=MAX_GAMMA)
    setting = replace(fixed(k, gamma), name=f"{PAPER_NAME}: K {k}, gamma {gamma}")
    return setting, speedup(alpha=alpha, gamma=gamma, draft_cost=cost)


def colocated(outcomes: Sequence[Outcome], times: StepSeconds | None) -> Colocated | None:
    """The best that the same two models would do on one machine, by the alpha of the widest rows measured."""
    widest = max((one.setting.k for one in outcomes if one.setting.k and one.seen), default=None)
    if times is None or widest is None:
        return None
    rows = [one for one in outcomes if one.setting.k == widest]
    alpha = sum(one.accepted for one in rows) / sum(one.seen for one in rows)

    def speed(gamma: int) -> float:
        step_s = gamma * times.draft_s + times.pass_s(gamma)
        return tokens_per_step(alpha=alpha, gamma=gamma) / step_s

    gamma = max(range(1, LONGEST_COLOCATED + 1), key=speed)
    pass_s = times.pass_s(gamma)
    return Colocated(
        gamma=gamma,
        alpha=alpha,
        draft_step_s=times.draft_s,
        target_step_s=pass_s,
        tokens_per_s=speed(gamma),
        users=1 + gamma * times.draft_s / pass_s,
    )


def grid_of(ks: Sequence[int], gammas: Sequence[int], *, besides: Setting) -> list[Setting]:
    """Every K with every gamma, but for the pair that `besides` is already."""
    taken = (besides.k, besides.gamma)
    return [fixed(k, gamma) for k in ks for gamma in gammas if (k, gamma) != taken]


def ids_only(temperature: float) -> list[Setting]:
    """The settings whose rows stay at home; at temperature 0 the controller's own do that already."""
    return [COUPLED] if temperature == 0 else [COUPLED, PIPELINED]


def all_settings(
    paper: Setting, ks: Sequence[int], gammas: Sequence[int], *, temperature: float, acceptance: str
) -> list[Setting]:
    """In the order of the table. acceptance: of the controller's own row."""
    grid = grid_of(ks, gammas, besides=paper)
    return [ALONE, paper, *grid, *ids_only(temperature), auto(acceptance)]


def as_json(comparison: Comparison) -> dict[str, Any]:
    """One object: units in the names."""
    best, chosen = comparison.best_fixed, comparison.auto
    over = chosen.tokens_per_s / best.tokens_per_s if best and chosen else None
    return {
        "conditions": comparison.conditions.fields(),
        "settings": [asdict(row) for row in comparison.rows],
        "best_fixed": best.setting.name if best else None,
        "auto_over_best_fixed": over,
        "colocated_modelled": asdict(comparison.colocated) if comparison.colocated else None,
    }


__all__ = [
    "CALIBRATING",
    "CALIBRATION_GAMMA",
    "PAPER_K",
    "PAPER_NAME",
    "Colocated",
    "Compared",
    "Comparison",
    "Conditions",
    "StepSeconds",
    "all_settings",
    "as_json",
    "colocated",
    "compare",
    "grid_of",
    "ids_only",
    "paper_cost",
    "paper_setting",
    "step_times",
]
