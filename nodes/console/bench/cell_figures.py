"""What the runs of `draftwire bench cell` come to."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, Final

import numpy as np

from draftwire.nodes.console.bench.cell_play import (
    ALONE,
    COLOCATED,
    FIXED,
    SELFISH,
    TOGETHER,
    Came,
    Case,
)
from draftwire.nodes.console.bench.controller import trace_of
from draftwire.nodes.console.simulate.outcomes import percentile
from draftwire.nodes.models.pacing import StepTimes

COUNTS: Final = (1, 2, 4, 8, 16)
GAMMAS: Final = (1, 2, 3)
"""Of colocated drafts, and of those that are fixed for all."""

LONGEST: Final = 8
"""gamma, of the bound."""

CROWD: Final = COUNTS[-1]


def figures(came: Mapping[Case, Came], *, pair: str, times: StepTimes) -> dict[str, Any]:
    """All figures of the shipped pair, and what others come to."""

    def of(way: str, devices: int, pair: str = pair, times: StepTimes = times) -> list[Came]:
        wanted = way, devices, pair, times
        return [
            one for case, one in came.items() if (case.way, case.devices, case.pair, case.times) == wanted
        ]

    def total(way: str, devices: int) -> float:
        return fmean(one.total for one in of(way, devices))

    def ratio(way: str, devices: int, pair: str = pair, times: StepTimes = times) -> float:
        over, under = of(way, devices, pair, times), of(ALONE, devices, pair, times)
        same = under[: len(over)]  # a way may have been played with the first seeds only
        return fmean(one.total for one in over) / fmean(one.total for one in same)

    def by_count(value: Any) -> dict[str, Any]:
        return {str(count): value(count) for count in COUNTS}

    def seeds(way: str, devices: int) -> list[float]:
        pairs = zip(of(way, devices), of(ALONE, devices), strict=True)
        return [one.total / alone.total for one, alone in pairs]

    def best_fixed(devices: int) -> float:
        """In hindsight; no drafts are among the choices."""
        fixed = {
            case: one.total for case, one in came.items() if (case.way, case.devices) == (FIXED, devices)
        }
        ratios = [
            total / came[replace(case, way=ALONE, gamma=None)].total for case, total in fixed.items()
        ]
        return max(1.0, *ratios)

    here = of(TOGETHER, CROWD)
    others = sorted({(case.pair, case.times) for case in came} - {(pair, times)}, key=lambda one: one[0])
    return {
        "total_tok_s": by_count(lambda count: total(TOGETHER, count)),
        "over_target_only": by_count(lambda count: ratio(TOGETHER, count)),
        "over_target_only_of_seeds": by_count(lambda count: seeds(TOGETHER, count)),
        "target_only_tok_s": by_count(lambda count: total(ALONE, count)),
        "selfish_over_target_only": by_count(lambda count: ratio(SELFISH, count)),
        "best_fixed": by_count(best_fixed),
        "bound_over_target_only": by_count(lambda count: bound_over_target_only(pair, times, count)),
        "jain_fairness": min(one.jain for count in COUNTS for one in of(TOGETHER, count)),
        "p99_gap_ms": 1e3 * _gap_s(here),
        "p99_gap_ms_target_only": 1e3 * _gap_s(of(ALONE, CROWD)),
        **_capacity(came, fmean(one.total for one in here) / CROWD, here, times),
        "sessions_a_pass": by_count(
            lambda count: fmean(one.sessions_a_pass for one in of(TOGETHER, count))
        ),
        "passes_a_s": by_count(lambda count: fmean(one.passes_a_s for one in of(TOGETHER, count))),
        "gamma": by_count(lambda count: _mean(_sum(one.gammas for one in of(TOGETHER, count)))),
        "k": by_count(lambda count: _mean(_sum(one.ks for one in of(TOGETHER, count)))),
        "alpha": float(trace_of(pair).alpha[:, -1].mean()),
        "other_pairs": {
            name if of_times == times else f"{name}, the paper's times": {
                "alpha": float(trace_of(name).alpha[:, -1].mean()),
                "over_target_only": {
                    str(count): ratio(TOGETHER, count, name, of_times)
                    for count in COUNTS
                    if of(TOGETHER, count, name, of_times)
                },
            }
            for name, of_times in others
        },
    }


def expected_tokens(pair: str, gamma: int) -> float:
    """Of a step that drafts so many, from the largest rows: the mean over the positions of the text."""
    alpha = trace_of(pair).alpha[:, -1]
    stands, tokens = np.ones(len(alpha)), 1.0
    for ahead in range(gamma):
        stands *= np.roll(alpha, -ahead)
        tokens += float(stands.mean())
    return tokens


def bound_over_target_only(pair: str, times: StepTimes, devices: int) -> float:
    """What drafts could bring if they, and all messages, took no time: passes are longer all the same."""

    def pass_s(each: int) -> float:
        return times.seconds("target", devices * each, sessions=devices)

    return max(expected_tokens(pair, gamma) * pass_s(1) / pass_s(1 + gamma) for gamma in range(LONGEST + 1))


def _capacity(
    came: Mapping[Case, Came], rate: float, here: Sequence[Came], times: StepTimes
) -> dict[str, Any]:
    """Sessions that have this rate each, at a base station that drafts for them: see the command's help."""
    speeds = {
        gamma: [
            one.total / count
            for count in COUNTS
            for case, one in came.items()
            if (case.way, case.devices, case.gamma) == (COLOCATED, count, gamma)
        ]
        for gamma in GAMMAS
    }
    sessions = {gamma: _sustained(rate, of_gamma) for gamma, of_gamma in speeds.items()}
    best = max(sessions, key=lambda gamma: sessions[gamma])
    gamma = _mean(_sum(one.gammas for one in here)) or 0.0
    pass_s = times.seconds("target", round(CROWD * (1 + gamma)), sessions=CROWD)
    return {
        "capacity_over_colocated": CROWD / sessions[best],
        "capacity_bound": 1 + gamma * times.draft_position_s / (pass_s / CROWD),
        "capacity_rate": rate,
        "colocated_gamma": best,
        "colocated_tok_s": {
            str(count): max(of_gamma[at] for of_gamma in speeds.values()) * count
            for at, count in enumerate(COUNTS)
        },
    }


def _sustained(rate: float, speeds: Sequence[float]) -> float:
    """How many sessions have this rate each; between the numbers tried a token's seconds are on a line."""
    wanted_s, seconds = 1 / rate, [1 / speed for speed in speeds]
    after = next((at for at in range(1, len(seconds) - 1) if seconds[at] >= wanted_s), len(seconds) - 1)
    (low, high), (low_s, high_s) = COUNTS[after - 1 : after + 1], seconds[after - 1 : after + 1]
    return low + (high - low) * (wanted_s - low_s) / (high_s - low_s)


def _gap_s(some: Sequence[Came]) -> float:
    return percentile(sorted(gap_s for one in some for gap_s in one.gaps_s), 0.99)


def _sum(counters: Any) -> Counter[int]:
    total = Counter[int]()
    for one in counters:
        total.update(one)
    return total


def _mean(counts: Counter[int]) -> float | None:
    number = counts.total()
    return sum(value * count for value, count in counts.items()) / number if number else None


__all__ = ["COUNTS", "GAMMAS", "bound_over_target_only", "expected_tokens", "figures"]
