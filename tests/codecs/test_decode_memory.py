"""What decoding takes, at its peak: a few kB, and a fixed number of bytes for each that came, 32 MiB at most.

So a peer who wants our memory has to send for it. Arrays that a set of tables keeps for all blocks
(`lookup_of`) are counted apart: every decode is run once before it is measured, but where the first one under
a set is looked at.
"""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from tests.codecs.golden_cases import CASES, sparse_logits
from tests.codecs.test_hostile import ROWS_AT, sealed
from tests.harness.tables import in_order, narrow, usual_set

from draftwire.codecs.blocks import decode_rows, encode_plain, encode_ranked
from draftwire.codecs.control import Event, Json
from draftwire.codecs.errors import WireError
from draftwire.codecs.frame import AnyMessage, decode_frame, encode_frame
from draftwire.codecs.limits import MAX_CONTROL_BYTES, MAX_FRAME_BYTES, MAX_VOCAB_SIZE
from draftwire.codecs.lookup import lookup_of
from draftwire.codecs.messages import Commit, Open, Origin
from draftwire.codecs.probes import Probe
from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row
from draftwire.codecs.tables import TableSet, by_tag, table_set_bytes, table_set_from
from draftwire.codecs.weights import Profile

SLOW = pytest.mark.slow

MOST_BYTES = 2**25
"Whatever the frame: 32 MiB. A block of 32 rows of 4096 entries takes 21 MB, a Commit of a whole log 23."

FIXED_BYTES = 12_000
"Objects and small arrays that every decode has, whatever came."

PEAK_PER_BYTE = 1_400
"""Bytes at the peak, for each byte of the frame, of entries that take 2 bits each: as few as they can.

Most of it is for the choices that a decoder checks: of a table, 4 bytes for each entry and table (1150 in all
with 64 tables), and of a Rice parameter, 16 for each entry and candidate (1250 at V = 262144, K = 160)."""

PER_BYTE_USUAL = 150
"The same with at most 16 tables a rung and rows as models have them: 30 to 110 were measured."

PER_FILE_BYTE = 16
"The same for a file of tables, for which the lists of ids and places count."


PER_RUNG_BYTE = 12
"""What a set keeps of a rung from its first block on, and takes to make it, for each byte of the
file that is the rung's or the order's: 10.4 to 10.7 were measured."""


def peak_of(decode: Callable[[bytes], object], data: bytes, *, first: bool = False) -> int:
    """Bytes that decoding, or refusing, `data` had at most at once, the result included.

    `first`: when it is done for the first time; else the second.
    """
    for measured in (True,) if first else (False, True):
        if measured:
            tracemalloc.start()
        try:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            try:
                decode(data)
            except WireError:
                pass
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    return peak - before


def assert_small(decode: Callable[[bytes], object], data: bytes, *, per_byte: int = PEAK_PER_BYTE) -> None:
    peak = peak_of(decode, data)
    most = min(FIXED_BYTES + per_byte * len(data), MOST_BYTES)
    assert peak <= most, f"{peak} bytes for {len(data)}: {data[:40].hex()}"


# Honest frames ----------------------------------------------------------------------------------------------

SETS = {
    "16 tables": usual_set(32000, tables=16),
    "64 tables": usual_set(32000, tables=64, front=4096),
    "heads": in_order(5000, heads=(5000, 0)),
    "narrow": in_order(4096, widths=narrow),
    "one bucket": in_order(MAX_VOCAB_SIZE),
}
NEAR = SETS["one bucket"]
"Its order is that of the ids."

KNOWN = by_tag(list(SETS.values()))


def decode_block(data: bytes) -> object:
    """With all the sets."""
    return decode_rows(data, tables=KNOWN)


def decode_any(data: bytes) -> object:
    """With all the sets."""
    return decode_frame(data, tables=KNOWN)


def rows_of(tables: TableSet, *, k: int, count: int, shape: str, profile: Profile) -> tuple[Row, ...]:
    """Rows of the ids that the tables call the likeliest."""
    rng = np.random.default_rng(k)
    logs = {"flat": np.zeros(k), "one hot": 5.0 * (np.arange(k) == 0), "normal": 6 * rng.normal(size=k)}[
        shape
    ]
    row = quantize(tables.order[:k], logs, vocab_size=tables.vocab_size, profile=profile)
    return (row,) * count


@pytest.mark.parametrize("profile", [Profile.SMALL, Profile.LARGE])
@pytest.mark.parametrize("shape", ["flat", "one hot", "normal"])
@pytest.mark.parametrize("k, count", [(1, 1), (320, 4), (4096, 1), pytest.param(4096, 32, marks=SLOW)])
@pytest.mark.parametrize("name", SETS)
def test_rows(name: str, k: int, count: int, shape: str, profile: Profile) -> None:
    """Honest blocks, by tables and plain, from the smallest to the largest that there are."""
    rows = rows_of(SETS[name], k=k, count=count, shape=shape, profile=profile)
    assert_small(decode_block, encode_ranked(rows, SETS[name]))
    assert_small(decode_block, encode_plain(rows))


@pytest.mark.parametrize("k", [8, 16, 64, 100, 160])
@pytest.mark.parametrize("count", [1, 4, 32])
def test_near_ids_of_a_large_vocabulary(k: int, count: int) -> None:
    """Plain rows of neighbouring ids: few bits, and many Rice parameters that might have been shorter."""
    rows = rows_of(NEAR, k=k, count=count, shape="one hot", profile=Profile.SMALL)
    assert_small(decode_block, encode_plain(rows))


@pytest.mark.parametrize(
    "k, count", [(1, 1), (32, 4), (320, 4), (320, 32), pytest.param(4096, 32, marks=SLOW)]
)
def test_usual_rows(k: int, count: int) -> None:
    """Rows as they are sent, under tables as they are learnt, take about a tenth of that."""
    for profile in (Profile.SMALL, Profile.LARGE):
        rows = rows_of(SETS["16 tables"], k=k, count=count, shape="normal", profile=profile)
        assert_small(decode_block, encode_ranked(rows, SETS["16 tables"]), per_byte=PER_BYTE_USUAL)
        assert_small(decode_block, encode_plain(rows), per_byte=PER_BYTE_USUAL)


@pytest.mark.parametrize("k", [1, 8, 4096])
@pytest.mark.parametrize("name", SETS)
def test_the_first_block_under_a_set(name: str, k: int) -> None:
    """It has a rung of the set spread out, in proportion to the rung's file; what is no block has nothing."""
    tables = replace(SETS[name], label=f"not seen before: {k}")  # its rungs are not spread out yet
    rung = tables.rungs[tables.rung_of(k) or 0]
    rung_bytes = 3 * tables.vocab_size + len(rung.tail_widths)
    rung_bytes += sum(2 * len(table.front) + len(table.widths) for table in rung.tables)
    data = encode_ranked(rows_of(tables, k=k, count=1, shape="normal", profile=Profile.SMALL), tables)
    cold = replace(tables)  # an equal one, whose arrays encoding has not made
    assert cold.tag == tables.tag
    lookup_of.cache_clear()
    known = by_tag([cold])
    for size in (8, 9, 100):
        claim = CLAIMS[name][:4] + cold.tag + bytes(size - 8)
        assert peak_of(lambda data: decode_rows(data, tables=known), claim, first=True) <= FIXED_BYTES
    peak = peak_of(lambda data: decode_rows(data, tables=known), data, first=True)
    most = FIXED_BYTES + PEAK_PER_BYTE * len(data) + PER_RUNG_BYTE * rung_bytes
    assert PER_RUNG_BYTE * rung_bytes // 2 < peak <= most, f"{peak} bytes, {rung_bytes} of the file"


def long_messages(part: int) -> dict[str, bytes]:
    """The longest frames of each kind that has long ones, or as much of them as `part` says."""
    dense = quantize(range(49152), np.zeros(49152), vocab_size=49152)
    opening, commit = CASES["open"], CASES["commit"]
    assert isinstance(opening, Open) and isinstance(commit, Commit)
    many = (MAX_VOCAB_SIZE - 1,) * (262_144 // part)
    nested: Json = 0
    for _ in range(4):
        nested = [nested]
    messages: dict[str, AnyMessage] = {
        "dense rows": sparse_logits((dense,) * max(1, 8 // part)),
        "an Open of a whole log": replace(opening, tokens=many),
        "a Commit of a whole log": replace(commit, ids=many, origins=(Origin.ALONE,) * len(many)),
        "a Probe": Probe(stamp=0, padding=2**16 // part - 1, reply_padding=0),
        "an Event of many values": Event(node="n", at_s=0.0, fields={"values": [1.5] * (15_000 // part)}),
        "an Event of many keys": Event(
            node="n", at_s=0.0, fields={str(i): None for i in range(4_000 // part)}
        ),
        "an Event of many lists": Event(node="n", at_s=0.0, fields={"values": [nested] * (4_000 // part)}),
    }
    return {name: encode_frame(message, session=0, sequence=0) for name, message in messages.items()}


@pytest.mark.parametrize("part", [32, pytest.param(1, marks=SLOW)])
def test_long_messages(part: int) -> None:
    """Long frames of the other kinds, up to the longest, 1 MiB."""
    for data in long_messages(part).values():
        assert_small(decode_any, data, per_byte=120)


@pytest.mark.parametrize("tables", [in_order(4096, widths=narrow), usual_set(3000), SETS["64 tables"]])
def test_table_files(tables: TableSet) -> None:
    """Files of tables, of 10 kB to 5 MB: these come from our own disk, not from a peer."""
    data = table_set_bytes(tables)
    assert peak_of(table_set_from, data) <= FIXED_BYTES + PER_FILE_BYTE * len(data)


# Claims -----------------------------------------------------------------------------------------------------

MOST = 4096
CLAIMS = {
    "plain": bytes([0x00, 32]) + MAX_VOCAB_SIZE.to_bytes(3, "big") + MOST.to_bytes(3, "big"),
    "dense": bytes([0x22, 32]) + (49152).to_bytes(3, "big") * 2,
    **{name: bytes([0x10, 32]) + MOST.to_bytes(2, "big") + tables.tag for name, tables in SETS.items()},
}
"Headers of blocks of 32 rows, with as many entries as there may be."


@pytest.mark.parametrize("size", [0, 1, 10, 100, 1_000, 5_000])
@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_of_131072_entries(name: str, size: int) -> None:
    """A block that claims all there may be in a few bytes is refused before anything is allocated for it."""
    for fill in (b"\0", b"\xff", b"\x55"):
        data = CLAIMS[name] + fill * size
        assert peak_of(decode_block, data) <= FIXED_BYTES + 8 * len(data)


@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"\x55", b"\x01"])
@pytest.mark.parametrize("rows, k", [(1, 1), (32, 1), (32, 320), (32, 4096)])
@pytest.mark.parametrize("name", CLAIMS)
def test_much_behind_a_header(name: str, rows: int, k: int, fill: bytes) -> None:
    """Blocks that go on and on behind a sound header, with no 1, or with little else."""
    header = CLAIMS[name][:1] + bytes([rows]) + CLAIMS[name][2:]
    if name not in ("plain", "dense"):
        header = header[:2] + k.to_bytes(2, "big") + header[4:]
    elif name == "plain":
        header = header[:5] + k.to_bytes(3, "big")
    for size in (1_000, 50_000):
        assert_small(decode_block, header + fill * size)


@pytest.mark.parametrize("name", ["plain", "16 tables", *(pytest.param(name, marks=SLOW) for name in SETS)])
def test_a_whole_frame_of_noise(name: str) -> None:
    """1 MiB of noise, or of 1s, behind a sound header."""
    head = encode_frame(CASES["sparse_logits_plain"], session=0, sequence=0)[:ROWS_AT] + CLAIMS[name]
    rest = MAX_FRAME_BYTES - len(head)
    for fill in (np.random.default_rng(1).bytes(rest), b"\xff" * rest):
        assert_small(decode_any, sealed(head + fill), per_byte=100)


def claiming() -> dict[str, bytes]:
    """Small frames in which a count says the most that 2 or 4 bytes can, or the most that is allowed."""
    found = {}
    for message in (
        "open",
        "commit",
        "sparse_logits_request",
        "draft",
        "opened",
        "hello",
        "refused",
        "probe",
    ):
        data = encode_frame(CASES[message], session=0, sequence=0)
        for place in range(14, len(data) - 4):
            for count in (b"\xff\xff\xff\xff", b"\x00\x04\x00\x00", b"\xff\xff", b"\xff", b"\x20"):
                found[f"{message} {place} {count.hex()}"] = sealed(
                    data[:place] + count + data[place + len(count) :]
                )
    return found


def test_small_frames_that_claim_much() -> None:
    """Whatever number in a small frame is made large, refusing or decoding it takes a few kB."""
    peaks = {name: peak_of(decode_any, data) for name, data in claiming().items()}
    worst = max(peaks, key=lambda name: peaks[name])
    assert peaks[worst] <= FIXED_BYTES, f"{worst}: {peaks[worst]}"


def test_a_small_file_that_claims_much() -> None:
    """A table file that names a large vocabulary, front or number of buckets takes a few kB to refuse."""
    data = table_set_bytes(in_order(12, heads=(7, 3)))
    for place in range(8, len(data) - 4):
        for count in (b"\xff\xff\xff\xff", b"\x04\x00\x00", b"\xff\xff", b"\x40"):
            changed = data[:place] + count + data[place + len(count) :]
            assert peak_of(table_set_from, changed) <= FIXED_BYTES, f"byte {place}: {count.hex()}"


def test_control_bodies_that_are_no_messages() -> None:
    """64 KiB of JSON in which each byte makes a value, or a level, takes less than 100 bytes a byte."""
    head = encode_frame(CASES["event"], session=0, sequence=0)[:14]
    for body in (
        b"[" * MAX_CONTROL_BYTES,
        b"[" + b"{}," * 20_000,
        b'{"a":[' + b"0," * 30_000 + b"0]}",
        b"9" * 60_000,
    ):
        assert_small(decode_any, sealed(head + body[:MAX_CONTROL_BYTES]), per_byte=100)


def test_too_long_a_frame_is_not_read() -> None:
    """A frame over the limit takes nothing at all."""
    assert peak_of(decode_any, bytes(2 * MAX_FRAME_BYTES)) <= FIXED_BYTES
