"""What enters the target's next pass, of all that wait for one.

A pass takes a step of every session that has one to do: its drafts, or one token for a target that decodes
alone. Beside them it reads a piece of prompts, bounded so that nobody waits for a long one. Where not all
have room, devices take turns by weight, in steps and in reading each for itself: whoever has had the fewest
positions for its weight comes first. No tensors, no clock, no session.
"""

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

from draftwire.runtime.memory import remember

MOST_ROWS: Final = 256
"""Positions of the steps in a pass: beyond it a pass takes longer for each."""

CHUNK: Final = 48
"""Positions of prompts beside steps: a pass over 16 blocks takes about 1.3 times as long with them."""

CHUNK_BETWEEN: Final = 128
"""The same where no step waits, but one may come at any time."""

CHUNK_ALONE: Final = 512
"""The same where there is nobody else."""

MAX_DEVICES: Final = 4096
"""Whose turns are remembered while not all have room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What a session would do in a pass now."""

    key: Hashable
    "tells sessions apart"
    device: str
    "turns are counted by it, however many sessions it has"
    unread: int = 0
    "tokens to be computed before its step: of a prompt, or of a log whose cache was dropped"
    rows: int = 0
    "positions of its step; 0: none now"
    weight: float = 1.0
    "of its device, > 0"


class Part(NamedTuple):
    """What of a session enters a pass."""

    key: Hashable
    rows: int
    reads: bool
    "whether the rows are of its unread tokens, and not its step"


class Batcher:
    """See above."""

    def __init__(self) -> None:
        self._steps, self._reads = _Turns(), _Turns()

    def choose(self, waiting: Sequence[Waiting], *, others: bool) -> list[Part]:
        """The next pass, empty if nobody waits; `others`: whether more sessions than these are under way."""
        steps = self._steps.take([one for one in waiting if one.rows and not one.unread], MOST_ROWS)
        room = CHUNK if steps else CHUNK_BETWEEN if others or len(waiting) > 1 else CHUNK_ALONE
        return steps + self._reads.take([one for one in waiting if one.unread], room)


class _Turns:
    """Start-time fair queueing (Goyal et al. 1996), a pass at a time, where not all have room.

    A device's `had` are its positions by its weight, in passes that had no room for all. One that comes, or
    comes back, begins level with the worst served of those who wait, and no device is ever further ahead of
    these than two passes are worth: nobody lives on a lead, or pays for long for what others left over.
    """

    def __init__(self) -> None:
        self._had: dict[str, float] = {}
        self._level = 0.0
        "of the worst served of those who were left waiting"
        self._since: dict[Hashable, int] = {}
        "since which pass a session has waited"
        self._passes = 0

    def take(self, waiting: Sequence[Waiting], room: int) -> list[Part]:
        """Who has a turn in a pass of so many positions: steps as a whole, the first whatever it takes."""
        self._passes += 1
        self._since = {one.key: self._since.get(one.key, self._passes) for one in waiting}
        parts, left = [_part(one, room) for one in waiting], list[Waiting]()
        if sum(_size(one) for one in waiting) > room:
            parts, left = self._by_turns(waiting, room)
        for part in parts:
            del self._since[part.key]
        self._level = min((self._share(one.device) for one in left), default=self._level)
        self._had = {device: had for device, had in self._had.items() if had > self._level}
        return parts

    def _by_turns(self, waiting: Sequence[Waiting], room: int) -> tuple[list[Part], list[Waiting]]:
        """Those served, and those of whom something is left."""
        order = sorted(waiting, key=lambda one: (self._since[one.key], _size(one)))
        queues: dict[str, deque[Waiting]] = {}
        for one in order:
            queues.setdefault(one.device, deque()).append(one)
        # Of devices that are level the one goes first whose session has waited longest.
        turns = [(self._share(device), place, device) for place, device in enumerate(queues)]
        heapify(turns)
        parts, left, most = list[Part](), list[Waiting](), 2 * room
        while turns:
            _, place, device = heappop(turns)
            one = queues[device].popleft()
            if room > 0 and (one.unread or one.rows <= room or not parts):
                part = _part(one, room)
                parts.append(part)
                room -= part.rows
                had = min(self._share(device) + part.rows / one.weight, self._level + most / one.weight)
                remember(self._had, device, had, most=MAX_DEVICES)
                if part.rows < _size(one):
                    left.append(one)
            else:
                left.append(one)
            if queues[device]:
                heappush(turns, (self._share(device), place, device))
        return parts, left

    def _share(self, device: str) -> float:
        return max(self._had.get(device, 0.0), self._level)


def _size(one: Waiting) -> int:
    return one.unread or one.rows


def _part(one: Waiting, room: int) -> Part:
    """A step as a whole, or as much as there is room to read."""
    return Part(one.key, min(one.unread, room) if one.unread else one.rows, bool(one.unread))


__all__ = ["CHUNK", "CHUNK_ALONE", "CHUNK_BETWEEN", "MOST_ROWS", "Batcher", "Part", "Waiting"]
