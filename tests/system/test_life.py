"""Real nodes that die, stand still and are told to stop in the middle of an answer: the text stays.

At temperature 1 as at 0 the text is a function of pair, prompt, seed, K and gamma; what it should be is
computed in virtual time, where nothing goes wrong.
"""

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.harness.mortal import SERVERS, Process, System, system, undisturbed
from tests.harness.processes import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are stopped as Linux does")

PROMPT = "hello there"
STANDSTILL_S = 4.0
"""How long a node stands still: beyond the first repeats of whoever waits for it."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place for what the processes write."""
    with TemporaryDirectory(prefix="dw-") as name:
        yield Path(name)


def _check(nodes: System, device: Process, *, temperature: float, tokens: int) -> None:
    """It has ended well, with the text token for token, and nobody has stumbled over anything."""
    assert device.ended() == 0, device.err.read_text()
    assert device.words() == undisturbed(PROMPT, temperature=temperature, tokens=tokens)
    for process in nodes.started:
        assert "Traceback" not in process.err.read_text(), process.role


def _and_on(nodes: System, device: Process) -> None:
    """The answer goes on: tokens come that were not there before."""
    nodes.wait_for_tokens(device, len(device.words()) + 10)


def test_every_node_may_die_in_mid_answer(folder: Path) -> None:
    """Target, channel and controller are killed and started again, one after the other, at temperature 1."""
    with system(folder, temperature=1.0, tokens=160) as nodes:
        device = nodes.start("device", PROMPT)
        for role in SERVERS:
            _and_on(nodes, device)
            assert device.popen.poll() is None, "the answer was over before the fault"
            nodes.restart(role)
        controller = nodes.now["controller"]
        wait_until(lambda: bool(controller.logged("controller.registered")), "the BS introduces itself")
        _check(nodes, device, temperature=1.0, tokens=160)
        assert nodes.now["target"].logged("target.request")[0]["known_tokens"] > 2


def test_a_target_told_to_stop_finishes_the_answer(folder: Path) -> None:
    """SIGTERM in the middle: the device has its whole text, and the target ends with code 0 by itself."""
    with system(folder, temperature=1.0, tokens=60) as nodes:
        device = nodes.start("device", PROMPT)
        nodes.wait_for_tokens(device, 15)
        nodes.now["target"].popen.terminate()
        _check(nodes, device, temperature=1.0, tokens=60)
        assert nodes.now["target"].ended() == 0
        assert len(nodes.now["target"].logged("target.request")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("role", SERVERS)
def test_a_node_that_dies_again_and_again(folder: Path, role: str, temperature: float) -> None:
    """Killed three times in one answer: not a token is lost, repeated or changed."""
    with system(folder, temperature=temperature, tokens=200) as nodes:
        device = nodes.start("device", PROMPT)
        for _ in range(3):
            _and_on(nodes, device)
            assert device.popen.poll() is None, "the answer was over before the fault"
            nodes.restart(role)
        _check(nodes, device, temperature=temperature, tokens=200)


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("role", [*SERVERS, "device"])
def test_a_node_that_stands_still(folder: Path, role: str, temperature: float) -> None:
    """Stopped for seconds and let go again: the text is the same."""
    tokens = 500 if role == "controller" else 150  # nobody waits for the controller
    with system(folder, temperature=temperature, tokens=tokens) as nodes:
        device = nodes.start("device", PROMPT)
        for _ in range(2):
            _and_on(nodes, device)
            assert device.popen.poll() is None, "the answer was over before the fault"
            with nodes.suspended(role):
                time.sleep(STANDSTILL_S)  # the fault itself, not a wait for anything
        _check(nodes, device, temperature=temperature, tokens=tokens)


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_target_stopped_behind_its_bound_and_started_again(folder: Path, temperature: float) -> None:
    """An answer longer than the bound: the target leaves in order, and the next one goes on with it."""
    with system(folder, temperature=temperature, tokens=500) as nodes:
        device = nodes.start("device", PROMPT)
        nodes.wait_for_tokens(device, 15)
        target = nodes.now["target"]
        target.popen.send_signal(signal.SIGTERM)
        assert target.ended() == 0
        assert device.popen.poll() is None, "the answer was over before the target left"
        nodes.start("target")
        _check(nodes, device, temperature=temperature, tokens=500)
        assert nodes.now["target"].logged("target.request")[0]["known_tokens"] > 60


@pytest.mark.slow
def test_the_controller_is_missed_and_found(folder: Path) -> None:
    """Away for longer than a restart takes: one warning that names its address, a word when it is back."""
    with system(folder, temperature=0.0, tokens=20) as nodes:
        nodes.kill("controller")
        target = nodes.now["target"]
        wait_until(lambda: bool(target.logged("target.no_controller")), "the warning")
        nodes.start("controller")
        wait_until(lambda: bool(target.logged("target.controller_back")), "the word")
        controller = nodes.now["controller"]
        wait_until(lambda: bool(controller.logged("controller.registered")), "the BS introduces itself")
        (warning,) = target.logged("target.no_controller")
        assert "tcp://127.0.0.1:" in warning["text"] and warning["level"] == "warning"
