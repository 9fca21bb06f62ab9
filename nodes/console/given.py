"""Numbers that a program gives, of whatever library."""

import operator
from collections.abc import Sequence
from typing import SupportsFloat, SupportsIndex

from draftwire.nodes.device.checks import InvalidRequestError


def whole(key: str, value: SupportsIndex) -> int:
    """An int, of whatever library's; True stays what it is, and is refused where it is used.

    Raises InvalidRequestError.
    """
    try:
        return value if isinstance(value, bool) else operator.index(value)
    except TypeError:
        raise InvalidRequestError(f"{value!r} is no whole number", key=key, remedy="write one") from None


def whole_ones(key: str, values: Sequence[SupportsIndex]) -> tuple[int, ...]:
    """Each as `whole` has it; quick where all are Python's own."""
    if all(kind is int for kind in set(map(type, values))):
        return tuple(values)  # type: ignore[arg-type]
    return tuple(whole(key, one) for one in values)


def real(key: str, value: SupportsFloat) -> float:
    """A float, of whatever library's. A text that looks like one is none: InvalidRequestError."""
    try:
        if isinstance(value, bool | str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise InvalidRequestError(f"{value!r} is no number", key=key, remedy="write one") from None


__all__ = ["real", "whole", "whole_ones"]
