"""What runs in front of a person: told to stop it stops in order; it answers what is typed or piped in."""

import asyncio
import codecs
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final

from draftwire.runtime.actor import run_process

TOLD_TO_STOP_EXIT_CODE: Final = 143
"""The shell's code for SIGTERM, as 130 is for Ctrl-C: the answer is not complete."""

LINES_AHEAD: Final = 64
"""Of standard input, that are read before anybody wants them."""

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


class Lines:
    """Lines that somebody types, or that a pipe holds, without white space around them; empty ones left out.

    Iterate it, once. They are read in a thread that nobody waits for: a read from a terminal can't be
    cancelled. Of a long input that thread is no more than LINES_AHEAD lines ahead.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue = asyncio.Queue[str | None]()
        self._room = threading.Semaphore(LINES_AHEAD)
        self._interactive, self._descriptor = sys.stdin.isatty(), sys.stdin.fileno()
        self._ended = False
        threading.Thread(target=self._read, name="standard input", daemon=True).start()

    def __aiter__(self) -> "Lines":
        return self

    async def __anext__(self) -> str:
        while not self._ended:
            if self._interactive and self._queue.empty():
                print("> ", end="", flush=True)
            if line := self._taken(await self._queue.get()):
                return line
        raise StopAsyncIteration

    def left(self) -> tuple[int, bool]:
        """How many lines have come that nobody took, and whether these are all there are; takes them."""
        count = 0
        while not self._queue.empty():
            count += bool(self._taken(self._queue.get_nowait()))
        return count, self._ended

    def _taken(self, line: str | None) -> str:
        """Without white space; empty at the end too."""
        self._room.release()
        self._ended = self._ended or line is None
        return (line or "").strip()

    def _put(self, line: str | None) -> bool:
        self._room.acquire()
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, line)
        except RuntimeError:  # the loop has been closed
            return False
        return True

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rest = ""
        while chunk := os.read(self._descriptor, _CHUNK_BYTES):  # sys.stdin's lock would hold up the exit
            *whole, rest = (rest + decoder.decode(chunk)).split("\n")
            if not all(self._put(line) for line in whole):
                return
        self._put(rest + decoder.decode(b"", final=True))
        self._put(None)


__all__ = ["LINES_AHEAD", "TOLD_TO_STOP_EXIT_CODE", "Lines", "run_foreground"]
