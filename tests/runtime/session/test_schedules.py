"""Both ends under any schedule of loss, repetition, overtaking, delay and restarts, in scripted time."""

from dataclasses import replace

import hypothesis.strategies as st
from hypothesis import HealthCheck, example, given, settings
from hypothesis.strategies import DrawFn
from tests.harness.schedules import CALM_S, QUICK, Schedule, Who, check_rest, greedy_text, play
from tests.harness.worlds import world

from draftwire.codecs.messages import Finish

FATES = st.sampled_from(
    [
        (CALM_S,),
        (),
        (CALM_S, CALM_S),
        (CALM_S, 0.6),
        (0.3,),
        (0.9, 0.1),
        (1.7,),
        (0.2, 3.1),
        (6.0, CALM_S),
    ]
)
"Delays of the copies of one message: calm, lost, twice, twice with a late copy, late, overtaken."


WHO: list[Who] = ["device", "target", "both"]


@st.composite
def schedules(draw: DrawFn) -> Schedule:
    """Disturbances of every kind in the first seconds, among short waits and plans that change."""
    # Sizes are drawn apart: lists of a drawn length are short, and a short disturbance finds little.
    disturbed = draw(st.sampled_from([0, 8, 30]))
    fates = st.lists(FATES, min_size=disturbed, max_size=disturbed).map(tuple)
    restarts = draw(st.sampled_from([0, 1, 3]))
    whats = st.tuples(
        st.integers(0, 40).map(lambda tenths: tenths / 10),
        st.sampled_from(WHO),
    )
    timing = replace(
        QUICK,
        patience_s=draw(st.sampled_from([0.2, 0.7, 2.0])),
        reopen_after=draw(st.integers(1, 3)),
        parked_s=draw(st.sampled_from([1.5, 5.0])),
    )
    plan = st.tuples(st.integers(1, 3), st.integers(0, 4))
    return Schedule(
        up=draw(fates),
        down=draw(fates),
        restarts=tuple(draw(st.lists(whats, min_size=restarts, max_size=restarts))),
        plans=tuple(draw(st.lists(plan, min_size=1, max_size=3))),
        timing=timing,
        device_s=draw(st.sampled_from([0.0, 0.1, 0.8])),
        target_s=draw(st.sampled_from([0.0, 0.1, 0.8])),
        ahead=draw(st.sampled_from([1, 2, 5, 64])),
        tokens=draw(st.sampled_from([1, 4, 9])),
        seed=draw(st.integers(1, 5)),
    )


QUIET = settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)


@QUIET
@given(schedules())
def test_greedy_text_is_the_undisturbed_one_under_any_schedule(schedule: Schedule) -> None:
    """Once disturbances stop the request ends, with the text that the target writes by itself."""
    pair = play(schedule)
    check_rest(pair)
    assert pair.output == greedy_text(world(3, schedule.seed), schedule.tokens)


@QUIET
@given(schedules(), st.integers(0, 60), st.sampled_from([0.0, 1.0]))
def test_a_cancelled_request_ends_under_any_schedule(
    schedule: Schedule, tenths: int, temperature: float
) -> None:
    """Cancel may meet any state of either end: the request still ends, and what came before it stands."""
    pair = play(replace(schedule, cancel_s=tenths / 10), temperature=temperature)
    check_rest(pair)
    if temperature == 0:
        text = greedy_text(world(3, schedule.seed), schedule.tokens)
        assert pair.output == text[: len(pair.output)]


OPENED_BY_A_NEWER_PLAN = Schedule(
    restarts=((0.0, "device"), (0.9, "device"), (2.3, "device")),
    plans=((1, 0), (1, 2), (1, 0)),
    timing=replace(QUICK, patience_s=0.2, reopen_after=1, parked_s=1.5),
    ahead=1,
    tokens=9,
)
"The plan that Opened tells is newer than what its device knows of the log."


@QUIET
@given(schedules())
@example(OPENED_BY_A_NEWER_PLAN)
def test_sampled_text_ends_whole_under_any_schedule(schedule: Schedule) -> None:
    """At temperature 1 no schedule raises, loses or repeats a position, or keeps the request from its end."""
    pair = play(schedule, temperature=1.0)
    check_rest(pair)
    assert pair.device.finish is Finish.LENGTH
