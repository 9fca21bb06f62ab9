"""How much of a sequence is known already."""

from collections.abc import Sequence
from typing import Final

BLOCK: Final = 256
"""Tokens that are compared at a time, at the speed of C."""


def common_prefix(left: Sequence[int], right: Sequence[int], *, known: int = 0) -> int:
    """How many tokens both begin with; the first `known` of both are known to be alike."""
    shorter = min(len(left), len(right))
    for start in range(known, shorter, BLOCK):
        end = min(start + BLOCK, shorter)
        if left[start:end] != right[start:end]:
            for index in range(start, end):
                if left[index] != right[index]:
                    return index
    return shorter


__all__ = ["common_prefix"]
