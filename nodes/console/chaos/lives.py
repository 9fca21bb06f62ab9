"""A node as something that dies and comes back: what makes it, and the life of it that runs now.

A life ends as a killed process does. First its connections are gone and nothing that it does reaches anybody;
then its tasks are cancelled, so that what they would say in farewell is heard by no one. The next life is
made anew, from nothing but what is on disk.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from draftwire.nodes.console.chaos.faults import Moment
from draftwire.nodes.console.chaos.loop import FaultyLoop, OwnClock
from draftwire.runtime.clock import WHOSE


class Part(Protocol):
    """Of a life, something that must end with it."""

    def die(self) -> None:
        """At once; nothing of it is left for others."""
        ...


class Life:
    """One process: from its start until it is killed, or told to end."""

    def __init__(
        self, name: str, number: int, *, loop: FaultyLoop, clock: OwnClock, died: Callable[[], None]
    ) -> None:
        """`number`: of this life, from 0 on. `died` hears of its death, as that happens."""
        self.name, self.number, self.clock = name, number, clock
        self.dead = self.leaving = False
        "`leaving`: it has been told to end"
        self.thawed_s = 0.0
        "when it went on last, in the loop's time: what it hears it has read then or later"
        self.parts: list[Part] = []
        self.armed: Moment | None = None
        "when it is to die"
        self.opening = False
        "whether it is being taken up again, and is to die of it"
        self.armed_killed = False
        "whether it has died so"
        self.death = asyncio.Event()
        "set once it is dead"
        self.slow = 1.0
        "so many times as long its model takes"
        self.full = False
        "whether its queue takes nothing"
        self._loop, self._died = loop, died
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, main: Coroutine[Any, Any, None], name: str) -> None:
        """Run a task of it, until it dies."""
        outside = WHOSE.set(self.name)
        self._tasks.append(self._loop.create_task(main, name=name))
        WHOSE.reset(outside)

    def kill(self) -> None:
        """It is gone. Idempotent."""
        if self.dead:
            return
        self.dead = True
        for part in self.parts:
            part.die()
        self._loop.thaw(self.name)
        for task in self._tasks:
            task.cancel()
        self._died()
        self.death.set()

    def dies_at(self, *moments: Moment) -> bool:
        """Whether it does: it is one of the moments at which it is to die."""
        if self.armed is None or self.armed not in moments:
            return False
        self.armed_killed = not self.dead
        self.kill()
        return True

    async def end(self) -> None:
        """Told to end, it does so in order; then it is dead too."""
        self.leaving = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.kill()

    async def ended(self) -> Sequence[BaseException | None]:
        """What its tasks ended with, once all have."""
        return await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def tasks(self) -> Sequence["asyncio.Task[None]"]:
        """Those that were begun, in order."""
        return self._tasks


__all__ = ["Life", "Part"]
