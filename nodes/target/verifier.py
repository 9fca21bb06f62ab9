"""Testing drafts: the BS's half of a step, on the rows of one pass.

`verify` is what a pass comes to. Under rejection it may leave the token open until rows are there, those of
the drafts `wanted`: then `correct` says it, or `verify_block` where the block is tested as a whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.rows import Row
from draftwire.nodes.speculation.noise import Noise
from draftwire.nodes.speculation.sampling import (
    BlockRejection,
    Drafted,
    Needs,
    Rejection,
    TargetRows,
    accept_rule,
    target_key,
)
from draftwire.runtime.session.request import Request
from draftwire.runtime.session.target import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a test came to. It stands: what is open in it may come later, but nothing else may."""

    step: Step
    accepted: int
    "drafts that stand; 0 while a block waits for its rows"
    token: int | None
    "the token behind the accepted ones; None: it waits for the rows of the drafts `wanted`"
    p: NDArray[np.float64] = field(repr=False)
    "shape [V], at the position of `token`; while a block waits for its rows: behind the last draft"
    tested: tuple[NDArray[np.float64], ...] = field(repr=False, default=())
    """p at each position that a draft was tested at, or may be while a block waits for its rows; empty at
    temperature 0, where rows tell nothing"""
    wanted: range = range(0)
    "the drafts, by index, whose rows the token waits for"


def verify(step: Step, logits: NDArray[np.float32], request: Request, noise: Noise) -> Verdict:
    """Test the step's drafts; `logits` has shape [len(step.ids) + 1, V]."""
    rule = accept_rule(request.sampling, request.acceptance, blockwise=step.plan.blockwise)
    p, n = TargetRows(logits, request.sampling), len(step.ids)
    if rule.needs is Needs.ALL and n > 0:
        tested = tuple(p[i] for i in range(n))
        return Verdict(step=step, accepted=0, token=None, p=p[n], tested=tested, wanted=range(n))
    outcome = rule.outcome(p, _drafted(step, request), (), noise)
    accepted = outcome.accepted
    seen = 0 if request.sampling.greedy else min(accepted + 1, n)
    return Verdict(
        step=step,
        accepted=accepted,
        token=outcome.token,
        p=p[accepted],
        tested=tuple(p[i] for i in range(seen)),
        wanted=range(accepted, accepted + 1) if outcome.token is None else range(0),
    )


def correct(verdict: Verdict, row: Row, request: Request, noise: Noise) -> int:
    """The token in place of the rejected draft; `row` is the one that the draft was drawn from."""
    step = verdict.step
    key = target_key(request.seed, len(step.tokens) + verdict.accepted)
    return Rejection().correction(verdict.p, step.ids[verdict.accepted], row, key, noise)


def verify_block(verdict: Verdict, rows: Sequence[Row], request: Request, noise: Noise) -> Verdict:
    """What a block that is tested as a whole comes to, once the rows of all its drafts are there."""
    p = (*verdict.tested, verdict.p)
    outcome = BlockRejection().outcome(p, _drafted(verdict.step, request), rows, noise)
    accepted = outcome.accepted
    return replace(
        verdict,
        accepted=accepted,
        token=outcome.token,
        p=p[accepted],
        tested=verdict.tested[: accepted + 1],
        wanted=range(0),
    )


def _drafted(step: Step, request: Request) -> Drafted:
    return Drafted(
        ids=step.ids,
        weights=step.weights,
        seed=request.seed,
        draft_epoch=step.draft_epoch,
        start=len(step.tokens),
    )


__all__ = ["Verdict", "correct", "verify", "verify_block"]
