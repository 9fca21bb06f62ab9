"""`draftwire bench simulate`: its figures from what was played, without playing it."""

from dataclasses import replace

import numpy as np
import pytest

from draftwire.nodes.console.bench import simulate as bench
from draftwire.nodes.console.bench.simulate import (
    GOALS,
    Compared,
    Played,
    growth_exponent,
    kb_per_device,
    make_rows,
    result,
)
from draftwire.nodes.console.bench.simulate_both import (
    LEARNING,
    WAYS,
    Answer,
    Both,
    asked_in_all_ways,
    handling_s,
    in_virtual_time,
    requests,
    small_topology,
    times_with,
)
from draftwire.nodes.console.simulate.pairs import Pair
from draftwire.nodes.models.recorded import RecordedPair
from draftwire.nodes.models.synthetic import SyntheticTokenizer

SHARED_BYTES = 600_000_000
"""What all devices share, of a process's memory."""


def played(devices: int, *, cpu_s: float, wall_s: float = 10.0, steps: int = 1000) -> Played:
    return Played(
        devices=devices,
        steps=steps,
        drafted=steps // 2,
        virtual_s=3.0,
        wall_s=wall_s,
        cpu_s=cpu_s,
        memory_bytes=SHARED_BYTES + 200_000 * devices,
        trace_hash="ab" * 16,
    )


def answers(*speeds: float, overruns: int = 0) -> list[Answer]:
    return [
        Answer(ids=(1,) * 30, seconds=30 / speed, steps=12, bytes_up=900, overruns=overruns)
        for speed in speeds
    ]


def compared(**real: float) -> Compared:
    """By way of asking the real speed, where it is not 20; the virtual one is 21 everywhere."""
    ways = {way: Both(virtual=answers(21.0), real=answers(real.get(way, 20.0))) for way in WAYS}
    return Compared(plain=ways, handled=ways, handling_s=0.0027)


def result_of(**real: float) -> dict[str, object]:
    return result(
        played(9, cpu_s=1.0),
        [played(1, cpu_s=1.0)],
        played(9, cpu_s=9.0),
        compared=compared(**real),
        quick=True,
    )


def found(*, quick: bool = False, wall_s: float = 10.0, **real: float) -> dict[str, object]:
    few, many = [played(100, cpu_s=2.0)], played(1000, cpu_s=20.0)
    main = played(100, cpu_s=11.0, wall_s=wall_s)
    return result(main, few, many, compared=compared(**real), quick=quick)


def test_proportional_work_has_exponent_one() -> None:
    """Ten times the devices at ten times the time is 1; at a hundred times the time 2."""
    few = [played(100, cpu_s=seconds) for seconds in (2.0, 1.0, 9.0)]
    assert growth_exponent(few, played(1000, cpu_s=20.0)) == pytest.approx(1)
    assert growth_exponent(few, played(1000, cpu_s=200.0)) == pytest.approx(2)


def test_the_difference_is_of_medians_and_of_the_real_speed() -> None:
    """One slow request among the real ones, or who comes first, changes nothing."""
    assert Both(virtual=answers(21.0), real=answers(20.0, 5.0, 20.0)).off_pct == pytest.approx(5)
    assert Both(virtual=answers(19.0), real=answers(20.0)).off_pct == pytest.approx(5)


@pytest.mark.parametrize(
    ("real", "pct"),
    [({"fixed": 25.0}, 16.0), ({"alone": 28.0}, 25.0), ({"calibrating": 100.0, "auto": 100.0}, 5.0)],
)
def test_the_worse_of_what_was_not_calibrated_counts(real: dict[str, float], pct: float) -> None:
    """Not what handling was measured in, which would agree with itself, nor other texts."""
    assert result_of(**real)["virtual_vs_real_pct"] == pytest.approx(pct)


def test_a_run_is_judged_by_its_goals() -> None:
    """What is beyond a goal misses it; a quick run is not held to the time of the full one."""
    goals = found(wall_s=121.0, fixed=25.0)["goals"]
    assert isinstance(goals, dict) and {name: one["met"] for name, one in goals.items()} == {
        "wall_s": False,
        "growth_exponent": True,
        "virtual_vs_real_pct": False,
    }
    quick = found(quick=True)["goals"]
    assert isinstance(quick, dict) and set(quick) == set(GOALS) - {"wall_s"}


def test_costs_are_told_by_step_and_by_device() -> None:
    """Wall time over steps; memory from what more devices took, and none where a system does not tell."""
    figures = found()
    assert figures["us_per_step"] == pytest.approx(10_000)
    assert figures["kb_per_device"] == pytest.approx(200)
    unknown = replace(played(1000, cpu_s=1.0), memory_bytes=None)
    assert kb_per_device(played(100, cpu_s=1.0), unknown) is None


def test_rows_of_every_position_are_made_beforehand() -> None:
    """What devices share is made once, before any of them runs: no step and no device is charged with it."""
    models = RecordedPair(np.full((7, 2), 0.5), (8, 32), temperature=1.0, vocab_size=128)
    tokenizer = SyntheticTokenizer(128)
    pair = Pair(
        name="half",
        draft=models.draft,
        target=models.target,
        vocab_size=128,
        fingerprint=tokenizer.fingerprint,
        decoder=tokenizer,
    )
    make_rows(pair, temperature=1.0)

    def made_now(position: int) -> None:
        pytest.fail(f"position {position} is made when a device meets it")

    models._made = made_now  # type: ignore[assignment, method-assign]
    for position in range(7):
        models.order_at(position)


def test_every_real_overrun_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Blocks and passes that took longer than they are paced to are of the real runs, in all ways."""
    ways = {way: Both(virtual=answers(21.0), real=answers(20.0, overruns=3)) for way in WAYS}
    slow = Compared(plain=ways, handled=ways, handling_s=0.0027)
    told = result(
        played(1, cpu_s=1.0), [played(1, cpu_s=1.0)], played(9, cpu_s=9.0), compared=slow, quick=True
    )
    assert (told["overruns"], told["real_steps"]) == (12, 48)
    bench._show(told)
    said = capsys.readouterr().out
    assert "--handling 2.7ms" in said
    assert "12 of 48 real steps" in said


def test_handling_measured_in_one_setting_holds_in_others() -> None:
    """Nodes that need a constant more are found out at gamma 1, and then longer blocks and the target alone
    agree, which they did not before."""
    asked = {way: some for way, some in asked_in_all_ways(1, tokens=12, seed=3).items() if way != "auto"}

    def answered(handling: float) -> dict[str, list[Answer]]:
        times = times_with(handling)
        return {way: in_virtual_time(small_topology(), some, times=times) for way, some in asked.items()}

    def compare(handling: float) -> dict[str, Both]:
        return {way: Both(virtual=some, real=real[way]) for way, some in answered(handling).items()}

    real = answered(0.003)
    plain = compare(0.0)
    assert plain["fixed"].off_pct > 5
    assert plain["alone"].off_pct > 5
    measured_s = handling_s(plain["calibrating"])
    assert measured_s == pytest.approx(0.003, rel=0.05)
    handled = compare(measured_s)
    assert handled["fixed"].off_pct < 0.5
    assert handled["alone"].off_pct < 0.5


def test_requests_are_of_the_seed() -> None:
    """Another seed asks with other ones, the same seed with the same; all ways of a seed with equal ones."""
    seeds = {
        seed: {
            way: [one.seed for one in some] for way, some in asked_in_all_ways(3, tokens=8, seed=seed).items()
        }
        for seed in (0, 1)
    }
    assert seeds[0] == {
        way: [one.seed for one in some] for way, some in asked_in_all_ways(3, tokens=8, seed=0).items()
    }
    assert not set(seeds[0]["fixed"]) & set(seeds[1]["fixed"])
    assert seeds[0]["fixed"] == seeds[0]["alone"] == seeds[0]["auto"][:-LEARNING]


def test_virtual_answers_are_whole_and_repeat() -> None:
    """Each request has all its tokens, another seed another text, and a second run the same."""
    asked = requests(2, tokens=8, k=32, gamma=3)
    first, again = (in_virtual_time(small_topology(), asked) for _ in range(2))
    assert [len(one.ids) for one in first] == [8, 8]
    assert first[0].ids != first[1].ids
    assert first == again
