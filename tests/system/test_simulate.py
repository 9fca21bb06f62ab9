"""`draftwire simulate` as a process: the same run whatever the process, and records that others read."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.harness.processes import WITHIN_S, command, finished

ROUGH = "rate 5mbit delay 10ms 8ms distribution normal loss 2% duplicate 1% corrupt 1% reorder 2%"
CONFIG = (
    '[pair]\ndraft = "synthetic:V=64,seed=1"\ntarget = "synthetic:V=64,seed=1"\n'
    f'[channel]\nuplink = "{ROUGH}"\ndownlink = "{ROUGH}"\n'
    '[channel.devices.device-0002]\nuplink = "rayleigh 12db 1mhz 20ms delay 5ms"\n'
)


def simulated(config: Path, *how: str, hash_seed: str) -> Any:
    """What it prints as JSON, in a process whose strings hash by this seed."""
    done = subprocess.run(
        command("simulate", str(config), "--devices", "3", "--seconds", "4", "--json", *how),
        env={"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=WITHIN_S,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_the_run_does_not_hang_on_the_process(tmp_path: Path) -> None:
    """Two processes whose sets are ordered differently: the same messages, times, texts; another seed not."""
    config = tmp_path / "cell.toml"
    config.write_text(CONFIG)
    one, other = (simulated(config, "--seed", "5", hash_seed=seed) for seed in ("1", "4242"))
    one.pop("wall_s"), other.pop("wall_s")
    assert one == other
    assert one["steps"] > 30
    assert simulated(config, "--seed", "6", hash_seed="1")["trace_hash"] != one["trace_hash"]


@pytest.mark.slow
def test_a_hundred_devices_of_the_recorded_pair(tmp_path: Path) -> None:
    """The default topology at some size, several devices a BS: nothing warns, and a device is explained."""
    record = tmp_path / "r.jsonl"
    how = ("--devices", "100", "--per-bs", "4", "--seconds", "5", "--record", str(record))
    came = finished("simulate", *how, temporary=tmp_path, within_s=300)
    assert came.returncode == 0, came.stderr
    assert came.stdout.startswith("100 devices at 25 base stations, 5 s of virtual time in ")
    assert "warned" not in came.stdout
    explained = finished("explain", str(record), "--device", "device-0042", temporary=tmp_path)
    assert explained.returncode == 0 and "target alone, predicted" in explained.stdout
