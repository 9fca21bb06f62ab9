"""A record over time: the requests in which the controller chose, one behind the other on one axis.

What lies between two requests, or belongs to requests whose K and gamma the user fixed, is left out; so is
what an experiment asked for only to warm up. Pure.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from draftwire.nodes.channel.links import streams_of
from draftwire.nodes.channel.playing import Direction
from draftwire.nodes.console.link_rates import bin_s, curve_of, link_of, rates_of
from draftwire.nodes.console.record import Decision, LinkChange, Record, Step
from draftwire.nodes.controller.belief import Belief
from draftwire.runtime.security import key_of

WINDOW_STEPS: Final = 8
"""A measured speed is over so many steps: a single one says little, its tokens are 1 to gamma + 1."""

RATE_BINS: Final = 400
"""Of the axis, for a rate that moves by itself."""

AROUND_S: Final = 0.2
"""Over which such a rate is told for one moment."""

Points = tuple[tuple[float, float], ...]
"""(seconds on the axis, value), rising in time; the value is NaN where a line is to break."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One request in which the controller chose."""

    device: str
    request: int
    begins_s: float
    "of the record's clock: its first pass"
    ends_s: float
    offset_s: float
    "on the axis, where it begins"
    steps: tuple[Step, ...]
    decisions: tuple[Decision, ...]

    def on_axis(self, at_s: float) -> float:
        """The record's clock -> the axis."""
        return self.offset_s + at_s - self.begins_s

    @property
    def tokens(self) -> tuple[int, ...]:
        """By step: how far the log grew; of the last one, as it says itself."""
        grown = [after.position - before.position for before, after in pairwise(self.steps)]
        return (*grown, self.steps[-1].tokens)

    @property
    def hints(self) -> bool:
        """Whether only ids travelled: drafts were hints."""
        return self.steps[0].hints


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What a picture of a record shows, over the axis."""

    seconds: float
    "the axis' length"
    borders: tuple[float, ...]
    "where one request follows another"
    true_bps: Points
    """The uplink's rate, as the channel told; from each time on. Outages are 0; empty: not recorded. Of
    a rate that moves by itself the mean in each bin."""
    believed_bps: Points
    k: Points
    "of the steps as they were drawn; NaN for the target alone, and where only ids travelled"
    gamma: Points
    """of the steps; 0: the target alone. Where drafts are hints, how far the device drafts beyond what it
    knows: a pass may have any number up to that"""
    drafted: Points
    "where drafts are hints: ids in each pass; else NaN"
    min_draft: Points
    "where drafts are hints: what a free target waits for; else NaN"
    predicted: Points
    "tokens a second, by the controller"
    alone: Points
    "the same for the target alone"
    measured: Points
    "tokens a second over WINDOW_STEPS steps, at their middle"


def runs_of(record: Record) -> tuple[Run, ...]:
    """The requests in which the controller had something to choose, in order of time."""
    steps: dict[tuple[str, int], list[Step]] = {}
    for step in record.steps:
        if not step.pinned:
            steps.setdefault((step.device, step.request), []).append(step)
    decisions: dict[tuple[str, int], list[Decision]] = {}
    for decision in record.decisions:
        decisions.setdefault((decision.device, decision.request), []).append(decision)
    asked = [(one.started_at_s, one.started_at_s + one.seconds) for one in record.outcomes]
    runs: list[Run] = []
    offset_s = 0.0
    for key, own in steps.items():
        begins_s = own[0].ended_at_s - own[0].hold_s - own[0].step_s * (own[0].hold_s == 0)
        ends_s = own[-1].ended_at_s
        if asked and not any(begins_s < until_s and from_s < ends_s for from_s, until_s in asked):
            continue
        chosen = [one for one in decisions.get(key, ()) if begins_s <= one.at_s]
        runs.append(
            Run(
                device=key[0],
                request=key[1],
                begins_s=begins_s,
                ends_s=ends_s,
                offset_s=offset_s,
                steps=tuple(own),
                decisions=tuple(chosen),
            )
        )
        offset_s += ends_s - begins_s
    return tuple(runs)


def traces_of(runs: Sequence[Run], links: Iterable[LinkChange]) -> Traces:
    """The lines of a picture. `links`: of the whole record, in order of time."""
    changes, last = tuple(links), runs[-1]
    return Traces(
        seconds=last.on_axis(last.ends_s),
        borders=tuple(run.offset_s for run in runs[1:]),
        true_bps=_joined(runs, lambda run: _true_rates(run, changes, seconds=last.on_axis(last.ends_s))),
        believed_bps=_believed(runs, lambda belief: belief.uplink_bps),
        k=_drawn(runs, lambda step: float(step.k) if step.drafted and not step.hints else math.nan),
        gamma=_drawn(runs, lambda step: float((step.hints or step.drafted) and step.gamma)),
        drafted=_drawn(runs, lambda step: float(step.drafted) if step.hints else math.nan),
        min_draft=_drawn(runs, lambda step: float(step.min_draft) if step.hints else math.nan),
        predicted=_believed(runs, lambda belief: belief.tokens_per_s),
        alone=_believed(runs, lambda belief: belief.alone_tokens_per_s),
        measured=_joined(runs, _measured),
    )


def rate_at(links: Iterable[LinkChange], at_s: float, *, device: str) -> float | None:
    """The uplink's true rate at a time of the record's clock; None: not recorded, or no rate at all.

    Of a rate that moves by itself the mean around that time.
    """
    told = [one for one in _uplink_of(device, links) if one.at_s <= at_s]
    if not told:
        return None
    around_s = AROUND_S / 2
    rates = _rates_of(told[-1], max(told[-1].at_s, at_s - around_s), at_s + around_s, device, wide_s=AROUND_S)
    return None if rates[0][1] == math.inf else rates[0][1]


def speed_between(run: Run, begin_s: float, end_s: float) -> tuple[int, float]:
    """Tokens of the steps that ended in (begin_s, end_s] of the record's clock, and how long those took.

    The first step of a request has no beginning that the record knows, so it does not count.
    """
    tokens, seconds = 0, 0.0
    for (before, step), grown in zip(pairwise(run.steps), run.tokens[1:], strict=True):
        if begin_s < step.ended_at_s <= end_s:
            tokens += grown
            seconds += step.ended_at_s - before.ended_at_s
    return tokens, seconds


def under_way_s(runs: Iterable[Run]) -> float:
    """How long at least one of them was under way: requests at the same time count once."""
    seconds, until_s = 0.0, -math.inf
    for run in sorted(runs, key=lambda one: one.begins_s):
        seconds += max(0.0, run.ends_s - max(until_s, run.begins_s))
        until_s = max(until_s, run.ends_s)
    return seconds


def sessions_at(record: Record, times_s: Sequence[float], *, device: str) -> list[int]:
    """Requests that a device's base station served at these times of the record's clock, pinned ones too."""
    stations = {one.bs for one in record.steps if one.device == device}
    spans: dict[tuple[str, int], tuple[float, float]] = {}
    for step in record.steps:
        if step.bs in stations:
            key, begins_s = (step.device, step.request), step.ended_at_s - step.step_s - step.hold_s
            spans[key] = spans.get(key, (begins_s, 0.0))[0], step.ended_at_s
    return [sum(begins_s <= at_s <= ends_s for begins_s, ends_s in spans.values()) for at_s in times_s]


def _true_rates(run: Run, links: Sequence[LinkChange], *, seconds: float) -> list[tuple[float, float]]:
    uplink = _uplink_of(run.device, links)
    before = [one for one in uplink if one.at_s <= run.begins_s]
    held = [*before[-1:], *(one for one in uplink if run.begins_s < one.at_s <= run.ends_s)]
    points = list[tuple[float, float]]()
    for number, change in enumerate(held):
        from_s = max(change.at_s, run.begins_s)
        until_s = held[number + 1].at_s if number + 1 < len(held) else run.ends_s
        rates = _rates_of(change, from_s, until_s, run.device, wide_s=seconds / RATE_BINS)
        points += [(run.on_axis(at_s), rate_bps) for at_s, rate_bps in rates]
    if points:
        points.append((run.on_axis(run.ends_s), points[-1][1]))
    return points


def _uplink_of(device: str, links: Iterable[LinkChange]) -> list[LinkChange]:
    """What the uplink of a device did: the nearest link to its name, until an order takes its place."""
    names, nearest = (None, key_of(device), device), 0
    found = list[LinkChange]()
    for one in links:
        if not one.direction.startswith("up") or one.device not in names:
            continue
        near = names.index(one.device)
        if one.ordered or near >= nearest:
            found.append(one)
            nearest = near
    return found


def _rates_of(
    change: LinkChange, from_s: float, until_s: float, device: str, *, wide_s: float
) -> Sequence[tuple[float, float]]:
    """(from when on, bits a second) of the record's clock, at least one."""
    if change.rate_bps is None and change.mean_rate_bps is not None and until_s > from_s:
        link = link_of(change.link)
        if link is not None:
            curve = curve_of(link, fading_seed=_fading_seed(change, device))
            wide_s = max(wide_s, bin_s(link.mean_rate_bps, until_s - from_s, bins=RATE_BINS))
            began_s = change.at_s if change.began_s is None else change.began_s
            rates = rates_of(curve, from_s - began_s, until_s - began_s, wide_s=wide_s)
            return [(began_s + at_s, rate_bps) for at_s, rate_bps in rates]
    return [(from_s, math.inf if change.mean_rate_bps is None else change.mean_rate_bps)]


def _fading_seed(change: LinkChange, device: str) -> int | None:
    if change.seed is None:
        return None
    return streams_of(change.seed, device, Direction.UPLINK).fading_seed(change.rates_before)


def _joined(runs: Sequence[Run], points: Callable[[Run], list[tuple[float, float]]]) -> Points:
    """The lines of all runs as one, with a break between them."""
    joined = list[tuple[float, float]]()
    for run in runs:
        own = points(run)
        if joined and own:
            joined.append((run.offset_s, math.nan))
        joined += own
    return tuple(joined)


def _drawn(runs: Sequence[Run], value: Callable[[Step], float]) -> Points:
    return _joined(runs, lambda run: [(run.on_axis(step.ended_at_s), value(step)) for step in run.steps])


def _believed(runs: Sequence[Run], value: Callable[[Belief], float]) -> Points:
    def points(run: Run) -> list[tuple[float, float]]:
        return [
            (run.on_axis(one.at_s), value(one.belief))
            for one in run.decisions
            if one.belief is not None and one.at_s < run.ends_s  # the last one rules no step
        ]

    return _joined(runs, points)


def _measured(run: Run) -> list[tuple[float, float]]:
    ends, tokens = [step.ended_at_s for step in run.steps], run.tokens
    points = []
    for first in range(len(ends) - WINDOW_STEPS):
        last = first + WINDOW_STEPS
        seconds = ends[last] - ends[first]
        if seconds > 0:
            middle = run.on_axis((ends[first] + ends[last]) / 2)
            points.append((middle, sum(tokens[first + 1 : last + 1]) / seconds))
    return points


__all__ = [
    "WINDOW_STEPS",
    "Points",
    "Run",
    "Traces",
    "rate_at",
    "runs_of",
    "sessions_at",
    "speed_between",
    "traces_of",
    "under_way_s",
]
