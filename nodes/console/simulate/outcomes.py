"""What a simulation comes to: by device, over time, and in all. It adds up as it goes, and nothing grows."""

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from draftwire.codecs.control import StepReport
from draftwire.nodes.device.account import Account

BINS: Final = 120
"""Of a device's time: what a picture of it can show."""

WIDE: Final = 4
"""Bins that a speed is told over."""

_SUMS: Final = 5


class Series:
    """Of one device, sums over its verification steps by bin of the simulated time."""

    def __init__(self, seconds: float) -> None:
        self.bin_s: Final = seconds / BINS
        self._sums = array("d", bytes(8 * BINS * _SUMS))

    def add(self, report: StepReport) -> None:
        """Take in a step, as its BS reports it."""
        at = min(int(report.ended_at_s / self.bin_s), BINS - 1) * _SUMS
        sums = self._sums
        sums[at] += 1
        sums[at + 1] += report.tokens
        if report.drafted:
            sums[at + 2] += 1
            sums[at + 3] += report.plan.k
            sums[at + 4] += report.plan.gamma

    def tokens_per_s(self) -> list[tuple[float, float]]:
        """(middle in s, tokens a second of the steps) of every WIDE bins: one alone has few steps."""
        wide_s, tokens = WIDE * self.bin_s, self._sums[1::_SUMS]
        return [((i / WIDE + 0.5) * wide_s, sum(tokens[i : i + WIDE]) / wide_s) for i in range(0, BINS, WIDE)]

    def k(self) -> list[tuple[float, float]]:
        """(middle, mean K of the blocks), NaN where there was none."""
        return self._means(3, of=2)

    def gamma(self) -> list[tuple[float, float]]:
        """(middle, mean gamma of the steps, 0 for the target alone), NaN where there was none."""
        return self._means(4, of=0)

    def _means(self, what: int, *, of: int) -> list[tuple[float, float]]:
        rows = [self._sums[i * _SUMS : (i + 1) * _SUMS] for i in range(BINS)]
        means = [row[what] / row[of] if row[of] else math.nan for row in rows]
        return [((i + 0.5) * self.bin_s, mean) for i, mean in enumerate(means)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOutcome:
    """One request of a device; kept where texts are."""

    number: int
    "from 0 on, of this device"
    ids: tuple[int, ...]
    "output tokens that became final"
    taken_s: tuple[float, ...]
    "when each of them did, at the device"
    seconds: float
    "from its first Open to the last of them"
    steps: int
    bytes_up: int
    bytes_down: int
    ended: bool
    "False: it was under way as the time was over, or was refused"


@dataclass(slots=True, kw_only=True)
class Tally:
    """Sums over requests. Bytes are whole frames, without what a link adds."""

    answered: int = 0
    "requests that came to their end"
    cut: int = 0
    "under way as the time was over; what they had until then counts"
    refused: Counter[str] = field(default_factory=Counter)
    "requests that were refused or given up, by reason"
    tokens: int = 0
    steps: int = 0
    seen: int = 0
    "drafted tokens tested, the first rejected one of a block included"
    accepted: int = 0
    drafted: int = 0
    used: int = 0
    "drafted tokens in the output that the target has tested"
    wasted: int = 0
    "drafted tokens that came to nothing"
    passes: int = 0
    "of the target"
    bytes_up: int = 0
    bytes_down: int = 0
    rows_bytes: int = 0
    k_used: Counter[int] = field(default_factory=Counter)
    "K -> steps whose block was drawn with it"
    gamma_used: Counter[int] = field(default_factory=Counter)
    "gamma -> steps; 0: the target alone"
    passes_of_hints: int = 0
    "of `passes`, of requests whose drafts were hints"

    def add(self, other: "Account | Tally") -> None:
        """Of a request that is over, or of another device."""
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.k_used.update(other.k_used)
        self.gamma_used.update(other.gamma_used)
        if isinstance(other, Account):
            self.passes_of_hints += other.passes if other.hints else 0
        else:
            self.passes_of_hints += other.passes_of_hints
            self.answered += other.answered
            self.cut += other.cut
            self.refused.update(other.refused)

    @property
    def alpha(self) -> float | None:
        """Mean acceptance of a tested token; None: none was tested."""
        return self.accepted / self.seen if self.seen else None

    @property
    def mean_k(self) -> float | None:
        """Over the steps with a block; None: there was none."""
        return _mean(self.k_used)

    @property
    def mean_gamma(self) -> float | None:
        """Over all steps, the target alone as 0; None: there was no step."""
        return _mean(self.gamma_used)

    @property
    def tokens_a_step(self) -> float | None:
        """None: there was no step."""
        return self.tokens / self.steps if self.steps else None

    @property
    def passes_a_token(self) -> float | None:
        """Of the target; None: there was no token."""
        return self.passes / self.tokens if self.tokens else None

    @property
    def wasted_a_token(self) -> float | None:
        """Drafted tokens thrown away for each one of the output; None: there was none."""
        return self.wasted / self.tokens if self.tokens else None

    @property
    def bytes_up_a_token(self) -> float | None:
        """None: there was no token."""
        return self.bytes_up / self.tokens if self.tokens else None


_SUMMED: Final = (
    *("tokens", "steps", "seen", "accepted", "drafted", "used", "wasted", "passes"),
    *("bytes_up", "bytes_down", "rows_bytes"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceOutcome:
    """One device's share of a simulation."""

    device: str
    bs: str
    asked_s: float
    "from its first request to the end"
    tally: Tally
    alone_tokens_per_s: float
    "what the target alone would bring it, by its step times and what the downlink carries: see `alone`"
    series: Series
    requests: tuple[RequestOutcome, ...] = ()
    "where texts were to be kept"

    @property
    def tokens_per_s(self) -> float:
        """Over the time in which it asked; 0 for none."""
        return self.tally.tokens / self.asked_s if self.asked_s > 0 else 0.0

    @property
    def over_alone(self) -> float | None:
        """Its speed over that of the target alone; None: that would bring nothing."""
        return self.tokens_per_s / self.alone_tokens_per_s if self.alone_tokens_per_s else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What a simulation came to."""

    seed: int
    seconds: float
    "of virtual time"
    pair: str
    devices: tuple[DeviceOutcome, ...]
    per_bs: int
    trace_hash: str
    "over every message on any channel, with its time, in order, and every text: equal where all of that is"
    wall_s: float
    "of this machine, from when all nodes were ready to the end of the virtual time"
    warned: Mapping[str, int] = field(default_factory=dict)
    "name of a warning's event -> how many nodes gave it"
    warnings: Mapping[str, str] = field(default_factory=dict)
    "and the first of each, in words"

    @property
    def total(self) -> Tally:
        """Over all devices."""
        total = Tally()
        for one in self.devices:
            total.add(one.tally)
        return total

    @property
    def steps(self) -> int:
        """Verification steps that devices have heard of."""
        return sum(one.tally.steps for one in self.devices)

    @property
    def speeds(self) -> list[float]:
        """Tokens a second by device, rising."""
        return sorted(one.tokens_per_s for one in self.devices)

    @property
    def median_device(self) -> DeviceOutcome:
        """Of the devices by speed the one in the middle, the lower of two."""
        ordered = sorted(self.devices, key=lambda one: (one.tokens_per_s, one.device))
        return ordered[(len(ordered) - 1) // 2]

    @property
    def over_alone(self) -> float | None:
        """Median over the devices of their speed over that of the target alone; None: that brings nothing."""
        ratios = [one.over_alone for one in self.devices]
        return median(known) if (known := [one for one in ratios if one is not None]) else None


def percentile(rising: Sequence[float], share: float) -> float:
    """Of values in rising order; between two of them along the straight line."""
    place = share * (len(rising) - 1)
    low = int(place)
    high = min(low + 1, len(rising) - 1)
    return rising[low] + (place - low) * (rising[high] - rising[low])


def _mean(used: Counter[int]) -> float | None:
    steps = used.total()
    return sum(value * count for value, count in used.items()) / steps if steps else None


__all__ = ["BINS", "DeviceOutcome", "RequestOutcome", "Series", "Simulation", "Tally", "percentile"]
