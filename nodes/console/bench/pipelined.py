"""The pipelined protocol in virtual time: the BS never waits, and drafts cross Commits on the link.

For coupled acceptance. A policy meets what the nodes would tell it, as in cycles.py, and what it plans is in
force as late. A token of a right path is right where the recorded picks of both ends are equal (traces.py),
drawn once for each position and seed, and never behind a wrong one; so every plan meets the same chances.
Blocks, with min_draft = gamma, and the target alone are special cases. The device's side is drafting.py.

Left out: the bound on how far the BS may be ahead of the device, whose 64 tokens are three seconds of the
target alone, and `max_waste`, which is a user's.

One run at a time, no arrays of many: passes of different lanes do not keep step. 2500 tokens take 0.01 to
0.05 s where nobody wants reports; `best_fixed` says how hindsight's best is found with that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.control import ANY_REQUEST, COUPLED, RowsReport, StepReport
from draftwire.codecs.messages import Plan
from draftwire.nodes.console.bench.acceptance_trace import Told as RowTold
from draftwire.nodes.console.bench.cycles import DEVICE, MEAN_JITTER_S, REQUEST, Course, Run
from draftwire.nodes.console.bench.drafting import (
    LATE,
    Drafting,
    Heard,
    Radio,
    Text,
    Told,
    bits_of,
    commit_bytes,
)
from draftwire.nodes.controller.policy import FixedPolicy, OpensWith, PlanValues, Policy
from draftwire.nodes.speculation.cost import LinkEstimate
from draftwire.nodes.speculation.frames import true_frames
from draftwire.nodes.speculation.pipeline import patience_s
from draftwire.nodes.target.path_lesson import MAX_POSITIONS, MAX_ROWS
from draftwire.runtime.session.request import Timing

Floats = NDArray[np.float64]

GAMMAS: Final = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)
WAITS: Final = (0, 1, 2, 3, 5)
"""Of the fixed plans, with min_draft below gamma; and min_draft = gamma, which is a synchronous one."""

FIXED: Final = (
    (0, 0),
    *((gamma, wait) for gamma in GAMMAS for wait in sorted({*WAITS, gamma}) if wait <= gamma),
)
"""Every (gamma, min_draft) that hindsight chooses from; the first is the target alone."""

DEFAULT_PATIENCE_S: Final = Timing().patience_s


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelinedRun(Run):
    """`steps` are passes of the target."""

    drafted: int
    "tokens that the device drew"
    used: int
    "of them accepted"

    @property
    def waste(self) -> float:
        """Drafted tokens thrown away for each token of the log."""
        return (self.drafted - self.used) / self.tokens


def simulate(course: Course, policy: Policy) -> PipelinedRun:
    """Run the policy from a cold start, with every report that the nodes would send it.

    A request with coupled acceptance; `course.paper_bits` means nothing here. Raises ValueError where it
    plans a K that is no rung of the trace.
    """
    return _Simulation(Text(course=course), policy).run()


def simulate_plan(text: Text, values: PlanValues) -> PipelinedRun:
    """Run one plan, without reports: several times as fast."""
    return _Simulation(text, FixedPolicy(values), reports=False).run()


class _Simulation:
    """The BS's side of one run, and its clock, in seconds."""

    def __init__(self, text: Text, policy: Policy, *, reports: bool = True) -> None:
        course = text.course
        self.text, self.course, self.compute = text, course, course.compute
        self.policy, self.reports = policy, reports
        self.down = Radio(course.link, text.late_s, LATE // 2)
        self.length = self.known = 0
        self.step = self.used = 0
        self.epoch, self.start, self.end, self.wrong = 0, 0, 0, -1
        "of the newest path, as far as it was told"
        self.alive = self.last = False
        self.judged = self.seen = self.hits = 0
        self.free_s = 0.0
        self.first: Told | None = None
        "Draft of the newest path"
        self.newest_s = self.came_s = 0.0
        self.asked: dict[int, tuple[float, int]] = {}
        "by length of the log: when the Commit that told it left, and its size"
        self.answered: tuple[float, int] | None = None
        self.rows: list[Told] = []
        self.told_echo: tuple[float, int] | None = None

    # -- passes --------------------------------------------------------------------------------------------

    def run(self) -> PipelinedRun:
        course, compute = self.course, self.compute
        values = coming = self._first()
        plan, patience = self._plan(values)
        device = self.device = Drafting(self.text, plan)
        arrives_s = 0.0
        while self.length < course.tokens:
            began_s = self._begins(plan, patience)
            self.came_s = max(self.newest_s, self.free_s)
            begun, ids = self.length, self._ids()
            pass_s = compute.target_step_s + ids * compute.target_per_token_s
            now_s = began_s + pass_s + (compute.overhead_s if ids else 0.0)
            device.advance(now_s)
            self._take(now_s)
            accepted = min(ids, self.wrong - begun) if ids else 0
            self._append(accepted + 1)
            self.used += accepted
            drawn_by, values = values, coming
            if values is not drawn_by:
                plan, patience = self._plan(values)
            size = commit_bytes(self.length - self.known)
            arrives_s = self.down.send(now_s, bits_of(size))
            device.heard.append(Heard(arrives_s, self.length, plan, pass_s))
            if self.reports:
                in_force = device_plan(drawn_by)
                self._tell(in_force, begun=begun, ids=ids, pass_s=pass_s, now_s=now_s)
                self.asked[self.length] = (now_s, size)
                coming = self._checked(self.policy.plan(DEVICE, REQUEST))
            self.free_s = now_s
            self.step += 1
        return PipelinedRun(
            tokens=self.length,
            seconds=arrives_s,
            steps=self.step,
            drafted=device.drafted,
            used=self.used,
        )

    def _first(self) -> PlanValues:
        if isinstance(self.policy, OpensWith):
            opened = (one for one in self.policy.openings(DEVICE) if one.acceptance == COUPLED)
            return self._checked(next(opened))
        return self._checked(self.policy.plan(DEVICE, ANY_REQUEST))

    def _checked(self, values: PlanValues) -> PlanValues:
        if values.k not in self.course.trace.ladder:
            raise ValueError(f"the plan's k is {values.k}: this trace knows {self.course.trace.ladder}")
        return values

    def _plan(self, values: PlanValues) -> tuple[Plan, float]:
        patience = DEFAULT_PATIENCE_S if values.patience_s is None else values.patience_s
        return device_plan(values), patience

    def _begins(self, plan: Plan, patience: float) -> float:
        """When the free BS starts its next pass."""
        device, now_s = self.device, self.free_s
        deadline_s = now_s + patience
        while True:
            device.advance(now_s)
            self._take(now_s)
            if not plan.gamma or self.last or self._ids() >= plan.min_draft:
                return now_s
            device.advance(deadline_s, or_told=True)
            if not device.told or device.told[0].at_s > deadline_s:
                return deadline_s
            now_s = device.told[0].at_s

    def _ids(self) -> int:
        """Drafted ids at hand that continue the log."""
        return max(0, self.end - self.length) if self.alive else 0

    def _append(self, tokens: int) -> None:
        self.length += tokens
        if self.alive:
            self.last = False
            self._judge()

    # -- what the device says ------------------------------------------------------------------------------

    def _take(self, until_s: float) -> None:
        told = self.device.told
        while told and told[0].at_s <= until_s:
            message = told.popleft()
            if message.known > self.known:
                self.known = message.known
            if message.epoch < 0:
                self._echo(message)
            elif message.end:
                self._draft(message)
            elif self.reports:
                self.rows = [*self.rows, message][-MAX_ROWS:]
                rung = self.course.trace.ladder.index(self.device.plan.k)
                self._row_report(message, max(0, self.step - 1), None, rung)
                self._rows_report()

    def _draft(self, message: Told) -> None:
        self.newest_s = message.at_s
        if message.epoch > self.epoch:
            self.epoch, self.start, self.judged = message.epoch, message.start, message.start
            self.wrong, self.alive = message.wrong, True
            self.first, self.answered = message, self.asked.get(message.start)
        elif not self.alive:
            return
        self.end, self.last = message.end, message.last
        self._judge()

    def _judge(self) -> None:
        """Hold drafts against the log: up to the first wrong one each counts, once."""
        reached = min(self.length, self.end)
        judged = min(reached, self.wrong + 1)
        if judged > self.judged:
            self.seen += judged - self.judged
            self.hits += min(judged, self.wrong) - self.judged
            self.judged = judged
        self.alive = reached <= self.wrong

    def _echo(self, message: Told) -> None:
        """A ping answers the Commit that told the device what it knows."""
        asked = self.asked.get(message.known)
        if asked is not None:
            self.told_echo = message.at_s - asked[0], asked[1] + message.size

    # -- what the controller is told -----------------------------------------------------------------------

    def _tell(self, plan: Plan, *, begun: int, ids: int, pass_s: float, now_s: float) -> None:
        self._rows_report()
        self.policy.observe(self._report(plan, begun=begun, ids=ids, pass_s=pass_s, now_s=now_s))
        self.seen = self.hits = 0

    def _report(self, plan: Plan, *, begun: int, ids: int, pass_s: float, now_s: float) -> StepReport:
        first, echo = self.first, None
        asked, self.answered = self.answered, None
        if not plan.gamma:
            echo, self.told_echo = self.told_echo, None
        return StepReport(
            device=DEVICE,
            request=REQUEST,
            step=self.step,
            plan=plan,
            position=begun,
            drafted=ids,
            seen=self.seen,
            accepted=self.hits,
            computed=ids + 1,
            step_s=pass_s,
            wait_s=0.0,
            hold_s=now_s - self.came_s if ids else 0.0,
            draft_bytes=first.size if (ids or asked) and first else 0,
            rows_bytes=0,
            draft_at_s=first.at_s if first else 0.0,
            rows_at_s=None,
            alone=not ids,
            temperature=self.course.trace.temperature,
            device_step_s=self.compute.draft_step_s if first else None,
            asked_at_s=asked[0] if asked else None,
            asked_bytes=asked[1] if asked else 0,
            ended_at_s=now_s,
            echo_s=echo[0] if echo else None,
            echo_bytes=echo[1] if echo else 0,
            pinned_k=None,
            pinned_gamma=None,
            tables=self.course.trace.tables,
            acceptance=COUPLED,
            tokens=self.length - begun,
            asked_drafted=first.end - first.start if asked and first else 0,
        )

    def _rows_report(self) -> None:
        """Rows at whose positions the log has its token by now, of paths that are right up to there."""
        reached = [row for row in self.rows if row.start < self.length]
        self.rows = [row for row in self.rows if row.start >= self.length]
        rung = self.course.trace.ladder.index(self.device.plan.k)
        for row in reached:
            right = row.epoch == self.epoch and row.start < self.judged
            if right and row.start >= self.length - MAX_POSITIONS:
                told = self.course.trace.told(rung)[self.text.places[row.start]]
                self._row_report(row, max(0, self.step - 1), told, rung)

    def _row_report(self, row: Told, step: int, told: RowTold | None, rung: int) -> None:
        """What a row tells of the link, and where its draft was tested of acceptance."""
        trace = self.course.trace
        self.policy.observe(
            RowsReport(
                device=DEVICE,
                request=REQUEST,
                step=step,
                temperature=trace.temperature,
                k=trace.ladder[rung],
                ladder=trace.ladder[: rung + 1],
                alphas=(told.alphas,) if told else (),
                low=(told.low,) if told else (),
                high=(told.high,) if told else (),
                gap=(told.gap,) if told else (),
                filled=(told.filled,) if told else (),
                coupled=(told.coupled,) if told else (),
                rows_bytes=row.size,
                draft_at_s=row.row_behind_s,
                rows_at_s=row.at_s,
                tables=trace.tables,
            )
        )


def device_plan(values: PlanValues) -> Plan:
    """The plan as both ends hold it."""
    return Plan(
        number=1,
        k=values.k,
        gamma=values.gamma,
        min_draft=values.min_draft,
        early_stop=values.early_stop,
        uplink_bps=values.uplink_bps,
    )


# Fixed plans ------------------------------------------------------------------------------------------------


def fixed_plan(course: Course, gamma: int, min_draft: int, *, early_stop: bool = False) -> PlanValues:
    """A fixed plan with what hindsight knows of the link beside it: its mean rate and its round trip.

    Rows are of the smallest K: nobody learns from them.
    """
    link = LinkEstimate(
        uplink_bps=course.link.mean_bps,
        downlink_bps=course.link.mean_bps,
        rtt_s=2 * (course.link.delay_s + MEAN_JITTER_S),
    )
    frames = true_frames(vocab_size=course.trace.vocab_size, rows=False)
    waits_s = patience_s(min_draft=min_draft, compute=course.compute, link=link, frames=frames)
    return PlanValues(
        k=course.trace.ladder[0],
        gamma=gamma,
        min_draft=min_draft,
        early_stop=early_stop,
        uplink_bps=int(course.link.mean_bps),
        patience_s=DEFAULT_PATIENCE_S if min_draft == gamma else waits_s,
        acceptance=COUPLED,
    )


def best_fixed(
    courses: Sequence[Course],
    *,
    plans: Sequence[tuple[int, int]] = FIXED,
    tried: int = 2,
    kept: int = 8,
) -> tuple[Floats, tuple[int, int]]:
    """Tokens a second of the best fixed plan in hindsight, course by course, and the plan best over all.

    All plans are run on the first `tried` courses, and the `kept` best of them on the rest: plans that are
    best on some seed are close to the best on any, as the link and the pair are the same.
    """
    texts = [Text(course=course) for course in courses]

    def rates(text: Text, which: Sequence[tuple[int, int]]) -> list[float]:
        return [simulate_plan(text, fixed_plan(text.course, *one)).tokens_per_s for one in which]

    first = np.array([rates(text, plans) for text in texts[:tried]])
    order = np.argsort(-first.max(axis=0) / first.max(), kind="stable")
    best = [plans[i] for i in order[:kept]]
    rest = np.array([rates(text, best) for text in texts[tried:]]).reshape(-1, len(best))
    of_best = np.vstack([first[:, order[:kept]], rest])
    reached = np.concatenate([first.max(axis=1), rest.max(axis=1)])
    return reached, best[int(of_best.mean(axis=0).argmax())]


__all__ = [
    "FIXED",
    "GAMMAS",
    "WAITS",
    "PipelinedRun",
    "best_fixed",
    "device_plan",
    "fixed_plan",
    "simulate",
    "simulate_plan",
]
