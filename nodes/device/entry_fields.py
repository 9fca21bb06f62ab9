"""The fields of a journal's lines: each read as what it has to be, or DamagedError."""

from collections.abc import Mapping
from typing import Any

from draftwire.codecs.limits import MAX_UINT32
from draftwire.codecs.messages import Acceptance
from draftwire.runtime.config import MOST_WASTE


class DamagedError(ValueError):
    """Raised when a line is not what a journal can say there."""


def number_in(event: Mapping[str, Any], key: str, *, most: int = MAX_UINT32) -> int:
    """A whole number from 0 to `most`."""
    value = event[key]
    need(type(value) is int and 0 <= value <= most, f"{key}: no number from 0 to {most}")
    return int(value)


def pin_of(value: object, key: str) -> int | None:
    """A number, or None: the user fixed nothing."""
    return None if value is None else number_in({key: value}, key)


def real_in(event: Mapping[str, Any], key: str) -> float:
    """A number of any kind."""
    value = event[key]
    need(type(value) in (int, float), f"{key}: no number")
    return float(value)


def waste_in(event: Mapping[str, Any]) -> float:
    """A bound of waste."""
    value = real_in(event, "max_waste")
    need(0 <= value <= MOST_WASTE, f"max_waste: no number from 0 to {MOST_WASTE:g}")
    return value


def truth_in(event: Mapping[str, Any], key: str) -> bool:
    """True or false."""
    value = event[key]
    need(isinstance(value, bool), f"{key}: neither true nor false")
    return bool(value)


def acceptance_in(event: Mapping[str, Any], *, otherwise: Acceptance) -> Acceptance:
    """`otherwise`: what journals of older versions mean, which do not say it."""
    if "acceptance" not in event:
        return otherwise
    name = text_in(event, "acceptance").upper()
    need(name in Acceptance.__members__, f"acceptance: {name.lower()!r} is none")
    return Acceptance[name]


def text_in(event: Mapping[str, Any], key: str) -> str:
    """A text."""
    value = event[key]
    need(isinstance(value, str), f"{key}: no text")
    return str(value)


def eight_bytes_in(event: Mapping[str, Any], key: str) -> bytes:
    """8 bytes, in hexadecimal."""
    try:
        value = bytes.fromhex(text_in(event, key))
    except ValueError:
        value = b""
    need(len(value) == 8, f"{key}: not 8 bytes in hexadecimal")
    return value


def ids_in(event: Mapping[str, Any], key: str, *, below: int) -> list[int]:
    """A list of numbers below `below`."""
    value = event[key]
    fits = isinstance(value, list) and all(type(one) is int and 0 <= one < below for one in value)
    need(fits, f"{key}: no list of numbers below {below}")
    return list(value)


def need(holds: bool, problem: str) -> None:
    """Raise DamagedError for this problem, unless it holds."""
    if not holds:
        raise DamagedError(problem)


__all__ = [
    "DamagedError",
    "acceptance_in",
    "eight_bytes_in",
    "ids_in",
    "need",
    "number_in",
    "pin_of",
    "real_in",
    "text_in",
    "truth_in",
    "waste_in",
]
