"""A failure made small: the fewest faults, the shortest and mildest of them, the smallest scenario.

First delta debugging over the faults (Zeller's ddmin: halves, quarters, ... are left out as long as the same
promise stays broken), then every fault and the scenario are made simpler one step at a time, until no step
holds. Each try is a play, so their number is bounded.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

from draftwire.nodes.console.chaos.faults import Fault, Kind, Moment, Scenario, Schedule
from draftwire.nodes.console.chaos.outcome import Outcome
from draftwire.nodes.console.chaos.places import check, devices_of
from draftwire.runtime.errors import ConfigurationError

Play = Callable[[Schedule], Outcome]
Progress = Callable[[int, Schedule], None]
"""Hears after each play how many there were, and the smallest schedule so far."""

MOST_PLAYS: Final = 200
"""Of one failure: some 20 s, and most of them are small by then."""

SIMPLEST_LINKS: Final = ("", "rate 1mbit delay 20ms")

SIMPLE_S: Final = 0.1
"""Faults are not made shorter than that."""


def shrunk(
    schedule: Schedule,
    promise: str,
    play: Play,
    *,
    most_plays: int = MOST_PLAYS,
    progress: Progress | None = None,
) -> Schedule:
    """A schedule as small as can be found with this number of plays that breaks the same promise."""
    search = _Search(schedule, promise, play, most_plays, progress)
    while search.left and (search.fewer_faults() | search.simpler()):
        pass
    return search.smallest


class _Search:
    def __init__(
        self, schedule: Schedule, promise: str, play: Play, most_plays: int, progress: Progress | None
    ) -> None:
        self.smallest = schedule
        self.left = most_plays
        self._promise, self._play, self._most, self._progress = promise, play, most_plays, progress
        self._tried = {schedule}

    def fewer_faults(self) -> bool:
        """ddmin; whether something could be left out."""
        before, parts = self.smallest, 2
        while (faults := self.smallest.faults) and self.left:
            parts = min(parts, len(faults))
            if any(self._holds(replace(self.smallest, faults=rest)) for rest in _complements(faults, parts)):
                parts = max(2, parts - 1)
            elif parts == len(faults):
                break
            else:
                parts *= 2
        return self.smallest != before

    def simpler(self) -> bool:
        """Every fault and the scenario, a step at a time; whether a step held."""
        before = self.smallest
        for step in (_simpler_scenarios, _simpler_faults):
            held = True
            while held and self.left:
                held = any(self._holds(candidate) for candidate in step(self.smallest))
        return self.smallest != before

    def _holds(self, candidate: Schedule) -> bool:
        """Whether it breaks the promise too; then it is the smallest."""
        if candidate in self._tried or not self.left or not _possible(candidate):
            return False
        self._tried.add(candidate)
        self.left -= 1
        broken = self._play(candidate).broken
        holds = any(one.promise == self._promise for one in broken)
        if holds:
            self.smallest = candidate
        if self._progress is not None:
            self._progress(self._most - self.left, self.smallest)
        return holds


def _complements(faults: Sequence[Fault], parts: int) -> Iterator[tuple[Fault, ...]]:
    """All but one of so many parts, for each of them."""
    edges = [len(faults) * part // parts for part in range(parts + 1)]
    for begin, end in pairwise(edges):
        yield (*faults[:begin], *faults[end:])


def _simpler_scenarios(schedule: Schedule) -> Iterator[Schedule]:
    now, usual = schedule.scenario, Scenario()
    for devices in range(1, now.devices):
        fewer = replace(now, devices=devices)
        yield _within(schedule, fewer)
        yield _within(_moved(schedule, devices), fewer)
    if now.requests > 1:
        yield _within(schedule, replace(now, requests=1))
    for link in SIMPLEST_LINKS[: _rank(now.link)]:
        yield _within(schedule, replace(now, link=link))
    for name in ("kv_tokens", "draft_is_target", "journal", "temperature", "acceptance"):
        if getattr(now, name) != (value := getattr(usual, name)):
            yield _within(schedule, replace(now, **{name: value}))
    if now.k is None or now.gamma is None:
        yield _within(schedule, replace(now, k=usual.k, gamma=usual.gamma))
    for tokens in (1, 2, 4, now.tokens // 2, now.tokens - 1):
        if 0 < tokens < now.tokens:
            yield _within(schedule, replace(now, tokens=tokens))
    for gamma in range(now.gamma or 0):
        yield _within(schedule, replace(now, gamma=gamma))
    for k in (1, 2, 4):
        if now.k is not None and k < now.k:
            yield _within(schedule, replace(now, k=k))


def _moved(schedule: Schedule, devices: int) -> Schedule:
    """What happens to devices beyond so many happens to the first."""
    first, *others = devices_of(schedule.scenario)
    gone = others[devices - 1 :]
    faults = (replace(one, node=first) if one.node in gone else one for one in schedule.faults)
    return replace(schedule, faults=tuple(faults))


def _rank(link: str) -> int:
    """How many links are simpler."""
    return SIMPLEST_LINKS.index(link) if link in SIMPLEST_LINKS else len(SIMPLEST_LINKS)


def _within(schedule: Schedule, scenario: Scenario) -> Schedule:
    """The schedule there; faults of nodes that are not are left out."""
    smaller = replace(schedule, scenario=scenario)
    return replace(smaller, faults=tuple(one for one in schedule.faults if _fits(one, scenario)))


def _fits(fault: Fault, scenario: Scenario) -> bool:
    return _possible(Schedule(seed=0, scenario=scenario, faults=(fault,)))


def _possible(schedule: Schedule) -> bool:
    try:
        check(schedule)
    except ConfigurationError:
        return False
    return True


def _simpler_faults(schedule: Schedule) -> Iterator[Schedule]:
    for place, fault in enumerate(schedule.faults):
        for simpler in _simpler(fault):
            faults = [*schedule.faults[:place], simpler, *schedule.faults[place + 1 :]]
            yield replace(schedule, faults=tuple(sorted(faults, key=lambda one: one.at_s)))


def _simpler(fault: Fault) -> Iterator[Fault]:
    if fault.moment is not Moment.NOW:
        yield replace(fault, moment=Moment.NOW)
    if fault.for_s > 2 * SIMPLE_S:
        for for_s in (SIMPLE_S, round(fault.for_s / 2, 3)):
            yield replace(fault, for_s=for_s)
    if (amount := _milder(fault)) != fault.amount:
        yield replace(fault, amount=amount)
    if fault.at_s != (at_s := round(fault.at_s, 1)):
        yield replace(fault, at_s=at_s)
    if fault.at_s > 1.0:
        yield replace(fault, at_s=round(fault.at_s / 2, 1))


def _milder(fault: Fault) -> float:
    """Certain rather than likely, since then it hangs on no draw; half of what is slow or far."""
    match fault.kind:
        case Kind.DROP | Kind.DUPLICATE | Kind.REORDER | Kind.CORRUPT:
            return 1.0
        case Kind.SLOW | Kind.CLOCK if fault.amount > 2.0:
            return round(fault.amount / 2, 1)
        case _:
            return fault.amount


__all__ = ["MOST_PLAYS", "Play", "Progress", "shrunk"]
