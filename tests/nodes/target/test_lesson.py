"""When what rows tell is reported: of a tested block, once all of its rows are there, and once."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from tests.harness.reports import REPORT

from draftwire.codecs.messages import Incarnation, Plan, SparseLogits
from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row
from draftwire.nodes.target.lesson import Lesson
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
        lesson.rows_came(message, size=100 + number, at_s=1.0 + number)


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
