"""Values by name. One key, below which names are free, never takes the room of the others. Pure.

A key has as many names as there is room for: those of a device with a `count` are many, and all of them below
one. Once there is none, it is the key with the most names that gives one up.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

from draftwire.runtime.security import key_of

V = TypeVar("V")


class Names(Generic[V]):
    """The name put last is at the end."""

    def __init__(self, most: int) -> None:
        """`most`: names, of all keys."""
        self._most = most
        self._values = dict[str, V]()
        self._of_key = Counter[str]()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    @property
    def values(self) -> Mapping[str, V]:
        """All of them, the one put longest ago first."""
        return MappingProxyType(self._values)

    @property
    def is_full(self) -> bool:
        """Whether one more takes another's room."""
        return len(self._values) >= self._most

    def get(self, name: str) -> V | None:
        """None: it is not there."""
        return self._values.get(name)

    def newest(self) -> str | None:
        """The name put last; None: there is none."""
        return next(reversed(self._values), None)

    def put(self, name: str, value: V) -> None:
        """Set it, at the end. Beyond the most, the key with the most names loses the one put longest ago."""
        if self._values.pop(name, None) is None:
            self._of_key[key_of(name)] += 1
        self._values[name] = value
        if len(self._values) > self._most:
            self.drop(self._of_the_largest())

    def drop(self, name: str) -> None:
        """Forget one that is there."""
        self._of_key[key_of(name)] -= 1
        if not self._of_key[key_of(name)]:
            del self._of_key[key_of(name)]
        del self._values[name]

    def owed_to(self, name: str) -> str | None:
        """Who has what a new name is due: the oldest of a key that has more names even without it."""
        largest = self._of_the_largest()
        more = self._of_key[key_of(largest)] - self._of_key[key_of(name)]
        return largest if more >= 2 else None

    def _of_the_largest(self) -> str:
        """The name put longest ago of those keys that have the most."""
        most = max(self._of_key.values())
        return next(name for name in self._values if self._of_key[key_of(name)] == most)


__all__ = ["Names"]
