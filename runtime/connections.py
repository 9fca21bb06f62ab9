"""Who connects to whom in a topology: keys, the doctor and whoever else asks have it from here."""

from dataclasses import dataclass

from draftwire.runtime.security import HELD_BY, Role, Service
from draftwire.runtime.settings import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One node connects to another."""

    origin: Role
    "connects"
    service: Service
    "what is bound there"
    address: str
    "connected to"

    @property
    def holder(self) -> Role:
        """Who is bound there."""
        return HELD_BY[self.service]


def connections_of(topology: Topology) -> tuple[Connection, ...]:
    """Each connection between two nodes, from the device on; orders to the channel's links are none."""
    target, channel, controller = topology.target, topology.channel, topology.controller
    to_target = [Connection(origin=Role.DEVICE, service=Service.TARGET, address=target.address)]
    if channel is not None:
        to_target = [
            Connection(origin=Role.DEVICE, service=Service.CHANNEL, address=channel.address),
            Connection(origin=Role.CHANNEL, service=Service.TARGET, address=target.address),
        ]
    to_controller = Connection(origin=Role.TARGET, service=Service.CONTROLLER, address=controller.address)
    return (*to_target, to_controller, *_to_observer(topology))


def _to_observer(topology: Topology) -> tuple[Connection, ...]:
    """Every other node's; none where there is no observer."""
    observer, channel = topology.observer, topology.channel
    if observer is None:
        return ()
    tell = (Role.DEVICE, *([] if channel is None else [Role.CHANNEL]), Role.TARGET, Role.CONTROLLER)
    return tuple(Connection(origin=role, service=Service.OBSERVER, address=observer.address) for role in tell)


__all__ = ["Connection", "connections_of"]
