"""Blocks that are longer than the plan, by enumeration: cut by lengths and plans, so the law is the target's.

Who sends them: a device that breaks the rules, and one that began to draw by the plan of a base station that
has gone. What must not be cut is a block that an earlier life of the base station may have tested.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.harness.enumerate import EnumeratingNoise
from tests.harness.links import lossy, without
from tests.harness.pair import Direction, LinkScript, SessionPair, as_plan
from tests.harness.worlds import Scenario, assert_caught, assert_exact, request, world

from draftwire.codecs.messages import Draft, Message, Open, SparseLogits
from draftwire.runtime.session.device import DeviceSession
from draftwire.runtime.session.request import DraftWork, Timing
from draftwire.runtime.session.target import TargetSession

WITHIN = world(3, seed=12)
FORGETS = Timing(row_s=0.6, resend_s=0.4)


class Longer(DeviceSession):
    """A device whose blocks have an id more than it is told, by a plan that it makes up."""

    def work(self) -> DraftWork | None:
        work = super().work()
        if work is None:
            return None
        plan = as_plan((work.plan.k, 4), number=work.plan.number)
        known = work.draft_epoch <= self.draft_epoch  # drawn again, as it is
        return work if known else replace(work, length=work.length + 1, plan=plan)


def pair_of(noise: EnumeratingNoise, *, tokens: int = 3, **others: Any) -> SessionPair:
    """With blocks of two, unless `others` say otherwise."""
    return SessionPair(WITHIN, request(tokens), noise, **{"plan": (2, 2), **others})


@pytest.mark.parametrize("gamma", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", [None, Draft, SparseLogits])
def test_law_holds_when_a_device_drafts_more_than_its_plan(gamma: int, kind: type | None) -> None:
    """Blocks of gamma + 1 over a perfect link, and where Drafts or rows are lost."""

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        link = {} if kind is None else {"link": lossy(noise, of=kind, probability=0.3)}
        return pair_of(noise, tokens=2, plan=(2, gamma), device_class=Longer, **link)

    assert_exact(WITHIN, request(2), scenario)


@pytest.mark.parametrize("at_s", [pytest.param(0.15, marks=pytest.mark.slow), 0.25, 0.45])
@pytest.mark.parametrize("who", ["target", "device", "both"])
def test_law_holds_when_such_a_device_or_its_bs_restarts(who: str, at_s: float) -> None:
    """The block that is out comes again as long as it was, and is cut where no other life could test more."""

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        pair = pair_of(
            noise,
            tokens=2,
            plan=(2, 1),
            device_class=Longer,
            link=lambda direction, message, index: (0.1,),
            target_s=0.1,
            timing=Timing(resend_s=0.5),
        )
        if who in ("target", "both"):
            pair.at(at_s, pair.restart_target)
        if who in ("device", "both"):
            pair.at(at_s + 0.02, pair.restart_device)
        return pair

    assert_exact(WITHIN, request(2), scenario)


def forgets_a_rejection(gamma: int, target_class: type[TargetSession] = TargetSession) -> Scenario:
    """A BS dies while a correction waits for its row, and comes back with a plan of another gamma."""

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        pair = pair_of(noise, link=without(1, ()), timing=FORGETS, target_class=target_class)

        def restart() -> None:
            pair.restart_target()
            pair.plan = as_plan((2, gamma))

        pair.at(0.2, restart)
        return pair

    return scenario


@pytest.mark.parametrize("gamma", [0, 1, 3])
def test_law_holds_when_a_rejection_is_forgotten_and_the_plan_is_another(gamma: int) -> None:
    """The block that is out is tested as far as the life before may have: all of it, also by a plan that
    wants none, as for a device whose drafts are refused."""
    assert_exact(WITHIN, request(3), forgets_a_rejection(gamma))


def test_cutting_a_block_that_another_life_tested_is_caught() -> None:
    """The rejection that was forgotten may lie in what is cut off."""

    class Cuts(TargetSession):
        def _most_of(self, draft: Draft) -> int:
            return self._planning.gamma_at(draft.start)

    scenario = forgets_a_rejection(1, Cuts)
    assert_caught("a block cut shorter than another life tested it", WITHIN, request(3), scenario)


def twice_opened() -> LinkScript:
    """The first rows are lost, and the first Open comes once more when the BS has just been restarted."""
    rows = without(1, ())
    first: list[Message] = []

    def link(direction: Direction, message: Message, index: int) -> Sequence[float]:
        if isinstance(message, Open) and not first:
            first.append(message)
            return (0.0, 0.25)
        return rows(direction, message, index)

    return link


def met_by_an_old_open(target_class: type[TargetSession] = TargetSession) -> Scenario:
    """A BS forgets a rejection, hears an old Open that names no block, and decodes alone by its plan."""

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        pair = pair_of(noise, link=twice_opened(), timing=FORGETS, target_class=target_class)

        def restart() -> None:
            pair.restart_target()
            pair.plan = as_plan((2, 0))

        pair.at(0.2, restart)
        return pair

    return scenario


def test_law_holds_when_an_old_open_comes_to_a_bs_that_has_forgotten() -> None:
    """What it has decoded by then goes, once the device names the block that is out."""
    assert_exact(WITHIN, request(3), met_by_an_old_open())


def test_overtaking_a_block_by_an_old_open_is_caught() -> None:
    """What a BS has decoded for an old Open would stand in place of the correction it forgot."""

    class Overtakes(TargetSession):
        def lacks(self, opened: Open) -> bool:
            return False

    name = "a block overtaken because an old Open came first"
    assert_caught(name, WITHIN, request(3), met_by_an_old_open(Overtakes))


@pytest.mark.parametrize("gamma", [0, 1, 3])
def test_law_holds_when_a_block_was_begun_by_a_plan_of_another_life(gamma: int) -> None:
    """It is on no record when the device opens again, and is cut to the new life's plan, or left."""

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        timing = Timing(resend_s=0.2, reopen_after=1, ping_s=0.2)
        pair = pair_of(noise, timing=timing, device_s=0.9)

        def restart() -> None:
            pair.restart_target()
            pair.plan = as_plan((2, gamma))

        pair.at(0.1, restart)
        pair.at(0.2, lambda: pair._deliver_up(pair.device._hello))
        pair.at(0.3, lambda: pair.device._lose(pair.now_s))
        pair.at(0.3, pair._settle)
        return pair

    assert_exact(WITHIN, request(3), scenario)
