"""Traces from files on the command line, which the nodes that it starts find too."""

from pathlib import Path

import pytest

from draftwire.nodes.console.cli import parser
from draftwire.nodes.console.generate import chosen_topology
from draftwire.nodes.console.link import run as run_link
from draftwire.runtime.config import Topology, parse_topology, to_toml
from draftwire.runtime.errors import ConfigurationError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a trace of 0.5 Mbit/s."""
    (tmp_path / "my drive.csv").write_text("time_s,rate_bps\n0,1e6\n1,0\n2\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _elsewhere(topology: Topology, monkeypatch: pytest.MonkeyPatch) -> Topology:
    """As a node that is started by this one reads it."""
    monkeypatch.chdir("/")
    read = parse_topology(to_toml(topology), folder="/tmp")
    assert read == topology
    return read


@pytest.mark.parametrize(
    "words",
    [["--link", "trace 'my drive.csv'"], ["--schedule", "0s trace 'my drive.csv' delay 1ms; 5s rate 0"]],
)
def test_generate_hands_its_trace_on(folder: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The channel of `generate` has another working directory and follows the trace all the same."""
    topology = chosen_topology(parser().parse_args(["generate", "hello", *words]))
    channel = _elsewhere(topology, monkeypatch).channel
    assert channel is not None
    for schedule in (channel.uplink_schedule, channel.downlink_schedule):
        trace = schedule.steps[0].link.trace
        assert trace is not None and trace.name == str(folder / "my drive.csv")
        assert schedule.steps[0].link.mean_rate_bps == 5e5


@pytest.mark.parametrize("option", ["--link", "--schedule"])
def test_a_trace_that_is_not_there_is_told_of_the_option(folder: Path, option: str) -> None:
    """The error names the option, the path and what to write."""
    with pytest.raises(ConfigurationError, match=rf"{option}: .*/gone\.csv': No such file or directory;"):
        chosen_topology(parser().parse_args(["generate", "hello", option, "trace gone.csv"]))


def test_an_order_names_no_files(folder: Path) -> None:
    """`link set` says so before it sends anything."""
    with pytest.raises(ConfigurationError, match=r"WORDS: 'my drive\.csv' is no trace that ships, and"):
        run_link(parser().parse_args(["link", "set", "trace 'my drive.csv'"]))
