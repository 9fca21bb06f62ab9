"""What a BS can't do for a device, each with both values in its sentence."""

from typing import Final

from draftwire.codecs.limits import MAX_PLAIN_K
from draftwire.codecs.messages import Acceptance, Hello, Open, Reason, Refused
from draftwire.codecs.tables import TableSets, by_hash
from draftwire.nodes.target.contexts import Contexts
from draftwire.nodes.target.requests import Requests
from draftwire.nodes.target.residency import Claim
from draftwire.nodes.target.served import Served
from draftwire.runtime.session.sendable import can_be_sent, most_rows


def disagreement(theirs: Hello, ours: Hello) -> Refused | None:
    """The first thing that two Hellos disagree on, with both values."""
    newer, family = "update the older end", "take two models of one family"
    pairs = (
        (Reason.PROTOCOL_VERSION, "protocol version", theirs.protocol_version, ours.protocol_version, newer),
        (Reason.NOISE_VERSION, "noise version", theirs.noise_version, ours.noise_version, newer),
        (Reason.VOCABULARY, "vocabulary size", theirs.vocab_size, ours.vocab_size, family),
        (
            Reason.VOCABULARY,
            "tokenizer fingerprint",
            theirs.fingerprint.hex(),
            ours.fingerprint.hex(),
            family,
        ),
    )
    for reason, what, device, target, remedy in pairs:
        if device != target:
            detail = f"{what}: the device has {device}, the target {target}; they have to be equal: {remedy}"
            return Refused(reason=reason, detail=detail)
    return None


def common_tables(theirs: Hello, ours: TableSets) -> bytes | None:
    """The hash of the first of a device's sets of tables that we have too; None: rows have to be plain."""
    return next((one for one in theirs.tables if by_hash(ours, one) is not None), None)


STOPS: Final = "this base station is stopping: ask again when it is back"


def unanswerable(opened: Open, vocab_size: int, context_length: int) -> Refused | None:
    """Why the target model can't answer this at all, if it can't."""
    longest = max(len(opened.tokens), opened.prompt_length + opened.max_new_tokens)
    if longest > context_length:
        return Refused(
            reason=Reason.PROMPT_TOO_LONG,
            detail=(
                f"a prompt of {opened.prompt_length} tokens and {opened.max_new_tokens} new ones exceed "
                f"the target's context of {context_length}: shorten either"
            ),
            device_try=opened.device_try,
        )
    if max(opened.tokens) >= vocab_size:
        return Refused(
            reason=Reason.VOCABULARY,
            detail=f"token {max(opened.tokens)} is not below the vocabulary's size of {vocab_size}",
            device_try=opened.device_try,
        )
    longest_row = min(MAX_PLAIN_K, vocab_size)
    k = opened.pinned_k
    if k is not None and (k > vocab_size or not can_be_sent(k, vocab_size)):
        return Refused(
            reason=Reason.BAD_SAMPLING,
            detail=(
                f"k = {k} can't be sent: a row has at most {longest_row} entries, or all "
                f"{vocab_size} of the vocabulary: fix another k, or none"
            ),
            device_try=opened.device_try,
        )
    if (opened.pinned_gamma or 0) > (most := most_rows(opened.pinned_k or 1, vocab_size)):
        return Refused(
            reason=Reason.BAD_SAMPLING,
            detail=(
                f"gamma = {opened.pinned_gamma} whole rows of {vocab_size} entries can't be sent: a message "
                f"has at most {most} of them: fix another gamma or k, or none"
            ),
            device_try=opened.device_try,
        )
    return None


def no_room(
    opened: Open, claim: Claim, requests: Requests, contexts: Contexts, *, now_s: float
) -> Refused | None:
    """Why there is no place or no memory for a new request, and for how long; None: there is both now."""
    refusal = contexts.too_large(claim, opened)
    if refusal is not None:
        return refusal
    if not requests.has_room(claim.device, now_s):
        busy = f"all {requests.most} sessions are taken"
    elif not contexts.admit(claim):
        busy = contexts.shortage(claim)
    else:
        requests.make_room(claim.device, now_s)
        return None
    retry_ms = round(1e3 * contexts.retry_s())
    detail = f"{busy}: ask again in {retry_ms / 1e3:.1f} s"
    return Refused(reason=Reason.BUSY, detail=detail, device_try=opened.device_try, retry_ms=retry_ms)


def is_another(opened: Open, served: Served) -> bool:
    """Whether a newer try can't be of the request that is served under its number.

    It is of another length: then the memory reserved is not its own, and no device that goes on says so. Or
    it knows the acceptance to be another: then a late copy of its first Open, which left that open, has come
    to a BS that started anew.
    """
    pins, prompt_length = served.session.request, served.session.log.prompt_length
    length = (opened.prompt_length, opened.max_new_tokens)
    other = length != (prompt_length, pins.max_new_tokens) or opened.acceptance not in (
        Acceptance.AUTO,
        pins.acceptance,
    )
    return opened.device_try > served.device_try and other


def has_begun(opened: Open) -> bool:
    """Whether a device goes on with a request, which a base station has served before."""
    return opened.draft_epoch > 0 or len(opened.tokens) > opened.prompt_length


def has_block_out(opened: Open) -> bool:
    """Whether an Open names a block that has to be tested before anything else, whatever its length."""
    return opened.outstanding and not opened.sampling.greedy


def block_waits(opened: Open, wait_s: float) -> Refused | None:
    """Why a block of a device whose drafts are refused waits so long for its turn; None: it does not."""
    if not wait_s:
        return None
    wasted = "the drafts of this device hardly ever stood, so few are verified now"
    return Refused(
        reason=Reason.BUSY,
        detail=f"{wasted}: ask again in {wait_s:.1f} s",
        device_try=opened.device_try,
        retry_ms=max(1, round(1e3 * wait_s)),
    )


__all__ = [
    "STOPS",
    "block_waits",
    "common_tables",
    "disagreement",
    "has_begun",
    "has_block_out",
    "is_another",
    "no_room",
    "unanswerable",
]
