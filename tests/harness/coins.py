"""Acceptance traces of which only the coupled picks matter, for the pipelined simulation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from draftwire.nodes.console.bench.acceptance_trace import MEASURES, SAMPLES, AcceptanceTrace
from draftwire.nodes.speculation.frames import row_bits

VOCAB_SIZE = 64


def trace_of(
    hits: NDArray[np.bool_], *, name: str = "coins", chance: float = 0.5, ladder: tuple[int, ...] = (1, 8)
) -> AcceptanceTrace:
    """A text where picks are equal as `hits` says, shape [positions] or [positions, SAMPLES].

    Rows are of the usual size, and what they tell is `chance` throughout.
    """
    positions = len(hits)
    measures: dict[str, Any] = {one: np.full((positions, len(ladder)), chance) for one in MEASURES}
    measures["row_bits"] = np.array([[row_bits(k=k, vocab_size=VOCAB_SIZE) for k in ladder]] * positions)
    return AcceptanceTrace(
        name=name,
        vocab_size=VOCAB_SIZE,
        temperature=1.0,
        ladder=ladder,
        coupled=np.full(positions, chance),
        hits=hits if hits.ndim == 2 else np.repeat(hits[:, None], SAMPLES, axis=1),
        chances=np.full((positions, SAMPLES), chance, np.float16),
        token_tokens=np.zeros(0),
        block_tokens=np.zeros(0),
        **measures,
    )


def tossed(alpha: float, *, positions: int = 400) -> AcceptanceTrace:
    """A text whose picks are equal with probability alpha at each position and seed; the same every time."""
    rng = np.random.default_rng(int(1000 * alpha))
    hits = rng.random((positions, SAMPLES)) < alpha
    return trace_of(hits, name=f"coins of {alpha:g}", chance=alpha)


__all__ = ["VOCAB_SIZE", "tossed", "trace_of"]
