"""What ends a request at its device.

Of the errors that the device raises, InvalidRequestError stands beside the checks that raise it, JournalError
beside the journal.
"""

from draftwire.codecs.limits import MAX_TEXT_BYTES
from draftwire.codecs.messages import Reason
from draftwire.runtime.errors import LocalError, PeerError
from draftwire.runtime.security import Service
from draftwire.runtime.transport.base import Trouble


class RequestRefusedError(PeerError):
    """Raised when a request cannot go on: the BS refused it, is not there, or exactness could not be kept."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        "name of the codecs' Reason, or of the TroubleKind that keeps a connection from standing"
        super().__init__(f"{reason.lower()}: {detail}")


class DraftFailedError(LocalError):
    """Raised when the draft model raises: it ends the request, others go on."""

    def __init__(self, error: Exception) -> None:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        super().__init__(f"the draft model failed: {cause[:MAX_TEXT_BYTES]}")


NEVER_AGAIN = frozenset(
    {
        Reason.PROMPT_TOO_LONG,
        Reason.BAD_SAMPLING,
        Reason.SUPERSEDED,
        Reason.DRAFT_STATE_LOST,
        Reason.HISTORY,
    }
)
"""Reasons that end a request for good.

After any other it may go on later, where a journal has kept it: a base station comes back or has room again,
a key is allowed, a file is mended.
"""

_A_COPY_WENT_ON = "a copy of this journal has gone on with it; this one ends here"

_STATE_LOST = (
    "the block that is out can't be drawn again, so the text can't go on exactly; what it has stands. Going "
    "on takes the draft model, the dtype and the libraries that drew the block: ask anew"
)


def refused(
    reason: Reason,
    detail: str,
    *,
    address: str,
    service: Service,
    trouble: Trouble | None,
    kept: bool,
) -> RequestRefusedError:
    """The error for a request that its session has given up; its text names the hop that failed.

    `address` and `service` are what the device is connected to; `trouble`: why it has no connection now;
    `kept`: whether a journal has the request.
    """
    behind = service is Service.CHANNEL
    who = f"{'the target behind the channel at ' if behind else ''}{address}"
    match reason:
        case Reason.DRAFT_STATE_LOST:
            text = _STATE_LOST
        case Reason.ABSENT if trouble is not None:
            text = f"{trouble.text} ({detail})"
        case Reason.ABSENT if behind:
            text = (
                f"{detail}, though the channel at {address} is connected: on its machine `draftwire doctor "
                "--role channel` says what fails behind it"
            )
        case Reason.ABSENT:
            text = f"{address}: {detail}; start the target there, or correct the address"
        case Reason.IDENTITY:  # said by whoever is at the other end of the connection
            text = f"{address}: {detail}"
        case Reason.SUPERSEDED if kept:
            text = f"{who}: {detail}; {_A_COPY_WENT_ON}"
        case _:
            text = f"{who}: {detail}"
    return RequestRefusedError(reason.name, text)


__all__ = ["NEVER_AGAIN", "DraftFailedError", "RequestRefusedError", "refused"]
