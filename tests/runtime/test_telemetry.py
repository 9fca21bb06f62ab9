"""Events: one canonical one a step, JSON or lines, and what is recorded."""

import dataclasses
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
import structlog
from tests.harness.reports import REPORT as A_REPORT

from draftwire.codecs.control import StepReport
from draftwire.codecs.messages import Plan
from draftwire.runtime.telemetry import (
    Recorder,
    StepFields,
    get_logger,
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


def test_the_recorder_appends_steps_only(tmp_path: Path) -> None:
    """A recorded file holds canonical events alone, one JSON object a line, and grows over runs."""
    path = tmp_path / "steps.jsonl"
    for _ in range(2):
        with Recorder(path) as recorder:
            set_up_logging(stream=io.StringIO(), recorder=recorder)
            get_logger("target").info("something else")
            log_step(get_logger("target"), **step_fields(REPORT))
            assert path.read_bytes().endswith(b"\n")  # in the file already
    events = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert len(events) == 2
    assert events[0]["event"] == "step" and events[0]["rows_bytes"] == 400
