"""Hand-made messages of one request, and either end in any state, for tests with literal times."""

from collections.abc import Sequence
from itertools import count

from tests.harness.pair import HELLO

from draftwire.codecs.hashes import log_hash
from draftwire.codecs.messages import (
    Acceptance,
    Cancel,
    Close,
    Commit,
    Draft,
    Finish,
    Incarnation,
    Open,
    Opened,
    Origin,
    PendingBlock,
    Plan,
    Reason,
    Refused,
    Sampling,
    SparseLogits,
)
from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row
from draftwire.runtime.session.device import DeviceSession
from draftwire.runtime.session.request import Block, Request, Timing
from draftwire.runtime.session.states import Device, Target
from draftwire.runtime.session.target import NO_TIMES, Step, TargetSession

VOCAB = 8
EOS = 1
PROMPT = (7,)
LIFE = Incarnation(boot=1, counter=1)
NEXT_LIFE = Incarnation(boot=1, counter=2)
PLAN = Plan(number=1, k=2, gamma=2, min_draft=2)
ALONE = Plan(number=1, k=2, gamma=0, min_draft=0)
TIMING = Timing()
"""The times that ship: 1 s to the first repeat, at most 8; patience 5 s, parked after 20; absent after 15 s
if the BS has never served the request, else after 120.
"""


def a_request(
    *, temperature: float = 1.0, tokens: int = 12, acceptance: Acceptance = Acceptance.REJECTION
) -> Request:
    """One token of prompt, answered by so many."""
    return Request(
        prompt=PROMPT,
        sampling=Sampling(temperature=temperature),
        seed=5,
        max_new_tokens=tokens,
        acceptance=acceptance,
    )


def a_row(token: int, *, other: int = 0, nats: float = 1.0, vocab_size: int = VOCAB) -> Row:
    """A row that holds `token` and `other`, so many nats apart."""
    return quantize([token, other], [0.0, -nats], vocab_size=vocab_size)


def a_block(epoch: int, start: int, ids: Sequence[int], *, plan: Plan = PLAN, greedy: bool = False) -> Block:
    """Drawn ids with their rows, none at temperature 0."""
    rows = () if greedy else tuple(a_row(x) for x in ids)
    return Block(draft_epoch=epoch, start=start, plan=plan, ids=tuple(ids), rows=rows)


# ------------------------------------------------------------------------------------- what the BS says


def opened(
    tokens: Sequence[int] = PROMPT,
    *,
    device_try: int = 1,
    incarnation: Incarnation = LIFE,
    pending: Block | None = None,
    plan: Plan = PLAN,
    acceptance: Acceptance = Acceptance.REJECTION,
) -> Opened:
    """The BS serves a device that knows `tokens`."""
    return Opened(
        device_try=device_try,
        incarnation=incarnation,
        known=len(tokens),
        log_hash=log_hash(tokens),
        pending=None if pending is None else as_pending(pending),
        plan=plan,
        acceptance=acceptance,
    )


def as_pending(block: Block) -> PendingBlock:
    """How Opened names a block."""
    return PendingBlock(
        draft_epoch=block.draft_epoch,
        start=block.start,
        length=len(block.ids),
        plan=block.plan,
        rows_hash=block.digest,
    )


def commit(
    log: Sequence[int],
    position: int = 1,
    *,
    incarnation: Incarnation = LIFE,
    tested_epoch: int = 0,
    plan: Plan = PLAN,
    finish: Finish = Finish.RUNNING,
    missing: bool = False,
) -> Commit:
    """The BS holds `log`; this tells it from `position` on."""
    return Commit(
        incarnation=incarnation,
        position=position,
        log_hash=log_hash(log),
        ids=tuple(log[position:]),
        origins=(Origin.ALONE,) * len(log[position:]),
        tested_epoch=tested_epoch,
        accepted=0,
        seen=0,
        plan=plan,
        times=NO_TIMES,
        finish=finish,
        missing=missing,
    )


def refused(reason: Reason, *, device_try: int = 0) -> Refused:
    """The BS refuses."""
    return Refused(reason=reason, detail="because", device_try=device_try)


# --------------------------------------------------------------------------------- what the device says


def an_open(
    tokens: Sequence[int] = PROMPT,
    *,
    device_try: int = 1,
    draft_epoch: int = 0,
    outstanding: bool = False,
    request: Request | None = None,
    life: int = 0,
) -> Open:
    """A device that knows `tokens` opens."""
    wanted = request or a_request()
    return Open(
        device_try=device_try,
        seed=wanted.seed,
        sampling=wanted.sampling,
        max_new_tokens=wanted.max_new_tokens,
        stop=(),
        prompt_length=1,
        tokens=tuple(tokens),
        draft_epoch=draft_epoch,
        outstanding=outstanding,
        pinned_k=wanted.k,
        pinned_gamma=wanted.gamma,
        pinned_min_draft=wanted.min_draft,
        acceptance=wanted.acceptance,
        life=life,
    )


def a_draft(
    block: Block,
    log: Sequence[int] = PROMPT,
    *,
    known: int | None = None,
    incarnation: Incarnation = LIFE,
    last: bool = True,
) -> Draft:
    """The block's Draft, drawn behind the first `block.start` tokens of `log`; or some of a path."""
    return Draft(
        incarnation=incarnation,
        draft_epoch=block.draft_epoch,
        known=len(log) if known is None else known,
        start=block.start,
        path_hash=log_hash(log[: block.start]),
        plan=block.plan,
        ids=block.ids,
        weights=block.weights,
        rows_hash=block.digest,
        last=last,
    )


def its_rows(block: Block, *, incarnation: Incarnation = LIFE) -> SparseLogits:
    """The block's rows."""
    return SparseLogits(
        incarnation=incarnation, draft_epoch=block.draft_epoch, start=block.start, rows=block.rows
    )


# ------------------------------------------------------------------------------- either end, in any state


class RememberingTarget(TargetSession):
    """Holds on to the pass that `step` gave out, as the caller does."""

    under_way: Step

    def step(self, now_s: float) -> Step | None:
        """As TargetSession."""
        step = super().step(now_s)
        if step is not None:
            self.under_way = step
        return step


def device_in(state: Device, *, temperature: float = 1.0, timing: Timing = TIMING) -> DeviceSession:
    """A device's end that has come to `state` at 0 s, and whose messages have been sent."""
    greedy = temperature == 0
    end = DeviceSession(a_request(temperature=temperature), HELLO, now_s=0.0, timing=timing)
    block = a_block(1, 1, (2, 3), greedy=greedy)
    if state is Device.REDRAWING:
        end.receive(opened(pending=block), 0.0)
    elif state is Device.LISTENING:
        end.receive(opened(plan=ALONE), 0.0)
    elif state is Device.FAILED:
        end.receive(opened(), 0.0)
        end.receive(refused(Reason.TARGET_FAILED), 0.0)
    elif state is not Device.OPENING:
        end.receive(opened(), 0.0)
        if state is Device.WAITING:
            end.drawn(block, 0.0)
        if state is Device.FINISHED:
            end.receive(commit((7, 2), finish=Finish.EOS), 0.0)
    end.to_send()
    assert end.state is state
    return end


def a_target(
    opened: Open, *, plan: Plan = PLAN, ahead: int = 64, timing: Timing = TIMING
) -> RememberingTarget:
    """A BS's end at 0 s, as an Open has made it; its Opened has not been sent."""

    def finish_of(tokens: Sequence[int], prompt_length: int) -> Finish:
        if tokens[-1] == EOS:
            return Finish.EOS
        return Finish.LENGTH if len(tokens) - prompt_length >= opened.max_new_tokens else Finish.RUNNING

    lives = (Incarnation(boot=LIFE.boot, counter=counter) for counter in count(LIFE.counter))
    return RememberingTarget(
        opened,
        lambda: next(lives),
        plan=plan,
        vocab_size=VOCAB,
        finish_of=finish_of,
        now_s=0.0,
        ahead=ahead,
        timing=timing,
    )


def target_in(
    state: Target, *, temperature: float = 1.0, ahead: int = 64, plan: Plan = PLAN, timing: Timing = TIMING
) -> RememberingTarget:
    """A BS's end that has come to `state` at 0 s, and whose messages have been sent.

    TESTING and ROW_WAIT: of ids (2, 3) behind the prompt, epoch 1; the first of them rejected.
    """
    end = a_target(an_open(request=a_request(temperature=temperature)), plan=plan, ahead=ahead, timing=timing)
    if state in (Target.TESTING, Target.ROW_WAIT):
        end.receive(a_draft(a_block(1, 1, (2, 3), greedy=temperature == 0)), 0.0)
        step = end.step(0.0)
        assert step is not None
        if state is Target.ROW_WAIT:
            end.needs_rows(step, range(1), 0.0)
    elif state is Target.FINISHED:
        end.receive(Cancel(incarnation=LIFE, known=1), 0.0)
    elif state is Target.CLOSED:
        end.receive(Close(incarnation=LIFE, known=1), 0.0)
    end.to_send()
    assert end.state is state
    return end
