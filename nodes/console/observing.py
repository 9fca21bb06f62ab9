"""The observer of a topology in this process: its node, what it keeps, and the routes by which it is seen."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from structlog.typing import FilteringBoundLogger

from draftwire.codecs.control import Json, LinkState
from draftwire.nodes.channel.control import order_link
from draftwire.nodes.console.keys import node_keys, transport_with
from draftwire.nodes.console.starting import run_beside
from draftwire.nodes.observer.metrics import Metrics
from draftwire.nodes.observer.node import ObserverNode, Sink
from draftwire.nodes.observer.ordering import Order
from draftwire.nodes.observer.state import Observation
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
    observation: Observation
    metrics: Metrics
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
    topology: Topology,
    *,
    transport: Transport,
    keys: NodeKeys | None,
    logger: FilteringBoundLogger,
    asks: str | None = None,
    sinks: Sequence[Sink] = (),
) -> Observer:
    """The observer; `transport` is its own, with `keys`. Raises ConfigurationError without [observer].

    `asks`: the model that the page may ask where it comes from; `sinks`: who else is told of each event.
    """
    settings = topology.need_observer()
    observation, metrics = Observation(), Metrics()
    node = ObserverNode(
        transport=transport,
        address=settings.binds,
        clock=LoopClock(),
        logger=logger,
        sinks=[observation, metrics, *sinks],
        role_of=None if keys is None else partial(_role_of, keys),
        wall_s=time,
    )
    return Observer(
        node=node,
        observation=observation,
        metrics=metrics,
        routes=routes(observation, metrics, order=_orders(topology, transport, keys), asks=asks),
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


def recorded(path: Path | None, stack: AsyncExitStack) -> Sequence[Sink]:
    """A sink that appends to this file, closed with the stack: it holds prompts and texts, so none but its
    owner reads it. None: no sink. Raises ConfigurationError for a file that can't be written.
    """
    if path is None:
        return ()
    try:
        recorder = stack.enter_context(Recorder(path, private=True))
    except OSError as error:
        raise ConfigurationError(
            f"{str(path)!r}: {error.strerror}", key="--record", remedy="name a file that can be written"
        ) from None
    return (Record(recorder),)


@asynccontextmanager
async def observing(
    topology: Topology, *, asks: str | None = None, record: Path | None = None
) -> AsyncIterator[Observer]:
    """The observer that [observer] describes, at work in this process while the block runs.

    It has sockets of its own, with the observer's key. Raises ConfigurationError where the topology has no
    observer, or its key is not here, and AddressError where its address can't be bound.
    """
    keys = node_keys(topology, Role.OBSERVER)
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(transport_with(keys, topology))
        observer = build_observer(
            topology,
            transport=transport,
            keys=keys,
            logger=get_logger(Role.OBSERVER),
            asks=asks,
            sinks=recorded(record, stack),
        )
        await run_beside(observer.node, stack)
        yield observer


__all__ = ["Observer", "build_observer", "observing", "recorded"]
