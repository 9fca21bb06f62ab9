"""Whose keys and values (KV) stay in the memory of the target's model: a budget of bytes, shared by devices.

A session reserves all that its request can come to take before it computes anything, so no pass can run out
of memory half-way. Where there is no room, the session that has been idle longest gives way: its log stays,
and its KV is computed anew when it goes on. Of those that wait to go on, the device with the least goes
first, else who came first; and they go before new requests of devices that have as much. No tensors, no
clock.

**Shares.** What a device has are the sessions of its key that have memory, then those of its own name. Who
has more takes from nobody who has less; and a device with two sessions more than another gives one up to it,
busy as it is. Each time the shares grow more equal, so this comes to an end, and a device that opens all it
can costs the others nothing that they need.
"""

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple

from draftwire.runtime.security import key_of

IDLE_S: Final = 1.0
"""Without a pass for so long, and with nothing to do now, a session may lose its memory to any other."""

PARKED: Final = inf
"""Idle for so long is one whose device may have gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Memory that a session wants, or has."""

    key: Hashable
    "tells sessions apart"
    device: str
    size: int
    "bytes: the most that it can come to take"


class Grant(NamedTuple):
    """Memory for a session."""

    key: Hashable
    evicted: list[Hashable]
    "whose it was, until now"


class Share(NamedTuple):
    """What a device has, beside all of its key; compared in this order."""

    of_key: int
    of_name: int


class Shares:
    """How many sessions each key has, and each name below it."""

    def __init__(self, devices: Iterable[str] = ()) -> None:
        """`devices`: that of each session."""
        names = list(devices)
        self._of_name, self._of_key = Counter(names), Counter(map(key_of, names))

    def add(self, device: str) -> None:
        """One session more."""
        self._of_name[device] += 1
        self._of_key[key_of(device)] += 1

    def remove(self, device: str) -> None:
        """One session less."""
        for counts, name in ((self._of_name, device), (self._of_key, key_of(device))):
            counts[name] -= 1
            if not counts[name]:
                del counts[name]

    def of(self, device: str) -> Share:
        """A device's."""
        return Share(self._of_key[key_of(device)], self._of_name[device])

    def excess(self, device: str, other: str) -> int:
        """How many sessions more the device has than another; of one key, by their own names alone."""
        mine, others = self.of(device), self.of(other)
        if key_of(device) == key_of(other):
            return mine.of_name - others.of_name
        return mine.of_key - others.of_key


class Residency:
    """The reserved bytes never exceed `budget`, in bytes; None: there is no bound."""

    def __init__(self, budget: int | None = None) -> None:
        self.budget = budget
        self.reserved = 0
        "bytes"
        self.shares = Shares()
        "of those that have memory"
        self._held: dict[Hashable, Claim] = {}
        self._waiting: dict[Hashable, Claim] = {}
        "in the order they came"

    @property
    def resident(self) -> Collection[Hashable]:
        """Sessions that have memory."""
        return self._held.keys()

    @property
    def waiting(self) -> int:
        """Sessions that want theirs back, or have been promised some."""
        return len(self._waiting)

    def never(self, size: int) -> bool:
        """Whether so many bytes would not fit with all others gone."""
        return self.budget is not None and size > self.budget

    def has_room(self, size: int) -> bool:
        """Whether so many bytes are free."""
        return self.budget is None or self.reserved + size <= self.budget

    def release(self, key: Hashable) -> None:
        """Its memory is free. Idempotent."""
        if key in self._held:
            claim = self._held.pop(key)
            self.reserved -= claim.size
            self.shares.remove(claim.device)

    def recall(self, claims: Iterable[Claim], idle_s: Mapping[Hashable, float]) -> list[Grant]:
        """Memory for sessions that go on, for as many as have room; the others wait for their turn.

        `claims` are all that want theirs back now: who is not among them waits no longer. `idle_s`: of those
        whose memory could be taken, how long they have had neither a pass nor anything to do, in s.
        """
        wanted = {claim.key: claim for claim in claims}
        self._waiting = {key: wanted[key] for key in [*self._waiting, *wanted] if key in wanted}
        grants = list[Grant]()
        while self._waiting:
            claim = min(self._waiting.values(), key=lambda one: self.shares.of(one.device))
            evicted = self._room_for(claim, idle_s)
            if evicted is None:
                break
            del self._waiting[claim.key]
            self._hold(claim, evicted)
            grants.append(Grant(claim.key, evicted))
        return grants

    def admit(self, claim: Claim, idle_s: Mapping[Hashable, float]) -> Grant | None:
        """Memory for a new session; None: there is none now."""
        share = self.shares.of(claim.device)
        if any(self.shares.of(one.device) <= share for one in self._waiting.values()):
            return None
        evicted = self._room_for(claim, idle_s)
        if evicted is None:
            return None
        self._hold(claim, evicted)
        return Grant(claim.key, evicted)

    def promise(self, claim: Claim, idle_s: Mapping[Hashable, float]) -> bool:
        """Whether a new session will have memory as soon as the pass under way is over; then it waits for it.

        Those in the pass can give theirs up then: to all who wait already, by turns, and then to this one.
        """
        later = Residency(self.budget)
        for one in self._held.values():
            later._hold(one, ())
        later.recall([*self._waiting.values(), claim], dict.fromkeys(self._held, 0.0) | dict(idle_s))
        if claim.key in later.resident:
            self._waiting[claim.key] = claim
        return claim.key in later.resident

    def _hold(self, claim: Claim, evicted: Iterable[Hashable]) -> None:
        for key in evicted:
            self.release(key)
        self._held[claim.key] = claim
        self.reserved += claim.size
        self.shares.add(claim.device)

    def _room_for(self, claim: Claim, idle_s: Mapping[Hashable, float]) -> list[Hashable] | None:
        """Who gives way, nobody unless it is enough."""
        if self.has_room(claim.size):
            return []
        assert self.budget is not None
        lacking, evicted = self.reserved + claim.size - self.budget, list[Hashable]()
        left = {key: one for key, one in self._held.items() if key in idle_s}
        shares = Shares(one.device for one in self._held.values())
        while lacking > 0:
            key = _victim(claim, left, idle_s, shares)
            if key is None:
                return None
            one = left.pop(key)
            shares.remove(one.device)
            lacking -= one.size
            evicted.append(key)
        return evicted


def _victim(
    claim: Claim, held: Mapping[Hashable, Claim], idle_s: Mapping[Hashable, float], shares: Shares
) -> Hashable | None:
    """Whose memory the claim may have next, if anybody's: of the idle the longest, devices with more first;
    else of those that are busy the newest of the device that has most.
    """
    best, found = (False, False, -inf, 0), None
    for place, (key, one) in enumerate(held.items()):
        excess = shares.excess(one.device, claim.device)
        idle, greedy = idle_s[key] >= IDLE_S, excess >= 2
        if not (greedy or (idle and excess >= 0) or idle_s[key] == PARKED):
            continue
        rank = (idle, greedy, idle_s[key], 0) if idle else (idle, greedy, excess, place)
        if rank > best:
            best, found = rank, key
    return found


__all__ = ["IDLE_S", "PARKED", "Claim", "Grant", "Residency", "Share", "Shares"]
