"""Rates over time as what they have carried by when: steady, or as a trace has them, again and again.

Queries take O(log n) and no numpy: they are asked for every message.
"""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate, pairwise
from typing import Final

from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link.spec import MAX_DELAY_S, MAX_RATE_BPS, check

OPPORTUNITY_BITS: Final = 12_000
"""What one line of a Mahimahi trace carries: 1500 bytes."""

MAX_TRACE_S: Final = 366 * 86_400.0
"""A year: beyond it stands a time in another unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """One rate for ever; 0: nothing is ever sent, not even what a bucket holds."""

    rate_bps: float

    @property
    def mean_rate_bps(self) -> float:
        return self.rate_bps

    def bits_by(self, elapsed_s: float) -> float:
        return self.rate_bps * elapsed_s

    def when(self, bits: float) -> float:
        if not self.rate_bps:
            return math.inf
        return bits / self.rate_bps if bits > 0 else 0.0

    def delay_s(self, elapsed_s: float) -> None:
        return None


class Opportunities:
    """A Mahimahi trace: at each stamp 1500 bytes may leave; behind the last stamp it begins again.

    A staircase: what waits shares an opportunity byte by byte, what an opportunity has left over when nothing
    waits is lost, and what comes at the very time of one has missed it. Equal by content.
    """

    __slots__ = ("_digest", "_stamps_ms")

    def __init__(self, times_ms: Sequence[int]) -> None:
        """Stamps in whole milliseconds, not decreasing, the last above 0; several may be equal.

        Raises ConfigurationError that names the stamp that is wrong and the remedy.
        """
        for number, (before, after) in enumerate(pairwise(times_ms), start=2):
            if after < before:
                raise _wrong(f"stamp {number}, {after} ms, is before the one ahead of it", "sort the stamps")
        if not times_ms:
            raise _wrong("there is no stamp", "write one opportunity a line, its time in milliseconds")
        if times_ms[0] < 0:
            raise _wrong(f"stamp 1, {times_ms[0]} ms, is negative", "let the first round begin at 0")
        last_ms = times_ms[-1]
        if not 0 < last_ms <= 1000 * MAX_TRACE_S:
            raise _wrong(
                f"the last stamp is {last_ms} ms", "it ends the round: write 1 ms to a year, in milliseconds"
            )
        if self._rate_bps(len(times_ms), last_ms) > MAX_RATE_BPS:
            raise _wrong(
                f"{len(times_ms)} opportunities in {last_ms} ms are too many", "1 Tbit/s is the fastest"
            )
        self._stamps_ms = array("q", times_ms)
        self._digest = blake2b(self._stamps_ms.tobytes()).digest()

    @property
    def times_ms(self) -> tuple[int, ...]:
        """The stamps of a round."""
        return tuple(self._stamps_ms)

    @property
    def mean_rate_bps(self) -> float:
        return self._rate_bps(len(self._stamps_ms), self._stamps_ms[-1])

    def bits_by(self, elapsed_s: float) -> float:
        stamps_ms = self._stamps_ms
        rounds, rest_ms = divmod(elapsed_s * 1000 + _SLACK_MS, stamps_ms[-1])
        return (rounds * len(stamps_ms) + bisect_right(stamps_ms, rest_ms)) * float(OPPORTUNITY_BITS)

    def when(self, bits: float) -> float:
        taken = math.ceil((bits - slack_bits(bits)) / OPPORTUNITY_BITS)
        if taken <= 0:
            return 0.0
        rounds, at = divmod(taken - 1, len(self._stamps_ms))
        return (rounds * self._stamps_ms[-1] + self._stamps_ms[at]) / 1000

    def delay_s(self, elapsed_s: float) -> None:
        return None

    def __eq__(self, other: object) -> bool:
        return self._digest == other._digest if isinstance(other, Opportunities) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._digest)

    def __repr__(self) -> str:
        return f"Opportunities({len(self._stamps_ms)} in {self._stamps_ms[-1]} ms)"

    @staticmethod
    def _rate_bps(count: int, last_ms: int) -> float:
        return count * OPPORTUNITY_BITS * 1000 / last_ms


class Steps:
    """A rate that is constant from each time to the next, with a delay perhaps; at the end it begins again.

    Equal by content.
    """

    __slots__ = ("_bits", "_delays_s", "_digest", "_rates_bps", "_times_s")

    def __init__(
        self,
        times_s: Sequence[float],
        rates_bps: Sequence[float],
        delays_s: Sequence[float] | None = None,
    ) -> None:
        """`times_s` begin at 0 and grow; the last ends the round. Rates in bit/s and delays in s are those
        from each time on, so there is one fewer of them.

        Raises ConfigurationError that names the step that is wrong and the remedy.
        """
        if len(times_s) < 2 or len(rates_bps) != len(times_s) - 1:
            raise _wrong(
                f"there are {len(times_s)} times and {len(rates_bps)} rates",
                "write a step at least, and behind the last one the time that ends the round",
            )
        if delays_s is not None and len(delays_s) != len(rates_bps):
            raise _wrong(f"there are {len(delays_s)} delays and {len(rates_bps)} rates", "write as many")
        if times_s[0] != 0:
            raise _wrong(f"the first time is {times_s[0]:g} s", "begin at 0")
        for number, (before, after) in enumerate(pairwise(times_s), start=2):
            if not before < after:  # NaN too
                raise _wrong(
                    f"time {number}, {after:g} s, is not behind the one ahead of it", "let the times grow"
                )
        if times_s[-1] > MAX_TRACE_S:
            raise _wrong(f"the last time is {times_s[-1]:g} s", "write a year at most, in seconds")
        for number, rate_bps in enumerate(rates_bps, start=1):
            check("trace", rate_bps, 0, MAX_RATE_BPS, "bit/s", what=f"rate {number},")
        for number, delay_s in enumerate(delays_s or (), start=1):
            check("trace", delay_s, 0, MAX_DELAY_S, "s", what=f"delay {number},")
        if not any(rates_bps):
            raise _wrong("no step carries anything", "write 'rate 0' for an outage")
        self._times_s = array("d", times_s)
        self._rates_bps = array("d", rates_bps)
        self._delays_s = None if delays_s is None else array("d", delays_s)
        carried = (
            rate_bps * (after - before)
            for rate_bps, (before, after) in zip(rates_bps, pairwise(times_s), strict=True)
        )
        self._bits = array("d", accumulate(carried, initial=0.0))
        parts = [self._times_s, self._rates_bps, self._delays_s or array("d")]
        self._digest = blake2b(b"".join((len(part).to_bytes(8) + part.tobytes()) for part in parts)).digest()

    @property
    def times_s(self) -> tuple[float, ...]:
        """Of a round, its end among them."""
        return tuple(self._times_s)

    @property
    def rates_bps(self) -> tuple[float, ...]:
        """One fewer."""
        return tuple(self._rates_bps)

    @property
    def mean_rate_bps(self) -> float:
        return self._bits[-1] / self._times_s[-1]

    def bits_by(self, elapsed_s: float) -> float:
        rounds, rest_s = divmod(elapsed_s, self._times_s[-1])
        at = self._at(rest_s)
        in_round = self._bits[at] + (rest_s - self._times_s[at]) * self._rates_bps[at]
        return rounds * self._bits[-1] + in_round

    def when(self, bits: float) -> float:
        slack = slack_bits(bits)
        if bits <= slack:
            return 0.0
        rounds, rest = divmod(bits - slack, self._bits[-1])
        at = max(0, bisect_left(self._bits, rest) - 1)  # a step that ends just at them has carried them
        while not self._rates_bps[at]:
            at += 1
        sending_s = max(0.0, bits - rounds * self._bits[-1] - self._bits[at]) / self._rates_bps[at]
        in_round_s = min(self._times_s[at] + sending_s, self._times_s[at + 1])
        return rounds * self._times_s[-1] + in_round_s

    def delay_s(self, elapsed_s: float) -> float | None:
        if self._delays_s is None:
            return None
        return self._delays_s[self._at(elapsed_s % self._times_s[-1])]

    def _at(self, rest_s: float) -> int:
        return min(bisect_right(self._times_s, rest_s), len(self._rates_bps)) - 1

    def __eq__(self, other: object) -> bool:
        return self._digest == other._digest if isinstance(other, Steps) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._digest)

    def __repr__(self) -> str:
        return f"Steps({len(self._rates_bps)} in {self._times_s[-1]:g} s)"


_SLACK_MS: Final = 1e-6
"""A nanosecond: what adding a time to an origin and taking it off again may lose."""


def slack_bits(bits: float) -> float:
    """What rounding may have added to a count of bits: less than any message, so that it can't wait for a
    whole opportunity, or for the end of an outage, because of it.
    """
    return 1e-3 + 1e-15 * bits


def _wrong(problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(problem, key="trace", remedy=remedy)


__all__ = ["MAX_TRACE_S", "OPPORTUNITY_BITS", "Opportunities", "Steady", "Steps", "slack_bits"]
