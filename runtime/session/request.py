"""What a request asks for, the block of drafts, and the times that both ends wait."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from draftwire.codecs.hashes import ids_hash, rows_hash
from draftwire.codecs.messages import Acceptance, Origin, PendingBlock, Plan, Sampling
from draftwire.codecs.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One prompt to be answered."""

    prompt: tuple[int, ...]
    sampling: Sampling
    seed: int
    "64 bits: all randomness of the request is keyed by it"
    max_new_tokens: int
    stop: tuple[str, ...] = ()
    k: int | None = None
    "entries of each row, fixed by the user; None: the controller chooses"
    gamma: int | None = None
    "drafted tokens of a block, fixed by the user, 0: the target alone; None: the controller chooses"
    min_draft: int | None = None
    "drafted tokens that a free BS waits for, fixed by the user, MAX_GAMMA: all; None: the controller chooses"
    acceptance: Acceptance = Acceptance.REJECTION
    max_waste: float | None = None
    """where drafts are hints: most drafted tokens thrown away, for each token of the output; None: no bound.
    Kept by the device, and told to nobody"""

    @property
    def hints(self) -> bool:
        """Whether drafts are hints, which may be dropped freely: coupled, or at temperature 0.

        Else they bind: a block that may have been tested must be waited for. AUTO binds until it is settled.
        """
        return self.sampling.greedy or self.acceptance is Acceptance.COUPLED


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What the draft model drew behind a log, in one go, and the rows that must be told of it.

    Under rejection all of a block: gamma tokens, and the row that each was drawn from. Where drafts are
    hints, the next tokens of a path: `rows` is then empty, or the one row of `row_at`.
    """

    draft_epoch: int
    start: int
    plan: Plan
    ids: tuple[int, ...]
    rows: tuple[Row, ...] = field(default=(), repr=False)
    "empty at temperature 0, where ids are all it takes"
    token_s: float = 0.0
    "the draft model's time for one token, told to the controller; 0: not known"
    chances: tuple[float, ...] = ()
    "q(ids[i]) in the whole row, where drafts are hints; else empty"
    row_at: int | None = None
    "where drafts are hints: the index in `ids` that rows[0] belongs to; None: no row"

    @property
    def weights(self) -> tuple[int, ...]:
        """q(ids[i]) * 2**24, under rejection."""
        return tuple(row.weight_of(x) for row, x in zip(self.rows, self.ids, strict=False))

    @property
    def digest(self) -> bytes:
        """8 bytes that prove a redrawn block equal to this one."""
        return rows_hash(self.rows) if self.rows else ids_hash(self.ids)

    @property
    def pending(self) -> PendingBlock:
        """The block by what it takes to draw it again, and to prove that it is the same."""
        return PendingBlock(
            draft_epoch=self.draft_epoch,
            start=self.start,
            length=len(self.ids),
            plan=self.plan,
            rows_hash=self.digest,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftWork:
    """A block is wanted: draw `length` tokens behind `tokens`, with these keys and no others."""

    tokens: Sequence[int]
    draft_epoch: int
    length: int
    plan: Plan
    row_of: int | None = None
    "where drafts are hints: which of the tokens is to come with its sparse row, as an index; None: none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A token that has become final at the device."""

    position: int
    token: int
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """A BS has no room for the request now."""

    detail: str
    "as it says"
    again_s: float
    "from then until it is asked again"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRecord:
    """What a device needs, beside the request and the tokens it has taken, to go on after its own death.

    It goes on exactly if, at every moment, these are on disk:

    1. before an Open or a Draft leaves: the record as it is then. So no try and no epoch is used twice, and
       the block that a BS may have tested is known by what it takes to draw it again.
    2. before a record: every token taken until then. The older record still names the block that these tokens
       settle; one that no longer did, without them, would forget that the block was tested.

    So, whenever messages are to be sent: take, and write the tokens; write the record, if it is another than
    the last one written; then send. A record may be behind as long as no Open or Draft leaves: a block that
    it names and that is settled is drawn again, found to be so, and left.
    """

    device_try: int
    "of the newest Open"
    draft_epoch: int
    "the highest of any block that was drawn"
    outstanding: PendingBlock | None
    "the block whose outcome is not known here; None where drafts are hints, as nothing hangs on a block"
    acceptance: Acceptance = Acceptance.AUTO
    "the request's, once a BS has settled it; AUTO: not yet, so it is what was asked for"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long each end waits, in seconds. Exactness does not hang on any of them."""

    resend_s: float = 1.0
    "the device's first repeat of an unanswered message; doubles, stretched by the turnaround it has seen"
    resend_most_s: float = 8.0
    silent_most_s: float = 2.0
    """the same bound where the BS answers nothing at all: whoever is back after a restart, or a link that was
    down, is asked within that. A first wait that the turnaround has stretched beyond stays as it is"""
    reopen_after: int = 4
    "unanswered repeats, or half of absent_s, until the device takes the BS for restarted and opens again"
    reach_s: float = 15.0
    "no word from the BS for so long ends a request that it has not opened, in this life of the device"
    absent_s: float = 120.0
    "no word from the BS for so long ends a request that it has opened since the device was started"
    ping_s: float = 2.0
    "the device's sign of life while it only listens"
    patience_s: float = 5.0
    "where drafts are hints: a free BS's wait for as many as the plan says; a controller may say otherwise"
    row_s: float = 1.0
    "the BS's first wait for a row in flight, then it asks; doubles up to resend_most_s"
    repeat_s: float = 1.0
    "the last Commit's first repeat until Close; doubles up to resend_most_s"
    parked_s: float = 20.0
    "no word from the device for so long parks its session"


def doubled_s(first_s: float, repeats: int, most_s: float) -> float:
    """The wait after so many repeats: twice the last each time, up to a limit, however long it goes on."""
    return min(most_s, first_s * 2.0 ** min(repeats, 64))


__all__ = ["Block", "Busy", "DeviceRecord", "DraftWork", "Request", "Taken", "Timing", "doubled_s"]
