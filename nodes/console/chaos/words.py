"""A message in a few words, for a run's history."""

from draftwire.codecs.frame import AnyMessage
from draftwire.codecs.messages import (
    Cancel,
    Close,
    Commit,
    Draft,
    Finish,
    Open,
    Opened,
    Ping,
    Refused,
    SparseLogits,
    SparseLogitsRequest,
)


def words_of(message: AnyMessage) -> str:
    """Its kind, and what tells it from others of that kind."""
    name = type(message).__name__
    match message:
        case Open():
            known, out = len(message.tokens), ", a block is out" if message.outstanding else ""
            return f"{name} try {message.device_try}, {known} tokens, epoch {message.draft_epoch}{out}"
        case Opened():
            held = "" if message.pending is None else f", holds epoch {message.pending.draft_epoch}"
            life = f"{message.incarnation.boot:08x}/{message.incarnation.counter}"
            return f"{name} try {message.device_try} as {life}, known {message.known}{held}"
        case Draft():
            ids = " ".join(map(str, message.ids))
            return f"{name} epoch {message.draft_epoch} from {message.start}, known {message.known}: {ids}"
        case SparseLogits():
            return f"{name} epoch {message.draft_epoch} from {message.start}: {len(message.rows)} rows"
        case SparseLogitsRequest():
            return f"{name} epoch {message.draft_epoch}: {' '.join(map(str, message.positions))}"
        case Commit():
            ids = " ".join(map(str, message.ids))
            end = "" if message.finish is Finish.RUNNING else f", ends: {message.finish.name.lower()}"
            return f"{name} from {message.position}, tested {message.tested_epoch}: {ids}{end}"
        case Ping() | Cancel() | Close():
            return f"{name} known {message.known}"
        case Refused():
            return f"{name} {message.reason.name.lower()}: {message.detail}"
        case _:
            return name


__all__ = ["words_of"]
