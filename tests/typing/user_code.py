"""What users write, for the type checker alone: `make lint` reads it, nothing runs it.

A line with `type: ignore` is a mistake that the checker has to find: an ignore that isn't needed is an error.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import assert_type

import draftwire
from draftwire.codecs.messages import Finish, Origin
from draftwire.nodes.console.api import ConnectedDevice
from draftwire.runtime.config import SamplingSettings, Topology


async def text_of(prompt: str) -> str:
    """The shortest use."""
    async with draftwire.connect() as device:
        assert_type(device, ConnectedDevice)
        generation = device.generate(prompt)
        assert_type(generation, draftwire.Generation)
        async for token in generation:
            assert_type(token, draftwire.Token)
            assert_type(token.text, str)
            assert_type(token.id, int)
            assert_type(token.position, int)
            assert_type(token.origin, Origin)
        assert_type(generation.finish, Finish)
        assert_type(generation.account.alpha, float | None)
        assert_type(generation.account.tokens_per_s, float | None)
        return generation.text


async def everything_said(path: Path) -> list[int]:
    """Every option, and the three kinds of config."""
    for config in (None, path, str(path), Topology(sampling=SamplingSettings(temperature=0.7))):
        async with draftwire.connect(config, launch=True, record=path, progress=print) as device:
            generation = device.generate(
                [1, 2, 3],
                chat=False,
                max_new_tokens=8,
                temperature=0.0,
                top_k=5,
                top_p=0.9,
                seed=1,
                acceptance="coupled",
                min_draft=2,
                max_waste=0.5,
                stop=["\n"],
            )
            return [token.id async for token in generation]
    return []


async def all_at_once(path: Path) -> list[str]:
    """All devices of a file."""
    async with draftwire.connect_all(path, launch=True) as devices:
        assert_type(devices, tuple[ConnectedDevice, ...])
        return [one.name for one in devices]


async def stream(device: ConnectedDevice, prompt: str) -> AsyncIterator[str]:
    """A function of one's own around it."""
    async for token in device.generate(prompt):
        yield token.text


async def mistakes(device: ConnectedDevice) -> None:
    """What the checker must not let pass."""
    device.generate("hello", temprature=1.0)  # type: ignore[call-arg]
    device.generate("hello", 128)  # type: ignore[call-arg, arg-type]
    device.generate(3)  # type: ignore[arg-type]
    draftwire.connect(launch="yes")  # type: ignore[arg-type]
    for _ in device.generate("hello"):  # type: ignore[attr-defined]
        pass
