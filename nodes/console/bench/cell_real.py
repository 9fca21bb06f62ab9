"""Up to four real devices of one process, at a real base station, channel and controller, over loopback."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from draftwire.nodes.console.api import ConnectedDevice, connect_all
from draftwire.nodes.console.bench.cell_play import CELL
from draftwire.nodes.console.foreground import run_foreground
from draftwire.nodes.console.outcome import PROMPT
from draftwire.nodes.console.runner import progress_bar
from draftwire.runtime.channel_settings import CellSettings
from draftwire.runtime.config import ChannelSettings, Topology
from draftwire.runtime.link import parse_link

COUNTS: Final = (1, 2, 4)
ROUNDS: Final = 3
TOKENS: Final = 48
"""Of each answer."""

WAYS: Final = {"together": None, "target_only": 0}
"""gamma; None: the controller chooses."""


def in_real_processes(dtype: str) -> tuple[int, dict[str, Any]]:
    """An exit code, and tokens a second of all devices and what they are over the target alone, by count."""
    found: dict[str, Any] = {}

    async def main() -> None:
        with progress_bar(len(COUNTS) * (1 + ROUNDS * len(WAYS))) as begin:
            speeds = {count: await _speeds(count, dtype, begin) for count in COUNTS}
        found["total_tok_s"] = {str(count): of_count["together"] for count, of_count in speeds.items()}
        found["over_target_only"] = {
            str(count): of_count["together"] / of_count["target_only"] for count, of_count in speeds.items()
        }

    return run_foreground(main), found


async def _speeds(count: int, dtype: str, begin: Any) -> dict[str, float]:
    """Tokens a second by way, which take turns; before them each device answers once, to be known."""
    tokens, seconds = dict.fromkeys(WAYS, 0), dict.fromkeys(WAYS, 0.0)
    async with connect_all(_topology(count, dtype), launch=True) as devices:
        begin(f"{count} real devices")
        await _all_answer(devices, None, 0)
        for turn in range(1, ROUNDS + 1):
            for way, gamma in WAYS.items():
                begin(f"{count} real devices, {way}")
                began_s = time.perf_counter()
                tokens[way] += await _all_answer(devices, gamma, turn)
                seconds[way] += time.perf_counter() - began_s
    return {way: tokens[way] / seconds[way] for way in WAYS}


async def _all_answer(devices: Sequence[ConnectedDevice], gamma: int | None, turn: int) -> int:
    async def answer(number: int, device: ConnectedDevice) -> int:
        generation = device.generate(
            PROMPT, max_new_tokens=TOKENS, temperature=1.0, seed=1000 * turn + number, gamma=gamma
        )
        return len([token async for token in generation])

    return sum(await asyncio.gather(*(answer(number, one) for number, one in enumerate(devices))))


def _topology(count: int, dtype: str) -> Topology:
    topology = Topology.default()
    link = parse_link(CELL)
    channel = replace(
        topology.channel or ChannelSettings(), uplink=link, downlink=link, cell=CellSettings()
    )
    target = replace(topology.pair.target, dtype=dtype)
    return replace(
        topology,
        channel=channel,
        pair=replace(topology.pair, target=target),
        device=replace(topology.device, count=count, threads=1),
        target=replace(topology.target, threads=1),
    )


__all__ = ["COUNTS", "in_real_processes"]
