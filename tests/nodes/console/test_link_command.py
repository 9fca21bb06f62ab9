"""`draftwire link` against a channel in a process of its own, and its mistakes."""

import asyncio
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import structlog
from tests.harness.processes import WITHIN_S, started

from draftwire.nodes.channel.control import LinkOrders, NoChannelError, order_link
from draftwire.nodes.channel.deliveries import Deliveries
from draftwire.nodes.channel.links import Links
from draftwire.nodes.channel.playing import Programme
from draftwire.nodes.console.cli import main, parser
from draftwire.nodes.console.generate import chosen_topology
from draftwire.nodes.console.keys import node_keys
from draftwire.nodes.console.launch import on_this_host, with_throw_away_keys
from draftwire.runtime.clock import LoopClock
from draftwire.runtime.config import Topology
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import parse_link
from draftwire.runtime.link.schedule import parse_schedule
from draftwire.runtime.security import Role, Service
from draftwire.runtime.transport import ZmqTransport

UPLINK = "rate 20mbit delay 2ms; 5s rate 1mbit; repeat 15s"
DOWNLINK = "rate 5mbit delay 2ms; 5s rate 1mbit; repeat 15s"


@dataclass
class Channel:
    """A channel that runs."""

    process: subprocess.Popen[bytes]
    config: str
    control: str
    record: Path


@pytest.fixture
def channel() -> Iterator[Channel]:
    """A channel with a schedule, and a record."""
    with TemporaryDirectory(prefix="dw-") as name:
        folder = Path(name)
        config, record = folder / "link.toml", folder / "record.jsonl"
        config.write_text(
            f"""
            [target]
            address = "ipc://{folder}/target"
            [channel]
            address = "ipc://{folder}/channel"
            control = "ipc://{folder}/control"
            uplink = "rate 20mbit delay 2ms"
            downlink = "rate 5mbit delay 2ms"
            schedule = "5s rate 1mbit; repeat 15s"
            [channel.devices.edge]
            uplink = "rate 100kbit"
            """
        )
        with started(
            "channel", "--config", str(config), "--record", str(record), temporary=folder
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"ready channel")
            yield Channel(process, str(config), f"ipc://{folder}/control", record)


def _ok(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command says that succeeds."""
    assert main(["link", *words]) == 0
    said = capfd.readouterr()
    assert said.err == ""
    return said.out


def test_show_and_set(channel: Channel, capfd: pytest.CaptureFixture[str]) -> None:
    """What is set is answered and shown, one direction or both, as text and as JSON, and recorded."""
    config = ("--config", channel.config)
    said = _ok(capfd, "set", "rate 1mbit delay 40ms", "--uplink-only", *config)
    assert said.startswith(f"uplink    rate 1mbit delay 40ms\ndownlink  {DOWNLINK}\n")
    said = _ok(capfd, "set", "rate 0", "--downlink-only", "--address", channel.control, "--json")
    assert json.loads(said) == {"uplink": "rate 1mbit delay 40ms", "downlink": "rate 0", "devices": {}}
    assert json.loads(_ok(capfd, "set", "delay 0s;  3600s  RATE 2000kbit", "--json", *config)) == {
        "uplink": "delay 0; 3600s rate 2mbit",
        "downlink": "delay 0; 3600s rate 2mbit",
        "devices": {},
    }
    assert _ok(capfd, "set", "delay", "0", *config) == "uplink    delay 0\ndownlink  delay 0\n"

    events = [json.loads(line) for line in channel.record.read_text().splitlines()]
    assert {event["event"] for event in events} == {"link"}
    common = [event for event in events if event["device"] is None]
    assert [(event["direction"], event["link"], event["rate_bps"], event["delay_s"]) for event in common] == [
        ("uplink", "rate 20mbit delay 2ms", 20e6, 0.002),
        ("downlink", "rate 5mbit delay 2ms", 5e6, 0.002),
        ("uplink", "rate 1mbit delay 40ms", 1e6, 0.04),
        ("downlink", "rate 0", 0.0, 0.0),
        *[("uplink", "", None, 0.0), ("downlink", "", None, 0.0)] * 2,
    ]
    assert {"jitter_s", "at_s", "node"} <= events[0].keys()


def test_show_and_set_for_one_device(channel: Channel, capfd: pytest.CaptureFixture[str]) -> None:
    """--device: its links alone, by its name or its key's; without it, all, and the devices that differ."""
    config = ("--config", channel.config)
    own = f"uplink    rate 100kbit; 5s rate 1mbit; repeat 15s\ndownlink  {DOWNLINK}\n"
    everyone = f"uplink    {UPLINK}\ndownlink  {DOWNLINK}\n"
    assert _ok(capfd, "show", "--device", "edge", *config) == own
    indented = "".join(f"  {line}\n" for line in own.splitlines())
    assert _ok(capfd, "show", *config) == f"{everyone}edge\n{indented}"

    said = _ok(capfd, "set", "loss 100%", "--downlink-only", "--device", "edge", "--json", *config)
    assert json.loads(said) == {
        "uplink": "rate 100kbit; 5s rate 1mbit; repeat 15s",
        "downlink": "loss 100%",
        "devices": {},
    }
    assert json.loads(_ok(capfd, "show", "--json", *config))["devices"] == {
        "edge": {"uplink": "rate 100kbit; 5s rate 1mbit; repeat 15s", "downlink": "loss 100%"}
    }
    assert main(["link", "set", "rate 1mbit", "--device", "nobody", *config]) == 3
    assert "device 'nobody' is not connected, and has no link of its own; there are edge" in (
        capfd.readouterr().err
    )
    assert main(["link", "set", "trace /etc/passwd", *config]) == 2
    assert "WORDS: '/etc/passwd' is no trace that ships" in capfd.readouterr().err
    assert "edge" not in _ok(capfd, "set", "rate 1mbit", *config)
    # The file names it: it is taken, though an order for all took its link.
    assert "rate 2mbit" in _ok(capfd, "set", "rate", "2mbit", "--device", "edge", *config)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "--device", "../x"], '--device: "../x" will not do; write up to 128 letters'),
        (["set", "rate 5mbot"], "WORDS: 'mbot' in '5mbot' is no unit of it; did you mean 'mbit'?"),
        (["set", "rate 5mbit; 6s"], "WORDS: piece 2 ('6s'): the piece says no change; write for instance"),
        (["set", "6s rate 5mbit"], "WORDS: nothing says what the link is before; begin with it:"),
        (["show", "--address", "5703"], '--address: "5703": not an address; write tcp://HOST:PORT'),
        (["show", "--config", "configs/two-machines.toml"], "channel: this topology has no channel; add"),
        (["show", "--config", "no.toml"], "no.toml: No such file or directory; give a TOML file"),
    ],
)
def test_mistakes(capfd: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    """A mistake is one line that names what was typed, and exit code 2; no channel need run to hear it."""
    assert main(["link", *words]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("draftwire: ") and message in line


@pytest.mark.parametrize(
    "words", [["set"], ["set", "rate 0", "--uplink-only", "--downlink-only"], [], ["show", "rate 0"]]
)
def test_mistakes_of_usage(capfd: pytest.CaptureFixture[str], words: list[str]) -> None:
    """Options that exclude each other, missing and surplus words: one line that points to --help."""
    with pytest.raises(SystemExit) as ended:
        main(["link", *words])
    assert ended.value.code == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("draftwire: ") and "--help" in line


def test_no_channel_there(capfd: pytest.CaptureFixture[str]) -> None:
    """Nobody at the address: exit code 3, the address, and what to start."""
    with closing(socket.create_server(("127.0.0.1", 0))) as once:
        port = once.getsockname()[1]
    assert main(["link", "show", "--address", f"tcp://127.0.0.1:{port}"]) == 3
    (line,) = capfd.readouterr().err.splitlines()
    assert f"tcp://127.0.0.1:{port}: no channel answered within 2 s; start one with" in line


def test_the_actions_options_are_explained() -> None:
    """Each option of `set` and `show` has a sentence, and `set` has examples."""
    (commands,) = [action for action in parser()._actions if isinstance(action.choices, dict)]
    assert isinstance(commands.choices, dict)
    (actions,) = [action for action in commands.choices["link"]._actions if isinstance(action.choices, dict)]
    assert isinstance(actions.choices, dict) and set(actions.choices) == {"plot", "set", "show"}
    for name, action in actions.choices.items():
        assert all(option.help for option in action._actions), name
    assert "examples:" in actions.choices["set"].format_help()


def _chosen(*words: str) -> Any:
    return chosen_topology(parser().parse_args(["generate", "hello", *words]))


def test_generate_takes_a_schedule(tmp_path: Path) -> None:
    """--schedule changes the link said or configured; --link alone overrides the schedule of a file too."""
    channel: Any = _chosen("--link", "rate 9mbit delay 2ms", "--schedule", "5s rate 1mbit; repeat 8s").channel
    assert str(channel.uplink_schedule) == "rate 9mbit delay 2ms; 5s rate 1mbit; repeat 8s"
    assert channel.downlink_schedule == channel.uplink_schedule
    config = tmp_path / "x.toml"
    config.write_text('[channel]\nuplink = "rate 2mbit"\nschedule = "5s rate 1mbit"')
    channel = _chosen("--config", str(config), "--schedule", "7s rate 3mbit").channel
    assert str(channel.uplink_schedule) == "rate 2mbit; 7s rate 3mbit"
    channel = _chosen("--config", str(config), "--link", "rate 9mbit").channel
    assert str(channel.uplink_schedule) == "rate 9mbit"
    config.write_text(
        """
        [channel]
        schedule = "5s rate 1mbit"
        [channel.devices.device-1]
        uplink = "rate 3mbit"
        schedule = "5s rate 4mbit"
        """
    )
    assert str(_chosen("--config", str(config)).channel.for_device("device-1").uplink_schedule) == (
        "rate 3mbit; 5s rate 4mbit"
    )
    channel = _chosen("--config", str(config), "--schedule", "7s rate 9mbit").channel
    assert str(channel.for_device("device-1").uplink_schedule) == "rate 3mbit; 7s rate 9mbit"
    channel = _chosen("--config", str(config), "--link", "rate 9mbit").channel
    assert str(channel.for_device("device-1").uplink_schedule) == "rate 9mbit"
    with pytest.raises(ConfigurationError, match=r"--schedule: piece 2 \('6s rate fst'\): 'fst' is"):
        _chosen("--schedule", "5s rate 1mbit; 6s rate fst")


@pytest.mark.parametrize(
    ("role", "obeyed"),
    [(Role.CHANNEL, True), (Role.CONTROLLER, True), (Role.DEVICE, False), (Role.TARGET, False)],
)
def test_whose_keys_may_order_a_channel(tmp_path: Path, role: Role, obeyed: bool) -> None:
    """Where the control address uses keys: the channel's and the controller's; no device's, no target's."""
    here = with_throw_away_keys(Topology.default(), tmp_path)

    async def ordered() -> str:
        async with ZmqTransport(node_keys(here, Role.CHANNEL)) as bound:
            endpoint = await bound.bind(f"ipc://{tmp_path}/links", service=Service.LINKS)
            clock, logger = LoopClock(), structlog.get_logger()
            constant = parse_schedule("rate 2mbit")
            links = Links(
                Programme(uplink=constant, downlink=constant),
                seed=0,
                most_own=1,
                deliveries=Deliveries(clock),
                clock=clock,
                logger=logger,
            )
            orders = LinkOrders(links=links, wall_s=lambda: 0.0, logger=logger)
            serving = asyncio.create_task(orders.run(endpoint))
            keys = node_keys(here, role)
            assert keys is not None
            async with ZmqTransport(keys) as asking:
                try:
                    state = await order_link(
                        asking,
                        endpoint.address,
                        clock=LoopClock(),
                        timeout_s=10 if obeyed else 0.5,
                        name=f"{keys.own.public.name}/orders",
                    )
                finally:
                    serving.cancel()
            return state.uplink

    if obeyed:
        assert asyncio.run(ordered()) == "rate 2mbit"
    else:
        with pytest.raises(NoChannelError, match="does not allow our key"):
            asyncio.run(ordered())


def test_an_address_of_another_machine_takes_the_files_keys(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--address of another machine needs keys, from beside the file, though all in the file is local."""
    folder, elsewhere = tmp_path / "dw", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "local.toml").write_text("[channel]\n")
    monkeypatch.chdir(elsewhere)
    words = ["link", "show", "--config", str(folder / "local.toml"), "--address", "tcp://192.0.2.1:5703"]
    assert main(words) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert f"{folder}/keys has none; run it on the channel's, the controller's or the observer's" in line
    assert main(["keys", "new", "controller", "--folder", str(folder / "keys")]) == 0
    assert main(words) == 2
    assert f"draftwire keys allow channel.key --folder {folder}/keys" in capfd.readouterr().err


def test_private_nodes_have_a_private_control(tmp_path: Path) -> None:
    """Nodes that a command starts for itself take orders at a socket in its own folder."""
    placed = on_this_host(Topology.default(), tmp_path)
    assert placed.channel is not None and placed.channel.control == f"ipc://{tmp_path}/links"
    assert placed.channel.uplink == parse_link("rate 20mbit delay 5ms")


def test_a_record_that_can_not_be_written(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`draftwire channel --record` with no such folder: one line, exit code 2, nothing started."""
    assert main(["channel", "--record", str(tmp_path / "no" / "x.jsonl")]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "--record: " in line and "No such file or directory; name a file that can be written" in line


def test_the_channel_stops_in_order(channel: Channel) -> None:
    """Told to stop, a channel with a control address leaves its sockets' folder clean and ends with 0."""
    channel.process.send_signal(signal.SIGTERM)
    assert channel.process.wait(WITHIN_S) == 0
    assert not Path(channel.control.removeprefix("ipc://")).exists()
