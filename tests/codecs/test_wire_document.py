"""docs/wire.md and the code name the same numbers."""

import re
from enum import IntEnum
from hashlib import blake2b
from pathlib import Path

import pytest

from draftwire.codecs import exponents, limits
from draftwire.codecs.bodies import KINDS
from draftwire.codecs.control import CONTROL_KINDS
from draftwire.codecs.errors import Refusal
from draftwire.codecs.messages import Finish, Origin, Reason

DOCUMENT = (Path(__file__).parents[2] / "docs" / "wire.md").read_text(encoding="utf-8")


def test_kinds() -> None:
    """Every kind stands in the document under its number, and no other does."""
    named = {
        name: int(kind) for kind, name in re.findall(r"^\| (\d+) \| ([A-Z]\w+) \|", DOCUMENT, re.MULTILINE)
    }
    assert named == {message.__name__: kind for message, kind in {**KINDS, **CONTROL_KINDS}.items()}


@pytest.mark.parametrize("enumeration", [Origin, Finish, Reason])
def test_enumerations(enumeration: type[IntEnum]) -> None:
    """Every number of an enumeration stands in the document beside its name."""
    text = " ".join(DOCUMENT.split()).lower()
    for member in enumeration:
        assert f"{member.value} {member.name.lower().replace('_', ' ')}" in text


def test_reasons() -> None:
    """Every reason to refuse bytes stands in the document, in the order of the code."""
    assert re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE) == [reason.value for reason in Refusal]


LIMITS = (
    "MAX_FRAME_BYTES",
    "MAX_VOCAB_SIZE",
    "MAX_PLAIN_K",
    "MAX_GAMMA",
    "MAX_TOKENS",
    "MAX_STOPS",
    "MAX_TEXT_BYTES",
    "MAX_CONTROL_BYTES",
    "MAX_CONTROL_DEPTH",
)


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name: str) -> None:
    """Every limit stands in the document's table with its value."""
    table = DOCUMENT[DOCUMENT.index("## Limits") : DOCUMENT.index("## Reasons")]
    assert re.search(rf"\b{getattr(limits, name)}\b", table)


def test_integer_tables() -> None:
    """The document's lengths and check values are those of the shipped integer tables."""
    for name, length, check in re.findall(r"\(`(E_\w+)`\) \| (\d+) \|.*\| (\w{16}) \|", DOCUMENT):
        table = getattr(exponents, name)
        data = b"".join(number.to_bytes(4, "big") for number in table)
        assert (len(table), blake2b(data, digest_size=8).hexdigest()) == (int(length), check)
    assert DOCUMENT.count("`E_") == 4
