"""A thread that asked to be punctual: what the kernel then says of it, and of no other."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from draftwire.runtime.punctual import SLICE_NS, be_punctual

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing to ask for elsewhere")


def _in_thread(*calls: Callable[[], str]) -> Sequence[str]:
    """What they return in a thread of their own: settings are a thread's."""
    said = list[str]()

    def run() -> None:
        said.extend(call() for call in calls)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return said


def _slice_ns() -> str:
    lines = Path("/proc/thread-self/sched").read_text().splitlines()
    found = [line.split(":")[1].strip() for line in lines if line.startswith("se.slice")]
    return found[0] if found else ""


def _policy() -> str:
    return str(os.sched_getscheduler(0))


def _punctually(call: Callable[[], str]) -> Callable[[], str]:
    def called() -> str:
        be_punctual()
        return call()

    return called


def _in_child(call: Callable[[], str]) -> Callable[[], str]:
    return lambda: _in_thread(call)[0]


def test_with_the_right_to_it_the_thread_goes_first_and_those_it_starts_too() -> None:
    """Its policy is a real-time one, of its threads as well, and of no other thread."""
    (refused,) = _in_thread(_refused)
    if refused:
        pytest.skip(f"not allowed here: {refused}")
    policies = _in_thread(_punctually(_policy), _in_child(_policy))
    assert policies == [str(os.SCHED_RR)] * 2
    assert _policy() == str(os.SCHED_OTHER)


def _refused() -> str:
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError as error:
        return str(error)
    return ""


def test_without_it_the_thread_gets_short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux names the slice that was asked for, in this thread and in one that it starts, and in no other."""

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    before, asked, child = _in_thread(_slice_ns, _punctually(_slice_ns), _in_child(_slice_ns))
    if not before:
        pytest.skip("this kernel names no slice")
    if asked == before:
        pytest.skip("this kernel knows no slices of a thread's own")
    assert int(asked) == int(child) == SLICE_NS
    assert _slice_ns() != asked


def test_timers_have_no_slack() -> None:
    """The kernel may put a wake-up off by a nanosecond, one of a real-time thread not at all."""
    said = subprocess.run(
        [
            *(sys.executable, "-P", "-c"),
            "import ctypes\n"
            "from draftwire.runtime.punctual import be_punctual\n"
            "be_punctual()\n"
            "print(ctypes.CDLL(None).prctl(30, 0, 0, 0, 0))",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert said.stdout.strip() in ("0", "1")


def test_priority_and_a_policy_that_was_chosen_stay() -> None:
    """A process that was made nicer stays so; one under another policy keeps it."""
    batch = "os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))"
    for before, after in (
        ("os.nice(5)", "os.getpriority(os.PRIO_PROCESS, 0) == 5"),
        (batch, "os.sched_getscheduler(0) == os.SCHED_BATCH"),
    ):
        lines = ("import os", "from draftwire.runtime.punctual import be_punctual")
        code = "\n".join((*lines, before, "be_punctual()", f"assert {after}"))
        subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=60)
