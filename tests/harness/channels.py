"""A channel node that runs as long as a block, over any transport and without a system around it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import inf
from typing import Final

from draftwire.nodes.channel.capture import Capture
from draftwire.nodes.channel.links import streams_of
from draftwire.nodes.channel.node import LATENESS_BUDGET_S, ChannelNode
from draftwire.nodes.channel.playing import Direction, OwnSchedules
from draftwire.nodes.channel.traffic import Tell
from draftwire.runtime.channel_settings import CellSettings
from draftwire.runtime.clock import LoopClock
from draftwire.runtime.link import Link, LinkDrop, LinkSchedule, LinkSpec, Passage, parse_link
from draftwire.runtime.telemetry import get_logger
from draftwire.runtime.transport import Transport

UPLINK: Final = parse_link("rate 1mbit delay 20ms 5ms")
DOWNLINK: Final = parse_link("rate 8mbit delay 20ms 10ms")
SEED: Final = 3
WALL_S: Final = 1.7e9

Traffic = list[tuple[float, bytes]]
"""Messages, each at its time."""


@asynccontextmanager
async def channel(
    transport: Transport,
    *,
    address: str = "memory://channel",
    target_address: str = "memory://target",
    control_address: str | None = None,
    uplink: LinkSpec | LinkSchedule = UPLINK,
    downlink: LinkSpec | LinkSchedule = DOWNLINK,
    own_links: OwnSchedules | None = None,
    max_devices: int = 4,
    capture: Capture | None = None,
    lateness_budget_s: float = LATENESS_BUDGET_S,
    cell: CellSettings | None = None,
    tell: Tell | None = None,
) -> AsyncIterator[ChannelNode]:
    """A channel between two addresses, started; cancelled with the block. Raises what its start raises."""
    node = ChannelNode(
        transport=transport,
        clock=LoopClock(),
        address=address,
        target_address=target_address,
        uplink=uplink,
        downlink=downlink,
        seed=SEED,
        max_devices=max_devices,
        wall_s=lambda: WALL_S,
        logger=get_logger("channel"),
        control_address=control_address,
        capture=capture,
        own_links=own_links or {},
        lateness_budget_s=lateness_budget_s,
        cell=cell,
        tell=tell,
    )
    started = asyncio.Event()
    running = asyncio.create_task(node.run(started.set))
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if running.done() and not running.cancelled():
        running.result()
    try:
        yield node
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def arrivals(
    link: LinkSpec | LinkSchedule,
    messages: Traffic,
    *,
    device: str = "a",
    direction: Direction = Direction.UPLINK,
    origin_s: float = 0.0,
    until_s: float = 1e4,
) -> Traffic:
    """When what arrives by the link model alone, played without a node; the schedule began at `origin_s`."""
    schedule = link if isinstance(link, LinkSchedule) else LinkSchedule.constant(link)
    pieces = schedule.pieces()
    piece = next(pieces)
    model: Link[bytes] = Link(piece.link, streams_of(SEED, device, direction), began_s=origin_s)
    passages = list[Passage[bytes]]()

    def play(now_s: float) -> None:
        nonlocal piece
        while origin_s + piece.until_s <= now_s:
            piece = next(pieces)
            model.change(origin_s + piece.from_s, piece.link)

    for at_s, data in messages:
        play(at_s)
        offered = model.offer(at_s, len(data), data)
        if not isinstance(offered, LinkDrop):
            passages += offered
    while piece.until_s < until_s and any(one.delivery_s > origin_s + piece.until_s for one in passages):
        play(origin_s + piece.until_s)
    came: Sequence[Passage[bytes]] = sorted(
        passages, key=lambda one: (one.delivery_s, one.number, one.is_copy)
    )
    return [(one.delivery_s, one.carried) for one in came if one.delivery_s < inf]


__all__ = ["DOWNLINK", "SEED", "UPLINK", "WALL_S", "Traffic", "arrivals", "channel"]
