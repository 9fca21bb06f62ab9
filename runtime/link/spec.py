"""What one direction of a link does, as a value; its words are in reading.py and writing.py."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link.writing import words_of

if TYPE_CHECKING:
    from draftwire.runtime.link.fading import Fading
    from draftwire.runtime.link.traces import Trace

DEFAULT_OVERHEAD_BYTES: Final = 8
"""What ZeroMQ adds to a message."""

DEFAULT_PACKET_OVERHEAD_BYTES: Final = 66
"""What TCP, IPv4 and Ethernet add to each packet of a message."""

DEFAULT_PACKET_BYTES: Final = 1448
"""What one packet carries of a message: the usual maximum segment size."""

ONE_PACKET_OVERHEAD_BYTES: Final = DEFAULT_OVERHEAD_BYTES + DEFAULT_PACKET_OVERHEAD_BYTES
"""Of a message that fits one packet (measured: 73 to 75)."""

DEFAULT_LIMIT_MESSAGES: Final = 1000
"""netem's default queue."""

MIN_RATE_BPS: Final = 100.0
"""Slower than any radio that carries data: below it stands a rate whose k or m was forgotten."""

MAX_RATE_BPS: Final = 1e12
MAX_DELAY_S: Final = 60.0
"""Beyond any terrestrial or satellite path, and beyond every patience of the protocol."""

MAX_LIMIT_MESSAGES: Final = 1_000_000
MIN_LIMIT_BYTES: Final = 1500
"""One packet: a queue that can't hold it would never carry anything."""

MAX_LIMIT_BYTES: Final = 2**32
MAX_OVERHEAD_BYTES: Final = 65_536
MIN_PACKET_BYTES: Final = 64
MAX_PACKET_BYTES: Final = 65_536
MAX_BURST_BYTES: Final = 2**32
MAX_REORDER_GAP: Final = 1_000_000


class Curve(Protocol):
    """A rate over time, as what it has carried by when; time counts from when the link began to be so."""

    @property
    def mean_rate_bps(self) -> float:
        """Over one round, or in the long run."""
        ...

    def bits_by(self, elapsed_s: float) -> float:
        """Bits that could have been sent by then, `elapsed_s` included; never falls; elapsed_s >= 0."""
        ...

    def when(self, bits: float) -> float:
        """The first time by which that many could have been sent; inf: never."""
        ...

    def delay_s(self, elapsed_s: float) -> float | None:
        """One way, of what is sent at that time; None: the curve says nothing of it."""
        ...


class Distribution(StrEnum):
    """Of the jitter, with the names of netem. Of all but `uniform` the value is a standard deviation."""

    UNIFORM = "uniform"
    NORMAL = "normal"
    PARETO = "pareto"
    PARETONORMAL = "paretonormal"


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomLoss:
    """Each message is lost by itself; netem's `loss random`."""

    share: float
    "0 to 1"
    correlation: float = 0.0
    "of one message's fate with the next's (of the normal scores behind them); 0 to below 1"

    def __post_init__(self) -> None:
        _check_share("loss", self.share)
        _check_correlation("loss", self.correlation)

    @property
    def lets_through(self) -> bool:
        """Whether a message that is sent again and again arrives at last."""
        return self.share < 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstLoss:
    """Gilbert-Elliott: a good and a bad state, a step a message; netem's `loss gemodel`."""

    to_bad: float
    "p: from good to bad, a message"
    to_good: float
    "r: from bad to good"
    bad_loss: float = 1.0
    "1-h: lost in the bad state"
    good_loss: float = 0.0
    "1-k: lost in the good state"

    def __post_init__(self) -> None:
        for of_word, share in zip(
            ("p", "r", "1-h", "1-k"), (self.to_bad, self.to_good, self.bad_loss, self.good_loss), strict=True
        ):
            _check_share("loss", share, what=f"gemodel's {of_word}")

    @property
    def lets_through(self) -> bool:
        """Whether a message that is sent again and again arrives at last, whatever the state is now."""
        good, bad = self.good_loss < 1, self.bad_loss < 1
        return (good and bad) or (good and self.to_good > 0) or (bad and self.to_bad > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSpec:
    """What one direction of a link does; `str` gives words that parse_link reads back as it.

    At most one of rate_bps, trace and fading is set; with none of them sending takes no time. Raises
    ConfigurationError that names the word, what is wrong with it, and the remedy.
    """

    rate_bps: float | None = None
    "bits a second; None: see above; 0: an outage, everything waits"
    trace: "Trace | None" = None
    "a recorded rate over time"
    fading: "Fading | None" = None
    "a random rate over time"
    burst_bytes: int = 0
    "what an idle link may send at once, a token bucket as tbf's, full at first; 0: none, a rate is a rate"
    delay_s: float = 0.0
    "one way, added behind the sending time, and to the delay that a trace has"
    jitter_s: float = 0.0
    "uniform: delay varies by up to this much either way, at most delay_s; else its standard deviation"
    distribution: Distribution = Distribution.UNIFORM
    jitter_correlation: float = 0.0
    "of one message's jitter with the next's (of the normal scores behind them); 0 to below 1"
    reorder: float = 0.0
    "share of messages that skip the delay, and so overtake; 0: first in, first out"
    reorder_correlation: float = 0.0
    reorder_gap: int = 1
    "so many messages behind one that overtook the next may, as netem's `gap`; at least 1"
    loss: RandomLoss | BurstLoss | None = None
    arq_s: float | None = None
    "a lost message is sent again, and each loss costs so long beside its sending time; None: lost is lost"
    duplicate: float = 0.0
    "share of messages that arrive twice, the copy with a jitter of its own"
    duplicate_correlation: float = 0.0
    corrupt: float = 0.0
    "share of messages with one bit flipped"
    corrupt_correlation: float = 0.0
    limit_messages: int = DEFAULT_LIMIT_MESSAGES
    "accepted and not yet delivered, at most; what is lost counts until it has left"
    limit_bytes: int | None = None
    "the same in bytes as they were put in, overhead left out; None: no such limit"
    limit_is_of_queue: bool = False
    "limit_bytes counts what has not left yet, as tbf's; without limit_bytes it says nothing"
    overhead_bytes: int = DEFAULT_OVERHEAD_BYTES
    "what each message costs on the link above its own bytes"
    packet_overhead_bytes: int = DEFAULT_PACKET_OVERHEAD_BYTES
    "what each packet of a message costs besides"
    packet_bytes: int = DEFAULT_PACKET_BYTES
    "what a packet carries of the message"

    def __post_init__(self) -> None:
        self._check_rate()
        self._check_delay()
        self._check_fates()
        check("limit", self.limit_messages, 1, MAX_LIMIT_MESSAGES, "messages")
        if self.limit_bytes is not None:
            check("limit", self.limit_bytes, MIN_LIMIT_BYTES, MAX_LIMIT_BYTES, "bytes")
        check("overhead", self.overhead_bytes, 0, MAX_OVERHEAD_BYTES, "bytes a message")
        check("overhead", self.packet_overhead_bytes, 0, MAX_OVERHEAD_BYTES, "bytes a packet")
        check("overhead", self.packet_bytes, MIN_PACKET_BYTES, MAX_PACKET_BYTES, "bytes in a packet")

    def _check_rate(self) -> None:
        sources = {"rate": self.rate_bps, "trace": self.trace, "rayleigh": self.fading}
        given = [word for word, source in sources.items() if source is not None]
        if len(given) > 1:
            raise ConfigurationError(
                f"{' and '.join(given)} are given, and a link has one of them",
                key=given[1],
                remedy=f"leave {given[0]!r} or {given[1]!r} out",
            )
        if self.rate_bps is not None and self.rate_bps != 0:
            check("rate", self.rate_bps, MIN_RATE_BPS, MAX_RATE_BPS, "bit/s, or 0 for an outage")
        check("burst", self.burst_bytes, 0, MAX_BURST_BYTES, "bytes")

    def _check_delay(self) -> None:
        check("delay", self.delay_s, 0, MAX_DELAY_S, "s")
        if self.distribution is Distribution.UNIFORM:
            unit = "s, the delay: nothing arrives before it was sent"
            check("jitter", self.jitter_s, 0, self.delay_s, unit)
        else:
            check("jitter", self.jitter_s, 0, MAX_DELAY_S, "s")
        _check_correlation("delay", self.jitter_correlation)
        _check_share("reorder", self.reorder)
        _check_correlation("reorder", self.reorder_correlation)
        check("reorder", self.reorder_gap, 1, MAX_REORDER_GAP, "messages", what="gap")
        of_trace = self.trace is not None and self.trace.curve.delay_s(0.0) is not None
        if self.reorder and not self.delay_s and not of_trace:
            raise ConfigurationError(
                "there is no delay that a message could skip",
                key="reorder",
                remedy="write for instance 'delay 10ms reorder 25%'",
            )

    def _check_fates(self) -> None:
        if self.arq_s is not None:
            check("arq", self.arq_s, 0, MAX_DELAY_S, "s")
            if self.loss is None:
                remedy = "write for instance 'loss 10% arq 8ms'"
                raise ConfigurationError("there is no loss to repair", key="arq", remedy=remedy)
            if not self.loss.lets_through:
                raise ConfigurationError(
                    "a message that is always lost would be sent again for ever",
                    key="arq",
                    remedy="let less than 100% be lost in every state that can last, or leave 'arq' out",
                )
        _check_share("duplicate", self.duplicate)
        _check_correlation("duplicate", self.duplicate_correlation)
        _check_share("corrupt", self.corrupt)
        _check_correlation("corrupt", self.corrupt_correlation)

    @property
    def mean_rate_bps(self) -> float | None:
        """Bits a second over the time; None: sending takes no time."""
        source = self.trace or self.fading
        return self.rate_bps if source is None else source.mean_rate_bps

    def has_rate_of(self, other: "LinkSpec") -> bool:
        """Whether both send at the same rate, trace or fading."""
        return (self.rate_bps, self.trace, self.fading) == (other.rate_bps, other.trace, other.fading)

    @property
    def is_correlated(self) -> bool:
        """Whether anything that befalls a message depends on what befell the one before, states apart."""
        of_loss = self.loss.correlation if isinstance(self.loss, RandomLoss) else 0.0
        return bool(
            self.jitter_correlation
            or of_loss
            or self.duplicate_correlation
            or self.corrupt_correlation
            or self.reorder_correlation
        )

    def bytes_on_link(self, size_bytes: int) -> int:
        """What a message of so many bytes takes, overhead included; an empty one is a packet too."""
        packets = max(1, -(-size_bytes // self.packet_bytes))
        return size_bytes + self.overhead_bytes + packets * self.packet_overhead_bytes

    def __str__(self) -> str:
        return words_of(self, LinkSpec())

    def words_after(self, before: "LinkSpec") -> str:
        """What differs from `before`, in words that parse_link(..., after=before) reads back as this link."""
        return words_of(self, before)


def check(word: str, value: float, low: float, high: float, unit: str, *, what: str = "") -> None:
    """Raises ConfigurationError that names `word` for what lies outside `low` to `high`, NaN above all."""
    if not low <= value <= high:
        raise ConfigurationError(
            f"{what or word} {value:g} is out of range",
            key=word,
            remedy=f"write {_plain(low)} to {_plain(high)} {unit}",
        )


def _plain(number: float) -> str:
    """As somebody would write it: no 4.29497e+09."""
    return str(int(number)) if number == int(number) else f"{number:g}"


def _check_share(word: str, share: float, *, what: str = "share") -> None:
    if not 0 <= share <= 1:
        raise ConfigurationError(
            f"{what} {100 * share:g}% is out of range", key=word, remedy="write 0% to 100%"
        )


def _check_correlation(word: str, correlation: float) -> None:
    if not 0 <= correlation < 1:
        raise ConfigurationError(
            f"correlation {100 * correlation:g}% is out of range", key=word, remedy="write 0% to below 100%"
        )


__all__ = [
    "DEFAULT_LIMIT_MESSAGES",
    "DEFAULT_OVERHEAD_BYTES",
    "DEFAULT_PACKET_BYTES",
    "DEFAULT_PACKET_OVERHEAD_BYTES",
    "MAX_BURST_BYTES",
    "MAX_DELAY_S",
    "MAX_RATE_BPS",
    "MIN_LIMIT_BYTES",
    "MIN_RATE_BPS",
    "ONE_PACKET_OVERHEAD_BYTES",
    "BurstLoss",
    "Curve",
    "Distribution",
    "LinkSpec",
    "RandomLoss",
    "check",
]
