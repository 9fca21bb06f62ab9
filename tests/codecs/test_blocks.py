"""The packed block of rows: size, layout, and each reason to refuse one."""

from collections.abc import Callable

import numpy as np
import pytest

from draftwire.codecs.blocks import decode_rows, encode_rows
from draftwire.codecs.errors import Refusal, WireError
from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row
from draftwire.codecs.weights import Profile


def zipf_rows(*, k: int, v: int, count: int = 4) -> list[Row]:
    """Rows with weights 1/rank over random ids: the worst ids there are for a plain block."""
    rng = np.random.default_rng(1)
    ranks = np.arange(1, k + 1)
    return [quantize(rng.choice(v, k, replace=False), -np.log(ranks), vocab_size=v) for _ in range(count)]


@pytest.mark.parametrize("k, v, most", [(8, 32000, 21), (32, 32000, 16), (320, 32000, 11), (3200, 32000, 7)])
def test_bits_an_entry(k: int, v: int, most: float) -> None:
    """Zipf rows over uniformly random ids, header and all, stay within these bits an entry."""
    rows = zipf_rows(k=k, v=v)
    assert 8 * len(encode_rows(rows)) / (k * len(rows)) <= most


def test_dense_takes_16_bits_an_entry() -> None:
    """A dense block is 8 bytes and 2 for each entry; 8 rows over 49152 ids come back."""
    z = np.random.default_rng(1).normal(size=49152)
    rows = tuple(quantize(np.arange(49152), np.roll(z, i), vocab_size=49152) for i in range(8))
    data = encode_rows(rows)
    assert len(data) == 8 + 2 * 8 * 49152
    assert decode_rows(data) == rows


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 128 >> bit % 8
    return bytes(changed)


PLAIN = encode_rows([quantize([3, 4, 9], [0.0, -1.0, -9.0], vocab_size=10, tail=22)])
DENSE = encode_rows([quantize([0, 1], [0.0, -1.0], vocab_size=2, profile=Profile.DENSE)])


def test_the_examples_below() -> None:
    """l = 1; tail 22; gaps 3, 0, 4: runs 1, 0, 2 and bits 1, 0, 0; coarse levels 9, 8, 0; low bits 0, 0."""
    body = "".join(f"{byte:08b}" for byte in PLAIN[8:])
    assert PLAIN[:8].hex() == "000100000a000003"
    assert body == "00001" + "010110" + "011001" + "00000000010000000011" + "100" + "0000" + "0000"


@pytest.mark.parametrize(
    "data, reason, offset",
    [
        (PLAIN[:7], Refusal.TRUNCATED, 56),
        (b"\x10" + PLAIN[1:], Refusal.TABLES, 32),
        (b"\x30" + PLAIN[1:], Refusal.MODE, 0),
        (b"\xf0" + PLAIN[1:], Refusal.MODE, 0),
        (b"\x02" + PLAIN[1:], Refusal.PROFILE, 4),
        (b"\x20" + DENSE[1:], Refusal.PROFILE, 4),
        (b"\x00\x00" + PLAIN[2:], Refusal.LIMIT, 8),
        (b"\x00\x21" + PLAIN[2:], Refusal.LIMIT, 8),
        (PLAIN[:2] + b"\x04\x00\x01" + PLAIN[5:], Refusal.LIMIT, 8),
        (PLAIN[:5] + b"\x00\x00\x00" + PLAIN[8:], Refusal.LIMIT, 8),
        (PLAIN[:5] + b"\x00\x00\x0b" + PLAIN[8:], Refusal.LIMIT, 8),
        (PLAIN[:2] + b"\x04\x00\x00\x00\x10\x01" + PLAIN[8:], Refusal.LIMIT, 8),
        (DENSE[:5] + b"\x00\x00\x01" + DENSE[8:], Refusal.LIMIT, 8),
        (PLAIN[:8] + b"\xff" + PLAIN[9:], Refusal.RANGE, 64),
        (PLAIN[:-1], Refusal.TRUNCATED, 8 * len(PLAIN) - 8),
        (PLAIN + b"\0", Refusal.TRAILING, 8 * len(PLAIN)),
        (PLAIN + bytes(1000), Refusal.TRAILING, None),
        (PLAIN[:8] + bytes(len(PLAIN) - 8), Refusal.TRUNCATED, 8 * len(PLAIN)),
        (flipped(PLAIN, 8 * len(PLAIN) - 1), Refusal.NOT_CANONICAL, 8 * len(PLAIN) - 4),
        (DENSE[:-1], Refusal.TRUNCATED, 8 * len(DENSE) - 8),
        (DENSE + b"\0", Refusal.TRAILING, 8 * len(DENSE)),
        (DENSE[:8] + bytes(4), Refusal.RANGE, 64),
        (PLAIN[:2] + b"\x00\x00\x09" + PLAIN[5:], Refusal.RANGE, 75),
    ],
)
def test_refusals(data: bytes, reason: Refusal, offset: int | None) -> None:
    """Each way to be wrong has its reason and the bit where reading stopped."""
    with pytest.raises(WireError) as caught:
        decode_rows(data)
    assert caught.value.reason is reason
    assert offset is None or caught.value.offset == offset


def block(parameter: int, runs: str, rest: str, *, v: int, k: int, tail: int = 63) -> bytes:
    """A plain block of one row, profile SMALL, from its bits."""
    bits = f"{parameter:05b}{tail:06b}" + runs + rest
    bits += "0" * (-len(bits) % 8)
    return (
        bytes([0, 1])
        + v.to_bytes(3, "big")
        + k.to_bytes(3, "big")
        + int(bits, 2).to_bytes(len(bits) // 8, "big")
    )


@pytest.mark.parametrize(
    "make, reason",
    [
        (lambda: block(0, "1" + "1", "00", v=2, k=1), None),
        (lambda: block(0, "1" + "1", "00", v=2, k=1, tail=0), None),
        (lambda: block(0, "11" + "11", "0000", v=2, k=2), None),
        (lambda: block(0, "11" + "11", "0000", v=2, k=2, tail=62), Refusal.RANGE),
        (lambda: block(1, "1" + "1", "0" + "00", v=4, k=1), Refusal.NOT_CANONICAL),
        (lambda: block(0, "001" + "1", "00", v=2, k=1), Refusal.RANGE),
        (lambda: block(0, "1" + "1", "01", v=2, k=1), Refusal.RANGE),
        (lambda: block(0, "1" + "01", "00", v=2, k=1), Refusal.RANGE),
        (lambda: block(0, "11" + "1" + "0" * 31 + "1", "00", v=2, k=2), None),
        (lambda: block(0, "11" + "1" + "0" * 32 + "1", "00", v=2, k=2), Refusal.RANGE),
    ],
    ids=[
        "valid",
        "any tail",
        "whole row",
        "whole row with a tail",
        "long parameter",
        "id too large",
        "no level 0",
        "no coarse level 0",
        "level 31",
        "level 32",
    ],
)
def test_one_row_bit_by_bit(make: Callable[[], bytes], reason: Refusal | None) -> None:
    """What is well-formed bit by bit is still held to the rules of a row, and to its one spelling."""
    if reason is None:
        data = make()
        assert encode_rows(decode_rows(data)) == data
        return
    with pytest.raises(WireError) as caught:
        decode_rows(make())
    assert caught.value.reason is reason
