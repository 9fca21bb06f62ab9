"""How long steps of a pair take on this machine: a drafted token, and the target's pass by its length.

The draft draws blocks as a device does, and the target tests them as a BS does: sparse rows, the roll-back of
what was rejected, and the target's distribution are within the times. Alone, one sequence at a time.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Final

import numpy as np

from draftwire.codecs.messages import Plan, Sampling
from draftwire.nodes.device.drafter import draw_block
from draftwire.nodes.models.base import Context, LanguageModel
from draftwire.nodes.speculation.cost import Compute
from draftwire.nodes.speculation.noise import PhiloxNoise
from draftwire.nodes.speculation.sampling import target_distribution
from draftwire.runtime.session.request import DraftWork, Request

LENGTHS: Final = (0, 1, 2, 4, 8)
"""Drafted tokens in a pass that is timed; 0: the target alone."""

BLOCK: Final = 8
"""Drafted tokens of a block that is timed."""

USUAL_K: Final = 64
"""Entries of their rows."""

CONTEXT_TOKENS: Final = 128
"""Before the positions that are timed."""

ROUNDS: Final = 7
LEAST_ROUNDS: Final = 3
ENOUGH_S: Final = 20.0
"""Once so much time has gone by, LEAST_ROUNDS rounds will do."""

OVERHEAD_S: Final = 1.5e-3
"""Of a speculative step, for messages and tasks; no node runs here that it could be measured of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Medians, in seconds."""

    draft_s: float
    "a drafted token"
    passes_s: tuple[tuple[int, float], ...]
    "drafted tokens in the target's pass, rising from 0, and its time"
    draft_given: bool = False
    "whether the first was not measured but told"
    target_given: bool = False
    "the same of the second"
    spread: float = 0.0
    "of what was measured: the middle half of the times, in parts of their median; the larger of the two"

    @property
    def alone_s(self) -> float:
        """A step of the target by itself."""
        return self.passes_s[0][1]

    @property
    def c(self) -> float:
        """A draft step in target steps."""
        return self.draft_s / self.alone_s

    @property
    def compute(self) -> Compute:
        """A line through the passes that test something; alone the target has a time of its own."""
        tested = [one for one in self.passes_s if one[0]] or list(self.passes_s)
        lengths, seconds = (np.array(column, np.float64) for column in zip(*tested, strict=True))
        slope = max(0.0, float(np.polyfit(lengths, seconds, 1)[0])) if len(tested) > 1 else 0.0
        # Noise alone can put the line's beginning far below a pass of one token.
        level = max(float(np.mean(seconds - slope * lengths)), 0.5 * float(seconds.min()))
        return Compute(
            draft_step_s=self.draft_s,
            target_step_s=level,
            target_per_token_s=slope,
            overhead_s=OVERHEAD_S,
            alone_step_s=self.alone_s,
        )


def steps_of(
    draft: LanguageModel,
    target: LanguageModel,
    prompt: Sequence[int],
    *,
    vocab_size: int,
    temperature: float,
    draft_s: float | None = None,
    target_s: float | None = None,
    before_draft: Callable[[], None] = lambda: None,
    before_target: Callable[[], None] = lambda: None,
    clock_s: Callable[[], float] = time.perf_counter,
) -> Steps:
    """Time both by turns, so that what else the machine does hits them alike.

    draft_s, target_s: what is told in place of a measurement; a pass is then as long for any length.
    `before_draft`, `before_target`: called before each one's turns, to set threads.
    """
    room = min(draft.context_length, target.context_length) - max(BLOCK, *LENGTHS) - 1
    whole = [prompt[place % len(prompt)] for place in range(max(1, min(CONTEXT_TOKENS, room)))]
    ids = [whole[place % len(whole)] for place in range(max(LENGTHS))]
    sampling, drafted = Sampling(temperature=temperature), list[float]()
    passes = defaultdict[int, list[float]](list)
    of_draft, of_target = draft.open(), target.open()
    pen = _pen(draft, of_draft, whole, sampling, vocab_size)
    for number in _rounds(clock_s):
        if draft_s is None:
            before_draft()
            drafted += [_timed(partial(pen, 4 * number + turn), clock_s) / BLOCK for turn in range(4)][1:]
        for length in LENGTHS if target_s is None else ():
            before_target()
            one = partial(_pass, of_target, whole, ids[:length], sampling)
            passes[length].append(_timed(one, clock_s))
    for context in (of_draft, of_target):
        context.close()
    # The first round reads the prompt, and warms up.
    measured = {length: seconds[1:] for length, seconds in passes.items()}
    spread = [_spread(some) for some in (drafted, measured.get(0, [])) if some]
    return Steps(
        draft_s=median(drafted) if draft_s is None else draft_s,
        passes_s=tuple((length, median(some)) for length, some in sorted(measured.items()))
        if target_s is None
        else ((0, target_s),),
        draft_given=draft_s is not None,
        target_given=target_s is not None,
        spread=max(spread, default=0.0),
    )


def _pen(
    draft: LanguageModel, context: Context, tokens: Sequence[int], sampling: Sampling, vocab_size: int
) -> Callable[[int], None]:
    """Draws one block, of the draft epoch that it is called with."""
    k = min(USUAL_K, vocab_size if draft.support is None else len(draft.support))
    request = Request(prompt=tuple(tokens), sampling=sampling, seed=0, max_new_tokens=1)
    plan, noise = Plan(number=0, k=k, gamma=BLOCK, min_draft=BLOCK), PhiloxNoise()

    def draw(epoch: int) -> None:
        work = DraftWork(tokens=tokens, draft_epoch=epoch, length=BLOCK, plan=plan)
        draw_block(work, request, context, support=draft.support, vocab_size=vocab_size, noise=noise)

    return draw


def _spread(seconds: Sequence[float]) -> float:
    """The middle half's, in parts of the median."""
    low, high = np.quantile(seconds, (0.25, 0.75))
    return float((high - low) / median(seconds))


def _pass(context: Context, tokens: Sequence[int], ids: Sequence[int], sampling: Sampling) -> None:
    """A pass over the last token and `ids`; p at the first two positions, as most tests end there."""
    logits = context.logits([*tokens, *ids], len(ids) + 1)
    for row in logits[:2]:
        target_distribution(row, sampling)


def _rounds(clock_s: Callable[[], float]) -> Iterator[int]:
    """Numbers from 0 on, until there are enough; fewer where each takes long."""
    begun_s = clock_s()
    for number in range(1 + ROUNDS):
        if number > LEAST_ROUNDS and clock_s() - begun_s > ENOUGH_S:
            return
        yield number


def _timed(work: Callable[[], None], clock_s: Callable[[], float]) -> float:
    begun_s = clock_s()
    work()
    return clock_s() - begun_s


__all__ = ["OVERHEAD_S", "Steps", "steps_of"]
