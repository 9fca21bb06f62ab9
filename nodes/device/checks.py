"""What can be known to be wrong with a request before a byte of it is sent."""

from collections.abc import Mapping, Sequence
from pathlib import Path

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
from draftwire.codecs.messages import Acceptance, Hello, Sampling
from draftwire.nodes.device.entries import Entry
from draftwire.nodes.models.catalogue import SHIPPED
from draftwire.runtime.config import MOST_WASTE, AcceptanceRule
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.session.request import Request
from draftwire.runtime.session.sendable import can_be_sent, most_rows


class InvalidRequestError(ConfigurationError, ValueError):
    """Raised when a request can't begin: names the field, its value and a remedy."""


def check_request(request: Request, *, vocab_size: int, context_length: int) -> None:
    """Raise InvalidRequestError for a request that the draft, the wire or a journal can't carry."""
    prompt, new = request.prompt, request.max_new_tokens
    if not prompt:
        raise InvalidRequestError("it has no tokens", key="prompt", remedy="give at least one")
    if set(map(type, prompt)) != {int}:  # the quick way: a prompt may be long
        _whole("prompt", *prompt)
    for token in (min(prompt), max(prompt)):
        if not 0 <= token < vocab_size:
            raise InvalidRequestError(
                f"{token} is no token id of this vocabulary",
                key="prompt",
                remedy=f"ids run from 0 to {vocab_size - 1}",
            )
    _between("max_new_tokens", new, 1, MAX_TOKENS)
    _between("seed", request.seed, 0, MAX_UINT64)
    _check_sampling(request.sampling)
    check_pins(request.k, request.gamma, vocab_size)
    if request.min_draft is not None:
        _between("min_draft", request.min_draft, 0, MAX_GAMMA)
        check_waits(request.gamma, request.min_draft, key="min_draft")
    if request.max_waste is not None:
        check_waste(request.max_waste, key="max_waste")
    check_stops(request.stop, key="stop")
    if len(prompt) + new > min(context_length, MAX_TOKENS):
        most = f"the draft's context of {context_length}"
        if context_length > MAX_TOKENS:
            most = f"the {MAX_TOKENS} that a message can carry"
        raise InvalidRequestError(
            f"its {len(prompt)} tokens and {new} new ones exceed {most}",
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


def acceptance_of(name: str, *, key: str) -> Acceptance:
    """As a request says it. Raises InvalidRequestError, naming `key`, for what is none."""
    known = [rule.value for rule in AcceptanceRule]
    if name not in known:
        remedy = f"write {', '.join(known[:-1])} or {known[-1]}"
        raise InvalidRequestError(f"{name!r} will not do", key=key, remedy=remedy)
    return AcceptanceRule(name).on_the_wire


def check_hints(acceptance: Acceptance, temperature: float, *, only: Mapping[str, object]) -> None:
    """Raise InvalidRequestError, naming the key, for values that only drafts which are hints have.

    only: key -> value; None: it was not given.
    """
    if temperature == 0 or acceptance is not Acceptance.REJECTION:
        return
    for key, value in only.items():
        if value is not None:
            raise InvalidRequestError(
                f"{value} has no effect with acceptance rejection, where the target waits for whole blocks",
                key=key,
                remedy="choose acceptance coupled or auto (or temperature 0), or leave it out",
            )


def check_waste(value: float, *, key: str) -> None:
    """Raise InvalidRequestError, naming `key`, for what is no bound of drafted tokens thrown away."""
    if type(value) not in (int, float):
        raise InvalidRequestError(f"{value!r} is no number", key=key, remedy="write one")
    if not 0 <= value <= MOST_WASTE:  # NaN fails too
        remedy = f"write 0 to {MOST_WASTE:g} (0: no draft in vain), or leave it out for no bound"
        raise InvalidRequestError(f"{value:g} will not do", key=key, remedy=remedy)


def check_waits(gamma: int | None, min_draft: int | None, *, key: str) -> None:
    """Raise InvalidRequestError, naming `key`, for a target that is to wait for drafts which never come."""
    if gamma == 0 and min_draft:
        raise InvalidRequestError(
            f"{min_draft} drafted tokens to wait for, but gamma is 0: none are drafted",
            key=key,
            remedy="leave it out, or let gamma be 1 or more",
        )


def check_stops(texts: Sequence[str], *, key: str) -> None:
    """Raise InvalidRequestError, naming `key`, for texts to stop behind that can't be."""
    if len(texts) > MAX_STOPS:
        raise InvalidRequestError(
            f"{len(texts)} texts are too many", key=key, remedy=f"give at most {MAX_STOPS}"
        )
    for text in texts:
        if not isinstance(text, str):
            raise InvalidRequestError(f"{text!r} is no text", key=key, remedy="give a list of texts")
        if not 1 <= len(text.encode(errors="replace")) <= MAX_TEXT_BYTES:
            remedy = f"give 1 to {MAX_TEXT_BYTES} bytes of text"
            raise InvalidRequestError(f"{text[:40]!r} will not do", key=key, remedy=remedy)
        _check_encodes(text, key=key)


def check_entry(entry: Entry, *, device: str, draft: str, hello: Hello) -> None:
    """Raise InvalidRequestError, with both values, for a request that this device can't go on with."""
    pairs = {
        "device": (entry.device, device, "run it under that name"),
        "draft": (
            model_name(entry.draft),
            model_name(draft),
            "run it with that draft model, called by the same name: only of a folder or a file the spelling "
            "does not count",
        ),
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


def model_name(name: str) -> str:
    """What a model is called in a journal: a folder or a file by where it is, wherever one looks from."""
    if name in ("", SHIPPED):
        return name
    try:
        path = Path(name).expanduser()
        return str(path.resolve()) if path.exists() else name
    except (OSError, RuntimeError):  # no path at all: too long, or of a user who is not known
        return name


def check_text(prompt: str, *, key: str) -> None:
    """Raise InvalidRequestError for a text that there is nothing to answer in, or that is no text."""
    if not prompt.strip():
        raise InvalidRequestError("it is empty", key=key, remedy="write something to answer")
    _check_encodes(prompt, key=key)


def _check_encodes(text: str, *, key: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"character {error.start} is half a character or a byte that is no text",
            key=key,
            remedy="write UTF-8",
        ) from None


def _check_sampling(sampling: Sampling) -> None:
    """Its ranges it has checked itself."""
    _whole("top_k", sampling.top_k)
    for key, value in (("temperature", sampling.temperature), ("top_p", sampling.top_p)):
        if type(value) not in (int, float):
            raise InvalidRequestError(f"{value!r} is no number", key=key, remedy="write one")


def _whole(key: str, *values: int) -> None:
    """Of bool and of numpy's integers no line of a journal is made."""
    for value in values:
        if type(value) is not int:
            raise InvalidRequestError(f"{value!r} is no whole number", key=key, remedy="write one")


def _between(key: str, value: int, low: int, high: int) -> None:
    _whole(key, value)
    if not low <= value <= high:
        raise InvalidRequestError(
            f"{value} will not do", key=key, remedy=f"write a number from {low} to {high}"
        )


__all__ = [
    "InvalidRequestError",
    "acceptance_of",
    "check_entry",
    "check_hints",
    "check_pins",
    "check_request",
    "check_stops",
    "check_text",
    "check_waits",
    "check_waste",
    "model_name",
]
