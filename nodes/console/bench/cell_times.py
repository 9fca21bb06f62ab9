"""How long passes of the shipped target take on this machine, by sessions and positions of each; and drafts.

All kinds of pass take turns, so that a busy spell of the machine meets all of them, and of each the lower
quartile counts. One thread, as other processes are at work beside a base station's. Both dtypes are
measured; the target that needs less time for all of them is taken.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from draftwire.nodes.models.base import Ask, Context, LanguageModel, PackingModel, answers
from draftwire.nodes.models.catalogue import SHIPPED, LoadOptions, load_draft, load_target
from draftwire.nodes.models.pacing import PassTable, StepTimes

DTYPES: Final = ("bfloat16", "float32")

CONTEXT: Final = 200
"""Tokens that each session has read before."""

GRID: Final[Mapping[int, tuple[int, ...]]] = {
    1: (1, 2, 3, 4, 5, 8, 32, 128),
    2: (1, 2, 3, 4, 5, 8),
    4: (1, 2, 3, 4, 5, 8),
    8: (1, 2, 3, 4, 5, 8),
    16: (1, 2, 3, 4, 5, 8),
}
"""Sessions -> positions of each, up to 128 in all."""

MEASURED_S: Final = 12.0
"""For each dtype; a round is ended."""

QUARTILE: Final = 25
DRAFTS: Final = 48

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Of this machine."""

    times: StepTimes
    "with the faster target"
    dtype: str
    "of that"
    tables: dict[str, PassTable]
    "dtype -> passes"


def measured(*, within_s: float = MEASURED_S, progress: Progress = lambda text: None) -> Measured:
    """Measure the shipped pair, so long in each dtype. Raises UnsupportedModelError if it can't be had."""
    import torch

    torch.set_num_threads(1)
    tables = dict[str, PassTable]()
    for dtype in DTYPES:
        progress(f"passes in {dtype}")
        target = load_target(SHIPPED, LoadOptions(dtype=dtype))
        tables[dtype] = passes_of(target, grid=GRID, within_s=within_s)
    progress("draft steps")
    draft_s = draft_step_s(load_draft(SHIPPED))
    dtype = min(DTYPES, key=lambda name: _whole_s(tables[name]))
    return Measured(times=times_of(tables[dtype], draft_s), dtype=dtype, tables=tables)


def _whole_s(table: PassTable) -> float:
    return sum(seconds for _, passes in table.times for _, seconds in passes)


def passes_of(model: LanguageModel, *, grid: Mapping[int, tuple[int, ...]], within_s: float) -> PassTable:
    """The passes of `grid` over contexts of CONTEXT tokens: rounds of all, until so many seconds are over."""
    assert isinstance(model, PackingModel), "the shipped target answers several contexts in one pass"
    rng = np.random.default_rng(0)
    ids = np.arange(model.vocab_size)
    sessions = [(model.open(), rng.choice(ids, CONTEXT).tolist()) for _ in range(max(grid))]
    for context, known in sessions:
        context.logits(known, 1)
    points = _points(grid)
    took: dict[tuple[int, int], list[float]] = {point: [] for point in points}
    began_s = time.perf_counter()
    while not took[points[-1]] or time.perf_counter() - began_s < within_s:
        for at in rng.permutation(len(points)):
            count, each = points[at]
            asks = [_ask(*session, rng.choice(ids, each).tolist()) for session in sessions[:count]]
            start_s = time.perf_counter()
            answers(model, asks)
            took[count, each].append(time.perf_counter() - start_s)
    for context, _ in sessions:
        context.close()
    quartile = {point: float(np.percentile(seconds, QUARTILE)) for point, seconds in took.items()}
    return PassTable(
        times=tuple(
            (count, tuple((each, quartile[count, each]) for each in eachs)) for count, eachs in grid.items()
        )
    )


def draft_step_s(model: LanguageModel) -> float:
    """A drafted token behind CONTEXT others: the lower quartile."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, model.vocab_size, CONTEXT + DRAFTS + 1).tolist()
    context = model.open()
    context.logits(tokens[:CONTEXT], 1)
    took = list[float]()
    for length in range(CONTEXT + 1, len(tokens)):
        start_s = time.perf_counter()
        context.logits(tokens[:length], 1)
        took.append(time.perf_counter() - start_s)
    context.close()
    return float(np.percentile(took, QUARTILE))


def times_of(passes: PassTable, draft_s: float) -> StepTimes:
    """For a simulation."""
    return StepTimes(draft_position_s=draft_s, target_s=passes.seconds(1, sessions=1), passes=passes)


def _ask(context: Context, known: Sequence[int], new: Sequence[int]) -> Ask:
    return Ask(context=context, tokens=[*known, *new], rows=len(new))


def _points(grid: Mapping[int, tuple[int, ...]]) -> list[tuple[int, int]]:
    return [(count, each) for count, eachs in grid.items() for each in eachs]


__all__ = ["CONTEXT", "GRID", "MEASURED_S", "Measured", "draft_step_s", "measured", "passes_of", "times_of"]
