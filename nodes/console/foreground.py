"""What runs in front of a person: told to stop it stops in order; it answers what is typed or piped in."""

import asyncio
import codecs
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final

from draftwire.runtime.actor import run_process

TOLD_TO_STOP_EXIT_CODE: Final = 143
"""The shell's code for SIGTERM, as 130 is for Ctrl-C: the answer is not complete."""

_CHUNK_BYTES: Final = 65536


def run_foreground(
    main: Callable[[], Coroutine[Any, Any, None]], *, rests: Callable[[], bool] = lambda: False
) -> int:
    """As run_process; at SIGTERM or SIGHUP `main` is cancelled, as at Ctrl-C, and the code is
    TOLD_TO_STOP_EXIT_CODE, or 0 where `rests` says then that nothing is left undone.

    So nodes that were started, their sockets and folders are gone before this process is.
    """
    told: int | None = None

    async def watched() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def stop() -> None:
            nonlocal told
            if told is None:
                told = 0 if rests() else TOLD_TO_STOP_EXIT_CODE
            task.cancel()

        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop)
        try:
            await main()
        except asyncio.CancelledError:
            if told is None:
                raise

    code = run_process(watched)
    return code or told or 0


async def lines_of_stdin() -> AsyncIterator[str]:
    """Lines that somebody types, or that a pipe holds, without white space around them; empty ones left out.

    They are read in a thread that nobody waits for: a read from a terminal can't be cancelled.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | None] = asyncio.Queue()
    interactive, descriptor = sys.stdin.isatty(), sys.stdin.fileno()

    def put(line: str | None) -> bool:
        try:
            loop.call_soon_threadsafe(queue.put_nowait, line)
        except RuntimeError:  # the loop has been closed
            return False
        return True

    def read() -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rest = ""
        while chunk := os.read(descriptor, _CHUNK_BYTES):  # sys.stdin would hold a lock that exit waits for
            *whole, rest = (rest + decoder.decode(chunk)).split("\n")
            if not all(put(line) for line in whole):
                return
        put(rest + decoder.decode(b"", final=True))
        put(None)

    threading.Thread(target=read, name="standard input", daemon=True).start()
    while True:
        if interactive and queue.empty():
            print("> ", end="", flush=True)
        line = await queue.get()
        if line is None:
            return
        if line.strip():
            yield line.strip()


__all__ = ["TOLD_TO_STOP_EXIT_CODE", "lines_of_stdin", "run_foreground"]
