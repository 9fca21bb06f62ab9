"""What a link will do, by sending messages through its very model: one now and then, and as many as fit.

Pure: the links of the channel, in a time that is only counted.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from draftwire.nodes.console.link_rates import bin_s, curve_of, rates_of
from draftwire.runtime.link import Link, LinkDrop, LinkSchedule, LinkSpec, Passage, Streams

BINS: Final = 400
"""Of the time at most: more is finer than a page can show."""

PROBES: Final = 2000
"""Messages that are timed, at most."""

PROBE_LOAD: Final = 0.2
"""Of the slowest rate, what the messages that are timed take at most: so they hardly ever meet."""

BULK_MESSAGES: Final = 20_000
"""That fill the link, about: more of them, or smaller ones, take long and show the same."""

MOST_BULK: Final = 10 * BULK_MESSAGES
WINDOW_S: Final = 0.1
"""Over which a rate is taken for an outage, or not."""

OUTAGE_SHARE: Final = 0.01
"""An outage is a rate of less than this share of the mean."""

DRAIN: Final = 1.0
"""How much longer a schedule goes on, as a share of the time shown, for what still waits at its end."""

Times = Sequence[tuple[float, float]]
"""(seconds, value) in order of time."""

MakeStreams = Callable[[], Streams]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One message that was timed."""

    sent_s: float
    delay_s: float
    "one way; inf: it never arrives, or had not when the time was over"
    lost: LinkDrop | None = None
    overtook: bool = False
    "whether it arrived before one that was sent earlier"
    corrupted: bool = False
    is_copy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What delay a message meets that waits for nothing, from a time on."""

    at_s: float
    delay_s: float
    "its own bits at the mean rate, and the delay; inf: an outage"
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
    "copies among them, behind what they are copies of"
    expected: Sequence[Expected]

    @property
    def delays_s(self) -> Sequence[float]:
        """Of the messages that arrived, rising."""
        return sorted(one.delay_s for one in self.probes if one.delay_s < math.inf and not one.is_copy)

    def delay_s(self, share: float) -> float | None:
        """So long or shorter took this share of the messages that arrived; None: none arrived."""
        delays_s = self.delays_s
        return delays_s[min(len(delays_s) - 1, int(share * len(delays_s)))] if delays_s else None

    def share(self, of: Callable[[Probe], bool]) -> float:
        """Of the messages that were timed, those of which this is true."""
        sent = sum(not probe.is_copy for probe in self.probes)
        return sum(map(of, self.probes)) / max(1, sent)


def play(schedule: LinkSchedule, *, seconds: float, message_bytes: int, streams: MakeStreams) -> Played:
    """What a direction does, and does to messages of so many bytes. `streams`: its random numbers, anew."""
    seed = streams().fading
    offered = [one for part in _parts(schedule, seconds) for one in _offered(part, seconds, seed)]
    mean_bps = _mean(schedule, seconds, seed)
    bulk = None
    if mean_bps < math.inf:
        bulk = _Bulk(schedule, seconds=seconds, mean_bps=mean_bps, streams=streams)
        bulk.run()
    return Played(
        words=str(schedule),
        seconds=seconds,
        message_bytes=message_bytes,
        offered_bps=offered,
        offered_mean_bps=mean_bps,
        outage_share=_outages(schedule, seconds, seed, mean_bps),
        carried_bps=() if bulk is None else bulk.rates(),
        carried_mean_bps=None if bulk is None else bulk.mean_bps,
        probes=_probes(schedule, seconds=seconds, size_bytes=message_bytes, streams=streams),
        expected=[_expected(part, message_bytes) for part in _parts(schedule, seconds)],
    )


# What the curve offers --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A piece of the time in which the link stays what it is."""

    from_s: float
    until_s: float
    link: LinkSpec


def _parts(schedule: LinkSchedule, seconds: float) -> Iterator[_Part]:
    from_s, link = 0.0, schedule.spec_at(0.0)
    next_s = schedule.next_change_s(0.0)
    while next_s is not None and next_s < seconds:
        if (after := schedule.spec_at(next_s)) != link:
            yield _Part(from_s=from_s, until_s=next_s, link=link)
            from_s, link = next_s, after
        next_s = schedule.next_change_s(next_s)
    yield _Part(from_s=from_s, until_s=seconds, link=link)


def _offered(part: _Part, seconds: float, seed: int) -> Times:
    wide_s = bin_s(part.link, seconds, bins=BINS)
    own = rates_of(part.link, 0.0, part.until_s - part.from_s, wide_s=wide_s, fading_seed=seed)
    return [(part.from_s + at_s, bps) for at_s, bps in own]


def _bits(link: LinkSpec, seconds: float, seed: int) -> float:
    """That could be sent in the first seconds of this link."""
    curve = curve_of(link, fading_seed=seed)
    if curve is not None:
        return curve.bits_by(seconds)
    return math.inf if link.rate_bps is None else link.rate_bps * seconds


def _mean(schedule: LinkSchedule, seconds: float, seed: int) -> float:
    parts = _parts(schedule, seconds)
    return sum(_bits(part.link, part.until_s - part.from_s, seed) for part in parts) / seconds


def _outages(schedule: LinkSchedule, seconds: float, seed: int, mean_bps: float) -> float:
    if mean_bps == math.inf:
        return 0.0
    out_s = 0.0
    for part in _parts(schedule, seconds):
        ends_s = part.until_s - part.from_s
        rates = rates_of(part.link, 0.0, ends_s, wide_s=min(WINDOW_S, seconds / 100), fading_seed=seed)
        ends = [*(at_s for at_s, _ in rates[1:]), ends_s]
        out_s += sum(
            end_s - at_s
            for (at_s, bps), end_s in zip(rates, ends, strict=True)
            if bps < OUTAGE_SHARE * mean_bps or bps == 0
        )
    return out_s / seconds


def _expected(part: _Part, size_bytes: int) -> Expected:
    link, rate_bps = part.link, part.link.mean_rate_bps
    sending_s = 0.0
    if rate_bps is not None:
        sending_s = 8 * link.bytes_on_link(size_bytes) / rate_bps if rate_bps else math.inf
    return Expected(at_s=part.from_s, delay_s=sending_s + link.delay_s, jitter_s=link.jitter_s)


# Messages ---------------------------------------------------------------------------------------------------


class _Playing:
    """A link in use that changes by its schedule."""

    def __init__(self, schedule: LinkSchedule, streams: MakeStreams) -> None:
        self._schedule = schedule
        self.link = Link[float](schedule.spec_at(0.0), streams())
        self.next_change_s = schedule.next_change_s(0.0)

    def advance(self, now_s: float) -> None:
        """Let it change as it should have by now."""
        while self.next_change_s is not None and self.next_change_s <= now_s:
            at_s = self.next_change_s
            if (link := self._schedule.spec_at(at_s)) != self.link.spec:  # else it goes on as it is
                self.link.change(at_s, link)
            self.next_change_s = self._schedule.next_change_s(at_s)


def _probes(
    schedule: LinkSchedule, *, seconds: float, size_bytes: int, streams: MakeStreams
) -> Sequence[Probe]:
    """Messages at equal distances, alone on the link."""
    playing = _Playing(schedule, streams)
    every_s = _every_s(schedule, seconds, size_bytes)
    sent = list[tuple[float, LinkDrop | tuple[Passage[float], ...]]]()
    for number in range(max(1, int(seconds / every_s))):
        now_s = (number + 0.5) * every_s
        playing.advance(now_s)
        sent.append((now_s, playing.link.offer(now_s, size_bytes, now_s)))
    # What waits at the end may hang on what the schedule does next.
    playing.advance(seconds * (1 + DRAIN))
    return _probes_of(sent)


def _every_s(schedule: LinkSchedule, seconds: float, size_bytes: int) -> float:
    busy_s = [
        8 * part.link.bytes_on_link(size_bytes) / part.link.mean_rate_bps
        for part in _parts(schedule, seconds)
        if part.link.mean_rate_bps
    ]
    return min(seconds, max([seconds / PROBES, *(one / PROBE_LOAD for one in busy_s)]))


def _probes_of(sent: Sequence[tuple[float, LinkDrop | tuple[Passage[float], ...]]]) -> Sequence[Probe]:
    probes, latest_s = list[Probe](), -math.inf
    for now_s, outcome in sent:
        if isinstance(outcome, LinkDrop):
            probes.append(Probe(sent_s=now_s, delay_s=math.inf, lost=outcome))
            continue
        for passage in outcome:
            probes.append(
                Probe(
                    sent_s=now_s,
                    delay_s=passage.delivery_s - now_s,
                    overtook=passage.delivery_s < latest_s < math.inf,
                    corrupted=passage.flipped_bit is not None,
                    is_copy=passage.is_copy,
                )
            )
        latest_s = max(latest_s, outcome[0].delivery_s)
    return probes


class _Bulk:
    """A sender that always has more to send: one message waits while another leaves, if there is room."""

    def __init__(
        self, schedule: LinkSchedule, *, seconds: float, mean_bps: float, streams: MakeStreams
    ) -> None:
        self._playing = _Playing(schedule, streams)
        self._seconds = seconds
        self._all_bytes = mean_bps * seconds / 8
        self._came = list[Passage[float]]()
        self._under_way = deque[Passage[float]]()
        self._wide_s = max(bin_s(part.link, seconds, bins=BINS) for part in _parts(schedule, seconds))

    def run(self) -> None:
        """To the end of the time."""
        now_s, playing = 0.0, self._playing
        for _ in range(MOST_BULK):
            if now_s >= self._seconds:
                return
            playing.advance(now_s)
            outcome = playing.link.offer(now_s, _bulk_bytes(playing.link.spec, self._all_bytes), now_s)
            if not isinstance(outcome, LinkDrop):
                self._came.append(outcome[0])
                self._under_way.append(outcome[0])
                ahead = self._came[-2:][0]
                now_s = self._when(ahead, lambda passage: passage.sent_s, now_s)
            elif outcome is not LinkDrop.LOSS:  # which has taken its time: the next one queues behind it
                now_s = self._when_there_is_room(now_s)

    def _when(
        self, passage: Passage[float], time_of: Callable[[Passage[float]], float], now_s: float
    ) -> float:
        """That time of a message, which moves as the link changes before it."""
        playing = self._playing
        while (change_s := playing.next_change_s) is not None:
            if change_s >= min(time_of(passage), self._seconds):
                break
            playing.advance(change_s)
            now_s = max(now_s, change_s)
        return max(now_s, time_of(passage))

    def _when_there_is_room(self, now_s: float) -> float:
        while self._under_way and self._under_way[0].delivery_s <= now_s:
            self._under_way.popleft()
        if not self._under_way:  # what is too large for the queue, will be so
            return self._playing.next_change_s or self._seconds
        return self._when(self._under_way[0], lambda passage: passage.delivery_s, now_s)

    @property
    def mean_bps(self) -> float:
        """Bits of messages a second over the whole time."""
        return 8 * sum(one.size_bytes for one in self._came if one.sent_s <= self._seconds) / self._seconds

    def rates(self) -> Times:
        """(from when on, bits a second), in bins."""
        edges = np.linspace(0.0, self._seconds, max(1, round(self._seconds / self._wide_s)) + 1)
        gone = sorted((one.sent_s, one.size_bytes) for one in self._came if one.sent_s < math.inf)
        times = [0.0, *(at_s for at_s, _ in gone)]
        sizes = np.cumsum([0, *(8 * size for _, size in gone)])
        rates = np.diff(np.interp(edges, times, sizes)) / np.diff(edges)
        return list(zip(edges[:-1].tolist(), rates.tolist(), strict=True))


def _bulk_bytes(link: LinkSpec, all_bytes: float) -> int:
    """Full packets, of which not too many fill the time; half of the queue at most."""
    packets = max(1, math.ceil(all_bytes / BULK_MESSAGES / link.packet_bytes))
    most = link.limit_bytes // 2 if link.limit_bytes is not None else packets * link.packet_bytes
    return min(packets * link.packet_bytes, max(link.packet_bytes, most))


__all__ = ["Expected", "Played", "Probe", "Times", "play"]
