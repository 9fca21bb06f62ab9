"""Keeps files free at an endpoint that binds, however many connect to it and say nothing.

Each connection is an open file, and at the process's limit ZeroMQ takes no other, and spends a whole core
on not taking it, while keys and journals can't be read. So before that is reached, whoever has been connected
for the longest without a word makes room; a node that runs into this connects again by itself.
"""

import asyncio
import os
import resource
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from math import inf
from typing import Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from draftwire.runtime.telemetry import get_logger
from draftwire.runtime.transport.lines import Line, hang_up, line_at

FILES_KEPT: Final = 128
"""Free for all else; a quarter, where there are not four times as many. New connections come a hundred in the
5 ms that the loop may take to look."""

COUNTED_EACH_S: Final = 0.5
TOLD_EACH_S: Final = 60.0

_EVENTS: Final = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED


class Doorman:
    """Of one socket, from before it is bound until `close`."""

    def __init__(self, socket: zmq.Socket[bytes], *, left: Callable[[bytes], None]) -> None:
        """`left` hears of each peer whose connection has ended. Raises zmq.ZMQError where no file is left."""
        self._left = left
        self._silent = dict[int, Line]()
        "by file, the oldest first"
        self._spoke = dict[int, tuple[Line, bytes]]()
        "the others, and which peer each is"
        self.hung_up = 0
        "connections"
        self._beside, self._counted_s = 0, -inf
        "other open files, and when they were counted"
        self._told_s: float | None = None
        self._log = get_logger("transport")
        self._loop = asyncio.get_running_loop()
        self._socket, self._monitor = socket, socket.get_monitor_socket(_EVENTS)
        self._loop.add_reader(self._monitor.fileno(), self._look)

    async def see_unbound(self, address: str, within_ms: int) -> None:
        """Unbind it, and wait until the port or path is free: ZeroMQ's own thread lets it go later."""
        self._loop.remove_reader(self._monitor.fileno())
        self._socket.unbind(address)
        await asyncio.to_thread(self._wait_for_closed, within_ms)

    def close(self) -> None:
        """Idempotent."""
        if not self._monitor.closed:
            self._loop.remove_reader(self._monitor.fileno())
            self._socket.disable_monitor()
            self._monitor.close(linger=0)

    def _wait_for_closed(self, within_ms: int) -> None:
        while self._monitor.poll(within_ms):
            if parse_monitor_message(self._monitor.recv_multipart())["event"] == zmq.EVENT_CLOSED:
                return

    def spoke(self, peer: bytes, line: Line | None) -> None:
        """A peer has said something by this connection."""
        if line is not None:
            self._look()
            if self._silent.pop(line.file, None) is not None:
                self._spoke[line.file] = line, peer

    def lines(self) -> list[tuple[Line, bytes | None]]:
        """Each connection, and which peer has spoken by it; None: nobody."""
        self._look()
        return [*((line, None) for line in self._silent.values()), *self._spoke.values()]

    def hang_up(self, peer: bytes, line: Line) -> None:
        """End the connection by which a peer has spoken, unless it has ended, and is another's now."""
        if self._spoke.get(line.file) == (line, peer):
            hang_up(line)

    def _look(self) -> None:
        """Read what the monitor has seen, to the end: its descriptor signals an edge."""
        while not self._monitor.closed:
            try:
                seen = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                break
            file = int(seen["value"])
            self._forget(file)
            if seen["event"] == zmq.EVENT_ACCEPTED and (line := line_at(file)) is not None:
                self._silent[file] = line
                self._make_room()

    def _open_files(self) -> int:
        """Of this process: those beside the connections are counted at times, which takes 0.1 us for each."""
        connections, now_s = len(self._silent) + len(self._spoke), self._loop.time()
        if now_s >= self._counted_s + COUNTED_EACH_S:
            with suppress(OSError):  # none is left to count with
                self._beside = max(0, len(os.listdir("/proc/self/fd")) - connections)
                self._counted_s = now_s
        return connections + self._beside

    def _forget(self, file: int) -> None:
        self._silent.pop(file, None)
        spoke = self._spoke.pop(file, None)
        if spoke is not None:
            self._left(spoke[1])

    def _make_room(self) -> None:
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if most == resource.RLIM_INFINITY:
            return
        excess = self._open_files() - (most - min(FILES_KEPT, most // 4))
        if excess <= 0:
            return
        for ended in list(islice(filter(hang_up, self._silent.values()), excess)):  # the oldest
            del self._silent[ended.file]
            self.hung_up += 1
        if self._told_s is None or self._loop.time() >= self._told_s + TOLD_EACH_S:
            self._told_s = self._loop.time()
            self._log.warning(
                "transport.crowded",
                connections=len(self._silent) + len(self._spoke),
                open_files=most,
                hung_up=self.hung_up,
                remedy="raise the limit (ulimit -n)",
            )


__all__ = ["FILES_KEPT", "Doorman"]
