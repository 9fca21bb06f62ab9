"""The rate of a link over time, as a picture shows it: a mean in each bin."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import Curve, LinkSpec, parse_link, traces_beside

PACKETS_A_BIN: Final = 10
"""At the mean rate: fewer, and a bin tells where packets fall rather than how fast the link is."""

PACKET_BITS: Final = 12_000


def curve_of(link: LinkSpec, *, fading_seed: int | None) -> Curve | None:
    """A rate that moves by itself; None: the rate is one number, or the seed that draws it is not known."""
    if link.trace is not None:
        return link.trace.curve
    if link.fading is not None and fading_seed is not None:
        return link.fading.curve(fading_seed)
    return None


def bin_s(link: LinkSpec, seconds: float, *, bins: int) -> float:
    """So wide that `bins` of them cover the time, and that each has room for some packets."""
    mean_bps = link.mean_rate_bps
    return max(seconds / bins, PACKETS_A_BIN * PACKET_BITS / mean_bps) if mean_bps else seconds / bins


def rates_of(
    link: LinkSpec, from_s: float, until_s: float, *, wide_s: float, fading_seed: int | None
) -> Sequence[tuple[float, float]]:
    """(from when on, bits a second), time counted from when the link began to be so; inf: it has no rate.

    One pair where the rate is one number, and the mean where the seed that draws it is not known.
    """
    curve = curve_of(link, fading_seed=fading_seed)
    if curve is None:
        mean_bps = link.mean_rate_bps
        return [(from_s, float("inf") if mean_bps is None else mean_bps)]
    count = max(1, round((until_s - from_s) / wide_s))
    edges = [from_s + number * (until_s - from_s) / count for number in range(count + 1)]
    bits = [curve.bits_by(edge) for edge in edges]
    return [
        (edges[number], (bits[number + 1] - bits[number]) / (edges[number + 1] - edges[number]))
        for number in range(count)
        if edges[number + 1] > edges[number]
    ]


@lru_cache(maxsize=64)
def link_of(words: str) -> LinkSpec | None:
    """The link of a record's words; None: it names a file that is not here, or a newer version wrote it."""
    try:
        return parse_link(words, find_trace=traces_beside())
    except ConfigurationError:
        return None


__all__ = ["bin_s", "curve_of", "link_of", "rates_of"]
