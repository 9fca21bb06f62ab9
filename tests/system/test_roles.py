"""Nodes started by themselves from one file over tcp, and all of a file's nodes with `draftwire up`."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import structlog
from tests.harness.cell import greedy
from tests.harness.processes import WITHIN_S, alive, children, finished, sockets_in, started

from draftwire.nodes.console.cli import main
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


def test_a_device_asks_for_ids_only(folder: Path) -> None:
    """`device` and `up` take acceptance, min_draft and waste as options; a coupled text is its seed's own."""
    file = _file(folder, channel=True)
    drawn = file.read_text().replace("temperature = 0", "temperature = 1\nseed = 7")
    file.write_text(drawn)
    path, answers = str(file), list[str]()
    with ExitStack() as stack:
        for role in ("target", "controller", "channel"):
            _ready(stack.enter_context(started(role, "--config", path, temporary=folder)))
        for how in (["--acceptance", "auto"], ["--acceptance", "coupled", "--min-draft", "0"]):
            ran = finished("device", "--config", path, *how, "hello there", temporary=folder)
            assert ran.returncode == 0 and "| coupled, gamma 4, waits for" in ran.stderr, ran.stderr
            answers.append(ran.stdout)
    file.write_text(drawn.replace("gamma = 4", "gamma = 0"))
    how = ["--acceptance", "coupled", "--max-waste", "1"]
    ran = finished("up", path, *how, temporary=folder, stdin=b"hello there\n")
    assert ran.returncode == 0, ran.stderr
    assert {*answers, ran.stdout} == {answers[0]} and len(answers[0].split()) == TOKENS


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


class Machines:
    """The base station, the channel's machine and a device's: a folder each, with a copy of one topology file
    that says where the keys are.
    """

    def __init__(self, folder: Path, *, channel: bool, security: str = "folder = 'keys'") -> None:
        self.folder = folder
        text = _file(folder, channel=channel).read_text()
        for machine in ("bs", "channel", "phone"):
            (folder / machine).mkdir()
            device = "[device]\nname = 'phone-1'\nreach_s = 5\n"
            self.config(machine).write_text(text + f"{device}[security]\n{security}\n")

    def config(self, machine: str) -> Path:
        return self.folder / machine / "topology.toml"

    def new(self, machine: str, name: str, *others: str) -> None:
        """Make a key as the recipe does, and take its public half to other machines."""
        folder = self.folder / machine / "keys"
        assert main(["keys", "new", name, "--folder", str(folder)]) == 0
        for other in others:
            self.allow(other, folder / f"{name}.key")

    def allow(self, machine: str, file: Path) -> None:
        assert main(["keys", "allow", str(file), "--folder", str(self.folder / machine / "keys")]) == 0

    @contextmanager
    def running(self, **roles: str) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
        """Each role on its machine, ready."""
        with ExitStack() as stack:
            nodes = {
                role: stack.enter_context(
                    started(role, "--config", str(self.config(machine)), temporary=self.folder)
                )
                for role, machine in roles.items()
            }
            for role, node in nodes.items():
                assert _ready(node).startswith(f"ready {role} ".encode())
            yield nodes

    def ask(self, capfd: pytest.CaptureFixture[str], *options: str) -> tuple[int, str, str]:
        """What the device's command ends with: its code, the text, the last line on stderr."""
        capfd.readouterr()
        code = main(["device", "--config", str(self.config("phone")), *options, "hello there"])
        said = capfd.readouterr()
        return code, " ".join(said.out.split()), said.err.splitlines()[-1]


ANSWER = " ".join(_expected("hello there").split())


@pytest.fixture
def _no_logger_left() -> Iterator[None]:
    """None that writes into a stream which pytest captured."""
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("_no_logger_left")
def test_keys_over_a_channel(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With the keys of the recipe three machines answer; a local control address needs none."""
    machines = Machines(folder, channel=True)
    machines.new("bs", "target", "channel")
    machines.new("bs", "controller")
    machines.new("channel", "channel", "bs", "phone")
    machines.new("phone", "phone-1", "channel")
    with machines.running(target="bs", controller="bs", channel="channel"):
        assert machines.ask(capfd)[:2] == (0, ANSWER)
        assert main(["link", "show", "--config", str(machines.config("channel"))]) == 0
        assert capfd.readouterr().out.startswith("uplink    rate 1mbit\n")


@pytest.mark.usefixtures("_no_logger_left")
def test_keys_that_are_refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A key not allowed, allowed later; another target's key; no keys; a name that is not the key's: each is
    told by a message of its own, with exit code 3, or 2 where no socket was needed to know.
    """
    machines = Machines(folder, channel=False)
    machines.new("bs", "target", "phone")
    machines.new("bs", "controller")
    assert machines.ask(capfd)[0] == 2, "no key of its own"
    machines.new("phone", "phone-1")
    with machines.running(target="bs", controller="bs"):
        code, text, said = machines.ask(capfd)
        assert (code, text) == (3, "") and "it does not allow our key phone-1" in said
        assert said.endswith("draftwire keys allow phone-1.key")

        machines.allow("bs", folder / "phone" / "keys" / "phone-1.key")
        assert machines.ask(capfd)[:2] == (0, ANSWER), "allowed while the target runs"

        code, text, said = machines.ask(capfd, "--name", "phone-2")
        assert (code, text) == (2, "") and "'phone-2' has no key on this machine, and that of phone-1" in said
        assert machines.ask(capfd, "--name", "phone-1/test")[:2] == (0, ANSWER), "a name below the key's"

        config = machines.config("phone").read_text()
        machines.config("phone").write_text(config.partition("[security]")[0])
        code, text, said = machines.ask(capfd)
        assert (code, text) == (3, "") and "it uses keys, and we don't" in said
        machines.config("phone").write_text(config)

        (folder / "phone" / "keys" / "allowed" / "target.key").unlink()
        machines.new("channel", "target", "phone")
        code, text, said = machines.ask(capfd)
        assert (code, text) == (3, "") and "the key allowed here for role target is not the one" in said


@pytest.mark.slow
def test_a_key_allowed_between_two_lines(folder: Path) -> None:
    """Refused at two lines, a device that was allowed meanwhile is not refused at the next: what an old try
    has shown, and no new one for 4 s then, is not taken for what is.
    """
    machines = Machines(folder, channel=False)
    machines.new("bs", "target", "phone")
    machines.new("bs", "controller")
    machines.new("phone", "phone-1")
    config = machines.config("phone")
    config.write_text(config.read_text().replace("reach_s = 5", "reach_s = 30"))
    with machines.running(target="bs", controller="bs"):
        argv = ("device", "--config", str(config))
        with started(*argv, temporary=folder, stdin=subprocess.PIPE) as device:
            assert device.stdin is not None and device.stderr is not None and device.stdout is not None
            for _ in range(2):
                device.stdin.write(b"hello there\n")
                device.stdin.flush()
                while b"draftwire: denied: " not in (line := device.stderr.readline()):
                    assert line, "it ended before"
            machines.allow("bs", folder / "phone" / "keys" / "phone-1.key")
            out, _ = device.communicate(b"hello there\n", timeout=WITHIN_S)
            assert (" ".join(out.decode().split()), device.returncode) == (ANSWER, 3)


def test_missing_keys_end_a_node_at_once(folder: Path) -> None:
    """A node without its keys says which commands make them, and binds nothing."""
    config = Machines(folder, channel=False).config("bs")
    ran = finished("target", "--config", str(config), temporary=folder)
    assert ran.returncode == 2 and ran.stdout == ""
    keys = f"--folder {folder}/bs/keys"
    commands = f"draftwire keys new target {keys}; draftwire keys new controller {keys}"
    assert ran.stderr.splitlines() == [
        "draftwire: security: [security] names a folder, so its nodes need keys, and "
        f"{folder}/bs/keys lacks a key for this target and one for the controller, which is on this machine "
        f"too; on this machine: {commands}"
    ]


def test_up_with_the_file_of_several_machines(folder: Path) -> None:
    """All nodes are its own, with throw-away keys: those of the file are neither needed nor touched."""
    machines = Machines(folder, channel=True)
    ran = finished("up", str(machines.config("bs")), temporary=folder, stdin=b"hello there")
    assert ran.returncode == 0, ran.stderr
    assert " ".join(ran.stdout.split()) == ANSWER
    assert not list(folder.rglob("*.key")) and not list(folder.rglob("*.secret"))


@pytest.mark.parametrize("plain", [False, True])
def test_who_may_join_the_nodes_of_up(folder: Path, plain: bool, capfd: pytest.CaptureFixture[str]) -> None:
    """A device of somebody else may not, unless the file says `plain`; `draftwire link` may always."""
    machines = Machines(folder, channel=True, security=f"plain = {str(plain).lower()}")
    config = str(machines.config("phone"))
    with started("up", config, temporary=folder, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        os.read(process.stdout.fileno(), 64)
        assert main(["link", "set", "rate 2mbit", "--config", config]) == 0
        assert "uplink    rate 2mbit" in capfd.readouterr().out
        joined = machines.ask(capfd, "--name", "phone-2")
        structlog.reset_defaults()
        assert joined[:2] == ((0, ANSWER) if plain else (3, ""))


def _answered(process: subprocess.Popen[bytes]) -> None:
    """Return once a whole answer has been given: behind its summary line a line is waited for."""
    assert process.stderr is not None
    while not (line := process.stderr.readline()).startswith(f"{TOKENS} tokens |".encode()):
        assert line, "it ended before"


@pytest.mark.parametrize("channel", [True, False])
@pytest.mark.parametrize("stop", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_told_to_stop_in_mid_answer(folder: Path, stop: signal.Signals, channel: bool) -> None:
    """The code of `up`, and of a device that reads lines, says that an answer was broken off."""
    path = _file(folder, channel=channel)
    path.write_text(path.read_text().replace(f"max_new_tokens = {TOKENS}", "max_new_tokens = 100000"))
    with ExitStack() as stack:
        command: tuple[str, ...] = ("up", str(path))
        if not channel:
            for role in ("target", "controller"):
                _ready(stack.enter_context(started(role, "--config", str(path), temporary=folder)))
            command = ("device", "--config", str(path))
        process = stack.enter_context(started(*command, temporary=folder, stdin=subprocess.PIPE))
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        os.read(process.stdout.fileno(), 64)
        process.send_signal(stop)
        assert process.wait(WITHIN_S) == 143
        assert process.stdout.read().endswith(b"\n"), "what is said next begins a line"


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_up_stops_while_it_waits_for_a_line(folder: Path, stop: signal.Signals) -> None:
    """Told to stop while nobody types, it ends its nodes and itself at once."""
    path = str(_file(folder, channel=True))
    with started("up", path, temporary=folder, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        _answered(process)
        nodes = children(process.pid)
        assert len(nodes) == 3
        process.send_signal(stop)
        assert process.wait(WITHIN_S) == (0 if stop is signal.SIGTERM else 130)
        assert not any(alive(pid) for pid in nodes)
