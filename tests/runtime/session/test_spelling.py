"""What a device spells rows with, when the BS says it, changes its mind by being another, or is not heard."""

from collections.abc import Sequence
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from tests.harness.messages import LIFE, a_request, opened
from tests.harness.pair import Direction
from tests.harness.schedules import CALM_S, QUICK, Schedule, check_rest, play_with
from tests.harness.spelling import FIRST, SECOND, SpellingPair
from tests.harness.worlds import request, world
from tests.runtime.session.test_schedules import QUIET, schedules

from draftwire.codecs.messages import Finish, Message, Welcome
from draftwire.nodes.speculation.noise import PhiloxNoise
from draftwire.runtime.session.device import DeviceSession

SETS: list[tuple[bytes, ...]] = [(), (FIRST,), (SECOND,), (SECOND, FIRST)]


def _device() -> DeviceSession:
    return DeviceSession(a_request(), SpellingPair.hello, now_s=0.0)


def test_rows_are_plain_until_the_bs_has_opened_and_said_otherwise() -> None:
    """Welcome comes before Opened or, overtaken, behind it; it takes both."""
    before, behind = _device(), _device()
    welcome = Welcome(boot=LIFE.boot, tables=SECOND)
    before.receive(welcome, 0.1)
    assert before.tables is None
    before.receive(opened(), 0.2)
    assert before.tables == SECOND
    behind.receive(opened(), 0.1)
    assert behind.tables is None
    behind.receive(welcome, 0.2)
    assert behind.tables == SECOND


@pytest.mark.parametrize("said", [None, b"unheard "])
def test_rows_are_plain_where_nothing_is_agreed(said: bytes | None) -> None:
    """A BS without a common set says so; one that names a set which the device lacks is not followed."""
    device = _device()
    device.receive(Welcome(boot=LIFE.boot, tables=said), 0.1)
    device.receive(opened(), 0.2)
    assert device.tables is None


def test_a_welcome_of_another_life_does_not_count() -> None:
    """Neither the one before Opened, whose own was lost, nor a late copy of it behind the right one."""
    old, right = Welcome(boot=LIFE.boot + 1, tables=FIRST), Welcome(boot=LIFE.boot, tables=SECOND)
    device = _device()
    device.receive(old, 0.1)
    device.receive(opened(), 0.2)
    assert device.tables is None
    device.receive(right, 0.3)
    device.receive(old, 0.4)
    assert device.tables == SECOND


@settings(QUIET, max_examples=200)
@given(schedules(), st.lists(st.sampled_from(SETS), min_size=4, max_size=4))
def test_a_request_ends_whatever_sets_each_life_of_the_bs_has(
    schedule: Schedule, sets: list[tuple[bytes, ...]]
) -> None:
    """Under any schedule: no restart and no loss leaves a BS with rows that it can never read."""

    def make(*args: object, **options: object) -> SpellingPair:
        return SpellingPair(*args, sets_of=lambda boot: sets[(boot - 1) % len(sets)], **options)

    pair = play_with(make, schedule, temperature=1.0)
    check_rest(pair)
    assert pair.device.finish is Finish.LENGTH


def _run(pair_sets: Sequence[tuple[bytes, ...]], *, lost_boots: Sequence[int] = ()) -> SpellingPair:
    """Nine tokens; the BS is started anew after 1 s, with the next of the sets; lost: Welcomes of boots."""

    def link(direction: Direction, message: Message, index: int) -> Sequence[float]:
        return () if isinstance(message, Welcome) and message.boot in lost_boots else (CALM_S,)

    pair = SpellingPair(
        world(3, 4),
        request(9, temperature=1.0, seed=4),
        PhiloxNoise(),
        plan=(2, 2),
        link=link,
        timing=replace(QUICK, reopen_after=1),
        device_s=0.2,
        target_s=0.2,
        sets_of=lambda boot: pair_sets[boot - 1],
    )
    pair.at(1.0, pair.restart_target)
    pair.run()
    check_rest(pair)
    return pair


def test_text_does_not_depend_on_the_spelling() -> None:
    """The same draws with the first set, with another in the second life, and plain."""
    outputs = [_run(sets).output for sets in (((FIRST,), (FIRST,)), ((FIRST,), (SECOND,)), ((), ()))]
    assert len(set(outputs)) == 1


def test_a_bs_that_comes_back_without_the_set_gets_plain_rows() -> None:
    """Also when its Welcome is lost and only its Opened comes."""
    for lost in ((), (2,)):
        pair = _run([(FIRST,), ()], lost_boots=lost)
        used = [spelling for _, spelling in pair.spelt]
        assert used[0] == FIRST and used[-1] is None
        assert pair.refused == 0


def test_a_bs_that_comes_back_with_a_set_gets_rows_of_it() -> None:
    """What the first life could not read the second can."""
    used = [spelling for _, spelling in _run([(), (SECOND, FIRST)]).spelt]
    assert used[0] is None and used[-1] == FIRST
