"""Whose key may connect, and under which name.

ZeroMQ asks the first question itself, before a connection stands (ZAP, RFC 27), at a fixed address inside
the context. It is answered in the loop, as all else that a node does: the answer takes microseconds, and no
second thread reads the keys or writes to the log. The second one is asked with a connection's first message.
With that it is known whose budget the connection draws on, see quarantine.py.
"""

import asyncio
from dataclasses import dataclass
from math import inf
from typing import Final

import zmq
from zmq.utils import z85

from draftwire.runtime.memory import remember
from draftwire.runtime.security import Keyring, PublicKey, Role, Service, key_of, may_call_itself
from draftwire.runtime.telemetry import get_logger
from draftwire.runtime.transport.base import name_in
from draftwire.runtime.transport.lines import Line, line_of
from draftwire.runtime.transport.quarantine import Sender, Senders

ZAP_ADDRESS: Final = "inproc://zeromq.zap.01"
ZAP_VERSION: Final = b"1.0"
ADMITTED: Final = (b"200", b"OK")
REFUSED: Final = (b"400", b"this key is not allowed here")

ANSWERS_A_TURN: Final = 16
"""Questions answered in one turn of the loop, so that a flood of connections can't keep other tasks away."""

TURN_S: Final = 0.01
"""Behind such a turn no other question is answered for this long: they take up to 0.2 ms each. A thousand
devices that come back together are let in within a second."""

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
        self._pause: asyncio.TimerHandle | None = None
        self._listen()

    def close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _listen(self) -> None:
        self._pause = None
        self._loop.add_reader(self._socket.fileno(), self._answer)
        self._loop.call_soon(self._answer)

    def _answer(self) -> None:
        """A question that is taken is answered, whatever comes of it: else no other could be, ever. The log,
        which may fail, comes behind.
        """
        if self._pause is not None:
            return  # this turn was due when it began
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
            self._loop.remove_reader(self._socket.fileno())  # it would be called again and again meanwhile
            self._pause = self._loop.call_later(TURN_S, self._listen)
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


@dataclass(slots=True, kw_only=True)
class Known:
    """A connection to a bound endpoint."""

    name: str
    "that it goes by; empty: it has none"
    proved: bool
    "whether it may go by that name"
    sender: Sender
    "whose budget it draws on"
    line: Line | None
    "None: that could not be told"
    heard_s: float = -inf
    "when its last message came"
    unsure: bool = False
    "whether it may have come by another connection since"
    key: str = ""
    "the name of the key that proves its name; empty: none does"


class Names:
    """The names of the connections to a bound endpoint: proved by a key, or as each says."""

    def __init__(self, keyring: Keyring | None, senders: Senders) -> None:
        self._keyring, self._senders = keyring, senders
        self.keys = keyring is not None
        "whether names are proved"
        self.known = dict[bytes, Known]()
        "by connection: those that may go by their name"
        self.strangers = dict[bytes, Known]()
        "the others"
        self._left = dict[bytes, Sender]()
        "whose connections have ended, while messages of theirs may still wait for the node"

    def of(self, peer: bytes) -> Known | None:
        """A connection that has spoken, unless it is forgotten."""
        return self.known.get(peer) or self.strangers.get(peer)

    def sender_of(self, peer: bytes) -> Sender | None:
        """Of a connection that has spoken, also for a while after its end."""
        known = self.of(peer)
        return self._left.get(peer) if known is None else known.sender

    def meet(self, peer: bytes, frame: zmq.Frame) -> Known:
        """Who a connection is that is not yet known, by which `frame` came.

        A peer can't use what is known of another: it would need the random bytes in its routing id. What is
        read behind the end of its connection makes it known no longer than that.
        """
        known = self.strangers.get(peer)
        if known is None:
            name = name_in(peer) or ""
            sender = self._sender(peer, name, frame)
            known = Known(name=name, proved=False, sender=sender, line=line_of(frame))
            if known.line is None:
                remember(self._left, peer, sender, most=CONNECTIONS_KNOWN)
            else:
                remember(self.strangers, peer, known, most=CONNECTIONS_KNOWN)
        return known

    def forget(self, peer: bytes) -> None:
        """Its connection has ended; it is looked at again where it comes back."""
        known = self.known.pop(peer, None) or self.strangers.pop(peer, None)
        if known is not None:
            remember(self._left, peer, known.sender, most=CONNECTIONS_KNOWN)

    def objection(self, peer: bytes, known: Known, frame: zmq.Frame) -> str:
        """The impostor of Received, where its name is not yet proved; each message is told anew, since what
        is allowed may change. Without any, it is known from then on.
        """
        key = None if self._keyring is None else self._keyring.known(_public_key_of(frame))
        objection = self._objection(known.name, key)
        if not objection:
            known.proved, known.key = True, _called(key)
            if self.strangers.pop(peer, None) is not None:
                remember(self.known, peer, known, most=CONNECTIONS_KNOWN)
        return objection

    def _objection(self, name: str, key: PublicKey | None) -> str:
        if self._keyring is None:
            return ""
        if key is None:
            return "your key is no longer allowed here"
        if may_call_itself(name, key_name=key.name, role=key.role):
            return ""
        remedy = f'write name = "{key.name}", or use {name}\'s key'
        return f"the key of {key.name} can't speak for {name}: {remedy}"

    def _sender(self, peer: bytes, name: str, frame: zmq.Frame) -> Sender:
        """Without keys anybody may use any name, so that a connection answers for itself alone."""
        if self._keyring is None:
            return self._senders.of(peer, name)
        public = _public_key_of(frame)
        key = self._keyring.known(public)
        if key is not None and key.role is Role.CHANNEL:
            return self._senders.of((public, key_of(name)), key_of(name))
        return self._senders.of(public, _called(key))


def _called(key: PublicKey | None) -> str:
    return "" if key is None else key.name


def _public_key_of(frame: zmq.Frame) -> str:
    """That its sender has proved."""
    return str(frame.get("User-Id"))


__all__ = ["Admission", "Known", "Names", "UnusableKeys"]
