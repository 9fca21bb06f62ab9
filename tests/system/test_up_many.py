"""Many devices in one process, at one base station: `draftwire up` of such a file, and from Python."""

import asyncio
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
import structlog
from tests.harness.cell import greedy
from tests.harness.processes import (
    WITHIN_S,
    arguments,
    children,
    command,
    finished,
    sockets_in,
    started,
    wait_until,
)

from draftwire.codecs.control import StepReport
from draftwire.nodes.console.api import ConnectedDevice, connect_all
from draftwire.nodes.console.assemble import build_target
from draftwire.nodes.console.cli import main
from draftwire.nodes.console.record import read_record
from draftwire.nodes.models.catalogue import LoadOptions, load_target, load_tokenizer
from draftwire.nodes.models.synthetic import SYNTHETIC_CONTEXT, SyntheticPair, SyntheticTokenizer
from draftwire.runtime.config import (
    ControllerSettings,
    DeviceSettings,
    ModelSettings,
    PairSettings,
    SamplingSettings,
    TargetSettings,
    Topology,
)
from draftwire.runtime.transport import ZmqTransport

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are found through /proc")

TOKENS = 24
FEW = 12
"""Of models with weights."""


@pytest.fixture
def folder() -> Any:
    """A place for temporary files with a short name."""
    with TemporaryDirectory(prefix="dw-") as name:
        yield Path(name)


def _file(folder: Path, *, devices: int = 4, tokens: int = TOKENS, channel: bool = True) -> str:
    """Devices cell/01 and so on; the last one's link is slow."""
    links = (
        f"[channel]\naddress = 'ipc://{folder}/c'\ncontrol = 'ipc://{folder}/l'\nuplink = 'rate 20mbit'\n"
        f"[channel.devices.'cell/{devices:02}']\nuplink = 'rate 100kbit'\n"
    )
    path = folder / "cell.toml"
    path.write_text(
        "[pair]\ndraft = 'synthetic:V=64,seed=1'\ntarget = 'synthetic:V=64,seed=1'\n"
        f"[target]\naddress = 'ipc://{folder}/t'\n"
        f"[controller]\naddress = 'ipc://{folder}/p'\n"
        f"[sampling]\ntemperature = 0\nmax_new_tokens = {tokens}\n"
        f"[device]\nname = 'cell'\ncount = {devices}\n" + (links if channel else "")
    )
    return str(path)


def _expected(prompt: str) -> str:
    tokenizer = SyntheticTokenizer(64)
    target = SyntheticPair(vocab_size=64, seed=1).target
    return tokenizer.decode(greedy(target, tokenizer.encode_prompt(prompt), TOKENS))


def test_each_device_answers_as_if_it_were_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Over one channel, with one draft model, each text is the target's own; the record tells them apart."""
    record, prompts, file = folder / "r.jsonl", folder / "prompts.txt", Path(_file(folder))
    # Paced, they are so long that a controller on a busy machine decides something before they end.
    file.write_text(file.read_text() + "[compute]\nprofile = 'paper'\n")
    prompts.write_text("hello there\nwhat is it\nwho says so\nwhy\n")
    how = ("--prompts", str(prompts), "--answers", "2", "--json", "--record", str(record))
    ran = finished("up", str(file), *how, temporary=folder)
    assert ran.returncode == 0, ran.stderr
    told = orjson.loads(ran.stdout.splitlines()[-1])
    names = [f"cell/0{number}" for number in range(1, 5)]
    assert [one["device"] for one in told["devices"]] == names
    lines = prompts.read_text().splitlines()
    for place, device in enumerate(told["devices"]):
        asked = [lines[place % 4], lines[(place + 1) % 4]]
        assert [one["prompt"] for one in device["answers"]] == asked
        assert [one["text"] for one in device["answers"]] == [_expected(prompt) for prompt in asked]
        assert (device["tokens"], device["failed"], device["reason"]) == (2 * TOKENS, 0, None)
    assert told["tokens"] == 8 * TOKENS and 0.25 < told["jain_fairness"] <= 1
    read = read_record(record)
    assert {one.device for one in read.steps} == set(names)
    # A controller's last words are lost when it is stopped.
    assert {one.device for one in read.decisions} <= set(names)
    assert {one["device"] for one in read.answers} == set(names)
    assert main(["explain", str(record), "--json"]) == 0
    assert [one["device"] for one in orjson.loads(capsys.readouterr().out)["devices"]] == names
    assert main(["explain", str(record)]) == 0
    told_of = capsys.readouterr().out
    assert [line.split()[0] for line in told_of.splitlines() if "cell/" in line] == names
    assert sockets_in(folder) == []


@pytest.mark.slow
def test_lines_are_dealt_to_who_is_free(folder: Path) -> None:
    """Each line of standard input is answered once, by some device, and printed with its name."""
    lines = ["hello there", "what is it", "who says so", "why", "and then", "no"]
    ran = finished("up", _file(folder, devices=3), temporary=folder, stdin="\n".join(lines).encode())
    assert ran.returncode == 0, ran.stderr
    told = [line.partition(":") for line in ran.stdout.splitlines()]
    assert sorted(text.strip() for _, _, text in told) == sorted(_expected(one).strip() for one in lines)
    assert {name for name, _, _ in told} <= {"cell/01", "cell/02", "cell/03"}
    assert "sessions a pass" in ran.stderr.splitlines()[-1]


@pytest.mark.slow
def test_answers_go_to_a_file_beside_the_table(folder: Path) -> None:
    """The table is on a terminal, answers go where standard output does, and lines that no device may take
    are told of; a record with half a line of an earlier run is no hindrance.
    """
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 100))
    record, answers = folder / "r.jsonl", folder / "answers.txt"
    record.write_bytes(b'{"event":"step","se\n{"event":"link"')
    how = (_file(folder, devices=2), "--record", str(record), "--answers", "1")
    with answers.open("wb") as out:
        process = subprocess.Popen(
            command("up", *how),
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=theirs,
            env=os.environ | {"TMPDIR": str(folder), "TERM": "xterm"},
        )
    os.close(theirs)
    try:
        assert process.stdin is not None
        process.stdin.write(b"hello there\nwhat is it\nwho says so\nwhy\n")
        process.stdin.close()
        said = b"".join(iter(partial(_read, ours), b"")).decode()
        assert process.wait(WITHIN_S) == 0, said
        told = [line.partition(": ")[2].strip() for line in answers.read_text().splitlines()]
        assert sorted(told) == sorted(_expected(one).strip() for one in ("hello there", "what is it"))
        assert "2 lines of standard input left: --answers 1 is 1 a device" in said
        assert "sessions a pass | fairness" in said.splitlines()[-1]
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 3])
def test_a_base_station_that_ends_while_nobody_asks_is_told(folder: Path, devices: int) -> None:
    """An open pipe that says nothing is told to be waited for, and is no reason to go on without a target."""
    with started("up", _file(folder, devices=devices), temporary=folder, stdin=subprocess.PIPE) as process:
        assert process.stderr is not None
        word = b"waiting for lines of standard input" if devices > 1 else b"channel is ready"
        while word not in (line := process.stderr.readline()):
            assert line, "it ended before it waited"
        (target,) = (pid for pid in children(process.pid) if "target" in arguments(pid))
        os.kill(target, signal.SIGKILL)
        assert process.wait(WITHIN_S) == 1
        said = process.stderr.read().decode().splitlines()
        assert said[-1] == "draftwire: the target ended: signal 9 ended it"


@pytest.mark.slow
def test_a_device_that_fails_stands_alone(folder: Path) -> None:
    """Its reason is told with its name and in the object, the exit code says so, the others answer."""
    prompts = folder / "prompts.txt"
    prompts.write_text(f"hello there\n{'word ' * SYNTHETIC_CONTEXT}\nwhy\n")
    how = ("--prompts", str(prompts), "--answers", "1", "--json")
    ran = finished("up", _file(folder, devices=3, channel=False), *how, temporary=folder)
    devices = orjson.loads(ran.stdout)["devices"]
    assert ran.returncode == 2, ran.stderr
    assert [(one["answered"], one["failed"]) for one in devices] == [(1, 0), (0, 1), (1, 0)]
    assert devices[1]["reason"] and f"cell/02: {devices[1]['reason']}" in ran.stderr
    assert devices[0]["answers"][0]["text"] == _expected("hello there")


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_says_what_came(folder: Path, stop: signal.Signals) -> None:
    """In the middle of answers it ends its nodes, and the object has what there was; the code says so."""
    how = (_file(folder, tokens=100_000), "--json", "--record", str(folder / "r.jsonl"))
    with started("up", *how, temporary=folder, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"hello\nwhy\n")
        process.stdin.flush()
        _under_way(folder / "r.jsonl", 2)
        process.send_signal(stop)
        out, _ = process.communicate(timeout=WITHIN_S)
        assert process.returncode == (143 if stop is signal.SIGTERM else 130)
        told = orjson.loads(out.splitlines()[-1])
        assert [bool(one["tokens"]) for one in told["devices"]] == [True, True, False, False]
        assert children(process.pid) == set()


def _under_way(record: Path, devices: int) -> None:
    """Return once so many devices have had tokens: without acknowledgements there were no more steps."""

    def have_had() -> bool:
        lines = [line for line in record.read_bytes().split(b"\n")[:-1] if b'"event":"step"' in line]
        steps = [orjson.loads(line) for line in lines]
        return len({one["device"] for one in steps if one["step"] > TargetSettings().ahead}) == devices

    wait_until(lambda: record.exists() and have_had(), "steps of each device")


@pytest.mark.slow
def test_a_terminal_shows_the_table(folder: Path) -> None:
    """Examples until Ctrl-C: a row for each device while it runs, and one for each at the end."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 100))
    path = _file(folder, devices=3, tokens=100_000)
    process = subprocess.Popen(
        command("up", path),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TMPDIR": str(folder), "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        said = b""
        while said.count(b"cell/03  \x1b[32manswers") < 2:
            said += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        said = b"".join(iter(partial(_read, ours), b""))
        assert process.wait(WITHIN_S) == 130
        last = said.decode().rpartition("kB down")[2].splitlines()
        assert [line.split()[0] for line in last if "cell/" in line] == ["cell/01", "cell/02", "cell/03"]
        assert "sessions a pass | fairness" in last[-1]
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _read(descriptor: int) -> bytes:
    """Of a terminal; nothing once nobody writes to it any more."""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


@pytest.mark.slow
def test_a_base_station_that_ends_is_told_once(folder: Path) -> None:
    """All devices end with it, in one line and with its code."""
    how = (_file(folder, tokens=100_000), "--record", str(folder / "r.jsonl"))
    with started("up", *how, temporary=folder, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"hello\nwhy\nno\n")
        process.stdin.flush()
        _under_way(folder / "r.jsonl", 3)
        (target,) = (pid for pid in children(process.pid) if "target" in arguments(pid))
        os.kill(target, signal.SIGKILL)
        _, said = process.communicate(timeout=WITHIN_S)
        assert process.returncode == 1
        assert said.decode().splitlines()[-1] == "draftwire: the target ended: signal 9 ended it"
        assert said.count(b"the target ended") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("device", "--config"), "device.count: the file has 4 devices, and this command is one; give a"),
        (("up", "--prompts", "/none"), "--prompts: '/none': No such file or directory"),
    ],
)
def test_what_is_meant_has_to_be_said(
    folder: Path, words: Sequence[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that can't tell which device is meant, or what is asked, says so at once, with code 2."""
    assert main([words[0], *words[1:], _file(folder)]) == 2
    assert said in capsys.readouterr().err
    structlog.reset_defaults()


def test_options_of_several_devices(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of one device knows none of them."""
    for words in (["--json"], ["--answers", "1"], ["--prompts", _file(folder, devices=4)]):
        assert main(["up", _file(folder, devices=1), *words]) == 2
        assert f"{words[0]}: " in (err := capsys.readouterr().err) and "count = 2" in err
        structlog.reset_defaults()


# -- real models, real sockets, one process ------------------------------------------------------------------


def _tiny(folder: Path, *, devices: int) -> Topology:
    """Tiny Llamas in float32, greedy, over sockets of this host and no channel."""
    ends = ModelSettings(model="tiny:seed=0,noise=0.3", dtype="float32")
    return Topology(
        pair=PairSettings(draft=ends, target=ends),
        target=TargetSettings(address=f"ipc://{folder}/target", max_sessions=devices, threads=1),
        controller=ControllerSettings(address=f"ipc://{folder}/none", k=8, gamma=4),
        channel=None,
        device=DeviceSettings(name="cell", count=devices, threads=1),
        sampling=SamplingSettings(temperature=0.0, max_new_tokens=FEW),
    )


def _dropped(logger: Any, method: str, event: Any) -> Any:
    raise structlog.DropEvent


async def _texts(
    folder: Path, prompts: Sequence[Sequence[int]], reports: list[StepReport]
) -> list[list[int]]:
    """What as many devices as there are prompts answer at the same time, and what the target reports."""
    topology, transport = _tiny(folder, devices=len(prompts)), ZmqTransport()
    logger, started = structlog.wrap_logger(None, [_dropped]), asyncio.Event()
    target = build_target(
        topology,
        transport=transport,
        logger=logger,
        progress=lambda text: None,
        on_step=reports.append,
    )

    async def text(device: ConnectedDevice, prompt: Sequence[int]) -> list[int]:
        return [token.id async for token in device.generate(prompt)]

    try:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(target.run(started.set))
            await started.wait()
            async with connect_all(topology) as devices:
                assert [one.name for one in devices] == list(topology.device.names)
                texts = await asyncio.gather(*map(text, devices, prompts))
            serving.cancel()
    finally:
        await transport.close()
    return texts


def test_sixteen_sessions_are_each_greedy(folder: Path) -> None:
    """At temperature 0, in float32, each of 16 concurrent answers over real sockets is what the target alone
    says to its prompt, token for token, however the passes were shared.
    """
    name = "tiny:seed=0,noise=0.3"
    tokenizer = load_tokenizer(name, end="target")
    model = load_target(name, LoadOptions(dtype="float32"))
    prompts = [tokenizer.encode_prompt(f"{number} " + "word " * (number % 7)) for number in range(16)]
    reports = list[StepReport]()
    texts = asyncio.run(_texts(folder, prompts, reports))
    assert max(one.pass_sessions for one in reports) > 4, "passes were shared"
    for prompt, text in zip(prompts, texts, strict=True):
        expected = greedy(model, prompt, FEW)
        ends = [place for place, token in enumerate(expected) if token in tokenizer.eos_ids]
        assert text == list(expected[: ends[0] + 1] if ends else expected), prompt


def test_one_device_of_many_is_the_file_s_own(folder: Path) -> None:
    """A device that is alone has the name itself; names below it begin with several."""
    assert _tiny(folder, devices=1).device.names == ("cell",)
    assert replace(_tiny(folder, devices=1).device, count=2).names == ("cell/01", "cell/02")
