"""What a BS holds of a path, Draft by Draft: hostile ones, and those that come at a bad moment."""

import hypothesis.strategies as st
import pytest
from hypothesis import given
from tests.harness.messages import LIFE, PLAN, PROMPT, VOCAB, a_request, a_target, an_open, target_in
from tests.harness.pair import as_plan

from draftwire.codecs.hashes import ids_hash, log_hash
from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import Commit, Draft, Origin, Plan
from draftwire.runtime.session.hints import PathHints
from draftwire.runtime.session.log import TokenLog
from draftwire.runtime.session.states import Ignored, Target
from draftwire.runtime.session.target import TargetSession


def a_path(
    epoch: int, before: tuple[int, ...], ids: tuple[int, ...], *, last: bool = False, start: int | None = None
) -> Draft:
    """Ids drawn behind these tokens; `start`: as it claims."""
    return Draft(
        incarnation=LIFE,
        draft_epoch=epoch,
        known=1,
        start=len(before) if start is None else start,
        path_hash=log_hash(before),
        plan=PLAN,
        ids=ids,
        weights=(),
        rows_hash=ids_hash(ids),
        last=last or not ids,
    )


TOKENS = st.integers(0, 1)
DRAFTS = st.builds(
    a_path,
    st.integers(0, 3),
    st.lists(TOKENS, max_size=6).map(lambda ids: (*PROMPT, *ids)),
    st.lists(TOKENS, max_size=MAX_GAMMA).map(tuple),
    last=st.booleans(),
    start=st.none() | st.integers(0, 50),
)


@given(st.lists(DRAFTS | TOKENS | st.just("restart"), max_size=40))
def test_no_device_fills_the_memory_or_breaks_the_counts(events: list[Draft | int | str]) -> None:
    """Any Drafts among tokens of the log and re-Opens: MAX_GAMMA ids at most, hits among what was seen."""
    log, path = TokenLog(PROMPT), PathHints(vocab_size=VOCAB, draft_epoch=0)
    drafted = 0
    for event in events:
        seen = path.seen
        if isinstance(event, Draft):
            drafted += len(event.ids)
            path.offer(event, log)
        elif isinstance(event, int):
            log.append([event], [Origin.ALONE])
            path.follow(log, tested_epoch=0)
        else:
            path.restart(2)
        assert len(path.ids) <= MAX_GAMMA
        assert 0 <= path.hits <= path.seen <= drafted
        assert path.seen >= seen
        assert not path.ids or max(path.ids) < VOCAB


def test_ids_of_a_lost_draft_are_asked_for_once() -> None:
    """A gap in a path is answered by a Commit that says so; one that fills it ends that."""
    end = target_in(Target.WAITING, temperature=0.0, plan=as_plan((2, 4)))
    end.receive(a_path(1, (7,), (2,)), 0.1)
    for ids in ((4,), (5,)):
        before = (7, 2, 3) if ids == (4,) else (7, 2, 3, 4)
        end.receive(a_path(1, before, ids), 0.2)
    commits = [message for message in end.to_send() if isinstance(message, Commit)]
    assert [(commit.missing, commit.ids) for commit in commits] == [(True, ())]
    assert end.ignored == {Ignored.GAP: 2}
    end.receive(a_path(1, (7,), (2, 3, 4, 5), last=True), 0.3)
    step = end.step(0.3)
    assert step is not None and step.ids == (2, 3, 4, 5)
    end.tested(step, 1, 6, 0.4)
    (commit,) = end.to_send()
    assert isinstance(commit, Commit) and not commit.missing


def test_a_path_that_comes_dead_is_not_taken_for_the_last_word() -> None:
    """Its device draws on as soon as it has heard of the log, so min_draft ids are worth the wait still."""
    end = target_in(Target.WAITING, temperature=0.0)
    step = end.step(5.0)
    assert step is not None
    end.tested(step, 0, 6, 5.0)
    end.receive(a_path(1, (7,), (2, 3), last=True), 5.1)
    assert (end.step(5.2), end.judged) == (None, (1, 0))
    end.receive(a_path(2, (7, 6), (4, 5), last=True), 5.3)
    step = end.step(5.3)
    assert step is not None and (step.ids, step.draft_epoch) == ((4, 5), 2)


def test_ids_that_the_log_has_overtaken_are_counted() -> None:
    """A path goes on behind the target's own token: a hit if it has drafted that one, else it ends."""
    for token, counts, next_ids in ((3, (2, 2), (4,)), (2, (2, 1), ())):
        end = target_in(Target.WAITING, temperature=0.0, plan=Plan(number=1, k=2, gamma=8, min_draft=0))
        end.receive(a_path(1, (7,), (2,)), 0.1)
        step = end.step(0.1)
        assert step is not None and step.ids == (2,)
        end.tested(step, 1, 3, 0.2)
        end.receive(a_path(1, (7, 2), (token,)), 0.3)
        assert end.judged == counts
        end.receive(a_path(1, (7, 2, token), (4,)), 0.3)
        step = end.step(0.3)
        assert step is not None and step.ids == next_ids


@pytest.mark.parametrize("known", [1, 2])
def test_what_a_path_says_at_the_end_of_the_log_is_counted(known: int) -> None:
    """The last pass accepts up to the log's end: its report has these drafts too."""
    end = target_in(Target.WAITING, temperature=0.0)
    end.receive(a_path(1, (7,), (2, 1), last=True), 0.1)
    step = end.step(0.1)
    assert step is not None
    end.tested(step, 2, 5, 0.2)
    assert (end.state, end.judged, end.log.tokens) == (Target.FINISHED, (2, 2), [7, 2, 1])
    end.receive(an_open((7, 2, 1)[:known], device_try=2, draft_epoch=1), 0.3)
    assert end.judged == (2, 2)


def rights(end: TargetSession, epoch: int, *, to: int = 9) -> list[int]:
    """Positions up to which the path of that epoch is right."""
    return [position for position in range(to) if position and end.is_right(epoch, position)]


def test_a_path_is_right_up_to_its_first_wrong_id() -> None:
    """That one was drawn on the log too, and what comes behind it was not; nor does the log tell of more."""
    end = target_in(Target.WAITING, temperature=0.0)
    end.receive(a_path(1, (7,), (2, 3, 4, 5), last=True), 0.1)
    assert rights(end, 1) == []
    step = end.step(0.1)
    assert step is not None
    end.tested(step, 1, 6, 0.2)
    assert end.log.tokens == [7, 2, 6]
    assert rights(end, 1) == [1, 2]
    assert [rights(end, epoch) for epoch in (0, 2)] == [[], []]


def test_positions_that_no_draft_has_told_are_not_taken_for_right() -> None:
    """The log has passed ids that were lost: whether they were right is open until they are said again."""
    end = target_in(Target.WAITING, temperature=0.0, plan=Plan(number=1, k=2, gamma=8, min_draft=0))
    end.receive(a_path(1, (7,), (2,)), 0.1)
    end.receive(a_path(1, (7, 2, 3, 4), (5,)), 0.1)
    for token in (3, 4, 5):
        step = end.step(0.1)
        assert step is not None
        end.tested(step, len(step.ids), token, 0.2)
    assert end.log.tokens == [7, 2, 3, 4, 5]
    assert rights(end, 1) == [1]
    end.receive(a_path(1, (7, 2), (3, 6, 5)), 0.3)
    assert rights(end, 1) == [1, 2, 3]


def test_a_newer_path_on_another_log_has_nothing_that_is_right() -> None:
    """What was held against the log was of the path before it."""
    end = target_in(Target.WAITING, temperature=0.0)
    end.receive(a_path(1, (7,), (2, 3), last=True), 0.1)
    step = end.step(0.1)
    assert step is not None
    end.tested(step, 2, 6, 0.2)
    assert rights(end, 1) == [1, 2]
    end.receive(a_path(2, (7, 4), (5,)), 0.3)
    assert (rights(end, 1), rights(end, 2)) == ([], [])
    end.receive(a_path(2, (7, 2), (3, 6, 4)), 0.4)
    assert rights(end, 2) == [1, 2, 3]  # its hash tells of all before it


def test_a_device_that_restarts_has_no_path_that_is_right() -> None:
    """Rows of its life before belong to no path of this one."""
    end = target_in(Target.WAITING, temperature=0.0)
    end.receive(a_path(1, (7,), (2, 3), last=True), 0.1)
    step = end.step(0.1)
    assert step is not None
    end.tested(step, 2, 6, 0.2)
    end.receive(an_open((7, 2, 3, 6), device_try=2, draft_epoch=2), 0.3)
    assert [rights(end, epoch) for epoch in (1, 2)] == [[], []]


def test_a_path_is_right_at_the_end_of_the_log_too() -> None:
    """The last pass has its rows."""
    end = target_in(Target.WAITING, temperature=0.0)
    end.receive(a_path(1, (7,), (2, 1), last=True), 0.1)
    step = end.step(0.1)
    assert step is not None
    end.tested(step, 2, 5, 0.2)
    assert end.state is Target.FINISHED
    assert rights(end, 1) == [1, 2]


def test_blocks_are_no_paths() -> None:
    """Under rejection rows are reported with their block."""
    assert not target_in(Target.TESTING).is_right(1, 1)


@pytest.mark.parametrize("produced", [9, 10, 11])
def test_a_pass_has_no_ids_beyond_the_end_of_the_output(produced: int) -> None:
    """Of 12 tokens: the last is the BS's own, and ids for it, or beyond it, cost no pass its time."""
    log = (7, *[2] * produced)
    wanted = a_request(temperature=0.0)
    end = a_target(an_open(log, request=wanted), plan=Plan(number=1, k=2, gamma=8, min_draft=8))
    end.receive(a_path(1, log, (3, 4, 5, 6, 3), last=True), 0.1)
    step = end.step(0.1)
    left = 12 - produced - 1
    assert step is not None and step.ids == (3, 4, 5)[:left]
    end.tested(step, left, 6, 0.2)
    assert (end.state, end.log.tokens) == (Target.FINISHED, [*log, *(3, 4, 5)[:left], 6])
    assert end.judged == (left + 1, left)
