"""Link scripts for SessionPair: what a bad link does to which message."""

from collections.abc import Sequence

from tests.harness.enumerate import EnumeratingNoise
from tests.harness.pair import Direction, LinkScript

from draftwire.codecs.messages import Draft, Message, SparseLogits


def lossy(noise: EnumeratingNoise, *, of: type, probability: float, first: int = 2) -> LinkScript:
    """Each of the first few messages of a type is lost with a probability."""
    seen = 0

    def link(direction: Direction, message: Message, index: int) -> Sequence[float]:
        nonlocal seen
        if not isinstance(message, of):
            return (0.0,)
        seen += 1
        return () if seen <= first and noise.coin((of.__name__, seen), probability) else (0.0,)

    return link


def late(noise: EnumeratingNoise, *, of: type, by_s: float, first: int = 1) -> LinkScript:
    """Each of the first few messages of a type is late with a probability that does not look at it."""
    seen = 0

    def link(direction: Direction, message: Message, index: int) -> Sequence[float]:
        nonlocal seen
        if not isinstance(message, of):
            return (0.0,)
        seen += 1
        return (by_s,) if seen <= first and noise.coin((of.__name__, "late", seen), 0.4) else (0.0,)

    return link


def without(first_rows: int, drafts: Sequence[int]) -> LinkScript:
    """The first rows are lost, and the Drafts of these numbers, counted from 1."""
    rows = sent = 0

    def link(direction: Direction, message: Message, index: int) -> Sequence[float]:
        nonlocal rows, sent
        if isinstance(message, SparseLogits):
            rows += 1
            return () if rows <= first_rows else (0.0,)
        if isinstance(message, Draft):
            sent += 1
            return () if sent in drafts else (0.0,)
        return (0.0,)

    return link


def behind_its_rows() -> LinkScript:
    """The first Draft is lost; each repeat waits behind its own rows, whose size knows their ids."""
    queue_s, drafts = 0.0, 0

    def link(direction: Direction, message: Message, index: int) -> Sequence[float]:
        nonlocal queue_s, drafts
        if isinstance(message, SparseLogits):
            queue_s = 0.1 + 3.0 * (int(message.rows[-1].ids[0]) % 2)
            return (queue_s,)
        if isinstance(message, Draft):
            drafts += 1
            delay_s, queue_s = queue_s, 0.0
            return () if drafts == 1 else (delay_s,)
        return (0.0,)

    return link


def behind_the_last_block() -> LinkScript:
    """A Draft is late by what the last token of the block before it was."""
    queue_s = 0.0

    def link(direction: Direction, message: Message, index: int) -> Sequence[float]:
        nonlocal queue_s
        if isinstance(message, Draft):
            delay_s, queue_s = queue_s, 0.9 * (message.ids[-1] % 2)
            return (delay_s,)
        return (0.0,)

    return link


def rows_first(direction: Direction, message: Message, index: int) -> Sequence[float]:
    """Rows overtake their Draft by far."""
    return (1.0,) if isinstance(message, Draft) else (0.1,)
