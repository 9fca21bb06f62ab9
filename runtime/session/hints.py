"""What the BS holds of a device's drafts: at most one block and its rows, or one path of ids.

`BlockHints` is for rejection above temperature 0, where what has been tested must stand; `PathHints` for
requests whose drafts may be dropped freely.
"""

from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import Draft, PendingBlock, SparseLogits
from draftwire.codecs.rows import Row
from draftwire.runtime.session.log import TokenLog
from draftwire.runtime.session.states import Ignored


class BlockHints:
    """The newest block that a log can use, and the rows of the newest epoch."""

    def __init__(self, *, vocab_size: int, draft_epoch: int) -> None:
        """`draft_epoch`: the highest that the device has used; older ones belong to another life."""
        self.draft: Draft | None = None
        self.most = 0
        "of its ids that are of use, from the first on"
        self.newest_epoch = draft_epoch - 1
        self._vocab_size = vocab_size
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

    def offer(self, draft: Draft, log: TokenLog, *, most: int) -> Ignored | None:
        """Take a block of a new epoch in place of the older one: the newer counts, never the longer. Of its
        ids no more than `most` are used, from the first on.

        The answer says why it is of no use, if so. HISTORY: it was drawn on another log, or all of it lies
        behind; the older one is gone all the same, since the device has left its path.
        """
        if not self._well_formed(draft):
            return Ignored.BAD_BLOCK
        if draft.start > len(log):
            return Ignored.GAP
        self.newest_epoch = draft.draft_epoch
        self._rows = {key: row for key, row in self._rows.items() if key[0] >= draft.draft_epoch}
        self.draft, self.most = draft if usable(draft, log, most=most) else None, most
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
        if draft is not None and (
            draft.draft_epoch <= tested_epoch or not usable(draft, log, most=self.most)
        ):
            self.draft = None

    def restart(self, draft_epoch: int) -> None:
        """Another life of the device, which has used epochs up to this one."""
        self.newest_epoch = max(self.newest_epoch, draft_epoch - 1)

    def leave(self) -> None:
        """No block is wanted any more."""
        self.draft = None

    def clear(self) -> None:
        """Nothing hangs on what is held any more."""
        self.draft = None
        self._rows.clear()

    def _well_formed(self, draft: Draft) -> bool:
        weighted = len(draft.weights) == len(draft.ids)
        planned = 0 < len(draft.ids) <= draft.plan.gamma
        return planned and weighted and max(draft.ids) < self._vocab_size


def usable(draft: Draft, log: TokenLog, *, most: int) -> bool:
    """Whether a block was drawn on this log, and some of its first `most` ids still lie ahead."""
    beyond = len(log) - draft.start
    return (
        0 <= beyond < min(len(draft.ids), most)
        and draft.path_hash == log.hash_at(draft.start)
        and log.continues(draft.start, draft.ids)
    )


class PathHints:
    """The ids of the newest path that continue a log, as the log grows underneath them."""

    def __init__(self, *, vocab_size: int, draft_epoch: int) -> None:
        """`draft_epoch`: the highest that the device has used; older ones belong to another life."""
        self.ids: list[int] = []
        "behind the log"
        self.last = False
        "whether the device draws no more before it hears of the log again"
        self.resting = False
        "whether it has said so with no ids at all: then none need be waited for until some come"
        self.missing = False
        "whether a Draft has come that does not fit to what is held, and none since that does"
        self.seen = self.hits = 0
        "drafted ids held against the log, and those that were its own, up to each path's first wrong one"
        self.newest_epoch = draft_epoch - 1
        self._vocab_size = vocab_size
        self._alive = False
        self._judged = 0
        "position up to which ids of the newest path have been held against the log"

    @property
    def pending(self) -> None:
        """Nothing that a device would have to draw again."""
        return None

    def offer(self, draft: Draft, log: TokenLog) -> Ignored | None:
        """Take what a Draft adds to the path, or the path that it begins; the answer says why not, if so.

        HISTORY: it was drawn on another log, or the log has meanwhile gone another way.
        """
        if not self._well_formed(draft) or draft.start < log.prompt_length:
            return Ignored.BAD_BLOCK
        if draft.draft_epoch < self.newest_epoch:
            return Ignored.OLD_EPOCH
        if draft.start <= len(log):
            return self._from_the_log(draft, log)
        return self._from_the_path(draft, log)

    def is_right(self, draft_epoch: int, position: int) -> bool:
        """Whether the path of that epoch reaches the position, as the log does, and is right up to it.

        Its id there may be wrong: it was drawn behind the log's own tokens all the same.
        """
        return draft_epoch == self.newest_epoch and position < self._judged

    def follow(self, log: TokenLog, *, tested_epoch: int) -> None:
        """The log has grown: what was drafted for its new positions is held against them."""
        grown = len(log) - self._judged
        if self._alive and grown > 0:
            self.last = False
            self._judge(self.ids, log)

    def restart(self, draft_epoch: int) -> None:
        """Another life of the device, which has used epochs up to this one: it starts a path of its own."""
        self._drop_for(draft_epoch - 1)

    def leave(self) -> None:
        """No drafts are wanted any more."""
        self.clear()

    def clear(self) -> None:
        """Nothing hangs on what is held any more."""
        self.ids, self._alive = [], False
        self.last = self.resting = self.missing = False

    def _from_the_log(self, draft: Draft, log: TokenLog) -> Ignored | None:
        """It begins within the log, or right behind it, so the log alone says whether it fits."""
        if draft.path_hash != log.hash_at(draft.start):
            return self._leave(draft)
        same = draft.draft_epoch == self.newest_epoch
        if same and not self._alive and self._judged > draft.start:
            return Ignored.HISTORY  # of a path that is known to be wrong, and has been counted
        held_end = self._judged + len(self.ids) if same and self._alive else -1
        if draft.start + len(draft.ids) <= held_end:
            return self._repeated(draft)
        self.newest_epoch, self._alive, self.missing = draft.draft_epoch, True, False
        self.last, self.resting = draft.last, not draft.ids
        self._judged = max(self._judged, draft.start) if same else draft.start
        self._judge(list(draft.ids[self._judged - draft.start :]), log)
        return None if self._alive else Ignored.HISTORY

    def _from_the_path(self, draft: Draft, log: TokenLog) -> Ignored | None:
        """It begins behind the log: it can only continue what is held of its own epoch."""
        first = draft.start - len(log)
        if draft.draft_epoch > self.newest_epoch or (self._alive and first > len(self.ids)):
            self.missing = True
            return Ignored.GAP
        if not self._alive or draft.path_hash != log.hash_with(len(log), self.ids[:first]):
            return Ignored.HISTORY
        if first + len(draft.ids) <= len(self.ids):
            return self._repeated(draft)
        if first + len(draft.ids) > MAX_GAMMA:
            return Ignored.BAD_BLOCK
        self.ids[first:] = draft.ids
        self.last, self.resting, self.missing = draft.last, False, False
        return None

    def _repeated(self, draft: Draft) -> Ignored:
        """It adds nothing but, perhaps, that nothing more comes."""
        self.missing = False
        self.last |= draft.last
        self.resting |= not draft.ids
        return Ignored.REPEATED

    def _leave(self, draft: Draft) -> Ignored:
        if draft.draft_epoch > self.newest_epoch:
            self._drop_for(draft.draft_epoch)
        return Ignored.HISTORY

    def _drop_for(self, draft_epoch: int) -> None:
        """Nothing is held of any path, and that of this epoch is the newest."""
        self.clear()
        self.newest_epoch, self._judged = draft_epoch, 0

    def _judge(self, ids: list[int], log: TokenLog) -> None:
        """Hold `ids`, which stand from the judged position on, against the log; keep those beyond it."""
        behind = log.tokens[self._judged : self._judged + len(ids)]
        self.ids = []
        for token, drafted in zip(behind, ids, strict=False):
            self._judged += 1
            self.seen += 1
            self.hits += token == drafted
            if token != drafted:
                self._alive = self.last = False
                return
        self.ids = ids[len(behind) :]

    def _well_formed(self, draft: Draft) -> bool:
        says_something = bool(draft.ids) or draft.last
        return says_something and not draft.weights and max(draft.ids, default=0) < self._vocab_size


__all__ = ["BlockHints", "PathHints", "usable"]
