"""What the rows of a tested block tell of the acceptance at every K, for the controller.

A block is tested once its Draft is there; its rows travel behind, and often come when the next pass is under
way. So p at the tested positions is kept until they do, or until another block is tested. A path has single
rows, which wait for the pass that reaches their token. Nothing here is read by the session: a row that is
late, lost or wrong costs a report and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.control import RowsReport, StepReport
from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import Incarnation, SparseLogits
from draftwire.codecs.rows import Row
from draftwire.nodes.speculation.acceptance import acceptance
from draftwire.runtime.session.ahead import ROW_EVERY
from draftwire.runtime.session.target import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """Rows as they came."""

    message: SparseLogits
    size: int
    at_s: float
    tables: bytes | None
    "hash of the set that they came spelt with; None: plain"
    draft_at_s: float
    "when the Draft came that they came behind"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tested:
    """A block and what its test saw."""

    step: Step
    incarnation: Incarnation
    report: StepReport
    p: Sequence[NDArray[np.float64]] = field(repr=False)
    "of each tested position, shape [V]"


MAX_FRAMES = MAX_GAMMA // ROW_EVERY + 1
"""Messages of rows in memory: one of a block, or as many single ones as a path may have outstanding."""


class Lesson:
    """Of one request: at most one block's p and MAX_FRAMES messages of rows in memory, each reported once."""

    def __init__(self) -> None:
        self._frames: list[_Frame] = []
        "of one incarnation and epoch, by rising start"
        self._tested: _Tested | None = None
        self._told: tuple[Incarnation, int, int] | None = None
        "incarnation, epoch and start of the row of a path that was reported last"

    def rows_came(
        self,
        message: SparseLogits,
        *,
        size: int,
        at_s: float,
        draft_at_s: float,
        tables: bytes | None = None,
    ) -> None:
        """Rows of the request's present incarnation: they may come before their block's test or after it.

        `draft_at_s`: when the newest Draft came. `tables`: the hash of the set that they came spelt with;
        None: plain.
        """
        frame = _Frame(message=message, size=size, at_s=at_s, tables=tables, draft_at_s=draft_at_s)
        held = self._frames[0].message if self._frames else None
        if self._told is not None and self._told[:2] == (message.incarnation, message.draft_epoch):
            if message.start <= self._told[2]:
                return
        if held is not None and held.incarnation == message.incarnation:
            # Rows that were asked for singly say less than all of a block's.
            if (message.draft_epoch, len(message.rows)) < (held.draft_epoch, len(held.rows)):
                return
            if (message.draft_epoch, len(message.rows)) == (held.draft_epoch, len(held.rows)):
                if all(message.start != one.message.start for one in self._frames):
                    self._frames = sorted([*self._frames, frame], key=_start)[-MAX_FRAMES:]
                return
        self._frames = [frame]

    def was_tested(
        self, step: Step, report: StepReport, p: Sequence[NDArray[np.float64]], incarnation: Incarnation
    ) -> None:
        """A block has been tested, with `p`, shape [V], at each position that the test saw; at temperature 0
        with none, and then there is nothing to report. The block before is over.
        """
        tested = _Tested(step=step, incarnation=incarnation, report=report, p=p)
        self._tested = tested if p else None
        if not step.weights:  # the log has passed these
            self._frames = [one for one in self._frames if one.message.start >= len(step.tokens)]

    def forget(self) -> None:
        """Nobody waits for a report any more."""
        self._frames, self._tested = [], None

    def due(self) -> RowsReport | None:
        """The report of the last block tested, when its rows are all there; once.

        Of a path: that of the next row whose token the last pass has reached.
        """
        tested = self._tested
        if tested is None:
            return None
        for frame in self._frames:
            found = _found(tested, frame.message)
            if found is not None:
                self._reported(tested, frame)
                return _report(tested, frame, found)
        return None

    def _reported(self, tested: _Tested, frame: _Frame) -> None:
        """What need not be kept any more."""
        if tested.step.weights:
            self.forget()
            return
        message = frame.message
        self._frames.remove(frame)
        self._told = message.incarnation, message.draft_epoch, message.start


def _start(frame: _Frame) -> int:
    return frame.message.start


def _report(tested: _Tested, frame: _Frame, found: Sequence[tuple[int, Row]]) -> RowsReport:
    report, hints = tested.report, not tested.step.weights
    told = [acceptance(tested.p[i], row) for i, row in found]
    return RowsReport(
        device=report.device,
        request=report.request,
        step=report.step,
        temperature=report.temperature,
        k=len(found[0][1]),
        ladder=told[0].ladder,
        alphas=tuple(one.alphas for one in told),
        low=tuple(one.low for one in told),
        high=tuple(one.high for one in told),
        gap=tuple(one.gap for one in told),
        filled=tuple(one.filled for one in told),
        coupled=tuple(one.coupled for one in told),
        rows_bytes=frame.size,
        draft_at_s=frame.draft_at_s if hints else report.draft_at_s,
        rows_at_s=frame.at_s,
        tables=(frame.tables or b"").hex(),
    )


def _found(tested: _Tested, message: SparseLogits) -> Sequence[tuple[int, Row]] | None:
    """Rows by the index of the draft that each belongs to, of those that were seen.

    Of a block the message must have them all, and they must say what Draft said. Of a path it has one, and
    None is the answer where that is of no draft that was seen.
    """
    step, seen, vocab_size = tested.step, len(tested.p), len(tested.p[0])
    if (message.incarnation, message.draft_epoch) != (tested.incarnation, step.draft_epoch):
        return None
    first = message.start - len(step.tokens)
    rows = {first + i: row for i, row in enumerate(message.rows) if 0 <= first + i < len(step.ids)}
    if any(row.vocab_size != vocab_size for row in rows.values()):
        return None
    if step.weights:
        said = tuple(rows[i].weight_of(x) for i, x in enumerate(step.ids) if i in rows)
        if said != step.weights or len({len(row) for row in rows.values()}) != 1:
            return None
    return [(i, row) for i, row in sorted(rows.items()) if i < seen] or None


__all__ = ["Lesson"]
