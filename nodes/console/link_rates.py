"""The rate of a link over time, as a picture shows it: a mean in each bin."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from math import inf
from typing import Final

from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import (
    Curve,
    Fading,
    LinkPiece,
    LinkSchedule,
    LinkSpec,
    Streams,
    parse_link,
    traces_beside,
)
from draftwire.runtime.link.curves import Steady

PACKETS_A_BIN: Final = 10
"""At the mean rate: fewer, and a bin tells where packets fall rather than how fast the link is."""

PACKET_BITS: Final = 12_000

Times = Sequence[tuple[float, float]]
"""(seconds, value) in order of time."""


def curve_of(link: LinkSpec, *, fading_seed: int | None) -> Curve | None:
    """Its rate over time, steady at the mean where the seed that draws it is not known; None: no rate."""
    if link.trace is not None:
        return link.trace.curve
    if link.fading is not None and fading_seed is not None:
        return _blocks(link.fading, fading_seed)
    return None if link.mean_rate_bps is None else Steady(rate_bps=link.mean_rate_bps)


@lru_cache(maxsize=4)
def _blocks(fading: Fading, seed: int) -> Curve:
    """One for all the pieces that it goes on through: late blocks are drawn behind all before them."""
    return fading.curve(seed)


def bin_s(mean_bps: float | None, seconds: float, *, bins: int) -> float:
    """So wide that `bins` of them cover the time, and that each has room for some packets."""
    return max(seconds / bins, PACKETS_A_BIN * PACKET_BITS / mean_bps) if mean_bps else seconds / bins


def rates_of(curve: Curve | None, from_s: float, until_s: float, *, wide_s: float) -> Times:
    """(from when on, bits a second), time counted from when the rate began to be so; inf: it has no rate.

    One pair where the rate is one number.
    """
    if curve is None or isinstance(curve, Steady):
        return [(from_s, inf if curve is None else curve.rate_bps)]
    count = max(1, round((until_s - from_s) / wide_s))
    edges = [from_s + number * (until_s - from_s) / count for number in range(count + 1)]
    bits = [curve.bits_by(edge) for edge in edges]
    return [
        (edges[number], (bits[number + 1] - bits[number]) / (edges[number + 1] - edges[number]))
        for number in range(count)
        if edges[number + 1] > edges[number]
    ]


def pieces_until(schedule: LinkSchedule, seconds: float) -> Iterator[LinkPiece]:
    """Those that begin before that time of the schedule's, the first at 0; the last may end behind it."""
    for piece in schedule.pieces():
        if piece.from_s >= seconds:
            return
        yield piece


def curves_until(
    schedule: LinkSchedule, seconds: float, *, streams: Streams
) -> Iterator[tuple[LinkPiece, Curve | None]]:
    """The same, each with its curve, fading as these streams draw it."""
    for piece in pieces_until(schedule, seconds):
        yield piece, curve_of(piece.link, fading_seed=streams.fading_seed(piece.rates_before))


def rates_over(schedule: LinkSchedule, seconds: float, *, bins: int, streams: Streams) -> Times:
    """(from when on, bits a second) of the first seconds of a schedule; inf: it has no rate.

    Of a piece whose rate is one number that, from its beginning on; of what moves by itself means in bins,
    and of more pieces than so many bins could show, too.
    """
    few = list(islice(curves_until(schedule, seconds, streams=streams), 2 * bins + 1))
    if len(few) > 2 * bins:
        ((_, mean_bps),) = means_over(schedule, seconds, count=1, streams=streams)
        count = max(1, round(seconds / bin_s(mean_bps, seconds, bins=bins)))
        return means_over(schedule, seconds, count=count, streams=streams)
    rates = list[tuple[float, float]]()
    for piece, curve in few:
        wide_s = bin_s(piece.link.mean_rate_bps, seconds, bins=bins)
        until_s = min(piece.until_s, seconds)
        own = rates_of(curve, piece.from_s - piece.began_s, until_s - piece.began_s, wide_s=wide_s)
        rates += [(piece.began_s + at_s if n else piece.from_s, bps) for n, (at_s, bps) in enumerate(own)]
    return rates


def means_over(schedule: LinkSchedule, seconds: float, *, count: int, streams: Streams) -> Times:
    """The mean rate in each of so many bins of the first seconds; inf: without a rate for a while."""
    wide_s, bits = seconds / count, [0.0] * count
    for piece, curve in curves_until(schedule, seconds, streams=streams):
        at_s, until_s = piece.from_s, min(piece.until_s, seconds)
        by = None if curve is None else curve.bits_by(at_s - piece.began_s)
        for number in range(min(int(at_s / wide_s), count - 1), count):
            end_s = until_s if number == count - 1 else min((number + 1) * wide_s, until_s)
            if end_s > at_s:
                if curve is None or by is None:
                    bits[number] = inf
                else:
                    before, by = by, curve.bits_by(end_s - piece.began_s)
                    bits[number] += by - before
                at_s = end_s
            if end_s >= until_s:
                break
    return [(number * wide_s, one / wide_s) for number, one in enumerate(bits)]


@lru_cache(maxsize=64)
def link_of(words: str) -> LinkSpec | None:
    """The link of a record's words; None: it names a file that is not here, or a newer version wrote it."""
    try:
        return parse_link(words, find_trace=traces_beside())
    except ConfigurationError:
        return None


__all__ = [
    "Times",
    "bin_s",
    "curve_of",
    "curves_until",
    "link_of",
    "means_over",
    "pieces_until",
    "rates_of",
    "rates_over",
]
