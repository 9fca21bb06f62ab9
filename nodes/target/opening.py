"""How fast a device may open requests.

To take an Open costs a base station 0.4 ms, and 1 to 2.4 us for each token it carries, in hashes of the log:
up to 0.6 s for the longest, in which nobody is served. So each device has a budget of tokens, by its key; who
has spent it is told to ask again when there is some. An Open that only repeats one costs an eighth, which is
what reading it does. Pure: the time is an argument.
"""

from typing import Final

from draftwire.codecs.limits import MAX_TOKENS
from draftwire.codecs.messages import Open, Reason, Refused
from draftwire.runtime.memory import remember
from draftwire.runtime.security import key_of

TOKENS_A_S: Final = 16_384
"""4 % of the loop. A prompt of 2000 tokens every eighth of a second."""

A_REQUEST: Final = 256
"""As many tokens is an Open worth, however short: 64 of them a second."""

LOOKED_AT: Final = 8
"""One of so many tokens' worth is what it takes to look at an Open, whatever comes of it."""

BURST_TOKENS: Final = MAX_TOKENS
"""At once: the longest prompt there is, or a thousand devices of one key that come back together."""

LEAST_WAIT_S: Final = 0.5
"""A device that is told to wait for less comes back for nothing."""

MOST_REFUSED: Final = 1024
"""Opens beyond the budget that are still no offence: as many devices of one key, each of which asks once. One
with more than A_REQUEST tokens counts as several."""

FORGIVEN_AN_OPEN: Final = 16
"""Of those, for each Open within the budget: whoever sends 30 times what is taken is found in a second."""

MAX_DEVICES: Final = 4096
"""Whose budgets are remembered; the oldest is full again."""


class Openings:
    """Of all devices. A budget is kept as the time by which what was opened would have come at its rate."""

    def __init__(self) -> None:
        self._until_s: dict[str, float] = {}
        self._refused: dict[str, int] = {}

    def wait_s(self, device: str, now_s: float) -> float:
        """How long until the device may open a request; 0: it may."""
        ahead_s = self._until_s.get(key_of(device), now_s) - now_s - BURST_TOKENS / TOKENS_A_S
        return max(LEAST_WAIT_S, ahead_s) if ahead_s > 0 else 0.0

    def read(self, device: str, tokens: int, now_s: float) -> None:
        """The log of one has been taken from its Open."""
        self._spend(device, tokens, now_s)

    def offends(self, device: str) -> bool:
        """Whether its last refusal was one of too many, so that it does not do as it is told."""
        return self._refused.get(key_of(device), 0) > MOST_REFUSED

    def refusal(self, device: str, opened: Open, now_s: float) -> Refused | None:
        """Why an Open is not looked at now; None: it is, and that has been counted."""
        wait_s, key = self.wait_s(device, now_s), key_of(device)
        refused = self._refused.get(key, 0)
        weight = 1 + len(opened.tokens) // A_REQUEST
        refused = refused + weight if wait_s else max(0, refused - FORGIVEN_AN_OPEN)
        remember(self._refused, key, refused, most=MAX_DEVICES)
        if not wait_s:
            self._spend(device, A_REQUEST + len(opened.tokens) // LOOKED_AT, now_s)
            return None
        detail = f"{key} opens requests faster than they can be taken: ask again in {wait_s:.1f} s"
        return Refused(
            reason=Reason.BUSY, detail=detail, device_try=opened.device_try, retry_ms=round(1e3 * wait_s)
        )

    def _spend(self, device: str, tokens: int, now_s: float) -> None:
        key = key_of(device)
        until_s = max(self._until_s.get(key, now_s), now_s) + tokens / TOKENS_A_S
        remember(self._until_s, key, until_s, most=MAX_DEVICES)


__all__ = [
    "A_REQUEST",
    "BURST_TOKENS",
    "FORGIVEN_AN_OPEN",
    "LEAST_WAIT_S",
    "LOOKED_AT",
    "MAX_DEVICES",
    "MOST_REFUSED",
    "TOKENS_A_S",
    "Openings",
]
