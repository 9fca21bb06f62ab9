"""The end of a ZeroMQ connection that connects."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from draftwire.runtime.security import PublicKey
from draftwire.runtime.transport.base import LINGER_MS, DropReason, Offence, Received, Trouble, TroubleKind
from draftwire.runtime.transport.endpoints import ZmqEndpoint
from draftwire.runtime.transport.watch import EVENTS, Watch

GAVE_UP_S: Final = (2.0, 30.0)
"""First and longest pause before we try where ZeroMQ itself would not try again: our key is refused, or one
end uses keys and the other does not, which somebody may mend at any time."""

KEYS_LOOKED_AT_S: Final = 0.5
"""How often an end without a connection looks whether the server's key is still allowed here: one that was
taken away counts from then on, whoever may come up at the address."""

_MORE: Final = int(zmq.RCVMORE)


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
        self._pass_over(len(first), more=True)
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


__all__ = ["ConnectingEndpoint"]
