"""Whose key may connect, and under which name.

ZeroMQ asks the first question itself, before a connection stands (ZAP, RFC 27), at a fixed address inside
the context. It is answered in the loop, as all else that a node does: the answer takes microseconds, and no
second thread reads the keys or writes to the log. The second one is asked with a connection's first message.
"""

import asyncio
from typing import Final

import zmq
from zmq.utils import z85

from draftwire.runtime.security import Keyring, Service, may_call_itself
from draftwire.runtime.telemetry import get_logger
from draftwire.runtime.transport.base import name_in

ZAP_ADDRESS: Final = "inproc://zeromq.zap.01"
ZAP_VERSION: Final = b"1.0"
ADMITTED: Final = (b"200", b"OK")
REFUSED: Final = (b"400", b"this key is not allowed here")

ANSWERS_A_TURN: Final = 16
"""Questions answered in one turn of the loop, so that a flood of connections can't keep other tasks away."""

KEYS_TOLD: Final = 1000
"""Refused keys that are logged, each once: whoever makes a new key for each try can't fill the disk."""

CONNECTIONS_KNOWN: Final = 4096
"""Connections whose name is remembered; one that was forgotten is looked at again."""


class Admission:
    """Answers ZeroMQ for all sockets of a context, until it is closed."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keyring: Keyring) -> None:
        self._keyring = keyring
        self._log = get_logger("transport")
        self._told = set[tuple[str, str]]()
        self._loop = asyncio.get_running_loop()
        self._socket = context.socket(zmq.REP)
        self._socket.set(zmq.LINGER, 0)
        self._socket.bind(ZAP_ADDRESS)
        self._loop.add_reader(self._socket.fileno(), self._answer)

    def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _answer(self) -> None:
        for _ in range(ANSWERS_A_TURN):
            try:
                question = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            except zmq.ZMQError:
                if self._socket.closed:
                    return  # this turn was due when it was closed
                raise
            _, request, domain, address, _, mechanism, *credentials = question
            key = z85.encode(credentials[0]).decode() if mechanism == b"CURVE" and credentials else ""
            admitted = self._admits(domain.decode(), key, address.decode(errors="replace"))
            verdict = (*ADMITTED, key.encode()) if admitted else (*REFUSED, b"")
            self._socket.send_multipart([ZAP_VERSION, request, *verdict, b""])
        self._loop.call_soon(self._answer)

    def _admits(self, service: str, key: str, address: str) -> bool:
        """`service` is the domain of the socket that was connected to."""
        if self._keyring.admits(Service(service), key) is not None:
            return True
        if (service, key) not in self._told and len(self._told) < KEYS_TOLD:
            self._told.add((service, key))
            known = self._keyring.known(key)
            self._log.warning(
                "transport.key_refused",
                service=service,
                key=key,
                address=address,
                name=known.name if known else None,
                remedy=f"a key of role {known.role} has no business here"
                if known
                else f"if it is one of yours: draftwire keys allow NAME.key --folder {self._keyring.folder}",
            )
            for problem in self._keyring.problems():
                self._log.warning("transport.key_unusable", problem=str(problem))
        return False


class Names:
    """The names of the connections to a bound endpoint: proved by a key, or as each says."""

    def __init__(self, keyring: Keyring | None) -> None:
        self._keyring = keyring
        self.known = dict[bytes, str]()
        "connection -> a name that it may go by"

    def judge(self, peer: bytes, frame: zmq.Frame) -> tuple[str, str] | None:
        """Name and impostor, as in Received, of a connection not yet known; None: it has no name.

        `frame` came by it. One that may not go by its name is never known, so it is told with each message.
        A peer can't use what is known of another: it would need the random bytes in its routing id.
        """
        name = name_in(peer)
        if name is None:
            return None
        impostor = "" if self._keyring is None else self._objection(name, _key_of(frame))
        if not impostor:
            while len(self.known) >= CONNECTIONS_KNOWN:
                del self.known[next(iter(self.known))]
            self.known[peer] = name
        return name, impostor

    def _objection(self, name: str, public: str) -> str:
        assert self._keyring is not None
        key = self._keyring.known(public)
        if key is None:
            return "your key is no longer allowed here"
        if may_call_itself(name, key_name=key.name, role=key.role):
            return ""
        remedy = f'write name = "{key.name}", or use {name}\'s key'
        return f"the key of {key.name} can't speak for {name}: {remedy}"


def _key_of(frame: zmq.Frame) -> str:
    """The public key that its sender has proved."""
    return str(frame.get("User-Id"))


__all__ = ["Admission", "Names"]
