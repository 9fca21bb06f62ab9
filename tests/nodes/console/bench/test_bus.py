"""`draftwire bench bus`: its figures from rounds written by hand, and one short run through two processes."""

import asyncio
import json
import subprocess
import sys

import pytest

from draftwire.nodes.console.bench.bus import SIZES, Effort, Round, measure, result


def _round(raw: float, plain: float, keys: float, *, per_s: float = 1000.0) -> Round:
    """The larger size takes twice as long, on our transport three times, with keys six times."""
    small, large = SIZES
    return Round(
        trip_us={
            ("raw", small): raw,
            ("plain", small): plain,
            ("keys", small): keys,
            ("raw", large): 2 * raw,
            ("plain", large): 3 * plain,
            ("keys", large): 6 * keys,
        },
        per_s={"plain": per_s, "keys": per_s / 2},
    )


def test_ratios_are_taken_within_a_round_and_the_worse_size_counts() -> None:
    """A machine that is slow for a whole round changes no ratio; each is the worse of both sizes."""
    slow = 7.0
    found = result(
        [_round(100, 90, 99, per_s=10), _round(slow * 100, slow * 90, slow * 99, per_s=30)], quick=False
    )
    assert found["bus_over_raw"] == pytest.approx(0.9 * 3 / 2)
    assert found["curve_over_plain"] == pytest.approx(1.1 * 6 / 3)
    spread = found["spreads"]["bus_over_raw"]["100"]
    assert spread == pytest.approx({"median": 0.9, "least": 0.9, "most": 0.9})
    assert found["trip_us"]["raw"]["8000"] == {"median": 800, "least": 200, "most": 1400}
    assert (found["msgs_per_s"], found["msgs_per_s_keys"]) == (20, 10)
    assert found["spreads"]["msgs_per_s"]["plain"] == {"median": 20, "least": 10, "most": 30}


def test_a_short_run_measures_everything() -> None:
    """Two real processes: every way and size has a time, and every message of a flood arrives."""

    async def main() -> list[Round]:
        async with asyncio.timeout(60):
            return await measure(Effort(rounds=2, batches=1, flood=2000))

    rounds = asyncio.run(main())
    assert len(rounds) == 2
    for one in rounds:
        assert set(one.trip_us) == {(way, size) for way in ("raw", "plain", "keys") for size in SIZES}
        assert all(0 < taken_us < 1e6 for taken_us in one.trip_us.values())
        assert set(one.per_s) == {"plain", "keys"}
        assert all(per_s > 0 for per_s in one.per_s.values())


@pytest.mark.slow
def test_the_command_prints_one_json_object() -> None:
    """Standard output holds the object alone, with the figures, their spreads and the conditions."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "draftwire", "bench", "bus", "--quick", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["quick"] and found["sizes_bytes"] == list(SIZES)
    for name in ("bus_over_raw", "curve_over_plain", "msgs_per_s", "msgs_per_s_keys"):
        assert found[name] > 0
    assert {"cpu", "cores", "python", "pyzmq", "libzmq"} <= set(found)
