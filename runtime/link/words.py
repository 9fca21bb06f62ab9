"""The words of a link, one by one: what stands behind each, and what it says of a LinkSpec."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from draftwire.runtime.errors import ConfigurationError, nearest
from draftwire.runtime.link.commands import KINDS
from draftwire.runtime.link.fading import Fading
from draftwire.runtime.link.spec import BurstLoss, Distribution, LinkSpec, RandomLoss
from draftwire.runtime.link.traces import FindTrace
from draftwire.runtime.link.units import (
    BARE_SIZE_UNITS,
    COUNT_UNITS,
    DECIBEL_UNITS,
    FREQUENCY_UNITS,
    RATE_UNITS,
    SHARE_UNITS,
    SIZE_UNITS,
    TIME_UNITS,
    number,
    remedy_of,
    whole,
)

_UNLIMITED: Final = "unlimited"
_NONE: Final = "none"


@dataclass(slots=True, kw_only=True)
class Reading:
    """Words that are left, and what those before them said."""

    left: deque[str]
    find_trace: FindTrace
    before: LinkSpec
    kinds: tuple[str, ...] = ()
    "of `netem` and `tbf`, those that stood there, the last one last"
    values: dict[str, Any] = field(default_factory=dict)
    "of LinkSpec, by its names; and `latency_s`, and `more_bytes` of each packet"
    said_by: dict[str, str] = field(default_factory=dict)
    "of each value, its word"
    device: str = ""
    "that commands named, see Command"
    places: set[str] = field(default_factory=set)
    "there, the same"

    @property
    def kind(self) -> str:
        return self.kinds[-1] if self.kinds else ""

    def set(self, word: str, **values: Any) -> None:
        for name, value in values.items():
            by = self.said_by.setdefault(name, word)
            if name in self.values:
                problem = f"{word!r} is given twice" if by == word else f"{word!r} says what {by!r} says"
                raise ConfigurationError(problem, key=word, remedy="leave one of them out")
            self.values[name] = value

    def begin_after(self, link: LinkSpec) -> None:
        """What is read from now on stands on top of this link."""
        self.before = link
        self.values, self.said_by = {}, {}

    def next(self, word: str) -> str:
        if not self.left or self.left[0].lower() in (*READERS, *KINDS):
            raise ConfigurationError(f"{word!r} lacks its value", key=word, remedy=remedy_of(word))
        return self.left.popleft()

    def next_is(self, *words: str) -> bool:
        """Takes it, if it is."""
        found = bool(self.left) and self.left[0].lower() in words
        if found:
            self.left.popleft()
        return found

    def has_number(self) -> bool:
        return bool(self.left) and self.left[0][:1] in tuple("0123456789.+-")

    def share(self, word: str) -> Decimal:
        return number(word, self.next(word), SHARE_UNITS)

    def more_shares(self, word: str, at_most: int) -> list[float]:
        """Those that follow, with a correlation above all."""
        found = list[float]()
        while len(found) < at_most and self.has_number():
            found.append(float(self.share(word)))
        return found

    def time_s(self, word: str) -> float:
        return float(number(word, self.next(word), TIME_UNITS))


def _rate(reading: Reading) -> None:
    text = reading.next("rate")
    rate_bps = None if text.lower() == _UNLIMITED else float(number("rate", text, RATE_UNITS))
    if rate_bps == 0 and reading.kind:
        problem = "is no limit there" if reading.kind == "netem" else "is refused there"
        raise ConfigurationError(
            f"'rate 0' behind {reading.kind!r} {problem}, and a link would stand still",
            key="rate",
            remedy=f"leave {reading.kind!r} out for an outage, or write 'rate unlimited'",
        )
    reading.set("rate", rate_bps=rate_bps, trace=None, fading=None)
    if reading.has_number() and reading.kind != "tbf":
        more_bytes = whole("rate", reading.next("rate"), BARE_SIZE_UNITS, example="packet overhead")
        reading.set("rate", more_bytes=more_bytes)
        if reading.has_number():
            raise ConfigurationError(
                f"{reading.left[0]!r} is a size of cells, and there are none",
                key="rate",
                remedy="leave it out; 'overhead MESSAGE [PACKET [SIZE]]' says what messages and packets cost",
            )


def _trace(reading: Reading) -> None:
    found = reading.find_trace(reading.next("trace"))
    reading.set("trace", rate_bps=None, trace=found, fading=None)


def _rayleigh(reading: Reading) -> None:
    snr, bandwidth, coherence = (reading.next("rayleigh") for _ in range(3))
    fading = Fading(
        snr_db=float(number("rayleigh", snr, DECIBEL_UNITS)),
        bandwidth_hz=float(number("rayleigh", bandwidth, FREQUENCY_UNITS)),
        coherence_s=float(number("rayleigh", coherence, TIME_UNITS)),
    )
    reading.set("rayleigh", rate_bps=None, trace=None, fading=fading)


def _burst(reading: Reading) -> None:
    text = reading.next("burst")
    size, slash, _ = text.partition("/")
    if slash:
        raise ConfigurationError(
            f"{text!r} has a size of cells, and there are none", key="burst", remedy=f"write 'burst {size}'"
        )
    reading.set("burst", burst_bytes=whole("burst", text, BARE_SIZE_UNITS))


def _delay(reading: Reading) -> None:
    reading.set("delay", delay_s=reading.time_s("delay"))
    if reading.has_number():
        jitter_s = float(number("jitter", reading.next("delay"), TIME_UNITS))
        reading.set("delay", jitter_s=jitter_s)
    if reading.has_number():
        share = number("jitter", reading.next("delay"), SHARE_UNITS, example="jitter correlation")
        reading.set("delay", jitter_correlation=float(share))


def _distribution(reading: Reading) -> None:
    name = reading.next("distribution").lower()
    if name not in (known := [one.value for one in Distribution]):
        raise ConfigurationError(
            f"{name!r} is no distribution of the jitter", key="distribution", remedy=nearest(name, known)
        )
    reading.set("distribution", distribution=Distribution(name))


def _loss(reading: Reading) -> None:
    if reading.next_is(_NONE):
        reading.set("loss", loss=None)
    elif reading.next_is("gemodel"):
        reading.set("loss", loss=_burst_loss(reading))
    elif reading.next_is("state"):
        raise ConfigurationError(
            "'loss state' has four states, and a link has two",
            key="loss",
            remedy="write 'loss gemodel P% R%': P from good to bad, R back, a message",
        )
    else:
        reading.next_is("random")
        share = float(reading.share("loss"))
        correlation = (*reading.more_shares("loss", 1), 0.0)[0]
        reading.set("loss", loss=RandomLoss(share=share, correlation=correlation))


def _burst_loss(reading: Reading) -> BurstLoss:
    to_bad = number("loss", reading.next("loss"), SHARE_UNITS, example="loss gemodel")
    more = reading.more_shares("loss", 3)
    to_good, bad_loss, good_loss = (*more, *(float(1 - to_bad), 1.0, 0.0)[len(more) :])
    return BurstLoss(to_bad=float(to_bad), to_good=to_good, bad_loss=bad_loss, good_loss=good_loss)


def _arq(reading: Reading) -> None:
    reading.set("arq", arq_s=reading.time_s("arq"))


def _shares(word: str) -> Callable[[Reading], None]:
    """Of a word with a share and perhaps a correlation, which LinkSpec calls by its name."""

    def read(reading: Reading) -> None:
        reading.set(word, **{word: float(reading.share(word))})
        for correlation in reading.more_shares(word, 1):
            reading.set(word, **{f"{word}_correlation": correlation})

    return read


def _gap(reading: Reading) -> None:
    reading.set("gap", reorder_gap=whole("gap", reading.next("gap"), COUNT_UNITS))


def _limit(reading: Reading) -> None:
    """Of netem in packets, of tbf in bytes; of neither, a unit tells bytes from messages."""
    text = reading.next("limit")
    counts = text[-1:].isdigit()
    if reading.kind == "netem" and not counts:
        raise ConfigurationError(
            f"{text!r} is no number, and netem's limit counts packets",
            key="limit",
            remedy="write for instance 'limit 1000', or leave 'netem' out for a limit in bytes",
        )
    if text.lower() == _UNLIMITED:
        reading.set("limit", limit_bytes=None, limit_is_of_queue=False)
    elif reading.kind == "tbf":
        size = whole("limit", text, BARE_SIZE_UNITS, example="tbf limit")
        reading.set("limit", limit_bytes=size, limit_is_of_queue=True)
    elif counts:
        reading.set("limit", limit_messages=whole("limit", text, COUNT_UNITS))
    else:
        reading.set("limit", limit_bytes=whole("limit", text, SIZE_UNITS), limit_is_of_queue=False)


def _latency(reading: Reading) -> None:
    """Of netem another name for the delay; else the longest wait in tbf's queue, instead of a limit."""
    if reading.kind == "netem":
        _delay(reading)
    else:
        latency_s = reading.time_s("latency")
        reading.set("latency", latency_s=latency_s, limit_bytes=None, limit_is_of_queue=True)


def _overhead(reading: Reading) -> None:
    message_bytes = whole("overhead", reading.next("overhead"), BARE_SIZE_UNITS)
    if reading.kind == "tbf":  # of each packet there
        reading.set("overhead", more_bytes=message_bytes)
        return
    reading.set("overhead", overhead_bytes=message_bytes)
    for name in ("packet_overhead_bytes", "packet_bytes"):
        if reading.has_number():
            size = whole("overhead", reading.next("overhead"), BARE_SIZE_UNITS)
            reading.set("overhead", **{name: size})


READERS: Final[Mapping[str, Callable[[Reading], None]]] = {
    "rate": _rate,
    "trace": _trace,
    "rayleigh": _rayleigh,
    "burst": _burst,
    "buffer": _burst,
    "maxburst": _burst,
    "delay": _delay,
    "distribution": _distribution,
    "loss": _loss,
    "drop": _loss,
    "arq": _arq,
    "duplicate": _shares("duplicate"),
    "corrupt": _shares("corrupt"),
    "reorder": _shares("reorder"),
    "gap": _gap,
    "limit": _limit,
    "latency": _latency,
    "overhead": _overhead,
}

_ABBREVIATED: Final[Mapping[str, tuple[str, ...]]] = {
    "netem": (
        *("limit", "latency", "delay", "loss", "drop", "reorder", "corrupt", "gap", "duplicate"),
        *("distribution", "rate"),
    ),
    "tbf": ("limit", "latency", "burst", "overhead"),
}
"""Words of which tc takes the beginning alone; where two begin so, it takes one of them, and a link none."""


def in_full(word: str, kind: str) -> str:
    """The word that tc takes this one for, behind such a qdisc."""
    meant = [one for one in _ABBREVIATED.get(kind, ()) if one.startswith(word)]
    return meant[0] if len(meant) == 1 else word


__all__ = ["READERS", "Reading", "in_full"]
