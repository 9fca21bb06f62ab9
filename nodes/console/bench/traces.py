"""Acceptance traces: what the rows of a pair would have told at every position of a text, at every K.

A trace is recorded with teacher forcing: the target's own text, and at each position of it the draft's row
at every rung of the ladder, held against the target's p, and the two ends' picks by the shared noise. Only
blocks, of which two rules are compared, go where the draft leads. Nothing of a text remains in a trace. Rows
have the size that they travel with: the shipped pair's are spelt with its set of tables, a synthetic pair's
are plain.

The shipped pair's traces lie beside this file (scripts/record_acceptance.py writes them). The synthetic ones
are made on the fly, of Zipf-like logits with topics and easy and hard stretches.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.blocks import HEADER_BITS, block_sections, encode_rows
from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import Sampling
from draftwire.codecs.plain import PARAMETER_BITS, rice_parameters
from draftwire.codecs.quantize import default_profile, fine_levels
from draftwire.codecs.rows import TAIL_BITS, Row, rows_of_valid, tail_of
from draftwire.codecs.tables import TableSet, by_tag
from draftwire.codecs.weights import low_bits, refined
from draftwire.nodes.console.bench.acceptance_trace import (
    MEASURES,
    SAMPLES,
    AcceptanceTrace,
    Told,
    data_path,
    load,
    recorded,
    save,
)
from draftwire.nodes.console.bench.blocks import GAMMA, Expected, Logits, drafted, expected_tokens
from draftwire.nodes.speculation.acceptance import LADDER, acceptance
from draftwire.nodes.speculation.coupling import equal_probability
from draftwire.nodes.speculation.noise import PhiloxNoise
from draftwire.nodes.speculation.sampling import target_distribution, target_key

Floats = NDArray[np.float64]

# Recording --------------------------------------------------------------------------------------------------


def record(
    positions: Iterable[tuple[Logits, Logits]],
    *,
    name: str,
    vocab_size: int,
    temperature: float,
    support: NDArray[np.int64] | None = None,
    tables: TableSet | None = None,
    blocks: Iterable[Expected] = (),
) -> AcceptanceTrace:
    """A trace from pairs of logits: the target's, shape [V], and the draft's, one for each id of `support`.

    Both are read at the temperature, above 0. Rows are those that `sparsify` makes, many at a time, and as
    large as they are when spelt with `tables`; None: plain. `blocks` are asked for once all positions are in.
    """
    ids = np.arange(vocab_size) if support is None else support
    ladder = tuple(k for k in LADDER if k <= len(ids))
    sampling = Sampling(temperature=temperature)
    found, picked = [], list[Picks]()
    source = iter(positions)
    while chunk := list(islice(source, CHUNK)):
        p = [target_distribution(target, sampling) for target, _ in chunk]
        scores = np.stack([draft for _, draft in chunk]).astype(np.float64)
        scores = (scores - scores.max(axis=1, keepdims=True)) / temperature
        order = np.argsort(-scores, axis=1, kind="stable")[:, : ladder[-1]]
        rows = [_rows(scores, order[:, :k], ids, vocab_size) for k in ladder]
        found.append(np.stack([_measured(p, of_k, tables) for of_k in rows], axis=2))
        for one, (_, draft) in zip(p, chunk, strict=True):
            q = target_distribution(draft, sampling)
            picked.append(picks(one, q, ids, place=len(picked)))
    expected = np.array(list(blocks)).reshape(-1, 2)
    values = dict(zip(MEASURES, np.moveaxis(np.concatenate(found), 1, 0), strict=True))
    return AcceptanceTrace(
        name=name,
        vocab_size=vocab_size,
        temperature=temperature,
        ladder=ladder,
        tables="" if tables is None else tables.hash.hex(),
        coupled=np.array([one.coupled for one in picked]),
        hits=np.array([one.hits for one in picked]),
        chances=np.array([one.chances for one in picked], dtype=np.float16),
        token_tokens=expected[:, 0],
        block_tokens=expected[:, 1],
        **values,
    )


CHUNK: Final = MAX_GAMMA
"""Positions recorded together: as many as a block may have rows."""


def _rows(
    scores: Floats, kept: NDArray[np.int64], ids: NDArray[np.int64], vocab_size: int
) -> tuple[Row, ...]:
    """Those that keep these columns."""
    profile = default_profile(k=kept.shape[1], vocab_size=vocab_size)
    columns = np.sort(kept, axis=1)
    left_out = np.exp(scores)
    whole = left_out.sum(axis=1)
    np.put_along_axis(left_out, columns, 0.0, axis=1)
    return rows_of_valid(
        vocab_size=vocab_size,
        profile=profile,
        ids=ids[columns],
        levels=fine_levels(np.take_along_axis(scores, columns, axis=1), profile),
        tails=[tail_of(mass) for mass in left_out.sum(axis=1) / whole],
    )


def _measured(p: Sequence[Floats], rows: Sequence[Row], tables: TableSet | None) -> Floats:
    """MEASURES, shape [positions, measures]."""
    told = [acceptance(one, row) for one, row in zip(p, rows, strict=True)]
    fields = [(one.alphas[-1], one.low, one.high, one.gap, one.filled, one.coupled) for one in told]
    bits = plain_bits(rows) if tables is None else spelt_bits(rows, tables)
    return np.column_stack([np.minimum(fields, 1.0), bits])


class Picks(NamedTuple):
    """Of one position, by both ends."""

    coupled: float
    "probability that they are equal"
    hits: list[bool]
    "whether they were, by seed"
    chances: list[float]
    "q of the draft's own"


def picks(p: Floats, q: Floats, ids: NDArray[np.int64], *, place: int) -> Picks:
    """With the shared noise of SAMPLES seeds at that place; p has shape [V], q a mass for each of `ids`."""
    hits, chances = list[bool](), list[float]()
    for seed in range(SAMPLES):
        key = target_key(seed, place)
        column = NOISE.draw_masses(key, q, ids)
        hits.append(int(ids[column]) == NOISE.draw_masses(key, p))
        chances.append(float(q[column]))
    return Picks(equal_probability(p, q, ids), hits, chances)


NOISE: Final = PhiloxNoise()


def spelt_bits(rows: Sequence[Row], tables: TableSet) -> NDArray[np.int64]:
    """Bits that each of these rows adds to a block that may be spelt with `tables`; shape [R]."""
    sets = by_tag([tables])
    blocks = [block_sections(encode_rows([row], tables=tables), tables=sets) for row in rows]
    return np.array([padding.start - HEADER_BITS for *_, padding in blocks])


def plain_bits(rows: Sequence[Row]) -> NDArray[np.int64]:
    """Bits that each of these plain rows, alike in V, K and profile, adds to a block; shape [R]."""
    profile, k = rows[0].profile, len(rows[0])
    ids = np.stack([row.ids for row in rows])
    gaps: NDArray[np.int64] = ids - np.roll(ids, 1, axis=1) - 1
    gaps[:, 0] = ids[:, 0]
    levels = np.stack([row.levels for row in rows])
    rice, s = rice_parameters(gaps, rows[0].vocab_size), low_bits(profile)
    gap_bits = (gaps >> rice[:, None]).sum(axis=1) + k * (1 + rice)
    level_bits = (levels >> s).sum(axis=1) + k + s * refined(levels, profile).sum(axis=1)
    bits: NDArray[np.int64] = PARAMETER_BITS + TAIL_BITS + gap_bits + level_bits
    return bits


# Synthetic pairs --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A synthetic pair. The two models' logits share a part; the draft has noise on top of it."""

    name: str
    seed: int
    zipf: float
    "exponent of the words' frequencies within a topic"
    noise: float
    "standard deviation of the draft's own part of the logits, in a stretch of middle difficulty"
    spread: float = 0.5
    "of the difficulty's logarithm, an AR(1) over positions: easy and hard stretches"
    sharpness: float = 1.0
    "the target's logits are the shared part times this"
    vocab_size: int = 4096
    positions: int = 2500
    topics: int = 8


SYNTHETIC: Final = (
    Recipe(name="synthetic-hard", seed=11, zipf=1.1, noise=1.6),
    Recipe(name="synthetic-plain", seed=12, zipf=1.2, noise=1.2),
    Recipe(name="synthetic-easy", seed=13, zipf=1.3, noise=0.8, spread=0.7),
    Recipe(name="synthetic-near", seed=14, zipf=1.5, noise=0.25),
    Recipe(name="synthetic-sharp", seed=15, zipf=1.3, noise=0.6, sharpness=1.7),
)
"""Pairs that no constant of a controller was tuned on."""

TOPIC_STAYS: Final = 0.99
"""From one position to the next: a topic lasts 100 of them on average."""

DIFFICULTY_STAYS: Final = 0.9
"""Correlation of neighbouring difficulties."""

CONTEXT_SCALE: Final = 1.5
"""Standard deviation of what a single context adds to the shared logits."""


@lru_cache(maxsize=16)
def synthetic(recipe: Recipe) -> AcceptanceTrace:
    """The recipe's trace; the same in every process."""
    return record(
        _positions(recipe),
        name=recipe.name,
        vocab_size=recipe.vocab_size,
        temperature=1.0,
        blocks=_blocks(recipe),
    )


BLOCK_EVERY: Final = 6
"""Positions from one block to the next: 416 along a recipe's text."""


def _blocks(recipe: Recipe) -> Iterable[Expected]:
    """Drafted at successive positions. Logits there are what they are whatever was drafted before."""
    source = _positions(recipe)
    for place in range(0, recipe.positions - GAMMA + 1, BLOCK_EVERY):
        yield _block(list(islice(source, BLOCK_EVERY))[:GAMMA], place)


def _block(here: Sequence[tuple[Logits, Logits]], place: int) -> Expected:
    size, sampling = len(here[0][0]), Sampling(temperature=1.0)
    block = drafted(lambda ids: here[len(ids)][1], place=place, vocab_size=size, temperature=1.0)
    return expected_tokens([target_distribution(target, sampling) for target, _ in here], block)


def _positions(recipe: Recipe) -> Iterable[tuple[Logits, Logits]]:
    rng = np.random.default_rng(recipe.seed)
    size = recipe.vocab_size
    ranks = np.array([rng.permutation(size) + 1 for _ in range(recipe.topics)])
    topics = (-recipe.zipf * np.log(ranks)).astype(np.float32)
    topic, difficulty = 0, 0.0
    for _ in range(recipe.positions):
        if rng.random() > TOPIC_STAYS:
            topic = int(rng.integers(recipe.topics))
        fresh = np.sqrt(1 - DIFFICULTY_STAYS**2) * rng.standard_normal()
        difficulty = DIFFICULTY_STAYS * difficulty + fresh
        context, own = rng.standard_normal((2, size), dtype=np.float32)
        shared = topics[topic] + np.float32(CONTEXT_SCALE) * context
        noise = np.float32(recipe.noise * np.exp(recipe.spread * difficulty))
        yield np.float32(recipe.sharpness) * shared, shared + noise * own


__all__ = [
    "LADDER",
    "MEASURES",
    "SYNTHETIC",
    "AcceptanceTrace",
    "Picks",
    "Recipe",
    "Told",
    "data_path",
    "load",
    "picks",
    "plain_bits",
    "record",
    "recorded",
    "save",
    "spelt_bits",
    "synthetic",
]
