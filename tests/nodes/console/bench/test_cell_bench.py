"""`draftwire bench cell`: its figures from what was played, and one small cell that is played."""

from collections import Counter
from dataclasses import replace

import pytest
from tests.nodes.controller.test_crowd import flat

from draftwire.nodes.console.bench.cell import GOALS, cases_of, result
from draftwire.nodes.console.bench.cell_figures import (
    COUNTS,
    GAMMAS,
    bound_over_target_only,
    expected_tokens,
    figures,
)
from draftwire.nodes.console.bench.cell_plans import TimedPolicy, plan_us
from draftwire.nodes.console.bench.cell_play import (
    ALONE,
    COLOCATED,
    FIXED,
    SELFISH,
    TOGETHER,
    WARM_S,
    Came,
    Case,
    play,
)
from draftwire.nodes.console.bench.cell_times import Measured, passes_of, times_of
from draftwire.nodes.console.cli import main
from draftwire.nodes.models.catalogue import load_target
from draftwire.nodes.models.pacing import PassTable

TABLE = PassTable(times=tuple((n, ((1, 0.04 + 0.004 * n), (3, 0.04 + 0.007 * n))) for n in COUNTS))
TIMES = times_of(TABLE, 0.001)
MEASURED = Measured(times=TIMES, dtype="bfloat16", tables={"bfloat16": TABLE})


def came(devices: int, total: float, *, gamma: int = 1) -> Came:
    return Came(
        speeds=(total / devices,) * devices,
        gaps_s=(0.05,) * 99 + (0.2,),
        sessions_a_pass=float(devices),
        rows_a_pass=2.0 * devices,
        passes_a_s=10.0,
        gammas=Counter({gamma: 100}),
        ks=Counter({32: 100}),
        alpha=0.4,
    )


def played(*, together: float = 1.2) -> dict[Case, Came]:
    """Everything at these speeds, for n devices: alone 10 n, together more, colocated 20 at most in all."""
    found = dict[Case, Came]()
    for case in cases_of(TIMES, seconds=10.0, quick=True, seed=0):
        n = case.devices
        speeds = {ALONE: 10.0 * n, TOGETHER: together * 10 * n, SELFISH: 8.0 * n}
        speeds[FIXED] = (12.5 - (case.gamma or 0)) * n
        colocated = n / (0.05 + 0.005 * n * (case.gamma or 0))
        found[case] = came(n, speeds.get(case.way, colocated))
    return found


def test_every_figure_is_by_count_and_over_the_same_target_alone() -> None:
    """The keys that others read, with one entry a count as text."""
    found = result(MEASURED, played(), quick=True)
    for name in ("total_tok_s", "over_target_only", "selfish_over_target_only", "bound_over_target_only"):
        assert list(found[name]) == [str(count) for count in COUNTS]
    assert found["over_target_only"]["16"] == pytest.approx(1.2)
    assert found["selfish_over_target_only"]["4"] == pytest.approx(0.8)
    assert found["best_fixed"]["8"] == pytest.approx(1.15)
    assert found["total_tok_s"]["2"] == pytest.approx(24.0)
    assert found["jain_fairness"] == pytest.approx(1.0)
    assert 50 <= found["p99_gap_ms"] <= 200
    assert {name: goal["met"] for name, goal in found["goals"].items()} == {
        "over_target_only_up_to_4": False,
        "over_target_only_at_16": True,
        "jain_fairness": True,
    }
    assert set(found["goals"]) == set(GOALS)


def test_capacity_is_sixteen_over_the_sessions_that_have_the_same_rate_there() -> None:
    """12 tokens a second each: a token in 83 ms, which colocated drafts of gamma 1 have with 6.7 sessions."""
    found = figures(played(), pair="smollm2", times=TIMES)
    assert found["capacity_rate"] == pytest.approx(12.0)
    assert found["colocated_gamma"] == min(GAMMAS)
    assert found["capacity_over_colocated"] == pytest.approx(16 / ((1 / 12 - 0.05) / 0.005))
    assert found["capacity_bound"] == pytest.approx(1 + 0.001 / (TABLE.seconds(32, sessions=16) / 16))


def test_one_device_that_has_everything_is_not_fair() -> None:
    """Jain's index is 1/n then."""
    assert replace(came(4, 40.0), speeds=(40.0, 0.0, 0.0, 0.0)).jain == pytest.approx(0.25)
    assert came(4, 40.0).jain == pytest.approx(1.0)


def test_the_bound_is_of_free_messages_and_drafts() -> None:
    """Where positions take nothing it is what a long draft brings; where they take all, nothing."""
    table = PassTable(times=((1, tuple((each, flat(1, each)) for each in (1, 9))),))
    steep = PassTable(times=((1, ((1, 0.01), (9, 0.09))),))
    assert bound_over_target_only("smollm2", times_of(table, 0.001), 1) == pytest.approx(
        expected_tokens("smollm2", 8)
    )
    assert bound_over_target_only("smollm2", times_of(steep, 0.001), 1) == 1.0
    assert 1.35 < expected_tokens("smollm2", 1) < 1.45


def test_passes_are_measured_for_the_whole_grid() -> None:
    """Of several sessions in one pass, of a tiny model."""
    grid = {1: (1, 2), 3: (1, 4)}
    table = passes_of(load_target("tiny:seed=1"), grid=grid, within_s=0.0)
    assert [(count, tuple(each for each, _ in passes)) for count, passes in table.times] == list(grid.items())


@pytest.mark.slow
@pytest.mark.parametrize("way", [TOGETHER, COLOCATED])
def test_a_cell_is_played(way: str) -> None:
    """Three devices, the same each time, who all get something; the first seconds are left out."""
    case = Case(pair="smollm2", devices=3, way=way, times=TIMES, seconds=WARM_S + 1.5, seed=2, gamma=2)
    found = play(case)
    assert found == play(case)
    assert found.sessions_a_pass > 2.5
    assert min(found.speeds) > 5
    assert found.gammas[2] > 20
    assert all(0 < gap_s < 1 for gap_s in found.gaps_s)


@pytest.mark.parametrize(
    ("option", "value"), [("--seconds", "4"), ("--seconds", "nan"), ("--processes", "0")]
)
def test_options_that_will_not_do_are_refused(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is measured."""
    assert main(["bench", "cell", option, value]) == 2
    assert option in capsys.readouterr().err


@pytest.mark.slow
def test_plans_are_timed() -> None:
    """Each of them, in microseconds."""
    took_us = plan_us(TIMES, pair="smollm2", devices=2, seed=0)
    assert 10 < took_us < 1e5
    assert len(TimedPolicy.took_s) > 50


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_sixteen_devices_do_not_fall_below_the_target_alone(seed: int) -> None:
    """The real nodes, in virtual time, where each for itself would be slower than without drafts."""
    speeds = {
        way: play(
            Case(pair="smollm2", devices=16, way=way, times=STEEP, seconds=14.0, seed=seed)
        ).total
        for way in (TOGETHER, ALONE, SELFISH)
    }
    assert speeds[TOGETHER] > 0.97 * speeds[ALONE], f"seed {seed}: {speeds}"
    assert speeds[SELFISH] < 0.95 * speeds[ALONE], f"seed {seed}: {speeds}"


STEEP = times_of(
    PassTable(
        times=(
            (1, ((1, 0.052), (3, 0.055), (6, 0.061), (32, 0.108))),
            (4, ((1, 0.062), (2, 0.072), (3, 0.077), (6, 0.096))),
            (16, ((1, 0.106), (2, 0.133), (3, 0.162), (6, 0.244))),
        )
    ),
    0.0006,
)
"""As the shipped target has it on two cores without matrix units."""
