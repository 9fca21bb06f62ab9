"""Why a connecting socket has no connection: from the events of ZeroMQ's monitor to a Trouble."""

import errno
from typing import Final

import zmq

from draftwire.runtime.security import HELD_BY, NodeKeys, Service, allow_command
from draftwire.runtime.transport.base import Trouble, TroubleKind

EVENTS: Final = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
"""What a Watch wants to see."""

CLOSED_AGAIN: Final = 4
"""Times that a connection must close in a row before that replaces a mismatch. One end may close before the
other has read what it says: the same mismatch then shows as a connection that closes."""


class Watch:
    """What has become of the tries to connect; pure.

    Each try goes CONNECTED, HANDSHAKE_..., DISCONNECTED; or it ends with CLOSED where nobody listens. A host
    whose name can't be looked up shows only as one CONNECT_RETRIED behind another.
    """

    def __init__(self) -> None:
        self.kind: TroubleKind | None = None
        "None: connected, or nothing has failed yet"
        self.gave_up = False
        "whether ZeroMQ will not try again by itself"
        self.failures = 0
        "tries that have failed, and connections that broke"
        self._connecting = True
        self._closed_in_a_row = 0

    def see(self, event: int, value: int) -> None:
        """One event of the monitor, in order. `value` is an errno, or what went wrong in the protocol."""
        match event:
            case zmq.EVENT_CONNECTED:
                self._connecting = False
            case zmq.EVENT_CLOSED:
                self._failed(TroubleKind.UNREACHABLE)
            case zmq.EVENT_CONNECT_RETRIED:
                if self._connecting:
                    self._failed(TroubleKind.UNREACHABLE)
                self._connecting = True
            case zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.kind, self._closed_in_a_row = None, 0
            case zmq.EVENT_DISCONNECTED:
                self._connecting = False
                if self.kind is None:
                    self._failed(TroubleKind.LOST)
            case zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                closed = value in (errno.EPIPE, errno.ECONNRESET, errno.ECONNABORTED)
                self._failed(TroubleKind.CLOSED if closed else TroubleKind.SILENT)
            case zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                self.gave_up = True
                self._failed(TroubleKind.DENIED)
            case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                self.gave_up = True
                mismatch = value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH
                self._failed(TroubleKind.MISMATCH if mismatch else TroubleKind.SILENT)

    def begin_anew(self) -> None:
        """The socket was told to connect again; why it had to be stands until the new try has an end."""
        self.gave_up, self._connecting = False, True

    def _failed(self, kind: TroubleKind) -> None:
        self.failures += 1
        self._closed_in_a_row = self._closed_in_a_row + 1 if kind is TroubleKind.CLOSED else 0
        mismatch = self.kind is TroubleKind.MISMATCH and 0 < self._closed_in_a_row < CLOSED_AGAIN
        self.kind = TroubleKind.MISMATCH if mismatch else kind


def explain(kind: TroubleKind, address: str, service: Service, keys: NodeKeys | None) -> Trouble:
    """A trouble in the words of whoever can mend it. `keys`: what this end connects with."""
    role = HELD_BY[service].value
    alike = "use a topology file with the same [security] at both ends"
    match kind:
        case TroubleKind.UNREACHABLE:
            text = (
                f"nobody listens there, or the name is not known; is the {role} running, and does that "
                "address lead to it from here?"
            )
        case TroubleKind.SILENT:
            text = f"something listens there, but it does not answer as a {role}; is the address right?"
        case TroubleKind.CLOSED if keys is not None:
            text = (
                f"it closes the connection: the key allowed here for role {role} is not the one that the "
                "node there has, or that one uses no keys, or a forwarder stands there whose node is not "
                "running; compare its .key file with keys/allowed"
            )
        case TroubleKind.CLOSED:
            text = (
                "it closes the connection: it expects keys, or a forwarder stands there whose node is not "
                f"running; {alike}"
            )
        case TroubleKind.DENIED:
            allow = "draftwire keys allow NAME.key" if keys is None else _allow_command(keys)
            name = "" if keys is None else f" {keys.own.public.name}"
            text = f"it does not allow our key{name}; on that machine: {allow}"
        case TroubleKind.REVOKED:
            text = (
                f"its key is no longer allowed here; copy the {role}'s .key file anew, and: draftwire keys "
                "allow FILE"
            )
        case TroubleKind.MISMATCH if keys is not None:
            text = f"it does not use keys, and we do; {alike}"
        case TroubleKind.MISMATCH:
            text = f"it uses keys, and we don't; {alike}"
        case TroubleKind.LOST:
            text = f"the connection to the {role} broke; trying again"
    return Trouble(kind=kind, text=f"{address}: {text}")


def _allow_command(keys: NodeKeys) -> str:
    return allow_command(keys.own.public.name, keys.own.public.role)


__all__ = ["EVENTS", "Watch", "explain"]
