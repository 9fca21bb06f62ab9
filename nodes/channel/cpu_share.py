"""How much of a node's time some work may take.

    with share.spent():
        ...

Half of it in the long run, and up to AHEAD_S at once. In virtual time work takes none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Final

from draftwire.runtime.clock import Clock

AHEAD_S: Final = 0.02
"""Rather longer than usual work, and short to whoever waits behind it."""


class Share:
    """Of one kind of work."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._paid_s = -inf
        "when twice as long as it took will have gone by"

    @property
    def again_s(self) -> float:
        """From when on it may go on; a time gone by: now."""
        return self._paid_s - AHEAD_S

    def is_spent(self) -> bool:
        """Whether it has to wait."""
        return self._clock.now_s() < self.again_s

    @contextmanager
    def spent(self) -> Iterator[None]:
        """Let this block count."""
        began_s = self._clock.now_s()
        try:
            yield
        finally:
            took_s = self._clock.now_s() - began_s
            self._paid_s = max(self._paid_s, began_s) + 2 * took_s


__all__ = ["AHEAD_S", "Share"]
