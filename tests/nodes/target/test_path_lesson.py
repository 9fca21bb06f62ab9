"""What single rows of paths tell: of the link at once, of acceptance when the log has their position."""

from collections.abc import Collection, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from draftwire.codecs.control import RowsReport
from draftwire.codecs.hashes import ids_hash
from draftwire.codecs.messages import Draft, Incarnation, Plan, SparseLogits
from draftwire.codecs.quantize import quantize
from draftwire.nodes.speculation.acceptance import acceptance
from draftwire.nodes.speculation.coupling import coupled_acceptance
from draftwire.nodes.target.lesson import Whose
from draftwire.nodes.target.path_lesson import MAX_POSITIONS, MAX_ROWS, IsRight, PathLesson

LIFE = Incarnation(boot=1, counter=1)
V = 64
ROW = quantize(np.arange(8), -np.arange(8.0), vocab_size=V)
WHOSE = Whose("dev", 7, 3, 0.8)


def p_at(position: int) -> NDArray[np.float64]:
    """Of the target, another at each position."""
    return np.random.default_rng(position).dirichlet(np.ones(V))


def a_draft(epoch: int, start: int, length: int) -> Draft:
    ids = (1,) * length
    return Draft(
        incarnation=LIFE,
        draft_epoch=epoch,
        known=1,
        start=start,
        path_hash=bytes(8),
        plan=Plan(number=1, k=8, gamma=32, min_draft=0),
        ids=ids,
        weights=(),
        rows_hash=ids_hash(ids),
    )


def right(*epochs: int, wrong: Collection[int] = ()) -> IsRight:
    """Paths of these epochs are, but for these positions."""
    return lambda epoch, position: epoch in epochs and position not in wrong


class World:
    """A lesson, and messages that come to it one a second, of 100 bytes and more."""

    def __init__(self) -> None:
        self.lesson, self.now_s = PathLesson(), 0.0

    def draft(self, epoch: int, start: int, length: int) -> None:
        self.now_s += 1
        self.lesson.draft_came(a_draft(epoch, start, length), self.now_s)

    def row(self, epoch: int, position: int, *, vocab_size: int = V, rows: int = 1) -> RowsReport | None:
        self.now_s += 1
        row = quantize(np.arange(8), -np.arange(8.0), vocab_size=vocab_size)
        message = SparseLogits(incarnation=LIFE, draft_epoch=epoch, start=position, rows=(row,) * rows)
        return self.lesson.row_came(message, WHOSE, size=100, at_s=self.now_s, tables=bytes(range(8)))

    def decode(self, start: int, end: int) -> None:
        self.lesson.decoded(start, [p_at(position) for position in range(start, end)])

    def due(self, length: int, is_right: IsRight) -> list[RowsReport]:
        return self.lesson.due(WHOSE, length=length, is_right=is_right)

    def told(self, length: int, is_right: IsRight) -> list[float]:
        """P(equal), which tells positions apart, of what is due."""
        return [x for report in self.due(length, is_right) for x in report.coupled]


def equal_at(positions: Sequence[int]) -> object:
    """P(equal) there."""
    return pytest.approx([coupled_acceptance(p_at(position), ROW) for position in positions])


def test_a_row_tells_of_the_link_when_it_comes() -> None:
    """Without positions: nothing of it hangs on any pass."""
    world = World()
    world.draft(4, 6, 3)
    report = world.row(4, 8)
    assert report is not None
    assert (report.device, report.request, report.step, report.temperature) == WHOSE
    assert (report.alphas, report.low, report.high, report.coupled) == ((), (), (), ())
    assert (report.k, report.ladder[-1], report.tables) == (8, 8, bytes(range(8)).hex())
    assert (report.draft_at_s, report.rows_at_s, report.rows_bytes) == (1.0, 2.0, 100)


def test_rows_behind_one_draft_are_timed_from_each_other() -> None:
    """The second has waited for the first: only the time since that is its own."""
    world = World()
    world.draft(4, 6, 20)
    times = [(one.draft_at_s, one.rows_at_s) for one in (world.row(4, 8), world.row(4, 16)) if one]
    assert times == [(1.0, 2.0), (2.0, 3.0)]
    world.decode(6, 20)
    assert [(one.draft_at_s, one.rows_at_s) for one in world.due(20, right(4))] == times


@pytest.mark.parametrize("late", [True, False])
def test_a_row_is_reported_with_p_of_its_position_once(late: bool) -> None:
    """Whether it comes before the pass that reaches its position, or after; repeats teach nothing."""
    world = World()
    if late:
        world.decode(5, 12)
    world.draft(4, 6, 3)
    assert world.row(4, 8) is not None
    if not late:
        assert world.due(8, right(4)) == []
        world.decode(5, 12)
    (report,), told = world.due(12, right(4)), acceptance(p_at(8), ROW)
    assert (report.ladder, report.alphas, report.coupled) == (told.ladder, (told.alphas,), (told.coupled,))
    assert (report.low, report.high, report.gap, report.filled) == (
        (told.low,),
        (told.high,),
        (told.gap,),
        (told.filled,),
    )
    assert (report.draft_at_s, report.rows_at_s, report.rows_bytes) == (1.0, 2.0, 100)
    assert world.row(4, 8) is None
    assert world.due(12, right(4)) == []


def test_a_row_of_a_wrong_path_teaches_nothing() -> None:
    """Neither now nor later, as its position is behind then; of the link it has told."""
    world = World()
    world.draft(4, 6, 12)
    assert world.row(4, 8) is not None and world.row(4, 16) is not None
    world.decode(5, 12)
    assert world.told(12, right(4, wrong=[8])) == []
    assert world.told(12, right(4)) == []
    world.decode(12, 20)
    assert world.told(20, right(5)) == []
    assert world.told(20, right(4)) == []


def test_a_row_whose_draft_was_lost_tells_nothing() -> None:
    """Of another epoch than the newest Draft, before it, behind its end, or without any Draft: no spacing."""
    world = World()
    assert world.row(4, 8) is None
    world.draft(4, 9, 7)
    assert [world.row(*where) for where in ((3, 9), (5, 9), (4, 8), (4, 16), (4, 24))] == [None] * 5
    assert world.row(4, 9, rows=2) is None
    world.decode(5, 30)
    assert world.told(30, right(3, 4, 5)) == []


def test_a_row_that_was_overtaken_tells_nothing() -> None:
    """Behind a later one of its epoch, what lies between it and its Draft is not the time that it took."""
    world = World()
    world.draft(4, 6, 20)
    assert world.row(4, 16) is not None
    assert world.row(4, 8) is None


@pytest.mark.parametrize("start", [5, 8, 1])
def test_all_rows_of_the_longest_pass_are_reported(start: int) -> None:
    """p is kept for as many positions as one pass decodes, wherever it begins; rows come before or after."""
    end = start + 33
    rows = list(range(start + -start % 8, start + 32, 8))
    for late in (False, True):
        world = World()
        if late:
            world.decode(start, end)
        world.draft(4, start, 32)
        assert all(world.row(4, position) is not None for position in rows)
        if not late:
            world.decode(start, end)
        assert world.told(end, right(4)) == equal_at(rows)


def test_p_that_is_forgotten_costs_the_report() -> None:
    """A row that comes so many tokens late, or once the request is given up, tells of the link alone."""
    world = World()
    world.decode(1, 9 + MAX_POSITIONS)
    world.draft(4, 8, 9)
    assert world.row(4, 8) is not None and world.row(4, 16) is not None
    assert world.told(9 + MAX_POSITIONS, right(4)) == equal_at([16])
    world.lesson.forget()
    assert world.row(4, 24) is None
    world.draft(5, 24, 1)
    assert world.row(5, 24) is not None
    assert world.told(9 + MAX_POSITIONS, right(5)) == []


def test_rows_of_another_vocabulary_teach_nothing() -> None:
    """Whatever a device sends."""
    world = World()
    world.draft(4, 8, 1)
    assert world.row(4, 8, vocab_size=V + 1) is not None
    world.decode(8, 9)
    assert world.told(9, right(4)) == []


def test_memory_is_bounded() -> None:
    """However many rows come for positions far ahead, and however long a request is: the newest are kept."""
    world = World()
    for epoch in range(1, 100):
        world.draft(epoch, 800, 1)
        assert world.row(epoch, 800) is not None
    world.decode(0, 801)
    assert len(world.lesson._rows) == len(world.lesson._p) == MAX_ROWS
    assert len(world.due(801, lambda epoch, position: True)) == MAX_ROWS
    assert world.lesson._rows == []
