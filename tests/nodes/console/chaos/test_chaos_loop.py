"""Virtual time in which one node stands still, and in which its clock jumps."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from draftwire.nodes.console.chaos.loop import GRID, FaultyLoop, OwnClock
from draftwire.runtime.clock import WHOSE
from draftwire.runtime.errors import DeadlockError
from draftwire.runtime.wake import Wake

T = TypeVar("T")


def run(main: Callable[[FaultyLoop], Coroutine[Any, Any, T]]) -> T:
    """Its result, in virtual time."""
    with asyncio.Runner(loop_factory=FaultyLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, FaultyLoop)
        return runner.run(main(loop))


def begin(loop: FaultyLoop, node: str, main: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """A task of the node."""
    outside = WHOSE.set(node)
    task = loop.create_task(main)
    WHOSE.reset(outside)
    return task


def test_a_frozen_node_does_nothing_until_it_is_thawed() -> None:
    """Its timers and what it was about to do are late, in their order; the others' are not."""

    async def main(loop: FaultyLoop) -> dict[str, list[float]]:
        seen: dict[str, list[float]] = {"a": [], "b": []}

        async def ticks(node: str) -> None:
            for _ in range(5):
                await asyncio.sleep(1.0)
                seen[node].append(round(loop.time(), 6))

        tasks = [begin(loop, node, ticks(node)) for node in seen]
        await asyncio.sleep(1.5)
        loop.freeze("a", 4.25)
        await asyncio.sleep(2.75)
        loop.thaw("a")
        await asyncio.gather(*tasks)
        return seen

    assert run(main) == {"a": [1.0, 4.25, 5.25, 6.25, 7.25], "b": [1.0, 2.0, 3.0, 4.0, 5.0]}


def test_what_others_do_to_a_frozen_node_waits() -> None:
    """A future that somebody else sets wakes it when it goes on."""

    async def main(loop: FaultyLoop) -> float:
        news = loop.create_future()

        async def waits() -> float:
            await news
            return loop.time()

        task = begin(loop, "a", waits())
        await asyncio.sleep(1.0)
        loop.freeze("a", 3.0)
        news.set_result(None)
        await asyncio.sleep(2.0)
        loop.thaw("a")
        return await task

    assert run(main) == 3.0


def test_a_clock_ahead_wakes_in_time_and_never_early() -> None:
    """Deadlines of a node's own clock are kept on the loop's, to the grid, whatever their digits."""

    async def main(loop: FaultyLoop) -> None:
        clock = OwnClock(loop, ahead_s=65_521, wall_s=1e9)
        wake = Wake(clock)
        for i in range(1, 200):
            deadline_s = clock.now_s() + i * 0.001234567890123
            await (wake.wait(deadline_s) if i % 2 else clock.sleep_until(deadline_s))
            assert deadline_s <= clock.now_s() <= deadline_s + 1 / GRID

    run(main)


def test_a_jump_makes_timers_due() -> None:
    """What a node waits for is there so much earlier, by the loop; nobody else's timers move."""

    async def main(loop: FaultyLoop) -> tuple[float, float]:
        clock, wake_s = OwnClock(loop, ahead_s=10, wall_s=0.0), list[float]()

        async def waits(node: str) -> None:
            await Wake(clock if node == "a" else OwnClock(loop, ahead_s=5, wall_s=0.0)).wait(
                (10 if node == "a" else 5) + 30.0
            )
            wake_s.append(loop.time())

        tasks = [begin(loop, node, waits(node)) for node in ("a", "b")]
        await asyncio.sleep(1.0)
        loop.jump("a", clock.jumps(20.0, wall_s=-5.0))
        assert (clock.now_s(), clock.wall_s()) == (31.0, -4.0)
        await asyncio.gather(*tasks)
        return wake_s[0], wake_s[1]

    assert run(main) == (10.0, 30.0)


def test_time_that_stands_still_is_found() -> None:
    """A node that asks to be woken now, for ever, ends the run with an error that says so."""

    async def main(loop: FaultyLoop) -> None:
        async with asyncio.timeout(1e6):
            while True:
                await asyncio.sleep(0)

    with pytest.raises(DeadlockError, match="time stands still"):
        run(main)
