"""Messages through the very model of a link that changes: one now and then, and as many as fit. Pure."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np

from draftwire.nodes.console.link_rates import Times, bin_s, pieces_until
from draftwire.runtime.link import Link, LinkDrop, LinkPiece, LinkSchedule, LinkSpec, Passage, Streams

PROBES: Final = 2000
"""Messages that are timed, at most."""

PROBE_LOAD: Final = 0.2
"""Of the rate, what the messages that are timed take at most: so they hardly ever meet."""

BULK_MESSAGES: Final = 20_000
"""That fill the link, about: more of them, or smaller ones, take long and show the same."""

MOST_BULK: Final = 10 * BULK_MESSAGES
BACKLOG: Final = 50
"""Messages that wait behind the one that leaves: a trace may send many at once, and what nobody waits for is
gone. All of them are planned anew when the link changes."""

DRAIN: Final = 1.0
"""How much longer a schedule goes on, as a share of the time shown, for what still waits at its end."""

MakeStreams = Callable[[], Streams]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One message that was timed."""

    sent_s: float
    delay_s: float
    "one way; inf: it never arrives, or had not when the time was over"
    stands_s: float = 1.0
    "the time that it stands for: to the next one, at the rate that there was"
    lost: LinkDrop | None = None
    overtook: bool = False
    "whether it arrived before one that was sent earlier"
    corrupted: bool = False
    is_copy: bool = False


def is_lost(probe: Probe) -> bool:
    """Whether it was lost or dropped."""
    return probe.lost is not None


def is_waiting(probe: Probe) -> bool:
    """Whether it had not arrived when the time was over."""
    return probe.lost is None and probe.delay_s == math.inf


class Playing:
    """A link in use that changes by its schedule, which begins at 0."""

    def __init__(self, schedule: LinkSchedule, streams: MakeStreams) -> None:
        self._pieces = schedule.pieces()
        self.piece = next(self._pieces)
        self.link = Link[float](self.piece.link, streams())

    def advance(self, now_s: float) -> None:
        """Let it change as it should have by now."""
        while self.piece.until_s <= now_s:
            self.piece = next(self._pieces)
            self.link.change(self.piece.from_s, self.piece.link)


# One now and then -------------------------------------------------------------------------------------------


def probes_of(
    schedule: LinkSchedule, *, seconds: float, size_bytes: int, streams: MakeStreams
) -> Sequence[Probe]:
    """Messages alone on the link, as far from one another as the rate asks for that there is just then."""
    playing, probes, latest_s = Playing(schedule, streams), list[Probe](), -math.inf
    sent = list[tuple[float, float, LinkDrop | tuple[Passage[float], ...]]]()
    for now_s, stands_s in _when_sent(schedule, seconds, size_bytes):
        playing.advance(now_s)
        sent.append((now_s, stands_s, playing.link.offer(now_s, size_bytes, now_s)))
    # What waits at the end may hang on what the schedule does next.
    playing.advance(seconds * (1 + DRAIN))
    for now_s, stands_s, outcome in sent:
        if isinstance(outcome, LinkDrop):
            probes.append(Probe(sent_s=now_s, delay_s=math.inf, stands_s=stands_s, lost=outcome))
            continue
        for passage in outcome:
            probes.append(
                Probe(
                    sent_s=now_s,
                    delay_s=passage.delivery_s - now_s,
                    stands_s=stands_s,
                    overtook=passage.delivery_s < latest_s < math.inf,
                    corrupted=passage.flipped_bit is not None,
                    is_copy=passage.is_copy,
                )
            )
        latest_s = max(latest_s, outcome[0].delivery_s)
    return probes


def _when_sent(schedule: LinkSchedule, seconds: float, size_bytes: int) -> Iterator[tuple[float, float]]:
    """(when, distance there), at least one: half a distance from the start, then one by one, where a slow
    piece between takes up its share of a distance.
    """
    pieces = list(pieces_until(schedule, seconds))
    left = 0.5  # of a distance
    for piece, every_s in zip(pieces, _distances_s(pieces, seconds, size_bytes), strict=True):
        at_s, until_s = piece.from_s, min(piece.until_s, seconds)
        while at_s + left * every_s < until_s:
            at_s += left * every_s
            left = 1.0
            yield at_s, every_s
        left -= (until_s - at_s) / every_s


def _distances_s(pieces: Sequence[LinkPiece], seconds: float, size_bytes: int) -> Sequence[float]:
    """By piece; in an outage the longer one of those around it, with whose messages its own go on."""
    own = list[float]()
    for piece in pieces:
        rate_bps = piece.link.mean_rate_bps
        busy_s = 8 * piece.link.bytes_on_link(size_bytes) / rate_bps if rate_bps else 0.0
        own.append(0.0 if rate_bps == 0 else min(seconds, max(seconds / PROBES, busy_s / PROBE_LOAD)))
    before = list(accumulate(own, _or_last))
    after = list(accumulate(reversed(own), _or_last))[::-1]
    return [one or max(*around) or seconds / PROBES for one, *around in zip(own, before, after, strict=True)]


def _or_last(last: float, one: float) -> float:
    return one or last


# As many as fit ---------------------------------------------------------------------------------------------


class Bulk:
    """A sender that always has more to send, as far as the link's queue has room for it."""

    def __init__(
        self, schedule: LinkSchedule, *, seconds: float, mean_bps: float, streams: MakeStreams, bins: int
    ) -> None:
        """`mean_bps`: of the link over that time."""
        self._playing = Playing(schedule, streams)
        self._seconds = self._until_s = seconds
        self._all_bytes = mean_bps * seconds / 8
        self._came = list[Passage[float]]()
        self._under_way = deque[Passage[float]]()
        self._wide_s = bin_s(mean_bps, seconds, bins=bins)

    def run(self) -> None:
        """To the end of the time, or as long as so many messages take whose size the queue bounds."""
        now_s, lost_in_a_row, playing = 0.0, 0, self._playing
        for _ in range(MOST_BULK):
            if now_s >= self._seconds:
                return
            playing.advance(now_s)
            outcome = playing.link.offer(now_s, _bulk_bytes(playing.link.spec, self._all_bytes), now_s)
            if not isinstance(outcome, LinkDrop):
                self._came.append(outcome[0])
                self._under_way.append(outcome[0])
                if len(self._came) > BACKLOG:
                    ahead = self._came[-BACKLOG - 1]
                    now_s = self._when(ahead, lambda passage: passage.sent_s, now_s)
            # What is lost takes its time as well: the next one queues behind it.
            lost_in_a_row = lost_in_a_row + 1 if outcome is LinkDrop.LOSS else 0
            if lost_in_a_row > BACKLOG or (isinstance(outcome, LinkDrop) and not lost_in_a_row):
                now_s = self._when_there_may_be_room(now_s)
        self._until_s = min(now_s, self._seconds)

    def _when(
        self, passage: Passage[float], time_of: Callable[[Passage[float]], float], now_s: float
    ) -> float:
        """That time of a message, which moves as the link changes before it."""
        playing = self._playing
        while (change_s := playing.piece.until_s) < min(time_of(passage), self._seconds):
            playing.advance(change_s)
            now_s = max(now_s, change_s)
        return max(now_s, time_of(passage))

    def _when_there_may_be_room(self, now_s: float) -> float:
        """When the oldest message arrives, or perhaps before: what is lost says nothing when it leaves."""
        while self._under_way and self._under_way[0].delivery_s <= now_s:
            self._under_way.popleft()
        arrives_s = self._under_way[0].delivery_s if self._under_way else math.inf
        link = self._playing.piece.link
        sending_s = math.inf
        if link.mean_rate_bps:
            bits = 8 * link.bytes_on_link(_bulk_bytes(link, self._all_bytes))
            sending_s = bits / link.mean_rate_bps
        return min(arrives_s, now_s + sending_s, self._playing.piece.until_s)

    @property
    def mean_bps(self) -> float:
        """Bits of messages a second."""
        return 8 * sum(one.size_bytes for one in self._came if one.sent_s <= self._until_s) / self._until_s

    def rates(self) -> Times:
        """(from when on, bits a second), in bins; NaN: from then on it is not known."""
        edges = np.linspace(0.0, self._until_s, max(1, round(self._until_s / self._wide_s)) + 1)
        gone = sorted((one.sent_s, one.size_bytes) for one in self._came if one.sent_s < math.inf)
        times = [0.0, *(at_s for at_s, _ in gone)]
        sizes = np.cumsum([0, *(8 * size for _, size in gone)])
        rates = np.diff(np.interp(edges, times, sizes)) / np.diff(edges)
        found = list(zip(edges[:-1].tolist(), rates.tolist(), strict=True))
        return found if self._until_s == self._seconds else [*found, (self._until_s, math.nan)]


def _bulk_bytes(link: LinkSpec, all_bytes: float) -> int:
    """Full packets, of which not too many fill the time; half of the queue at most."""
    packets = max(1, math.ceil(all_bytes / BULK_MESSAGES / link.packet_bytes))
    if link.limit_bytes is None:
        return packets * link.packet_bytes
    most = min(link.limit_bytes, max(link.packet_bytes, link.limit_bytes // 2))
    return min(packets * link.packet_bytes, most)


__all__ = ["Bulk", "MakeStreams", "Playing", "Probe", "is_lost", "is_waiting", "probes_of"]
