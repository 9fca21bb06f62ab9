"""Nodes that wait for what can't happen: a simulation ends, and says who waits, and where."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.harness.fleets import SYNTHETIC, run, topology

from draftwire.codecs.messages import Origin
from draftwire.nodes.console.cli import main
from draftwire.nodes.console.simulate import fleet
from draftwire.nodes.device.node import DeviceNode
from draftwire.nodes.target.node import TargetNode
from draftwire.runtime.errors import DeadlockError
from draftwire.runtime.session.request import Request, Taken

IMPATIENT: dict[str, Any] = {"device": {"reach_s": 1.0, "absent_s": 1.0}}


class Mutilated(DeviceNode):
    """A device that waits for ever before it opens a request."""

    async def answer(self, request: Request, **how: Any) -> AsyncGenerator[Taken, None]:
        """Never a token."""
        await asyncio.get_running_loop().create_future()
        yield Taken(position=0, token=0, origin=Origin.ALONE)


class NeverReady(TargetNode):
    """A BS that never says that it is there."""

    async def run(self, started: Callable[[], None]) -> None:
        """Not to its caller's knowledge."""
        await super().run(lambda: None)


def test_a_device_that_waits_for_ever_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others' timers go on, so time does; the device has a request under way and does nothing for it."""
    monkeypatch.setattr(fleet, "DeviceNode", Mutilated)
    with pytest.raises(DeadlockError) as caught:
        run(topology(**IMPATIENT), devices=30, seconds=1000)
    error = caught.value
    assert 62 < error.now_s < 70
    assert "has a request under way and has done nothing for 6" in str(error)
    assert "device-0001: asks at Mutilated.answer (test_deadlocks.py" in str(error)
    assert "and 29 like it" in str(error)
    assert sum(one.startswith("device-0017: asks at") for one in error.waiting) == 1
    works = [one for one in error.waiting if one.startswith("bs-0017 target: target works at ")]
    assert len(works) == 1 and "of Work.run (work.py:" in works[0]
    assert len(error.groups) <= DeadlockError.SHOWN + 1


def test_a_node_that_is_never_ready_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that would wait for ever ends too."""
    monkeypatch.setattr(fleet, "TargetNode", NeverReady)
    with pytest.raises(DeadlockError, match=r"bs-0001 target is not ready and .* tasks wait"):
        run()


def test_the_command_tells_it_with_a_line_a_kind_of_task(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, a line a kind of task, the record with all of them."""
    monkeypatch.setattr(fleet, "DeviceNode", Mutilated)
    ends = "".join(f'{end} = "{SYNTHETIC}"\n' for end in ("draft", "target"))
    config, record = tmp_path / "cell.toml", tmp_path / "r.jsonl"
    config.write_text(f'[device]\nreach_s = 1\nabsent_s = 1\n[pair]\n{ends}')
    how = ["--devices", "3", "--seconds", "1000", "--record", str(record)]
    assert main(["simulate", str(config), *how]) == 1
    said = capsys.readouterr().err.splitlines()
    (told,) = (number for number, line in enumerate(said) if line.startswith("draftwire: deadlock at "))
    assert any(line.startswith("  device-0001: asks at Mutilated.answer") for line in said[told:])
    assert len(said) < 30
    assert '"event":"simulate.deadlock"' in record.read_text()
    assert "device-0003: asks at" in record.read_text()
