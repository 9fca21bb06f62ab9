"""Simulated devices that share a radio: the same seed the same run, and what they get is what it carries."""

from pathlib import Path

import orjson
import pytest
from tests.harness.fleets import run, topology

from draftwire.nodes.console.simulate.outcomes import Simulation
from draftwire.runtime.channel_settings import CellSettings
from draftwire.runtime.config import Topology
from draftwire.runtime.link import Scheduler, parse_link

NARROW = "rate 200kbit delay 5ms"


def _narrow(cell: CellSettings | None) -> Topology:
    """Rows up over little, and Commits down over much."""
    wide = parse_link("rate 20mbit delay 5ms")
    return topology(link=NARROW, channel={"cell": cell, "downlink": wide}, controller={"k": 32, "gamma": 4})


def _run(cell: CellSettings | None, record: Path | None = None) -> Simulation:
    return run(_narrow(cell), devices=4, per_bs=4, seconds=3, record=record)


@pytest.mark.slow
def test_devices_at_a_base_station_share_its_cell(tmp_path: Path) -> None:
    """A run repeats to the last message, together all are slower than apart, and the record has shares."""
    cell = CellSettings(scheduler=Scheduler.ROUND_ROBIN)
    record = tmp_path / "cell.jsonl"
    shared, again, apart = _run(cell, record), _run(cell), _run(None)
    assert shared.trace_hash == again.trace_hash != apart.trace_hash
    assert 0 < sum(shared.speeds) < sum(apart.speeds)
    told = [
        one for one in map(orjson.loads, record.read_bytes().splitlines()) if one["event"] == "channel.shares"
    ]
    uplink = [one["shares"] for one in told if one["direction"] == "uplink"]
    assert len(uplink) >= 2 and {one["direction"] for one in told} == {"uplink", "downlink"}
    assert set(uplink[-1]) == {one.device for one in shared.devices}
    assert all(sum(one.values()) <= 1.001 for one in uplink)


def test_a_cell_of_one_device_is_its_link() -> None:
    """One device at each base station meets the very times that it meets without a cell."""
    with_cell, without = (run(_narrow(cell), seconds=2) for cell in (CellSettings(), None))
    assert with_cell.steps > 10
    assert with_cell.trace_hash == without.trace_hash


@pytest.mark.slow
def test_sixteen_devices_in_a_fading_cell_are_all_served() -> None:
    """Each gets tokens, and none much more than the others."""
    came = run(
        topology(link="rayleigh 10db 2mhz 20ms delay 5ms", channel={"cell": CellSettings()}),
        devices=16,
        per_bs=16,
        seconds=10,
    )
    assert min(came.speeds) > 0.6 * max(came.speeds) > 0
