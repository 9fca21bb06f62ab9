"""What the doctor makes of what it has found: values in, lines with a remedy out."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from draftwire.codecs.frame import PROTOCOL_VERSION
from draftwire.codecs.messages import Hello, Reason, Refused, Welcome
from draftwire.nodes.console.cli import parser
from draftwire.nodes.console.doctor import pair, reach
from draftwire.nodes.console.doctor.checks import Check, Status, healthy
from draftwire.nodes.console.doctor.examine import Report, describe, refusal_of
from draftwire.nodes.console.doctor.figures import Rate, spread
from draftwire.nodes.console.doctor.hops import Failure, Found, Hop, Stage, hops_of, judge_hop
from draftwire.nodes.console.doctor.machine import judge_memory, judge_versions
from draftwire.nodes.console.doctor.pair import EndFound, judge_models, look_at_model
from draftwire.nodes.console.doctor.ports import Holder, Port, judge_port, ports_of
from draftwire.nodes.console.doctor.probing import Measured
from draftwire.nodes.console.doctor.reach import Binding, holder_of, is_here, try_to_bind
from draftwire.nodes.console.doctor.trust import look_at_keys
from draftwire.nodes.console.doctor.view import as_json, line
from draftwire.nodes.console.doctor.whereabouts import roles_by_address, roles_of
from draftwire.nodes.models.synthetic import SyntheticTokenizer
from draftwire.runtime.config import ModelSettings, Topology, load_topology, parse_topology
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.security import Keyring, Role

CONFIG = " --config t.toml"

THROUGH = Hop(
    origin=Role.DEVICE, destination=Role.TARGET, address="tcp://10.0.0.7:5700", through=Role.CHANNEL
)
DIRECT = Hop(origin=Role.DEVICE, destination=Role.TARGET, address="tcp://10.0.0.7:5701")

HELLO = Hello(protocol_version=PROTOCOL_VERSION, noise_version=1, vocab_size=64, fingerprint=b"fingered")

SECURED = """
[target]
address = "tcp://10.0.0.7:5701"
"""


def _measured(ahead_s: float = 0.0) -> Measured:
    return Measured(
        rtt=spread([0.040, 0.041, 0.044]),
        uplink=Rate(bps=1.04e6, at_least=False),
        downlink=Rate(bps=80e6, at_least=True),
        clock_ahead_s=ahead_s,
        clock_error_s=0.02,
    )


def _broken(hop: Hop, stage: Stage, text: str = "seen", remedy: str = "") -> list[Check]:
    failure = Failure(stage=stage, text=text, remedy=remedy)
    return judge_hop(Found(hop=hop, secured=True, connected_s=1e-3, failure=failure), config=CONFIG)


# Hops -------------------------------------------------------------------------------------------------------


def test_hops_of_each_role() -> None:
    """Each role looks at the hop that begins with it; a channel stands between device and target."""
    with_channel, without = Topology.default(), parse_topology(SECURED)
    every = [hop.name for hop in hops_of(with_channel, tuple(Role))]
    assert every == ["device -> channel -> target", "channel -> target", "target -> controller"]
    assert [hop.name for hop in hops_of(without, tuple(Role))] == ["device -> target", "target -> controller"]
    assert hops_of(with_channel, [Role.CONTROLLER]) == ()


def test_a_hop_that_stands() -> None:
    """Round trip and both rates are told, a bound as a bound; the BS's agreement has its own line."""
    found = Found(
        hop=DIRECT,
        secured=True,
        connected_s=3.1e-4,
        measured=_measured(),
        answer=Welcome(boot=1),
        hello=HELLO,
    )
    checks = judge_hop(found, config=CONFIG)
    assert healthy(checks)
    assert [check.name for check in checks] == ["hop", "clock", "agreement"]
    for word in ("round trip 41 ms", "up 1.04 Mbit/s", "down at least 80 Mbit/s", "0.31 ms", "with keys"):
        assert word in checks[0].seen


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (Stage.NAME, "IP address in [channel] address"),
        (Stage.REFUSED, "start `draftwire channel --config t.toml`"),
        (Stage.UNANSWERED, "open port 5700/tcp in the firewall of the channel's machine"),
        (Stage.NO_WAY, "one network"),
        (Stage.STRANGER, "`draftwire doctor --config t.toml --role channel`"),
    ],
)
def test_the_first_leg_fails(stage: Stage, words: str) -> None:
    """What fails on the way to the channel is the hop to the channel; the rest is not looked at."""
    first, rest = _broken(THROUGH, stage)
    assert (first.status, first.subject) == (Status.FAIL, "device -> channel")
    assert words in first.remedy
    assert (rest.status, rest.subject) == (Status.SKIP, "device -> channel -> target")


def test_silence_behind_a_channel() -> None:
    """A channel that takes messages and brings no answer: its own hop stands, the one behind it fails."""
    first, second = _broken(THROUGH, Stage.SILENCE)
    assert (first.status, first.subject) == (Status.OK, "device -> channel")
    assert (second.status, second.subject) == (Status.FAIL, "channel -> target")
    for words in (
        "start `draftwire target --config t.toml`",
        "`draftwire doctor --config t.toml --role channel`",
    ):
        assert words in second.remedy


def test_silence_without_a_channel() -> None:
    """The same without a channel is the hop to the target."""
    (only,) = _broken(DIRECT, Stage.SILENCE)
    assert (only.status, only.subject) == (Status.FAIL, "device -> target")
    assert "start it anew: `draftwire target --config t.toml`" in only.remedy


def test_a_remedy_that_was_told_stays() -> None:
    """Whoever saw the handshake fail knows best what to do about it."""
    (only,) = _broken(
        DIRECT, Stage.HANDSHAKE, "it does not allow our key", "draftwire keys allow phone-1.key"
    )
    assert (only.seen, only.remedy) == ("it does not allow our key", "draftwire keys allow phone-1.key")


def test_missing_keys_are_no_second_failure() -> None:
    """Without keys a hop is skipped: the keys have a line of their own that fails."""
    assert {check.status for check in _broken(THROUGH, Stage.KEYS)} == {Status.SKIP}


@pytest.mark.parametrize("reason", [Reason.VOCABULARY, Reason.PROTOCOL_VERSION, Reason.NOISE_VERSION])
def test_a_refused_hello(reason: Reason) -> None:
    """The BS's own words, which have both values, and what to do; the hop itself stands."""
    answer = Refused(reason=reason, detail="the device has 64, the target 65")
    found = Found(hop=DIRECT, secured=False, measured=_measured(), answer=answer, hello=HELLO)
    hop, _, agreement = judge_hop(found, config=CONFIG)
    assert hop.status is Status.OK
    assert (agreement.status, agreement.seen) == (Status.FAIL, answer.detail)
    assert ("[pair]" if reason is Reason.VOCABULARY else "same version") in agreement.remedy


def test_a_bs_of_another_version_that_knows_no_probe() -> None:
    """It fails for its version, with both values, and not for its silence."""
    answer = Refused(reason=Reason.PROTOCOL_VERSION, detail="the device has 3, the target 2")
    failure = Failure(stage=Stage.VERSION, text="answers a Hello, and no probe")
    hop, agreement = judge_hop(
        Found(hop=DIRECT, secured=False, failure=failure, answer=answer, hello=HELLO), config=CONFIG
    )
    assert (hop.status, agreement.status) == (Status.FAIL, Status.FAIL)
    assert "same version" in hop.remedy and agreement.seen == answer.detail


@pytest.mark.parametrize(
    ("reason", "stage", "words"),
    [
        (Reason.IDENTITY, Stage.IDENTITY, "[device] name"),
        (Reason.PROTOCOL_VERSION, Stage.VERSION, "same version"),
        (Reason.BUSY, Stage.TURNED_AWAY, "look at the target's log"),
    ],
)
def test_a_refused_first_question(reason: Reason, stage: Stage, words: str) -> None:
    """What a node refuses us for is told as such: the name, the version, or whatever else it says."""
    failure = refusal_of(DIRECT, Refused(reason=reason, detail="16 requests already"))
    assert failure.stage is stage and "16 requests already" in failure.text
    (only,) = judge_hop(Found(hop=DIRECT, secured=True, failure=failure), config=CONFIG)
    assert (only.status, only.subject) == (Status.FAIL, "device -> target") and words in only.remedy
    *_, behind = judge_hop(Found(hop=THROUGH, secured=True, failure=failure), config=CONFIG)
    assert (behind.status, behind.subject) == (Status.FAIL, THROUGH.name)


@pytest.mark.parametrize(
    ("ahead_s", "word"), [(3600.4, "3600 s, it is ahead"), (-86400.0, "86400 s, it is behind")]
)
def test_a_clock_that_is_off_is_no_failure(ahead_s: float, word: str) -> None:
    """It is told, with its effect, and nothing fails because of it."""
    checks = judge_hop(Found(hop=DIRECT, secured=False, measured=_measured(ahead_s)), config=CONFIG)
    assert checks[1].status is Status.WARN and word in checks[1].seen and "line up" in checks[1].seen
    assert healthy(checks)


# Ports ------------------------------------------------------------------------------------------------------


def _port(text: str, role: Role) -> Port:
    return ports_of(parse_topology(text), [role])[0]


def test_ports_are_those_bound() -> None:
    """`bind` goes before `address`; a channel is asked at its control, which no message passes through."""
    text = (
        SECURED + "bind = 'tcp://*:5799'\n[channel]\naddress = 'tcp://10.0.0.8:5700'\nbind = 'tcp://*:5700'\n"
    )
    target = _port(text, Role.TARGET)
    assert (target.place, target.bind, target.ask) == (
        "[target] bind",
        "tcp://*:5799",
        "tcp://127.0.0.1:5799",
    )
    channel, control = ports_of(parse_topology(text), [Role.CHANNEL])
    assert (channel.bind, channel.ask) == ("tcp://*:5700", control.bind)
    assert not ports_of(parse_topology(text), [Role.DEVICE])


@pytest.fixture
def listening() -> Iterator[int]:
    """A port that this process listens at, and that is none of ours."""
    with closing(socket.create_server(("127.0.0.1", 0))) as one:
        yield one.getsockname()[1]


def test_a_held_port(listening: int) -> None:
    """It is seen as held, by whom if that can be told, and what is to be done names the place."""
    port = _port(f"[target]\naddress = 'tcp://127.0.0.1:{listening}'\n", Role.TARGET)
    found = try_to_bind(port.bind)
    assert found.binding is Binding.HELD
    check = judge_port(port, found, process=holder_of(port.bind))
    assert check.status is Status.FAIL and "[target] address" in check.remedy
    assert sys.platform != "linux" or f"another program: process {os.getpid()} " in check.seen
    assert f"ss -ltnp 'sport = :{listening}'" in judge_port(port, found).remedy
    assert judge_port(port, found, holder=Holder.NODE).status is Status.OK
    why = f"{port.ask}: it does not use keys, and we do; mend one of the files"
    locked = judge_port(port, found, holder=Holder.LOCKED, why=why)
    assert locked.status is Status.FAIL and locked.seen.endswith(": it does not use keys, and we do")
    assert (
        locked.remedy.startswith("mend one of the files; ")
        and "or it is a node of `draftwire up`" in locked.remedy
    )


def test_a_free_port_stays_free(listening: int, tmp_path: Path) -> None:
    """The trial leaves nothing behind: it can be made again, and the address be bound afterwards."""
    with closing(socket.create_server(("127.0.0.1", 0))) as one:
        port = one.getsockname()[1]
    for address in (
        f"tcp://127.0.0.1:{port}",
        f"tcp://localhost:{port}",
        f"tcp://*:{port}",
        f"tcp://lo:{port}",
    ):
        assert try_to_bind(address).binding is Binding.FREE, address
    socket.create_server(("127.0.0.1", port)).close()
    assert try_to_bind(f"ipc://{tmp_path}/target").binding is Binding.FREE
    assert not list(tmp_path.iterdir())


def test_addresses_that_cannot_be_bound(tmp_path: Path) -> None:
    """An address of another machine, a name nobody knows and a folder that is not there each say so."""
    foreign = try_to_bind("tcp://192.0.2.1:5701")
    assert foreign.binding is Binding.IMPOSSIBLE and 'bind = "tcp://*:5701"' in foreign.remedy
    assert "nowhere.invalid" in try_to_bind("tcp://nowhere.invalid:5701").problem
    assert str(tmp_path / "no") in try_to_bind(f"ipc://{tmp_path}/no/target").problem


def test_addresses_of_ipv6() -> None:
    """They are looked up as what they are."""
    if not socket.has_ipv6 or not is_here("tcp://[::1]:5701"):
        pytest.skip("this machine has no IPv6")
    with closing(socket.create_server(("::1", 0), family=socket.AF_INET6)) as one:
        address = f"tcp://[::1]:{one.getsockname()[1]}"
        assert try_to_bind(address).binding is Binding.HELD
        found = asyncio.run(reach.connect_time(address))
    assert isinstance(found, Failure) and found.stage is Stage.STRANGER
    assert try_to_bind(address).binding is Binding.FREE
    assert try_to_bind("tcp://[2001:db8::1]:5701").binding is Binding.IMPOSSIBLE


def test_a_held_path(tmp_path: Path) -> None:
    """Somebody who listens at an ipc path holds it; a file that was left behind does not."""
    path = tmp_path / "target"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
        assert try_to_bind(f"ipc://{path}").binding is Binding.FREE
        one.listen()
        assert try_to_bind(f"ipc://{path}").binding is Binding.HELD


def test_a_host_that_drops_what_is_sent_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer to a connection at all is told from a refusal: a firewall, not a node that does not run."""
    monkeypatch.setattr(reach, "CONNECT_S", 0.2)
    with ExitStack() as stack:
        full = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0), backlog=0)))
        for _ in range(3):  # nobody accepts them, so the next one is not answered
            one = stack.enter_context(closing(socket.socket()))
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        address = f"tcp://127.0.0.1:{full.getsockname()[1]}"
        dropped = asyncio.run(reach.connect_time(address))
    assert isinstance(dropped, Failure) and dropped.stage is Stage.UNANSWERED
    refused = asyncio.run(reach.connect_time(address))
    assert isinstance(refused, Failure) and refused.stage is Stage.REFUSED
    unknown = asyncio.run(reach.connect_time("tcp://nowhere.invalid:5701"))
    assert isinstance(unknown, Failure) and unknown.stage is Stage.NAME and "nowhere.invalid" in unknown.text


# Machines ---------------------------------------------------------------------------------------------------

BS, ROUTER, CHANNEL = "tcp://192.0.2.20:5701", "tcp://198.51.100.7:5701", "tcp://192.0.2.30:5700"
PLAIN = "[security]\nplain = true\n"
TWO = f"{PLAIN}[target]\naddress = '{BS}'\n"
THREE = f"{TWO}[channel]\naddress = '{CHANNEL}'\n"
LOCAL_CHANNEL = f"{TWO}[channel]\naddress = 'tcp://127.0.0.1:5700'\n"
BEHIND_NAT = f"{PLAIN}[target]\naddress = '{ROUTER}'\nbind = 'tcp://192.168.1.20:5701'\n"
ANYWHERE = f"{PLAIN}[target]\naddress = '{ROUTER}'\nbind = 'tcp://*:5701'\n"


@pytest.mark.parametrize(
    ("text", "here", "roles"),
    [
        (TWO, BS, "target controller"),
        (TWO, "", "device"),
        (THREE, BS, "target controller"),
        (THREE, CHANNEL, "channel"),
        (THREE, "", "device"),
        (LOCAL_CHANNEL, "", "device channel"),
        (LOCAL_CHANNEL, BS, "target controller"),
        (f"{TWO}[controller]\naddress = 'tcp://192.0.2.40:5702'\n", BS, "target"),
        (BEHIND_NAT, "tcp://192.168.1.20:5701", "target controller"),
        (BEHIND_NAT, "", "device"),
        (ANYWHERE, ROUTER, "target controller"),
        ("", "", "device channel target controller"),
    ],
)
def test_whose_addresses_are_here(text: str, here: str, roles: str) -> None:
    """Without keys a node runs where its address is; what only its own host reaches, beside its client."""
    found = roles_by_address(parse_topology(text), lambda address: address == here)
    assert {role.value for role in found} == set(roles.split())


@pytest.mark.parametrize("found", [False, None])
def test_whose_addresses_do_not_tell(found: bool | None) -> None:
    """Neither a host that nobody knows nor all interfaces behind a router tells anything: it has to be said."""
    text = ANYWHERE if found is False else TWO
    with pytest.raises(ConfigurationError, match="without keys") as caught:
        roles_by_address(parse_topology(text), lambda address: found)
    assert caught.value.key == "--role" and "--role device" in caught.value.remedy


def test_what_is_here() -> None:
    """Loopback is, an address kept for documentation is not, and of a name that nobody knows none can tell."""
    assert is_here("tcp://127.0.0.1:5701") is True
    assert is_here("tcp://192.0.2.1:5701") is False
    assert is_here("tcp://nowhere.invalid:5701") is None


# Keys -------------------------------------------------------------------------------------------------------


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


# The machine ------------------------------------------------------------------------------------------------


def _versions(installed: dict[str, str], *, python: str = "3.11.2", has_curve: bool = True) -> list[Check]:
    return judge_versions(
        ["pyzmq>=26", "torch>=2.4", "transformers<6,>=4.57", "mypy>=1; extra == 'dev'"],
        installed=installed.get,
        python=python,
        wanted_python=">=3.11",
        libzmq="4.3.5",
        has_curve=has_curve,
    )


GOOD = {"pyzmq": "27.1", "torch": "2.13.0+cpu", "transformers": "4.57.1"}


def test_versions() -> None:
    """What is new enough is one line; what is too old, too new or absent fails with its pip command."""
    (fine,) = _versions(GOOD)
    assert fine.status is Status.OK and f"protocol {PROTOCOL_VERSION}" in fine.seen and "CURVE" in fine.seen
    (old,) = _versions(GOOD | {"torch": "2.3.1"})
    assert (old.subject, old.remedy) == ("torch", "pip install 'torch>=2.4'") and "2.3.1" in old.seen
    (new,) = _versions(GOOD | {"transformers": "6.0"})
    assert (new.status, new.subject) == (Status.FAIL, "transformers")
    (absent,) = _versions({name: GOOD[name] for name in ("torch", "transformers")})
    assert absent.subject == "pyzmq" and "not installed" in absent.seen
    assert "CURVE" in _versions(GOOD, has_curve=False)[0].seen
    assert "3.10.1" in _versions(GOOD, python="3.10.1")[0].seen


@pytest.mark.parametrize(
    ("available", "status"),
    [
        (8_000_000_000, Status.OK),
        (1_800_000_000, Status.WARN),
        (900_000_000, Status.FAIL),
        (None, Status.SKIP),
    ],
)
def test_memory(available: int | None, status: Status) -> None:
    """A gigabyte and a quarter of weights against what is free."""
    check = judge_memory({"draft": 50_000_000, "target": 1_200_000_000}, available)
    assert check.status is status
    assert status is Status.SKIP or "1.2 GB" in check.seen
    assert bool(check.remedy) == (status in (Status.WARN, Status.FAIL))


def test_memory_of_what_is_not_known() -> None:
    """Nothing to load, or nothing known of its size, is not looked at."""
    assert judge_memory({}, 10).status is Status.SKIP
    assert judge_memory({"target": None}, 10).status is Status.SKIP


# Models -----------------------------------------------------------------------------------------------------


def test_the_shipped_pair() -> None:
    """Both tokenizers load and agree, and the weights' sizes are known without loading them."""
    found = {"draft": look_at_model(ModelSettings(), "draft")}
    assert found["draft"].weights_bytes and 15e6 < found["draft"].weights_bytes < 25e6
    twice = look_at_model(ModelSettings(dtype="float32"), "draft").weights_bytes
    assert twice is not None and twice > found["draft"].weights_bytes
    hello = found["draft"].hello()
    assert hello is not None and hello.protocol_version == PROTOCOL_VERSION and hello.vocab_size == 49152


def test_pairs_that_do_not_fit() -> None:
    """Two vocabularies are told with both values."""
    draft, target = (
        EndFound(model="a", vocab_size=64, fingerprint=b"one"),
        EndFound(model="b", vocab_size=65, fingerprint=b"two"),
    )
    *_, both = judge_models({"draft": draft, "target": target})
    assert both.status is Status.FAIL
    for word in ("64", "65", b"one".hex(), b"two".hex()):
        assert word in both.seen
    assert healthy(judge_models({"draft": draft, "target": replace(draft, model="b")}))


def test_models_that_are_not_there(tmp_path: Path) -> None:
    """No such folder, no tokenizer in it, no weights in it: each fails with what was looked for."""
    nowhere = look_at_model(ModelSettings(model=str(tmp_path / "no")), "draft")
    (tmp_path / "tokenizer.json").write_text("{}")
    for found in (nowhere, look_at_model(ModelSettings(model=str(tmp_path)), "draft")):
        (check,) = judge_models({"draft": found})
        assert check.status is Status.FAIL and str(tmp_path) in check.seen and "[pair] draft" in check.remedy


def test_weights_that_have_to_come(tmp_path: Path) -> None:
    """Weights that a first start fetches are a warning."""
    found = EndFound(model="o/m", vocab_size=64, fingerprint=b"one", absent="the first start downloads them")
    (check,) = judge_models({"target": found})
    assert check.status is Status.WARN and check.remedy == found.absent


@pytest.mark.parametrize(
    ("name", "file"), [("o/m", "model.safetensors"), ("o/m/m.gguf", "m.gguf"), ("o/m/other.gguf", "")]
)
def test_weights_of_the_hub(name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier start has left in the hub's cache is here, a GGUF file too; another file is not."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(pair, "load_tokenizer", lambda *_, **__: SyntheticTokenizer(64))
    kept = tmp_path / "models--o--m"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    copy = kept / "snapshots" / ("0" * 40)
    copy.mkdir(parents=True)
    header = b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'
    (copy / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    (copy / "m.gguf").write_bytes(bytes(1000))
    found = look_at_model(ModelSettings(model=name), "target")
    assert found.weights_bytes == {"model.safetensors": 8, "m.gguf": 1000, "": None}[file]
    assert found.absent == ("" if file else "the first start downloads them")


# What is shown ----------------------------------------------------------------------------------------------


def test_configuration_names_what_is_opened_and_connected_to() -> None:
    """A line for each node of this machine."""
    device, channel, target, controller = describe(Topology.default(), tuple(Role))
    assert "opens no port" in device.seen and "connects to tcp://127.0.0.1:5700" in device.seen
    assert "tcp://127.0.0.1:5703" in channel.seen and "connects to tcp://127.0.0.1:5701" in channel.seen
    assert "opens tcp://127.0.0.1:5701" in target.seen and "connects to nothing" in controller.seen


def test_lines_and_json() -> None:
    """A line has its mark, what was seen of what, the remedy below; JSON has all of it, and the hops."""
    check = Check(name="hop", subject="a -> b", status=Status.FAIL, seen="seen", remedy="do")
    assert line(check, coloured=False) == "FAIL  hop a -> b: seen\n      > do"
    assert line(check, coloured=True).startswith("\x1b[31;1mFAIL\x1b[0m")
    found = Found(hop=THROUGH, secured=True, connected_s=1e-3, measured=_measured())
    report = json.loads(json.dumps(as_json(Report(checks=[check], hops=[found]))))
    assert report["ok"] is False and report["checks"][0]["remedy"] == "do"
    (hop,) = report["hops"]
    assert (hop["from"], hop["through"], hop["to"]) == ("device", "channel", "target")
    assert hop["rtt_s"] == 0.041 and hop["downlink"] == {"bps": 80e6, "at_least": True}


def test_what_the_command_takes() -> None:
    """A role that is none is refused by the command line itself."""
    args = parser().parse_args(["doctor", "--role", "target", "--role", "device", "--json"])
    assert args.role == ["target", "device"] and args.json
    with pytest.raises(SystemExit):
        parser().parse_args(["doctor", "--role", "radio"])


@pytest.mark.parametrize(
    ("text", "options", "word"),
    [
        ("[target]\nadress = 'x'", [], "adress"),
        (SECURED, ["--role", "channel"], "no channel"),
        ("", ["--name", ""], "--name"),
        (ANYWHERE, [], "--role"),
    ],
)
def test_a_configuration_that_will_not_do(
    text: str, options: list[str], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is the one check that fails, with exit code 1, also for a program."""
    path = tmp_path / "t.toml"
    path.write_text(text)
    args = parser().parse_args(["doctor", "--config", str(path), *options, "--json"])
    assert args.run(args) == 1
    report = json.loads(capsys.readouterr().out)
    (check,) = report["checks"]
    assert not report["ok"] and check["name"] == "configuration" and word in check["seen"]
