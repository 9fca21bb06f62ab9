"""Numbers with the units of tc: rates, times, sizes, percentages, and back."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from draftwire.runtime.errors import ConfigurationError, nearest

_DECIMAL: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY: Final = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZES: Final = {prefix: factor for prefix, factor in _BINARY.items() if prefix != "t"}

COUNT_UNITS: Final = {"": Decimal(1)}

RATE_UNITS: Final[dict[str, Decimal]] = {
    "": Decimal(1),
    **{f"{prefix}bit": Decimal(factor) for prefix, factor in _DECIMAL.items()},
    **{f"{prefix}ibit": Decimal(factor) for prefix, factor in _BINARY.items()},
    **{f"{prefix}bps": Decimal(8 * factor) for prefix, factor in _DECIMAL.items()},
    **{f"{prefix}ibps": Decimal(8 * factor) for prefix, factor in _BINARY.items()},
}
"""tc's: `bit` is bits a second, `bps` is BYTES a second, a number alone is bits a second."""

TIME_UNITS: Final[dict[str, Decimal]] = {
    **dict.fromkeys(("s", "sec", "secs"), Decimal(1)),
    **dict.fromkeys(("ms", "msec", "msecs"), Decimal("1e-3")),
    **dict.fromkeys(("us", "usec", "usecs"), Decimal("1e-6")),
    **dict.fromkeys(("ns", "nsec", "nsecs"), Decimal("1e-9")),
}
"""tc's, but a number alone is refused: tc takes it for microseconds, which hardly anybody means."""

SIZE_UNITS: Final[dict[str, Decimal]] = {
    "b": Decimal(1),
    **{prefix: Decimal(factor) for prefix, factor in _SIZES.items()},
    **{f"{prefix}b": Decimal(factor) for prefix, factor in _SIZES.items()},
    **{f"{prefix}bit": Decimal(factor) / 8 for prefix, factor in _SIZES.items()},
}
"""tc's: k, m and g are powers of 1024 here."""

BARE_SIZE_UNITS: Final = {"": Decimal(1), **SIZE_UNITS}
"""Where a number alone is bytes."""

SHARE_UNITS: Final = {"%": Decimal("0.01")}
"""A number alone is refused: tc takes 0.1 for 0.1 %, and who writes it may well mean 10 %."""

FREQUENCY_UNITS: Final = {
    "hz": Decimal(1),
    "khz": Decimal(10**3),
    "mhz": Decimal(10**6),
    "ghz": Decimal(10**9),
}
DECIBEL_UNITS: Final = {"db": Decimal(1)}

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ%"

_DIGITS: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]{1,6})?", re.IGNORECASE)
"""Decimal would take `1_000` and digits of other scripts."""

_MAX_DIGITS: Final = 30
"""Before the point: beyond every bound above, and few enough to reckon with."""

_EXAMPLES: Final = {
    "rate": "rate 20mbit",
    "packet overhead": "rate 20mbit 38",
    "delay": "delay 20ms' or, with jitter, 'delay 20ms 2ms",
    "jitter": "delay 20ms 2ms",
    "jitter correlation": "delay 20ms 2ms 25%",
    "distribution": "delay 20ms 2ms distribution normal",
    "loss": "loss 1%",
    "loss gemodel": "loss gemodel 1% 30%",
    "arq": "loss 1% arq 8ms",
    "duplicate": "duplicate 1%",
    "corrupt": "corrupt 0.1%",
    "reorder": "delay 10ms reorder 25%",
    "gap": "delay 10ms reorder 25% gap 5",
    "limit": "limit 100' (messages) or 'limit 64kb",
    "netem limit": "netem limit 1000",
    "tbf limit": "tbf rate 1mbit burst 4kb limit 64kb",
    "burst": "rate 1mbit burst 4kb",
    "latency": "rate 1mbit burst 4kb latency 400ms",
    "overhead": "overhead 8b 66b",
    "trace": "trace lte-like",
    "rayleigh": "rayleigh 15db 5mhz 20ms",
    "time": "5s rate 1mbit",
    "repeat": "repeat 15s",
}


def parse_time(word: str, text: str) -> float:
    """Seconds from a time in tc's units, `20ms`. Raises ConfigurationError that names `word`."""
    return float(number(word, text, TIME_UNITS))


def time_words(time_s: float) -> str:
    """A time as parse_time reads it back."""
    return scaled(time_s, TIME_UNITS, ("s", "ms", "us"))


def whole(word: str, text: str, units: Mapping[str, Decimal], *, example: str = "") -> int:
    """A number that has no fraction once its unit is in it; else as `number`."""
    found = number(word, text, units, example=example)
    if found != found.to_integral_value():
        raise ConfigurationError(f"{text!r} is no whole number", key=word, remedy=remedy_of(example or word))
    return int(found)


def number(word: str, text: str, units: Mapping[str, Decimal], *, example: str = "") -> Decimal:
    """A number in the unit of these that has the value 1; 0 needs none.

    Raises ConfigurationError that names `word` and shows how `example`, by default the word, is written.
    """
    digits = text.rstrip(_LETTERS)
    unit = text[len(digits) :].lower()
    remedy = remedy_of(example or word)
    found = Decimal(digits) if is_number(digits) else None
    if found is None or found.adjusted() > _MAX_DIGITS:
        raise ConfigurationError(f"{text!r} is no number with a unit", key=word, remedy=remedy)
    if unit in units:
        value = found * units[unit]
        if found and not float(value):
            raise ConfigurationError(f"{text!r} is all but 0", key=word, remedy="write 0, or more")
        return value
    if found == 0 and not unit:
        return found
    if not unit:
        raise ConfigurationError(f"{text!r} has no unit", key=word, remedy=remedy)
    known = [name for name in units if name]
    if f"{unit}it" in units:  # 5mb: `mbps` is nearer by its letters, and is bytes a second
        remedy = f"did you mean '{unit}it'?"
    elif known:
        remedy = nearest(unit, known)
    raise ConfigurationError(f"{unit!r} in {text!r} is no unit of it", key=word, remedy=remedy)


def is_number(text: str) -> bool:
    """Whether these are digits, with a sign, a point or an exponent."""
    return _DIGITS.fullmatch(text) is not None


def remedy_of(word: str) -> str:
    """How the word is written."""
    written = _EXAMPLES.get(word, "5s' or '500ms")
    return f"write for instance '{written}'"


def scaled(value: float, units: Mapping[str, Decimal], names: tuple[str, ...]) -> str:
    """The value in the largest of these units that it reaches, in digits that read back the same."""
    exact = Decimal(repr(float(value)))
    if exact == 0:
        return "0"
    name = next((name for name in names if exact >= units[name]), names[-1])
    return f"{(exact / units[name]).normalize():f}{name}"


def share_words(value: float) -> str:
    """A share of 1 in per cent."""
    return f"{(Decimal(repr(float(value))) * 100).normalize():f}%"


def size_words(value: int) -> str:
    """Bytes, in the largest unit that leaves a whole number."""
    name = next((name for name in ("mb", "kb") if value and value % SIZE_UNITS[name] == 0), "b")
    return f"{value // int(SIZE_UNITS[name])}{name}"


__all__ = [
    "BARE_SIZE_UNITS",
    "COUNT_UNITS",
    "DECIBEL_UNITS",
    "FREQUENCY_UNITS",
    "RATE_UNITS",
    "SHARE_UNITS",
    "SIZE_UNITS",
    "TIME_UNITS",
    "is_number",
    "number",
    "parse_time",
    "remedy_of",
    "scaled",
    "share_words",
    "size_words",
    "time_words",
    "whole",
]
