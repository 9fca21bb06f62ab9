"""What a node tells about itself: structured events, one of them for each verification step.

Events go to stderr: as lines for people on a terminal, as JSON otherwise. The event of a verification step is
the canonical one: everything that is known about the step in one place, under the names of StepReport, which
are also those of metrics and of recorded files.
"""

import os
import stat
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TextIO, TypedDict, Unpack

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from draftwire.codecs.control import RowsReport, StepReport

STEP_EVENT: Final = "step"
"""The name of the canonical event."""

ROWS_EVENT: Final = "rows"
"""What the rows of a tested block told; its fields are those of RowsReport."""

DECISION_EVENT: Final = "decision"
"""A plan that the controller made, and the belief that it rests on."""

LINK_EVENT: Final = "link"
"""What a channel's links do from now on."""

ANSWER_EVENT: Final = "answer"
"""An answer as its device saw it."""

LATENESS_EVENT: Final = "lateness"
"""How late a channel has handed messages over, one by one, each second."""

LATE_EVENT: Final = "channel.late"
"""A channel was later than it may be, over its whole run."""

SHARES_EVENT: Final = "channel.shares"
"""Which share of a shared radio's time each device has had, each second while anything was sent."""

ALIVE_EVENT: Final = "alive"
"""A node is there, and in which role; to an observer only, as the next three, and `answer`, are told."""

TRAFFIC_EVENT: Final = "traffic"
"""What each link of a channel has carried so far, and its true rate."""

ASKED_EVENT: Final = "asked"
"""A device begins an answer."""

TOKENS_EVENT: Final = "tokens"
"""What an answer has grown by."""

RECORDED: Final = (
    STEP_EVENT,
    ROWS_EVENT,
    DECISION_EVENT,
    LINK_EVENT,
    LATENESS_EVENT,
    LATE_EVENT,
    SHARES_EVENT,
    ANSWER_EVENT,
)
"""The events that a record may hold. Each is recorded by one node: steps by the target, rows and decisions by
the controller, links, lateness and shares by the channel, answers where they are shown."""

RECORD_ONLY: Final = frozenset({LATENESS_EVENT})
"""Those that go nowhere else: thousands of numbers are no line for people."""


class StepFields(TypedDict):
    """The canonical event of a verification step: StepReport's fields, its plan taken apart."""

    device: str
    request: int
    step: int
    plan: int
    "number of the plan that the block was drawn with; without drafts: in force"
    k: int
    gamma: int
    min_draft: int
    blockwise: bool
    early_stop: bool
    uplink_bps: int
    position: int
    drafted: int
    seen: int
    accepted: int
    computed: int
    step_s: float
    wait_s: float
    hold_s: float
    draft_bytes: int
    rows_bytes: int
    draft_at_s: float
    rows_at_s: float | None
    alone: bool
    temperature: float
    device_step_s: float | None
    asked_at_s: float | None
    asked_bytes: int
    ended_at_s: float
    echo_s: float | None
    echo_bytes: int
    pinned_k: int | None
    pinned_gamma: int | None
    tables: str
    acceptance: str
    tokens: int
    asked_drafted: int
    pinned_min_draft: int | None
    resting: bool
    pass_sessions: int
    pass_rows: int


def step_fields(report: StepReport) -> StepFields:
    """A report as the fields of the canonical event."""
    return StepFields(
        device=report.device,
        request=report.request,
        step=report.step,
        plan=report.plan.number,
        k=report.plan.k,
        gamma=report.plan.gamma,
        min_draft=report.plan.min_draft,
        blockwise=report.plan.blockwise,
        early_stop=report.plan.early_stop,
        uplink_bps=report.plan.uplink_bps,
        position=report.position,
        drafted=report.drafted,
        seen=report.seen,
        accepted=report.accepted,
        computed=report.computed,
        step_s=report.step_s,
        wait_s=report.wait_s,
        hold_s=report.hold_s,
        draft_bytes=report.draft_bytes,
        rows_bytes=report.rows_bytes,
        draft_at_s=report.draft_at_s,
        rows_at_s=report.rows_at_s,
        alone=report.alone,
        temperature=report.temperature,
        device_step_s=report.device_step_s,
        asked_at_s=report.asked_at_s,
        asked_bytes=report.asked_bytes,
        ended_at_s=report.ended_at_s,
        echo_s=report.echo_s,
        echo_bytes=report.echo_bytes,
        pinned_k=report.pinned_k,
        pinned_gamma=report.pinned_gamma,
        tables=report.tables,
        acceptance=report.acceptance,
        tokens=report.tokens,
        asked_drafted=report.asked_drafted,
        pinned_min_draft=report.pinned_min_draft,
        resting=report.resting,
        pass_sessions=report.pass_sessions,
        pass_rows=report.pass_rows,
    )


def log_step(logger: FilteringBoundLogger, **values: Unpack[StepFields]) -> None:
    """Log the canonical event of one verification step."""
    logger.info(STEP_EVENT, **values)


_ROWS_FIELDS: Final = tuple(field.name for field in fields(RowsReport))


def rows_fields(report: RowsReport) -> dict[str, Any]:
    """A report as the fields of a `rows` event."""
    return {name: getattr(report, name) for name in _ROWS_FIELDS}


def log_rows(logger: FilteringBoundLogger, report: RowsReport) -> None:
    """Log what the rows of one block told."""
    logger.info(ROWS_EVENT, **rows_fields(report))


class Recorder:
    """Appends events of some names to a file, one JSON object a line; a place in set_up_logging's pipeline.

    Each line is in the file when the event's log call returns, so a killed process loses none. Several
    processes may append to one file: a line is one write, at the file's end wherever that is by then. A disk
    that is full costs lines, whole ones, and stops nobody; once there is room the file goes on. A part of a
    line stays only where another process has written behind it, or in a pipe; the next line begins anew.
    """

    def __init__(self, path: Path, *, events: Collection[str] = RECORDED, private: bool = False) -> None:
        """`events`: the names of those that this process records; `private`: the file is its owner's alone.

        Raises OSError for a file that can't be written.
        """
        self._events = frozenset(events)
        self._path = path
        self._lost = 0
        "lines since the last one that is in the file"
        self._torn = False
        "whether the last of ours stays there in part"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file: int | None = os.open(path, flags, 0o600 if private else 0o666)
        if private and stat.S_ISREG(os.fstat(self._file).st_mode):
            os.fchmod(self._file, 0o600)  # one that was there already

    def __call__(self, logger: object, method: str, event: EventDict) -> EventDict:
        if event.get("event") in self._events:
            self.write(event)
        return event

    def write(self, event: Mapping[str, Any]) -> None:
        """Append an event, whatever its name; the first one that is lost is told to the log, and the end."""
        if self._file is None:
            return
        detail, torn = _appended(self._file, b"\n" * self._torn + _json(event) + b"\n")
        self._torn = torn or (self._torn and bool(detail))
        log = get_logger(str(event.get("node", "record")))
        if detail:
            self._lost += 1
            if self._lost == 1:
                log.error("record.failed", path=str(self._path), detail=detail)
        elif self._lost:
            lost, self._lost = self._lost, 0
            log.warning("record.goes_on", path=str(self._path), lost=lost)

    def close(self) -> None:
        """Close the file; idempotent, and what is logged later is not recorded."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _appended(file: int, line: bytes) -> tuple[str, bool]:
    """Append a line in one write; why it could not be, empty: it is there. And whether a part of it is."""
    try:
        written = os.write(file, line)
    except OSError as error:
        return error.strerror or str(error), False
    if written == len(line):
        return "", False
    with suppress(OSError):  # a pipe takes nothing back
        end = os.lseek(file, 0, os.SEEK_CUR)
        if os.fstat(file).st_size == end:  # nobody has appended behind it
            os.ftruncate(file, end - written)
            return "the disk is full", False
    return "the disk is full", True


class _Lines(structlog.PrintLogger):
    """Prints events. A stream that takes none, as on a full disk, loses them and stops nobody."""

    def msg(self, message: str) -> None:
        """Print one."""
        with suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


def set_up_logging(
    *,
    level: str = "info",
    json: bool | None = None,
    stream: TextIO | None = None,
    recorder: Recorder | None = None,
    reporter: Processor | None = None,
) -> None:
    """Send this process's events of `level` and above to `stream`, or stderr.

    `json` None: JSON unless it is a terminal. `reporter`: who else sees each of them; see reporting.py.
    """
    stream = sys.stderr if stream is None else stream
    as_json = not stream.isatty() if json is None else json
    pipeline: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if recorder is not None:
        pipeline.append(recorder)
    if reporter is not None:
        pipeline.append(reporter)
    pipeline.append(_without_numbers)
    renderer: Processor
    if as_json:
        pipeline.append(structlog.processors.format_exc_info)
        renderer = _json_text
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=stream.isatty())
    structlog.configure(
        processors=[*pipeline, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Lines(stream),
        cache_logger_on_first_use=False,  # a test, or a second call, may still change the configuration
    )


def get_logger(node: str) -> FilteringBoundLogger:
    """A logger whose events all name the node."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger.bind(node=node)


def _without_numbers(logger: object, method: str, event: EventDict) -> EventDict:
    if event.get("event") in RECORD_ONLY:
        raise structlog.DropEvent
    return event


def _json_text(logger: object, method: str, event: EventDict) -> str:
    return _json(event).decode()


def _json(event: Mapping[str, Any]) -> bytes:
    return orjson.dumps(dict(event), default=repr, option=orjson.OPT_SERIALIZE_NUMPY)


__all__ = [
    "ALIVE_EVENT",
    "ANSWER_EVENT",
    "ASKED_EVENT",
    "DECISION_EVENT",
    "LINK_EVENT",
    "RECORDED",
    "ROWS_EVENT",
    "SHARES_EVENT",
    "STEP_EVENT",
    "TOKENS_EVENT",
    "TRAFFIC_EVENT",
    "Recorder",
    "StepFields",
    "get_logger",
    "log_rows",
    "log_step",
    "rows_fields",
    "set_up_logging",
    "step_fields",
]
