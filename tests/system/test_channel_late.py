"""A channel that was later than it may be says so where figures are shown: real processes."""

from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import pytest
from tests.harness.processes import PAIR as MODEL
from tests.harness.processes import finished

from draftwire.nodes.console.record import read_record

pytestmark = pytest.mark.slow

PAIR = ("--draft", MODEL, "--target", MODEL)
SENTENCE = "note: the channel was late: p99 "


@pytest.mark.parametrize(("budget_ms", "told"), [(0.01, True), (10_000.0, False)])
def test_an_answer_over_a_late_channel_is_marked(tmp_path: Path, budget_ms: float, told: bool) -> None:
    """`generate` says it once, its record has every message's lateness and the mark, `explain` repeats it."""
    config, record = tmp_path / "x.toml", tmp_path / "r.jsonl"
    config.write_text(f"[channel]\nuplink = 'rate 20mbit delay 2ms'\nlateness_ms = {budget_ms}\n")
    options = ("--config", str(config), "--record", str(record), "--max-new-tokens", "120", "--json")
    with TemporaryDirectory(prefix="dw-") as folder:  # the path of a socket has at most 107 bytes
        ran = finished("generate", "hello", *PAIR, *options, temporary=Path(folder))
    assert ran.returncode == 0
    assert ran.stderr.count(SENTENCE) == told
    assert orjson.loads(ran.stdout)["tokens"] == 120
    found = read_record(record)
    assert sum(len(one.late_us) for one in found.lateness) > 5
    assert all(one.from_s < one.to_s and min(one.late_us) >= 0 for one in found.lateness)
    assert [one.budget_ms for one in found.late] == [budget_ms] * told
    assert finished("explain", str(record), temporary=tmp_path).stderr.count(SENTENCE) == told
