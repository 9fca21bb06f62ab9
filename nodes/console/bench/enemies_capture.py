"""What somebody on the way, or at a device, can have captured: an honest request's frames, and its bytes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from draftwire.codecs.messages import Sampling
from draftwire.nodes.console.assemble import build_device
from draftwire.nodes.console.bench.enemies_line import Aim
from draftwire.nodes.console.keys import node_transport
from draftwire.nodes.console.starting import run_beside
from draftwire.nodes.device.account import Account
from draftwire.runtime.config import load_topology
from draftwire.runtime.security import Role, Service
from draftwire.runtime.session.request import Request
from draftwire.runtime.telemetry import get_logger
from draftwire.runtime.transport import (
    Endpoint,
    EndpointStatistics,
    Offence,
    Received,
    Transport,
    Trouble,
)

TOKENS: Final = 12
"""Of the request that is captured."""


async def captured(aim: Aim) -> tuple[list[bytes], list[bytes]]:
    """The frames that a device has sent for one request, its Close included, and its connection's bytes."""
    wire = list[bytes]()
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(_relay(aim, wire))
        topology = load_topology(Path(aim.config))
        topology = replace(
            topology,
            device=replace(topology.device, name=aim.own_victim, count=1),
            target=replace(topology.target, address=f"tcp://127.0.0.1:{port}"),
        )
        transport = Copying(node_transport(topology, Role.DEVICE))
        stack.push_async_callback(transport.close)
        node, tokenizer, compute = build_device(
            topology, transport=transport, logger=get_logger("device"), progress=lambda text: None
        )
        stack.callback(compute.close)
        await run_beside(node, stack)
        request = Request(
            prompt=tuple(tokenizer.encode_prompt("captured and sent again")),
            sampling=Sampling(temperature=1.0),
            seed=aim.seed,
            max_new_tokens=TOKENS,
        )
        async for _ in node.answer(request, account=Account(vocab_size=tokenizer.vocab_size)):
            pass
    return transport.frames, wire


@asynccontextmanager
async def _relay(aim: Aim, wire: list[bytes]) -> AsyncIterator[int]:
    """Its port; what goes up by it is kept."""
    tasks = set[asyncio.Task[None]]()

    async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        to_reader, to_writer = await asyncio.open_connection(*aim.place)
        await asyncio.gather(_pass(reader, to_writer, wire), _pass(to_reader, writer, None))

    server = await asyncio.start_server(joined, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: list[bytes] | None) -> None:
    try:
        while data := await reader.read(65536):
            if kept is not None:
                kept.append(data)
            writer.write(data)
            await writer.drain()
    except OSError:  # either end has gone
        pass
    finally:
        writer.close()


class Copying:
    """A transport that keeps what is sent by its connections."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.frames: list[bytes] = []

    async def bind(self, address: str, *, service: Service) -> Endpoint:
        return await self._inner.bind(address, service=service)

    async def connect(self, address: str, *, service: Service, name: str) -> Endpoint:
        return _CopyingEndpoint(await self._inner.connect(address, service=service, name=name), self.frames)

    async def close(self) -> None:
        await self._inner.close()


class _CopyingEndpoint:
    def __init__(self, inner: Endpoint, frames: list[bytes]) -> None:
        self._inner, self._frames = inner, frames

    @property
    def address(self) -> str:
        return self._inner.address

    async def receive(self) -> Received:
        return await self._inner.receive()

    def send(self, peer: bytes, data: bytes) -> bool:
        self._frames.append(data)
        return self._inner.send(peer, data)

    def offence(self, peer: bytes, offence: Offence) -> None:
        self._inner.offence(peer, offence)

    def statistics(self) -> EndpointStatistics:
        return self._inner.statistics()

    def trouble(self) -> Trouble | None:
        return self._inner.trouble()

    async def close(self) -> None:
        await self._inner.close()


__all__ = ["Copying", "captured"]
