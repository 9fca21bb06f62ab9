"""Failures are made small: a planted one comes down to the fault that it takes, and little besides."""

from collections.abc import Callable

from draftwire.codecs.messages import Acceptance
from draftwire.nodes.console.chaos.faults import Fault, Kind, Moment, Scenario, Schedule
from draftwire.nodes.console.chaos.outcome import Broken, Outcome
from draftwire.nodes.console.chaos.places import check
from draftwire.nodes.console.chaos.shrink import MOST_PLAYS, Play, shrunk
from draftwire.nodes.console.chaos.swarm import schedule_of

Fails = Callable[[Schedule], str]
"""The promise that a schedule breaks; empty: none."""


def played(fails: Fails, met: list[Schedule]) -> Play:
    """A play that breaks what `fails` says, and remembers what it was given."""

    def play(schedule: Schedule) -> Outcome:
        check(schedule)  # what can't be is never tried
        met.append(schedule)
        promise = fails(schedule)
        broken = (Broken(promise=promise, at_s=0.0, what="planted"),) if promise else ()
        return Outcome(answers=(), broken=broken, trace_hash="", virtual_s=0.0, recovered_s=())

    return play


def crashes_target(schedule: Schedule) -> str:
    """Fails where the base station dies."""
    return "text" if any(one.kind is Kind.CRASH and one.node == "target" for one in schedule.faults) else ""


def test_a_planted_failure_comes_down_to_its_one_fault() -> None:
    """Of many faults the one is left, dying at once; of the scenario nothing that it does not take."""
    many = [one for one in map(schedule_of, range(500)) if crashes_target(one) and len(one.faults) > 4]
    assert len(many) > 10
    for start in many[:10]:
        seed, met = start.seed, list[Schedule]()
        found = shrunk(start, "text", played(crashes_target, met))
        (fault,) = found.faults
        assert (fault.kind, fault.node, fault.moment) == (Kind.CRASH, "target", Moment.NOW), seed
        assert fault.for_s <= 0.2, seed
        now = found.scenario
        assert (now.devices, now.requests, now.tokens, now.link, now.gamma) == (1, 1, 1, "", 0), seed
        assert len(met) <= MOST_PLAYS


def test_two_faults_that_only_fail_together_are_both_left() -> None:
    """What it takes stays: damaged messages, a clock that jumps, coupled acceptance."""

    def fails(schedule: Schedule) -> str:
        kinds = {one.kind for one in schedule.faults}
        coupled = schedule.scenario.acceptance is Acceptance.COUPLED
        return "ends" if coupled and {Kind.CORRUPT, Kind.CLOCK} <= kinds else ""

    many = [one for one in map(schedule_of, range(2000)) if fails(one) and len(one.faults) > 3]
    assert len(many) > 5
    for start in many[:5]:
        seed, found = start.seed, shrunk(start, "ends", played(fails, []))
        assert {one.kind for one in found.faults} == {Kind.CORRUPT, Kind.CLOCK}, seed
        assert len(found.faults) == 2, seed
        assert found.scenario.acceptance is Acceptance.COUPLED, seed


def test_another_broken_promise_is_not_taken_for_it() -> None:
    """Without its fault the schedule breaks something else: that is no smaller case of the first."""

    def fails(schedule: Schedule) -> str:
        return crashes_target(schedule) or "ends"

    start = Schedule(
        seed=1,
        scenario=Scenario(),
        faults=(
            Fault(kind=Kind.STALL, at_s=0.1, for_s=0.1, node="target"),
            Fault(kind=Kind.CRASH, at_s=0.5, for_s=0.1, node="target"),
        ),
    )
    found = shrunk(start, "text", played(fails, []))
    assert [one.kind for one in found.faults] == [Kind.CRASH]


def test_plays_are_bounded_and_told() -> None:
    """No more than asked for, progress after each; the result breaks the promise however few there were."""
    start = next(
        one for one in map(schedule_of, range(500)) if crashes_target(one) and len(one.faults) > 5
    )
    for most in (0, 1, 7, 40):
        met, told = list[Schedule](), list[int]()
        found = shrunk(
            start,
            "text",
            played(crashes_target, met),
            most_plays=most,
            progress=lambda plays, smallest, told=told: told.append(plays),  # type: ignore[misc]
        )
        assert len(met) <= most
        assert told == list(range(1, len(met) + 1))
        assert crashes_target(found)
        assert len(set(met)) == len(met), "nothing is played twice"


def test_what_happens_to_a_later_device_is_moved_to_the_first() -> None:
    """A failure that takes a device's death comes down to one device, whichever died."""

    def fails(schedule: Schedule) -> str:
        deaths = (one for one in schedule.faults if one.kind is Kind.CRASH)
        return "once" if any(one.node.startswith("device-") for one in deaths) else ""

    crash = Fault(kind=Kind.CRASH, at_s=0.5, for_s=0.1, node="device-3")
    found = shrunk(Schedule(seed=1, scenario=Scenario(devices=3), faults=(crash,)), "once", played(fails, []))
    assert found.scenario.devices == 1
    assert [one.node for one in found.faults] == ["device-1"]


def test_faults_of_devices_that_are_gone_go_with_them() -> None:
    """A scenario with fewer devices has no fault of a device that it lacks."""
    start = Schedule(
        seed=1,
        scenario=Scenario(devices=3),
        faults=(
            Fault(kind=Kind.STALL, at_s=0.1, for_s=0.1, node="device-3"),
            Fault(kind=Kind.CRASH, at_s=0.5, for_s=0.1, node="target"),
        ),
    )
    found = shrunk(start, "text", played(crashes_target, []))
    assert found.scenario.devices == 1
    assert [one.node for one in found.faults] == ["target"]
