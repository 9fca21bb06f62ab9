"""Bytes that no honest peer sends, in numbers: whatever they are, a value that they spell or the typed error.

Real frames, blocks and table files, of every kind and mode, are bent at random, most of them with a CRC that
fits, so that the harm reaches the decoders behind it; others are noise behind a sound header, or noise alone.
The slow runs have a million frames and blocks, and 10**5 files: 5 to 10 minutes on two shared cores.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import product
from zlib import crc32

import numpy as np
import pytest
from tests.codecs.golden_cases import CASES
from tests.harness.tables import growing, in_order, mixed, narrow, overhanging, usual_set

from draftwire.codecs.blocks import Mode, decode_rows, encode_plain, encode_ranked, encode_rows
from draftwire.codecs.bodies import KINDS
from draftwire.codecs.control import CONTROL_KINDS
from draftwire.codecs.errors import Refusal, WireError
from draftwire.codecs.frame import ENVELOPE_BYTES, decode_frame, encode_frame, with_padding
from draftwire.codecs.messages import SparseLogits
from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row
from draftwire.codecs.tables import TableSet, by_tag, table_set_bytes, table_set_from
from draftwire.codecs.weights import WEIGHT_SUM, Profile

ROWS_AT = ENVELOPE_BYTES + 16
"The byte of a frame of rows at which the block begins."

EDGES = (
    0,
    1,
    2,
    31,
    32,
    33,
    63,
    127,
    128,
    255,
    4096,
    4097,
    65535,
    262143,
    262144,
    262145,
    2**24 - 1,
    2**31,
    2**32 - 1,
)

SETS = (
    usual_set(2),
    usual_set(12, tables=3, front=7, first=2),
    usual_set(300),
    usual_set(300, seed=1, tables=64, front=50, first=8),
    usual_set(32000, tables=16),
    in_order(12, k=3, heads=(0, 7), widths=overhanging),
    in_order(64, heads=(64, 3, 3), widths=narrow),
    in_order(300, heads=(0, 5, 300), widths=mixed),
    in_order(262144, heads=(0, 40), widths=growing),
)
KNOWN = by_tag(SETS)

Check = Callable[[bytes], str]
"Asserts what must hold of any bytes, and says what became of them."


# What they are made from ------------------------------------------------------------------------------------


def some_rows(v: int, k: int, count: int, profile: Profile, rng: np.random.Generator) -> tuple[Row, ...]:
    """Rows of K ids, near to each other or not, with weights of one of several shapes."""
    rows = []
    for _ in range(count):
        within = int(rng.choice([k, min(v, 4 * k), v]))
        logs = (np.zeros(k), -np.log(1.0 + np.arange(k)), 6 * rng.normal(size=k), 99.0 * (np.arange(k) == 0))
        tail = 63 if k == v else int(rng.integers(64))
        ids = rng.choice(within, k, replace=False)
        z = logs[rng.integers(len(logs))]
        rows.append(quantize(ids, z, vocab_size=v, profile=profile, tail=tail))
    return tuple(rows)


@cache
def blocks() -> tuple[bytes, ...]:
    """Small blocks of every mode and profile, and of every set."""
    rng = np.random.default_rng(7)
    found = []
    for tables, k, count in product(SETS, (1, 2, 3, 8, 12, 40), (1, 3, 32)):
        v = tables.vocab_size
        if k > v or k * count > 300:
            continue
        for profile in (Profile.SMALL, Profile.LARGE):
            rows = some_rows(v, k, count, profile, rng)
            found.append(encode_plain(rows))
            if tables.rung_of(k) is not None:
                # The likeliest ids are those at the front of the order.
                known = [
                    quantize(tables.order[row.ids], row.levels, vocab_size=v, profile=profile, tail=row.tail)
                    for row in rows
                ]
                found += [encode_ranked(rows, tables), encode_ranked(known, tables)]
        if v * count <= 300:
            found.append(encode_rows(some_rows(v, v, count, Profile.DENSE, rng)))
    return tuple(found)


@cache
def frames() -> tuple[bytes, ...]:
    """A message of each kind as often as 30 blocks of rows in their message."""
    head = encode_frame(CASES["sparse_logits_plain"], session=1, sequence=2)[:ROWS_AT]
    others = [
        with_padding(encode_frame(message, session=3, sequence=4), place % 3 and 60)
        for place, message in enumerate(CASES.values())
    ]
    return (*(sealed(head + block) for block in blocks()), *others * (len(blocks()) // 30))


@cache
def files() -> tuple[bytes, ...]:
    """Table files of at most some kB."""
    sets = [one for one in SETS if one.vocab_size <= 300]
    sets += [in_order(5, heads=(h, 0)) for h in range(5)]
    return tuple(table_set_bytes(one) for one in sets)


def sealed(data: bytes) -> bytes:
    """A frame with the CRC that fits."""
    return data[:10] + crc32(data[14:], crc32(data[:10])).to_bytes(4, "big") + data[14:]


# How they are bent ------------------------------------------------------------------------------------------


def bent(originals: Sequence[bytes], rng: np.random.Generator, *, front: int) -> bytes:
    """One of the originals, harmed in 1 to 3 places; half of the harm within the first `front` bytes."""
    data = bytearray(one_of(originals, rng))
    for _ in range(rng.integers(1, 4)):
        how = rng.integers(11)
        place = int(rng.integers(min(front, len(data)) if rng.random() < 0.5 else len(data))) if data else 0
        if how <= 1 and data:
            data[place] ^= 1 << rng.integers(8)
        elif how == 2 and data:
            data[place] = rng.choice([0, 1, 31, 32, 33, 127, 128, 254, 255, *b".0"])
        elif how == 3:
            size = int(rng.integers(1, 5))
            data[place : place + size] = (int(rng.choice(EDGES)) % 256**size).to_bytes(size, "big")
        elif how == 4:
            del data[place if rng.random() < 0.5 else max(0, len(data) - int(rng.integers(1, 4))) :]
        elif how == 5:
            data += rng.bytes(int(rng.integers(1, 9))) if rng.random() < 0.5 else bytes(1)
        elif how == 6:
            del data[place : place + int(rng.integers(1, 5))]
        elif how == 7:
            data[place:place] = rng.bytes(int(rng.integers(1, 5)))
        elif how == 8:
            data[place:] = one_of(originals, rng)[place:]
        elif data:
            swap(data, place, int(rng.integers(8)))
    return bytes(data)


def swap(data: bytearray, place: int, bit: int) -> None:
    """Exchange two neighbouring bits: as many 1s as before, so that what counts them goes on."""
    whole = int.from_bytes(data, "big")
    low = 8 * (len(data) - 1 - place) + bit
    if (whole >> low ^ whole >> low + 1) & 1 and low + 1 < 8 * len(data):
        data[:] = (whole ^ 3 << low).to_bytes(len(data), "big")


def one_of(originals: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """Any of them."""
    return originals[int(rng.integers(len(originals)))]


def noise(most: int, rng: np.random.Generator) -> bytes:
    """Bytes whose bits are 1 in a quarter, a half or three quarters of the places."""
    size = int(rng.integers(most + 1))
    first, second = np.frombuffer(rng.bytes(size), np.uint8), np.frombuffer(rng.bytes(size), np.uint8)
    return bytes([first, first & second, first | second][rng.integers(3)])


def hostile_block(rng: np.random.Generator) -> bytes:
    """A bent block, or noise behind a sound header."""
    if rng.random() < 0.85:
        return bent(blocks(), rng, front=12)
    return one_of(blocks(), rng)[: 8 + int(rng.integers(3))] + noise(120, rng)


def hostile_frame(rng: np.random.Generator) -> bytes:
    """A bent frame, a bent block in a sound frame, a body of noise, or noise."""
    kind = rng.random()
    if kind < 0.45:
        data = bent(frames(), rng, front=50)
    elif kind < 0.90:
        data = frames()[0][:ROWS_AT] + hostile_block(rng)
    elif kind < 0.95:
        data = frames()[0][:1] + bytes([rng.integers(80)]) + bytes(12) + noise(100, rng)
    else:
        data = noise(200, rng)
    return sealed(data) if rng.random() < 0.95 and len(data) >= ENVELOPE_BYTES else data


def hostile_file(rng: np.random.Generator) -> bytes:
    """A bent table file, or noise behind its name."""
    return bent(files(), rng, front=60) if rng.random() < 0.95 else b"DWTABLE1" + noise(100, rng)


# What must hold ---------------------------------------------------------------------------------------------


def check_block(data: bytes) -> str:
    """A block of rows is what it decodes to, in its mode and set; or it is refused within its length."""
    try:
        rows = decode_rows(data, tables=KNOWN)
    except WireError as error:
        return refused(error, data)
    assert all(row.weights.min() >= 1 and row.weights.sum() == WEIGHT_SUM for row in rows)
    assert block_again(rows, data) == data
    return Mode(data[0] >> 4).name


def check_frame(data: bytes) -> str:
    """The same of a frame."""
    try:
        frame = decode_frame(data, tables=KNOWN)
    except WireError as error:
        return refused(error, data)
    again = encode_frame(frame.message, session=frame.session, sequence=frame.sequence)
    if isinstance(frame.message, SparseLogits):
        again = sealed(again[:ROWS_AT] + block_again(frame.message.rows, data[ROWS_AT:]))
    assert with_padding(again, frame.padding) == data
    return type(frame.message).__name__


def check_file(data: bytes) -> str:
    """The same of a table file."""
    try:
        tables = table_set_from(data)
    except WireError as error:
        return refused(error, data)
    assert table_set_bytes(tables) == data
    return TableSet.__name__


def block_again(rows: Sequence[Row], data: bytes) -> bytes:
    """The rows in the mode of `data`, and with its tables."""
    mode = Mode(data[0] >> 4)
    if mode is Mode.TABLES:
        return encode_ranked(rows, KNOWN[data[4:8]])
    return encode_plain(rows) if mode is Mode.PLAIN else encode_rows(rows)


def refused(error: WireError, data: bytes) -> str:
    """The reason, which must be one of ours and lie within the bytes."""
    assert isinstance(error.reason, Refusal)
    assert 0 <= error.offset <= 8 * len(data)
    return error.reason.value


def outcomes(
    make: Callable[[np.random.Generator], bytes], check: Check, *, seed: int, count: int
) -> Mapping[str, int]:
    """How often each outcome was met; a failure names the seed and the bytes."""
    rng, met = np.random.default_rng(seed), Counter[str]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an overflow that numpy lets pass would be no typed error either
        for number in range(count):
            data = make(rng)
            try:
                met[check(data)] += 1
            except Exception as error:
                pytest.fail(f"seed {seed}, number {number}: {error!r} for {data.hex()}")
    return met


BLOCK_REASONS = {"truncated", "trailing", "mode", "profile", "limit", "range", "tables", "not_canonical"}
FRAME_REASONS = BLOCK_REASONS | {"version", "checksum", "kind", "text", "json", "keys", "type"}
FILE_REASONS = {"truncated", "trailing", "version", "limit", "range", "text"}


def test_blocks() -> None:
    """5000 hostile blocks: every reason there is, accepted ones in every mode, and nothing else."""
    met = outcomes(hostile_block, check_block, seed=1, count=5000)
    assert set(met) == BLOCK_REASONS | {mode.name for mode in Mode}
    assert met["TABLES"] > 100


def test_frames() -> None:
    """5000 hostile frames: every reason there is, accepted ones of many kinds, and nothing else."""
    met = outcomes(hostile_frame, check_frame, seed=2, count=5000)
    assert met.keys() >= FRAME_REASONS - {"type"}  # the rarest
    assert met.keys() - FRAME_REASONS <= {message.__name__ for message in (*KINDS, *CONTROL_KINDS)}
    assert met["SparseLogits"] > 100


def test_files() -> None:
    """1000 hostile table files: every reason there is, some sets, and nothing else."""
    met = outcomes(hostile_file, check_file, seed=3, count=1000)
    assert set(met) == FILE_REASONS | {"TableSet"}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(100, 120))
def test_a_million(seed: int) -> None:
    """50000 more frames and blocks, with seeds of their own; 20 times over."""
    outcomes(hostile_block, check_block, seed=seed, count=20_000)
    outcomes(hostile_frame, check_frame, seed=seed, count=30_000)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(100, 110))
def test_many_files(seed: int) -> None:
    """10000 more table files; 10 times over."""
    outcomes(hostile_file, check_file, seed=seed, count=10_000)


def test_what_the_corpus_has() -> None:
    """The originals are sound, small, of every mode, set and kind of message."""
    assert {check_block(data) for data in blocks()} == {mode.name for mode in Mode}
    assert {data[4:8] for data in blocks() if data[0] >> 4 == Mode.TABLES} == set(KNOWN)
    assert {check_frame(data) for data in frames()} == {type(message).__name__ for message in CASES.values()}
    assert {check_file(data) for data in files()} == {"TableSet"}
    assert max(map(len, blocks())) < 1500
