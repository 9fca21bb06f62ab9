"""The connections themselves that an endpoint's peers came by, which ZeroMQ can't end one by one.

ZeroMQ tells which file a message was read from. To shut that down, which leaves it ZeroMQ's to close, is to
it as if the other end had gone.
"""

import errno
import fcntl
import os
import socket
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

import zmq

_BYTES_RECEIVED: Final = struct.Struct("128xQ")
"""tcpi_bytes_received in Linux's struct tcp_info."""

_INT: Final = struct.Struct("i")


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


def hang_up(line: Line) -> bool:
    """End it, if it still stands; whether it did."""
    with suppress(OSError), _borrowed(line) as standing:
        standing.shutdown(socket.SHUT_RDWR)
        return True
    return False


def far_end(line: Line) -> str:
    """Where it comes from, for people; empty: that can't be told."""
    with suppress(OSError), _borrowed(line) as standing:
        match standing.getpeername():
            case (str(host), int(port), *_):
                return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return ""


@contextmanager
def _borrowed(line: Line) -> Iterator[socket.socket]:
    """It, by its own descriptor: it must end where no file is left. Raises OSError where it has ended."""
    if line_at(line.file) != line:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    standing = socket.socket(fileno=line.file)
    try:
        yield standing
    finally:
        standing.detach()  # ZeroMQ closes it


def bytes_read(line: Line) -> int | None:
    """That ZeroMQ has read from it so far, its handshake included; None: nobody can tell, as it is no TCP
    connection, or has ended, or this is not Linux.
    """
    if sys.platform != "linux":
        return None
    try:
        looked_at = socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=line.file)
    except OSError:
        return None
    try:
        told = looked_at.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED.size)
        waiting = fcntl.ioctl(line.file, termios.FIONREAD, bytes(_INT.size))
        return int(_BYTES_RECEIVED.unpack(told)[0]) - int(_INT.unpack(waiting)[0])
    except (OSError, struct.error):  # a system of another age tells less
        return None
    finally:
        looked_at.detach()


__all__ = ["Line", "bytes_read", "far_end", "hang_up", "line_at", "line_of"]
