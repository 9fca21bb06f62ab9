"""A device's end where drafts are hints, message by message: what it draws, and what it says of it."""

from collections.abc import Sequence
from dataclasses import replace

from tests.harness.messages import PLAN, a_request, commit, opened
from tests.harness.pair import HELLO

from draftwire.codecs.messages import Acceptance, Draft, Plan
from draftwire.runtime.session.device import DeviceSession
from draftwire.runtime.session.request import Block

PIPELINED = replace(PLAN, gamma=4, min_draft=2, early_stop=True)
COUPLED = Acceptance.COUPLED


def a_device(plan: Plan = PIPELINED, *, max_waste: float | None = None) -> DeviceSession:
    """Open, with a coupled request."""
    wanted = replace(a_request(acceptance=COUPLED), max_waste=max_waste)
    end = DeviceSession(wanted, HELLO, now_s=0.0)
    end.receive(opened(plan=plan, acceptance=COUPLED), 0.0)
    end.to_send()
    return end


def draw(end: DeviceSession, *ids: int, at_s: float = 0.1, stops: bool = False) -> list[Draft]:
    """One token after the other, as asked for; what is said of them."""
    for i, x in enumerate(ids):
        work = end.work()
        assert work is not None and work.length == 1
        block = Block(draft_epoch=work.draft_epoch, start=len(work.tokens), plan=work.plan, ids=(x,))
        end.drawn(block, at_s, stops=stops and i == len(ids) - 1)
    return said(end)


def said(end: DeviceSession) -> list[Draft]:
    """The Drafts that leave now."""
    return [message for message in end.to_send() if isinstance(message, Draft)]


def told(drafts: Sequence[Draft]) -> list[tuple[int, int, tuple[int, ...], bool]]:
    """(epoch, start, ids, last) of each."""
    return [(draft.draft_epoch, draft.start, draft.ids, draft.last) for draft in drafts]


def test_ids_leave_once_they_are_worth_a_pass_and_the_uplink_is_free() -> None:
    """None before min_draft of them; then what a busy uplink has held back goes in one message."""
    end = a_device()
    assert draw(end, 2) == []
    assert told(draw(end, 3)) == [(1, 1, (2, 3), False)]
    assert end.ahead is not None
    end.ahead.uplink_free_s = 9.0
    assert draw(end, 4) == []
    assert told(draw(end, 5)) == [(1, 3, (4, 5), True)]
    assert end.work() is None


def test_a_right_path_goes_on_and_a_wrong_one_begins_anew() -> None:
    """Behind the log, in a new epoch; what had been drawn meanwhile is nobody's."""
    end = a_device()
    draw(end, 2, 3, 4, 5)
    end.receive(commit((7, 2, 3), plan=PIPELINED), 0.2)
    work = end.work()
    assert work is not None and (work.tokens, work.draft_epoch) == ([7, 2, 3, 4, 5], 1)
    assert told(draw(end, 6)) == [(1, 5, (6,), False)]
    late = end.work()
    assert late is not None
    end.receive(commit((7, 2, 3, 1), plan=PIPELINED), 0.3)
    end.drawn(Block(draft_epoch=1, start=len(late.tokens), plan=PIPELINED, ids=(2,)), 0.4)
    work = end.work()
    assert work is not None and (work.tokens, work.draft_epoch) == ([7, 2, 3, 1], 2)
    assert end.ahead is not None and (end.ahead.seen, end.ahead.hits, end.ahead.wasted) == (3, 2, 6)


def test_it_stops_until_the_log_grows_and_not_before() -> None:
    """A Commit that brings no news but that ids are missing has all said again, and nothing drawn."""
    end = a_device()
    assert told(draw(end, 2, 3, stops=True)) == [(1, 1, (2, 3), True)]
    end.receive(commit((7,), plan=PIPELINED, missing=True), 0.2)
    assert (told(said(end)), end.work()) == ([(1, 1, (2, 3), True)], None)
    end.receive(commit((7, 2), plan=PIPELINED), 0.3)
    assert end.work() is not None


def test_a_device_that_may_waste_nothing_says_that_none_come() -> None:
    """With no ids: then the BS need not wait for any. It draws once the output allows for a whole path."""
    end = DeviceSession(
        replace(a_request(acceptance=COUPLED), max_waste=0.5), HELLO, now_s=0.0
    )
    end.to_send()
    end.receive(opened(plan=PIPELINED, acceptance=COUPLED), 0.0)
    assert (told(said(end)), end.work()) == ([(1, 1, (), True)], None)
    log = (7, 2, 3, 4, 5, 6, 2, 3, 4)
    for known in range(2, 9):
        end.receive(commit(log[:known], plan=PIPELINED), 0.1)
        assert ([draft.ids for draft in said(end)], end.work()) == ([()] if known == 5 else [], None)
    end.receive(commit(log, plan=PIPELINED), 0.2)
    assert end.work() is not None
    assert told(draw(end, 5, at_s=0.3)) == [(1, 9, (5,), False)]


def test_a_device_that_has_nothing_to_draft_says_so_again_for_every_4_tokens() -> None:
    """In place of a Ping: it acknowledges the log, and tells a BS that has missed it that none come."""
    end = a_device(max_waste=0.0)
    log = [7]
    for number in range(1, 13):
        log.append(number % 2 + 2)
        end.receive(commit(log, max(0, len(log) - 6), plan=PIPELINED), number / 10)
        messages = end.to_send()
        if number % 4:
            assert messages == []
            continue
        (draft,) = messages
        assert isinstance(draft, Draft)
        assert (draft.start, draft.known, draft.ids, draft.last) == (len(log), len(log), (), True)
        assert end.work() is None


def test_a_path_up_to_the_end_of_the_output_is_said_again_as_well() -> None:
    """Whole: nothing is to be drawn, so only that tells a BS what the device knows."""
    end = a_device(replace(PIPELINED, gamma=12, min_draft=0, early_stop=False))
    path = (2, 3, 4, 5, 6, 2, 3, 4, 5, 6, 2)  # the last of 12 is the BS's own
    draw(end, *path)
    assert end.work() is None
    for known in range(1, 9):
        end.receive(commit((7, *path[:known]), plan=PIPELINED), 0.2)
        drafts = said(end)
        assert told(drafts) == ([(1, 1 + known, path[known:], True)] if known % 4 == 0 else [])


def test_missing_ids_are_said_again_once_until_the_bs_has_heard_of_it() -> None:
    """Commits that were under way meanwhile ask for the same ids; one that knows of them and still lacks some
    is answered again."""
    end = a_device()
    draw(end, 2, 3, 4, 5)
    end.receive(commit((7, 2), plan=PIPELINED, missing=True), 0.2)
    assert told(said(end)) == [(1, 2, (3, 4, 5), False)]
    end.receive(commit((7, 2), plan=PIPELINED, missing=True), 0.3)
    assert said(end) == []
    end.receive(commit((7, 2), 2, plan=PIPELINED, missing=True), 0.4)
    assert told(said(end)) == [(1, 2, (3, 4, 5), False)]
