"""Keys on disk: what is made, what is trusted, and what is refused with which remedy."""

import errno
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.security import (
    ADMITS,
    HELD_BY,
    Keyring,
    PublicKey,
    Role,
    Service,
    is_key_name,
    may_call_itself,
)
from draftwire.runtime.security.keyfile import write_public


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    """A folder that nobody has made yet."""
    return Keyring(tmp_path / "keys")


def _elsewhere(tmp_path: Path, name: str, role: Role, *, machine: str = "other") -> Path:
    """The public file of a key made on another machine."""
    Keyring(tmp_path / machine).new(name, role=role)
    return tmp_path / machine / f"{name}.key"


def test_a_new_key_is_two_files_and_the_secret_is_private(keyring: Keyring) -> None:
    """`new` writes a secret that only its owner can read, and a public file without the secret."""
    old = os.umask(0)
    try:
        pair = keyring.new("phone-1", role=Role.DEVICE)
    finally:
        os.umask(old)
    secret, public = keyring.folder / "phone-1.secret", keyring.folder / "phone-1.key"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert pair.secret in secret.read_text()
    assert pair.secret not in public.read_text()
    assert pair.secret not in repr(pair)
    assert zmq.curve_public(pair.secret.encode()).decode() == pair.public.public
    assert sorted(os.listdir(keyring.folder)) == ["phone-1.key", "phone-1.secret"]
    assert Keyring(keyring.folder).own() == (pair,)


def test_a_key_is_never_overwritten(keyring: Keyring) -> None:
    """A second key of a name is refused while either file of the first is there."""
    pair = keyring.new("target", role=Role.TARGET)
    for gone in ("target.key", "target.secret"):
        with pytest.raises(ConfigurationError, match="there is such a key already; take another name"):
            keyring.new("target", role=Role.TARGET)
        assert keyring.own() == (pair,)
        (keyring.folder / gone).rename(keyring.folder / "aside")
        with pytest.raises(ConfigurationError, match="there is such a key already"):
            keyring.new("target", role=Role.TARGET)
        (keyring.folder / "aside").rename(keyring.folder / gone)
    assert keyring.own() == (pair,)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "two words", "x" * 129, "Gerät", 'a"b', "a\n"])
def test_a_name_that_is_no_file_name_is_refused(keyring: Keyring, name: str) -> None:
    """A key's name can be copied as a file anywhere, and leaves the folder nowhere."""
    assert not is_key_name(name)
    with pytest.raises(ConfigurationError, match="can't be a key's name; take at most 128 letters"):
        keyring.new(name, role=Role.DEVICE)
    assert not keyring.folder.exists()


def test_a_secret_that_others_can_read_is_refused(keyring: Keyring) -> None:
    """Any right of group or others makes a secret unusable, with chmod as the remedy."""
    keyring.new("target", role=Role.TARGET)
    path = keyring.folder / "target.secret"
    for mode in (0o640, 0o604, 0o620, 0o601):
        path.chmod(mode)
        with pytest.raises(ConfigurationError, match=rf"\(mode {mode:04o}\); chmod 600 {path}$"):
            keyring.own_key(Role.TARGET)
        assert keyring.admits(Service.TARGET, "x" * 40) is None
        assert [problem.source for problem in keyring.problems()] == [str(path)]
    path.chmod(0o600)
    assert keyring.own_key(Role.TARGET).public.name == "target"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "this is no key file; one holds name, role, public; copy it anew"),
        ("no TOML", "this is no key file"),
        ('name = "bs"\nrole = "target"\n', "this is no key file"),
        ('name = "bs"\nrole = "target"\npublic = 3\n', "this is no key file"),
        ('name = "bs"\nrole = "target"\npublic = "PUBLIC"\nsecret = "PUBLIC"\n', "this is no key file"),
        ('name = "../bs"\nrole = "target"\npublic = "PUBLIC"\n', "the file's name and '../bs' differ"),
        ('name = "BS"\nrole = "target"\npublic = "PUBLIC"\n', "call the file BS.key"),
        ('name = "bs"\nrole = "taget"\npublic = "PUBLIC"\n', "unknown role 'taget'; did you mean 'target'?"),
        ('name = "bs"\nrole = "target"\npublic = "short"\n', "'short' is no key: 40 characters of Z85"),
        (f'name = "bs"\nrole = "target"\npublic = "{"é" * 40}"\n', "40 characters of Z85"),
        (f'name = "bs"\nrole = "target"\npublic = "{"#" * 40}"\n', "40 characters of Z85"),
        ("a = " + "[" * 100_000, "this is no key file"),
    ],
    ids=range(12),
)
def test_what_is_no_public_key_is_refused(
    keyring: Keyring, tmp_path: Path, content: str, message: str
) -> None:
    """Every malformed public file is a typed error that names the file; nothing of it is trusted."""
    public = keyring.new("me", role=Role.DEVICE).public.public
    path = tmp_path / "bs.key"
    path.write_text(content.replace("PUBLIC", public))
    with pytest.raises(ConfigurationError, match=r"bs\.key: ") as caught:
        keyring.allow(path)
    assert message in str(caught.value)
    assert keyring.allowed() == ()
    allowed = keyring.folder / "allowed"
    allowed.mkdir()
    path.rename(allowed / "bs.key")
    assert keyring.allowed() == ()
    (problem,) = keyring.problems()
    assert str(problem).startswith(f"{allowed}/bs.key: ") and message in str(problem)
    with pytest.raises(ConfigurationError) as caught:
        keyring.server_key(Role.TARGET, "bs")
    assert str(caught.value) == str(problem), "the file that is wanted is told"


def test_a_secret_of_another_key_is_refused(keyring: Keyring) -> None:
    """A secret must belong to the public half beside it."""
    one, other = keyring.new("one", role=Role.DEVICE), keyring.new("other", role=Role.DEVICE)
    path = keyring.folder / "one.secret"
    for wrong in (other.secret, "#" * 40, "short"):
        path.write_text(path.read_text().replace(one.secret, wrong))
        with pytest.raises(ConfigurationError, match="don't belong together"):
            keyring.own_key(Role.DEVICE, "one")
        assert keyring.own() == (other,)
        path.write_text(path.read_text().replace(wrong, one.secret))
    assert keyring.own() == (one, other)


def test_an_allowed_key_is_trusted_at_once_and_until_it_is_removed(keyring: Keyring, tmp_path: Path) -> None:
    """The folder is read anew when it changes, also by other processes and in place."""
    path = _elsewhere(tmp_path, "phone-1", Role.DEVICE)
    other_process = Keyring(keyring.folder)
    assert keyring.allowed() == ()
    key = other_process.allow(path)
    assert keyring.allowed() == (key,)
    assert keyring.admits(Service.TARGET, key.public) == key
    assert other_process.allow(path) == key, "again: nothing changes"
    kept = keyring.folder / "allowed" / "phone-1.key"
    text = kept.read_text()
    kept.write_text(text.replace("device", "controller"))
    assert keyring.admits(Service.TARGET, key.public) is None
    kept.write_text(text)
    assert keyring.admits(Service.TARGET, key.public) == key
    kept.unlink()
    assert keyring.allowed() == ()
    assert keyring.admits(Service.TARGET, key.public) is None


def test_connections_cost_no_look_at_every_file(
    keyring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none was added or taken away for a while keys are judged without; a new one counts at once."""
    key = keyring.allow(_elsewhere(tmp_path, "phone-1", Role.DEVICE))
    for folder in (keyring.folder, keyring.folder / "allowed"):
        os.utime(folder, (1e9, 1e9))
    assert keyring.admits(Service.TARGET, key.public) == key
    looks, scandir = list[Path](), os.scandir

    def counted(path: Path) -> "Iterator[os.DirEntry[str]]":
        looks.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counted)
    for _ in range(20):
        assert keyring.known("0" * 40) is None
    assert len(looks) <= 2, "both folders, where half a second has passed"
    another = Keyring(keyring.folder).allow(_elsewhere(tmp_path, "phone-2", Role.DEVICE))
    assert keyring.admits(Service.TARGET, another.public) == another


def test_a_secret_can_not_be_allowed(keyring: Keyring, tmp_path: Path) -> None:
    """Whoever has carried a secret to another machine by mistake is told which file to carry."""
    secret = _elsewhere(tmp_path, "phone-1", Role.DEVICE).with_suffix(".secret")
    with pytest.raises(ConfigurationError, match=r"stays on the machine .*; copy phone-1\.key"):
        keyring.allow(secret)
    renamed = secret.rename(secret.with_name("renamed.key"))
    with pytest.raises(ConfigurationError, match="this is no key file"):
        keyring.allow(renamed)
    assert not (keyring.folder / "allowed").exists()


def test_a_second_key_of_a_name_needs_a_hand(keyring: Keyring, tmp_path: Path) -> None:
    """A name keeps its key until somebody removes the file, be it allowed or this machine's own."""
    first = keyring.allow(_elsewhere(tmp_path, "phone-1", Role.DEVICE))
    second = _elsewhere(tmp_path, "phone-1", Role.DEVICE, machine="thief")
    with pytest.raises(ConfigurationError, match=r"another key called phone-1 .* remove .*/phone-1\.key"):
        keyring.allow(second)
    assert keyring.allowed() == (first,)
    (keyring.folder / "allowed" / "phone-1.key").unlink()
    assert keyring.allow(second).public != first.public
    keyring.new("target", role=Role.TARGET)
    with pytest.raises(ConfigurationError, match="a key of its own called target"):
        keyring.allow(_elsewhere(tmp_path, "target", Role.TARGET))


@pytest.mark.parametrize("role", [Role.CHANNEL, Role.TARGET, Role.CONTROLLER])
def test_a_role_that_a_stranger_wrote_is_not_believed(keyring: Keyring, tmp_path: Path, role: Role) -> None:
    """A key called like a device, of a role that may do more, is allowed only by who says that role."""
    path = _elsewhere(tmp_path, "phone-2", role)
    told = f"of role {role}, and would be allowed to .*; if that is what .*: --role {role}$"
    with pytest.raises(ConfigurationError, match=told):
        keyring.allow(path)
    with pytest.raises(ConfigurationError, match=f"this key is of role {role}, not device"):
        keyring.allow(path, role=Role.DEVICE)
    assert keyring.allowed() == ()
    key = keyring.allow(path, role=role)
    assert key.role is role and keyring.allowed() == (key,)
    named = keyring.allow(_elsewhere(tmp_path, role, role))
    assert named.role is role, "a name that is the role says it"


@pytest.mark.parametrize("mask", [0o002, 0o077, 0])
def test_folders_of_keys_are_their_owners_alone(tmp_path: Path, mask: int) -> None:
    """Whatever the umask, each folder that is made can be entered by its owner only."""
    old = os.umask(mask)
    try:
        keyring = Keyring(tmp_path / "deep" / "keys")
        keyring.allow(_elsewhere(tmp_path, "phone-1", Role.DEVICE))
    finally:
        os.umask(old)
    for folder in (keyring.folder.parent, keyring.folder, keyring.folder / "allowed"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_leftover_of_a_killed_process_is_in_nobodys_way(
    keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A draft that was left behind is no key, and does not keep the next one from being made."""
    monkeypatch.setattr(os, "link", _killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            keyring.new("phone-1", role=Role.DEVICE)
    keyring.folder.joinpath(f".phone-1.secret.{os.getpid()}").write_text("half a")
    monkeypatch.undo()
    assert keyring.own() == () and keyring.problems() == ()
    assert keyring.new("phone-1", role=Role.DEVICE) == keyring.own()[0]


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def _refuse(*_: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def test_a_file_system_without_hard_links_will_do(
    keyring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys are made and allowed there as well, never written over, and nothing else is left."""
    monkeypatch.setattr(os, "link", _refuse)
    pair = keyring.new("phone-1", role=Role.DEVICE)
    assert sorted(os.listdir(keyring.folder)) == ["phone-1.key", "phone-1.secret"]
    assert keyring.own() == (pair,)
    with pytest.raises(ConfigurationError, match="there is such a key already"):
        write_public(keyring.folder / "phone-1.key", pair.public)
    key = keyring.allow(_elsewhere(tmp_path, "target", Role.TARGET))
    assert keyring.allowed() == (key,)


@pytest.mark.parametrize("links", [True, False])
def test_a_key_that_can_not_be_written_whole_leaves_nothing(
    keyring: Keyring, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Where the disk is full in the middle of the secret, behind its public half, neither of them stays."""
    if not links:
        monkeypatch.setattr(os, "link", _refuse)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(ConfigurationError, match=r"can't be written .*; choose another folder"):
            keyring.new("phone-1", role=Role.DEVICE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(keyring.folder) == []
    assert keyring.new("phone-1", role=Role.DEVICE) == keyring.own()[0]


def test_one_bad_file_takes_trust_from_no_other(keyring: Keyring, tmp_path: Path) -> None:
    """A server goes on admitting good keys beside a broken file, and can tell what is broken."""
    key = keyring.allow(_elsewhere(tmp_path, "phone-1", Role.DEVICE))
    (keyring.folder / "allowed" / "broken.key").write_text("?")
    (keyring.folder / "allowed" / "phone-2.key").mkdir()
    (keyring.folder / "allowed" / "notes.txt").write_text("?")
    own = keyring.new("target", role=Role.TARGET)
    keyring.new("channel", role=Role.CHANNEL)
    (keyring.folder / "channel.secret").chmod(0o644)
    assert keyring.admits(Service.TARGET, key.public) == key
    assert (keyring.own(), keyring.allowed()) == ((own,), (key,))
    assert (keyring.own_key(Role.TARGET), keyring.server_key(Role.TARGET)) == (own, own.public)
    assert [Path(problem.source).name for problem in keyring.problems()] == ["channel.secret", "broken.key"]
    with pytest.raises(
        ConfigurationError, match=r"called bs-2 .*can't be used: channel.secret, broken.key\)"
    ):
        keyring.own_key(Role.TARGET, "bs-2")


def test_who_is_admitted_where(keyring: Keyring, tmp_path: Path) -> None:
    """Each service admits the roles of ADMITS and no other; a key is allowed, or this machine's own."""
    keys = [keyring.allow(_elsewhere(tmp_path, f"{role}-there", role), role=role) for role in Role]
    keys += [keyring.new(f"{role}-here", role=role).public for role in Role]
    for service in Service:
        admitted = {key for key in keys if keyring.admits(service, key.public) is not None}
        assert admitted == {key for key in keys if key.role in ADMITS[service]}
        assert HELD_BY[service] in ADMITS[service]
    stranger = Keyring(tmp_path / "stranger").new("stranger", role=Role.DEVICE)
    assert keyring.admits(Service.TARGET, stranger.public.public) is None
    assert keyring.known(stranger.public.public) is None


def test_own_keys_are_found_by_role_and_name(keyring: Keyring) -> None:
    """One key of a role needs no name; a device's name, or one below it, tells which of several."""
    target = keyring.new("target", role=Role.TARGET)
    phones = {name: keyring.new(name, role=Role.DEVICE) for name in ("phone-1", "phone-2")}
    assert keyring.own_key(Role.TARGET) == target
    assert keyring.own_key(Role.DEVICE, "phone-2") == phones["phone-2"]
    assert keyring.own_key(Role.DEVICE, "phone-1/doctor") == phones["phone-1"]
    with pytest.raises(ConfigurationError, match=r"several keys of role device in .*: phone-1, phone-2"):
        keyring.own_key(Role.DEVICE)


@pytest.mark.parametrize(
    ("role", "name", "command"),
    [
        (Role.TARGET, None, "draftwire keys new target"),
        (Role.DEVICE, None, "draftwire keys new device"),
        (Role.DEVICE, "phone-1", "draftwire keys new phone-1"),
        (Role.DEVICE, "phone-1/doctor", "draftwire keys new phone-1"),
        (Role.TARGET, "bs2", "draftwire keys new bs2 --role target"),
        (Role.DEVICE, "target", "draftwire keys new target --role device"),
    ],
)
def test_a_missing_own_key_comes_with_its_command(
    keyring: Keyring, role: Role, name: str | None, command: str
) -> None:
    """The remedy is the command that makes the key, in that folder."""
    keyring.new("channel", role=Role.CHANNEL)
    with pytest.raises(ConfigurationError) as caught:
        keyring.own_key(role, name)
    assert caught.value.remedy == f"make one: {command} --folder {keyring.folder}"


def test_server_keys_are_found_by_role_and_name(keyring: Keyring, tmp_path: Path) -> None:
    """The one key of a role is expected; of several the one that the file names; own keys count."""
    with pytest.raises(ConfigurationError, match=r"draftwire keys allow target\.key --folder"):
        keyring.server_key(Role.TARGET)
    first = keyring.allow(_elsewhere(tmp_path, "bs1", Role.TARGET), role=Role.TARGET)
    keyring.allow(_elsewhere(tmp_path, "phone-1", Role.DEVICE))
    assert keyring.server_key(Role.TARGET) == first
    second = keyring.new("bs2", role=Role.TARGET).public
    assert keyring.server_key(Role.TARGET, "bs1") == first
    assert keyring.server_key(Role.TARGET, "bs2") == second
    with pytest.raises(ConfigurationError, match=r'bs1, bs2; write which .*: \[target\] key = "bs1"'):
        keyring.server_key(Role.TARGET)
    with pytest.raises(
        ConfigurationError, match=r"called bs3 .*there are: bs1, bs2.*allow bs3\.key --role target"
    ):
        keyring.server_key(Role.TARGET, "bs3")
    keyring.allow(keyring.folder / "bs2.key", role=Role.TARGET)
    assert keyring.server_key(Role.TARGET, "bs2") == second, "once own and once allowed is one key"


@pytest.mark.parametrize(
    ("name", "role", "may"),
    [
        ("phone-1", Role.DEVICE, True),
        ("phone-1/doctor", Role.DEVICE, True),
        ("phone-10", Role.DEVICE, False),
        ("phone-2", Role.DEVICE, False),
        ("", Role.DEVICE, False),
        ("doctor/phone-1", Role.DEVICE, False),
        ("phone-2", Role.TARGET, False),
        ("phone-2", Role.CHANNEL, True),
    ],
)
def test_a_key_speaks_for_its_own_name_only(name: str, role: Role, may: bool) -> None:
    """A key's connections go by its name or one below; only a channel's carry the names of others."""
    assert may_call_itself(name, key_name="phone-1", role=role) is may


def test_key_files_are_toml_without_escapes(keyring: Keyring) -> None:
    """What was written is read back, for many keys: no character of one needs an escape."""
    made = {f"key-{n}": keyring.new(f"key-{n}", role=Role.DEVICE) for n in range(50)}
    assert {pair.public.name: pair for pair in Keyring(keyring.folder).own()} == made
    key = keyring.allow(keyring.folder / "key-7.key")
    assert key == PublicKey(name="key-7", role=Role.DEVICE, public=made["key-7"].public.public)
