"""The round trip while the target decodes alone: from a Commit to the Ping that it made the device send."""

from typing import NamedTuple

MAX_COMMITS = 64
"""Remembered at a time: as many tokens as the BS runs ahead of a device by default."""


class Echo(NamedTuple):
    """One round trip."""

    seconds: float
    "from the Commit's sending to the Ping's arrival"
    size: int
    "bytes of both"


class Echoes:
    """Of one request. A device that listens acknowledges every few tokens, as soon as it has taken them."""

    def __init__(self) -> None:
        self._commits: dict[int, tuple[float, int]] = {}
        self._newest: Echo | None = None

    def sent(self, length: int, *, size: int, at_s: float) -> None:
        """A Commit that told the device a log of this length has left; of repeats the first counts."""
        self._commits.setdefault(length, (at_s, size))
        if len(self._commits) > MAX_COMMITS:
            del self._commits[next(iter(self._commits))]

    def heard(self, known: int, *, size: int, at_s: float) -> None:
        """The device holds a log of this length; only the first word of that is an echo."""
        commit = self._commits.get(known)
        self._commits = {length: one for length, one in self._commits.items() if length > known}
        if commit is not None:
            sent_at_s, commit_size = commit
            self._newest = Echo(at_s - sent_at_s, commit_size + size)

    def take(self) -> Echo | None:
        """The newest since the last call."""
        newest, self._newest = self._newest, None
        return newest


__all__ = ["Echo", "Echoes"]
