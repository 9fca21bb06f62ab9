"""`draftwire bench simulate`: its figures from what was played, without playing it."""

import pytest

from draftwire.nodes.console.bench.simulate import GOALS, Both, Played, growth_exponent, result
from draftwire.nodes.console.bench.simulate_both import (
    Answer,
    in_virtual_time,
    requests,
    small_topology,
)


def played(devices: int, *, cpu_s: float, wall_s: float = 10.0, steps: int = 1000) -> Played:
    return Played(
        devices=devices,
        steps=steps,
        drafted=steps // 2,
        virtual_s=3.0,
        wall_s=wall_s,
        cpu_s=cpu_s,
        peak_bytes=50_000_000 + 200_000 * devices,
        trace_hash="ab" * 16,
    )


def answers(*speeds: float) -> list[Answer]:
    return [Answer(ids=(1,) * 30, seconds=30 / speed, steps=12, bytes_up=900) for speed in speeds]


def found(*, quick: bool = False, wall_s: float = 10.0, real: float = 20.0) -> dict[str, object]:
    both = Both(virtual=answers(21.0), real=answers(real))
    few, many = [played(100, cpu_s=2.0)], played(1000, cpu_s=20.0)
    main = played(100, cpu_s=11.0, wall_s=wall_s)
    return result(main, few, many, fixed=both, auto=both, quick=quick)


def test_proportional_work_has_exponent_one() -> None:
    """Ten times the devices at ten times the time is 1; at a hundred times the time 2."""
    few = [played(100, cpu_s=seconds) for seconds in (2.0, 1.0, 9.0)]
    assert growth_exponent(few, played(1000, cpu_s=20.0)) == pytest.approx(1)
    assert growth_exponent(few, played(1000, cpu_s=200.0)) == pytest.approx(2)


def test_the_difference_is_of_medians_and_of_the_real_speed() -> None:
    """One slow request among the real ones, or who comes first, changes nothing."""
    assert Both(virtual=answers(21.0), real=answers(20.0, 5.0, 20.0)).off_pct == pytest.approx(5)
    assert Both(virtual=answers(19.0), real=answers(20.0)).off_pct == pytest.approx(5)


def test_a_run_is_judged_by_its_goals() -> None:
    """What is beyond a goal misses it; a quick run is not held to the time of the full one."""
    goals = found(wall_s=121.0, real=25.0)["goals"]
    assert isinstance(goals, dict) and {name: one["met"] for name, one in goals.items()} == {
        "wall_s": False,
        "growth_exponent": True,
        "virtual_vs_real_pct": False,
    }
    quick = found(quick=True)["goals"]
    assert isinstance(quick, dict) and set(quick) == set(GOALS) - {"wall_s"}


def test_costs_are_told_by_step_and_by_device() -> None:
    """Wall time over steps; memory from what more devices took."""
    figures = found()
    assert figures["us_per_step"] == pytest.approx(10_000)
    assert figures["kb_per_device"] == pytest.approx(200)


def test_virtual_answers_are_whole_and_repeat() -> None:
    """Each request has all its tokens, another seed another text, and a second run the same."""
    asked = requests(2, tokens=8)
    first, again = (in_virtual_time(small_topology(), asked) for _ in range(2))
    assert [len(one.ids) for one in first] == [8, 8]
    assert first[0].ids != first[1].ids
    assert first == again
