"""What a belief allows: every K and gamma with the speed it promises, and why one gave way to another.

Pure: the model of cost, run again on what a record holds.
"""

import math
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from draftwire.codecs.limits import MAX_GAMMA
from draftwire.nodes.controller.belief import Belief, belief_forecast
from draftwire.nodes.speculation.cost import alone_step_seconds

GRID_K: Final = (8, 32, 320)
GRID_GAMMA: Final = (2, 4, 8)
"""The fixed settings that a choice is held against."""

WORTH_SAYING: Final = 0.005
"""Relative speed: two choices closer than this are as good as each other."""

LITTLE: Final = 0.03
"""Relative speed: what a controller gives up by a choice no worse than this is within its noise."""

LADDER: Final = tuple(range(1, MAX_GAMMA + 1))


class Choice(NamedTuple):
    """A K and a gamma."""

    k: int
    gamma: int
    "0: the target alone, whose K means nothing"

    def __str__(self) -> str:
        return f"K {self.k}, gamma {self.gamma}" if self.gamma else "target alone"


ALONE: Final = Choice(0, 0)


class Option(NamedTuple):
    """A choice, and what a belief promises of it."""

    choice: Choice
    tokens_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One decision."""

    at_s: float
    "on the axis"
    choice: Choice
    belief: Belief
    true_bps: float | None
    "of the uplink then; None: not recorded, or no rate"


# What a belief allows ---------------------------------------------------------------------------------------


def options(belief: Belief) -> tuple[Option, ...]:
    """Every choice with the speed that the belief promises, the best first; the target alone is one."""
    tokens, seconds = belief_forecast(belief, gammas=LADDER)
    speeds = tokens / seconds
    every = [
        Option(Choice(k, gamma), float(speeds[row, column]))
        for row, k in enumerate(belief.alphas)
        if k <= belief.vocab_size
        for column, gamma in enumerate(LADDER)
    ]
    every.append(Option(ALONE, speed_of(belief, ALONE)))
    return tuple(sorted(every, key=lambda one: -one.tokens_per_s))


def grid(belief: Belief) -> tuple[Option, ...]:
    """The fixed settings; a K that was not considered is the nearest one that was."""
    ks = dict.fromkeys(nearest_k(belief, k) for k in GRID_K)
    return tuple(
        Option(choice, speed_of(belief, choice))
        for choice in (Choice(k, gamma) for k in ks for gamma in GRID_GAMMA)
    )


def speed_of(belief: Belief, choice: Choice) -> float:
    """Tokens a second that the belief promises of a choice."""
    if choice.gamma == 0:
        return 1 / alone_step_seconds(compute=belief.compute, link=belief.link, frames=belief.frames)
    k = nearest_k(belief, choice.k)
    tokens, seconds = belief_forecast(replace(belief, alphas={k: belief.alphas[k]}), gammas=(choice.gamma,))
    return float(tokens[0, 0] / seconds[0, 0])


def nearest_k(belief: Belief, k: int) -> int:
    """Of the K that were considered."""
    return min(belief.alphas, key=lambda known: abs(math.log(known / max(1, k))))


# Words ------------------------------------------------------------------------------------------------------


def change_words(before: Moment, after: Moment) -> str:
    """What changed, and why: `K 320 -> 32, gamma 4 -> 2: the link fell from 20 to 1.1 Mbit/s`."""
    old, new = before.choice, after.choice
    if not old.gamma or not new.gamma:
        changed = f"{old} -> {new}"
    else:
        parts = [f"K {old.k} -> {new.k}"] if old.k != new.k else []
        parts += [f"gamma {old.gamma} -> {new.gamma}"] if old.gamma != new.gamma else []
        changed = ", ".join(parts)
    return f"{changed}: {_why(before, after)}"


_REASONS: Final = {
    "explore": "a look at what a larger K would bring",
    "retry": "a draft after a time alone, to see whether it pays by now",
    "pinned": "the user fixed it",
}


_SIZES: Final = ("row_scale", "plain_scale", "rows", "tables", "rung_bits")


def _why(before: Moment, after: Moment) -> str:
    """The estimate that, put into the old belief alone, moves the balance furthest towards the new choice."""
    if after.belief.reason in _REASONS:
        return _REASONS[after.belief.reason]
    old, new = before.belief, after.belief

    def balance(belief: Belief) -> float:
        return math.log(speed_of(belief, after.choice) / speed_of(belief, before.choice))

    k = nearest_k(new, before.choice.k if before.choice.gamma else after.choice.k)
    passes = ("target_step_s", "target_per_token_s", "alone_step_s", "overhead_s")
    ms = 1e3
    trials = [
        (("uplink_bps",), f"the link {_moved(old.uplink_bps / 1e6, new.uplink_bps / 1e6)} Mbit/s"),
        (("rtt_s",), f"the round trip {_moved(old.rtt_s * ms, new.rtt_s * ms)} ms"),
        (("alphas",), f"alpha at K {k} {_moved(old.alphas[nearest_k(old, k)], new.alphas[k])}"),
        (("draft_step_s",), f"a drafted token {_moved(old.draft_step_s * ms, new.draft_step_s * ms)} ms"),
        (passes, f"the target's pass {_moved(old.target_step_s * ms, new.target_step_s * ms)} ms"),
        (_SIZES, f"a row of K {k} {_moved(old.row_bits(k), new.row_bits(k))} bits"),
    ]
    start = balance(old)
    gains = sorted(
        (
            (balance(replace(old, **{name: getattr(new, name) for name in names})) - start, words)
            for names, words in trials
        ),
        reverse=True,
    )
    (most, words), (second, also) = gains[0], gains[1]
    if most < WORTH_SAYING:
        gain = speed_of(new, after.choice) / speed_of(new, before.choice) - 1
        if gain < -LITTLE:
            return f"by its belief the old choice is {-gain:.0%} faster"
        return f"the two are within {math.ceil(max(1.0, 100 * abs(gain))):d} % of each other"
    return f"{words}, and {also}" if second > most / 2 else words


def _moved(old: float, new: float) -> str:
    return f"{'rose' if new >= old else 'fell'} from {few_digits(old)} to {few_digits(new)}"


def few_digits(value: float) -> str:
    """Two or three digits, and no exponent: 20, 1.1, 0.36, 150."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.2g}" if value < 0.1 or value >= 1 else f"{value:.2f}"


__all__ = [
    "ALONE",
    "GRID_GAMMA",
    "GRID_K",
    "Choice",
    "Moment",
    "Option",
    "change_words",
    "few_digits",
    "grid",
    "options",
    "speed_of",
]
