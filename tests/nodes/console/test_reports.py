"""Where a node of a process says what becomes of its reports."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from tests.harness.sockets import run

from draftwire.nodes.console.reports import reporter_of
from draftwire.runtime.config import ObserverSettings, SecuritySettings, Topology
from draftwire.runtime.security import Keyring, NodeKeys, Role
from draftwire.runtime.telemetry import set_up_logging
from draftwire.runtime.transport import ZmqTransport


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_a_reporter_speaks_where_the_nodes_log_goes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Though it is made before the log is set up, as a part of it; standard output is not for that."""
    keyring, stream = Keyring(tmp_path), io.StringIO()
    keys = NodeKeys(keyring=keyring, own=keyring.new("bs-2", role=Role.TARGET))
    topology = Topology(observer=ObserverSettings(), security=SecuritySettings(folder=str(tmp_path)))
    reporter = reporter_of(topology, Role.TARGET, keys)
    assert reporter is not None
    set_up_logging(stream=stream, json=True, reporter=reporter)

    async def main() -> None:
        async with ZmqTransport(keys) as transport, reporter.telling(transport):
            pass

    run(main)
    said = json.loads(stream.getvalue())
    assert (said["event"], said["node"], said["level"]) == ("report.keyless", "target", "warning")
    assert capfd.readouterr().out == ""
