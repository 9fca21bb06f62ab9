"""The demo and the benchmark of the whole system, as a user runs them: real models, real processes."""

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import pytest
from tests.harness.processes import finished

from draftwire.nodes.console.bench.e2e import LINKS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="children are found through /proc"),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place for temporary files with a short name: the path of a socket has at most 107 bytes."""
    with TemporaryDirectory(prefix="dw-") as name:
        yield Path(name)


def test_demo(folder: Path) -> None:
    """It tells the link and the plan while they change, compares four settings, and leaves a picture."""
    picture, record = folder / "demo.png", folder / "demo.jsonl"
    ran = finished(
        "demo", "--plot", str(picture), "--record", str(record), temporary=folder, within_s=400
    )
    assert ran.returncode == 0, ran.stderr
    for rate in ("20", "1", "0.1"):
        assert f"[link {rate}, believed" in ran.stderr
    for setting in ("auto", "target alone", "K 320, gamma 4", "K 8, gamma 2"):
        assert f"\n {setting}" in ran.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    explained = finished("explain", str(record), "--json", temporary=folder)
    assert explained.returncode == 0, explained.stderr


def test_bench_e2e_quick(folder: Path) -> None:
    """The last line is one JSON object with the native figures; greedy texts agree and TV is within noise."""
    ran = finished(
        "bench", "e2e", "--quick", "--profile", "native", "--json", temporary=folder, within_s=600
    )
    assert ran.returncode == 0, ran.stderr
    found = orjson.loads(ran.stdout.splitlines()[-1])
    native = found["native"]
    assert set(native["scenes"]) == {scene.name for scene in LINKS} | {"20<>0.1"}
    assert native["sparse_frames"] > 0
    assert native["greedy_mismatches"] == 0
    assert native["tv"] <= native["tv_noise_floor"]
    assert native["speedup_good_link"] > 0 and native["worst_vs_target_only"] > 0
