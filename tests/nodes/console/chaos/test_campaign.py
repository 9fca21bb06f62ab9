"""Many schedules: everything is counted, a failure is found, told and made small, and what came is kept."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from draftwire.codecs.messages import Acceptance
from draftwire.nodes.console.chaos.campaign import MOST_SHRUNK, SAME, Failure, Tally, as_fields, run_campaign
from draftwire.nodes.console.chaos.checks import PROMISES
from draftwire.nodes.console.chaos.faults import Kind, Schedule
from draftwire.nodes.console.chaos.outcome import Answer, Broken, Outcome
from draftwire.nodes.console.chaos.shrink import Play
from draftwire.nodes.console.chaos.swarm import schedule_of

COUNT = 120


def calm(schedule: Schedule) -> Outcome:
    """A run in which nothing breaks: one answer of four tokens, one wait of as many seconds as the seed.

    The first of its faults does not happen.
    """
    answer = Answer(
        device="device-1",
        number=0,
        acceptance=Acceptance.COUPLED,
        seed=schedule.seed,
        prompt=(1, 2),
        ids=(3, 4, 5, 6),
        ended=True,
    )
    return Outcome(
        answers=(answer,),
        broken=(),
        trace_hash=f"hash {schedule}",
        virtual_s=2.0,
        recovered_s=(float(schedule.seed),),
        met=Counter(fault.kind for fault in schedule.faults[1:]),
    )


def failing(fails: Callable[[Schedule], bool]) -> Play:
    """Breaks `once` where `fails` says so."""

    def play(schedule: Schedule) -> Outcome:
        broken = (Broken(promise="once", at_s=1.0, what="planted"),) if fails(schedule) else ()
        return replace(calm(schedule), broken=broken)

    return play


def has_stall(schedule: Schedule) -> bool:
    """Something stands still."""
    return any(fault.kind is Kind.STALL for fault in schedule.faults)


def run(play: Play, *, seeds: range = range(COUNT)) -> tuple[Tally, list[Failure]]:
    """The tally, and what was told."""
    tally, told = Tally(wanted=len(seeds)), list[Failure]()
    run_campaign(map(schedule_of, seeds), tally, play=play, told=told.append)
    return tally, told


def test_all_that_came_is_counted() -> None:
    """Schedules, answers, tokens, seconds, faults that happened; the slowest recovery but 1 %."""
    tally, told = run(calm)
    fields = as_fields(tally)
    assert (told, fields["failed"], fields["seeds_failed"], fields["broken"]) == ([], 0, [], {})
    assert (fields["schedules"], fields["answers"], fields["tokens"]) == (COUNT, COUNT, 4 * COUNT)
    assert fields["virtual_s"] == 2.0 * COUNT
    assert fields["recovered_p99_s"] == COUNT - 2
    kinds = [fault.kind.value for seed in range(COUNT) for fault in schedule_of(seed).faults[1:]]
    assert fields["faults_by_kind"] == {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    assert tally.held


def test_failures_are_told_at_once_and_again_when_small() -> None:
    """Seeds as they are, then one fault of one kind; only the first few are made small."""
    tally, told = run(failing(has_stall))
    seeds = [seed for seed in range(COUNT) if has_stall(schedule_of(seed))]
    assert len(seeds) > MOST_SHRUNK
    assert as_fields(tally)["seeds_failed"] == seeds
    assert as_fields(tally)["broken"] == {"once": len(seeds)}
    assert not tally.held
    assert [one.schedule.seed for one in told if one.shrunk is None] == seeds
    small = [one.shrunk for one in told if one.shrunk is not None]
    assert [one.seed for one in small] == seeds[:MOST_SHRUNK]
    for one in small:
        assert [fault.kind for fault in one.faults] == [Kind.STALL], one


def test_two_runs_that_differ_are_a_failure() -> None:
    """A play that hangs on something else than its schedule: found by its hash, and made small as well."""
    runs = 0

    def play(schedule: Schedule) -> Outcome:
        nonlocal runs
        runs += 1
        outcome = calm(schedule)
        return replace(outcome, trace_hash=str(runs)) if has_stall(schedule) else outcome

    tally, told = run(play)
    assert SAME in PROMISES
    assert set(tally.broken) == {SAME}
    assert told[1].shrunk is not None
    assert [fault.kind for fault in told[1].shrunk.faults] == [Kind.STALL]


def test_what_came_until_it_was_stopped_is_kept() -> None:
    """Ctrl-C in the middle of a run: the runs before it are counted."""

    def play(schedule: Schedule) -> Outcome:
        if schedule.seed == 7:
            raise KeyboardInterrupt
        return calm(schedule)

    tally = Tally(wanted=COUNT)
    with pytest.raises(KeyboardInterrupt):
        run_campaign(map(schedule_of, range(COUNT)), tally, play=play, told=lambda failure: None)
    assert tally.schedules == 7


def test_schedules_are_drawn_as_they_are_played() -> None:
    """Ten million of them take no memory."""
    drawn = list[int]()

    def schedules() -> Iterator[Schedule]:
        for seed in range(3):
            drawn.append(seed)
            yield schedule_of(seed)

    def play(schedule: Schedule) -> Outcome:
        assert drawn[-1] == schedule.seed
        return calm(schedule)

    run_campaign(schedules(), Tally(wanted=3), play=play, told=lambda failure: None)
    assert drawn == [0, 1, 2]
