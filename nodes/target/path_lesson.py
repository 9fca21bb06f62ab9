"""What single rows tell, where drafts are hints: of the link when they come, of acceptance at their position.

A row comes right behind the Draft that has its token. p at its position may be known already, as a BS that
never waits decodes positions before their drafts come, or only after the pass that reaches it. Both kinds
must be told: drafts come late behind a miss, where text is hard, and in time in easy stretches. What a row
tells is true if the path was right up to it. Nothing here is read by the session.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.control import RowsReport
from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import Draft, SparseLogits
from draftwire.nodes.speculation.acceptance import acceptance
from draftwire.nodes.target.lesson import Frame, Whose, rows_report
from draftwire.runtime.memory import remember
from draftwire.runtime.session.ahead import ROW_EVERY

MAX_ROWS: Final = MAX_GAMMA // ROW_EVERY + 1
"""That wait for their pass: as many as a path may have outstanding."""

MAX_POSITIONS: Final = MAX_ROWS * ROW_EVERY
"""Tokens of the log, more than a pass decodes: a row that comes later than so many is for the link only. p is
remembered at one in ROW_EVERY of them, at 8 V bytes each."""

IsRight = Callable[[int, int], bool]
"(epoch, position) -> whether the path of that epoch is known to be right up to the position."


class PathLesson:
    """Of one request above temperature 0."""

    def __init__(self) -> None:
        self._p: dict[int, NDArray[np.float64]] = {}
        "by position that has a row, shape [V]"
        self._rows: list[tuple[Frame, float]] = []
        "and when the message came that each came right behind"
        self._draft: Draft | None = None
        self._before_s = 0.0
        "when it came, or the last row behind it"
        self._newest = (0, 0)
        "epoch and position of the last row"

    def draft_came(self, draft: Draft, at_s: float) -> None:
        """The newest Draft of the request's present incarnation."""
        self._draft, self._before_s = draft, at_s

    def row_came(
        self, message: SparseLogits, whose: Whose, *, size: int, at_s: float, tables: bytes | None
    ) -> RowsReport | None:
        """A row of the newest epoch, and what it tells of the link.

        A row whose own Draft was lost tells nothing, now or later; nor does one that another of its epoch has
        overtaken, or that has come before. `tables`: hash of the set that it came spelt with; None: plain.
        """
        draft = self._draft
        if draft is None or draft.draft_epoch != message.draft_epoch or len(message.rows) != 1:
            return None
        row = message.draft_epoch, message.start
        if not 0 <= message.start - draft.start < len(draft.ids) or row <= self._newest:
            return None
        frame = Frame(message=message, size=size, at_s=at_s, tables=tables)
        before_s, self._before_s, self._newest = self._before_s, at_s, row
        self._rows = [*self._rows, (frame, before_s)][-MAX_ROWS:]
        return rows_report(whose, (), frame, k=len(message.rows[0]), draft_at_s=before_s)

    def decoded(self, position: int, p: Sequence[NDArray[np.float64]]) -> None:
        """A pass gave the tokens of these positions, from p, shape [V] each."""
        for i in range(-position % ROW_EVERY, len(p), ROW_EVERY):
            remember(self._p, position + i, p[i], most=MAX_ROWS)

    def forget(self) -> None:
        """Nobody waits for a report any more."""
        self._p.clear()
        self._rows.clear()
        self._draft = None

    def due(self, whose: Whose, *, length: int, is_right: IsRight) -> list[RowsReport]:
        """What rows tell of positions that a log of `length` tokens has by now, each once."""
        reached = [one for one in self._rows if one[0].message.start < length]
        self._rows = [one for one in self._rows if one[0].message.start >= length]
        reports = []
        for frame, before_s in reached:
            message = frame.message
            row, p = message.rows[0], self._p.get(message.start)
            if p is not None and row.vocab_size == len(p) and is_right(message.draft_epoch, message.start):
                told = [acceptance(p, row)]
                reports.append(rows_report(whose, told, frame, k=len(row), draft_at_s=before_s))
        return reports


__all__ = ["MAX_POSITIONS", "MAX_ROWS", "PathLesson"]
