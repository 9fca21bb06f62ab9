"""The observer of a topology in this process: its node, what it keeps, and the routes by which it is seen."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from draftwire.codecs.control import Json, LinkState
from draftwire.nodes.channel.control import order_link
from draftwire.nodes.console.keys import node_keys, transport_with
from draftwire.nodes.console.starting import run_beside
from draftwire.nodes.observer.hearing import Hearing
from draftwire.nodes.observer.node import ObserverNode, Sink
from draftwire.nodes.observer.ordering import Order
from draftwire.nodes.observer.web import routes
from draftwire.runtime.clock import LoopClock
from draftwire.runtime.config import Topology
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.security import NodeKeys, Role
from draftwire.runtime.telemetry import Recorder, get_logger
from draftwire.runtime.transport import Transport

if TYPE_CHECKING:
    from starlette.routing import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Observer:
    """An observer, and how it is seen."""

    node: ObserverNode
    transport: Transport
    "the node's own"
    routes: "Sequence[Route]"
    "the page, its feed, orders to the link, and metrics"


class Record:
    """A sink that appends each event to a file."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def hear(self, node: str, event: Mapping[str, Json], at_s: float) -> None:
        """As the node's own record has it, and when it was heard."""
        self._recorder.write({**event, "node": node, "heard_s": at_s})


def build_observer(
    topology: Topology, stack: AsyncExitStack, *, asks: str | None = None, record: Path | None = None
) -> Observer:
    """The observer that [observer] describes; its sockets, with the observer's key, close with the stack.

    `asks`: the model that the page may ask where it comes from. `record`: a file that each event is appended
    to; it holds prompts and texts, so none but its owner reads it. Raises ConfigurationError where the
    topology has no observer, its key is not here, or the file can't be written.
    """
    settings = topology.need_observer()
    keys = node_keys(topology, Role.OBSERVER)
    transport = transport_with(keys, topology)
    stack.push_async_callback(transport.close)
    sinks: Sequence[Sink] = () if record is None else (_recorded(record, stack),)
    hearing = Hearing()
    node = ObserverNode(
        transport=transport,
        address=settings.binds,
        clock=LoopClock(),
        logger=get_logger(Role.OBSERVER),
        sinks=[hearing, *sinks],
        role_of=None if keys is None else partial(_role_of, keys),
        wall_s=time,
        refused=hearing.metrics.refused,
    )
    return Observer(
        node=node,
        transport=transport,
        routes=routes(hearing, order=_orders(topology, transport, keys), asks=asks),
    )


def _role_of(keys: NodeKeys, name: str) -> Role | None:
    return next((key.role for key in keys.keyring.trusted() if key.name == name), None)


def _orders(topology: Topology, transport: Transport, keys: NodeKeys | None) -> Order | None:
    """What changes the channel's links; None: there is no channel."""
    if topology.channel is None:
        return None
    address = topology.channel.control
    name = f"{Role.OBSERVER if keys is None else keys.own.public.name}/orders"

    async def order(*, uplink: str | None, downlink: str | None, device: str | None) -> LinkState:
        return await order_link(
            transport,
            address,
            uplink=uplink,
            downlink=downlink,
            device=device,
            clock=LoopClock(),
            name=name,
        )

    return order


def _recorded(path: Path, stack: AsyncExitStack) -> Record:
    try:
        recorder = stack.enter_context(Recorder(path, private=True))
    except OSError as error:
        raise ConfigurationError(
            f"{str(path)!r}: {error.strerror}", key="--record", remedy="name a file that can be written"
        ) from None
    return Record(recorder)


@asynccontextmanager
async def observing(topology: Topology, *, asks: str | None = None) -> AsyncIterator[Observer]:
    """The observer that [observer] describes, at work beside others in this process while the block runs.

    Raises as build_observer does, and AddressError where its address can't be bound.
    """
    async with AsyncExitStack() as stack:
        observer = build_observer(topology, stack, asks=asks)
        await run_beside(observer.node, stack)
        yield observer


__all__ = ["Observer", "build_observer", "observing"]
