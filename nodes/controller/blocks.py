"""What is on offer to a request under rejection, K by gamma, and what each plan is expected to bring.

nodes/speculation/cost.py has the model. Where all rows of a block should be there before the pass over it
ends, the block is tested as a whole (block verification): that accepts no less, and waits for nothing there.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from draftwire.nodes.controller.belief import Belief, belief_forecast
from draftwire.nodes.controller.policy import PlanValues
from draftwire.nodes.speculation.cost import TIE, alone_step_seconds, forecast_grid

EQUAL = 0.002
"Speeds that differ by less, relatively, are equal: no estimate is as good as that, and the smaller K wins."

ROWS_MARGIN = 1.5
"Rows are expected before a pass ends if they would be at a rate so many times lower."

ROWS_JITTERS = 4.0
"And so many standard deviations of a message's delay later."


class BlockChoices:
    """Every plan on offer."""

    def __init__(self, belief: Belief, max_gamma: int, *, jitter_s: float) -> None:
        """jitter_s: standard deviation of a message's delay."""
        self.belief = belief
        self._jitter_s = jitter_s
        self.ks = tuple(belief.alphas)
        self._gammas = range(1, max_gamma + 1)
        compute, link, frames = belief.compute, belief.link, belief.frames
        tokens, seconds = forecast_grid(
            alphas=belief.alphas, gammas=self._gammas, compute=compute, link=link, frames=frames
        )
        self._alone_s = alone_step_seconds(compute=compute, link=link, frames=frames)
        self._rates: NDArray[np.float64] = tokens / seconds
        self._losses_s: NDArray[np.float64] = seconds - tokens * self._alone_s
        self._most = float(np.maximum.reduce(self._rates, axis=None))
        self._found: dict[tuple[int, int], tuple[int, int]] = {}
        self._told: dict[tuple[int, int, str], PlanValues] = {}
        self._others: dict[float, BlockChoices] = {}

    def told(self, k: int, gamma: int, reason: str) -> PlanValues:
        """A plan as the BS is told it, with what it rests on. A BS waits for whole blocks."""
        if (k, gamma, reason) not in self._told:
            belief = replace(
                self.belief,
                tokens_per_s=self.rate(k, gamma),
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
        if factor not in self._others:
            alphas = {k: min(1.0, factor * alpha) for k, alpha in self.belief.alphas.items()}
            belief = replace(self.belief, alphas=alphas)
            self._others[factor] = BlockChoices(belief, len(self._gammas), jitter_s=self._jitter_s)
        return self._others[factor]

    def more_above(self, k: int, gamma: int, hidden: float) -> bool:
        """Whether a larger K would be worth having, if all that this one hides were there to be had."""
        alpha = min(1.0, self.belief.alphas[k] * (1 + hidden))
        above = {larger: alpha for larger in self.ks if larger > k}
        tokens, seconds = belief_forecast(replace(self.belief, alphas=above), gammas=self._gammas)
        return float((tokens / seconds).max()) > self.rate(k, gamma) * (1 + EQUAL)

    def rate(self, k: int, gamma: int) -> float:
        """Tokens a second; gamma = 0: of the target alone."""
        return float(self._rates[self.ks.index(k), gamma - 1]) if gamma else 1 / self._alone_s

    def loss_s(self, k: int, gamma: int) -> float:
        """Seconds a step takes beyond what the target alone would have needed for its tokens."""
        return float(self._losses_s[self.ks.index(k), gamma - 1])


__all__ = ["BlockChoices"]
