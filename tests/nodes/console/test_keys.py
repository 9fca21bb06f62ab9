"""`draftwire keys`, and which keys a node of a topology gets."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from draftwire.nodes.console.cli import main, parser
from draftwire.nodes.console.keys import link_keys, node_keys
from draftwire.nodes.console.launch import on_this_host, with_throw_away_keys
from draftwire.runtime.config import Topology, load_topology
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.security import Keyring, Role

BS = '[target]\naddress = "tcp://10.0.0.2:5701"\n'
FAR = '\n[controller]\naddress = "tcp://10.0.0.4:5702"\n'
CHANNEL = '[channel]\naddress = "tcp://10.0.0.3:5700"\n'


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the topology file, as the recipe has it."""
    monkeypatch.chdir(tmp_path)


def _ok(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["keys", *words]) == 0
    said = capfd.readouterr()
    assert said.err == ""
    return said.out


def _fails(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["keys", *words]) == 2
    said = capfd.readouterr()
    (line,) = said.err.splitlines()
    assert said.out == "" and line.startswith("draftwire: ")
    return line


def _topology(text: str, folder: Path = Path()) -> Topology:
    path = folder / "x.toml"
    path.write_text(text)
    return load_topology(path)


@pytest.mark.parametrize(
    ("words", "role"),
    [
        (["phone-1"], Role.DEVICE),
        (["target"], Role.TARGET),
        (["channel"], Role.CHANNEL),
        (["controller"], Role.CONTROLLER),
        (["bs-2", "--role", "target"], Role.TARGET),
        (["target", "--role", "device"], Role.DEVICE),
    ],
)
def test_new(capfd: pytest.CaptureFixture[str], words: list[str], role: Role) -> None:
    """A key's role follows from its name unless it is said; the secret is for its owner's eyes alone."""
    said = _ok(capfd, "new", *words)
    name = words[0]
    assert f"keys/{name}.secret" in said and f"keys/{name}.key" in said
    said_role = " --role target" if name == "bs-2" else ""
    assert said.splitlines()[-1] == f"and allow it there: draftwire keys allow {name}.key{said_role}"
    assert stat.S_IMODE(Path(f"keys/{name}.secret").stat().st_mode) == 0o600
    assert "secret =" not in Path(f"keys/{name}.key").read_text()
    (pair,) = Keyring(Path("keys")).own()
    assert (pair.public.name, pair.public.role) == (name, role)
    assert pair.secret not in said


def test_a_key_is_never_written_over(capfd: pytest.CaptureFixture[str]) -> None:
    """`new` with a name that is taken changes nothing and says so."""
    _ok(capfd, "new", "phone-1")
    kept = Path("keys/phone-1.secret").read_bytes()
    assert "keys/phone-1" in _fails(capfd, "new", "phone-1")
    assert Path("keys/phone-1.secret").read_bytes() == kept
    assert "'../x' can't be a key's name" in _fails(capfd, "new", "../x")


def test_allow_and_list(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Public halves of other machines are allowed, several at a time, and listed beside our own."""
    other = tmp_path / "other"
    _ok(capfd, "new", "phone-1", "--folder", str(other))
    _ok(capfd, "new", "bs-2", "--role", "target", "--folder", str(other))
    assert "no keys; make one" in _ok(capfd, "list")
    _ok(capfd, "new", "channel")
    _ok(capfd, "new", "target", "--folder", str(other))
    said = _ok(capfd, "allow", str(other / "phone-1.key"), str(other / "target.key"))
    assert said.splitlines() == [
        "keys/allowed/phone-1.key: device phone-1 is allowed here",
        "keys/allowed/target.key: target is allowed here",
    ]
    refused = _fails(capfd, "allow", str(other / "bs-2.key"))
    assert refused.endswith("; if that is what bs-2 is for, say so: --role target")
    assert "--role: this key is of role target, not channel" in _fails(
        capfd, "allow", str(other / "bs-2.key"), "--role", "channel"
    )
    said = _ok(capfd, "allow", str(other / "bs-2.key"), "--role", "target")
    assert said == "keys/allowed/bs-2.key: target bs-2 is allowed here\n"
    pairs = (*Keyring(other).own(), *Keyring(Path("keys")).own())
    public = {pair.public.name: pair.public.public for pair in pairs}
    assert [line.split() for line in _ok(capfd, "list").splitlines()] == [
        ["channel", "channel", "own", public["channel"]],
        ["bs-2", "target", "allowed", public["bs-2"]],
        ["phone-1", "device", "allowed", public["phone-1"]],
        ["target", "target", "allowed", public["target"]],
    ]


def test_a_broken_file_hides_no_other_key(capfd: pytest.CaptureFixture[str]) -> None:
    """`list` shows what can be used, then says what can't; a node that needs another key starts."""
    for name in ("controller", "target", "phone-1"):
        _ok(capfd, "new", name)
    Path("keys/phone-1.secret").chmod(0o644)
    assert main(["keys", "list"]) == 2
    said = capfd.readouterr()
    assert [line.split()[0] for line in said.out.splitlines()] == ["controller", "target"]
    (line,) = said.err.splitlines()
    assert line.startswith("draftwire: keys/phone-1.secret: other users of this machine can use this secret")
    keys = node_keys(_topology(BS), Role.TARGET)
    assert keys is not None and keys.own.public.name == "target"
    with pytest.raises(ConfigurationError, match=r"chmod 600 .*keys/phone-1\.secret$"):
        node_keys(_topology(BS + "[device]\nname = 'phone-1'"), Role.DEVICE)


def test_keys_stay_out_of_git() -> None:
    """Neither the folder of keys nor a secret elsewhere is committed with the topology file beside it."""
    ignored = (Path(__file__).parents[3] / ".gitignore").read_text().splitlines()
    assert {"keys/", "*.secret"} <= set(ignored)


def test_a_secret_is_not_allowed(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Whoever copied the wrong file is told which one to copy; nothing is kept of it."""
    other = tmp_path / "other"
    _ok(capfd, "new", "phone-1", "--folder", str(other))
    assert "phone-1.key" in _fails(capfd, "allow", str(other / "phone-1.secret"))
    renamed = (other / "phone-1.secret").rename(other / "phone-2.key")
    assert "phone-2.key" in _fails(capfd, "allow", str(renamed))
    assert "nowhere.key" in _fails(capfd, "allow", "nowhere.key")
    assert not list(tmp_path.glob("keys/**/*.key"))


def test_help_teaches_the_recipe() -> None:
    """`draftwire keys --help`, and that of each action, names the commands of every machine."""
    (commands,) = [action for action in parser()._actions if isinstance(action.choices, dict)]
    assert isinstance(commands.choices, dict)
    keys = commands.choices["keys"]
    (actions,) = [action for action in keys._actions if isinstance(action.choices, dict)]
    assert isinstance(actions.choices, dict) and set(actions.choices) == {"new", "allow", "list"}
    for one in (keys, *actions.choices.values()):
        text = one.format_help()
        for words in ("keys new phone-1", "scp keys/phone-1.key", "draftwire keys allow channel.key"):
            assert words in text


# ----------------------------------------------------------------------------------------- of a topology


def test_local_nodes_need_no_keys() -> None:
    """Nor do those of a file that says `plain`; no folder is looked at or made."""
    assert node_keys(Topology.default(), Role.DEVICE) is None
    assert node_keys(_topology(BS + "[security]\nplain = true"), Role.TARGET) is None
    assert link_keys(Topology.default()) is None
    assert not Path("keys").exists()


@pytest.mark.parametrize(
    ("text", "role", "commands"),
    [
        (BS, Role.DEVICE, ["new device-1", "allow target.key"]),
        (BS + "[device]\nname = 'phone-1/b'", Role.DEVICE, ["new phone-1", "allow target.key"]),
        (BS + CHANNEL, Role.DEVICE, ["new device-1", "allow channel.key"]),
        (BS + CHANNEL, Role.CHANNEL, ["new channel", "allow target.key"]),
        (BS, Role.TARGET, ["new target", "new controller"]),
        (BS + "[controller]\nkey = 'c'", Role.TARGET, ["new target", "new c --role controller"]),
        (BS + FAR + "key = 'c'", Role.TARGET, ["new target", "allow c.key --role controller"]),
        (BS + FAR, Role.TARGET, ["new target", "allow controller.key"]),
        (BS + "key = 'bs-2'" + FAR, Role.TARGET, ["new bs-2 --role target", "allow controller.key"]),
        (BS, Role.CONTROLLER, ["new controller"]),
    ],
)
def test_missing_keys(text: str, role: Role, commands: list[str]) -> None:
    """One error with exactly the commands that this machine needs for this role, and where from."""
    with pytest.raises(ConfigurationError) as caught:
        node_keys(_topology(text), role)
    assert caught.value.problem.startswith("other machines can reach an address of this topology, so its")
    assert caught.value.remedy == "on this machine: " + "; ".join(f"draftwire keys {one}" for one in commands)


def test_missing_keys_of_another_folder(tmp_path: Path) -> None:
    """The commands name the folder that the file means, wherever they are typed."""
    (tmp_path / "sub dir").mkdir()
    topology = _topology("[security]\nfolder = 'k'", tmp_path / "sub dir")
    with pytest.raises(ConfigurationError) as caught:
        node_keys(topology, Role.CONTROLLER)
    command = f"draftwire keys new controller --folder '{tmp_path}/sub dir/k'"
    assert caught.value.remedy == f"on this machine: {command}"
    assert caught.value.problem.startswith("[security] names a folder, so its nodes need keys")


def test_what_the_commands_make_is_enough(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """After them the device has its own key and knows its server's, by the role alone."""
    _ok(capfd, "new", "phone-1")
    _ok(capfd, "new", "target", "--folder", str(tmp_path / "bs"))
    _ok(capfd, "allow", str(tmp_path / "bs" / "target.key"))
    topology = _topology(BS + "[device]\nname = 'phone-1'")
    keys = node_keys(topology, Role.DEVICE)
    assert keys is not None and keys.own.public.name == "phone-1"
    below = node_keys(topology, Role.DEVICE, "phone-1/doctor")
    assert below is not None and below.own == keys.own


def test_a_key_does_not_speak_for_another_name(capfd: pytest.CaptureFixture[str]) -> None:
    """A device whose name no key here proves is told both ways out."""
    _ok(capfd, "new", "phone-2")
    with pytest.raises(ConfigurationError, match="'phone-1' has no key on this machine, and that of phone-2"):
        node_keys(_topology(BS + "[device]\nname = 'phone-1'"), Role.DEVICE)
    with pytest.raises(ConfigurationError, match="--name phone-2"):
        node_keys(_topology(BS), Role.DEVICE, "phone")


def test_several_servers(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Which of two targets is meant is said by the file; without that it is an error that names both."""
    _ok(capfd, "new", "device-1")
    for name in ("bs-1", "bs-2"):
        _ok(capfd, "new", name, "--role", "target", "--folder", str(tmp_path / name))
        _ok(capfd, "allow", str(tmp_path / name / f"{name}.key"), "--role", "target")
    with pytest.raises(ConfigurationError, match="bs-1, bs-2"):
        node_keys(_topology(BS), Role.DEVICE)
    with pytest.raises(ConfigurationError, match="bs-3"):
        node_keys(_topology(BS + "key = 'bs-3'"), Role.DEVICE)
    keys = node_keys(_topology(BS + "key = 'bs-2'"), Role.DEVICE)
    assert keys is not None and keys.server_names == {Role.TARGET: "bs-2"}


def test_who_may_order_the_channel(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The machine of the channel, or of controller or observer once it knows the channel; nobody else."""
    topology = _topology(BS + CHANNEL + "control = 'tcp://10.0.0.3:5703'")
    _ok(capfd, "new", "phone-1")
    with pytest.raises(ConfigurationError, match="the channel's, the controller's or the observer's machine"):
        link_keys(topology)
    _ok(capfd, "new", "observer")
    with pytest.raises(ConfigurationError, match=r"channel\.key"):
        link_keys(topology)
    _ok(capfd, "new", "controller")
    with pytest.raises(ConfigurationError, match=r"channel\.key"):
        link_keys(topology)
    _ok(capfd, "new", "channel", "--folder", str(tmp_path / "channel"))
    _ok(capfd, "allow", str(tmp_path / "channel" / "channel.key"))
    keys = link_keys(topology)
    assert keys is not None and keys.own.public.role is Role.CONTROLLER
    _ok(capfd, "new", "here", "--role", "channel")
    with pytest.raises(ConfigurationError, match="channel, here"):
        link_keys(topology)
    named = link_keys(replace(topology, channel=topology.channel and replace(topology.channel, key="here")))
    assert named is not None and named.own.public.name == "here"
    assert link_keys(_topology(BS + CHANNEL)) is None


@pytest.mark.parametrize("device", ["device-1", "phone-1/test", "target", "controller/x"])
def test_throw_away_keys(tmp_path: Path, device: str) -> None:
    """Nodes that a command starts have new keys for every role and any device, whatever the file says."""
    written = _topology(
        f"[device]\nname = '{device}'\n[target]\nkey = 'bs-2'\n[channel]\n[security]\nfolder = 'k'"
    )
    for make in (on_this_host, with_throw_away_keys):
        folder = tmp_path / make.__name__
        topology = make(written, folder)
        assert topology.secured and topology.keys_folder == folder / "keys"
        for role in Role:
            keys = node_keys(topology, role)
            assert keys is not None and keys.own.public.role is role
        assert link_keys(topology) is None
    publics = [
        {pair.public.public for pair in Keyring(tmp_path / make.__name__ / "keys").own()}
        for make in (on_this_host, with_throw_away_keys)
    ]
    assert [len(one) for one in publics] == [5, 5] and not publics[0] & publics[1]
    assert not Path("k").exists()


@pytest.mark.parametrize("role", [Role.DEVICE, Role.TARGET, Role.CONTROLLER])
def test_no_node_needs_the_observers_key(capfd: pytest.CaptureFixture[str], role: Role) -> None:
    """It starts without, tells it nothing, and says so; several of them are no error either."""
    for name in ("phone-1", "target", "controller"):
        _ok(capfd, "new", name)
    topology = _topology(BS + "[device]\nname = 'phone-1'\n[observer]\naddress = 'tcp://10.0.0.9:5704'\n")
    for allowed in ((), ("observer", "observer-2")):
        for name in allowed:
            Keyring(Path("keys")).new(name, role=Role.OBSERVER)
        keys = node_keys(topology, role)
        assert keys is not None and keys.own.public.role is role
