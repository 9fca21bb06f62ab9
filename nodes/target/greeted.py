"""Whose Hello a base station has taken: by connection, no more than MAX_PEERS.

Beyond that a connection of the key that has most of them makes room, so that whoever comes under ever new
connections pushes out its own. One that is forgotten says Hello again, as it is then told to.
"""

from typing import Final

from draftwire.runtime.security import key_of

MAX_PEERS: Final = 1024
"""Connections, of all devices."""


class Greeted:
    """Connection -> the hash of the set of tables agreed with it; None: plain rows."""

    def __init__(self) -> None:
        self._by_key: dict[str, dict[bytes, bytes | None]] = {}
        self._names: dict[bytes, str] = {}

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, peer: bytes) -> bool:
        return peer in self._names

    def tables(self, peer: bytes) -> bytes | None:
        """What was agreed with it; None, too, where it is not known."""
        key = self._names.get(peer)
        return None if key is None else self._by_key[key][peer]

    def add(self, peer: bytes, name: str, tables: bytes | None) -> None:
        """It has said Hello, just now."""
        self.remove(peer)
        if len(self._names) >= MAX_PEERS:
            most = max(self._by_key.values(), key=len)
            self.remove(next(iter(most)))
        key = self._names[peer] = key_of(name)
        self._by_key.setdefault(key, {})[peer] = tables

    def remove(self, peer: bytes) -> None:
        """It no longer agrees; nothing where it is not known."""
        key = self._names.pop(peer, None)
        if key is not None:
            del self._by_key[key][peer]
            if not self._by_key[key]:
                del self._by_key[key]


__all__ = ["MAX_PEERS", "Greeted"]
