"""The BS's end, message by message: what it does with each, and what it ignores and why."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.harness.messages import (
    ALONE,
    EOS,
    LIFE,
    NEXT_LIFE,
    PLAN,
    TIMING,
    VOCAB,
    a_block,
    a_draft,
    a_request,
    a_row,
    a_target,
    an_open,
    its_rows,
    opened,
    target_in,
)
from tests.harness.pair import as_plan

from draftwire.codecs.hashes import log_hash
from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import (
    Acceptance,
    Cancel,
    Close,
    Commit,
    Finish,
    Message,
    Open,
    Opened,
    Origin,
    Ping,
    Plan,
    Pong,
    Reason,
    SparseLogits,
    SparseLogitsRequest,
)
from draftwire.runtime.session.states import Ignored, Target
from draftwire.runtime.session.target import TargetSession

BLOCK = a_block(1, 1, (2, 3))
NEXT = a_block(2, 1, (4, 5))
OTHER_V = SparseLogits(incarnation=LIFE, draft_epoch=1, start=1, rows=(a_row(2, vocab_size=VOCAB + 1),))

IGNORED: list[tuple[Target, Message, Ignored]] = [
    (Target.WAITING, a_draft(BLOCK, incarnation=NEXT_LIFE), Ignored.INCARNATION),
    (Target.WAITING, an_open(device_try=0), Ignored.OLD_TRY),
    (Target.WAITING, a_draft(a_block(1, 3, (2, 3)), (7, 4, 5)), Ignored.GAP),
    (Target.WAITING, a_draft(BLOCK, (6,)), Ignored.HISTORY),
    (Target.WAITING, OTHER_V, Ignored.ROW_MISMATCH),
    (Target.WAITING, opened(), Ignored.UNEXPECTED),
    (Target.TESTING, a_draft(BLOCK), Ignored.REPEATED),
    (Target.TESTING, a_draft(a_block(0, 1, (2,))), Ignored.OLD_EPOCH),
    (Target.TESTING, its_rows(a_block(0, 1, (2,))), Ignored.OLD_EPOCH),
    (Target.TESTING, a_draft(NEXT), Ignored.UNWANTED),
    (Target.ROW_WAIT, a_draft(NEXT), Ignored.UNWANTED),
    (Target.FINISHED, a_draft(BLOCK), Ignored.UNWANTED),
    *(
        (Target.CLOSED, message, Ignored.UNWANTED)
        for message in (
            an_open(device_try=2),
            a_draft(BLOCK),
            its_rows(BLOCK),
            Ping(incarnation=LIFE, known=1, stamp=0),
            Cancel(incarnation=LIFE, known=1),
            Close(incarnation=LIFE, known=1),
        )
    ),
    (Target.WAITING, replace(a_draft(BLOCK), ids=(), weights=()), Ignored.BAD_BLOCK),
    (Target.WAITING, replace(a_draft(BLOCK), weights=()), Ignored.BAD_BLOCK),
    (Target.WAITING, replace(a_draft(BLOCK), ids=(2, VOCAB)), Ignored.BAD_BLOCK),
    (Target.WAITING, a_draft(a_block(1, 1, (2, 3, 4))), Ignored.BAD_BLOCK),
]


@pytest.mark.parametrize(("state", "message", "reason"), IGNORED)
def test_what_does_not_fit_is_counted_and_changes_nothing(
    state: Target, message: Message, reason: Ignored
) -> None:
    """One reason a message; state and log stay, and a block that fits is still served."""
    end = target_in(state)
    end.receive(message, 0.1)
    assert end.ignored == {reason: 1}
    assert (end.state, end.log.tokens) == (state, [7])
    if state is Target.CLOSED:
        assert end.to_send() == []
    if state is Target.WAITING:
        end.receive(a_draft(NEXT), 0.2)
        step = end.step(0.2)
        assert step is not None and step.ids == NEXT.ids


def test_weights_have_no_place_at_temperature_0() -> None:
    """A greedy request's blocks are ids alone."""
    end = target_in(Target.WAITING, temperature=0.0)
    end.receive(a_draft(BLOCK), 0.1)
    assert end.ignored == {Ignored.BAD_BLOCK: 1}


def test_every_reason_of_the_bs_is_reached() -> None:
    """The cases above hold each reason that the BS's end can give."""
    elsewhere = {Ignored.NOT_OPENED, Ignored.BEYOND_PLAN}  # the device's; test_beyond_plan.py
    assert {reason for _, _, reason in IGNORED} == set(Ignored) - elsewhere


# ------------------------------------------------------------------------------------ working by itself


def decode_alone(end: TargetSession, token: int, now_s: float) -> None:
    """The pass that is due comes to `token`."""
    step = end.step(now_s)
    assert step is not None and step.ids == ()
    end.tested(step, 0, token, now_s)


def commits(end: TargetSession) -> list[Commit]:
    """Those that are sent now."""
    return [m for m in end.to_send() if isinstance(m, Commit)]


def test_patience_ends_in_a_token_decoded_alone() -> None:
    """Temperature 0: 5 s after the last token without a block, and not before."""
    end = target_in(Target.WAITING, temperature=0)
    assert end.next_deadline_s() == 5.0
    assert end.step(4.999) is None
    decode_alone(end, 2, 5.0)
    assert [(c.position, c.ids, c.origins) for c in commits(end)] == [(1, (2,), (Origin.ALONE,))]
    assert end.next_deadline_s() == 10.0


def test_a_sampled_block_is_waited_for_without_end() -> None:
    """Above temperature 0 nothing is decoded in place of a block that may be out; no deadline is named."""
    end = target_in(Target.WAITING)
    end.replan(ALONE)
    assert (end.next_deadline_s(), end.step(15.0)) == (None, None)
    end.receive(a_draft(BLOCK), 16.0)
    step = end.step(16.0)
    assert step is not None and step.ids == BLOCK.ids


def test_a_bs_without_memory_waits_for_the_block_that_is_out() -> None:
    """Target-only plan or not: an earlier life may have rejected it. Then it goes on by its plan."""
    end = a_target(an_open((7,), device_try=2, draft_epoch=3, outstanding=True), plan=ALONE)
    assert (end.step(0.0), end.next_deadline_s()) == (None, None)
    end.receive(a_draft(a_block(3, 1, (2, 3))), 1.0)
    step = end.step(1.0)
    assert step is not None and step.draft_epoch == 3
    end.tested(step, 2, 4, 1.0)
    step = end.step(1.0)
    assert step is not None and (step.tokens, step.ids) == ([7, 2, 3, 4], ())


def test_the_step_is_due_at_the_deadline_that_was_named() -> None:
    """Whatever the rounding: a clock that jumps to the deadline finds work there."""
    end = target_in(Target.WAITING, temperature=0, timing=replace(TIMING, patience_s=0.1), ahead=1000)
    for _ in range(10):
        decode_alone(end, 2, end.next_deadline_s() or 0.0)


def test_a_target_only_plan_needs_no_patience() -> None:
    """gamma 0: a pass at once, one token each, without a deadline."""
    end = target_in(Target.WAITING, plan=ALONE)
    assert end.next_deadline_s() is None
    decode_alone(end, 2, 0.0)
    decode_alone(end, 3, 0.1)
    assert end.log.tokens == [7, 2, 3]


def test_it_runs_no_further_ahead_than_it_may() -> None:
    """Two tokens beyond what the device is known to hold, then it waits for a word."""
    end = target_in(Target.WAITING, plan=ALONE, ahead=2)
    decode_alone(end, 2, 0.0)
    decode_alone(end, 3, 0.0)
    assert (end.step(0.0), end.next_deadline_s()) == (None, None)
    end.receive(Ping(incarnation=LIFE, known=2, stamp=4), 0.1)
    pong, commit = end.to_send()
    assert pong == Pong(incarnation=LIFE, stamp=4)
    assert isinstance(commit, Commit) and (commit.position, commit.ids) == (2, (3,))
    decode_alone(end, 4, 0.1)
    assert end.step(0.1) is None


def test_a_late_block_is_used_as_far_as_it_continues_the_log() -> None:
    """The BS decoded alone what was drafted first; the rest of the block is tested behind it."""
    end = target_in(Target.WAITING, temperature=0)
    decode_alone(end, 2, 5.0)
    end.receive(a_draft(a_block(1, 1, (2, 3), greedy=True)), 5.1)
    step = end.step(5.1)
    assert step is not None
    assert (step.tokens, step.ids, step.weights) == ([7, 2], (3,), ())


def test_a_block_is_dropped_when_the_pass_it_met_contradicts_it() -> None:
    """It came while the BS decoded alone; the token is another, so the BS waits for the next block."""
    end = target_in(Target.WAITING, temperature=0)
    step = end.step(5.0)
    assert step is not None
    end.receive(a_draft(a_block(1, 1, (2, 3), greedy=True)), 5.1)
    end.tested(step, 0, 4, 5.2)
    assert end.step(5.3) is None
    assert end.next_deadline_s() == 5.2 + 5.0


def test_the_newer_block_counts_not_the_longer() -> None:
    """Before its test a block gives way to one of a newer epoch."""
    end = target_in(Target.WAITING)
    end.receive(a_draft(BLOCK), 0.1)
    end.receive(a_draft(a_block(2, 1, (4,))), 0.2)
    step = end.step(0.2)
    assert step is not None and (step.draft_epoch, step.ids) == (2, (4,))


# ------------------------------------------------------------------------------------------ the outcome


def test_a_whole_block_is_followed_by_a_bonus() -> None:
    """All drafts stand: they and one more token in one Commit, and the epoch is settled."""
    end = target_in(Target.TESTING)
    end.tested(end.under_way, 2, 6, 0.1)
    (commit,) = commits(end)
    assert (commit.ids, commit.log_hash) == ((2, 3, 6), log_hash((7, 2, 3, 6)))
    assert commit.origins == (Origin.ACCEPTED, Origin.ACCEPTED, Origin.BONUS)
    assert (commit.tested_epoch, commit.accepted, commit.seen) == (1, 2, 2)


def test_the_log_ends_inside_an_accepted_run() -> None:
    """The second of three accepted tokens ends the text: what lies behind it never was."""
    longer = as_plan((2, 3))
    end = target_in(Target.WAITING, plan=longer)
    end.receive(a_draft(a_block(1, 1, (2, EOS, 3), plan=longer)), 0.1)
    step = end.step(0.1)
    assert step is not None
    end.tested(step, 3, 6, 0.2)
    (commit,) = commits(end)
    assert (end.state, commit.ids, commit.finish) == (Target.FINISHED, (2, EOS), Finish.EOS)


def test_a_rejection_waits_for_its_row_and_for_nothing_else() -> None:
    """Nothing is drawn in its place; meanwhile a Commit says neither tokens nor that the epoch is settled."""
    end = target_in(Target.ROW_WAIT)
    assert (end.rows(), end.step(1000.0)) == (None, None)
    end.receive(an_open(device_try=2, draft_epoch=1), 0.1)
    (again,) = end.to_send()
    assert isinstance(again, Opened) and again.pending is not None
    assert (again.pending.draft_epoch, again.pending.length) == (1, 2)
    end.receive(its_rows(BLOCK, incarnation=again.incarnation), 0.2)
    assert end.rows() == BLOCK.rows[:1]
    end.settled(end.under_way, 0, 5, 0.3)
    (commit,) = commits(end)
    assert (commit.ids, commit.origins, commit.tested_epoch) == ((5,), (Origin.CORRECTED,), 1)


@pytest.mark.parametrize("how", ["cancel", "close", "another log"])
def test_an_outcome_that_was_overtaken_is_dropped(how: str) -> None:
    """A pass ends after a Cancel, a Close, or a device whose log is another: its tokens go nowhere."""
    end = target_in(Target.TESTING)
    step = end.under_way
    if how == "another log":
        end.receive(an_open((7, 6), device_try=2), 0.1)
    else:
        kind = Cancel if how == "cancel" else Close
        end.receive(kind(incarnation=LIFE, known=1), 0.1)
    before = (end.state, list(end.log.tokens))
    end.tested(step, 1, 6, 0.2)
    end.settled(step, 1, 6, 0.2)
    end.needs_rows(step, range(1), 0.2)
    assert (end.state, end.log.tokens) == before


# ------------------------------------------------------------------------------------------------- rows


def test_rows_may_overtake_their_draft() -> None:
    """They are kept for it."""
    end = target_in(Target.WAITING)
    end.receive(its_rows(BLOCK), 0.1)
    end.receive(a_draft(BLOCK), 0.2)
    step = end.step(0.2)
    assert step is not None
    end.needs_rows(step, range(1, 2), 0.3)
    assert end.rows() == BLOCK.rows[1:]


def test_rows_of_an_older_block_do_not_push_out_newer_ones() -> None:
    """Of two blocks whose Drafts are still to come, the newer one's rows stay."""
    end = target_in(Target.WAITING)
    end.receive(its_rows(NEXT), 0.1)
    end.receive(its_rows(BLOCK), 0.2)
    assert (end.rows_held, end.ignored) == (2, {Ignored.UNWANTED: 1})


def test_a_row_that_contradicts_its_draft_is_not_used() -> None:
    """q(x) is another than Draft said: it is dropped and asked for again, and the right one is used."""
    end = target_in(Target.ROW_WAIT)
    wrong = replace(its_rows(BLOCK), rows=(a_row(2, nats=3.0), a_row(3)))
    end.receive(wrong, 0.1)
    assert end.rows() is None
    assert end.ignored == {Ignored.ROW_MISMATCH: 1}
    end.on_timer(1.0)
    assert end.to_send() == [SparseLogitsRequest(incarnation=LIFE, draft_epoch=1, positions=(1,))]
    end.receive(its_rows(BLOCK), 1.1)
    assert end.rows() == BLOCK.rows[:1]


def test_rows_that_are_there_are_not_asked_for() -> None:
    """A caller that is slow to look for them makes the timer ask for nothing, and come again."""
    end = target_in(Target.ROW_WAIT)
    end.receive(its_rows(BLOCK), 0.1)
    deadline_s = end.next_deadline_s()
    assert deadline_s is not None
    end.on_timer(deadline_s)
    assert end.to_send() == [] and end.next_deadline_s() == deadline_s + 2.0
    assert end.rows() == BLOCK.rows[:1]


def test_rows_are_never_more_than_a_block() -> None:
    """However many a peer sends."""
    end = target_in(Target.WAITING)
    for start in range(1, 1000, 20):
        end.receive(replace(its_rows(BLOCK), start=start, rows=(a_row(2),) * 20), 0.1)
    assert end.rows_held == MAX_GAMMA == 32


# ----------------------------------------------------------------------------------------------- timers


def timers(end: TargetSession) -> list[float]:
    """Every time at which something is said, as long as the device keeps silent."""
    times = []
    while (at_s := end.next_deadline_s()) is not None:
        end.on_timer(at_s)
        assert len(end.to_send()) == 1
        times.append(at_s)
    return times


@pytest.mark.parametrize("state", [Target.ROW_WAIT, Target.FINISHED])
def test_a_silent_device_is_asked_ever_more_rarely_and_then_not_at_all(state: Target) -> None:
    """Row requests, and the last Commit: waits double up to 8 s; from 20 s on the session is parked."""
    end = target_in(state)
    assert timers(end) == [1.0, 3.0, 7.0, 15.0]
    assert not end.parked(19.9) and end.parked(20.0)
    end.on_timer(1000.0)
    assert end.to_send() == []
    end.receive(Ping(incarnation=LIFE, known=1, stamp=0), 60.0)
    end.to_send()
    assert (end.next_deadline_s() or 0.0) <= 60.0
    end.on_timer(60.0)
    assert len(end.to_send()) == 1


def test_the_last_commit_has_a_wait_of_its_own() -> None:
    """It is repeated after repeat_s, and twice that: row_s is for rows."""
    end = target_in(Target.FINISHED, timing=replace(TIMING, repeat_s=2.0, row_s=0.1))
    assert timers(end) == [2.0, 6.0, 14.0]


def test_a_row_is_asked_for_as_long_as_it_takes() -> None:
    """Hours of a device that is there and sends no row: every 8 s, and no number grows too large."""
    end = target_in(Target.ROW_WAIT)
    now_s = 0.0
    for _ in range(2000):
        now_s = end.next_deadline_s() or 0.0
        end.on_timer(now_s)
        assert len(end.to_send()) == 1
        end.receive(Ping(incarnation=LIFE, known=1, stamp=0), now_s)
        end.to_send()
    assert (end.state, end.next_deadline_s()) == (Target.ROW_WAIT, now_s + 8.0)


def test_a_parked_session_takes_no_pass() -> None:
    """Nobody listens: the target serves others until the device is heard again."""
    end = target_in(Target.WAITING, plan=ALONE)
    assert end.step(20.0) is None
    end.receive(Ping(incarnation=LIFE, known=1, stamp=0), 60.0)
    decode_alone(end, 2, 60.0)


# -------------------------------------------------------------------------------------- ends and beginnings


@pytest.mark.parametrize("state", [Target.WAITING, Target.TESTING, Target.ROW_WAIT, Target.FINISHED])
def test_cancel_and_close_may_come_at_any_time_and_twice(state: Target) -> None:
    """Each Cancel is answered by the last Commit; after Close it is silent for good."""
    end = target_in(state)
    for _ in range(2):
        end.receive(Cancel(incarnation=LIFE, known=1), 0.1)
        (commit,) = commits(end)
        assert (end.state, commit.finish, commit.ids) == (Target.FINISHED, Finish.CANCELLED, ())
    for _ in range(2):
        end.receive(Close(incarnation=LIFE, known=1), 0.2)
        assert (end.state, end.to_send(), end.next_deadline_s()) == (Target.CLOSED, [], None)
    end.on_timer(1000.0)
    assert (end.to_send(), end.step(1000.0)) == ([], None)


@pytest.mark.parametrize(
    "late", [an_open((7, 6), device_try=2, life=5), an_open((7, 6), device_try=3, life=6)]
)
@pytest.mark.parametrize("state", [Target.WAITING, Target.TESTING, Target.ROW_WAIT, Target.FINISHED])
def test_an_open_of_an_older_try_or_of_a_twin_disturbs_nobody(state: Target, late: Open) -> None:
    """It is answered where it came from; the one served hears nothing of it, and goes on in its own life."""
    end = target_in(state)
    end.receive(an_open(device_try=3, life=5), 0.1)
    end.to_send()
    before = (end.state, list(end.log.tokens), end.incarnation, end.heard_s, end.next_deadline_s())
    answer = end.supersedes(late)
    assert answer is not None
    assert (answer.reason, answer.device_try) == (Reason.SUPERSEDED, late.device_try)
    end.receive(late, 0.2)
    assert (end.to_send(), end.ignored) == ([], {Ignored.OLD_TRY: 1})
    after = (end.state, list(end.log.tokens), end.incarnation, end.heard_s, end.next_deadline_s())
    assert after == before


def test_a_repeat_and_a_newer_try_are_served_whoever_asks() -> None:
    """The same process repeats its Open; the next try may be another process, or the same one again."""
    end = target_in(Target.WAITING)
    for device_try, life in ((3, 5), (3, 5), (4, 6), (5, 6)):
        again = an_open(device_try=device_try, life=life)
        assert end.supersedes(again) is None
        end.receive(again, 0.1)
        (answer,) = end.to_send()
        assert isinstance(answer, Opened) and answer.device_try == device_try


@pytest.mark.parametrize("outstanding", [True, False])
def test_a_new_try_says_whether_a_block_is_still_awaited(outstanding: bool) -> None:
    """The device has found that its log has left the block it spoke of: the BS need not wait for it."""
    end = a_target(an_open(draft_epoch=3, outstanding=True), plan=ALONE)
    assert end.step(0.0) is None
    end.receive(an_open(device_try=2, draft_epoch=3, outstanding=outstanding), 0.1)
    assert (end.step(0.1) is None) == outstanding


def test_an_open_is_answered_as_often_as_it_comes() -> None:
    """The same try keeps its life; a newer one begins another, deaf to messages of the old one."""
    end = target_in(Target.WAITING)
    lives = []
    for device_try in (1, 2, 2):
        end.receive(an_open(device_try=device_try), 0.1)
        (answer,) = end.to_send()
        assert isinstance(answer, Opened) and answer.device_try == device_try
        lives.append(answer.incarnation)
    assert lives == [LIFE, NEXT_LIFE, NEXT_LIFE]
    end.receive(a_draft(BLOCK), 0.2)
    assert (end.step(0.2), end.ignored) == (None, {Ignored.INCARNATION: 1})


@pytest.mark.parametrize(("temperature", "named"), [(1.0, True), (0.0, False)])
def test_opened_names_the_block_that_is_held(temperature: float, named: bool) -> None:
    """Where tokens are sampled it has to be drawn again; at temperature 0 another one will do."""
    end = target_in(Target.WAITING, temperature=temperature)
    block = a_block(1, 1, (2, 3), greedy=not named)
    end.receive(a_draft(block), 0.1)
    end.receive(an_open(device_try=2, draft_epoch=1), 0.2)
    (answer,) = end.to_send()
    assert answer == opened(device_try=2, incarnation=NEXT_LIFE, pending=block if named else None)


@pytest.mark.parametrize("known", [(7,), (7, 2), (7, 2, 3)])
def test_a_device_that_comes_back_gets_what_it_lacks(known: Sequence[int]) -> None:
    """A new try knows fewer tokens than the BS had heard of, or more: the next Commit begins there."""
    end = target_in(Target.WAITING, plan=ALONE)
    for token in (2, 3, 4):
        decode_alone(end, token, 0.1)
    end.receive(Ping(incarnation=LIFE, known=2, stamp=0), 0.2)
    end.to_send()
    end.receive(an_open(known, device_try=2), 0.3)
    answer, commit = end.to_send()
    assert isinstance(answer, Opened) and answer.known == len(known)
    assert isinstance(commit, Commit)
    assert (commit.position, [*known, *commit.ids]) == (len(known), [7, 2, 3, 4])


@pytest.mark.parametrize("state", [Target.WAITING, Target.TESTING, Target.ROW_WAIT, Target.FINISHED])
def test_a_device_that_holds_another_log_is_right(state: Target) -> None:
    """Its tokens are final; whatever was held here is forgotten, and the block it has out counts again."""
    end = target_in(state)
    end.receive(a_draft(BLOCK), 0.1)
    end.receive(an_open((7, 6), device_try=2, draft_epoch=1), 0.2)
    assert (end.state, end.log.tokens, end.known) == (Target.WAITING, [7, 6], 2)
    end.receive(a_draft(a_block(1, 2, (2, 3)), (7, 6), incarnation=NEXT_LIFE), 0.3)
    step = end.step(0.3)
    assert step is not None and (step.tokens, step.ids) == ([7, 6], (2, 3))


# ------------------------------------------------------------------------------------------------- plans


def test_plans_are_numbered_by_what_changes() -> None:
    """The same values again are the same plan; a new one is in force from the next tokens on."""
    end = target_in(Target.WAITING, plan=ALONE)
    for k in (2, 3, 3):
        end.replan(replace(PLAN, k=k))
    assert end.plan == ALONE
    decode_alone(end, 2, 0.0)
    assert end.plan == replace(ALONE, number=ALONE.number + 1, k=3, gamma=2, min_draft=2)
    assert commits(end)[-1].plan == end.plan


PINS = [(None, None), (5, None), (None, 0), (None, 3), (4, 1)]
ORDERS = [(2, 2), (3, 4), (1, 0)]
"(k, gamma), one after the other."


@pytest.mark.parametrize(("k", "gamma"), PINS)
@pytest.mark.parametrize("min_draft", [0, 1, 2])
def test_every_plan_has_what_the_user_fixed(k: int | None, gamma: int | None, min_draft: int) -> None:
    """The first plan and each that follows; where blocks bind the BS waits for all of them in any case."""
    end = a_target(
        an_open(request=replace(a_request(), k=k, gamma=gamma)),
        plan=Plan(number=1, k=2, gamma=2, min_draft=min_draft),
    )
    (answer,) = end.to_send()
    assert isinstance(answer, Opened) and answer.plan == end.plan
    for number, (free_k, free_gamma) in enumerate(ORDERS):
        if number > 0:
            least = min(min_draft, free_gamma)
            end.replan(replace(PLAN, k=free_k, gamma=free_gamma, min_draft=least))
            let_one_token_come(end)
        fixed = free_gamma if gamma is None else gamma
        assert (end.plan.k, end.plan.gamma) == (free_k if k is None else k, fixed)
        assert end.plan.min_draft == fixed


@pytest.mark.parametrize("pinned", [None, 0, 1, MAX_GAMMA])
@pytest.mark.parametrize("gamma", [None, 0, 3])
@pytest.mark.parametrize("min_draft", [0, 1, 2])
def test_where_drafts_are_hints_the_user_may_fix_what_is_waited_for(
    min_draft: int, gamma: int | None, pinned: int | None
) -> None:
    """MAX_GAMMA is all of a path; a BS that waits for whole paths goes on to where gamma is fixed."""
    wanted = replace(
        a_request(acceptance=Acceptance.COUPLED), gamma=gamma, min_draft=pinned
    )
    end = a_target(an_open(request=wanted), plan=Plan(number=1, k=2, gamma=2, min_draft=min_draft))
    for number, (k, free_gamma) in enumerate(ORDERS):
        least = min(min_draft, free_gamma)
        if number > 0:
            end.replan(replace(PLAN, k=k, gamma=free_gamma, min_draft=least))
            end.receive(Ping(incarnation=LIFE, known=len(end.log), stamp=0), 9.0 * number)
            step = end.step(9.0 * number)
            assert step is not None
            end.tested(step, 0, 4, 9.0 * number)
        fixed = free_gamma if gamma is None else gamma
        assert (end.plan.k, end.plan.gamma) == (k, fixed)
        if pinned is not None:
            assert end.plan.min_draft == min(pinned, fixed)
        else:
            assert end.plan.min_draft == (fixed if least == free_gamma > 0 else min(least, fixed))


def test_a_plan_has_only_what_its_acceptance_has_a_use_for() -> None:
    """Blockwise is of blocks that bind; early stop and the uplink's rate are of hints, and before a fixed
    gamma nothing stops.
    """
    plain = replace(PLAN, gamma=3, min_draft=1, uplink_bps=10**6)
    stops, whole = replace(plain, early_stop=True), replace(plain, blockwise=True)
    coupled, greedy = a_request(acceptance=Acceptance.COUPLED), a_request(temperature=0.0)
    for wanted, plan, kept in (
        (a_request(), stops, replace(plain, min_draft=3, uplink_bps=0)),
        (a_request(), whole, replace(whole, min_draft=3, uplink_bps=0)),
        (coupled, stops, stops),
        (coupled, whole, plain),
        (greedy, stops, stops),
        (greedy, whole, plain),
        (replace(coupled, gamma=3), stops, plain),
    ):
        assert a_target(an_open(request=wanted), plan=plan).plan == kept


def let_one_token_come(end: TargetSession) -> None:
    """By a block of the plan in force, or without one."""
    epoch = end.newest_epoch + 2
    if end.plan.gamma:
        log = end.log.tokens
        block = a_block(epoch, len(log), (2,), plan=end.plan)
        end.receive(a_draft(block, log, incarnation=end.incarnation), 0.0)
    step = end.step(0.0)
    assert step is not None
    if step.ids:
        end.tested(step, 0, 4, 0.0)
    else:
        end.tested(step, 0, 4, 0.0)


def test_what_the_user_fixed_is_no_new_plan() -> None:
    """Orders that differ only in what is fixed change nothing, the plan's number neither."""
    end = a_target(an_open(request=replace(a_request(), k=5, gamma=0)))
    first = end.plan
    assert first == Plan(number=1, k=5, gamma=0, min_draft=0)
    for k in (2, 3):
        end.replan(as_plan((k, k)))
        decode_alone(end, 2, 0.0)
        assert end.plan == first


@pytest.mark.parametrize("log", [(7,), (7, 6)])
def test_what_the_user_fixed_outlives_a_new_try(log: tuple[int, ...]) -> None:
    """Whether the BS keeps its log or takes the device's, the request is the one that began."""
    wanted = replace(a_request(), k=5, gamma=1)
    end = a_target(an_open(request=wanted))
    let_one_token_come(end)
    end.to_send()
    end.receive(an_open(log, device_try=2, draft_epoch=2, request=wanted), 0.1)
    answers = [message for message in end.to_send() if isinstance(message, Opened)]
    assert [(answer.plan.k, answer.plan.gamma) for answer in answers] == [(5, 1)]
    end.replan(PLAN)
    let_one_token_come(end)
    assert (end.plan.k, end.plan.gamma, end.plan.min_draft) == (5, 1, 1)
