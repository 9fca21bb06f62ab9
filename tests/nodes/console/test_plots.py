"""Pictures hold what they were given, say units, and are saved by their suffix."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.harness.outcomes import falling_link, write

from draftwire.nodes.console.plots import (
    Bar,
    Curve,
    check_picture,
    comparison_figure,
    explanation_figure,
    save,
    sweep_figure,
)
from draftwire.nodes.console.record import read_record
from draftwire.nodes.console.timeline import Traces, runs_of, traces_of
from draftwire.runtime.errors import ConfigurationError

BARS = [
    Bar(name="target alone", speeds=(20.0, 10.0), kind="alone"),
    Bar(name="auto", speeds=(31.0, 30.0, 90.0), kind="auto"),
    Bar(name="colocated", speeds=(40.0,), kind="modelled"),
]


@pytest.fixture
def traces(tmp_path: Path) -> Traces:
    record = read_record(write(tmp_path / "record", falling_link()))
    return traces_of(runs_of(record), record.links)


def test_a_comparison_shows_every_repeat_and_the_median(traces: Traces) -> None:
    """A dot a repeat, the median as a number, a name a row; rate, K and gamma below."""
    figure = comparison_figure(BARS, title="a link", traces=traces)
    top = figure.axes[0]
    assert [label.get_text() for label in top.get_yticklabels()] == ["colocated", "auto", "target alone"]
    assert {text.get_text() for text in top.texts} == {"15.0", "31.0", "40.0"}
    dots = [list(line.get_xdata()) for line in top.lines if line.get_marker() in ("o", "D")]  # type: ignore[arg-type]
    assert sorted(dots) == sorted([[20.0, 10.0], [31.0, 30.0, 90.0], [40.0]])
    assert [axes.get_ylabel() for axes in figure.axes[1:]] == ["uplink,\nMbit/s", "K", "gamma"]
    assert figure.axes[-1].get_xlabel() == "time, s"
    assert len(comparison_figure(BARS, title="", traces=None).axes) == 1


def test_an_explanation_shares_one_time(traces: Traces) -> None:
    """True and believed rate in Mbit/s, and three speeds, by the values given."""
    figure = explanation_figure(traces, title="a run")
    rate, *_, speeds = figure.axes
    true, believed = rate.lines[:2]
    assert list(true.get_ydata()) == [20.0, 0.1, 0.1]  # type: ignore[arg-type]
    assert np.asarray(believed.get_ydata()).max() == 20.0
    assert [line.get_label() for line in speeds.lines][:2] == ["measured, over 8 steps", "predicted"]
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert rate.get_yscale() == "log"


def test_a_sweep_has_a_panel_a_temperature() -> None:
    """alpha over K above; measured as points, predicted dashed, the target alone dotted."""
    curve = Curve(name="K = 8", measured=((1, 10.0), (2, 12.0)), predicted=((1, 11.0), (2, 13.0)))
    alphas = [Curve(name="T = 1", measured=((8, 0.3), (320, 0.4)))]
    figure = sweep_figure(alphas, {"T = 0": [curve], "T = 1": [curve]}, alone=[9.0, 8.0], title="")
    assert len(figure.axes) == 3
    points, dashed, dotted = figure.axes[2].lines
    assert (points.get_linestyle(), dashed.get_linestyle(), dotted.get_linestyle()) == ("None", "--", ":")
    assert list(dotted.get_ydata()) == [8.0, 8.0]  # type: ignore[arg-type]
    assert len(sweep_figure([], {"T = 0": [curve]}, alone=[9.0], title="").axes) == 1


@pytest.mark.parametrize(("suffix", "begins"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_the_suffix_is_the_format(tmp_path: Path, suffix: str, begins: bytes) -> None:
    """Three of them."""
    path = tmp_path / f"picture{suffix}"
    save(comparison_figure(BARS, title="", traces=None), path)
    assert path.read_bytes().startswith(begins)


@pytest.mark.parametrize("name", ["picture.gif", "picture", "no/such/folder/picture.png"])
def test_a_file_that_no_picture_can_be_is_refused_beforehand(tmp_path: Path, name: str) -> None:
    """By the option's name, with what to write."""
    with pytest.raises(ConfigurationError, match="--plot"):
        check_picture(tmp_path / name)


def test_a_picture_that_can_not_be_written_is_refused_beforehand(tmp_path: Path) -> None:
    """Nothing is left behind by the look, and what was there stays."""
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ConfigurationError, match=r"--plot.*can be written"):
        check_picture(tmp_path / "folder.png")
    check_picture(tmp_path / "new.png")
    assert not (tmp_path / "new.png").exists()
    (tmp_path / "old.png").write_bytes(b"old")
    check_picture(tmp_path / "old.png")
    assert (tmp_path / "old.png").read_bytes() == b"old"


def test_drawing_leaves_the_programs_own_style_alone() -> None:
    """Whoever imports draftwire keeps their matplotlib as it was."""
    import matplotlib

    before = dict(matplotlib.rcParams)
    comparison_figure(BARS, title="", traces=None)
    assert dict(matplotlib.rcParams) == before


def test_commands_without_a_picture_do_not_import_matplotlib() -> None:
    """It would cost every command a part of a second."""
    code = "import sys, draftwire.nodes.console.cli; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
