"""Mistakes planted in the protocol are found: each has a schedule, made small, under which a promise breaks.

The schedules stand in mutants.json, with the seed that they came from (null: written by hand), as a seed is
another schedule once swarm.py draws otherwise. How many of the first seeds find each mutant takes long:

    DRAFTWIRE_MUTANT_SEEDS=200 pytest -m slow -k detection_rate tests/nodes/console/chaos/test_mutants.py
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.harness.mutants import Mutant, planted
from tests.harness.mutants_protocol import ALL

from draftwire.nodes.console.chaos.checks import PROMISES
from draftwire.nodes.console.chaos.faults import Schedule
from draftwire.nodes.console.chaos.play import play
from draftwire.nodes.console.chaos.swarm import schedule_of
from draftwire.nodes.console.chaos.writing import read

FOUND = Path(__file__).with_name("mutants.json")
names = [mutant.name for mutant in ALL]


@cache
def found() -> Mapping[str, Mapping[str, Any]]:
    """By mutant: the promise that breaks, the schedule, and the seed that it was made from."""
    return {one["mutant"]: one for one in orjson.loads(FOUND.read_bytes())}


def schedule_for(mutant: Mutant) -> Schedule:
    """That finds it."""
    return read(orjson.dumps(found()[mutant.name]["schedule"]))


@pytest.mark.parametrize("mutant", ALL, ids=names)
def test_a_mutant_is_found(mutant: Mutant) -> None:
    """The promise breaks with the mistake, and without it the same schedule breaks none."""
    schedule, promise = schedule_for(mutant), found()[mutant.name]["promise"]
    assert not play(schedule).broken
    with planted(mutant):
        assert promise in {one.promise for one in play(schedule).broken}


def test_every_mutant_has_its_schedule() -> None:
    """No mutant without a schedule, no schedule without a mutant, and at least 16 of them."""
    assert sorted(found()) == sorted(names) and len(set(names)) == len(names) >= 16
    assert {one["promise"] for one in found().values()} <= set(PROMISES)


def test_a_mutant_is_gone_behind_its_with() -> None:
    """What was planted is taken out again, where it is imported too."""
    for mutant in ALL:
        places = [(owner, edit.name) for edit in mutant.edits for owner in (edit.owner, *edit.also)]
        before = [vars(owner)[name] for owner, name in places]
        with planted(mutant):
            now = [vars(owner)[name] for owner, name in places]
            assert not [name for name, was in zip(now, before, strict=True) if name is was]
        assert [vars(owner)[name] for owner, name in places] == before


@pytest.mark.parametrize(("stands", "times"), [("nothing like that", 0), ("self", 2)])
def test_a_change_that_fits_nowhere_or_twice_is_refused(stands: str, times: int) -> None:
    """And nothing of the mutant stays, not even what was planted before it."""
    first = ALL[0].edits[0]
    wrong = replace(first, changes=((stands, "pass"),))
    held = vars(first.owner)[first.name]
    with pytest.raises(AssertionError, match=rf"'{stands}' is there [{times}-9]"), planted(
        replace(ALL[0], edits=(first, wrong))
    ):
        pass
    assert vars(first.owner)[first.name] is held


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_detection_rate(capsys: pytest.CaptureFixture[str]) -> None:
    """Most mutants are found by some of the first seeds alone, and the unmutated code by none."""
    seeds = range(int(os.environ.get("DRAFTWIRE_MUTANT_SEEDS", "10")))
    assert not [seed for seed in seeds if play(schedule_of(seed)).broken]
    rates = dict[str, int]()
    for mutant in ALL:
        with planted(mutant):
            rates[mutant.name] = sum(bool(play(schedule_of(seed)).broken) for seed in seeds)
        with capsys.disabled():
            print(f"{mutant.name}: {rates[mutant.name]} of {len(seeds)}", flush=True)
    assert sum(rate > 0 for rate in rates.values()) >= len(ALL) // 3
