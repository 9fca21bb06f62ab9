"""Drafts as hints, under any schedule of loss, repetition, overtaking, delay and restarts, in scripted time.

At every moment tests/harness/paths.py holds what both ends say of drafted tokens against what was drawn and
what has come; here is what must come of it.
"""

from dataclasses import replace
from functools import partial

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import DrawFn
from tests.harness.killed import KilledPair
from tests.harness.pair import Context, SessionPair
from tests.harness.reference import target_text
from tests.harness.schedules import Draftsman, Schedule, check_rest, play, play_with
from tests.runtime.session.test_records import deaths
from tests.runtime.session.test_schedules import schedules

from draftwire.codecs.messages import Acceptance, Origin, Plan
from draftwire.nodes.speculation.noise import PhiloxNoise
from draftwire.runtime.session.hints import PathHints

QUIET = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)


@st.composite
def plans(draw: DrawFn) -> Plan:
    """Of any number of drafts, waited for or not."""
    gamma = draw(st.sampled_from([0, 1, 2, 4, 9]))
    return Plan(
        number=1,
        k=2,
        gamma=gamma,
        min_draft=draw(st.integers(0, gamma)),
        early_stop=draw(st.booleans()),
        uplink_bps=1000,
    )


@st.composite
def paths(draw: DrawFn) -> Schedule:
    """A schedule of a coupled request: its plans, its draft model, its uplink, its bound on waste."""
    return replace(
        draw(schedules()),
        acceptance=draw(st.sampled_from([Acceptance.COUPLED, Acceptance.AUTO])),
        plans=tuple(draw(st.lists(plans(), min_size=1, max_size=3))),
        max_waste=draw(st.sampled_from([None, None, 0.0, 0.5, 2.0])),
        uplink_s=draw(st.sampled_from([0.0, 0.03, 0.3])),
        device_s=draw(st.sampled_from([0.0, 0.02, 0.1, 0.4])),
        stops=draw(st.booleans()),
        draft=draw(st.sampled_from(["another", "target"])),
        tokens=draw(st.sampled_from([1, 5, 14])),
    )


def expected(schedule: Schedule, temperature: float) -> tuple[int, ...]:
    """The text of a seed, whatever was drafted for it."""
    return target_text(schedule.request(temperature), Context(schedule.world.target), PhiloxNoise())


@QUIET
@given(paths(), st.sampled_from([1.0, 1.0, 0.0]))
def test_the_text_is_the_targets_own_under_any_schedule(schedule: Schedule, temperature: float) -> None:
    """Whatever is lost, late, wrong or forgotten, and by any plan: the request ends, with the seed's text."""
    pair = play(schedule, temperature=temperature)
    check_rest(pair)
    assert pair.output == expected(schedule, temperature)


@QUIET
@given(paths(), deaths(), st.sampled_from([1.0, 0.0]))
def test_the_text_is_the_targets_own_whenever_the_device_dies(
    schedule: Schedule, make: partial[KilledPair], temperature: float
) -> None:
    """It goes on from its record, in paths of epochs that no life before has used."""
    pair = play_with(make, schedule, temperature=temperature)
    check_rest(pair)
    assert pair.output == expected(schedule, temperature)


CALM = Schedule(acceptance=Acceptance.COUPLED, draft="target", tokens=40, target_s=0.2, device_s=0.02)


def accepted(pair: SessionPair, *, from_token: int) -> int:
    """Tokens of the output that had been drafted."""
    return sum(taken.origin is Origin.ACCEPTED for taken in pair.taken[from_token:])


@settings(QUIET, max_examples=20)
@given(paths(), st.integers(3, 8), st.integers(0, 8), st.sampled_from([1.0, 0.0]))
def test_drafts_are_used_again_once_faults_have_ended(
    schedule: Schedule, gamma: int, min_draft: int, temperature: float
) -> None:
    """A draft as good as the target, whatever has happened to its first paths: most of the end is its own.

    So no lost Draft, no lost word of a gap and no lost "none comes" keeps the ends apart.
    """
    plan = Plan(number=1, k=2, gamma=gamma, min_draft=min(gamma, min_draft))
    faults = replace(
        CALM,
        up=schedule.up[:12],
        down=schedule.down[:12],
        restarts=schedule.restarts[:1],
        plans=(plan,),
        seed=schedule.seed,
        tokens=60,
    )
    pair = play(faults, temperature=temperature)
    assert pair.output == expected(faults, temperature)
    assert accepted(pair, from_token=40) >= 8, pair.taken


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(("gamma", "min_draft"), [(4, 4), (6, 0), (6, 2)])
@pytest.mark.parametrize("draft", ["target", "another"])
def test_both_ends_count_alike_where_nothing_is_lost(
    gamma: int, min_draft: int, temperature: float, draft: Draftsman
) -> None:
    """Drafted tokens held against the log, and those that were its own: the BS's count is the device's."""
    plan = Plan(number=1, k=2, gamma=gamma, min_draft=min_draft)
    schedule = replace(CALM, plans=(plan,), draft=draft)
    pair = play(schedule, temperature=temperature)
    target, ahead = pair.target, pair.device.ahead
    assert target is not None and ahead is not None and isinstance(target._hints, PathHints)
    assert ahead.seen > 10
    # It knows of those, too, that were on their way when the log ended.
    assert 0 <= ahead.seen - target._hints.seen <= gamma
    assert 0 <= ahead.hits - target._hints.hits <= gamma
