"""What a plan costs a controller of sixteen sessions, in time of its own process."""

import time
from statistics import median
from typing import ClassVar, Final

from draftwire.nodes.console.bench.cell_play import TIMED, WARM_S, Case, play
from draftwire.nodes.controller.adaptive import AdaptivePolicy
from draftwire.nodes.controller.policy import PlanValues
from draftwire.nodes.models.pacing import StepTimes

SECONDS: Final = 4.0
"""Virtual, behind WARM_S."""


class TimedPolicy(AdaptivePolicy):
    """The controller's, with its plans timed. A topology names it, so the times lie with the class."""

    took_s: ClassVar[list[float]] = []
    "of each plan so far"

    def plan(self, device: str, request: int) -> PlanValues:
        """As ever."""
        began_s = time.process_time()
        made = super().plan(device, request)
        self.took_s.append(time.process_time() - began_s)
        return made


def plan_us(times: StepTimes, *, pair: str, devices: int, seed: int) -> float:
    """The median of a run in virtual time; call it while no other run is under way."""
    TimedPolicy.took_s.clear()
    seconds = WARM_S + SECONDS
    play(Case(pair=pair, devices=devices, way=TIMED, times=times, seconds=seconds, seed=seed))
    return 1e6 * median(TimedPolicy.took_s)


__all__ = ["TimedPolicy", "plan_us"]
