"""How fast a device may open requests.

To take an Open costs a base station 0.4 ms, and 1 to 2.4 us for each token it carries, in hashes of the log:
up to 0.6 s for the longest, in which nobody is served. So each device has a budget of tokens, by its key; who
has spent it is told to ask again when there is some. To be looked at costs each Open A_REQUEST and an eighth
of its tokens, which is what reading it takes, one that only repeats another too; one that begins a request
costs all of its tokens besides. Pure: the time is an argument.

Whoever asks again when it was told to is refused as often as it must be. What comes before that has a budget
of its own, as large, and beyond it is an offence.
"""

from math import ceil
from typing import Final, NamedTuple

from draftwire.codecs.limits import MAX_TOKENS
from draftwire.codecs.messages import Open, Reason, Refused
from draftwire.runtime.budgets import MOST_KEYS, Budgets
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

ASKED_ONCE: Final = 16
"""One of so many tokens' worth is, of what may come untold, an Open that was not told anything yet: hundreds
of devices of one key may come back to a base station that started anew, each with a long log."""

MOST_TOLD: Final = MOST_KEYS
"""Requests of which is remembered when they were told to ask again; the oldest may ask at once."""


class _Told(NamedTuple):
    again_s: float
    offends: bool
    "it came before it was told to, and more came so than may"


class Openings:
    """Of all devices."""

    def __init__(self) -> None:
        self._taken = Budgets(rate=TOKENS_A_S, burst=BURST_TOKENS)
        self._untold = Budgets(rate=TOKENS_A_S, burst=BURST_TOKENS, debt=BURST_TOKENS)
        self._told: dict[tuple[str, int], _Told] = {}

    def wait_s(self, device: str, tokens: int, now_s: float) -> float:
        """How long until the device may open a request with a log of so many tokens; 0: it may.

        Never less than such a log is worth: so one that always asks when it may costs no more than its rate.
        """
        ahead_s = self._taken.wait_s(key_of(device), now_s)
        return max(LEAST_WAIT_S, ahead_s, tokens / TOKENS_A_S) if ahead_s else 0.0

    def look_at(self, device: str, number: int, opened: Open, now_s: float) -> Refused | None:
        """An Open of request `number` has come, and costs what it takes to look at it; else why not now."""
        key, request, tokens = key_of(device), (device, number), len(opened.tokens)
        wait_s = self.wait_s(device, tokens, now_s)
        if not wait_s:
            self._told.pop(request, None)
            self._taken.spend(key, A_REQUEST + tokens // LOOKED_AT, now_s)
            return None
        told = self._told.get(request)
        hasty = told is not None and now_s < told.again_s
        if hasty or told is None:
            self._untold.spend(key, A_REQUEST + (tokens if hasty else tokens // ASKED_ONCE), now_s)
        offends = (hasty or told is None) and self._untold.left(key, now_s) < 0
        retry_ms = ceil(1e3 * wait_s)
        remember(self._told, request, _Told(now_s + retry_ms / 1e3, offends), most=MOST_TOLD)
        detail = f"{key} opens requests faster than they can be taken: ask again in {wait_s:.1f} s"
        return Refused(reason=Reason.BUSY, detail=detail, device_try=opened.device_try, retry_ms=retry_ms)

    def begins(self, device: str, tokens: int, now_s: float) -> None:
        """A log of so many tokens is taken from an Open."""
        self._taken.spend(key_of(device), tokens, now_s)

    def offends(self, device: str, number: int) -> bool:
        """Whether the last Open of a request came before it was told to, and too much of its key did."""
        told = self._told.get((device, number))
        return told is not None and told.offends


__all__ = [
    "ASKED_ONCE",
    "A_REQUEST",
    "BURST_TOKENS",
    "LEAST_WAIT_S",
    "LOOKED_AT",
    "MOST_TOLD",
    "TOKENS_A_S",
    "Openings",
]
