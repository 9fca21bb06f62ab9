"""What a controller decides by: it sees reports and answers for each request with a plan.

A controller of one's own is an object with these two methods; docs/operations.md shows one in 20 lines.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from draftwire.codecs.control import RowsReport, StepReport
from draftwire.codecs.tables import TableSets
from draftwire.nodes.controller.belief import Belief

Report = StepReport | RowsReport
"""What a policy learns from."""


class PlanValues(NamedTuple):
    """A plan before the BS numbers it."""

    k: int
    gamma: int
    min_draft: int
    belief: Belief | None = None
    "what it rests on, for records and people; a policy that has no model leaves it out"

    @property
    def values(self) -> tuple[int, int, int]:
        """k, gamma, min_draft: what the BS is told."""
        return self.k, self.gamma, self.min_draft


class Policy(Protocol):
    """Learns from reports and plans by what it has learnt. Pure: no clock of its own, no waiting."""

    def observe(self, report: Report) -> None:
        """Take one verification step, or the rows of one, into account."""
        ...

    def plan(self, device: str, request: int) -> PlanValues:
        """What this request should go by now; ANY_REQUEST: the device's next one. Asked once a step.

        ANY_DEVICE, with ANY_REQUEST, stands for every device that has not been heard of: when a BS registers.
        """
        ...


@runtime_checkable
class VocabularyAware(Protocol):
    """A policy that also wants to know V: it is set when a BS registers."""

    vocab_size: int
    "of the pair that the BS serves"


@runtime_checkable
class TablesAware(Protocol):
    """A policy that also wants to know how large rows spelt with tables are: set when the node is made."""

    table_sets: TableSets
    "those that the controller has; reports name a set by its hash"


@dataclass(frozen=True, slots=True)
class FixedPolicy:
    """The same plan for everybody, whatever happens."""

    values: PlanValues

    def observe(self, report: Report) -> None:
        """Nothing to learn."""

    def plan(self, device: str, request: int) -> PlanValues:
        return self.values


__all__ = ["FixedPolicy", "PlanValues", "Policy", "Report", "TablesAware", "VocabularyAware"]
