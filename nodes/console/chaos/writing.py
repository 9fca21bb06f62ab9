"""Schedules as JSON: what a failure prints can be put into a file and played, `draftwire chaos --schedule`.

    {"seed": 7, "scenario": {"devices": 2}, "faults": [
      {"kind": "crash", "at_s": 0.4, "for_s": 0.1, "node": "target", "moment": "after_pass"}
    ]}

What is left out has the value that it has in faults.py. `read` refuses what can't be, and names the field.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import orjson

from draftwire.nodes.console.chaos.faults import Fault, Scenario, Schedule
from draftwire.nodes.console.chaos.places import check
from draftwire.runtime.errors import ConfigurationError, nearest

T = TypeVar("T")

MOST_FAULTS_READ = 1000
"""Faults of one file: far more than any that was drawn, and still a run of minutes."""


def written(schedule: Schedule) -> str:
    """The schedule as JSON, a fault a line."""
    faults = ",\n".join(f"  {_json(_plain(fault))}" for fault in schedule.faults)
    scenario = _json(_plain(schedule.scenario))
    body = f"[\n{faults}\n]" if faults else "[]"
    return f'{{"seed": {schedule.seed}, "scenario": {scenario}, "faults": {body}}}'


def as_fields(schedule: Schedule) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "seed": schedule.seed,
        "scenario": _plain(schedule.scenario),
        "faults": [_plain(fault) for fault in schedule.faults],
    }


def read(text: str | bytes) -> Schedule:
    """The schedule of such a text, its faults by time. Raises ConfigurationError, naming the field."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ConfigurationError(f"no JSON: {error}", remedy="paste what a failure printed") from None
    given = _mapping(found, "")
    _check_keys(given, ("seed", "scenario", "faults"), "")
    listed = given.get("faults", [])
    if not isinstance(listed, list) or len(listed) > MOST_FAULTS_READ:
        raise ConfigurationError(
            "no list, or too long", key="faults", remedy=f"a list of at most {MOST_FAULTS_READ} faults"
        )
    faults = [_made(Fault, one, f"faults[{place}]") for place, one in enumerate(listed)]
    schedule = Schedule(
        seed=_value(int, given.get("seed", 0), "seed"),
        scenario=_made(Scenario, given.get("scenario", {}), "scenario"),
        faults=tuple(faults),
    )
    check(schedule)
    return Schedule(
        seed=schedule.seed,
        scenario=schedule.scenario,
        faults=tuple(sorted(faults, key=lambda fault: fault.at_s)),
    )


def read_file(path: Path) -> Schedule:
    """The schedule of a file. Raises ConfigurationError, naming the file and the field."""
    try:
        return read(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(
            error.strerror or str(error), key="--schedule", source=str(path), remedy="name a file to read"
        ) from None
    except ConfigurationError as error:
        raise error.placed(source=str(path)) from None


def _plain(one: Fault | Scenario) -> dict[str, Any]:
    """Its fields that are not as they are anyway."""
    values = {field.name: (field.default, getattr(one, field.name)) for field in fields(one)}
    return {name: _word(value) for name, (default, value) in values.items() if value != default}


def _word(value: object) -> object:
    if isinstance(value, IntEnum):
        return value.name.lower()
    return value.value if isinstance(value, Enum) else value


def _json(plain: Mapping[str, Any]) -> str:
    """One line, with spaces: people read it too."""
    return "{" + ", ".join(f'"{name}": {orjson.dumps(value).decode()}' for name, value in plain.items()) + "}"


def _made(made: type[T], found: object, key: str) -> T:
    given = _mapping(found, key)
    hints = get_type_hints(made)
    _check_keys(given, tuple(hints), key)
    for field in fields(made):  # type: ignore[arg-type]
        if field.name not in given and field.default is MISSING:
            raise ConfigurationError("is missing", key=f"{key}.{field.name}", remedy="say it")
    return made(**{name: _value(hints[name], value, f"{key}.{name}") for name, value in given.items()})


def _mapping(found: object, key: str) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise ConfigurationError(f"{found!r:.40}", key=key, remedy="needs fields in braces")
    return found


def _check_keys(given: Mapping[str, Any], known: tuple[str, ...], key: str) -> None:
    for name in given:
        if name not in known:
            where = f"{key}.{name}" if key else name
            raise ConfigurationError("nothing has this name", key=where, remedy=nearest(name, known))


def _value(hint: Any, value: Any, key: str) -> Any:
    choices = get_args(hint) or (hint,)  # X | None
    if value is None and type(None) in choices:
        return None
    wanted = choices[0]
    if issubclass(wanted, Enum):
        return _member(wanted, value, key)
    if wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not wanted or (wanted is float and not math.isfinite(value)):
        raise ConfigurationError(f"{value!r:.40}", key=key, remedy=f"needs a value of type {wanted.__name__}")
    return value


def _member(wanted: type[Enum], value: object, key: str) -> Enum:
    members = {str(_word(one)): one for one in wanted}
    if value not in members:
        raise ConfigurationError(f"{value!r:.40}", key=key, remedy=nearest(str(value), tuple(members)))
    return members[str(value)]


__all__ = ["as_fields", "read", "read_file", "written"]
