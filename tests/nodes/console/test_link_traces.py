"""Traces from files on the command line, which the nodes that it starts find too."""

from pathlib import Path

import pytest

from draftwire.nodes.console.cli import parser
from draftwire.nodes.console.compare import _scene_and_topology
from draftwire.nodes.console.generate import chosen_topology
from draftwire.nodes.console.link import run as run_link
from draftwire.nodes.console.outcome import Scene
from draftwire.runtime.config import Topology, parse_topology, to_toml
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import parse_schedule, traces_among


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


def test_an_order_names_what_the_topology_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`link set` takes the very words that `link show` shows of a topology's trace, and no others for it."""
    (folder / "cell.toml").write_text(
        '[channel]\nuplink = "rate 1mbit"\n[channel.devices.edge]\ndownlink = "trace \'my drive.csv\'"\n'
    )
    ordered = list[object]()
    monkeypatch.setattr("draftwire.nodes.console.link.run_foreground", ordered.append)
    name = folder / "my drive.csv"
    config = ["--config", "cell.toml"]
    for words in (f"trace '{name}'", f"rate 1mbit; 5s trace '{name}'"):
        run_link(parser().parse_args(["link", "set", words, *config]))
    assert len(ordered) == 2
    for words in (f"trace '{folder}/./my drive.csv'", "trace 'my drive.csv'"):
        with pytest.raises(ConfigurationError, match=r"WORDS: .* is no trace that ships, and"):
            run_link(parser().parse_args(["link", "set", words, *config]))


@pytest.mark.parametrize(
    "words", ["tc qdisc change dev eth0 root netem delay 9ms", "# tc q c root netem; 5s rate 0"]
)
def test_an_order_changes_no_part_of_a_link(words: str) -> None:
    """tc's `change` would leave the rate as it is, and an order leaves nothing: it is refused."""
    with pytest.raises(
        ConfigurationError, match=r"WORDS: 'change' leaves something .*; write the whole link"
    ):
        run_link(parser().parse_args(["link", "set", words]))


def test_a_comparisons_channel_knows_the_traces_of_its_orders(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that come later in its schedule too: it is ordered to begin anew with each request."""
    words = "rate 1mbit; 5s trace 'my drive.csv' delay 1ms; repeat 9s"
    scene, topology = _scene_and_topology(parser().parse_args(["compare", "--schedule", words]))
    channel = _elsewhere(topology, monkeypatch).channel
    assert channel is not None
    assert str(channel.uplink_schedule) == scene.link
    found = parse_schedule(scene.link, find_trace=traces_among([channel.uplink_schedule]))
    assert found == channel.uplink_schedule


def test_a_scene_keeps_the_names_of_files(folder: Path) -> None:
    """Spaces between words are one each, those within a name stay."""
    (folder / "a  b;c.csv").write_text("time_s,rate_bps\n0,1e6\n1,0\n2\n")
    scene = Scene.of(f"rate  1mbit;5s   trace '{folder}/a  b;c.csv'  # note")
    assert scene.name == scene.link == f"rate 1mbit; 5s trace '{folder}/a  b;c.csv'"
    trace = scene.schedule.steps[1].link.trace
    assert trace is not None and trace.name == f"{folder}/a  b;c.csv"
