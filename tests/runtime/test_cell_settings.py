"""[channel.cell] of a topology: read, written, and refused with what to write instead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from draftwire.runtime.channel_settings import MOST_IN_A_CELL, CellSettings
from draftwire.runtime.config import ChannelSettings, Topology, parse_topology, to_toml
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import Scheduler
from draftwire.runtime.settings_checks import MAX_WEIGHT, MIN_WEIGHT

names = st.sampled_from(["device", "device/01", "a.b", "phone-1/x/y"])
cells = st.builds(
    CellSettings,
    scheduler=st.sampled_from(Scheduler),
    weights=st.dictionaries(names, st.floats(MIN_WEIGHT, MAX_WEIGHT)),
)


@given(st.none() | cells)
def test_a_cell_comes_back_from_its_file(cell: CellSettings | None) -> None:
    """What is written describes the same cell, or none."""
    topology = Topology(channel=ChannelSettings(cell=cell))
    assert parse_topology(to_toml(topology)) == topology


def test_a_section_alone_is_a_cell_and_none_is_none() -> None:
    """The head of the section shares the radio, proportionally fair; without it nothing is shared."""
    channel = parse_topology("[channel.cell]\n").channel
    assert channel is not None and channel.cell == CellSettings()
    assert CellSettings().scheduler is Scheduler.PROPORTIONAL_FAIR
    assert ChannelSettings().cell is None
    assert channel.for_device("a").cell == channel.cell


def test_a_weight_of_a_key_holds_for_the_names_below_it() -> None:
    """An exact name goes before its key's, and the rest have 1; a whole number is a weight too."""
    channel = parse_topology('[channel.cell.weights]\ndevice = 3\n"device/02" = 0.5\n').channel
    assert channel is not None and channel.cell is not None
    weights = {name: channel.cell.weight_of(name) for name in ("device/01", "device/02", "device", "devic")}
    assert weights == {"device/01": 3.0, "device/02": 0.5, "device": 3.0, "devic": 1.0}


@pytest.mark.parametrize(
    ("text", "key", "remedy"),
    [
        ("[channel]\ncell = true", "channel.cell", "[channel.cell]"),
        ("[channel.cell]\nschedular = 'round-robin'", "channel.cell.schedular", "scheduler"),
        ("[channel.cell]\nscheduler = 'round robin'", "channel.cell.scheduler", "round-robin"),
        ("[channel.cell]\nscheduler = 1", "channel.cell.scheduler", "proportional-fair"),
        ("[channel.cell]\nweights = 2.0", "channel.cell.weights", "[channel.cell.weights]"),
        ("[channel.cell.weights]\na = 'much'", "channel.cell.weights.a", '"a" = 2.0'),
        ("[channel.cell.weights]\na = 0", "channel.cell.weights.a", "0.01 to 100"),
        ("[channel.cell.weights]\na = nan", "channel.cell.weights.a", "0.01 to 100"),
        ("[channel.cell.weights]\na = 1e3", "channel.cell.weights.a", "0.01 to 100"),
        ("[channel.cell.weights]\na = 99999999999999999999999", "channel.cell.weights.a", "0.01 to 100"),
        ("[channel.cell.weights]\n'a b' = 1.0", "channel.cell.weights.a b", "letters"),
        ("[cell]\nscheduler = 'round-robin'", "cell", "channel.cell"),
    ],
)
def test_mistakes_name_the_key_and_the_remedy(text: str, key: str, remedy: str) -> None:
    """One line, with the file's own words in it."""
    with pytest.raises(ConfigurationError) as caught:
        parse_topology(text, source="cell.toml")
    assert caught.value.key == key
    assert remedy in str(caught.value) and "cell.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "key", "remedy"),
    [
        ("[channel.devices.'cell/1']\nuplink = 'rate 1mbit'", "channel.devices.cell/1", "'cell/01'"),
        ("[channel.cell.weights]\n'cell/007' = 2", "channel.cell.weights.cell/007", "'cell/07'"),
        ("[target.weights]\n'cell/17' = 2", "target.weights.cell/17", "'cell/16'"),
        ("[target.weights]\n'cell/0x' = 2", "target.weights.cell/0x", "cell/01"),
    ],
)
def test_what_is_said_of_none_of_many_devices_is_refused(text: str, key: str, remedy: str) -> None:
    """Below their name only those that there are have links or weights of their own; the nearest is named."""
    many = "[device]\nname = 'cell'\ncount = 16\n"
    with pytest.raises(ConfigurationError) as caught:
        parse_topology(many + text, source="cell.toml")
    assert caught.value.key == key
    assert remedy in caught.value.remedy and "cell/01 to cell/16" in str(caught.value)
    parse_topology(f"[device]\nname = 'cell'\n{text}")  # of one device: it may have another one's file


def test_what_is_said_of_each_of_many_devices_of_all_and_of_others_stands() -> None:
    """Exact names, the name that they have in common, and names elsewhere."""
    weights = "'cell/16' = 2\ncell = 3\n'other/1' = 2\ncellar = 1\n"
    topology = parse_topology(
        f"[device]\nname = 'cell'\ncount = 16\n[target.weights]\n{weights}[channel.cell.weights]\n{weights}"
    )
    assert topology.channel is not None and topology.channel.cell is not None
    assert topology.channel.cell.weights == topology.target.weights
    assert topology.target.weight_of("cell/16") == 2.0 and topology.target.weight_of("cell/15") == 3.0


def test_a_process_brings_no_more_devices_to_a_cell_than_it_can_serve() -> None:
    """With a cell `count` has another bound than without one."""
    most, cell = "[device]\ncount = {}\n", "[channel.cell]\n"
    assert parse_topology(most.format(MOST_IN_A_CELL) + cell).device.count == MOST_IN_A_CELL
    assert parse_topology(most.format(MOST_IN_A_CELL + 1)).device.count == MOST_IN_A_CELL + 1
    with pytest.raises(ConfigurationError, match=r"leave \[channel.cell\] out") as caught:
        parse_topology(most.format(MOST_IN_A_CELL + 1) + cell)
    assert caught.value.key == "device.count"
