"""One request that a BS serves, with what surrounds its session: context, verdict, times, counts."""

from dataclasses import dataclass, field
from typing import NamedTuple

from draftwire.codecs.control import COUPLED, REJECTION, RowsReport, StepReport
from draftwire.codecs.frame import encode_frame
from draftwire.codecs.messages import (
    Acceptance,
    Commit,
    Draft,
    Message,
    Open,
    Opened,
    SparseLogits,
    StepTimes,
)
from draftwire.nodes.models.base import Context
from draftwire.nodes.target.cached import Cached
from draftwire.nodes.target.echo import Echoes
from draftwire.nodes.target.gathering import Turnaround
from draftwire.nodes.target.lesson import Lesson, Whose
from draftwire.nodes.target.path_lesson import PathLesson
from draftwire.nodes.target.residency import Claim
from draftwire.nodes.target.verifier import Verdict
from draftwire.runtime.memory import remember
from draftwire.runtime.session.log import TokenLog
from draftwire.runtime.session.states import Target
from draftwire.runtime.session.target import Step, TargetSession

MAX_ASKED = 64
"""Remembered at a time: as many steps as the BS may be ahead of a device by default."""


class Asked(NamedTuple):
    """The first message that told the device a log of some length, and so to draw behind it."""

    at_s: float
    size: int


@dataclass(slots=True, kw_only=True)
class Served:
    """A session and its surroundings. `name` and `number` tell it from others: each device has its own."""

    name: str
    "of the device"
    peer: bytes
    "the connection that the device was last heard by"
    number: int
    session: TargetSession
    claim: Claim
    "to memory, of all that it can come to take"
    began_s: float
    device_try: int
    "of the newest Open that was taken"
    began_with: int = 0
    "tokens of its log"
    context: Context | None = None
    "None: it has no memory now"
    passed_at_s: float = 0.0
    "end of the last pass that it was part of, since it has memory: when it was given that, or later"
    tables: bytes | None = None
    "hash of the set agreed for the device's rows; None: they have to be plain"
    cached: Cached = field(default_factory=Cached)
    "what the context has computed"
    prefilled: bool = False
    "whether its log has been read once"
    computing: bool = False
    "the context is in use by the worker's thread, so it must not be closed"
    verdict: Verdict | None = None
    "of a test whose correction waits for its row"
    lesson: Lesson = field(default_factory=Lesson)
    "of blocks"
    path_lesson: PathLesson = field(default_factory=PathLesson)
    "where drafts are hints"
    pad_to: int = 0
    "bytes: its frames are a multiple of it long; 0: as short as they are"
    sequence: int = 0
    steps: int = 0
    draft_at_s: float = 0.0
    "arrival of the newest block, or of the first Draft of the newest path"
    draft_bytes: int = 0
    newest_at_s: float = 0.0
    "arrival of the newest Draft"
    token_s: float = 0.0
    "the draft model's time for one token, as its Draft tells"
    drafted: int = 0
    "ids in the Draft of draft_at_s"
    rows_at_s: float | None = None
    rows_bytes: int = 0
    rows_tables: bytes | None = None
    "hash of the set that they came spelt with; None: plain"
    step_s: float = 0.0
    "of the last pass it had a step in"
    pass_sessions: int = 1
    pass_rows: int = 0
    tested_at_s: float = 0.0
    drawn_before: int = 0
    "epoch of the last block that was drawn before the newest Open"
    echoes: Echoes = field(default_factory=Echoes)
    asked: dict[int, Asked] = field(default_factory=dict)
    "by length of the log"
    turnaround: Turnaround = field(default_factory=Turnaround)
    block_asked: Asked | None = None
    "what the block at hand answers, where that is known and has not been reported"
    judged: tuple[int, int] = (0, 0)
    "where drafts are hints: as far as reported"
    ended_at_s: float = 0.0
    "of the last step"
    came_s: float = 0.0
    "since when the newest step has been held"

    @property
    def whose(self) -> Whose:
        """Named in reports of rows."""
        temperature = self.session.request.sampling.temperature
        return Whose(self.name, self.number, max(0, self.steps - 1), temperature)

    def forget_lessons(self) -> None:
        """Nobody waits for reports of rows any more."""
        self.lesson.forget()
        self.path_lesson.forget()

    @property
    def closed(self) -> bool:
        """Whether it is a tombstone."""
        return self.session.state is Target.CLOSED

    def opens(self, opened: Open, peer: bytes, tables: bytes | None) -> None:
        """An Open that is taken. What its try draws from now on, the next Opened or Commit asked for."""
        self.peer, self.tables = peer, tables
        if opened.device_try > self.device_try:
            self.device_try, self.drawn_before = opened.device_try, opened.draft_epoch
            self.asked.clear()
            self.echoes = Echoes()
            self.path_lesson.forget()

    def took(self, draft: Draft, at_s: float, size: int) -> None:
        """A block, or the first Draft of a path, has come; repeats change nothing."""
        self.draft_at_s, self.draft_bytes, self.token_s = at_s, size, draft.token_s
        self.drafted, self.rows_at_s, self.rows_bytes = len(draft.ids), None, 0
        new = draft.draft_epoch > self.drawn_before
        self.block_asked = self.asked.get(draft.start) if new else None
        if self.block_asked is not None:
            self.turnaround.observe(
                asked_s=self.block_asked.at_s, came_s=at_s, drafting_s=self.drafted * self.token_s
            )

    def rows_came(self, message: SparseLogits, at_s: float, size: int, *, tables: bytes | None) -> None:
        """Rows have come, spelt with `tables`: the hash of a set, None: plain.

        Repeats, and rows that were asked for singly, tell nothing of the link.
        """
        own = message.incarnation == self.session.incarnation
        if own and message.draft_epoch == self.session.newest_epoch and self.rows_at_s is None:
            if len(message.rows) == self.drafted and not self.session.request.hints:
                self.rows_at_s, self.rows_bytes, self.rows_tables = at_s, size, tables

    def learn(
        self, message: SparseLogits, at_s: float, size: int, *, tables: bytes | None
    ) -> RowsReport | None:
        """What rows of this incarnation tell of acceptance is kept; where drafts are hints, what they tell of
        the link is told at once.
        """
        if self.session.request.hints:
            return self.path_lesson.row_came(message, self.whose, size=size, at_s=at_s, tables=tables)
        self.lesson.rows_came(message, size=size, at_s=at_s, tables=tables)
        return None

    def sent(self, message: Message, size: int, now_s: float) -> None:
        """A message has left; only the first that tells the log as it stands makes the device draw."""
        length = len(self.session.log)
        asks = isinstance(message, Commit) or (isinstance(message, Opened) and message.known == length)
        if asks and length not in self.asked:
            remember(self.asked, length, Asked(now_s, size), most=MAX_ASKED)
        if isinstance(message, Commit) and not self.session.plan.gamma:
            self.echoes.sent(length, size=size, at_s=now_s)

    @property
    def waits(self) -> bool:
        """Whether its steps wait for drafts: others can be had at any time."""
        plan = self.session.plan
        return bool(plan.gamma and (plan.min_draft or not self.session.request.hints))

    @property
    def due_s(self) -> float | None:
        """When the next drafts should be there, of one whose step waits for them; None: nobody knows."""
        session, asked = self.session, self.asked.get(len(self.session.log))
        if asked is None or session.state is not Target.WAITING or not self.waits:
            return None
        return self.turnaround.due_s(asked_s=asked.at_s, drafting_s=session.plan.gamma * self.token_s)

    def is_fresh(self, now_s: float) -> bool:
        """Whether its log is to be read before anything has to be done behind it."""
        waiting = self.session.state is Target.WAITING and not self.session.parked(now_s)
        return waiting and not self.prefilled and len(self.session.log) - self.cached_tokens > 1

    def has_work(self, now_s: float) -> bool:
        """Whether it would be part of a pass now."""
        return self.session.next_drafts(now_s) is not None or self.is_fresh(now_s)

    def ends_in_s(self, now_s: float) -> float | None:
        """If it goes on as it has; None: it has not said anything yet."""
        made = len(self.session.log) - self.began_with
        left = self.session.request.max_new_tokens - self.session.log.produced
        return left * (now_s - self.began_s) / made if made else None

    @property
    def cached_tokens(self) -> int:
        """How many of the log's tokens the context has computed."""
        return self.cached.of(self.session.log)

    def read(self, tokens: list[int], log: TokenLog) -> None:
        """The context has computed these, a part of the log as it was when the pass began."""
        self.cached.took(tokens, log)
        self.prefilled |= len(tokens) >= len(self.session.log) - 1

    def took_part(
        self, tokens: list[int], log: TokenLog, *, seconds: float, sessions: int, rows: int
    ) -> None:
        """A pass of so long had a step of this session, over these tokens, beside those of others."""
        self.cached.took(tokens, log)
        self.prefilled = True
        self.step_s, self.pass_sessions, self.pass_rows = seconds, sessions, rows

    def frame(self, message: Message) -> bytes:
        """The message as the session's next frame."""
        self.sequence += 1
        return encode_frame(message, session=self.number, sequence=self.sequence, pad_to=self.pad_to)

    def begins(self) -> None:
        """A step with what has come. Drafts that are hints may have waited for the pass before: then it has
        been held since that. Those that come while it is under way are the next one's."""
        hints = self.session.request.hints
        self.came_s = max(self.newest_at_s, self.ended_at_s) if hints else self.draft_at_s

    def times(self, step: Step, now_s: float) -> StepTimes:
        """Of the step that ends now."""
        return StepTimes(
            hold_s=max(0.0, now_s - self.came_s) if step.ids else 0.0,
            step_s=self.step_s,
            wait_s=now_s - self.tested_at_s,
        )

    def report(self, step: Step, *, accepted: int, now_s: float) -> StepReport:
        """The canonical account of the step that ends now."""
        times, pins = self.times(step, now_s), self.session.request
        seen, accepted = self._newly_judged() or (min(accepted + 1, len(step.ids)), accepted)
        asked, echo = None, self.echoes.take()
        if step.ids or pins.hints:  # a path that never catches up tells the round trip all the same
            asked, self.block_asked = self.block_asked, None
        came = bool(step.ids) and self.rows_at_s is not None
        tables = self.rows_tables if came else self.tables
        number, self.steps = self.steps, self.steps + 1
        self.ended_at_s = now_s
        return StepReport(
            device=self.name,
            request=self.number,
            step=number,
            plan=step.plan,
            position=len(step.tokens),
            drafted=len(step.ids),
            seen=seen,
            accepted=accepted,
            computed=len(step.ids) + 1,
            step_s=times.step_s,
            wait_s=times.wait_s,
            hold_s=times.hold_s,
            draft_bytes=self.draft_bytes if step.ids or asked else 0,
            rows_bytes=self.rows_bytes if step.ids else 0,
            draft_at_s=self.draft_at_s,
            rows_at_s=self.rows_at_s if step.ids else None,
            alone=not step.ids,
            temperature=pins.sampling.temperature,
            device_step_s=self.token_s or None,
            asked_at_s=asked.at_s if asked else None,
            asked_bytes=asked.size if asked else 0,
            ended_at_s=now_s,
            echo_s=echo.seconds if echo else None,
            echo_bytes=echo.size if echo else 0,
            pinned_k=pins.k,
            pinned_gamma=pins.gamma,
            tables=(tables or b"").hex(),
            acceptance=COUPLED if pins.acceptance is Acceptance.COUPLED else REJECTION,
            tokens=len(self.session.log) - len(step.tokens),
            asked_drafted=self.drafted if asked else 0,
            pinned_min_draft=pins.min_draft,
            resting=self.session.rests,
            pass_sessions=self.pass_sessions,
            pass_rows=self.pass_rows,
        )

    def _newly_judged(self) -> tuple[int, int] | None:
        """Where drafts are hints: how many were held against the log since the last report, how many fit."""
        judged, before = self.session.judged, self.judged
        if judged is None:
            return None
        self.judged = judged
        return judged[0] - before[0], judged[1] - before[1]


__all__ = ["Served"]
