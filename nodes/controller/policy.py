"""What a controller decides by: it sees reports and answers for each request with a plan."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from draftwire.codecs.control import StepReport


class PlanValues(NamedTuple):
    """A plan before the BS numbers it."""

    k: int
    gamma: int
    min_draft: int


class Policy(Protocol):
    """Learns from reports and plans by what it has learnt. Pure: no clock of its own, no waiting."""

    def observe(self, report: StepReport) -> None:
        """Take one verification step into account."""
        ...

    def plan(self, device: str, request: int) -> PlanValues:
        """What this request should go by now."""
        ...


@dataclass(frozen=True, slots=True)
class FixedPolicy:
    """The same plan for everybody, whatever happens."""

    values: PlanValues

    def observe(self, report: StepReport) -> None:
        """Nothing to learn."""

    def plan(self, device: str, request: int) -> PlanValues:
        return self.values


__all__ = ["FixedPolicy", "PlanValues", "Policy"]
