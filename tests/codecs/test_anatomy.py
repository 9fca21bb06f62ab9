"""Frames taken apart: every bit of what is accepted has its field, and nothing whatever breaks it."""

import re
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.codecs.golden_cases import BLOCKS, CASES, SEQUENCE, SESSION
from tests.codecs.golden_tables import RANKED, TABLES

from draftwire.codecs.anatomy import Anatomy, Field, dissect_block, dissect_frame
from draftwire.codecs.blocks import block_sections, decode_rows, encode_plain, encode_ranked, encode_rows
from draftwire.codecs.control import CONTROL_KINDS
from draftwire.codecs.errors import Refusal, WireError
from draftwire.codecs.frame import AnyMessage, decode_frame, encode_frame, with_padding
from draftwire.codecs.layouts import KIND_NAMES
from draftwire.codecs.limits import MAX_FRAME_BYTES
from draftwire.codecs.plain import rice_parameters
from draftwire.codecs.strategies import (
    control_messages,
    hostile_blocks,
    hostile_bytes,
    messages,
    paddings,
)
from draftwire.codecs.tables import by_tag
from draftwire.codecs.weights import Integers

ROOT = Path(__file__).parents[2]
SETS = by_tag([TABLES])


def _framed(message: AnyMessage) -> bytes:
    return encode_frame(message, session=SESSION, sequence=SEQUENCE)


def _check_tiled(fields: tuple[Field, ...], length: int | None) -> None:
    """One field begins where the one before ends; the last ends with the bytes, where they are whole."""
    place = 0
    for field in fields:
        assert field.start == place < field.end, field
        place = field.end
    assert length is None or place == 8 * length


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


@given(messages() | control_messages(), paddings())
def test_every_bit_of_a_frame_has_its_field(message: AnyMessage, padding: int) -> None:
    """Fields tile the frame, and hold what the message holds under their names."""
    data = with_padding(_framed(message), padding)
    anatomy = dissect_frame(data)
    assert anatomy.refused is None
    assert anatomy.frame == decode_frame(data)
    assert anatomy.name == type(message).__name__
    _check_tiled(anatomy.fields, len(data))
    once = {field.name: field.value for field in anatomy.fields}
    assert once.pop("padding.n", 0) == padding
    single = [name for name in once if sum(field.name == name for field in anatomy.fields) == 1]
    assert (once["session"], once["sequence"]) == (SESSION, SEQUENCE)
    for name in single:
        told, wanted = once[name], _attribute(message, name)
        if isinstance(wanted, bool | int | float | bytes | str) and name not in ("token_s", "agreed"):
            assert _plain(told) == _plain(wanted), name


def _attribute(message: AnyMessage, name: str) -> Any:
    """What a message has under a field's name, a dot leading inwards; None: it has nothing of that name."""
    found: Any = message
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _documented(kind: int) -> str:
    text = (ROOT / "docs" / "wire.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| {kind} \| [A-Za-z]+ \|(.*)\|$", text, flags=re.MULTILINE)
    return str(row)


SPELT = {
    "incarnation.boot": "Incarnation",
    "incarnation.counter": "Incarnation",
    "rows": "block of rows",
    "ids": "tokens",
    "zeros": "bytes of zero",
}
"""Where docs/wire.md says it in other words."""


@pytest.mark.parametrize("case", CASES)
def test_fields_are_those_of_the_document(case: str) -> None:
    """Each field of a golden frame stands in its kind's row of docs/wire.md, in that order."""
    anatomy = dissect_frame(_framed(CASES[case]))
    assert anatomy.kind is not None
    row = _documented(anatomy.kind)
    place = 0
    envelope = (ROOT / "docs" / "wire.md").read_text(encoding="utf-8").partition("## Data plane")[0]
    for field in anatomy.fields[:5]:
        assert re.search(rf"^\| [\d-]+ \| {field.name}[,:]", envelope, flags=re.MULTILINE), field.name
    for field in anatomy.fields[5:]:
        if field.name in ("mode", "profile", "R", "V", "K", "agreed"):
            continue
        first = field.name.partition(".")[0]
        count = "n u" if field.name == "n" else first
        word = SPELT.get(field.name, "Plan" if field.name.startswith("plan.") else count)
        found = row.find(word, place)
        assert found >= 0, f"{field.name}: no {word!r} behind {row[:place]!r}"
        place = found


def test_every_kind_has_a_name() -> None:
    """Those of both planes."""
    assert {type(message).__name__ for message in CASES.values()} == set(KIND_NAMES.values())
    assert set(CONTROL_KINDS.values()) < set(KIND_NAMES)


def _blocks() -> dict[str, bytes]:
    found = {name: encode_rows(rows) for name, rows in BLOCKS.items()}
    for name, rows in RANKED.items():
        found |= {f"{name}, ranked": encode_ranked(rows, TABLES), f"{name}, plain": encode_plain(rows)}
    return found


@pytest.mark.parametrize("name", _blocks())
def test_every_bit_of_a_block_has_its_section(name: str) -> None:
    """Header fields and the rest tile a block alone and in its frame, and so do its sections."""
    data = _blocks()[name]
    alone = dissect_block(data, tables=SETS)
    _check_tiled(alone.fields, len(data))
    assert alone.name == "block of rows" and alone.frame is None
    assert alone.block is not None and alone.block.rows == decode_rows(data, tables=SETS)
    assert alone.block.bits == 8 * len(data)
    assert alone.block.sections == block_sections(data, tables=SETS) and not alone.block.outline.stopped
    places = [part.start for part in alone.block.sections] + [8 * len(data)]
    assert places[0] == 0 and [part.end for part in alone.block.sections] == places[1:]
    assert (alone.block.tag == TABLES.tag) == name.endswith("ranked")
    values = {field.name: field.value for field in alone.fields}
    assert (values["R"], values["K"]) == (len(alone.block.rows), len(alone.block.rows[0]))

    framed = dissect_frame(framed_block(data), tables=SETS)
    assert framed.block == alone.block
    _check_tiled(framed.fields, framed.length)


def framed_block(data: bytes) -> bytes:
    head = bytes((0xD3, 7)) + bytes(8)
    body = bytes(16) + data
    return head + crc32(body, crc32(head)).to_bytes(4, "big") + body


@pytest.mark.parametrize("name", _blocks())
def test_a_block_that_is_cut_shows_what_is_there(name: str) -> None:
    """However short it is: the sections of the whole, as far as the bytes go, and what they end within."""
    data = _blocks()[name]
    whole = dissect_block(data, tables=SETS).block
    assert whole is not None
    for size in {*range(1, min(24, len(data))), len(data) // 3, len(data) // 2, len(data) - 1}:
        block = dissect_block(data[:size], tables=SETS).block
        assert block is not None and block.bits == 8 * size and not block.rows
        for part, found in zip(whole.sections, block.sections, strict=False):
            assert (found.name, found.start) == (part.name, part.start), size
            assert found.end == min(part.end, 8 * size), size
        last = block.sections[-1]
        assert block.outline.stopped.removeprefix("the ").startswith(last.name), (size, block.outline)
        framed = dissect_frame(framed_block(data[:size]), tables=SETS)
        assert framed.block == block
        if size > 8:
            assert block.heads in ((), whole.heads) and block.rung == whole.rung


@pytest.mark.parametrize("name", _blocks())
def test_a_flipped_bit_leaves_the_sections_before_it(name: str) -> None:
    """Whichever of them it is in; a CRC that does not fit hides no section either."""
    data = _blocks()[name]
    whole = dissect_block(data, tables=SETS).block
    assert whole is not None
    for bit in range(64, 8 * len(data), max(1, len(data) // 8)):
        wrong = bytearray(data)
        wrong[bit // 8] ^= 128 >> bit % 8
        anatomy = dissect_frame(framed_block(bytes(wrong)), tables=SETS)
        assert anatomy.block is not None
        before = [part for part in whole.sections if part.end <= bit]
        assert list(anatomy.block.sections[: len(before)]) == before
        damaged = bytearray(framed_block(bytes(wrong)))
        damaged[10] ^= 1
        shown = dissect_frame(bytes(damaged), tables=SETS)
        assert shown.refused is not None and shown.refused.reason is Refusal.CHECKSUM
        assert shown.mended is not None and shown.block is not None
        assert shown.block.sections == anatomy.block.sections and not shown.block.rows
        assert (shown.mended.refused is None) == (anatomy.refused is None)


@given(st.binary(max_size=80), st.integers(0, 33), st.sampled_from([0, 1, 2, 4, 5, 120, 300, 301]))
def test_hostile_blocks_by_tables(body: bytes, rows: int, k: int) -> None:
    """Whatever stands behind a header, sections follow each other and end with the bytes at most."""
    for kinds in (0x10, 0x11, 0x00, 0x22):
        sizes = k.to_bytes(2, "big") + TABLES.tag if kinds >> 4 == 1 else b"\0\1\x2c" + k.to_bytes(3, "big")
        data = bytes([kinds, rows]) + sizes + body
        anatomy = dissect_block(data, tables=SETS)
        assert anatomy.block is not None
        place = 0
        for part in anatomy.block.sections:
            assert part.start == place <= part.end
            place = part.end
        assert place <= 8 * len(data)


def test_what_a_row_is_spelt_with() -> None:
    """Its Rice parameter or its table, its tail, and the rung."""
    rows = RANKED["tables_small"]
    ranked = dissect_block(encode_ranked(rows, TABLES), tables=SETS).block
    plain = dissect_block(encode_plain(rows)).block
    assert ranked is not None and plain is not None
    assert [head.number for head in ranked.heads[:3]] == [0, 1, 2]
    assert ranked.rung == (2, 3, 40) and plain.rung is None
    for block in (ranked, plain):
        assert [head.tail for head in block.heads] == [row.tail for row in rows]
    ids: Integers = np.stack([row.ids for row in rows])
    gaps: Integers = np.diff(ids, axis=1, prepend=-1) - 1
    assert [head.number for head in plain.heads] == rice_parameters(gaps, 300).tolist()


def test_an_unknown_set_leaves_the_header() -> None:
    """The tag of the set that is missing can be read where the set can't be had."""
    data = encode_ranked(RANKED["tables_small"], TABLES)
    for anatomy in (dissect_block(data), dissect_frame(framed_block(data))):
        assert anatomy.refused is not None and anatomy.refused.reason is Refusal.TABLES
        assert anatomy.block is not None and anatomy.block.tag == TABLES.tag
        assert anatomy.fields[-1].name == "tag" and anatomy.fields[-1].value == TABLES.tag


def _check_survived(anatomy: Anatomy, refused: WireError | None) -> None:
    """The verdict is the decoder's; what is shown stands before it or in a block's header, without gaps."""
    if refused is None:
        assert anatomy.refused is None
        return
    assert anatomy.refused is not None
    assert (anatomy.refused.reason, anatomy.refused.offset) == (refused.reason, refused.offset)
    _check_tiled(anatomy.fields, None)
    if refused.reason is not Refusal.CHECKSUM:
        header = 0 if anatomy.block is None else anatomy.block.start + 64
        assert all(field.start <= max(refused.offset, header - 1) for field in anatomy.fields)


@given(hostile_bytes())
def test_hostile_frames(data: bytes) -> None:
    """Whatever the bytes, there is an anatomy, and its verdict is decode_frame's."""
    refused = None
    try:
        decode_frame(data)
    except WireError as error:
        refused = error
    _check_survived(dissect_frame(data), refused)


@settings(max_examples=40)  # a block takes longer to make up than to take apart
@given(hostile_blocks())
def test_hostile_blocks(data: bytes) -> None:
    """The same for blocks that stand alone."""
    refused = None
    try:
        decode_rows(data)
    except WireError as error:
        refused = error
    _check_survived(dissect_block(data), refused)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 600 + b"]" * 600,
        b'{"a":' * 600 + b"1" + b"}" * 600,
        b'{"a":' * 200_000,
        b"{}",
        b'{"a":1,"a":2}',
        b'{"a":1e999}',
        b"\xff" * 40,
        b"",
    ],
    ids=["deep list", "deep object", "deeper than a parser", "empty", "twice", "huge", "no text", "nothing"],
)
def test_bodies_that_are_no_control_message(body: bytes) -> None:
    """They are shown as they stand, and refused."""
    head = bytes((0xD3, 64)) + bytes(8)
    anatomy = dissect_frame(head + crc32(body, crc32(head)).to_bytes(4, "big") + body)
    assert anatomy.refused is not None
    _check_tiled(anatomy.fields, None)


def test_a_damaged_frame_is_shown_whole() -> None:
    """Where the checksum does not fit, all fields are there: one of them is the damage."""
    data = bytearray(_framed(CASES["ping"]))
    data[-1] ^= 1
    anatomy = dissect_frame(bytes(data))
    assert anatomy.refused is not None and anatomy.refused.reason is Refusal.CHECKSUM
    _check_tiled(anatomy.fields, len(data))


def test_nothing_of_a_frame_that_is_too_long_is_lost_on_the_way() -> None:
    """It is refused by its length, and told how long it is."""
    anatomy = dissect_frame(_framed(CASES["ping"]) + bytes(MAX_FRAME_BYTES))
    assert anatomy.refused is not None and anatomy.refused.reason is Refusal.TOO_LARGE
    assert anatomy.length > MAX_FRAME_BYTES
