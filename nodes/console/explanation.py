"""Why a controller chose what it chose: its beliefs over time, what else they would have allowed, what came.

Pure: a record in, values and words out. `draftwire explain` prints them.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from draftwire.nodes.console.choices import Moment, Option, change_words, choice_of, options
from draftwire.nodes.console.record import Decision, Record, RecordError, Step
from draftwire.nodes.console.timeline import (
    Run,
    Traces,
    rate_at,
    runs_of,
    speed_between,
    traces_of,
    under_way_s,
)
from draftwire.nodes.controller.belief import Belief
from draftwire.runtime.telemetry import SHARES_EVENT

SLICES: Final = 12
"""Of the axis, rows of the table: a controller may change its mind every step, nobody reads that."""

PINNED: Final = "the user fixed the plan of every request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A piece of the axis: the choice made most often in it, and how that went."""

    begins_s: float
    ends_s: float
    moment: Moment
    "the last decision for that choice"
    share: float
    "of the decisions in it"
    predicted: float
    "tokens a second, the mean of its beliefs over time"
    alone: float
    "the same for the target alone"
    measured: float | None
    "tokens over seconds of the steps in it; None: there were none"
    alternative: Option | None
    "the best other plan with drafts, by the moment's belief"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From one slice's choice to the next one's."""

    at_s: float
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """What drafts that are hints came to, as the base station saw them."""

    passes: int
    "of the target"
    tokens: int
    "of the output"
    tested: int
    "drafted ids that came in time for those passes"
    seen: int
    "drafted ids held against the output, up to each path's first wrong one"
    right: int
    "of these"
    late: int
    "of the right ones: those that the target had drawn itself before they came"
    early_stop: float
    "share of the passes whose plan let the device stop early"
    drafted: int | None
    "by the devices that wrote their answer into the record; None: none did"
    wasted: int | None
    "of these, for nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A record's requests, explained."""

    requests: int
    steps: int
    tokens: int
    "of the steps whose time is known"
    seconds: float
    "that they took, one after the other: requests at the same time count each"
    total_tokens: int
    "of all steps"
    under_way_s: float
    "in which any request was: requests at the same time count once"
    shared: bool
    "whether a radio was: believed is what others leave of it, true the rate while nobody else sends"
    predicted: float
    "tokens a second, over time"
    alone: float
    paths: "Paths | None"
    "of the requests in which only ids travelled; None: there were none"
    moments: tuple[Moment, ...]
    slices: tuple[Slice, ...]
    changes: tuple[Change, ...]
    traces: Traces

    @property
    def measured(self) -> float | None:
        """Tokens a second, over the same steps: of a request, where there were several at the same time."""
        return self.tokens / self.seconds if self.seconds else None

    @property
    def total_tokens_per_s(self) -> float | None:
        """Of all requests that were under way at the same time."""
        return self.total_tokens / self.under_way_s if self.under_way_s else None

    def at(self, at_s: float) -> Moment:
        """The decision in force at a time of the axis; before the first, the first."""
        place = bisect_right(self.moments, at_s, key=lambda moment: moment.at_s)
        return self.moments[max(0, place - 1)]


def explain(record: Record) -> Explanation:
    """Explain a record. Raises RecordError for one that holds nothing to explain, and says what would."""
    runs = tuple(run for run in runs_of(record) if run.decisions)
    if not record.decisions:
        raise _nothing(record, "holds no decision of a controller")
    if not runs:
        raise _nothing(record, f"{PINNED}: no choice was left")
    if not any(one.belief for run in runs for one in run.decisions):
        raise _nothing(record, "the decisions rest on no belief: a policy without a model made them")
    runs = _placed(runs)
    moments = tuple(
        Moment(
            at_s=run.on_axis(one.at_s),
            choice=choice_of(one),
            belief=one.belief,
            true_bps=rate_at(record.links, one.at_s, device=run.device),
            uplink_bps=one.uplink_bps,
            patience_s=one.patience_s,
            device=run.device,
            clock_s=one.at_s,
        )
        for run in runs
        for one in _heeded(run)
        if one.belief is not None
    )
    traces = traces_of(runs, record.links)
    slices = _slices(moments, runs, traces.seconds)
    totals = [speed_between(run, run.begins_s, run.ends_s) for run in runs]
    return Explanation(
        requests=len(runs),
        steps=sum(len(run.steps) for run in runs),
        tokens=sum(tokens for tokens, _ in totals),
        seconds=sum(seconds for _, seconds in totals),
        total_tokens=sum(sum(run.tokens) for run in runs),
        under_way_s=under_way_s(runs),
        shared=record.others[SHARES_EVENT] > 0,
        predicted=_over_time(moments, traces.seconds, lambda belief: belief.tokens_per_s),
        alone=_over_time(moments, traces.seconds, lambda belief: belief.alone_tokens_per_s),
        paths=paths_in(record, [step for run in runs for step in run.steps]),
        moments=moments,
        slices=slices,
        changes=tuple(_changes(slices)),
        traces=traces,
    )


def pinned_paths(record: Record) -> Paths | None:
    """Of a record in which the user fixed every plan, so that there is no choice to explain; None: of any
    other, and where rows travelled.
    """
    return paths_in(record, record.steps) if all(step.pinned for step in record.steps) else None


def paths_in(record: Record, steps: Sequence[Step]) -> Paths | None:
    """What drafts of these steps came to; None: none of them were hints."""
    steps = [step for step in steps if step.hints]
    if not steps:
        return None
    tokens, right = sum(step.tokens for step in steps), sum(step.accepted for step in steps)
    used = tokens - len(steps)  # each pass adds one token of the target's own
    answers = [one for one in record.answers if one.get("wasted") is not None and one.get("min_draft_used")]
    return Paths(
        passes=len(steps),
        tokens=tokens,
        tested=sum(step.drafted for step in steps),
        seen=sum(step.seen for step in steps),
        right=right,
        late=max(0, right - used),
        early_stop=sum(step.early_stop for step in steps) / len(steps),
        drafted=sum(one["drafted"] for one in answers) if answers else None,
        wasted=sum(one["wasted"] for one in answers) if answers else None,
    )


def _nothing(record: Record, problem: str) -> RecordError:
    remedy = "record an answer with the adaptive controller: draftwire generate PROMPT --record FILE"
    return RecordError(problem, source=str(record.path), remedy=remedy)


def _placed(runs: Sequence[Run]) -> tuple[Run, ...]:
    """One behind the other again, after some were left out."""
    placed, offset_s = list[Run](), 0.0
    for run in runs:
        placed.append(replace(run, offset_s=offset_s))
        offset_s += run.ends_s - run.begins_s
    return tuple(placed)


def _heeded(run: Run) -> list[Decision]:
    """The last decision comes with the last step: it rules nothing, but where it is the only one."""
    return [one for one in run.decisions if one.at_s < run.ends_s] or list(run.decisions[:1])


# Slices -----------------------------------------------------------------------------------------------------


def _slices(moments: Sequence[Moment], runs: Sequence[Run], seconds: float) -> tuple[Slice, ...]:
    count = max(1, min(SLICES, len(moments) // 2))
    found = list[Slice]()
    for number in range(count):
        begins_s, ends_s = number * seconds / count, (number + 1) * seconds / count
        inside = [one for one in moments if begins_s <= one.at_s < ends_s or one.at_s == ends_s == seconds]
        if not inside:
            continue
        choice, times = Counter(one.choice for one in inside).most_common(1)[0]
        moment = [one for one in inside if one.choice == choice][-1]
        found.append(
            Slice(
                begins_s=begins_s,
                ends_s=ends_s,
                moment=moment,
                share=times / len(inside),
                predicted=_over_time(inside, ends_s, lambda belief: belief.tokens_per_s),
                alone=_over_time(inside, ends_s, lambda belief: belief.alone_tokens_per_s),
                measured=_measured(runs, begins_s, ends_s),
                alternative=_alternative(moment),
            )
        )
    return tuple(found)


def _alternative(moment: Moment) -> Option | None:
    chosen = moment.choice
    for option in options(moment.belief):
        if option.choice.gamma and option.choice != chosen:
            return option
    return None


def _measured(runs: Sequence[Run], begins_s: float, ends_s: float) -> float | None:
    parts = [
        speed_between(run, run.begins_s + begins_s - run.offset_s, run.begins_s + ends_s - run.offset_s)
        for run in runs
    ]
    seconds = sum(part[1] for part in parts)
    return sum(part[0] for part in parts) / seconds if seconds else None


def _over_time(moments: Sequence[Moment], ends_s: float, value: Callable[[Belief], float]) -> float:
    """The mean of a value of the beliefs, each weighted by how long it held."""
    times = [*(moment.at_s for moment in moments), max(ends_s, moments[-1].at_s)]
    weights = [after - before for before, after in pairwise(times)]
    if not sum(weights):
        weights = [1.0] * len(moments)
    values = [value(moment.belief) for moment in moments]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


def _changes(slices: Sequence[Slice]) -> list[Change]:
    return [
        Change(at_s=after.begins_s, words=change_words(before.moment, after.moment))
        for before, after in pairwise(slices)
        if before.moment.choice != after.moment.choice
    ]


__all__ = ["PINNED", "Change", "Explanation", "Paths", "Slice", "explain", "paths_in", "pinned_paths"]
