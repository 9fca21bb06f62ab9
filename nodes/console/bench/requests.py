"""A text asked for in requests that leave their acceptance open: what a policy makes of `auto`.

A request has one acceptance from its Open to its end, so choosing shows over several. Each goes on where the
one before ended, in the text and in the link's time, and each starts for itself: under rejection the target
waits for its first block, and the round trip of that is in the figure.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Final

from draftwire.codecs.control import ANY_REQUEST, COUPLED, StepReport
from draftwire.nodes.console.bench import cycles, pipelined
from draftwire.nodes.console.bench.cycles import DEVICE, Course, Run
from draftwire.nodes.controller.adaptive import AdaptivePolicy
from draftwire.nodes.controller.policy import PlanValues, Report

EACH_TOKENS: Final = 250
"""Of a request's output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests(Run):
    """Several, one after the other."""

    opened: Counter[str]
    "acceptance -> requests"


def simulate_requests(course: Course, policy: AdaptivePolicy, *, each: int = EACH_TOKENS) -> Requests:
    """The course's tokens in requests of so many, from a cold start; `steps` are those of all of them."""
    tokens, seconds, steps, opened = 0, 0.0, 0, Counter[str]()
    while tokens < course.tokens:
        opening = next(one for one in policy.openings(DEVICE) if one.preferred)
        opened[opening.acceptance] += 1
        request = replace(
            course,
            first=course.first + tokens,
            tokens=min(each, course.tokens - tokens),
            link=replace(course.link, began_s=course.link.began_s + seconds),
        )
        way = pipelined.simulate if opening.acceptance == COUPLED else cycles.simulate
        run = way(request, _Numbered(policy, opening, number=opened.total(), began_s=seconds))
        tokens, seconds, steps = tokens + run.tokens, seconds + run.seconds, steps + run.steps
    return Requests(tokens=tokens, seconds=seconds, steps=steps, opened=opened)


class _Numbered:
    """The policy as one request meets it, which began at `began_s` of the BS's clock."""

    def __init__(self, inner: AdaptivePolicy, opening: PlanValues, *, number: int, began_s: float) -> None:
        self._inner, self._opening = inner, opening
        self._number, self._began_s = number, began_s

    def observe(self, report: Report) -> None:
        """As the inner policy."""
        times = ["draft_at_s", "rows_at_s"]
        if isinstance(report, StepReport):
            times += ["ended_at_s", "asked_at_s"]
        told = {name: getattr(report, name) for name in times}
        shifted = {name: at_s + self._began_s for name, at_s in told.items() if at_s is not None}
        self._inner.observe(replace(report, request=self._number, **shifted))

    def plan(self, device: str, request: int) -> PlanValues:
        """As the inner policy; the first one is what the request was opened with."""
        if request == ANY_REQUEST:
            return self._opening
        self._inner.openings(device)  # the controller's node asks for them with every plan
        return self._inner.plan(device, self._number)


__all__ = ["EACH_TOKENS", "Requests", "simulate_requests"]
