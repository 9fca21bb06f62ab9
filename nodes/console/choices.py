"""What a belief allows: every plan with the speed it promises, and why one gave way to another.

A plan is a K and a gamma where rows travel, and a gamma and a min_draft where only ids do. Pure: the models
of cost, run again on what a record holds.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from draftwire.codecs.limits import MAX_GAMMA
from draftwire.nodes.console.record import Decision
from draftwire.nodes.controller.belief import Belief, belief_forecast
from draftwire.nodes.controller.paths import PathChoices, Pins
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
    """What a plan says."""

    k: int
    "0 where it means nothing: of the target alone, and where only ids travel"
    gamma: int
    "0: the target alone"
    min_draft: int | None = None
    "where only ids travel: drafted tokens that a free target waits for; None: rows travel"

    def __str__(self) -> str:
        if not self.gamma:
            return "target alone"
        return f"K {self.k}, gamma {self.gamma}" if self.min_draft is None else self.path

    @property
    def path(self) -> str:
        """Where only ids travel."""
        assert self.min_draft is not None
        return f"gamma {self.gamma}, waits for {'all' if self.min_draft >= self.gamma else self.min_draft}"


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
    uplink_bps: int = 0
    "where only ids travel: the rate by which the device paces itself; 0: by none"
    patience_s: float | None = None
    "and how long a free target waits for drafts; None: as its file says"
    device: str = ""
    clock_s: float = 0.0
    "when, by the record's clock"


def choice_of(decision: Decision) -> Choice:
    """What a decision was for."""
    if not decision.gamma:
        return ALONE
    if decision.belief is None or decision.belief.rows:
        return Choice(decision.k, decision.gamma)
    return Choice(0, decision.gamma, min(decision.min_draft, decision.gamma))


# What a belief allows ---------------------------------------------------------------------------------------


def options(belief: Belief) -> tuple[Option, ...]:
    """Every choice with the speed that the belief promises, the best first; the target alone is one."""
    if not belief.rows:
        return _paths(belief)
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
    """The fixed settings; a K that was not considered is the nearest one that was. None for ids alone."""
    if not belief.rows:
        return ()
    ks = dict.fromkeys(nearest_k(belief, k) for k in GRID_K)
    return tuple(
        Option(choice, speed_of(belief, choice))
        for choice in (Choice(k, gamma) for k in ks for gamma in GRID_GAMMA)
    )


def speed_of(belief: Belief, choice: Choice) -> float:
    """Tokens a second that the belief promises of a choice."""
    if not belief.rows:
        return _speed_of_path(belief, choice)
    if choice.gamma == 0:
        return 1 / alone_step_seconds(compute=belief.compute, link=belief.link, frames=belief.frames)
    k = nearest_k(belief, choice.k)
    tokens, seconds = belief_forecast(replace(belief, alphas={k: belief.alphas[k]}), gammas=(choice.gamma,))
    return float(tokens[0, 0] / seconds[0, 0])


def _paths(belief: Belief) -> tuple[Option, ...]:
    """The same where only ids travel."""
    choices = _path_choices(belief)
    every = [
        Option(Choice(0, gamma, min_draft), choices.rate(plan))
        for plan, (gamma, min_draft) in enumerate(choices.plans)
    ]
    every.append(Option(ALONE, 1 / choices.alone_s))
    return tuple(sorted(every, key=lambda one: -one.tokens_per_s))


def _speed_of_path(belief: Belief, choice: Choice) -> float:
    choices = _path_choices(belief)
    if choice.gamma == 0:
        return 1 / choices.alone_s
    waits = choice.gamma if choice.min_draft is None else choice.min_draft
    if (choice.gamma, waits) not in choices.plans:
        choices = PathChoices(
            waiting=belief,
            ahead=belief,
            most_gamma=choice.gamma,
            pins=Pins(gamma=choice.gamma, min_draft=waits),
            jitter_s=0.0,
        )
    return choices.rate(choices.plans.index((choice.gamma, waits)))


def _path_choices(belief: Belief) -> PathChoices:
    """All that is on offer. A belief of older versions knows one acceptance for every place of a path."""
    if not belief.survives:
        alpha = next(iter(belief.alphas.values()))
        belief = replace(belief, survives=tuple(alpha**n for n in range(MAX_GAMMA + 1)))
    return PathChoices(
        waiting=belief, ahead=belief, most_gamma=len(belief.survives) - 1, pins=Pins(), jitter_s=0.0
    )


def nearest_k(belief: Belief, k: int) -> int:
    """Of the K that were considered."""
    return min(belief.alphas, key=lambda known: abs(math.log(known / max(1, k))))


# Words ------------------------------------------------------------------------------------------------------


def change_words(before: Moment, after: Moment) -> str:
    """What changed, and why: `K 320 -> 32, gamma 4 -> 2: the link fell from 20 to 1.1 Mbit/s`."""
    old, new = before.choice, after.choice
    if before.belief.rows != after.belief.rows:
        kinds = {True: "rows travel", False: "only ids travel"}
        return f"{old} -> {new}: another request, in which {kinds[after.belief.rows]}"
    if not old.gamma or not new.gamma:
        changed = f"{old} -> {new}"
    else:
        parts = [f"K {old.k} -> {new.k}"] if old.k != new.k else []
        parts += [f"gamma {old.gamma} -> {new.gamma}"] if old.gamma != new.gamma else []
        if new.min_draft is not None and _waits(old) != _waits(new):
            parts.append(f"waits for {_waits(old)} -> {_waits(new)}")
        changed = ", ".join(parts)
    return f"{changed}: {_why(before, after)}"


_REASONS: Final = {
    "explore": "a look at what a larger K would bring",
    "retry": "a draft after a time alone, to see whether it pays by now",
    "pinned": "the user fixed it",
}


_PASSES: Final = ("target_step_s", "alone_step_s", "target_per_token_s", "overhead_s")
_SIZES: Final = ("row_scale", "plain_scale", "rows", "tables", "rung_bits")


def _why(before: Moment, after: Moment) -> str:
    """The estimate that, put into the old belief alone, moves the balance furthest towards the new choice."""
    if after.belief.rows and after.belief.reason in _REASONS:
        return _REASONS[after.belief.reason]
    old, new = before.belief, after.belief

    def balance(belief: Belief) -> float:
        return math.log(speed_of(belief, after.choice) / speed_of(belief, before.choice))

    if not new.rows:
        return _why_path(old, new, balance, before.choice, after.choice)
    k = nearest_k(new, before.choice.k if before.choice.gamma else after.choice.k)
    ms = 1e3
    trials: list[Trial] = [
        (("uplink_bps",), _moved("the link", old.uplink_bps / 1e6, new.uplink_bps / 1e6, "Mbit/s")),
        (("rtt_s",), _moved("the round trip", old.rtt_s * ms, new.rtt_s * ms, "ms")),
        (("alphas",), _moved(f"alpha at K {k}", old.alphas[nearest_k(old, k)], new.alphas[k])),
        (("draft_step_s",), _moved("a drafted token", old.draft_step_s * ms, new.draft_step_s * ms, "ms")),
        (_PASSES, _passes_moved(old, new)),
        (_SIZES, _moved(f"a row of K {k}", old.row_bits(k), new.row_bits(k), "bits")),
    ]
    return _told(old, new, balance, trials, (before.choice, after.choice))


def _why_path(
    old: Belief, new: Belief, balance: Callable[[Belief], float], before: Choice, after: Choice
) -> str:
    """The same where only ids travel; what the user fixed then leaves something to choose."""
    if new.reason in _PATH_REASONS:
        return _PATH_REASONS[new.reason]
    ms = 1e3
    right = (old.survives[1:2] or tuple(old.alphas.values()), new.survives[1:2] or tuple(new.alphas.values()))
    trials: list[Trial] = [
        (("uplink_bps",), _moved("the link", old.uplink_bps / 1e6, new.uplink_bps / 1e6, "Mbit/s")),
        (("rtt_s",), _moved("the round trip", old.rtt_s * ms, new.rtt_s * ms, "ms")),
        (("alphas", "survives"), _moved("the share of right drafts", right[0][0], right[1][0])),
        (("draft_step_s",), _moved("a drafted token", old.draft_step_s * ms, new.draft_step_s * ms, "ms")),
        (_PASSES, _passes_moved(old, new)),
    ]
    return _told(old, new, balance, trials, (before, after))


_PATH_REASONS: Final = {
    "explore": "a look at how fast the target alone is",
    "retry": _REASONS["retry"],
}

Trial = tuple[tuple[str, ...], str]
"""Fields of a belief, and the words for how they moved; empty: by less than their digits tell."""


def _told(
    old: Belief,
    new: Belief,
    balance: Callable[[Belief], float],
    trials: Sequence[Trial],
    choices: tuple[Choice, Choice],
) -> str:
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
        gain = speed_of(new, choices[1]) / speed_of(new, choices[0]) - 1
        if gain < -LITTLE:
            return f"by its belief the old choice is {-gain:.0%} faster"
        return f"the two are within {math.ceil(max(1.0, 100 * abs(gain))):d} % of each other"
    told = [one for one in (words, also if second > most / 2 else "") if one]
    return ", and ".join(told) or "no single estimate decided"


def _waits(choice: Choice) -> str:
    return choice.path.rpartition(" ")[2]


def _moved(what: str, old: float, new: float, unit: str = "") -> str:
    """Empty where rounding hides that it moved: `rose from 126 to 126 ms` says nothing."""
    before, after = few_digits(old), few_digits(new)
    if before == after:
        return ""
    return f"{what} {'rose' if new >= old else 'fell'} from {before} to {after} {unit}".rstrip()


def _passes_moved(old: Belief, new: Belief) -> str:
    """The first of the times of a step that moved so that one sees it; they are learnt together."""
    names = ("the target's pass", "the target's pass alone", "a draft's share of a pass", "the overhead")
    moves = (
        _moved(what, 1e3 * getattr(old, field), 1e3 * getattr(new, field), "ms")
        for field, what in zip(_PASSES, names, strict=True)
    )
    return next((words for words in moves if words), "")


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
    "choice_of",
    "few_digits",
    "grid",
    "options",
    "speed_of",
]
