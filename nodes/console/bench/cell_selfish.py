"""A controller that plans for each device as if it had the BS for itself: `draftwire bench cell` compares."""

from dataclasses import replace

from draftwire.codecs.control import StepReport
from draftwire.nodes.controller.adaptive import AdaptivePolicy
from draftwire.nodes.controller.policy import PlanValues, Report


class SelfishPolicy:
    """An adaptive policy for each device, which never hears of the others."""

    def __init__(self) -> None:
        self.vocab_size = 32_000
        "of the pair that the BS serves"
        self._own: dict[str, AdaptivePolicy] = {}

    def observe(self, report: Report) -> None:
        """A report of one device, as if its pass had been its own."""
        if isinstance(report, StepReport):
            report = replace(report, pass_sessions=1, pass_rows=report.computed)
        self._of(report.device).observe(report)

    def plan(self, device: str, request: int) -> PlanValues:
        """As the device's own policy has it."""
        return self._of(device).plan(device, request)

    def _of(self, device: str) -> AdaptivePolicy:
        own = self._own.setdefault(device, AdaptivePolicy(vocab_size=self.vocab_size))
        if own.vocab_size != self.vocab_size:
            own.vocab_size = self.vocab_size
        return own


__all__ = ["SelfishPolicy"]
