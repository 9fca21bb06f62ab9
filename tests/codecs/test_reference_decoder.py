"""The decoder that was written from docs/wire.md alone, and ours: the same rows, and the same refusals."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from tests.codecs.ranked_by_the_book import packed, spelt
from tests.codecs.reference_decoder import Block, Refused, Tables
from tests.harness.tables import growing, in_order, narrow, overhanging, usual_set

from draftwire.codecs.blocks import block_sections, decode_rows, encode_plain, encode_ranked, encode_rows
from draftwire.codecs.errors import WireError
from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row
from draftwire.codecs.strategies import row_blocks, table_sets
from draftwire.codecs.tables import TableSet, TableSets, by_tag, table_set_bytes, table_set_from
from draftwire.codecs.weights import Profile

GOLDEN = Path(__file__).parent / "golden"
MODES = ("plain", "tables", "dense")
Read = tuple[int, list[tuple[list[int], list[int], int, list[int]]]]


def golden(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((GOLDEN / name).read_text(encoding="utf-8"))
    return value


def reference(sets: TableSets) -> dict[bytes, Tables]:
    """Sets as the reference reads their files."""
    return {tag: Tables(table_set_bytes(tables)) for tag, tables in sets.items()}


def read_by_the_book(data: bytes, sets: dict[bytes, Tables]) -> Read | None:
    try:
        block = Block(data, sets)
    except Refused:
        return None
    return block.v, block.rows


def read_by_us(data: bytes, sets: TableSets) -> Read | None:
    try:
        rows = decode_rows(data, tables=sets)
    except WireError:
        return None
    return rows[0].vocab_size, [
        (row.ids.tolist(), row.levels.tolist(), row.tail, row.weights.tolist()) for row in rows
    ]


def sections(block: Block) -> dict[str, int]:
    """Where the sections of a block begin; its padding, also an empty one, and its end included."""
    padding = {} if block.profile == Profile.DENSE else {"padding": block.place}
    return block.sections | padding | {"end": len(block.stream)}


def bent(data: bytes, rng: random.Random) -> bytes:
    """Those bytes with a little harm done to them: to bits, most often behind the header, or to bytes."""
    changed, place = bytearray(data), rng.randrange(len(data))
    match rng.choice(("flip", "flip", "shift", "shift", "set", "cut", "grow", "drop")):
        case "flip":
            for _ in range(rng.randint(1, 2)):
                bit = rng.randrange(64 if len(data) > 8 and rng.random() < 0.9 else 0, 8 * len(data))
                changed[bit // 8] ^= 128 >> bit % 8
        case "shift":  # a bit more or less in the middle; the padding takes it up
            bits, width = f"{int.from_bytes(data):0{8 * len(data)}b}", rng.randint(0, 2)
            bit = rng.randrange(min(64, len(bits) - 1), len(bits))
            bits = (bits[:bit] + rng.choice(("", "0", "1")) + bits[bit + width :]).rstrip("0")
            size = -(-len(bits) // 8)
            changed = bytearray(int(bits.ljust(8 * size, "0") or "0", 2).to_bytes(size))
        case "set":
            changed[place] = rng.choice((0, 1, 127, 128, 255))
        case "cut":
            del changed[place:]
        case "grow":
            place = rng.randint(0, len(data))
            changed[place:place] = rng.randbytes(rng.randint(1, 2))
        case "drop":
            del changed[place]
    return bytes(changed)


def test_golden_tables() -> None:
    """The golden file of tables has the name, V and order that its vector says, and rungs at the same K."""
    vector = golden("tables.json")
    tables = Tables(bytes.fromhex(vector["file"]))
    assert tables.hash.hex() == vector["hash"]
    assert tables.v == vector["set"]["vocab_size"]
    assert f"{tables.fingerprint:016x}" == vector["set"]["fingerprint"]
    assert list(tables.rungs) == [rung["k"] for rung in vector["set"]["rungs"]]
    for rung in vector["set"]["rungs"]:
        for table, (ids, head, _, least, _) in zip(rung["tables"], tables.rungs[rung["k"]], strict=True):
            order, front = vector["set"]["order"], table["front"]
            assert ids == [order[place] for place in front] + order[len(front) :]
            assert (head, least) == (table["head"], table["head"] + len(table["widths"]))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("rows_*.json")), ids=lambda path: path.stem)
def test_golden_blocks(path: Path) -> None:
    """Golden blocks read as their ids, levels, tails and weights; sections begin where they say."""
    vector, tables = golden(path.name), Tables(bytes.fromhex(golden("tables.json")["file"]))
    block = Block(bytes.fromhex(vector["block"]), {tables.hash[:4]: tables})
    assert sections(block) == vector["sections"]
    for row, expected in zip(block.rows, vector["rows"], strict=True):
        assert row == tuple(expected[field] for field in ("ids", "levels", "tail", "weights"))
        assert block.v == expected["vocab_size"]
        assert Profile(block.profile).name == expected["profile"]


def test_golden_refusals() -> None:
    """Golden blocks and files that must be refused are."""
    vector = golden("refused_blocks.json")
    sets = [Tables(bytes.fromhex(file)) for file in vector.pop("tables")]
    assert len(vector) > 50 and len(golden("refused_tables.json")) > 20
    for name, refused in vector.items():
        data = bytes.fromhex(refused["block"])
        assert read_by_the_book(data, {tables.hash[:4]: tables for tables in sets}) is None, name
    for name, refused in golden("refused_tables.json").items():
        assert name_of(bytes.fromhex(refused["file"]), lambda data: Tables(data).hash) is None, name


@st.composite
def blocks(draw: DrawFn) -> tuple[bytes, TableSets]:
    """A block in any mode, and the set that it may need."""
    rows = draw(row_blocks(vocab_size=draw(st.sampled_from((2, 3, 17, 120)))))
    tables = draw(table_sets(vocab_size=rows[0].vocab_size, rungs=(1,)))
    if rows[0].profile is Profile.DENSE or draw(st.integers(0, 3)) == 0:
        return encode_rows(rows), by_tag([tables])
    return encode_ranked(rows, tables), by_tag([tables])


@settings(max_examples=40)
@given(case=blocks())
def test_random_blocks(case: tuple[bytes, TableSets]) -> None:
    """Blocks of any rows under any set, whole or harmed, read the same; sections begin at the same bits."""
    data, sets = case
    book = reference(sets)
    block = Block(data, book)
    assert (block.v, block.rows) == read_by_us(data, sets)
    named = {section.name: section.start for section in block_sections(data, tables=sets)}
    assert sections(block) == named | {"end": 8 * len(data)}
    for seed in range(4):
        harmed = bent(data, random.Random(seed))
        assert read_by_the_book(harmed, book) == read_by_us(harmed, sets), harmed.hex()


def small_rows(rng: np.random.Generator, *, v: int, dense: bool = False) -> list[Row]:
    """1 to 4 rows of few entries."""
    k = v if dense else int(rng.integers(1, min(v, 9) + 1))
    profile = Profile.DENSE if dense else Profile(int(rng.integers(2)))
    return [
        quantize(
            np.sort(rng.choice(v, k, replace=False)),
            -rng.exponential(3.0, k),
            vocab_size=v,
            profile=profile,
            tail=63 if k == v else int(rng.integers(64)),
        )
        for _ in range(int(rng.integers(1, 5)))
    ]


SMALL_SETS = (
    in_order(2, heads=(0, 2)),
    in_order(9, heads=(0, 3, 7), widths=overhanging),
    usual_set(9, seed=1, tables=3, front=7),
    in_order(40, heads=(0, 2, 5, 11), widths=narrow),
    in_order(40, k=2, heads=(0,), widths=growing),
    usual_set(40, seed=2, tables=5, front=30),
)


@pytest.mark.parametrize("mode", MODES)
def test_bent_blocks(mode: str) -> None:
    """Of harmed blocks both accept the same ones, read the same rows in them, and there are some of both."""
    fate = {True: 0, False: 0}
    for seed in range(60):
        tables = SMALL_SETS[seed % len(SMALL_SETS)]
        sets = by_tag([tables])
        book, rng = reference(sets), random.Random(seed)
        rows = small_rows(np.random.default_rng(seed), v=tables.vocab_size, dense=mode == "dense")
        ranked = mode == "tables" and len(rows[0]) >= tables.rungs[0].k
        whole = encode_ranked(rows, tables) if ranked else encode_rows(rows)
        for _ in range(25):
            data = bent(whole, rng)
            read = read_by_the_book(data, book)
            assert read == read_by_us(data, sets), f"seed {seed}: {data.hex()} of {whole.hex()}"
            fate[read is not None] += 1
    assert min(fate.values()) >= 60, fate


def test_every_bit_of_a_block() -> None:
    """With any one bit of a small block the other way round, in any mode, both read the same, or nothing."""
    tables = SMALL_SETS[2]
    sets = by_tag([tables])
    rng, book = np.random.default_rng(1), reference(sets)
    rows, dense = small_rows(rng, v=9), small_rows(rng, v=5, dense=True)
    for data in (encode_plain(rows), encode_ranked(rows, tables), encode_rows(dense)):
        for bit in range(8 * len(data)):
            changed = bytearray(data)
            changed[bit // 8] ^= 128 >> bit % 8
            assert read_by_the_book(bytes(changed), book) == read_by_us(bytes(changed), sets), changed.hex()


def spelt_plainly(row: Row, parameter: int) -> bytes:
    """A block of one row in mode 0 with any Rice parameter."""
    s, gaps, levels = 2 + row.profile, (np.diff(row.ids, prepend=-1) - 1).tolist(), row.levels.tolist()
    bits = f"{parameter:05b}{row.tail:06b}"
    bits += "".join("0" * (gap >> parameter) + "1" for gap in gaps)
    bits += "".join("0" * (level >> s) + "1" for level in levels)
    bits += "".join(f"{gap % 2**parameter:0{parameter}b}" for gap in gaps if parameter)
    bits += "".join(f"{level % 2**s:0{s}b}" for level in levels if level >> s >= (max(levels) >> s) - 3)
    bits += "0" * (-len(bits) % 8)
    header = bytes([row.profile, 1]) + row.vocab_size.to_bytes(3, "big") + len(row).to_bytes(3, "big")
    return header + int(bits, 2).to_bytes(len(bits) // 8, "big")


def flat_block(count: int, *, k: int = 1, coarse: Sequence[int] = (0,)) -> bytes:
    """A plain block of rows over 2 ids, all alike, with these coarse levels; the largest is refined."""
    runs = "".join("0" * level + "1" for level in coarse)
    bits = ("00000" + "111111") * count + "1" * k * count + runs * count + "00" * count
    bits += "0" * (-len(bits) % 8)
    header = bytes([0, count]) + (2).to_bytes(3, "big") + k.to_bytes(3, "big")
    return header + (int(bits, 2).to_bytes(len(bits) // 8, "big") if bits else b"")


def flat_file(*ks: int, width: int = 1, end: bytes = b"") -> bytes:
    """A file of tables over 2 ids: a table a rung, one bucket for all ranks."""
    rest = bytes([1, 0, 0, 0, 0, 0]) + (1).to_bytes(4) + bytes([width]) + bytes(6)
    order, rungs = bytes([0, 0, 0, 0, 0, 1]), b"".join(k.to_bytes(2) + rest for k in ks)
    return b"DWTABLE1" + bytes([0, 0, 2]) + bytes(8) + bytes([len(ks), 0, 0]) + order + rungs + end


@pytest.mark.parametrize(
    "data, accepted",
    [
        (flat_block(0), False),
        (flat_block(1), True),
        (flat_block(32), True),
        (flat_block(33), False),
        (flat_block(1, k=0, coarse=()), False),
        (flat_block(1, k=2, coarse=(0, 31)), True),
        (flat_block(1, k=2, coarse=(0, 32)), False),
        (flat_file(), False),
        (flat_file(0), False),
        (flat_file(1), True),
        (flat_file(1, 2), True),
        (flat_file(1, 1), False),
        (flat_file(2, 1), False),
        (flat_file(3), False),
        (flat_file(1, width=0), False),
        (flat_file(1, width=18), True),
        (flat_file(1, width=19), False),
        (flat_file(1, end=b"\0"), False),
    ],
)
def test_limits_of_both(data: bytes, accepted: bool) -> None:
    """On either side of a limit of the document both do what it says."""
    if data.startswith(b"DWTABLE1"):
        assert (name_of(data, lambda data: Tables(data).hash) is not None) == accepted
        assert (name_of(data, lambda data: table_set_from(data).hash) is not None) == accepted
    else:
        assert (read_by_the_book(data, {}) is not None) == accepted
        assert (read_by_us(data, {}) is not None) == accepted


@pytest.mark.parametrize(
    "offsets, accepted",
    [((1, 2), True), ((7, 8), True), ((2, 1), False), ((2, 2), False), ((1, 9), False), ((1, 15), False)],
)
def test_ranks_of_both(offsets: Sequence[int], accepted: bool) -> None:
    """Ranks in a bucket that do not rise, and those that no id has, are refused by both."""
    tables = in_order(9)  # one table without a front: one bucket of 16 for all 9 ranks
    bits = "111111" + "001" + "1" + "1" + "".join(f"{offset:04b}" for offset in offsets) + "00" + "00" + "0"
    data = bytes([16, 1, 0, 2]) + tables.tag + int(bits, 2).to_bytes(3)
    sets = by_tag([tables])
    assert (read_by_the_book(data, reference(sets)) is not None) == accepted
    assert (read_by_us(data, sets) is not None) == accepted


@pytest.mark.parametrize("seed", range(8))
def test_other_rice_parameters(seed: int) -> None:
    """Of all l that spell a row, both accept one and the same, that of our encoder."""
    (row, *_) = small_rows(np.random.default_rng(seed), v=40)
    spellings = [spelt_plainly(row, parameter) for parameter in range(32)]
    assert [data for data in spellings if read_by_the_book(data, {})] == [encode_plain([row])]
    assert [data for data in spellings if read_by_us(data, {})] == [encode_plain([row])]


@pytest.mark.parametrize("seed", range(8))
def test_other_tables(seed: int) -> None:
    """Of all tables that spell a row, both accept one and the same, that of our encoder."""
    tables = SMALL_SETS[5 if seed % 2 else 3]
    sets = by_tag([tables])
    (row, *_) = small_rows(np.random.default_rng(seed), v=40)
    rung = tables.rungs[tables.rung_of(len(row)) or 0]
    spellings = [packed([row], tables, spelt([row], tables, [m])) for m in range(len(rung.tables))]
    book = reference(sets)
    assert [data for data in spellings if read_by_the_book(data, book)] == [encode_ranked([row], tables)]
    assert [data for data in spellings if read_by_us(data, sets)] == [encode_ranked([row], tables)]


@pytest.mark.parametrize("tables", SMALL_SETS, ids=lambda tables: f"V={tables.vocab_size}, {tables.label}")
def test_bent_files(tables: TableSet) -> None:
    """Of harmed files of tables both accept the same ones, and give them the same name."""
    whole, rng = table_set_bytes(tables), random.Random(1)
    for _ in range(100):
        data = bent(whole, rng)
        name = name_of(data, lambda data: table_set_from(data).hash)
        assert name_of(data, lambda data: Tables(data).hash) == name, data.hex()


def name_of(data: bytes, read: Callable[[bytes], bytes]) -> bytes | None:
    try:
        return read(data)
    except (Refused, WireError):
        return None
