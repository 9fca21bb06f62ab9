"""What the nodes of a topology tell its observer: which events of which role, and under which names."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import structlog
from structlog.typing import FilteringBoundLogger

from draftwire.runtime.clock import LoopClock
from draftwire.runtime.config import Topology
from draftwire.runtime.reporting import Reporter
from draftwire.runtime.security import NodeKeys, Role
from draftwire.runtime.telemetry import DECISION_EVENT, LINK_EVENT, STEP_EVENT

REPORTED: Final[Mapping[Role, tuple[str, ...]]] = MappingProxyType(
    {
        Role.TARGET: (STEP_EVENT,),
        Role.CONTROLLER: (DECISION_EVENT,),
        Role.CHANNEL: (LINK_EVENT,),
    }
)
"""Events of a node's log. What else it tells, it tells outside of it."""


def reporter_of(
    topology: Topology, role: Role, keys: NodeKeys | None, *, logger: FilteringBoundLogger | None = None
) -> Reporter | None:
    """Of a node of this process, or of all its devices; None where the topology has no observer.

    `logger`: where it says that nobody hears it; None: the node's own, as logging is set up by then. A
    reporter is a part of that, so it is made before.
    """
    if topology.observer is None:
        return None
    later: FilteringBoundLogger = structlog.get_logger(node=role.value)
    name = role.value if keys is None else keys.own.public.name
    names: tuple[str, ...] = (name,)
    if role is Role.DEVICE:
        name, names = topology.device.name, topology.device.names
    return Reporter(
        name=name,
        role=role,
        names=names,
        address=topology.observer.address,
        clock=LoopClock(),
        logger=logger or later,
        events=REPORTED.get(role, ()),
    )


__all__ = ["REPORTED", "reporter_of"]
