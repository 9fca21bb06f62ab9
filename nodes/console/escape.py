"""Text of others, with what a terminal would act on escaped: frames, labels and names may hold anything."""

from typing import Any

import orjson


def safe(text: str) -> str:
    """With what can't be printed escaped as Python does: controls, marks that turn the direction of text."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def quoted(text: str) -> str:
    """In quotes, and safe."""
    return '"' + safe(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def json_line(value: Any) -> str:
    """`value` as JSON in one line: what can't be printed is in its strings alone, as `\\uXXXX`."""
    line = orjson.dumps(value).decode()
    if line.isprintable():
        return line
    return "".join(one if one.isprintable() else _units(one) for one in line)


def _units(character: str) -> str:
    """A JSON string's escapes for it: one, or two where it takes a surrogate pair."""
    pairs = character.encode("utf-16-be").hex()
    return "".join(f"\\u{pairs[i : i + 4]}" for i in range(0, len(pairs), 4))


__all__ = ["json_line", "quoted", "safe"]
