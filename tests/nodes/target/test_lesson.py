"""When what rows tell is reported: of a block with all of its rows, of a path with the one it has; once."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.harness.reports import REPORT

from draftwire.codecs.messages import Incarnation, Plan, SparseLogits
from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row
from draftwire.nodes.speculation.acceptance import acceptance
from draftwire.nodes.speculation.coupling import coupled_acceptance
from draftwire.nodes.target.lesson import MAX_FRAMES, Lesson
from draftwire.runtime.session.target import Step

LIFE = Incarnation(boot=1, counter=1)
START, V = 5, 64
ROWS = tuple(quantize(np.arange(i, i + 8), -np.arange(8.0), vocab_size=V) for i in range(3))
P = (np.full(V, 1 / V), np.full(V, 1 / V))
"The third drafted token was not tested."


def _step(epoch: int = 4, rows: Sequence[Row] = ROWS) -> Step:
    ids = tuple(int(row.ids[1]) for row in rows)
    return Step(
        tokens=list(range(START)),
        ids=ids,
        weights=tuple(row.weight_of(x) for row, x in zip(rows, ids, strict=True)),
        draft_epoch=epoch,
        plan=Plan(number=1, k=8, gamma=3, min_draft=3),
    )


def _rows(
    epoch: int = 4, rows: Sequence[Row] = ROWS, start: int = START, life: Incarnation = LIFE
) -> SparseLogits:
    return SparseLogits(incarnation=life, draft_epoch=epoch, start=start, rows=tuple(rows))


def _offer(lesson: Lesson, *messages: SparseLogits) -> None:
    for number, message in enumerate(messages):
        lesson.rows_came(message, size=100 + number, at_s=1.0 + number, draft_at_s=0.5 + number)


@pytest.mark.parametrize("rows_first", [True, False])
def test_a_block_is_reported_once(rows_first: bool) -> None:
    """Whichever comes first, and however often rows are repeated; size and time are the first copy's."""
    lesson = Lesson()
    if rows_first:
        _offer(lesson, _rows())
        assert lesson.due() is None
    lesson.was_tested(_step(), REPORT, P, LIFE)
    if not rows_first:
        assert lesson.due() is None
        _offer(lesson, _rows(), _rows())
    report = lesson.due()
    assert report is not None
    assert (report.step, report.request, report.device) == (REPORT.step, REPORT.request, REPORT.device)
    assert (report.rows_bytes, report.rows_at_s, report.draft_at_s) == (100, 1.0, REPORT.draft_at_s)
    assert len(report.alphas) == 2
    _offer(lesson, _rows(), _rows())
    assert lesson.due() is None


OTHER = quantize(np.arange(8), np.zeros(8), vocab_size=V)
WRONG = {
    "another epoch": _rows(epoch=3),
    "a later epoch": _rows(epoch=5),
    "another life": _rows(life=replace(LIFE, counter=2)),
    "too few": _rows(rows=ROWS[:2]),
    "singly, as asked for": _rows(rows=ROWS[1:2], start=START + 1),
    "another place": _rows(start=START + 1),
    "a row that Draft did not draw from": _rows(rows=(ROWS[0], OTHER, ROWS[2])),
    "rows of several K": _rows(
        rows=(*ROWS[:2], quantize(np.array([3]), np.zeros(1), vocab_size=V))
    ),
    "another vocabulary": _rows(rows=[replace(row, vocab_size=V + 1) for row in ROWS]),
}


@pytest.mark.parametrize("what", WRONG)
def test_rows_of_something_else_teach_nothing(what: str) -> None:
    """Rows of another block, too few of them, or others than the Draft's are never reported."""
    for rows_first in (True, False):
        lesson = Lesson()
        if rows_first:
            _offer(lesson, WRONG[what])
        lesson.was_tested(_step(), REPORT, P, LIFE)
        if not rows_first:
            _offer(lesson, WRONG[what])
        assert lesson.due() is None


def test_a_row_that_was_asked_for_does_not_hide_all_of_them() -> None:
    """A repeat of the whole block that comes behind a single row is reported, with its own size."""
    lesson = Lesson()
    lesson.was_tested(_step(), REPORT, P, LIFE)
    _offer(lesson, WRONG["singly, as asked for"], _rows())
    report = lesson.due()
    assert report is not None and report.rows_bytes == 101


def test_another_block_tested_first_ends_the_wait() -> None:
    """Rows that come when the next block has been tested are too late, and the next one's are not."""
    lesson = Lesson()
    lesson.was_tested(_step(4), REPORT, P, LIFE)
    lesson.was_tested(_step(5), replace(REPORT, step=4), P, LIFE)
    _offer(lesson, _rows(4))
    assert lesson.due() is None
    _offer(lesson, _rows(5))
    report = lesson.due()
    assert report is not None and report.step == 4


def test_nothing_is_kept_without_p_or_once_forgotten() -> None:
    """At temperature 0 a test saw no p that rows could teach of; a closed request teaches nothing."""
    lesson = Lesson()
    lesson.was_tested(_step(), REPORT, (), LIFE)
    _offer(lesson, _rows())
    assert lesson.due() is None
    lesson.was_tested(_step(), REPORT, P, LIFE)
    lesson.forget()
    _offer(lesson, _rows())
    assert lesson.due() is None


# -------------------------------------------------------- a path: one row in eight, drafts as hints

ROW = quantize(np.arange(8), -np.arange(8.0), vocab_size=V)


def _path(ids: Sequence[int] = (1, 2, 3), epoch: int = 4, start: int = START) -> Step:
    """A pass over what continues the log of a path; drafts have no weights."""
    return Step(
        tokens=list(range(start)),
        ids=tuple(ids),
        weights=(),
        draft_epoch=epoch,
        plan=Plan(number=1, k=8, gamma=8, min_draft=0),
    )


def _ps(count: int) -> tuple[NDArray[np.float64], ...]:
    """p at so many tested positions, each another."""
    return tuple(np.random.default_rng(i).dirichlet(np.ones(V)) for i in range(count))


@pytest.mark.parametrize("rows_first", [True, False])
@pytest.mark.parametrize("i", [0, 1, 2])
def test_a_row_of_a_path_is_reported_with_p_of_its_position(i: int, rows_first: bool) -> None:
    """Whichever token of the pass it belongs to, and whichever comes first; its Draft is the newest one."""
    lesson, p = Lesson(), _ps(3)
    message = _rows(rows=(ROW,), start=START + i)
    if rows_first:
        _offer(lesson, message)
        assert lesson.due() is None
    lesson.was_tested(_path(), REPORT, p, LIFE)
    if not rows_first:
        assert lesson.due() is None
        _offer(lesson, message)
    report, told = lesson.due(), acceptance(p[i], ROW)
    assert report is not None
    assert (report.ladder, report.alphas, report.coupled) == (told.ladder, (told.alphas,), (told.coupled,))
    assert report.coupled == pytest.approx((coupled_acceptance(p[i], ROW),))
    assert (report.rows_bytes, report.rows_at_s, report.draft_at_s, report.k) == (100, 1.0, 0.5, 8)
    assert lesson.due() is None


@pytest.mark.parametrize(
    "row",
    [
        _rows(rows=(ROW,), epoch=3),
        _rows(rows=(ROW,), epoch=5),
        _rows(rows=(ROW,), life=replace(LIFE, counter=2)),
        _rows(rows=(ROW,), start=START - 1),
        _rows(rows=(ROW,), start=START + 2),
        _rows(rows=(ROW,), start=START + 3),
        _rows(rows=(replace(ROW, vocab_size=V + 1),), start=START),
    ],
)
def test_a_row_of_a_wrong_path_teaches_nothing(row: SparseLogits) -> None:
    """Another epoch or life, before the pass, or behind the first wrong token of it (here the second)."""
    for rows_first in (True, False):
        lesson = Lesson()
        if rows_first:
            _offer(lesson, row)
        lesson.was_tested(_path(), REPORT, _ps(2), LIFE)
        if not rows_first:
            _offer(lesson, row)
        assert lesson.due() is None


def test_two_rows_of_a_path_are_reported_in_turn() -> None:
    """However far the device is ahead: by one pass or by two, each once, repeats or not."""
    first, second = _rows(rows=(ROW,), start=START + 1), _rows(rows=(ROW,), start=START + 9)
    for passes in ((10,), (4, 8)):
        lesson, told = Lesson(), list[float]()
        _offer(lesson, second, first, first, second)
        start = START
        for length in passes:
            p = _ps(length)
            lesson.was_tested(_path(range(1, length + 1), start=start), REPORT, p, LIFE)
            while (report := lesson.due()) is not None:
                told += report.coupled
                _offer(lesson, first)
            start += length
        at = [_ps(10)[1], _ps(10)[9]] if passes == (10,) else [_ps(4)[1], _ps(8)[5]]
        assert told == pytest.approx([coupled_acceptance(p, ROW) for p in at])


def test_rows_in_memory_are_bounded() -> None:
    """Whatever a device sends: as many as a path has outstanding, and the newest of them."""
    lesson = Lesson()
    _offer(lesson, *(_rows(rows=(ROW,), start=START + i) for i in range(500)))
    assert len(lesson._frames) == MAX_FRAMES == 5
    lesson.was_tested(_path((1,), start=START + 499), REPORT, _ps(1), LIFE)
    assert lesson.due() is not None


def test_a_row_waits_for_the_pass_that_tests_its_token() -> None:
    """A path outlives passes: a row that came early is reported with the pass that reaches it, and once."""
    lesson = Lesson()
    _offer(lesson, _rows(rows=(ROW,), start=START + 4))
    lesson.was_tested(_path(), REPORT, _ps(3), LIFE)
    assert lesson.due() is None
    p = _ps(2)
    lesson.was_tested(_path((5, 6), start=START + 4), replace(REPORT, step=9), p, LIFE)
    report = lesson.due()
    assert report is not None and report.step == 9
    assert report.coupled == pytest.approx((coupled_acceptance(p[0], ROW),))
