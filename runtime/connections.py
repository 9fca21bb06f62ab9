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
    return (
        *to_target,
        Connection(origin=Role.TARGET, service=Service.CONTROLLER, address=controller.address),
    )


__all__ = ["Connection", "connections_of"]
