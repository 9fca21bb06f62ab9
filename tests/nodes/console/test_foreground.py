"""Conversations on standard input, and what a signal does to them."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from draftwire.nodes.console.conversation import Conversation
from draftwire.nodes.console.foreground import LINES_AHEAD, TOLD_TO_STOP_EXIT_CODE, Lines, run_foreground
from draftwire.nodes.device.checks import InvalidRequestError
from draftwire.nodes.device.node import DraftFailedError, RequestRefusedError
from draftwire.runtime.errors import ConfigurationError


@contextmanager
def _stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The writing end of a pipe that is standard input."""
    reader, writer = os.pipe()
    with os.fdopen(reader) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield writer


def test_lines_come_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are split at line ends only, wherever reads fall; white space around and empty lines go."""

    async def main() -> list[str]:
        with _stdin(monkeypatch) as writer:
            text = "  first \n\n\tn\u00e4chste\nunfinished".encode()

            async def write() -> None:
                for i in range(len(text)):
                    os.write(writer, text[i : i + 1])
                    await asyncio.sleep(0)
                os.close(writer)

            writing = asyncio.create_task(write())
            lines = [line async for line in Lines()]
            await writing
            return lines

    assert asyncio.run(main()) == ["first", "n\u00e4chste", "unfinished"]


def test_an_endless_input_is_not_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than LINES_AHEAD lines wait, and those that do are told of; the next ones come all the same."""

    async def main() -> None:
        with _stdin(monkeypatch) as writer:
            lines, count = Lines(), 3 * LINES_AHEAD
            os.write(writer, b"".join(b"%d\n" % number for number in range(count)))
            assert await anext(lines) == "0"
            while lines._queue.qsize() < LINES_AHEAD:
                await asyncio.sleep(0.001)
            for _ in range(20):  # were there no bound, the others would be here by then
                await asyncio.sleep(0.001)
            assert lines.left() == (LINES_AHEAD, False)
            assert await anext(lines) == str(LINES_AHEAD + 1)
            os.close(writer)
            rest = [line async for line in lines]
            assert rest[-1] == str(count - 1) and len(rest) == count - LINES_AHEAD - 2
            assert lines.left() == (0, True)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidRequestError("it is long", key="prompt", remedy="shorten it"), 2),
        (RequestRefusedError("BUSY", "all taken"), 3),
        (DraftFailedError(RuntimeError("out of memory")), 1),
    ],
)
def test_a_line_that_cannot_be_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Any, code: int
) -> None:
    """It is told in one line, the next ones are answered, and the exit code says that there was one."""
    answered: list[str] = []

    async def answer(prompt: str) -> None:
        if prompt == "bad":
            raise error
        answered.append(prompt)

    async def main() -> int:
        with _stdin(monkeypatch) as writer:
            os.write(writer, b"one\nbad\ntwo\n")
            os.close(writer)
            conversation = Conversation()
            await conversation.hold(answer, None)
            return conversation.failed

    assert asyncio.run(main()) == code
    assert answered == ["one", "two"]
    assert capsys.readouterr().err == f"draftwire: {error}\n"


def test_a_conversation_waits_between_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a line is answered, and while the nodes are still being started, it does not wait."""

    async def main() -> None:
        with _stdin(monkeypatch) as writer:
            conversation, answering, go_on = Conversation(), asyncio.Event(), asyncio.Event()
            assert not conversation.waits

            async def answer(prompt: str) -> None:
                answering.set()
                await go_on.wait()

            holding = asyncio.create_task(conversation.hold(answer, None))
            await asyncio.sleep(0)
            assert conversation.waits
            os.write(writer, b"one\n")
            await answering.wait()
            assert not conversation.waits
            go_on.set()
            while not conversation.waits:
                await asyncio.sleep(0)
            assert not holding.done()
            os.close(writer)
            await holding
            assert conversation.waits
            await Conversation().hold(answer, "one")

    asyncio.run(main())


@pytest.mark.parametrize(("rests", "code"), [(True, 0), (False, TOLD_TO_STOP_EXIT_CODE)])
def test_sigterm_unwinds(rests: bool, code: int) -> None:
    """Told to stop, what runs is cancelled and cleans up; the code is 0 if nothing was left undone then."""
    events: list[str] = []

    async def steps() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(60)
        finally:
            events.append("cleaned up")

    async def main() -> None:
        async for _ in steps():
            os.kill(os.getpid(), 15)

    assert run_foreground(main, rests=lambda: rests and not events) == code
    assert events == ["cleaned up"]


def test_errors_keep_their_code(capsys: pytest.CaptureFixture[str]) -> None:
    """An error that a person can mend is one line and its own code, as in run_process."""

    async def main() -> None:
        raise ConfigurationError("no", key="a.b")

    assert run_foreground(main) == 2
    assert capsys.readouterr().err == "draftwire: a.b: no\n"
