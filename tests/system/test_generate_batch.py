"""`draftwire generate --prompts` as real processes: stopped in the middle it goes on, and says the same."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from tests.harness.processes import SYNTHETIC, WITHIN_S, children, finished, started, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are found through /proc")

PROMPTS = 24


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place for temporary files with a short name: the path of a socket has at most 107 bytes."""
    with TemporaryDirectory(prefix="dw-") as name:
        (Path(name) / "p.txt").write_text("".join(f"prompt {n}\n" for n in range(PROMPTS)))
        yield Path(name)


def words(folder: Path, output: str, *more: str) -> tuple[str, ...]:
    """The command; K and gamma are fixed, so the seed settles the text."""
    files = ("--prompts", str(folder / "p.txt"), "--output", str(folder / output))
    how = ("--max-new-tokens", "8", "--seed", "4", "--link", "delay 20ms", *more)
    return ("generate", *files, *SYNTHETIC, *how)


def answers(path: Path) -> dict[str, Any]:
    """Texts by id, each id once."""
    found = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert len({one["id"] for one in found}) == len(found)
    return {one["id"]: one["text"] for one in found}


@pytest.mark.slow
def test_stopped_in_the_middle_it_goes_on(folder: Path) -> None:
    """No answer is lost or asked for twice, the texts are those of one run, and nothing outlives either."""
    path = folder / "a.jsonl"
    with started(*words(folder, "a.jsonl", "--at-once", "2"), temporary=folder) as process:
        wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") >= 2, "two answers")
        nodes = children(process.pid)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 130, err
    assert nodes and b"the same command goes on with the rest" in err
    before = path.read_bytes()
    assert before.endswith(b"\n") and 2 <= len(answers(path)) < PROMPTS
    ran = finished(*words(folder, "a.jsonl", "--at-once", "8"), temporary=folder)
    assert ran.returncode == 0, ran.stderr
    assert f"{before.count(bytes([10]))} of {PROMPTS} prompts are answered already" in ran.stderr
    assert path.read_bytes().startswith(before)
    whole = finished(*words(folder, "b.jsonl"), temporary=folder)
    assert whole.returncode == 0, whole.stderr
    assert answers(path) == answers(folder / "b.jsonl") and len(answers(path)) == PROMPTS
    assert set(answers(path)) == {str(n + 1) for n in range(PROMPTS)}
