"""What an adaptive controller is compared with: the paper's rule, a bandit, a regulator, and an oracle.

All of them are policies (nodes/controller/policy.py) for one device at a time. None is meant for service:
`PaperPolicy` and `OraclePolicy` are told what a controller can't know.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from draftwire.codecs.control import StepReport
from draftwire.nodes.controller.policy import PlanValues, Report
from draftwire.nodes.speculation.cost import (
    Compute,
    Frames,
    LinkEstimate,
    as2,
    best_length,
    best_plan,
)

PAPER_K = 320
"""The paper's best K end to end, at both of its temperatures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperPolicy:
    """K = 320 and gamma* of Theorem 2, eq. (21), from the true alpha and rate: Zheng and Yang 2025.

    b is the time of one row on the uplink over T_target, c = T_draft / T_target, L = b + c. The paper's model
    has no round trip, and neither does this.
    """

    alpha: float
    "true mean acceptance at K = 320"
    rate_bps: float
    "true mean rate of the uplink, bits a second, > 0"
    row_bits: float
    "of one row as the paper sends it"
    compute: Compute
    adaptive_selection: bool = True
    "AS2: the target alone where S(gamma*) does not exceed 1; False: always gamma*"
    max_gamma: int = 16
    "bound of gamma*"

    @property
    def values(self) -> PlanValues:
        """The one plan that it ever makes."""
        cost = (self.row_bits / self.rate_bps + self.compute.draft_step_s) / self.compute.target_step_s
        rule = as2 if self.adaptive_selection else best_length
        gamma = rule(alpha=self.alpha, draft_cost=cost, gamma_max=self.max_gamma)
        return PlanValues(k=PAPER_K, gamma=gamma, min_draft=gamma)

    def observe(self, report: Report) -> None:
        """It has been told all that it uses."""

    def plan(self, device: str, request: int) -> PlanValues:
        return self.values


class UcbPolicy:
    """A bandit over draft lengths, by measured tokens a second: after UCB-SpecStop (arXiv 2606.20591).

    K is fixed; an arm is a gamma, 0 (the target alone) included. Each arm's worth is its tokens over its
    seconds, plus width * (best worth so far) * sqrt(ln(steps) / (steps of the arm)).
    """

    def __init__(self, *, k: int = PAPER_K, gammas: Sequence[int] = range(9), width: float = 0.3) -> None:
        """Raises ValueError for no gamma at all."""
        if not gammas:
            raise ValueError("gammas is empty: give at least one draft length")
        self._k, self._width = k, width
        self._steps = dict.fromkeys(gammas, 0)
        self._tokens = dict.fromkeys(gammas, 0)
        self._seconds = dict.fromkeys(gammas, 0.0)
        self._ended_s: float | None = None

    def observe(self, report: Report) -> None:
        """Credit the step to the gamma that it was drawn with."""
        if not isinstance(report, StepReport):
            return
        if self._ended_s is not None and report.plan.gamma in self._steps:
            arm = report.plan.gamma
            self._steps[arm] += 1
            self._tokens[arm] += report.accepted + 1
            self._seconds[arm] += report.ended_at_s - self._ended_s
        self._ended_s = report.ended_at_s

    def plan(self, device: str, request: int) -> PlanValues:
        gamma = self._choice()
        return PlanValues(k=self._k, gamma=gamma, min_draft=gamma)

    def _choice(self) -> int:
        untried = [arm for arm, steps in self._steps.items() if not steps or not self._seconds[arm]]
        if untried:
            return untried[0]
        worth = {arm: self._tokens[arm] / self._seconds[arm] for arm in self._steps}
        reach = self._width * max(worth.values()) * math.sqrt(math.log(sum(self._steps.values())))
        return max(worth, key=lambda arm: worth[arm] + reach / math.sqrt(self._steps[arm]))


class PidPolicy:
    """A regulator that holds the acceptance of tested drafts at a set point by moving gamma.

    The textbook's PID in its incremental form. Above the set point longer drafts pass, so gamma rises; below
    it falls. It knows neither the link nor what a step costs, so the set point decides how it does.
    """

    def __init__(
        self,
        *,
        k: int = PAPER_K,
        set_point: float = 0.7,
        proportional: float = 1.0,
        integral: float = 0.5,
        derivative: float = 0.25,
        gamma: float = 4.0,
        max_gamma: int = 16,
    ) -> None:
        self._k, self._set_point, self._max_gamma = k, set_point, max_gamma
        self._gains = proportional, integral, derivative
        self._gamma = gamma
        self._errors = (0.0, 0.0)

    def observe(self, report: Report) -> None:
        """Move gamma by one tested block."""
        if not isinstance(report, StepReport) or not report.seen:
            return
        error = report.accepted / report.seen - self._set_point
        last, before = self._errors
        proportional, integral, derivative = self._gains
        change = proportional * (error - last) + integral * error + derivative * (error - 2 * last + before)
        self._gamma = min(float(self._max_gamma), max(1.0, self._gamma + change))
        self._errors = error, last

    def plan(self, device: str, request: int) -> PlanValues:
        gamma = round(self._gamma)
        return PlanValues(k=self._k, gamma=gamma, min_draft=gamma)


class OraclePolicy:
    """The best plan of the true cost model, with the true link and the true long-run alpha of every K.

    It knows the link of now, not of later, and nothing of easy and hard stretches: a controller that learns
    from what it sees can beat it.
    """

    def __init__(
        self,
        *,
        link: Callable[[float], LinkEstimate],
        alphas: Callable[[float], Mapping[int, float]],
        compute: Compute,
        frames: Frames,
        gammas: Sequence[int] = range(1, 17),
    ) -> None:
        """`link` and `alphas` are asked with a time of the BS's clock, in seconds; gammas: >= 1."""
        self._link, self._alphas = link, alphas
        self._compute, self._frames, self._gammas = compute, frames, gammas
        self._now_s = 0.0

    def observe(self, report: Report) -> None:
        """Learn what time it is."""
        if isinstance(report, StepReport):
            self._now_s = report.ended_at_s

    def plan(self, device: str, request: int) -> PlanValues:
        best = best_plan(
            alphas=self._alphas(self._now_s),
            gammas=self._gammas,
            compute=self._compute,
            link=self._link(self._now_s),
            frames=self._frames,
        )
        return PlanValues(k=best.k, gamma=best.gamma, min_draft=best.gamma)


__all__ = ["PAPER_K", "OraclePolicy", "PaperPolicy", "PidPolicy", "UcbPolicy"]
