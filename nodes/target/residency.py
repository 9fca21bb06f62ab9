"""Whose keys and values (KV) stay in the memory of the target's model: a budget of bytes, shared by devices.

A session reserves all that its request can come to take before it computes anything, so no pass can run out
of memory half-way. Where there is no room, the session that has been idle longest gives way: its log stays,
and its KV is computed anew when it goes on. Those that wait to go on are served before new requests, in the
order they came. No tensors, no clock.

**Shares.** A device's share are the sessions of its key that have memory, then those of its own name. Who
has less goes first, whoever came first; who has more takes from nobody who has less; and a device with two
sessions more than another gives one up to it, busy as it is. Each time the shares grow more equal, so this
comes to an end, and a device that opens all it can costs the others nothing that they need.
"""

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


class Residency:
    """The reserved bytes never exceed `budget`, in bytes; None: there is no bound."""

    def __init__(self, budget: int | None = None) -> None:
        self.budget = budget
        self._held: dict[Hashable, Claim] = {}
        self._waiting: dict[Hashable, Claim] = {}
        "in the order they came"

    @property
    def reserved(self) -> int:
        """Bytes."""
        return sum(claim.size for claim in self._held.values())

    @property
    def resident(self) -> Collection[Hashable]:
        """Sessions that have memory."""
        return self._held.keys()

    @property
    def waiting(self) -> int:
        """Sessions that want theirs back."""
        return len(self._waiting)

    def never(self, size: int) -> bool:
        """Whether so many bytes would not fit with all others gone."""
        return self.budget is not None and size > self.budget

    def release(self, key: Hashable) -> None:
        """Its memory is free. Idempotent."""
        self._held.pop(key, None)

    def recall(self, claims: Iterable[Claim], idle_s: Mapping[Hashable, float]) -> list[Grant]:
        """Memory for sessions that go on, for as many as have room; the others wait for their turn.

        `claims` are all that want theirs back now: who is not among them waits no longer. `idle_s`: of those
        whose memory could be taken, how long they have had neither a pass nor anything to do, in s.
        """
        wanted = {claim.key: claim for claim in claims}
        self._waiting = {key: wanted[key] for key in [*self._waiting, *wanted] if key in wanted}
        grants = list[Grant]()
        while self._waiting:
            claim = min(self._waiting.values(), key=lambda one: self.share(one.device))
            evicted = self._room_for(claim, idle_s)
            if evicted is None:
                break
            del self._waiting[claim.key]
            self._hold(claim, evicted)
            grants.append(Grant(claim.key, evicted))
        return grants

    def admit(self, claim: Claim, idle_s: Mapping[Hashable, float]) -> Grant | None:
        """Memory for a new session; None: there is none now."""
        share = self.share(claim.device)
        if any(self.share(one.device) <= share for one in self._waiting.values()):
            return None
        evicted = self._room_for(claim, idle_s)
        if evicted is None:
            return None
        self._hold(claim, evicted)
        return Grant(claim.key, evicted)

    def entitled(self, device: str) -> bool:
        """Whether another has so much more that it will give memory up to this one, when its pass is over."""
        own = [one for one in self._waiting.values() if key_of(one.device) == key_of(device)]
        having = [one.device for one in (*self._held.values(), *own)]
        return any(richer_by(other, device, having) >= 2 for other in set(having))

    def share(self, device: str) -> Share:
        """Of a device."""
        return share_of(device, (one.device for one in self._held.values()))

    def _hold(self, claim: Claim, evicted: Iterable[Hashable]) -> None:
        for key in evicted:
            del self._held[key]
        self._held[claim.key] = claim

    def _room_for(self, claim: Claim, idle_s: Mapping[Hashable, float]) -> list[Hashable] | None:
        """Who gives way, nobody unless it is enough."""
        if self.budget is None:
            return []
        lacking, evicted = self.reserved + claim.size - self.budget, list[Hashable]()
        left = dict(self._held)
        while lacking > 0:
            key = _victim(claim, left, idle_s)
            if key is None:
                return None
            lacking -= left.pop(key).size
            evicted.append(key)
        return evicted


def share_of(device: str, having: Iterable[str]) -> Share:
    """A device's share; `having`: the device of each session that counts."""
    same_key = [name for name in having if key_of(name) == key_of(device)]
    return Share(len(same_key), same_key.count(device))


def richer_by(device: str, other: str, having: Collection[str]) -> int:
    """How many sessions more the device has than another; of one key, by their own names alone."""
    mine, others = share_of(device, having), share_of(other, having)
    if key_of(device) == key_of(other):
        return mine.of_name - others.of_name
    return mine.of_key - others.of_key


def _victim(
    claim: Claim, held: Mapping[Hashable, Claim], idle_s: Mapping[Hashable, float]
) -> Hashable | None:
    """Whose memory the claim may have next, if anybody's: of the idle the longest, devices with more first;
    else of those that are busy the newest of the device that has most.
    """
    having = [one.device for one in held.values()]
    excess = {name: richer_by(name, claim.device, having) for name in set(having)}
    best, found = (False, False, -inf), None
    for place, (key, one) in enumerate(held.items()):
        if key not in idle_s:
            continue
        idle, greedy = idle_s[key] >= IDLE_S, excess[one.device] >= 2
        if not (greedy or (idle and excess[one.device] >= 0) or idle_s[key] == PARKED):
            continue
        rank = (idle, greedy, idle_s[key]) if idle else (idle, greedy, excess[one.device] * len(held) + place)
        if rank > best:
            best, found = rank, key
    return found


__all__ = ["IDLE_S", "PARKED", "Claim", "Grant", "Residency", "Share", "richer_by", "share_of"]
