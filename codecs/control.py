"""Control-plane messages: reports, plans, registrations, telemetry. Bodies are JSON objects.

They never cross the radio link, so they may be read by people. They travel in the same envelope as data-plane
messages, with kinds from 64 on.
"""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, fields
from math import inf, isfinite
from operator import index
from types import MappingProxyType
from typing import Any, TypeVar

import orjson

from draftwire.codecs.checks import check_range
from draftwire.codecs.errors import LocalError, Refusal, WireError
from draftwire.codecs.hashes import HASH_BYTES
from draftwire.codecs.limits import (
    MAX_CONTROL_BYTES,
    MAX_CONTROL_DEPTH,
    MAX_GAMMA,
    MAX_LADDER,
    MAX_LINK_LENGTH,
    MAX_LISTED_DEVICES,
    MAX_NAME_LENGTH,
    MAX_UINT32,
    MAX_UINT64,
    MAX_VOCAB_SIZE,
)
from draftwire.codecs.messages import Plan

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

T = TypeVar("T")

ANY_REQUEST = 0
"""The request of a PlanOrder that holds for every request that starts from now on."""

REJECTION, COUPLED = "rejection", "coupled"
"""How control messages name an Acceptance."""

ANY_DEVICE = ""
"""The device of a PlanOrder that holds for every device without an order of its own; none has this name."""


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
    "when the message that this block answers was first sent, BS clock; None: no block, or not known"
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

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsReport:
    """What the rows of a tested block tell, from the BS to the controller, above temperature 0.

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
    "arrival of the block's Draft, BS clock"
    rows_at_s: float
    "arrival of its rows, BS clock"
    tables: str = ""
    "hash, in hex, of the set of tables that the rows came spelt with; empty: plain"
    coupled: tuple[float, ...] = ()
    "the probability that coupled picks of the row and of p are equal, by position"

    def __post_init__(self) -> None:
        _check(self)
        shape = (len(self.low), len(self.ladder))
        wrong = [row for row in self.alphas if len(row) != shape[1]]
        lists = (self.alphas, self.high, self.gap, self.filled, self.coupled or self.low)
        if wrong or {len(one) for one in lists} != {shape[0]}:
            remedy = "must have one value a position and K'"
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
        _check(self)
        check_range("min_draft", self.min_draft, 0, self.gamma)
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
        _check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One telemetry event of a node."""

    node: str
    at_s: float
    "the node's clock"
    fields: dict[str, Json]

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOrder:
    """A person's wish to a running channel: what links do from now on (runtime/link)."""

    uplink: str | None
    "in the words of tc, or a schedule; None: leave it as it is. The same text for both asks for both"
    downlink: str | None
    device: str | None = None
    "whose: this one's and those of the names below it; None: every device's"

    def __post_init__(self) -> None:
        _check(self)


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
        _check(self)


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
    expected: Set[str] = _SCHEMAS[message_type].keys()
    if message_type in _SILENT and isinstance(document, dict):
        expected -= _SILENT[message_type].keys() - document.keys()
    _check_keys(document, expected, message_type.__name__)
    if "plan" in document:
        _check_keys(document["plan"], _PLAN_KEYS, "plan")
    try:
        if "plan" in document:
            document["plan"] = _plan_from(document["plan"])
        message: ControlMessage = message_type(**document)
        spelling = encode_control(message)
    except _WrongType as error:
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


class _WrongType(LocalError):
    """A value of a type that the field does not take."""


def _check(message: ControlMessage) -> None:
    """Replace every field by its plain Python value; LocalError if it is not one that the field takes."""
    for name, convert in _SCHEMAS[type(message)].items():
        value = getattr(message, name)
        try:
            plain = convert(value)
        except TypeError:
            raise _WrongType(field=name, value=value, remedy="is of another type than this field's") from None
        except (ValueError, OverflowError) as error:
            raise LocalError(field=name, value=value, remedy=str(error)) from None
        if plain is not value:
            object.__setattr__(message, name, plain)


def _plan_from(document: dict[str, Any]) -> Plan:
    for name, value in document.items():
        kind = bool if name in _PLAN_FLAGS else int
        if type(value) is not kind:
            raise _WrongType(field=f"plan.{name}", value=value, remedy=f"must be of type {kind.__name__}")
    return Plan(**document)


def _whole(low: int, high: int) -> Callable[[object], int]:
    def convert(value: object) -> int:
        if type(value) is int:  # nearly always, and nothing more is to be asked
            number = value
        elif isinstance(value, bool):
            raise TypeError
        else:
            number = index(value)  # type: ignore[arg-type]  # raises TypeError where it must
        if not low <= number <= high:
            raise ValueError(f"must lie in [{low}, {high}]")
        return number

    return convert


def _real(low: float) -> Callable[[object], float]:
    def convert(value: object) -> float:
        if type(value) is not float and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise TypeError
        if not low <= value < inf or value == -inf:
            raise ValueError(f"must be finite and >= {low}")
        return float(value)

    return convert


def _or_none(convert: Callable[[object], T]) -> Callable[[object], T | None]:
    return lambda value: None if value is None else convert(value)


def _each(convert: Callable[[object], T], most: int) -> Callable[[object], tuple[T, ...]]:
    def convert_all(value: object) -> tuple[T, ...]:
        if not isinstance(value, list | tuple):
            raise TypeError
        if len(value) > most:
            raise ValueError(f"must have at most {most} items")
        return tuple(convert(item) for item in value)

    return convert_all


def _reals(low: float, most: int) -> Callable[[object], tuple[float, ...]]:
    """As _each(_real(low), most); where all of them are right, which is nearly always, in one look."""
    one_by_one = _each(_real(low), most)

    def convert_all(value: object) -> tuple[float, ...]:
        if isinstance(value, list | tuple) and len(value) <= most and set(map(type, value)) == {float}:
            if min(value) >= low and isfinite(sum(value)):  # the sum of any that is not finite is not
                return tuple(value)
        return one_by_one(value)

    return convert_all


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    if len(value) > MAX_LINK_LENGTH:
        raise ValueError(f"must have at most {MAX_LINK_LENGTH} characters")
    return str(value)


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    if not 1 <= len(value) <= MAX_NAME_LENGTH:
        raise ValueError(f"must have 1 to {MAX_NAME_LENGTH} characters")
    return str(value)


def _hex_hash(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    if value and not (len(value) == 2 * HASH_BYTES and _HEX.issuperset(value)):
        raise ValueError(f"must be empty or a hash of {HASH_BYTES} bytes in hex, in small letters")
    return str(value)


def _acceptance(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    if value not in (REJECTION, COUPLED):
        raise ValueError(f"must be {REJECTION} or {COUPLED}")
    return value


def _name_or_any(value: object) -> str:
    return ANY_DEVICE if value == ANY_DEVICE else _name(value)


def _plan(value: object) -> Plan:
    if not isinstance(value, Plan):
        raise TypeError
    return value


def _json_object(value: object) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise TypeError
    _check_json(value, MAX_CONTROL_DEPTH)
    return value


def _check_json(value: object, depth: int) -> None:
    if not depth:
        raise ValueError(f"nests deeper than {MAX_CONTROL_DEPTH}")
    kind = type(value)
    if kind is dict:
        for key, inner in value.items():  # type: ignore[attr-defined]
            if type(key) is not str:
                raise TypeError
            _check_json(inner, depth - 1)
    elif kind is list:
        for inner in value:  # type: ignore[attr-defined]
            _check_json(inner, depth - 1)
    elif kind is float:
        if not -inf < value < inf:  # type: ignore[operator]
            raise ValueError("holds a number that is not finite, which JSON has no word for")
    elif kind is int:
        if not -(2**63) <= value <= MAX_UINT64:  # type: ignore[operator]
            raise ValueError("holds an integer beyond 64 bits")
    elif value is not None and kind not in (bool, str):
        raise TypeError


_HEX = frozenset("0123456789abcdef")
_COUNT = _whole(0, MAX_UINT32)
_SECONDS = _real(0.0)
_CLOCK = _real(-inf)
_K = _whole(1, MAX_VOCAB_SIZE)
_MASSES = _reals(0.0, MAX_GAMMA)

_SCHEMAS: Mapping[type, Mapping[str, Callable[[object], object]]] = {
    StepReport: {
        "device": _name,
        "request": _COUNT,
        "step": _COUNT,
        "plan": _plan,
        "position": _COUNT,
        "drafted": _COUNT,
        "seen": _COUNT,
        "accepted": _COUNT,
        "computed": _COUNT,
        "step_s": _SECONDS,
        "wait_s": _SECONDS,
        "hold_s": _SECONDS,
        "draft_bytes": _COUNT,
        "rows_bytes": _COUNT,
        "draft_at_s": _CLOCK,
        "rows_at_s": _or_none(_CLOCK),
        "alone": _truth,
        "temperature": _SECONDS,
        "device_step_s": _or_none(_SECONDS),
        "asked_at_s": _or_none(_CLOCK),
        "asked_bytes": _COUNT,
        "ended_at_s": _CLOCK,
        "echo_s": _or_none(_SECONDS),
        "echo_bytes": _COUNT,
        "pinned_k": _or_none(_K),
        "pinned_gamma": _or_none(_whole(0, MAX_GAMMA)),
        "tables": _hex_hash,
        "acceptance": _acceptance,
        "tokens": _COUNT,
        "asked_drafted": _COUNT,
        "pinned_min_draft": _or_none(_whole(0, MAX_GAMMA)),
    },
    RowsReport: {
        "device": _name,
        "request": _COUNT,
        "step": _COUNT,
        "temperature": _SECONDS,
        "k": _K,
        "ladder": _each(_K, MAX_LADDER),
        "alphas": _each(_reals(0.0, MAX_LADDER), MAX_GAMMA),
        "low": _MASSES,
        "high": _MASSES,
        "gap": _MASSES,
        "filled": _MASSES,
        "rows_bytes": _COUNT,
        "draft_at_s": _CLOCK,
        "rows_at_s": _CLOCK,
        "tables": _hex_hash,
        "coupled": _MASSES,
    },
    PlanOrder: {
        "device": _name_or_any,
        "request": _COUNT,
        "k": _K,
        "gamma": _whole(0, MAX_GAMMA),
        "min_draft": _whole(0, MAX_GAMMA),
        "blockwise": _truth,
        "early_stop": _truth,
        "uplink_bps": _COUNT,
        "patience_s": _or_none(_SECONDS),
        "acceptance": _acceptance,
        "preferred": _truth,
    },
    Register: {"role": _name, "name": _name, "vocab_size": _whole(2, MAX_VOCAB_SIZE)},
    Event: {"node": _name, "at_s": _CLOCK, "fields": _json_object},
    LinkOrder: {"uplink": _or_none(_text), "downlink": _or_none(_text), "device": _or_none(_name)},
    LinkState: {
        "uplink": _text,
        "downlink": _text,
        "refused": _or_none(_text),
        "devices": _each(_name, MAX_LISTED_DEVICES),
    },
}

_PLAN_KEYS = frozenset(f.name for f in fields(Plan))
_PLAN_FLAGS = frozenset({"blockwise", "early_stop"})
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
