"""Mode 1 on a set of 12 ids that can be followed on paper: bits, and each reason to refuse a block."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from tests.codecs.ranked_by_the_book import ids_spelt, packed, spelt
from tests.harness.tables import FINGERPRINT, in_order, narrow

from draftwire.codecs.blocks import block_sections, decode_rows, encode_ranked
from draftwire.codecs.errors import Refusal, WireError
from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row
from draftwire.codecs.tables import Rung, Table, TableSet, by_tag
from draftwire.codecs.weights import Profile

ORDER = [5 * i % 12 for i in range(12)]
SET = TableSet(
    vocab_size=12,
    fingerprint=FINGERPRINT,
    label="by hand",
    order=np.array(ORDER, np.int32),
    rungs=(
        Rung(
            k=3,
            tables=(
                Table(front=np.array([0, 1, 2, 3, 4, 5, 6], np.int32), head=2, widths=(1, 2)),
                Table(front=np.array([6, 5, 4, 3, 2, 1, 0], np.int32), head=0, widths=(0, 0, 3)),
                Table(front=np.array([3, 2, 1, 0, 4, 5, 6], np.int32), head=7, widths=()),
            ),
            tail_widths=(2, 3),
            row_bits=0,
        ),
        Rung(
            k=12,
            tables=(Table(front=np.zeros(0, np.int32), head=0, widths=()),),
            tail_widths=(4,),
            row_bits=0,
        ),
    ),
)
"""Ranks of its first table: 0, 1 in the head; 2, 3; 4 to 6 of 4 places; behind the front 7 to 10; 11 of 8."""

KNOWN = by_tag([SET])


def row_at(*places: int, levels: Sequence[int] = (0, 4, 36), tail: int = 22) -> Row:
    """A row of the ids at these places of the order, with these levels, whatever the ids are."""
    ids = [ORDER[place] for place in places]
    by_id = [level for _, level in sorted(zip(ids, levels, strict=True))]
    return Row(
        vocab_size=12, profile=Profile.SMALL, ids=np.array(sorted(ids)), levels=np.array(by_id), tail=tail
    )


ROW = row_at(0, 2, 8, levels=(0, 4, 36))
SECTIONS = {
    "tables and tails": "00" + "010110",
    "head bitmaps": "10",
    "bucket counts": "01" + "1" + "01" + "1",
    "coarse levels": "1" + "01" + "0000000001",
    "bucket offsets": "0" + "01",
    "low bits": "00",
}
DATA = packed([ROW], SET, SECTIONS)
OFFSETS = dict(zip(SECTIONS, (64, 72, 74, 80, 93, 96), strict=True))
END = 98


def test_the_example_below() -> None:
    """Its bits are those of the book, and of the encoder; the offsets are where its sections begin."""
    assert spelt([ROW], SET) == SECTIONS
    assert encode_ranked([ROW], SET) == DATA
    assert DATA[:8] == b"\x10\x01\x00\x03" + SET.tag
    assert DATA[8:].hex() == f"{int(''.join(SECTIONS.values()), 2) << 6:010x}"
    starts = {one.name: one.start for one in block_sections(DATA, tables=KNOWN)}
    assert starts == {"header": 0, **OFFSETS, "padding": END}


def test_every_row_of_the_example() -> None:
    """All rows of 3 of its 12 ids come back, each from its shortest table, the first of equals."""
    named = set()
    for places in combinations(range(12), 3):
        row = row_at(*places)
        lengths = [sum(map(len, ids_spelt(row, SET.rungs[0], table, SET))) for table in SET.rungs[0].tables]
        data = encode_ranked([row], SET)
        assert data[8] >> 6 == lengths.index(min(lengths))
        assert decode_rows(data, tables=KNOWN) == (row,)
        named.add((data[8] >> 6, lengths.count(min(lengths)) > 1))
        for m in {0, 1, 2} - {data[8] >> 6}:
            with pytest.raises(WireError) as caught:
                decode_rows(packed([row], SET, spelt([row], SET, [m])), tables=KNOWN)
            assert (caught.value.reason, caught.value.offset) == (Refusal.NOT_CANONICAL, 64)
    assert {(0, False), (1, False), (2, False)} <= named
    assert any(tie for _, tie in named)


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize(
    "tables", [in_order(2), in_order(2, heads=(2, 1)), in_order(3, heads=(0, 1), widths=narrow), in_order(5)]
)
def test_all_there_is(tables: TableSet, k: int) -> None:
    """Of all bodies of 2 bytes with one tail, those accepted are the spellings of all rows of that length."""
    known, width = by_tag([tables]), (len(tables.rungs[0].tables) - 1).bit_length()
    header = b"\x10\x01" + k.to_bytes(2, "big") + tables.tag
    accepted = set()
    for body in range(2**16):
        if body >> 10 - width & 63 == 63:
            data = header + body.to_bytes(2, "big")
            try:
                (row,) = decode_rows(data, tables=known)
            except WireError:
                continue
            assert encode_ranked([row], tables) == data
            accepted.add(data)
    assert accepted == {data for data in all_spellings(tables, k) if len(data) == 10}


def all_spellings(tables: TableSet, k: int) -> set[bytes]:
    """Of rows of 1 or 2 entries with tail 63; a level of 28 makes a row longer than 2 bytes."""
    v, found = tables.vocab_size, set()
    for ids, place, top in product(combinations(range(v), k), range(k), range(28 if k == 2 else 1)):
        levels = np.zeros(k, np.int64)
        levels[place] = top
        row = Row(vocab_size=v, profile=Profile.SMALL, ids=np.array(ids), levels=levels)
        found.add(encode_ranked([row], tables))
    return found


def changed(**sections: str) -> bytes:
    """DATA with sections spelt otherwise; _ stands for the space in their names."""
    return packed([ROW], SET, SECTIONS | {name.replace("_", " "): bits for name, bits in sections.items()})


def header(*, kinds: int = 0x10, rows: int = 1, k: int = 3, tag: bytes = SET.tag) -> bytes:
    """DATA behind another header."""
    return bytes([kinds, rows]) + k.to_bytes(2, "big") + tag + DATA[8:]


def whole_row(tail: int) -> bytes:
    """A block of all 12 ids with this tail."""
    row = quantize(range(12), np.zeros(12), vocab_size=12)
    sections = spelt([row], SET)
    return packed([row], SET, sections | {"tables and tails": f"{tail:06b}"})


REFUSED: dict[str, tuple[bytes, Refusal, int]] = {
    "empty": (b"", Refusal.TRUNCATED, 0),
    "half a header": (DATA[:7], Refusal.TRUNCATED, 56),
    "mode 3": (header(kinds=0x30), Refusal.MODE, 0),
    "profile 2": (header(kinds=0x12), Refusal.PROFILE, 4),
    "profile 15": (header(kinds=0x1F), Refusal.PROFILE, 4),
    "an unknown set": (header(tag=b"none"), Refusal.TABLES, 32),
    "an unknown set first": (header(tag=b"none", rows=0, k=0), Refusal.TABLES, 32),
    "no rows": (header(rows=0), Refusal.LIMIT, 8),
    "33 rows": (header(rows=33), Refusal.LIMIT, 8),
    "K = 0": (header(k=0), Refusal.LIMIT, 8),
    "K = 13 of 12": (header(k=13), Refusal.LIMIT, 8),
    "K = 65535": (header(k=65535), Refusal.LIMIT, 8),
    "K below the first rung": (header(k=2), Refusal.LIMIT, 16),
    "another K": (header(k=4), Refusal.RANGE, 72),
    "32 rows in 5 bytes": (header(rows=32), Refusal.TRUNCATED, 104),
    "nothing behind the header": (DATA[:8], Refusal.TRUNCATED, 64),
    "zeros": (DATA[:8] + bytes(20), Refusal.TRUNCATED, 224),
    "table 3 of 3": (changed(tables_and_tails="11010110"), Refusal.LIMIT, 64),
    "a tail where K = V": (whole_row(62), Refusal.RANGE, 64),
    "an entry too few": (changed(bucket_counts="11011", bucket_offsets="01"), Refusal.RANGE, 72),
    "an entry too many": (changed(head_bitmaps="11", bucket_counts="011011"), Refusal.RANGE, 72),
    "4 in a bucket of 2": (changed(bucket_counts="000011011", bucket_offsets="000001"), Refusal.RANGE, 72),
    "coarse level 32": (changed(coarse_levels="101" + "0" * 32 + "1"), Refusal.RANGE, 74),
    "a run without end": (
        changed(coarse_levels="101" + "0" * 80, bucket_offsets="", low_bits=""),
        Refusal.TRUNCATED,
        168,
    ),
    "no coarse level 0": (changed(coarse_levels="01010000000001"), Refusal.RANGE, 74),
    "no level 0": (changed(coarse_levels="111", low_bits="010101"), Refusal.RANGE, 74),
    "a bit of padding": (changed(low_bits="00000001"), Refusal.NOT_CANONICAL, END),
    "a byte behind": (DATA + b"\0", Refusal.TRAILING, 104),
    "100 bytes behind": (DATA + bytes(100), Refusal.TRAILING, 240),  # no 3 such entries are longer
    "a byte less": (DATA[:-1], Refusal.TRUNCATED, 96),
    "the shorter of two tables": (
        packed([ROW], SET, spelt([ROW], SET, [1])),
        Refusal.NOT_CANONICAL,
        64,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    """Each way to be wrong has its reason and the bit where reading stopped."""
    data, reason, offset = REFUSED[name]
    with pytest.raises(WireError) as caught:
        decode_rows(data, tables=KNOWN)
    assert (caught.value.reason, caught.value.offset) == (reason, offset)


SAME_BUCKET = {
    "tables and tails": "00111111",
    "head bitmaps": "00",
    "bucket counts": "1" + "001" + "01" + "1",
    "coarse levels": "111",
    "bucket offsets": "00" + "10" + "00",
    "low bits": "000000",
}
"Ranks 4, 6 and 7 of the first table."


@pytest.mark.parametrize(
    "offsets, reason",
    [
        ("00" + "10" + "00", None),
        ("10" + "00" + "00", Refusal.NOT_CANONICAL),
        ("10" + "10" + "00", Refusal.NOT_CANONICAL),
        ("00" + "11" + "00", Refusal.RANGE),
    ],
    ids=["rising", "falling", "twice", "in the part that overhangs"],
)
def test_places_in_a_bucket(offsets: str, reason: Refusal | None) -> None:
    """Places in a bucket rise strictly, none lies in what overhangs; or they are refused where they stand."""
    data = packed([ROW], ONE_TABLE, SAME_BUCKET | {"tables and tails": "111111", "bucket offsets": offsets})
    if reason is None:
        (row,) = decode_rows(data, tables=by_tag([ONE_TABLE]))
        assert row.ids.tolist() == sorted(ORDER[rank] for rank in (4, 6, 7))
        return
    with pytest.raises(WireError) as caught:
        decode_rows(data, tables=by_tag([ONE_TABLE]))
    assert (caught.value.reason, caught.value.offset) == (reason, 64 + 6 + 2 + 7 + 3)


ONE_TABLE = replace(SET, rungs=(replace(SET.rungs[0], tables=SET.rungs[0].tables[:1]),))


def test_behind_the_last_id() -> None:
    """The last bucket may reach beyond V; a rank there is none."""
    sections = SAME_BUCKET | {
        "tables and tails": "111111",
        "bucket counts": "1" + "001" + "1" + "01",
    }
    known = by_tag([ONE_TABLE])
    good = packed([ROW], ONE_TABLE, sections | {"bucket offsets": "00" + "10" + "000"})
    assert ORDER[11] in decode_rows(good, tables=known)[0].ids
    for place in range(1, 8):
        bad = packed([ROW], ONE_TABLE, sections | {"bucket offsets": "00" + "10" + f"{place:03b}"})
        with pytest.raises(WireError) as caught:
            decode_rows(bad, tables=known)
        assert (caught.value.reason, caught.value.offset) == (Refusal.RANGE, 82)
