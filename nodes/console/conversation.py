"""A prompt, or lines of standard input one after the other, and their answers."""

from collections.abc import Awaitable, Callable

from draftwire.nodes.console.api import ConnectedDevice, Generation
from draftwire.nodes.console.foreground import Lines
from draftwire.nodes.console.generate import say, show
from draftwire.nodes.console.summary import summary_line
from draftwire.nodes.device.checks import InvalidRequestError
from draftwire.nodes.device.node import DraftFailedError, RequestRefusedError


class Conversation:
    """One prompt, or every line of standard input until it ends, and the answers."""

    def __init__(self) -> None:
        self.waits = False
        "for a line; told to stop then, nothing is left undone"
        self.failed = 0
        "the exit code of the last line that could not be answered"

    async def hold(self, answer: Callable[[str], Awaitable[None]], prompt: str | None) -> None:
        """Answer all. A line that can't be answered is no reason to leave the next ones."""
        if prompt is not None:
            await answer(prompt)
            return
        lines = Lines()
        while (line := await self._next(lines)) is not None:
            try:
                await answer(line)
            except (InvalidRequestError, RequestRefusedError, DraftFailedError) as error:
                say(f"draftwire: {error}")
                self.failed = error.exit_code

    async def _next(self, lines: Lines) -> str | None:
        self.waits = True
        line = await anext(lines, None)
        self.waits = line is None  # at the end all is said
        return line


async def tell_answer(device: ConnectedDevice, generation: Generation) -> None:
    """Stream it to standard output, and say in a line what came of it."""
    await show(generation)
    resumed = generation.resumed_tokens
    say(summary_line(generation.account, device.compute, resumed_tokens=resumed))


__all__ = ["Conversation", "tell_answer"]
