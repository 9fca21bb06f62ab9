"""What links do, as `link` events for whoever keeps a record.

A link that changes over and over would fill it with lines. Each has its first MOST_AT_ONCE changes told, and
then one each EVERY_S: the last that there was, and how many were left out before it.
"""

from math import inf
from typing import Final
from weakref import WeakKeyDictionary

from structlog.typing import FilteringBoundLogger

from draftwire.nodes.channel.playing import PlayedLink
from draftwire.runtime.telemetry import LINK_EVENT

EVERY_S: Final = 0.05
MOST_AT_ONCE: Final = 20


class LinkTelling:
    """Tells of links that are played."""

    def __init__(self, *, seed: int, logger: FilteringBoundLogger) -> None:
        """`seed`: of the channel."""
        self._seed, self._logger = seed, logger
        self._started_s: float | None = None
        "when it began to tell; with another one all that was told before is over"
        self._paid_s = WeakKeyDictionary[PlayedLink, float]()
        "up to when each has used its EVERY_S"
        self._held = dict[PlayedLink, tuple[float, int]]()
        "when the last change was that has not been told, and how many those are"

    @property
    def due_s(self) -> float:
        """When something that was held back may be told; inf: there is nothing."""
        return min((self._free_s(played) for played in self._held), default=inf)

    def tell(self, played: PlayedLink, at_s: float, *, ordered: bool = False) -> None:
        """What it does from then on."""
        _, left_out = self._held.pop(played, (at_s, 0))
        self._log(played, at_s, ordered=ordered, left_out=left_out)

    def tell_change(self, played: PlayedLink, at_s: float) -> None:
        """The same of one change among many, now or later."""
        _, held = self._held.pop(played, (at_s, 0))
        if at_s < self._free_s(played):
            self._held[played] = (at_s, held + 1)
        else:
            self._pay(played, at_s)
            self._log(played, at_s, left_out=held)

    def tell_held(self, now_s: float) -> None:
        """Whose turn it is."""
        for played, (at_s, held) in list(self._held.items()):
            if self._free_s(played) <= now_s:
                del self._held[played]
                self._pay(played, now_s)
                self._log(played, at_s, left_out=held - 1)

    def forget(self, played: PlayedLink) -> None:
        """Nothing plays it any more."""
        self._held.pop(played, None)

    def _free_s(self, played: PlayedLink) -> float:
        """From when on it may be told."""
        return self._paid_s.get(played, -inf) - (MOST_AT_ONCE - 0.5) * EVERY_S

    def _pay(self, played: PlayedLink, at_s: float) -> None:
        self._paid_s[played] = max(self._paid_s.get(played, -inf), at_s) + EVERY_S

    def _log(self, played: PlayedLink, at_s: float, *, ordered: bool = False, left_out: int = 0) -> None:
        spec = played.spec
        if self._started_s is None:
            self._started_s = at_s
        self._logger.info(
            LINK_EVENT,
            direction=played.direction.value,
            device=played.device,
            ordered=ordered,
            link=str(spec),
            rate_bps=spec.rate_bps,
            mean_rate_bps=spec.mean_rate_bps,
            delay_s=spec.delay_s,
            jitter_s=spec.jitter_s,
            seed=self._seed,
            began_s=played.began_s,
            rates_before=played.rates_before,
            left_out=left_out,
            started_s=self._started_s,
            at_s=at_s,
        )


__all__ = ["EVERY_S", "MOST_AT_ONCE", "LinkTelling"]
