"""The BS's end of one request, sans-IO.

Drive it so: hand messages to `receive`, times to `on_timer`; when the target model is free, ask `step` for
work; report what came of it with `tested`, or that it needs rows first with `needs_rows`; once `rows` has
them, call `settled`; send what `to_send` returns, in order.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import (
    Acceptance,
    Cancel,
    Close,
    Commit,
    Draft,
    Finish,
    Incarnation,
    Message,
    Open,
    Opened,
    Origin,
    Ping,
    Plan,
    Pong,
    Reason,
    Refused,
    SparseLogits,
    SparseLogitsRequest,
    StepTimes,
)
from draftwire.codecs.rows import Row
from draftwire.runtime.session.hints import BlockHints, PathHints
from draftwire.runtime.session.messages import log_of, request_of
from draftwire.runtime.session.planning import Planning
from draftwire.runtime.session.request import Timing, doubled_s
from draftwire.runtime.session.states import TARGET, Ignored, Target, TargetEvent

NO_TIMES = StepTimes(hold_s=0.0, step_s=0.0, wait_s=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A pass of the target: rows of p are wanted at the last len(ids) + 1 positions of `tokens + ids`."""

    tokens: Sequence[int]
    "the log"
    ids: tuple[int, ...]
    "drafted tokens behind it; none: the target decodes one token alone"
    weights: tuple[int, ...]
    "q(ids[i]) * 2**24; empty where drafts are hints"
    draft_epoch: int
    plan: Plan
    "that the block was drawn with; without a block: in force"


class _Drafts(NamedTuple):
    """What a step tests, as in `Step`; without a plan of its own: by that in force."""

    ids: tuple[int, ...] = ()
    weights: tuple[int, ...] = ()
    draft_epoch: int = 0
    plan: Plan | None = None


_NO_DRAFTS = _Drafts()


class TargetSession:
    """One request as the BS sees it.

    `finish_of(tokens, prompt_length)` looks at the last token of a log and says whether it ends there;
    `ahead` bounds the tokens decoded beyond what the device is known to hold.
    """

    def __init__(
        self,
        opened: Open,
        next_incarnation: Callable[[], Incarnation],
        *,
        plan: Plan,
        vocab_size: int,
        finish_of: Callable[[Sequence[int], int], Finish],
        now_s: float,
        ahead: int = 64,
        timing: Timing | None = None,
        drafts: bool = True,
    ) -> None:
        """Serve what `opened` asks for, with the log it carries; its acceptance is settled, else ValueError.
        `drafts`: see `allow_drafts`.

        `next_incarnation` gives none twice, also not to another session of this request, before or after.
        """
        if opened.acceptance is Acceptance.AUTO:
            raise ValueError("acceptance is AUTO: settle it before a session is made")
        self.request = request_of(opened)
        self.timing = timing or Timing()
        self.log = log_of(opened)
        self.state = Target.WAITING
        self.finish = Finish.RUNNING
        self.known = len(self.log)
        self.heard_s = now_s
        self.ignored: Counter[Ignored] = Counter()
        self.incarnation = next_incarnation()
        self._next_incarnation = next_incarnation
        self._planning = Planning(
            plan,
            self.request,
            patience_s=self.timing.patience_s,
            length=len(self.log),
            drafts=drafts,
        )
        self._finish_of = finish_of
        self._ahead = ahead
        self._device_try, self._life = opened.device_try, opened.life
        kind = PathHints if self.request.hints else BlockHints
        self._hints: BlockHints | PathHints = kind(vocab_size=vocab_size, draft_epoch=opened.draft_epoch)
        self._tested_epoch = 0
        self._awaited_epoch = self._awaited_by(opened)
        """of a block that another life of this BS may have tested: nothing is decoded before it, and all of
        its ids count, as they may have there"""
        self._step: Step | None = None
        self._wanted: tuple[int, ...] = ()
        "positions of the rows that the outcome waits for"
        self._accepted = 0
        self._seen = 0
        self._times = NO_TIMES
        self._out: deque[Message] = deque()
        self._commit_due = False
        self._waits_since_s = now_s
        self._repeats = 0
        self._timer_s: float | None = None
        self._end_if_complete(now_s)
        self._answer_open()

    # -- what the caller does ------------------------------------------------------------------------------

    @property
    def plan(self) -> Plan:
        """In force; see `replan`."""
        return self._planning.plan

    def is_right(self, draft_epoch: int, position: int) -> bool:
        """Where drafts are hints: whether log and path of that epoch reach a position and agree up to it."""
        hints = self._hints
        return isinstance(hints, PathHints) and hints.is_right(draft_epoch, position)

    @property
    def rests(self) -> bool:
        """Where drafts are hints: whether the device has said that none come for now."""
        return isinstance(self._hints, PathHints) and self._hints.resting

    @property
    def judged(self) -> tuple[int, int] | None:
        """Where drafts are hints: how many were held against the log, and how many of them were its own."""
        return (self._hints.seen, self._hints.hits) if isinstance(self._hints, PathHints) else None

    def next_drafts(self, now_s: float) -> int | None:
        """How many drafts the pass tests that `step` would begin now; None: it would begin none.

        For whoever has to choose among sessions: it costs next to nothing, whatever the log's length.
        """
        drafts = self._next(now_s)
        return None if drafts is None else len(drafts.ids)

    def step(self, now_s: float) -> Step | None:
        """The pass to run now, if there is one; its outcome will stand. A parked session has none."""
        drafts = self._next(now_s)
        if drafts is None:
            return None
        self._step = Step(
            tokens=list(self.log.tokens),
            ids=drafts.ids,
            weights=drafts.weights,
            draft_epoch=drafts.draft_epoch,
            plan=drafts.plan or self.plan,
        )
        self._advance(TargetEvent.STEP)
        return self._step

    def _next(self, now_s: float) -> "_Drafts | None":
        if self.state is not Target.WAITING or not self._may_run_ahead() or self.parked(now_s):
            return None
        hints = self._hints
        return self._along(hints, now_s) if isinstance(hints, PathHints) else self._of_block(hints)

    def _of_block(self, hints: BlockHints) -> "_Drafts | None":
        """The block that has come; without one the target decodes alone where it may."""
        draft = hints.draft
        if draft is None:
            return _NO_DRAFTS if self._alone_now() else None
        # No more than the request has left, which no honest device drafts: memory is reserved for no more.
        skip = len(self.log) - draft.start
        left = self.request.max_new_tokens - self.log.produced
        ahead = slice(skip, min(hints.most, skip + left))
        return _Drafts(draft.ids[ahead], draft.weights[ahead], draft.draft_epoch, draft.plan)

    def _along(self, path: PathHints, now_s: float) -> "_Drafts | None":
        """Whatever continues the log, once it is as much as the plan waits for, or has been waited for."""
        plan, left = self.plan, self.request.max_new_tokens - self.log.produced - 1  # one is the pass's own
        free = plan.gamma == 0 or path.last or path.resting
        enough = free or len(path.ids) >= min(plan.min_draft, left)
        if not enough and now_s < self._waits_since_s + self._planning.patience_s:
            return None
        ids = tuple(path.ids[: min(left, plan.gamma)])
        return _Drafts(ids, draft_epoch=path.newest_epoch) if ids else _NO_DRAFTS

    def tested(
        self, step: Step, accepted: int, token: int, now_s: float, *, times: StepTimes = NO_TIMES
    ) -> None:
        """The outcome: so many drafts stand, and behind them `token`.

        That of a step that a Cancel, a Close or a re-opened log has overtaken is dropped.
        """
        if step is not self._step:
            return
        behind = Origin.ALONE
        if step.ids:
            behind = Origin.BONUS if accepted == len(step.ids) else Origin.CORRECTED
        self._append(
            [*step.ids[:accepted], token],
            [Origin.ACCEPTED] * accepted + [behind],
            now_s,
            accepted=accepted,
            seen=min(accepted + 1, len(step.ids)),
            times=times,
        )

    def needs_rows(
        self, step: Step, wanted: range, now_s: float, *, times: StepTimes = NO_TIMES
    ) -> None:
        """The outcome stands, but what it is depends on the rows that drafts `wanted` of the step were drawn
        from: on the one of the rejected draft, or on those of the whole block. See `rows` and `settled`.
        """
        if step is not self._step:
            return
        self._wanted = tuple(len(self.log) + i for i in wanted)
        self._times = times
        self._advance(TargetEvent.ROWS_WANTED)
        self._repeats = 0
        self._timer_s = now_s + self.timing.row_s

    def rows(self) -> tuple[Row, ...] | None:
        """The rows that the outcome waits for, once all have come and say what their Draft said."""
        if self.state is not Target.ROW_WAIT:
            return None
        rows = [self._row(position) for position in self._wanted]
        return None if None in rows else tuple(row for row in rows if row is not None)

    def _row(self, position: int) -> Row | None:
        step, hints = self._step, self._hints
        assert step is not None and isinstance(hints, BlockHints)
        row = hints.row(step.draft_epoch, position)
        i = position - len(self.log)
        if row is not None and row.weight_of(step.ids[i]) != step.weights[i]:
            self.ignored[Ignored.ROW_MISMATCH] += 1
            hints.refuse_row(step.draft_epoch, position)
            return None
        return row

    def settled(
        self, step: Step, accepted: int, token: int, now_s: float, *, times: StepTimes | None = None
    ) -> None:
        """As `tested`, with the rows that it needed."""
        self.tested(step, accepted, token, now_s, times=times or self._times)

    def to_send(self) -> list[Message]:
        """Messages to send now, in this order."""
        out = list(self._out)
        self._out.clear()
        if self._commit_due:
            self._commit_due = False
            out.append(self._commit())
        return out

    def next_deadline_s(self) -> float | None:
        """When `on_timer` (or `step`, for a block that does not come) wants to be called, if ever.

        Never at a time at which the session will be parked, if the device keeps silent until then.
        """
        deadline_s = self._timer_s if self.state in (Target.ROW_WAIT, Target.FINISHED) else None
        if self.state is Target.WAITING and self.request.hints and self._may_run_ahead():
            deadline_s = self._waits_since_s + self._planning.patience_s
        return deadline_s if deadline_s is not None and deadline_s < self.parks_s else None

    def on_timer(self, now_s: float) -> None:
        """Ask for a missing row; repeat the last Commit. A parked session does neither."""
        if self._timer_s is None or now_s < self._timer_s or self.parked(now_s):
            return
        first_s = self.timing.repeat_s
        if self.state is Target.ROW_WAIT and self._step is not None:
            first_s = self.timing.row_s
            lacking = tuple(one for one in self._wanted if self._row(one) is None)
            if lacking:  # else `rows` has them all, and the caller will soon have seen it
                self._out.append(
                    SparseLogitsRequest(
                        incarnation=self.incarnation, draft_epoch=self._step.draft_epoch, positions=lacking
                    )
                )
        elif self.state is Target.FINISHED:
            self._commit_due = True
        self._repeats += 1
        self._timer_s = now_s + doubled_s(first_s, self._repeats, self.timing.resend_most_s)

    def parked(self, now_s: float) -> bool:
        """Whether the device has been silent for so long that nothing more is sent to it."""
        return now_s >= self.parks_s

    @property
    def parks_s(self) -> float:
        """When that is, if the device keeps silent until then."""
        return self.heard_s + self.timing.parked_s

    def replan(self, plan: Plan, *, patience_s: float | None = None) -> None:
        """The controller's word, whatever its number, in force from the next tokens on; what the request
        fixes stays fixed. `patience_s`: None leaves it as it is.

        Not at once: the device may have drawn a block by the plan that it knows, and the BS must wait for it.
        """
        self._planning.order(plan, patience_s=patience_s)

    def allow_drafts(self, allowed: bool) -> None:
        """Whether plans may ask for drafts at all, from the next tokens on, whatever the controller orders or
        the request fixes. A block that is out counts: it was asked for.
        """
        self._planning.allow(allowed)

    def lacks(self, opened: Open) -> bool:
        """Whether an Open names a block as out that has not come here, nor been tested: another life of this
        BS may have it, and may have tested it.
        """
        known_epoch = max(self._hints.newest_epoch, self._tested_epoch)
        return self._awaited_by(opened) > known_epoch

    # -- what the device says ------------------------------------------------------------------------------

    def receive(self, message: Message, now_s: float) -> None:
        """Take a message of the device; whatever does not fit is counted in `ignored`."""
        if self.state is Target.CLOSED:
            self.ignored[Ignored.UNWANTED] += 1
            return
        if isinstance(message, Open):
            self._on_open(message, now_s)
            return
        if not isinstance(message, Draft | SparseLogits | Ping | Cancel | Close):
            self.ignored[Ignored.UNEXPECTED] += 1
            return
        if message.incarnation != self.incarnation:
            self.ignored[Ignored.INCARNATION] += 1
            return
        self.heard_s = now_s
        match message:
            case Draft():
                self._acknowledge(message.known)
                self._on_draft(message)
            case SparseLogits():
                if isinstance(self._hints, BlockHints):
                    self._ignore(self._hints.offer_rows(message, tested_epoch=self._tested_epoch))
            case Ping():
                self._acknowledge(message.known)
                self._out.append(Pong(incarnation=self.incarnation, stamp=message.stamp))
                self._commit_due |= self.known < len(self.log) or self.finish is not Finish.RUNNING
            case Cancel():
                self._acknowledge(message.known)
                if self.state is not Target.FINISHED:
                    self._end(Finish.CANCELLED, now_s)
                self._commit_due = True
            case Close():
                self._acknowledge(message.known)
                self._step = None
                self._hints.clear()
                self._advance(TargetEvent.CLOSE)

    def supersedes(self, opened: Open) -> Refused | None:
        """What to answer an Open that is not to be served: a newer try is, or this one for another process.

        It must be said by the connection that asked, so not by `to_send`: the device that is being served
        would take it for its own end. `receive` ignores such an Open.
        """
        twin = opened.device_try == self._device_try and opened.life != self._life
        if opened.device_try >= self._device_try and not twin:
            return None
        whose = " for another process" if twin else ""
        return Refused(
            reason=Reason.SUPERSEDED,
            detail=f"try {self._device_try} of this request is being served{whose}",
            device_try=opened.device_try,
        )

    def _on_open(self, opened: Open, now_s: float) -> None:
        """A new try starts a new incarnation. The log stays, as far as the device's own agrees with it."""
        if self.supersedes(opened) is not None:
            self.ignored[Ignored.OLD_TRY] += 1
            return
        self.heard_s = now_s
        if opened.device_try > self._device_try:
            self._device_try, self._life = opened.device_try, opened.life
            self.incarnation = self._next_incarnation()
            self.known = len(opened.tokens)
            lacks = self.lacks(opened)
            if self.log.tokens[: self.known] != list(opened.tokens):
                self._adopt(opened, now_s)
            elif lacks and len(self.log) > self.known:  # decoded for an old copy of an Open: see `_alone_now`
                self._adopt(opened, now_s)
            elif lacks:
                self._awaited_epoch = opened.draft_epoch
            if not opened.outstanding:
                self._awaited_epoch = 0  # the device has found that the log has left it
            self._hints.restart(opened.draft_epoch)
        self._answer_open()

    def _adopt(self, opened: Open, now_s: float) -> None:
        """What the device has taken is final, whatever this BS held, tested or drew."""
        self.log = log_of(opened)
        self.finish = Finish.RUNNING
        self._advance(TargetEvent.ADOPTED)
        self._step = None
        self._hints.clear()
        self._hints.newest_epoch = self._tested_epoch = 0
        self._awaited_epoch = self._awaited_by(opened)
        self._planning.begins_at(len(self.log))
        self._waits_since_s = now_s
        self._end_if_complete(now_s)

    def _answer_open(self) -> None:
        self._planning.tells(self.known)
        self._out.append(
            Opened(
                device_try=self._device_try,
                incarnation=self.incarnation,
                known=self.known,
                log_hash=self.log.hash_at(self.known),
                pending=self._hints.pending,
                plan=self.plan,
                acceptance=self.request.acceptance,
            )
        )
        self._commit_due |= self.known < len(self.log) or self.finish is not Finish.RUNNING

    def _on_draft(self, draft: Draft) -> None:
        if isinstance(self._hints, PathHints):
            self._on_path(self._hints, draft)
        else:
            self._on_block(self._hints, draft)

    def _on_path(self, path: PathHints, draft: Draft) -> None:
        """A Commit answers only where none is likely to follow soon: a BS that goes on has the next one."""
        if self.state is Target.FINISHED:
            self._ignore(Ignored.UNWANTED)
            self._commit_due = True
            return
        lacked = path.missing
        reason = path.offer(draft, self.log)
        self._ignore(reason)
        stands = self.plan.synchronous or not self._may_run_ahead()
        answers = reason is Ignored.REPEATED or (reason is Ignored.HISTORY and stands)
        self._commit_due |= answers and self.known < len(self.log)
        self._commit_due |= path.missing and not lacked

    def _on_block(self, hints: BlockHints, draft: Draft) -> None:
        held = hints.draft
        if draft.draft_epoch <= max(hints.newest_epoch, self._tested_epoch):
            same = held is not None and held.draft_epoch == draft.draft_epoch
            self._ignore(Ignored.REPEATED if same else Ignored.OLD_EPOCH)
            self._commit_due |= self.known < len(self.log) or draft.draft_epoch <= self._tested_epoch
            return
        tests_another = self._step is not None and self._step.ids
        if tests_another or self.state is Target.FINISHED:
            self._ignore(Ignored.UNWANTED)
            self._commit_due |= self.state is Target.FINISHED
            return
        most = self._most_of(draft)
        if not most:  # its device draws by another plan than it was told, or began to before it was told any
            self._ignore(Ignored.BEYOND_PLAN)
            self._commit_due |= self.known < len(self.log)
            return
        reason = hints.offer(draft, self.log, most=most)
        self._ignore(reason)
        self._commit_due |= reason is Ignored.HISTORY

    def _most_of(self, draft: Draft) -> int:
        """How many of a block's ids may be tested, from the first on. By lengths and plans, never by ids."""
        if draft.draft_epoch <= self._awaited_epoch:
            return MAX_GAMMA
        return self._planning.gamma_at(draft.start)

    def _ignore(self, reason: Ignored | None) -> None:
        if reason is not None:
            self.ignored[reason] += 1

    @property
    def newest_epoch(self) -> int:
        """Of the blocks that have come."""
        return self._hints.newest_epoch

    @property
    def rows_held(self) -> int:
        """Rows in memory; at most those of one block."""
        return self._hints.rows_held if isinstance(self._hints, BlockHints) else 0

    def _may_run_ahead(self) -> bool:
        return len(self.log) - self.known < self._ahead

    def _acknowledge(self, known: int) -> None:
        self.known = max(self.known, min(known, len(self.log)))

    # -- the log -------------------------------------------------------------------------------------------

    def _append(
        self,
        tokens: Sequence[int],
        origins: Sequence[Origin],
        now_s: float,
        *,
        accepted: int,
        seen: int,
        times: StepTimes,
    ) -> None:
        """The log goes on, token by token, up to the first that ends it."""
        self._accepted, self._seen, self._times = accepted, seen, times
        if self._step is not None:  # not before: a repeated Commit must not call an open outcome settled
            self._tested_epoch = max(self._tested_epoch, self._step.draft_epoch)
        self._step = None
        for token, origin in zip(tokens, origins, strict=True):
            self.log.append([token], [origin])
            if self._end_if_complete(now_s):
                return
        self._advance(TargetEvent.APPENDED)
        self._commit_due = True
        self._planning.turn(len(self.log))
        self._waits_since_s = now_s
        self._hints.follow(self.log, tested_epoch=self._tested_epoch)

    def _end_if_complete(self, now_s: float) -> bool:
        """Whether the log's last token ends it; a log that is all prompt goes on."""
        if self.log.produced == 0:
            return False
        finish = self._finish_of(self.log.tokens, self.log.prompt_length)
        if finish is not Finish.RUNNING:
            self._end(finish, now_s)
        return finish is not Finish.RUNNING

    def _end(self, finish: Finish, now_s: float) -> None:
        self.finish = finish
        self._step = None
        self._hints.follow(self.log, tested_epoch=self._tested_epoch)  # what was drafted for its end counts
        self._hints.leave()
        self._advance(TargetEvent.ENDED)
        self._commit_due = True
        self._repeats = 0
        self._timer_s = now_s + self.timing.repeat_s

    def _alone_now(self) -> bool:
        """Whether the BS decodes without a block: never while one may be out whose loss would tell of it.

        That is as long as the plan wants blocks, and while one is awaited that an earlier life may have
        rejected.
        """
        return self.plan.gamma == 0 and self._tested_epoch >= self._awaited_epoch

    def _awaited_by(self, opened: Open) -> int:
        return opened.draft_epoch if opened.outstanding and not self.request.hints else 0

    def _commit(self) -> Commit:
        return Commit(
            incarnation=self.incarnation,
            position=self.known,
            log_hash=self.log.hash_at(len(self.log)),
            ids=tuple(self.log.tokens[self.known :]),
            origins=tuple(self.log.origins[self.known :]),
            tested_epoch=self._tested_epoch,
            accepted=self._accepted,
            seen=self._seen,
            plan=self.plan,
            times=self._times,
            finish=self.finish,
            missing=isinstance(self._hints, PathHints) and self._hints.missing,
        )

    def _advance(self, event: TargetEvent) -> None:
        self.state = TARGET[self.state, event]


__all__ = ["NO_TIMES", "Step", "TargetSession"]
