"""Whose key may connect, and under which name.

ZeroMQ asks the first question itself, before a connection stands (ZAP, RFC 27), at a fixed address inside
the context. It is answered in the loop, as all else that a node does: the answer takes microseconds, and no
second thread reads the keys or writes to the log. The second one is asked with a connection's first message.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import zmq
from zmq.utils import z85

from draftwire.runtime.memory import remember
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

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], keyring: Keyring, unusable: "UnusableKeys"
    ) -> None:
        """Raises zmq.ZMQError where there is no socket left."""
        self._keyring, self._unusable = keyring, unusable
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
        """A question that is taken is answered, whatever comes of it: else no other could be, ever. The log,
        which may fail, comes behind.
        """
        refused = list[_Question]()
        for _ in range(ANSWERS_A_TURN):
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            except zmq.ZMQError:
                if self._socket.closed:
                    break  # this turn was due when it was closed
                raise
            verdict = (*REFUSED, b"")
            try:
                question = _question(parts)
                if self._keyring.admits(question.service, question.key) is not None:
                    verdict = (*ADMITTED, question.key.encode())
                else:
                    refused.append(question)
            except Exception as error:
                failure = {"message": "a key could not be judged, and was refused", "exception": error}
                self._loop.call_exception_handler(failure)
            finally:
                self._socket.send_multipart([ZAP_VERSION, parts[1], *verdict, b""])
        else:
            self._loop.call_soon(self._answer)
        for question in refused:
            self._tell(question)

    def _tell(self, refused: "_Question") -> None:
        asked = (refused.service, refused.key)
        if asked in self._told or len(self._told) >= KEYS_TOLD:
            return
        self._told.add(asked)
        known = self._keyring.known(refused.key)
        self._log.warning(
            "transport.key_refused",
            service=refused.service.value,
            key=refused.key,
            address=refused.address,
            name=known.name if known else None,
            remedy=f"a key of role {known.role} has no business here"
            if known
            else f"if it is one of yours: draftwire keys allow NAME.key --folder {self._keyring.folder}",
        )
        self._unusable.tell()


@dataclass(frozen=True, slots=True)
class _Question:
    """Whether a key may connect."""

    service: Service
    "which is the domain of the socket that was connected to"
    key: str
    "empty: it comes with none"
    address: str
    "of whoever connects"


def _question(parts: list[bytes]) -> _Question:
    _, _, domain, address, _, mechanism, *credentials = parts
    key = z85.encode(credentials[0]).decode() if mechanism == b"CURVE" and credentials else ""
    return _Question(Service(domain.decode()), key, address.decode(errors="replace"))


class UnusableKeys:
    """Says of each file of a keyring that can't be used, once for each cause; the others go on."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._log = get_logger("transport")
        self._told = set[str]()

    def tell(self) -> None:
        now = {str(problem) for problem in self._keyring.problems()}
        news, self._told = now - self._told, now
        for problem in sorted(news):
            self._log.warning("transport.key_unusable", problem=problem)


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
            remember(self.known, peer, name, most=CONNECTIONS_KNOWN)
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


__all__ = ["Admission", "Names", "UnusableKeys"]
