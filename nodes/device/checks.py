"""What can be known to be wrong with a request before a byte of it is sent."""

from draftwire.codecs.limits import (
    MAX_FRAME_BYTES,
    MAX_GAMMA,
    MAX_PLAIN_K,
    MAX_STOPS,
    MAX_TEXT_BYTES,
    MAX_TOKENS,
    MAX_UINT64,
    MAX_VOCAB_SIZE,
)
from draftwire.codecs.messages import Hello
from draftwire.nodes.device.entries import Entry
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.session.request import Request
from draftwire.runtime.session.sendable import can_be_sent, most_rows


class InvalidRequestError(ConfigurationError, ValueError):
    """Raised when a request can't begin: names the field, its value and a remedy."""


def check_request(request: Request, *, vocab_size: int, context_length: int) -> None:
    """Raise InvalidRequestError for a request that the draft or the wire can't carry."""
    prompt, new = request.prompt, request.max_new_tokens
    if not prompt:
        raise InvalidRequestError("it has no tokens", key="prompt", remedy="give at least one")
    for token in (min(prompt), max(prompt)):
        if not 0 <= token < vocab_size:
            raise InvalidRequestError(
                f"{token} is no token id of this vocabulary",
                key="prompt",
                remedy=f"ids run from 0 to {vocab_size - 1}",
            )
    _between("max_new_tokens", new, 1, MAX_TOKENS)
    _between("seed", request.seed, 0, MAX_UINT64)
    check_pins(request.k, request.gamma, vocab_size)
    if len(request.stop) > MAX_STOPS:
        raise InvalidRequestError(
            f"{len(request.stop)} texts are too many", key="stop", remedy=f"give at most {MAX_STOPS}"
        )
    for text in request.stop:
        if not 1 <= len(text.encode(errors="replace")) <= MAX_TEXT_BYTES:
            raise InvalidRequestError(
                f"{text[:40]!r} will not do", key="stop", remedy=f"give 1 to {MAX_TEXT_BYTES} bytes of text"
            )
    if len(prompt) + new > context_length:
        raise InvalidRequestError(
            f"its {len(prompt)} tokens and {new} new ones exceed the draft's context of {context_length}",
            key="prompt",
            remedy="shorten it, or lower max_new_tokens",
        )


def check_pins(k: int | None, gamma: int | None, vocab_size: int, *, key: str = "k") -> None:
    """Raise InvalidRequestError, naming `key`, for rows that V does not have or the wire can't carry.

    None: the controller chooses, and knows what can be sent.
    """
    if gamma is not None:
        _between("gamma", gamma, 0, MAX_GAMMA)
    if k is None:
        return
    _between(key, k, 1, MAX_VOCAB_SIZE)
    whole = f"{vocab_size} for whole rows"
    if k > vocab_size:
        raise InvalidRequestError(
            f"{k} entries, but the vocabulary has {vocab_size} ids",
            key=key,
            remedy=f"write a number from 1 to {min(vocab_size, MAX_PLAIN_K)}, or {whole}",
        )
    if not can_be_sent(k, vocab_size):
        raise InvalidRequestError(
            f"no sparse row of {k} entries can be sent",
            key=key,
            remedy=f"write a number from 1 to {MAX_PLAIN_K}, or {whole}",
        )
    room = most_rows(k, vocab_size)
    if gamma is not None and gamma > room:
        raise InvalidRequestError(
            f"gamma = {gamma} whole rows of {vocab_size} entries exceed a message's {MAX_FRAME_BYTES} bytes",
            key=key,
            remedy=f"write {room} for gamma, or a number from 1 to {MAX_PLAIN_K} here",
        )


def check_entry(entry: Entry, *, device: str, draft: str, hello: Hello) -> None:
    """Raise InvalidRequestError, with both values, for a request that this device can't go on with."""
    pairs = {
        "device": (entry.device, device, "run it under that name"),
        "draft": (entry.draft, draft, "run it with that draft model"),
        "vocabulary": (
            f"{entry.vocab_size} ids, {entry.fingerprint.hex()}",
            f"{hello.vocab_size} ids, {hello.fingerprint.hex()}",
            "the tokenizer has changed since: restore it, or ask anew",
        ),
    }
    for key, (kept, own, remedy) in pairs.items():
        if kept != own:
            raise InvalidRequestError(
                f"request {entry.id} began with {kept}, here it is {own}", key=key, remedy=remedy
            )


def check_text(prompt: str, *, key: str) -> None:
    """Raise InvalidRequestError for a text that there is nothing to answer in, or that is no text."""
    if not prompt.strip():
        raise InvalidRequestError("it is empty", key=key, remedy="write something to answer")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"character {error.start} is half a character or a byte that is no text",
            key=key,
            remedy="write UTF-8",
        ) from None


def _between(key: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidRequestError(
            f"{value} will not do", key=key, remedy=f"write a number from {low} to {high}"
        )


__all__ = ["InvalidRequestError", "check_entry", "check_pins", "check_request", "check_text"]
