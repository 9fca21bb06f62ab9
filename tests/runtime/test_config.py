"""Topologies: defaults, round trips, and errors that say what to write."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from draftwire.runtime.config import (
    ChannelSettings,
    ComputeSettings,
    ControllerSettings,
    DeviceSettings,
    ModelSettings,
    PairSettings,
    Profile,
    SamplingSettings,
    TargetSettings,
    Topology,
    load_topology,
    parse_topology,
    to_toml,
)
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import parse_link

CONFIGS = Path(__file__).parents[2] / "configs"


def test_an_empty_file_is_the_default_topology() -> None:
    """Nothing written means both models and all nodes on this host, the emulated link included."""
    topology = parse_topology("")
    assert topology == Topology.default()
    assert topology.pair.draft.model == topology.pair.target.model == "smollm2"
    assert topology.channel is not None
    assert str(topology.channel.uplink) == str(topology.channel.downlink) == "rate 20mbit delay 5ms"
    assert topology.controller.policy == "adaptive"
    assert (topology.controller.k, topology.controller.gamma) == (None, None)
    assert topology.device_connects_to == topology.channel.address


def test_sections_and_keys_have_defaults_each() -> None:
    """A file that sets one thing changes that one thing."""
    default = Topology.default()
    assert parse_topology("[sampling]\ntemperature = 0") == replace(
        default, sampling=replace(default.sampling, temperature=0.0)
    )


def test_a_schedule_changes_what_each_direction_is_at_first() -> None:
    """[channel] schedule goes on top of uplink and of downlink; without one each has one step."""
    channel = parse_topology(
        """
        [channel]
        uplink = "rate 2mbit delay 5ms"
        downlink = "rate 9mbit"
        schedule = "5s rate 1mbit; 7s delay 1ms; repeat 8s"
        """
    ).channel
    assert channel is not None
    assert str(channel.uplink_schedule) == "rate 2mbit delay 5ms; 5s rate 1mbit; 7s delay 1ms; repeat 8s"
    assert str(channel.downlink_schedule) == "rate 9mbit; 5s rate 1mbit; 7s delay 1ms; repeat 8s"
    assert str(ChannelSettings().uplink_schedule) == "rate 20mbit delay 5ms"


def test_a_placed_target_without_a_channel_is_a_real_network() -> None:
    """Giving the target's address and no [channel] connects devices straight to the target."""
    topology = parse_topology('[target]\naddress = "tcp://10.0.0.2:5701"')
    assert topology.channel is None
    assert topology.device_connects_to == "tcp://10.0.0.2:5701"
    topology = parse_topology('[target]\naddress = "tcp://10.0.0.2:5701"\n[channel]\nuplink = "rate 1mbit"')
    assert topology.channel is not None and topology.channel.uplink == parse_link("rate 1mbit")
    assert parse_topology("[target]\nthreads = 2").channel is not None


def test_what_is_said_of_one_end_goes_first() -> None:
    """A key of [pair] holds for both ends, and with draft_ or target_ before it for that end."""
    pair = parse_topology(
        """
        [pair]
        draft = "a.gguf"
        target = "org/model"
        dtype = "float32"
        target_dtype = "bfloat16"
        device = "cpu"
        target_device_map = "auto"
        target_revision = "main"
        """
    ).pair
    assert pair.draft == ModelSettings(model="a.gguf", dtype="float32", device="cpu")
    assert pair.target == ModelSettings(
        model="org/model", dtype="bfloat16", device_map="auto", revision="main"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[samplng]\n", "x.toml: samplng: no section [samplng]; did you mean 'sampling'?"),
        ("[wires]\n", "x.toml: wires: no section [wires]; known: channel, compute, controller, device,"),
        (
            "temperature = 1",
            "x.toml: temperature: no section [temperature]; write it as sampling.temperature",
        ),
        ("sampling = 1", "x.toml: sampling: 1 is no section; write [sampling]"),
        (
            "[sampling]\ntemprature = 1",
            "x.toml: sampling.temprature: unknown key; did you mean 'temperature'?",
        ),
        (
            "[sampling]\ntemperature = -1",
            "x.toml: sampling.temperature: -1.0 will not do; write a number from 0 to 100",
        ),
        (
            '[sampling]\ntemperature = "hot"',
            'x.toml: sampling.temperature: "hot" is not a number; write for instance temperature = 1.0',
        ),
        (
            "[sampling]\ntop_k = true",
            "x.toml: sampling.top_k: true is not a whole number; write for instance",
        ),
        ("[sampling]\ntop_p = 0", "x.toml: sampling.top_p: 0.0 will not do; write a number above 0, up to 1"),
        ("[sampling]\ntemperature = nan", "x.toml: sampling.temperature: NaN will not do"),
        ("[controller]\nk = 0", "x.toml: controller.k: 0 will not do; write a number from 1 to 262144"),
        (
            '[controller]\npolicy = "adaptiv"',
            'x.toml: controller.policy: "adaptiv" will not do; write package.module:attribute for one of '
            "your own; did you mean 'adaptive'?",
        ),
        (
            '[controller]\npolicy = "module:"',
            'x.toml: controller.policy: "module:" will not do; write package.module:attribute for one of '
            "your own; known: adaptive, pid, ucb",
        ),
        ("[controller]\ngamma = 33", "x.toml: controller.gamma: 33 will not do; write a number from 0 to 32"),
        ("[device]\nthreads = 0", "x.toml: device.threads: 0 will not do; write a number from 1 to 1024"),
        ('[device]\nname = ""', 'x.toml: device.name: "" will not do; write 1 to 128 characters'),
        (
            '[channel]\nuplink = "rate fast"',
            "x.toml: channel.uplink: 'fast' is no number with a unit; write for instance 'rate 20mbit'",
        ),
        (
            "[channel]\nuplink = 5",
            "x.toml: channel.uplink: 5 is not a text in quotes; write for instance uplink = "
            '"rate 20mbit delay 5ms"',
        ),
        (
            "[channel]\nschedule = '5s rate 1mbit; 9s rate fst'",
            "x.toml: channel.schedule: piece 2 ('9s rate fst'): 'fst' is no number with a unit;",
        ),
        (
            "[channel]\nuplink = 'delay 5ms 1ms'\nschedule = '5s rate 1mbit; 5s rate 2mbit'",
            "x.toml: channel.schedule: piece 2 ('5s rate 2mbit'): the piece at 5s follows one at 5s; write a",
        ),
        (
            "[channel]\nschedule = 5",
            'x.toml: channel.schedule: 5 is not a text in quotes; write for instance schedule = "5s rate',
        ),
        ("[channel]\ncontrol = '5703'", 'x.toml: channel.control: "5703": not an address; write tcp://HOST'),
        ("[channel]\ncontrol = 'tcp://h:0'", 'x.toml: channel.control: "tcp://h:0" will not do; name'),
        (
            "[channel]\ncontrol = 'tcp://127.0.0.1:5700'",
            'x.toml: channel.control: "tcp://127.0.0.1:5700" will not do; [channel] has it already',
        ),
        (
            "[controller]\naddress = 'tcp://127.0.0.1:5703'",
            'x.toml: controller.address: "tcp://127.0.0.1:5703" will not do; [channel] control has',
        ),
        ("[pair]\ndraft_dtype = 'float23'", 'x.toml: pair.draft_dtype: "float23" will not do; did you mean'),
        ("[pair]\ndevice = 'cpu'\ndevice_map = 'auto'", 'x.toml: pair.device_map: "auto" will not do; give'),
        ("[pair]\ndraft = ''", 'x.toml: pair.draft: "" will not do; write smollm2, a folder, a hub id'),
        (
            "[compute]\nprofile = 'papre'",
            "x.toml: compute.profile: \"papre\" will not do; did you mean 'paper'?",
        ),
        (
            "[target]\naddress = '10.0.0.2:5701'",
            'x.toml: target.address: "10.0.0.2:5701": not an address; write',
        ),
        (
            "[target]\naddress = 'tcp://h:99999'",
            "x.toml: target.address: \"tcp://h:99999\": '99999' is no port;",
        ),
        ("[target]\naddress = 'tcp://h:*'", 'x.toml: target.address: "tcp://h:*" will not do; name the port'),
        (
            "[controller]\naddress = 'tcp://127.0.0.1:5701'",
            'x.toml: controller.address: "tcp://127.0.0.1:5701" will not do; [target] has it already',
        ),
        ("[sampling]\ntemperature = 1" + "0" * 400, "x.toml: sampling.temperature: 1000"),
        ("[sampling]\ntemperature = 1" + "0" * 5000, "x.toml: Exceeds the limit"),
        ("x = " + "[" * 5000, "x.toml: maximum recursion depth exceeded"),
        ("[target", "x.toml: Expected ']' at the end of a table declaration"),
    ],
)
def test_errors_name_file_key_value_and_remedy(text: str, message: str) -> None:
    """Each mistake gives one line: the file, the key, what stands there, what to write."""
    with pytest.raises(ConfigurationError) as caught:
        parse_topology(text, source="x.toml")
    assert str(caught.value).startswith(message)
    assert caught.value.remedy and caught.value.exit_code == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that can't be read is an error of the same kind."""
    with pytest.raises(ConfigurationError, match=r"no\.toml: No such file or directory; give a TOML file"):
        load_topology(tmp_path / "no.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"binary\.toml: not UTF-8 text"):
        load_topology(tmp_path / "binary.toml")


def test_values_are_checked_however_they_are_made() -> None:
    """Code that builds settings meets the same checks as a file."""
    with pytest.raises(ConfigurationError, match="gamma: 99 will not do"):
        replace(ControllerSettings(), gamma=99)


_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
_models = st.builds(
    ModelSettings,
    model=_texts,
    dtype=st.none() | st.sampled_from(["auto", "float32", "float16", "bfloat16"]),
    device=st.none() | _texts,
    revision=st.none() | _texts,
)
_links = st.builds(
    lambda rate, ms: parse_link(f"rate {rate}kbit delay {ms}ms"), st.integers(1, 10**6), st.integers(0, 999)
)
_addresses = st.builds("ipc:///run/{}-{}".format, st.integers(), _texts)
_topologies = st.builds(
    Topology,
    pair=st.builds(PairSettings, draft=_models, target=_models),
    target=st.builds(
        TargetSettings,
        address=_addresses.map("{}t".format),
        patience_s=st.floats(0, 10),
        threads=st.none() | st.integers(1, 9),
    ),
    channel=st.none()
    | st.builds(
        ChannelSettings,
        address=_addresses.map("{}c".format),
        control=_addresses.map("{}o".format),
        uplink=_links,
        downlink=_links,
        schedule=st.none() | st.sampled_from(["", "5s rate 1mbit; repeat 8s", "0s  RATE 5mbit;1s delay 1ms"]),
    ),
    controller=st.builds(
        ControllerSettings,
        policy=st.sampled_from(["adaptive", "ucb", "pid", "a.b:C"]),
        k=st.none() | st.integers(1, 4096),
        gamma=st.none() | st.integers(0, 32),
    ),
    device=st.builds(DeviceSettings, name=st.text("aä-_.", min_size=1)),
    sampling=st.builds(SamplingSettings, temperature=st.floats(0, 2), seed=st.integers(0, 2**63 - 1)),
    compute=st.builds(ComputeSettings, profile=st.sampled_from(Profile)),
)


@given(_topologies)
def test_a_written_topology_reads_back_equal(topology: Topology) -> None:
    """to_toml writes a file that describes this very topology, whatever its texts contain."""
    assert parse_topology(to_toml(topology)) == topology


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner)).map(str) | _texts)
def test_any_text_is_a_topology_or_one_error(text: str) -> None:
    """Whatever a file holds, loading ends in a topology or in ConfigurationError."""
    try:
        parse_topology(text)
    except ConfigurationError:
        pass


SHIPPED = ("changing-link", "demo", "single-host", "two-machines")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_files_load(name: str) -> None:
    """Every file in configs/ is a valid topology and survives being written and read again."""
    topology = load_topology(CONFIGS / f"{name}.toml")
    assert parse_topology(to_toml(topology)) == topology
    assert (topology.channel is None) == (name == "two-machines")


def test_no_shipped_file_is_untested() -> None:
    """configs/ holds the files that the test above names, and no others."""
    assert {path.stem for path in CONFIGS.glob("*.toml")} == set(SHIPPED)
