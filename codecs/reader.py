"""Reading a body from its front, and the few spellings of values that bodies share."""

from collections.abc import Sequence
from enum import IntEnum
from struct import Struct
from typing import Any, TypeVar

import numpy as np

from draftwire.codecs.errors import Refusal, WireError, bytes_behind

Choice = TypeVar("Choice", bound=IntEnum)

_COUNT = Struct(">H")

_FEW = 16
"Tokens that are read and written faster one by one; most messages have fewer."


class Reader:
    """A cursor over `data`. Every method raises WireError rather than read past the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    @property
    def offset(self) -> int:
        """Bits read so far."""
        return 8 * self._place

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        end = self._place + count
        if end > len(self._data):
            detail = f"{count} more bytes must follow, {len(self._data) - self._place} do"
            raise WireError(reason=Refusal.TRUNCATED, offset=8 * len(self._data), detail=detail)
        piece = self._data[self._place : end]
        self._place = end
        return piece

    def unpack(self, fields: Struct) -> tuple[Any, ...]:
        """The next fixed-width fields."""
        return fields.unpack(self.take(fields.size))

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data) - self._place)

    def tokens(self, count: int) -> tuple[int, ...]:
        """`count` integers of 3 bytes each."""
        data = self.take(3 * count)  # first: nothing is allocated for what is not there
        if count < _FEW:
            return tuple([int.from_bytes(data[i : i + 3], "big") for i in range(0, 3 * count, 3)])
        wide = np.zeros((count, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(count, 3)
        return tuple(wide.view(">u4").reshape(-1).tolist())

    def limited(self, field: str, count: int, most: int) -> int:
        """`count`, just read, which must not exceed `most`: asked before anything is allocated for it."""
        if count > most:
            detail = f"{field} is {count}, at most {most} will do"
            raise WireError(reason=Refusal.LIMIT, offset=self.offset, detail=detail)
        return count

    def choice(self, values: type[Choice], number: int) -> Choice:
        """The member of an enumeration whose number has just been read."""
        try:
            return values(number)
        except ValueError:
            detail = f"{number} is no {values.__name__}"
            raise WireError(reason=Refusal.RANGE, offset=self.offset, detail=detail) from None

    def flag(self, number: int) -> bool:
        """A byte that has just been read and must be 0 or 1."""
        if number > 1:
            raise WireError(reason=Refusal.NOT_CANONICAL, offset=self.offset, detail=f"a flag of {number}")
        return number == 1

    def text(self) -> str:
        """2 bytes of length, then UTF-8."""
        (length,) = self.unpack(_COUNT)
        start = self.offset
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise WireError(
                reason=Refusal.TEXT, offset=start + 8 * error.start, detail=error.reason
            ) from None

    def end(self) -> None:
        """Nothing may be left."""
        if self._place < len(self._data):
            detail = bytes_behind(len(self._data) - self._place)
            raise WireError(reason=Refusal.TRAILING, offset=self.offset, detail=detail)


def tokens_bytes(tokens: Sequence[int]) -> bytes:
    """Integers in [0, 2**24) in 3 bytes each."""
    if len(tokens) < _FEW:
        return b"".join([int(token).to_bytes(3, "big") for token in tokens])
    return np.array(tokens, ">u4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()


def text_bytes(text: str) -> bytes:
    """What Reader.text reads."""
    data = text.encode()
    return _COUNT.pack(len(data)) + data


__all__ = ["Reader", "text_bytes", "tokens_bytes"]
