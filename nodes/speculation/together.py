"""What sessions that share passes bring together, and how long one of them is worth waiting for.

A session under rejection is away for a round trip and its drafting, between its Commit and its next block.
Served at once, those who are there leave the others behind, who then wait for a whole pass: sessions end up
in groups that take turns. With `steady` sessions that have a step in every pass (the target alone), `blocks`
that are there or waited for, passes of T and a wait of w,

    together     steady + blocks       steps in                    T + w
    in turns     2 steady + blocks                                 2 T

so a wait pays while w < T blocks / (2 steady + blocks). A pass over more positions takes longer, and what
two passes have twice is only what a pass takes at any length: SHARE of T stands for that. docs/theory.md has
more.
"""

from typing import Final

SHARE: Final = 0.5
"Of a pass."

TOLERANCE: Final = 1.5
"""A base station waits for so many times as long as plans reckon with: a block that they count on must not be
left behind for a jitter, as then sessions fall into groups."""


def longest_wait_s(*, pass_s: float, steady: int, blocks: int) -> float:
    """Seconds for which a free base station should wait for a block, `blocks` with it."""
    return SHARE * pass_s * blocks / (2 * steady + blocks)


__all__ = ["SHARE", "TOLERANCE", "longest_wait_s"]
