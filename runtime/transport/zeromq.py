"""Endpoints over ZeroMQ sockets, with CURVE keys or without."""

import asyncio
import os
import random
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, Self

import zmq

from draftwire.codecs.limits import MAX_FRAME_BYTES
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.security import HELD_BY, NodeKeys, PublicKey, Role, Service
from draftwire.runtime.transport.addresses import (
    address_error,
    is_ipv6,
    path_of,
    refuse_taken_path,
    with_numeric_host,
)
from draftwire.runtime.transport.admission import Admission, Names, UnusableKeys
from draftwire.runtime.transport.base import (
    LINGER_MS,
    NONCE_BYTES,
    PEER_QUEUE_MESSAGES,
    Endpoint,
    check_address,
    routing_id,
)
from draftwire.runtime.transport.bound import BoundEndpoint
from draftwire.runtime.transport.connecting import ConnectingEndpoint
from draftwire.runtime.transport.doorman import Doorman
from draftwire.runtime.transport.endpoints import ZmqEndpoint
from draftwire.runtime.transport.quarantine import Senders
from draftwire.runtime.transport.watch import explain

RECONNECT_MS: Final = (100, 1000)
"""First and longest pause before a lost connection is tried again; it doubles in between, up to a second: a
node that is started again is found by then, however long it was away. ZeroMQ adds no
jitter where there is a longest one, so each endpoint draws its first pause from this to twice this: devices
that lose one BS together don't come back together."""

CONNECT_TIMEOUT_MS: Final = 5000
"""For TCP's own handshake: the system's bound is two minutes, a lost first packet costs a second."""

HANDSHAKE_MS: Final = 8000
"""For ZeroMQ's handshake, keys included: two round trips. Whoever takes the connection and says nothing is
told from a slow link, and a connection that a NAT has forgotten half-way is tried again."""

KEEPALIVE_S: Final = (15, 5)
"""A connection at rest is asked after the first, and then every second one: below the 30 s after which the
least patient NATs forget it."""

KEEPALIVE_COUNT: Final = 3
"""Questions without an answer after which it is given up; on Linux UNANSWERED_MS comes first, at 20 s."""

UNREAD_MESSAGES: Final = 64
"""Of each peer that ZeroMQ takes while an end that binds reads none, as its loop stands still: 64 MiB at the
most. What comes behind them waits in the kernel, and then at the peer."""

MAX_SOCKETS: Final = 16384
"""Of a context: ZeroMQ's own bound is 1023, and an endpoint that connects takes three. Each is a file too, so
the process's limit on those comes first."""

UNANSWERED_MS: Final = 10_000
"""How long what was sent may go unacknowledged by the other end's TCP before the connection is made anew; the
system's bound is a quarter of an hour. More than the retries of a link that is out for a few seconds take."""

CURVE_BYTES: Final = 33
"""What encryption adds to a frame: MESSAGE and its length, a nonce, a code, and the flags. ZeroMQ's own bound
on a message counts them."""


class ZmqTransport:
    """Endpoints over ZeroMQ, at tcp:// and ipc:// addresses, in a context of their own.

    With `keys`, every endpoint proves who it is and talks to those only whom the keys allow, except for the
    services in `plain`.
    """

    def __init__(self, keys: NodeKeys | None = None, plain: Collection[Service] = ()) -> None:
        self._keys, self._plain = keys, frozenset(plain)
        self._unusable = None if keys is None else UnusableKeys(keys.keyring)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, min(MAX_SOCKETS, self._context.get(zmq.SOCKET_LIMIT)))
        self._endpoints: list[ZmqEndpoint] = []
        self._admission: Admission | None = None
        self._server_keys = dict[Role, PublicKey]()

    async def bind(self, address: str, *, service: Service) -> Endpoint:
        """As Transport.bind; ConfigurationError where our key is not of the role that holds this service."""
        check_address(address, "tcp", "ipc")
        keys = self._keys_for(service)
        if keys is not None:
            _check_role(keys, service)
        path = path_of(address)
        names = Names(None if keys is None else keys.keyring, Senders())
        with _address_errors(address):
            if path is not None:
                await asyncio.to_thread(refuse_taken_path, address, path)
            numeric = await with_numeric_host(address)
            with self._socket(zmq.ROUTER, address) as socket:
                socket.set(zmq.ROUTER_MANDATORY, 1)  # without it a full or missing peer swallows messages
                socket.set(zmq.RCVHWM, UNREAD_MESSAGES)
                socket.set(zmq.ROUTER_HANDOVER, 1)  # without it a connection that comes back is never heard
                if keys is not None:
                    self._guard(socket, service, keys)
                doorman = Doorman(socket, left=names.forget)
                try:
                    socket.bind(numeric)
                except BaseException:
                    doorman.close()
                    raise
        bound_at = socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
        return self._kept(BoundEndpoint(socket, bound_at, names=names, doorman=doorman, path=path))

    async def connect(self, address: str, *, service: Service, name: str) -> Endpoint:
        """As Transport.connect; ConfigurationError where no key of that service's holder is allowed here.

        Where one was, at an earlier call, the endpoint waits in trouble until one is again: a node that runs
        must not end because a file is copied anew.
        """
        check_address(address, "tcp", "ipc")
        identity = routing_id(name, os.urandom(NONCE_BYTES))
        keys = self._keys_for(service)
        server_key = None
        if keys is not None:
            server_key = partial(self._server_key, keys, HELD_BY[service])
            server_key()
        with _address_errors(address), self._socket(zmq.DEALER, address) as socket:
            socket.set(zmq.IDENTITY, identity)
            socket.set(zmq.CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS)
            if keys is not None:
                socket.set(zmq.MAXMSGSIZE, MAX_FRAME_BYTES + CURVE_BYTES)
                socket.set(zmq.CURVE_PUBLICKEY, keys.own.public.public.encode())
                socket.set(zmq.CURVE_SECRETKEY, keys.own.secret.encode())
            endpoint = ConnectingEndpoint(
                socket,
                address,
                explain=partial(explain, address=address, service=service, keys=keys),
                server_key=server_key,
            )
        return self._kept(endpoint)

    async def close(self) -> None:
        try:
            for endpoint in self._endpoints:
                await endpoint.close()
            self._endpoints.clear()
        finally:
            if self._admission is not None:
                self._admission.close()
                self._admission = None
        await asyncio.to_thread(self._context.term)  # every socket has closed: LINGER_MS at the longest

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @contextmanager
    def _socket(self, kind: int, address: str) -> Iterator[zmq.Socket[bytes]]:
        """A new one, which is closed where the block fails. Raises zmq.ZMQError where there is none left."""
        socket = self._context.socket(kind)
        try:
            self._set_up(socket, address)
            yield socket
        except BaseException:
            socket.close(linger=0)
            raise

    def _set_up(self, socket: zmq.Socket[bytes], address: str) -> None:
        socket.set(zmq.IPV6, is_ipv6(address))
        socket.set(zmq.LINGER, LINGER_MS)
        socket.set(zmq.SNDHWM, PEER_QUEUE_MESSAGES)
        socket.set(zmq.RCVHWM, PEER_QUEUE_MESSAGES)
        socket.set(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        socket.set(zmq.RECONNECT_IVL, RECONNECT_MS[0] + random.randrange(RECONNECT_MS[0]))
        socket.set(zmq.RECONNECT_IVL_MAX, RECONNECT_MS[1])
        socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        socket.set(zmq.TCP_KEEPALIVE, 1)
        socket.set(zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_S[0])
        socket.set(zmq.TCP_KEEPALIVE_INTVL, KEEPALIVE_S[1])
        socket.set(zmq.TCP_KEEPALIVE_CNT, KEEPALIVE_COUNT)
        socket.set(zmq.TCP_MAXRT, UNANSWERED_MS)

    def _kept(self, endpoint: ZmqEndpoint) -> Endpoint:
        self._endpoints = [other for other in self._endpoints if not other.closed]
        self._endpoints.append(endpoint)
        return endpoint

    # -- keys ------------------------------------------------------------------------------------------------

    def _keys_for(self, service: Service) -> NodeKeys | None:
        if self._unusable is not None:
            self._unusable.tell()
        return None if service in self._plain else self._keys

    def _guard(self, socket: zmq.Socket[bytes], service: Service, keys: NodeKeys) -> None:
        """Let those in only whose key may connect to this service."""
        if self._admission is None:
            assert self._unusable is not None, "told where there are keys"
            self._admission = Admission(self._context, keys.keyring, self._unusable)
        socket.set(zmq.MAXMSGSIZE, MAX_FRAME_BYTES + CURVE_BYTES)
        socket.set(zmq.CURVE_SERVER, 1)
        socket.set(zmq.CURVE_SECRETKEY, keys.own.secret.encode())
        socket.set(zmq.ZAP_DOMAIN, service.value.encode())
        socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def _server_key(self, keys: NodeKeys, role: Role) -> PublicKey | None:
        """The key to expect of a server now: where several are allowed meanwhile, the one as before. None:
        none any more. Raises ConfigurationError where none ever was.
        """
        try:
            key = keys.keyring.server_key(role, keys.server_names.get(role))
        except ConfigurationError:
            if role not in self._server_keys:
                raise
            before = self._server_keys[role]
            return before if keys.keyring.known(before.public) == before else None
        self._server_keys[role] = key
        return key


@contextmanager
def _address_errors(address: str) -> Iterator[None]:
    """What ZeroMQ and the system say in the block is an AddressError."""
    try:
        yield
    except (zmq.ZMQError, OSError) as error:
        raise address_error(address, error) from None


def _check_role(keys: NodeKeys, service: Service) -> None:
    own, needed = keys.own.public, HELD_BY[service]
    if own.role is not needed:
        raise ConfigurationError(
            f"the key {own.name} is of role {own.role}, and the {service} needs one of role {needed}",
            remedy=f"make one: draftwire keys new {needed} --folder {keys.keyring.folder}",
        )


__all__ = ["ZmqTransport"]
