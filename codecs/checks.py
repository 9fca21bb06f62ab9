"""The checks that values share. Each raises LocalError with the field, its value and what would do."""

from collections.abc import Sequence

from draftwire.codecs.errors import LocalError
from draftwire.codecs.limits import MAX_TEXT_BYTES, MAX_UINT32, MAX_VOCAB_SIZE


def check_range(field: str, value: int | float, low: int | float, high: int | float) -> None:
    """low <= value <= high; so NaN is refused too."""
    if not low <= value <= high:
        raise LocalError(field=field, value=value, remedy=f"must lie in [{low}, {high}]")


def check_one_test(*, blockwise: bool, early_stop: bool) -> None:
    """Blocks, tested as a whole, have their length before the first draw; only hints may stop early."""
    if blockwise and early_stop:
        remedy = "must be False with blockwise: a block's length is fixed before its first draw"
        raise LocalError(field="early_stop", value=early_stop, remedy=remedy)


def check_uint32(**fields: int) -> None:
    """Each of the fields fits in 32 bits without a sign."""
    for name, value in fields.items():
        if not 0 <= value <= MAX_UINT32:
            raise LocalError(field=name, value=value, remedy="must lie in [0, 2**32 - 1]")


def check_tokens(field: str, tokens: Sequence[int], *, least: int, most: int) -> None:
    """`least` to `most` token ids, each below the largest vocabulary."""
    check_range(f"len({field})", len(tokens), least, most)
    if tokens and not 0 <= min(tokens) <= max(tokens) < MAX_VOCAB_SIZE:
        wrong = next(token for token in tokens if not 0 <= token < MAX_VOCAB_SIZE)
        raise LocalError(field=field, value=wrong, remedy=f"ids must lie in [0, {MAX_VOCAB_SIZE - 1}]")


def check_digest(field: str, digest: bytes) -> None:
    """8 bytes."""
    if len(digest) != 8:
        raise LocalError(field=field, value=digest, remedy="must be 8 bytes")


def check_text(field: str, text: str) -> None:
    """Text that is UTF-8 and short."""
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise LocalError(field=field, value=text, remedy="must be text without lone surrogates") from None
    if length > MAX_TEXT_BYTES:
        raise LocalError(
            field=field, value=text, remedy=f"takes {length} bytes, at most {MAX_TEXT_BYTES} will do"
        )


__all__ = ["check_digest", "check_one_test", "check_range", "check_text", "check_tokens", "check_uint32"]
