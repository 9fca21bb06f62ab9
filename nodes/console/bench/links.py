"""The links of the benchmark: rates over time, pure and the same for the same seed.

A rate is constant within a slot, and the slots repeat for ever. A message goes at the rate of the slot in
which the link begins to send it, to its last bit. The two directions have the same rate at the same time.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_BPS: Final = 20e3
"""What a radio falls back to in a deep fade or an outage: it goes on in its most robust mode.

Lower, and a message that begins in a fade would be stuck behind a rate that has long passed.
"""

SLOTS: Final = 4096
"""Of a random link, before it repeats: at 50 ms a slot 205 s, longer than most runs."""

MBIT: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class RadioLink:
    """A link as the simulator needs it. ValueError for a value out of range."""

    name: str
    delay_s: float
    "one way; the round trip is twice that"
    slot_s: float
    "how long a rate lasts"
    rates_bps: Floats = field(repr=False)
    "shape [slots], bits a second, above 0; repeated for ever"
    began_s: float = 0.0
    "how far the link's time is ahead of the clock of who asks: of a run that goes on where another ended"

    def __post_init__(self) -> None:
        if not 0 <= self.delay_s < math.inf:
            raise ValueError(f"delay_s is {self.delay_s!r}: give seconds, 0 or more")
        if not 0 < self.slot_s < math.inf:
            raise ValueError(f"slot_s is {self.slot_s!r}: give seconds above 0")
        if self.rates_bps.ndim != 1 or not len(self.rates_bps) or not (self.rates_bps > 0).all():
            raise ValueError("rates_bps: give one rate a slot, in bits a second, each above 0")

    @property
    def changing(self) -> bool:
        """Whether the rate ever changes."""
        return len(self.rates_bps) > 1

    @property
    def mean_bps(self) -> float:
        """Mean rate over time."""
        return float(self.rates_bps.mean())

    def slot(self, at_s: float) -> int:
        """Index of the slot that `at_s` lies in."""
        return int((at_s + self.began_s) / self.slot_s) % len(self.rates_bps)

    def rate_bps(self, at_s: float) -> float:
        """Bits a second of a message that begins at `at_s`."""
        return float(self.rates_bps[self.slot(at_s)])


def constant(mbit: float, rtt_ms: float) -> RadioLink:
    """A link that never changes."""
    return RadioLink(
        name=f"{mbit:g}/{rtt_ms:g}", delay_s=rtt_ms / 2e3, slot_s=3600.0, rates_bps=np.array([mbit * MBIT])
    )


def alternating(first_mbit: float, then_mbit: float, *, every_s: float = 5.0, rtt_ms: float) -> RadioLink:
    """Two rates in turn, as when a device walks in and out of a building."""
    return RadioLink(
        name=f"{first_mbit:g}<>{then_mbit:g}",
        delay_s=rtt_ms / 2e3,
        slot_s=every_s,
        rates_bps=np.array([first_mbit, then_mbit]) * MBIT,
    )


def rayleigh(*, coherence_ms: float, seed: int, snr_db: float = 10.0, mhz: float = 0.3) -> RadioLink:
    """Rayleigh block fading: B log2(1 + SNR g), with g exponential of mean 1, drawn once a coherence time."""
    gains = np.random.default_rng([seed, int(coherence_ms)]).exponential(size=SLOTS)
    rates = mhz * MBIT * np.log2(1 + 10 ** (snr_db / 10) * gains)
    return RadioLink(
        name=f"fading {coherence_ms:g}ms",
        delay_s=5e-3,
        slot_s=coherence_ms / 1e3,
        rates_bps=np.maximum(rates, LEAST_BPS),
    )


def lte(*, seed: int, mbit: float = 1.5, slot_s: float = 0.1, outage_every_s: float = 10.0) -> RadioLink:
    """As a phone sees a busy LTE cell: log-normal rates that drift over a second, and outages.

    The log-rate is an AR(1) of deviation 0.6 and correlation 0.9 a slot; an outage of 0.3 to 1 s comes every
    `outage_every_s` on average. `mbit` is the mean rate outside outages; the round trip is 30 ms.
    """
    rng = np.random.default_rng([seed, 4])
    steps = rng.standard_normal(SLOTS)
    logs = np.empty(SLOTS)
    logs[0] = steps[0]
    for i in range(1, SLOTS):
        logs[i] = 0.9 * logs[i - 1] + math.sqrt(1 - 0.9**2) * steps[i]
    rates = np.exp(0.6 * logs)
    rates *= mbit * MBIT / rates.mean()
    lengths = rng.integers(3, 11, SLOTS)
    for begin in np.flatnonzero(rng.random(SLOTS) < slot_s / outage_every_s):
        rates[begin : begin + lengths[begin]] = LEAST_BPS
    return RadioLink(name="LTE-like", delay_s=15e-3, slot_s=slot_s, rates_bps=np.maximum(rates, LEAST_BPS))


LINKS: Final[Mapping[str, Callable[[int], RadioLink]]] = MappingProxyType(
    {
        "0.1/10": lambda seed: constant(0.1, 10),
        "0.3/10": lambda seed: constant(0.3, 10),
        "1/10": lambda seed: constant(1, 10),
        "1/40": lambda seed: constant(1, 40),
        "20/1": lambda seed: constant(20, 1),
        "20/40": lambda seed: constant(20, 40),
        "20/100": lambda seed: constant(20, 100),
        "20<>0.1": lambda seed: alternating(20, 0.1, rtt_ms=10),
        "50<>1": lambda seed: alternating(50, 1, rtt_ms=10),
        "fading 50ms": lambda seed: rayleigh(coherence_ms=50, seed=seed),
        "fading 200ms": lambda seed: rayleigh(coherence_ms=200, seed=seed),
        "fading 2000ms": lambda seed: rayleigh(coherence_ms=2000, seed=seed),
        "LTE-like": lambda seed: lte(seed=seed),
    }
)
"""Name -> the link of a seed. Mbit/s before the slash, round trip in ms behind it."""


__all__ = [
    "LEAST_BPS",
    "LINKS",
    "RadioLink",
    "alternating",
    "constant",
    "lte",
    "rayleigh",
]
