"""Memory with a bound: what peers make a node remember never grows without end."""

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def remember(memory: dict[K, V], key: K, value: V, *, most: int) -> None:
    """Put an entry last, the newest; beyond `most` entries the oldest are forgotten."""
    memory.pop(key, None)
    memory[key] = value
    while len(memory) > most:
        del memory[next(iter(memory))]


__all__ = ["remember"]
