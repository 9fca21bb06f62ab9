"""The fields of an event from the network, one by one, as what they should be; else OddEvent. Pure."""

from collections.abc import Mapping
from itertools import islice
from math import isfinite
from typing import Final

from draftwire.codecs.control_fields import Json
from draftwire.codecs.limits import MAX_NAME_LENGTH, MAX_UINT32, MAX_UINT64

MAX_DETAIL: Final = 500
"""Characters of an error, or of another value that is a text, that are kept."""

MAX_SUMMARY: Final = 64
"""Values of an answer's summary that are kept."""

MAX_SECONDS: Final = 1e7
"""Four months: beyond any time that was measured."""


class OddEvent(ValueError):
    """Raised for an event that is not what its name says; never leaves the observer."""


class Fields:
    """An event's values, one by one; each raises OddEvent with the field's name."""

    def __init__(self, values: Mapping[str, Json]) -> None:
        self._values = values

    def number(self, name: str, low: float = 0.0, high: float = MAX_SECONDS) -> float:
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise OddEvent(name)
        return float(value)

    def number_or_none(self, name: str, low: float = 0.0, high: float = MAX_SECONDS) -> float | None:
        return None if self._values.get(name) is None else self.number(name, low, high)

    def whole(self, name: str, high: int = MAX_UINT32) -> int:
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= high:
            raise OddEvent(name)
        return value

    def truth(self, name: str) -> bool:
        value = self._values.get(name)
        if not isinstance(value, bool):
            raise OddEvent(name)
        return value

    def text(self, name: str, most: int) -> str:
        value = self._values.get(name)
        if not isinstance(value, str):
            raise OddEvent(name)
        return clean(value[:most])

    def one_of(self, name: str, known: tuple[str, ...]) -> str:
        value = self._values.get(name)
        if not isinstance(value, str) or value not in known:
            raise OddEvent(name)
        return value

    def name(self, name: str) -> str:
        value = self._values.get(name)
        if not isinstance(value, str) or not 1 <= len(value) <= MAX_NAME_LENGTH:
            raise OddEvent(name)
        return clean(value)

    def request(self) -> str:
        """A text, or a number for who counts."""
        value = self._values.get("request")
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_UINT64:
            return str(value)
        return self.name("request")

    def several(self, name: str, most: int) -> list[Json]:
        value = self._values.get(name)
        if not isinstance(value, list | tuple) or len(value) > most:
            raise OddEvent(name)
        return list(value)

    def inner(self, name: str) -> Mapping[str, Json]:
        return mapping(self._values.get(name), name)

    def has(self, name: str) -> bool:
        return self._values.get(name) is not None

    def summary(self) -> dict[str, Json]:
        """Plain values that stand beside what the event is named by; its whole text is told in pieces."""
        kept = ((name, value) for name, value in self._values.items() if name not in _NO_SUMMARY)
        plain = ((name, value) for name, value in kept if len(name) <= MAX_NAME_LENGTH and _is_plain(value))
        return {clean(name): _shown(value) for name, value in islice(plain, MAX_SUMMARY)}


def mapping(value: Json, name: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise OddEvent(name)
    return value


_NO_SUMMARY: Final = frozenset({"event", "node", "device", "request", "text", "prompt", "error", "finish"})


def _is_plain(value: Json) -> bool:
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, int):
        return -(2**63) <= value <= MAX_UINT64
    return value is None or (isinstance(value, str) and len(value) <= MAX_DETAIL)


def _shown(value: Json) -> Json:
    return clean(value) if isinstance(value, str) else value


def clean(text: str) -> str:
    """Without lone surrogates, which no JSON can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


__all__ = ["MAX_DETAIL", "Fields", "OddEvent", "clean", "mapping"]
