"""Many schedules, one after the other: what they came to in all, and every failure made small."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from draftwire.nodes.console.chaos.faults import Schedule
from draftwire.nodes.console.chaos.outcome import Broken, Outcome
from draftwire.nodes.console.chaos.pooled import Pooled
from draftwire.nodes.console.chaos.shrink import Play, shrunk

SAME: Final = "trace"
"""The promise that two runs of a schedule are the same, among checks.PROMISES."""

MOST_SHRUNK: Final = 5
"""Failures that are made small: behind them it is more of the same, and each takes many plays."""

@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A schedule under which a promise broke."""

    schedule: Schedule
    broken: tuple[Broken, ...]
    shrunk: Schedule | None
    "a smaller one that breaks the first of these promises; None: not looked for"


@dataclass(slots=True, kw_only=True)
class Tally:
    """What the schedules came to so far."""

    wanted: int
    "schedules"
    schedules: int = 0
    answers: int = 0
    tokens: int = 0
    virtual_s: float = 0.0
    wall_s: float = 0.0
    faults_by_kind: Counter[str] = field(default_factory=Counter)
    "that have happened"
    broken: Counter[str] = field(default_factory=Counter)
    "runs by broken promise"
    recovered_s: list[float] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    law: Pooled = field(default_factory=Pooled)

    def add(self, schedule: Schedule, outcome: Outcome) -> None:
        """Count one run."""
        self.schedules += 1
        self.virtual_s += outcome.virtual_s
        self.answers += len(outcome.answers)
        self.tokens += sum(len(answer.ids) for answer in outcome.answers)
        self.faults_by_kind.update({kind.value: number for kind, number in outcome.met.items()})
        self.broken.update({one.promise for one in outcome.broken})
        self.recovered_s.extend(outcome.recovered_s)
        for answer in outcome.answers:
            self.law.add(schedule, answer)

    @property
    def held(self) -> bool:
        """Whether every promise did."""
        return not self.failures and self.law.holds

    @property
    def recovered_p99_s(self) -> float | None:
        """Of requests under way as a fault ended, 99 % had their next token by then. None: there was none."""
        ordered = sorted(self.recovered_s)
        return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))] if ordered else None


Told = Callable[[Failure], None]
Progress = Callable[[Tally, str], None]
"""Hears how far it is, and what is being done besides playing the next one."""


def play_twice(play: Play) -> Play:
    """A play that is played again, and has to come out the same."""

    def both(schedule: Schedule) -> Outcome:
        outcome = play(schedule)
        again = play(schedule)
        if outcome.trace_hash == again.trace_hash:
            return outcome
        what = f"one run's hash is {outcome.trace_hash}, the other's {again.trace_hash}"
        return replace(outcome, broken=(*outcome.broken, Broken(promise=SAME, at_s=0.0, what=what)))

    return both


def run_campaign(
    schedules: Iterable[Schedule],
    tally: Tally,
    *,
    play: Play,
    told: Told,
    progress: Progress | None = None,
) -> None:
    """Play them all, each twice, into the tally. `told` hears of a failure at once, and again when it is
    made small; `progress` after every play.

    Ends with KeyboardInterrupt at Ctrl-C; the tally has what came until then.
    """
    began_s, both = time.monotonic(), play_twice(play)
    for schedule in schedules:
        outcome = both(schedule)
        tally.add(schedule, outcome)
        tally.wall_s = time.monotonic() - began_s
        if progress is not None:
            progress(tally, "")
        if outcome.broken:
            failure = Failure(schedule=schedule, broken=outcome.broken, shrunk=None)
            tally.failures.append(failure)
            told(failure)
            if len(tally.failures) <= MOST_SHRUNK:
                tally.failures[-1] = _made_small(failure, tally, play, progress)
                told(tally.failures[-1])
                tally.wall_s = time.monotonic() - began_s


def _made_small(failure: Failure, tally: Tally, play: Play, progress: Progress | None) -> Failure:
    def tell(plays: int, smallest: Schedule) -> None:
        if progress is not None:
            seed, faults = failure.schedule.seed, len(smallest.faults)
            progress(tally, f"seed {seed} failed: made small, {plays} plays, {faults} faults left")

    promise = failure.broken[0].promise
    once_or_twice = play_twice(play) if promise == SAME else play
    small = shrunk(failure.schedule, promise, once_or_twice, progress=tell)
    return replace(failure, shrunk=small)


def as_fields(tally: Tally) -> dict[str, Any]:
    """What came, as plain values; units in the names."""
    return {
        "schedules": tally.schedules,
        "failed": len(tally.failures),
        "seeds_failed": [one.schedule.seed for one in tally.failures],
        "law_holds": tally.law.holds,
        "broken": dict(tally.broken),
        "faults_by_kind": dict(sorted(tally.faults_by_kind.items())),
        "answers": tally.answers,
        "tokens": tally.tokens,
        "law_tokens": tally.law.tokens,
        "chi_square_p": tally.law.chances(),
        "recovered_p99_s": tally.recovered_p99_s,
        "virtual_s": tally.virtual_s,
        "wall_s": tally.wall_s,
    }


__all__ = [
    "MOST_SHRUNK",
    "SAME",
    "Failure",
    "Tally",
    "as_fields",
    "play_twice",
    "run_campaign",
]
