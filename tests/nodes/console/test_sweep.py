"""`draftwire sweep`: Table II's figures from outcomes, and a whole real run."""

import csv
import json
from pathlib import Path

import pytest
from rich.console import Console
from tests.harness.outcomes import outcome
from tests.harness.processes import finished

from draftwire.nodes.console.cli import main
from draftwire.nodes.console.outcome import ALONE, fixed
from draftwire.nodes.console.sweep import CSV_FIELDS, print_sweep, write_csv
from draftwire.nodes.console.sweeping import Sweep, sweep_of
from draftwire.nodes.speculation.cost import best_length, speedup


def sweep() -> Sweep:
    """Two K at temperature 1; t_d = 4 ms, T_t = 40 ms, 20 bytes a row at 1 Mbit/s are 0.16 ms."""
    runs = [outcome(ALONE, speed=20), outcome(ALONE, speed=10, repeat=1)]
    runs += [
        outcome(fixed(8, 2), speed=22, seen=100, accepted=30),
        outcome(fixed(8, 4), speed=30, target_step_s=0.09),
    ]
    runs += [outcome(fixed(32, 2), speed=25, seen=100, accepted=60)]
    return sweep_of(runs, rate_bps=1e6)


def test_a_row_has_its_alpha_bytes_and_l() -> None:
    """alpha over all gamma of a K; L from the measured times and what rows really took."""
    first, second = sweep().rows
    assert (first.k, second.k) == (8, 32)
    assert first.alpha == pytest.approx((30 + 40) / 180)
    assert [cell.alpha for cell in first.cells] == [pytest.approx(0.3), pytest.approx(0.5)]
    assert first.row_bytes == pytest.approx(20)
    assert first.cost == pytest.approx((0.004 + 8 * 20 / 1e6) / 0.040)
    assert first.best.gamma == 4


def test_speeds_stand_beside_eq_11() -> None:
    """S(gamma) of the row's alpha and L, times the target alone over all its requests."""
    row = sweep().rows[0]
    alone = 200 / (100 / 20 + 100 / 10)
    assert row.alpha is not None
    for cell in row.cells:
        s = speedup(alpha=row.alpha, gamma=cell.gamma, draft_cost=row.cost)
        assert cell.predicted == pytest.approx(s * alone)
    assert row.gamma_star == best_length(alpha=row.alpha, draft_cost=row.cost, gamma_max=32)


def test_without_the_target_alone_there_is_nothing_to_predict_from() -> None:
    """Nor without drafts."""
    for runs in ([outcome(ALONE)], [outcome(fixed(8, 2))], []):
        with pytest.raises(ValueError, match="target alone"):
            sweep_of(runs, rate_bps=1e6)
    cold = [outcome(ALONE, temperature=0.0), outcome(fixed(8, 2))]
    with pytest.raises(ValueError, match="target alone"):
        sweep_of(cold, rate_bps=1e6)


def test_csv_has_a_line_for_each_cell(tmp_path: Path) -> None:
    """Under the names of CSV_FIELDS."""
    write_csv(sweep(), tmp_path / "s.csv")
    with (tmp_path / "s.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == CSV_FIELDS
    assert [(line["k"], line["gamma"]) for line in lines] == [("8", "2"), ("8", "4"), ("32", "2")]
    assert float(lines[1]["tokens_per_s"]) == pytest.approx(30)


def test_tables_fit_80_columns() -> None:
    """Nothing is cut off; a gamma that a K lacks is a dash."""
    console = Console(width=80)
    with console.capture() as captured:
        print_sweep(console, sweep())
    text = captured.get()
    assert "…" not in text
    assert "c = 0.100" in text
    assert " - " in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--rate", "fast"], ("--rate",)),
        (["--rate", "0"], ("--rate", "50mbit")),
        (["--rate", "unlimited trace lte-like"], ("--rate", "trace")),
        (["--prompts", "/no/such/file"], ("--prompts", "/no/such/file")),
        (["--plot", "x.bmp"], ("--plot", ".pdf")),
        (["--plot", "/dev/null/x.png"], ("--plot", "/dev/null/x.png")),
        (["--csv", "/no/such/folder/x.csv"], ("--csv", "/no/such/folder/x.csv")),
        (["--csv", "/"], ("--csv", "can be written")),
    ],
)
def test_what_can_not_be_is_refused_before_anything_runs(
    options: list[str], words: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 2."""
    assert main(["sweep", *options]) == 2
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1
    for word in words:
        assert word in err


@pytest.mark.slow
def test_a_sweep_of_real_processes(tmp_path: Path) -> None:
    """K that can't be sent is left out with a word; V is the vocabulary; temperature 0 needs one K."""
    pair = ("--draft", "synthetic:V=64,seed=1", "--target", "synthetic:V=64,seed=1")
    (tmp_path / "prompts").write_text("one\n\ntwo\n")
    size = ("--k", "4,V,3200", "--gamma", "1..2", "--tokens", "16", "--prompts", str(tmp_path / "prompts"))
    done = finished("sweep", *pair, *size, "--json", "--plot", str(tmp_path / "s.svg"), temporary=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "left out: K 3200" in done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [(row["temperature"], row["k"]) for row in rows] == [(0, 4), (1, 4), (1, 64)]
    assert rows[0]["row_bytes"] == 0
    assert rows[1]["alpha"] < rows[2]["alpha"]
    assert 0 < rows[1]["row_bytes"] < rows[2]["row_bytes"]
    assert (tmp_path / "s.svg").read_text().startswith("<?xml")
