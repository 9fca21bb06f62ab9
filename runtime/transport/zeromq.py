"""Endpoints over ZeroMQ sockets."""

import asyncio
import errno
import ipaddress
import os
import socket as sockets
from collections.abc import Callable
from typing import Final, Self

import zmq

from draftwire.codecs.limits import MAX_FRAME_BYTES
from draftwire.runtime.errors import AddressError, AddressInUseError
from draftwire.runtime.transport.base import (
    INBOX_MESSAGES,
    LINGER_MS,
    PEER_QUEUE_MESSAGES,
    Counts,
    DropReason,
    Endpoint,
    EndpointStatistics,
    Received,
    check_address,
    check_identity,
)
from draftwire.runtime.transport.mailbox import Mailbox

RECONNECT_MS: Final = (100, 5000)
"""First and longest pause before a lost connection is tried again."""

DRAIN_MESSAGES: Final = 128
"""Messages read in one turn of the loop, so that a flood can't keep other tasks from running."""


class ZmqTransport:
    """Endpoints over ZeroMQ, at tcp:// and ipc:// addresses, in a context of their own.

    `configure` is called with every new socket before it is bound or connected, and with whether it will
    bind: the place for keys and an authentication domain.
    """

    def __init__(self, *, configure: Callable[[zmq.Socket[bytes], bool], None] | None = None) -> None:
        self._configure = configure
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._endpoints: list[_ZmqEndpoint] = []

    async def bind(self, address: str) -> Endpoint:
        check_address(address, "tcp", "ipc")
        path = _path_of(address)
        if path is not None:
            await asyncio.to_thread(_refuse_taken_path, address, path)
        numeric = await _with_numeric_host(address)
        socket = self._socket(zmq.ROUTER, binds=True)
        socket.set(zmq.ROUTER_MANDATORY, 1)  # without it a full or missing peer swallows messages in silence
        socket.set(zmq.ROUTER_HANDOVER, 1)  # without it a device that comes back is never heard again
        return self._opened(socket, address, lambda: socket.bind(numeric), path=path)

    async def connect(self, address: str, *, identity: bytes) -> Endpoint:
        check_address(address, "tcp", "ipc")
        check_identity(identity)
        socket = self._socket(zmq.DEALER, binds=False)
        socket.set(zmq.IDENTITY, identity)
        return self._opened(socket, address, lambda: socket.connect(address))

    async def close(self) -> None:
        for endpoint in self._endpoints:
            await endpoint.close()
        self._endpoints.clear()
        await asyncio.to_thread(self._context.term)  # every socket has closed: LINGER_MS at the longest

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _socket(self, kind: int, *, binds: bool) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.set(zmq.LINGER, LINGER_MS)
        socket.set(zmq.SNDHWM, PEER_QUEUE_MESSAGES)
        socket.set(zmq.RCVHWM, PEER_QUEUE_MESSAGES)
        socket.set(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        socket.set(zmq.RECONNECT_IVL, RECONNECT_MS[0])
        socket.set(zmq.RECONNECT_IVL_MAX, RECONNECT_MS[1])
        if self._configure is not None:
            self._configure(socket, binds)
        return socket

    def _opened(
        self,
        socket: zmq.Socket[bytes],
        address: str,
        open_: Callable[[], object],
        *,
        path: str | None = None,
    ) -> Endpoint:
        try:
            open_()
        except zmq.ZMQError as error:
            socket.close(linger=0)
            raise _address_error(address, error) from None
        self._endpoints = [endpoint for endpoint in self._endpoints if not endpoint.closed]
        bound_at = socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self._endpoints.append(_ZmqEndpoint(socket, address=bound_at, path=path))
        return self._endpoints[-1]


class _ZmqEndpoint:
    """A plain socket, read by the loop whenever its descriptor signals.

    That signal is an edge: after it, and after every send, which may swallow one, the socket is read until it
    is empty, in turns of DRAIN_MESSAGES. A full inbox stops the reading until the node has taken a message.
    """

    def __init__(self, socket: zmq.Socket[bytes], *, address: str, path: str | None) -> None:
        self.address: Final = address
        self.closed = False
        self._socket = socket
        self._binds = socket.get(zmq.TYPE) == zmq.ROUTER
        self._loop = asyncio.get_running_loop()
        self._inbox: Mailbox[Received] = Mailbox(address)
        self._counts = Counts()
        self._stalled = self._draining_soon = False
        self._path = path
        self._file = _file_at(path)
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
            self._socket.send_multipart([peer, data] if self._binds else [data], zmq.NOBLOCK)
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

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._loop.remove_reader(self._socket.fileno())
            self._inbox.close()
            try:
                if self._binds:
                    await self._unbind()
            finally:  # cancelled or not: an open socket would keep the context from closing
                self._socket.close()

    async def _unbind(self) -> None:
        """Unbind, and wait until the port or path is free: ZeroMQ's own thread lets it go a little later."""
        if self._path is not None and self._file is not None and self._file == _file_at(self._path):
            os.unlink(self._path)  # ZeroMQ leaves that to us
        with self._socket.get_monitor_socket(zmq.EVENT_CLOSED) as monitor:
            self._socket.unbind(self.address)
            await asyncio.to_thread(monitor.poll, LINGER_MS)
            self._socket.disable_monitor()

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
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if len(frames) != 1 + self._binds:
                self._counts.drop(DropReason.FRAME_COUNT)
                continue
            self._counts.receive(frames[-1])
            peer = frames[0] if self._binds else b""
            self._inbox.put(Received(peer, frames[-1], self._loop.time()))
        self._drain_soon()


def _path_of(address: str) -> str | None:
    """The path of an ipc address; None where ZeroMQ makes the file itself, or there is none."""
    path = address.removeprefix("ipc://")
    return None if path == address or path == "*" or path.startswith("@") else path


def _file_at(path: str | None) -> tuple[int, int] | None:
    """Which file stands there: somebody else may have put another in its place."""
    try:
        status = None if path is None else os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if status else None


def _refuse_taken_path(address: str, path: str) -> None:
    """ZeroMQ takes an ipc path away from whoever is bound to it, so ask first whether somebody listens."""
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            return  # nobody there, or no such path, which bind itself explains
    raise AddressInUseError(address)


async def _with_numeric_host(address: str) -> str:
    """Peers connect to a host's name; bind wants a number or an interface, so look the name up."""
    scheme, _, rest = address.partition("://")
    host, _, port = rest.rpartition(":")
    interfaces = {name for _, name in sockets.if_nameindex()}
    if scheme != "tcp" or not host or host in {"*", *interfaces} or _is_ip(host.strip("[]")):
        return address
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, family=sockets.AF_INET)
    except OSError:
        raise AddressError(address, f"unknown host {host!r}", remedy="write its IP address") from None
    return f"tcp://{found[0][4][0]}:{port}"


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _address_error(address: str, error: zmq.ZMQError) -> AddressError:
    if error.errno == errno.EADDRINUSE:
        return AddressInUseError(address)
    if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
        problem, remedy = "no interface of this host has that address", "bind on the host it belongs to"
    elif error.errno == errno.EACCES:
        problem, remedy = "not permitted", "choose a port above 1023, or a path that this user may write"
    elif error.errno == errno.ENOENT:
        problem, remedy = "no such folder", "create the folder, or choose another path"
    elif error.errno == errno.ENAMETOOLONG:
        problem, remedy = "the path is longer than a socket's may be", "choose a shorter one"
    else:
        problem, remedy = f"not an address ({error.strerror})", "write tcp://HOST:PORT or ipc://PATH"
    return AddressError(address, problem, remedy=remedy)


__all__ = ["ZmqTransport"]
