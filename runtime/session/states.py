"""The protocol's theory, its states, and the one table of its transitions.

**A replicated log and hints.** A request's tokens (prompt, then output) form a log, numbered by position.
The BS alone appends; the device holds a prefix of it; drafts are hints for the positions behind. What the
device has taken is final; what only the BS holds is revocable. A lost, late, repeated or reordered message
therefore costs time and nothing else:

- every Commit begins at the last length that the BS has heard the device know, so the next heals any loss;
- Open carries all that a BS without memory needs, so crash and restart are an Open like any other;
- an Open answered by Opened starts an *incarnation*; messages of another incarnation are ignored, and
  between Open and Opened the device takes no Commit. So tokens of two lives never meet in one log.

**Drafts bind, or they are hints.** Under rejection above temperature 0 what is accepted and what is drawn in
place of a rejected draft depends on the draft, so whether a block is used must not depend on what it holds.
With coupled acceptance and at temperature 0 the BS samples each token by itself, from the target's
distribution and the request's noise, and a draft only says beforehand what that will be. So there the log is
a function of target, prompt, sampling and seed; drafts may be lost, late, wrong, cut short or made up, and
the BS waits for them as long as it likes. The rules below are for drafts that bind; hints need none.

**Exactness rules** (proofs in docs/theory.md; each has a test that fails without it):

1. A block's length is fixed before its first draw, by the plan and the known length alone.
2. Its Draft is one message whose size depends on counts only, sent before its rows.
3. The newer draft_epoch counts, never the longer block; an epoch never repeats within a request.
4. Where drafts bind, the BS waits for a block that the device may have drawn, as long as the device lives.
   A Draft that is repeated may be late because of its own rows before it, and those know its ids. So a new
   plan is in force from the next tokens on, never while a block may be out.
5. Once the test has begun the outcome stands: the one row that a correction needs is asked for until it
   comes. Nothing is ever drawn from p in its place. A BS that has lost its memory may have rejected the block
   that Open calls outstanding, so it decodes nothing before that block has come again.
   Plans may follow from all that is known of tested blocks, whatever they held. They must not follow from ids
   that the target decoded by itself: a restart may lose these, and another plan would draw them anew.
6. A device that restarts redraws the block that is out, with the recorded plan and keys, and proves it equal
   by rows_hash; if it can't, the request ends with DRAFT_STATE_LOST. What it must have written down by then,
   and in which order, stands at DeviceRecord.

**This file** holds every transition of both ends. The ends look their next state up here and nowhere else;
a pair that is not in the table is a bug of ours and raises.
"""

from collections.abc import Mapping
from enum import Enum, auto


class Device(Enum):
    """Where the device's end of one request stands."""

    OPENING = auto()
    "Open is on its way; no Commit is taken"
    DRAFTING = auto()
    "a block, or more of a path, is wanted from the draft model"
    REDRAWING = auto()
    "after a restart: the block that the BS holds is wanted once more, unchanged"
    WAITING = auto()
    "a block, or all that may be drafted of a path, is out; the BS has the word"
    LISTENING = auto()
    "the plan is target-only; tokens just come"
    FINISHED = auto()
    "the log has ended and all of it is known here"
    FAILED = auto()
    "it cannot go on; the error says why"


class DeviceEvent(Enum):
    """What moves the device's end."""

    OPENED = auto()
    "the BS serves, and a block may be drawn"
    OPENED_PENDING = auto()
    "the BS serves and holds a block that this life of the device did not draw"
    OPENED_OUTSTANDING = auto()
    "the BS serves, and the block that is out here still counts"
    OPENED_TARGET_ONLY = auto()
    DRAWN = auto()
    "the draft model has delivered the block, or the last token for now of a path"
    MOVED = auto()
    "a Commit came: the log has left the block behind, draw the next"
    MOVED_TARGET_ONLY = auto()
    "a Commit came, and the plan is target-only"
    KEPT = auto()
    "a Commit came, and the block that is out still continues the log"
    LOST = auto()
    "the BS does not know the request, or does not answer"
    ENDED = auto()
    "a Commit came that says the log has ended"
    REFUSED = auto()
    "the BS refused for good, or a proof failed"


class Target(Enum):
    """Where the BS's end of one request stands."""

    WAITING = auto()
    "for a block, or for its turn to decode alone"
    TESTING = auto()
    "a pass of the target is under way; its outcome will stand"
    ROW_WAIT = auto()
    "the outcome needs rows that have not come: the rejected draft's, or the whole block's"
    FINISHED = auto()
    "the log has ended; the last Commit is repeated until Close"
    CLOSED = auto()
    "a tombstone"


class TargetEvent(Enum):
    """What moves the BS's end."""

    STEP = auto()
    "a pass begins"
    APPENDED = auto()
    "its tokens are in the log"
    ROWS_WANTED = auto()
    "a rejection needs the row it was drawn from, or a block that is tested as a whole all of its rows"
    ENDED = auto()
    "a stop rule or a Cancel ended the log"
    CLOSE = auto()
    "the device knows all it wants"
    ADOPTED = auto()
    "the device's log takes the place of another that was held here"


_D, _DE = Device, DeviceEvent
_T, _TE = Target, TargetEvent

DEVICE: Mapping[tuple[Device, DeviceEvent], Device] = {
    (_D.OPENING, _DE.OPENED): _D.DRAFTING,
    (_D.OPENING, _DE.OPENED_PENDING): _D.REDRAWING,
    (_D.OPENING, _DE.OPENED_OUTSTANDING): _D.WAITING,
    (_D.OPENING, _DE.OPENED_TARGET_ONLY): _D.LISTENING,
    (_D.OPENING, _DE.REFUSED): _D.FAILED,
    (_D.DRAFTING, _DE.DRAWN): _D.WAITING,
    (_D.DRAFTING, _DE.MOVED): _D.DRAFTING,
    (_D.DRAFTING, _DE.MOVED_TARGET_ONLY): _D.LISTENING,
    (_D.DRAFTING, _DE.LOST): _D.OPENING,
    (_D.DRAFTING, _DE.ENDED): _D.FINISHED,
    (_D.DRAFTING, _DE.REFUSED): _D.FAILED,
    (_D.REDRAWING, _DE.DRAWN): _D.WAITING,
    (_D.REDRAWING, _DE.MOVED): _D.DRAFTING,
    (_D.REDRAWING, _DE.MOVED_TARGET_ONLY): _D.LISTENING,
    (_D.REDRAWING, _DE.KEPT): _D.REDRAWING,
    (_D.REDRAWING, _DE.LOST): _D.OPENING,
    (_D.REDRAWING, _DE.ENDED): _D.FINISHED,
    (_D.REDRAWING, _DE.REFUSED): _D.FAILED,
    (_D.WAITING, _DE.MOVED): _D.DRAFTING,
    (_D.WAITING, _DE.MOVED_TARGET_ONLY): _D.LISTENING,
    (_D.WAITING, _DE.KEPT): _D.WAITING,
    (_D.WAITING, _DE.LOST): _D.OPENING,
    (_D.WAITING, _DE.ENDED): _D.FINISHED,
    (_D.WAITING, _DE.REFUSED): _D.FAILED,
    (_D.LISTENING, _DE.MOVED): _D.DRAFTING,
    (_D.LISTENING, _DE.MOVED_TARGET_ONLY): _D.LISTENING,
    (_D.LISTENING, _DE.KEPT): _D.WAITING,
    (_D.LISTENING, _DE.LOST): _D.OPENING,
    (_D.LISTENING, _DE.ENDED): _D.FINISHED,
    (_D.LISTENING, _DE.REFUSED): _D.FAILED,
}
"""(state, event) -> state of the device's end."""

TARGET: Mapping[tuple[Target, TargetEvent], Target] = {
    (_T.WAITING, _TE.STEP): _T.TESTING,
    (_T.WAITING, _TE.ENDED): _T.FINISHED,
    (_T.WAITING, _TE.CLOSE): _T.CLOSED,
    (_T.TESTING, _TE.APPENDED): _T.WAITING,
    (_T.TESTING, _TE.ROWS_WANTED): _T.ROW_WAIT,
    (_T.TESTING, _TE.ENDED): _T.FINISHED,
    (_T.TESTING, _TE.CLOSE): _T.CLOSED,
    (_T.ROW_WAIT, _TE.APPENDED): _T.WAITING,
    (_T.ROW_WAIT, _TE.ENDED): _T.FINISHED,
    (_T.ROW_WAIT, _TE.CLOSE): _T.CLOSED,
    (_T.FINISHED, _TE.CLOSE): _T.CLOSED,
    (_T.WAITING, _TE.ADOPTED): _T.WAITING,
    (_T.TESTING, _TE.ADOPTED): _T.WAITING,
    (_T.ROW_WAIT, _TE.ADOPTED): _T.WAITING,
    (_T.FINISHED, _TE.ADOPTED): _T.WAITING,
}
"""(state, event) -> state of the BS's end."""


class Ignored(Enum):
    """Why a well-formed message had no effect. Counted by both ends, asserted in tests."""

    INCARNATION = auto()
    "of another life of the log"
    NOT_OPENED = auto()
    "a Commit between Open and Opened"
    OLD_TRY = auto()
    "an Open, Opened or Refused of an older device_try, or an Open of the one served by another process"
    GAP = auto()
    "begins behind the end of the log held here"
    HISTORY = auto()
    "its hash names another log"
    OLD_EPOCH = auto()
    "a draft_epoch that has been tested, replaced, or belongs to an earlier life"
    REPEATED = auto()
    "says what was known"
    UNWANTED = auto()
    "no one waits for it in this state"
    ROW_MISMATCH = auto()
    "a row that contradicts the q(x) its Draft named"
    BAD_BLOCK = auto()
    "a block that breaks the vocabulary's bounds, or those of the plan that it names"
    BEYOND_PLAN = auto()
    "a block where the plan that its device had been told wanted none"
    UNEXPECTED = auto()
    "a message that only the other end may send"


__all__ = ["DEVICE", "TARGET", "Device", "DeviceEvent", "Ignored", "Target", "TargetEvent"]
