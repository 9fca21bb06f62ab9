"""`draftwire bench controller`: its figures, and the command."""

import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from draftwire.nodes.console import bench
from draftwire.nodes.console.bench import controller
from draftwire.nodes.console.bench.cells import METHODS, Cell, run_cell
from draftwire.nodes.console.bench.controller import (
    GOALS,
    RECORDED,
    hints_table,
    of_pairs,
    summary,
    table_of,
    trace_of,
)
from draftwire.nodes.console.bench.figure import RATES_MBIT, RTTS_MS, Point, draw
from draftwire.nodes.console.bench.links import LINKS
from draftwire.nodes.console.bench.pipelined import FIXED
from draftwire.nodes.console.bench.renewal import Compared
from draftwire.nodes.console.cli import main


def cell(
    *,
    changing: bool = False,
    mean_bps: float = 2e7,
    rtt_ms: float = 10.0,
    pair: str = "p",
    link: str = "l",
    **speeds: list[float],
) -> Cell:
    """A cell in which every method reached 10 tokens a second, but for these."""
    return Cell(
        pair=pair,
        link=link,
        changing=changing,
        mean_bps=mean_bps,
        rtt_s=rtt_ms / 1e3,
        tokens_per_s={name: [10.0, 10.0] for name in METHODS} | speeds,
        best_setting=(8, 4),
        colocated=20.0,
        rate_errors=[0.02, 0.04],
        rtt_errors_s=[1e-3],
        plan_s=1e-4,
        best_plan=(8, 2),
        early_stop=[1.0, 1.1],
        waste=1.5,
        passes_per_token=0.4,
        opened_coupled=0.75,
    )


def test_figures_are_what_their_names_say() -> None:
    """Ratios by seed, means over seeds for the worst, low rates and changing links apart."""
    found = summary(
        [
            cell(changing=False, mean_bps=1e6, rows_only=[9.0, 11.0], auto=[8.0, 11.0], paper=[5.0, 5.0]),
            cell(changing=False, mean_bps=2e7, paper=[1.0, 1.0]),
            cell(changing=True, mean_bps=5e5, rows_only=[12.0, 12.0], paper=[1.0, 1.0]),
        ]
    )
    assert found["rows_only_vs_best_rows"] == pytest.approx((0.9 + 1.1 + 1 + 1 + 1.2 + 1.2) / 6)
    assert found["rows_only_vs_best_rows_least"] == pytest.approx(0.9)
    assert found["rows_only_vs_best_rows_changing"] == pytest.approx(1.2)
    assert found["worst_vs_target_only"] == pytest.approx(0.95)
    assert found["least_run_vs_target_only"] == pytest.approx(0.8)
    assert found["vs_paper_low_rate"] == pytest.approx((8 / 5 + 11 / 5) / 2)
    assert found["rate_error_pct_after_10"] == pytest.approx(3)
    assert found["rtt_error_ms_after_20"] == pytest.approx(1)
    assert found["plan_us"] == pytest.approx(100)


def test_figures_of_hints_are_what_their_names_say() -> None:
    """Over the best fixed plan of any kind, seed by seed; coupled only where the round trip is long."""
    found = summary(
        [
            cell(open=[9.0, 12.0], best_pipelined=[12.0, 8.0], best_rows=[10.0, 15.0], coupled=[20.0, 8.0]),
            cell(changing=True, open=[11.0, 11.0], alone=[22.0, 5.0], rtt_ms=40, coupled=[11.0, 11.0]),
            cell(rtt_ms=9.9, coupled=[9.0, 7.0], best_sync=[1.0, 1.0], mean_bps=1e5),
        ]
    )
    assert found["auto_vs_best_fixed"] == pytest.approx((9 / 12 + 12 / 15 + 0.5 + 1.1 + 1 + 1) / 6)
    assert found["auto_vs_best_fixed_changing"] == pytest.approx((0.5 + 1.1) / 2)
    assert found["auto_vs_best_fixed_least"] == pytest.approx(0.5)
    assert found["pipelined_vs_best_sync_rtt10"] == pytest.approx((2 + 8 / 15 + 0.5 + 1.1) / 4)
    assert found["pipelined_worst_vs_target_only"] == pytest.approx(0.8)
    assert found["pipelined_vs_best_pipelined"] == pytest.approx((20 / 12 + 1 + 1.1 + 1.1 + 0.9 + 0.7) / 6)
    assert found["early_stop_gain"] == pytest.approx(1.05)
    assert found["pipelined_waste"] == pytest.approx(1.5)
    assert found["pipelined_passes_per_token"] == pytest.approx(0.4)
    assert found["auto_opened_coupled"] == pytest.approx(0.75)
    assert "pipelined_vs_best_sync_rtt10_shipped" not in found
    shipped = cell(pair=RECORDED[0], coupled=[11.0, 9.0], best_sync=[10.0, 12.0])
    near = cell(pair=RECORDED[0], coupled=[1.0, 1.0], rtt_ms=1)
    found = summary([shipped, near, cell(changing=True), cell(mean_bps=1e5)])
    assert found["pipelined_vs_best_sync_rtt10_shipped"] == pytest.approx((1.1 + 0.75) / 2)


def test_the_tables_show_what_hints_reached() -> None:
    """Each method's speed, the best fixed plan, waste, passes and the share of open requests, in both."""
    one = cell(best_sync=[11.0, 12.0], best_pipelined=[13.0, 14.0], coupled=[15.0, 16.0], open=[17.0, 18.0])
    console = Console(width=80, record=True, file=StringIO())
    console.print(hints_table([one]))
    shown = console.export_text()
    values = ("11.5", "13.5", "15.5", "17.5", "8/2", "1.5", "0.40", "75")
    assert all(f" {value} " in shown for value in values)
    (row,) = table_of([one])
    assert (row["best_sync"], row["best_pipelined"], row["coupled"], row["open"]) == (11.5, 13.5, 15.5, 17.5)
    assert (row["best_pipelined_gamma"], row["best_pipelined_min_draft"]) == (8, 2)
    assert (row["waste"], row["passes_per_token"]) == (1.5, 0.4)


def test_a_terminal_of_80_columns_has_room_for_every_number_and_name() -> None:
    """Of every pair and link, at speeds of three digits; names of figures are whole, goals beside them."""
    cells = [
        cell(
            pair=pair,
            link=link,
            changing="<>" in link,
            mean_bps=5e5,
            alone=[123.4, 123.4],
            best_rows=[123.4, 123.4],
            auto=[123.4, 123.4],
            best_pipelined=[123.4, 123.4],
            coupled=[123.4, 123.4],
        )
        for pair in controller.PAIRS
        for link in LINKS
    ]
    found = {name: 0.5 for name in GOALS} | summary(cells) | {"quick": True}
    console = Console(width=80, file=StringIO(), record=True)
    controller.show(console, cells, found)
    shown = console.export_text()
    assert "…" not in shown and max(map(len, shown.splitlines())) <= 80
    lines = shown.splitlines()
    assert all(any(line.startswith(f"{name} ") for line in lines) for name in found)
    assert sum("missed" in line for line in lines) > 0


def test_figures_of_pairs_hang_on_no_link() -> None:
    """Of the shipped pair's trace and of the renewal model's errors."""
    shipped = trace_of(RECORDED[0])
    errors = [
        Compared(
            pair="p",
            draft_step_s=0.003,
            mbit=1.0,
            rtt_ms=10.0,
            gamma=4,
            min_draft=0,
            modelled=modelled,
            simulated=1.0,
        )
        for modelled in (0.9, 1.0, 1.02)
    ]
    found = of_pairs([shipped], errors)
    assert found["renewal_model_error_p50_pct"] == pytest.approx(2)
    assert 2 < found["renewal_model_error_p90_pct"] <= 10
    assert found["block_over_token"] == found["block_over_token_shipped"] > 1
    assert 0.8 < found["coupled_alpha_over_rejection_alpha"] < 1


def test_a_cell_has_every_method() -> None:
    """One pair on one link: each method reached something, and the oracle and hindsight beat the least."""
    one = run_cell(trace_of("smollm2"), "20/1", seeds=range(2), tokens=200)
    assert set(one.tokens_per_s) == set(METHODS)
    assert all(len(values) == 2 and min(values) > 5 for values in one.tokens_per_s.values())
    assert one.tokens_per_s["alone"] == pytest.approx([1 / 0.0445] * 2, rel=0.01)
    assert min(one.tokens_per_s["best_rows"]) > 1.1 / 0.0445
    (row,) = table_of([one])
    assert {"pair", "link", "colocated", *METHODS} <= set(row)
    assert one.best_plan in FIXED and len(one.early_stop) == 2
    reached = one.tokens_per_s
    assert all(np.greater_equal(reached["best_pipelined"], reached["best_sync"]))
    assert one.waste > 0 and 0 < one.passes_per_token <= 1 and 0 <= one.opened_coupled <= 1


@pytest.mark.slow
def test_the_command_prints_one_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """--json: standard output is one line with every figure and the table; tables go to standard error."""
    monkeypatch.setattr(controller, "QUICK_PAIRS", ("smollm2",))
    monkeypatch.setattr(controller, "QUICK_TOKENS", 100)
    links = {name: LINKS[name] for name in ("0.3/10", "LTE-like")}
    monkeypatch.setattr(controller, "LINKS", links)
    assert main(["bench", "controller", "--quick", "--json", "--seeds", "1", "--processes", "1"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert {*GOALS, "coupled_alpha_over_rejection_alpha", "quick", "seeds", "table"} <= set(found)
    assert (found["quick"], found["seeds"], len(found["table"])) == (True, 1, 2)


def test_a_figure_is_drawn(tmp_path: Path) -> None:
    """An SVG of a panel for each round trip, below 200 kB, the same bytes each time."""
    points = [
        Point(mbit=mbit, rtt_ms=rtt_ms, auto=1.2, best_rows=1.3, paper=0.9)
        for rtt_ms in RTTS_MS
        for mbit in RATES_MBIT
    ]
    for name in ("a.svg", "b.svg"):
        draw(tmp_path / name, points, pair="p")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.svg").stat().st_size < 200_000
    draw(tmp_path / "c.PNG", points, pair="p")
    assert (tmp_path / "c.PNG").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--seeds", "0"], "--seeds"),
        (["--processes", "0"], "--processes"),
        (["--plot", "x.bmp"], ".svg"),
        (["--plot", "/nowhere/x.svg"], "folder"),
    ],
)
def test_bad_options_end_in_one_line(
    options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are told before anything runs, with the remedy."""
    assert main(["bench", "controller", *options]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("name", bench.BENCHMARKS)
def test_every_benchmark_teaches(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`bench NAME --help` has its options and examples."""
    with pytest.raises(SystemExit) as ended:
        main(["bench", name, "--help"])
    assert ended.value.code == 0
    assert f"draftwire bench {name}" in capsys.readouterr().out
