"""Reading records: the JSON lines that nodes and experiments append, as typed values.

A record holds lines of several nodes in the order they were written. What is read here: `step` (of the BS,
one a verification step), `rows` and `decision` (of the controller), `link`, `lateness` and `channel.late` (of
the channel), `outcome` and `answer` (of who asked). Other lines are counted and left alone: a later version
may write more.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar, get_origin, get_type_hints

import orjson

from draftwire.codecs.control import COUPLED, REJECTION
from draftwire.nodes.channel.punctuality import late_words
from draftwire.nodes.console.outcome import OUTCOME_EVENT, Outcome
from draftwire.nodes.controller.belief import Belief
from draftwire.runtime.errors import ConfigurationError, nearest
from draftwire.runtime.telemetry import (
    ANSWER_EVENT,
    DECISION_EVENT,
    LATE_EVENT,
    LATENESS_EVENT,
    LINK_EVENT,
    ROWS_EVENT,
    STEP_EVENT,
)

T = TypeVar("T")


class RecordError(ConfigurationError):
    """Raised when a file is no record, or a line is not what its event says; names file and line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One verification step, as the BS reported it. The fields are StepReport's."""

    device: str
    request: int
    step: int
    k: int
    gamma: int
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
    alone: bool
    temperature: float
    device_step_s: float | None
    ended_at_s: float
    pinned_k: int | None
    pinned_gamma: int | None
    min_draft: int
    early_stop: bool
    tokens: int
    "that it appended to the log"
    pinned_min_draft: int | None
    acceptance: str = REJECTION
    bs: str | None = None
    "of a simulation: the base station; None: a real run's record, which knows of one"

    @property
    def hints(self) -> bool:
        """Whether its drafts were hints: `seen` and `accepted` are then of other steps' drafts too."""
        return self.acceptance == COUPLED or self.temperature == 0

    @property
    def pinned(self) -> bool:
        """Whether the controller had nothing to choose. K is nothing where only ids travel."""
        if self.pinned_gamma == 0:
            return True
        other = self.pinned_min_draft if self.hints else self.pinned_k
        return self.pinned_gamma is not None and other is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows that came, or what they told; fields of RowsReport."""

    device: str
    request: int
    step: int
    k: int
    rows_bytes: int
    draft_at_s: float
    rows_at_s: float
    positions: int
    """that they tell acceptance at; 0: one row of a path, when it came. It has another line once the log has
    its position"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the controller chose, and what it believed then."""

    device: str
    request: int
    step: int
    "whose report it answers"
    at_s: float
    k: int
    gamma: int
    min_draft: int
    early_stop: bool
    patience_s: float | None
    "where only ids travel: how long a free target waits for min_draft of them; None: as its file says"
    uplink_bps: int
    "by which the device paces itself there; 0: by nothing"
    belief: Belief | None
    "None: a policy without a model"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChange:
    """What one direction of the emulated link does from `at_s` on."""

    direction: str
    "uplink or downlink"
    device: str | None
    "whose, and of the names below it; None: of all that have none of their own"
    ordered: bool
    "whether it came by an order, which takes the place of what devices had of their own"
    link: str
    "its words"
    rate_bps: float | None
    "None: sending takes no time, or the rate moves by itself; 0: an outage"
    mean_rate_bps: float | None
    "None: sending takes no time"
    delay_s: float
    jitter_s: float
    seed: int | None
    "of the channel; None: not told"
    began_s: float | None
    "since when its rate is what it is: time 0 of a trace or of fading; None: not told"
    rates_before: int
    "how often the rate had become another one by then: tells one fading from another"
    at_s: float
    bs: str | None = None
    "whose channel; see Step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """How far behind their due times the channel has handed messages over, in a second or a part of one."""

    from_s: float
    to_s: float
    late_us: tuple[int, ...]
    "of each message, in the order in which they were handed over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """A channel was above its budget, over its whole run: its record shows the machine's timing as well."""

    p50_ms: float
    p99_ms: float
    max_ms: float
    budget_ms: float
    "what the 99th percentile may be"
    messages: int

    def __str__(self) -> str:
        return late_words(p99_ms=self.p99_ms, budget_ms=self.budget_ms)


@dataclass(slots=True, kw_only=True)
class Record:
    """All of a file, each kind in the order of its lines. Times are the recording host's monotonic clock."""

    path: Path
    steps: list[Step] = field(default_factory=list)
    rows: list[Rows] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    links: list[LinkChange] = field(default_factory=list)
    lateness: list[Lateness] = field(default_factory=list)
    late: list[Late] = field(default_factory=list)
    "at most one of each run of a channel"
    outcomes: list[Outcome] = field(default_factory=list)
    answers: list[Mapping[str, Any]] = field(default_factory=list)
    "the fields of `generate --json`"
    headers: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    "what an experiment wrote about itself: event -> fields; the last of each"
    others: Counter[str] = field(default_factory=Counter)
    "lines of other events"
    cut: bool = False
    "whether the last line is incomplete: somebody still writes, or was killed"
    torn: int = 0
    "other lines that are incomplete"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for whoever reads figures of it: the channel was late, in the worst of its runs."""
        worst = max(self.late, key=lambda one: one.p99_ms, default=None)
        return () if worst is None else (str(worst),)


def of_device(record: Record, device: str) -> Record:
    """What of a record concerns one device: its steps and decisions, and the links of its base station.

    Raises RecordError for a device that has no step in it.
    """
    steps = [one for one in record.steps if one.device == device]
    if not steps:
        known = sorted({one.device for one in record.steps})
        raise RecordError(
            f"holds no step of a device {device!r}",
            source=str(record.path),
            remedy=nearest(device, known) if known else "record a run with --record FILE",
        )
    stations = {one.bs for one in steps}
    return replace(
        record,
        steps=steps,
        rows=[one for one in record.rows if one.device == device],
        decisions=[one for one in record.decisions if one.device == device],
        links=[one for one in record.links if one.bs in stations],
        answers=[one for one in record.answers if one.get("device", device) == device],
    )


HEADERS: Final = ("compare",)


def read_record(path: Path) -> Record:
    """The record in a file: see record_of. Raises RecordError for one that can't be read or is none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(str(error.strerror), source=str(path), remedy="name a file of --record") from None
    return record_of(data, path)


def record_of(data: bytes, path: Path) -> Record:
    """The record that these lines are. Raises RecordError where they are none, naming the line in `path`.

    A last line that was cut off is left out, and so is one further up, as a full disk may leave it. A step
    told twice, by BS and controller, counts once; a BS that restarts counts the steps of a request from 0
    again, so two steps are told apart by their times too.
    """
    record = Record(path=path)
    lines = data.split(b"\n")
    told = set[tuple[str, int, int, float]]()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            if number == len(lines):
                record.cut = True
                break
            if line.startswith(b'{"'):
                record.torn += 1
                continue
            raise RecordError(
                "this line is no JSON", source=f"{path}:{number}", remedy="give a file that --record wrote"
            ) from None
        _take(record, event, told, source=f"{path}:{number}")
    if not any((record.steps, record.decisions, record.outcomes, record.links, record.answers)):
        known = "no event of a run" if record.others or record.rows else "nothing"
        raise RecordError(f"holds {known}", source=str(path), remedy="record a run with --record FILE")
    record.steps.sort(key=lambda one: one.ended_at_s)
    record.decisions.sort(key=lambda one: one.at_s)
    record.links.sort(key=lambda one: one.at_s)
    return record


def _take(record: Record, event: Any, told: set[tuple[str, int, int, float]], *, source: str) -> None:
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        raise RecordError("this line is no event", source=source, remedy="give a file that --record wrote")
    kind = event["event"]
    if kind == STEP_EVENT:
        step = _value(Step, _older_step(event) | event, source)
        if (key := (step.device, step.request, step.step, step.ended_at_s)) not in told:
            told.add(key)
            record.steps.append(step)
    elif kind == ROWS_EVENT:
        low = event.get("low")
        positions = len(low) if isinstance(low, list) else 1
        record.rows.append(_value(Rows, {**event, "positions": positions}, source))
    elif kind == DECISION_EVENT:
        record.decisions.append(_decision(event, source))
    elif kind == LINK_EVENT:
        older = {**_OLDER_LINK, "mean_rate_bps": event.get("rate_bps")}
        record.links.append(_value(LinkChange, older | event, source))
    elif kind == LATENESS_EVENT:
        record.lateness.append(_lateness(event, source))
    elif kind == LATE_EVENT:
        record.late.append(_value(Late, event, source))
    elif kind == OUTCOME_EVENT:
        try:
            record.outcomes.append(Outcome.from_fields(event))
        except (KeyError, TypeError) as error:
            raise _odd(kind, str(error), source) from None
    elif kind == ANSWER_EVENT:
        record.answers.append(event)
    elif kind in HEADERS:
        record.headers[kind] = event
    else:
        record.others[kind] += 1


def _older_step(event: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that records of real runs, or older ones, lack: there blocks were waited for, whole."""
    accepted = event.get("accepted")
    return {
        "acceptance": REJECTION,
        "bs": None,
        "min_draft": event.get("gamma"),
        "early_stop": False,
        "tokens": accepted + 1 if type(accepted) is int else 1,
        "pinned_min_draft": event.get("pinned_gamma"),
    }


_OLDER_LINK: Final = {
    "device": None,
    "ordered": False,
    "seed": None,
    "began_s": None,
    "rates_before": 0,
    "bs": None,
}
"""The same of a link's line."""


def _decision(event: Mapping[str, Any], source: str) -> Decision:
    try:
        belief = None if event.get("belief") is None else Belief.from_fields(event["belief"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _odd(DECISION_EVENT, f"belief: {error}", source) from None
    older = {"min_draft": event.get("gamma"), "early_stop": False, "patience_s": None, "uplink_bps": 0}
    return _value(Decision, {**older, **event, "belief": belief}, source)


def _lateness(event: Mapping[str, Any], source: str) -> Lateness:
    late_us = event.get("late_us")
    if not isinstance(late_us, list) or not all(type(one) is int for one in late_us):
        raise _odd(LATENESS_EVENT, "late_us is no list of whole numbers", source)
    return _value(Lateness, {**event, "late_us": tuple(late_us)}, source)


def _value(kind: type[T], event: Mapping[str, Any], source: str) -> T:
    """The event's fields as a value of this class; what the class does not know is left out."""
    values = {}
    for name, hint in get_type_hints(kind).items():
        if name not in event:
            raise _odd(event["event"], f"{name} is missing", source)
        value = event[name]
        if hint is float or (type(value) is int and hint == float | None):
            value = float(value) if type(value) in (int, float) else value
        kind_of_value = tuple if get_origin(hint) is tuple else hint
        if not isinstance(value, kind_of_value) or (isinstance(value, bool) and hint is not bool):
            raise _odd(event["event"], f"{name} is {value!r}", source)
        values[name] = value
    return kind(**values)


def _odd(kind: str, problem: str, source: str) -> RecordError:
    return RecordError(
        f"a line of event {kind!r} that can't be read ({problem})",
        source=source,
        remedy="record the run again with this version",
    )


__all__ = [
    "Decision",
    "Late",
    "Lateness",
    "LinkChange",
    "Record",
    "RecordError",
    "Rows",
    "Step",
    "of_device",
    "read_record",
    "record_of",
]
