"""Compute behind one interface: native in a thread, paced, and modelled in virtual time."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from draftwire.nodes.models.pacing import (
    PAPER,
    Compute,
    Kind,
    ModelledCompute,
    NativeCompute,
    PacedCompute,
    PassTable,
    StepTimes,
    T,
    Timed,
    compute_for,
)
from draftwire.runtime.clock import LoopClock, run_virtual


class TakesSeconds:
    """Stands for a machine: each piece of work takes the next of the given times, in virtual time."""

    def __init__(self, clock: LoopClock, *seconds: float) -> None:
        self._clock = clock
        self._seconds = list(seconds)

    async def run(
        self, kind: Kind, positions: int, work: Callable[[], T], *, sessions: int = 1
    ) -> Timed[T]:
        seconds = self._seconds.pop(0)
        await self._clock.sleep_until(self._clock.now_s() + seconds)
        return Timed(value=work(), seconds=seconds, overran=False)

    def close(self) -> None:
        pass


def test_paced_steps_take_the_profile_s_time() -> None:
    """A draft of 4 tokens takes 12.4 ms and a verification 44.5 ms, however little was needed."""

    async def main() -> None:
        clock = LoopClock()
        compute = PacedCompute(clock, inner=TakesSeconds(clock, 0.001, 0.030, 0.002))
        draft = await compute.run("draft", 4, lambda: "drafted")
        assert (draft.value, draft.overran) == ("drafted", False)
        assert draft.seconds == pytest.approx(4 * 3.1e-3)
        assert clock.now_s() == pytest.approx(0.0124)
        for positions in (1, 9):
            target = await compute.run("target", positions, lambda: None)
            assert target.seconds == pytest.approx(44.5e-3)
        assert clock.now_s() == pytest.approx(0.0124 + 2 * 0.0445)
        assert compute.steps == {"draft": 1, "target": 2}
        assert compute.overruns == {"draft": 0, "target": 0}

    run_virtual(main())


def test_steps_that_take_too_long_are_counted() -> None:
    """An overrun is reported with its true time, marked, and counted by kind."""

    async def main() -> None:
        clock = LoopClock()
        compute = PacedCompute(clock, inner=TakesSeconds(clock, 0.050, 0.010, 0.004))
        slow = await compute.run("target", 3, lambda: None)
        assert slow.overran
        assert slow.seconds == pytest.approx(0.050)
        assert not (await compute.run("target", 3, lambda: None)).overran
        assert (await compute.run("draft", 1, lambda: None)).overran
        assert compute.overruns == {"draft": 1, "target": 1}
        assert compute.steps == {"draft": 1, "target": 2}

    run_virtual(main())


@pytest.mark.parametrize(
    "make",
    [
        lambda clock: PacedCompute(clock, inner=TakesSeconds(clock, *[0.001] * 3)),
        ModelledCompute,
    ],
    ids=["paced", "modelled"],
)
def test_a_worker_does_one_thing_at_a_time(make: Callable[[LoopClock], Compute]) -> None:
    """Three steps asked for together end one after the other, in the order they came."""

    async def main() -> None:
        clock = LoopClock()
        compute = make(clock)
        ends: list[tuple[int, float]] = []

        async def step(number: int) -> None:
            done = await compute.run("target", 1, lambda: number)
            ends.append((done.value, clock.now_s()))
            assert done.seconds == pytest.approx(0.0445)

        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(step(number))
        assert [number for number, _ in ends] == [0, 1, 2]
        assert [end_s for _, end_s in ends] == pytest.approx([0.0445, 0.0890, 0.1335])

    run_virtual(main())


def test_modelled_times_have_a_constant_and_a_part_per_position() -> None:
    """The modelled time is the model's, and the work is really done."""

    async def main() -> None:
        clock = LoopClock()
        times = StepTimes(draft_s=0.001, draft_position_s=0.002, target_s=0.03, target_position_s=0.0005)
        compute = ModelledCompute(clock, times)
        assert (await compute.run("draft", 3, lambda: 7)).value == 7
        assert clock.now_s() == pytest.approx(0.007)
        target = await compute.run("target", 10, lambda: None)
        assert target.seconds == pytest.approx(0.035)
        assert clock.now_s() == pytest.approx(0.042)

    run_virtual(main())


def test_work_that_fails_comes_out_and_frees_the_worker() -> None:
    """An exception of the work is the caller's; the next step runs as if nothing had been."""

    def broken() -> None:
        raise LookupError("no such row")

    async def main() -> None:
        for compute in (
            NativeCompute(),
            PacedCompute(LoopClock(), StepTimes(draft_position_s=0, target_s=0)),
        ):
            with pytest.raises(LookupError, match="no such row"):
                await compute.run("target", 1, broken)
            assert (await compute.run("target", 1, lambda: 1)).value == 1
            compute.close()
            compute.close()

    asyncio.run(main())


def test_native_work_leaves_the_event_loop_live() -> None:
    """The loop goes on while work is in progress: it is the loop that lets the work end."""

    async def main() -> None:
        compute = NativeCompute()
        go = threading.Event()

        def work() -> str:
            assert go.wait(timeout=60)
            return threading.current_thread().name

        running = asyncio.create_task(compute.run("draft", 1, work))
        await asyncio.sleep(0)
        go.set()
        done = await running
        assert done.value != threading.current_thread().name
        assert done.seconds >= 0
        assert not done.overran
        compute.close()

    asyncio.run(main())


def test_profiles_have_names() -> None:
    """'native' and 'paper' are known; others are refused with both names."""
    clock = LoopClock()
    for profile, kind in (("native", NativeCompute), ("paper", PacedCompute)):
        compute = compute_for(profile, clock)
        assert isinstance(compute, kind)
        compute.close()
    with pytest.raises(ValueError, match="'fast'; it has to be 'native' or 'paper'"):
        compute_for("fast", clock)
    assert PAPER.seconds("draft", 10) == pytest.approx(0.031)
    with pytest.raises(ValueError, match="no time may be negative"):
        StepTimes(draft_position_s=-1, target_s=0)


MEASURED = PassTable(times=((1, ((1, 0.05), (3, 0.06))), (4, ((1, 0.08), (3, 0.12)))))


@pytest.mark.parametrize(
    ("sessions", "positions", "seconds"),
    [(1, 1, 0.05), (1, 2, 0.055), (4, 12, 0.12), (4, 4, 0.08), (2, 4, 0.07), (1, 5, 0.07), (7, 7, 0.11)],
)
def test_measured_passes_are_interpolated(sessions: int, positions: int, seconds: float) -> None:
    """By sessions and positions of each, along lines that go on beyond the last pass that was measured."""
    times = StepTimes(draft_position_s=0.001, target_s=9.0, target_position_s=9.0, passes=MEASURED)
    assert times.seconds("target", positions, sessions=sessions) == pytest.approx(seconds)
    assert times.seconds("draft", 3) == pytest.approx(0.003)


@pytest.mark.parametrize(
    "times",
    [(), ((2, ((1, 0.1),)),), ((1, ((2, 0.1),)),), ((1, ((1, 0.1), (1, 0.2))),), ((1, ((1, 0.0),)),)],
)
def test_passes_that_cannot_be_are_refused(
    times: tuple[tuple[int, tuple[tuple[int, float], ...]], ...],
) -> None:
    """From one session and one position on, rising, each with a time."""
    with pytest.raises(ValueError):
        PassTable(times=times)
