"""Tokens a second of a BS that never waits: the renewal model of pipelined drafts. Our own; docs/theory.md.

Where drafts are hints the device drafts on while Commits are under way, and a free BS starts with whatever
ids continue its log. A *renewal* runs from the Commit that ends a path, as its last token is another than the
device had drafted, to the next such Commit. survives[k] is the probability that the first k ids of a fresh
path are the log's. Every token of the log but the last one of a renewal was guessed, so a renewal has
survives[0] + survives[1] + ... tokens whatever gamma and min_draft are: they decide how long it takes.

That is reckoned along the one timeline on which the path stays right (timeline.py): pass k begins behind a_k
tokens and ends at e_k. The renewal gets to it with probability survives[a_k], so it takes

    sum_k survives[a_k] (e_k - e_{k-1})    seconds.

Once the passes repeat, A = 1 / (1 - h) tokens and B = P / (1 - h^n) seconds are to come for each renewal that
gets there, with h the last hazard, P the time from one pass to the next, and n what a pass adds to the log.
With a window that never binds those passes have T_target / T_draft - 1 drafts.

A path that the log has overtaken, since a pass had all gamma ids and nobody drafted the bonus behind them,
begins anew without an error: its tokens count, and nothing is tested there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.limits import MAX_GAMMA
from draftwire.nodes.speculation.cost import Compute, Frames, LinkEstimate
from draftwire.nodes.speculation.timeline import (
    MESSAGE_IDS,
    PATIENCE_MARGIN_S,
    Plans,
    pace_of,
    timeline_of,
)
from draftwire.runtime.session.ahead import ROW_EVERY

Floats = NDArray[np.float64]

LAST_HAZARDS: Final = 4
"""Of the end of survives: their mean goes on behind it, as few paths get so far and one says little."""

MOST_HAZARD: Final = 1 - 1e-6
"""Of what repeats: a path that is never wrong has no renewals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Means of a renewal."""

    tokens: float
    "that the log grows by"
    seconds: float
    drafted: float
    "tokens that the device draws"
    passes: float
    "of the target"

    @property
    def tokens_per_s(self) -> float:
        """Tokens of the log a second."""
        return self.tokens / self.seconds

    @property
    def drafted_per_token(self) -> float:
        """Drafted tokens for each one of the log."""
        return self.drafted / self.tokens

    @property
    def passes_per_token(self) -> float:
        """Passes of the target for each token of the log; 1 alone."""
        return self.passes / self.tokens


class Flows(NamedTuple):
    """The same of many plans, in their order; shape [plans] each."""

    tokens: Floats
    seconds: Floats
    drafted: Floats
    passes: Floats

    @property
    def tokens_per_s(self) -> Floats:
        """Tokens of the log a second."""
        rates: Floats = self.tokens / self.seconds
        return rates


@lru_cache(maxsize=64)
def pipelined_plans(most_gamma: int) -> Plans:
    """Every (gamma, min_draft) with gamma from 1 to so many and min_draft below it."""
    return tuple((gamma, wait) for gamma in range(1, most_gamma + 1) for wait in range(gamma))


def flow(
    *,
    gamma: int,
    min_draft: int,
    survives: Sequence[float],
    compute: Compute,
    link: LinkEstimate,
    frames: Frames,
    row_bits: float = 0.0,
) -> Flow:
    """What one plan is expected to bring; see `flows`. min_draft = gamma: `synchronous`."""
    if min_draft >= gamma:
        return synchronous(
            gamma=gamma, survives=survives, compute=compute, link=link, frames=frames, row_bits=row_bits
        )
    found = flows(
        plans=((gamma, min_draft),),
        survives=survives,
        compute=compute,
        link=link,
        frames=frames,
        row_bits=row_bits,
    )
    return Flow(**{name: float(values[0]) for name, values in found._asdict().items()})


def flows(
    *,
    plans: Plans,
    survives: Sequence[float],
    compute: Compute,
    link: LinkEstimate,
    frames: Frames,
    row_bits: float = 0.0,
) -> Flows:
    """What pipelined plans, min_draft < gamma, are expected to bring.

    survives: see above, survives[0] = 1; behind its end the last hazards go on. frames: of hints, whose
    Drafts have no weights. row_bits: on the link, of the row behind every 8th drafted token; 0: none is sent.
    Raises ValueError for a plan out of range, or survives that are no such probabilities.
    """
    _check(plans, survives)
    timeline = timeline_of(plans, pace_of(compute, link, frames, row_bits))
    chances, sums, hazard = _extended(tuple(survives), timeline.most)
    begins, ends = timeline.begins, timeline.ends
    reach: Floats = chances[begins]  # [passes + 1, plans]
    gains = sums[ends] - sums[begins[:-1]]
    again = hazard**timeline.tested  # of the pass that repeats
    left = reach[-1] / (1 - again)
    target_s = compute.target_step_s
    tokens = gains.sum(axis=0) + left * (1 - hazard ** (timeline.drafts + 1)) / (1 - hazard)
    seconds = target_s * ((reach[:-1] * timeline.spans).sum(axis=0) + left * timeline.span)
    passes = reach[:-1].sum(axis=0) + left
    wrong = reach[:-1] - reach[1:]
    drafted = (wrong * timeline.drawn).sum(axis=0) + reach[-1] * timeline.drawn_behind
    drafted += left * again * timeline.advance
    least_s = passes * frames.commit_bits(0) / link.downlink_bps
    return Flows(tokens, np.maximum(seconds, least_s), drafted, passes)


def synchronous(
    *,
    gamma: int,
    survives: Sequence[float],
    compute: Compute,
    link: LinkEstimate,
    frames: Frames,
    row_bits: float = 0.0,
) -> Flow:
    """What blocks of gamma bring where only ids travel and the BS waits for each: one step is a renewal.

    As `cost.forecast` has it, with survives[j] in place of alpha^j. gamma = 0 is the target alone.
    Raises ValueError as `flows`.
    """
    _check(((gamma, 0),) if gamma else (), survives)
    if not gamma:
        step_s = compute.target_step_s if compute.alone_step_s is None else compute.alone_step_s
        seconds = max(step_s, frames.commit_bits(0) / link.downlink_bps)
        return Flow(tokens=1.0, seconds=seconds, drafted=0.0, passes=1.0)
    _, sums, _ = _extended(tuple(survives), gamma + 1)
    up_bits, down_bits = frames.draft_bits(1, gamma), frames.commit_bits(gamma)
    seconds = (
        gamma * compute.draft_step_s
        + up_bits / link.uplink_bps
        + link.rtt_s
        + compute.target_step_s
        + gamma * compute.target_per_token_s
        + down_bits / link.downlink_bps
        + compute.overhead_s
    )
    least_s = (up_bits + gamma / ROW_EVERY * row_bits) / link.uplink_bps
    return Flow(
        tokens=float(sums[gamma + 1]), seconds=max(seconds, least_s), drafted=float(gamma), passes=1.0
    )


def patience_s(*, min_draft: int, compute: Compute, link: LinkEstimate, frames: Frames) -> float:
    """How long a free BS should wait for min_draft ids, in seconds, before it starts with what it has.

    A round trip, drafting, the bits of both messages, and PATIENCE_MARGIN_S: when they should have come. One
    token more is drafted: the device finishes the one of its old path that it is at.
    """
    up_s = frames.draft_bits(1, max(1, min_draft)) / link.uplink_bps
    down_s = frames.commit_bits(MESSAGE_IDS) / link.downlink_bps
    return link.rtt_s + (min_draft + 1) * compute.draft_step_s + up_s + down_s + PATIENCE_MARGIN_S


@lru_cache(maxsize=64)
def _extended(survives: tuple[float, ...], most: int) -> tuple[Floats, Floats, float]:
    """survives up to index `most`, the sums of all before each index, and the hazard that goes on."""
    count = min(LAST_HAZARDS, len(survives) - 1)
    before, last = survives[-1 - count], survives[-1]
    hazard = min((last / before) ** (1 / count) if count and last > 0 else 0.0, MOST_HAZARD)
    more = max(0, most + 1 - len(survives))
    chances = np.concatenate([survives, last * hazard ** np.arange(1, more + 1)])
    sums = np.zeros(len(chances) + 1)
    np.cumsum(chances, out=sums[1:])
    return chances, sums, hazard


# Checks -----------------------------------------------------------------------------------------------------


def _check(plans: Plans, survives: Sequence[float]) -> None:
    _check_plans(plans)
    if not survives or survives[0] != 1:
        raise ValueError(f"survives begins with {list(survives[:1])}: the first is of no id at all, give 1")
    if any(not 0 <= after <= before for before, after in pairwise(survives)):
        raise ValueError("survives rises or leaves [0, 1]: give the chance that the first k ids are right")


@lru_cache(maxsize=256)
def _check_plans(plans: Plans) -> None:
    for gamma, min_draft in plans:
        if not (1 <= gamma <= MAX_GAMMA and 0 <= min_draft < gamma):
            raise ValueError(
                f"gamma is {gamma}, min_draft {min_draft}: give gamma from 1 to {MAX_GAMMA}, min_draft below"
            )


__all__ = [
    "PATIENCE_MARGIN_S",
    "Flow",
    "Flows",
    "Plans",
    "flow",
    "flows",
    "patience_s",
    "pipelined_plans",
    "synchronous",
]
