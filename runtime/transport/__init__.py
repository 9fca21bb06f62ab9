"""How nodes reach each other; start with base.py."""

from draftwire.runtime.transport.base import (
    DropReason,
    Endpoint,
    EndpointStatistics,
    Offence,
    Received,
    Transport,
    Trouble,
    TroubleKind,
)
from draftwire.runtime.transport.memory import MemoryNetwork, MemoryTransport
from draftwire.runtime.transport.zeromq import ZmqTransport

__all__ = [
    "DropReason",
    "Endpoint",
    "EndpointStatistics",
    "MemoryNetwork",
    "MemoryTransport",
    "Offence",
    "Received",
    "Transport",
    "Trouble",
    "TroubleKind",
    "ZmqTransport",
]
