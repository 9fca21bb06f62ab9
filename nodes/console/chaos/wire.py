"""The transport of a life, over a MemoryTransport: what it sends may be lost, come twice, late or damaged.

Every message of every node passes `MortalEndpoint.send`. So this is where the run's hash is made, where a
node dies with a message ready or gone, and where each message is accounted for.
"""

import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from typing import Final

from draftwire.codecs.bodies import KINDS
from draftwire.codecs.messages import Open, Opened
from draftwire.nodes.channel.way import flipped
from draftwire.nodes.console.chaos.faults import Kind, Leg, Moment
from draftwire.nodes.console.chaos.lives import Life
from draftwire.nodes.console.simulate.tracing import TraceHash
from draftwire.runtime.clock import VirtualLoop
from draftwire.runtime.security import Service
from draftwire.runtime.transport import Endpoint, MemoryNetwork, MemoryTransport, Received, Trouble
from draftwire.runtime.transport.base import EndpointStatistics, Offence

LATE_S: Final = (0.01, 10.0)
"""A copy comes so long behind, and a message is held for so long which others overtake, drawn evenly by its
logarithm: some come to another life of either end."""

MOST_FLIPPED: Final = 3
"""Bits: few enough that a CRC-32 over a frame of ours always shows it."""

OPENS: Final = {"target": KINDS[Open]}
"""Node -> the kind of message by which it takes a request up again; a device's is Opened."""

Tap = Callable[[Life, Leg, bytes], None]
"""Told of each message that a node sends, before anything happens to it."""


@dataclass(slots=True)
class Ledger:
    """Messages and bytes: offered + copied = refused + dropped + handed + lost + held."""

    messages: Counter[str]
    size_bytes: Counter[str]

    def add(self, where: str, data: bytes, times: int = 1) -> None:
        """One more of it; `times` -1: one less."""
        self.messages[where] += times
        self.size_bytes[where] += times * len(data)

    def is_even(self) -> bool:
        """Whether nothing is missing."""
        for counts in (self.messages, self.size_bytes):
            came = counts["offered"] + counts["copied"]
            if came != sum(counts[one] for one in ("refused", "dropped", "handed", "lost", "held")):
                return False
        return True


@dataclass(slots=True)
class LegFault:
    """One that is under way."""

    kind: Kind
    leg: Leg
    amount: float
    numbers: random.Random
    "its own"


class Wire:
    """What all lives of a run share instead of a network."""

    def __init__(self, loop: VirtualLoop, *, trace: TraceHash, taps: list[Tap]) -> None:
        self.network = MemoryNetwork()
        self.ledger = Ledger(Counter(), Counter())
        self.hit = Counter[Kind]()
        "messages that a fault of this kind has met"
        self.faults: list[LegFault] = []
        self.endpoints: list[Endpoint] = []
        "all that there were"
        self.hears: list[Tap] = []
        "told of each message that a node takes, with the leg that the node itself sends on there"
        self.trace, self.taps = trace, taps
        self._loop = loop
        self._nobody = Context()
        "what is under way runs as nobody's: it does not stand still with who sent it"

    def takes(self, leg: Leg, data: bytes) -> list[tuple[float, bytes]]:
        """What becomes of a message: each copy that arrives, and after how long."""
        copies = [(0.0, data)]
        for fault in self.faults:
            if fault.leg is leg:
                copies = [one for copy in copies for one in self._met(fault, *copy)]
        return copies

    def _met(self, fault: LegFault, late_s: float, data: bytes) -> list[tuple[float, bytes]]:
        if fault.kind is not Kind.PARTITION and fault.numbers.random() >= fault.amount:
            return [(late_s, data)]
        self.hit[fault.kind] += 1
        match fault.kind:
            case Kind.DUPLICATE:
                return [(late_s, data), (late_s + _late_s(fault.numbers), data)]
            case Kind.REORDER:
                return [(late_s + _late_s(fault.numbers), data)]
            case Kind.CORRUPT:
                bits = fault.numbers.sample(range(8 * len(data)), k=fault.numbers.randint(1, MOST_FLIPPED))
                for bit in bits:
                    data = flipped(data, bit)
                return [(late_s, data)]
            case _:
                return []

    def later(self, late_s: float, data: bytes, hand_over: Callable[[bytes], bool]) -> None:
        """Hand it over then, whoever has died meanwhile."""
        self.ledger.add("held", data)

        def arrives() -> None:
            self.ledger.add("held", data, -1)
            self.ledger.add("handed" if hand_over(data) else "lost", data)

        self._loop.call_at(self._loop.time() + late_s, arrives, context=self._nobody)


def _late_s(numbers: random.Random) -> float:
    least_s, most_s = LATE_S
    late_s: float = least_s * (most_s / least_s) ** numbers.random()
    return late_s


class MortalTransport:
    """Of one life."""

    def __init__(self, wire: Wire, life: Life) -> None:
        self._wire, self._life = wire, life
        self._inner = MemoryTransport(wire.network)
        self._made: list[Endpoint] = []
        life.parts.append(self)

    async def bind(self, address: str, *, service: Service) -> Endpoint:
        leg = Leg.PLANS if service is Service.CONTROLLER else Leg.DOWN
        return self._mortal(await self._inner.bind(address, service=service), leg)

    async def connect(self, address: str, *, service: Service, name: str) -> Endpoint:
        leg = Leg.REPORTS if service is Service.CONTROLLER else Leg.UP
        return self._mortal(await self._inner.connect(address, service=service, name=name), leg)

    def _mortal(self, inner: Endpoint, leg: Leg) -> "MortalEndpoint":
        self._made.append(inner)
        self._wire.endpoints.append(inner)
        return MortalEndpoint(self._wire, self._life, inner, leg)

    async def close(self) -> None:
        await self._inner.close()

    def die(self) -> None:
        """As the system closes the sockets of a process that is no more."""
        for inner in self._made:
            with suppress(StopIteration):  # it waits for nothing
                inner.close().send(None)


class MortalEndpoint:
    """Of one life; see above. Times are those of its node's own clock."""

    def __init__(self, wire: Wire, life: Life, inner: Endpoint, leg: Leg) -> None:
        self._wire, self._life, self._inner, self._leg = wire, life, inner, leg
        self._opens = OPENS.get(life.name, KINDS[Opened]) if leg in (Leg.UP, Leg.DOWN) else -1

    @property
    def address(self) -> str:
        return self._inner.address

    async def receive(self) -> Received:
        life = self._life
        received = await self._inner.receive()
        if life.armed is Moment.IN_RECOVERY and received.data[1] == self._opens:
            life.opening = True
        for tap in self._wire.hears:
            tap(life, self._leg, received.data)
        at_s = max(received.at_s, life.thawed_s) + life.clock.ahead_s
        return Received(received.peer, received.data, at_s, received.name, received.impostor)

    def send(self, peer: bytes, data: bytes) -> bool:
        life, wire = self._life, self._wire
        if life.dead or self._dies_before():
            return True  # which nobody learns of any more
        ledger = wire.ledger
        ledger.add("offered", data)
        for tap in wire.taps:
            tap(life, self._leg, data)
        if life.full:
            wire.hit[Kind.FULL] += 1
            ledger.add("refused", data)
            return False
        taken = True
        copies = wire.takes(self._leg, data) if wire.faults else [(0.0, data)]
        if not copies:
            ledger.add("dropped", data)
        elif len(copies) > 1:
            for _ in copies[1:]:
                ledger.add("copied", data)
        for late_s, copy in copies:
            if late_s:
                wire.later(late_s, copy, self._hand_over(peer))
            else:
                taken = self._inner.send(peer, copy)
                ledger.add("handed" if taken else "refused", copy)
        if self._leg is not Leg.REPORTS:
            life.dies_at(Moment.AFTER_SEND)
        return taken

    def _dies_before(self) -> bool:
        if self._leg is Leg.REPORTS:
            return False
        life = self._life
        if life.opening and life.dies_at(Moment.IN_RECOVERY):
            return True  # about to answer what takes a request up again
        return life.dies_at(Moment.BEFORE_SEND)

    def _hand_over(self, peer: bytes) -> Callable[[bytes], bool]:
        """To whoever is at the other end by then."""
        inner, network = self._inner, self._wire.network
        identity: bytes = getattr(inner, "_identity")  # noqa: B009  (private to the endpoint, as the next)
        name: str = getattr(inner, "_name")  # noqa: B009

        def take(data: bytes) -> bool:
            if identity:
                bound = network.bound.get(inner.address)
                return bound is not None and bound.take(identity, name, data)
            connected = network.connected.get(inner.address, {}).get(peer)
            return connected is not None and connected.take(b"", "", data)

        return take

    def offence(self, peer: bytes, offence: Offence) -> None:
        self._inner.offence(peer, offence)

    def statistics(self) -> EndpointStatistics:
        return self._inner.statistics()

    def trouble(self) -> Trouble | None:
        return self._inner.trouble()

    async def close(self) -> None:
        if not self._life.dead:
            await self._inner.close()


__all__ = ["LATE_S", "Ledger", "LegFault", "MortalEndpoint", "MortalTransport", "Tap", "Wire"]
