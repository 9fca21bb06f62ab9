"""A run under a schedule: each kind of fault really happens, at each moment, and every promise holds."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from draftwire.codecs.messages import Acceptance
from draftwire.nodes.console.chaos.checks import PROMISES, Checks, text_of
from draftwire.nodes.console.chaos.faults import Fault, Kind, Leg, Moment, Scenario, Schedule
from draftwire.nodes.console.chaos.play import play, played
from draftwire.nodes.console.chaos.users import NO_JOURNAL, requests_of
from draftwire.nodes.console.cli import main

CALM = Scenario(tokens=10)
COUPLED = replace(CALM, acceptance=Acceptance.COUPLED)


def one(fault: Fault, scenario: Scenario = CALM, *, seed: int = 1) -> Schedule:
    """A schedule of this fault alone."""
    return Schedule(seed=seed, scenario=scenario, faults=(fault,))


def test_without_faults_every_request_is_answered() -> None:
    """Nothing is broken where nothing happens, and two runs of a schedule are one."""
    schedule = Schedule(seed=5, scenario=Scenario(devices=2, requests=2, tokens=8))
    came, again = play(schedule), play(schedule)
    assert came == again and came.trace_hash == again.trace_hash
    assert not came.broken and not came.recovered_s
    assert [(len(one.ids), one.ended, one.reason) for one in came.answers] == [(8, True, "")] * 4
    assert play(replace(schedule, seed=6)).trace_hash != came.trace_hash


@pytest.mark.parametrize("link", ["rate 1mbit delay 20ms", ""])
def test_text_is_the_targets_where_drafts_are_hints(link: str) -> None:
    """What a user is shown is what the target says by itself, computed without any of the protocol."""
    scenario = replace(COUPLED, link=link)
    (answer,) = play(Schedule(seed=2, scenario=scenario)).answers
    (asked,) = requests_of(scenario, "device-1", seed=2)
    assert answer.ids == text_of(asked.request)


def test_a_history_tells_both_ends() -> None:
    """Where it is asked for, each message said and heard, each token and each fault is an event, in order."""
    fault = Fault(kind=Kind.CRASH, at_s=0.3, for_s=0.5, node="target")
    events = play(one(fault), history=True).events
    assert [event.at_s for event in events] == sorted(event.at_s for event in events)
    texts = [f"{event.node}: {event.text}" for event in events]
    for start in ("device-1: says Open", "target: hears Open", "target: says Commit", "device-1: shows"):
        assert any(text.startswith(start) for text in texts), start
    assert ": target dies, and is started again 0.5 s later" in texts and "target: life 1 begins" in texts
    assert not play(one(fault)).events


LEGS = [
    (kind, leg)
    for kind in (Kind.DROP, Kind.DUPLICATE, Kind.REORDER, Kind.CORRUPT, Kind.PARTITION)
    for leg in (Leg.UP, Leg.DOWN)
] + [(Kind.DROP, Leg.PLANS), (Kind.CORRUPT, Leg.REPORTS)]


@pytest.mark.parametrize(("kind", "leg"), LEGS)
def test_what_happens_to_a_leg(kind: Kind, leg: Leg) -> None:
    """Messages of the leg meet the fault while it lasts, and every promise holds."""
    fault = Fault(kind=kind, at_s=0.1, for_s=1.0, leg=leg, amount=0.5)
    run = played(one(fault))
    came = run.outcome()
    assert run.wire.hit[kind] >= 2 and not came.broken, came.broken
    lost = run.wire.ledger.messages["dropped"]
    assert (lost > 0) is (kind in (Kind.DROP, Kind.PARTITION))
    assert (run.wire.ledger.messages["copied"] > 0) is (kind is Kind.DUPLICATE)
    assert bool(came.recovered_s) is (kind is Kind.PARTITION)


NODES = ("target", "channel", "controller", "device-1")


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("kind", [Kind.STALL, Kind.SLOW, Kind.CLOCK, Kind.FULL])
def test_what_happens_to_a_node(kind: Kind, node: str) -> None:
    """It takes time, and no token; who stands still says nothing meanwhile."""
    amount = {Kind.SLOW: 10.0, Kind.CLOCK: 100.0}.get(kind, 0.0)
    fault = Fault(kind=kind, at_s=0.2, for_s=0.0 if kind is Kind.CLOCK else 3.0, node=node, amount=amount)
    came, calm = play(one(fault, COUPLED), history=True), play(Schedule(seed=1, scenario=COUPLED))
    assert not came.broken, came.broken
    assert came.answers == calm.answers
    said = [event.at_s for event in came.events if event.node == node and event.text.startswith("says")]
    if kind is Kind.STALL and node != "channel":
        assert not [at_s for at_s in said if 0.2 < at_s < 3.2]
    if (kind is Kind.SLOW and node == "target") or (kind is Kind.STALL and node != "controller"):
        assert came.virtual_s > calm.virtual_s


def test_a_clock_that_jumps_makes_its_timers_due() -> None:
    """A base station whose clock is an hour ahead takes its devices for gone, at once, and goes on."""
    fault = Fault(kind=Kind.CLOCK, at_s=0.3, node="target", amount=3600.0)
    run = played(one(fault))
    assert run.machines["target"].clock.now_s() - run.machines["target"].clock.ahead_s == pytest.approx(
        run._loop.time()
    )
    assert not run.outcome().broken
    assert run.outcome().trace_hash != play(Schedule(seed=1, scenario=CALM)).trace_hash


def test_a_link_that_collapses() -> None:
    """At 10 kbit/s the answer takes longer, and then the link is as it was."""
    came = play(one(Fault(kind=Kind.COLLAPSE, at_s=0.1, for_s=2.0, amount=1e4)))
    assert not came.broken and came.virtual_s > 2.0


MOMENTS = [(node, Moment.NOW) for node in NODES]
MOMENTS += [(node, moment) for node in NODES for moment in (Moment.BEFORE_SEND, Moment.AFTER_SEND)]
MOMENTS += [("target", moment) for moment in (Moment.AFTER_PASS, Moment.IN_RECOVERY)]
MOMENTS += [("device-1", moment) for moment in (Moment.AFTER_PASS, Moment.IN_RECOVERY, Moment.WRITING)]


@pytest.mark.parametrize(("node", "moment"), MOMENTS)
def test_a_node_dies_at_each_moment(node: str, moment: Moment) -> None:
    """It dies just then, is another life afterwards, and its requests go on."""
    fault = Fault(kind=Kind.CRASH, at_s=0.05, for_s=0.5, node=node, moment=moment)
    faults: tuple[Fault, ...] = (fault,)
    if moment is Moment.IN_RECOVERY:  # something has to be taken up again
        faults = (Fault(kind=Kind.CRASH, at_s=0.04, for_s=0.2, node=node), fault)
    run = played(Schedule(seed=1, scenario=CALM, faults=faults), history=True)
    came = run.outcome()
    assert not came.broken, came.broken
    assert run.machines[node].lives == 1 + len(faults)
    assert all(answer.ended for answer in came.answers)
    own = [event.text for event in came.events if event.node == node]
    last = own[own.index(f"life {len(faults) - 1} is over") - 1]
    if moment is Moment.AFTER_SEND and node != "channel":
        assert last.startswith("says")
    if moment is Moment.IN_RECOVERY:
        assert last.startswith(("hears Open", "says Welcome", "says Register"))


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_none_dies_once_all_is_over(seed: int) -> None:
    """A death that waits for another one's moment does not begin behind the last answer."""
    faults = (
        Fault(kind=Kind.CRASH, at_s=0.1, for_s=1.0, node="target", moment=Moment.IN_RECOVERY),
        Fault(kind=Kind.CRASH, at_s=0.15, for_s=1.0, node="target", moment=Moment.AFTER_SEND),
        Fault(kind=Kind.PARTITION, at_s=0.215, for_s=0.1, leg=Leg.UP),
    )
    run = played(Schedule(seed=seed, scenario=Scenario(tokens=4), faults=faults))
    assert not run.outcome().broken
    assert run.machines["target"].lives == 1
    assert run.outcome().met == {Kind.PARTITION: 1}


def test_what_is_ended_leaves_no_journal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """SIGTERM in the middle of a run ends it in order, as Ctrl-C does: its folder in memory is gone."""

    def ignored(number: int, frame: object) -> None:
        raise AssertionError("nobody ends it in order")

    def look(self: Checks, *, only: str | None = None) -> None:
        assert list(tmp_path.iterdir())
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("draftwire.nodes.console.chaos.play.MEMORY_FOLDER", tmp_path)
    monkeypatch.setattr(Checks, "look", look)
    before = signal.signal(signal.SIGTERM, ignored)
    try:
        with pytest.raises(SystemExit):
            main(["chaos", "--schedules", "2"])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not list(tmp_path.iterdir())


def test_a_stalled_node_may_die() -> None:
    """What stood still is gone with its life; the next one runs."""
    faults = (
        Fault(kind=Kind.STALL, at_s=0.2, for_s=5.0, node="target"),
        Fault(kind=Kind.CRASH, at_s=0.5, for_s=0.3, node="target"),
    )
    came = play(Schedule(seed=1, scenario=CALM, faults=faults))
    assert not came.broken and came.answers[0].ended
    assert min(came.recovered_s) < 1.0


def test_a_full_disk_ends_the_device_until_there_is_room() -> None:
    """The request stays open, and goes on from the journal in another life of the device."""
    run = played(one(Fault(kind=Kind.DISK, at_s=0.2, for_s=4.0, node="device-1")))
    came = run.outcome()
    assert not came.broken, came.broken
    assert run.machines["device-1"].lives == 2 and came.virtual_s > 4.2
    assert came.answers[0].ended


def test_without_a_journal_a_death_ends_the_request() -> None:
    """That is what is promised then; what was shown stands, and the next request is answered."""
    scenario = replace(COUPLED, requests=2, journal=False)
    came = play(one(Fault(kind=Kind.CRASH, at_s=0.25, for_s=0.1, node="device-1"), scenario))
    first, second = came.answers
    assert not came.broken, came.broken
    assert (first.ended, first.reason) == (False, NO_JOURNAL) and 0 < len(first.ids) < 10
    assert second.ended


def test_deaths_of_the_base_station_in_a_row() -> None:
    """It gets no further each time, and nothing that was shown changes."""
    faults = tuple(
        Fault(kind=Kind.CRASH, at_s=0.2 + 0.2 * i, for_s=0.1, node="target", moment=Moment.AFTER_PASS)
        for i in range(8)
    )
    run = played(Schedule(seed=4, scenario=CALM, faults=faults))
    assert not run.outcome().broken and run.machines["target"].lives == 9


def test_absent_for_longer_than_anybody_waits() -> None:
    """Given up as absent, a request of a journal is gone on with by its user, and ends."""
    came = play(one(Fault(kind=Kind.PARTITION, at_s=0.3, for_s=140.0, leg=Leg.DOWN)))
    assert not came.broken, came.broken
    assert came.answers[0].ended and came.virtual_s > 140


def test_promises_are_sentences() -> None:
    """Each promise can be told to a person."""
    assert all(text and name.islower() for name, text in PROMISES.items())


def test_of_several_slow_faults_the_worst_counts() -> None:
    """Two that overlap do not multiply: 60 times 60 is a pass of minutes, which no bound allows for."""
    slow = [Fault(kind=Kind.SLOW, at_s=at_s, for_s=0.6, node="target", amount=60.0) for at_s in (0.1, 0.2)]
    scenario = Scenario(tokens=6, k=1, link="")
    came = play(Schedule(seed=2236, scenario=scenario, faults=tuple(slow)))
    assert came.broken == ()
    assert came.virtual_s < 20
