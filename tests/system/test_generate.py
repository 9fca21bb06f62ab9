"""`draftwire generate` as four real processes: what it prints and records, and that nothing outlives it."""

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_type_hints

import orjson
import pytest
from tests.harness.processes import (
    SYNTHETIC,
    WITHIN_S,
    alive,
    arguments,
    children,
    command,
    finished,
    sockets_in,
    started,
    wait_until,
)
from tests.harness.tables import in_order

from draftwire.codecs.tables import table_set_bytes
from draftwire.nodes.controller.belief import Belief
from draftwire.nodes.models.synthetic import SyntheticTokenizer
from draftwire.runtime.telemetry import StepFields

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are found through /proc")

SUMMARY: dict[str, type | tuple[type, ...]] = {
    "text": str,
    "finish": str,
    "seed": int,
    "tokens": int,
    "resumed_tokens": int,
    "tokens_per_s": float,
    "first_token_s": float,
    "target_only_tokens_per_s_estimated": float,
    "alpha": float,
    "steps": int,
    "acceptance": str,
    "drafted": int,
    "used": int,
    "wasted": int,
    "outstanding": int,
    "passes": int,
    "passes_per_token": float,
    "seen": int,
    "accepted": int,
    "bytes_up": int,
    "bytes_down": int,
    "draft_bytes": int,
    "rows_bytes": int,
    "full_rows_bytes": int,
    "sparse_frames": int,
    "bits_per_entry": float,
    "tables": str,
    "k": int,
    "gamma": int,
    "min_draft": type(None),
    "max_waste": type(None),
    "k_used": dict,
    "gamma_used": dict,
    "min_draft_used": dict,
    "synchronous": int,
    "paced": bool,
    "overruns": type(None),
}
"""Keys of --json and their types, for a speculative answer at native speed."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place for temporary files with a short name: the path of a socket has at most 107 bytes."""
    with TemporaryDirectory(prefix="dw-") as name:
        yield Path(name)


def test_json_and_record(folder: Path) -> None:
    """--json has all keys with their types, the record has every step and the answer; nothing is left."""
    record = folder / "record.jsonl"
    ran = finished(
        "generate", "hello", *SYNTHETIC, "--max-new-tokens", "30", "--json", "--record", str(record),
        temporary=folder,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    fields = orjson.loads(ran.stdout)
    assert list(fields) == list(SUMMARY)
    for key, kind in SUMMARY.items():
        assert isinstance(fields[key], kind), f"{key}: {fields[key]!r}"
    assert (fields["tokens"], fields["k"], fields["gamma"], fields["finish"]) == (30, 8, 4, "length")
    assert len(fields["text"].split()) == 30
    assert fields["k_used"] == {"8": fields["steps"]} and fields["gamma_used"] == {"4": fields["steps"]}
    events = _events(record)
    assert events["answer"] == [{"event": "answer", **fields}]
    assert set(events) <= {"step", "rows", "decision", "link", "lateness", "channel.late", "answer"}
    assert sum(len(one["late_us"]) for one in events["lateness"]) >= 2 * len(events["step"])
    steps = events["step"]
    assert [step["step"] for step in steps] == list(range(fields["steps"]))
    assert {(step["pinned_k"], step["pinned_gamma"]) for step in steps} == {(8, 4)}
    # Rows and decisions are told by the controller, which on a busy machine is behind when the answer ends.
    told = [one["step"] for one in events.get("rows", [])]
    assert len(set(told)) == len(told) and set(told) <= set(range(fields["steps"]))
    for step in steps:
        _check_step(step)
    assert sum(step["accepted"] for step in steps) == fields["accepted"]
    assert [path for path in folder.iterdir() if path != record] == []


def test_both_ends_spell_rows_with_a_set_that_they_are_given(folder: Path) -> None:
    """The answer and every step say which one, and rows are as short as it makes them."""
    one = replace(
        in_order(64, heads=(64,)), fingerprint=SyntheticTokenizer(64).fingerprint, label="a bit an id"
    )
    path, record = folder / "a.tables", folder / "record.jsonl"
    path.write_bytes(table_set_bytes(one))
    ran = finished(
        "generate", "hello", *SYNTHETIC[:4], "--k", "32", "--gamma", "4", "--max-new-tokens", "20", "--json",
        "--record", str(record), "--tables", str(path), temporary=folder,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert orjson.loads(ran.stdout)["tables"] == one.hash.hex()
    assert {step["tables"] for step in _events(record)["step"]} == {one.hash.hex()}


def _events(record: Path) -> dict[str, list[dict[str, Any]]]:
    events: dict[str, list[dict[str, Any]]] = {}
    for line in record.read_bytes().splitlines():
        event = orjson.loads(line)
        events.setdefault(event["event"], []).append(event)
    return events


def test_the_controller_chooses_what_is_not_fixed(folder: Path) -> None:
    """With K alone fixed gamma is the controller's; each step is answered by one decision and its belief."""
    record = folder / "record.jsonl"
    pair = SYNTHETIC[:4]
    ran = finished(
        "generate", "hello", *pair, "--k", "16", "--max-new-tokens", "60", "--json", "--record", str(record),
        temporary=folder,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    fields, events = orjson.loads(ran.stdout), _events(record)
    assert set(fields["k_used"]) <= {"16"}
    assert sum(fields["gamma_used"].values()) == fields["steps"] == len(events["step"])
    assert {(step["pinned_k"], step["pinned_gamma"]) for step in events["step"]} == {(16, None)}
    begun = events["step"][0]
    assert begun["k"] == 16
    decisions = events["decision"]
    assert 0 < len(decisions) <= len(events["step"])
    assert len({one["step"] for one in decisions}) == len(decisions)
    ended = {step["step"]: step["ended_at_s"] for step in events["step"]}
    for one in decisions:
        assert one["at_s"] == ended[one["step"]]
        assert Belief.from_fields(one["belief"]).tokens_per_s > 0


def _check_step(step: dict[str, Any]) -> None:
    assert step["event"] == "step"
    for key, hint in get_type_hints(StepFields).items():
        value = step[key]
        assert isinstance(value, hint) or (hint is float and type(value) is int), f"{key}: {value!r}"


def test_text_and_one_line(folder: Path) -> None:
    """Without --json the text stands alone on standard output, the one line about it on standard error."""
    options = ("--max-new-tokens", "12", "--link", "rate 1mbit delay 5ms", "--temperature", "0")
    ran = finished("generate", "hello", *SYNTHETIC, *options, temporary=folder)
    assert ran.returncode == 0
    assert len(ran.stdout.split()) == 12
    assert ran.stdout.endswith("\n")
    assert "\x1b" not in ran.stdout
    line = ran.stderr.splitlines()[-1]
    pattern = (
        r"12 tokens \| [\d.]+ tok/s \| target-only about [\d.]+ "
        r"\(estimated from step times and the link's rate(; measured it may be lower)?\) \| "
        r"right [\d.]+ \| [\d.]+ k?B up, [\d.]+ k?B down \| ids only \(temperature 0\), (mostly )?gamma 4, "
        r"waits for \d+ \| \d+ drafted: \d+ used, \d+ wasted; [\d.]+ passes a token"
    )
    assert re.fullmatch(pattern, line), line


def test_colours_on_a_terminal(folder: Path) -> None:
    """On a terminal accepted, corrected and bonus tokens have their colours, and nothing else."""
    master, slave = pty.openpty()
    options = ("--max-new-tokens", "60", "--seed", "3")
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "CI")}
    process = subprocess.Popen(
        command("generate", "hello", *SYNTHETIC, *options),
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=subprocess.PIPE,
        env=environment | {"TERM": "xterm-256color", "TMPDIR": str(folder)},
    )
    os.close(slave)
    shown = b""
    try:
        while chunk := os.read(master, 4096):
            shown += chunk
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(master)
        process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0
    words = re.sub(rb"\x1b\[[0-9;]*m", b"", shown).decode().split()
    assert len(words) == 60
    assert all(word.isalpha() for word in words)
    colours = set(re.findall(rb"\x1b\[(3\d)m", shown))
    assert colours == {b"32", b"31", b"36"}, shown


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_in_mid_answer(folder: Path, stop: signal.Signals) -> None:
    """However the command ends, its nodes end too, and none of their sockets stays."""
    options = ("--max-new-tokens", "100000", "--link", "rate 1mbit delay 20ms")
    with started("generate", "hello", *SYNTHETIC, *options, temporary=folder) as process:
        assert process.stdout is not None
        os.read(process.stdout.fileno(), 64)  # the answer has begun
        nodes = children(process.pid)
        assert len(nodes) == 3
        process.send_signal(stop)
        code = process.wait(WITHIN_S)
        wait_until(lambda: not any(alive(pid) for pid in nodes), f"nodes {nodes} outlive {stop!r}")
        said = process.stderr.read() if process.stderr else b""
    assert code == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[stop]
    assert b"Traceback" not in said
    assert sockets_in(folder) == []
    if stop is not signal.SIGKILL:
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("role", ["target", "channel"])
def test_a_node_that_dies_in_mid_answer(folder: Path, role: str) -> None:
    """The command says which node ended and how, ends with an error at once, and leaves nothing."""
    with started("generate", "hello", *SYNTHETIC, "--max-new-tokens", "100000", temporary=folder) as process:
        assert process.stdout is not None and process.stderr is not None
        os.read(process.stdout.fileno(), 64)
        (node,) = [pid for pid in children(process.pid) if role in arguments(pid)]
        os.kill(node, signal.SIGKILL)
        _, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 1
    assert err.splitlines()[-1].decode() == f"draftwire: the {role} ended: signal 9 ended it"
    assert list(folder.iterdir()) == []


def test_a_controller_that_dies_in_mid_answer(folder: Path) -> None:
    """The last plan stays in force: the answer goes on to its end."""
    options = ("--max-new-tokens", "300", "--temperature", "0")
    with started("generate", "hello", *SYNTHETIC, *options, temporary=folder) as process:
        assert process.stdout is not None
        begun = os.read(process.stdout.fileno(), 64)
        (node,) = [pid for pid in children(process.pid) if "controller" in arguments(pid)]
        os.kill(node, signal.SIGKILL)
        rest, _ = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0
    assert len((begun + rest).split()) == 300


def test_a_reader_that_leaves(folder: Path) -> None:
    """A closed pipe on standard output, as behind `head`, ends the command without a traceback."""
    options = ("--max-new-tokens", "5000")
    with started("generate", "hello", *SYNTHETIC, *options, temporary=folder) as process:
        assert process.stdout is not None and process.stderr is not None
        os.read(process.stdout.fileno(), 16)
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(WITHIN_S) == 141
    assert b"Traceback" not in said
    assert list(folder.iterdir()) == []
