"""Virtual time: jumps, order, determinism, and the error when nothing is left to happen."""

import asyncio
import random
import socket

import pytest

from draftwire.runtime.clock import LoopClock, PunctualLoop, VirtualLoop, run_virtual
from draftwire.runtime.errors import DeadlockError


def test_sleeping_ends_exactly_at_the_deadline() -> None:
    """A virtual sleep ends at the very float that was asked for, however odd."""

    async def main() -> list[float]:
        clock, seen = LoopClock(), []
        for deadline_s in (0.1, 0.1 + 0.2, 1 / 3 + 0.1, 1e6 + 1 / 7, 3e6 + 1e-9):
            await clock.sleep_until(deadline_s)
            seen.append(clock.now_s())
        return seen

    assert run_virtual(main()) == [0.1, 0.1 + 0.2, 1 / 3 + 0.1, 1e6 + 1 / 7, 3e6 + 1e-9]


def test_no_rounding_on_the_way_to_a_deadline() -> None:
    """From anywhere to anywhere, a leap of days too, time lands on the deadline, not a rounding beside it."""

    async def main(first_s: float, second_s: float) -> None:
        for deadline_s in (first_s, second_s):
            await LoopClock().sleep_until(deadline_s)
            assert LoopClock().now_s() == deadline_s

    rng = random.Random(5)
    for _ in range(200):
        run_virtual(main(rng.random(), 1 + 10 ** rng.uniform(0, 6)))


def test_a_past_deadline_gives_others_a_turn() -> None:
    """A task that sleeps until the past does not starve the others, and time stands still."""

    async def main() -> tuple[list[str], float]:
        clock, turns = LoopClock(), list[str]()

        async def worker(name: str) -> None:
            for _ in range(2):
                turns.append(name)
                await clock.sleep_until(-1.0)

        async with asyncio.TaskGroup() as group:
            group.create_task(worker("a"))
            group.create_task(worker("b"))
        return turns, clock.now_s()

    assert run_virtual(main()) == (["a", "b", "a", "b"], 0.0)


def test_cancelling_a_sleep_leaves_no_timer() -> None:
    """After a cancelled sleep time does not jump to its deadline."""

    async def main() -> float:
        clock = LoopClock()
        sleeper = asyncio.create_task(clock.sleep_until(1000.0))
        await clock.sleep_until(1.0)
        sleeper.cancel()
        await asyncio.wait([sleeper])
        await clock.sleep_until(2.0)
        return clock.now_s()

    assert run_virtual(main()) == 2.0


async def _thousand_tasks(seed: int) -> list[tuple[float, int]]:
    clock, trace = LoopClock(), list[tuple[float, int]]()

    async def worker(number: int) -> None:
        rng = random.Random(f"{seed} {number}")
        for _ in range(10):
            await clock.sleep_until(clock.now_s() + rng.choice([0.0, 0.5, rng.random()]))
            trace.append((clock.now_s(), number))

    async def fail() -> None:
        await clock.sleep_until(4.0)
        raise ValueError("stop")

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(1000):
                group.create_task(worker(number))
            group.create_task(fail())
    except* ValueError:
        trace.append((clock.now_s(), -1))
    return trace


def test_a_thousand_tasks_run_the_same_twice() -> None:
    """A thousand tasks, ties and a cancelled group included, give the same trace in every run."""
    first = run_virtual(_thousand_tasks(1))
    assert len(first) > 5000
    assert first == run_virtual(_thousand_tasks(1))
    assert first != run_virtual(_thousand_tasks(2))
    assert [at for at, _ in first] == sorted(at for at, _ in first)


def test_a_task_group_cancels_in_the_order_of_creation() -> None:
    """asyncio keeps a group's tasks in a set; in virtual time even its order repeats."""

    async def main() -> list[int]:
        ended = list[int]()

        async def worker(number: int) -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ended.append(number)

        async def fail() -> None:
            raise ValueError("stop")

        try:
            async with asyncio.TaskGroup() as group:
                for number in range(50):
                    group.create_task(worker(number))
                group.create_task(fail())
        except* ValueError:
            pass
        return ended

    assert run_virtual(main()) == run_virtual(main())


def test_a_deadlock_names_who_waits_and_where() -> None:
    """When nothing is scheduled the error names every waiting task and the function it waits in."""

    async def main() -> None:
        async def starved() -> None:
            await asyncio.Event().wait()

        await LoopClock().sleep_until(7.0)
        async with asyncio.TaskGroup() as group:
            group.create_task(starved(), name="left device")
            group.create_task(starved(), name="right device")

    with pytest.raises(DeadlockError) as caught:
        run_virtual(main())
    assert caught.value.now_s == 7.0
    assert len(caught.value.waiting) == 3
    assert "left device at Event.wait (locks.py" in str(caught.value)
    assert "right device at Event.wait" in str(caught.value)


def test_real_time_is_refused_inside_virtual_time() -> None:
    """Threads and files would make a virtual run depend on real time, so waiting for one is an error."""

    async def thread() -> None:
        await asyncio.to_thread(print)

    async def file() -> None:
        asyncio.get_running_loop().add_reader(0, print)

    for main in (thread, file):
        with pytest.raises(RuntimeError, match="virtual time"):
            run_virtual(main())


def test_the_same_clock_runs_on_a_real_loop() -> None:
    """On asyncio's own loop a sleep never ends early."""

    async def main() -> bool:
        clock = LoopClock()
        deadline_s = clock.now_s() + 0.003
        await clock.sleep_until(deadline_s)
        return clock.now_s() >= deadline_s

    assert asyncio.run(main())


def test_the_punctual_loop_wakes_for_files_and_for_timers() -> None:
    """A file that can be read wakes it before a timer that is far off; a timer does by itself, not early."""

    async def main() -> list[str]:
        loop, seen = asyncio.get_running_loop(), list[str]()
        here, there = socket.socketpair()
        with here, there:
            read = asyncio.Event()

            def take() -> None:
                seen.append(here.recv(9).decode())
                read.set()

            loop.add_reader(here.fileno(), take)
            far = loop.call_later(600, seen.append, "never")
            loop.call_later(0.002, there.send, b"read")
            await read.wait()
            far.cancel()
            deadline_s = loop.time() + 0.002
            await LoopClock().sleep_until(deadline_s)
            seen.append("early" if loop.time() < deadline_s else "in time")
            loop.remove_reader(here.fileno())
        return seen

    with asyncio.Runner(loop_factory=PunctualLoop) as runner:
        assert runner.run(main()) == ["read", "in time"]


def test_a_new_loop_starts_at_zero() -> None:
    """Virtual time starts at 0, so traces of different runs compare."""
    loop = VirtualLoop()
    assert loop.time() == 0.0
    loop.close()
