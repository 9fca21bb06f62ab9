"""What both ends of a ZeroMQ connection have in common: a socket, read by the loop."""

import asyncio
from abc import ABC, abstractmethod
from math import inf
from typing import Final

import zmq

from draftwire.codecs.limits import MAX_FRAME_BYTES
from draftwire.runtime.transport.base import (
    INBOX_BYTES,
    INBOX_MESSAGES,
    Counts,
    DropReason,
    EndpointStatistics,
    Offence,
    Received,
    Trouble,
)
from draftwire.runtime.transport.endless import MANY_FRAMES
from draftwire.runtime.transport.mailbox import Mailbox

DRAIN_MESSAGES: Final = 128
"""Messages read in one turn of the loop, so that a flood can't keep other tasks from running."""

FLOOD_FRAMES: Final = 32
"""Read and dropped in a turn, at a few us each, before the reading pauses."""

FLOOD_PAUSE_S: Final = 0.002
"""For so long: a flood takes a tenth of a core, and its sender's own queues fill up. ZeroMQ reads from all
peers in turn, so who is no part of it waits for this pause at the longest."""

SKIPPED_FRAMES: Final = 256
"""Of a message of many read in a turn, at 1 us each. There is no pause behind them: until its last frame has
been read ZeroMQ hands over nobody else's."""

TURN_S: Final = 0.002
"""How long a node may receive without a pause, its own work on the messages included, while others wait."""

_READABLE: Final = int(zmq.POLLIN)
"""A plain number: of an enum's, `&` makes a new member each time."""


class ZmqEndpoint(ABC):
    """A plain socket, read by the loop whenever its descriptor signals.

    That signal is an edge: after it, and after every send, which may swallow one, the socket is read until it
    is empty, in turns of DRAIN_MESSAGES. A full inbox stops the reading until the node has taken a message,
    and a turn in which most was dropped stops it for FLOOD_PAUSE_S.
    """

    def __init__(self, socket: zmq.Socket[bytes], address: str) -> None:
        self.address: Final = address
        self.closed = False
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._inbox: Mailbox[Received] = Mailbox(address)
        self._inbox_bytes = 0
        self._turn_ends_s = -inf
        "until then the node may go on receiving without letting others run"
        self._counts = Counts()
        self._stalled = self._draining_soon = False
        self._pause: asyncio.TimerHandle | None = None
        self._passed_over = 0
        "frames that were read and not kept"
        self._amid = False
        "whether frames of a message that is not kept are still to be read"
        self._loop.add_reader(socket.fileno(), self._drain)
        self._drain_soon()  # an edge before add_reader would have gone unseen

    async def receive(self) -> Received:
        begins = not self._inbox
        if not begins and self._loop.time() >= self._turn_ends_s:
            await asyncio.sleep(0)  # else no other task would run before the inbox is empty
            begins = True
        received = await self._inbox.get()
        if begins:
            self._turn_ends_s = self._loop.time() + TURN_S
        self._inbox_bytes -= len(received.data)
        if self._stalled:
            self._stalled = False
            self._drain_soon()
        return received

    def send(self, peer: bytes, data: bytes) -> bool:
        if self.closed:
            return self._counts.drop(DropReason.CLOSED)
        if len(data) > MAX_FRAME_BYTES:
            return self._counts.drop(DropReason.OVERSIZE)
        try:
            self._send(peer, data)
        except zmq.Again:
            return self._counts.drop(DropReason.QUEUE_FULL)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return self._counts.drop(DropReason.GONE)
        finally:
            if int(self._socket.get(zmq.EVENTS)) & _READABLE:
                self._drain_soon()
        return self._counts.send(data)

    def statistics(self) -> EndpointStatistics:
        return self._counts.frozen(len(self._inbox))

    def trouble(self) -> Trouble | None:
        return None

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            if self._pause is not None:
                self._pause.cancel()
            self._loop.remove_reader(self._socket.fileno())
            self._inbox.close()
            try:
                await self._let_go()
            finally:  # cancelled or not: an open socket would keep the context from closing
                self._socket.close()

    @abstractmethod
    def offence(self, peer: bytes, offence: Offence) -> None:
        """As Endpoint.offence."""

    @abstractmethod
    def _send(self, peer: bytes, data: bytes) -> None:
        """Raises zmq.Again where the peer's queue is full."""

    @abstractmethod
    def _take(self, first: bytes) -> Received | DropReason:
        """The message that begins with this frame; all of it is read."""

    @abstractmethod
    async def _let_go(self) -> None:
        """Before the socket is closed."""

    def _drain_soon(self) -> None:
        if not self._draining_soon:
            self._draining_soon = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        self._draining_soon = False
        if self.closed or self._pause is not None:
            return
        passed_over = self._passed_over
        if self._amid:
            self._read_on(SKIPPED_FRAMES)
            self._hold_off()
            return
        for _ in range(DRAIN_MESSAGES):
            if len(self._inbox) >= INBOX_MESSAGES or self._inbox_bytes >= INBOX_BYTES:
                self._stalled = True
                return
            try:
                first = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            taken = self._take(first)
            if isinstance(taken, Received):
                self._counts.receive(taken.data)
                self._inbox.put(taken)
                self._inbox_bytes += len(taken.data)
            else:
                self._counts.drop(taken)
                if self._passed_over - passed_over >= FLOOD_FRAMES:
                    self._hold_off()
                    return
        self._drain_soon()

    def _hold_off(self) -> None:
        """Read nothing for FLOOD_PAUSE_S; the rest of a message first, in turns."""
        if self._amid:
            self._drain_soon()
        else:
            self._loop.remove_reader(self._socket.fileno())  # which would go on signalling
            self._pause = self._loop.call_later(FLOOD_PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._socket.fileno(), self._drain)
        self._drain_soon()

    def _pass_over(self, size: int, *, more: bool) -> bool:
        """The frame of `size` bytes just read is not kept, nor are those of its message behind it: whether
        they are more, or longer in all, than anybody can mean. Of many, some are read in later turns.
        """
        self._passed_over += 1
        self._amid, passed_over = more, self._passed_over
        size += self._read_on(MANY_FRAMES)
        return self._passed_over - passed_over >= MANY_FRAMES or size > MAX_FRAME_BYTES

    def _read_on(self, most: int) -> int:
        """Up to so many frames of the message that is not kept: their bytes."""
        size = 0
        while self._amid and most > 0:
            frame = self._socket.recv(copy=False)
            self._amid = frame.more
            self._passed_over += 1
            size += len(frame)
            most -= 1
        return size

    def _has_read_all(self) -> bool:
        """Whether no message waits in the socket now."""
        if self._stalled or self._pause is not None or int(self._socket.get(zmq.EVENTS)) & _READABLE:
            self._drain_soon()  # to ask may swallow the edge
            return False
        return True


__all__ = ["ZmqEndpoint"]
