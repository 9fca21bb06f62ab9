"""Hashes and noise once more, from docs/wire.md alone. Blocks of rows: `reference_decoder.py`."""

from hashlib import blake2b


def rows_hash_of(v: int, ids: list[list[int]], weights: list[list[int]], tails: list[int]) -> bytes:
    """Section "Hashes"."""
    text = b"rows"
    for row_ids, row_weights, tail in zip(ids, weights, tails, strict=True):
        for number in (v, len(row_ids), tail, *row_ids, *row_weights):
            text += number.to_bytes(4, "big")
    return blake2b(text, digest_size=8).digest()


def noise_words(seed: int, draft_epoch: int, position: int, purpose: int, count: int) -> list[int]:
    """Section "Noise version 1": the first words of a draw."""
    words: list[int] = []
    while len(words) < count:
        c0, c1, c2, c3 = len(words) // 4 + 1, position, 0, 0
        k0, k1 = seed, purpose << 32 | draft_epoch
        for _ in range(10):
            (hi0, lo0), (hi1, lo1) = (
                divmod(0xD2E7470EE14C6C93 * c0, 2**64),
                divmod(0xCA5A826395121157 * c2, 2**64),
            )
            c0, c1, c2, c3 = hi1 ^ c1 ^ k0, lo1, hi0 ^ c3 ^ k1, lo0
            k0, k1 = (k0 + 0x9E3779B97F4A7C15) % 2**64, (k1 + 0xBB67AE8584CAA73B) % 2**64
        words += [c0, c1, c2, c3]
    return words[:count]
