"""What a BS can't do for a device, each with both values in its sentence."""

from draftwire.codecs.limits import MAX_PLAIN_K
from draftwire.codecs.messages import Hello, Open, Reason, Refused
from draftwire.codecs.tables import TableSets, by_hash
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


__all__ = ["common_tables", "disagreement", "unanswerable"]
