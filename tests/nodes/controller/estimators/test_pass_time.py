"""The time of a pass is learnt by sessions and positions."""

import numpy as np
import pytest

from draftwire.nodes.controller.estimators.pass_time import MOST_SIZES, PassTime


def stepped_s(sessions: int, rows: int) -> float:
    """A machine whose passes have a constant, a part for each session, and a step at 32 positions."""
    return 0.040 + 0.001 * sessions + 0.0008 * rows + (0.020 if rows > 32 else 0.0)


def learnt(seed: int, *, passes: int = 400, noise: float = 0.03) -> PassTime:
    rng, found = np.random.default_rng(seed), PassTime()
    for _ in range(passes):
        sessions = int(rng.integers(1, 17))
        rows = sessions * int(rng.integers(1, 5))
        took_s = stepped_s(sessions, rows) * float(rng.normal(1.0, noise))
        for whose in range(sessions):  # each of them reports the pass
            found.observe(sessions=sessions, rows=rows, step_s=took_s, whose=whose)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_a_curved_machine_is_learnt(seed: int) -> None:
    """Within 10 % at sizes that were seen, on both sides of a step that no plane has."""
    found = learnt(seed)
    for sessions, each in ((1, 2), (4, 3), (8, 2), (16, 1), (16, 4)):
        rows = sessions * each
        expected_s = stepped_s(sessions, rows)
        assert found.seconds(sessions=sessions, rows=rows) == pytest.approx(expected_s, rel=0.1), (seed, rows)


def test_a_pass_counts_once_however_many_report_it() -> None:
    """Sixteen reports of one slow pass weigh as much as one."""
    once, often = PassTime(), PassTime()
    for _ in range(50):
        for found in (once, often):
            found.observe(sessions=16, rows=32, step_s=0.1)
            found.observe(sessions=16, rows=33, step_s=0.1001)
    once.observe(sessions=16, rows=32, step_s=0.15)
    for whose in range(16):
        often.observe(sessions=16, rows=32, step_s=0.15, whose=whose)
    assert once.seconds(sessions=16, rows=32) == often.seconds(sessions=16, rows=32)


def test_a_session_that_tells_the_same_again_tells_of_another_pass() -> None:
    """Where passes take a fixed time, as in virtual time, each of them counts all the same."""
    told, learnt_from = PassTime(), PassTime()
    for found in (told, learnt_from):
        found.observe(sessions=2, rows=2, step_s=0.08, whose="a")
        found.observe(sessions=2, rows=4, step_s=0.2, whose="a")
    for number in range(20):
        told.observe(sessions=2, rows=4, step_s=0.1, whose="a")
        told.observe(sessions=2, rows=4, step_s=0.1, whose="b")
        learnt_from.observe(sessions=2, rows=4, step_s=0.1 + 1e-9 * number, whose="a")
    assert told.seconds(sessions=2, rows=4) == pytest.approx(learnt_from.seconds(sessions=2, rows=4))


def test_what_is_not_seen_for_a_while_is_not_forgotten() -> None:
    """A slope that drafts have shown stands while the target decodes alone."""
    found = learnt(1)
    for number in range(300):
        found.observe(sessions=16, rows=16, step_s=stepped_s(16, 16) + 1e-6 * number)
    more_s = found.seconds(sessions=16, rows=48) - found.seconds(sessions=16, rows=16)
    assert more_s == pytest.approx(stepped_s(16, 48) - stepped_s(16, 16), rel=0.3)


def test_one_stalled_pass_does_not_count_for_what_it_took() -> None:
    """A shared machine stalls at times."""
    found = PassTime()
    for number in range(30):
        found.observe(sessions=4, rows=8, step_s=0.05 + 1e-6 * number)
    found.observe(sessions=4, rows=8, step_s=5.0)
    assert found.seconds(sessions=4, rows=8) < 0.055


def test_a_machine_that_has_become_slower_is_believed() -> None:
    """Within some dozens of passes."""
    found = PassTime()
    for step_s in (0.05, 0.1):
        for number in range(100):
            found.observe(sessions=4, rows=8, step_s=step_s + 1e-6 * number)
    assert found.seconds(sessions=4, rows=8) == pytest.approx(0.1, rel=0.05)


def test_sizes_are_bounded_and_nothing_is_made_up() -> None:
    """However different passes are, memory is not; before the first one there is no answer."""
    found = PassTime()
    with pytest.raises(ValueError, match="no pass"):
        found.seconds(sessions=1, rows=1)
    for sessions in range(1, 60):
        for each in (1, 2, 5, 9, 40):
            found.observe(sessions=sessions, rows=sessions * each, step_s=0.04 + 1e-4 * sessions * each)
    assert len(found._means) <= MOST_SIZES
