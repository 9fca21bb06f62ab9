"""Orders to a running channel: the end of it that takes them, and the call that sends one.

    state = await order_link(transport, "tcp://127.0.0.1:5703", uplink="rate 1mbit delay 40ms", clock=clock)

An order is a link or a schedule for either direction, and takes the whole place of what held before, at once:
for every device, or for one and the names below it. What was ordered last for a device, or for all, holds.
Time 0 of a schedule is the moment of the order. It may name traces that ship, and those of the channel's own
topology by the names that they have there; no order makes it open a file. One that can't be followed in full
changes nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from draftwire.codecs.control import LinkOrder, LinkState
from draftwire.codecs.errors import Refusal, WireError
from draftwire.codecs.frame import AnyMessage, decode_frame, encode_frame
from draftwire.codecs.limits import MAX_LINK_LENGTH, MAX_LISTED_DEVICES
from draftwire.codecs.messages import Reason, Refused
from draftwire.codecs.probes import Echo, Probe, echo_of
from draftwire.nodes.channel.playing import Direction
from draftwire.runtime.clock import Clock
from draftwire.runtime.errors import ConfigurationError, PeerError
from draftwire.runtime.link import FindTrace, LinkSchedule, parse_schedule, shipped_trace
from draftwire.runtime.security import Service
from draftwire.runtime.transport import Endpoint, Offence, Received, Transport, Trouble
from draftwire.runtime.transport.echoes import EchoBudgets
from draftwire.runtime.transport.quarantine import offence_in

UNEXPECTED = "unexpected"
"""The cause under which messages are counted that are well formed but no orders."""


IMPOSTOR = "impostor"
"""The cause under which those are counted whose sender goes by a name that its key does not have."""


class OrderRefusedError(PeerError):
    """Raised when a channel takes no orders from whoever asks; says why."""


class NoChannelError(PeerError):
    """Raised when nobody answers an order; names the address and the remedy, or which key is refused."""

    def __init__(self, address: str, timeout_s: float, trouble: Trouble | None = None) -> None:
        self.address = address
        nobody = (
            f"{address}: no channel answered within {timeout_s:g} s; start one with `draftwire channel`, "
            "or give the address that its [channel] control names"
        )
        super().__init__(trouble.text if trouble is not None and trouble.final else nobody)


class OrderedLinks(Protocol):
    """What orders are about; `device` None: all of them."""

    def order(self, direction: Direction, schedule: LinkSchedule, *, device: str | None) -> None:
        """Let it do this from now on."""
        ...

    def schedule_of(self, direction: Direction, *, device: str | None) -> LinkSchedule:
        """What it does."""
        ...

    def differing(self) -> Sequence[str]:
        """Devices with other links than the rest."""
        ...

    def why_not(self, device: str) -> str:
        """Why no order can be for this device; empty: one can."""
        ...


class LinkOrders:
    """A channel's side: takes orders from anybody who reaches the endpoint, and answers what holds now."""

    def __init__(
        self,
        *,
        links: OrderedLinks,
        wall_s: Callable[[], float],
        logger: FilteringBoundLogger,
        find_trace: FindTrace = shipped_trace,
    ) -> None:
        """`wall_s` is the clock on the wall, UTC, which a Probe asks for; `find_trace` must open no file."""
        self._links = links
        self._wall_s = wall_s
        self._find_trace = find_trace
        self._logger = logger
        self._refused: Counter[Refusal | str] = Counter()
        self._probed = EchoBudgets()

    async def run(self, endpoint: Endpoint) -> None:
        """Answer until cancelled."""
        while True:
            received = await endpoint.receive()
            try:
                frame = decode_frame(received.data)
            except WireError as error:
                self._refuse(error.reason, received.name, error.detail)
                if (offence := offence_in(error.reason)) is not None:
                    endpoint.offence(received.peer, offence)
                continue
            if isinstance(frame.message, Probe) and not self._probed.may(
                received.peer, frame.message, received.at_s
            ):
                continue
            answer = self._answer(received, frame.message)
            if received.impostor:
                endpoint.offence(received.peer, Offence.IMPOSTOR)
            elif answer is None:
                endpoint.offence(received.peer, Offence.MISPLACED)
            if answer is not None:
                data = encode_frame(answer, session=frame.session, sequence=frame.sequence)
                endpoint.send(received.peer, data)

    def refused(self) -> Mapping[Refusal | str, int]:
        """Messages that were answered by nothing, by cause."""
        return MappingProxyType(dict(self._refused))

    def _answer(self, received: Received, message: AnyMessage) -> LinkState | Echo | Refused | None:
        if received.impostor:
            self._refuse(IMPOSTOR, received.name, received.impostor)
            return Refused(reason=Reason.IDENTITY, detail=received.impostor)
        match message:
            case LinkOrder():
                return self._obey(message)
            case Probe():
                return echo_of(message, self._wall_s())
        self._refuse(UNEXPECTED, received.name, f"{type(message).__name__} is no order to a channel")
        return None

    def _obey(self, order: LinkOrder) -> LinkState:
        device = order.device
        refused = "" if device is None else self._links.why_not(device)
        if refused:
            device = None  # the answer is on all
        try:
            wanted = {} if refused else _schedules(order, self._find_trace)
        except ConfigurationError as error:
            refused = str(error)
        else:
            for direction, schedule in wanted.items():
                self._links.order(direction, schedule, device=device)
        refused = refused[:MAX_LINK_LENGTH]
        if refused:
            self._logger.warning("channel.order_refused", detail=refused)
        return LinkState(
            uplink=str(self._links.schedule_of(Direction.UPLINK, device=device)),
            downlink=str(self._links.schedule_of(Direction.DOWNLINK, device=device)),
            refused=refused or None,
            devices=tuple(self._links.differing()[:MAX_LISTED_DEVICES]),
        )

    def _refuse(self, cause: Refusal | str, peer: str, detail: str) -> None:
        if not self._refused[cause]:  # said once; how often is counted
            self._logger.warning("channel.refused", reason=str(cause), peer=peer, detail=detail)
        self._refused[cause] += 1


def _schedules(order: LinkOrder, find_trace: FindTrace) -> dict[Direction, LinkSchedule]:
    """What the order asks for, all of it or ConfigurationError, which names the direction."""
    wanted = {}
    for direction, text in ((Direction.UPLINK, order.uplink), (Direction.DOWNLINK, order.downlink)):
        if text is not None:
            try:
                wanted[direction] = parse_schedule(text, find_trace=find_trace)
            except ConfigurationError as error:
                raise error.placed(key=direction.value) from None
    return wanted


async def order_link(
    transport: Transport,
    address: str,
    *,
    uplink: str | None = None,
    downlink: str | None = None,
    device: str | None = None,
    timeout_s: float = 2.0,
    clock: Clock,
    name: str = "channel/orders",
) -> LinkState:
    """Order a channel to change its links, None: as they are; the answer is what holds then.

    Links and schedules as parse_schedule takes them; with neither, it only asks. `device`: of this one and
    the names below it. LinkState.refused tells why an order changed nothing. `name` is who asks; with keys it
    begins with the key's. Raises NoChannelError when nobody answers in time; a channel that comes up at that
    very moment may still follow it. Raises OrderRefusedError for a name that is not the key's, and
    AddressError for what is no address.
    """
    endpoint = await transport.connect(address, service=Service.LINKS, name=name)
    deadline = asyncio.create_task(clock.sleep_until(clock.now_s() + timeout_s), name="order's deadline")
    answer = asyncio.create_task(_answer(endpoint), name="order's answer")
    try:
        order = LinkOrder(uplink=uplink, downlink=downlink, device=device)
        endpoint.send(b"", encode_frame(order, session=0, sequence=0))
        await asyncio.wait((answer, deadline), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise NoChannelError(address, timeout_s, endpoint.trouble())
        return answer.result()
    finally:
        deadline.cancel()
        answer.cancel()
        await asyncio.gather(deadline, answer, return_exceptions=True)
        await endpoint.close()


async def _answer(endpoint: Endpoint) -> LinkState:
    """The first LinkState or Refused that comes; whoever else is bound there may say what he likes."""
    while True:
        try:
            message = decode_frame((await endpoint.receive()).data).message
        except WireError:
            continue
        if isinstance(message, Refused):
            raise OrderRefusedError(f"{endpoint.address}: {message.detail}")
        if isinstance(message, LinkState):
            return message


__all__ = [
    "IMPOSTOR",
    "UNEXPECTED",
    "LinkOrders",
    "NoChannelError",
    "OrderRefusedError",
    "OrderedLinks",
    "order_link",
]
