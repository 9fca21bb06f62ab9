"""A BS and a device in virtual time over the in-memory transport: the node code, run whole in one process."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from draftwire.codecs.control import StepReport
from draftwire.codecs.messages import Hello, Sampling
from draftwire.nodes.device.account import Account
from draftwire.nodes.device.node import DeviceNode
from draftwire.nodes.models.pacing import PAPER, ModelledCompute
from draftwire.nodes.models.synthetic import SyntheticPair, SyntheticTokenizer
from draftwire.nodes.target.node import TargetNode
from draftwire.runtime.clock import LoopClock
from draftwire.runtime.config import ControllerSettings, TargetSettings
from draftwire.runtime.session.request import Request, Timing
from draftwire.runtime.transport import MemoryNetwork, MemoryTransport

VOCAB_SIZE = 64


def hello(**changes: object) -> Hello:
    """What both ends say, unless a test changes it."""
    fields: dict[str, object] = {
        "protocol_version": 1,
        "noise_version": 1,
        "vocab_size": VOCAB_SIZE,
        "fingerprint": SyntheticTokenizer(VOCAB_SIZE).fingerprint,
    }
    return Hello(**(fields | changes))  # type: ignore[arg-type]


def request(
    prompt: tuple[int, ...] = (1, 2, 3), *, temperature: float = 1.0, max_new_tokens: int = 40, seed: int = 5
) -> Request:
    """A request with sensible values."""
    return Request(
        prompt=prompt,
        sampling=Sampling(temperature=temperature),
        seed=seed,
        max_new_tokens=max_new_tokens,
    )


@dataclass
class Cell:
    """One BS and the means to add devices to it."""

    pair: SyntheticPair
    network: MemoryNetwork
    clock: LoopClock
    target: TargetNode
    tasks: asyncio.TaskGroup
    reports: list[StepReport]

    async def start(self, run: object) -> asyncio.Task[None]:
        """Start an actor's `run` and wait until it is ready."""
        ready = asyncio.Event()
        task = self.tasks.create_task(run(ready.set))  # type: ignore[operator]
        await ready.wait()
        return task  # type: ignore[no-any-return]

    async def device(
        self, name: str = "dev", *, address: str = "ipc://bs", timing: Timing | None = None, **changes: object
    ) -> DeviceNode:
        """A device, connected."""
        node = DeviceNode(
            name=name,
            address=address,
            transport=MemoryTransport(self.network),
            clock=self.clock,
            compute=ModelledCompute(self.clock, PAPER),
            model=self.pair.draft,
            hello=hello(**changes),
            logger=structlog.get_logger(),
            numbers=random.Random(name),
            timing=timing,
        )
        await self.start(node.run)
        return node


@asynccontextmanager
async def cell(*, k: int = 8, gamma: int = 4, noise: float = 0.5, **settings: object) -> AsyncIterator[Cell]:
    """A BS that serves a synthetic pair; everything ends with the block."""
    pair = SyntheticPair(vocab_size=VOCAB_SIZE, seed=1, noise=noise)
    network, clock = MemoryNetwork(), LoopClock()
    reports: list[StepReport] = []
    target = TargetNode(
        TargetSettings(address="ipc://bs", **settings),  # type: ignore[arg-type]
        ControllerSettings(address="ipc://controller", k=k, gamma=gamma),
        transport=MemoryTransport(network),
        clock=clock,
        compute=ModelledCompute(clock, PAPER),
        model=pair.target,
        tokenizer=SyntheticTokenizer(VOCAB_SIZE),
        hello=hello(),
        boot=7,
        logger=structlog.get_logger(),
        on_step=reports.append,
    )
    async with asyncio.TaskGroup() as tasks:
        whole = Cell(pair, network, clock, target, tasks, reports)
        await whole.start(target.run)
        yield whole
        for task in tasks._tasks:
            task.cancel()


async def text(node: DeviceNode, wanted: Request, account: Account | None = None) -> tuple[int, ...]:
    """The whole answer, checked to be one token of each position, in order."""
    taken = [one async for one in node.answer(wanted, account=account)]
    start = len(wanted.prompt)
    assert [one.position for one in taken] == list(range(start, start + len(taken)))
    return tuple(one.token for one in taken)
