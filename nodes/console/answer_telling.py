"""What a device tells the observer of an answer: that it was asked, its tokens, and how it ended."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from draftwire.codecs.messages import Origin
from draftwire.runtime.config import AcceptanceRule
from draftwire.runtime.reporting import CUT, MOST_TEXT, Reporter
from draftwire.runtime.telemetry import ANSWER_EVENT, ASKED_EVENT, TOKENS_EVENT

if TYPE_CHECKING:
    from draftwire.nodes.console.api import Generation
    from draftwire.nodes.models.pacing import Compute

GATHER_S: Final = 0.05
"""So long tokens wait for others, to travel in one event."""

MOST_CHARACTERS: Final = 4096
"""Of the tokens in one event, about: a frame holds 64 KiB, and a character takes six bytes at most."""

MOST_PROMPT: Final = 500
"""Characters of a prompt that are told."""

LEFT: Final = "nobody waits for it any more"
"""Of an answer that its reader has left."""


class AnswerTelling:
    """Of one answer of one device."""

    def __init__(self, reporter: Reporter, *, device: str, compute: "Compute", prompt: str) -> None:
        self._reporter, self._device, self._compute = reporter, device, compute
        self._prompt, self._request = prompt, ""
        self._pieces: list[tuple[str, str]] = []
        self._number = 0
        "of the next event with tokens: one that is lost leaves a gap that shows"
        self._timer: asyncio.TimerHandle | None = None

    def asked(self, generation: "Generation") -> None:
        """It begins, or goes on with what a journal has kept of it."""
        request, self._request = generation.request, generation.id
        self._tell(
            ASKED_EVENT,
            prompt=self._prompt[:MOST_PROMPT],
            temperature=request.sampling.temperature,
            acceptance=AcceptanceRule[request.acceptance.name].value,
            max_new_tokens=request.max_new_tokens,
            kept=_end_of(generation.text),
        )

    def token(self, text: str, origin: Origin) -> None:
        """It grows; a token without a text of its own is not told."""
        if not text:
            return
        self._pieces.append((text, origin.name.lower()))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_S, self._flush)

    def ended(self, generation: "Generation", error: BaseException | None) -> None:
        """It is over; `error`: why it has not come to its end, None: it has."""
        from draftwire.nodes.console.summary import summary_fields

        self._flush()
        fields = summary_fields(generation, self._compute)
        if error is not None:
            left = isinstance(error, GeneratorExit | asyncio.CancelledError)
            fields["error"] = LEFT if left else str(error) or type(error).__name__
        self._tell(ANSWER_EVENT, **fields)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for pieces in _in_events(self._pieces):
            self._tell(TOKENS_EVENT, number=self._number, pieces=pieces)
            self._number += 1
        self._pieces = []

    def _tell(self, event: str, **fields: Any) -> None:
        self._reporter.tell(event, node=self._device, device=self._device, request=self._request, **fields)


def _end_of(text: str) -> str:
    """What the next tokens go on from, where it is too long for one event."""
    return text if len(text) <= MOST_TEXT else CUT + text[1 - MOST_TEXT :]


def _in_events(pieces: list[tuple[str, str]]) -> Iterator[list[list[str]]]:
    """A few thousand characters each; a piece stays whole unless it is longer by itself."""
    some, size = list[list[str]](), 0
    for text, origin in pieces:
        if some and size + len(text) > MOST_CHARACTERS:
            yield some
            some, size = [], 0
        some.append([text[:MOST_CHARACTERS], origin])
        size += len(text) + len(origin)
    if some:
        yield some


__all__ = ["GATHER_S", "LEFT", "MOST_CHARACTERS", "MOST_PROMPT", "AnswerTelling"]
