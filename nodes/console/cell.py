"""`draftwire up FILE` of a file with several devices: all in this process, each answering by itself."""

import argparse
import asyncio
import io
import sys
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, TextIO, cast

import orjson
from rich.console import Console
from rich.live import Live

from draftwire.nodes.console.api import ConnectedDevice, connect_all
from draftwire.nodes.console.cell_sessions import Session, State, Witness
from draftwire.nodes.console.cell_views import (
    cell_fields,
    final_table,
    final_words,
    live_table,
    overall_words,
)
from draftwire.nodes.console.foreground import lines_of_stdin, run_foreground
from draftwire.nodes.console.generate import say
from draftwire.nodes.console.launch import launched
from draftwire.nodes.console.live import Tail
from draftwire.nodes.console.options import as_typed
from draftwire.nodes.console.prompts import EXAMPLES, Dealt, InTurn, Prompts, behind, read_prompts
from draftwire.nodes.console.summary import summary_fields
from draftwire.nodes.device.checks import InvalidRequestError
from draftwire.nodes.device.node import DraftFailedError, RequestRefusedError
from draftwire.runtime.actor import leaves
from draftwire.runtime.config import Profile, Topology
from draftwire.runtime.telemetry import ANSWER_EVENT, Recorder, set_up_logging

LOOK_EVERY_S: Final = 0.5
"""Between two pictures of the table: the record is read then, which costs milliseconds."""

LINE_EVERY_S: Final = 5.0
"""Between two lines where there is no terminal."""

AGAIN_AFTER_S: Final = 2.0
"""A device that was refused asks its next prompt so much later."""

SCRATCH_BYTES: Final = 1 << 24
"""Of the record that the table is made of, where nobody keeps it."""

Placed = Callable[[AsyncExitStack], Topology]


class _Beside(io.TextIOBase):
    """Standard error as it is at the moment: while the table stands, what is logged goes above it."""

    def write(self, text: str) -> int:
        """As a file does."""
        return sys.stderr.write(text)

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return sys.__stderr__ is not None and sys.__stderr__.isatty()


def run_cell(args: argparse.Namespace, topology: Topology, placed: Placed) -> int:
    """Start everything, answer, and tell what came of it; `placed` gives the nodes' keys, see roles.py."""
    given = None if args.prompts is None else read_prompts(args.prompts)
    set_up_logging(level="warning", stream=cast(TextIO, _Beside()))
    cell = _Cell(args, topology)
    code = run_foreground(lambda: as_typed(args, cell.run(placed, given)), rests=lambda: not cell.under_way)
    return code or cell.exit_code


class _Cell:
    """One run of the command."""

    def __init__(self, args: argparse.Namespace, topology: Topology) -> None:
        self._args, self._topology = args, topology
        self._sessions: Sequence[Session] = ()
        self._answers = defaultdict[str, list[Mapping[str, Any]]](list)
        self._texts = not args.json
        "whether answers go to standard output"

    @property
    def under_way(self) -> bool:
        """Whether a request is, so that an end now would break it off."""
        return any(one.under_way for one in self._sessions)

    @property
    def exit_code(self) -> int:
        """Of a request that could not be answered, if there was one."""
        return next((one.exit_code for one in self._sessions if one.failed), 0)

    async def run(self, placed: Placed, given: Sequence[str] | None) -> None:
        """Until no device is asked any more."""
        now_s = asyncio.get_running_loop().time
        async with AsyncExitStack() as stack:
            system = placed(stack)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="draftwire-")))
            path = self._args.record or folder / "record.jsonl"
            recorder = stack.enter_context(Recorder(path))
            nodes = await stack.enter_async_context(
                launched(system, record=path, capture=self._args.capture, progress=say)
            )
            await nodes.ready()
            devices = await stack.enter_async_context(connect_all(system, progress=say))
            for device in devices:
                await stack.enter_async_context(device.dependent_on(nodes))
            say(f"{len(devices)} devices are ready: {devices[0].name} to {devices[-1].name}")
            prompts, most = await self._prompts(given)
            began_s = now_s()
            self._sessions = [Session(one.name, now_s=began_s, busy=one.busy) for one in devices]
            witness = Witness(began_s)
            tail = Tail(path, most_bytes=None if self._args.record else SCRATCH_BYTES)
            list(tail.events())  # of a record that was there before
            try:
                async with self._shown(witness, tail):
                    await self._answer_all(devices, prompts, most, recorder)
            finally:
                witness.tell(tail.events(), now_s())
                self._conclude(witness, began_s=began_s, now_s=now_s())

    async def _prompts(self, given: Sequence[str] | None) -> tuple[Prompts, int | None]:
        """What devices are asked, and how many prompts each at most."""
        most, typed = self._args.answers, sys.stdin.isatty()
        if given is None and not typed:
            lines = lines_of_stdin()
            first = await anext(lines, None)
            if first is not None:
                return Dealt(behind(first, lines)), most
        if given is None:
            self._texts = self._texts and not sys.stdout.isatty()  # the table shows them well enough
        if most is None and typed:
            say("each device answers one prompt after another; Ctrl-C ends it")
        return InTurn(given or EXAMPLES), most or (None if typed else 1)

    async def _answer_all(
        self, devices: Sequence[ConnectedDevice], prompts: Prompts, most: int | None, recorder: Recorder
    ) -> None:
        """Each device answers by itself, until there are no more prompts or it has had `most`."""

        async def work(place: int, device: ConnectedDevice, session: Session) -> None:
            asked = 0
            while most is None or asked < most:
                if session.state is State.FAILED:
                    await asyncio.sleep(AGAIN_AFTER_S)
                prompt = await prompts.next(place)
                if prompt is None:
                    break
                asked += 1
                await self._answer(device, session, prompt, recorder)
            session.rests(asyncio.get_running_loop().time())

        try:
            async with asyncio.TaskGroup() as group:
                for place, (device, session) in enumerate(zip(devices, self._sessions, strict=True)):
                    group.create_task(work(place, device, session), name=device.name)
        except BaseExceptionGroup as errors:
            raise next(leaves(errors)) from None  # a node that has ended ends all of them with one error

    async def _answer(
        self, device: ConnectedDevice, session: Session, prompt: str, recorder: Recorder
    ) -> None:
        """One prompt. A request that can't be answered is told in its row, and is no reason to end."""
        now_s = asyncio.get_running_loop().time
        try:
            generation = device.generate(prompt, min_draft=self._args.min_draft)
            session.asks(generation, now_s())
            async for _ in generation:
                session.token(now_s())
        except (InvalidRequestError, RequestRefusedError, DraftFailedError) as error:
            session.fails(error, now_s())
            say(f"{device.name}: {error}")
            return
        session.answers(now_s())
        fields = {"prompt": prompt, **summary_fields(generation, device.compute)}
        recorder.write({"event": ANSWER_EVENT, "device": device.name, **fields})
        if self._args.json:
            self._answers[device.name].append(fields)
        elif self._texts:
            print(f"{device.name}: {generation.text}", flush=True)

    @asynccontextmanager
    async def _shown(self, witness: Witness, tail: Tail) -> AsyncIterator[None]:
        """The table on a terminal, else a line now and then, while the block runs."""
        now_s = asyncio.get_running_loop().time
        console = Console(stderr=True, highlight=False)
        live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

        async def show() -> None:
            while True:
                await asyncio.sleep(LINE_EVERY_S if live is None else LOOK_EVERY_S)
                witness.tell(tail.events(), now_s())
                if live is None:
                    say(overall_words(self._sessions, witness, now_s()))
                else:
                    size = console.size
                    table = live_table(
                        self._sessions, witness, now_s(), width=size.width, height=size.height
                    )
                    live.update(table, refresh=True)

        with live or nullcontext():
            showing = asyncio.create_task(show(), name="show sessions")
            try:
                yield
            finally:
                showing.cancel()
                (ended,) = await asyncio.gather(showing, return_exceptions=True)
                if isinstance(ended, Exception):
                    raise ended

    def _conclude(self, witness: Witness, *, began_s: float, now_s: float) -> None:
        for session in self._sessions:
            session.rests(now_s)
        fields = cell_fields(
            self._sessions,
            witness,
            now_s,
            began_s=began_s,
            answers=self._answers,
            paced=self._topology.compute.profile is Profile.PAPER,
        )
        Console(stderr=True, highlight=False).print(final_table(self._sessions, now_s))
        say(final_words(fields))
        if self._args.json:
            print(orjson.dumps(fields).decode(), flush=True)


__all__ = ["run_cell"]
