"""Exact enumeration under small schedules drawn from seeds: whatever happens when, the law is the target's.

Of each schedule: the first messages of either direction are lost, doubled, held back so that others overtake
them; the device dies between any two things it does, the base station at any time, so also between a pass and
its Commit. None of it looks at what the messages say, so p is untouched, to the rounding of the sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

import pytest
from tests.exactness.test_deaths import DrawsAnew
from tests.exactness.test_mutants import Forgetful
from tests.harness.enumerate import EnumeratingNoise
from tests.harness.killed import KilledPair
from tests.harness.pair import Direction, Planned, as_plan
from tests.harness.schedules import CALM_S, Fate
from tests.harness.worlds import assert_caught, assert_exact, request, world

from draftwire.codecs.messages import Message
from draftwire.nodes.console.simulate.seeds import stream_of
from draftwire.runtime.session.request import Timing

FAST = 12
SLOW = 300
TIMING = Timing(
    resend_s=0.4, resend_most_s=2.0, reopen_after=2, ping_s=0.5, patience_s=0.7, row_s=0.3, repeat_s=0.4
)


@dataclass(frozen=True, kw_only=True)
class Small:
    """What happens to both ends of one request."""

    up: tuple[Fate, ...]
    down: tuple[Fate, ...]
    kills: frozenset[int]
    "of the device, by moments"
    restarts: tuple[float, ...]
    "of the BS, seconds"
    together: bool
    "whether the BS dies with the device, too"
    plans: tuple[Planned, ...]
    "by the length of the log in turn"
    reborn: Planned
    "the plan with which the BS begins another life"
    tokens: int
    target_s: float
    lazy: bool
    "whether records are written as late as they may"


def small(seed: int) -> Small:
    """The schedule of this seed."""
    draw = stream_of(seed, "small schedule")
    return Small(
        up=_fates(draw),
        down=_fates(draw),
        kills=frozenset(draw.sample(range(1, 40), draw.choice([0, 0, 1, 1, 2]))),
        restarts=tuple(sorted(round(draw.uniform(0.0, 2.5), 2) for _ in range(draw.choice([0, 0, 1, 1, 2])))),
        together=draw.random() < 0.4,
        plans=tuple((draw.choice([1, 2]), draw.choice([0, 1, 2, 2])) for _ in range(draw.choice([1, 2]))),
        reborn=(2, draw.choice([0, 2])),
        tokens=draw.choice([2, 2, 3]),
        target_s=draw.choice([0.0, 0.15]),
        lazy=draw.random() < 0.5,
    )


def _fates(draw: Random) -> tuple[Fate, ...]:
    return tuple(_fate(draw) for _ in range(draw.randint(0, 8)))


def _fate(draw: Random) -> Fate:
    drawn = draw.random()
    if drawn < 0.3:
        return ()
    if drawn < 0.5:
        return (CALM_S, round(draw.uniform(0.05, 1.5), 2))
    return (round(draw.uniform(0.05, 1.5), 2),) if drawn < 0.7 else (CALM_S,)


class SmallPair(KilledPair):
    """Its BS may die with its device, and be another one when it comes back."""

    def __init__(self, schedule: Small, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.schedule = schedule
        for at_s in schedule.restarts:
            self.at(at_s, self.restart_target)

    def restart_target(self) -> None:
        self.plan = as_plan(self.schedule.reborn)
        super().restart_target()

    def restart_device(self) -> None:
        if self.schedule.together:
            self.restart_target()
        super().restart_device()


def pair_under(schedule: Small, seed: int, noise: EnumeratingNoise, **classes: Any) -> SmallPair:
    """Both ends, ready to run; `classes` of sessions in place of the real ones."""

    def link(direction: Direction, message: Message, index: int) -> Sequence[float]:
        fates = schedule.up if direction == "up" else schedule.down
        return fates[index] if index < len(fates) else (CALM_S,)

    def policy(pair: SmallPair) -> Planned:
        assert pair.target is not None
        return schedule.plans[pair.target.log.produced % len(schedule.plans)]

    return SmallPair(
        schedule,
        world(2 + seed % 2, seed),
        request(schedule.tokens),
        noise,
        plan=schedule.plans[0],
        policy=policy,
        link=link,
        timing=TIMING,
        target_s=schedule.target_s,
        kills=schedule.kills,
        lazy=schedule.lazy,
        **classes,
    )


@pytest.mark.parametrize(
    "seed", [*range(FAST), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(FAST, SLOW))]
)
def test_law_holds_under_the_schedule_of_this_seed(seed: int) -> None:
    """Every path of draws, acceptances and corrections, each with its probability."""
    schedule = small(seed)
    print(f"seed {seed}: {schedule}")
    within, wanted = world(2 + seed % 2, seed), request(schedule.tokens)
    assert_exact(within, wanted, partial(pair_under, schedule, seed))


@pytest.mark.parametrize(
    "classes", [{"device_class": DrawsAnew}, {"target_class": Forgetful}], ids=["draws anew", "forgetful"]
)
def test_schedules_find_who_forgets_a_rejection(classes: dict[str, Any]) -> None:
    """A device that draws another block, a BS that does not wait for the one out: seed 208 sees both."""
    schedule, within, wanted = small(208), world(2, 208), request(small(208).tokens)
    assert_exact(within, wanted, partial(pair_under, schedule, 208))
    assert_caught(str(classes), within, wanted, partial(pair_under, schedule, 208, **classes))
