"""Hashes, noise and padding once more, from docs/wire.md alone. Blocks of rows: `reference_decoder.py`."""

from collections.abc import Mapping
from hashlib import blake2b
from math import log
from zlib import crc32


def rows_hash_of(v: int, ids: list[list[int]], weights: list[list[int]], tails: list[int]) -> bytes:
    """Section "Hashes"."""
    text = b"rows"
    for row_ids, row_weights, tail in zip(ids, weights, tails, strict=True):
        for number in (v, len(row_ids), tail, *row_ids, *row_weights):
            text += number.to_bytes(4, "big")
    return blake2b(text, digest_size=8).digest()


def without_padding(frame: bytes) -> bytes:
    """Section "Envelope": the same frame as if nobody had padded it."""
    if frame[1] < 128:
        return frame
    count = int.from_bytes(frame[-2:], "big")
    assert 2 <= count <= 4097 and frame[-count:-2] == bytes(count - 2)
    head, body = frame[:1] + bytes([frame[1] - 128]) + frame[2:10], frame[14:-count]
    return head + crc32(head + body).to_bytes(4, "big") + body


def noise_word(seed: int, draft_epoch: int, position: int, purpose: int) -> int:
    """Section "Noise version 2": the word of a draw."""
    c0, c1, c2, c3 = 1, position, 0, 0
    k0, k1 = seed, purpose << 32 | draft_epoch
    for _ in range(10):
        (hi0, lo0), (hi1, lo1) = (
            divmod(0xD2E7470EE14C6C93 * c0, 2**64),
            divmod(0xCA5A826395121157 * c2, 2**64),
        )
        c0, c1, c2, c3 = hi1 ^ c1 ^ k0, lo1, hi0 ^ c3 ^ k1, lo0
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) % 2**64, (k1 + 0xBB67AE8584CAA73B) % 2**64
    return c0


def noise_of_id(word: int, i: int) -> int:
    """The same section: z of an id."""
    z = (word + (i + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def race(word: int, masses: Mapping[int, float]) -> int:
    """The same section: which id wins."""
    times = {
        i: -log(((noise_of_id(word, i) >> 11) + 0.5) * 2.0**-53) / m for i, m in sorted(masses.items()) if m
    }
    return min(times, key=lambda i: times[i])
