"""Testing a block: the BS's half of TK-SLT, on the rows of one pass."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.rows import Row
from draftwire.nodes.speculation.noise import Key, Noise, Purpose
from draftwire.nodes.speculation.sampling import TargetRows, accept_rule, sample_target
from draftwire.runtime.session.request import Request
from draftwire.runtime.session.target import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a test came to. It stands: `correct` may come later, but nothing else may."""

    step: Step
    accepted: int
    token: int | None
    "the token behind the accepted ones; None: a correction that waits for its row"
    p: NDArray[np.float64] = field(repr=False)
    "shape [V], at the position of `token`"
    tested: tuple[NDArray[np.float64], ...] = field(repr=False, default=())
    "p at each position that a draft was tested at; empty at temperature 0, where rows tell nothing"


def verify(step: Step, logits: NDArray[np.float32], request: Request, noise: Noise) -> Verdict:
    """Test the step's drafts left to right; `logits` has shape [len(step.ids) + 1, V]."""
    rule = accept_rule(request.sampling)
    start = len(step.tokens)
    p = TargetRows(logits, request.sampling)
    keys = [Key(request.seed, step.draft_epoch, start + i, Purpose.ACCEPT) for i in range(len(step.ids))]
    accepted = rule.accepted(p, step.ids, step.weights, keys, noise)
    token: int | None = None
    if accepted == len(step.ids):
        token = sample_target(p[accepted], request.seed, start + accepted, noise)
    seen = min(accepted + 1, len(step.ids)) if rule.needs_rows else 0
    verdict = Verdict(
        step=step,
        accepted=accepted,
        token=token,
        p=p[accepted],
        tested=tuple(p[i] for i in range(seen)),
    )
    if token is None and not rule.needs_rows:
        verdict = replace(verdict, token=correct(verdict, None, request, noise))
    return verdict


def correct(verdict: Verdict, row: Row | None, request: Request, noise: Noise) -> int:
    """The token in place of the rejected draft; `row` is the one that the draft was drawn from."""
    position = len(verdict.step.tokens) + verdict.accepted
    return accept_rule(request.sampling).correction(
        verdict.p,
        verdict.step.ids[verdict.accepted],
        row,
        Key(request.seed, 0, position, Purpose.TARGET),
        noise,
    )


__all__ = ["Verdict", "correct", "verify"]
