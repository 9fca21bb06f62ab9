"""What is kept of a pair along a text: acceptance at every K, coupled picks, drafted blocks; and its file.

Nothing of the text is in it. `traces.py` makes it, of two models or of a recipe.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from draftwire.nodes.console.bench.blocks import GAMMA
from draftwire.nodes.speculation.cost import Frames
from draftwire.nodes.speculation.frames import around_rows_bits, on_link_bits, true_frames
from draftwire.runtime.errors import ConfigurationError

Floats = NDArray[np.float64]

MEASURES: Final = ("alpha", "low", "high", "gap", "filled", "row_coupled", "row_bits")
"""Of shape [positions, rungs]."""

SAMPLES: Final = 16
"""Coupled picks a position, each with a seed of its own."""


class Told(NamedTuple):
    """One position of a RowsReport."""

    alphas: tuple[float, ...]
    low: float
    high: float
    gap: float
    filled: float
    coupled: float


@dataclass(frozen=True, kw_only=True)
class AcceptanceTrace:
    """Acceptance of a pair along a text. Where no other shape is said, arrays have shape [positions, rungs].

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
    row_coupled: Floats = field(repr=False)
    "probability that coupled picks of p and q_K are equal"
    row_bits: Floats = field(repr=False)
    "that the row adds to a block"
    coupled: Floats = field(repr=False)
    "shape [positions]: probability that coupled picks of p and of all of q are equal"
    hits: NDArray[np.bool_] = field(repr=False)
    "shape [positions, SAMPLES]: whether they were, with the shared noise of seed 0, 1, ..."
    chances: NDArray[np.float16] = field(repr=False)
    "shape [positions, SAMPLES]: q(x) of the device's pick"
    token_tokens: Floats = field(repr=False)
    """shape [blocks]: tokens that a step is expected to bring, given its GAMMA drafted ids (from rows of
    K = 320, or of the largest rung below), where each is tested by itself"""
    block_tokens: Floats = field(repr=False)
    "shape [blocks]: and where the block is tested as a whole"

    def __post_init__(self) -> None:
        positions = len(self.alpha)
        if list(self.ladder) != sorted(set(self.ladder)) or self.ladder[0] < 1:
            raise ValueError(f"ladder is {self.ladder}: give rising K, 1 or more")
        self._check(MEASURES, shape=(positions, len(self.ladder)), most=1)
        self._check(("coupled",), shape=(positions,), most=1)
        self._check(("hits", "chances"), shape=(positions, SAMPLES), most=1)
        self._check(("token_tokens", "block_tokens"), shape=self.token_tokens.shape[:1], most=GAMMA + 1)

    def _check(self, names: Iterable[str], *, shape: tuple[int, ...], most: int) -> None:
        for name in names:
            values = getattr(self, name)
            if values.shape != shape or not len(self.alpha):
                raise ValueError(
                    f"{name} has shape {values.shape}: {shape} would do, with 1 position or more"
                )
            if name != "row_bits" and not ((values >= 0) & (values <= most)).all():
                raise ValueError(f"{name} has values outside [0, {most}]")

    def part(self, places: slice) -> "AcceptanceTrace":
        """The trace of some of the positions; the blocks are those of the whole."""
        return replace(self, **{name: getattr(self, name)[places] for name in BY_POSITION})

    def mean_alphas(self) -> dict[int, float]:
        """K -> mean alpha over the text."""
        return dict(zip(self.ladder, self.alpha.mean(axis=0).tolist(), strict=True))

    def told(self, rung: int) -> list[Told]:
        """What a row of that rung's K tells, by position."""
        if rung not in self._told:
            alphas = [tuple(row) for row in self.alpha[:, : rung + 1].tolist()]
            names = ("low", "high", "gap", "filled", "row_coupled")
            others = (getattr(self, name)[:, rung].tolist() for name in names)
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


BY_POSITION: Final = (*MEASURES, "coupled", "hits", "chances")
"""Fields with a value, or a row of values, for each position."""


def coupled_alpha_over_rejection_alpha(trace: AcceptanceTrace, *, k: int | None = None) -> float:
    """How often a coupled pick of all of q is right, over how often a draft from a row of K entries is.

    Both are means over the positions of the text. `k`: None is the largest rung.
    """
    rung = -1 if k is None else trace.ladder.index(k)
    return float(trace.coupled.mean() / trace.alpha[:, rung].mean())


def block_over_token(trace: AcceptanceTrace) -> float:
    """Tokens a step at gamma = GAMMA where blocks are tested as a whole, over those where tokens are.

    ValueError for a trace without blocks.
    """
    if not len(trace.block_tokens):
        raise ValueError(f"{trace.name} has no drafted blocks: give `record` some")
    return float(trace.block_tokens.mean() / trace.token_tokens.mean())


# Files ------------------------------------------------------------------------------------------------------


_HALVES: Final = (*MEASURES, "coupled", "chances")
_SINGLES: Final = ("token_tokens", "block_tokens")
_ALL: Final = (*_HALVES, *_SINGLES, "hits")


def save(trace: AcceptanceTrace, path: Path) -> None:
    """Write the trace, compressed, in half precision: alpha to 3 digits, and bits to 0.05 %."""
    arrays: dict[str, Any] = {name: getattr(trace, name).astype(np.float16) for name in _HALVES}
    arrays |= {name: getattr(trace, name).astype(np.float32) for name in _SINGLES}
    np.savez_compressed(
        path,
        name=np.array(trace.name),
        vocab_size=np.array(trace.vocab_size),
        temperature=np.array(trace.temperature),
        ladder=np.array(trace.ladder),
        tables=np.array(trace.tables),
        hits=np.packbits(trace.hits, axis=1),
        **arrays,
    )


def load(path: Path) -> AcceptanceTrace:
    """Read what `save` wrote. Raises ConfigurationError for a file of a version that kept less."""
    with np.load(path) as file:
        missing = [name for name in _ALL if name not in file.files]
        if missing and "alpha" in file.files:
            raise ConfigurationError(
                f"{str(path)!r} was recorded by an older version: {missing[0]} is not in it",
                remedy="record the pair again with scripts/record_acceptance.py",
            )
        arrays = {name: file[name].astype(np.float64) for name in (*_HALVES, *_SINGLES)}
        return AcceptanceTrace(
            name=str(file["name"]),
            vocab_size=int(file["vocab_size"]),
            temperature=float(file["temperature"]),
            ladder=tuple(int(k) for k in file["ladder"]),
            tables=str(file["tables"]),
            hits=np.unpackbits(file["hits"], axis=1, count=SAMPLES).astype(np.bool_),
            **arrays | {"chances": file["chances"]},
        )


def data_path(name: str) -> Path:
    """Where the recorded trace of that name lies."""
    return Path(str(resources.files("draftwire.nodes.console.bench") / "data" / f"{name}.npz"))


@lru_cache(maxsize=8)
def recorded(name: str) -> AcceptanceTrace:
    """The trace of that name in this package, read once."""
    return load(data_path(name))


__all__ = [
    "BY_POSITION",
    "MEASURES",
    "SAMPLES",
    "AcceptanceTrace",
    "Told",
    "block_over_token",
    "coupled_alpha_over_rejection_alpha",
    "data_path",
    "load",
    "recorded",
    "save",
]
