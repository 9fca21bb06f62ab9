"""The other process of a benchmark, which ends with this one, however this one ends."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO, Final

END_WITHIN_S: Final = 5.0
"""From the end of its standard input; then it is killed."""


@asynccontextmanager
async def beside(
    module: str, *arguments: str, log: IO[bytes] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A module of draftwire that runs by itself until its standard input ends: behind the block, or when this
    process is killed. `log` gets its standard error; None: this process's.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
    )
    assert process.stdin is not None, "a pipe was asked for"
    try:
        yield process
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), END_WITHIN_S)
        except TimeoutError:
            process.kill()
            await process.wait()


__all__ = ["beside"]
