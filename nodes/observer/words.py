"""A controller's decisions in words: `K 320 -> 24: the link fell to 0.4 Mbit/s`.

A controller decides after every step. What is told is a plan that has become another one and stays, with the
estimate that has moved most since the plan before it was told. `draftwire explain` asks a record more
closely, with every other plan run again; here one look at two beliefs must do. Pure.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from draftwire.nodes.observer.heard import Decision, Estimates
from draftwire.nodes.observer.promise import drafts_tokens_per_s

EVERY_S: Final = 1.0
"""From one telling to the next, at least: nobody reads faster."""

FAR_S: Final = 0.5
"""For so long decisions are far from the plan told last, before that is told: a request's first steps, and
one step's chance, are no change of mind."""

NEAR_S: Final = 1.0
"""For so long they are for the very same plan, a notch from it."""

A_NOTCH: Final = 2.6
"""Times K: from one of the K that are chosen from to the next."""

CLOSE: Final = "the same beliefs, a close call"

PINNED: Final = "the user fixed it"

ABOUT: Final = 1.1
"""Times as fast: what a controller that has just seen drafts lose doubts."""

_A_LOOK: Final = "explore"
_A_TRY: Final = "retry"
_FIXED: Final = "pinned"


class Plan(NamedTuple):
    """What a decision is for, as far as people see it."""

    k: int
    "0: it means nothing, of the target alone and where only ids travel"
    gamma: int
    "0: the target alone"
    min_draft: int | None
    "where only ids travel; None: rows do"

    def __str__(self) -> str:
        if not self.gamma:
            return "target alone"
        if self.min_draft is None:
            return f"K {self.k}, gamma {self.gamma}"
        return f"gamma {self.gamma}, waits for {self.waits}"

    @property
    def waits(self) -> str:
        """How many ids a free target waits for."""
        return "all" if self.min_draft is None or self.min_draft >= self.gamma else str(self.min_draft)

    def is_far_from(self, other: "Plan") -> bool:
        """By more than a notch."""
        if bool(self.gamma) != bool(other.gamma) or abs(self.gamma - other.gamma) > 1:
            return True
        if self.k and other.k:
            return not 1 / A_NOTCH < self.k / other.k < A_NOTCH
        return abs((self.min_draft or 0) - (other.min_draft or 0)) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What was told last, and what was believed then."""

    plan: Plan
    belief: Estimates | None
    sessions: int
    at_s: float


class Teller:
    """Of one device: of its requests in which rows travel, and of those in which only ids do."""

    def __init__(self) -> None:
        self._by_kind: dict[bool, _Kind] = {}
        self._told_s = -math.inf

    def hear(self, decision: Decision, *, sessions: int, now_s: float) -> str | None:
        """Words for what it changes; None: nothing worth a line. `sessions`: that share the target's pass."""
        kind = self._by_kind.setdefault(decision.belief is None or decision.belief.rows, _Kind())
        words = kind.hear(decision, sessions=sessions, now_s=now_s, may=now_s - self._told_s >= EVERY_S)
        if words is not None:
            self._told_s = now_s
        return words


class _Kind:
    def __init__(self) -> None:
        self._told: _Told | None = None
        self._same: _Told | None = None
        "the first of the last decisions, which are for one plan: what was believed then is why"
        self._far_s: float | None = None
        "since when they are far from the one told; None: they are not"

    def hear(self, decision: Decision, *, sessions: int, now_s: float, may: bool) -> str | None:
        if decision.belief is not None and decision.belief.reason == _A_LOOK:
            return None  # the next plan is the old one again
        plan, told, same = plan_of(decision), self._told, self._same
        if same is None or same.plan != plan:
            same = self._same = _Told(plan=plan, belief=decision.belief, sessions=sessions, at_s=now_s)
        stays = self._stays(same, now_s)
        if told is None:
            if may:
                self._told = same
            return f"{plan}: {_first(same.belief)}" if may else None
        reason = same.belief.reason if same.belief is not None else ""
        a_try = reason == _A_TRY and not told.plan.gamma
        if plan == told.plan or not may or not (stays or a_try):
            return None
        self._told, self._far_s = same, None
        return change_words(told, same, reason=reason)

    def _stays(self, same: _Told, now_s: float) -> bool:
        """Whether decisions have been for it, or far from what was told, for long enough."""
        if self._told is None or not same.plan.is_far_from(self._told.plan):
            self._far_s = None
        elif self._far_s is None:
            self._far_s = now_s
        far = self._far_s is not None and now_s - self._far_s >= FAR_S
        return far or now_s - same.at_s >= NEAR_S


def plan_of(decision: Decision) -> Plan:
    """What people see of it."""
    if not decision.gamma:
        return Plan(0, 0, None)
    if decision.belief is None or decision.belief.rows:
        return Plan(decision.k, decision.gamma, None)
    return Plan(0, decision.gamma, min(decision.min_draft, decision.gamma))


def change_words(before: _Told, after: _Told, *, reason: str) -> str:
    """What became another plan, and why."""
    old, new = before.plan, after.plan
    if not new.gamma:
        return _alone(before, after, reason)
    if not old.gamma:
        if reason == _A_TRY:
            return f"drafts again: a try after {_seconds(after.at_s - before.at_s)} alone"
        return f"drafts again, {new}: {_why(before, after, reason)}"
    parts = [f"K {old.k} -> {new.k}"] if old.k != new.k else []
    parts += [f"gamma {old.gamma} -> {new.gamma}"] if old.gamma != new.gamma else []
    if new.min_draft is not None and old.waits != new.waits:
        parts.append(f"waits for {old.waits} -> {new.waits}")
    changed = ", ".join(parts) or str(new)
    return f"{changed}: {_why(before, after, reason)}"


def _alone(before: _Told, after: _Told, reason: str) -> str:
    """With what drafts would bring, where that is about as much or less; in a crowd it may be far more for
    each of them by itself.
    """
    belief = after.belief
    if belief is None or reason == _FIXED:
        return f"target alone: {_why(before, after, reason)}"
    alone, drafts = belief.alone_tokens_per_s, drafts_tokens_per_s(belief)
    if drafts is not None and drafts < ABOUT * alone:
        return f"target alone: drafts would give {drafts:.1f} tok/s, the target alone {alone:.1f}"
    return f"target alone, {alone:.1f} tok/s: {_why(before, after, reason)}"


def _first(belief: Estimates | None) -> str:
    if belief is None:
        return "the first plan"
    if belief.reason == _FIXED:
        return PINNED
    rate = "without limit" if belief.uplink_bps is None else f"of {_megabits(belief.uplink_bps)}"
    return f"the first plan, for a link {rate}"


# Why --------------------------------------------------------------------------------------------------------


class _Move(NamedTuple):
    notches: float
    "how far an estimate has moved, in what one notices; above 0: so that drafts pay more, below 0: less"
    words: str
    longer: bool | None = None
    "whether it makes longer blocks the best; None: as it makes drafts pay"

    def speaks_for_gamma(self, before: int, after: int) -> bool:
        """Whether the best gamma moves that way with it."""
        return (self.notches > 0 if self.longer is None else self.longer) == (after > before)


def _why(before: _Told, after: _Told, reason: str) -> str:
    """The estimate that moved most."""
    if reason == _FIXED:
        return PINNED
    if before.belief is None or after.belief is None:
        return "a policy without a model"
    link = _rate("the link", before.belief.uplink_bps, after.belief.uplink_bps)
    moves = [
        *([link] if _goes_with(link, before.plan, after.plan) else []),
        *_moves(before.belief, after.belief, k=after.plan.k or before.plan.k),
        _crowd(before.sessions, after.sessions),
    ]
    for_drafts = bool(after.plan.gamma) - bool(before.plan.gamma)
    if for_drafts:  # what speaks against it was no reason
        moves = [move for move in moves if move.notches * for_drafts > 0]
    elif before.plan.gamma != after.plan.gamma:
        gammas = before.plan.gamma, after.plan.gamma
        moves = [move for move in moves if move is link or move.speaks_for_gamma(*gammas)]
    most = max(moves, key=lambda move: abs(move.notches), default=_STILL)
    return most.words if abs(most.notches) >= 1 else CLOSE


_STILL: Final = _Move(0.0, "")

A_QUARTER: Final = math.log(1.25)
"""What one notices of a rate or a time: factors."""

A_LITTLE_BPS: Final = 1e3
A_LITTLE_S: Final = 0.01
"""Beside it a change says nothing: 1 ms of a round trip that has become 0.1 ms."""


def _moves(old: Estimates, new: Estimates, *, k: int) -> Iterator[_Move]:
    alpha = "acceptance" if new.rows else "the share of right drafts"
    drafted, passed = (old.draft_step_s, new.draft_step_s), (old.target_step_s, new.target_step_s)
    rtt = _time("the round trip", old.rtt_s, new.rtt_s, A_LITTLE_S, dearer=True)
    yield rtt._replace(longer=new.rtt_s > old.rtt_s)  # drafts pay less, and those that there are share it
    yield _share(alpha, _alpha(old, k), _alpha(new, k))
    yield _time("a drafted token", *drafted, A_LITTLE_S / 10, dearer=True)
    yield _time("the target's pass", *passed, A_LITTLE_S, dearer=False)


def _goes_with(link: _Move, before: Plan, after: Plan) -> bool:
    """Whether what is sent for a block moves the way of the rate; a slower link is no reason for more."""
    if not before.k or not after.k:
        return True
    return link.notches * (after.k * after.gamma - before.k * before.gamma) > 0


def _rate(what: str, old: float | None, new: float | None) -> _Move:
    """None: without limit."""
    if old is None or new is None:
        if old is new:
            return _STILL
        if new is None:
            return _Move(math.inf, f"{what} has no limit")
        return _Move(-math.inf, f"{what} fell to {_megabits(new)}")
    moved = math.log((new + A_LITTLE_BPS) / (old + A_LITTLE_BPS)) / A_QUARTER
    return _Move(moved, f"{what} {_way(old, new)} to {_megabits(new)}")


def _time(what: str, old: float, new: float, little: float, *, dearer: bool) -> _Move:
    """`dearer`: whether drafts pay less where it is longer. What there is beside `little` counts."""
    moved = math.log((new + little) / (old + little)) / A_QUARTER
    return _Move(-moved if dearer else moved, f"{what} {_way(old, new)} to {_milliseconds(new)}")


A_TWENTIETH: Final = 0.05
"""What one notices of a share."""


def _share(what: str, old: float, new: float) -> _Move:
    return _Move((new - old) / A_TWENTIETH, f"{what} {_way(old, new)} to {new:.2f}")


def _crowd(old: int, new: int) -> _Move:
    """Sessions in a pass: one more or less of many is nothing. Shared passes leave less to gain by drafts."""
    if not old or not new:
        return _STILL
    moved = -math.log(new / old) / A_QUARTER
    return _Move(
        moved, f"{new} requests share the target, {old} before" if new > 1 else "nobody else is there"
    )


def _alpha(belief: Estimates, k: int) -> float:
    """At the K nearest to that."""
    known = min(belief.alphas, key=lambda one: abs(math.log(one / max(1, k))))
    return belief.alphas[known]


def _way(old: float, new: float) -> str:
    return "rose" if new >= old else "fell"


def _megabits(rate_bps: float) -> str:
    return f"{digits(rate_bps / 1e6)} Mbit/s"


def _milliseconds(time_s: float) -> str:
    return f"{digits(1e3 * time_s)} ms"


def _seconds(time_s: float) -> str:
    return f"{max(1, round(time_s))} s"


def digits(value: float) -> str:
    """Two or three, and no exponent: 20, 1.1, 0.36, 150."""
    if value >= 99.5:
        return f"{value:.0f}"
    if value >= 9.95:
        return f"{value:.3g}".removesuffix(".0")
    return f"{value:.2g}" if value >= 1e-4 or not value else f"{value:.6f}".rstrip("0").rstrip(".")


__all__ = ["CLOSE", "PINNED", "Plan", "Teller", "change_words", "digits", "plan_of"]
