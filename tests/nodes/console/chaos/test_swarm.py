"""Schedules from seeds: always the same, always possible, and soon everything there is."""

import hashlib
import subprocess
import sys
from collections import Counter

from draftwire.codecs.messages import Acceptance
from draftwire.nodes.console.chaos.faults import Kind, Leg, Moment
from draftwire.nodes.console.chaos.places import check, nodes_of
from draftwire.nodes.console.chaos.swarm import MOST_FAULTS, schedule_of
from draftwire.nodes.console.chaos.writing import written

FIRST = [schedule_of(seed) for seed in range(200)]


def test_a_seed_is_one_schedule_in_every_process() -> None:
    """Written down, seeds 0 to 9 are the same bytes in a process with another hash seed."""
    code = (
        "from draftwire.nodes.console.chaos.swarm import schedule_of as s\n"
        "from draftwire.nodes.console.chaos.writing import written as w\n"
        "print(*(w(s(seed)) for seed in range(10)), sep='', end='')"
    )
    other = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    here = "".join(written(schedule) for schedule in FIRST[:10])
    assert hashlib.sha256(other.stdout).hexdigest() == hashlib.sha256(here.encode()).hexdigest()


def test_no_two_seeds_are_alike() -> None:
    """A seed more is a run more."""
    assert len({(one.scenario, one.faults) for one in FIRST}) == len(FIRST)


def test_every_schedule_is_possible() -> None:
    """Nodes, legs and moments are there, faults are in order, and few enough for a short run."""
    for schedule in (schedule_of(seed) for seed in range(1000)):
        check(schedule)
        assert list(schedule.faults) == sorted(schedule.faults, key=lambda fault: fault.at_s), schedule.seed
        assert len(schedule.faults) <= MOST_FAULTS, schedule.seed


def test_the_first_200_seeds_have_all_there_is() -> None:
    """Every kind of fault, moment, leg and node; each way of acceptance; with and without the rest."""
    faults = [fault for schedule in FIRST for fault in schedule.faults]
    assert {fault.kind for fault in faults} == set(Kind)
    assert {fault.moment for fault in faults} == set(Moment)
    assert {fault.leg for fault in faults} == {None, *Leg}
    crashed = {(fault.node.partition("-")[0], fault.moment) for fault in faults if fault.kind is Kind.CRASH}
    for node in ("device", "target", "channel", "controller"):
        assert (node, Moment.BEFORE_SEND) in crashed, node
    scenarios = [schedule.scenario for schedule in FIRST]
    ways = {(one.acceptance, one.temperature) for one in scenarios}
    assert {(Acceptance.REJECTION, 1.0), (Acceptance.COUPLED, 1.0), (Acceptance.REJECTION, 0.0)} <= ways
    for name in ("journal", "draft_is_target", "link", "kv_tokens", "k", "gamma"):
        assert {bool(getattr(one, name)) for one in scenarios} == {True, False}, name
    assert {one.devices for one in scenarios} == {1, 2, 3}
    assert {one.gamma for one in scenarios} == {None, *range(7)}


def test_seeds_differ_in_what_can_happen() -> None:
    """Some runs have a single kind of fault, some nearly all; some faults overlap, some runs have none."""
    many = [one for one in FIRST if len(one.faults) >= 6]
    kinds = Counter(len({fault.kind for fault in one.faults}) for one in many)
    assert min(kinds) <= 2, kinds
    assert max(kinds) >= 5, kinds
    assert any(not one.faults for one in FIRST)
    overlapping = [
        one
        for one in FIRST
        if any(b.at_s < a.over_s for a, b in zip(one.faults, one.faults[1:], strict=False))
    ]
    assert len(overlapping) > 20


def test_disks_and_links_fail_only_where_they_are() -> None:
    """No fault is drawn for what a scenario does not have."""
    for schedule in FIRST:
        for fault in schedule.faults:
            assert schedule.scenario.journal or fault.kind is not Kind.DISK, schedule.seed
            assert schedule.scenario.link or fault.kind is not Kind.COLLAPSE, schedule.seed
            assert not fault.node or fault.node in nodes_of(schedule.scenario, fault.kind), schedule.seed
