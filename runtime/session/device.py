"""The device's end of one request, sans-IO.

Drive it so: hand messages to `receive`, times to `on_timer`; draw what `work` asks for and hand it to
`drawn`; read what has become final with `take`; send what `to_send` returns, in order. A device that is to go
on after its own death writes tokens and `record` down before it sends: DeviceRecord says what, and when.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace

from draftwire.codecs.messages import (
    Acceptance,
    Cancel,
    Close,
    Commit,
    Finish,
    Hello,
    Incarnation,
    Message,
    Opened,
    Origin,
    PendingBlock,
    Ping,
    Plan,
    Pong,
    Reason,
    Refused,
    SparseLogitsRequest,
    Welcome,
)
from draftwire.runtime.session.ahead import Ahead
from draftwire.runtime.session.log import TokenLog
from draftwire.runtime.session.messages import draft_of, open_of, rows_of
from draftwire.runtime.session.request import Block, Busy, DeviceRecord, DraftWork, Request, Taken, Timing
from draftwire.runtime.session.silence import Silence
from draftwire.runtime.session.states import DEVICE, Device, DeviceEvent, Ignored

ACKNOWLEDGE_EVERY = 4
"""Tokens taken without a word before a listening device pings.

A fraction of the BS's run-ahead; also how the BS sees the round trip while it decodes alone, so often enough
to notice within a second that drafts may pay again. 108 bytes on the uplink each time. One whose drafts are
hints, and that has nothing to draft, says its last Draft again instead.
"""

_RECOVERABLE = {Reason.UNKNOWN_REQUEST, Reason.NO_HELLO}


class DeviceSession:
    """One request as the device sees it."""

    def __init__(
        self,
        request: Request,
        hello: Hello,
        *,
        now_s: float,
        timing: Timing | None = None,
        output: Sequence[int] = (),
        origins: Sequence[Origin] | None = None,
        device_try: int = 0,
        draft_epoch: int = 0,
        outstanding: PendingBlock | None = None,
        acceptance: Acceptance = Acceptance.AUTO,
        life: int = 0,
    ) -> None:
        """A new request; or, with `output` and the fields of a DeviceRecord, one that goes on.

        `origins`: of the output, for those who show it; left out, the target's own. `life`: 32 random bits of
        this process, so that of two that go on from copies of one record the BS serves the first.
        """
        self.request = request if acceptance is Acceptance.AUTO else replace(request, acceptance=acceptance)
        self.log = TokenLog(request.prompt, output, origins)
        self.state = Device.OPENING
        self.device_try = device_try
        self.draft_epoch = draft_epoch
        self.plan: Plan | None = None
        self.last_commit: Commit | None = None
        self.finish = Finish.RUNNING
        self.refusal: tuple[Reason, str] | None = None
        self.busy: Busy | None = None
        "what a BS without room has said, until one serves"
        self.ignored: Counter[Ignored] = Counter()
        self._hello = hello
        self._life = life
        self._welcome: Welcome | None = None
        "the newest of the BS's life that serves; between Open and Opened, of any"
        self._incarnation: Incarnation | None = None
        self._block: Block | None = None
        self._pending = None if self.request.hints else outstanding
        self._said_again_at = 0
        "length of the log when all that is outstanding was last said again: until the BS has heard of that"
        self.ahead: Ahead | None = None
        "what is drafted beyond the log, once it has been opened and where drafts are hints"
        self._out: deque[Message] = deque()
        self._taken = len(self.log)
        self._acknowledged = len(self.log)
        self._silence = Silence(timing or Timing(), now_s=now_s)
        self._cancelled = False
        self._open(now_s)

    # -- what the caller does ------------------------------------------------------------------------------

    @property
    def incarnation(self) -> Incarnation | None:
        """The life of the log whose Commits are taken; None between Open and Opened."""
        return self._incarnation

    @property
    def tables(self) -> bytes | None:
        """The hash of the set that rows may be spelt with now; None: they have to be plain.

        Only what the life of the BS that opened has said counts: one that is started anew may have other
        sets, and its Welcome may be lost while its Opened comes. Rows of a set that it lacks are lost on it.
        """
        welcome, life = self._welcome, self._incarnation
        if welcome is None or life is None or welcome.boot != life.boot:
            return None
        return welcome.tables if welcome.tables in self._hello.tables else None

    @property
    def outstanding(self) -> PendingBlock | None:
        """The block whose outcome is not known here. Where drafts are hints nothing hangs on any, so None."""
        pending = self._pending if self._block is None else self._block.pending
        lives = pending is not None and len(self.log) < pending.start + pending.length
        return pending if lives else None

    @property
    def record(self) -> DeviceRecord:
        """As it has to be written down before what `to_send` returns now is sent."""
        return DeviceRecord(
            device_try=self.device_try,
            draft_epoch=self.draft_epoch,
            outstanding=self.outstanding,
            acceptance=self.request.acceptance,
        )

    def work(self) -> DraftWork | None:
        """The block that is wanted now, if one is. Its length is settled here, before its first draw."""
        if self._cancelled:
            return None
        if self.state is Device.REDRAWING:
            wanted = self._pending
            assert wanted is not None
            if len(self.log) < wanted.start:
                return None  # the Commit that leads up to it is still to come
            return DraftWork(
                tokens=self.log.tokens[: wanted.start],
                draft_epoch=wanted.draft_epoch,
                length=wanted.length,
                plan=wanted.plan,
            )
        if self.state is not Device.DRAFTING:
            return None
        assert self.plan is not None
        if self.ahead is not None:
            return self.ahead.work(self.plan)
        length = min(self.plan.gamma, self.request.max_new_tokens - self.log.produced)
        if length <= 0:
            return None
        return DraftWork(
            tokens=list(self.log.tokens), draft_epoch=self.draft_epoch + 1, length=length, plan=self.plan
        )

    def drawn(self, block: Block, now_s: float, *, stops: bool = False) -> None:
        """The block that `work` asked for. One that is no longer wanted is dropped, its epoch with it.

        `stops`: where drafts are hints, nothing more shall be drawn before the log grows.
        """
        if self.ahead is not None:
            self._drew_ahead(self.ahead, block, now_s, stops=stops)
            return
        asked = self.work()
        self.draft_epoch = max(self.draft_epoch, block.draft_epoch)
        if asked is None or (asked.draft_epoch, len(asked.tokens)) != (block.draft_epoch, block.start):
            return
        if self.state is Device.REDRAWING:
            assert self._pending is not None
            if block.digest != self._pending.rows_hash:
                self._fail(Reason.DRAFT_STATE_LOST, "the block that the BS holds could not be drawn again")
                return
        self._block = block
        self._silence.heard(now_s)  # the BS had nothing to answer while this was drawn
        if self._block_lives():
            self._advance(DeviceEvent.DRAWN)
            self._send_draft()
            self._send_rows()
        else:
            self._leave_redrawn(now_s)
        self._arm(now_s)

    def _drew_ahead(self, ahead: Ahead, block: Block, now_s: float, *, stops: bool) -> None:
        """Also one that is no longer wanted: it may have been the last that could be drawn."""
        assert self.plan is not None
        ahead.drew(block, stops=stops)
        self.draft_epoch = max(self.draft_epoch, block.draft_epoch)
        if self.state is not Device.DRAFTING:
            return
        self._silence.heard(now_s)
        if ahead.complete(self.plan):
            self._advance(DeviceEvent.DRAWN)
        if ahead.due(self.plan, now_s):
            self._send_draft()
        self._arm(now_s)

    def _leave_redrawn(self, now_s: float) -> None:
        """The log has left the block: meanwhile, or before the death of a device whose record was behind."""
        assert self.plan is not None
        if self.plan.gamma:
            self._move()
        else:  # no next block would tell a BS that waits for this one
            self._block = self._pending = None
            self._lose(now_s)

    def take(self) -> list[Taken]:
        """Tokens that have become final since the last call, in order, each once."""
        new = [
            Taken(position=i, token=self.log.tokens[i], origin=self.log.origins[i])
            for i in range(self._taken, len(self.log))
        ]
        self._taken = len(self.log)
        return new

    def cancel(self) -> None:
        """Ask the BS to end the request where it stands, again and again until it has.

        While opening: as soon as the BS has opened. No more blocks are drawn; tokens that the BS has appended
        before it hears of it still come, and the end is a Commit like any other.
        """
        if not self._cancelled and self.state not in (Device.FINISHED, Device.FAILED):
            self._cancelled = True
            self._send_cancel()

    def to_send(self) -> list[Message]:
        """Messages to send now, in this order."""
        out = list(self._out)
        self._out.clear()
        return out

    def next_deadline_s(self) -> float | None:
        """When `on_timer` wants to be called, if ever."""
        return None if self.state in (Device.FINISHED, Device.FAILED) else self._silence.deadline_s

    def on_timer(self, now_s: float) -> None:
        """Repeat what has not been answered; take a silent BS for restarted; give up an absent one."""
        if self.state in (Device.FINISHED, Device.FAILED):
            return
        silence = self._silence
        silence.wakes(now_s)
        if now_s < silence.deadline_s:
            return
        if silence.absent(now_s):
            if self.busy is not None and silence.answers:
                self._fail(Reason.BUSY, self.busy.detail)
            else:
                self._fail(Reason.ABSENT, f"no word from the base station for {silence.limit_s:g} s")
            return
        silence.repeat()
        if self.state is Device.OPENING:
            self._send_open()
        elif silence.restarted(now_s):
            self._lose(now_s)
        elif self._cancelled:
            self._send_cancel()
        else:
            if self.state is Device.WAITING:
                if self.ahead is not None:
                    self.ahead.say_again()
                self._send_draft()
            self._send_ping()
        self._arm(now_s, fresh=False)

    # -- what the BS says ----------------------------------------------------------------------------------

    def receive(self, message: Message, now_s: float) -> None:
        """Take a message of the BS; whatever does not fit is counted in `ignored`."""
        if self.state in (Device.FINISHED, Device.FAILED):
            if isinstance(message, Commit | SparseLogitsRequest) and message.incarnation == self._incarnation:
                self._close()  # a BS repeats these until it hears from us
            return
        self._silence.wakes(now_s)
        match message:
            case Opened():
                self._on_opened(message, now_s)
            case Refused():
                self._on_refused(message, now_s)
            case Welcome():
                self._silence.heard(now_s)
                if self._incarnation is None or message.boot == self._incarnation.boot:
                    self._welcome = message
            case Commit() | SparseLogitsRequest() | Pong() if self.state is Device.OPENING:
                self.ignored[Ignored.NOT_OPENED] += 1
            case Commit() | SparseLogitsRequest() | Pong() if message.incarnation != self._incarnation:
                self.ignored[Ignored.INCARNATION] += 1
            case Commit():
                self._silence.heard(now_s)
                self._on_commit(message, now_s)
            case SparseLogitsRequest():
                self._silence.heard(now_s)
                self._on_rows_wanted(message)
            case Pong():
                self._silence.heard(now_s)
            case _:
                self.ignored[Ignored.UNEXPECTED] += 1

    def _on_opened(self, opened: Opened, now_s: float) -> None:
        if self.state is not Device.OPENING or opened.device_try != self.device_try:
            self.ignored[Ignored.OLD_TRY] += 1
            return
        if opened.known != len(self.log) or opened.log_hash != self.log.hash_at(len(self.log)):
            self.ignored[Ignored.HISTORY] += 1
            return
        if self.request.acceptance not in (Acceptance.AUTO, opened.acceptance):
            self.ignored[Ignored.UNEXPECTED] += 1
            return
        self._silence.heard(now_s)
        self._silence.begins()
        self.busy = None
        self._incarnation = opened.incarnation
        self.plan = opened.plan
        self.request = replace(self.request, acceptance=opened.acceptance)
        if self.request.hints:
            self._go_ahead(now_s)
        else:
            self._go_on(opened)
        if self._cancelled:
            self._send_cancel()
        self._arm(now_s)

    def _go_ahead(self, now_s: float) -> None:
        """Drafts are hints: whatever a BS holds of them, tell this one all that is outstanding."""
        assert self.plan is not None
        if self.ahead is None:
            self.ahead = Ahead(self.request, self.log, draft_epoch=self.draft_epoch)
        self.ahead.say_again()
        if self.plan.gamma == 0:
            self._advance(DeviceEvent.OPENED_TARGET_ONLY)
        elif self.ahead.complete(self.plan):
            self._advance(DeviceEvent.OPENED_OUTSTANDING)
        else:
            self._advance(DeviceEvent.OPENED)
        if self.ahead.due(self.plan, now_s) and not self._cancelled:
            self._send_draft()

    def _go_on(self, opened: Opened) -> None:
        """Drafts bind: the block that may have been tested comes first."""
        if self._block is not None and not self._block_lives():
            self._block = None
        # The BS names what it holds; what only a record tells of, an earlier life of the BS may have tested.
        self._pending = opened.pending or (self.outstanding if self._block is None else None)
        if self._block is not None and (
            opened.pending is None or opened.pending.draft_epoch <= self._block.draft_epoch
        ):
            self._advance(DeviceEvent.OPENED_OUTSTANDING)
            if not self._cancelled:
                self._send_draft()
                self._send_rows()
        elif self._pending is not None:
            self._block = None
            self._advance(DeviceEvent.OPENED_PENDING)
        elif opened.plan.gamma == 0:
            self._advance(DeviceEvent.OPENED_TARGET_ONLY)
        else:
            self._advance(DeviceEvent.OPENED)

    def _on_refused(self, refused: Refused, now_s: float) -> None:
        answers_an_open = refused.device_try != 0 or refused.reason is Reason.SUPERSEDED
        if answers_an_open and refused.device_try != self.device_try:
            self.ignored[Ignored.OLD_TRY] += 1
        elif refused.reason is Reason.BUSY and refused.retry_ms:
            self._on_busy(refused, now_s)
        elif refused.reason not in _RECOVERABLE:
            self._fail(refused.reason, refused.detail)
        elif self.state is not Device.OPENING:
            self._silence.heard(now_s)
            self._lose(now_s)

    def _on_busy(self, refused: Refused, now_s: float) -> None:
        """Ask again when it may help."""
        if self.state is not Device.OPENING:  # it has been opened meanwhile: a late copy
            self.ignored[Ignored.UNWANTED] += 1
            return
        self._silence.busy(
            now_s,
            retry_s=refused.retry_ms / 1e3,
            begun=self.log.produced > 0 or self.draft_epoch > 0,
            whose=f"{self.request.seed} {self._life} {self.device_try}",
        )
        self.busy = Busy(detail=refused.detail, again_s=self._silence.deadline_s - now_s)

    def _on_commit(self, commit: Commit, now_s: float) -> None:
        end = commit.position + len(commit.ids)
        if commit.position > len(self.log):
            self.ignored[Ignored.GAP] += 1
            return
        if self.log.hash_with(commit.position, commit.ids) != commit.log_hash or not self.log.continues(
            commit.position, commit.ids
        ):
            self.ignored[Ignored.HISTORY] += 1
            return
        news = max(0, end - len(self.log))
        self.log.append(commit.ids[len(commit.ids) - news :], commit.origins[len(commit.ids) - news :])
        if self.plan is None or commit.plan.number >= self.plan.number:
            self.plan = commit.plan
        if commit.finish is not Finish.RUNNING and end == len(self.log):
            self.last_commit, self.finish = commit, commit.finish
            if self.ahead is not None:
                self.ahead.follow(commit, news)  # what was drafted for its end counts too
            self._advance(DeviceEvent.ENDED)
            self._close()
            return
        settled = self._block is not None and commit.tested_epoch >= self._block.draft_epoch
        if news == 0 and not settled and not (commit.missing and self.ahead is not None):
            self.ignored[Ignored.REPEATED] += 1
            return
        self.last_commit = commit
        if self.ahead is not None:
            self._follow(self.ahead, commit, news, now_s)
        else:
            self._after_commit(settled)
        if len(self.log) - self._acknowledged >= ACKNOWLEDGE_EVERY:
            if self.state is Device.LISTENING or (self.ahead is not None and self.state is Device.DRAFTING):
                self._send_ping()  # a path that is always overtaken says nothing otherwise
            elif self.ahead is not None and self.state is Device.WAITING:
                self.ahead.say_again()  # also that nothing more comes, should the BS have missed it
                self._send_draft()
        self._silence.answered(now_s)
        self._arm(now_s)

    def _follow(self, ahead: Ahead, commit: Commit, news: int, now_s: float) -> None:
        """Own path right: draft on. Wrong: another behind the log."""
        assert self.plan is not None
        ahead.follow(commit, news)
        if commit.missing and commit.position >= self._said_again_at:
            ahead.say_again()
            self._said_again_at = len(self.log)
        if self.plan.gamma == 0:
            self._advance(DeviceEvent.MOVED_TARGET_ONLY)
            return
        if not ahead.complete(self.plan):
            self._advance(DeviceEvent.MOVED)
        else:
            self._advance(DeviceEvent.DRAWN if self.state is Device.DRAFTING else DeviceEvent.KEPT)
        if ahead.due(self.plan, now_s) and not self._cancelled:
            self._send_draft()

    def _after_commit(self, settled: bool) -> None:
        """Own path right and untested: wait on. Else the next block, behind the log."""
        if self._block is not None and not settled and self._block_lives():
            self._advance(DeviceEvent.KEPT)
            return
        if self.state is Device.REDRAWING and self._pending is not None:
            done = self.last_commit is not None and self.last_commit.tested_epoch >= self._pending.draft_epoch
            if not done and len(self.log) < self._pending.start + self._pending.length:
                self._advance(DeviceEvent.KEPT)
                return
        self._move()

    def _move(self) -> None:
        """The log has left the block behind: on to the next, if the plan wants one."""
        assert self.plan is not None
        self._block = self._pending = None
        self._advance(DeviceEvent.MOVED if self.plan.gamma else DeviceEvent.MOVED_TARGET_ONLY)

    def _on_rows_wanted(self, wanted: SparseLogitsRequest) -> None:
        if self._block is None or wanted.draft_epoch != self._block.draft_epoch or not self._block.rows:
            self.ignored[Ignored.UNWANTED] += 1
            return
        for position in wanted.positions:
            if 0 <= position - self._block.start < len(self._block.rows):
                self._send_rows(only=position)

    # -- sending and waiting -------------------------------------------------------------------------------

    def _open(self, now_s: float) -> None:
        self.device_try += 1
        self._incarnation = None
        self._send_open()
        self._arm(now_s)

    def _send_open(self) -> None:
        """Hello rides along: the BS may have met this device before its own restart."""
        self._out.append(self._hello)
        self._out.append(open_of(self.request, self.log, self.record, life=self._life))

    def _send_draft(self) -> None:
        block, incarnation = self._block, self._incarnation
        assert incarnation is not None
        self._acknowledged = len(self.log)
        if self.ahead is not None:
            assert self.plan is not None
            self._out += self.ahead.tell(self.plan, incarnation)
            return
        assert block is not None
        self._out.append(draft_of(block, self.log, incarnation))

    def _send_rows(self, *, only: int | None = None) -> None:
        block, incarnation = self._block, self._incarnation
        assert block is not None and incarnation is not None
        if block.rows:
            self._out.append(rows_of(block, incarnation, only=only))

    def _send_ping(self) -> None:
        assert self._incarnation is not None
        self._acknowledged = len(self.log)
        stamp = self._silence.repeats
        self._out.append(Ping(incarnation=self._incarnation, known=len(self.log), stamp=stamp))

    def _send_cancel(self) -> None:
        if self._incarnation is not None:
            self._out.append(Cancel(incarnation=self._incarnation, known=len(self.log)))

    def _close(self) -> None:
        assert self._incarnation is not None
        self._out.append(Close(incarnation=self._incarnation, known=len(self.log)))

    def _arm(self, now_s: float, *, fresh: bool = True) -> None:
        """Set the timer: after news, the first wait; after silence, twice the last."""
        if fresh:
            self._silence.ask(now_s)
        self._silence.wait(now_s, listening=self.state is Device.LISTENING)

    def _lose(self, now_s: float) -> None:
        self._advance(DeviceEvent.LOST)
        self._open(now_s)

    def _fail(self, reason: Reason, detail: str) -> None:
        self._send_cancel()
        self.refusal = (reason, detail)
        self._advance(DeviceEvent.REFUSED)

    def _block_lives(self) -> bool:
        """Whether part of the block still lies ahead of a log that agrees with it."""
        block = self._block
        assert block is not None
        beyond = len(self.log) - block.start
        return 0 <= beyond < len(block.ids) and self.log.continues(block.start, block.ids)

    def _advance(self, event: DeviceEvent) -> None:
        self.state = DEVICE[self.state, event]


__all__ = ["DeviceSession"]
