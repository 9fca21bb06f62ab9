"""A channel in a process of its own, and both ends of it here: what crosses it, and when.

The channel runs as `draftwire channel` does, without keys, at TCP's loopback. This process is the device and
the base station; clocks of one host are one clock.
"""

import asyncio
import random
import socket
import struct
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import orjson

from draftwire.nodes.channel.links import streams_of
from draftwire.nodes.channel.playing import Direction
from draftwire.nodes.console.bench.beside import beside
from draftwire.runtime.config import ChannelSettings, SecuritySettings, Topology, to_toml
from draftwire.runtime.errors import DraftwireError
from draftwire.runtime.link import Link, LinkDrop, parse_link
from draftwire.runtime.security import Service
from draftwire.runtime.telemetry import LATENESS_EVENT
from draftwire.runtime.transport import Endpoint, ZmqTransport

NAME: Final = "bench"
"""Of the device."""

SEED: Final = 0
"""Of the channel."""

ARRIVES_WITHIN_S: Final = 60.0
"""What takes longer is lost."""

_ANY_PORT: Final = "tcp://127.0.0.1:*"
_NUMBER: Final = struct.Struct(">I")
LEAST_BYTES: Final = _NUMBER.size


class ChannelBenchError(DraftwireError):
    """Raised when the channel does not come up, or loses what it must not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossed:
    """Messages that crossed the uplink, in order; times are the host's monotonic ones."""

    words: str
    "of the link"
    sizes_bytes: Sequence[int]
    sent_s: Sequence[float]
    came_s: Sequence[float]
    cpu_s: float | None
    "of the channel's process meanwhile; None: this system does not tell"

    @property
    def per_s(self) -> float:
        """Messages a second, between the first and the last that came."""
        return (len(self.came_s) - 1) / (self.came_s[-1] - self.came_s[0])

    @property
    def rate_bps(self) -> float:
        """What it carried between its first and last delivery, with the overhead that the model counts."""
        spec = parse_link(self.words)
        carried = sum(spec.bytes_on_link(size) for size in self.sizes_bytes[1:])
        return 8 * carried / (self.came_s[-1] - self.came_s[0])

    def far_errors_s(self) -> list[float]:
        """When each came here, minus when the model delivers what is sent when it was sent here."""
        link: Link[None] = Link(
            parse_link(self.words), streams_of(SEED, NAME, Direction.UPLINK), began_s=self.sent_s[0]
        )
        errors_s = list[float]()
        for size, sent_s, came_s in zip(self.sizes_bytes, self.sent_s, self.came_s, strict=True):
            outcome = link.offer(sent_s, size, None)
            if isinstance(outcome, LinkDrop):
                raise ChannelBenchError(f"the model drops a message: {outcome}")
            errors_s.append(came_s - outcome[0].delivery_s)
        return errors_s


class Ends:
    """Both ends of a running channel; made by `channel_between`."""

    def __init__(
        self, *, words: str, device: Endpoint, direct: Endpoint, target: Endpoint, process: int
    ) -> None:
        self._words, self._device, self._direct, self._target = words, device, direct, target
        self._process = process

    async def flood(self, *, sizes_bytes: Sequence[int], ahead: int) -> Crossed:
        """As fast as it takes them, with so many under way. Raises ChannelBenchError if one is lost."""
        sent_s, came_s = list[float](), list[float]()
        cpu_s = _cpu_s(self._process)
        while len(came_s) < len(sizes_bytes):
            if len(sent_s) - len(came_s) <= ahead // 2:  # one by one, this process would be the slow one
                for number in range(len(sent_s), min(len(sizes_bytes), len(came_s) + ahead)):
                    self._send(number, sizes_bytes[number], sent_s)
            await self._receive(came_s)
        return self._crossed(sizes_bytes, sent_s, came_s, cpu_s)

    async def paced(self, *, sizes_bytes: Sequence[int], at_s: Sequence[float]) -> Crossed:
        """Each at its time from now. Raises ChannelBenchError if one is lost."""
        sent_s, came_s = list[float](), list[float]()
        cpu_s = _cpu_s(self._process)

        async def send() -> None:
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            for number, (size, offset_s) in enumerate(zip(sizes_bytes, at_s, strict=True)):
                ahead_s = began_s + offset_s - loop.time()
                if ahead_s > 0:
                    await asyncio.sleep(ahead_s)
                self._send(number, size, sent_s)

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            while len(came_s) < len(sizes_bytes):
                await self._receive(came_s)
        return self._crossed(sizes_bytes, sent_s, came_s, cpu_s)

    async def trips_s(self, number: int, *, size_bytes: int) -> tuple[list[float], list[float]]:
        """Round trips through the channel, and without it: one of each in turn."""
        through, without = list[float](), list[float]()
        for _ in range(number):
            through.append(await self._trip(self._device, size_bytes))
            without.append(await self._trip(self._direct, size_bytes))
        return through, without

    async def meet(self) -> None:
        """Return when a message has crossed, both ways. Raises ChannelBenchError if none does."""
        for end in (self._device, self._direct):
            await self._trip(end, LEAST_BYTES)

    async def _trip(self, end: Endpoint, size_bytes: int) -> float:
        began_s = time.monotonic()
        end.send(b"", bytes(size_bytes))
        with _in_time():
            async with asyncio.timeout(ARRIVES_WITHIN_S):
                there = await self._target.receive()
                self._target.send(there.peer, there.data)
                await end.receive()
        return time.monotonic() - began_s

    def _send(self, number: int, size_bytes: int, sent_s: list[float]) -> None:
        sent_s.append(time.monotonic())
        if not self._device.send(b"", _NUMBER.pack(number).ljust(size_bytes, b"\0")):
            raise ChannelBenchError("the channel does not take what is sent")

    async def _receive(self, came_s: list[float]) -> None:
        with _in_time():
            async with asyncio.timeout(ARRIVES_WITHIN_S):
                received = await self._target.receive()
        (number,) = _NUMBER.unpack_from(received.data)
        if number != len(came_s):
            raise ChannelBenchError(f"message {number} came in place of {len(came_s)}")
        came_s.append(received.at_s)

    def _crossed(
        self,
        sizes_bytes: Sequence[int],
        sent_s: Sequence[float],
        came_s: Sequence[float],
        cpu_before_s: float | None,
    ) -> Crossed:
        cpu_s = _cpu_s(self._process)
        known = cpu_s is not None and cpu_before_s is not None
        return Crossed(
            words=self._words,
            sizes_bytes=sizes_bytes,
            sent_s=sent_s,
            came_s=came_s,
            cpu_s=cpu_s - cpu_before_s if known else None,  # type: ignore[operator]
        )


@asynccontextmanager
async def channel_between(words: str, *, record: Path | None = None) -> AsyncIterator[Ends]:
    """A channel whose uplink does what the words say, its downlink nothing, and both its ends.

    A record gets how late it has been. Raises ChannelBenchError where it does not come up.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="draftwire-")))
        transport = await stack.enter_async_context(ZmqTransport())
        target = await transport.bind(_ANY_PORT, service=Service.TARGET)
        config, log = folder / "channel.toml", folder / "channel.log"
        config.write_text(to_toml(_topology(words, folder, target.address)), encoding="utf-8")
        arguments = ["--config", str(config), "--until-stdin-ends"]
        if record is not None:
            arguments += ["--record", str(record)]
        said = stack.enter_context(log.open("wb"))
        process = await stack.enter_async_context(beside("draftwire", "channel", *arguments, log=said))
        assert process.stdout is not None, "a pipe was asked for"
        try:
            async with asyncio.timeout(ARRIVES_WITHIN_S):
                ready = (await process.stdout.readline()).split()
        except TimeoutError:
            ready = []
        if len(ready) != 3:
            raise ChannelBenchError(f"the channel did not start: {log.read_text(errors='replace').strip()}")
        address = ready[2].decode()
        device = await transport.connect(address, service=Service.CHANNEL, name=NAME)
        direct = await transport.connect(target.address, service=Service.TARGET, name=f"{NAME}/direct")
        yield Ends(words=words, device=device, direct=direct, target=target, process=process.pid)


def lateness_s(record: Path) -> list[float]:
    """Of each message that a channel handed over, in order, from its record; whole once it has ended."""
    found = list[float]()
    for line in record.read_bytes().splitlines():
        fields = orjson.loads(line)
        if fields["event"] == LATENESS_EVENT:
            found += [1e-6 * late_us for late_us in fields["late_us"]]
    return found


def as_they_come(
    *, per_s: float, seconds: float, sizes_bytes: Sequence[int], seed: int
) -> Iterator[tuple[float, int]]:
    """(time, size) of messages that come by chance, each of a size drawn from these."""
    rng = random.Random(seed)
    at_s = rng.expovariate(per_s)
    while at_s < seconds:
        yield at_s, rng.choice(sizes_bytes)
        at_s += rng.expovariate(per_s)


def _topology(words: str, folder: Path, target_address: str) -> Topology:
    topology = Topology.default()
    settings = ChannelSettings(
        address=f"tcp://127.0.0.1:{_free_port()}",
        control=f"ipc://{folder}/links",
        uplink=parse_link(words),
        downlink=parse_link(""),
        seed=SEED,
    )
    return replace(
        topology,
        channel=settings,
        target=replace(topology.target, address=target_address),
        security=SecuritySettings(plain=True),
    )


def _free_port() -> int:
    """Nobody else is likely to take it before the channel does: a file has to name one."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _cpu_s(process: int) -> float | None:
    """What a process has computed so far, all its threads."""
    try:
        return time.clock_gettime(~process << 3 | 2)  # Linux: the clock of another process's CPU time
    except OSError:
        return None


@contextmanager
def _in_time() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise ChannelBenchError(f"a message did not arrive within {ARRIVES_WITHIN_S:g} s") from None


__all__ = [
    "LEAST_BYTES",
    "ChannelBenchError",
    "Crossed",
    "Ends",
    "as_they_come",
    "channel_between",
    "lateness_s",
]
