"""Links from words, as tc writes them: `rate 5mbit delay 20ms 2ms loss 1% limit 100`.

Each word says a whole thing: `delay 20ms` is a delay without jitter, whatever there was before. Whole
commands of tc are links too, see commands.py. Behind `netem` or `tbf` words mean what they mean there.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from draftwire.runtime.errors import ConfigurationError, nearest
from draftwire.runtime.link.commands import KINDS, UNSUPPORTED, begins_command, skip_command
from draftwire.runtime.link.fading import Fading
from draftwire.runtime.link.quoting import split_words
from draftwire.runtime.link.spec import (
    DEFAULT_PACKET_BYTES,
    DEFAULT_PACKET_OVERHEAD_BYTES,
    MAX_LIMIT_MESSAGES,
    BurstLoss,
    Distribution,
    LinkSpec,
    RandomLoss,
)
from draftwire.runtime.link.traces import FindTrace, shipped_trace
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


def parse_link(
    text: str, *, after: LinkSpec | None = None, find_trace: FindTrace = shipped_trace
) -> LinkSpec:
    """A link from words as tc writes them; an empty text is a link that does nothing.

        rate RATE [BYTES]               5mbit, 80kbps (bytes a second, as in tc); 0: an outage; unlimited
        trace NAME | FILE               a rate over time: lte-like, nr-like, a Mahimahi trace, a .csv
        rayleigh SNR BANDWIDTH TIME     a rate that fades: 15db 5mhz 20ms
        burst BYTES                     what an idle link may send at once; 0 unless given
        delay TIME [JITTER [SHARE]] [distribution uniform | normal | pareto | paretonormal]
        loss [random] SHARE [SHARE] | gemodel SHARE [SHARE [SHARE [SHARE]]] | none    [arq TIME]
        duplicate SHARE [SHARE]         shares are percentages, 1%; the second is the correlation
        corrupt SHARE [SHARE]
        reorder SHARE [SHARE] [gap N]
        limit MESSAGES | BYTES          100, 64kb; both may be given; unlimited: no limit in bytes
        latency TIME                    a limit in bytes: what the rate sends in this time, and the burst
        overhead BYTES [BYTES [BYTES]]  of each message, of each packet, what a packet carries

    What the words leave out is as in `after`, or as in a link that does nothing. `find_trace` finds what
    stands behind `trace`. Raises ConfigurationError that names the word, what is wrong with it, and what to
    write. docs/link.md tells more.
    """
    return link_of_words(split_words(text), after=after, find_trace=find_trace)


def link_of_words(words: list[str], *, after: LinkSpec | None, find_trace: FindTrace) -> LinkSpec:
    """As `parse_link`, of words that are apart already."""
    reading = _Reading(left=deque(words), find_trace=find_trace, before=after or LinkSpec())
    while reading.left:
        _read_word(reading)
    return _link(reading)


# ------------------------------------------------------------------------------------ what has been read


@dataclass(slots=True, kw_only=True)
class _Reading:
    left: deque[str]
    find_trace: FindTrace
    before: LinkSpec
    kinds: tuple[str, ...] = ()
    "of `netem` and `tbf`, those that stood there, the last one last"
    values: dict[str, Any] = field(default_factory=dict)
    "of LinkSpec, by its names; and `latency_s`"
    said_by: dict[str, str] = field(default_factory=dict)
    "of each value, its word"

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

    def next(self, word: str) -> str:
        if not self.left or self.left[0].lower() in (*_READERS, *KINDS):
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


def _read_word(reading: _Reading) -> None:
    word = reading.left[0].lower()
    if begins_command(word):
        first = not reading.values and not reading.kinds
        if skip_command(reading.left) and first:
            reading.before = LinkSpec()
        return
    reading.left.popleft()
    if word in KINDS:
        reading.kinds += (word,)
    elif word in _READERS:
        _READERS[word](reading)
    elif word in UNSUPPORTED:
        why, remedy = UNSUPPORTED[word]
        raise ConfigurationError(f"{word!r} {why}", key=word, remedy=remedy)
    else:
        raise ConfigurationError(f"{word!r} is no word of a link", key=word, remedy=nearest(word, WORDS))


def _link(reading: _Reading) -> LinkSpec:
    """What was read, on top of what was before."""
    values = dict(reading.values)
    latency_s = values.pop("latency_s", None)
    _check_parts(reading)
    for leading, rest in _RESET.items():
        if leading in values:
            values = {**rest, **values}
    if reading.kinds and "netem" not in reading.kinds and {"limit_bytes", "latency_s"} & {*reading.values}:
        values.setdefault("limit_messages", MAX_LIMIT_MESSAGES)  # tbf counts bytes and nothing else
    link = replace(reading.before, **values)
    return link if latency_s is None else _with_latency(link, latency_s)


_RESET: Final[Mapping[str, Mapping[str, Any]]] = {
    "delay_s": {"jitter_s": 0.0, "jitter_correlation": 0.0, "distribution": Distribution.UNIFORM},
    "loss": {"arq_s": None},
    "duplicate": {"duplicate_correlation": 0.0},
    "corrupt": {"corrupt_correlation": 0.0},
    "reorder": {"reorder_correlation": 0.0, "reorder_gap": 1},
    "overhead_bytes": {"packet_overhead_bytes": 0, "packet_bytes": DEFAULT_PACKET_BYTES},
}
"""What is so where the word that says the first doesn't say it."""


def _check_parts(reading: _Reading) -> None:
    """Words that are nothing without another one, which may stand anywhere, or in what was before."""
    values, before = reading.values, reading.before
    jitter = "jitter_s" in values or ("delay_s" not in values and before.jitter_s > 0)
    if "distribution" in values and not jitter:
        raise _lacking("distribution", "jitter", "delay 20ms 2ms distribution normal")
    if "reorder_gap" in values and not ("reorder" in values or before.reorder > 0):
        raise _lacking("gap", "reorder", "delay 10ms reorder 25% gap 5")
    if "arq_s" in values and not ("loss" in values or before.loss is not None):
        raise _lacking("arq", "loss", "loss 1% arq 8ms")


def _lacking(word: str, other: str, example: str) -> ConfigurationError:
    remedy = f"write for instance '{example}'"
    return ConfigurationError(f"{word!r} without a {other} says nothing", key=word, remedy=remedy)


def _with_latency(link: LinkSpec, latency_s: float) -> LinkSpec:
    """With the limit that tc reckons from a latency."""
    if not link.rate_bps:
        remedy = "write for instance 'rate 1mbit burst 4kb latency 400ms', or a limit in bytes: 'limit 64kb'"
        raise ConfigurationError("'latency' without a rate says nothing", key="latency", remedy=remedy)
    waiting_bytes = Decimal(repr(link.rate_bps)) / 8 * Decimal(repr(latency_s))
    try:
        return replace(link, limit_bytes=int(waiting_bytes) + link.burst_bytes)
    except ConfigurationError as error:
        problem = f"a latency of {latency_s:g} s makes {error.problem}"
        raise ConfigurationError(problem, key="latency", remedy=error.remedy) from None


# ---------------------------------------------------------------------------------------- word for word


def _rate(reading: _Reading) -> None:
    text = reading.next("rate")
    rate_bps = None if text.lower() == _UNLIMITED else float(number("rate", text, RATE_UNITS))
    reading.set("rate", rate_bps=rate_bps, trace=None, fading=None)
    if reading.has_number() and reading.kind != "tbf":
        more_bytes = whole("rate", reading.next("rate"), BARE_SIZE_UNITS, example="packet overhead")
        _packets_cost(reading, "rate", more_bytes)
        if reading.has_number():
            raise ConfigurationError(
                f"{reading.left[0]!r} is a size of cells, and there are none",
                key="rate",
                remedy="leave it out; 'overhead MESSAGE [PACKET [SIZE]]' says what messages and packets cost",
            )


def _packets_cost(reading: _Reading, word: str, more_bytes: int) -> None:
    """As tc counts it: above what a packet has in any case."""
    reading.set(word, packet_overhead_bytes=DEFAULT_PACKET_OVERHEAD_BYTES + more_bytes)


def _trace(reading: _Reading) -> None:
    found = reading.find_trace(reading.next("trace"))
    reading.set("trace", rate_bps=None, trace=found, fading=None)


def _rayleigh(reading: _Reading) -> None:
    snr, bandwidth, coherence = (reading.next("rayleigh") for _ in range(3))
    fading = Fading(
        snr_db=float(number("rayleigh", snr, DECIBEL_UNITS)),
        bandwidth_hz=float(number("rayleigh", bandwidth, FREQUENCY_UNITS)),
        coherence_s=float(number("rayleigh", coherence, TIME_UNITS)),
    )
    reading.set("rayleigh", rate_bps=None, trace=None, fading=fading)


def _burst(reading: _Reading) -> None:
    text = reading.next("burst")
    size, slash, _ = text.partition("/")
    if slash:
        raise ConfigurationError(
            f"{text!r} has a size of cells, and there are none", key="burst", remedy=f"write 'burst {size}'"
        )
    reading.set("burst", burst_bytes=whole("burst", text, BARE_SIZE_UNITS))


def _delay(reading: _Reading) -> None:
    reading.set("delay", delay_s=reading.time_s("delay"))
    if reading.has_number():
        jitter_s = float(number("jitter", reading.next("delay"), TIME_UNITS))
        reading.set("delay", jitter_s=jitter_s)
    if reading.has_number():
        share = number("jitter", reading.next("delay"), SHARE_UNITS, example="jitter correlation")
        reading.set("delay", jitter_correlation=float(share))


def _distribution(reading: _Reading) -> None:
    name = reading.next("distribution").lower()
    if name not in (known := [one.value for one in Distribution]):
        raise ConfigurationError(
            f"{name!r} is no distribution of the jitter", key="distribution", remedy=nearest(name, known)
        )
    reading.set("distribution", distribution=Distribution(name))


def _loss(reading: _Reading) -> None:
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


def _burst_loss(reading: _Reading) -> BurstLoss:
    to_bad = number("loss", reading.next("loss"), SHARE_UNITS, example="loss gemodel")
    more = reading.more_shares("loss", 3)
    to_good, bad_loss, good_loss = (*more, *(float(1 - to_bad), 1.0, 0.0)[len(more) :])
    return BurstLoss(to_bad=float(to_bad), to_good=to_good, bad_loss=bad_loss, good_loss=good_loss)


def _arq(reading: _Reading) -> None:
    reading.set("arq", arq_s=reading.time_s("arq"))


def _shares(word: str) -> Callable[[_Reading], None]:
    """Of a word with a share and perhaps a correlation, which LinkSpec calls by its name."""

    def read(reading: _Reading) -> None:
        reading.set(word, **{word: float(reading.share(word))})
        for correlation in reading.more_shares(word, 1):
            reading.set(word, **{f"{word}_correlation": correlation})

    return read


def _gap(reading: _Reading) -> None:
    reading.set("gap", reorder_gap=whole("gap", reading.next("gap"), COUNT_UNITS))


def _limit(reading: _Reading) -> None:
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
        reading.set("limit", limit_bytes=None)
    elif reading.kind == "tbf":
        reading.set("limit", limit_bytes=whole("limit", text, BARE_SIZE_UNITS, example="tbf limit"))
    elif counts:
        reading.set("limit", limit_messages=whole("limit", text, COUNT_UNITS))
    else:
        reading.set("limit", limit_bytes=whole("limit", text, SIZE_UNITS))


def _latency(reading: _Reading) -> None:
    """Of netem another name for the delay; else the longest wait in tbf's queue, instead of a limit."""
    if reading.kind == "netem":
        _delay(reading)
    else:
        reading.set("latency", latency_s=reading.time_s("latency"), limit_bytes=None)


def _overhead(reading: _Reading) -> None:
    message_bytes = whole("overhead", reading.next("overhead"), BARE_SIZE_UNITS)
    if reading.kind == "tbf":  # of each packet there
        _packets_cost(reading, "overhead", message_bytes)
        return
    reading.set("overhead", overhead_bytes=message_bytes)
    for name in ("packet_overhead_bytes", "packet_bytes"):
        if reading.has_number():
            size = whole("overhead", reading.next("overhead"), BARE_SIZE_UNITS)
            reading.set("overhead", **{name: size})


_READERS: Final[Mapping[str, Callable[[_Reading], None]]] = {
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
WORDS: Final = tuple(_READERS)


__all__ = ["WORDS", "FindTrace", "link_of_words", "parse_link"]
