"""What can be known to be wrong with a request before a byte of it is sent."""

from draftwire.codecs.limits import MAX_STOPS, MAX_TEXT_BYTES, MAX_TOKENS, MAX_UINT64
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.session.request import Request


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


__all__ = ["InvalidRequestError", "check_request", "check_text"]
