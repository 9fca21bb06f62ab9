"""Events: one canonical one a step, JSON or lines, and what is recorded."""

import dataclasses
import io
import os
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
import structlog
from tests.harness.reports import REPORT as A_REPORT
from tests.harness.reports import ROWS

from draftwire.codecs.control import RowsReport, StepReport
from draftwire.codecs.messages import Plan
from draftwire.runtime.telemetry import (
    LATE_EVENT,
    LATENESS_EVENT,
    RECORDED,
    Recorder,
    StepFields,
    get_logger,
    log_rows,
    log_step,
    set_up_logging,
    step_fields,
)

REPORT = replace(
    A_REPORT, plan=Plan(number=2, k=32, gamma=4, min_draft=3), drafted=4, computed=5, rows_at_s=None
)


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_the_canonical_event_has_the_names_of_the_report() -> None:
    """Field names are those of StepReport, and of Plan for its plan: logs, metrics and wire agree."""
    names = {field.name for field in dataclasses.fields(StepReport)} - {"plan"}
    plan = {field.name for field in dataclasses.fields(Plan)} - {"number"}
    assert set(StepFields.__annotations__) == names | plan | {"plan"}
    assert set(step_fields(REPORT)) == set(StepFields.__annotations__)


def test_a_step_is_one_event() -> None:
    """log_step emits exactly one event, named `step`, with every field of the report."""
    with structlog.testing.capture_logs() as events:
        log_step(get_logger("target"), **step_fields(REPORT))
    (event,) = events
    assert event["event"] == "step" and event["node"] == "target"
    assert (event["plan"], event["k"], event["gamma"], event["min_draft"]) == (2, 32, 4, 3)
    assert event["rows_at_s"] is None and event["accepted"] == 2


def test_json_where_nobody_watches() -> None:
    """On a stream that is no terminal every event is one JSON object a line, unprintable values included."""
    stream = io.StringIO()
    set_up_logging(stream=stream)
    get_logger("channel").info("hello", odd=object(), path=Path("x"))
    get_logger("channel").debug("hidden")
    (line,) = stream.getvalue().splitlines()
    event = orjson.loads(line)
    assert event["event"] == "hello" and event["node"] == "channel" and event["level"] == "info"


def test_lines_for_people_on_request() -> None:
    """`json=False` renders a line for people, without colours where there is no terminal."""
    stream = io.StringIO()
    set_up_logging(stream=stream, json=False)
    get_logger("channel").info("hello", device="device-1")
    assert "hello" in stream.getvalue() and "device=device-1" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_lateness_goes_to_a_record_and_to_no_line(tmp_path: Path) -> None:
    """Its thousands of numbers are kept where they are asked for; the mark of a late run is told to all."""
    stream = io.StringIO()
    with Recorder(tmp_path / "r") as recorder:
        set_up_logging(stream=stream, recorder=recorder)
        get_logger("channel").info(LATENESS_EVENT, from_s=0.0, to_s=1.0, late_us=[5, 0])
        get_logger("channel").warning(LATE_EVENT, p99_ms=3.0)
    recorded = [orjson.loads(line) for line in (tmp_path / "r").read_bytes().splitlines()]
    assert [(one["event"], one.get("late_us")) for one in recorded] == [
        ("lateness", [5, 0]),
        ("channel.late", None),
    ]
    assert [orjson.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["channel.late"]
    set_up_logging(stream=stream)
    get_logger("channel").info(LATENESS_EVENT, from_s=0.0, to_s=1.0, late_us=[5, 0])
    assert "lateness" not in stream.getvalue()


def test_rows_are_one_event() -> None:
    """log_rows emits one event, named `rows`, under the names of RowsReport; a record can hold its values."""
    with structlog.testing.capture_logs() as events:
        log_rows(get_logger("controller"), ROWS)
    (event,) = events
    assert event["event"] == "rows" and event["node"] == "controller"
    assert {field.name for field in dataclasses.fields(RowsReport)} <= set(event)
    assert orjson.loads(orjson.dumps(event))["alphas"][1][6] == 0.4


def test_the_recorder_appends_the_events_it_is_for(tmp_path: Path) -> None:
    """A recorded file holds events of these names alone, one JSON object a line, and grows over runs."""
    path = tmp_path / "record.jsonl"
    for events in ({"step"}, {"rows", "decision"}):
        with Recorder(path, events=events) as recorder:
            set_up_logging(stream=io.StringIO(), recorder=recorder)
            get_logger("target").info("something else")
            log_step(get_logger("target"), **step_fields(REPORT))
            log_rows(get_logger("controller"), ROWS)
            get_logger("controller").info("decision", k=3)
            assert path.read_bytes().endswith(b"\n")  # in the file already
    events_read = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert [event["event"] for event in events_read] == ["step", "rows", "decision"]
    assert events_read[0]["rows_bytes"] == 400
    assert events_read[1]["ladder"] == list(ROWS.ladder)


def test_a_recorder_takes_every_recorded_event_by_default(tmp_path: Path) -> None:
    """Without a choice of its own it appends what a record may hold; after close, nothing."""
    path = tmp_path / "record.jsonl"
    recorder = Recorder(path)
    set_up_logging(stream=io.StringIO(), recorder=recorder)
    for name in (*RECORDED, "something else"):
        get_logger("target").info(name)
    recorder.close()
    get_logger("target").info(RECORDED[0])
    recorder.close()
    assert [orjson.loads(line)["event"] for line in path.read_bytes().splitlines()] == list(RECORDED)


def test_a_line_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its length, so that lines of several processes never mix."""
    written = list[bytes]()

    def write(file: int, data: bytes) -> int:
        written.append(data)
        return len(data)

    monkeypatch.setattr("os.write", write)
    with Recorder(tmp_path / "record.jsonl") as recorder:
        recorder.write({"event": "answer", "text": "x" * 100_000})
    assert len(written) == 1 and written[0].endswith(b"}\n")


def test_a_full_disk_costs_whole_lines_and_stops_nobody(tmp_path: Path) -> None:
    """What does not fit is lost and told once; with room again the file goes on, and every line is whole."""
    path, stream = tmp_path / "record.jsonl", io.StringIO()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Recorder(path) as recorder:
        set_up_logging(stream=stream, recorder=recorder, json=True)
        for room in (100, hard):
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
            try:
                for number in range(4):
                    get_logger("target").info("step", number=number, text="x" * 5)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [orjson.loads(line)["number"] for line in path.read_bytes().splitlines()] == [0, 1, 2, 3]
    told = [orjson.loads(line) for line in stream.getvalue().splitlines()]
    (failed,) = (one for one in told if one["event"] == "record.failed")
    (goes_on,) = (one for one in told if one["event"] == "record.goes_on")
    assert failed["path"] == str(path) and failed["node"] == "target" and goes_on["lost"] == 4


def test_a_part_of_a_line_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it stays, as another process has appended behind it, the next line begins anew."""
    path, write, torn = tmp_path / "record.jsonl", os.write, 2

    def tear(file: int, data: bytes) -> int:
        nonlocal torn
        if not torn:
            return write(file, data)
        torn -= 1
        size = write(file, data[: len(data) // 2])
        with path.open("ab") as other:
            other.write(b"another's, cut as well")
        return size

    with Recorder(path) as recorder:
        monkeypatch.setattr("os.write", tear)
        for number in range(4):
            recorder.write({"event": "step", "number": number})
    whole = [line for line in path.read_bytes().splitlines() if line.endswith(b"}")]
    assert [orjson.loads(line)["number"] for line in whole] == [2, 3]


def test_a_record_that_is_a_pipe_takes_nothing_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A write that was cut there is told, as any other, and the next line begins anew."""
    pipe, write = tmp_path / "pipe", os.write
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with Recorder(pipe) as recorder:
        with monkeypatch.context() as patched:
            patched.setattr("os.write", lambda file, data: write(file, data[:8]))
            recorder.write({"event": "step", "number": 0})
        recorder.write({"event": "step", "number": 1})
        cut, whole = os.read(reader, 4096).splitlines()
    os.close(reader)
    assert len(cut) == 8 and orjson.loads(whole)["number"] == 1


def test_a_log_that_takes_nothing_stops_nobody() -> None:
    """A full disk behind stderr: the call returns, and the next event that fits is there."""

    class Full(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            return super().write(text)

    stream = Full()
    set_up_logging(stream=stream, json=True)
    get_logger("target").warning("lost")
    stream.full = False
    get_logger("target").warning("told")
    assert [orjson.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["told"]


def test_recorders_of_one_file_do_not_overwrite_each_other(tmp_path: Path) -> None:
    """Two that are open at the same time both append at the end, wherever that is by then."""
    path = tmp_path / "record.jsonl"
    with Recorder(path) as one, Recorder(path) as other:
        for number in range(100):
            (one, other)[number % 2].write({"event": "step", "number": number, "text": "x" * (number * 50)})
    lines = [orjson.loads(line)["number"] for line in path.read_bytes().splitlines()]
    assert lines == list(range(100))
