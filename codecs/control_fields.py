"""What each field of a control message takes: how it is checked, and made the plain value that travels.

From the parts to the whole: a check for each sort of value, then the fields of every message, by its name.
"""

from collections.abc import Callable, Mapping
from math import inf, isfinite
from operator import index
from typing import TypeVar

from draftwire.codecs.errors import LocalError
from draftwire.codecs.hashes import HASH_BYTES
from draftwire.codecs.limits import (
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

ANY_DEVICE = ""
"""The device of a PlanOrder that holds for every device without an order of its own; none has this name."""

REJECTION, COUPLED = "rejection", "coupled"
"""How control messages name an Acceptance."""


class WrongType(LocalError):
    """Raised for a value of a type that the field does not take."""


def check_fields(message: object) -> None:
    """Replace every field by its plain value; LocalError if it is not one that the field takes."""
    for name, convert in FIELDS[type(message).__name__].items():
        value = getattr(message, name)
        try:
            plain = convert(value)
        except TypeError:
            raise WrongType(field=name, value=value, remedy="is of another type than this field's") from None
        except (ValueError, OverflowError) as error:
            raise LocalError(field=name, value=value, remedy=str(error)) from None
        if plain is not value:
            object.__setattr__(message, name, plain)


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
        raise ValueError(f"must be {REJECTION!r} or {COUPLED!r}")
    return str(value)


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

_Fields = Mapping[str, Callable[[object], object]]

FIELDS: Mapping[str, _Fields] = {
    "StepReport": {
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
        "resting": _truth,
        "pass_sessions": _COUNT,
        "pass_rows": _COUNT,
    },
    "RowsReport": {
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
    "PlanOrder": {
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
    "Register": {"role": _name, "name": _name, "vocab_size": _whole(2, MAX_VOCAB_SIZE)},
    "Event": {"node": _name, "at_s": _CLOCK, "fields": _json_object},
    "LinkOrder": {"uplink": _or_none(_text), "downlink": _or_none(_text), "device": _or_none(_name)},
    "LinkState": {
        "uplink": _text,
        "downlink": _text,
        "refused": _or_none(_text),
        "devices": _each(_name, MAX_LISTED_DEVICES),
    },
}
"Message's name -> field -> what gives its plain value, or raises TypeError, ValueError or OverflowError."

__all__ = ["ANY_DEVICE", "COUPLED", "FIELDS", "REJECTION", "Json", "WrongType", "check_fields"]
