"""The two ends of a ZeroMQ connection, read by the loop."""

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from draftwire.codecs.limits import MAX_FRAME_BYTES
from draftwire.runtime.security import PublicKey
from draftwire.runtime.transport.addresses import file_at
from draftwire.runtime.transport.admission import Known, Names
from draftwire.runtime.transport.base import (
    INBOX_BYTES,
    INBOX_MESSAGES,
    LINGER_MS,
    Counts,
    DropReason,
    EndpointStatistics,
    Offence,
    Received,
    Trouble,
    TroubleKind,
)
from draftwire.runtime.transport.doorman import Doorman
from draftwire.runtime.transport.lines import line_of
from draftwire.runtime.transport.mailbox import Mailbox
from draftwire.runtime.transport.quarantine import Sender
from draftwire.runtime.transport.verdicts import Verdicts
from draftwire.runtime.transport.watch import EVENTS, Watch

GAVE_UP_S: Final = (2.0, 30.0)
"""First and longest pause before we try where ZeroMQ itself would not try again: our key is refused, or one
end uses keys and the other does not, which somebody may mend at any time."""

KEYS_LOOKED_AT_S: Final = 0.5
"""How often an end without a connection looks whether the server's key is still allowed here: one that was
taken away counts from then on, whoever may come up at the address."""

DRAIN_MESSAGES: Final = 128
"""Messages read in one turn of the loop, so that a flood can't keep other tasks from running."""

FLOOD_FRAMES: Final = 32
"""Read and dropped in a turn, at a few us each, before the reading pauses."""

FLOOD_PAUSE_S: Final = 0.002
"""For so long: a flood takes a tenth of a core, and its sender's own queues fill up. ZeroMQ reads from all
peers in turn, so who is no part of it waits for this pause at the longest."""

TURN_S: Final = 0.002
"""How long a node may receive without a pause, its own work on the messages included, while others wait."""

_READABLE: Final = int(zmq.POLLIN)
"""A plain number: of an enum's, `&` makes a new member each time."""

_MORE: Final = int(zmq.RCVMORE)


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
                    self._loop.remove_reader(self._socket.fileno())  # which would go on signalling
                    self._pause = self._loop.call_later(FLOOD_PAUSE_S, self._go_on)
                    return
        self._drain_soon()

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._socket.fileno(), self._drain)
        self._drain_soon()

    def _pass_over(self, more: bool) -> None:
        """The frame just read, and those behind it, are not kept."""
        self._passed_over += 1
        while more:
            more = self._socket.recv(copy=False).more
            self._passed_over += 1


class BoundEndpoint(ZmqEndpoint):
    """Many peers."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        address: str,
        *,
        names: Names,
        doorman: Doorman,
        path: str | None,
    ) -> None:
        super().__init__(socket, address)
        self._names, self._doorman = names, doorman
        self._verdicts = Verdicts(address)
        self._path = path
        self._file = file_at(path)

    def offence(self, peer: bytes, offence: Offence) -> None:
        known = self._names.known.get(peer) or self._names.strangers.get(peer)
        if known is not None:
            self._judge(known.sender, offence)

    def _judge(self, sender: Sender, offence: Offence) -> None:
        now_s = self._loop.time()
        lasts_s = sender.offends(offence, now_s)
        if lasts_s is not None:
            self._verdicts.quarantined(sender, offence, lasts_s=lasts_s, now_s=now_s)

    def _send(self, peer: bytes, data: bytes) -> None:
        self._socket.send_multipart((peer, data), zmq.NOBLOCK)

    def _take(self, first: bytes) -> Received | DropReason:
        frame = self._socket.recv(copy=False)  # it tells whether more frames follow; to ask costs more
        known = self._names.known.get(first)
        if known is None:
            known = self._met(first, frame)
        now_s = self._loop.time()
        reason = known.sender.drops(len(frame), now_s)
        if reason is not None:
            return self._drop(first, known, frame, reason)
        if known.line is None:  # it has come back
            known.line = line_of(frame)
            self._doorman.spoke(first, known.line)
        if known.sender.dropped:
            self._verdicts.released(known.sender, now_s=now_s)
        if frame.more or not known.name:
            self._judge(known.sender, Offence.FRAMES)
            reason = DropReason.FRAME_COUNT if frame.more else DropReason.NAMELESS
            self._pass_over(frame.more)
            return reason
        impostor = "" if known.proved else self._names.objection(first, known, frame)
        return Received(first, frame.bytes, now_s, name=known.name, impostor=impostor)

    def _met(self, peer: bytes, frame: zmq.Frame) -> Known:
        known = self._names.meet(peer, frame)
        self._doorman.spoke(peer, known.line)
        return known

    def _drop(self, peer: bytes, known: Known, frame: zmq.Frame, reason: DropReason) -> DropReason:
        """In quarantine with keys a connection ends with its first message: whoever comes back by another is
        known by the key. Without keys he would no longer be known.
        """
        self._pass_over(frame.more)
        if reason is DropReason.FLOOD:
            self._judge(known.sender, Offence.FLOOD)
        elif known.line is not None and self._names.keys:
            self._doorman.hang_up(peer, known.line)
            known.line = None
        return reason

    async def _let_go(self) -> None:
        if self._path is not None and self._file is not None and self._file == file_at(self._path):
            os.unlink(self._path)  # ZeroMQ leaves that to us
        try:
            await self._doorman.see_unbound(self.address, LINGER_MS)
        finally:
            self._doorman.close()


class ConnectingEndpoint(ZmqEndpoint):
    """One peer, and an eye on the connection to it.

    With keys, a connection that stands goes on, whatever becomes of the server's key. Each time that one
    breaks or comes to stand, and while there is none, the key is looked at again: with another one allowed in
    its place a connection is made anew, with none there is none.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        address: str,
        *,
        explain: Callable[[TroubleKind], Trouble],
        server_key: Callable[[], PublicKey | None] | None,
    ) -> None:
        """Connect `socket`. `server_key` tells the key to expect now, None: none is allowed any more; without
        it no keys are used. Raises zmq.ZMQError.
        """
        self._explain, self._server_key_now = explain, server_key
        self._server_key: PublicKey | None = None
        "that the socket was told"
        self._connects = False
        "whether the socket has a connection, or tries to have one"
        self._watch = Watch()
        self._shown_at_s = -inf
        "when a try last failed"
        self._pause_s = GAVE_UP_S[0]
        self._again_at_s: float | None = None
        "when to try where ZeroMQ has given up"
        self._timer: asyncio.TimerHandle | None = None
        self._monitor = socket.get_monitor_socket(EVENTS)
        try:
            self._connect(socket, address)
        except zmq.ZMQError:
            self._close_monitor(socket)
            raise
        super().__init__(socket, address)
        self._loop.add_reader(self._monitor.fileno(), self._look)
        self._loop.call_soon(self._look)

    def trouble(self) -> Trouble | None:
        self._look()  # what was seen before this call counts, though its turn in the loop has not come
        return self._trouble()

    def offence(self, peer: bytes, offence: Offence) -> None:
        pass  # of its only peer it needs everything

    def _trouble(self) -> Trouble | None:
        if not self._connects:
            return self._explain(TroubleKind.REVOKED)
        if self._watch.kind is None:
            return None
        return replace(self._explain(self._watch.kind), shown_at_s=self._shown_at_s)

    def _send(self, peer: bytes, data: bytes) -> None:
        self._socket.send(data, zmq.NOBLOCK)

    def _take(self, first: bytes) -> Received | DropReason:
        if not self._socket.get(_MORE):
            return Received(b"", first, self._loop.time())
        self._pass_over(more=True)
        return DropReason.FRAME_COUNT

    async def _let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._monitor.fileno())
        self._close_monitor(self._socket)

    def _close_monitor(self, socket: zmq.Socket[bytes]) -> None:
        socket.disable_monitor()
        self._monitor.close(linger=0)

    def _look(self) -> None:
        """Read what the monitor has seen, to the end: its descriptor signals an edge as well."""
        news, failures = False, self._watch.failures
        while not self.closed:
            try:
                seen = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                break
            self._watch.see(seen["event"], seen["value"])
            news = True
        if self.closed:
            return
        if self._watch.failures > failures:
            self._shown_at_s = self._loop.time()
        if news:
            self._mend()
        if self._trouble() is None:
            self._pause_s = GAVE_UP_S[0]
        elif self._timer is None:
            self._timer = self._loop.call_later(min(KEYS_LOOKED_AT_S, self._pause_s), self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        self._mend()
        self._look()

    def _mend(self) -> None:
        """Connect anew where that may help: with the key that is allowed now, or where ZeroMQ has given up:
        somebody may have mended it there, which only a new try can tell.
        """
        now_s = self._loop.time()
        if self._server_key_now is not None and self._server_key_now() != self._server_key:
            self._connect_anew()
        elif self._watch.gave_up and self._again_at_s is None:
            self._again_at_s = now_s + self._pause_s
            self._pause_s = min(2 * self._pause_s, GAVE_UP_S[1])
        elif self._watch.gave_up and self._again_at_s is not None and now_s >= self._again_at_s:
            self._connect_anew()

    def _connect_anew(self) -> None:
        if self._connects:
            self._socket.set(zmq.LINGER, 0)  # else what waits to be sent would go on trying the old way
            self._socket.disconnect(self.address)
            self._socket.set(zmq.LINGER, LINGER_MS)
        self._connect(self._socket, self.address)
        self._again_at_s = None
        self._watch.begin_anew()

    def _connect(self, socket: zmq.Socket[bytes], address: str) -> None:
        """With the key that is allowed now; with none, stay away."""
        if self._server_key_now is not None:
            self._server_key = self._server_key_now()
            if self._server_key is None:
                self._connects = False
                return
            socket.set(zmq.CURVE_SERVERKEY, self._server_key.public.encode())
        socket.connect(address)
        self._connects = True


__all__ = ["BoundEndpoint", "ConnectingEndpoint", "ZmqEndpoint"]
