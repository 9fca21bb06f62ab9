"""Asking a node over a connection: is it there, how long is the way, how fast, does it agree with us?

Probes go one at a time, so none waits behind another. A node answers each of them with an Echo, whatever else
it does; an emulated channel passes both on, as all that goes through it, so what is measured there is the
emulated link.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final, Generic, TypeVar

from draftwire.codecs.errors import WireError
from draftwire.codecs.frame import AnyMessage, decode_frame, encode_frame
from draftwire.codecs.limits import MAX_PROBE_BYTES
from draftwire.codecs.messages import Hello, Reason, Refused, Welcome
from draftwire.codecs.probes import Echo, Probe
from draftwire.nodes.console.doctor.figures import Rate, Spread, is_clear, rate, spread
from draftwire.runtime.clock import Clock
from draftwire.runtime.transport import Endpoint, Trouble, TroubleKind

M = TypeVar("M")

CONTACT_S: Final = 4.0
"""How long a node has for its first answer: several round trips over a satellite."""

ASK_AGAIN_S: Final = 1.0
"""A first question may have been lost; so long until it is asked once more."""

ANSWER_S: Final = 3.0
"""How long for each answer behind the first."""

LOOK_S: Final = 0.05
"""How often a wait looks whether the connection is in trouble, which comes with no message."""

SETTLE_S: Final = 0.4
"""A handshake that fails is tried again, and may then say better why: so long until it is believed."""

CLOSED_S: Final = 1.5
"""A connection that is closed may stand at the next try, as behind a forwarder: so long, a few tries, until
that is believed."""

SMALL: Final = 9
"""Short probes."""

LARGE: Final = 7
"""Long ones of the size that tells a direction's rate."""

SERIES_S: Final = 1.2
"""A series of probes takes no longer than this and one more."""

SIZES: Final = (1024, 8192, MAX_PROBE_BYTES)
"""Paddings tried, bytes, until one takes clearly longer: each up to 0.3, 2.6 and 20 Mbit/s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What probes told of a hop."""

    rtt: Spread
    "of the shortest probes"
    uplink: Rate | None
    "from here on; None: no long probe came back"
    downlink: Rate | None
    clock_ahead_s: float
    "the other machine's clock on the wall against ours"
    clock_error_s: float
    "how far that may be off: half the round trip, since nobody knows how it splits"


class Prober:
    """Asks over an endpoint that connects. One question at a time."""

    def __init__(self, endpoint: Endpoint, *, clock: Clock, wall_s: Callable[[], float]) -> None:
        """`wall_s` tells what the clock on our wall shows: seconds since 1970, UTC."""
        self._endpoint, self._clock, self._wall_s = endpoint, clock, wall_s
        self._stamps = count(1)
        self._failing_s: float | None = None
        "since when the connection is in trouble that waiting won't end"
        self._clock_ahead_s, self._clock_error_s = 0.0, float("inf")

    async def contact(self) -> Echo | Refused | Trouble | None:
        """The first answer, an Echo or what a Probe can be refused for.

        None: the connection stands for all that is known, and nobody answered.
        """
        deadline_s = self._clock.now_s() + CONTACT_S
        while (now_s := self._clock.now_s()) < deadline_s:
            self._send(Probe(stamp=next(self._stamps)))
            answer: _Answer[Echo | Refused] | Trouble | None = await self._hear(
                _first, until_s=min(deadline_s, now_s + ASK_AGAIN_S)
            )
            if isinstance(answer, _Answer):
                return answer.message
            if answer is not None:
                return answer
        return self._endpoint.trouble()

    async def measure(self) -> Measured | None:
        """Round trip, rates, clock; within about three SERIES_S. None: no more answers came."""
        times_s = await self._series(SMALL)
        if not times_s:
            return None
        small = spread(times_s)
        uplink = await self._rate(small, lambda size: (size, 0))
        downlink = await self._rate(small, lambda size: (0, size))
        return Measured(
            rtt=small,
            uplink=uplink,
            downlink=downlink,
            clock_ahead_s=self._clock_ahead_s,
            clock_error_s=self._clock_error_s,
        )

    async def agree(self, hello: Hello, *, tries: int = 2) -> Welcome | Refused | None:
        """What a BS says to our Hello, asked so often. None: nothing."""
        for _ in range(tries):
            self._send(hello)
            answer: _Answer[Welcome | Refused] | Trouble | None = await self._hear(
                _to_a_hello, until_s=self._clock.now_s() + ANSWER_S / 2
            )
            if isinstance(answer, _Answer):
                return answer.message
            if answer is not None:
                return None
        return None

    async def _rate(self, small: Spread, paddings: Callable[[int], tuple[int, int]]) -> Rate | None:
        """Of the direction that `paddings` makes longer, by the first size that takes clearly longer."""
        chosen = None
        for size in SIZES:
            time_s = await self._round_trip(*paddings(size))
            if time_s is None:
                break
            chosen = size
            if is_clear(small, time_s):
                break
        if chosen is None:
            return None
        times_s = await self._series(LARGE, *paddings(chosen))
        return rate(small, spread(times_s), extra_bytes=chosen) if times_s else None

    async def _series(self, most: int, padding: int = 0, reply_padding: int = 0) -> list[float]:
        """Round trips of equal probes, up to the first that is lost."""
        times_s = list[float]()
        deadline_s = self._clock.now_s() + SERIES_S
        while len(times_s) < most and (not times_s or self._clock.now_s() < deadline_s):
            time_s = await self._round_trip(padding, reply_padding)
            if time_s is None:
                break
            times_s.append(time_s)
        return times_s

    async def _round_trip(self, padding: int, reply_padding: int) -> float | None:
        """Of one probe; None: it was lost, or the connection was."""
        stamp, sent_s, wall_s = next(self._stamps), self._clock.now_s(), self._wall_s()
        self._send(Probe(stamp=stamp, padding=padding, reply_padding=reply_padding))
        answer = await self._hear(lambda message: _echo(message, stamp), until_s=sent_s + ANSWER_S)
        if answer is None or isinstance(answer, Trouble):
            return None
        time_s = answer.at_s - sent_s
        if time_s / 2 < self._clock_error_s:
            self._clock_ahead_s = answer.message.clock_s - (wall_s + time_s / 2)
            self._clock_error_s = time_s / 2
        return time_s

    async def _hear(
        self, wanted: Callable[[AnyMessage], M | None], *, until_s: float
    ) -> "_Answer[M] | Trouble | None":
        """The first message that is wanted, or a trouble that waiting won't end; None: neither in time."""
        while (now_s := self._clock.now_s()) < until_s:
            try:
                async with asyncio.timeout(min(LOOK_S, until_s - now_s)):
                    received = await self._endpoint.receive()
            except TimeoutError:
                trouble = self._endpoint.trouble()
                patience_s = _patience_s(trouble)
                if patience_s is None:
                    self._failing_s = None
                elif self._failing_s is None:
                    self._failing_s = now_s
                elif now_s - self._failing_s >= patience_s:
                    return trouble
                continue
            try:
                message = decode_frame(received.data).message
            except WireError:
                continue  # whoever is bound there may say what he likes
            if (found := wanted(message)) is not None:
                return _Answer(message=found, at_s=received.at_s)
        return None

    def _send(self, message: Probe | Hello) -> None:
        self._endpoint.send(b"", encode_frame(message, session=0, sequence=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer(Generic[M]):
    """A message that was waited for."""

    message: M
    at_s: float
    "when it came"


def _patience_s(trouble: Trouble | None) -> float | None:
    """How long a trouble has to last until it is believed; None: it may pass at any time."""
    if trouble is None:
        return None
    if trouble.kind is TroubleKind.CLOSED:
        return CLOSED_S
    return SETTLE_S if trouble.final else None


_TO_A_HELLO: Final = frozenset(
    {Reason.PROTOCOL_VERSION, Reason.NOISE_VERSION, Reason.VOCABULARY, Reason.IDENTITY, Reason.BUSY}
)
_OF_A_REQUEST: Final = frozenset(
    {
        Reason.PROMPT_TOO_LONG,
        Reason.BAD_SAMPLING,
        Reason.UNKNOWN_REQUEST,
        Reason.SUPERSEDED,
        Reason.DRAFT_STATE_LOST,
        Reason.HISTORY,
        Reason.NO_HELLO,
        Reason.ABSENT,
        Reason.TARGET_FAILED,
    }
)
"""They belong to a request, and so to somebody else: we have none."""


def _first(message: AnyMessage) -> Echo | Refused | None:
    if isinstance(message, Refused):
        return None if message.reason in _OF_A_REQUEST else message
    return message if isinstance(message, Echo) else None


def _echo(message: AnyMessage, stamp: int) -> Echo | None:
    return message if isinstance(message, Echo) and message.stamp == stamp else None


def _to_a_hello(message: AnyMessage) -> Welcome | Refused | None:
    if isinstance(message, Refused):
        return message if message.reason in _TO_A_HELLO else None
    return message if isinstance(message, Welcome) else None


__all__ = ["Measured", "Prober"]
