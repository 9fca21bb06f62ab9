"""A BS without room: when the device asks again, and for how long."""

import pytest
from tests.harness.messages import a_request, device_in, opened, refused
from tests.harness.pair import HELLO

from draftwire.codecs.messages import Hello, Open, Reason, Refused, Welcome
from draftwire.runtime.session.device import DeviceSession
from draftwire.runtime.session.request import Timing
from draftwire.runtime.session.silence import LAST_S, LEAST_RETRY_S, RETRY_SPREAD
from draftwire.runtime.session.states import Device, Ignored

TIMING = Timing(reach_s=15.0, absent_s=120.0)


def busy(retry_ms: int = 2000, *, device_try: int = 1) -> Refused:
    """What a BS without room says."""
    return Refused(reason=Reason.BUSY, detail="all taken", device_try=device_try, retry_ms=retry_ms)


def asking(*, life: int = 0, output: tuple[int, ...] = (), timing: Timing = TIMING) -> DeviceSession:
    """A device's end whose first Open has left at 0 s."""
    end = DeviceSession(a_request(), HELLO, now_s=0.0, timing=timing, life=life, output=output)
    end.to_send()
    return end


def opens_until_the_end(end: DeviceSession, retry_ms: int) -> list[float]:
    """When the device asks a BS that always answers so, at once."""
    now_s, times = 0.0, list[float]()
    end.receive(busy(retry_ms), now_s)
    while (deadline_s := end.next_deadline_s()) is not None:
        assert deadline_s > now_s or not times
        now_s = deadline_s
        end.on_timer(now_s)
        messages = end.to_send()
        if end.state is Device.OPENING:
            assert [type(message) for message in messages] == [Hello, Open]
            times.append(now_s)
            end.receive(Welcome(boot=7), now_s)
            end.receive(busy(retry_ms), now_s)
    times.append(now_s)
    return times


def test_it_asks_again_after_the_time_it_is_told() -> None:
    """The same try, not before that time, and up to half of it later; then it is served as if nothing had
    been."""
    end = asking()
    end.receive(busy(2000), 0.1)
    assert end.state.name == "OPENING" and end.busy is not None and end.busy.detail == "all taken"
    deadline_s = end.next_deadline_s()
    assert deadline_s is not None and 2.1 <= deadline_s <= 0.1 + 2 * (1 + RETRY_SPREAD)
    assert end.busy.again_s == pytest.approx(deadline_s - 0.1)
    end.on_timer(deadline_s - 0.01)
    assert end.to_send() == []
    end.on_timer(deadline_s)
    assert [type(one) for one in end.to_send()] == [Hello, Open] and end.device_try == 1
    end.receive(opened(), deadline_s)
    assert end.state.name == "DRAFTING" and end.busy is None


def test_those_refused_together_come_back_apart() -> None:
    """Sixteen devices with one request and one seed ask at times of their own, the same ones every time."""

    def deadlines() -> list[float | None]:
        ends = [asking(life=life) for life in range(16)]
        for end in ends:
            end.receive(busy(4000), 0.0)
        return [end.next_deadline_s() for end in ends]

    times = sorted(one for one in deadlines() if one is not None)
    assert len(set(times)) == 16 and times[-1] - times[0] > 1
    assert deadlines() == deadlines()


@pytest.mark.parametrize("retry_ms", [1, 700, 3000, 60_000, 2**32 - 1])
def test_a_new_request_waits_for_reach_s(retry_ms: int) -> None:
    """Whatever the BS says, it is asked no more often than twice a second, a last time shortly before the
    end, and the request ends by its reason."""
    end = asking()
    *times, end_s = opens_until_the_end(end, retry_ms)
    assert end_s == pytest.approx(TIMING.reach_s)
    assert end.refusal == (Reason.BUSY, "all taken")
    assert len(times) <= TIMING.reach_s / LEAST_RETRY_S
    assert all(later - earlier >= LEAST_RETRY_S for earlier, later in zip([0.0, *times], times, strict=False))
    assert end_s - times[-1] <= 2 * LAST_S + LEAST_RETRY_S


def test_one_that_has_begun_waits_for_absent_s() -> None:
    """A request that goes on, of a journal or after an eviction, must not be lost over a full BS."""
    *_, end_s = opens_until_the_end(asking(output=(2, 3)), 5000)
    assert end_s == pytest.approx(TIMING.absent_s)
    end = device_in(Device.WAITING, timing=TIMING)
    end.receive(refused(Reason.UNKNOWN_REQUEST), 1.0)
    assert end.state is Device.OPENING
    end.to_send()
    end.receive(busy(5000, device_try=2), 1.0)
    end.on_timer(20.0)
    assert end.state is Device.OPENING and end.busy is not None


def test_a_bs_that_dies_while_it_is_busy_is_absent() -> None:
    """After its word of no room only silence comes: the end says so, and comes no later."""
    end = asking()
    end.receive(busy(1000), 0.0)
    now_s = 0.0
    while (deadline_s := end.next_deadline_s()) is not None:
        now_s = deadline_s
        end.on_timer(now_s)
    assert now_s == pytest.approx(TIMING.reach_s)
    assert end.refusal is not None and end.refusal[0] is Reason.ABSENT


def test_each_word_of_no_room_begins_waits_anew() -> None:
    """After many of them an Open that is lost is repeated as soon as the first one would have been."""
    end = asking(output=(2, 3))
    for _ in range(6):
        now_s = end.next_deadline_s()
        assert now_s is not None
        end.on_timer(now_s)
        end.receive(busy(1000), now_s)
    now_s = end.next_deadline_s()
    assert now_s is not None
    end.on_timer(now_s)
    assert end.next_deadline_s() == pytest.approx(now_s + 2 * TIMING.resend_s)


def test_late_words_of_no_room_change_nothing() -> None:
    """A copy that comes when the request is served, or of an older try, is ignored."""
    end = device_in(Device.WAITING, timing=TIMING)
    before = end.next_deadline_s()
    end.receive(busy(60_000), 0.1)
    assert (end.state, end.busy, end.next_deadline_s()) == (Device.WAITING, None, before)
    assert end.ignored[Ignored.UNWANTED] == 1
    end = asking()
    end.receive(busy(60_000, device_try=9), 0.1)
    assert end.busy is None


def test_busy_without_a_time_ends_the_request() -> None:
    """A BS that is stopping says when to come back to nobody."""
    end = asking()
    end.receive(busy(0), 0.1)
    assert end.refusal == (Reason.BUSY, "all taken")
