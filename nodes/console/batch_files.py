"""The two files of a batch: prompts as somebody has written them, and answers as they were kept.

Prompts are a text, one a line, or JSON lines: objects with `prompt` and whatever else a request says. Answers
are JSON lines, one a prompt; what has one already is not asked again.
"""

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import orjson

from draftwire.nodes.device.checks import InvalidRequestError, check_stops, check_text
from draftwire.runtime.config import SamplingSettings
from draftwire.runtime.errors import ConfigurationError, nearest

STANDARD_INPUT: Final = "-"

PROMPTS_KEY, OUTPUT_KEY = "--prompts", "--output"

NUMBERS: Final = ("max_new_tokens", "seed", "temperature", "top_p", "top_k")
"""What a line may say of its request besides its texts."""

KNOWN: Final = ("id", "prompt", *NUMBERS, "stop")

_WHOLE: Final = frozenset({"max_new_tokens", "seed", "top_k"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One prompt of a batch."""

    id: str
    "no two have the same; its number among the prompts, from 1, where its line says none"
    number: int
    "among the prompts, from 0"
    prompt: str
    said: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    "what its line says of the request: some of NUMBERS, and `stop`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a file of answers has."""

    answered: Mapping[str, str]
    "id -> prompt"
    failed: Collection[str]
    "ids that have an error and no answer: they are asked again"
    whole_bytes: int
    "up to where its lines are whole; what stands behind was cut short when it was written"


def read_items(name: str) -> tuple[Item, ...]:
    """Of a file, or of standard input. Raises ConfigurationError, naming the line, for what is no prompt."""
    text = _text(name)
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise ConfigurationError(
            f"{_shown(name)} is empty", key=PROMPTS_KEY, remedy="write one prompt a line"
        )
    of_json = name.endswith(".jsonl") or (name == STANDARD_INPUT and all(map(_is_object, _words(lines))))
    items, lines_of = list[Item](), dict[str, int]()
    for number, line in lines:
        try:
            item = _from_json(line, len(items)) if of_json else _from_text(line, len(items))
            if item.id in lines_of:
                problem = f"{item.id!r} is the id of line {lines_of[item.id]} as well"
                raise InvalidRequestError(problem, key="id", remedy="give each prompt its own")
        except ConfigurationError as error:
            raise error.placed(key=f"{PROMPTS_KEY}, line {number}{_behind(error.key)}") from None
        lines_of[item.id] = number
        items.append(item)
    return tuple(items)


def _text(name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if name == STANDARD_INPUT else Path(name).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        problem = f"{name!r}: {error.strerror}"
    except UnicodeDecodeError as error:
        problem = f"{_shown(name)}: line {data[: error.start].count(10) + 1} is not UTF-8 text"
    raise ConfigurationError(
        problem, key=PROMPTS_KEY, remedy="name a text file, one prompt a line, or .jsonl, or - for a pipe"
    )


def _words(lines: Sequence[tuple[int, str]]) -> Sequence[str]:
    return [line for _, line in lines]


def _is_object(line: str) -> bool:
    """Whether a line of a pipe, which has no name to tell by, is one of JSON lines."""
    try:
        return isinstance(orjson.loads(line), dict)
    except ValueError:
        return False


def _from_text(line: str, number: int) -> Item:
    check_text(line, key="")
    return Item(id=str(number + 1), number=number, prompt=line)


def _from_json(line: str, number: int) -> Item:
    try:
        said = orjson.loads(line)
    except ValueError as error:
        raise InvalidRequestError(f"no JSON: {error}", remedy='write {"prompt": "..."}') from None
    if not isinstance(said, dict) or not isinstance(said.get("prompt"), str):
        raise InvalidRequestError("no object with a text `prompt`", remedy='write {"prompt": "..."}')
    for key in said:
        if key not in KNOWN:
            raise InvalidRequestError("no key that is known", key=key, remedy=nearest(key, KNOWN))
    check_text(said["prompt"], key="prompt")
    values = {key: said[key] for key in (*NUMBERS, "stop") if said.get(key) is not None}
    _check_numbers(values)
    if "stop" in values:
        stop = values["stop"]
        values["stop"] = (stop,) if isinstance(stop, str) else _texts(stop)
        check_stops(values["stop"], key="stop")
    return Item(
        id=_id(said.get("id"), number), number=number, prompt=said["prompt"], said=MappingProxyType(values)
    )


def _id(said: object, number: int) -> str:
    if said is None:
        return str(number + 1)
    if isinstance(said, bool) or not isinstance(said, str | int) or said == "":
        raise InvalidRequestError(f"{said!r} is none", key="id", remedy="write a text or a whole number")
    return str(said)


def _texts(stop: object) -> tuple[str, ...]:
    if not isinstance(stop, list):
        raise InvalidRequestError(f"{stop!r} is no text", key="stop", remedy="give a text or a list of texts")
    return tuple(stop)


def _check_numbers(values: Mapping[str, Any]) -> None:
    numbers = {key: value for key, value in values.items() if key in NUMBERS}
    for key, value in numbers.items():
        if type(value) is not int and (key in _WHOLE or type(value) is not float):
            kind = "whole number" if key in _WHOLE else "number"
            raise InvalidRequestError(f"{value!r} is no {kind}", key=key, remedy="write one")
    replace(SamplingSettings(), **numbers)  # its ranges


# Answers ----------------------------------------------------------------------------------------------------


def read_kept(path: Path) -> Kept:
    """What a file of answers has so far; nothing where there is none.

    Raises ConfigurationError for one that holds anything else.
    """
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise ConfigurationError(
            f"{str(path)!r}: {error.strerror}", key=OUTPUT_KEY, remedy="name a file of answers, or a new one"
        ) from None
    whole_bytes = data.rfind(b"\n") + 1
    answered, failed = dict[str, str](), set[str]()
    for number, line in enumerate(data[:whole_bytes].splitlines(), 1):
        fields = _answer(line)
        if fields is None:
            raise ConfigurationError(
                f"{str(path)!r}: line {number} is no answer",
                key=OUTPUT_KEY,
                remedy="name a new file, or one that an earlier run has written",
            )
        if "error" in fields:
            failed.add(fields["id"])
        else:
            answered[fields["id"]] = fields["prompt"]
    return Kept(answered=answered, failed=failed - answered.keys(), whole_bytes=whole_bytes)


def _answer(line: bytes) -> dict[str, Any] | None:
    try:
        fields = orjson.loads(line)
    except ValueError:
        return None
    told = isinstance(fields, dict) and all(isinstance(fields.get(key), str) for key in ("id", "prompt"))
    return fields if told and ("text" in fields or "error" in fields) else None


def still_to_ask(items: Sequence[Item], kept: Kept, *, path: Path) -> tuple[Item, ...]:
    """Those without an answer. Raises ConfigurationError where one was given to another prompt."""
    for item in items:
        if kept.answered.get(item.id, item.prompt) != item.prompt:
            raise ConfigurationError(
                f"{str(path)!r} has an answer {item.id!r} to another prompt",
                key=OUTPUT_KEY,
                remedy="name a new file: this one belongs to other prompts",
            )
    return tuple(item for item in items if item.id not in kept.answered)


def _behind(key: str) -> str:
    return f", {key}" if key else ""


def _shown(name: str) -> str:
    return "standard input" if name == STANDARD_INPUT else repr(name)


__all__ = ["STANDARD_INPUT", "Item", "Kept", "read_items", "read_kept", "still_to_ask"]
