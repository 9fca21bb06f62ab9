"""What the rows of a tested block tell of the acceptance at every K, for the controller.

A block is tested once its Draft is there; its rows travel behind, and often come when the next pass is under
way. So p at the tested positions is kept until they do, or until another block is tested. Nothing here is
read by the session: a row that is late, lost or wrong costs a report and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.control import RowsReport, StepReport
from draftwire.codecs.messages import Incarnation, SparseLogits
from draftwire.codecs.rows import Row
from draftwire.nodes.speculation.acceptance import RowAcceptance, acceptance, rungs
from draftwire.runtime.session.target import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Rows as they came."""

    message: SparseLogits
    size: int
    at_s: float
    tables: bytes | None
    "hash of the set that they came spelt with; None: plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tested:
    """A block and what its test saw."""

    step: Step
    incarnation: Incarnation
    report: StepReport
    p: Sequence[NDArray[np.float64]] = field(repr=False)
    "of each tested position, shape [V]"


class Lesson:
    """Of one request: at most one block's p and one message of rows in memory, each block reported once."""

    def __init__(self) -> None:
        self._frame: Frame | None = None
        self._tested: _Tested | None = None

    def rows_came(
        self, message: SparseLogits, *, size: int, at_s: float, tables: bytes | None = None
    ) -> None:
        """Rows of the request's present incarnation: they may come before their block's test or after it.

        `tables`: the hash of the set that they came spelt with; None: plain.
        """
        held = self._frame.message if self._frame is not None else None
        if held is not None and held.incarnation == message.incarnation:
            # Rows that were asked for singly say less than all of a block's.
            if (message.draft_epoch, len(message.rows)) <= (held.draft_epoch, len(held.rows)):
                return
        self._frame = Frame(message=message, size=size, at_s=at_s, tables=tables)

    def was_tested(
        self, step: Step, report: StepReport, p: Sequence[NDArray[np.float64]], incarnation: Incarnation
    ) -> None:
        """A block has been tested, with `p`, shape [V], at each position that the test saw; at temperature 0
        with none, and then there is nothing to report. The block before is over.
        """
        tested = _Tested(step=step, incarnation=incarnation, report=report, p=p)
        self._tested = tested if p else None

    def forget(self) -> None:
        """Nobody waits for a report any more."""
        self._frame = self._tested = None

    def due(self) -> RowsReport | None:
        """The report of the last block tested, when its rows are all there; once."""
        tested, frame = self._tested, self._frame
        if tested is None or frame is None:
            return None
        block = (tested.incarnation, tested.step.draft_epoch)
        rows = _rows_of(tested.step, frame.message, vocab_size=len(tested.p[0]))
        if (frame.message.incarnation, frame.message.draft_epoch) != block or rows is None:
            return None
        self.forget()
        told = [acceptance(p, row) for p, row in zip(tested.p, rows, strict=False)]
        report = tested.report
        whose = Whose(report.device, report.request, report.step, report.temperature)
        return rows_report(whose, told, frame, k=len(rows[0]), draft_at_s=report.draft_at_s)


class Whose(NamedTuple):
    """Which request rows are of, and which of its steps they are told of."""

    device: str
    request: int
    step: int
    temperature: float


def rows_report(
    whose: Whose, told: Sequence[RowAcceptance], frame: Frame, *, k: int, draft_at_s: float
) -> RowsReport:
    """What rows of K entries told, one value a position, behind a Draft that came then."""
    return RowsReport(
        **whose._asdict(),
        k=k,
        ladder=rungs(k),
        alphas=tuple(one.alphas for one in told),
        low=tuple(one.low for one in told),
        high=tuple(one.high for one in told),
        gap=tuple(one.gap for one in told),
        filled=tuple(one.filled for one in told),
        coupled=tuple(one.coupled for one in told),
        rows_bytes=frame.size,
        draft_at_s=draft_at_s,
        rows_at_s=frame.at_s,
        tables=(frame.tables or b"").hex(),
    )


def _rows_of(step: Step, message: SparseLogits, *, vocab_size: int) -> Sequence[Row] | None:
    """The rows of the step's drafts; None unless the message has them all and they say what Draft said."""
    first = len(step.tokens) - message.start
    rows = message.rows[first : first + len(step.ids)] if first >= 0 else ()
    if len(rows) < len(step.ids) or any(row.vocab_size != vocab_size for row in rows):
        return None
    said = tuple(row.weight_of(x) for row, x in zip(rows, step.ids, strict=True))
    alike = len({len(row) for row in rows}) == 1
    return rows if said == step.weights and alike else None


__all__ = ["Frame", "Lesson", "Whose", "rows_report"]
