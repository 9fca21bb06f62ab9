"""One K of `draftwire bench codec`: sizes, acceptance and times of the rows of a sample."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.blocks import HEADER_BITS, Mode, block_sections, encode_rows
from draftwire.codecs.rows import TAIL_BITS, Row
from draftwire.codecs.tables import TableSet, by_tag
from draftwire.codecs.weights import WEIGHT_SUM, Profile
from draftwire.nodes.console.bench.codec_others import (
    COMPRESSORS,
    FORK_ENTRY_BITS,
    compressed_bits,
    paper_entry_bits,
)
from draftwire.nodes.console.bench.codec_source import source_bits
from draftwire.nodes.console.bench.codec_text import GAMMA, Block, Sample
from draftwire.nodes.console.bench.codec_times import Times, quantize_times, times

TABLES, PLAIN, ONE_TABLE = "tables", "plain", "one table"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured."""

    positions: int
    "of the text, at most"
    timed_blocks: int
    "of each K"
    rounds: int
    "in which each of these is encoded and decoded once by every way"
    compressed_blocks: int
    "of each K, that general compressors get: zstd takes 20 ms for a block of K = 3200"


FULL: Final = Effort(positions=6400, timed_blocks=40, rounds=25, compressed_blocks=160)
QUICK: Final = Effort(positions=400, timed_blocks=20, rounds=10, compressed_blocks=40)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """All blocks of one K."""

    bits: dict[str, int]
    "way -> of all blocks, without their headers"
    ranked: int
    "blocks that were spelt with the tables"
    sections: dict[str, int]
    "section -> bits of all of these blocks"
    ids: NDArray[np.int32]
    "shape [N, K]"
    levels: NDArray[np.int16]
    "shape [N, K]"
    exact: Floats
    "shape [N]: alpha with q as it was before it was quantised"
    wire: Floats
    "shape [N]: and with the weights that travel"


def measure(
    sample: Sample,
    k: int,
    *,
    tables: TableSet | None,
    one_table: TableSet | None,
    effort: Effort,
    progress: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """The figures of one K, as the JSON object has them. Bits are an entry's."""
    progress(f"K = {k}: sizes")
    ways = {PLAIN: None} | {
        way: found for way, found in ((TABLES, tables), (ONE_TABLE, one_table)) if found is not None
    }
    blocks, entries = len(sample) // GAMMA, len(sample) * k
    sizes = _sizes(sample, k, ways)
    bits = {way: total / entries for way, total in sizes.bits.items()}
    ours, one = bits.get(TABLES), bits.get(ONE_TABLE)
    profile = sample.block(0, k).rows()[0].profile
    source = None if tables is None else source_bits(sizes.ids, sizes.levels, profile, tables)
    bound = None if source is None else source.total
    tailless = None if ours is None else ours - (0 if profile is Profile.DENSE else TAIL_BITS / k)
    paper = paper_entry_bits(sample.vocab_size)
    progress(f"K = {k}: general compressors")
    some = [sample.block(number, k) for number in _spread(blocks, effort.compressed_blocks)]
    compressed = {name: compressed_bits(some, call) for name, call in COMPRESSORS.items()}
    progress(f"K = {k}: times")
    timed = [sample.block(number, k) for number in _spread(blocks, effort.timed_blocks)]
    taken = times([block.rows() for block in timed], ways, rounds=effort.rounds)
    quantized = quantize_times(timed, rounds=effort.rounds)
    exact, wire = float(sizes.exact.mean()), float(sizes.wire.mean())
    return {
        "bits_per_entry": ours,
        "plain_bits_per_entry": bits[PLAIN],
        "one_table_bits_per_entry": one,
        "source_model_bits": bound,
        "paper_bits_per_entry": paper,
        "fork_bits_per_entry": FORK_ENTRY_BITS,
        "deflate_bits_per_entry": compressed["deflate"][0],
        "zstd_bits_per_entry": compressed["zstd"][0],
        "over_source_model": _over(ours, bound),
        "over_source_model_without_tails": _over(tailless, bound),
        "over_paper": _over(ours, paper),
        "over_fork": _over(ours, FORK_ENTRY_BITS),
        "over_plain": _over(ours, bits[PLAIN]),
        "one_table_over_paper": _over(one, paper),
        "plain_over_paper": bits[PLAIN] / paper,
        "ranked_share": sizes.ranked / blocks,
        "sections": {
            name: total / (sizes.ranked * GAMMA * k) for name, total in sizes.sections.items() if sizes.ranked
        },
        "source_model_parts": None
        if source is None
        else {
            "ids": source.ids,
            "table": source.table,
            "coarse_levels": source.coarse_levels,
            "low_bits": source.low_bits,
        },
        "deflate_layout": compressed["deflate"][1],
        "zstd_layout": compressed["zstd"][1],
        "alpha_exact": exact,
        "alpha_wire": wire,
        "alpha_loss": (exact - wire) / exact,
        "quantize_us": float(np.median(quantized)),
        **_medians(taken[TABLES if TABLES in taken else PLAIN], ""),
        **_medians(taken[PLAIN], "plain_"),
        "spreads": {
            "quantize_us": _spread_of(quantized),
            **{
                f"{prefix}{name}": _spread_of(values)
                for way, prefix in ((TABLES, ""), (PLAIN, "plain_"), (ONE_TABLE, "one_table_"))
                if way in taken
                for name, values in _by_name(taken[way]).items()
            },
        },
        "blocks": blocks,
        "timed": len(timed) * effort.rounds,
        "compressed_blocks": len(some),
    }


def _sizes(sample: Sample, k: int, ways: dict[str, TableSet | None]) -> _Sizes:
    bits, ranked, sections = dict.fromkeys(ways, 0), 0, Counter[str]()
    sets = {way: by_tag([tables]) for way, tables in ways.items() if tables is not None}
    ids = np.empty((len(sample), k), np.int32)
    levels = np.empty((len(sample), k), np.int16)
    exact, wire = np.empty(len(sample)), np.empty(len(sample))
    for number in range(len(sample) // GAMMA):
        block = sample.block(number, k)
        rows, places = block.rows(), slice(GAMMA * number, GAMMA * (number + 1))
        for way, tables in ways.items():
            data = encode_rows(rows, tables=tables)
            bits[way] += 8 * len(data) - HEADER_BITS
            if way == TABLES and data[0] >> 4 == Mode.TABLES:
                ranked += 1
                _, *others = block_sections(data, tables=sets[way])
                sections.update({one.name: one.end - one.start for one in others})
        ids[places], levels[places] = block.ids, np.stack([row.levels for row in rows])
        exact[places], wire[places] = alphas(block, rows)
    return _Sizes(
        bits=bits, ranked=ranked, sections=dict(sections), ids=ids, levels=levels, exact=exact, wire=wire
    )


def alphas(block: Block, rows: Sequence[Row]) -> tuple[Floats, Floats]:
    """sum min(p, q) of each row: with q before it was quantised, and with the row's weights."""
    wire = np.stack([row.weights for row in rows]) / WEIGHT_SUM
    return np.minimum(block.p, block.exact).sum(axis=1), np.minimum(block.p, wire).sum(axis=1)


def _spread(count: int, wanted: int) -> NDArray[np.int64]:
    """`wanted` numbers below count, evenly spread; all of them where there are no more."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).astype(np.int64))


def _over(over: float | None, under: float | None) -> float | None:
    return None if over is None or under is None else over / under


def _by_name(taken: Times) -> dict[str, Floats]:
    return {"encode_us": taken.encode_us, "decode_us": taken.decode_us, "encode_decode_us": taken.both_us}


def _medians(taken: Times, prefix: str) -> dict[str, float]:
    return {f"{prefix}{name}": float(np.median(values)) for name, values in _by_name(taken).items()}


def _spread_of(values: Floats) -> dict[str, float]:
    p10, middle, p90 = np.percentile(values, (10, 50, 90)).tolist()
    return {"p10": p10, "median": middle, "p90": p90}


__all__ = ["FULL", "ONE_TABLE", "PLAIN", "QUICK", "TABLES", "Effort", "alphas", "measure"]
