"""A device that dies between any two things it does, and goes on from what it has written down."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import DrawFn
from tests.harness.killed import KilledPair
from tests.harness.messages import ALONE, PLAN, a_block, a_request, commit, device_in, opened
from tests.harness.pair import HELLO
from tests.harness.schedules import Schedule, check_rest, greedy_text, play, play_with
from tests.harness.worlds import Text, world
from tests.runtime.session.test_schedules import schedules

from draftwire.codecs.messages import Acceptance, Finish, Open, Origin, Plan, Reason
from draftwire.runtime.session.device import DeviceSession
from draftwire.runtime.session.request import Block, DeviceRecord, DraftWork
from draftwire.runtime.session.states import Device

BLOCK = a_block(1, 1, (2, 3))


def test_the_record_names_what_the_next_messages_need() -> None:
    """The try before its Open leaves, epoch and block before its Draft; a settled block no more."""
    end = DeviceSession(a_request(), HELLO, now_s=0.0, device_try=4)
    records = [end.record]
    end.receive(opened(device_try=5), 0.1)
    end.drawn(BLOCK, 0.2)
    records.append(end.record)
    end.receive(commit((7, 4), tested_epoch=1), 0.3)
    records.append(end.record)
    assert records == [
        DeviceRecord(device_try=5, draft_epoch=epoch, outstanding=block, acceptance=Acceptance.REJECTION)
        for epoch, block in ((0, None), (1, BLOCK.pending), (1, None))
    ]


def test_at_temperature_0_no_block_is_on_record() -> None:
    """Nothing hangs on it; its epoch is, since none is used twice."""
    end = device_in(Device.WAITING, temperature=0.0)
    assert end.record == DeviceRecord(
        device_try=1, draft_epoch=1, outstanding=None, acceptance=Acceptance.REJECTION
    )


def test_the_record_names_the_acceptance_once_it_is_settled() -> None:
    """A request that leaves it open has none before Opened; its next life asks for the same one."""
    end = DeviceSession(a_request(acceptance=Acceptance.AUTO), HELLO, now_s=0.0)
    settled = [end.record.acceptance]
    end.receive(opened(acceptance=Acceptance.COUPLED), 0.1)
    record = end.record
    assert [*settled, record.acceptance] == [Acceptance.AUTO, Acceptance.COUPLED]
    again = DeviceSession(
        a_request(acceptance=Acceptance.AUTO),
        HELLO,
        now_s=0.2,
        device_try=record.device_try,
        draft_epoch=record.draft_epoch,
        outstanding=record.outstanding,
        acceptance=record.acceptance,
    )
    _, asks = again.to_send()
    assert isinstance(asks, Open) and asks.acceptance is Acceptance.COUPLED


def gone_on(*, output: Sequence[int] = (), block: Block = BLOCK) -> DeviceSession:
    """A device that goes on from its record of try 1, with a block out; its Open has been sent."""
    end = DeviceSession(
        a_request(),
        HELLO,
        now_s=0.0,
        output=output,
        origins=[Origin.ACCEPTED] * len(output),
        device_try=1,
        draft_epoch=block.draft_epoch,
        outstanding=block.pending,
    )
    end.to_send()
    return end


def test_a_device_goes_on_with_the_tokens_and_origins_it_has_on_record() -> None:
    """They are in its log and in its Open, and they are not handed out again."""
    end = gone_on(output=(2, 3), block=a_block(2, 3, (4,)))
    assert end.log.origins == [Origin.PROMPT, Origin.ACCEPTED, Origin.ACCEPTED]
    end.on_timer(1.0)
    _, again = end.to_send()
    assert isinstance(again, Open)
    assert (again.device_try, again.tokens, again.draft_epoch, again.outstanding) == (2, (7, 2, 3), 2, True)
    assert end.take() == []


def test_a_block_on_record_is_drawn_again_for_a_bs_that_knows_nothing_of_it() -> None:
    """An earlier life of the BS may have tested it: the same keys, length and plan, or the request ends."""
    end = gone_on()
    end.receive(opened(device_try=2), 0.1)
    assert end.work() == DraftWork(tokens=[7], draft_epoch=1, length=2, plan=PLAN)
    end.drawn(a_block(1, 1, (2, 4)), 0.2)
    assert end.refusal is not None and end.refusal[0] is Reason.DRAFT_STATE_LOST


@pytest.mark.parametrize(("plan", "state"), [(PLAN, Device.DRAFTING), (ALONE, Device.OPENING)])
def test_a_block_on_record_that_the_log_has_left_makes_room(plan: Plan, state: Device) -> None:
    """Its tokens were written, the younger record was not: the next block, or an Open that awaits none."""
    end = gone_on(output=(4,))
    end.receive(opened((7, 4), device_try=2, plan=plan), 0.1)
    end.drawn(BLOCK, 0.2)
    assert (end.state, end.record.outstanding) == (state, None)
    if plan.gamma:
        assert end.work() == DraftWork(tokens=[7, 4], draft_epoch=2, length=2, plan=PLAN)
    else:
        _, again = end.to_send()
        assert isinstance(again, Open)
        assert (again.device_try, again.draft_epoch, again.outstanding) == (3, 1, False)


# ----------------------------------------------------------------------------------- killed at any moment

QUIET = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)


@st.composite
def deaths(draw: DrawFn) -> partial[KilledPair]:
    """A pair whose device dies a few times among its first moments, with either way to write."""
    many = draw(st.sampled_from([1, 2, 8]))
    kills = draw(st.lists(st.integers(1, 120), min_size=many, max_size=many))
    return partial(KilledPair, kills=frozenset(kills), lazy=draw(st.booleans()))


def undisturbed(schedule: Schedule) -> Text:
    """What a schedule's request comes to at temperature 1 if nothing ever goes wrong."""
    calm = replace(schedule, up=(), down=(), restarts=(), target_s=0.0)
    return play(calm, temperature=1.0).output


@QUIET
@given(schedules(), deaths())
def test_greedy_text_is_the_undisturbed_one_whenever_the_device_dies(
    schedule: Schedule, make: partial[KilledPair]
) -> None:
    """On any link, with restarts of the BS: the text is the target's own; epochs and tries are used once."""
    pair = play_with(make, schedule)
    check_rest(pair)
    assert pair.output == greedy_text(world(3, schedule.seed), schedule.tokens)


@QUIET
@given(schedules(), deaths(), st.integers(1, 3), st.integers(1, 4))
def test_sampled_text_is_the_undisturbed_one_whenever_the_device_dies(
    schedule: Schedule, make: partial[KilledPair], k: int, gamma: int
) -> None:
    """One plan and one seed give one text, whoever dies: a block is drawn again as it was, or settled."""
    schedule = replace(schedule, plans=((k, gamma),), device_s=0.0)
    pair = play_with(make, schedule, temperature=1.0)
    check_rest(pair)
    assert pair.output == undisturbed(schedule)


@QUIET
@given(schedules(), deaths())
def test_sampled_text_ends_whole_under_any_plan_whenever_the_device_dies(
    schedule: Schedule, make: partial[KilledPair]
) -> None:
    """Plans that come and go, the target alone among them: nobody waits for a block that is not to come."""
    pair = play_with(make, schedule, temperature=1.0)
    check_rest(pair)
    assert pair.device.finish is Finish.LENGTH


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_device_may_die_at_every_single_moment(temperature: float, lazy: bool) -> None:
    """Each moment of an answer in turn: the text does not change, nor which blocks it takes."""
    schedule = Schedule(tokens=6, plans=((2, 3),))
    make = partial(KilledPair, lazy=lazy)
    whole = play_with(make, schedule, temperature=temperature)
    assert whole.moments > 30
    for moment in range(1, whole.moments + 1):
        pair = play_with(partial(make, kills={moment}), schedule, temperature=temperature)
        assert (pair.deaths, pair.output) == (1, whole.output), moment
        if temperature:
            assert set(pair.drafts) == set(whole.drafts), moment


def test_a_settled_block_on_record_keeps_nobody_waiting() -> None:
    """Its tokens are on disk and the younger record is not; the BS has restarted, and decodes alone."""
    schedule = Schedule(tokens=6)
    moments = play_with(KilledPair, schedule, temperature=1.0).moments
    behind = 0
    for moment in range(1, moments + 1):
        pair = play_with(partial(_BothDie, kills={moment}), schedule, temperature=1.0)
        check_rest(pair)
        assert len(pair.output) == schedule.tokens, moment
        behind += pair.was_behind
    assert behind


class _BothDie(KilledPair):
    """The BS dies with the device, and comes back target-only."""

    was_behind = False

    def restart_device(self) -> None:
        block = self.record.outstanding
        held = [*self.request.prompt, *self.output]
        self.was_behind |= block is not None and len(held) > block.start
        self.restart_target()
        self.plan = replace(self.plan, gamma=0, min_draft=0)
        super().restart_device()
