"""A machine for each node: it has a clock, is started, and is told what happens to it."""

import asyncio
from collections.abc import Callable
from typing import Final

from draftwire.nodes.console.chaos.lives import Life
from draftwire.nodes.console.chaos.loop import FaultyLoop, OwnClock
from draftwire.nodes.console.simulate.seeds import stream_of

MOST_AHEAD_S: Final = 2**16
"""Of the loop: clocks of nodes begin anywhere, as nobody may compare two of them."""

BEGAN_WALL_S: Final = 1.7e9
"""What clocks on the wall show as a run begins, about."""


class Machine:
    """Where one node lives, again and again."""

    def __init__(
        self,
        name: str,
        *,
        seed: int,
        loop: FaultyLoop,
        live: Callable[[Life], None],
        died: Callable[[Life], None],
    ) -> None:
        """`live` begins the tasks of a new life; `died` hears of each death as it happens."""
        self.name = name
        numbers = stream_of(seed, "clock", name)
        self.clock = OwnClock(
            loop,
            ahead_s=numbers.randrange(MOST_AHEAD_S),
            wall_s=BEGAN_WALL_S + numbers.uniform(-60.0, 60.0),
        )
        self.life: Life | None = None
        "the newest; None before the first"
        self.lives = 0
        self._slow: list[float] = []
        "of each fault that slows its model down, how many times"
        self._full = self._down = 0
        self._stalls: dict[Life, int] = {}
        self._loop, self._live, self._died = loop, live, died

    @property
    def alive(self) -> bool:
        """Whether a life is under way."""
        return self.life is not None and not self.life.dead

    def start(self) -> None:
        """A new life, unless one is under way or it is kept down."""
        if self.alive or self._down:
            return
        self.life = life = Life(
            self.name, self.lives, loop=self._loop, clock=self.clock, died=lambda: self._died(life)
        )
        self.lives += 1
        life.slow, life.full = max(self._slow, default=1.0), self._full > 0
        self._live(life)

    def keep_down(self) -> None:
        """Kill it; there is no life until `let_up` has been called as often."""
        self._down += 1
        if self.life is not None:
            self.life.kill()

    async def let_up(self) -> None:
        """See `keep_down`; it is started if nothing else keeps it down, once what has died has ended."""
        if self.life is not None:
            await self.life.ended()
        self._down -= 1
        self.start()

    async def leave(self) -> None:
        """Have it end in order; then it is down until `let_up`."""
        self._down += 1
        if self.life is not None and not self.life.dead:
            await self.life.end()

    def slow_down(self, times: float) -> None:
        """Its model takes so many times as long; of several the worst counts, as they would not end else."""
        self._slow.append(times)
        self._set_slow()

    def speed_up(self, times: float) -> None:
        """See `slow_down`: that is over."""
        self._slow.remove(times)
        self._set_slow()

    def _set_slow(self) -> None:
        if self.life is not None:
            self.life.slow = max(self._slow, default=1.0)

    def fill(self, more: int) -> None:
        """1: its queue takes nothing, until as many -1 have come."""
        self._full += more
        if self.life is not None:
            self.life.full = self._full > 0

    def stall(self, until_s: float) -> Life | None:
        """It stands still until then, in the loop's time; the life to hand to `go_on`. None: it is dead."""
        life = self.life
        if life is None or life.dead:
            return None
        self._stalls[life] = self._stalls.get(life, 0) + 1
        self._loop.freeze(self.name, until_s)
        return life

    def go_on(self, life: Life) -> None:
        """Unless another stall holds it, or it has died."""
        self._stalls[life] -= 1
        if not self._stalls[life]:
            del self._stalls[life]
            if not life.dead:
                life.thawed_s = self._loop.time()
                self._loop.thaw(self.name)

    def jump(self, seconds: float, *, wall_s: float) -> None:
        """Its clock is so much ahead of what it was, and of its timers; the wall's moves by `wall_s`."""
        self._loop.jump(self.name, self.clock.jumps(seconds, wall_s=wall_s))

    async def ended(self) -> None:
        """Kill it for good, and wait for its tasks."""
        self._down += 1
        if self.life is not None:
            self.life.kill()
            await asyncio.gather(*self.life.tasks, return_exceptions=True)


__all__ = ["Machine"]
