"""A whole system in virtual time over the in-memory transport: the node code of all four, in one process.

    async with cell(gamma=4) as bs:
        await bs.channel("rate 1mbit delay 20ms")
        device = await bs.device(address=CHANNEL)
        tokens = await text(device, request())
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import structlog

from draftwire.codecs.control import StepReport
from draftwire.codecs.frame import PROTOCOL_VERSION, AnyMessage, decode_frame, encode_frame
from draftwire.codecs.messages import Acceptance, Hello, Open, Sampling, Welcome
from draftwire.codecs.tables import TableSet, by_tag
from draftwire.nodes.channel.node import ChannelNode, Direction
from draftwire.nodes.controller.node import ControllerNode
from draftwire.nodes.controller.policy import Policy
from draftwire.nodes.device.account import Account
from draftwire.nodes.device.node import DeviceNode
from draftwire.nodes.models.base import LanguageModel
from draftwire.nodes.models.pacing import PAPER, ModelledCompute, StepTimes
from draftwire.nodes.models.synthetic import SyntheticPair, SyntheticTokenizer
from draftwire.nodes.speculation.noise import NOISE_VERSION
from draftwire.nodes.target.node import TargetNode
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.config import ControllerSettings, TargetSettings
from draftwire.runtime.link import parse_schedule
from draftwire.runtime.security import Service
from draftwire.runtime.session.request import Request, Taken, Timing
from draftwire.runtime.session.target import TargetSession
from draftwire.runtime.transport import Endpoint, MemoryNetwork, MemoryTransport, Transport
from draftwire.runtime.transport.base import name_in

T = TypeVar("T")
M = TypeVar("M", bound=AnyMessage)

VOCAB_SIZE = 64
BS, CHANNEL, CONTROLLER = "ipc://bs", "ipc://channel", "ipc://controller"


def run(main: Coroutine[Any, Any, T], *, within_s: float = 3600.0) -> T:
    """The result of `main` in virtual time. What waits for nothing, or for too long, raises."""

    async def bounded() -> T:
        async with asyncio.timeout(within_s):
            return await main

    return run_virtual(bounded())


def hello(**changes: object) -> Hello:
    """What both ends say, unless a test changes it."""
    fields: dict[str, object] = {
        "protocol_version": PROTOCOL_VERSION,
        "noise_version": NOISE_VERSION,
        "vocab_size": VOCAB_SIZE,
        "fingerprint": SyntheticTokenizer(VOCAB_SIZE).fingerprint,
    }
    return Hello(**(fields | changes))  # type: ignore[arg-type]


def request(
    prompt: tuple[int, ...] = (1, 2, 3),
    *,
    temperature: float = 1.0,
    max_new_tokens: int = 40,
    seed: int = 5,
    k: int | None = None,
    gamma: int | None = None,
    min_draft: int | None = None,
    acceptance: Acceptance = Acceptance.REJECTION,
    max_waste: float | None = None,
) -> Request:
    """A request with sensible values; `k`, `gamma` and `min_draft` fix them, as a user may."""
    return Request(
        prompt=prompt,
        sampling=Sampling(temperature=temperature),
        seed=seed,
        max_new_tokens=max_new_tokens,
        k=k,
        gamma=gamma,
        min_draft=min_draft,
        acceptance=acceptance,
        max_waste=max_waste,
    )


def open_for(wanted: Request, **changes: Any) -> Open:
    """The Open that a device would begin this request with."""
    fields: dict[str, Any] = {
        "device_try": 1,
        "seed": wanted.seed,
        "sampling": wanted.sampling,
        "max_new_tokens": wanted.max_new_tokens,
        "stop": wanted.stop,
        "prompt_length": len(wanted.prompt),
        "tokens": wanted.prompt,
        "draft_epoch": 0,
        "pinned_k": wanted.k,
        "pinned_gamma": wanted.gamma,
        "pinned_min_draft": wanted.min_draft,
        "acceptance": wanted.acceptance,
    }
    return Open(**(fields | changes))


def greedy(model: LanguageModel, prompt: Sequence[int], count: int) -> tuple[int, ...]:
    """What the model itself says at temperature 0."""
    tokens, context = list(prompt), model.open()
    for _ in range(count):
        tokens.append(int(np.argmax(context.logits(tokens, 1)[0])))
    return tuple(tokens[len(prompt) :])


@dataclass
class Peer:
    """Somebody with a connection and no node behind it, who says whatever a test wants."""

    endpoint: Endpoint
    to: bytes = b""

    def say(self, message: AnyMessage | bytes, number: int = 9) -> None:
        """Send a message, or bytes as they are."""
        data = message if isinstance(message, bytes) else encode_frame(message, session=number, sequence=0)
        assert self.endpoint.send(self.to, data)

    async def hear(self) -> AnyMessage:
        """The next message."""
        return decode_frame((await self.endpoint.receive()).data).message

    async def hear_of(self, kind: type[M]) -> M:
        """The next message of this kind; others are passed over."""
        while True:
            message = await self.hear()
            if isinstance(message, kind):
                return message


@dataclass
class Cell:
    """One BS and the means to add the other nodes to it."""

    pair: SyntheticPair
    network: MemoryNetwork
    clock: LoopClock
    tasks: asyncio.TaskGroup
    reports: list[StepReport]
    make_target: Callable[[Sequence[TableSet]], TargetNode]
    target: TargetNode = field(init=False)
    tables: Sequence[TableSet] = ()
    "sets of the next BS that `serve` starts"
    running: list[asyncio.Task[None]] = field(default_factory=list)
    serving: asyncio.Task[None] | None = None

    async def start(self, run: Callable[[Callable[[], None]], Awaitable[None]]) -> asyncio.Task[None]:
        """Start an actor's `run` and wait until it is ready."""
        ready = asyncio.Event()

        async def main() -> None:
            await run(ready.set)

        task = self.tasks.create_task(main())
        self.running.append(task)
        await ready.wait()
        return task

    async def serve(self) -> None:
        """Start the BS; one that runs already is ended and forgets everything."""
        if self.serving is not None:
            self.serving.cancel()
            await asyncio.gather(self.serving, return_exceptions=True)
        self.target = self.make_target(self.tables)
        self.serving = await self.start(self.target.run)

    def sessions(self) -> list[TargetSession]:
        """What the BS holds, tombstones included."""
        return [served.session for served in self.target._requests]

    async def device(
        self,
        name: str = "dev",
        *,
        address: str = BS,
        timing: Timing | None = None,
        model: LanguageModel | None = None,
        tables: Sequence[TableSet] = (),
        **changes: object,
    ) -> DeviceNode:
        """A device, connected, with these sets of tables; `changes` are to its Hello."""
        node = DeviceNode(
            name=name,
            address=address,
            transport=MemoryTransport(self.network),
            clock=self.clock,
            compute=ModelledCompute(self.clock, PAPER),
            model=self.pair.draft if model is None else model,
            hello=hello(tables=tuple(one.hash for one in tables), **changes),
            tables=by_tag(tables),
            logger=structlog.get_logger(),
            numbers=random.Random(name),
            timing=timing,
        )
        await self.start(node.run)
        return node

    async def channel(
        self, link: str, *, address: str = CHANNEL, own_links: Mapping[str, str] | None = None
    ) -> ChannelNode:
        """An emulated link to the BS, the same both ways; `own_links`: of devices, by name."""
        own = {name: parse_schedule(words) for name, words in (own_links or {}).items()}
        node = ChannelNode(
            transport=MemoryTransport(self.network),
            clock=self.clock,
            address=address,
            target_address=BS,
            uplink=parse_schedule(link),
            downlink=parse_schedule(link),
            seed=3,
            max_devices=16,
            wall_s=self.clock.now_s,
            logger=structlog.get_logger(),
            own_links={name: dict.fromkeys(Direction, schedule) for name, schedule in own.items()},
        )
        await self.start(node.run)
        return node

    async def controller(self, policy: Policy) -> ControllerNode:
        """The controller."""
        node = ControllerNode(
            transport=MemoryTransport(self.network),
            address=CONTROLLER,
            policy=policy,
            wall_s=self.clock.now_s,
            logger=structlog.get_logger(),
        )
        await self.start(node.run)
        return node

    async def peer(self, name: str, *, address: str = BS) -> Peer:
        """A connection without a node."""
        transport = MemoryTransport(self.network)
        return Peer(await transport.connect(address, service=Service.TARGET, name=name))

    async def greeted(self, name: str) -> Peer:
        """A connection without a node, whose Hello the BS has taken."""
        peer = await self.peer(name)
        peer.say(hello())
        await peer.hear_of(Welcome)
        return peer

    async def impostor(self, device: str, *, address: str = BS) -> Peer:
        """Somebody who is bound where the BS should be, and speaks to one device that has connected."""
        (peer,) = (peer for peer in self.network.connected[address] if name_in(peer) == device)
        bound = await MemoryTransport(self.network).bind(address, service=Service.TARGET)
        return Peer(bound, to=peer)


@asynccontextmanager
async def cell(
    *,
    k: int | None = 8,
    gamma: int | None = 4,
    policy: Policy | None = None,
    noise: float = 0.5,
    model: LanguageModel | None = None,
    serve: bool = True,
    transport: Callable[[MemoryNetwork], Transport] = MemoryTransport,
    times: StepTimes = PAPER,
    **settings: Any,
) -> AsyncIterator[Cell]:
    """A BS that serves a synthetic pair, or `model` in its target's place; everything ends with the block.

    `k` and `gamma` are fixed for all requests, unless None. With a `policy` nothing is fixed: a controller
    plans by it, and it was there before the BS. `transport` makes the BS's own; its passes take `times`.
    """
    pair = SyntheticPair(vocab_size=VOCAB_SIZE, seed=1, noise=noise)
    network, clock = MemoryNetwork(), LoopClock()
    reports: list[StepReport] = []
    boots = iter(range(7, 100))
    controlled = ControllerSettings(address=CONTROLLER)
    if policy is None:
        controlled = ControllerSettings(address=CONTROLLER, k=k, gamma=gamma)

    def make_target(tables: Sequence[TableSet]) -> TargetNode:
        return TargetNode(
            TargetSettings(address=BS, **settings),
            controlled,
            transport=transport(network),
            clock=clock,
            compute=ModelledCompute(clock, times),
            model=pair.target if model is None else model,
            tokenizer=SyntheticTokenizer(VOCAB_SIZE),
            hello=hello(),
            boot=next(boots),
            wall_s=clock.now_s,
            logger=structlog.get_logger(),
            on_step=reports.append,
            tables=by_tag(tables),
        )

    async with asyncio.TaskGroup() as tasks:
        whole = Cell(pair, network, clock, tasks, reports, make_target)
        if policy is not None:
            await whole.controller(policy)
        if serve:
            await whole.serve()
        yield whole
        for task in whole.running:
            task.cancel()


async def text(node: DeviceNode, wanted: Request, account: Account | None = None) -> tuple[int, ...]:
    """The whole answer, checked to be one token of each position, in order."""
    return checked([one async for one in node.answer(wanted, account=account)], wanted)


def checked(taken: Sequence[Taken], wanted: Request) -> tuple[int, ...]:
    """The tokens, checked to be one of each position, in order."""
    start = len(wanted.prompt)
    assert [one.position for one in taken] == list(range(start, start + len(taken)))
    return tuple(one.token for one in taken)
