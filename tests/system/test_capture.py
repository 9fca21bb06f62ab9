"""Captures of real processes: each frame of an answer is there, and `draftwire inspect` reads them all."""

import stat
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from tests.harness.processes import PAIR, SYNTHETIC, finished

from draftwire.nodes.console.cli import main

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the harness looks into /proc")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place with a short name: the path of a socket has at most 107 bytes."""
    with TemporaryDirectory(prefix="dw-") as name:
        yield Path(name)


def _inspected(path: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert main(["inspect", str(path), "--json", "--model", PAIR]) == 0
    return [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_an_answer_is_captured_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes and frames are those that the device counted, and the Commits have the answer's tokens."""
    capture = folder / "c.jsonl"
    ran = finished(
        "generate", "hello", *SYNTHETIC, "--max-new-tokens", "30", "--json", "--capture", str(capture),
        temporary=folder,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    answer = orjson.loads(ran.stdout)
    assert stat.S_IMODE(capture.stat().st_mode) == 0o600
    frames = _inspected(capture, capsys)
    kinds = Counter((one["direction"], one["message"]) for one in frames)
    assert kinds["up", "SparseLogits"] == answer["sparse_frames"] > 0
    rows = [one for one in frames if one["message"] == "SparseLogits"]
    assert sum(one["bytes"] for one in rows) == answer["rows_bytes"]
    close = sum(one["bytes"] for one in frames if one["message"] == "Close")
    up = sum(one["bytes"] for one in frames if one["direction"] == "up")
    assert up - close <= answer["bytes_up"] <= up
    assert {len(row["entries"]) for one in rows for row in one["block"]["rows"]} == {8}
    tokens = {one["position"]: one["text"] for frame in frames if frame["message"] == "Commit"
              for one in frame["tokens"]}  # fmt: skip
    assert len(tokens) == 30 and None not in tokens.values()
    text = "".join(orjson.loads(tokens[position]) for position in sorted(tokens))
    assert text.split() == answer["text"].split()


@pytest.mark.slow
def test_up_captures_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`draftwire up` captures what its lines brought."""
    config, capture = folder / "t.toml", folder / "c.jsonl"
    places = "".join(
        f'[{node}]\naddress = "ipc://{folder}/{node}"\n' for node in ("target", "channel", "controller")
    )
    config.write_text(
        f'[pair]\ndraft = "{PAIR}"\ntarget = "{PAIR}"\n{places}'.replace(
            "[controller]", f'control = "ipc://{folder}/links"\n[controller]'
        )
        + "[sampling]\nmax_new_tokens = 8\n"
    )
    ran = finished("up", str(config), "--capture", str(capture), temporary=folder, stdin=b"hello\nagain\n")
    assert ran.returncode == 0, ran.stderr
    sessions = {
        next(field["value"] for field in one["fields"] if field["name"] == "session")
        for one in _inspected(capture, capsys)
        if one["message"] == "Open"
    }
    assert len(sessions) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
def test_a_disk_that_is_full(folder: Path) -> None:
    """The answer comes, and behind it a line says that the capture has ended, and why."""
    ran = finished(
        "generate", "hello", *SYNTHETIC, "--max-new-tokens", "4", "--capture", "/dev/full", temporary=folder
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.splitlines()[-1] == (
        "note: the capture '/dev/full' has ended after 0 frames: No space left on device"
    )
