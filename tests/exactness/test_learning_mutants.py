"""Mistakes by which what a controller has learnt would bend the text; each is seen.

Each runs where the correct code is exact, which is shown beside it. `-s` prints the total variations.
"""

import pytest
from tests.harness.enumerate import EnumeratingNoise
from tests.harness.learner import PLANS, LearnedPair, forgetful
from tests.harness.links import behind_its_rows, rows_first
from tests.harness.pair import SessionPair, as_plan
from tests.harness.worlds import Scenario, assert_caught, assert_exact, request, world

from draftwire.codecs.messages import Plan
from draftwire.nodes.device import drafter
from draftwire.nodes.speculation.noise import Key, Purpose
from draftwire.runtime.session.target import TargetSession

WITHIN = world(3, seed=77)


class Hasty(TargetSession):
    """A BS that puts a plan in force at once, with a block out that was drawn by the plan before."""

    def replan(self, plan: Plan, *, patience_s: float | None = None) -> None:
        super().replan(plan, patience_s=patience_s)
        self._planning.turn(len(self.log))


def test_overtaking_a_block_by_what_it_holds_is_caught() -> None:
    """Rows come before their Draft and tell its ids; by these the target alone overtakes it, or does not."""

    def scenario(target_class: type[TargetSession]) -> Scenario:
        def make(noise: EnumeratingNoise) -> SessionPair:
            return LearnedPair(
                WITHIN,
                request(3),
                noise,
                plans=((2, 2), (2, 0)),
                link=rows_first,
                knows_untested=True,
                target_class=target_class,
            )

        return make

    assert_exact(WITHIN, request(3), scenario(TargetSession))
    name = "the target alone overtakes a block by what it holds"
    assert_caught(name, WITHIN, request(3), scenario(Hasty))


def test_a_plan_in_force_at_once_is_caught() -> None:
    """The order looks at nothing, but the block that it races is late by what its rows say."""
    within = world(3, seed=7)

    def scenario(target_class: type[TargetSession]) -> Scenario:
        def make(noise: EnumeratingNoise) -> SessionPair:
            pair = SessionPair(
                within, request(3), noise, plan=(2, 2), link=behind_its_rows(), target_class=target_class
            )

            def order() -> None:
                assert pair.target is not None
                pair.target.replan(as_plan((2, 0)))

            pair.at(1.5, order)
            return pair

        return make

    assert_exact(within, request(3), scenario(TargetSession))
    assert_caught("a plan in force at once", within, request(3), scenario(Hasty))


def test_a_discarded_tail_that_is_drawn_again_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drafts keyed by position alone: the next plan knows what the next block will draw."""

    def keyed(seed: int, draft_epoch: int, position: int, purpose: Purpose) -> Key:
        return Key(seed, 0, position, purpose)

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        return LearnedPair(WITHIN, request(3), noise, plans=PLANS)

    assert_exact(WITHIN, request(3), scenario)
    monkeypatch.setattr(drafter, "Key", keyed)
    assert_caught("plans learn from a tail that is drawn again", WITHIN, request(3), scenario)


def test_reports_that_tell_tokens_decoded_alone_are_caught() -> None:
    """The BS restarts and its tokens are lost; who knows them can have them drawn in another way."""
    within = world(2, seed=77)

    def scenario(*, knows_alone: bool) -> Scenario:
        return lambda noise: forgetful(within, noise, (2, 0), 0.55, knows_alone=knows_alone)

    assert_exact(within, request(3), scenario(knows_alone=False))
    name = "plans learn from tokens decoded alone that a restart has lost"
    assert_caught(name, within, request(3), scenario(knows_alone=True))
