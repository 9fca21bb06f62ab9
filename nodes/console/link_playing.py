"""What a link will do, by sending messages through its very model: one now and then, and as many as fit.

Pure: the links of the channel, in a time that is only counted.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from draftwire.nodes.console.link_messages import Bulk, MakeStreams, Probe, is_lost, is_waiting, probes_of
from draftwire.nodes.console.link_rates import Times, curves_until, means_over, rates_over
from draftwire.runtime.link import Curve, LinkPiece, LinkSchedule, Streams

BINS: Final = 400
"""Of the time at most: more is finer than a page can show."""

WINDOW_S: Final = 0.1
"""Over which a rate is taken for an outage, or not."""

OUTAGE_SHARE: Final = 0.01
"""An outage is a rate of less than this share of the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What delay a message meets that waits for nothing, from a time on."""

    at_s: float
    delay_s: float
    "its own bits at the mean rate, the delay, and that of the trace; inf: an outage"
    jitter_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What one direction did."""

    words: str
    seconds: float
    message_bytes: int
    "of the messages that were timed"
    offered_bps: Times
    "from each time on; inf: no rate, sending takes no time"
    offered_mean_bps: float
    "inf: see there"
    outage_share: float
    "of windows of 0.1 s, those in which less than 1 % of the mean rate could be sent"
    carried_bps: Times
    "bits of messages that came through a link that always had more to send; empty: there is no rate to fill"
    carried_mean_bps: float | None
    probes: Sequence[Probe]
    "copies among them, behind what they are copies of; shares of them are of the time that they stand for"
    expected: Sequence[Expected]

    @property
    def messages(self) -> int:
        """That were timed."""
        return sum(not probe.is_copy for probe in self.probes)

    @property
    def delays(self) -> Sequence[tuple[float, float]]:
        """(delay in s, share of all messages that arrived within it), rising."""
        came = sorted((one.delay_s, one.stands_s) for one in self._own if one.delay_s < math.inf)
        all_s = self._stand_s
        shares = accumulate(stands_s / all_s for _, stands_s in came)
        return [(delay_s, share) for (delay_s, _), share in zip(came, shares, strict=True)]

    def delay_s(self, share: float) -> float | None:
        """So long or shorter took this share of the messages that arrived; None: none arrived."""
        delays = self.delays
        if not delays:
            return None
        wanted = share * delays[-1][1]
        return next((delay_s for delay_s, within in delays if within > wanted), delays[-1][0])

    def share(self, of: Callable[[Probe], bool]) -> float:
        """Of the messages that were timed, those of which this is true."""
        return sum(one.stands_s for one in self.probes if of(one)) / self._stand_s

    @property
    def _own(self) -> Sequence[Probe]:
        return [one for one in self.probes if not one.is_copy]

    @property
    def _stand_s(self) -> float:
        return sum(one.stands_s for one in self._own)


def play(schedule: LinkSchedule, *, seconds: float, message_bytes: int, streams: MakeStreams) -> Played:
    """What a direction does, and does to messages of so many bytes. `streams`: its random numbers, anew."""
    once = streams()
    ((_, mean_bps),) = means_over(schedule, seconds, count=1, streams=once)
    bulk = None
    if mean_bps < math.inf:
        bulk = Bulk(schedule, seconds=seconds, mean_bps=mean_bps, streams=streams, bins=BINS)
        bulk.run()
    return Played(
        words=str(schedule),
        seconds=seconds,
        message_bytes=message_bytes,
        offered_bps=rates_over(schedule, seconds, bins=BINS, streams=once),
        offered_mean_bps=mean_bps,
        outage_share=_outages(schedule, seconds, once, mean_bps),
        carried_bps=() if bulk is None else bulk.rates(),
        carried_mean_bps=None if bulk is None else bulk.mean_bps,
        probes=probes_of(schedule, seconds=seconds, size_bytes=message_bytes, streams=streams),
        expected=_expected(schedule, seconds, once, message_bytes),
    )


def _outages(schedule: LinkSchedule, seconds: float, streams: Streams, mean_bps: float) -> float:
    if mean_bps == math.inf:
        return 0.0
    count = max(100, round(seconds / WINDOW_S))
    windows = means_over(schedule, seconds, count=count, streams=streams)
    return sum(bps < OUTAGE_SHARE * mean_bps or bps == 0 for _, bps in windows) / count


def _expected(
    schedule: LinkSchedule, seconds: float, streams: Streams, size_bytes: int
) -> Sequence[Expected]:
    found = list[Expected]()
    for piece, curve in curves_until(schedule, seconds, streams=streams):
        link, rate_bps = piece.link, piece.link.mean_rate_bps
        sending_s = 0.0
        if rate_bps is not None:
            sending_s = 8 * link.bytes_on_link(size_bytes) / rate_bps if rate_bps else math.inf
        found += [
            Expected(at_s=at_s, delay_s=sending_s + link.delay_s + own_s, jitter_s=link.jitter_s)
            for at_s, own_s in _own_delays(piece, curve, seconds)
        ]
    return found


def _own_delays(piece: LinkPiece, curve: Curve | None, seconds: float) -> Times:
    """(from when on, s) that a trace says of the delay, in bins; else one, which is 0."""
    if curve is None or curve.delay_s(0.0) is None:
        return [(piece.from_s, 0.0)]
    wide_s, until_s = seconds / BINS, min(piece.until_s, seconds)
    numbers = range(int(piece.from_s / wide_s) + 1, math.ceil(until_s / wide_s))
    times = [piece.from_s, *(number * wide_s for number in numbers)]
    return [(at_s, curve.delay_s(at_s - piece.began_s) or 0.0) for at_s in times]


__all__ = ["Expected", "Played", "Probe", "Times", "is_lost", "is_waiting", "play"]
