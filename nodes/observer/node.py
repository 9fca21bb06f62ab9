"""The observer: hears what all nodes tell, and passes it on to whoever keeps, counts or shows it.

It sends nothing but echoes. A key may tell what a node of its role tells, under its own name or one below it;
a channel's too, which elsewhere speaks for any device. A device tells nothing of another device. What else
comes is counted and costs nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from draftwire.codecs.control import Event, Json
from draftwire.codecs.errors import WireError
from draftwire.codecs.frame import decode_frame, encode_frame
from draftwire.codecs.probes import Probe, echo_of
from draftwire.nodes.observer.heard import TOLD_BY
from draftwire.runtime.clock import Clock
from draftwire.runtime.security import Role, Service, key_of
from draftwire.runtime.transport import Endpoint, Offence, Received, Transport
from draftwire.runtime.transport.echoes import EchoBudgets
from draftwire.runtime.transport.quarantine import offence_in

UNEXPECTED: Final = "unexpected"
"""The cause under which messages are counted that are well formed but nothing that an observer is told."""

IMPOSTOR: Final = "impostor"
"""The cause under which those are counted that tell of a node, or in a role, that is not their key's."""

UNKNOWN: Final = "unknown"
"""The cause under which events are counted that no node of this version tells; no offence."""

class Sink(Protocol):
    """Who is told of each event."""

    def hear(self, node: str, event: Mapping[str, Json], at_s: float) -> None:
        """A node tells this; `event["event"]` is its name, `at_s` the observer's clock."""
        ...


class ObserverNode:
    """An actor that hears events; see `run`."""

    name = "observer"

    def __init__(
        self,
        *,
        transport: Transport,
        address: str,
        clock: Clock,
        logger: FilteringBoundLogger,
        sinks: Sequence[Sink],
        role_of: Callable[[str], Role | None] | None = None,
        wall_s: Callable[[], float] | None = None,
        refused: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """`role_of`: of a key, by its name; None: names prove nothing here. `wall_s`: the clock on the wall,
        UTC, for who asks; None: that of `clock`. `refused` counts messages that are no event which their
        sender may tell: a Refusal, UNEXPECTED, IMPOSTOR or UNKNOWN each.
        """
        self.address = address
        "to bind; once started, the one bound"
        self._transport, self._logger, self._sinks = transport, logger, tuple(sinks)
        self._role_of, self._wall_s = role_of, wall_s or clock.now_s
        self._count_refused = refused
        self._told_of = set[str]()
        "causes of refusals that have been logged"
        self._failed = set[str]()
        "kinds of errors of sinks that have been logged"
        self._probed = EchoBudgets()

    async def run(self, started: Callable[[], None]) -> None:
        """Hear until cancelled. Raises AddressError if its address can't be bound."""
        endpoint = await self._transport.bind(self.address, service=Service.OBSERVER)
        self.address = endpoint.address
        self._logger.info("observer.ready", address=self.address)
        started()
        try:
            while True:
                self._receive(endpoint, await endpoint.receive())
        finally:
            await endpoint.close()

    def _receive(self, endpoint: Endpoint, received: Received) -> None:
        peer, name = received.peer, received.name
        if received.impostor:
            self._refuse(IMPOSTOR, name, received.impostor)
            endpoint.offence(peer, Offence.IMPOSTOR)
            return
        try:
            message = decode_frame(received.data).message
        except WireError as error:
            self._refuse(error.reason, name, error.detail)
            if (offence := offence_in(error.reason)) is not None:
                endpoint.offence(peer, offence)
            return
        if isinstance(message, Event):
            self._hear(endpoint, received, message)
        elif isinstance(message, Probe):
            if self._probed.may(peer, message, received.at_s):
                echo = echo_of(message, self._wall_s())
                endpoint.send(peer, encode_frame(echo, session=0, sequence=0))
        else:
            self._refuse(UNEXPECTED, name, f"{type(message).__name__} is nothing that an observer is told")
            endpoint.offence(peer, Offence.MISPLACED)

    def _hear(self, endpoint: Endpoint, received: Received, told: Event) -> None:
        event = told.fields.get("event")
        if not isinstance(event, str) or event not in TOLD_BY:
            self._refuse(UNKNOWN, received.name, f"no node tells an event {event!r}")
            return
        objection = self._objection(received, told, TOLD_BY[event])
        if objection:
            self._refuse(IMPOSTOR, received.name, objection)
            endpoint.offence(received.peer, Offence.IMPOSTOR)
            return
        for sink in self._sinks:
            try:
                sink.hear(told.node, told.fields, received.at_s)
            except Exception as error:  # of an event that only looks like one: no reason to end
                self._fail(error, event, received.name)

    def _objection(self, received: Received, told: Event, teller: Role | None) -> str:
        """Why whoever has sent it can't tell that; empty: it can. Without a key it is who it says."""
        key = received.key or key_of(received.name)
        if key_of(told.node) != key:
            return f"{key} can't speak for {told.node}"
        device = told.fields.get("device")
        if teller is Role.DEVICE and device != told.node:
            return f"{told.node} can't tell of device {device!r}"
        said = told.fields.get("role")
        role = teller.value if teller is not None else said
        known = None if self._role_of is None else self._role_of(key)
        if self._role_of is not None and (known is None or known.value != role):
            return f"the key of {key} is of role {known}, and {role} is another"
        return ""

    def _fail(self, error: Exception, event: str, peer: str) -> None:
        if (kind := type(error).__name__) not in self._failed:
            self._failed.add(kind)
            detail = f"an event {event} could not be shown; it is left out"
            self._logger.exception("observer.failed", peer=peer, detail=detail)

    def _refuse(self, cause: str, peer: str, detail: str) -> None:
        self._count_refused(str(cause))
        if cause not in self._told_of:
            self._told_of.add(cause)
            self._logger.warning("observer.refused", reason=str(cause), peer=peer, detail=detail)


__all__ = ["IMPOSTOR", "UNEXPECTED", "UNKNOWN", "ObserverNode", "Sink"]
