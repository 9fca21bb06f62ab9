"""Control-plane messages: reports, plans, registrations, telemetry. Bodies are JSON objects.

They never cross the radio link, so they may be read by people. They travel in the same envelope as data-plane
messages, with kinds from 64 on. What each field takes stands in control_fields.py.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import orjson

from draftwire.codecs.checks import check_one_test, check_range
from draftwire.codecs.control_fields import (
    ANY_DEVICE,
    COUPLED,
    FIELDS,
    REJECTION,
    Json,
    WrongType,
    check_fields,
)
from draftwire.codecs.errors import LocalError, Refusal, WireError
from draftwire.codecs.limits import MAX_CONTROL_BYTES
from draftwire.codecs.messages import Plan

ANY_REQUEST = 0
"""The request of a PlanOrder that holds for every request that starts from now on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """One verification step of one request, from the BS to the controller."""

    device: str
    request: int
    step: int
    "counts the request's steps from 0"
    plan: Plan
    "that the block was drawn with; without drafts: in force"
    position: int
    "log length before the step"
    drafted: int
    "ids in the block"
    seen: int
    """drafted tokens tested, the first rejected one included; where drafts are hints: held against the log
    since the last report, those included that came after the target had decoded their position by itself"""
    accepted: int
    "of `seen`"
    computed: int
    "positions in the target's pass"
    step_s: float
    "the target's pass"
    wait_s: float
    "for the row behind it"
    hold_s: float
    "from the arrival of the Draft to the Commit"
    draft_bytes: int
    rows_bytes: int
    draft_at_s: float
    "arrival of the Draft, BS clock"
    rows_at_s: float | None
    "arrival of the rows, BS clock; None: they had not come, or none were needed"
    alone: bool
    "the target decoded by itself"
    temperature: float
    device_step_s: float | None
    "the draft model's time for one token, where known"
    asked_at_s: float | None
    """when the message that this block answers was first sent, BS clock; None: no block, or not known. Where
    drafts are hints, that the newest path answers: told once, also by a step that had no ids of it yet"""
    asked_bytes: int
    "of that message"
    ended_at_s: float
    "BS clock, with the Commit"
    echo_s: float | None
    "decoding alone: the newest round trip, from a Commit to the Ping that it made the device send"
    echo_bytes: int
    "of both"
    pinned_k: int | None
    "by the user: the controller leaves it; None: free"
    pinned_gamma: int | None
    tables: str = ""
    """hash, in hex, of the set of tables that the block's rows came spelt with, empty: plain. Where rows_at_s
    is null: of the set agreed for the request, which the device may not have heard of"""
    acceptance: str = REJECTION
    "REJECTION or COUPLED; at temperature 0 either, as drafts are hints then whatever it says"
    tokens: int = 0
    "that the step appended to the log"
    asked_drafted: int = 0
    "ids in the message that answers what was asked; under rejection all of the block"
    pinned_min_draft: int | None = None
    "by the user: the controller leaves it; None: free"
    resting: bool = False
    "where drafts are hints: the device has said that none come for now"
    pass_sessions: int = 1
    "requests that the target's pass computed something for, this one included"
    pass_rows: int = 0
    "positions that it computed for all of them, prompts included; 0: not told"

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsReport:
    """What the rows of a tested block tell, from the BS to the controller, above temperature 0.

    Where drafts are hints, of one row that came behind its Draft: without positions when it has come, which
    is what it tells of the link; and once more, with its position, when the log has that, unless the path
    was wrong before it.

    One value a tested position in each of the lists, in order, the first rejected one included. The maths and
    the names: nodes/speculation/acceptance.py.
    """

    device: str
    request: int
    step: int
    "as in the StepReport of the block"
    temperature: float
    k: int
    "entries of each row"
    ladder: tuple[int, ...]
    "K' <= k, rising; its last is k"
    alphas: tuple[tuple[float, ...], ...]
    "sum_x min(p(x), q_K'(x)) by position and K'"
    low: tuple[float, ...]
    "of alpha with whole rows, at least this much"
    high: tuple[float, ...]
    "and at most this much"
    gap: tuple[float, ...]
    "high - low as they would be known from a third of the row's entries"
    filled: tuple[float, ...]
    "and how far above that low the alpha at k lies"
    rows_bytes: int
    "of the frame"
    draft_at_s: float
    """arrival of the block's Draft, BS clock; where drafts are hints, of the message that the row came right
    behind: its Draft, or another row of that"""
    rows_at_s: float
    "arrival of its rows, BS clock"
    tables: str = ""
    "hash, in hex, of the set of tables that the rows came spelt with; empty: plain"
    coupled: tuple[float, ...] = ()
    "the probability that coupled picks of the row and of p are equal, by position; empty: not told"

    def __post_init__(self) -> None:
        check_fields(self)
        positions, remedy = len(self.low), "must have one value a position, as low has"
        for name in ("alphas", "high", "gap", "filled", "coupled"):
            values = getattr(self, name)
            if len(values) != positions and not (name == "coupled" and not values):
                raise LocalError(field=name, value=values, remedy=remedy)
        if any(len(row) != len(self.ladder) for row in self.alphas):
            remedy = "must have one value a K' of the ladder in each of its lists"
            raise LocalError(field="alphas", value=self.alphas, remedy=remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOrder:
    """The controller's wish for a request; the BS numbers it and makes it a Plan."""

    device: str
    "ANY_DEVICE only with ANY_REQUEST"
    request: int
    k: int
    gamma: int
    min_draft: int
    blockwise: bool = False
    "as in Plan"
    early_stop: bool = False
    "as in Plan"
    uplink_bps: int = 0
    "as in Plan"
    patience_s: float | None = None
    "where drafts are hints: how long a free BS waits for min_draft of them; None: as [target] says"
    acceptance: str = REJECTION
    "of ANY_REQUEST: for requests of which acceptance this plan is (REJECTION: drafts bind; COUPLED: hints)"
    preferred: bool = False
    "of ANY_REQUEST: a request that leaves acceptance open takes this one"

    def __post_init__(self) -> None:
        check_fields(self)
        check_range("min_draft", self.min_draft, 0, self.gamma)
        check_one_test(blockwise=self.blockwise, early_stop=self.early_stop)
        if self.preferred and self.request != ANY_REQUEST:
            remedy = "must be False for one request, whose acceptance is settled"
            raise LocalError(field="preferred", value=self.preferred, remedy=remedy)
        if self.device == ANY_DEVICE and self.request != ANY_REQUEST:
            raise LocalError(field="device", value=self.device, remedy="must name the request's device")


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """A node says who it is: its first message to the controller."""

    role: str
    name: str
    vocab_size: int
    "V of the pair it serves"

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One telemetry event of a node."""

    node: str
    at_s: float
    "the node's clock"
    fields: dict[str, Json]

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOrder:
    """A person's wish to a running channel: what links do from now on (runtime/link)."""

    uplink: str | None
    "in the words of tc, or a schedule; None: leave it as it is. The same text for both asks for both"
    downlink: str | None
    device: str | None = None
    "whose: this one's and those of the names below it; None: every device's"

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """A channel's answer: what its links do now, and what was wrong with an order that changed nothing.

    The links are those that the order was for; where its device was refused, every device's.
    """

    uplink: str
    downlink: str
    refused: str | None
    devices: tuple[str, ...] = ()
    "those whose links are others than the rest's, in order; MAX_LISTED_DEVICES at most"

    def __post_init__(self) -> None:
        check_fields(self)


ControlMessage = StepReport | RowsReport | PlanOrder | Register | Event | LinkOrder | LinkState
"""Everything that may stand in a control-plane frame."""

CONTROL_KINDS: Mapping[type, int] = MappingProxyType(
    {StepReport: 64, PlanOrder: 65, Register: 66, Event: 67, RowsReport: 68, LinkOrder: 69, LinkState: 70}
)
"Message class -> its number on the wire."

_SILENT: Mapping[type, Mapping[str, object]] = {LinkOrder: {"device": None}, LinkState: {"devices": ()}}
"Last keys of a class that are left out where they would say no more than this."


def encode_control(message: ControlMessage) -> bytes:
    """The body: JSON without white space, keys in the order of the class. LocalError if over 64 KiB."""
    try:
        body = orjson.dumps(_spoken(message) if type(message) in _SILENT else message)
    except orjson.JSONEncodeError as error:  # lone surrogates
        raise LocalError(field=type(message).__name__, value=message, remedy=str(error)) from None
    if len(body) > MAX_CONTROL_BYTES:
        remedy = f"takes {len(body)} bytes, at most {MAX_CONTROL_BYTES} will do: say less"
        raise LocalError(field=type(message).__name__, value=message, remedy=remedy)
    return body


def decode_control(kind: int, body: bytes) -> ControlMessage:
    """The message of this kind, a value of CONTROL_KINDS, whose one spelling is `body`; else WireError."""
    if len(body) > MAX_CONTROL_BYTES:
        detail = f"{len(body)} bytes, at most {MAX_CONTROL_BYTES} will do"
        raise WireError(reason=Refusal.TOO_LARGE, offset=8 * MAX_CONTROL_BYTES, detail=detail)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise WireError(reason=Refusal.JSON, offset=8 * error.pos, detail=error.msg) from None
    message_type = _CONTROL_TYPES[kind]
    expected: Set[str] = FIELDS[message_type.__name__].keys()
    if message_type in _SILENT and isinstance(document, dict):
        expected -= _SILENT[message_type].keys() - document.keys()
    _check_keys(document, expected, message_type.__name__)
    if "plan" in document:
        _check_keys(document["plan"], _PLAN_TYPES.keys(), "plan")
    try:
        if "plan" in document:
            document["plan"] = _plan_from(document["plan"])
        message: ControlMessage = message_type(**document)
        spelling = encode_control(message)
    except WrongType as error:
        raise WireError(reason=Refusal.TYPE, offset=0, detail=str(error)) from None
    except LocalError as error:
        raise WireError(reason=Refusal.RANGE, offset=0, detail=str(error)) from None
    if spelling != body:
        detail = "spelt otherwise than encode_control does (white space, key order, repeated keys, 1 for 1.0)"
        raise WireError(reason=Refusal.NOT_CANONICAL, offset=0, detail=detail)
    return message


def _spoken(message: ControlMessage) -> dict[str, object]:
    silent = _SILENT[type(message)]
    every = ((f.name, getattr(message, f.name)) for f in fields(message))
    return {name: value for name, value in every if name not in silent or value != silent[name]}


def _check_keys(document: object, expected: Set[str], name: str) -> None:
    if not isinstance(document, dict):
        raise WireError(reason=Refusal.JSON, offset=0, detail=f"{name} is not a JSON object")
    if document.keys() != expected:
        odd = ", ".join(sorted(document.keys() ^ expected))
        raise WireError(reason=Refusal.KEYS, offset=0, detail=f"{name} lacks or does not know {odd}")


def _plan_from(document: dict[str, Any]) -> Plan:
    for name, value in document.items():
        wanted = _PLAN_TYPES[name]
        if type(value) is not wanted:
            raise WrongType(field=f"plan.{name}", value=value, remedy=f"must be of type {wanted.__name__}")
    return Plan(**document)


_PLAN_TYPES: Mapping[str, Any] = {f.name: f.type for f in fields(Plan)}
_CONTROL_TYPES = {kind: message for message, kind in CONTROL_KINDS.items()}


__all__ = [
    "ANY_DEVICE",
    "ANY_REQUEST",
    "CONTROL_KINDS",
    "COUPLED",
    "REJECTION",
    "ControlMessage",
    "Event",
    "Json",
    "LinkOrder",
    "LinkState",
    "PlanOrder",
    "Register",
    "RowsReport",
    "StepReport",
    "decode_control",
    "encode_control",
]
