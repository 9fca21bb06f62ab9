"""The random numbers of a link: each impairment its own, so that changing one shifts no other."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol


class Uniform(Protocol):
    """A source of uniform numbers: numpy's Generator and random.Random both are one."""

    def random(self) -> float:
        """The next number in [0, 1)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """One direction's. The n-th message meets the same numbers whatever the link is, and is, to others."""

    jitter: Uniform
    "two a message: its own, and its copy's"
    loss: Uniform
    "two: where the state goes, and whether it is lost"
    retransmission: Uniform
    "one, and of that as many as the message has tries, see `spread`"
    duplicate: Uniform
    "one"
    corrupt: Uniform
    "two: whether, and which bit"
    reorder: Uniform
    "one"
    fading: int
    "behind the seeds of a fading link's blocks, 0 to 2^63 - 1"

    def fading_seed(self, rates_before: int) -> int:
        """Of a fading that so many other rates came before, 0 to 2^64 - 1: the same for a device that joined
        later, and for whoever draws the rate from what a record tells.
        """
        return self.fading + (rates_before << 64)


def spread(number: float) -> Iterator[float]:
    """Uniform numbers without end from one in [0, 1): SplitMix64, its state begun with that one's bits."""
    state = int(number * 2.0**53)
    while True:
        state = (state + 0x9E3779B97F4A7C15) & _WORD
        mixed = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & _WORD
        mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & _WORD
        yield ((mixed ^ mixed >> 31) >> 11) * 2.0**-53


_WORD: Final = 2**64 - 1

__all__ = ["Streams", "Uniform", "spread"]
