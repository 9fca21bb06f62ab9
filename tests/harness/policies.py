"""Policies for tests: what they were told, and plans that do not hang on it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from draftwire.codecs.control import RowsReport, StepReport
from draftwire.nodes.controller.policy import PlanValues, Report


def plan(k: int, gamma: int) -> PlanValues:
    """A synchronous plan."""
    return PlanValues(k=k, gamma=gamma, min_draft=gamma)


@dataclass
class Steady:
    """One plan for all steps, of any kind; keeps what it is told."""

    values: PlanValues
    reports: list[Report] = field(default_factory=list)

    def observe(self, report: Report) -> None:
        """Keep it."""
        self.reports.append(report)

    def plan(self, device: str, request: int) -> PlanValues:
        """Always the same."""
        return self.values


@dataclass
class Scripted:
    """One plan after the other, over and over, a plan a step; keeps what it is told."""

    plans: Sequence[tuple[int, int]]
    reports: list[Report] = field(default_factory=list)

    @property
    def steps(self) -> list[StepReport]:
        """Of the verification steps."""
        return [one for one in self.reports if isinstance(one, StepReport)]

    @property
    def rows(self) -> list[RowsReport]:
        """Of the rows."""
        return [one for one in self.reports if isinstance(one, RowsReport)]

    def observe(self, report: Report) -> None:
        """Keep it."""
        self.reports.append(report)

    def plan(self, device: str, request: int) -> PlanValues:
        """By the number of steps seen."""
        return plan(*self.plans[len(self.steps) % len(self.plans)])
