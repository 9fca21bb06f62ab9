"""Acceptance traces: what the rows of a pair would have told at every position of a text, at every K.

A trace is recorded with teacher forcing: the target's own text, and at each position of it the draft's row
at every rung of the ladder, held against the target's p. Nothing of a text remains in it. Rows have the size
that they travel with: the shipped pair's are spelt with its set of tables, a synthetic pair's are plain.

The shipped pair's traces lie beside this file (scripts/record_acceptance.py writes them). The synthetic ones
are made on the fly, of Zipf-like logits with topics and easy and hard stretches.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib import resources
from itertools import islice
from pathlib import Path
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
from draftwire.nodes.speculation.acceptance import LADDER, acceptance
from draftwire.nodes.speculation.cost import Frames
from draftwire.nodes.speculation.frames import around_rows_bits, on_link_bits, true_frames
from draftwire.nodes.speculation.sampling import target_distribution

Floats = NDArray[np.float64]
Logits = NDArray[np.float32]

MEASURES: Final = ("alpha", "low", "high", "gap", "filled", "row_bits")


class Told(NamedTuple):
    """One position of a RowsReport."""

    alphas: tuple[float, ...]
    low: float
    high: float
    gap: float
    filled: float


@dataclass(frozen=True, kw_only=True)
class AcceptanceTrace:
    """Acceptance of a pair along a text. All arrays have shape [positions, rungs].

    ValueError where a shape is another, or where a probability lies outside [0, 1].
    """

    name: str
    vocab_size: int
    "V of the pair"
    temperature: float
    "of the request"
    ladder: tuple[int, ...]
    "K of each rung, rising"
    tables: str = ""
    "hash, in hex, of the set that rows are spelt with; empty: rows are plain"
    alpha: Floats = field(repr=False)
    "sum_x min(p(x), q_K(x))"
    low: Floats = field(repr=False)
    "of alpha with whole rows, as a row of that K tells: at least"
    high: Floats = field(repr=False)
    "and at most"
    gap: Floats = field(repr=False)
    "high - low, as a third of the row's entries would tell"
    filled: Floats = field(repr=False)
    "and how far above that low alpha lies"
    row_bits: Floats = field(repr=False)
    "that the row adds to a block"

    def __post_init__(self) -> None:
        shape = (len(self.alpha), len(self.ladder))
        for name in MEASURES:
            values = getattr(self, name)
            if values.shape != shape or not shape[0]:
                raise ValueError(f"{name} has shape {values.shape}: give one value a position and rung")
            if name != "row_bits" and not ((values >= 0) & (values <= 1)).all():
                raise ValueError(f"{name} has values outside [0, 1]")
        if list(self.ladder) != sorted(set(self.ladder)) or self.ladder[0] < 1:
            raise ValueError(f"ladder is {self.ladder}: give rising K, 1 or more")

    def mean_alphas(self) -> dict[int, float]:
        """K -> mean alpha over the text."""
        return dict(zip(self.ladder, self.alpha.mean(axis=0).tolist(), strict=True))

    def told(self, rung: int) -> list[Told]:
        """What a row of that rung's K tells, by position."""
        if rung not in self._told:
            alphas = [tuple(row) for row in self.alpha[:, : rung + 1].tolist()]
            others = (getattr(self, name)[:, rung].tolist() for name in ("low", "high", "gap", "filled"))
            self._told[rung] = [Told(*values) for values in zip(alphas, *others, strict=True)]
        return self._told[rung]

    @cached_property
    def _told(self) -> dict[int, list[Told]]:
        return {}

    @cached_property
    def frames(self) -> Frames:
        """True sizes, with this text's mean row at each K instead of Zipf rows."""
        around, mean = self.envelope_bits, dict(zip(self.ladder, self.row_bits.mean(axis=0), strict=True))
        standard = true_frames(vocab_size=self.vocab_size)
        return Frames(
            draft_bits=standard.draft_bits,
            rows_bits=lambda k, n: on_link_bits((around + n * float(mean[k])) / 8),
            commit_bits=standard.commit_bits,
            rows_in_one=True,
        )

    @cached_property
    def envelope_bits(self) -> float:
        """Of a message with rows beside its rows; what the link adds is left out."""
        return around_rows_bits(vocab_size=self.vocab_size)

    def __getstate__(self) -> dict[str, object]:
        """What another process needs: the fields, and nothing that follows from them."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


# Recording --------------------------------------------------------------------------------------------------


def record(
    positions: Iterable[tuple[Logits, Logits]],
    *,
    name: str,
    vocab_size: int,
    temperature: float,
    support: NDArray[np.int64] | None = None,
    tables: TableSet | None = None,
) -> AcceptanceTrace:
    """A trace from pairs of logits: the target's, shape [V], and the draft's, one for each id of `support`.

    Both are read at the temperature, above 0. Rows are those that `sparsify` makes, many at a time, and as
    large as they are when spelt with `tables`; None: plain.
    """
    ids = np.arange(vocab_size) if support is None else support
    ladder = tuple(k for k in LADDER if k <= len(ids))
    sampling = Sampling(temperature=temperature)
    found = []
    source = iter(positions)
    while chunk := list(islice(source, CHUNK)):
        p = [target_distribution(target, sampling) for target, _ in chunk]
        scores = np.stack([draft for _, draft in chunk]).astype(np.float64)
        scores = (scores - scores.max(axis=1, keepdims=True)) / temperature
        order = np.argsort(-scores, axis=1, kind="stable")[:, : ladder[-1]]
        rows = [_rows(scores, order[:, :k], ids, vocab_size) for k in ladder]
        found.append(np.stack([_measured(p, of_k, tables) for of_k in rows], axis=2))
    values = dict(zip(MEASURES, np.moveaxis(np.concatenate(found), 1, 0), strict=True))
    return AcceptanceTrace(
        name=name,
        vocab_size=vocab_size,
        temperature=temperature,
        ladder=ladder,
        tables="" if tables is None else tables.hash.hex(),
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
    fields = [(one.alphas[-1], one.low, one.high, one.gap, one.filled) for one in told]
    bits = plain_bits(rows) if tables is None else spelt_bits(rows, tables)
    return np.column_stack([np.minimum(fields, 1.0), bits])


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


# Files ------------------------------------------------------------------------------------------------------


def save(trace: AcceptanceTrace, path: Path) -> None:
    """Write the trace, compressed, in half precision: alpha to 3 digits, and bits to 0.05 %."""
    arrays = {name: getattr(trace, name).astype(np.float16) for name in MEASURES}
    np.savez_compressed(
        path,
        name=np.array(trace.name),
        vocab_size=np.array(trace.vocab_size),
        temperature=np.array(trace.temperature),
        ladder=np.array(trace.ladder),
        tables=np.array(trace.tables),
        **arrays,
    )


def load(path: Path) -> AcceptanceTrace:
    """Read what `save` wrote."""
    with np.load(path) as file:
        return AcceptanceTrace(
            name=str(file["name"]),
            vocab_size=int(file["vocab_size"]),
            temperature=float(file["temperature"]),
            ladder=tuple(int(k) for k in file["ladder"]),
            tables=str(file["tables"]),
            **{name: file[name].astype(np.float64) for name in MEASURES},
        )


def data_path(name: str) -> Path:
    """Where the recorded trace of that name lies."""
    return Path(str(resources.files("draftwire.nodes.console.bench") / "data" / f"{name}.npz"))


@lru_cache(maxsize=8)
def recorded(name: str) -> AcceptanceTrace:
    """The trace of that name in this package, read once."""
    return load(data_path(name))


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
    return record(_positions(recipe), name=recipe.name, vocab_size=recipe.vocab_size, temperature=1.0)


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
    "Recipe",
    "Told",
    "data_path",
    "load",
    "plain_bits",
    "record",
    "recorded",
    "save",
    "spelt_bits",
    "synthetic",
]
