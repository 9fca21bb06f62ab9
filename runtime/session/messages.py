"""A device's longer messages, put together from its request, log and block; what a BS finds in an Open."""

from draftwire.codecs.messages import Draft, Incarnation, Open, SparseLogits
from draftwire.runtime.session.log import TokenLog
from draftwire.runtime.session.request import Block, DeviceRecord, Request


def open_of(request: Request, log: TokenLog, record: DeviceRecord, *, life: int) -> Open:
    """All that a BS without memory of the request needs."""
    return Open(
        device_try=record.device_try,
        seed=request.seed,
        sampling=request.sampling,
        max_new_tokens=request.max_new_tokens,
        stop=request.stop,
        prompt_length=len(request.prompt),
        tokens=tuple(log.tokens),
        draft_epoch=record.draft_epoch,
        outstanding=record.outstanding is not None,
        pinned_k=request.k,
        pinned_gamma=request.gamma,
        pinned_min_draft=request.min_draft,
        acceptance=request.acceptance,
        life=life,
    )


def request_of(opened: Open) -> Request:
    """What an Open asks for."""
    return Request(
        prompt=opened.tokens[: opened.prompt_length],
        sampling=opened.sampling,
        seed=opened.seed,
        max_new_tokens=opened.max_new_tokens,
        stop=opened.stop,
        k=opened.pinned_k,
        gamma=opened.pinned_gamma,
        min_draft=opened.pinned_min_draft,
        acceptance=opened.acceptance,
    )


def log_of(opened: Open) -> TokenLog:
    """The log as far as the device knows it."""
    return TokenLog(opened.tokens[: opened.prompt_length], opened.tokens[opened.prompt_length :])


def draft_of(block: Block, log: TokenLog, incarnation: Incarnation) -> Draft:
    """The block, and how much of the log is known here."""
    return Draft(
        incarnation=incarnation,
        draft_epoch=block.draft_epoch,
        known=len(log),
        start=block.start,
        path_hash=log.hash_at(block.start),
        plan=block.plan,
        ids=block.ids,
        weights=block.weights,
        rows_hash=block.digest,
        token_s=block.token_s,
    )


def rows_of(block: Block, incarnation: Incarnation, *, only: int | None = None) -> SparseLogits:
    """The block's rows, of which it has some; or the one of position `only`."""
    start = block.start if only is None else only
    rows = block.rows if only is None else (block.rows[only - block.start],)
    return SparseLogits(incarnation=incarnation, draft_epoch=block.draft_epoch, start=start, rows=rows)


__all__ = ["draft_of", "log_of", "open_of", "request_of", "rows_of"]
