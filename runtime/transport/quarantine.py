"""What a bound endpoint takes from one sender: a budget, and quarantine for who does what honest nodes don't.

A sender is a key, or below a key that vouches for devices a device, or without keys a connection. It may send
so much at a time while there are others. What is above that is dropped before anybody reads it, and weighs a
little; what no honest node sends weighs more. Weight is forgiven with time, and with each message that is
taken. Above BORNE the sender is in quarantine, in which nothing of it is taken: first for QUARANTINE_S[0],
each time twice as long, and half as long again for each GOOD_S without one.

Pure: the time is an argument, and never goes back.
"""

from collections.abc import Callable, Hashable
from itertools import islice
from math import inf
from types import MappingProxyType
from typing import Final

from draftwire.codecs.errors import Refusal
from draftwire.runtime.memory import remember
from draftwire.runtime.transport.base import DropReason, Offence

MESSAGES_A_S: Final = 2000
"""Of one sender, while there are others: what no device needs. The smallest messages come one for each
drafted token, and a draft model takes a millisecond for one; the largest, rows of 4096 entries one by one
(6.7 kB), fill a link of 100 Mbit/s with 1870. A base station takes 20 to 130 us for a small one."""

BURST_MESSAGES: Final = 512
"""At once: as many as an endpoint queues for a peer."""

BYTES_A_S: Final = 12_500_000
"""Of one sender, likewise: a link of 100 Mbit/s carries no more. The costliest take 0.03 us a byte."""

BURST_BYTES: Final = 2**22
"""At once, 4 MiB: a dozen blocks of 32 rows of 4096 entries (0.26 MB), or four frames as long as can be."""

COMPANY_S: Final = 10.0
"""Whoever was heard within this time counts among the others: a device says something every few seconds."""

BORNE: Final = 10.0

WEIGHT: Final = MappingProxyType(
    {
        Offence.DAMAGED: 0.02,
        Offence.FLOOD: 0.02,
        Offence.FOREIGN: 0.5,
        Offence.MALFORMED: 1.0,
        Offence.MISPLACED: 1.0,
        Offence.IMPOSTOR: 1.0,
        Offence.FRAMES: 1.0,
        Offence.ENDLESS: 2 * BORNE,
    }
)
"""Damage weighs less than each message forgives, so that a link that damages all of them brings nobody here.
FOREIGN may be damage as well, of the first byte: one in 26, the shortest frame's, so that each weighs 0.039.
ENDLESS is nobody's mistake, and costs memory: once is enough, whatever was forgiven before."""

FORGIVEN_A_MESSAGE: Final = 0.05
"""For each that is taken. Who sends 3.5 times its budget, without a pause, comes here."""

FORGIVEN_A_S: Final = 1.0
"""A device with another's key asks every second at most, and hears why each time. So does one of an older
version, which hears nothing."""

QUARANTINE_S: Final = (2.0, 60.0)
"""First and longest."""

GOOD_S: Final = 60.0

LOOKED_S: Final = 0.01
"""Whether there are others is looked up again after this time: a look costs microseconds for each of them."""

MOST_SENDERS: Final = 4096
"""Remembered; the oldest begins anew."""

_HALVINGS: Final = 16
"""More make no difference, and 2 to their power would have no end."""

_MESSAGE_S: Final = 1 / MESSAGES_A_S
_BYTE_S: Final = 1 / BYTES_A_S
_MESSAGES_AHEAD_S: Final = BURST_MESSAGES * _MESSAGE_S
_BYTES_AHEAD_S: Final = BURST_BYTES * _BYTE_S


class Sender:
    """One of those at an endpoint. A budget is kept as the time by which what was taken would have come, had
    it come at its rate: that may lie so far ahead as a burst is long.
    """

    __slots__ = (
        "_alone",
        "_burden",
        "_burden_at_s",
        "_bytes_until_s",
        "_messages_until_s",
        "_next_s",
        "_taken",
        "dropped",
        "heard_s",
        "name",
        "until_s",
    )

    def __init__(self, name: str, *, alone: Callable[["Sender", float], bool]) -> None:
        self.name: Final = name
        "for people"
        self.heard_s = -inf
        "when a message of it last came"
        self.until_s = -inf
        "the end of its newest quarantine"
        self.dropped = 0
        "messages, in its newest quarantine"
        self._alone = alone
        self._messages_until_s = self._bytes_until_s = -inf
        self._burden, self._burden_at_s, self._taken = 0.0, -inf, 0
        self._next_s = QUARANTINE_S[0]

    def drops(self, size: int, now_s: float) -> DropReason | None:
        """Why the message of `size` bytes that came now is dropped; None: it is taken."""
        self.heard_s = now_s
        if now_s < self.until_s:
            self.dropped += 1
            return DropReason.QUARANTINED
        bytes_s, messages_s = self._bytes_until_s, self._messages_until_s
        bytes_s = (bytes_s if bytes_s > now_s else now_s) + size * _BYTE_S
        messages_s = (messages_s if messages_s > now_s else now_s) + _MESSAGE_S
        if messages_s > now_s + _MESSAGES_AHEAD_S or bytes_s > now_s + _BYTES_AHEAD_S:
            if not self._alone(self, now_s):
                return DropReason.FLOOD
            messages_s = min(messages_s, now_s + _MESSAGES_AHEAD_S)
            bytes_s = min(bytes_s, now_s + _BYTES_AHEAD_S)
        self._bytes_until_s, self._messages_until_s = bytes_s, messages_s
        self._taken += 1
        return None

    def listened_to(self, now_s: float) -> bool:
        """Whether the message that came now is taken; no budget is kept."""
        if now_s < self.until_s:
            self.dropped += 1
            return False
        self._taken += 1
        return True

    def offends(self, offence: Offence, now_s: float) -> float | None:
        """For how long it is in quarantine from now on, by this offence; None: it is not, or was already."""
        if now_s < self.until_s:
            return None
        forgiven = self._taken * FORGIVEN_A_MESSAGE
        if self._burden:  # else the time since may be without end
            forgiven += (now_s - self._burden_at_s) * FORGIVEN_A_S
        self._burden = max(0.0, self._burden - forgiven) + WEIGHT[offence]
        self._burden_at_s, self._taken = now_s, 0
        if self._burden <= BORNE:
            return None
        first_s, longest_s = QUARANTINE_S
        good = (now_s - self.until_s) / GOOD_S
        lasts_s = max(first_s, self._next_s / 2 ** min(int(good), _HALVINGS)) if good < inf else first_s
        self.until_s, self._next_s = now_s + lasts_s, min(2 * lasts_s, longest_s)
        self.dropped, self._burden = 0, 0.0
        self._messages_until_s = self.until_s + _MESSAGES_AHEAD_S  # it comes back without a burst
        self._bytes_until_s = self.until_s + _BYTES_AHEAD_S
        return lasts_s


def offence_in(refusal: Refusal) -> Offence | None:
    """What it says of a sender that its bytes are refused for this; None: nothing, honest ones do so too."""
    match refusal:
        case Refusal.CHECKSUM:
            return Offence.DAMAGED
        case Refusal.VERSION:
            return Offence.FOREIGN
        case Refusal.TABLES | Refusal.VOCABULARY:
            return None  # agreed with another life of this node
        case _:
            return Offence.MALFORMED


class Senders:
    """All of an endpoint."""

    def __init__(self) -> None:
        self._senders: dict[Hashable, Sender] = {}
        self._looked_s = -inf
        self._heard: list[Sender] = []
        "lately, as it was when somebody last looked"

    def __len__(self) -> int:
        return len(self._senders)

    def of(self, who: Hashable, name: str) -> Sender:
        """The sender known by `who`; `name` is for people."""
        sender = self._senders.get(who)
        if sender is None:
            sender = Sender(name, alone=self._alone)
            remember(self._senders, who, sender, most=MOST_SENDERS)
        return sender

    def _alone(self, sender: Sender, now_s: float) -> bool:
        """Whether no other was heard lately. One in quarantine is no other."""
        if now_s - self._looked_s >= LOOKED_S:
            self._looked_s = now_s
            heard = (one for one in self._senders.values() if one.until_s <= now_s < one.heard_s + COMPANY_S)
            self._heard = list(islice(heard, 2))  # any two
        return all(one is sender for one in self._heard)


__all__ = [
    "BORNE",
    "BURST_BYTES",
    "BURST_MESSAGES",
    "BYTES_A_S",
    "COMPANY_S",
    "FORGIVEN_A_MESSAGE",
    "FORGIVEN_A_S",
    "GOOD_S",
    "MESSAGES_A_S",
    "MOST_SENDERS",
    "QUARANTINE_S",
    "WEIGHT",
    "Sender",
    "Senders",
    "offence_in",
]
