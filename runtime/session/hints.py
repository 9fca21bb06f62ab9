"""What the BS holds of a device's drafts: at most one block and its rows. All of it hints."""

from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import Draft, PendingBlock, SparseLogits
from draftwire.codecs.rows import Row
from draftwire.runtime.session.log import TokenLog
from draftwire.runtime.session.states import Ignored


class Hints:
    """The newest block that a log can use, and the rows of the newest epoch.

    `weighted`: whether blocks carry q(x), as they do above temperature 0.
    """

    def __init__(self, *, vocab_size: int, weighted: bool, draft_epoch: int) -> None:
        """`draft_epoch`: the highest that the device has used; older ones belong to another life."""
        self.draft: Draft | None = None
        self.newest_epoch = draft_epoch - 1
        self._vocab_size = vocab_size
        self._weighted = weighted
        self._rows: dict[tuple[int, int], Row] = {}

    @property
    def rows_held(self) -> int:
        """Rows in memory; at most MAX_GAMMA."""
        return len(self._rows)

    @property
    def pending(self) -> PendingBlock | None:
        """The block, as Opened names it to a device that has restarted."""
        draft = self.draft
        if draft is None:
            return None
        return PendingBlock(
            draft_epoch=draft.draft_epoch,
            start=draft.start,
            length=len(draft.ids),
            plan=draft.plan,
            rows_hash=draft.rows_hash,
        )

    def offer(self, draft: Draft, log: TokenLog) -> Ignored | None:
        """Take a block of a new epoch in place of the older one: the newer counts, never the longer.

        The answer says why it is of no use, if so. HISTORY: it was drawn on another log, or all of it lies
        behind; the older one is gone all the same, since the device has left its path.
        """
        if not self._well_formed(draft):
            return Ignored.BAD_BLOCK
        if draft.start > len(log):
            return Ignored.GAP
        self.newest_epoch = draft.draft_epoch
        self._rows = {key: row for key, row in self._rows.items() if key[0] >= draft.draft_epoch}
        self.draft = draft if usable(draft, log) else None
        return Ignored.HISTORY if self.draft is None else None

    def offer_rows(self, message: SparseLogits, *, tested_epoch: int) -> Ignored | None:
        """Rows may overtake their Draft, so those of the newest epoch are kept; never more than a block."""
        epoch = message.draft_epoch
        if epoch < max(self.newest_epoch, tested_epoch):
            return Ignored.OLD_EPOCH
        if any(key[0] > epoch for key in self._rows):
            return Ignored.UNWANTED
        if any(row.vocab_size != self._vocab_size for row in message.rows):
            return Ignored.ROW_MISMATCH
        self._rows = {key: row for key, row in self._rows.items() if key[0] == epoch}
        for position, row in enumerate(message.rows, start=message.start):
            if len(self._rows) < MAX_GAMMA:
                self._rows[epoch, position] = row
        return None

    def row(self, draft_epoch: int, position: int) -> Row | None:
        """The row that was drawn from at a position, if it has come."""
        return self._rows.get((draft_epoch, position))

    def refuse_row(self, draft_epoch: int, position: int) -> None:
        """It contradicts its Draft: it has not come."""
        del self._rows[draft_epoch, position]

    def follow(self, log: TokenLog, *, tested_epoch: int) -> None:
        """The log has grown: keep the block only if some of it still lies ahead."""
        draft = self.draft
        if draft is not None and (draft.draft_epoch <= tested_epoch or not usable(draft, log)):
            self.draft = None

    def clear(self) -> None:
        """Nothing hangs on what is held any more."""
        self.draft = None
        self._rows.clear()

    def _well_formed(self, draft: Draft) -> bool:
        weights = len(draft.ids) if self._weighted else 0
        return bool(draft.ids) and len(draft.weights) == weights and max(draft.ids) < self._vocab_size


def usable(draft: Draft, log: TokenLog) -> bool:
    """Whether a block was drawn on this log, and some of it still lies ahead."""
    beyond = len(log) - draft.start
    return (
        0 <= beyond < len(draft.ids)
        and draft.path_hash == log.hash_at(draft.start)
        and log.continues(draft.start, draft.ids)
    )


__all__ = ["Hints", "usable"]
