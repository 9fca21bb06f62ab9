"""Answers under way: what they say as it comes, how they wait for a base station, and what ends them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from draftwire.codecs.messages import Finish, Reason
from draftwire.nodes.console.api import Generation
from draftwire.nodes.console.serve.asked import Asked, Prompt
from draftwire.nodes.console.serve.stops import Cut
from draftwire.nodes.device.errors import RequestRefusedError
from draftwire.nodes.models.tokenizer import Tokenizer

BEAT_S: Final = 10.0
"""Whoever has heard nothing for so long is told that he still waits."""

AGAIN_S: Final = 1.0
"""A base station that had no room for a while is asked anew after so long."""


MOST_UNREAD: Final = 256
"""Pieces of a request that may wait for whoever reads it. A device that is not asked for tokens draws no more
drafts, and its base station waits for it."""


class Device(Protocol):
    """What answers: a ConnectedDevice."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def context_length(self) -> int: ...

    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: Sequence[str] = (),
        k: int | None = None,
        gamma: int | None = None,
        acceptance: str | None = None,
        min_draft: int | None = None,
        max_waste: float | None = None,
        shown: str | None = None,
    ) -> Generation: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """News of one choice."""

    choice: int
    text: str
    "may be empty"
    finish: str | None = None
    "`stop` or `length`, with its last piece"


@dataclass(frozen=True, slots=True)
class Beat:
    """Nothing has come for BEAT_S."""


News = Piece | Beat
"""What an answer under way tells."""


class Choice:
    """One answer of those that a request wants."""

    def __init__(self, number: int, begin: Callable[[], Generation], stops: Sequence[str]) -> None:
        """`begin`: called again where the base station had no room."""
        self.number = number
        self.generation = begin()
        self.text = ""
        "so far, up to a stop"
        self.finish: str | None = None
        self._begin, self._stops = begin, stops

    async def run(self, told: Callable[[Piece], Awaitable[None]]) -> None:
        """Answer. `told` returns when more can be told. Raises what the device raises."""
        while True:
            try:
                await self._once(told)
                return
            except RequestRefusedError as error:
                if error.reason != Reason.BUSY.name or self.generation.account.tokens:
                    raise
            await asyncio.sleep(AGAIN_S)  # it lives, and others are before us
            self.generation = self._begin()

    async def _once(self, told: Callable[[Piece], Awaitable[None]]) -> None:
        cut, generation = Cut(self._stops), self.generation
        shown = 0
        async with aclosing(aiter(generation)) as tokens:
            async for token in tokens:
                shown += len(token.text)
                if text := cut.push(token.text):
                    self.text += text
                    await told(Piece(choice=self.number, text=text))
                if cut.found and generation.finish is Finish.RUNNING:
                    break  # as a rule the base station has ended it with that token, and knows no more
        rest = "" if cut.found else cut.push(generation.text[shown:]) + cut.finish()
        self.text += rest
        self.finish = "length" if generation.finish is Finish.LENGTH and not cut.found else "stop"
        await told(Piece(choice=self.number, text=rest, finish=self.finish))


class Answering:
    """All choices of a request, as they come."""

    def __init__(self, asked: Asked, device: Device) -> None:
        """Raises InvalidRequestError for what can't begin."""
        self.asked = asked
        self.choices = [
            Choice(number, _beginning(device, asked, prompt, number % asked.fields.n), asked.fields.stop)
            for number, prompt in enumerate(one for one in asked.prompts for _ in range(asked.fields.n))
        ]
        self.began_s = self._now_s()
        self.first_s: float | None = None
        "when the first text came, by the loop's clock"
        # Not bounded itself: what ends the answer always has a place.
        self._queue: asyncio.Queue[News | Exception] = asyncio.Queue()
        self._failed: Exception | None = None
        self._room = asyncio.Event()
        self._heard_s = self.began_s

    @property
    def ttft_s(self) -> float | None:
        """From its arrival to its first text, the wait for room included; None: there was none yet."""
        return None if self.first_s is None else self.first_s - self.began_s

    def fail(self, error: Exception) -> None:
        """It ends with that, whatever is under way, and before whatever nobody has taken yet."""
        self._failed = error
        self._queue.put_nowait(error)  # for who waits

    @asynccontextmanager
    async def begun(self) -> AsyncIterator[AsyncGenerator[News, None]]:
        """The news, while the block runs; what is under way at its end is cancelled at the base station.

        Iterating raises what the device raises, and what `fail` is told.
        """
        tasks = [asyncio.create_task(self._run(choice), name="choice") for choice in self.choices]
        tasks.append(asyncio.create_task(self._beat(), name="beat"))
        try:
            yield self._news()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _news(self) -> AsyncGenerator[News, None]:
        left = len(self.choices)
        kept: News | Exception | None = None
        while left:
            news = await self._queue.get() if kept is None else kept
            kept = None
            if self._failed is not None:
                raise self._failed
            if isinstance(news, Exception):
                raise news
            # What came with one Commit goes out as one piece.
            while isinstance(news, Piece) and news.finish is None and not self._queue.empty():
                kept = self._queue.get_nowait()
                if not isinstance(kept, Piece) or kept.choice != news.choice:
                    break
                news = Piece(choice=news.choice, text=news.text + kept.text, finish=kept.finish)
                kept = None
            left -= isinstance(news, Piece) and news.finish is not None
            self._room.set()
            yield news

    async def _run(self, choice: Choice) -> None:
        try:
            await choice.run(self._tell)
        except Exception as error:
            self._queue.put_nowait(error)

    async def _tell(self, piece: Piece) -> None:
        self._heard_s = self._now_s()
        if self.first_s is None and piece.text:
            self.first_s = self._heard_s
        self._queue.put_nowait(piece)
        while self._queue.qsize() >= MOST_UNREAD:
            self._room.clear()
            await self._room.wait()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(max(0.0, self._heard_s + BEAT_S - self._now_s()))
            if self._now_s() >= self._heard_s + BEAT_S:
                self._heard_s = self._now_s()
                if self._queue.empty():  # else it is the reader who is waited for
                    self._queue.put_nowait(Beat())

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()


def _beginning(device: Device, asked: Asked, prompt: Prompt, repeat: int) -> Callable[[], Generation]:
    """What begins an answer; the repeats of a prompt have seeds of their own, one behind the other."""
    fields, extension = asked.fields, asked.extension
    seed = None if asked.seed is None else (asked.seed + repeat) % 2**63

    def begin() -> Generation:
        return device.generate(
            prompt.ids,
            max_new_tokens=asked.max_tokens,
            temperature=fields.temperature,
            top_k=fields.top_k,
            top_p=fields.top_p,
            seed=seed,
            stop=fields.stop,
            k=extension.k,
            gamma=extension.gamma,
            acceptance=extension.acceptance,
            min_draft=extension.min_draft,
            max_waste=extension.max_waste,
            shown=prompt.text,
        )

    return begin


__all__ = ["AGAIN_S", "BEAT_S", "MOST_UNREAD", "Answering", "Beat", "Choice", "Device", "News", "Piece"]
