"""`draftwire generate --prompts FILE --output FILE`: a file of prompts becomes a file of answers.

Each answer is a whole line of the output as soon as it is there, in the order in which they end. None waits
for a slower one: a run that is killed loses what is under way, and no more. What it has written stays, and
the next one goes on behind it.
"""

import argparse
import asyncio
import fcntl
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

import orjson
from rich.console import Console

from draftwire.nodes.console.api import SEED_BITS, ConnectedDevice, connect
from draftwire.nodes.console.bars import bar_on
from draftwire.nodes.console.batch_files import (
    STANDARD_INPUT,
    Item,
    read_items,
    read_kept,
    settings_of,
    still_to_ask,
)
from draftwire.nodes.console.foreground import run_foreground
from draftwire.nodes.console.options import as_typed, check_writable
from draftwire.nodes.console.simulate.seeds import number_of
from draftwire.nodes.console.summary import summary_fields
from draftwire.nodes.device.checks import InvalidRequestError, check_pins
from draftwire.nodes.device.node import DraftFailedError, RequestRefusedError
from draftwire.runtime.actor import leaves
from draftwire.runtime.config import Topology
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.telemetry import ANSWER_EVENT, Recorder

LINE_EVERY_S: Final = 5.0
"""Between two lines where there is no terminal."""

AT_ONCE: Final = 8
"""Requests under way where nobody says how many."""

REFUSED: Final = 1
"""Exit code where a prompt has an error and no answer."""


def run_batch(args: argparse.Namespace, topology: Topology) -> int:
    """Ask what has no answer yet; 0, or REFUSED where one has none at the end."""
    at_once = AT_ONCE if args.at_once is None else args.at_once
    most = topology.target.max_sessions
    if at_once > most:
        raise ConfigurationError(
            f"{at_once} requests at once, but the base station serves {most}",
            key="--at-once",
            remedy="write a smaller number, or raise [target] max_sessions in a file of --config",
        )
    items, path = read_items(args.prompts), Path(args.output)
    if args.output != STANDARD_INPUT:
        _check_files(args.prompts, path)
    with _opened(args.output) as output:
        settings = {item.id: settings_of(item, topology, stop=args.stop) for item in items}
        todo = _left(items, args.output, output, settings)
        batch = _Batch(
            todo,
            output,
            at_once=at_once,
            seed=topology.sampling.seed,
            stop=tuple(args.stop),
            settings=settings,
        )
        if not todo:
            return batch.conclude(as_json=args.json)
        code = run_foreground(lambda: as_typed(args, batch.run(args, topology)))
    return batch.conclude(as_json=args.json) if code == 0 else code


def _check_files(prompts: str, path: Path) -> None:
    check_writable(path, key="--output")
    if prompts != STANDARD_INPUT and path.exists() and path.samefile(prompts):
        raise ConfigurationError("the file of --prompts", key="--output", remedy="name another file")


def _left(items: Sequence[Item], name: str, output: "Lines", settings: Mapping[str, str]) -> Sequence[Item]:
    """What is to be asked; what an earlier run has left is told, and a line that it could not end cut off."""
    if name == STANDARD_INPUT:
        return items
    path = Path(name)
    kept = read_kept(path)
    todo = still_to_ask(items, kept, path=path, settings=settings)
    output.cut(kept.whole_bytes)
    if len(todo) < len(items):
        _say(f"{len(items) - len(todo)} of {len(items)} prompts are answered already: they are skipped")
    if again := sum(item.id in kept.failed for item in todo):
        _say(f"{again} with an error are asked again")
    return todo


# Asking -----------------------------------------------------------------------------------------------------


class _Batch:
    """One run: who is asked what, and what has come of it."""

    def __init__(
        self,
        todo: Sequence[Item],
        output: "Lines",
        *,
        at_once: int,
        seed: int | None,
        stop: tuple[str, ...],
        settings: Mapping[str, str],
    ) -> None:
        """`seed`: of all; each prompt's is made of it and its number. None: each draws its own.

        `settings`: of each id, as its line tells them.
        """
        self._todo, self._output, self._settings = todo, output, settings
        self._at_once, self._seed, self._stop = at_once, seed, stop
        self._waiting = iter(todo)
        self.answered = self.refused = self.tokens = 0
        self.seconds = 0.0

    async def run(self, args: argparse.Namespace, topology: Topology) -> None:
        """All of them, at the nodes of a topology started for it."""
        async with AsyncExitStack() as stack:
            recorder = None if args.record is None else stack.enter_context(Recorder(args.record))
            device = await stack.enter_async_context(
                connect(topology, launch=True, record=args.record, capture=args.capture, progress=_say)
            )
            check_pins(args.k, args.gamma, device.tokenizer.vocab_size, key="--k")
            plan = {"k": args.k, "gamma": args.gamma, "min_draft": args.min_draft}
            begun_s = time.monotonic()
            try:
                async with self._shown():
                    await self._ask_all(device, plan, recorder)
            finally:
                self.seconds = time.monotonic() - begun_s
                if self.answered + self.refused < len(self._todo):
                    of = f"{self.answered} of {len(self._todo)} answered"
                    _say(f"{of}; the same command goes on with the rest")

    async def _ask_all(
        self, device: ConnectedDevice, plan: Mapping[str, Any], recorder: Recorder | None
    ) -> None:
        async def work() -> None:
            for item in self._waiting:
                fields = await self._ask(device, item, plan)
                self._output.write(fields)
                if recorder is not None and "error" not in fields:
                    recorder.write({"event": ANSWER_EVENT, **fields})

        try:
            async with asyncio.TaskGroup() as group:
                for number in range(min(self._at_once, len(self._todo))):
                    group.create_task(work(), name=f"asks {number}")
        except BaseExceptionGroup as errors:
            raise next(leaves(errors)) from None  # a node that has ended ends all of them with one error

    async def _ask(self, device: ConnectedDevice, item: Item, plan: Mapping[str, Any]) -> Mapping[str, Any]:
        """The line that a prompt comes to: its answer, or why it has none, which is no reason to end."""
        said = {"seed": self._seed_of(item), "stop": self._stop, **item.said}
        begins = {"id": item.id, "prompt": item.prompt, "settings": self._settings[item.id]}
        try:
            generation = device.generate(item.prompt, **said, **plan)
            async for _ in generation:
                self.tokens += 1
        except (InvalidRequestError, RequestRefusedError, DraftFailedError) as error:
            self.refused += 1
            _say(f"{item.id}: {error}")
            return {**begins, "error": str(error)}
        self.answered += 1
        return {**begins, **summary_fields(generation, device.compute)}

    def _seed_of(self, item: Item) -> int | None:
        return None if self._seed is None else number_of(self._seed, "prompt", item.number, bits=SEED_BITS)

    # What is shown ------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _shown(self) -> AsyncIterator[None]:
        """A bar on a terminal, else a line now and then, while the block runs."""
        console, begun_s = Console(stderr=True, highlight=False), time.monotonic()
        with bar_on(console) as bar:
            task = bar.add_task("", total=len(self._todo))

            async def show() -> None:
                while True:
                    await asyncio.sleep(0.5 if console.is_terminal else LINE_EVERY_S)
                    words = self._words(time.monotonic() - begun_s)
                    if console.is_terminal:
                        bar.update(task, completed=self.answered + self.refused, description=words)
                    else:
                        _say(f"{self.answered + self.refused} of {len(self._todo)}: {words}")

            showing = asyncio.create_task(show(), name="show progress")
            try:
                yield
            finally:
                showing.cancel()
                await asyncio.gather(showing, return_exceptions=True)

    def conclude(self, *, as_json: bool) -> int:
        """Say what has come of it, and with which code to end."""
        if as_json:
            speed = self.tokens / self.seconds if self.seconds > 0 else None
            fields = {
                "answered": self.answered,
                "refused": self.refused,
                "tokens": self.tokens,
                "seconds": self.seconds,
                "tokens_per_s": speed,
            }
            print(orjson.dumps(fields).decode(), file=self._output.beside, flush=True)
        else:
            _say(f"{self.answered} answered, {self._words(self.seconds)}")
        return REFUSED if self.refused else 0

    def _words(self, seconds: float) -> str:
        speed = f"{self.tokens} tokens in {seconds:.1f} s"
        if self.tokens and seconds > 0:
            speed += f", {self.tokens / seconds:.1f} tok/s"
        return speed + (f", {self.refused} refused" if self.refused else "")


# Files ------------------------------------------------------------------------------------------------------


class Lines(Protocol):
    """Where answers go."""

    beside: TextIO
    "a stream for what is no answer"

    def write(self, fields: Mapping[str, Any]) -> None:
        """A whole line, at once."""
        ...

    def cut(self, whole_bytes: int) -> None:
        """Leave so many bytes of what is there, and end a line where they do."""
        ...


class _Shown:
    """Standard output."""

    def __init__(self) -> None:
        self.beside = sys.stderr

    def write(self, fields: Mapping[str, Any]) -> None:
        """See Lines."""
        print(orjson.dumps(fields).decode(), flush=True)

    def cut(self, whole_bytes: int) -> None:
        """There is nothing."""


class _Appended:
    """A file."""

    def __init__(self, descriptor: int) -> None:
        self.beside = sys.stdout
        self._descriptor = descriptor

    def write(self, fields: Mapping[str, Any]) -> None:
        """See Lines. One write: a process that is killed leaves whole lines."""
        self._append(orjson.dumps(fields) + b"\n")

    def _append(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            raise ConfigurationError(
                f"can't be written: {error.strerror}", key="--output", remedy="make room, and run it again"
            ) from None

    def cut(self, whole_bytes: int) -> None:
        """See Lines."""
        if os.fstat(self._descriptor).st_size > whole_bytes:  # of /dev/null nothing can be cut off
            os.ftruncate(self._descriptor, whole_bytes)
        if whole_bytes and os.pread(self._descriptor, 1, whole_bytes - 1) != b"\n":
            self._append(b"\n")


@contextmanager
def _opened(name: str) -> Iterator[Lines]:
    """The output, for this run alone. Raises ConfigurationError where another one is writing it."""
    if name == STANDARD_INPUT:
        yield _Shown()
        return
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigurationError(
                f"{name!r} is being written by another run",
                key="--output",
                remedy="wait for it, or name another file",
            ) from None
        yield _Appended(descriptor)
    finally:
        os.close(descriptor)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


__all__ = ["AT_ONCE", "LINE_EVERY_S", "run_batch"]
