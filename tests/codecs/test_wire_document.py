"""docs/wire.md and the code name the same numbers."""

import json
import re
from enum import IntEnum
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from tests.codecs.golden_tables import RANKED, TABLES
from tests.codecs.second_implementation import noise_of_id, noise_word, race

from draftwire.codecs import exponents, limits
from draftwire.codecs.blocks import encode_ranked
from draftwire.codecs.bodies import KINDS
from draftwire.codecs.control import CONTROL_KINDS
from draftwire.codecs.errors import Refusal
from draftwire.codecs.frame import PROTOCOL_VERSION
from draftwire.codecs.messages import Acceptance, Finish, Origin, Reason
from draftwire.nodes.models.tokenizer import fingerprint
from draftwire.nodes.speculation.noise import NOISE_VERSION, Key, PhiloxNoise, Purpose
from draftwire.runtime.security import ADMITS, HELD_BY, Service
from draftwire.runtime.transport.base import MAX_PEER_NAME_BYTES, NONCE_BYTES, routing_id

DOCUMENT = (Path(__file__).parents[2] / "docs" / "wire.md").read_text(encoding="utf-8")


def test_kinds() -> None:
    """Every kind stands in the document under its number, and no other does."""
    named = {
        name: int(kind) for kind, name in re.findall(r"^\| (\d+) \| ([A-Z]\w+) \|", DOCUMENT, re.MULTILINE)
    }
    assert named == {message.__name__: kind for message, kind in {**KINDS, **CONTROL_KINDS}.items()}


@pytest.mark.parametrize("enumeration", [Acceptance, Origin, Finish, Reason])
def test_enumerations(enumeration: type[IntEnum]) -> None:
    """Every number of an enumeration stands in the document beside its name."""
    text = " ".join(DOCUMENT.split()).lower()
    for member in enumeration:
        assert f"{member.value} {member.name.lower().replace('_', ' ')}" in text


def test_reasons() -> None:
    """Every reason to refuse bytes stands in the document, in the order of the code."""
    section = DOCUMENT[DOCUMENT.index("## Reasons") :]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [reason.value for reason in Refusal]


LIMITS = (
    "MAX_FRAME_BYTES",
    "MAX_VOCAB_SIZE",
    "MAX_PLAIN_K",
    "MAX_GAMMA",
    "MAX_TOKENS",
    "MAX_STOPS",
    "MAX_TEXT_BYTES",
    "MAX_PROBE_BYTES",
    "MAX_CONTROL_BYTES",
    "MAX_CONTROL_DEPTH",
    "MAX_RUNGS",
    "MAX_TABLES",
    "MAX_FRONT",
    "MAX_TABLE_SET_BYTES",
    "MAX_TABLE_SETS",
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


def test_versions() -> None:
    """The versions that Hello carries stand in the document."""
    assert f"**protocol_version {PROTOCOL_VERSION}**" in DOCUMENT
    assert f"**noise_version {NOISE_VERSION}**" in DOCUMENT


def test_services_and_roles() -> None:
    """Who holds a service's key, and whose keys it admits, stands in the document as in the code."""
    table = re.findall(r"^\| `(\w+)` \| (\w+) \| ((?:\w+, )*\w+) \|$", DOCUMENT, re.MULTILINE)
    rows = {service: (holder, set(admitted.split(", "))) for service, holder, admitted in table}
    assert rows == {
        service.value: (HELD_BY[service].value, {role.value for role in ADMITS[service]})
        for service in Service
    }


def test_names_and_routing_ids() -> None:
    """The document's lengths of a name and of what follows it are the transport's."""
    text = " ".join(DOCUMENT.split())
    assert f"1 to {limits.MAX_NAME_LENGTH} printable characters" in text
    assert f"in at most {MAX_PEER_NAME_BYTES} bytes" in text
    assert f"a zero byte, and {NONCE_BYTES} random bytes" in text
    assert routing_id("phone-1", bytes(NONCE_BYTES)) == b"phone-1\0" + bytes(NONCE_BYTES)


def test_noise_vectors() -> None:
    """The document's words, numbers of ids and winners are those of its own rules, and ours."""
    vectors = re.findall(r"^\| (\w{16}) \| (\d+) \| (\d+) \| (\d) \| (\w{16}) \|$", DOCUMENT, re.MULTILINE)
    assert [int(purpose) for *_, purpose, _ in vectors] == list(Purpose)
    word = 0
    for seed, *numbers, expected in vectors:
        word = noise_word(int(seed, 16), *map(int, numbers))
        assert f"{word:016x}" == expected
    of_ids = re.findall(r"^\| id (\d+) \| (\w{16}) \|$", DOCUMENT, re.MULTILINE)
    assert len(of_ids) == 4
    for number, expected in of_ids:
        assert f"{noise_of_id(word, int(number)):016x}" == expected
    winners = re.findall(r"\bid (\d+) (?:wins )?of ids 0 to (\d+)", DOCUMENT)
    assert len(winners) == 2
    seed, epoch, position, purpose, _ = vectors[-1]
    key = Key(int(seed, 16), int(epoch), int(position), Purpose(int(purpose)))
    for winner, last in winners:
        masses = np.ones(int(last) + 1)
        assert race(word, dict(enumerate(masses.tolist()))) == int(winner)
        assert PhiloxNoise().draw_masses(key, masses) == int(winner)


@pytest.mark.parametrize("position", range(20))
def test_noise_by_the_document(position: int) -> None:
    """Our kinds of draw are what the document makes of those words."""
    seed, epoch, noise = 2**64 - 1 - position, 2**32 - 1, PhiloxNoise()
    weights = np.array([2**22, 2**23, 1, 2**22 - 1])
    ticket = noise_word(seed, epoch, position, Purpose.DRAFT) >> 40
    drawn = next(i for i in range(4) if weights[: i + 1].sum() > ticket)
    assert noise.draw_weights(Key(seed, epoch, position, Purpose.DRAFT), weights) == drawn

    u = (noise_word(seed, epoch, position, Purpose.ACCEPT) >> 11) * 2.0**-53
    accepts = u * 2**23 < 0.25 * 2**24
    assert noise.accepts(Key(seed, epoch, position, Purpose.ACCEPT), 0.25, 2**23) == accepts

    masses, key = np.array([0.1, 0.0, 0.3, 0.2, 0.1, 0.3]), Key(seed, 0, position, Purpose.TARGET)
    word = noise_word(seed, 0, position, Purpose.TARGET)
    assert noise.draw_masses(key, masses) == race(word, dict(enumerate(masses.tolist())))
    ids = np.array([3, 7, 31, 32, 40000, 262143])
    of_ids = dict(zip(ids.tolist(), masses.tolist(), strict=True))
    assert ids[noise.draw_masses(key, masses, ids)] == race(word, of_ids)


def test_fingerprint_vectors() -> None:
    """The document's fingerprints are those of the objects beside them, and ours of the same tokenizers."""
    vectors = re.findall(r"^\| (\{.*\}) \| (\w{16}) \|$", DOCUMENT, re.MULTILINE)
    assert len(vectors) == 2
    for text, digest in vectors:
        assert blake2b(text.encode("ascii"), digest_size=8).hexdigest() == digest
        parts = json.loads(text)
        content = {"model": {"merges": parts["merges"]}, "normalizer": parts["normalizer"]}
        vocabulary = {token: index for index, token in parts["vocabulary"]}
        assert fingerprint(vocabulary, content).hex() == digest


def test_example_of_a_row_by_tables() -> None:
    """The document's example of one row in mode 1 is what the encoder writes."""
    row = RANKED["tables_small"][-1]
    block = encode_ranked([row], TABLES)
    assert f"-> {block.hex()};" in DOCUMENT
    lines = DOCUMENT[DOCUMENT.index("header: mode 1") : DOCUMENT.index(f"-> {block.hex()}")].splitlines()[1:]
    bits = "".join(re.match(r"[ 01]*", line)[0].replace(" ", "") for line in lines)  # type: ignore[index]
    assert bits == "".join(f"{byte:08b}" for byte in block[8:])
