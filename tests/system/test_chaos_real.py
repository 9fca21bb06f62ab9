"""`draftwire chaos --real` and `draftwire bench recovery`, shortened: real processes that die."""

import sys
from pathlib import Path

import orjson
import pytest
from tests.harness.processes import children, finished, started

from draftwire.nodes.console.chaos.real_faults import NODES

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="processes are stopped as Linux does"),
    pytest.mark.timeout(600),
]


@pytest.mark.slow
def test_every_promise_holds_over_two_kills_of_each_node(tmp_path: Path) -> None:
    """Kills, a standstill of each node, an outage, full disks and taken ports: nothing breaks."""
    ran = finished(
        "chaos", "--real", "--kills", "2", "--seed", "1", "--json", temporary=tmp_path, within_s=500
    )
    found = orjson.loads(ran.stdout)
    assert ran.returncode == 0 and found["failed"] == 0, found["broken"]
    assert found["kills_by_node"] == dict.fromkeys(NODES, 2)
    assert found["faults_by_kind"] == {"kill": 8, "stop": 4, "link": 1}
    assert "journal_full" in found["checked"] and found["recovered_p99_s"] > 0
    assert not list(tmp_path.iterdir()), "files are left"


@pytest.mark.slow
def test_nodes_at_work_for_half_a_minute(tmp_path: Path) -> None:
    """Devices come, are killed and go, and nobody fails; whether anything grows takes longer to tell."""
    ran = finished("chaos", "--real", "--minutes", "0.5", "--json", temporary=tmp_path, within_s=200)
    found = orjson.loads(ran.stdout)
    assert found["failed"] == [] and found["devices_killed"] > 0
    assert set(found["nodes"]) == set(NODES)


@pytest.mark.slow
def test_a_node_that_was_started_again_is_soon_of_use(tmp_path: Path) -> None:
    """Each node has its figures, of deaths at once and of an absence, and the goal is judged."""
    ran = finished("bench", "recovery", "--quick", "--json", temporary=tmp_path, within_s=500)
    assert ran.returncode == 0, ran.stderr
    found = orjson.loads(ran.stdout)
    assert all(found[node]["kills"] == 3 and found[node]["away"]["kills"] == 1 for node in NODES)
    assert found["goals"]["worst_p99_s"]["met"] is (found["worst_p99_s"] <= 3.0)
    assert found["controller"]["longest_pause_s"] < found["target"]["p50_s"], "somebody waits for it"


@pytest.mark.slow
def test_told_to_stop_it_takes_its_processes_along(tmp_path: Path) -> None:
    """SIGTERM in the middle: it tells what came so far, and neither a process nor a file is left."""
    with started("chaos", "--real", "--kills", "2", "--json", temporary=tmp_path) as command:
        assert command.stderr is not None and command.stdout is not None
        command.stderr.readline()
        left = children(command.pid)
        assert left
        command.terminate()
        assert command.wait(30) == 143
        assert orjson.loads(command.stdout.read())["complete"] is False
    assert not any(Path(f"/proc/{pid}").exists() for pid in left)
    assert not list(tmp_path.iterdir())
