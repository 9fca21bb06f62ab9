"""A node's life in a real process: ready once, told to stop, never a traceback, nothing left behind."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from draftwire.runtime.actor import DRAIN_BOUND_S, run_process
from draftwire.runtime.errors import (
    AddressInUseError,
    ConfigurationError,
    DraftwireError,
    PeerError,
)

BOUND_S = 30.0
"""A child that takes longer than this hangs."""

NODE = """
    import asyncio, sys, threading
    from draftwire.runtime.actor import run_actor, run_process
    from draftwire.runtime.security import Service
    from draftwire.runtime.transport import ZmqTransport

    class Node:
        name = "echo"
        address = sys.argv[1]

        def __init__(self, transport):
            self.transport = transport
            self.draining = asyncio.Event()

        async def run(self, started):
            endpoint = await self.transport.bind(self.address, service=Service.TARGET)
            self.address = endpoint.address
            started()
            started()
            try:
                while True:
                    received = await endpoint.receive()
                    endpoint.send(received.peer, received.data)
            finally:
                print("stopped", flush=True)

    class Draining(Node):
        async def drain(self, within_s):
            print("draining", within_s, flush=True)
            if sys.argv[2] == "for ever":
                await asyncio.get_running_loop().create_future()
            print("drained", flush=True)

    class Computing(Draining):
        async def run(self, started):
            threading.Thread(target=threading.Event().wait).start()
            await super().run(started)

    class Clumsy(Node):
        async def drain(self, within_s):
            raise KeyError("drain")

    class Stubborn(Node):
        async def run(self, started):
            started()
            while True:
                try:
                    await asyncio.get_running_loop().create_future()
                except asyncio.CancelledError:
                    print("no", flush=True)

    async def main():
        transport = ZmqTransport()
        await run_actor(globals()[sys.argv[3]](transport), transport=transport)

    sys.exit(run_process(main))
"""


@contextmanager
def _child(
    folder: Path, address: str, drains: str = "", kind: str = "Node"
) -> Iterator[subprocess.Popen[str]]:
    script = folder / "node.py"
    script.write_text(textwrap.dedent(NODE))
    child = subprocess.Popen(
        [sys.executable, str(script), address, drains, kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def _line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def _listens(address: str) -> bool:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_node_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """One readiness line; after SIGINT or SIGTERM exit code 0, no traceback, no socket, no process."""
    with _child(tmp_path, "tcp://127.0.0.1:*") as child:
        word, name, address = _line(child).split()
        assert (word, name) == ("ready", "echo")
        assert _listens(address)
        child.send_signal(number)
        out, err = child.communicate(timeout=BOUND_S)
        assert (child.returncode, out, err) == (0, "stopped\n", "")
        assert not _listens(address)
        with pytest.raises(ProcessLookupError):  # its process group is empty
            os.killpg(child.pid, 0)


def test_an_ipc_path_is_removed(tmp_path: Path) -> None:
    """A node that stops takes its socket file with it."""
    with _child(tmp_path, f"ipc://{tmp_path}/bs") as child:
        assert _line(child) == f"ready echo ipc://{tmp_path}/bs"
        assert (tmp_path / "bs").exists()
        child.terminate()
        child.communicate(timeout=BOUND_S)
        assert not (tmp_path / "bs").exists()


def test_the_first_signal_drains_then_stops(tmp_path: Path) -> None:
    """A node that can drain does so before it is cancelled."""
    with _child(tmp_path, "tcp://127.0.0.1:*", "briefly", "Draining") as child:
        _line(child)
        child.terminate()
        out, err = child.communicate(timeout=BOUND_S)
        assert (child.returncode, out, err) == (0, f"draining {DRAIN_BOUND_S}\ndrained\nstopped\n", "")


def test_the_second_signal_stops_at_once(tmp_path: Path) -> None:
    """A drain that takes for ever is cut short by a second signal."""
    with _child(tmp_path, "tcp://127.0.0.1:*", "for ever", "Draining") as child:
        _line(child)
        child.send_signal(signal.SIGINT)
        assert _line(child).startswith("draining")
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=BOUND_S)
        assert (child.returncode, out, err) == (0, "stopped\n", "")


def test_the_second_signal_waits_for_no_computation(tmp_path: Path) -> None:
    """A thread that computes for ever keeps no node alive that was told twice; its socket is closed."""
    with _child(tmp_path, f"ipc://{tmp_path}/bs", "for ever", "Computing") as child:
        assert _line(child).startswith("ready")
        child.terminate()
        assert _line(child).startswith("draining")
        child.terminate()
        out, err = child.communicate(timeout=BOUND_S)
        assert (child.returncode, out, err) == (0, "stopped\n", "")
        assert not (tmp_path / "bs").exists()


def test_a_drain_that_fails_is_a_bug_that_shows(tmp_path: Path) -> None:
    """Its error ends the process with a traceback, and does not pass for an orderly stop."""
    with _child(tmp_path, "tcp://127.0.0.1:*", "", "Clumsy") as child:
        assert _line(child).startswith("ready")
        child.terminate()
        _, err = child.communicate(timeout=BOUND_S)
        assert child.returncode == 1 and "KeyError: 'drain'" in err


def test_the_third_signal_ends_even_a_stubborn_node(tmp_path: Path) -> None:
    """A node that ignores being cancelled is ended by the system."""
    with _child(tmp_path, "tcp://127.0.0.1:*", "", "Stubborn") as child:
        assert _line(child).startswith("ready")
        child.terminate()
        assert _line(child) == "no"
        while child.poll() is None:  # the second one hands signals back to the system, a moment later
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(0.2)
        assert child.returncode == -signal.SIGTERM


def test_a_taken_port_is_one_line_and_code_3(tmp_path: Path) -> None:
    """A busy port ends the process with one line that names address and remedy, and exit code 3."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with _child(tmp_path, address) as child:
            out, err = child.communicate(timeout=BOUND_S)
    assert (child.returncode, out) == (3, "")
    assert err.startswith(f"draftwire: {address}: already in use; stop the process") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            ConfigurationError("0 will not do", key="controller.k", remedy="write 1", source="x.toml"),
            2,
            "draftwire: x.toml: controller.k: 0 will not do; write 1\n",
        ),
        (
            PeerError("no word from the base station for 5 s"),
            3,
            "draftwire: no word from the base station for 5 s\n",
        ),
    ],
)
def test_typed_errors_become_one_line_and_a_code(
    error: DraftwireError, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A DraftwireError, also out of a task group, ends in its message and exit code."""

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_raise(error))

    assert run_process(main) == code
    assert capsys.readouterr().err == line
    assert run_process(lambda: _raise(error)) == code


def test_a_bug_is_raised() -> None:
    """An error that isn't ours comes out as it is, also beside a typed one."""

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_raise(AddressInUseError("tcp://h:1")))
            group.create_task(_raise(KeyError("bug")))

    with pytest.raises(KeyError, match="bug"):
        run_process(lambda: _raise(KeyError("bug")))
    with pytest.raises(ExceptionGroup):
        run_process(main)


async def _raise(error: Exception) -> None:
    raise error
