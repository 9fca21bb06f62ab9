"""How long rows take to quantise, encode and decode: the calls that the nodes make, in turn with each other.

Times are the thread's own on its core: what else the machine does counts through the caches alone. Within a
round each block meets every way of spelling it, another one first each time, so that this is alike for all of
them. Caches are warm, as they are not between a model's passes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import thread_time_ns

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.blocks import decode_rows, encode_rows
from draftwire.codecs.rows import Row
from draftwire.codecs.tables import NO_TABLES, TableSet, by_tag
from draftwire.nodes.console.bench.codec_text import Block

Microseconds = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Of one way of spelling blocks; arrays have an element for each block and round, in microseconds."""

    encode_us: Microseconds
    decode_us: Microseconds

    @property
    def both_us(self) -> Microseconds:
        """The same block's encoding and decoding."""
        return self.encode_us + self.decode_us


def times(
    blocks: Sequence[Sequence[Row]], ways: Mapping[str, TableSet | None], *, rounds: int
) -> dict[str, Times]:
    """encode_rows and decode_rows of each way; None: plain."""
    sets = {way: NO_TABLES if tables is None else by_tag([tables]) for way, tables in ways.items()}
    for rows in blocks:  # and what is prepared once, such as a rung's arrays, is
        for way, tables in ways.items():
            back = decode_rows(encode_rows(rows, tables=tables), tables=sets[way])
            assert back == tuple(rows), "what is timed does what it is for"
    taken: dict[str, list[tuple[int, int]]] = {way: [] for way in ways}
    names = list(ways)
    for number in range(rounds * len(blocks)):
        rows, turn = blocks[number % len(blocks)], number // len(blocks) + number
        for place in range(len(names)):
            way = names[(place + turn) % len(names)]
            tables, known = ways[way], sets[way]
            began = thread_time_ns()
            data = encode_rows(rows, tables=tables)
            encoded = thread_time_ns()
            decode_rows(data, tables=known)
            decoded = thread_time_ns()
            taken[way].append((encoded - began, decoded - encoded))
    found = {way: np.array(values) / 1e3 for way, values in taken.items()}
    return {way: Times(encode_us=one[:, 0], decode_us=one[:, 1]) for way, one in found.items()}


def quantize_times(blocks: Sequence[Block], *, rounds: int) -> Microseconds:
    """All rows of a block, from the K likeliest ids and their logits."""
    taken = list[int]()
    for number in range(rounds * len(blocks)):
        block = blocks[number % len(blocks)]
        began = thread_time_ns()
        block.rows()
        taken.append(thread_time_ns() - began)
    return np.array(taken) / 1e3


__all__ = ["Microseconds", "Times", "quantize_times", "times"]
