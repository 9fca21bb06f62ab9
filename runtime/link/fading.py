"""Block Rayleigh fading: a rate that is drawn anew every coherence time."""

import math
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from typing import Final

import numpy as np

from draftwire.runtime.link.spec import Curve, check

CHUNK_BLOCKS: Final = 512
"""Drawn at once."""

ROUND_CHUNKS: Final = 2048
"""Behind so many chunks, 1,048,576 blocks, the same blocks come again: memory and the time of any query are
bounded, however long a link runs and however much waits on it."""

_CHUNKS_KEPT: Final = 2
"""With every block of theirs: messages come in one and leave in it or the next. Of the others a sum stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fading:
    """In block i the rate is bandwidth x log2(1 + snr x g_i), g_i exponential with mean 1, each independent.

    Raises ConfigurationError for what lies outside the bounds below.
    """

    snr_db: float
    "mean signal to noise ratio, -30 to 60"
    bandwidth_hz: float
    "1 kHz to 10 GHz"
    coherence_s: float
    "how long a block lasts, 0.1 ms to 60 s"

    def __post_init__(self) -> None:
        check("rayleigh", self.snr_db, -30, 60, "db", what="snr")
        check("rayleigh", self.bandwidth_hz, 1e3, 1e10, "hz", what="bandwidth")
        check("rayleigh", self.coherence_s, 1e-4, 60, "s", what="coherence")

    @property
    def snr(self) -> float:
        """The mean as a ratio."""
        return float(10 ** (self.snr_db / 10))

    @property
    def mean_rate_bps(self) -> float:
        """The ergodic rate: bandwidth x e^(1/snr) E1(1/snr) / ln 2."""
        return self.bandwidth_hz * _scaled_e1(1 / self.snr) / math.log(2)

    def curve(self, seed: int) -> Curve:
        """The rate over time that this seed, 0 to 2^128 - 1, draws; blocks can be asked for in any order."""
        return _Blocks(self, seed)


class _Blocks:
    """The rate over time of one seed."""

    __slots__ = ("_bits_by_chunk", "_chunks", "_fading", "_seed")

    def __init__(self, fading: Fading, seed: int) -> None:
        self._fading = fading
        self._seed = seed
        self._bits_by_chunk = array("d", [0.0])
        "what chunks have carried by their ends, as far as anybody has asked"
        self._chunks: dict[int, array[float]] = {}
        "bits within a chunk by each block's beginning, and by its end; the last ones asked for"

    @property
    def mean_rate_bps(self) -> float:
        return self._fading.mean_rate_bps

    def bits_by(self, elapsed_s: float) -> float:
        blocks = elapsed_s / self._fading.coherence_s
        rounds, in_round = divmod(blocks, CHUNK_BLOCKS * ROUND_CHUNKS)
        chunk, block = divmod(int(in_round), CHUNK_BLOCKS)
        bits = self._bits_by(chunk) + (rounds * self._bits_by(ROUND_CHUNKS) if rounds else 0.0)
        by_block = self._chunk(chunk)
        part = in_round - int(in_round)
        return bits + by_block[block] + part * (by_block[block + 1] - by_block[block])

    def when(self, bits: float) -> float:
        if bits <= 0:
            return 0.0
        rounds, rest = 0.0, bits
        while rest > self._bits_by_chunk[-1] and len(self._bits_by_chunk) <= ROUND_CHUNKS:
            self._bits_by(len(self._bits_by_chunk))
        if rest > self._bits_by_chunk[-1]:
            rounds, rest = divmod(bits, self._bits_by_chunk[-1])
        chunk = max(0, bisect_left(self._bits_by_chunk, rest) - 1)
        rest -= self._bits_by_chunk[chunk]
        by_block = self._chunk(chunk)
        block = min(max(0, bisect_left(by_block, rest) - 1), CHUNK_BLOCKS - 1)
        part = min(1.0, (rest - by_block[block]) / (by_block[block + 1] - by_block[block]))
        blocks = (rounds * ROUND_CHUNKS + chunk) * CHUNK_BLOCKS + block + part
        return blocks * self._fading.coherence_s

    def delay_s(self, elapsed_s: float) -> None:
        return None

    def _bits_by(self, chunk: int) -> float:
        """What the chunks ahead of this one carry."""
        while len(self._bits_by_chunk) <= chunk:
            by_block = self._chunk(len(self._bits_by_chunk) - 1)
            self._bits_by_chunk.append(self._bits_by_chunk[-1] + by_block[-1])
        return self._bits_by_chunk[chunk]

    def _chunk(self, chunk: int) -> "array[float]":
        found = self._chunks.get(chunk)
        if found is None:
            if len(self._chunks) == _CHUNKS_KEPT:
                del self._chunks[next(iter(self._chunks))]
            found = self._chunks[chunk] = self._drawn(chunk)
        return found

    def _drawn(self, chunk: int) -> "array[float]":
        """From the raw bits of a counter-based generator: the same on every version of numpy."""
        raw = np.random.Philox(key=self._seed, counter=chunk << 64).random_raw(CHUNK_BLOCKS)
        gains = -np.log1p((raw >> np.uint64(11)) * -(2.0**-53))
        block_bits = self._fading.bandwidth_hz * self._fading.coherence_s
        bits = np.log2(1 + self._fading.snr * gains) * block_bits
        return array("d", np.concatenate([[0.0], np.cumsum(bits)]).tobytes())


def _scaled_e1(x: float) -> float:
    """e^x E1(x), x > 0, by its series and its continued fraction; scipy's would take a third of a second to
    import in the midst of a running link, and overflows.
    """
    if x < 1:
        term, total = 1.0, -float(np.euler_gamma) - math.log(x)
        for k in range(1, 20):
            term *= -x / k
            total -= term / k
        return math.exp(x) * total
    below = 0.0
    for k in range(_DEPTH, 0, -1):  # x + 1/(1 + 1/(x + 2/(1 + 2/(x + ...
        below = k / (1 + k / (x + below))
    return 1 / (x + below)


_DEPTH: Final = 200
"""Of the continued fraction: 1e-12 at its slowest, x = 1."""

__all__ = ["CHUNK_BLOCKS", "ROUND_CHUNKS", "Fading"]
