"""What is on offer to a request under rejection, K by gamma, and what each plan is expected to bring.

nodes/speculation/cost.py has the model. Where all rows of a block should be there before the pass over it
ends, the block is tested as a whole (block verification): that accepts no less, and waits for nothing there.
"""

from copy import copy
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from draftwire.nodes.controller.belief import Belief
from draftwire.nodes.controller.crowd import Adds, Others
from draftwire.nodes.controller.policy import PlanValues
from draftwire.nodes.speculation.cost import TIE, alone_step_seconds, forecast_grid

Floats = NDArray[np.float64]

EQUAL = 0.002
"Speeds that differ by less, relatively, are equal: no estimate is as good as that, and the smaller K wins."

ROWS_MARGIN = 1.5
"Rows are expected before a pass ends if they would be at a rate so many times lower."

ROWS_JITTERS = 4.0
"And so many standard deviations of a message's delay later."


class BlockChoices:
    """Every plan on offer."""

    def __init__(
        self, belief: Belief, max_gamma: int, *, jitter_s: float, others: Others | None = None
    ) -> None:
        """jitter_s: standard deviation of a message's delay. others: who shares passes, as in `belief`."""
        self.belief = belief
        self._jitter_s = jitter_s
        self.ks = tuple(belief.alphas)
        self._gammas = range(1, max_gamma + 1)
        compute, link, frames = belief.compute, belief.link, belief.frames
        tokens, seconds = forecast_grid(
            alphas=belief.alphas, gammas=self._gammas, compute=compute, link=link, frames=frames
        )
        self._alone_s = alone_step_seconds(compute=compute, link=link, frames=frames)
        self._tokens, self.others = tokens, others
        self._speeds: Floats = tokens / seconds
        self._losses_s: Floats = seconds - tokens * self._alone_s
        self._rates, self._away_s = self._speeds, seconds
        if others is not None:
            pass_s = compute.target_step_s + np.array(self._gammas) * compute.target_per_token_s
            self._away_s = seconds - pass_s
            self._share(pass_s, others)
        self._weighed()

    def _share(self, pass_s: Floats, others: Others) -> None:
        shared = _shared(self._tokens, pass_s, self._away_s, others)
        self._alone_s = max(self._alone_s, shared.alone_s)
        self._speeds, self._rates = shared.speeds, shared.rates
        self._losses_s = (1 - shared.rates * self._alone_s) * shared.every_s

    def _weighed(self) -> None:
        self._most = float(np.maximum.reduce(self._rates, axis=None))
        self._found: dict[tuple[int, int], tuple[int, int]] = {}
        self._told: dict[tuple[int, int, str], PlanValues] = {}
        self._of_alpha: dict[float, BlockChoices] = {}

    def among(self, others: Others) -> "BlockChoices":
        """The same drafts where the others do something else: only passes and waits are weighed anew."""
        made = copy(self)
        made.others = others
        made.belief = replace(
            self.belief,
            target_step_s=others.at_zero_s,
            target_per_token_s=others.slope_s,
            alone_step_s=others.alone_s,
        )
        made._alone_s = others.alone_s
        made._share(others.at_zero_s + np.array(self._gammas) * others.slope_s, others)
        made._weighed()
        return made

    def told(self, k: int, gamma: int, reason: str) -> PlanValues:
        """A plan as the BS is told it, with what it rests on. A BS waits for whole blocks."""
        if (k, gamma, reason) not in self._told:
            belief = replace(
                self.belief,
                tokens_per_s=float(self._speeds[self.ks.index(k), gamma - 1]) if gamma else 1 / self._alone_s,
                alone_tokens_per_s=self.rate(k, 0),
                reason=reason,
            )
            self._told[k, gamma, reason] = PlanValues(
                k=k, gamma=gamma, min_draft=gamma, belief=belief, blockwise=self._rows_in_time(k, gamma)
            )
        return self._told[k, gamma, reason]

    def _rows_in_time(self, k: int, gamma: int) -> bool:
        """Whether all rows of a block are there before the pass ends, were estimates as wrong as ever."""
        if gamma < 2:
            return False
        belief = self.belief
        s_per_bit = (1 / belief.uplink_bps + max(belief.off_s_per_bit, default=0.0)) * ROWS_MARGIN
        rows_s = belief.frames.rows_bits(k, gamma) * s_per_bit + ROWS_JITTERS * self._jitter_s
        return rows_s <= belief.target_step_s + gamma * belief.target_per_token_s

    def best(self, shortest: int, longest: int) -> tuple[int, int]:
        """K and gamma of the most tokens a second; of equal ones the smallest K, and there the best gamma."""
        if (shortest, longest) not in self._found:
            self._found[shortest, longest] = self._best(shortest, longest)
        return self._found[shortest, longest]

    def _best(self, shortest: int, longest: int) -> tuple[int, int]:
        rates = self._rates[:, shortest - 1 : longest]
        by_k = np.maximum.reduce(rates, axis=1)
        row = int((by_k >= np.maximum.reduce(by_k) * (1 - EQUAL)).argmax())
        return self.ks[row], shortest + int(rates[row].argmax())

    def pays(self, patience: float) -> bool:
        """Whether a draft is expected to beat the target alone, or to come that close; a tie is neither."""
        return self._most * self._alone_s > 1 - patience + TIE

    def if_alpha(self, factor: float) -> "BlockChoices":
        """The same choices, should every alpha be so many times larger."""
        if factor not in self._of_alpha:
            alphas = {k: min(1.0, factor * alpha) for k, alpha in self.belief.alphas.items()}
            belief = replace(self.belief, alphas=alphas)
            self._of_alpha[factor] = BlockChoices(
                belief, len(self._gammas), jitter_s=self._jitter_s, others=self.others
            )
        return self._of_alpha[factor]

    def more_above(self, k: int, gamma: int, hidden: float) -> bool:
        """Whether a larger K would be worth having, if all that this one hides were there to be had."""
        alpha = min(1.0, self.belief.alphas[k] * (1 + hidden))
        above = replace(self.belief, alphas={larger: alpha for larger in self.ks if larger > k})
        found = BlockChoices(above, len(self._gammas), jitter_s=self._jitter_s, others=self.others)
        return found._most > self.rate(k, gamma) * (1 + EQUAL)

    @property
    def alone_beside_s(self) -> float | None:
        """A step of the target alone beside other sessions; None: there are none."""
        return None if self.others is None else self._alone_s

    def adds(self, k: int, gamma: int) -> Adds:
        """To shared passes."""
        if not gamma:
            return Adds()
        at = self.ks.index(k), gamma - 1
        return Adds(tokens=float(self._tokens[at]), rows=1.0 + gamma, away_s=float(self._away_s[at]))

    def rate(self, k: int, gamma: int) -> float:
        """Tokens a second, less what others lose by it; gamma = 0: of the target alone."""
        return float(self._rates[self.ks.index(k), gamma - 1]) if gamma else 1 / self._alone_s

    def loss_s(self, k: int, gamma: int) -> float:
        """Seconds a step takes beyond what the target alone would have needed for its tokens."""
        return float(self._losses_s[self.ks.index(k), gamma - 1])


class _Shared(NamedTuple):
    """Of plans where passes are shared, [K, gamma]."""

    speeds: Floats
    "own tokens a second"
    rates: Floats
    "those less what others lose"
    every_s: Floats
    "seconds a step"
    alone_s: float
    "the same of the target alone"


def _shared(tokens: Floats, pass_s: Floats, away_s: Floats, others: Others) -> _Shared:
    """All wait for a block that is worth it. One that is not misses passes, as many as it is away for, and
    the others have theirs without it.
    """
    waited = away_s <= others.longest_wait_s()
    least_s = others.wait_beside_s(float(away_s.min())) if waited.any() else others.wait_s
    wait_s = np.where(waited, np.maximum(away_s, least_s), least_s)
    every = np.where(waited, 1.0, np.ceil((away_s + pass_s) / (pass_s + wait_s)))
    mean_s = wait_s + others.at_zero_s + (pass_s - others.at_zero_s) / every
    alone_s = others.at_zero_s + least_s
    return _Shared(
        speeds=tokens / (every * mean_s),
        rates=(others.tokens + tokens / every) / mean_s - others.tokens / alone_s,
        every_s=every * mean_s,
        alone_s=alone_s,
    )


__all__ = ["BlockChoices"]
