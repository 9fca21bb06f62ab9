"""The Python interface in a program of one's own: what it prints, and how nodes share a host's cores."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from structlog.testing import LogCapture

from draftwire.nodes.console.api import connect
from draftwire.nodes.console.launch import on_this_host, sharing_cores
from draftwire.runtime.config import ModelSettings, PairSettings, TargetSettings, Topology

SYNTHETIC = ModelSettings(model="synthetic:")


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    """structlog as a program finds it that never heard of it."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


async def _connected(folder: Path) -> None:
    """A device whose target is not there: it is ready all the same."""
    target = TargetSettings(address=f"ipc://{folder}/target")
    topology = Topology(pair=PairSettings(draft=SYNTHETIC, target=SYNTHETIC), target=target, channel=None)
    async with connect(topology, launch=False):
        pass


def test_a_library_is_quiet(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A program that has not set structlog up finds nothing of a device's on its stdout or stderr."""
    asyncio.run(_connected(tmp_path))
    assert capfd.readouterr() == ("", "")


def test_a_program_that_logs_gets_the_events(tmp_path: Path) -> None:
    """Where structlog is configured the device's events go the program's way."""
    captured = LogCapture()
    structlog.configure(processors=[captured])
    asyncio.run(_connected(tmp_path))
    assert "device.ready" in [entry["event"] for entry in captured.entries]
    assert {entry["node"] for entry in captured.entries} == {"device"}


def test_nodes_of_one_host_share_its_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The target gets the cores this process may use but one, the device one; what a file says stays."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2, 5}, raising=False)
    for topology in (sharing_cores(Topology()), on_this_host(Topology(), tmp_path)):
        assert (topology.target.threads, topology.device.threads) == (2, 1)
    said = Topology()
    said = replace(said, target=replace(said.target, threads=7), device=replace(said.device, threads=3))
    assert sharing_cores(said) == said
    assert sharing_cores(Topology()).target.address == Topology().target.address
