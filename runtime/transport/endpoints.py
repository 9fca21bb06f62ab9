"""The two ends of a ZeroMQ connection, read by the loop."""

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from draftwire.codecs.limits import MAX_FRAME_BYTES
from draftwire.runtime.security import PublicKey
from draftwire.runtime.transport.addresses import file_at
from draftwire.runtime.transport.admission import Names
from draftwire.runtime.transport.base import (
    INBOX_MESSAGES,
    LINGER_MS,
    Counts,
    DropReason,
    EndpointStatistics,
    Received,
    Trouble,
    TroubleKind,
)
from draftwire.runtime.transport.mailbox import Mailbox
from draftwire.runtime.transport.watch import EVENTS, Watch

GAVE_UP_S: Final = (2.0, 30.0)
"""First and longest pause before we try where ZeroMQ itself would not try again: our key is refused, or one
end uses keys and the other does not, which somebody may mend at any time."""

DRAIN_MESSAGES: Final = 128
"""Messages read in one turn of the loop, so that a flood can't keep other tasks from running."""


class ZmqEndpoint(ABC):
    """A plain socket, read by the loop whenever its descriptor signals.

    That signal is an edge: after it, and after every send, which may swallow one, the socket is read until it
    is empty, in turns of DRAIN_MESSAGES. A full inbox stops the reading until the node has taken a message.
    """

    def __init__(self, socket: zmq.Socket[bytes], address: str) -> None:
        self.address: Final = address
        self.closed = False
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._inbox: Mailbox[Received] = Mailbox(address)
        self._counts = Counts()
        self._stalled = self._draining_soon = False
        self._loop.add_reader(socket.fileno(), self._drain)
        self._drain_soon()  # an edge before add_reader would have gone unseen

    async def receive(self) -> Received:
        received = await self._inbox.get()
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
            if int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
                self._drain_soon()
        return self._counts.send(data)

    def statistics(self) -> EndpointStatistics:
        return self._counts.frozen(len(self._inbox))

    def trouble(self) -> Trouble | None:
        return None

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._loop.remove_reader(self._socket.fileno())
            self._inbox.close()
            try:
                await self._let_go()
            finally:  # cancelled or not: an open socket would keep the context from closing
                self._socket.close()

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
        if self.closed:
            return
        for _ in range(DRAIN_MESSAGES):
            if len(self._inbox) >= INBOX_MESSAGES:
                self._stalled = True
                return
            try:
                first = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            taken = self._take(first)
            if isinstance(taken, DropReason):
                self._counts.drop(taken)
            else:
                self._counts.receive(taken.data)
                self._inbox.put(taken)
        self._drain_soon()

    def _is_last(self) -> bool:
        """Whether the frame just read ended its message; frames behind it are read and not kept."""
        if not self._socket.get(zmq.RCVMORE):
            return True
        while self._socket.get(zmq.RCVMORE):
            self._socket.recv(copy=False)
        return False


class BoundEndpoint(ZmqEndpoint):
    """Many peers."""

    def __init__(self, socket: zmq.Socket[bytes], address: str, names: Names, path: str | None) -> None:
        super().__init__(socket, address)
        self._names = names
        self._path = path
        self._file = file_at(path)

    def _send(self, peer: bytes, data: bytes) -> None:
        self._socket.send_multipart((peer, data), zmq.NOBLOCK)

    def _take(self, first: bytes) -> Received | DropReason:
        name, impostor = self._names.known.get(first), ""
        if name is not None:
            data = self._socket.recv()
        else:
            frame = self._socket.recv(copy=False)
            judged = self._names.judge(first, frame)
            if judged is None:
                return DropReason.NAMELESS if self._is_last() else DropReason.FRAME_COUNT
            name, impostor = judged
            data = frame.bytes
        if not self._is_last():
            return DropReason.FRAME_COUNT
        return Received(first, data, self._loop.time(), name=name, impostor=impostor)

    async def _let_go(self) -> None:
        """Unbind, and wait until the port or path is free: ZeroMQ's own thread lets it go a little later."""
        if self._path is not None and self._file is not None and self._file == file_at(self._path):
            os.unlink(self._path)  # ZeroMQ leaves that to us
        with self._socket.get_monitor_socket(zmq.EVENT_CLOSED) as monitor:
            self._socket.unbind(self.address)
            await asyncio.to_thread(monitor.poll, LINGER_MS)
            self._socket.disable_monitor()


class ConnectingEndpoint(ZmqEndpoint):
    """One peer, and an eye on the connection to it."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        address: str,
        *,
        explain: Callable[[TroubleKind], Trouble],
        server_key: Callable[[], PublicKey | None],
    ) -> None:
        """Connect `socket`. `server_key`: the one to expect now; None: no keys. Raises zmq.ZMQError."""
        self._explain, self._ask_server_key = explain, server_key
        self._server_key = server_key()
        self._watch = Watch()
        self._pause_s = GAVE_UP_S[0]
        self._retry: asyncio.TimerHandle | None = None
        self._monitor = socket.get_monitor_socket(EVENTS)
        try:
            socket.connect(address)
        except zmq.ZMQError:
            self._close_monitor(socket)
            raise
        super().__init__(socket, address)
        self._loop.add_reader(self._monitor.fileno(), self._look)
        self._loop.call_soon(self._look)

    def trouble(self) -> Trouble | None:
        self._look()  # what was seen before this call counts, though its turn in the loop has not come
        return self._trouble()

    def _trouble(self) -> Trouble | None:
        return None if self._watch.kind is None else self._explain(self._watch.kind)

    def _send(self, peer: bytes, data: bytes) -> None:
        self._socket.send(data, zmq.NOBLOCK)

    def _take(self, first: bytes) -> Received | DropReason:
        return Received(b"", first, self._loop.time()) if self._is_last() else DropReason.FRAME_COUNT

    async def _let_go(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._monitor.fileno())
        self._close_monitor(self._socket)

    def _close_monitor(self, socket: zmq.Socket[bytes]) -> None:
        socket.disable_monitor()
        self._monitor.close(linger=0)

    def _look(self) -> None:
        """Read what the monitor has seen, to the end: its descriptor signals an edge as well."""
        while not self.closed:
            try:
                seen = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                break
            self._watch.see(seen["event"], seen["value"])
        trouble = self._trouble()
        if trouble is None:
            self._pause_s = GAVE_UP_S[0]
        elif (trouble.final or self._watch.gave_up) and self._retry is None and not self.closed:
            self._retry = self._loop.call_later(self._pause_s, self._connect_anew)
            self._pause_s = min(2 * self._pause_s, GAVE_UP_S[1])

    def _connect_anew(self) -> None:
        """Somebody may have mended it: there, which only a new try can tell, or here, by another key."""
        self._retry = None
        key, before = self._ask_server_key(), self._server_key
        if key == before and not self._watch.gave_up:
            return  # ZeroMQ goes on trying
        if key is not None:
            self._socket.set(zmq.CURVE_SERVERKEY, key.public.encode())
            self._server_key = key
        self._socket.set(zmq.LINGER, 0)  # else what waits to be sent would go on trying the old way meanwhile
        self._socket.disconnect(self.address)
        self._socket.set(zmq.LINGER, LINGER_MS)
        self._socket.connect(self.address)
        self._watch.begin_anew()


__all__ = ["BoundEndpoint", "ConnectingEndpoint", "ZmqEndpoint"]
