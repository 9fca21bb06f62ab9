"""Four machines, each with its own network, folder, keys and clock: the text is still the definition's.

The machines are network namespaces (scripts/netns.sh) on one bridge. No two clocks agree: both clocks of each
node, the one that measures intervals and the one on the wall, are up to an hour off those of the others.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from shutil import copy, copytree
from tempfile import TemporaryDirectory
from typing import Any, Final

import orjson
import pytest
from tests.harness.cell import greedy
from tests.harness.namespaces import (
    MODULE_ENVIRONMENT,
    NODES,
    Namespaces,
    Running,
    module,
    namespaces,
    why_not,
)
from tests.harness.processes import PAIR, wait_until
from tests.harness.reference import reference_text

from draftwire.codecs.messages import Sampling
from draftwire.nodes.console.cli import main as draftwire
from draftwire.nodes.models.catalogue import LoadOptions, load_draft, load_target
from draftwire.nodes.models.synthetic import SyntheticTokenizer
from draftwire.nodes.speculation.noise import PhiloxNoise
from draftwire.runtime.session.request import Request

OFFSETS_S: Final = {"device": 0, "channel": 3600, "bs": -3600, "controller": 1234}
KEYS: Final = {"device": "phone-1", "channel": "channel", "bs": "target", "controller": "controller"}
"""The name of each machine's key."""

KNOWS: Final = {
    "device": ("channel", "bs"),
    "channel": ("device", "bs"),
    "bs": ("device", "channel", "controller"),
    "controller": ("bs",),
}
"""Whose public key each machine allows."""

PORTS: Final = {"device": set(), "channel": {5700, 5703}, "bs": {5701}, "controller": {5702}}
"""What the documentation says is open."""

VOCAB_SIZE, K, GAMMA, SEED = 64, 8, 4, 20261125
PROMPT = "hello there"


@pytest.fixture(scope="module")
def machines() -> Iterator[Namespaces]:
    """Namespaces for the tests of this file, up and mended."""
    if why_not():
        pytest.skip(why_not())
    with namespaces() as made:
        yield made


@pytest.fixture(scope="module")
def keys() -> Iterator[Path]:
    """A folder for each machine with its own keys and those it allows, made as the documentation says."""
    with TemporaryDirectory(prefix="dw-") as name:
        folders = {node: Path(name, node) for node in NODES}
        for folder in folders.values():
            folder.mkdir()
        for node, key in KEYS.items():
            _keys("new", key, folder=folders[node])
        for node, others in KNOWS.items():
            for other in others:
                public = copy(folders[other] / "keys" / f"{KEYS[other]}.key", folders[node])
                _keys("allow", str(public), folder=folders[node])
        yield Path(name)


def _keys(*arguments: str, folder: Path) -> None:
    """`draftwire keys` in a machine's folder."""
    assert draftwire(["keys", *arguments, "--folder", str(folder / "keys")]) == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One system on the four machines."""

    net: Namespaces
    folder: Path
    channel: str | None
    "what the channel's link is; None: no channel"

    @property
    def servers(self) -> tuple[str, ...]:
        """The machines with a node that others connect to."""
        return ("bs", "controller") if self.channel is None else ("bs", "controller", "channel")

    def write(self, *, temperature: float = 0, tokens: int = 16, paced: bool = False) -> None:
        """The topology file, the same for all machines, in each one's folder."""
        at = self.net.address
        text = (
            f"[pair]\ndraft = '{PAIR}'\ntarget = '{PAIR}'\n"
            f"[target]\naddress = 'tcp://{at('bs')}:5701'\n"
            f"[controller]\naddress = 'tcp://{at('controller')}:5702'\nk = {K}\ngamma = {GAMMA}\n"
            f"[device]\nname = '{KEYS['device']}'\n"
            f"[sampling]\ntemperature = {temperature}\nseed = {SEED}\nmax_new_tokens = {tokens}\n"
        )
        if paced:
            text += "[compute]\nprofile = 'paper'\n"
        if self.channel is None:
            text = text.replace("[target]\n", "[target]\nbind = 'tcp://0.0.0.0:5701'\n")
        else:
            text += f"[channel]\naddress = 'tcp://{at('channel')}:5700'\n"
            text += f"uplink = '{self.channel}'\ndownlink = '{self.channel}'\n"
        for node in NODES:
            (self.folder / node / "topology.toml").write_text(text)

    @contextmanager
    def node(self, node: str, *arguments: str, command: str = "") -> Iterator[Running]:
        """A process on a machine, by its clocks: the machine's node, or another command."""
        name = command or ("target" if node == "bs" else node)
        shifted = module("tests.harness.shifted", str(OFFSETS_S[node]), name, "--config", "topology.toml")
        with self.net.started(
            node, *shifted, *arguments, folder=self.folder / node, name=name, env=MODULE_ENVIRONMENT
        ) as running:
            yield running

    @contextmanager
    def serving(self) -> Iterator[dict[str, Running]]:
        """All but the device, ready."""
        with ExitStack() as stack:
            nodes = {node: stack.enter_context(self.node(node)) for node in self.servers}
            for running in nodes.values():
                running.wait_for("ready ")
            yield nodes

    def answer(self) -> list[str]:
        """What the device says to PROMPT, word by word."""
        with self.node("device", PROMPT) as device:
            return finished(device)


def finished(device: Running) -> list[str]:
    """The words of an answer, when it is complete."""
    assert device.end() == 0, device.log.read_text()
    return device.out.read_text().split()


@contextmanager
def site(machines: Namespaces, keys: Path, *, channel: str | None) -> Iterator[Site]:
    """A system with folders of its own."""
    with TemporaryDirectory(prefix="dw-") as name:
        made = Site(net=machines, folder=Path(name, "site"), channel=channel)
        copytree(keys, made.folder)
        made.write()
        yield made


@cache
def expected(*, temperature: float, tokens: int) -> list[str]:
    """The words of the definition, which are also those of the same system on loopback (test_exact_text)."""
    tokenizer = SyntheticTokenizer(VOCAB_SIZE)
    prompt = tuple(tokenizer.encode_prompt(PROMPT))
    target, draft = load_target(PAIR, LoadOptions()), load_draft(PAIR, LoadOptions())
    if temperature == 0:
        return tokenizer.decode(greedy(target, prompt, tokens)).split()
    text = reference_text(
        Request(
            prompt=prompt,
            sampling=Sampling(temperature=temperature, top_k=0, top_p=1.0),
            seed=SEED,
            max_new_tokens=tokens,
        ),
        draft.open(),
        target.open(),
        k=K,
        gamma=GAMMA,
        vocab_size=VOCAB_SIZE,
        noise=PhiloxNoise(),
    )
    return tokenizer.decode(text).split()


@pytest.mark.parametrize("channel", ["rate 5mbit delay 10ms", None])
def test_answers(machines: Namespaces, keys: Path, channel: str | None) -> None:
    """Both at temperature 0 and above it, the text is the definition's; only documented ports are open."""
    with site(machines, keys, channel=channel) as here, here.serving() as nodes:
        assert here.answer() == expected(temperature=0, tokens=16)
        here.write(temperature=1)
        assert here.answer() == expected(temperature=1, tokens=16)
        for node in NODES:
            ports = PORTS[node] if node in here.servers else set()
            listening = machines.listening(node)
            assert {int(one.rpartition(":")[2]) for one in listening} == ports, node
            assert all(one == "127.0.0.1:5703" for one in listening if one.endswith(":5703"))
        for node, running in nodes.items():
            (*_, event) = _events(running)
            ahead = datetime.fromisoformat(event["timestamp"]) - datetime.now(UTC)
            assert abs(ahead.total_seconds() - OFFSETS_S[node]) < 300, node
        if channel is not None:
            link_s = max(event["at_s"] for event in _events(nodes["channel"]) if event["event"] == "link")
            step_s = max(event["ended_at_s"] for event in _events(nodes["bs"]) if event["event"] == "step")
            assert abs(link_s - step_s - (OFFSETS_S["channel"] - OFFSETS_S["bs"])) < 300


def _events(running: Running) -> list[dict[str, Any]]:
    """What a node has logged."""
    return [orjson.loads(line) for line in running.log.read_text().splitlines()]


def test_namespaces_leave_nothing(machines: Namespaces, tmp_path: Path) -> None:
    """They go however the block ends, with what runs there, and the host has the interfaces that it had."""
    before = set(Path("/sys/class/net").iterdir())
    with pytest.raises(ZeroDivisionError), namespaces() as made:
        assert made.prefix != machines.prefix
        with made.started("bs", "sleep", "600", folder=tmp_path, name="sleep") as sleeping:
            1 / 0  # noqa: B018
    assert sleeping.process.poll() is not None
    assert not [path for path in Path("/run/netns").iterdir() if path.name.startswith(f"{made.prefix}-")]
    assert set(Path("/sys/class/net").iterdir()) == before


def test_up_twice_is_refused() -> None:
    """A second network of the same name is not made, and the first one and what runs in it stay."""
    if why_not():
        pytest.skip(why_not())
    with namespaces() as made, TemporaryDirectory(prefix="dw-") as name:
        with made.started("bs", "sleep", "600", folder=Path(name), name="sleep") as sleeping:
            with pytest.raises(subprocess.CalledProcessError) as refused:
                made.up()
            assert f"there is a namespace {made.prefix}-device already" in refused.value.stderr
            assert f"{made.prefix}-hub" in {path.name for path in Path("/run/netns").iterdir()}
            assert made.address("bs") in made.run("bs", "ip", "address")
            made.run("device", "ip", "route", "get", made.address("bs"))
            assert sleeping.process.poll() is None


LONG: Final = 300
"""Tokens of an answer that takes some seconds, paced to the paper's hardware."""

CUT_S, MUTED_S = 4.0, 30.0
"""Of an outage. After MUTED_S without a word TCP's own next try is 20 s off."""

BACK_WITHIN_S: Final = 15.0
"""From when the network works again to the next token: longer than any pause of a node, less than TCP alone
would take. It is asserted in seconds that pass, though a busy machine adds to them: what is required of an
outage is a time, and it is this one."""


@contextmanager
def without(machines: Namespaces, how: str, node: str) -> Iterator[None]:
    """The machine's cable pulled out (`cut`) or losing everything (`mute`), in the block."""
    (machines.cut if how == "cut" else machines.mute)(node)
    try:
        yield
    finally:
        machines.mend(node)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("channel", "how", "node", "for_s"),
    [
        ("rate 5mbit delay 10ms", "cut", "device", CUT_S),
        (None, "cut", "device", CUT_S),
        ("rate 5mbit delay 10ms", "mute", "device", MUTED_S),
        (None, "mute", "device", MUTED_S),
        ("rate 5mbit delay 10ms", "mute", "bs", MUTED_S),
    ],
)
def test_goes_on_after_an_outage(
    machines: Namespaces, keys: Path, channel: str | None, how: str, node: str, for_s: float
) -> None:
    """An answer that loses its network goes on seconds after it is back, and its text is the same."""
    with site(machines, keys, channel=channel) as here:
        here.write(temperature=1, tokens=LONG, paced=True)
        with here.serving(), here.node("device", PROMPT) as device:
            wait_until(lambda: len(device.out.read_text().split()) > LONG // 10, "the answer has begun")
            with without(machines, how, node):
                time.sleep(for_s)  # so long is the outage
                held = len(device.out.read_text().split())
                assert device.process.poll() is None, device.log.read_text()
                assert held < LONG - 100, "the answer was over before the outage"
            mended_s = time.monotonic()
            wait_until(lambda: len(device.out.read_text().split()) > held, "the answer goes on")
            after_s = time.monotonic() - mended_s
            print(f"{how} {node}: it goes on after {after_s:.1f} s")
            assert after_s < BACK_WITHIN_S
            assert finished(device) == expected(temperature=1, tokens=LONG)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "node"), [("cut", "device"), ("mute", "device"), ("mute", "bs")])
def test_an_outage_that_lasts(machines: Namespaces, keys: Path, how: str, node: str) -> None:
    """A cut link and a half-open connection are told while the answer waits, and end it with that message."""
    with site(machines, keys, channel=None) as here:
        here.write(temperature=1, tokens=LONG, paced=True)
        file = here.folder / "device" / "topology.toml"
        file.write_text(file.read_text().replace("[device]\n", "[device]\nabsent_s = 20\n"))
        with here.serving(), here.node("device", PROMPT) as device:
            wait_until(lambda: len(device.out.read_text().split()) > LONG // 10, "the answer has begun")
            with without(machines, how, node):
                assert device.end() == 3
        words = device.out.read_text().split()
        assert words == expected(temperature=1, tokens=LONG)[: len(words)]
        *_, told, error = device.log.read_text().splitlines()
        assert orjson.loads(told)["event"] == "device.trouble"
        assert orjson.loads(told)["kind"] in ("lost", "unreachable")
        address = f"tcp://{machines.address('bs')}:5701"
        assert error.startswith(f"draftwire: absent: {address}: "), error
        assert error.endswith("(no word from the base station for 20 s)"), error


@pytest.mark.slow
def test_a_device_behind_nat(keys: Path) -> None:
    """A device in a private network gets its answer through a router that hides it; nobody connects to it."""
    if why_not():
        pytest.skip(why_not())
    with namespaces() as machines, site(machines, keys, channel=None) as here:
        try:
            machines.put_behind_nat("device")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no router can be made here: {error.stderr}")
        here.write(temperature=1, tokens=LONG, paced=True)
        with here.serving(), here.node("device", PROMPT) as device:
            wait_until(lambda: len(device.out.read_text().split()) > 0, "the answer has begun")
            assert machines.peers("bs", 5701) == {machines.address("router")}
            assert machines.listening("device") == set()
            assert finished(device) == expected(temperature=1, tokens=LONG)


@pytest.mark.slow
@pytest.mark.parametrize("channel", ["rate 5mbit delay 10ms", None])
def test_nobody_answers_without_a_key(machines: Namespaces, keys: Path, channel: str | None) -> None:
    """A device that speaks without keys gets no word, although the address is open to it."""
    with site(machines, keys, channel=channel) as here, here.serving():
        file = here.folder / "device" / "topology.toml"
        file.write_text(file.read_text() + "[security]\nplain = true\n")
        with here.node("device", PROMPT) as device:
            assert device.end() == 3
            assert device.out.read_text() == ""
            assert "Traceback" not in device.log.read_text()
        here.write()
        assert here.answer() == expected(temperature=0, tokens=16)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("channel", "whole", "broken"),
    [
        ("rate 5mbit delay 10ms", "device -> channel -> target", "channel -> target"),
        (None, "device -> target", "device -> target"),
    ],
)
def test_the_doctor(machines: Namespaces, keys: Path, channel: str | None, whole: str, broken: str) -> None:
    """On the device's machine it finds all in order but the clocks, and names the hop that breaks."""
    with site(machines, keys, channel=channel) as here, here.serving():
        checks = _doctor(here, code=0)
        assert checks["hop", whole] == "ok"
        assert checks["clock", "target"] == "warn"
        with without(machines, "cut", "bs"):
            checks = _doctor(here, code=1)
            assert [subject for (name, subject), said in checks.items() if said == "fail"] == [broken]
        assert _doctor(here, code=0)["hop", whole] == "ok"


def _doctor(here: Site, *, code: int) -> dict[tuple[str, str], str]:
    """What it finds: name and subject of each check, and how it stands."""
    with here.node("device", "--json", command="doctor") as doctor:
        assert doctor.end() == code, doctor.out.read_text() + doctor.log.read_text()
        checks = orjson.loads(doctor.out.read_text())["checks"]
    return {(check["name"], check["subject"]): check["status"] for check in checks}


@pytest.mark.slow
def test_a_device_that_moves(keys: Path) -> None:
    """An answer goes on when its device gets another address, and the BS hears it from there."""
    if why_not():
        pytest.skip(why_not())
    with namespaces() as machines, site(machines, keys, channel=None) as here:
        here.write(temperature=1, tokens=LONG, paced=True)
        with here.serving(), here.node("device", PROMPT) as device:
            wait_until(lambda: len(device.out.read_text().split()) > 0, "the answer has begun")
            for verb, address in (("delete", machines.address("device")), ("add", "10.77.0.77")):
                machines.run("device", "ip", "address", verb, f"{address}/24", "dev", "eth0")
            wait_until(lambda: "10.77.0.77" in machines.peers("bs", 5701), "the BS hears the new address")
            assert device.process.poll() is None, device.log.read_text()
            assert finished(device) == expected(temperature=1, tokens=LONG)
