"""What a BS can't do for a device, each with both values in its sentence."""

from draftwire.codecs.limits import MAX_PLAIN_K
from draftwire.codecs.messages import Hello, Open, Reason, Refused


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
    return None


def can_be_sent(k: int, vocab_size: int) -> bool:
    """Whether a row of K entries has a form on the wire: up to MAX_PLAIN_K, or the whole vocabulary."""
    return k <= MAX_PLAIN_K or k >= vocab_size


__all__ = ["can_be_sent", "disagreement", "unanswerable"]
