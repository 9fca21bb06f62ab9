"""What a device drafts beyond the log that it knows, where drafts are hints: one path of ids, by epoch.

Nothing here can be wrong, only useless: the BS samples every token by itself and compares (docs/theory.md).
A path grows while it agrees with the log; when the log leaves it a new one begins behind the log, in a new
epoch. What is told of it goes in Drafts, each of which continues what was told before.
"""

from dataclasses import dataclass

from draftwire.codecs.hashes import ids_hash
from draftwire.codecs.messages import Commit, Draft, Incarnation, Message, Origin, Plan, SparseLogits
from draftwire.codecs.rows import Row
from draftwire.runtime.session.log import TokenLog
from draftwire.runtime.session.request import Block, DraftWork, Request

ROW_EVERY = 8
"""A draft for a position that is a multiple of it comes with its sparse row, which keeps the link's rate and
rejection's alpha known. Every eighth one drawn would not do: with gamma 16 it may be the last of each path,
which is never tested."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A drafted token of a right path, held against the log."""

    chance: float
    "q of it, when it was drawn"
    hit: bool
    "whether it is the log's token"


class Ahead:
    """Of one request. `drafted` and `used` count tokens in this life of the device."""

    def __init__(self, request: Request, log: TokenLog, *, draft_epoch: int) -> None:
        """`draft_epoch`: the highest that was used before."""
        self._request, self._log = request, log
        self._begun_with = log.produced
        "tokens of the output that an earlier life had: its waste is not known here"
        self.drafted = self.used = 0
        self.seen = self.hits = 0
        "drafted tokens held against the log, and those that were its own, up to each path's first wrong one"
        self.judged: list[Judged] = []
        "since the caller last emptied it"
        self.uplink_free_s = 0.0
        "when the uplink is expected to have sent all that left; who sends knows the sizes, and sets it"
        self._rests = False
        "whether the BS has been told, with no ids, that none come for now"
        self._rows: list[tuple[int, Row]] = []
        "by position, to be sent behind the Draft that has their token"
        self._begin(draft_epoch + 1)

    def _begin(self, draft_epoch: int) -> None:
        self.draft_epoch = draft_epoch
        self.start = self._told = len(self._log)
        self._ids: list[int] = []
        self._chances: list[float] = []
        self._token_s = 0.0
        self._stopped = False
        self._begun = False
        "whether any token of this epoch has been drawn"

    @property
    def begun_epoch(self) -> int:
        """The highest epoch that a token was drawn in."""
        return self.draft_epoch if self._begun else self.draft_epoch - 1

    @property
    def chances(self) -> tuple[float, ...]:
        """q of each token outstanding, in order."""
        return tuple(self._chances)

    @property
    def wasted(self) -> int:
        """Tokens drafted for nothing: neither used nor still outstanding."""
        return self.drafted - self.used - len(self._ids)

    def work(self, plan: Plan) -> DraftWork | None:
        """What to draw next, if anything: all that is missing of a block, or one token of a longer way."""
        room = self._room(plan)
        if room <= 0:
            return None
        at_once = plan.synchronous and not plan.early_stop and not self._rests
        length = room if at_once else 1
        until_row = -(self.start + len(self._ids)) % ROW_EVERY
        wants_row = not self._request.sampling.greedy and until_row < length
        return DraftWork(
            tokens=[*self._log.tokens, *self._ids],
            draft_epoch=self.draft_epoch,
            length=length,
            plan=plan,
            row_of=until_row if wants_row else None,
        )

    def drew(self, block: Block, *, stops: bool) -> None:
        """Take what `work` asked for; the path may no longer be the one that it was drawn on.

        `stops`: nothing more is to be drawn before the log grows.
        """
        self.drafted += len(block.ids)
        if (block.draft_epoch, block.start) != (self.draft_epoch, self.start + len(self._ids)):
            return
        if block.row_at is not None:
            self._rows.append((block.start + block.row_at, block.rows[0]))
        self._ids += block.ids
        self._chances += block.chances or (1.0,) * len(block.ids)
        self._token_s, self._stopped, self._begun = block.token_s, stops, True

    def complete(self, plan: Plan) -> bool:
        """Whether nothing more is to be drawn before the log grows."""
        return self._room(plan) <= 0

    def follow(self, commit: Commit, news: int) -> None:
        """The log has grown by the last `news` tokens of `commit`: go on with the path, or begin another."""
        grown, origins = self._log.tokens[self.start :], self._log.origins[self.start :]
        alive = len(grown) <= len(self._ids)
        judged = zip(grown, origins, self._ids, self._chances, strict=False)
        for token, origin, drafted, chance in judged:
            self.judged.append(Judged(chance, token == drafted))
            self.seen += 1
            self.hits += token == drafted
            self.used += token == drafted and origin is Origin.ACCEPTED  # not what an earlier life drafted
            if token != drafted:
                alive = False
                break
        if not alive:
            self._begin(self.begun_epoch + 1)
            self._rows.clear()
            return
        del self._ids[: len(grown)], self._chances[: len(grown)]
        self.start = len(self._log)
        self._told = max(self._told, self.start)
        self._stopped = self._stopped and not news

    def say_again(self) -> None:
        """Nothing of the path counts as told: a BS lacks some of it, or all."""
        self._told, self._rests = self.start, False

    def due(self, plan: Plan, now_s: float) -> bool:
        """Whether a Draft should leave now.

        Synchronously when the block is complete. Else as soon as the uplink is free for it, but not before a
        BS that waits for min_draft ids could begin. The first id after a rest at once: the BS goes on alone
        until it hears of one, and would overtake whatever comes later.
        """
        untold = self.start + len(self._ids) - self._told
        awaited = len(self._ids) < min(plan.min_draft, self._wanted)
        if self.complete(plan):
            saves = self._request.max_waste is not None and not self._ids  # a controller must know of it
            return untold > 0 or ((awaited or saves) and not self._rests)
        if self._rests and untold > 0:
            return True
        return not plan.synchronous and untold > 0 and not awaited and now_s >= self.uplink_free_s

    def tell(self, plan: Plan, incarnation: Incarnation) -> list[Message]:
        """All that is untold, in one Draft, and the row that belongs to it."""
        first = self._told - self.start
        ids = tuple(self._ids[first:])
        draft = Draft(
            incarnation=incarnation,
            draft_epoch=self.draft_epoch,
            known=len(self._log),
            start=self._told,
            path_hash=self._log.hash_with(self.start, self._ids[:first]),
            plan=plan,
            ids=ids,
            weights=(),
            rows_hash=ids_hash(ids),
            token_s=self._token_s,
            last=self.complete(plan),
        )
        self._told += len(ids)
        self._rests = not ids
        rows, self._rows = self._rows, []
        return [draft, *(self._row_of(position, row, incarnation) for position, row in rows)]

    def _row_of(self, position: int, row: Row, incarnation: Incarnation) -> SparseLogits:
        return SparseLogits(
            incarnation=incarnation, draft_epoch=self.draft_epoch, start=position, rows=(row,)
        )

    def _room(self, plan: Plan) -> int:
        """Tokens that may still be drawn before the log grows."""
        if self._stopped:
            return 0
        most = min(plan.gamma, self._wanted)
        room = most - len(self._ids)
        if self._request.max_waste is not None:
            spare = self._spare(self._request.max_waste)
            begins = not self._ids  # one id at a time would always come too late: a path needs all of its way
            room = 0 if begins and spare < most else min(room, spare)
        return room

    def _spare(self, max_waste: float) -> int:
        """Tokens that may be drawn for nothing without breaking the bound."""
        earned = int(max_waste * (self._log.produced - self._begun_with))
        return earned - (self.drafted - self.used)

    @property
    def _wanted(self) -> int:
        """Ids that a BS has any use for: the last token of the output is always its own."""
        return max(0, self._request.max_new_tokens - self._log.produced - 1)


__all__ = ["ROW_EVERY", "Ahead", "Judged"]
