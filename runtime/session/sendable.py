"""Which rows have a form on the wire: what K and gamma a request may be given, whoever gives them."""

from draftwire.codecs.limits import MAX_FRAME_BYTES, MAX_GAMMA, MAX_PLAIN_K

_WHOLE_ROW_BYTES_AN_ENTRY = 2
_ROWS_HEAD_BYTES = 64
"""More than what stands before the rows of a message: envelope, incarnation, epoch, position, header."""


def can_be_sent(k: int, vocab_size: int) -> bool:
    """Whether a row of K entries has a form on the wire: up to MAX_PLAIN_K, or the whole vocabulary."""
    return k <= MAX_PLAIN_K or k >= vocab_size


def most_rows(k: int, vocab_size: int) -> int:
    """How many rows of K entries one message carries: MAX_GAMMA, but for whole rows of a large vocabulary."""
    if k <= MAX_PLAIN_K:
        return MAX_GAMMA
    return min(MAX_GAMMA, (MAX_FRAME_BYTES - _ROWS_HEAD_BYTES) // (_WHOLE_ROW_BYTES_AN_ENTRY * vocab_size))


__all__ = ["can_be_sent", "most_rows"]
