"""The model of one direction of a link: what arrives at one end when, given what was put in at the other.

A message of s bytes that comes at time t, on a link of rate r, delay d and jitter j:

    start    = max(t, busy)                         it waits until the link has sent what came before
    busy     = start + 8 (s + overhead) / r         then takes its own time on the link
    delivery = busy + d + u                         u uniform in [-j, j], drawn once a message
    delivery = max(delivery, delivery before)       and never overtakes the message before it

So the rate is a rate (serialisation, no token bucket that lets a burst through early), delay is added once
and never builds up, and jitter can't reorder. A message that finds the queue full is dropped, counted and
told so; the queue is everything accepted and not yet delivered, as with netem. Pure: no clock, no socket, no
task. The caller brings the time of each message, non-decreasing, and uniform numbers for the jitter alone.

Links are written in the words of tc: `rate 5mbit delay 20ms 2ms limit 100`.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Protocol

from draftwire.runtime.errors import ConfigurationError, nearest

DEFAULT_OVERHEAD_BYTES: Final = 74
"""What ZeroMQ over TCP/IPv4/Ethernet adds to a message that fits one segment (measured: 73 to 75)."""

DEFAULT_LIMIT_MESSAGES: Final = 1000
"""netem's default queue."""

MIN_RATE_BPS: Final = 100.0
"""Slower than any radio that carries data: below it stands a rate whose k or m was forgotten."""

MAX_RATE_BPS: Final = 1e12
MAX_DELAY_S: Final = 60.0
"""Beyond any terrestrial or satellite path, and beyond every patience of the protocol."""

MAX_LIMIT_MESSAGES: Final = 1_000_000
MAX_LIMIT_BYTES: Final = 2**32
MAX_OVERHEAD_BYTES: Final = 65_536


class Uniform(Protocol):
    """A source of uniform numbers: numpy's Generator and random.Random both are one."""

    def random(self) -> float:
        """The next number in [0, 1)."""
        ...


class LinkDrop(StrEnum):
    """Why a link took a message and delivers it never."""

    LIMIT_MESSAGES = "limit_messages"
    LIMIT_BYTES = "limit_bytes"
    OUTAGE = "outage"
    "the rate is 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSpec:
    """What one direction of a link does; `str` gives words that parse_link reads back as it."""

    rate_bps: float | None = None
    "bits a second; None: sending takes no time; 0: an outage, everything is dropped"
    delay_s: float = 0.0
    "one way, added behind the sending time"
    jitter_s: float = 0.0
    "delay varies uniformly by up to this much either way; at most delay_s"
    limit_messages: int = DEFAULT_LIMIT_MESSAGES
    "accepted and not yet delivered, at most"
    limit_bytes: int | None = None
    "the same in bytes as they were put in, overhead left out; None: no such limit"
    overhead_bytes: int = DEFAULT_OVERHEAD_BYTES
    "what each message costs on the link above its own bytes"

    def __post_init__(self) -> None:
        if self.rate_bps is not None and self.rate_bps != 0:
            _check("rate", self.rate_bps, MIN_RATE_BPS, MAX_RATE_BPS, "bit/s, or 0 for an outage")
        _check("delay", self.delay_s, 0, MAX_DELAY_S, "s")
        _check("jitter", self.jitter_s, 0, self.delay_s, "s, the delay: nothing arrives before it was sent")
        _check("limit", self.limit_messages, 1, MAX_LIMIT_MESSAGES, "messages")
        _check("overhead", self.overhead_bytes, 0, MAX_OVERHEAD_BYTES, "bytes")
        if self.limit_bytes is not None:
            _check("limit", self.limit_bytes, 1, MAX_LIMIT_BYTES, "bytes")

    def __str__(self) -> str:
        return self.words_after(LinkSpec())

    def words_after(self, before: "LinkSpec") -> str:
        """What differs from `before`, in words that parse_link(..., after=before) reads back as this link."""
        words = list[str]()
        if self.rate_bps is None and before.rate_bps is not None:
            words += ["rate", _UNLIMITED]
        elif self.rate_bps is not None and self.rate_bps != before.rate_bps:
            words += ["rate", _scaled(self.rate_bps, _RATE_UNITS, ("gbit", "mbit", "kbit", "bit"))]
        if (self.delay_s, self.jitter_s) != (before.delay_s, before.jitter_s):
            words += ["delay", time_words(self.delay_s)]
            words += [time_words(self.jitter_s)] if self.jitter_s else []
        if self.limit_messages != before.limit_messages:
            words += ["limit", str(self.limit_messages)]
        if self.limit_bytes != before.limit_bytes:
            words += ["limit", _UNLIMITED if self.limit_bytes is None else _size(self.limit_bytes)]
        if self.overhead_bytes != before.overhead_bytes:
            words += ["overhead", _size(self.overhead_bytes)]
        return " ".join(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStatistics:
    """Counts since the link was made: offered = delivered + queued + dropped, in messages and in bytes."""

    offered: int
    offered_bytes: int
    delivered: int
    delivered_bytes: int
    queued: int
    queued_bytes: int
    dropped: Mapping[LinkDrop, int]
    "messages; a cause that never occurred is absent"
    dropped_bytes: int


class Link:
    """One direction of a link, in use. Its state is when it is free again and what it has not delivered."""

    def __init__(self, spec: LinkSpec, jitter: Uniform) -> None:
        self.spec = spec
        "may be replaced while in use: later messages go by the new one, earlier ones keep their times"
        self._jitter = jitter
        self._busy_s = float("-inf")
        self._last_delivery_s = float("-inf")
        self._queue: deque[tuple[float, int]] = deque()
        self._queued_bytes = 0
        self._offered = self._offered_bytes = self._dropped_bytes = 0
        self._dropped: Counter[LinkDrop] = Counter()

    def offer(self, now_s: float, size_bytes: int) -> float | LinkDrop:
        """Put a message in, no earlier than the last one: when it is delivered, or why it never is."""
        self._offered += 1
        self._offered_bytes += size_bytes
        # One number a message, needed or not: so the n-th message meets the same jitter whatever the spec is.
        wobble = 2.0 * self._jitter.random() - 1.0
        self._release(now_s)
        spec = self.spec
        cause = self._refusal(size_bytes)
        if cause is not None:
            self._dropped[cause] += 1
            self._dropped_bytes += size_bytes
            return cause
        start_s = max(now_s, self._busy_s)
        sending_s = 8.0 * (size_bytes + spec.overhead_bytes) / spec.rate_bps if spec.rate_bps else 0.0
        self._busy_s = start_s + sending_s
        delivery_s = self._busy_s + (spec.delay_s + wobble * spec.jitter_s)
        self._last_delivery_s = max(delivery_s, self._last_delivery_s)
        self._queue.append((self._last_delivery_s, size_bytes))
        self._queued_bytes += size_bytes
        return self._last_delivery_s

    def statistics(self, now_s: float) -> LinkStatistics:
        """The counts as they stand at `now_s`; asking changes no delivery."""
        self._release(now_s)
        queued = len(self._queue)
        return LinkStatistics(
            offered=self._offered,
            offered_bytes=self._offered_bytes,
            delivered=self._offered - queued - self._dropped.total(),
            delivered_bytes=self._offered_bytes - self._queued_bytes - self._dropped_bytes,
            queued=queued,
            queued_bytes=self._queued_bytes,
            dropped=MappingProxyType(dict(self._dropped)),
            dropped_bytes=self._dropped_bytes,
        )

    def _refusal(self, size_bytes: int) -> LinkDrop | None:
        if self.spec.rate_bps == 0:
            return LinkDrop.OUTAGE
        if len(self._queue) >= self.spec.limit_messages:
            return LinkDrop.LIMIT_MESSAGES
        if self.spec.limit_bytes is not None and self._queued_bytes + size_bytes > self.spec.limit_bytes:
            return LinkDrop.LIMIT_BYTES
        return None

    def _release(self, now_s: float) -> None:
        while self._queue and self._queue[0][0] <= now_s:
            self._queued_bytes -= self._queue.popleft()[1]


# ------------------------------------------------------------------------------------------ the words of tc

_DECIMAL: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY: Final = {"k": 2**10, "m": 2**20, "g": 2**30}

_RATE_UNITS: Final[dict[str, Decimal]] = {
    "": Decimal(1),
    **{f"{prefix}bit": Decimal(factor) for prefix, factor in _DECIMAL.items()},
    **{f"{prefix}ibit": Decimal(factor) for prefix, factor in _BINARY.items()},
    **{f"{prefix}bps": Decimal(8 * factor) for prefix, factor in _DECIMAL.items()},
    **{f"{prefix}ibps": Decimal(8 * factor) for prefix, factor in _BINARY.items()},
}
"""tc's: `bit` is bits a second, `bps` is BYTES a second, a number alone is bits a second."""

_TIME_UNITS: Final[dict[str, Decimal]] = {
    **dict.fromkeys(("s", "sec", "secs"), Decimal(1)),
    **dict.fromkeys(("ms", "msec", "msecs"), Decimal("1e-3")),
    **dict.fromkeys(("us", "usec", "usecs"), Decimal("1e-6")),
}
"""tc's, but a number alone is refused: tc takes it for microseconds, which hardly anybody means."""

_SIZE_UNITS: Final[dict[str, Decimal]] = {
    "b": Decimal(1),
    **{prefix: Decimal(factor) for prefix, factor in _BINARY.items()},
    **{f"{prefix}b": Decimal(factor) for prefix, factor in _BINARY.items()},
    **{f"{prefix}bit": Decimal(factor) / 8 for prefix, factor in _BINARY.items()},
}
"""tc's: k, m and g are powers of 1024 here."""

_WORDS: Final = ("rate", "delay", "limit", "overhead")
_UNLIMITED: Final = "unlimited"
_MAX_DIGITS: Final = 30
"""Before the point: beyond every bound above, and few enough to reckon with."""


def parse_link(text: str, *, after: LinkSpec | None = None) -> LinkSpec:
    """A link from words as tc writes them; an empty text is a link that does nothing.

        rate RATE                 5mbit, 500kbit, 80kbps (bytes a second, as in tc); 0: outage; unlimited
        delay TIME [JITTER]       20ms 2ms; without JITTER there is none
        limit MESSAGES | BYTES    100, 64kb; both may be given; unlimited: no limit in bytes
        overhead BYTES            of each message on the link, 74b unless given

    What the words leave out is as in `after`, or as in a link that does nothing. Raises ConfigurationError
    that names the word, what is wrong with it, and the nearest word known.
    """
    words = text.split()
    values: dict[str, float | int | None] = {}
    while words:
        word = words.pop(0).lower()
        if word not in _WORDS:
            raise ConfigurationError(f"{word!r} is no word of a link", key=word, remedy=nearest(word, _WORDS))
        if not words or words[0].lower() in _WORDS:
            raise ConfigurationError(f"{word!r} lacks its value", key=word, remedy=_example(word))
        value = words.pop(0)
        if word in ("rate", "limit") and value.lower() == _UNLIMITED:
            _set(values, "rate_bps" if word == "rate" else "limit_bytes", None, word)
        elif word == "rate":
            _set(values, "rate_bps", float(_number(word, value, _RATE_UNITS)), word)
        elif word == "delay":
            _set(values, "delay_s", float(_number(word, value, _TIME_UNITS)), word)
            if words and words[0].lower() not in _WORDS and words[0][0] in "0123456789.+-":
                _set(values, "jitter_s", float(_number("jitter", words.pop(0), _TIME_UNITS)), word)
        elif word == "limit":
            counts = value[-1].isdigit()  # a unit tells bytes from messages
            units = {"": Decimal(1)} if counts else _SIZE_UNITS
            _set(values, "limit_messages" if counts else "limit_bytes", _whole(word, value, units), word)
        else:
            _set(values, "overhead_bytes", _whole(word, value, {"": Decimal(1), **_SIZE_UNITS}), word)
    if "delay_s" in values:
        values.setdefault("jitter_s", 0.0)
    return replace(after or LinkSpec(), **values)  # type: ignore[arg-type]


def parse_time(word: str, text: str) -> float:
    """Seconds from a time in tc's units, `20ms`. Raises ConfigurationError that names `word`."""
    return float(_number(word, text, _TIME_UNITS))


def time_words(time_s: float) -> str:
    """A time as parse_time reads it back."""
    return _scaled(time_s, _TIME_UNITS, ("s", "ms", "us"))


def _set(values: dict[str, float | int | None], name: str, value: float | int | None, word: str) -> None:
    if name in values:
        raise ConfigurationError(f"{word!r} is given twice", key=word, remedy="leave one of them out")
    values[name] = value


def _whole(word: str, text: str, units: Mapping[str, Decimal]) -> int:
    number = _number(word, text, units)
    if number != number.to_integral_value():
        raise ConfigurationError(f"{text!r} is no whole number", key=word, remedy=_example(word))
    return int(number)


def _number(word: str, text: str, units: Mapping[str, Decimal]) -> Decimal:
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    unit = text[len(digits) :].lower()
    try:
        number = Decimal(digits)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number.adjusted() > _MAX_DIGITS:
        raise ConfigurationError(f"{text!r} is no number with a unit", key=word, remedy=_example(word))
    if unit in units:
        return number * units[unit]
    if number == 0 and not unit:
        return number
    if not unit:
        raise ConfigurationError(f"{text!r} has no unit", key=word, remedy=_example(word))
    known = [name for name in units if name]
    raise ConfigurationError(f"{unit!r} in {text!r} is no unit of it", key=word, remedy=nearest(unit, known))


def _example(word: str) -> str:
    examples = {
        "rate": "write for instance 'rate 20mbit'",
        "delay": "write for instance 'delay 20ms' or, with jitter, 'delay 20ms 2ms'",
        "jitter": "write for instance 'delay 20ms 2ms'",
        "limit": "write for instance 'limit 100' (messages) or 'limit 64kb'",
        "overhead": "write for instance 'overhead 74b'",
    }
    return examples.get(word, "write for instance '5s' or '500ms'")


def _check(word: str, value: float, low: float, high: float, unit: str) -> None:
    if not low <= value <= high:  # NaN fails too
        raise ConfigurationError(
            f"{word} {value:g} is out of range", key=word, remedy=f"write {low:g} to {high:g} {unit}"
        )


def _scaled(value: float, units: Mapping[str, Decimal], names: tuple[str, ...]) -> str:
    """The value in the largest of these units that it reaches, in digits that read back the same."""
    exact = Decimal(repr(value))
    if exact == 0:
        return "0"
    name = next((name for name in names if exact >= units[name]), names[-1])
    return f"{(exact / units[name]).normalize():f}{name}"


def _size(value: int) -> str:
    name = next((name for name in ("mb", "kb") if value and value % _SIZE_UNITS[name] == 0), "b")
    return f"{value // int(_SIZE_UNITS[name])}{name}"


__all__ = [
    "DEFAULT_LIMIT_MESSAGES",
    "DEFAULT_OVERHEAD_BYTES",
    "Link",
    "LinkDrop",
    "LinkSpec",
    "LinkStatistics",
    "Uniform",
    "parse_link",
    "parse_time",
    "time_words",
]
