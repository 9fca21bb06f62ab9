"""Nodes started by themselves from one file over tcp, and all of a file's nodes with `draftwire up`."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.harness.cell import greedy
from tests.harness.processes import WITHIN_S, alive, children, finished, sockets_in, started

from draftwire.nodes.models.synthetic import SyntheticPair, SyntheticTokenizer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are found through /proc")

TOKENS = 16


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place for temporary files with a short name."""
    with TemporaryDirectory(prefix="dw-") as name:
        yield Path(name)


def _file(folder: Path, *, channel: bool) -> Path:
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(4)]
        ports = [one.getsockname()[1] for one in sockets]
    path = folder / "topology.toml"
    path.write_text(
        "[pair]\ndraft = 'synthetic:V=64,seed=1'\ntarget = 'synthetic:V=64,seed=1'\n"
        f"[target]\naddress = 'tcp://127.0.0.1:{ports[0]}'\n"
        f"[controller]\naddress = 'tcp://127.0.0.1:{ports[1]}'\nk = 8\ngamma = 4\n"
        f"[sampling]\ntemperature = 0\nmax_new_tokens = {TOKENS}\n"
        + (
            f"[channel]\naddress = 'tcp://127.0.0.1:{ports[2]}'\ncontrol = 'tcp://127.0.0.1:{ports[3]}'\n"
            "uplink = 'rate 1mbit'\n"
            if channel
            else ""
        )
    )
    return path


def _expected(prompt: str) -> str:
    tokenizer = SyntheticTokenizer(64)
    target = SyntheticPair(vocab_size=64, seed=1).target
    return tokenizer.decode(greedy(target, tokenizer.encode_prompt(prompt), TOKENS))


def _ready(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("channel", [True, False])
def test_each_role_alone(folder: Path, channel: bool) -> None:
    """Started one by one from a file they serve a device started later; SIGTERM ends each with code 0."""
    path = str(_file(folder, channel=channel))
    roles = ["target", "controller", *(["channel"] if channel else [])]
    with ExitStack() as stack:
        nodes = {
            role: stack.enter_context(started(role, "--config", path, temporary=folder)) for role in roles
        }
        for role, node in nodes.items():
            assert _ready(node).startswith(f"ready {role} tcp://127.0.0.1:".encode())
        answer = finished("device", "--config", path, "hello there", temporary=folder)
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout.split() == _expected("hello there").split()
        assert answer.stderr.splitlines()[-1].startswith(f"{TOKENS} tokens |")
        for role, node in nodes.items():
            node.terminate()
            assert node.wait(WITHIN_S) == 0, role
            assert b"Traceback" not in (node.stderr.read() if node.stderr else b"")


def test_up_answers_standard_input(folder: Path) -> None:
    """`draftwire up FILE` answers every line that is not empty, until standard input ends."""
    path = str(_file(folder, channel=True))
    prompts = "hello\n\n  two words \nlast"
    ran = finished("up", path, temporary=folder, stdin=prompts.encode())
    assert ran.returncode == 0, ran.stderr
    expected = [_expected(line.strip()) for line in ("hello", "two words", "last")]
    assert [line.split() for line in ran.stdout.splitlines()] == [one.split() for one in expected]
    assert "> " not in ran.stdout
    assert sockets_in(folder) == []


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_up_stops_while_it_waits_for_a_line(folder: Path, stop: signal.Signals) -> None:
    """Told to stop while nobody types, it ends its nodes and itself at once."""
    path = str(_file(folder, channel=True))
    with started("up", path, temporary=folder, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        os.read(process.stdout.fileno(), 64)
        nodes = children(process.pid)
        assert len(nodes) == 3
        process.send_signal(stop)
        assert process.wait(WITHIN_S) == (0 if stop is signal.SIGTERM else 130)
        assert not any(alive(pid) for pid in nodes)
