"""What the doctor makes of this machine's keys: what is missing or can't be used, and what mends it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from draftwire.nodes.console.doctor.checks import Status
from draftwire.nodes.console.doctor.trust import look_at_keys
from draftwire.nodes.console.doctor.whereabouts import roles_of
from draftwire.runtime.config import Topology, load_topology, parse_topology
from draftwire.runtime.security import Keyring, Role

SECURED = """
[target]
address = "tcp://10.0.0.7:5701"
"""


@pytest.fixture
def secured(tmp_path: Path) -> Callable[[str], Topology]:
    """A topology that other machines can reach, its keys in tmp_path/keys."""

    def make(more: str = "") -> Topology:
        path = tmp_path / "t.toml"
        path.write_text(SECURED + "[device]\nname = 'phone-1'\n" + more)
        return load_topology(path)

    return make


def _allow(keyring: Keyring, folder: Path, name: str, role: Role) -> None:
    other = Keyring(folder / f"of-{name}")
    other.new(name, role=role)
    keyring.allow(folder / f"of-{name}" / f"{name}.key")


def test_keys_are_not_needed_on_one_host() -> None:
    """It is said so; switched off where they would be needed is a warning."""
    (check,) = look_at_keys(Topology.default(), tuple(Role))
    assert check.status is Status.OK and "none needed" in check.seen
    (check,) = look_at_keys(parse_topology(SECURED + "[security]\nplain = true\n"), tuple(Role))
    assert check.status is Status.WARN and "plain = true" in check.seen


def test_keys_one_step_after_the_other(
    secured: Callable[[str], Topology], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No folder, no own key, no server's key: each is told with the command that mends it."""
    topology, keyring = secured(""), Keyring(tmp_path / "keys")
    (check,) = look_at_keys(topology, [Role.DEVICE])
    assert check.status is Status.FAIL and "draftwire keys new phone-1" in check.remedy
    for folder, option in ((tmp_path, ""), (tmp_path.parent, f" --folder {tmp_path / 'keys'}")):
        monkeypatch.chdir(folder)
        assert f"draftwire keys new phone-1{option};" in look_at_keys(topology, ())[0].remedy
    (tmp_path / "keys").mkdir()
    assert asyncio.run(roles_of(topology)) == ()
    assert "no key of this machine's own" in look_at_keys(topology, ())[0].seen
    keyring.new("phone-1", role=Role.DEVICE)
    assert asyncio.run(roles_of(topology)) == (Role.DEVICE,)
    (check,) = look_at_keys(topology, [Role.DEVICE])
    assert check.status is Status.FAIL and "draftwire keys allow target.key" in check.remedy
    _allow(keyring, tmp_path, "target", Role.TARGET)
    (check,) = look_at_keys(topology, [Role.DEVICE])
    assert check.status is Status.OK and "phone-1" in check.seen and "target" in check.seen


def test_a_server_whom_nobody_may_reach(secured: Callable[[str], Topology], tmp_path: Path) -> None:
    """A BS that allows no device's key fails; with one, it says whom it lets in."""
    topology, keyring = secured(""), Keyring(tmp_path / "keys")
    keyring.new("target", role=Role.TARGET)
    keyring.new("controller", role=Role.CONTROLLER)
    target, controller = look_at_keys(topology, asyncio.run(roles_of(topology)))
    assert target.status is Status.FAIL and "no device's key" in target.seen
    assert controller.status is Status.OK and "target" in controller.seen  # an own key of this machine
    _allow(keyring, tmp_path, "phone-1", Role.DEVICE)
    target, _ = look_at_keys(topology, asyncio.run(roles_of(topology)))
    assert target.status is Status.OK and "lets device phone-1 in" in target.seen


def test_an_observer_needs_a_key_of_every_role_that_tells_it(
    secured: Callable[[str], Topology], tmp_path: Path
) -> None:
    """Its machine allows them all; a node's machine lacks the observer's, and is told what to do."""
    topology = secured("[observer]\naddress = 'tcp://10.0.0.9:5704'\n")
    keyring = Keyring(tmp_path / "keys")
    keyring.new("observer", role=Role.OBSERVER)
    for name, role in (("phone-1", Role.DEVICE), ("target", Role.TARGET)):
        _allow(keyring, tmp_path, name, role)
    (observer,) = look_at_keys(topology, asyncio.run(roles_of(topology)))
    assert observer.status is Status.FAIL and "no controller's key" in observer.seen
    _allow(keyring, tmp_path, "controller", Role.CONTROLLER)
    (observer,) = look_at_keys(topology, [Role.OBSERVER])
    assert observer.status is Status.OK and "lets target target in" in observer.seen
    (tmp_path / "keys" / "observer.secret").unlink()
    (tmp_path / "keys" / "observer.key").unlink()
    keyring.new("phone-2", role=Role.DEVICE)
    named = replace(topology, device=replace(topology.device, name="phone-2"))
    (device,) = look_at_keys(named, [Role.DEVICE])
    assert device.status is Status.FAIL and "draftwire keys allow observer.key" in device.remedy


def test_a_secret_that_others_can_read(secured: Callable[[str], Topology], tmp_path: Path) -> None:
    """It is named, with the chmod that mends it."""
    Keyring(tmp_path / "keys").new("phone-1", role=Role.DEVICE)
    (tmp_path / "keys" / "phone-1.secret").chmod(0o644)
    topology = secured("")
    (check,) = look_at_keys(topology, asyncio.run(roles_of(topology)))
    assert (check.status, check.subject) == (Status.FAIL, "phone-1.secret")
    assert "chmod 600" in check.remedy


def test_a_file_that_cannot_be_used_hides_no_other(
    secured: Callable[[str], Topology], tmp_path: Path
) -> None:
    """It fails by its name, and the nodes whose keys are all right are looked at as well."""
    keyring = Keyring(tmp_path / "keys")
    for name, role in (("controller", Role.CONTROLLER), ("target", Role.TARGET)):
        keyring.new(name, role=role)
    (tmp_path / "keys" / "other.secret").write_text("none")
    topology = secured("")
    broken, target, controller = look_at_keys(topology, asyncio.run(roles_of(topology)))
    assert (broken.status, broken.subject) == (Status.FAIL, "other.secret")
    assert (target.subject, controller.subject) == ("target", "controller")


def test_a_device_under_a_name_that_its_key_does_not_prove(
    secured: Callable[[str], Topology], tmp_path: Path
) -> None:
    """[device] name has to be a key's name."""
    Keyring(tmp_path / "keys").new("phone-2", role=Role.DEVICE)
    (check,) = look_at_keys(secured(""), [Role.DEVICE])
    assert check.status is Status.FAIL and "phone-1" in check.seen and "--name phone-2" in check.remedy
