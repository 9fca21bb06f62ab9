"""What a channel shares its machine with: the shipped pair, answering without end through its own four nodes.

    python -m draftwire.nodes.console.bench.channel_load

prints a line with the first token of each answer. It ends when its standard input does.
"""

import asyncio
import sys
from contextlib import suppress
from typing import NoReturn

import draftwire
from draftwire.nodes.console.outcome import PROMPT
from draftwire.runtime.actor import run_process


async def _answer() -> NoReturn:
    async with draftwire.connect() as device:
        while True:
            begun = False
            async for _ in device.generate(PROMPT, max_new_tokens=512):
                if not begun:
                    print("answering", flush=True)
                    begun = True


async def _serve() -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)  # nobody writes: it is the end
    answering, ending = asyncio.create_task(_answer()), asyncio.create_task(ended.wait())
    await asyncio.wait((answering, ending), return_when=asyncio.FIRST_COMPLETED)
    answering.cancel()
    with suppress(asyncio.CancelledError):
        await answering


if __name__ == "__main__":
    raise SystemExit(run_process(_serve))
