"""`draftwire up FILE` of a file with several devices: all in this process, each answering by itself."""

import argparse
import asyncio
import io
import sys
import tempfile
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, TextIO, cast

import orjson
from rich.console import Console
from rich.live import Live

from draftwire.nodes.console.api import ConnectedDevice, connect_all
from draftwire.nodes.console.foreground import Lines, run_foreground
from draftwire.nodes.console.generate import say
from draftwire.nodes.console.launch import launched
from draftwire.nodes.console.live import Tail
from draftwire.nodes.console.options import as_typed
from draftwire.nodes.console.prompts import (
    EXAMPLES,
    Dealt,
    InTurn,
    Prompts,
    behind,
    first_of,
    read_prompts,
)
from draftwire.nodes.console.starting import unless_lost
from draftwire.nodes.console.summary import summary_fields
from draftwire.nodes.console.up_sessions import Session, State, Witness
from draftwire.nodes.console.up_views import (
    final_table,
    final_words,
    live_table,
    overall_words,
    up_fields,
)
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

MOST_ANSWERS: Final = 1000
"""The last ones of each device, that the JSON object holds."""

Placed = Callable[[AsyncExitStack], Topology]


class _Beside(io.TextIOBase):
    """Standard error as it is at the moment: while the table stands, what is logged goes above it.

    `rich.Live` puts another stream in the place of sys.stderr for that. A logger that was given sys.stderr
    before would write into the table.
    """

    def write(self, text: str) -> int:
        """As a file does."""
        return sys.stderr.write(text)

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return sys.__stderr__ is not None and sys.__stderr__.isatty()


def run_many(args: argparse.Namespace, topology: Topology, placed: Placed) -> int:
    """Start everything, answer, and tell what came of it; `placed` gives the nodes' keys, see roles.py."""
    given = None if args.prompts is None else read_prompts(args.prompts)
    set_up_logging(level="warning", stream=cast(TextIO, _Beside()))
    this = _Run(args, topology)
    code = run_foreground(lambda: as_typed(args, this.run(placed, given)), rests=lambda: not this.under_way)
    return code or this.exit_code


class _Run:
    """One run of the command."""

    def __init__(self, args: argparse.Namespace, topology: Topology) -> None:
        self._args, self._topology = args, topology
        self._sessions: Sequence[Session] = ()
        self._answers = defaultdict[str, deque[Mapping[str, Any]]](lambda: deque(maxlen=MOST_ANSWERS))
        self._began_s = 0.0
        "when there was something to answer"
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
                launched(system, record=path, capture=self._args.capture, progress=say, observer=True)
            )
            await nodes.ready()
            devices = await stack.enter_async_context(connect_all(system, progress=say))
            for device in devices:
                await stack.enter_async_context(device.dependent_on(nodes))
            say(f"{len(devices)} devices are ready: {devices[0].name} to {devices[-1].name}")
            self._began_s = began_s = now_s()
            self._sessions = [Session(one.name, now_s=began_s, busy=one.busy) for one in devices]
            witness, most_bytes = Witness(began_s), None if self._args.record else SCRATCH_BYTES
            tail = Tail(path, most_bytes=most_bytes, from_end=True)
            try:
                async with self._shown(witness, tail):
                    await unless_lost(nodes, self._ask(devices, given, recorder))
            finally:
                witness.tell(tail.events(), now_s())
                self._conclude(witness, now_s=now_s())

    async def _ask(
        self, devices: Sequence[ConnectedDevice], given: Sequence[str] | None, recorder: Recorder
    ) -> None:
        """Whatever is to be asked; the lines of standard input where no file is given, and there are any."""
        most, typed = self._args.answers, sys.stdin.isatty()
        if given is None and not typed:
            lines = Lines()
            if (first := await first_of(lines, waits=_tell_that_it_waits)) is not None:
                await self._answer_all(devices, Dealt(behind(first, lines)), most, recorder)
                _tell_what_is_left(lines, most)
                return
        if given is None:
            self._texts = self._texts and not sys.stdout.isatty()  # the table shows them well enough
        if most is None and typed:
            say("each device answers one prompt after another; Ctrl-C ends it")
        prompts = InTurn(given or EXAMPLES)
        await self._answer_all(devices, prompts, most or (None if typed else 1), recorder)

    async def _answer_all(
        self, devices: Sequence[ConnectedDevice], prompts: Prompts, most: int | None, recorder: Recorder
    ) -> None:
        """Each device answers by itself, until there are no more prompts or it has had `most`."""
        self._began_s = asyncio.get_running_loop().time()

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
        live = None
        if console.is_terminal:
            # Live takes standard output to its console too: answers that go to a file would not get there.
            redirect = sys.stdout.isatty()
            live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=redirect)

        async def show() -> None:
            said = ""
            while True:
                await asyncio.sleep(LINE_EVERY_S if live is None else LOOK_EVERY_S)
                witness.tell(tail.events(), now_s())
                if live is None:
                    before, said = said, overall_words(self._sessions, witness, now_s())
                    if said != before:  # while nothing is asked it is the same
                        say(said)
                else:
                    size = console.size
                    table = live_table(self._sessions, witness, now_s(), width=size.width, height=size.height)
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

    def _conclude(self, witness: Witness, *, now_s: float) -> None:
        for session in self._sessions:
            session.rests(now_s)
        fields = up_fields(
            self._sessions,
            witness,
            now_s,
            began_s=self._began_s,
            answers=self._answers,
            paced=self._topology.compute.profile is Profile.PAPER,
        )
        console = Console(stderr=True, highlight=False)
        console.print(final_table(self._sessions, now_s, width=console.width))
        say(final_words(fields))
        if self._args.json:
            print(orjson.dumps(fields).decode(), flush=True)


def _tell_that_it_waits() -> None:
    say("waiting for lines of standard input; --prompts FILE asks those of a file")


def _tell_what_is_left(lines: Lines, most: int | None) -> None:
    """Say so where devices have had so many lines each that there are others that nobody answers."""
    count, whole = lines.left()
    if count:
        many = f"{count}{'' if whole else ' or more'} line{'' if whole and count == 1 else 's'}"
        say(f"{many} of standard input left: --answers {most} is {most} a device")


__all__ = ["run_many"]
