"""Every error of this layer.

    CodecError
    ├── LocalError (ValueError)   a value handed in by our own side can't be put on the wire
    │   └── FrameTooLarge         each part is fine, the frame as a whole is over its limit
    └── WireError                 bytes that came from a peer are refused; counted by `reason`

Anything else that leaves this layer is a bug of ours. A LocalError never comes out of a decoder.
"""

import reprlib
from enum import StrEnum
from typing import Self


class Refusal(StrEnum):
    """Why bytes were refused. The values are the names used in metrics and logs."""

    TRUNCATED = "truncated"
    "ends before its fields do"
    TRAILING = "trailing"
    "goes on behind its last field"
    TOO_LARGE = "too_large"
    "longer than its hard limit; nothing was read"
    VERSION = "version"
    "byte 0 is not this version's: another protocol, or another version of ours"
    CHECKSUM = "checksum"
    "the CRC-32 does not fit: damaged on its way"
    KIND = "kind"
    "no message has this number"
    MODE = "mode"
    "a block of rows in a mode that this version does not speak"
    PROFILE = "profile"
    "a weight profile that the mode does not have"
    TABLES = "tables"
    "rows spelt with a set of tables that this end does not have"
    LIMIT = "limit"
    "a count over its limit, or zero where something must stand; nothing was allocated"
    RANGE = "range"
    "a field outside its range, or fields that contradict each other"
    VOCABULARY = "vocabulary"
    "rows over another vocabulary size than the reader expects"
    NOT_CANONICAL = "not_canonical"
    "a value that has another, its only valid, spelling; padding that is not zero"
    TEXT = "text"
    "not UTF-8"
    JSON = "json"
    "a control body that is not a JSON object, or nests too deep"
    KEYS = "keys"
    "a control body with a key missing or unknown"
    TYPE = "type"
    "a control field of the wrong type"


class CodecError(Exception):
    """Base of all errors of this layer."""


class LocalError(CodecError, ValueError):
    """Raised when our own side hands in a value that the wire can't carry."""

    def __init__(self, *, field: str, value: object, remedy: str) -> None:
        self.field = field
        "the name of the argument or attribute"
        self.value = value
        self.remedy = remedy
        "what would be accepted instead"
        super().__init__(f"{field} is {reprlib.repr(value)}: {remedy}")


class FrameTooLarge(LocalError):
    """Raised by encode_frame when a message of valid parts is over the frame's limit."""


class WireError(CodecError):
    """Raised by decoders, and the only thing they raise, when they refuse bytes of a peer."""

    def __init__(self, *, reason: Refusal, offset: int, detail: str) -> None:
        self.reason = reason
        self.offset = offset
        "bits from the start of the bytes that were handed in, where reading stopped"
        self.detail = detail
        "a sentence for a person"
        super().__init__(f"{reason.value} at bit {offset}: {detail}")

    def shifted(self, bits: int) -> Self:
        """The same error as seen by a caller whose bytes begin `bits` earlier."""
        return type(self)(reason=self.reason, offset=self.offset + bits, detail=self.detail)


def bytes_behind(count: int) -> str:
    """The sentence of TRAILING."""
    return f"{count} {'byte' if count == 1 else 'bytes'} behind the last field"


__all__ = ["CodecError", "FrameTooLarge", "LocalError", "Refusal", "WireError", "bytes_behind"]
