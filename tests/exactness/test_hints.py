"""Drafts as hints, by enumeration through the real session code: the target's law, and one text a seed.

Both ends pick by one shared number a position (tests/harness/enumerate.py), so that what the device drew and
what the BS samples are as dependent as they can be; and the mistakes that would bend the law or the text.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.harness.enumerate import EnumeratingNoise
from tests.harness.learner import LearnedPair
from tests.harness.links import late, lossy
from tests.harness.pair import Context, Direction, LinkScript, Planned, SessionPair
from tests.harness.reference import target_text
from tests.harness.schedules import CALM_S
from tests.harness.worlds import (
    Scenario,
    Text,
    assert_caught,
    assert_exact,
    coupled,
    request,
    world,
)

from draftwire.codecs.messages import Commit, Draft, Message, Open, Plan
from draftwire.nodes.device import drafter
from draftwire.nodes.speculation import sampling
from draftwire.nodes.speculation.noise import Key, Noise, PhiloxNoise, Purpose
from draftwire.nodes.speculation.sampling import Coupled, Drafted, Outcome, Rejection, Rows
from draftwire.runtime.session.request import Block, Request, Timing

WITHIN, WANTED, SHORT = world(3, seed=12), coupled(3), coupled(2)
TIMING = Timing(resend_s=0.4, ping_s=0.4, patience_s=0.25)


def pipelined(gamma: int, min_draft: int) -> Plan:
    """A BS that waits for fewer drafts than may be outstanding."""
    return Plan(number=1, k=2, gamma=gamma, min_draft=min_draft)


def under(
    plan: Planned,
    *,
    link: Callable[[EnumeratingNoise], LinkScript] | None = None,
    device_s: float = 0.03,
    target_s: float = 0.1,
    wanted: Request = WANTED,
    **others: Any,
) -> Scenario:
    """A coupled request by a plan, over a link; both ends work meanwhile."""

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        options = dict(others) if link is None else {"link": link(noise), **others}
        return SessionPair(
            WITHIN, wanted, noise, plan=plan, timing=TIMING, device_s=device_s, target_s=target_s, **options
        )

    return scenario


PLANS: list[Planned] = [(2, 0), (2, 1), (2, 3), pipelined(2, 0), pipelined(3, 0), pipelined(4, 2)]


@pytest.mark.parametrize(
    ("plan", "device_s"),
    [
        *((plan, 0.15) for plan in PLANS[1:]),
        *(pytest.param(plan, 0.0, marks=pytest.mark.slow) for plan in PLANS),
    ],
)
def test_law_is_the_targets_for_every_plan(plan: Planned, device_s: float) -> None:
    """The target alone, blocks waited for, and a BS that never waits: whichever end is the faster one."""
    assert_exact(WITHIN, WANTED, under(plan, device_s=device_s))


def late_and_lost(noise: EnumeratingNoise) -> LinkScript:
    """Each of the first two Drafts is late, by less or more than a pass, or lost."""
    seen = 0

    def link(direction: Direction, message: Message, index: int) -> Sequence[float]:
        nonlocal seen
        if not isinstance(message, Draft):
            return (0.02,)
        seen += 1
        if seen > 2:
            return (0.02,)
        if noise.coin(("lost", seen), 0.3):
            return ()
        return (0.25 if noise.coin(("late", seen), 0.5) else 0.07,)

    return link


def late_by_its_ids(noise: EnumeratingNoise) -> LinkScript:
    """A Draft is late, or lost, by what it holds: under rejection that bends the law, here it may not."""

    def link(direction: Direction, message: Message, index: int) -> Sequence[float]:
        if isinstance(message, Draft) and message.ids:
            return ((0.02,), (0.3,), ())[message.ids[-1] % 3]
        return (0.02,)

    return link


@pytest.mark.parametrize("plan", [(2, 2), pipelined(3, 0), pipelined(3, 1)])
@pytest.mark.parametrize(
    "link",
    [
        late_and_lost,
        late_by_its_ids,
        lambda noise: lossy(noise, of=Commit, probability=0.3),
        lambda noise: lossy(noise, of=Open, probability=0.3),
        lambda noise: late(noise, of=Draft, by_s=0.4),
    ],
)
def test_law_holds_however_drafts_and_commits_come(
    link: Callable[[EnumeratingNoise], LinkScript], plan: Planned
) -> None:
    """Lost, late, late by what they hold: a draft only says beforehand what the target will pick."""
    assert_exact(WITHIN, SHORT, under(plan, link=link, wanted=SHORT))


@pytest.mark.parametrize("plan", [(2, 2), pipelined(3, 0)])
@pytest.mark.parametrize("at_s", [0.05, 0.13, 0.31])
@pytest.mark.parametrize("who", ["target", "device", "both"])
def test_law_holds_when_an_end_restarts(who: str, at_s: float, plan: Planned) -> None:
    """Nothing is drawn again as it was, and nothing need be."""

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        pair = under(plan, link=lambda noise: lambda *message: (CALM_S,), wanted=SHORT)(noise)
        if who != "device":
            pair.at(at_s, pair.restart_target)
        if who != "target":
            pair.at(at_s + 0.01, pair.restart_device)
        return pair

    assert_exact(WITHIN, SHORT, scenario)


def stops_behind_0(pair: SessionPair, block: Block) -> bool:
    """Early stop by what was drawn."""
    return block.ids[-1] == 0


@pytest.mark.parametrize("plan", [(2, 3), pipelined(3, 1)])
def test_law_holds_when_the_device_stops_by_what_it_drew(plan: Planned) -> None:
    """Under rejection this bends the law (test_mutants.py)."""
    early = replace(plan if isinstance(plan, Plan) else pipelined(3, 3), early_stop=True)
    assert_exact(WITHIN, WANTED, under(early, stops=stops_behind_0, link=late_by_its_ids))


def test_law_holds_under_a_controller_that_knows_everything() -> None:
    """Plans by all that has come, tested or not, and by ids decoded alone: under rejection neither."""

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        return LearnedPair(
            WITHIN,
            WANTED,
            noise,
            plan=(2, 2),
            knows_untested=True,
            knows_alone=True,
            delays_s=(0.0, 0.07),
            link=late_by_its_ids(noise),
            timing=TIMING,
            device_s=0.03,
            target_s=0.1,
        )

    assert_exact(WITHIN, WANTED, scenario)


# ---------------------------------------------------------------------------------------------- mistakes


def of_seed(plan: Planned, seed: int) -> tuple[Text, Text]:
    """A seed's text by a plan, and as the target alone writes it."""
    wanted = coupled(12, seed=seed)
    pair = SessionPair(
        WITHIN,
        wanted,
        PhiloxNoise(),
        plan=plan,
        link=lambda *message: (CALM_S,),
        device_s=0.02,
        target_s=0.1,
    )
    pair.run()
    return pair.output, target_text(wanted, Context(WITHIN.target), PhiloxNoise())


def test_a_device_with_noise_of_its_own_changes_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a bad guesser and nothing else: law and text are the target's still."""

    def its_own(seed: int, position: int) -> Key:
        return Key(seed, 1, position, Purpose.DRAFT)

    monkeypatch.setattr(drafter, "target_key", its_own)
    for plan in ((2, 2), pipelined(3, 0)):
        assert_exact(WITHIN, SHORT, under(plan, wanted=SHORT))
        assert all(own == alone for own, alone in (of_seed(plan, seed) for seed in range(10)))


def test_noise_by_the_block_makes_many_texts_of_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A BS that draws with the block's own noise: the law is the target's, but a seed has several texts."""
    right = Coupled.outcome

    def by_epoch(self: Coupled, p: Rows, drafted: Drafted, rows: Sequence[Any], noise: Noise) -> Outcome:
        with pytest.MonkeyPatch.context() as patch:

            def key(seed: int, position: int) -> Key:
                return Key(seed, drafted.draft_epoch, position, Purpose.TARGET)

            patch.setattr(sampling, "target_key", key)
            return right(self, p, drafted, rows, noise)

    monkeypatch.setattr(Coupled, "outcome", by_epoch)
    for plan in ((2, 2), pipelined(3, 0)):
        assert_exact(WITHIN, SHORT, under(plan, wanted=SHORT))
        assert any(own != alone for own, alone in (of_seed(plan, seed) for seed in range(10)))


def test_keeping_a_draft_that_is_not_the_pick_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A draft that the target finds likely enough is let stand, though its own pick is another."""
    right = Coupled.outcome

    def lenient(self: Coupled, p: Rows, drafted: Drafted, rows: Sequence[Any], noise: Noise) -> Outcome:
        outcome = right(self, p, drafted, rows, noise)
        i = outcome.accepted
        if i < len(drafted.ids) and p[i][drafted.ids[i]] > 0.3:
            return Outcome(accepted=i, token=drafted.ids[i])
        return outcome

    for plan in ((2, 2), pipelined(3, 0)):
        assert_exact(WITHIN, WANTED, under(plan, wanted=WANTED))
        with monkeypatch.context() as patch:
            patch.setattr(Coupled, "outcome", lenient)
            name = f"a likely draft stands though it is not the pick, {plan}"
            assert_caught(name, WITHIN, WANTED, under(plan, wanted=WANTED))


def test_acceptance_by_what_was_drawn_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of blocks that bind: those that begin with 0 are compared with the target's pick, the others tested."""

    def either(self: Rejection, p: Rows, drafted: Drafted, rows: Sequence[Any], noise: Noise) -> Outcome:
        if drafted.ids and drafted.ids[0] == 0:
            return Coupled().outcome(p, drafted, rows, noise)
        return right(self, p, drafted, rows, noise)

    right, wanted = Rejection.outcome, request(2)

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        return SessionPair(WITHIN, wanted, noise, plan=(3, 2))

    assert_exact(WITHIN, wanted, scenario)
    monkeypatch.setattr(Rejection, "outcome", either)
    assert_caught("acceptance chosen by what was drawn", WITHIN, wanted, scenario)
