"""Blocks are held to the plans that the BS has told, and no plan wants any where drafts are refused."""

from dataclasses import replace

import pytest
from tests.harness.messages import (
    ALONE,
    LIFE,
    NEXT_LIFE,
    PLAN,
    a_block,
    a_draft,
    a_request,
    a_target,
    an_open,
    target_in,
)
from tests.harness.pair import as_plan

from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import Commit, Opened, Plan
from draftwire.runtime.session.planning import Planning
from draftwire.runtime.session.states import Ignored, Target
from draftwire.runtime.session.target import TargetSession

LONG = as_plan((2, 6), number=9)
"What a device may say that it was told."


def passes(end: TargetSession, token: int, now_s: float, *, accepted: int = 0) -> tuple[int, ...]:
    """The pass that is due comes to `token`; what it tested."""
    step = end.step(now_s)
    assert step is not None
    end.tested(step, accepted, token, now_s)
    return step.ids


def told(end: TargetSession) -> Plan:
    """By the newest Commit that is sent now."""
    return [one for one in end.to_send() if isinstance(one, Commit)][-1].plan


def test_a_block_is_cut_to_the_plan_that_was_told() -> None:
    """Whatever plan it names, and it is settled by what was tested of it."""
    end = target_in(Target.WAITING)
    end.receive(a_draft(a_block(1, 1, (2, 3, 4, 5), plan=LONG)), 0.1)
    assert end.next_drafts(0.1) == 2
    assert passes(end, 6, 0.1, accepted=2) == (2, 3)
    commit = end.to_send()[-1]
    assert isinstance(commit, Commit)
    assert (commit.ids, commit.tested_epoch, commit.seen) == ((2, 3, 6), 1, 2)


def test_the_plan_is_that_of_the_log_it_begins_at() -> None:
    """A plan that is in force from later tokens on neither lengthens a block nor shortens it."""
    end = target_in(Target.WAITING, plan=as_plan((2, 3)))
    end.replan(as_plan((2, 1)))
    end.receive(a_draft(a_block(1, 1, (2, 3, 4), plan=LONG)), 0.1)
    assert passes(end, 6, 0.1) == (2, 3, 4)
    assert told(end).gamma == 1
    end.receive(a_draft(a_block(2, 2, (4, 5, 2), plan=LONG), (7, 6)), 0.2)
    assert passes(end, 6, 0.2) == (4,)


def test_a_block_is_left_where_the_plan_wants_none() -> None:
    """The target goes on alone, and says so."""
    end = target_in(Target.WAITING, plan=ALONE)
    end.receive(a_draft(a_block(1, 1, (2, 3), plan=LONG)), 0.1)
    assert end.ignored == {Ignored.BEYOND_PLAN: 1}
    assert passes(end, 6, 0.1) == ()


def test_a_block_by_the_plan_that_an_opened_told_counts() -> None:
    """Where the log has gone on alone by an older plan meanwhile: else its device waits for ever, as what it
    knows of the log continues its block.
    """
    end = target_in(Target.WAITING, plan=ALONE)
    end.replan(as_plan((2, 2)))
    assert passes(end, 6, 0.1) == ()
    end.receive(an_open(device_try=2), 0.2)
    answer = next(one for one in end.to_send() if isinstance(one, Opened))
    assert (answer.known, len(end.log), answer.plan.gamma) == (1, 2, 2)
    end.receive(a_draft(a_block(1, 1, (6, 3), plan=answer.plan), incarnation=NEXT_LIFE), 0.3)
    assert passes(end, 5, 0.3) == (3,)
    assert not end.ignored


def test_an_opened_that_is_told_again_tells_its_plan_too() -> None:
    """The first was lost, and the log has gone on between the two."""
    end = target_in(Target.WAITING, plan=ALONE)
    end.replan(as_plan((2, 2)))
    passes(end, 6, 0.1)
    end.receive(an_open(), 0.2)
    end.receive(a_draft(a_block(1, 1, (6, 3), plan=end.plan)), 0.3)
    assert passes(end, 5, 0.3) == (3,)


def test_what_was_told_of_a_longer_log_stands() -> None:
    """An Opened lengthens what may begin where it is told, and shortens nothing."""
    planning = Planning(as_plan((2, 3)), a_request(), patience_s=5.0, length=1)
    planning.order(as_plan((2, 0)))
    planning.turn(4)
    planning.order(as_plan((2, 1)))
    planning.turn(6)
    planning.tells(5)
    assert [planning.gamma_at(length) for length in range(1, 8)] == [3, 3, 3, 0, 1, 1, 1]
    planning.tells(2)
    assert [planning.gamma_at(length) for length in range(1, 8)] == [3, 3, 3, 0, 1, 1, 1]


@pytest.mark.parametrize("length", [2, 4])
def test_a_block_of_another_life_is_tested_whole(length: int) -> None:
    """It may have been tested whole there; the next one is held to the plan."""
    end = a_target(an_open(draft_epoch=3, outstanding=True), plan=as_plan((2, 1)))
    end.receive(a_draft(a_block(3, 1, (2, 3, 4, 5)[:length], plan=LONG)), 0.1)
    assert passes(end, 6, 0.1) == (2, 3, 4, 5)[:length]
    end.receive(a_draft(a_block(4, 2, (4, 5), plan=LONG), (7, 6)), 0.2)
    assert passes(end, 6, 0.2) == (4,)


def test_an_open_that_names_a_block_unheard_of_takes_back_what_was_decoded_alone() -> None:
    """The device knows nothing of it, and the block may have been tested by another life."""
    end = target_in(Target.WAITING, plan=ALONE)
    passes(end, 6, 0.1)
    opened = an_open(device_try=2, draft_epoch=1, outstanding=True)
    assert end.lacks(opened)
    end.receive(opened, 0.2)
    assert (end.log.tokens, end.step(0.2)) == ([7], None)
    end.receive(a_draft(a_block(1, 1, (2, 3), plan=LONG), incarnation=NEXT_LIFE), 0.3)
    assert passes(end, 6, 0.3) == (2, 3)


def test_an_open_that_names_the_block_at_hand_changes_nothing() -> None:
    """It is not lacking, and it is cut as before."""
    end = target_in(Target.WAITING)
    end.receive(a_draft(a_block(1, 1, (2, 3, 4), plan=LONG)), 0.1)
    opened = an_open(device_try=2, draft_epoch=1, outstanding=True)
    assert not end.lacks(opened)
    end.receive(opened, 0.2)
    answer = end.to_send()[-1]
    assert isinstance(answer, Opened) and answer.pending is not None and answer.pending.length == 3
    assert passes(end, 6, 0.3) == (2, 3)


def test_where_drafts_are_refused_the_next_plan_wants_none() -> None:
    """Not the one that a block is out by; and when they are allowed again, what was ordered last holds."""
    end = target_in(Target.WAITING)
    end.allow_drafts(False)
    assert end.plan == PLAN
    end.receive(a_draft(a_block(1, 1, (2, 3))), 0.1)
    assert passes(end, 6, 0.1) == (2, 3)
    refused = told(end)
    assert (refused.gamma, refused.min_draft, refused.number) == (0, 0, PLAN.number + 1)
    end.replan(as_plan((2, 3)))
    assert passes(end, 5, 0.2) == ()
    assert told(end).gamma == 0
    end.allow_drafts(True)
    assert passes(end, 4, 0.3) == ()
    assert told(end).gamma == 3


def test_no_pin_gets_around_it() -> None:
    """A gamma that the request fixes is 0 from its first plan on."""
    pinned = replace(a_request(), gamma=MAX_GAMMA)
    planning = Planning(as_plan((2, 2)), pinned, patience_s=5.0, length=1, drafts=False)
    assert planning.plan.gamma == planning.gamma_at(1) == 0
    planning.allow(True)
    planning.turn(4)
    assert (planning.plan.gamma, planning.gamma_at(3), planning.gamma_at(4)) == (MAX_GAMMA, 0, MAX_GAMMA)


def test_a_path_is_cut_to_the_plan_in_force() -> None:
    """Hints beyond it wait for the next pass, or for nothing."""
    end = target_in(Target.WAITING, temperature=0.0, plan=replace(PLAN, min_draft=0))
    drafted = a_draft(a_block(1, 1, (2, 3, 4, 5), greedy=True))
    end.receive(drafted, 0.1)
    assert passes(end, 4, 0.1, accepted=2) == (2, 3)
    assert passes(end, 6, 0.1) == (5,)
    assert end.incarnation == LIFE
