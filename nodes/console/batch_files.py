"""The two files of a batch: prompts as somebody has written them, and answers as they were kept.

Prompts are a text, one a line, or JSON lines: objects with `prompt` and whatever else a request says. Answers
are JSON lines, one a prompt, as they came; what has one already is not asked again.
"""

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import orjson

from draftwire.nodes.device.checks import InvalidRequestError, check_stops, check_text
from draftwire.runtime.config import ModelSettings, SamplingSettings, Topology
from draftwire.runtime.errors import ConfigurationError, nearest

STANDARD_INPUT: Final = "-"

PROMPTS_KEY, OUTPUT_KEY = "--prompts", "--output"

NUMBERS: Final = ("max_new_tokens", "seed", "temperature", "top_p", "top_k")
"""What a line may say of its request besides its texts."""

KNOWN: Final = ("id", "prompt", *NUMBERS, "stop")

_WHOLE: Final = frozenset({"max_new_tokens", "seed", "top_k"})

_BEGINS: Final = b'{"id":"'
"""How each line of answers does: a last line without an end that does not is somebody else's."""


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

    answered: Mapping[str, tuple[str, str]]
    "id -> prompt, and settings"
    failed: Collection[str]
    "ids that have an error and no answer: they are asked again"
    whole_bytes: int
    "up to where its lines are whole; what stands behind was cut short when it was written"


def read_items(name: str) -> tuple[Item, ...]:
    """Of a file, or of standard input. Raises ConfigurationError, naming the line, for what is no prompt."""
    text = _text(name)
    every = enumerate(text.split("\n"), 1)  # str.splitlines knows more ends, which prompts may hold
    lines = [(number, line.strip()) for number, line in every if line.strip()]
    if not lines:
        raise ConfigurationError(
            f"{_shown(name)} is empty", key=PROMPTS_KEY, remedy="write one prompt a line"
        )
    of_json = name.endswith(".jsonl") or all(_is_object(line) for _, line in lines)
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


def _is_object(line: str) -> bool:
    """Whether a line, where the name does not tell, is one of JSON lines."""
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
    *lines, last = data.split(b"\n")
    whole_bytes = len(data) - len(last)
    if last and not _cut_short(last):
        lines, whole_bytes = [*lines, last], len(data)
    answered, failed = dict[str, tuple[str, str]](), set[str]()
    for number, line in enumerate(lines, 1):
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
            answered[fields["id"]] = fields["prompt"], fields["settings"]
    return Kept(answered=answered, failed=failed - answered.keys(), whole_bytes=whole_bytes)


def _answer(line: bytes) -> dict[str, Any] | None:
    try:
        fields = orjson.loads(line)
    except ValueError:
        return None
    told = isinstance(fields, dict) and all(
        isinstance(fields.get(key), str) for key in ("id", "prompt", "settings")
    )
    return fields if told and ("text" in fields or "error" in fields) else None


def _cut_short(last: bytes) -> bool:
    """Whether a line without an end is one of ours that a process was killed in.

    A whole one, which an editor has saved without its end, is none, and neither is what begins otherwise.
    """
    if not (last.startswith(_BEGINS) or _BEGINS.startswith(last)):
        return False
    try:
        orjson.loads(last)
    except ValueError:
        return True
    return False


def still_to_ask(
    items: Sequence[Item], kept: Kept, *, path: Path, settings: Mapping[str, str]
) -> tuple[Item, ...]:
    """Those without an answer. Raises ConfigurationError where one was given to another prompt, or by others.

    `settings`: of each id.
    """
    for item in items:
        if item.id not in kept.answered:
            continue
        prompt, asked_by = kept.answered[item.id]
        if prompt != item.prompt:
            other, whose = "to another prompt", "prompts"
        elif asked_by != settings[item.id]:
            other, whose = "by other models or with other sampling", "settings"
        else:
            continue
        raise ConfigurationError(
            f"{str(path)!r} has an answer {item.id!r} {other}",
            key=OUTPUT_KEY,
            remedy=f"name a new file: this one belongs to other {whose}",
        )
    return tuple(item for item in items if item.id not in kept.answered)


def settings_of(item: Item, topology: Topology, *, stop: Sequence[str]) -> str:
    """A short hash of the models and the sampling that a prompt is answered with. `stop`: of the command."""
    numbers = {key: value for key, value in item.said.items() if key in NUMBERS}
    sampling = asdict(replace(topology.sampling, **numbers))
    exact = {key: float(sampling[key]) for key in ("temperature", "top_p")}  # 1 and 1.0 are the same
    of = (
        _named(topology.pair.draft),
        _named(topology.pair.target),
        sampling | exact,
        item.said.get("stop", tuple(stop)),
    )
    return blake2b(orjson.dumps(of, option=orjson.OPT_SORT_KEYS), digest_size=4).hexdigest()


def _named(model: ModelSettings) -> tuple[str | None, ...]:
    """Which one it is: where it computes is no part of that."""
    return model.model, model.revision, model.dtype


def _behind(key: str) -> str:
    return f", {key}" if key else ""


def _shown(name: str) -> str:
    return "standard input" if name == STANDARD_INPUT else repr(name)


__all__ = ["STANDARD_INPUT", "Item", "Kept", "read_items", "read_kept", "settings_of", "still_to_ask"]
