"""An observer beside four real nodes: what it hears, what it shows, and that nobody waits for it."""

import json
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from tests.harness.processes import WITHIN_S, finished, started, wait_until

from draftwire.nodes.console.cli import main

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are found through /proc")

TOKENS = 16


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place for temporary files with a short name."""
    with TemporaryDirectory(prefix="dw-") as name:
        yield Path(name)


def _file(folder: Path, more: str = "") -> Path:
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(5)]
        target, controller, channel, control, observer = (one.getsockname()[1] for one in sockets)
    path = folder / "topology.toml"
    here = "'tcp://127.0.0.1:"
    path.write_text(
        "[pair]\ndraft = 'synthetic:V=64,seed=1'\ntarget = 'synthetic:V=64,seed=1'\n"
        f"[target]\naddress = {here}{target}'\n"
        f"[controller]\naddress = {here}{controller}'\n"
        f"[channel]\naddress = {here}{channel}'\ncontrol = {here}{control}'\n"
        "uplink = 'rate 1mbit delay 5ms'\n"
        f"[sampling]\nmax_new_tokens = {TOKENS}\n[device]\nname = 'phone-1'\nreach_s = 2\n"
        f"[observer]\naddress = {here}{observer}'\nport = 0\n{more}"
    )
    return path


def _line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode()


def _page(process: subprocess.Popen[bytes]) -> str:
    """Where an observer's page is, once it is ready."""
    found = re.fullmatch(r"page (http://127\.0\.0\.1:\d+)/.*\n", _line(process))
    assert found is not None and _line(process).startswith("ready observer tcp://127.0.0.1:")
    return found[1]


def _events(record: Path) -> list[Mapping[str, Any]]:
    return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []


def _asked(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(
        Request(url, data=data, headers={"Content-Type": "application/json"}), timeout=WITHIN_S
    ) as it:
        return it.read().decode()


@pytest.mark.slow
def test_the_observer_hears_every_node_and_orders_the_link(folder: Path) -> None:
    """Four nodes and a device, each a process, with keys: all events of an answer reach its record and its
    metrics, and a wish from its page changes the link.
    """
    keys = folder / "keys"
    for name in ("target", "controller", "channel", "observer", "phone-1"):
        assert main(["keys", "new", name, "--folder", str(keys)]) == 0
    path, record = str(_file(folder, "[security]\nfolder = 'keys'\n")), folder / "heard.jsonl"
    with ExitStack() as stack:
        how = ("observer", "--config", path, "--record", str(record))
        observer = stack.enter_context(started(*how, temporary=folder))
        roles = ("target", "controller", "channel")
        nodes = [stack.enter_context(started(one, "--config", path, temporary=folder)) for one in roles]
        page = _page(observer)
        for node in nodes:
            assert _line(node).startswith("ready")
        answer = finished("device", "--config", path, "hello there", temporary=folder)
        assert answer.returncode == 0, answer.stderr

        def heard() -> set[tuple[str, str]]:
            return {(one["node"], one["event"]) for one in _events(record)}

        alive = {(name, "alive") for name in (*roles, "phone-1")}
        asked = {("phone-1", one) for one in ("asked", "tokens", "answer")}
        others = {("target", "step"), ("controller", "decision"), ("channel", "link"), ("channel", "traffic")}
        wait_until(lambda: heard() >= alive | asked | others, "every event")
        assert heard() == alive | asked | others, "and no other"

        state = json.loads(_asked(f"{page}/link", {"rate_bps": 4e5, "delay_s": 0.02, "loss": 0}))
        assert state["uplink"] == "rate 400kbit delay 20ms" and state["controllable"] is True
        wait_until(
            lambda: any(one.get("link") == "rate 400kbit delay 20ms" for one in _events(record)), "the change"
        )
        assert "draftwire_" in _asked(f"{page}/metrics")
        with pytest.raises(HTTPError, match="404"):
            _asked(f"{page}/page/nothing.js")
        for node in (observer, *nodes):
            node.terminate()
            assert node.wait(WITHIN_S) == 0
            assert node.stderr is not None and b"Traceback" not in (said := node.stderr.read()), said
            assert b'.refused"' not in said and b'"report.' not in said, said
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    events = _events(record)
    assert {one["device"] for one in events if one["event"] == "step"} == {"phone-1"}
    text = "".join(text for one in events if one["event"] == "tokens" for text, _ in one["pieces"])
    (ended,) = (one for one in events if one["event"] == "answer")
    assert text == ended["text"] == answer.stdout.removesuffix("\n") and ended["finish"] == "length"


@pytest.mark.slow
def test_nodes_do_without_an_observer_that_is_not_there(folder: Path) -> None:
    """A file that names one which does not run: the device answers, and nobody waits."""
    path = str(_file(folder))
    with ExitStack() as stack:
        for role in ("target", "controller", "channel"):
            node = stack.enter_context(started(role, "--config", path, temporary=folder))
            assert _line(node).startswith("ready")
        answer = finished("device", "--config", path, "hello there", temporary=folder)
        assert answer.returncode == 0 and len(answer.stdout.split()) == TOKENS, answer.stderr


@pytest.mark.slow
def test_up_starts_the_observer_and_says_where_its_page_is(folder: Path) -> None:
    """Of a file with [observer]; with keys of its own, so that what the nodes tell is heard: all of it, from
    the first step on, though all start at once.
    """
    path, record = str(_file(folder)), folder / "up.jsonl"
    with started("up", path, "--record", str(record), temporary=folder, stdin=subprocess.PIPE) as up:
        assert up.stdin is not None and up.stderr is not None
        up.stdin.write(b"hello there\n")
        up.stdin.flush()
        said = ""
        while (found := re.search(r"page (http://\S+)/", said)) is None:
            said += up.stderr.readline().decode()

        def metrics() -> str:
            return str(_asked(f"{found[1]}/metrics"))

        def recorded() -> list[Mapping[str, Any]]:
            return [one for one in _events(record) if one["event"] == "step"]

        wait_until(lambda: sum(one["tokens"] for one in recorded()) >= TOKENS, "the answer")
        steps = f'draftwire_steps_total{{device="phone-1"}} {len(recorded())}.0'
        wait_until(lambda: steps in metrics(), f"{steps} in {metrics()}")
        up.stdin.close()
        assert up.wait(WITHIN_S) == 0


@pytest.mark.slow
def test_up_goes_on_without_a_page_whose_port_is_taken(folder: Path) -> None:
    """One line says so, and the answer comes as ever."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        path = _file(folder)
        path.write_text(path.read_text().replace("port = 0", f"port = {port}"))
        answer = finished("up", str(path), temporary=folder, stdin=b"hello there\n")
    assert answer.returncode == 0 and len(answer.stdout.split()) == TOKENS, answer.stderr
    (note,) = [line for line in answer.stderr.splitlines() if line.startswith("note: ")]
    assert note.startswith("note: the observer ended: ") and str(port) in note
    assert note.endswith("; all else goes on without it")


@pytest.mark.slow
def test_a_base_station_starts_without_the_observers_key(folder: Path) -> None:
    """It says so once, with the command, and serves."""
    keys = folder / "keys"
    for name in ("target", "controller", "channel", "phone-1"):
        assert main(["keys", "new", name, "--folder", str(keys)]) == 0
    path = _file(folder, "[security]\nfolder = 'keys'\n")
    with ExitStack() as stack:
        for role in ("target", "controller", "channel"):
            node = stack.enter_context(started(role, "--config", str(path), temporary=folder))
            assert _line(node).startswith("ready")
            assert node.stderr is not None
            while b"report.keyless" not in (said := node.stderr.readline()):
                assert said, f"{role} said nothing of it"
            assert json.loads(said)["detail"].endswith(f"allow observer.key --folder {keys}")
        answer = finished("device", "--config", str(path), "hello there", temporary=folder)
        assert answer.returncode == 0 and len(answer.stdout.split()) == TOKENS, answer.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "host = '0.0.0.0'\n",
            "observer.host: other machines can reach '0.0.0.0', and there is no key; write",
        ),
        ("key_file = 'nowhere'\n", "observer.key_file: "),
    ],
)
def test_a_page_for_other_machines_needs_a_key(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, more: str, said: str
) -> None:
    """The observer does not start without, and says what to write."""
    monkeypatch.delenv("DRAFTWIRE_API_KEY", raising=False)
    assert main(["observer", "--config", str(_file(folder, more))]) == 2
    assert said in capfd.readouterr().err


def test_a_file_without_an_observer_has_none(capfd: pytest.CaptureFixture[str], folder: Path) -> None:
    """The command says what the file lacks."""
    path = folder / "x.toml"
    path.write_text("[sampling]\nseed = 1\n")
    assert main(["observer", "--config", str(path)]) == 2
    assert (
        f"{path}: observer: this topology has no observer; add a section [observer]" in capfd.readouterr().err
    )
