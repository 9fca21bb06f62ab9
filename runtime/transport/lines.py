"""The connections themselves that an endpoint's peers came by, which ZeroMQ can't end one by one.

ZeroMQ tells which file a message was read from. To shut that down, which leaves it ZeroMQ's to close, is to
it as if the other end had gone.
"""

import os
import socket
from contextlib import suppress
from typing import NamedTuple

import zmq


class Line(NamedTuple):
    """A connection."""

    file: int
    "its descriptor, which another may have once it has ended"
    inode: int
    "which no other has at the same time"


def line_at(file: int) -> Line | None:
    """The connection with this descriptor; None: there is none."""
    with suppress(OSError):
        return Line(file, os.fstat(file).st_ino)
    return None


def line_of(frame: zmq.Frame) -> Line | None:
    """The connection that `frame` came by, unless it has ended."""
    with suppress(zmq.ZMQError):
        return line_at(int(frame.get(zmq.SRCFD)))
    return None


def hang_up(line: Line) -> None:
    """End it, if it still stands."""
    if line_at(line.file) == line:
        with suppress(OSError), socket.socket(fileno=os.dup(line.file)) as other:
            other.shutdown(socket.SHUT_RDWR)


__all__ = ["Line", "hang_up", "line_at", "line_of"]
