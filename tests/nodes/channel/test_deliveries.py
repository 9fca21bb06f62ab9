"""What is under way on a link: each at its time, in order, by one timer, and how late that was."""

import asyncio
import math
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from draftwire.nodes.channel.deliveries import KEPT_LATENESS, LATE_S, Deliveries
from draftwire.runtime.clock import LoopClock, PunctualLoop, run_virtual

Body = Callable[[Deliveries], Coroutine[Any, Any, None]]


def _virtual(body: Body) -> None:
    """Run `body` in virtual time beside deliveries that run."""

    async def main() -> None:
        deliveries = Deliveries(LoopClock())
        running = asyncio.create_task(deliveries.run())
        await asyncio.sleep(0)
        await body(deliveries)
        running.cancel()
        await asyncio.wait([running])

    run_virtual(main())


async def _emptied(deliveries: Deliveries) -> None:
    while deliveries._heap:
        assert await deliveries.progress(math.inf)


class _Late:
    """A clock that is so far ahead of the loop's: what the loop wakes for comes late."""

    def __init__(self) -> None:
        self.behind_s = 0.0

    def now_s(self) -> float:
        return asyncio.get_running_loop().time() + self.behind_s

    async def sleep_until(self, deadline_s: float) -> None:
        raise AssertionError("deliveries have a timer of their own")


@pytest.mark.parametrize("seed", range(5))
def test_each_comes_exactly_at_its_time_in_any_order_of_adding(seed: int) -> None:
    """Times met as they are, to the last bit; equal ones in the order of adding, before and between."""
    rng = random.Random(seed)
    came = list[tuple[float, int]]()

    async def body(deliveries: Deliveries) -> None:
        clock = LoopClock()

        def add(number: int) -> None:
            due_s = clock.now_s() + rng.choice([0.0, 0.25, 3.0, rng.random()])
            expected.append((due_s, number))
            deliveries.add(due_s, lambda: came.append((clock.now_s(), number)))

        expected = list[tuple[float, int]]()
        for number in range(200):
            add(number)
            if rng.random() < 0.3:
                await clock.sleep_until(clock.now_s() + rng.random() / 20)
        await _emptied(deliveries)
        assert came == sorted(expected)
        figures = deliveries.lateness()
        assert (figures.delivered, figures.max_s, figures.p50_s, figures.p99_s) == (200, 0.0, 0.0, 0.0)

    _virtual(body)


def test_waiting_costs_no_task_and_one_timer() -> None:
    """Whatever is under way, there is the one task that runs, and one timer that was not cancelled."""

    async def body(deliveries: Deliveries) -> None:
        loop = asyncio.get_running_loop()
        before = len(asyncio.all_tasks())
        for due_s in (5.0, 4.0, 9.0, 1.0):
            deliveries.add(due_s, lambda: None)
            await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == before
        timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        assert [timer.when() for timer in timers] == [1.0]

    _virtual(body)


def test_a_hand_over_may_add() -> None:
    """What a hand-over adds comes at its time too, an earlier one than all that wait included."""
    came = list[tuple[float, str]]()

    async def body(deliveries: Deliveries) -> None:
        clock = LoopClock()

        def take(name: str) -> None:
            came.append((clock.now_s(), name))

        def add_more() -> None:
            take("first")
            deliveries.add(2.0, lambda: take("second"))
            deliveries.add(0.5, lambda: take("late"))

        deliveries.add(1.0, add_more)
        deliveries.add(3.0, lambda: take("third"))
        await _emptied(deliveries)

    _virtual(body)
    assert came == [(1.0, "first"), (1.0, "late"), (2.0, "second"), (3.0, "third")]


def test_what_falls_due_meanwhile_leaves_the_loop_a_turn() -> None:
    """A hand-over that adds one for now, over and over, does not keep the loop from other work."""
    turns = 0

    async def body(deliveries: Deliveries) -> None:
        nonlocal turns
        stopped = False

        def again() -> None:
            if not stopped:
                deliveries.add(LoopClock().now_s() - 1.0, again)

        again()
        for _ in range(50):
            await asyncio.sleep(0)
            turns += 1
        stopped = True
        await _emptied(deliveries)

    _virtual(body)
    assert turns == 50


def test_what_was_not_delivered_does_not_count() -> None:
    """A hand-over that returns False is in no figure; None and True are deliveries."""

    async def body(deliveries: Deliveries) -> None:
        for answer in (False, None, True, 0):
            deliveries.add(1.0, lambda answer=answer: answer)  # type: ignore[misc]
        await _emptied(deliveries)
        assert deliveries.lateness().delivered == 3
        assert list(deliveries.take_lateness()) == [0.0] * 3

    _virtual(body)


def test_never_is_not_under_way() -> None:
    """An infinite time is neither waited for nor kept: virtual time does not jump there, nothing is left."""

    async def body(deliveries: Deliveries) -> None:
        deliveries.add(math.inf, lambda: pytest.fail("delivered"))
        deliveries.add(2.0, lambda: None)
        await _emptied(deliveries)
        assert LoopClock().now_s() == 2.0

    _virtual(body)


def test_lateness_is_told_message_by_message_and_in_figures() -> None:
    """Each delivery's own, in order and once; the figures' percentiles are right to 2.2 % over any range."""
    rng = random.Random(7)
    behind_s = [10 ** rng.uniform(-6, 0.5) for _ in range(2000)]

    async def main() -> None:
        clock = _Late()
        deliveries = Deliveries(clock)
        running = asyncio.create_task(deliveries.run())
        await asyncio.sleep(0)
        taken = list[float]()
        for number, late_s in enumerate(behind_s):
            clock.behind_s = 0.0
            due_s = clock.now_s() + 0.001
            deliveries.add(due_s, lambda: None)
            clock.behind_s = late_s
            await asyncio.sleep(0.0015)
            assert not deliveries._heap
            if number in (0, 700):
                taken += deliveries.take_lateness()
        taken += deliveries.take_lateness()
        assert taken == pytest.approx(behind_s, abs=1e-9)
        assert not deliveries.take_lateness()
        figures, ordered = deliveries.lateness(), sorted(taken)
        assert figures.p50_s == pytest.approx(ordered[999], rel=0.022)
        assert figures.p99_s == pytest.approx(ordered[1979], rel=0.022)
        assert (figures.delivered, figures.max_s) == (2000, ordered[-1])
        assert figures.mean_s == pytest.approx(sum(taken) / 2000)
        assert figures.late == sum(late_s > LATE_S for late_s in taken)
        running.cancel()

    run_virtual(main())


def test_lateness_that_nobody_takes_is_bounded() -> None:
    """Of more than KEPT_LATENESS the last are kept, and the figures are of all."""

    async def body(deliveries: Deliveries) -> None:
        for _ in range(KEPT_LATENESS + 10):
            deliveries.add(1.0, lambda: None)
        await _emptied(deliveries)
        assert len(deliveries.take_lateness()) == KEPT_LATENESS
        assert deliveries.lateness().delivered == KEPT_LATENESS + 10

    _virtual(body)


def test_an_error_ends_the_run() -> None:
    """What a hand-over raises comes out of `run`, and nothing is delivered behind it."""
    came = list[str]()

    async def main() -> None:
        deliveries = Deliveries(LoopClock())

        def fail() -> None:
            raise ValueError("broken")

        deliveries.add(1.0, fail)
        deliveries.add(1.0, lambda: came.append("behind"))
        with pytest.raises(ValueError, match="broken"):
            await deliveries.run()
        await asyncio.sleep(5)

    run_virtual(main())
    assert came == []


def test_cancelled_it_drops_what_is_under_way() -> None:
    """Nothing is delivered behind a run that was cancelled, and virtual time waits for nothing of it."""

    async def main() -> float:
        deliveries = Deliveries(LoopClock())
        running = asyncio.create_task(deliveries.run())
        deliveries.add(100.0, lambda: pytest.fail("delivered"))
        await asyncio.sleep(1)
        running.cancel()
        await asyncio.wait([running])
        await _emptied(deliveries)
        await asyncio.sleep(1)
        return LoopClock().now_s()

    assert run_virtual(main()) == 2.0


def test_progress_returns_at_its_deadline() -> None:
    """Each hand-over is progress; what takes longer than the deadline is not waited for."""

    async def body(deliveries: Deliveries) -> None:
        clock = LoopClock()
        for due_s in (1.0, 100.0):
            deliveries.add(due_s, lambda: None)
        for deadline_s, woken_s in ((3.0, 1.0), (3.0, 3.0)):
            assert await deliveries.progress(deadline_s)
            assert clock.now_s() == woken_s

    _virtual(body)


def test_whoever_waits_learns_that_nobody_delivers() -> None:
    """A run that ends wakes who waits for progress, and who comes behind it does not wait."""

    async def main() -> float:
        deliveries = Deliveries(LoopClock())
        running = asyncio.create_task(deliveries.run())
        deliveries.add(100.0, lambda: pytest.fail("delivered"))
        waiting = asyncio.create_task(deliveries.progress(1e9))
        await asyncio.sleep(1)
        running.cancel()
        assert not await waiting
        assert not await deliveries.progress(1e9)
        return LoopClock().now_s()

    assert run_virtual(main()) == 1.0


def test_what_is_forgotten_is_not_called_and_not_kept() -> None:
    """However often it was added; the others come at their times."""
    came = list[float]()

    async def body(deliveries: Deliveries) -> None:
        clock, gone = LoopClock(), lambda: pytest.fail("called")
        for due_s in (1.0, 2.0, 3.0):
            deliveries.add(due_s, gone)
            deliveries.add(due_s + 0.5, lambda: came.append(clock.now_s()))
        deliveries.add(1.25, lambda: deliveries.forget(gone))
        deliveries.forget(gone)
        deliveries.add(2.25, gone)
        await _emptied(deliveries)

    _virtual(body)
    assert came == [1.5, 2.5, 3.5]


def test_on_a_real_loop_none_is_early() -> None:
    """On the loop that nodes run on, each is handed over at its time or later, and all are."""

    async def main() -> None:
        clock = LoopClock()
        deliveries = Deliveries(clock)
        running = asyncio.create_task(deliveries.run())
        await asyncio.sleep(0)
        early_s, began_s, rng = list[float](), clock.now_s(), random.Random(3)
        for _ in range(100):
            due_s = began_s + rng.random() / 20
            deliveries.add(due_s, lambda due_s=due_s: early_s.append(due_s - clock.now_s()))  # type: ignore[misc]
        await _emptied(deliveries)
        running.cancel()
        assert len(early_s) == 100
        assert max(early_s) <= 0
        assert min(deliveries.take_lateness()) >= 0

    with asyncio.Runner(loop_factory=PunctualLoop) as runner:
        runner.run(main())
