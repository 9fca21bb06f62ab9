"""Finds connections by which much has come that never became a message.

ZeroMQ hands a message over when its last frame is there. Until then it keeps all others, each below its limit
on frames and none counted by its limit on messages, so that a message without end takes all memory unseen.
But the kernel counts what comes by a TCP connection. Of other connections, ipc://, nobody does.

Pure.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from draftwire.codecs.limits import MAX_FRAME_BYTES
from draftwire.runtime.transport.lines import Line

UNFINISHED_BYTES: Final = 2 * MAX_FRAME_BYTES
"""2 MiB where all messages that were there have been read: what is left is part of one frame."""

UNREAD_BYTES: Final = 2**25
"""32 MiB where some may not have been read: a link of 100 Mbit/s takes 2.7 s for it, a loop that stands still
does so for 0.6 s at the longest, and no session has so much under way."""

MANY_FRAMES: Final = 64
"""In one message, as are 1 MiB in several: to read and drop each takes 2 us, and no node sends two."""

EACH_S: Final = 0.1
"""How often connections are looked at: a fast link brings 12 MB in this time."""

EACH_CONNECTION_S: Final = 0.0005
"""More rarely the more there are: a look at one takes 5 us, so it is a hundredth of the loop."""


class Seen(NamedTuple):
    """What is known of a connection."""

    heard_s: float
    "when a message was last read that came by it; -inf: none was"
    bytes_read: int
    "so far, by ZeroMQ"


class Unfinished:
    """Of all connections of an endpoint."""

    def __init__(self) -> None:
        self._began: dict[Line, Seen] = {}
        "as it was when a message had just been read"

    def look(self, lines: Iterable[tuple[Line, Seen]]) -> dict[Line, int]:
        """How many bytes have come by each since the first look at it that knew of its last message. Those
        that are left out are forgotten.
        """
        before, self._began = self._began, {}
        unfinished = {}
        for line, seen in lines:
            began = before.get(line, seen)
            if began.heard_s != seen.heard_s:
                began = seen
            self._began[line] = began
            unfinished[line] = seen.bytes_read - began.bytes_read
        return unfinished


__all__ = [
    "EACH_CONNECTION_S",
    "EACH_S",
    "MANY_FRAMES",
    "UNFINISHED_BYTES",
    "UNREAD_BYTES",
    "Seen",
    "Unfinished",
]
