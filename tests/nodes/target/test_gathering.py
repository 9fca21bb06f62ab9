"""When a free base station begins its next pass."""

import pytest

from draftwire.nodes.speculation.together import TOLERANCE, longest_wait_s
from draftwire.nodes.target.gathering import MARGIN_S, Gathering, Turnaround

PASS_S = 0.1
LONG_ENOUGH_S = TOLERANCE * longest_wait_s(pass_s=PASS_S, steady=0, blocks=2)


def gathering() -> Gathering:
    """That knows how long passes take."""
    known = Gathering()
    known.passed(PASS_S)
    return known


def test_a_session_alone_never_waits() -> None:
    """With nobody to come the pass begins at once."""
    assert gathering().begins_s(1.0, steady=0, blocks=1, due_s=[]) == 1.0
    assert gathering().begins_s(1.0, steady=1, blocks=0, due_s=[]) == 1.0


def test_a_block_that_is_due_soon_is_waited_for() -> None:
    """Both have their step in one pass then; the last of several decides."""
    assert gathering().begins_s(1.0, steady=0, blocks=1, due_s=[1.01]) == 1.01
    assert gathering().begins_s(1.0, steady=0, blocks=1, due_s=[1.02, 1.005]) == 1.02


def test_a_block_that_is_due_late_is_not_waited_for() -> None:
    """It has the next pass; those before it are waited for all the same."""
    late_s = 1.001 + LONG_ENOUGH_S
    assert gathering().begins_s(1.0, steady=0, blocks=1, due_s=[late_s]) == 1.0
    assert gathering().begins_s(1.0, steady=0, blocks=1, due_s=[1.01, 2.0]) == 1.01


def test_many_that_are_always_there_do_not_wait_for_one() -> None:
    """One block delays fifteen sessions that decode alone by less than they would gain: hardly at all."""
    assert gathering().begins_s(1.0, steady=15, blocks=0, due_s=[1.01]) == 1.0
    assert gathering().begins_s(1.0, steady=1, blocks=14, due_s=[1.01]) == 1.01


def test_nobody_misses_a_pass_for_a_rider() -> None:
    """A rider alone waits for a block that is about to come, as if he were not there, and for no longer."""
    due_s = [1.0 + 0.9 * TOLERANCE * longest_wait_s(pass_s=PASS_S, steady=0, blocks=1)]
    assert gathering().begins_s(1.0, steady=1, blocks=0, due_s=due_s) == 1.0
    assert gathering().begins_s(1.0, steady=0, blocks=0, riders=1, due_s=due_s) == due_s[0]
    assert gathering().begins_s(1.0, steady=0, blocks=0, riders=1, due_s=[2.0]) == 1.0
    assert gathering().begins_s(1.0, steady=0, blocks=0, riders=1, due_s=[]) == 1.0


def test_nobody_is_waited_for_for_longer_than_is_worth_it_in_all() -> None:
    """Blocks that are late again and again don't add up: the wait counts from when the model could begin."""
    waiting, now_s = gathering(), 1.0
    while (begins_s := waiting.begins_s(now_s, steady=0, blocks=1, due_s=[now_s + 0.01])) > now_s:
        now_s = begins_s
    assert now_s <= 1.0 + LONG_ENOUGH_S
    waiting.passed(PASS_S)
    assert waiting.begins_s(now_s, steady=0, blocks=1, due_s=[now_s + 0.01]) > now_s


def test_a_wait_is_counted_anew_when_nobody_was_left() -> None:
    """Who was there has gone without a pass, and another comes much later: it waits as the first did."""
    waiting = gathering()
    assert waiting.begins_s(1.0, steady=0, blocks=1, due_s=[1.01]) == 1.01
    assert waiting.begins_s(1.005, steady=0, blocks=0, due_s=[1.01]) == 1.005
    assert waiting.begins_s(9.0, steady=0, blocks=1, due_s=[9.01]) == 9.01


def test_an_overdue_block_is_not_waited_for() -> None:
    """It is lost, or its device is gone."""
    assert gathering().begins_s(1.0, steady=0, blocks=1, due_s=[0.99]) == 1.0


def test_before_a_pass_was_timed_there_is_no_wait() -> None:
    """Nothing says what one would be worth."""
    assert Gathering().begins_s(1.0, steady=0, blocks=1, due_s=[1.001]) == 1.0


def test_a_block_is_due_by_the_slowest_of_the_last_ones() -> None:
    """A round trip and its own drafting, as long as its session's last blocks took; then forgotten."""
    turnaround = Turnaround()
    assert turnaround.due_s(asked_s=5.0, drafting_s=0.003) is None
    turnaround.observe(asked_s=1.0, came_s=1.03, drafting_s=0.01)
    turnaround.observe(asked_s=2.0, came_s=2.02, drafting_s=0.01)
    assert turnaround.due_s(asked_s=5.0, drafting_s=0.003) == pytest.approx(5.023 + MARGIN_S)
    for _ in range(4):
        turnaround.observe(asked_s=2.0, came_s=2.02, drafting_s=0.01)
    assert turnaround.due_s(asked_s=5.0, drafting_s=0.003) == pytest.approx(5.013 + MARGIN_S)
