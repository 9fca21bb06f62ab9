"""Links for tests: random ones, traffic for them, and a second model that counts bits down event by event.

Rates are powers of 2 and times multiples of 2^-10 s, so that most sums are exact and two events that fall
together do so in both models.
"""

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import inf

from hypothesis import strategies as st

from draftwire.runtime.link import BurstLoss, Distribution, Fading, LinkDrop, LinkSpec, RandomLoss, Trace
from draftwire.runtime.link.curves import OPPORTUNITY_BITS, Opportunities, Steps
from draftwire.runtime.link.impairments import Draws, Fate
from draftwire.runtime.link.streams import Streams

TICK_S = 2.0**-10


def streams(seed: int) -> Streams:
    """Of one link; the same for the same seed."""
    names = ("jitter", "loss", "retransmission", "duplicate", "corrupt", "reorder")
    return Streams(**{name: random.Random(f"{seed} {name}") for name in names}, fading=seed)


def ticks(most: int) -> st.SearchStrategy[float]:
    """Times up to so many ticks, often short ones or 0."""
    counts = st.one_of(st.just(0), st.integers(0, min(10, most)), st.integers(0, most), st.integers(0, most))
    return counts.map(lambda count: count * TICK_S)


mahimahi = st.lists(st.integers(0, 300), min_size=1, max_size=12).map(
    lambda gaps: Opportunities([sum(gaps[: end + 1]) + 1 for end in range(len(gaps))])
)


@st.composite
def steps(draw: st.DrawFn) -> Steps:
    """Rates with outages between them, at times with delays."""
    rates = draw(st.lists(st.sampled_from([0, 2**12, 2**17, 2**22]), min_size=1, max_size=6))
    rates.append(2**16)
    times = [0.0]
    for _ in rates:
        times.append(times[-1] + draw(st.integers(1, 500)) * TICK_S)
    delays = draw(st.none() | st.lists(ticks(100), min_size=len(rates), max_size=len(rates)))
    return Steps(times, rates, delays)


fadings = st.builds(
    Fading,
    snr_db=st.floats(-10, 30),
    bandwidth_hz=st.floats(1e4, 1e7),
    coherence_s=st.sampled_from([2 * TICK_S, 0.05, 1.0]),
)
losses = (
    st.none()
    | st.builds(RandomLoss, share=st.sampled_from([0.0, 0.2, 0.9]), correlation=st.sampled_from([0.0, 0.5]))
    | st.builds(
        BurstLoss,
        to_bad=st.sampled_from([0.1, 1.0]),
        to_good=st.sampled_from([0.2, 1.0]),
        bad_loss=st.sampled_from([0.5, 1.0]),
        good_loss=st.sampled_from([0.0, 0.1]),
    )
)
rates = st.one_of(
    st.just({}),
    st.just({"rate_bps": 0.0}),
    st.integers(8, 30).map(lambda power: {"rate_bps": 2.0**power}),
    st.integers(8, 30).map(lambda power: {"rate_bps": 2.0**power}),
    mahimahi.map(lambda curve: {"trace": Trace(name="m", curve=curve)}),
    steps().map(lambda curve: {"trace": Trace(name="s", curve=curve)}),
    fadings.map(lambda fading: {"fading": fading}),
)
"The fields that say how fast."

shares = st.sampled_from([0.0, 0.0, 0.3, 1.0])
correlations = st.sampled_from([0.0, 0.0, 0.6])


@st.composite
def specs(draw: st.DrawFn, *, reorders: bool = True) -> LinkSpec:
    """Links that do anything, all at once or nearly nothing."""
    if draw(st.booleans()):
        plain = LinkSpec(**draw(rates), delay_s=draw(ticks(200)))
        bursts, limits = st.sampled_from([0, 3000]), st.sampled_from([1, 5, 1000])
        return replace(plain, burst_bytes=draw(bursts), limit_messages=draw(limits))
    delay_s = draw(st.sampled_from([0.0, 1, 40, 200, 500])) * TICK_S
    distribution, loss = draw(st.sampled_from(Distribution)), draw(losses)
    return LinkSpec(
        **draw(rates),
        burst_bytes=draw(st.sampled_from([0, 0, 100, 5000])),
        delay_s=delay_s,
        jitter_s=delay_s * draw(st.sampled_from([0.0, 0.5, 1.0])),
        distribution=distribution,
        jitter_correlation=draw(correlations),
        reorder=draw(shares) if reorders and delay_s else 0.0,
        reorder_correlation=draw(correlations),
        reorder_gap=draw(st.sampled_from([1, 3])),
        loss=loss,
        arq_s=None if loss is None else draw(st.none() | ticks(50)),
        duplicate=draw(shares),
        duplicate_correlation=draw(correlations),
        corrupt=draw(shares),
        corrupt_correlation=draw(correlations),
        limit_messages=draw(st.sampled_from([1, 4, 50])),
        limit_bytes=draw(st.none() | st.integers(1500, 20_000)),
        limit_is_of_queue=draw(st.booleans()),
        overhead_bytes=draw(st.sampled_from([0, 8])),
        packet_overhead_bytes=draw(st.sampled_from([0, 66])),
        packet_bytes=draw(st.sampled_from([100, 1448])),
    )


@dataclass(frozen=True, slots=True)
class Put:
    """A message, so long after what was before it."""

    pause_s: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Turn:
    """A change of the link, so long after what was before it."""

    pause_s: float
    spec: LinkSpec


puts = st.builds(Put, pause_s=ticks(300), size_bytes=st.integers(0, 5000))
traffic = st.lists(puts, min_size=1, max_size=40)


def lives(*, reorders: bool = True, most: int = 40) -> st.SearchStrategy[list[Put | Turn]]:
    """Messages, and some changes between them."""
    turns = st.builds(Turn, pause_s=ticks(300), spec=specs(reorders=reorders))
    return st.lists(st.one_of(puts, puts, puts, puts, turns), min_size=1, max_size=most)


@dataclass(slots=True)
class _Sent:
    """What became of a message."""

    size_bytes: int
    fate: Fate
    bits: float
    "that have not left"
    sent_s: float = inf
    delivery_s: float = inf
    copy_s: float = inf


@dataclass(slots=True)
class EventLink:
    """The model of a link once more: a queue whose head loses bits while time goes on."""

    spec: LinkSpec
    streams: Streams
    now_s: float
    messages: list[_Sent | LinkDrop] = field(default_factory=list)
    "by number, from 0"
    lost: list[_Sent] = field(default_factory=list)
    _draws: Draws = field(init=False)
    _queue: deque[_Sent] = field(default_factory=deque)
    _credit: float = inf
    _in_order_s: float = -inf
    _rates: int = -1
    _origin_s: float = 0.0
    _pieces: Iterator[tuple[float, float, float]] = field(init=False)
    _piece: tuple[float, float, float] | None = None
    "the rate, until when, and the bits that may leave at once then"

    def __post_init__(self) -> None:
        self._draws = Draws(self.streams)
        self._begin(self.now_s)

    def offer(self, now_s: float, size_bytes: int) -> None:
        """Put a message in."""
        self.advance(now_s)
        fate = self._draws.next(self.spec, size_bytes)
        drop = self._refusal(size_bytes)
        if drop is not None:
            self.messages.append(drop)
            return
        bits = 8.0 * self.spec.bytes_on_link(size_bytes) * (1 + fate.losses)
        message = _Sent(size_bytes, fate, bits)
        if fate.lost:
            self.lost.append(message)
        self.messages.append(LinkDrop.LOSS if fate.lost else message)
        self._queue.append(message)
        self._credit = min(self._credit, 8.0 * self.spec.burst_bytes)
        self._credit -= self._charge(self._credit) if self._outage else self._serve(self._credit)
        if self._unlimited:
            self._serve(inf)

    def change(self, now_s: float, spec: LinkSpec) -> None:
        """From now on it is another link."""
        self.advance(now_s)
        self._credit = min(self._credit, 8.0 * self.spec.burst_bytes) if not self._unlimited else inf
        before, self.spec = self.spec, spec
        anew = (spec.rate_bps, spec.trace, spec.fading) != (before.rate_bps, before.trace, before.fading)
        if anew:
            self._begin(now_s)
            self.advance(now_s)
            if not self._outage:
                self._serve(0.0)
        if self._unlimited:
            self._serve(inf)

    def advance(self, to_s: float) -> None:
        """Let time go on; what may leave at `to_s` leaves."""
        while True:
            if self._piece is None:
                self._piece = next(self._pieces)
            rate_bps, until_s, impulse = self._piece
            self._flow(rate_bps, min(to_s, until_s))
            if to_s < until_s - 1e-9:
                break
            self._credit += impulse - self._serve(impulse)
            self._piece = None

    @property
    def taken(self) -> list[_Sent]:
        """All that found room in the queue."""
        return [one for one in self.messages if isinstance(one, _Sent)] + self.lost

    @property
    def queued(self) -> list[_Sent]:
        """Accepted and not delivered."""
        return [one for one in self.messages if isinstance(one, _Sent) and one.delivery_s > self.now_s]

    @property
    def _unlimited(self) -> bool:
        return self.spec.rate_bps is None and self.spec.trace is None and self.spec.fading is None

    @property
    def _outage(self) -> bool:
        return self.spec.rate_bps == 0

    def _flow(self, rate_bps: float, to_s: float) -> None:
        while self._queue and rate_bps:
            end_s = self.now_s + self._queue[0].bits / rate_bps
            if end_s > to_s:
                self._queue[0].bits -= rate_bps * (to_s - self.now_s)
                self.now_s = to_s
                return
            self.now_s = end_s
            self._serve(self._queue[0].bits)
        if not self._queue:
            self._credit += rate_bps * (to_s - self.now_s)
        self.now_s = max(self.now_s, to_s)

    def _serve(self, bits: float) -> float:
        """Take so many bits off what waits; how many it were."""
        left = bits
        while self._queue and left >= self._queue[0].bits - 1e-3:
            message = self._queue.popleft()
            left = max(0.0, left - message.bits)
            self._send(message)
        if self._queue:
            self._queue[0].bits -= left
            left = 0.0
        return bits - left

    def _charge(self, bits: float) -> float:
        """As `_serve`, but what has no bits left waits all the same."""
        left = bits
        for message in self._queue:
            taken = min(left, message.bits)
            message.bits -= taken
            left -= taken
        return bits - left

    def _send(self, message: _Sent) -> None:
        fate, spec = message.fate, self.spec
        message.bits, message.sent_s = 0.0, self.now_s
        if fate.lost:
            return
        trace = spec.trace
        of_trace = None if trace is None else trace.curve.delay_s(self.now_s - self._origin_s)
        delay_s = spec.delay_s + (of_trace or 0.0)
        base_s = self.now_s + fate.losses * (spec.arq_s or 0.0)
        if fate.overtakes:
            message.delivery_s = message.copy_s = base_s
            return
        arrives = [base_s + max(0.0, delay_s + fate.jitter * spec.jitter_s)]
        if fate.copied:
            arrives.append(base_s + max(0.0, delay_s + fate.copy_jitter * spec.jitter_s))
        message.delivery_s = self._in_order_s = max(self._in_order_s, arrives[0])
        if fate.copied:
            message.copy_s = self._in_order_s = max(self._in_order_s, arrives[1])

    def _refusal(self, size_bytes: int) -> LinkDrop | None:
        taken = self.queued + [one for one in self.lost if one.sent_s > self.now_s]
        if len(taken) >= self.spec.limit_messages:
            return LinkDrop.LIMIT_MESSAGES
        limit_bytes = self.spec.limit_bytes
        if self.spec.limit_is_of_queue:
            taken = [one for one in self.taken if one.sent_s > self.now_s]
        if limit_bytes is not None and sum(one.size_bytes for one in taken) + size_bytes > limit_bytes:
            return LinkDrop.OVERSIZE if size_bytes > limit_bytes else LinkDrop.LIMIT_BYTES
        return None

    def _begin(self, origin_s: float) -> None:
        self._origin_s, self._pieces, self._piece = origin_s, self._pieces_of(origin_s), None
        self._rates += 1

    def _pieces_of(self, origin_s: float) -> Iterator[tuple[float, float, float]]:
        spec = self.spec
        if spec.trace is not None and isinstance(spec.trace.curve, Opportunities):
            stamps = spec.trace.curve.times_ms
            for lap in range(10**9):
                for stamp in stamps:
                    yield 0.0, origin_s + (lap * stamps[-1] + stamp) / 1000, float(OPPORTUNITY_BITS)
        elif spec.trace is not None and isinstance(spec.trace.curve, Steps):
            curve = spec.trace.curve
            for lap in range(10**9):
                for until_s, rate_bps in zip(curve.times_s[1:], curve.rates_bps, strict=True):
                    yield rate_bps, origin_s + lap * curve.times_s[-1] + until_s, 0.0
        elif spec.fading is not None:
            blocks = spec.fading.curve(self.streams.fading + (self._rates << 64))
            coherence_s = spec.fading.coherence_s
            for block in range(10**9):
                bits = blocks.bits_by((block + 1) * coherence_s) - blocks.bits_by(block * coherence_s)
                yield bits / coherence_s, origin_s + (block + 1) * coherence_s, 0.0
        else:
            yield spec.rate_bps or 0.0, inf, 0.0
