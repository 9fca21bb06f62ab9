"""Who is connected to a channel: no more than may be, and each key has its own place.

A place is a key's, the name up to a `/`: under however many names one device comes, it takes none of another.
"""

import asyncio
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Final

from draftwire.nodes.channel.way import Way
from draftwire.runtime.security import key_of
from draftwire.runtime.transport import Endpoint

IDLE_S: Final = 60.0
"""A device unheard of for this long gives up its place when another needs one; a connection, its files when
its device has made a new one."""

MAX_CONNECTIONS: Final = 4
"""Of one key: a process that was started again leaves its old one behind, so the oldest gives way. A key of
many devices has more, see ChannelNode."""

FILES_A_CONNECTION: Final = 5
"""Open files: the device's socket, and four for the connection to the BS."""

FILES_BESIDE: Final = 64
"""Open files of a channel without devices, and some to spare."""


@dataclass(slots=True, kw_only=True)
class Connection:
    """Of a device: what it sends goes on by `upstream`."""

    name: str
    uplink: Way
    upstream: Endpoint
    heard_s: float
    listening: asyncio.Task[None]


class Places:
    """At most `most` keys, with at most `each` connections."""

    def __init__(self, most: int, *, each: int = MAX_CONNECTIONS) -> None:
        self._most, self._each = most, each
        self._connections: dict[bytes, Connection] = {}
        self._by_key: dict[str, list[bytes]] = {}
        self._full_until_s = -inf
        "before it no key is idle: who is refused costs no search"

    def __len__(self) -> int:
        """Connections."""
        return len(self._connections)

    def __iter__(self) -> Iterator[tuple[bytes, Connection]]:
        return iter(self._connections.items())

    def get(self, peer: bytes) -> Connection | None:
        """A device's connection, where it has been joined to the BS."""
        return self._connections.get(peer)

    def add(self, peer: bytes, connection: Connection) -> None:
        """Of a peer that has a place, see `in_the_way`."""
        self._connections[peer] = connection
        self._by_key.setdefault(key_of(connection.name), []).append(peer)

    def remove(self, peer: bytes) -> Connection:
        """It is no more."""
        connection = self._connections.pop(peer)
        key = key_of(connection.name)
        self._by_key[key].remove(peer)
        if not self._by_key[key]:
            del self._by_key[key]
        return connection

    def has(self, name: str) -> bool:
        """Whether a connection has this name."""
        return any(self._connections[peer].name == name for peer in self._by_key.get(key_of(name), ()))

    def in_the_way(self, name: str, now_s: float) -> list[bytes] | None:
        """Whose removal makes room for one more connection of this name; None: nothing does."""
        own = self._by_key.get(key_of(name))
        if own:
            excess = max(0, len(own) - self._each + 1)
            oldest = sorted(own, key=lambda peer: self._connections[peer].heard_s)
            return oldest[:excess] + [one for one in oldest[excess:] if self._left(one, name, now_s)]
        if len(self._by_key) < self._most:
            return []
        if now_s < self._full_until_s:
            return None
        idlest = min(self._by_key, key=self._heard_s)
        self._full_until_s = self._heard_s(idlest) + IDLE_S
        return None if now_s < self._full_until_s else list(self._by_key[idlest])

    def _heard_s(self, key: str) -> float:
        return max(self._connections[peer].heard_s for peer in self._by_key[key])

    def _left(self, peer: bytes, name: str, now_s: float) -> bool:
        """Whether an earlier process of this name has left the connection behind."""
        one = self._connections[peer]
        return one.name == name and now_s - one.heard_s >= IDLE_S


def files_lacking(max_devices: int, *, each: int = MAX_CONNECTIONS) -> tuple[int, int] | None:
    """How many files this process may open, and how many so many devices need, each starting anew at times,
    and one of them with `each` connections; None: there are enough.
    """
    may, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = FILES_BESIDE + FILES_A_CONNECTION * (2 * max_devices + max(0, each - MAX_CONNECTIONS))
    return None if may in (resource.RLIM_INFINITY, -1) or may >= need else (may, need)


__all__ = [
    "FILES_A_CONNECTION",
    "FILES_BESIDE",
    "IDLE_S",
    "MAX_CONNECTIONS",
    "Connection",
    "Places",
    "files_lacking",
]
