"""What has been so of late: sliding figures over the last tests, tokens and bytes. Pure; times rise."""

from collections import deque
from typing import Final

TESTED: Final = 40
"""Tested tokens that alpha is told of: fewer say little, more hide that it has moved."""

WINDOW_S: Final = 3.0
"""Over which tokens a second are told."""

LEAST_S: Final = 0.5
"""Behind the first token of a run no speed is told for so long: one block would be all of it."""

MOST_BATCHES: Final = 4096
"""Of tokens in the window: what comes in between joins the last one."""

FLOW_S: Final = 1.2
"""Bytes of so long ago flow no more; traffic is told each 0.5 s while there is any."""

TOLD_EVERY_S: Final = 0.5


class Alpha:
    """Accepted over tested tokens."""

    def __init__(self) -> None:
        self._tests = deque[tuple[int, int]]()
        self._accepted = self._seen = 0

    def observe(self, *, accepted: int, seen: int) -> None:
        """A step's; of one that tested nothing there is nothing to learn."""
        if not seen:
            return
        self._tests.append((min(accepted, seen), seen))
        self._accepted, self._seen = self._accepted + min(accepted, seen), self._seen + seen
        while self._seen - self._tests[0][1] >= TESTED:
            gone = self._tests.popleft()
            self._accepted, self._seen = self._accepted - gone[0], self._seen - gone[1]

    @property
    def value(self) -> float | None:
        """None: nothing was tested."""
        return self._accepted / self._seen if self._seen else None


class Speed:
    """Tokens a second while they are expected, from the first one on."""

    def __init__(self) -> None:
        self._batches = deque[tuple[float, int]]()
        self._began_s: float | None = None
        "when the first ones of this run came"

    def end(self) -> None:
        """None are expected any more."""
        self._batches.clear()
        self._began_s = None

    def observe(self, tokens: int, at_s: float) -> None:
        """So many came."""
        if self._began_s is None:
            self._began_s = at_s
        if len(self._batches) == MOST_BATCHES:
            before_s, before = self._batches.pop()
            self._batches.append((before_s, before + tokens))
        else:
            self._batches.append((at_s, tokens))
        self._forget(at_s)

    def value(self, now_s: float) -> float | None:
        """None: it is too early to say."""
        if self._began_s is None or now_s - self._began_s < LEAST_S:
            return None
        self._forget(now_s)
        since_s = max(self._began_s, now_s - WINDOW_S)
        came = sum(tokens for at_s, tokens in self._batches if at_s > since_s)
        return came / (now_s - since_s)

    def _forget(self, now_s: float) -> None:
        while self._batches and self._batches[0][0] <= now_s - WINDOW_S:
            self._batches.popleft()


class Flow:
    """Bytes a second from counts that only rise, but where who counts has begun anew."""

    def __init__(self) -> None:
        self.total = 0
        "bytes, as counted last"
        self._told = deque[tuple[float, float, int]](maxlen=3)
        "(when it was heard, how long it stands for, bytes)"
        self._counted_s: float | None = None

    def observe(self, total: int, *, counted_s: float, at_s: float) -> None:
        """`counted_s`: by the clock of who counts; `at_s`: when that was heard."""
        if self._counted_s is not None:
            passed_s = counted_s - self._counted_s
            moved = total - self.total if total >= self.total else total
            # What lies further back was told when nothing moved.
            self._told.append((at_s, min(max(passed_s, 0.05), TOLD_EVERY_S), moved))
        self.total, self._counted_s = total, counted_s

    def value(self, now_s: float) -> float:
        """Bytes a second."""
        fresh = [(lasted_s, moved) for at_s, lasted_s, moved in self._told if now_s - at_s < FLOW_S]
        lasted_s = sum(one[0] for one in fresh)
        return sum(one[1] for one in fresh) / lasted_s if lasted_s else 0.0


__all__ = ["WINDOW_S", "Alpha", "Flow", "Speed"]
