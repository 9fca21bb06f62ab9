"""Who sends in a slot of a cell: among those who have something to send, and could send it in this slot.

    round-robin          the device that has had the least air time, each divided by its weight
    proportional-fair    the device whose weight x r / average is the largest: r, what it would send in this
                         slot; average, what it has sent in a slot lately

Over links that do not vary both give each device its weight's share of the air. Where links fade by
themselves, proportional fair sends on each while it is good, and so all of them get more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

AVERAGED_SLOTS: Final = 100
"""The average is exponential, and looks back so far."""

_KEPT: Final = 1 - 1 / AVERAGED_SLOTS
_LEAST_BITS: Final = 1e-9
"""Beside an average, which is 0 at first."""


class Scheduler(StrEnum):
    """How a cell shares its slots."""

    PROPORTIONAL_FAIR = "proportional-fair"
    ROUND_ROBIN = "round-robin"


@dataclass(slots=True, kw_only=True)
class Standing:
    """Of one device: what a scheduler remembers."""

    weight: float
    turn: int = 0
    "the count of turns when it had its last one; 0: none yet"
    had: float = 0.0
    "slots of air time by its weight; round robin"
    average_bits: float = 0.0
    "in a slot; proportional fair"
    sent_bits: float = 0.0
    "since `slot`, not in the average yet"
    slot: int = 0
    "up to which the average counts"


Claim = tuple[Standing, float]
"""Who could send, and how many bits in a whole slot; 0: none."""


class SlotRule(Protocol):
    """A scheduler at work. Slots are numbered; none comes before the last one."""

    def join(self, standing: Standing, slot: int) -> None:
        """It has something to send now, and had nothing."""
        ...

    def choose(self, claims: Sequence[Claim], slot: int) -> Standing | None:
        """Who sends next; None: nobody can. Of equals whoever waits longest, then the first."""
        ...

    def served(self, standing: Standing, *, slots: float, bits: float) -> None:
        """It has had the air for so long, whole slots or parts of one, beside others who wait for it; 0 where
        nobody did.
        """
        ...


class RoundRobin:
    """The least air time by weight comes first; who had nothing to send, or could send nothing, is owed
    nothing for that.
    """

    def __init__(self) -> None:
        self._turns = 0
        self._least = 0.0
        "what whoever was chosen last had had"

    def join(self, standing: Standing, slot: int) -> None:
        standing.had = max(standing.had, self._least)

    def choose(self, claims: Sequence[Claim], slot: int) -> Standing | None:
        chosen: Standing | None = None
        for one, bits in claims:
            if bits > 0 and (chosen is None or (one.had, one.turn) < (chosen.had, chosen.turn)):
                chosen = one
        if chosen is None:
            return None
        self._turns += 1
        chosen.turn, self._least = self._turns, chosen.had
        for one, bits in claims:
            if bits <= 0 and one.had < self._least:
                one.had = self._least
        return chosen

    def served(self, standing: Standing, *, slots: float, bits: float) -> None:
        standing.had += slots / standing.weight


class ProportionalFair:
    """The largest weight x r / average comes first."""

    def __init__(self) -> None:
        self._turns = 0

    def join(self, standing: Standing, slot: int) -> None:
        _count(standing, slot)

    def choose(self, claims: Sequence[Claim], slot: int) -> Standing | None:
        chosen: Standing | None = None
        best = 0.0
        for one, bits in claims:
            if one.slot != slot:
                _count(one, slot)
            if bits <= 0:
                continue
            merit = one.weight * bits / (one.average_bits + _LEAST_BITS)
            if chosen is None or merit > best or (merit == best and one.turn < chosen.turn):
                chosen, best = one, merit
        if chosen is not None:
            self._turns += 1
            chosen.turn = self._turns
        return chosen

    def served(self, standing: Standing, *, slots: float, bits: float) -> None:
        standing.sent_bits += bits


def _count(standing: Standing, slot: int) -> None:
    """Take what was sent into the average, as if sent evenly over the slots since the last time."""
    slots = slot - standing.slot
    if slots <= 0:
        return
    kept = _KEPT if slots == 1 else _KEPT**slots
    standing.average_bits = kept * standing.average_bits + (1 - kept) * standing.sent_bits / slots
    standing.sent_bits, standing.slot = 0.0, slot


def rule_of(scheduler: Scheduler) -> SlotRule:
    """A new one at work."""
    return RoundRobin() if scheduler is Scheduler.ROUND_ROBIN else ProportionalFair()


__all__ = [
    "AVERAGED_SLOTS",
    "Claim",
    "ProportionalFair",
    "RoundRobin",
    "Scheduler",
    "SlotRule",
    "Standing",
    "rule_of",
]
