"""The synchronous protocol, step by step, in virtual time: what a policy would have reached.

One step: the device draws gamma tokens, sends Draft and behind it one message with all rows; the BS tests
once the Draft is there, waits for the rows if a draft was rejected, and sends a Commit. Messages take
their true sizes on the link. Acceptance is replayed along a recorded text (traces.py): the token
at a position is accepted if a number drawn once for that position is below alpha there. So every policy
meets the same chances, and two of them differ by what they decided.

A plan made on the report of step n is in force from step n + 2: its order reaches the BS after the Commit of
step n has left, and goes to the device with the next one.

A plan with `blockwise` waits for all rows of each block, and is taken to accept no more than token by token,
which is the least that it does: what a text's blocks would gain hangs on the tokens drafted, not on alpha.

`simulate` runs one policy, with its reports; many fixed settings at once run in lanes.py. The tests hold both
against the real nodes.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.control import ANY_REQUEST, RowsReport, StepReport
from draftwire.codecs.frame import encode_frame
from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import Incarnation, Ping, Plan
from draftwire.nodes.console.bench.links import RadioLink
from draftwire.nodes.console.bench.traces import AcceptanceTrace
from draftwire.nodes.controller.policy import PlanValues, Policy
from draftwire.nodes.speculation.cost import Compute
from draftwire.nodes.speculation.frames import on_link_bits
from draftwire.runtime.link import ONE_PACKET_OVERHEAD_BYTES
from draftwire.runtime.session.device import ACKNOWLEDGE_EVERY

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

DEVICE: Final = "device"
REQUEST: Final = 1

PAPER_COMPUTE: Final = Compute(
    draft_step_s=3.1e-3, target_step_s=44.5e-3, target_per_token_s=0.445e-3, overhead_s=0.5e-3
)
"""The paper's hardware; 1 % of a pass more for each drafted token, and half a millisecond of handling."""

JITTER_S: Final = 0.15e-3
JITTER_TAIL_S: Final = 0.3e-3
"""Each message arrives later by |N(0, JITTER_S)| and an exponential of mean JITTER_TAIL_S."""

PING_BYTES: Final = len(
    encode_frame(Ping(incarnation=Incarnation(boot=0, counter=0), known=0, stamp=0), session=0, sequence=0)
)

MEAN_JITTER_S: Final = JITTER_S * math.sqrt(2 / math.pi) + JITTER_TAIL_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of a run."""

    tokens: int
    seconds: float
    "until the last of them was at the device"
    steps: int

    @property
    def tokens_per_s(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


@dataclass(frozen=True, kw_only=True)
class Course:
    """What every policy meets alike: text, link, chance. Pure in its fields; the rest follows from them."""

    trace: AcceptanceTrace
    link: RadioLink
    tokens: int
    "a run ends with the step that reaches so many"
    seed: int
    first: int = 0
    "position of the text at which the run begins: what it meets there is the same wherever runs begin"
    compute: Compute = PAPER_COMPUTE
    jitter: bool = True
    paper_bits: int | None = None
    """None: rows as the codec has them, behind the Draft. Else so many bits an entry, in one message with the
    Draft: the BS begins when all of it has come, as in the paper."""
    runs: Integers = field(init=False, repr=False)
    "shape [rungs, tokens + MAX_GAMMA]: how many drafts in a row are accepted from each position on"
    bits: Floats = field(init=False, repr=False)
    "shape [rungs, tokens + MAX_GAMMA + 1]: row bits before each position, summed"
    late_s: Floats = field(init=False, repr=False)
    "shape [tokens + 1, 3]: jitter of each step's Draft, rows, Commit"
    draft_bytes: Integers = field(init=False, repr=False)
    "shape [MAX_GAMMA + 1], as encoded; at 0: nothing is sent"
    commit_bytes: Integers = field(init=False, repr=False)
    "shape [MAX_GAMMA + 1]: by accepted drafts"
    places: Integers = field(init=False, repr=False)
    "shape [tokens + MAX_GAMMA]: index in the trace of each position"

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise ValueError(f"tokens is {self.tokens}: give 1 or more")
        rng = np.random.default_rng([self.seed, 77])
        length = self.tokens + MAX_GAMMA
        begins = int(rng.integers(len(self.trace.alpha))) + self.first
        places = (begins + np.arange(length)) % len(self.trace.alpha)
        passes = rng.random(self.first + length)[self.first :, None] < self.trace.alpha[places]
        bits = np.zeros((len(self.trace.ladder), length + 1))
        np.cumsum(self.trace.row_bits[places].T, axis=1, out=bits[:, 1:])
        late_s = np.abs(rng.normal(0.0, JITTER_S, (self.tokens + 1, 3)))
        late_s += rng.exponential(JITTER_TAIL_S, (self.tokens + 1, 3))
        frames = self.trace.frames
        draft = [0.0] + [frames.draft_bits(1, gamma) for gamma in range(1, MAX_GAMMA + 1)]
        commit = [frames.commit_bits(accepted) for accepted in range(MAX_GAMMA + 1)]
        derived = {
            "runs": runs_of(passes.T),
            "bits": bits,
            "late_s": late_s if self.jitter else np.zeros_like(late_s),
            # Draft and Commit are one packet at any gamma, so their bytes follow from their bits on the link.
            "draft_bytes": np.maximum(np.array(draft) // 8 - ONE_PACKET_OVERHEAD_BYTES, 0).astype(np.int64),
            "commit_bytes": (np.array(commit) // 8 - ONE_PACKET_OVERHEAD_BYTES).astype(np.int64),
            "places": places,
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)


def runs_of(passes: Mask) -> Integers:
    """Shape kept: how many True follow from each place on, itself included, to the end of its row."""
    length = passes.shape[1]
    next_miss = np.where(passes, length, np.arange(length))
    next_miss = np.minimum.accumulate(next_miss[:, ::-1], axis=1)[:, ::-1]
    runs: Integers = next_miss - np.arange(length)
    return runs


def simulate(course: Course, policy: Policy) -> Run:
    """Run the policy from a cold start, with every report that the nodes would send it.

    Raises ValueError where it plans a K that is no rung of the trace, or a gamma above MAX_GAMMA.
    """
    return _Simulation(course, policy).run()


class _Simulation:
    """The state of one run. Times are the BS's clock, in seconds."""

    def __init__(self, course: Course, policy: Policy) -> None:
        self.course, self.policy = course, policy
        self.up = _Direction(course.link)
        self.down = _Direction(course.link)
        self.device_s = 0.0
        "when the device holds the newest Commit"
        self.ended_s = 0.0
        "when the BS sent it"
        self.asked = (0.0, 0)
        self.position = self.step = 0
        self.rows: RowsReport | None = None
        "of the last block, where it was not ready with its StepReport"
        self.draft = (0, 0, 0.0, 0.0)
        "of the last block: bytes of Draft and rows, and when they arrived"
        self.acknowledged = 0
        "tokens that the device has told the BS of"
        self.echoes = deque[tuple[float, float, int]]()
        "pings under way: arrival, seconds since the Commit that made the device send it, bytes of both"
        self.rungs = {k: i for i, k in enumerate(course.trace.ladder)}

    def run(self) -> Run:
        course = self.course
        plan = coming = self._checked(self.policy.plan(DEVICE, ANY_REQUEST))
        while self.position < course.tokens:
            report = self._block(plan) if plan.gamma else self._alone(plan)
            self.policy.observe(report)
            plan, coming = coming, self._checked(self.policy.plan(DEVICE, REQUEST))
            if not plan.gamma:
                self._listen()
            self.step += 1
        return Run(tokens=self.position, seconds=self.device_s, steps=self.step)

    def _checked(self, values: PlanValues) -> Plan:
        if values.k not in self.rungs:
            raise ValueError(f"the plan's k is {values.k}: this trace knows {self.course.trace.ladder}")
        return Plan(
            number=1,
            k=values.k,
            gamma=values.gamma,
            min_draft=values.min_draft,
            blockwise=values.blockwise,
        )

    def _alone(self, plan: Plan) -> StepReport:
        """The target decodes a token; it goes on at once, however long the Commit is under way."""
        course = self.course
        self.ended_s += course.compute.target_step_s
        report = self._report(plan, accepted=0, wait_s=0.0)
        self._commit(accepted=0)
        return report

    def _listen(self) -> None:
        """The device has no block to draw: now and then it acknowledges what it has taken."""
        if self.position - self.acknowledged < ACKNOWLEDGE_EVERY:
            return
        self.acknowledged = self.position
        asked_at_s, asked_bytes = self.asked
        arrives_s = self.up.send(self.device_s, PING_BYTES, self.course.late_s[self.step][0])
        self.echoes.append((arrives_s, arrives_s - asked_at_s, asked_bytes + PING_BYTES))

    def _echo(self) -> tuple[float | None, int]:
        """The newest ping that has come."""
        seconds, size = None, 0
        while self.echoes and self.echoes[0][0] <= self.ended_s:
            _, seconds, size = self.echoes.popleft()
        return seconds, size

    def _block(self, plan: Plan) -> StepReport:
        course, compute, gamma = self.course, self.course.compute, plan.gamma
        rung, late = self.rungs[plan.k], course.late_s[self.step]
        self.acknowledged = self.position
        sent_s = self.device_s + gamma * compute.draft_step_s
        draft_bytes = int(course.draft_bytes[gamma])
        if course.paper_bits is not None:
            draft_bytes += -(-gamma * plan.k * course.paper_bits // 8)
        draft_at_s = self.up.send(sent_s, draft_bytes, late[0])
        tested_s = draft_at_s + compute.overhead_s + _pass_s(compute, gamma)
        accepted = min(int(course.runs[rung, self.position]), gamma)
        rows_bytes, rows_at_s, ended_s = 0, draft_at_s, tested_s
        if course.paper_bits is None:
            rows = course.bits[rung, self.position + gamma] - course.bits[rung, self.position]
            rows_bytes = math.ceil((course.trace.envelope_bits + rows) / 8)
            rows_at_s = self.up.send(sent_s, rows_bytes, late[1])
            if accepted < gamma or plan.blockwise:
                ended_s = max(tested_s, rows_at_s)
        if self.rows is not None:  # rows never overtake: those of the block before came before this Draft
            self.policy.observe(self.rows)
        self.draft = (draft_bytes, rows_bytes, draft_at_s, rows_at_s)
        self.ended_s = ended_s
        self.rows = self._rows_report(plan, seen=min(accepted + 1, gamma))
        if self.rows is not None and rows_at_s <= ended_s:
            self.policy.observe(self.rows)
            self.rows = None
        report = self._report(plan, accepted=accepted, wait_s=ended_s - tested_s)
        self._commit(accepted=accepted)
        return report

    def _commit(self, *, accepted: int) -> None:
        course = self.course
        size = int(course.commit_bytes[accepted])
        self.asked = (self.ended_s, size)
        self.device_s = self.down.send(self.ended_s, size, course.late_s[self.step][2])
        self.position += accepted + 1

    def _report(self, plan: Plan, *, accepted: int, wait_s: float) -> StepReport:
        gamma, compute = plan.gamma, self.course.compute
        draft_bytes, rows_bytes, draft_at_s, rows_at_s = self.draft
        here = gamma > 0 and rows_bytes > 0 and rows_at_s <= self.ended_s
        echo_s, echo_bytes = self._echo()
        return StepReport(
            device=DEVICE,
            request=REQUEST,
            step=self.step,
            plan=plan,
            position=self.position,
            drafted=gamma,
            seen=min(accepted + 1, gamma),
            accepted=accepted,
            computed=gamma + 1,
            step_s=_pass_s(compute, gamma),
            wait_s=wait_s,
            hold_s=self.ended_s - draft_at_s if gamma else 0.0,
            draft_bytes=draft_bytes if gamma else 0,
            rows_bytes=rows_bytes if here else 0,
            draft_at_s=draft_at_s,
            rows_at_s=rows_at_s if here else None,
            alone=not gamma,
            temperature=self.course.trace.temperature,
            device_step_s=compute.draft_step_s if draft_bytes else None,
            asked_at_s=self.asked[0] if gamma and self.step else None,
            asked_bytes=self.asked[1] if gamma else 0,
            ended_at_s=self.ended_s,
            echo_s=echo_s,
            echo_bytes=echo_bytes,
            pinned_k=None,
            pinned_gamma=None,
            tables=self.course.trace.tables,
            tokens=accepted + 1,
            asked_drafted=gamma if self.step else 0,
        )

    def _rows_report(self, plan: Plan, *, seen: int) -> RowsReport | None:
        course = self.course
        if course.paper_bits is not None:
            return None
        rung = self.rungs[plan.k]
        places = course.places[self.position : self.position + seen]
        told = course.trace.told(rung)
        _, rows_bytes, draft_at_s, rows_at_s = self.draft
        alphas, low, high, gap, filled, coupled = zip(*(told[place] for place in places), strict=True)
        return RowsReport(
            device=DEVICE,
            request=REQUEST,
            step=self.step,
            temperature=course.trace.temperature,
            k=plan.k,
            ladder=course.trace.ladder[: rung + 1],
            alphas=alphas,
            low=low,
            high=high,
            gap=gap,
            filled=filled,
            coupled=coupled,
            rows_bytes=rows_bytes,
            draft_at_s=draft_at_s,
            rows_at_s=rows_at_s,
            tables=course.trace.tables,
        )


class _Direction:
    """One direction of a radio link, whose rate is the one of the time at which a message begins."""

    def __init__(self, radio: RadioLink) -> None:
        self._radio = radio
        self._free_s = self._last_s = 0.0

    def send(self, now_s: float, size_bytes: int, late_s: float) -> float:
        """When the message arrives; none overtakes the one before it."""
        start_s = max(now_s, self._free_s)
        self._free_s = start_s + on_link_bits(size_bytes) / self._radio.rate_bps(start_s)
        self._last_s = max(self._last_s, self._free_s + self._radio.delay_s + float(late_s))
        return self._last_s


def _pass_s(compute: Compute, gamma: int) -> float:
    return compute.target_step_s + gamma * compute.target_per_token_s


__all__ = [
    "DEVICE",
    "JITTER_S",
    "JITTER_TAIL_S",
    "MEAN_JITTER_S",
    "PAPER_COMPUTE",
    "PING_BYTES",
    "REQUEST",
    "Course",
    "Run",
    "runs_of",
    "simulate",
]
