"""Topologies: defaults, round trips, and errors that say what to write."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from draftwire.codecs.messages import Acceptance
from draftwire.runtime import channel_settings
from draftwire.runtime.config import (
    AcceptanceRule,
    ChannelSettings,
    ComputeSettings,
    ControllerSettings,
    DeviceLinkSettings,
    DeviceSettings,
    ModelSettings,
    ObserverSettings,
    PairSettings,
    Profile,
    SamplingSettings,
    SecuritySettings,
    TargetSettings,
    Topology,
    is_local,
    load_topology,
    parse_topology,
    to_toml,
    with_keys_beside,
)
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import LinkSchedule, parse_link, parse_schedule, traces_beside
from draftwire.runtime.security import Service

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


def test_acceptance_and_waste_are_read() -> None:
    """As a request says them on the wire; rejection, and no bound, unless they are written."""
    default = parse_topology("")
    assert default.sampling.acceptance.on_the_wire is Acceptance.REJECTION
    assert default.device.max_waste is None
    for rule in AcceptanceRule:
        read = parse_topology(f'[sampling]\nacceptance = "{rule}"\n[device]\nmax_waste = 1')
        assert read.sampling.acceptance.on_the_wire.name == rule.name
        assert read.device.max_waste == 1.0


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


def test_a_direction_may_be_a_schedule_itself() -> None:
    """Then `schedule` goes on top of the other one alone, and where both are schedules it says nothing."""
    up, down = "rate 5mbit delay 20ms; 5s rate 1mbit; repeat 9s", "trace lte-like; 60s rate 0"
    text = f"[channel]\nuplink = '{up}'\ndownlink = 'rate 9mbit'\nschedule = '7s rate 2mbit'\n"
    channel = parse_topology(text).channel
    assert channel is not None
    assert (str(channel.uplink_schedule), str(channel.downlink_schedule)) == (up, "rate 9mbit; 7s rate 2mbit")
    channel = parse_topology(text + f"[channel.devices.a]\ndownlink = '{down}'\n").channel
    assert channel is not None
    own = channel.for_device("a")
    assert (str(own.uplink_schedule), str(own.downlink_schedule), own.schedule) == (up, down, None)
    with pytest.raises(ConfigurationError, match=r"channel.schedule: .*schedules themselves: leave it out"):
        parse_topology(text.replace("rate 9mbit", down))
    with pytest.raises(ConfigurationError, match=r"devices\.a\.schedule: .*schedules themselves"):
        parse_topology(text + f"[channel.devices.a]\ndownlink = '{down}'\nschedule = '1s rate 1mbit'\n")
    with pytest.raises(ConfigurationError, match=r"channel.uplink: piece 2 \('rate 5mbit'\)"):
        parse_topology("[channel]\nuplink = 'rate 9mbit; rate 5mbit'")


def test_a_schedule_of_a_thousand_devices_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For each link that it goes on top of, and not for each device."""
    parsed = 0

    def parse(*args: Any, **options: Any) -> LinkSchedule:
        nonlocal parsed
        parsed += 1
        return parse_schedule(*args, **options)

    monkeypatch.setattr(channel_settings, "parse_schedule", parse)
    channel = ChannelSettings(
        schedule="11s rate 1mbit; 12s rate 2mbit",
        devices={
            f"device-{number}": DeviceLinkSettings(uplink=parse_link(f"rate {10 + number % 3}mbit"))
            for number in range(60)
        },
    )
    for name in channel.devices:
        assert len(channel.for_device(name).uplink_schedule.steps) == 3
        assert len(channel.for_device(name).downlink_schedule.steps) == 3
    assert parsed == 4


DEVICES = """
[channel]
uplink = "rate 2mbit delay 5ms"
downlink = "rate 9mbit"
schedule = "5s rate 1mbit"
[channel.devices.phone-1]
uplink = "rate 100kbit"
[channel.devices.phone-2]
schedule = ""
[channel.devices."phone-2/test"]
downlink = "loss 5%"
schedule = "1s delay 2ms"
"""


@pytest.mark.parametrize(
    ("name", "uplink", "downlink"),
    [
        ("phone-1", "rate 100kbit; 5s rate 1mbit", "rate 9mbit; 5s rate 1mbit"),
        ("phone-1/test", "rate 100kbit; 5s rate 1mbit", "rate 9mbit; 5s rate 1mbit"),
        ("phone-2", "rate 2mbit delay 5ms", "rate 9mbit"),
        ("phone-2/other", "rate 2mbit delay 5ms", "rate 9mbit"),
        ("phone-2/test", "rate 2mbit delay 5ms; 1s delay 2ms", "loss 5%; 1s delay 2ms"),
        ("phone-3", "rate 2mbit delay 5ms; 5s rate 1mbit", "rate 9mbit; 5s rate 1mbit"),
    ],
)
def test_devices_may_have_links_of_their_own(name: str, uplink: str, downlink: str) -> None:
    """[channel.devices.NAME] is of the device and the names below it; what it leaves out is [channel]'s."""
    channel = parse_topology(DEVICES).channel
    assert channel is not None
    own = channel.for_device(name)
    assert (str(own.uplink_schedule), str(own.downlink_schedule)) == (uplink, downlink)
    assert (own.devices, own.address) == ({}, channel.address)


def test_links_of_devices_reach_other_processes() -> None:
    """A topology that is written for a child has them, on this host's addresses as well."""
    topology = parse_topology(DEVICES)
    assert topology.channel is not None and len(topology.channel.devices) == 3
    assert parse_topology(to_toml(topology)) == topology
    assert topology != parse_topology(DEVICES.replace("100kbit", "101kbit"))


def test_traces_of_devices_are_found_from_the_file(tmp_path: Path) -> None:
    """As those of [channel]: a copy of the topology elsewhere means the same files."""
    path = tmp_path / "sub" / "x.toml"
    path.parent.mkdir()
    (path.parent / "my.csv").write_text("time_s,rate_bps\n0,1000000\n5,0\n")
    path.write_text('[channel.devices.a]\nuplink = "trace my.csv"\nschedule = "9s trace my.csv"')
    topology = load_topology(path)
    copy = tmp_path / "copy.toml"
    copy.write_text(to_toml(topology))
    assert load_topology(copy) == topology
    assert topology.channel is not None
    assert topology.channel.devices["a"].uplink == parse_link(
        f"trace {path.parent}/my.csv", find_trace=traces_beside()
    )


def test_a_placed_target_without_a_channel_is_a_real_network() -> None:
    """Giving the target's address and no [channel] connects devices straight to the target."""
    topology = parse_topology('[target]\naddress = "tcp://10.0.0.2:5701"')
    assert topology.channel is None
    assert topology.device_connects_to == "tcp://10.0.0.2:5701"
    topology = parse_topology('[target]\naddress = "tcp://10.0.0.2:5701"\n[channel]\nuplink = "rate 1mbit"')
    assert topology.channel is not None and topology.channel.uplink == parse_link("rate 1mbit")
    assert parse_topology("[target]\nthreads = 2").channel is not None


BS = '[target]\naddress = "tcp://10.0.0.2:5701"\n'


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("ipc:///run/bs", True),
        ("tcp://127.0.0.1:1", True),
        ("tcp://127.8.9.1:1", True),
        ("tcp://localhost:1", True),
        ("tcp://LOCALHOST:1", True),
        ("tcp://[::1]:1", True),
        ("tcp://10.0.0.2:1", False),
        ("tcp://bs.example.org:1", False),
        ("tcp://localhost.example.org:1", False),
        ("tcp://127.0.0.1.example.org:1", False),
        ("tcp://*:1", False),
        ("tcp://0.0.0.0:1", False),
        ("tcp://[::]:1", False),
        ("tcp://eth0:1", False),
        ("tcp://lo:1", False),
        ("tcp://127.0.0.1:1;10.0.0.2:1", False),
    ],
)
def test_what_is_local(address: str, local: bool) -> None:
    """Only ipc and the loopback interface are; a name may lead anywhere."""
    assert is_local(address) is local


@pytest.mark.parametrize(
    ("text", "secured"),
    [
        ("", False),
        ("[target]\nbind = 'tcp://127.0.0.1:9'", False),
        (BS, True),
        (BS + "[security]\nplain = true", False),
        (BS + "[security]\nplain = false", True),
        ("[target]\nbind = 'tcp://*:5701'", True),
        ("[channel]\naddress = 'tcp://10.0.0.2:5700'", True),
        ("[channel]\nbind = 'tcp://eth0:5700'", True),
        ("[channel]\ncontrol = 'tcp://10.0.0.2:5703'", True),
        ("[controller]\naddress = 'tcp://controller:5702'", True),
        ("[controller]\nbind = 'tcp://0.0.0.0:5702'", True),
        ("[observer]", False),
        ("[observer]\nhost = '0.0.0.0'", False),
        ("[observer]\naddress = 'tcp://10.0.0.4:5704'", True),
        ("[observer]\nbind = 'tcp://*:5704'", True),
        ("[security]\nfolder = 'keys'", True),
    ],
)
def test_keys_are_needed_where_other_machines_reach(text: str, secured: bool) -> None:
    """Any address that is not local, or a folder of keys that is written, makes a topology use keys."""
    assert parse_topology(text).secured is secured


def test_nodes_bind_loopback_unless_the_file_says_more() -> None:
    """By the defaults nothing of any node can be reached from another machine, and each binds its address."""
    topology = Topology.default()
    channel = topology.channel
    assert channel is not None
    places = [topology.target.binds, channel.binds, channel.control, topology.controller.binds]
    assert places == [f"tcp://127.0.0.1:{port}" for port in (5701, 5700, 5703, 5702)]
    assert all(is_local(place) for place in places)


def test_a_node_binds_what_bind_says() -> None:
    """`bind` is what the node takes, `address` stays what others connect to."""
    topology = parse_topology(BS + "bind = 'tcp://*:9'\n[controller]\nbind = 'tcp://127.0.0.1:8'")
    assert topology.target.binds == "tcp://*:9" and topology.device_connects_to == "tcp://10.0.0.2:5701"
    assert topology.controller.binds == "tcp://127.0.0.1:8"
    alike = "bind = 'tcp://*:5701'\n"
    topology = parse_topology(f"{BS}{alike}[controller]\n{alike}[channel]\n{alike}")
    assert topology.target.binds == topology.controller.binds, "each on a machine of its own"
    address = topology.target.address
    assert parse_topology(f"{BS}bind = '{address}'").target.binds == address, "said twice"


@pytest.mark.parametrize(
    ("control", "plain"),
    [("tcp://127.0.0.1:9", True), ("ipc:///run/links", True), ("tcp://10.0.0.2:9", False)],
)
def test_only_a_local_control_address_stays_plain(control: str, plain: bool) -> None:
    """Whatever the other addresses are; without a channel there is none."""
    text = BS + f"[channel]\ncontrol = '{control}'"
    assert parse_topology(text).plain_services == ({Service.LINKS} if plain else set())
    assert parse_topology(BS).plain_services == set()


def test_keys_are_beside_the_file(tmp_path: Path) -> None:
    """A loaded file's folder of keys is found from the file's own, and absolute wherever it is written to."""
    path = tmp_path / "sub" / "x.toml"
    path.parent.mkdir()
    for text, folder in [
        (BS, tmp_path / "sub" / "keys"),
        (BS + "[security]\nfolder = 'k'", tmp_path / "sub" / "k"),
        (BS + "[security]\nfolder = '../k'", tmp_path / "k"),
        (f"[security]\nfolder = '{tmp_path}/k'", tmp_path / "k"),
        ("[security]\nfolder = '~/k'", Path.home() / "k"),
    ]:
        path.write_text(text)
        topology = load_topology(path)
        assert topology.keys_folder == folder and topology.secured
        copy = tmp_path / "copy.toml"
        copy.write_text(to_toml(topology))
        assert load_topology(copy) == topology
    path.write_text("[sampling]\nseed = 1")
    local = load_topology(path)
    assert local.security == SecuritySettings()
    assert local.channel is not None
    moved = replace(local, channel=replace(local.channel, control="tcp://10.0.0.5:5703"))
    assert with_keys_beside(path, moved).keys_folder == tmp_path / "sub" / "keys"


def test_files_of_tables_are_found_from_the_file_that_names_them(tmp_path: Path) -> None:
    """Left out, none, and some: three things; a copy of the topology elsewhere means the same files."""
    path = tmp_path / "sub" / "t.toml"
    path.parent.mkdir()
    for written, meant in (
        ("", None),
        ("tables = []", ()),
        (
            "tables = ['a.tables', '../b', '/c', '~/d']",
            (str(path.parent / "a.tables"), str(tmp_path / "b"), "/c", str(Path("~/d").expanduser())),
        ),
    ):
        path.write_text(f"[pair]\n{written}")
        topology = load_topology(path)
        assert topology.pair.tables == meant
        copy = tmp_path / "copy.toml"
        copy.write_text(to_toml(topology))
        assert load_topology(copy) == topology


def test_an_observer_is_there_where_its_section_is(tmp_path: Path) -> None:
    """With defaults on loopback; its file of a key is found from the topology's own."""
    assert Topology.default().observer is None
    with pytest.raises(ConfigurationError, match=r"observer: this topology has no observer; add a section"):
        Topology.default().need_observer()
    observer = parse_topology("[observer]").need_observer()
    assert (observer.binds, observer.host, observer.port) == ("tcp://127.0.0.1:5704", "127.0.0.1", 8700)
    path = tmp_path / "x.toml"
    for written, found in (
        ("page.key", tmp_path / "page.key"),
        ("~/k", Path.home() / "k"),
        ("/k", Path("/k")),
    ):
        path.write_text(f"[observer]\nkey_file = '{written}'")
        topology = load_topology(path)
        assert topology.need_observer().key_file == str(found)
        copy = tmp_path / "sub.toml"
        copy.write_text(to_toml(topology))
        assert load_topology(copy) == topology


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
            '[sampling]\nacceptance = "coupld"',
            "x.toml: sampling.acceptance: \"coupld\" will not do; did you mean 'coupled'?",
        ),
        (
            "[device]\nmax_waste = -1",
            "x.toml: device.max_waste: -1.0 will not do; write a number from 0 to 1000.0",
        ),
        ("[device]\nmax_waste = inf", "x.toml: device.max_waste: Infinity will not do"),
        (
            '[device]\nmax_waste = "little"',
            'x.toml: device.max_waste: "little" is not a number; write for instance max_waste = 0.5',
        ),
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
        ("[device]\ncount = 0", "x.toml: device.count: 0 will not do; write a number from 1 to 1024"),
        ("[device]\ncount = 1025", "x.toml: device.count: 1025 will not do; write a number from 1 to 1024"),
        (
            f"[device]\nname = '{'x' * 126}'\ncount = 2",
            f'x.toml: device.name: "{"x" * 126}/02" will not do; write up to 128 letters',
        ),
        ("[device]\nthreads = 0", "x.toml: device.threads: 0 will not do; write a number from 1 to 1024"),
        ('[device]\nname = ""', 'x.toml: device.name: "" will not do; write up to 128 letters'),
        ("[device]\nname = '../x'", 'x.toml: device.name: "../x" will not do; write up to 128 letters'),
        (f"[device]\nname = '{'x' * 129}'", "x.toml: device.name: "),
        ("[target]\nkey = 'a/b'", 'x.toml: target.key: "a/b" will not do; write the name that'),
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
        (
            "[channel]\nuplink = 'rate 1mbit limit 1kb'",
            "x.toml: channel.uplink: limit 1024 is out of range; write 1500 to ",
        ),
        ("[channel]\nlateness_ms = 0", "x.toml: channel.lateness_ms: 0.0 will not do; write a number from"),
        ("[channel]\nlateness_ms = '2ms'", 'x.toml: channel.lateness_ms: "2ms" is not a number; write for'),
        (
            "[channel]\ndevices = 5",
            "x.toml: channel.devices: 5 is no section; write [channel.devices.NAME] above the links of the",
        ),
        (
            "[channel.devices]\nuplink = 'rate 1mbit'",
            'x.toml: channel.devices.uplink: "rate 1mbit" is no section; write [channel.devices.NAME]',
        ),
        (
            "[channel.devices.phone-1]\nuplnk = 'rate 1mbit'",
            "x.toml: channel.devices.phone-1.uplnk: unknown key; did you mean 'uplink'?",
        ),
        (
            "[channel.devices.phone-1]\nseed = 5",
            "x.toml: channel.devices.phone-1.seed: unknown key; known: downlink, schedule, uplink",
        ),
        (
            "[channel.devices.phone-1]\nuplink = 'rate fast'",
            "x.toml: channel.devices.phone-1.uplink: 'fast' is no number with a unit; write for instance",
        ),
        (
            "[channel.devices.phone-1]\nuplink = 5",
            "x.toml: channel.devices.phone-1.uplink: 5 is not a text in quotes; write for instance uplink = ",
        ),
        (
            "[channel.devices.'a.b']\nschedule = 5",
            "x.toml: channel.devices.a.b.schedule: 5 is not a text in quotes; write for instance schedule =",
        ),
        (
            "[channel.devices.phone-1]\nschedule = '5s rate fst'",
            "x.toml: channel.devices.phone-1.schedule: 'fst' is no number with a unit;",
        ),
        (
            "[channel.devices.a]\nschedule = '5s rate 1mbit; 5s rate 2'",
            "x.toml: channel.devices.a.schedule: piece 2 ('5s rate 2'): ",
        ),
        (
            "[channel.devices.'../x']\nuplink = 'rate 1mbit'",
            'x.toml: channel.devices.../x: "../x" will not do; write up to 128 letters',
        ),
        (
            "[channel]\nmax_devices = 1\n[channel.devices]\na = {}\nb = {}",
            "x.toml: channel.devices: 2 will not do; name at most max_devices, 1, or raise that",
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
        ("[pair]\ntables = 'a'", 'x.toml: pair.tables: "a" is no list of files; write for instance tables ='),
        ("[pair]\ntables = [1]", "x.toml: pair.tables: [1] is no list of files; write for instance tables ="),
        ("[pair]\ntables = ['']", 'x.toml: pair.tables: "" will not do; name a file, or write []'),
        (f"[pair]\ntables = {['a'] * 9}", "x.toml: pair.tables: 9 will not do; name 8 files at most"),
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
        (
            "[target]\naddress = 'tcp://*:5701'",
            'x.toml: target.address: "tcp://*:5701" will not do; name the host that others connect to; what '
            "the node binds may be another one: `bind`",
        ),
        ("[channel]\ncontrol = 'tcp://0.0.0.0:5703'", 'x.toml: channel.control: "tcp://0.0.0.0:5703" will'),
        ("[controller]\naddress = 'tcp://[::]:1'", 'x.toml: controller.address: "tcp://[::]:1" will not do'),
        ("[target]\nbind = 'tcp://*:0'", 'x.toml: target.bind: "tcp://*:0" will not do; name the port'),
        ("[target]\nbind = ''", 'x.toml: target.bind: "": not an address; write tcp://HOST:PORT'),
        ("[target]\nbind = 5701", "x.toml: target.bind: 5701 is not a text in quotes; write for instance"),
        (
            "[channel]\nbind = 'tcp://127.0.0.1:5703'",
            'x.toml: channel.control: "tcp://127.0.0.1:5703" will not do; [channel] bind has it already',
        ),
        (
            "[target]\naddress = 'tcp://10.0.0.2:5701'\nbind = 'tcp://127.0.0.1:5703'\n[channel]",
            'x.toml: target.bind: "tcp://127.0.0.1:5703" will not do; [channel] control has it already',
        ),
        (
            "[channel]\nbind = 'tcp://127.0.0.1:5701'",
            'x.toml: channel.bind: "tcp://127.0.0.1:5701" will not do; [target] has it already',
        ),
        (
            "[controller]\nbind = 'tcp://127.0.0.1:5700'",
            'x.toml: controller.bind: "tcp://127.0.0.1:5700" will not do; [channel] has it already',
        ),
        ("[target]\nkey = ''", 'x.toml: target.key: "" will not do; write the name that'),
        ("[controller]\nkey = true", "x.toml: controller.key: true is not a text in quotes; write for"),
        (
            "[security]\nplain = true\nfolder = 'keys'",
            "x.toml: security.plain: true says that nodes use no keys, and [security] folder says where",
        ),
        (
            "[observer]\naddress = 'tcp://127.0.0.1:5702'",
            'x.toml: observer.address: "tcp://127.0.0.1:5702" will not do; [controller] has it already',
        ),
        (
            "[observer]\nbind = 'tcp://127.0.0.1:5701'",
            'x.toml: observer.bind: "tcp://127.0.0.1:5701" will not do; [target] has it already',
        ),
        ("[observer]\nport = 65536", "x.toml: observer.port: 65536 will not do; write a number from 0 to"),
        ("[observer]\nport = '1'", 'x.toml: observer.port: "1" is not a whole number; write for instance'),
        ("[observer]\nhost = ''", 'x.toml: observer.host: "" will not do; write 127.0.0.1 for this machine'),
        ("[observer]\nhost = 'http://a'", 'x.toml: observer.host: "http://a" will not do; write 127.0.0.1'),
        ("[observer]\nkey_file = ''", 'x.toml: observer.key_file: "" will not do; name a file of one line'),
        ("[observer]\nkey_file = 1", "x.toml: observer.key_file: 1 is not a text in quotes; write for inst"),
        ("[observr]\n", "x.toml: observr: no section [observr]; did you mean 'observer'?"),
        ("[security]\nplain = 1", "x.toml: security.plain: 1 is not true or false; write for instance"),
        ("[security]\nfolder = ''", 'x.toml: security.folder: "" will not do; name the folder that'),
        ("[security]\nfolder = 3", "x.toml: security.folder: 3 is not a text in quotes; write for"),
        ("[device]\nreach_s = 0", "x.toml: device.reach_s: 0.0 will not do; write a number from 0.1 to 3600"),
        ("[device]\nabsent_s = 1e5", "x.toml: device.absent_s: 100000.0 will not do; write a number"),
        ("[target]\nforget_s = 0.5", "x.toml: target.forget_s: 0.5 will not do; write a number from 1"),
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
_changing = st.sampled_from(["rate 5mbit; 5s rate 1mbit; repeat 8s", "trace lte-like; 9s loss 1%"]).map(
    parse_schedule
)
_schedules = st.sampled_from(["", "5s rate 1mbit; repeat 8s", "0s  RATE 5mbit;1s delay 1ms"])
_addresses = st.builds("ipc:///run/{}-{}".format, st.integers(), _texts)
_binds = st.none() | st.builds("tcp://{}:{}".format, st.sampled_from(["*", "eth0"]), st.integers(1, 65535))
_key_names = st.builds("{}{}".format, st.sampled_from("aZ5"), st.text("a-_.", max_size=20))
_names = _key_names | st.builds("{}/{}".format, _key_names, st.text("aä-_./ "))


def _topology_of(**sections: Any) -> Topology:
    """Unless something is said of a device that none of several is called."""
    try:
        return Topology(**sections)
    except ConfigurationError as error:
        assert error.key.startswith("channel.devices."), error
        reject()


_topologies = st.builds(
    _topology_of,
    pair=st.builds(
        PairSettings,
        draft=_models,
        target=_models,
        tables=st.none() | st.lists(_texts.filter(lambda text: "\0" not in text), max_size=8).map(tuple),
    ),
    target=st.builds(
        TargetSettings,
        address=_addresses.map("{}t".format),
        bind=_binds,
        key=st.none() | _key_names,
        forget_s=st.floats(1, 86400),
        patience_s=st.floats(0, 10),
        threads=st.none() | st.integers(1, 9),
    ),
    channel=st.none()
    | st.builds(
        ChannelSettings,
        address=_addresses.map("{}c".format),
        bind=_binds,
        key=st.none() | _key_names,
        control=_addresses.map("{}o".format),
        uplink=_links | _changing,
        downlink=_links,
        schedule=st.none() | _schedules,
        devices=st.dictionaries(
            _names,
            st.builds(
                DeviceLinkSettings,
                uplink=st.none() | _links,
                downlink=st.none() | _links,
                schedule=st.none() | _schedules,
            ),
            max_size=3,
        ),
        lateness_ms=st.floats(0.01, 10_000),
    ),
    controller=st.builds(
        ControllerSettings,
        bind=_binds,
        key=st.none() | _key_names,
        policy=st.sampled_from(["adaptive", "ucb", "pid", "a.b:C"]),
        k=st.none() | st.integers(1, 4096),
        gamma=st.none() | st.integers(0, 32),
    ),
    device=st.builds(
        DeviceSettings,
        name=_names,
        count=st.integers(1, 1024),
        reach_s=st.floats(0.1, 3600),
        absent_s=st.floats(0.1, 3600),
    ),
    sampling=st.builds(
        SamplingSettings,
        temperature=st.floats(0, 2),
        seed=st.integers(0, 2**63 - 1),
        acceptance=st.sampled_from(AcceptanceRule),
    ),
    compute=st.builds(ComputeSettings, profile=st.sampled_from(Profile)),
    security=st.builds(SecuritySettings, folder=_texts.filter(lambda text: "\0" not in text))
    | st.builds(SecuritySettings, plain=st.booleans()),
    observer=st.none()
    | st.builds(
        ObserverSettings,
        address=_addresses.map("{}s".format),
        bind=_binds,
        key=st.none() | _key_names,
        host=st.sampled_from(["127.0.0.1", "::1", "0.0.0.0", "page.lan"]),
        port=st.integers(0, 65535),
        key_file=st.none() | _texts.filter(lambda text: "\0" not in text),
    ),
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


SHIPPED = ("cell-16", "changing-link", "demo", "radio", "single-host", "three-machines", "two-machines")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_files_load(name: str) -> None:
    """Every file in configs/ is a valid topology and survives being written and read again."""
    topology = load_topology(CONFIGS / f"{name}.toml")
    assert parse_topology(to_toml(topology)) == topology
    assert (topology.channel is None) == (name == "two-machines")
    assert topology.secured == (name in ("two-machines", "three-machines"))


def test_devices_are_numbered_below_their_name() -> None:
    """One has the name itself; more have as many digits each, two at least."""
    for count, first, last in ((1, "cell", "cell"), (2, "cell/01", "cell/02"), (100, "cell/001", "cell/100")):
        names = parse_topology(f"[device]\nname = 'cell'\ncount = {count}").device.names
        assert (len(set(names)), names[0], names[-1]) == (count, first, last)


def test_the_file_with_every_key_says_the_defaults() -> None:
    """configs/single-host.toml describes what an empty file does."""
    assert load_topology(CONFIGS / "single-host.toml") == Topology.default()


def test_no_shipped_file_is_untested() -> None:
    """configs/ holds the files that the test above names, and no others."""
    assert {path.stem for path in CONFIGS.glob("*.toml")} == set(SHIPPED)
