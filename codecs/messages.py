"""The data-plane messages: what the device and the BS say to each other.

A request's tokens (prompt, then output) form a log, numbered by position. The BS alone appends to it, the
device holds a prefix of it, drafts are hints for the positions behind. q is the draft, p the target.

All of them check their ranges when they are built, and raise LocalError; `bodies` spells them in bytes.

    device -> BS    Hello, Open, Draft, SparseLogits, Ping, Cancel, Close
    BS -> device    Welcome, Opened, Commit, SparseLogitsRequest, Pong, Refused
    any -> any      Probe, Echo (probes.py)
"""

from dataclasses import dataclass, field
from enum import IntEnum
from math import inf

from draftwire.codecs.checks import (
    check_digest,
    check_one_test,
    check_range,
    check_text,
    check_tokens,
    check_uint32,
)
from draftwire.codecs.errors import LocalError
from draftwire.codecs.limits import (
    MAX_GAMMA,
    MAX_STOPS,
    MAX_TABLE_SETS,
    MAX_TOKENS,
    MAX_UINT64,
    MAX_VOCAB_SIZE,
    MIN_VOCAB_SIZE,
)
from draftwire.codecs.probes import Echo, Probe
from draftwire.codecs.rows import Row
from draftwire.codecs.weights import WEIGHT_SUM


class Origin(IntEnum):
    """Where a token of the log came from."""

    PROMPT = 0
    ACCEPTED = 1
    "drafted, tested, kept"
    CORRECTED = 2
    "drawn from the residual after a rejection (the residual of docs/theory.md, section 1)"
    BONUS = 3
    "drawn from p behind a block that was accepted whole"
    ALONE = 4
    "decoded by the target by itself"


class Acceptance(IntEnum):
    """How drafted tokens are tested above temperature 0; fixed for a request once it is opened."""

    REJECTION = 0
    "TK-SLT: a draft stands with probability min(1, p/q); a correction comes from its sparse row's residual"
    COUPLED = 1
    "both ends pick by the same noise, and a draft stands if it is the target's pick: only ids travel"
    AUTO = 2
    "in an Open: the BS chooses, and Opened says which"


class Finish(IntEnum):
    """Why a request's log ended. Decided by the BS alone."""

    RUNNING = 0
    EOS = 1
    STOP = 2
    LENGTH = 3
    CANCELLED = 4


class Reason(IntEnum):
    """Why a peer was refused."""

    PROTOCOL_VERSION = 1
    VOCABULARY = 2
    NOISE_VERSION = 3
    PROMPT_TOO_LONG = 4
    BAD_SAMPLING = 5
    BUSY = 6
    UNKNOWN_REQUEST = 7
    "the BS holds no such request (it restarted, or let it go): open it again"
    SUPERSEDED = 8
    "a newer device_try of this request is being served"
    DRAFT_STATE_LOST = 9
    "a tested block can no longer be proved, so the request can't go on exactly"
    HISTORY = 10
    "the log that the device claims is not the one the BS holds"
    NO_HELLO = 11
    "say Hello first: the BS does not know this peer's vocabulary"
    ABSENT = 12
    "no word from the peer; found by the device itself, never sent"
    TARGET_FAILED = 13
    "the target model raised, or its logits are no numbers: this request can't go on, others do"
    IDENTITY = 14
    "the peer calls itself by a name that its key does not have"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the controller chose; numbered by the BS."""

    number: int
    k: int
    "entries of each sparse row, >= 1"
    gamma: int
    "most drafted tokens outstanding; 0 is target-only (AS2)"
    min_draft: int
    "how many drafted tokens a free BS waits for; synchronous: gamma"
    blockwise: bool = False
    "under rejection: a block is tested as a whole (block verification), once all its rows are there"
    early_stop: bool = False
    "coupled and temperature 0: the device may end a draft before gamma, by what it has learnt"
    uplink_bps: int = 0
    "the controller's estimate, which a device that drafts ahead paces itself by; 0: none"

    def __post_init__(self) -> None:
        check_uint32(number=self.number, uplink_bps=self.uplink_bps)
        check_range("k", self.k, 1, MAX_VOCAB_SIZE)
        check_range("gamma", self.gamma, 0, MAX_GAMMA)
        check_range("min_draft", self.min_draft, 0, self.gamma)
        check_one_test(blockwise=self.blockwise, early_stop=self.early_stop)

    @property
    def synchronous(self) -> bool:
        """Whether the BS waits for all that is drafted; the target alone is, too."""
        return self.min_draft >= self.gamma


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """What defines the target's distribution for a request."""

    temperature: float
    "0 is greedy"
    top_k: int = 0
    "0: off"
    top_p: float = 1.0
    "1: off"

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < inf:
            raise LocalError(field="temperature", value=self.temperature, remedy="must be finite and >= 0")
        check_range("top_k", self.top_k, 0, MAX_VOCAB_SIZE)
        if not 0 < self.top_p <= 1:
            raise LocalError(field="top_p", value=self.top_p, remedy="must lie in (0, 1]")

    @property
    def greedy(self) -> bool:
        """Temperature 0: p is one-hot, so ids are all that has to travel."""
        return self.temperature == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Incarnation:
    """One life of a request's log at a BS; messages of another life are ignored."""

    boot: int
    "drawn at the BS's start, 32 bits"
    counter: int
    "requests opened since"

    def __post_init__(self) -> None:
        check_uint32(boot=self.boot, counter=self.counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """First message of a connection: both ends must agree on these or nothing can be exact."""

    protocol_version: int
    noise_version: int
    vocab_size: int
    fingerprint: bytes
    "of the tokenizer, 8 bytes"
    tables: tuple[bytes, ...] = ()
    "hashes of the sets of tables that the device has for this vocabulary, the best first; at most 8"

    def __post_init__(self) -> None:
        check_range("protocol_version", self.protocol_version, 0, 2**16 - 1)
        check_range("noise_version", self.noise_version, 0, 2**16 - 1)
        check_range("vocab_size", self.vocab_size, MIN_VOCAB_SIZE, MAX_VOCAB_SIZE)
        check_digest("fingerprint", self.fingerprint)
        check_range("len(tables)", len(self.tables), 0, MAX_TABLE_SETS)
        for one in self.tables:
            check_digest("tables", one)


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The BS agrees, and says with which tables rows may be spelt."""

    boot: int
    tables: bytes | None = None
    "hash of the first of the device's sets that the BS has too; None: none, so rows are plain"

    def __post_init__(self) -> None:
        check_uint32(boot=self.boot)
        if self.tables is not None:
            check_digest("tables", self.tables)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The BS refuses; `detail` is a sentence for a person, with both values."""

    reason: Reason
    detail: str
    device_try: int = 0
    "the try of the Open that this answers; 0: it answers none"
    retry_ms: int = 0
    "BUSY: after how long asking again may help; 0: not said"

    def __post_init__(self) -> None:
        check_uint32(device_try=self.device_try, retry_ms=self.retry_ms)
        check_text("detail", self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Open a request, or go on with it; idempotent. Carries all that a BS without memory of it needs."""

    device_try: int
    "grows with every restart of the device's end of this request"
    seed: int
    "64 bits; all randomness of the request is keyed by it"
    sampling: Sampling
    max_new_tokens: int
    stop: tuple[str, ...]
    prompt_length: int
    tokens: tuple[int, ...]
    "the log as far as the device knows it: prompt_length ids of prompt, then output"
    draft_epoch: int
    "highest draft_epoch the device has used"
    outstanding: bool = False
    "whether a block of that epoch is out and still counts: a BS that has no memory of it must wait for it"
    pinned_k: int | None = None
    "entries of each row, fixed by the user; None: the controller chooses"
    pinned_gamma: int | None = None
    "drafted tokens of a block, fixed by the user, 0: the target alone; None: the controller chooses"
    pinned_min_draft: int | None = None
    "drafted tokens that a free BS waits for, fixed by the user, MAX_GAMMA: all; None: the controller chooses"
    acceptance: Acceptance = Acceptance.REJECTION
    "as asked for; once it has been opened, as Opened said"
    life: int = 0
    "32 random bits of the process that asks: tells two that go on from copies of one journal apart"

    def __post_init__(self) -> None:
        check_uint32(
            device_try=self.device_try,
            max_new_tokens=self.max_new_tokens,
            draft_epoch=self.draft_epoch,
            life=self.life,
        )
        check_range("seed", self.seed, 0, MAX_UINT64)
        check_range("len(stop)", len(self.stop), 0, MAX_STOPS)
        for text in self.stop:
            check_text("stop", text)
        check_tokens("tokens", self.tokens, least=1, most=MAX_TOKENS)
        check_range("prompt_length", self.prompt_length, 1, len(self.tokens))
        if self.pinned_k is not None:
            check_range("pinned_k", self.pinned_k, 1, MAX_VOCAB_SIZE)
        if self.pinned_gamma is not None:
            check_range("pinned_gamma", self.pinned_gamma, 0, MAX_GAMMA)
        if self.pinned_min_draft is not None:
            check_range("pinned_min_draft", self.pinned_min_draft, 0, MAX_GAMMA)
        if self.outstanding and self.acceptance is not Acceptance.REJECTION:
            remedy = "must be False: a block counts under rejection alone"
            raise LocalError(field="outstanding", value=self.outstanding, remedy=remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingBlock:
    """A block that the BS has received and whose outcome the device has not seen."""

    draft_epoch: int
    start: int
    length: int
    plan: Plan
    rows_hash: bytes

    def __post_init__(self) -> None:
        check_uint32(draft_epoch=self.draft_epoch, start=self.start)
        check_range("length", self.length, 1, MAX_GAMMA)
        check_digest("rows_hash", self.rows_hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The BS serves the request; every later message names this incarnation."""

    device_try: int
    "the try that this answers"
    incarnation: Incarnation
    known: int
    "the device's log length as this BS understood it"
    log_hash: bytes
    "of those tokens, 8 bytes"
    pending: PendingBlock | None
    plan: Plan
    acceptance: Acceptance = Acceptance.REJECTION
    "REJECTION or COUPLED: of this request from now on"

    def __post_init__(self) -> None:
        check_uint32(device_try=self.device_try, known=self.known)
        check_digest("log_hash", self.log_hash)
        if self.acceptance is Acceptance.AUTO:
            remedy = "must be REJECTION or COUPLED: the BS has settled it"
            raise LocalError(field="acceptance", value=self.acceptance, remedy=remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """On this path I drew these ids, from `start` on. Its size depends on counts only.

    Under rejection it is a whole block, one a draft_epoch. With coupled acceptance and at temperature 0 an
    epoch is a path that grows by one Draft after another, each beginning where the last one ended or before.
    """

    incarnation: Incarnation
    draft_epoch: int
    known: int
    "the device's log length: acknowledges Commits"
    start: int
    "position of ids[0]"
    path_hash: bytes
    "of every token before `start`, 8 bytes"
    plan: Plan
    "the plan it was drawn with"
    ids: tuple[int, ...]
    weights: tuple[int, ...]
    "q(ids[i]) * 2**24 in the row it was drawn from; empty at temperature 0"
    rows_hash: bytes
    "of the rows (temperature 0: of the ids), 8 bytes: proves a redrawn block equal"
    token_s: float = 0.0
    "the draft model's time for one of these tokens, in seconds; 0: not told"
    last: bool = True
    "no more of this draft_epoch follows before the device has heard of the log again; ids may then be none"

    def __post_init__(self) -> None:
        check_uint32(draft_epoch=self.draft_epoch, known=self.known, start=self.start)
        check_tokens("ids", self.ids, least=0, most=MAX_GAMMA)
        check_digest("path_hash", self.path_hash)
        check_digest("rows_hash", self.rows_hash)
        if not 0 <= self.token_s < inf:
            raise LocalError(field="token_s", value=self.token_s, remedy="must be finite and >= 0")
        if self.weights and not 1 <= min(self.weights) <= max(self.weights) <= WEIGHT_SUM:
            raise LocalError(field="weights", value=self.weights, remedy="each must lie in [1, 2**24]")
        if len(self.weights) not in (0, len(self.ids)):
            raise LocalError(field="weights", value=self.weights, remedy="must be none, or one an id")
        if not self.last and (self.weights or not self.ids):
            remedy = "must be True where there are weights, whose block comes whole, or no ids"
            raise LocalError(field="last", value=self.last, remedy=remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseLogits:
    """The rows that a Draft's tokens were drawn from, travelling behind the target's compute."""

    incarnation: Incarnation
    draft_epoch: int
    start: int
    "position that rows[0] was drawn for"
    rows: tuple[Row, ...] = field(repr=False)

    def __post_init__(self) -> None:
        check_uint32(draft_epoch=self.draft_epoch, start=self.start)
        check_range("len(rows)", len(self.rows), 1, MAX_GAMMA)


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseLogitsRequest:
    """A tested block needs these rows and they have not come."""

    incarnation: Incarnation
    draft_epoch: int
    positions: tuple[int, ...]

    def __post_init__(self) -> None:
        check_uint32(draft_epoch=self.draft_epoch)
        check_range("len(positions)", len(self.positions), 1, MAX_GAMMA)
        for position in self.positions:
            check_uint32(positions=position)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimes:
    """What the BS measured, in seconds; lets the device and the controller tell link from compute."""

    hold_s: float
    "from the arrival of the Draft to this Commit"
    step_s: float
    "the target's pass"
    wait_s: float
    "for the row behind it"

    def __post_init__(self) -> None:
        for value in (self.hold_s, self.step_s, self.wait_s):
            if not 0 <= value < inf:
                raise LocalError(field="times", value=self, remedy="each must be finite and >= 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """The log goes on like this. Begins at the last known length the BS has heard, so it heals any loss."""

    incarnation: Incarnation
    position: int
    "of ids[0]"
    log_hash: bytes
    "of the log up to and with ids, 8 bytes"
    ids: tuple[int, ...]
    origins: tuple[Origin, ...]
    tested_epoch: int
    "newest draft_epoch whose block has been tested and whose outcome stands in this log"
    accepted: int
    "drafted tokens accepted in the last step"
    seen: int
    "drafted tokens tested in the last step, the first rejected one included"
    plan: Plan
    times: StepTimes
    finish: Finish = Finish.RUNNING
    missing: bool = False
    "coupled and temperature 0: ids of the path are missing here: say again all that is outstanding"

    def __post_init__(self) -> None:
        check_uint32(position=self.position, tested_epoch=self.tested_epoch)
        check_digest("log_hash", self.log_hash)
        check_tokens("ids", self.ids, least=0, most=MAX_TOKENS)
        if len(self.origins) != len(self.ids):
            raise LocalError(
                field="origins", value=self.origins, remedy=f"must be one an id, so {len(self.ids)}"
            )
        check_range("seen", self.seen, 0, MAX_GAMMA)
        check_range("accepted", self.accepted, 0, self.seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """I am here and know this much of the log."""

    incarnation: Incarnation
    known: int
    stamp: int
    "echoed by Pong"

    def __post_init__(self) -> None:
        check_uint32(known=self.known)
        check_range("stamp", self.stamp, 0, MAX_UINT64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    """Answer to Ping."""

    incarnation: Incarnation
    stamp: int

    def __post_init__(self) -> None:
        check_range("stamp", self.stamp, 0, MAX_UINT64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """End the request where it stands; idempotent."""

    incarnation: Incarnation
    known: int

    def __post_init__(self) -> None:
        check_uint32(known=self.known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """The device has all it wants of the log; the BS may forget it. Idempotent."""

    incarnation: Incarnation
    known: int

    def __post_init__(self) -> None:
        check_uint32(known=self.known)


Message = (
    Hello
    | Welcome
    | Refused
    | Open
    | Opened
    | Draft
    | SparseLogits
    | SparseLogitsRequest
    | Commit
    | Ping
    | Pong
    | Cancel
    | Close
    | Probe
    | Echo
)
"""Everything that may stand in a data-plane frame."""


__all__ = [
    "Acceptance",
    "Cancel",
    "Close",
    "Commit",
    "Draft",
    "Finish",
    "Hello",
    "Incarnation",
    "Message",
    "Open",
    "Opened",
    "Origin",
    "PendingBlock",
    "Ping",
    "Plan",
    "Pong",
    "Reason",
    "Refused",
    "Sampling",
    "SparseLogits",
    "SparseLogitsRequest",
    "StepTimes",
    "Welcome",
]
