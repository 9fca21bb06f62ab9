"""Blocks, weights, hashes and noise once more, from docs/wire.md alone: one bit at a time, without numpy."""

from decimal import Decimal, getcontext
from hashlib import blake2b

getcontext().prec = 50


def exponential(scale_bits: int, numerator: int, denominator: int) -> int:
    """2**scale_bits * exp(-numerator / denominator), rounded to the nearest integer."""
    return int(((-Decimal(numerator) / denominator).exp() * 2**scale_bits).to_integral_value())


def weights_of(levels: list[int], profile: int) -> list[int]:
    """Section "Weights"."""
    if profile == 2:
        masses = []
        for level in levels:
            distance = max(levels) - level
            high, low = distance >> 8, distance & 255
            masses.append((exponential(31, high, 8) * exponential(31, low, 2048)) >> 24)
        points = levels
    else:
        s = (2, 3)[profile]
        top = max(level >> s for level in levels)
        points = [2 * level + (1 if level >> s >= top - 3 else 2**s) for level in levels]
        numerator, denominator = ((1, 8), (7, 80))[profile]
        masses = [exponential(30, (max(points) - point) * numerator, denominator) for point in points]
    total = sum(masses)
    weights = [1 + mass * (2**24 - len(levels)) // total for mass in masses]
    weights[points.index(max(points))] += 2**24 - sum(weights)
    return weights


def read_block(data: bytes) -> tuple[int, int, list[list[int]], list[list[int]], list[int]]:
    """Section "Blocks of rows": V, profile, and each row's ids, levels and tail. For valid blocks only."""
    stream = "".join(f"{byte:08b}" for byte in data)
    place = 0

    def field(width: int) -> int:
        nonlocal place
        place += width
        return int("0" + stream[place - width : place], 2)

    def run() -> int:
        nonlocal place
        start, place = place, stream.index("1", place) + 1
        return place - 1 - start

    mode, profile, count, v, k = field(4), field(4), field(8), field(24), field(24)
    if mode == 2:
        dense = [[field(16) for _ in range(k)] for _ in range(count)]
        return v, profile, [list(range(v))] * count, dense, [63] * count
    s = (2, 3)[profile]
    heads = [(field(5), field(6)) for _ in range(count)]
    parameters, tails = [width for width, _ in heads], [tail for _, tail in heads]
    quotients = [[run() for _ in range(k)] for _ in range(count)]
    coarse = [[run() for _ in range(k)] for _ in range(count)]
    ids: list[list[int]] = []
    for width, row in zip(parameters, quotients, strict=True):
        ids.append([])
        before = -1
        for quotient in row:
            before += 1 + (quotient << width | field(width))
            ids[-1].append(before)
    levels = [[c << s | (field(s) if c >= max(row) - 3 else 0) for c in row] for row in coarse]
    assert set(stream[place:]) <= {"0"} and len(stream) - place < 8
    return v, profile, ids, levels, tails


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
