"""`draftwire doctor` beside real nodes, over tcp: what runs, what does not, and who may not."""

import json
import math
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from tests.harness.namespaces import MODULE_ENVIRONMENT, module, namespaces, why_not
from tests.harness.processes import WITHIN_S, finished, started

from draftwire.nodes.console.cli import main
from draftwire.nodes.console.doctor import probing, reach
from draftwire.runtime.security import Keyring, Role

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are found through /proc")


@dataclass
class System:
    """A topology file, its folder, and the nodes started from it."""

    folder: Path
    stack: ExitStack
    ports: dict[str, int]
    capsys: pytest.CaptureFixture[str]
    pids: list[int] = field(default_factory=list)

    def write(self, *, name: str = "t.toml", v: int = 64, more: str = "", channel: bool = True) -> str:
        """A topology file; `v`: the vocabulary's size; `more`: further sections."""
        path = self.folder / name
        path.write_text(
            f"[pair]\ndraft = 'synthetic:V={v},seed=1'\ntarget = 'synthetic:V={v},seed=1'\n"
            f"[target]\naddress = 'tcp://127.0.0.1:{self.ports['target']}'\n"
            f"[controller]\naddress = 'tcp://127.0.0.1:{self.ports['controller']}'\nk = 8\ngamma = 4\n"
            + (
                f"[channel]\naddress = 'tcp://127.0.0.1:{self.ports['channel']}'\n"
                f"control = 'tcp://127.0.0.1:{self.ports['control']}'\nuplink = 'rate 2mbit delay 10ms'\n"
                if channel
                else ""
            )
            + more
        )
        return str(path)

    def start(self, *roles: str, config: str) -> None:
        """Start nodes, and wait until they are ready."""
        processes = [
            self.stack.enter_context(started(role, "--config", config, temporary=self.folder))
            for role in roles
        ]
        self.pids += [process.pid for process in processes]
        for role, process in zip(roles, processes, strict=True):
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"ready"), role

    def doctor(self, config: str, *options: str) -> tuple[int, dict[str, Any]]:
        """Exit code, and what it found."""
        code = main(["doctor", "--config", config, "--json", *options])
        return code, json.loads(self.capsys.readouterr().out.splitlines()[-1])


@pytest.fixture
def system(capsys: pytest.CaptureFixture[str]) -> Iterator[System]:
    """Free ports, a folder with a short name."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="dw-")))
        with ExitStack() as held:
            sockets = [held.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(4)]
            ports = [one.getsockname()[1] for one in sockets]
        names = ("target", "controller", "channel", "control")
        yield System(folder, stack, dict(zip(names, ports, strict=True)), capsys)


def _failed(report: dict[str, Any]) -> dict[str, str]:
    """What failed, by name and subject, with the remedy."""
    return {
        f"{one['name']} {one['subject']}".strip(): one["remedy"]
        for one in report["checks"]
        if one["status"] == "fail"
    }


def _hop(report: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (one for one in report["hops"] if one["name"] == name)
    return dict(found)


def test_all_is_well(system: System) -> None:
    """With everything running nothing fails, ports are held by our nodes, links are told as they are."""
    config = system.write()
    system.start("target", "controller", "channel", config=config)
    code, report = system.doctor(config)
    assert (code, report["ok"], _failed(report)) == (0, True, {})
    ports = [one for one in report["checks"] if one["name"] == "port"]
    assert len(ports) == 4 and all("runs here" in one["seen"] for one in ports)
    end_to_end = _hop(report, "device -> channel -> target")
    for hop in (end_to_end, _hop(report, "target -> controller"), _hop(report, "channel -> target")):
        assert hop["ok"] and hop["failed_at"] is None and hop["probes"] > 0
        assert 0 < hop["rtt_low_s"] <= hop["rtt_s"] <= hop["rtt_high_s"]
        assert hop["uplink"]["bps"] > 0 and hop["downlink"]["bps"] > 0
        assert math.isfinite(hop["clock_ahead_s"])
    # The emulated link is part of the whole way, whatever this machine adds: no message passes it in less
    # than its delays, 10 ms and 5 ms. How well a link is measured is asserted in virtual time.
    assert end_to_end["rtt_low_s"] > 0.015
    (agreement,) = [one for one in report["checks"] if one["name"] == "agreement"]
    assert agreement["status"] == "ok" and "64 ids" in agreement["seen"]


def test_what_does_not_run_is_named(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel without target and controller: the hops to both fail, that to the channel does not."""
    monkeypatch.setattr(probing, "CONTACT_S", 0.5)  # nobody will answer, so there is no use in waiting
    monkeypatch.setattr(probing, "ANSWER_S", 0.5)
    config = system.write()
    system.start("channel", config=config)
    code, report = system.doctor(config, "--role", "device", "--role", "target")
    assert code == 1
    failed = _failed(report)
    assert set(failed) == {"hop channel -> target", "hop target -> controller"}
    assert f"`draftwire target --config {config}`" in failed["hop channel -> target"]
    assert f"draftwire doctor --config {config} --role channel" in failed["hop channel -> target"]
    assert f"`draftwire controller --config {config}`" in failed["hop target -> controller"]
    assert _hop(report, "device -> channel -> target")["failed_at"] == "silence"


def test_a_target_that_does_not_run(system: System) -> None:
    """Without a channel the device's hop to it fails at once, with what to start."""
    config = system.write(channel=False)
    code, report = system.doctor(config, "--role", "device")
    assert code == 1
    ((hop, remedy),) = _failed(report).items()
    assert hop == "hop device -> target" and f"`draftwire target --config {config}`" in remedy
    assert _hop(report, "device -> target")["failed_at"] == "refused"


def test_another_program_at_a_port(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that listens where the target should: on its machine it is named, from the device it is no node."""
    monkeypatch.setattr(reach, "GREETING_S", 0.3)  # it will not greet
    config = system.write(channel=False)
    with closing(socket.create_server(("127.0.0.1", system.ports["target"]))):
        code, report = system.doctor(config, "--role", "device", "--role", "target")
    assert code == 1
    failed = _failed(report)
    port = f"port [target] address tcp://127.0.0.1:{system.ports['target']}"
    assert set(failed) == {port, "hop device -> target", "hop target -> controller"}
    (seen,) = [one["seen"] for one in report["checks"] if one["name"] == "port"]
    assert f"process {os.getpid()} " in seen
    assert _hop(report, "device -> target")["failed_at"] == "stranger"


def test_another_vocabulary(system: System) -> None:
    """The hop stands, the agreement fails with both values."""
    system.start("target", config=system.write(channel=False))
    code, report = system.doctor(system.write(name="other.toml", v=65, channel=False), "--role", "device")
    assert code == 1 and _hop(report, "device -> target")["ok"]
    assert list(_failed(report)) == ["agreement device and target"]
    (seen,) = [one["seen"] for one in report["checks"] if one["name"] == "agreement"]
    assert "65" in seen and "64" in seen


# Keys -------------------------------------------------------------------------------------------------------


def _machine(system: System, name: str, *own: tuple[str, Role]) -> tuple[str, Keyring]:
    """A machine of its own: a folder of keys, and the same topology that names it."""
    folder = system.folder / name
    keyring = Keyring(folder)
    for key, role in own:
        keyring.new(key, role=role)
    more = f"[device]\nname = 'phone-1'\n[security]\nfolder = '{folder}'\n"
    return system.write(name=f"{name}.toml", more=more, channel=False), keyring


def _allow(there: Keyring, of: Keyring, name: str) -> None:
    there.allow(of.folder / f"{name}.key")


def test_keys(system: System) -> None:
    """Allowed at both ends all is well; one that is not allowed, or a BS with another key, is named."""
    bs_config, bs = _machine(system, "bs", ("target", Role.TARGET), ("controller", Role.CONTROLLER))
    phone_config, phone = _machine(system, "phone", ("phone-1", Role.DEVICE))
    _allow(phone, bs, "target")
    code, report = system.doctor(bs_config)
    assert code == 1
    assert "draftwire keys allow" in _failed(report)["keys target"]  # nobody may connect yet
    system.start("target", "controller", config=bs_config)

    code, report = system.doctor(phone_config)
    assert code == 1
    ((hop, remedy),) = _failed(report).items()
    assert hop == "hop device -> target" and "draftwire keys allow phone-1.key" in remedy
    assert _hop(report, "device -> target")["failed_at"] == "handshake"

    _allow(bs, phone, "phone-1")
    code, report = system.doctor(phone_config)
    assert (code, _failed(report)) == (0, {})
    assert _hop(report, "device -> target")["keys"]
    code, report = system.doctor(bs_config)
    assert (code, _failed(report)) == (0, {})
    assert [one["from"] for one in report["hops"]] == ["target"]
    ports = [one for one in report["checks"] if one["name"] == "port"]
    assert len(ports) == 2 and all("runs here" in one["seen"] for one in ports)

    _, stranger = _machine(system, "stranger", ("target", Role.TARGET))
    (phone.folder / "allowed" / "target.key").unlink()
    _allow(phone, stranger, "target")
    code, report = system.doctor(phone_config)
    assert code == 1 and list(_failed(report)) == ["hop device -> target"]
    assert "key" in _failed(report)["hop device -> target"]


def test_one_end_without_keys(system: System) -> None:
    """A device whose file says nothing of keys, and a BS that uses them: told as such."""
    bs_config, _ = _machine(system, "bs", ("target", Role.TARGET), ("controller", Role.CONTROLLER))
    system.start("target", config=bs_config)
    code, report = system.doctor(system.write(channel=False), "--role", "device")
    assert code == 1
    assert "[security]" in _failed(report)["hop device -> target"]


def test_a_node_without_keys_at_a_port(system: System) -> None:
    """A port held by a node that uses none, where the file asks for them, is told as such."""
    bs_config, _ = _machine(system, "bs", ("target", Role.TARGET), ("controller", Role.CONTROLLER))
    system.start("target", config=system.write(channel=False))
    _, report = system.doctor(bs_config, "--role", "target")
    port = f"port [target] address tcp://127.0.0.1:{system.ports['target']}"
    (check,) = [one for one in report["checks"] if one["name"] == "port"]
    assert (check["status"], f"{check['name']} {check['subject']}") == ("fail", port)
    assert "does not use keys" in check["seen"] and f"process {system.pids[-1]} " in check["seen"]
    assert check["remedy"].startswith("use a topology file with the same [security] at both ends; ")


def test_text_for_a_person(system: System) -> None:
    """A line a check, its remedy below, a verdict at the end; no colours in a pipe."""
    done = finished(
        "doctor", "--config", system.write(channel=False), "--role", "device", temporary=system.folder
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 1 and "\x1b" not in done.stdout and not done.stderr
    assert lines[0].startswith("ok    configuration device-1: opens no port, connects to tcp://127.0.0.1:")
    at = next(number for number, text in enumerate(lines) if text.startswith("FAIL  hop device -> target:"))
    assert lines[at + 1].startswith("      > start `draftwire target")
    assert lines[-1] == "one check failed, first hop device -> target"


# Machines ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_machines(tmp_path: Path) -> None:
    """Between network namespaces, with keys and a clock an hour off: all is well; then the BS is cut off."""
    if why_not():
        pytest.skip(why_not())
    with namespaces() as net, ExitStack() as stack:
        port = f"tcp://{net.address('bs')}:5701"
        folders = {name: tmp_path / name for name in ("bs", "device")}
        for folder in folders.values():
            folder.mkdir()
            (folder / "t.toml").write_text(
                "[pair]\ndraft = 'synthetic:V=64,seed=1'\ntarget = 'synthetic:V=64,seed=1'\n"
                f"[target]\naddress = '{port}'\n[device]\nname = 'phone-1'\n"
            )
        bs, phone = (Keyring(folder / "keys") for folder in folders.values())
        bs.new("target", role=Role.TARGET)
        bs.new("controller", role=Role.CONTROLLER)
        phone.new("phone-1", role=Role.DEVICE)
        _allow(bs, phone, "phone-1")
        _allow(phone, bs, "target")

        def doctor(node: str, within_s: float) -> dict[str, Any]:
            command = module("draftwire", "doctor", "--config", "t.toml", "--json")
            with net.started(node, *command, folder=folders[node], name="doctor") as running:
                running.process.wait(within_s)
                return dict(json.loads(running.out.read_text()))

        for role in ("target", "controller"):
            command = module("tests.harness.shifted", "3600", role, "--config", "t.toml")
            running = stack.enter_context(
                net.started("bs", *command, folder=folders["bs"], name=role, env=MODULE_ENVIRONMENT)
            )
            running.wait_for("ready")
        assert _failed(doctor("bs", WITHIN_S)) == {}
        report = doctor("device", WITHIN_S)
        assert _failed(report) == {}
        assert _hop(report, "device -> target")["keys"]
        assert 3599 < _hop(report, "device -> target")["clock_ahead_s"] < 3601
        (clock,) = [one for one in report["checks"] if one["name"] == "clock"]
        assert clock["status"] == "warn" and "differs by 3600 s" in clock["seen"]

        net.mute("bs")
        report = doctor("device", WITHIN_S)
        ((hop, remedy),) = _failed(report).items()
        assert hop == "hop device -> target" and "open port 5701/tcp in the firewall" in remedy
        assert _hop(report, "device -> target")["failed_at"] == "unanswered"
