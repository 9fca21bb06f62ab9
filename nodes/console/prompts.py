"""What many devices are asked: lines that somebody types into a pipe, a file's, or the examples."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from draftwire.nodes.device.checks import check_text
from draftwire.runtime.errors import ConfigurationError

EXAMPLES: Final = (
    "Explain in a few sentences why the sky is blue.",
    "Write a short story about a lighthouse keeper who finds a letter in a bottle.",
    "How does a bicycle stay upright? Explain it to a curious child.",
    "Describe a market in a harbour town, early in the morning.",
    "What should I look for when I buy a used guitar?",
    "Give me a recipe for a simple vegetable soup.",
    "Why do leaves change their colour in autumn?",
    "Write a letter to a friend who has moved to another country.",
    "How does a refrigerator keep food cold?",
    "Tell me about the invention of the printing press.",
    "What makes a good night's sleep?",
    "Describe the way from a spring in the mountains to the sea.",
    "How do bees find their way home?",
    "Write a poem about the first snow of the year.",
    "What is the difference between weather and climate?",
    "Plan a day in a city that neither of us has seen.",
)
"""Where nobody says what to answer."""

AT_ONCE_S: Final = 1.0
"""A file, or a pipe that somebody writes to, has a line by then."""


class Prompts(Protocol):
    """Where prompts come from."""

    async def next(self, place: int) -> str | None:
        """For the device of that place among all, from 0; waits for it. None: there is no more."""
        ...


class Dealt:
    """Each prompt goes to the device that is free first."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines, self._turn = lines, asyncio.Lock()

    async def next(self, place: int) -> str | None:
        """See Prompts."""
        async with self._turn:
            return await anext(self._lines, None)


class InTurn:
    """Each device is asked all of them, again and again; each begins with another one."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts, self._given = texts, Counter[int]()

    async def next(self, place: int) -> str | None:
        """See Prompts."""
        number = place + self._given[place]
        self._given[place] += 1
        return self._texts[number % len(self._texts)]


async def first_of(lines: AsyncIterator[str], *, waits: Callable[[], None]) -> str | None:
    """The first line; None: there is none. `waits` is called where it has not come at once."""

    async def first() -> str | None:
        return await anext(lines, None)

    coming = asyncio.create_task(first(), name="first line")
    try:
        await asyncio.wait((coming,), timeout=AT_ONCE_S)
        if not coming.done():
            waits()
        return await coming
    finally:
        coming.cancel()


async def behind(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    """The lines again of which the first one has been read."""
    yield first
    async for line in rest:
        yield line


def read_prompts(path: Path) -> tuple[str, ...]:
    """Those of a file, one a line. Raises ConfigurationError, naming --prompts, where there are none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigurationError(
            f"{str(path)!r}: {reason}", key="--prompts", remedy="name a text file, one prompt a line"
        ) from None
    prompts = tuple(line.strip() for line in lines if line.strip())
    if not prompts:
        raise ConfigurationError(f"{str(path)!r} is empty", key="--prompts", remedy="write one prompt a line")
    for prompt in prompts:
        check_text(prompt, key="--prompts")
    return prompts


__all__ = ["EXAMPLES", "Dealt", "InTurn", "Prompts", "behind", "first_of", "read_prompts"]
