"""The feed of a page as server-sent events: one JSON object each, when something has changed.

A message is made when the one before it has gone out, of what is so by then: a slow page misses what lay
between, and nothing queues for it.
"""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import orjson

from draftwire.codecs.control_fields import Json
from draftwire.nodes.observer.state import Observation
from draftwire.runtime.clock import Clock

MAX_SUBSCRIBERS: Final = 64
"""Pages at the same time: each is looked at four times a second."""

EVERY_S: Final = 0.25
"""From one message to the next, at least."""

STILL_S: Final = 15.0
"""A comment so often, where there is nothing to tell: proxies close what is silent."""

RETRY_MS: Final = 1000
"""After which a browser comes again when its connection is lost."""

_NEW: Final = ("points", "answers", "decisions")
_PASSING: Final = frozenset({"at_s", "full", *_NEW})


class Feeds:
    """All pages that are open."""

    def __init__(
        self, observation: Observation, *, clock: Clock, controllable: bool, asks: str | None
    ) -> None:
        """`controllable`: whether links can be ordered; `asks`: a model that the page may ask."""
        self._observation, self._clock = observation, clock
        self._controllable, self._asks = controllable, asks
        self._open = 0

    @property
    def has_room(self) -> bool:
        """Whether one more may come."""
        return self._open < MAX_SUBSCRIBERS

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of them, while the block runs."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def stream(self, device: str | None) -> AsyncGenerator[bytes, None]:
        """Events of a device, None: of any, until closed or cancelled."""
        yield b"retry: %d\n\n" % RETRY_MS
        cursor, shown, told_s = None, b"", self._clock.now_s()
        while True:
            now_s = self._clock.now_s()
            message, cursor = self._observation.feed(device, cursor, now_s)
            self._complete(message)
            state = _state(message)
            if message["full"] or state != shown or any(message[name] for name in _NEW):
                shown, told_s = state, now_s
                yield b"data: %b\n\n" % orjson.dumps(message)
            elif now_s - told_s >= STILL_S:
                told_s = now_s
                yield b": nothing new\n\n"
            await self._clock.sleep_until(now_s + EVERY_S)

    def _complete(self, message: dict[str, Json]) -> None:
        """With what this server can do."""
        message["asks"] = self._asks
        link = message["link"]
        if isinstance(link, dict):
            link["controllable"] = self._controllable


def _state(message: Mapping[str, Json]) -> bytes:
    """All but the time, and what is told once."""
    return orjson.dumps({name: value for name, value in message.items() if name not in _PASSING})


__all__ = ["MAX_SUBSCRIBERS", "Feeds"]
