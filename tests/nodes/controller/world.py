"""A world whose truth is known, that plays synchronous steps and reports them as a BS does."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tests.harness.sizes import message_bytes

from draftwire.codecs.control import RowsReport, StepReport
from draftwire.codecs.messages import Plan
from draftwire.codecs.tables import TableSet
from draftwire.nodes.controller.policy import PlanValues, Policy
from draftwire.nodes.speculation.acceptance import LADDER, rungs
from draftwire.nodes.speculation.cost import Compute, Forecast, Frames, LinkEstimate, best_plan, forecast
from draftwire.nodes.speculation.frames import true_frames
from draftwire.runtime.link import LinkSpec

VOCAB_SIZE = 4096
_SHARES = (0.72, 0.82, 0.86, 0.90, 0.92, 0.945, 0.965, 0.98, 0.988, 0.994, 0.998, 1.0)
SHAPE = dict(zip(LADDER, _SHARES, strict=True))
FILL = 0.6
"How much of a gap between the bounds of alpha the truth fills."


@dataclass(kw_only=True)
class World:
    """Its truth may be changed between steps. Times in seconds."""

    alpha: float = 0.7
    "of whole rows"
    shape: Mapping[int, float] = field(default_factory=lambda: SHAPE)
    rate_bps: float = 5e6
    rtt_s: float = 0.010
    jitter_s: float = 0.0003
    draft_s: float = 0.003
    target_s: float = 0.045
    slope_s: float = 0.00045
    alone_s: float | None = None
    overhead_s: float = 0.001
    noise: float = 0.02
    "of the target's step, relative"
    row_scale: float = 1.0
    tables: TableSet | None = None
    "that rows are spelt with, and named by in reports; None: plain"
    agreed: TableSet | None = None
    "that the BS takes rows to be spelt with until they come, where these are others"
    temperature: float = 1.0
    sends_rows_reports: bool = True
    coupled_share: float = 0.94
    "of alpha: how often coupled picks are equal"
    pinned_k: int | None = None
    pinned_gamma: int | None = None
    pinned_min_draft: int | None = None
    "the BS of this world waits for whole blocks, whatever a plan says"
    device: str = "device-1"
    request: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.now_s = self.free_s = 0.0
        self.number = 0
        self.tokens = 0
        self.late = list[RowsReport]()

    # The truth ----------------------------------------------------------------------------------------------

    def alpha_at(self, k: int) -> float:
        """alpha at this K, linear in log K between rungs."""
        return self.alpha * float(np.interp(np.log(k), np.log(list(self.shape)), list(self.shape.values())))

    def best(self) -> Forecast:
        """The best plan that there is."""
        return best_plan(
            alphas={k: self.alpha_at(k) for k in LADDER},
            gammas=range(1, 17),
            compute=self._compute(),
            link=self._link(),
            frames=self._frames(),
        )

    def forecast(self, plan: PlanValues) -> Forecast:
        """What this plan really brings."""
        return forecast(
            k=plan.k,
            gamma=plan.gamma,
            alpha=self.alpha_at(plan.k),
            compute=self._compute(),
            link=self._link(),
            frames=self._frames(),
        )

    def speed(self, plans: Sequence[PlanValues]) -> float:
        """Expected tokens a second of these plans, one after the other."""
        steps = [self.forecast(plan) for plan in plans]
        return sum(step.tokens_per_step for step in steps) / sum(step.step_s for step in steps)

    def _compute(self) -> Compute:
        return Compute(
            draft_step_s=self.draft_s,
            target_step_s=self.target_s,
            target_per_token_s=self.slope_s,
            overhead_s=self.overhead_s,
            alone_step_s=self.alone_s,
        )

    def _link(self) -> LinkEstimate:
        return LinkEstimate(uplink_bps=self.rate_bps, downlink_bps=self.rate_bps, rtt_s=self.rtt_s)

    def _frames(self) -> Frames:
        rows = self.temperature > 0
        return true_frames(vocab_size=VOCAB_SIZE, row_scale=self.row_scale, rows=rows, tables=self.tables)

    def _spelling(self, k: int, *, came: bool = True) -> str:
        """As rows of K come, and what a report names before they have."""
        named = self.tables if came else self.agreed or self.tables
        small = came and named is not None and named.rung_of(k) is None
        return "" if named is None or small else named.hash.hex()

    # Its steps ----------------------------------------------------------------------------------------------

    def step(self, plan: PlanValues) -> list[RowsReport | StepReport]:
        """One step by this plan: the reports in the order that a BS sends them, a StepReport last."""
        gamma = plan.gamma if self.pinned_gamma is None else self.pinned_gamma
        k = plan.k if self.pinned_k is None else self.pinned_k
        report = self._drafted(k, gamma) if gamma else self._alone(k)
        self.now_s = report.ended_at_s
        arrived = [rows for rows in self.late if rows.rows_at_s <= self.now_s]
        self.late = [rows for rows in self.late if rows.rows_at_s > self.now_s]
        self.number += 1
        self.tokens += report.accepted + 1
        return [*arrived, report]

    def _alone(self, k: int) -> StepReport:
        pass_s = self.target_s if self.alone_s is None else self.alone_s
        pass_s *= float(self.rng.normal(1, self.noise))
        ended_s = self.now_s + pass_s
        return self._report(k=k, gamma=0, step_s=pass_s, draft_at_s=self.now_s, ended_at_s=ended_s)

    def _drafted(self, k: int, gamma: int) -> StepReport:
        sizes = true_frames(vocab_size=VOCAB_SIZE, row_scale=self.row_scale, tables=self.tables)
        bits = sizes.draft_bits(k, gamma), sizes.commit_bits(gamma), sizes.rows_bits(k, gamma)
        draft_bytes, asked_bytes, rows_bytes = map(message_bytes, bits)
        pass_s = (self.target_s + self.slope_s * gamma) * float(self.rng.normal(1, self.noise))
        drafted_s = self.now_s + self._sending(asked_bytes) + self._one_way() + gamma * self.draft_s
        self.free_s = max(drafted_s, self.free_s) + self._sending(draft_bytes)
        draft_at_s = self.free_s + self._one_way()
        hits = self.rng.random(gamma) < self.alpha_at(k)
        accepted = gamma if hits.all() else int(hits.argmin())
        seen = min(accepted + 1, gamma)
        tested_s = ended_s = draft_at_s + pass_s + self.overhead_s
        rows_at_s = None
        if self.temperature:
            self.free_s += self._sending(rows_bytes)
            rows_due_s = self.free_s + self._one_way()
            if accepted < gamma:
                ended_s = max(tested_s, rows_due_s)
            if rows_due_s <= ended_s:
                rows_at_s = rows_due_s
            if self.sends_rows_reports:
                self.late.append(self._rows_report(k, seen, rows_bytes, draft_at_s, rows_due_s))
        return self._report(
            k=k,
            gamma=gamma,
            step_s=pass_s,
            draft_at_s=draft_at_s,
            ended_at_s=ended_s,
            seen=seen,
            accepted=accepted,
            wait_s=ended_s - tested_s,
            hold_s=ended_s - draft_at_s,
            draft_bytes=draft_bytes,
            rows_bytes=0 if rows_at_s is None else rows_bytes,
            rows_at_s=rows_at_s,
            device_step_s=self.draft_s,
            asked_at_s=self.now_s,
            asked_bytes=asked_bytes,
        )

    def _report(self, *, k: int, gamma: int, **values: Any) -> StepReport:
        nothing = {
            "seen": 0,
            "accepted": 0,
            "wait_s": 0.0,
            "hold_s": 0.0,
            "draft_bytes": 0,
            "rows_bytes": 0,
            "rows_at_s": None,
            "device_step_s": None,
            "asked_at_s": None,
            "echo_s": None,
            "echo_bytes": 0,
            "asked_bytes": 0,
        }
        return StepReport(
            device=self.device,
            request=self.request,
            step=self.number,
            plan=Plan(number=0, k=k, gamma=gamma, min_draft=gamma),
            position=self.tokens,
            drafted=gamma,
            computed=gamma + 1,
            alone=not gamma,
            temperature=self.temperature,
            pinned_k=self.pinned_k,
            pinned_gamma=self.pinned_gamma,
            pinned_min_draft=self.pinned_min_draft,
            tokens=1 + values.get("accepted", 0),
            asked_drafted=gamma,
            tables=self._spelling(k, came=values.get("rows_at_s") is not None),
            **(nothing | values),
        )

    def next_request(self) -> None:
        """What follows belongs to another request."""
        self.request, self.number, self.late = self.request + 1, 0, []

    def _sending(self, size_bytes: int) -> float:
        return 8 * LinkSpec().bytes_on_link(size_bytes) / self.rate_bps

    def _one_way(self) -> float:
        return self.rtt_s / 2 + float(self.rng.exponential(self.jitter_s))

    def _rows_report(
        self, k: int, seen: int, rows_bytes: int, draft_at_s: float, rows_at_s: float
    ) -> RowsReport:
        wholes = (self.alpha * (1 + 0.3 * self.rng.uniform(-1, 1, seen))).tolist()  # alpha on average

        def shape(entries: float) -> float:
            return self.alpha_at(max(1, int(entries))) / self.alpha

        low, low_of_third = 0.98 * shape(k), 0.98 * shape(k / 3)
        return RowsReport(
            device=self.device,
            request=self.request,
            step=self.number,
            temperature=self.temperature,
            k=k,
            ladder=rungs(k),
            alphas=tuple(tuple(whole * shape(rung) for rung in rungs(k)) for whole in wholes),
            low=tuple(whole * low for whole in wholes),
            high=tuple(whole * (low + (1 - low) / FILL) for whole in wholes),
            gap=tuple(whole * (1 - low_of_third) / FILL for whole in wholes),
            filled=tuple(whole * (shape(k) - low_of_third) for whole in wholes),
            coupled=tuple(whole * shape(k) * self.coupled_share for whole in wholes),
            rows_bytes=rows_bytes,
            draft_at_s=draft_at_s,
            rows_at_s=rows_at_s,
            tables=self._spelling(k),
        )


@dataclass(frozen=True, kw_only=True)
class Played:
    """One step of a session."""

    decided: PlanValues
    "after it"
    report: StepReport


def play(
    world: World,
    policy: Policy,
    steps: int,
    *,
    at: Mapping[int, Callable[[World], None]] | None = None,
) -> Iterator[Played]:
    """Steps of the world under a policy's plans, each of which governs the step after the next; `at` changes
    the world before a step.
    """
    plans = deque([policy.plan(world.device, world.request)] * 2)
    for number in range(steps):
        if at and number in at:
            at[number](world)
        reports = world.step(plans.popleft())
        for report in reports:
            policy.observe(report)
        plans.append(policy.plan(world.device, world.request))
        assert isinstance(reports[-1], StepReport)
        yield Played(decided=plans[-1], report=reports[-1])
