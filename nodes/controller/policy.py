"""What a controller decides by: it sees reports and answers for each request with a plan.

A controller of one's own is an object with these two methods; docs/operations.md shows one in 20 lines.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from draftwire.codecs.control import REJECTION, PlanOrder, RowsReport, StepReport
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
    blockwise: bool = False
    "as in codecs.messages.Plan, like the two below"
    early_stop: bool = False
    uplink_bps: int = 0
    patience_s: float | None = None
    "where drafts are hints: how long a free BS waits for min_draft of them; None: as [target] says"
    acceptance: str = REJECTION
    "of a plan to begin with: for requests of which acceptance it is, REJECTION or COUPLED"
    preferred: bool = False
    "of a plan to begin with: requests that leave their acceptance open take this one"

    @property
    def values(self) -> tuple[int, int, int]:
        """k, gamma, min_draft: what every plan has."""
        return self.k, self.gamma, self.min_draft

    def order(self, *, device: str, request: int) -> PlanOrder:
        """All that the BS is told. Raises LocalError for a plan that can't be."""
        return PlanOrder(
            device=device,
            request=request,
            k=self.k,
            gamma=self.gamma,
            min_draft=self.min_draft,
            blockwise=self.blockwise,
            early_stop=self.early_stop,
            uplink_bps=self.uplink_bps,
            patience_s=self.patience_s,
            acceptance=self.acceptance,
            preferred=self.preferred,
        )


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


@runtime_checkable
class OpensWith(Protocol):
    """A policy that plans for both acceptances, and chooses between them where a request leaves that open.

    Of any other, the plan for ANY_REQUEST is what requests under rejection begin with, and no acceptance is
    preferred.
    """

    def openings(self, device: str) -> tuple[PlanValues, ...]:
        """What the device's next request begins with: at most one plan an acceptance, exactly one preferred.

        ANY_DEVICE stands for every device that has not been heard of.
        """
        ...


@dataclass(frozen=True, slots=True)
class FixedPolicy:
    """The same plan for everybody, whatever happens."""

    values: PlanValues

    def observe(self, report: Report) -> None:
        """Nothing to learn."""

    def plan(self, device: str, request: int) -> PlanValues:
        return self.values


__all__ = ["FixedPolicy", "OpensWith", "PlanValues", "Policy", "Report", "TablesAware", "VocabularyAware"]
