"""The end of ZeroMQ connections that binds."""

import asyncio
import os
from collections.abc import Iterator
from itertools import chain
from math import inf

import zmq

from draftwire.runtime.transport.addresses import file_at
from draftwire.runtime.transport.admission import Known, Names
from draftwire.runtime.transport.base import LINGER_MS, DropReason, Offence, Received
from draftwire.runtime.transport.doorman import Doorman
from draftwire.runtime.transport.endless import (
    EACH_CONNECTION_S,
    EACH_S,
    UNFINISHED_BYTES,
    UNREAD_BYTES,
    Seen,
    Unfinished,
)
from draftwire.runtime.transport.endpoints import ZmqEndpoint
from draftwire.runtime.transport.lines import Line, bytes_read, hang_up, line_of
from draftwire.runtime.transport.quarantine import Sender
from draftwire.runtime.transport.verdicts import Verdicts


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
        self._unfinished = Unfinished()
        self._next_look: asyncio.TimerHandle = self._loop.call_later(EACH_S, self._look)

    def offence(self, peer: bytes, offence: Offence) -> None:
        sender = self._names.sender_of(peer)
        if sender is not None:
            self._judge(sender, offence)

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
        if known.unsure:
            self._found(first, known, line_of(frame))
        now_s = known.heard_s = self._loop.time()
        reason = known.sender.drops(len(frame), now_s)
        if reason is not None:
            return self._drop(first, known, frame, reason)
        if known.line is None:  # it has come back
            known.line = line_of(frame)
            self._doorman.spoke(first, known.line)
        if known.sender.dropped:
            self._verdicts.released(known.sender, now_s=now_s)
        if frame.more or not known.name:
            endless = self._pass_over(len(frame), more=frame.more)
            self._judge(known.sender, Offence.ENDLESS if endless else Offence.FRAMES)
            return DropReason.FRAME_COUNT if frame.more else DropReason.NAMELESS
        impostor = "" if known.proved else self._names.objection(first, known, frame)
        return Received(first, frame.bytes, now_s, name=known.name, impostor=impostor, key=known.key)

    def _met(self, peer: bytes, frame: zmq.Frame) -> Known:
        known = self._names.meet(peer, frame)
        self._doorman.spoke(peer, known.line)
        return known

    def _found(self, peer: bytes, known: Known, line: Line | None) -> None:
        """A peer that has come by another connection has left the one before, which ZeroMQ keeps open."""
        known.unsure = False
        if line != known.line and line is not None:
            if known.line is not None:
                self._doorman.hang_up(peer, known.line)
                known.line = line
            self._doorman.spoke(peer, line)

    def _drop(self, peer: bytes, known: Known, frame: zmq.Frame, reason: DropReason) -> DropReason:
        """In quarantine with keys a connection ends with its first message: whoever comes back by another is
        known by the key. Without keys he would no longer be known.
        """
        endless = self._pass_over(len(frame), more=frame.more)
        if reason is DropReason.FLOOD:
            self._judge(known.sender, Offence.ENDLESS if endless else Offence.FLOOD)
        elif known.line is not None and self._names.keys:
            self._doorman.hang_up(peer, known.line)
            known.line = None
        return reason

    def _look(self) -> None:
        """End connections by which a message without end comes, see endless.py."""
        lines = self._doorman.lines()
        self._next_look = self._loop.call_later(max(EACH_S, len(lines) * EACH_CONNECTION_S), self._look)
        if any(peer is None for _, peer in lines):
            for known in chain(self._names.known.values(), self._names.strangers.values()):
                known.unsure = True
        peers, found = dict(lines), self._unfinished.look(self._seen(lines))
        most = UNFINISHED_BYTES if self._has_read_all() else UNREAD_BYTES  # of what was seen before
        for line, unfinished_bytes in found.items():
            if unfinished_bytes > most:
                self._cut(line, peers[line], unfinished_bytes)

    def _seen(self, lines: list[tuple[Line, bytes | None]]) -> Iterator[tuple[Line, Seen]]:
        for line, peer in lines:
            known = None if peer is None else self._names.of(peer)
            if (known is not None or peer is None) and (read := bytes_read(line)) is not None:
                yield line, Seen(-inf if known is None else known.heard_s, read)

    def _cut(self, line: Line, peer: bytes | None, unfinished_bytes: int) -> None:
        """Whose it is shows with the first message alone: one that has said none yet is cut each time."""
        known = None if peer is None else self._names.of(peer)
        self._verdicts.endless(
            "" if known is None else known.name, line, unfinished_bytes, now_s=self._loop.time()
        )
        hang_up(line)
        self._counts.drop(DropReason.ENDLESS)
        if known is not None:
            self._judge(known.sender, Offence.ENDLESS)

    async def _let_go(self) -> None:
        self._next_look.cancel()
        if self._path is not None and self._file is not None and self._file == file_at(self._path):
            os.unlink(self._path)  # ZeroMQ leaves that to us
        try:
            await self._doorman.see_unbound(self.address, LINGER_MS)
        finally:
            self._doorman.close()


__all__ = ["BoundEndpoint"]
