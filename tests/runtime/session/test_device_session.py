"""The device's end, message by message: what it does with each, and what it ignores and why."""

from dataclasses import replace

import pytest
from tests.harness.messages import (
    ALONE,
    LIFE,
    NEXT_LIFE,
    PLAN,
    TIMING,
    a_block,
    a_draft,
    a_request,
    commit,
    device_in,
    opened,
    refused,
)
from tests.harness.pair import HELLO

from draftwire.codecs.messages import (
    Close,
    Commit,
    Draft,
    Finish,
    Message,
    Open,
    Ping,
    Plan,
    Pong,
    Reason,
    SparseLogits,
    SparseLogitsRequest,
    Welcome,
)
from draftwire.runtime.session.device import ACKNOWLEDGE_EVERY, DeviceSession
from draftwire.runtime.session.request import DraftWork
from draftwire.runtime.session.silence import ASLEEP_S
from draftwire.runtime.session.states import Device, Ignored

BLOCK = a_block(1, 1, (2, 3))
WRONG_HASH = replace(commit((7, 4)), log_hash=bytes(8))

IGNORED: list[tuple[Device, Message, Ignored]] = [
    (Device.OPENING, commit((7, 4)), Ignored.NOT_OPENED),
    (Device.OPENING, Pong(incarnation=LIFE, stamp=0), Ignored.NOT_OPENED),
    (Device.OPENING, opened(device_try=2), Ignored.OLD_TRY),
    (Device.OPENING, opened((7, 4)), Ignored.HISTORY),
    (Device.OPENING, replace(opened(), log_hash=bytes(8)), Ignored.HISTORY),
    (Device.OPENING, refused(Reason.SUPERSEDED, device_try=9), Ignored.OLD_TRY),
    (Device.OPENING, refused(Reason.BUSY, device_try=9), Ignored.OLD_TRY),
    (Device.WAITING, refused(Reason.TARGET_FAILED, device_try=9), Ignored.OLD_TRY),
    (Device.WAITING, opened(), Ignored.OLD_TRY),
    (Device.WAITING, commit((7, 4), incarnation=NEXT_LIFE), Ignored.INCARNATION),
    (Device.WAITING, Pong(incarnation=NEXT_LIFE, stamp=0), Ignored.INCARNATION),
    (Device.WAITING, commit((7, 4, 5), position=2), Ignored.GAP),
    (Device.WAITING, WRONG_HASH, Ignored.HISTORY),
    (Device.WAITING, commit((6, 4), position=0), Ignored.HISTORY),
    (Device.WAITING, commit((7,)), Ignored.REPEATED),
    (
        Device.WAITING,
        SparseLogitsRequest(incarnation=LIFE, draft_epoch=9, positions=(1,)),
        Ignored.UNWANTED,
    ),
    (Device.WAITING, a_draft(BLOCK), Ignored.UNEXPECTED),
]


@pytest.mark.parametrize(("state", "message", "reason"), IGNORED)
def test_what_does_not_fit_is_counted_and_changes_nothing(
    state: Device, message: Message, reason: Ignored
) -> None:
    """One reason a message; the state stays, nothing becomes final, nothing is sent."""
    end = device_in(state)
    end.receive(message, 0.1)
    assert end.ignored == {reason: 1}
    assert (end.state, end.take(), end.to_send()) == (state, [], [])


def test_a_commit_that_contradicts_what_is_final_is_ignored() -> None:
    """What the device has taken stands, even against a Commit whose hash is right."""
    end = device_in(Device.DRAFTING)
    end.receive(commit((7, 4)), 0.1)
    end.receive(commit((7, 5, 6)), 0.2)
    assert end.log.tokens == [7, 4]
    assert end.ignored == {Ignored.HISTORY: 1}


# ----------------------------------------------------------------------------------- what becomes final


def test_each_position_becomes_final_once() -> None:
    """Commits overlap, repeat and overtake; every token is handed out once, in order."""
    end = device_in(Device.LISTENING)
    for log in ((7, 4), (7, 4, 5, 6), (7, 4, 5), (7, 4, 5, 6)):
        end.receive(commit(log, plan=ALONE), 0.1)
    assert [(t.position, t.token) for t in end.take()] == [(1, 4), (2, 5), (3, 6)]
    assert end.take() == []
    assert end.ignored == {Ignored.REPEATED: 2}


def test_a_block_that_the_log_follows_is_kept() -> None:
    """The BS decoded alone what was drafted: the block stays out, and is repeated with what is known now."""
    end = device_in(Device.WAITING)
    end.receive(commit((7, 2)), 0.1)
    assert (end.state, end.to_send()) == (Device.WAITING, [])
    end.on_timer(end.next_deadline_s() or 0.0)
    draft, ping = end.to_send()
    assert isinstance(draft, Draft) and isinstance(ping, Ping)
    assert (draft.draft_epoch, draft.start, draft.known, draft.ids) == (1, 1, 2, (2, 3))


@pytest.mark.parametrize(
    ("log", "tested_epoch"), [((7, 2, 5), 0), ((7, 4), 0), ((7, 2), 1), ((7, 2, 3), 0)]
)
def test_a_block_that_is_over_makes_room_for_the_next(log: tuple[int, ...], tested_epoch: int) -> None:
    """Contradicted, tested or overtaken: the next block has a new epoch and stands behind the log."""
    end = device_in(Device.WAITING)
    end.receive(commit(log, tested_epoch=tested_epoch), 0.1)
    assert end.work() == DraftWork(tokens=list(log), draft_epoch=2, length=2, plan=PLAN)


def test_the_length_of_a_block_is_bounded_by_plan_and_request() -> None:
    """gamma tokens, or as many as the request still wants; none once it has them all."""
    request = a_request(tokens=3)
    lengths = []
    for log in ((7,), (7, 4), (7, 4, 4), (7, 4, 4, 4)):
        end = DeviceSession(request, HELLO, now_s=0.0, output=log[1:])
        end.receive(opened(log), 0.0)
        work = end.work()
        lengths.append(work.length if work else 0)
    assert lengths == [2, 2, 1, 0]


def test_a_block_that_is_no_longer_wanted_is_dropped_with_its_epoch() -> None:
    """A Commit overtook the draft model: nothing is sent, and the epoch is not used again."""
    end = device_in(Device.DRAFTING)
    end.receive(commit((7, 4)), 0.1)
    end.drawn(BLOCK, 0.2)
    assert (end.state, end.to_send()) == (Device.DRAFTING, [])
    work = end.work()
    assert work is not None and work.draft_epoch == 2


def test_rows_are_sent_again_when_asked_for() -> None:
    """One message a position, each with its own row; positions outside the block have none."""
    end = device_in(Device.WAITING)
    wanted = SparseLogitsRequest(incarnation=LIFE, draft_epoch=1, positions=(2, 1, 3, 0))
    end.receive(wanted, 0.1)
    sent = [(m.start, m.rows) for m in end.to_send() if isinstance(m, SparseLogits)]
    assert sent == [(2, BLOCK.rows[1:]), (1, BLOCK.rows[:1])]


def test_a_failed_end_lets_the_bs_go() -> None:
    """Its Cancel may be lost: a BS that still wants a row, or repeats a Commit, is told to forget it."""
    end = device_in(Device.FAILED)
    for message in (SparseLogitsRequest(incarnation=LIFE, draft_epoch=1, positions=(1,)), commit((7, 2))):
        end.receive(message, 1.0)
        assert end.to_send() == [Close(incarnation=LIFE, known=1)]


def test_a_finished_end_answers_each_commit_with_close() -> None:
    """Close may be lost: the BS repeats its last Commit and gets another one; nothing else is answered."""
    end = device_in(Device.FINISHED)
    for _ in range(2):
        end.receive(commit((7, 2), finish=Finish.EOS), 1.0)
        assert end.to_send() == [Close(incarnation=LIFE, known=2)]
    end.receive(refused(Reason.UNKNOWN_REQUEST), 1.0)
    end.receive(commit((7, 2), incarnation=NEXT_LIFE), 1.0)
    end.on_timer(1e9)
    assert (end.state, end.to_send(), end.next_deadline_s()) == (Device.FINISHED, [], None)


# ------------------------------------------------------------------------------------------------- plans


def test_the_newest_plan_counts() -> None:
    """A late Commit brings an old plan, which is not taken; a block keeps the plan it was drawn with."""
    newer, newest = (replace(PLAN, number=n, k=n) for n in (2, 3))
    end = device_in(Device.WAITING)
    end.receive(commit((7, 2), plan=newest), 0.1)
    end.receive(commit((7,), plan=newer), 0.2)
    assert end.plan == newest
    end.on_timer(1.1)
    draft = end.to_send()[0]
    assert isinstance(draft, Draft) and draft.plan == PLAN


def test_a_new_life_of_the_log_counts_plans_anew() -> None:
    """A BS that restarted begins at plan 1, and that is in force."""
    end = device_in(Device.WAITING)
    end.receive(commit((7, 4), plan=replace(PLAN, number=9)), 0.1)
    end.receive(refused(Reason.UNKNOWN_REQUEST), 0.2)
    end.receive(opened((7, 4), device_try=2, incarnation=NEXT_LIFE), 0.3)
    assert end.plan == PLAN


def test_a_listening_end_acknowledges_in_time() -> None:
    """After so many tokens without a word it says what it knows, so that the BS never stops for long."""
    end = device_in(Device.LISTENING)
    log = [7]
    pings = []
    for _ in range(2 * ACKNOWLEDGE_EVERY):
        log.append(4)
        end.receive(commit(log, plan=ALONE), 0.1)
        pings += [m.known for m in end.to_send() if isinstance(m, Ping)]
    assert pings == [1 + ACKNOWLEDGE_EVERY, 1 + 2 * ACKNOWLEDGE_EVERY]


# ----------------------------------------------------------------------------------- opening once more


@pytest.mark.parametrize("reason", [Reason.UNKNOWN_REQUEST, Reason.NO_HELLO])
def test_a_bs_without_memory_is_told_everything(reason: Reason) -> None:
    """A new try with all that is final; Commits of the old life are ignored before and after Opened."""
    end = device_in(Device.WAITING)
    end.receive(commit((7, 2)), 0.1)
    end.receive(refused(reason), 0.2)
    hello, again = end.to_send()
    assert hello == HELLO and isinstance(again, Open)
    assert (again.device_try, again.tokens, again.draft_epoch) == (2, (7, 2), 1)
    old = commit((7, 2, 5))
    end.receive(old, 0.3)
    end.receive(opened((7, 2), device_try=2, incarnation=NEXT_LIFE), 0.4)
    end.receive(old, 0.5)
    assert end.ignored == {Ignored.NOT_OPENED: 1, Ignored.INCARNATION: 1}
    draft, rows = end.to_send()
    assert isinstance(draft, Draft) and isinstance(rows, SparseLogits)
    assert (draft.incarnation, draft.draft_epoch, draft.ids, rows.rows) == (NEXT_LIFE, 1, (2, 3), BLOCK.rows)


@pytest.mark.parametrize(("k", "gamma"), [(None, None), (5, 0), (None, 3), (1, None)])
def test_every_open_says_what_the_user_fixed(k: int | None, gamma: int | None) -> None:
    """The first, and that of a new try for a BS without memory."""
    end = DeviceSession(replace(a_request(), k=k, gamma=gamma), HELLO, now_s=0.0)
    end.receive(opened(), 0.1)
    end.receive(refused(Reason.UNKNOWN_REQUEST), 0.2)
    opens = [message for message in end.to_send() if isinstance(message, Open)]
    assert [one.device_try for one in opens] == [1, 2]
    assert {(one.pinned_k, one.pinned_gamma) for one in opens} == {(k, gamma)}


def test_blocks_come_and_go_with_the_plan() -> None:
    """Commits turn drafting on and off in mid-request; each block is new, and no epoch is used twice."""
    end = device_in(Device.LISTENING)
    log, epochs = [7], list[int]()
    for number, gamma in enumerate((2, 0, 0, 1, 0, 2), start=2):
        plan = Plan(number=number, k=2, gamma=gamma, min_draft=gamma)
        log.append(4)
        end.receive(commit(log, len(log) - 1, tested_epoch=max(epochs, default=0), plan=plan), 0.1)
        work = end.work()
        assert (work is None) == (gamma == 0)
        if work is None:
            assert end.state.name == "LISTENING"
        else:
            assert (work.length, list(work.tokens), work.plan) == (gamma, log, plan)
            end.drawn(a_block(work.draft_epoch, len(log), (2,) * work.length, plan=plan), 0.1)
            epochs.append(work.draft_epoch)
            assert end.state.name == "WAITING"
    assert epochs == [1, 2, 3]


@pytest.mark.parametrize(
    "reason", [Reason.BUSY, Reason.VOCABULARY, Reason.PROMPT_TOO_LONG, Reason.TARGET_FAILED]
)
def test_a_refusal_for_good_ends_the_request(reason: Reason) -> None:
    """The reason and its sentence are kept, and nothing is due any more."""
    end = device_in(Device.OPENING)
    end.receive(refused(reason, device_try=1), 0.1)
    assert (end.state, end.refusal, end.next_deadline_s()) == (Device.FAILED, (reason, "because"), None)


def test_a_superseded_end_fails() -> None:
    """The BS serves a newer try than ours: another device goes on with this request."""
    end = device_in(Device.OPENING)
    end.receive(refused(Reason.SUPERSEDED, device_try=1), 0.1)
    assert end.state is Device.FAILED


# ----------------------------------------------------------------------------------------- redrawing


def test_a_pending_block_is_drawn_once_more() -> None:
    """After a restart: with the recorded epoch, length and plan; equal, so it is sent and waited for."""
    end = device_in(Device.REDRAWING)
    assert end.work() == DraftWork(tokens=[7], draft_epoch=1, length=2, plan=PLAN)
    end.drawn(BLOCK, 0.1)
    assert end.state is Device.WAITING
    assert [type(m) for m in end.to_send()] == [Draft, SparseLogits]


def test_a_pending_block_that_cannot_be_proved_ends_the_request() -> None:
    """Other rows than the BS was promised: DRAFT_STATE_LOST, and the BS is told to end it."""
    end = device_in(Device.REDRAWING)
    end.drawn(a_block(1, 1, (2, 4)), 0.1)
    assert end.state is Device.FAILED
    assert end.refusal is not None and end.refusal[0] is Reason.DRAFT_STATE_LOST
    assert [type(m).__name__ for m in end.to_send()] == ["Cancel"]


def test_a_pending_block_waits_for_the_log_that_leads_up_to_it() -> None:
    """The record holds fewer tokens than the block stands behind: nothing is drawn until they have come."""
    end = device_in(Device.OPENING)
    end.receive(opened(pending=a_block(1, 3, (2, 3))), 0.1)
    assert end.work() is None
    end.receive(commit((7, 4, 5)), 0.2)
    assert end.work() == DraftWork(tokens=[7, 4, 5], draft_epoch=1, length=2, plan=PLAN)


def test_a_pending_block_that_the_log_has_left_is_not_sent() -> None:
    """While it was redrawn the BS decoded another token: the next block is wanted, with a new epoch."""
    end = device_in(Device.REDRAWING)
    end.receive(commit((7, 4)), 0.1)
    assert end.state is Device.REDRAWING
    end.drawn(BLOCK, 0.2)
    assert (end.state, end.to_send()) == (Device.DRAFTING, [])
    assert end.work() == DraftWork(tokens=[7, 4], draft_epoch=2, length=2, plan=PLAN)


# ---------------------------------------------------------------------------------------------- silence


def silence(end: DeviceSession) -> list[tuple[float, list[str]]]:
    """Every timer until the end rests: (seconds, names of what is sent)."""
    heard = []
    while (at_s := end.next_deadline_s()) is not None:
        end.on_timer(at_s)
        heard.append((at_s, [type(m).__name__ for m in end.to_send()]))
    return heard


OPENS, ASKS = ["Hello", "Open"], ["Draft", "Ping"]
SILENCES: dict[Device, list[tuple[float, list[str]]]] = {
    Device.OPENING: [*((at_s, OPENS) for at_s in range(1, 15, 2)), (15, [])],
    Device.WAITING: [
        *((at_s, ASKS) for at_s in range(1, 9, 2)),
        *((9, OPENS), *((at_s, OPENS) for at_s in range(10, 30, 2)), (30, [])),
    ],
    Device.LISTENING: [
        *((2, ["Ping"]), *((at_s, ["Ping"]) for at_s in range(6, 12, 2))),
        *((12, OPENS), *((at_s, OPENS) for at_s in range(13, 30, 2)), (30, [])),
    ],
}
SHORT = replace(TIMING, absent_s=30.0)


@pytest.mark.parametrize("state", SILENCES)
def test_an_absent_bs_is_asked_ever_more_rarely_and_then_given_up(state: Device) -> None:
    """Waits double up to 2 s; after four repeats it opens again; after absent_s, here 30 s, it ends."""
    end = device_in(state, timing=SHORT)
    assert silence(end) == SILENCES[state]
    assert end.state is Device.FAILED
    assert end.refusal is not None and end.refusal[0] is Reason.ABSENT


def test_a_request_that_has_begun_is_worth_a_longer_wait() -> None:
    """15 s until the BS has opened it for this life of the device, in whatever life it began; 120 then."""
    end = device_in(Device.OPENING)
    assert silence(end)[-1] == (15.0, [])
    end = DeviceSession(a_request(), HELLO, now_s=0.0, device_try=1)
    assert silence(end)[-1] == (15.0, [])
    end = device_in(Device.WAITING)
    end.receive(refused(Reason.UNKNOWN_REQUEST), 10.0)
    assert end.state is Device.OPENING
    assert silence(end)[-1] == (130.0, [])


@pytest.mark.parametrize("state", [Device.OPENING, Device.WAITING, Device.LISTENING])
def test_ten_minutes_of_sleep_are_not_the_silence_of_the_bs(state: Device) -> None:
    """Stopped before its deadline, woken long after it: it speaks up and goes on waiting where it was."""
    end = device_in(state, timing=SHORT)
    deadline_s = end.next_deadline_s() or 0.0
    end.on_timer(deadline_s + 600.0)
    assert end.state is state
    assert end.to_send()
    last = SILENCES[state][-1][0]
    assert silence(end)[-1] == (last + 600.0, [])


def test_an_answer_that_lay_waiting_while_the_device_slept_is_no_slow_link() -> None:
    """The turnaround, by which repeats are stretched, leaves the sleep out."""
    end = device_in(Device.WAITING)
    end.receive(commit((7, 4)), 600.0)
    end.drawn(a_block(2, 2, (2, 3)), 600.5)
    assert end.next_deadline_s() == 600.5 + 3.0


def test_a_message_of_no_use_is_no_second_sleep() -> None:
    """What wakes it may be ignored; the time behind the deadline is left out once, not twice."""
    end = device_in(
        Device.WAITING, timing=replace(TIMING, absent_s=30.0, resend_most_s=100.0, silent_most_s=100.0)
    )
    for _ in range(3):
        end.on_timer(end.next_deadline_s() or 0.0)
    assert end.next_deadline_s() == 15.0
    end.receive(commit((7, 4), incarnation=NEXT_LIFE), 20.0)
    end.on_timer(20.0)
    assert end.next_deadline_s() == 20.0 + 1.0
    assert silence(end)[-1] == (35.0, [])


@pytest.mark.parametrize("late_s", [0.4, ASLEEP_S, 3.0, 1000.0])
@pytest.mark.parametrize("state", [Device.OPENING, Device.WAITING, Device.LISTENING])
def test_an_end_that_is_always_late_still_finds_the_bs_absent(state: Device, late_s: float) -> None:
    """A busy loop, or one that sleeps before every deadline: each wait counts, so they add up to the end."""
    end = device_in(state)
    timers = 0
    while (at_s := end.next_deadline_s()) is not None:
        end.on_timer(at_s + late_s)
        end.to_send()
        timers += 1
        assert timers < 100
    assert end.refusal is not None and end.refusal[0] is Reason.ABSENT


def test_a_bs_that_answers_pings_is_not_taken_for_restarted() -> None:
    """However long a pass takes: no new try, repeats every 8 s, and no number grows too large."""
    end = device_in(Device.WAITING)
    now_s = 0.0
    for _ in range(2000):
        now_s = end.next_deadline_s() or 0.0
        end.on_timer(now_s)
        end.to_send()
        end.receive(Pong(incarnation=LIFE, stamp=0), now_s + 0.5)
    assert (end.state, end.device_try) == (Device.WAITING, 1)
    assert end.next_deadline_s() == now_s + 8.0


def test_the_first_repeat_waits_for_three_turnarounds() -> None:
    """A slow link is not flooded: after an answer in 2 s the next repeat comes after 6."""
    end = device_in(Device.WAITING)
    end.receive(commit((7, 4)), 2.0)
    end.drawn(a_block(2, 2, (2, 3)), 2.5)
    assert end.next_deadline_s() == 8.5


def _drafting() -> DeviceSession:
    end = DeviceSession(a_request(tokens=100), HELLO, now_s=0.0, timing=TIMING)
    end.receive(opened(), 0.0)
    end.to_send()
    return end


def _asked(end: DeviceSession, now_s: float) -> float:
    """When a block is drawn that is to be sent at `now_s`, the first repeat comes so long after it."""
    end.drawn(a_block(end.draft_epoch + 1, len(end.log), (2, 3)), now_s)
    assert end.to_send()
    return (end.next_deadline_s() or 0.0) - now_s


def _answered(end: DeviceSession, now_s: float, after_s: float) -> int:
    """The BS's answer comes so long after the block; how often the device has repeated it by then."""
    repeats = 0
    while (at_s := end.next_deadline_s() or 0.0) < now_s + after_s:
        end.on_timer(at_s)
        repeats += bool(end.to_send())
        end.receive(Pong(incarnation=LIFE, stamp=0), at_s)  # it lives
    end.receive(commit((*end.log.tokens, 4), len(end.log)), now_s + after_s)
    return repeats


@pytest.mark.parametrize("outage_s", [2.0, 6.0, 20.0])
def test_an_outage_is_not_taken_for_a_slow_link(outage_s: float) -> None:
    """A fast link was away: the next first wait is twice the last at most, and then as short as ever."""
    end, now_s = _drafting(), 0.0
    first_s = []
    for after_s in [0.1] * 3 + [outage_s] + [0.1] * 10:
        first_s.append(_asked(end, now_s))
        _answered(end, now_s, after_s)
        now_s += 100
    assert first_s[:4] == [1.0] * 4
    assert first_s[4] == pytest.approx(2.0)
    assert first_s[5:] == [1.0] * 9


def test_outages_behind_one_another_do_not_add_up() -> None:
    """A channel dies every few answers of one request: the repeat behind the last death comes as early as
    the one behind the first.
    """
    end, now_s = _drafting(), 0.0
    first_s = []
    for _ in range(10):
        for after_s in (0.06, 0.06, 1.3):
            wait_s = _asked(end, now_s)
            _answered(end, now_s, after_s)
            now_s += after_s
        first_s.append(wait_s)
    assert first_s == pytest.approx([1.0] * 10)


@pytest.mark.parametrize("slow_s", [1.01, 1.5, 2.9, 3.05, 5.0, 7.9])
def test_a_slow_link_is_learnt_although_every_ask_was_repeated(slow_s: float) -> None:
    """Whenever in between repeats the answers come: after three of them none is repeated any more."""
    end, now_s = _drafting(), 0.0
    repeats = []
    for _ in range(12):
        _asked(end, now_s)
        repeats.append(_answered(end, now_s, slow_s))
        now_s += 100
    assert repeats[0] and not any(repeats[3:])


def test_a_slow_draft_model_does_not_make_the_bs_absent() -> None:
    """The BS was asked nothing while a block was drawn, so its silence begins when the block is sent."""
    end = device_in(Device.DRAFTING)
    end.drawn(BLOCK, 40.0)
    end.to_send()
    assert end.next_deadline_s() == 41.0
    end.on_timer(41.0)
    assert [type(m).__name__ for m in end.to_send()] == ASKS


def test_a_welcome_is_a_word_from_the_bs() -> None:
    """It is served behind others: no Opened yet, and still not absent."""
    end = device_in(Device.OPENING, timing=replace(TIMING, reach_s=4.0))
    for now_s in (1.0, 3.0):
        end.on_timer(now_s)
        end.receive(Welcome(boot=1), now_s)
    states = []
    for now_s in (5.0, 7.0):
        end.on_timer(now_s)
        states.append(end.state)
    assert states == [Device.OPENING, Device.FAILED]


# ----------------------------------------------------------------------------------------------- cancel

RUNNING = [Device.DRAFTING, Device.REDRAWING, Device.WAITING, Device.LISTENING]


@pytest.mark.parametrize("state", RUNNING)
def test_cancel_is_said_until_the_bs_has_ended_the_log(state: Device) -> None:
    """Asked twice, said once; no block is drawn any more; a lost Cancel is repeated; a Commit ends it."""
    end = device_in(state)
    end.cancel()
    end.cancel()
    assert [type(m).__name__ for m in end.to_send()] == ["Cancel"]
    assert end.work() is None
    end.on_timer(end.next_deadline_s() or 0.0)
    assert [type(m).__name__ for m in end.to_send()] == ["Cancel"]
    end.receive(commit((7, 4), finish=Finish.CANCELLED), 3.0)
    assert (end.state, end.finish) == (Device.FINISHED, Finish.CANCELLED)
    assert end.to_send() == [Close(incarnation=LIFE, known=2)]


@pytest.mark.parametrize("state", [Device.FINISHED, Device.FAILED])
def test_cancel_of_what_is_over_does_nothing(state: Device) -> None:
    """There is nothing left to end."""
    end = device_in(state)
    end.cancel()
    assert (end.state, end.to_send()) == (state, [])


@pytest.mark.parametrize("outstanding", [False, True])
def test_cancel_while_opening_is_said_once_the_bs_has_opened(outstanding: bool) -> None:
    """It is remembered: Opened is answered by Cancel alone, whether or not a block is out."""
    end = device_in(Device.WAITING if outstanding else Device.OPENING)
    if outstanding:
        end.receive(refused(Reason.UNKNOWN_REQUEST), 0.1)
        end.to_send()
    end.cancel()
    assert end.to_send() == []
    end.receive(opened(device_try=end.device_try), 0.2)
    assert [type(m).__name__ for m in end.to_send()] == ["Cancel"]
    assert end.work() is None


def test_every_reason_of_the_device_is_reached() -> None:
    """The cases above hold each reason that the device's end can give."""
    only_the_bs = {Ignored.OLD_EPOCH, Ignored.ROW_MISMATCH, Ignored.BAD_BLOCK, Ignored.BEYOND_PLAN}
    assert {reason for _, _, reason in IGNORED} == set(Ignored) - only_the_bs


def test_a_commit_is_kept_to_the_caller() -> None:
    """The newest one that brought something is kept, for accounts."""
    end = device_in(Device.WAITING)
    news = commit((7, 4))
    end.receive(news, 0.1)
    end.receive(commit((7,)), 0.2)
    assert isinstance(end.last_commit, Commit) and end.last_commit == news
