"""Requests that leave acceptance open get the better one, whatever estimates flatter the other."""

from dataclasses import replace

import numpy as np
import pytest
from tests.harness.coins import trace_of
from tests.harness.reports import a_belief
from tests.nodes.controller.coupled import DEVICE, coupled_report, policy
from tests.nodes.controller.world import World, play

from draftwire.codecs.control import COUPLED, REJECTION
from draftwire.nodes.console.bench.acceptance_trace import SAMPLES
from draftwire.nodes.console.bench.cycles import Course
from draftwire.nodes.console.bench.links import constant
from draftwire.nodes.console.bench.requests import simulate_requests
from draftwire.nodes.console.bench.traces import AcceptanceTrace
from draftwire.nodes.controller.adaptive import AdaptivePolicy
from draftwire.nodes.controller.estimators.delivered import Delivered
from draftwire.nodes.controller.policy import FixedPolicy, OpensWith, PlanValues


def preferred(planner: AdaptivePolicy, device: str = DEVICE) -> str:
    openings = planner.openings(device)
    assert sorted(one.acceptance for one in openings) == [COUPLED, REJECTION]
    (one,) = (one for one in openings if one.preferred)
    return one.acceptance


def test_whom_nothing_is_known_of_drafts_coupled() -> None:
    """A policy that opens both ways, and prefers the one that leaves the target never waiting."""
    planner = policy()
    assert isinstance(planner, OpensWith) and not isinstance(FixedPolicy(PlanValues(8, 1, 1)), OpensWith)
    assert preferred(planner, "never heard of") == COUPLED
    rejection, coupled = planner.openings("never heard of")
    assert rejection.min_draft == rejection.gamma > 0 and rejection.patience_s is None
    assert coupled.min_draft < coupled.gamma and coupled.patience_s is not None


def flattered(share: float) -> World:
    """A short round trip, where both acceptances are near each other, and coupled has so much of alpha."""
    return World(alpha=0.75, rate_bps=50e6, rtt_s=0.001, coupled_share=share, seed=4)


def test_a_prior_that_flatters_gives_way_to_rows() -> None:
    """Requests under rejection tell what coupled picks would be: preferred though never tried, till then."""
    planner = AdaptivePolicy(vocab_size=4096)
    list(play(flattered(0.7), planner, 40))
    assert preferred(planner) == REJECTION
    fair = AdaptivePolicy(vocab_size=4096)
    list(play(World(alpha=0.75, rate_bps=50e6, rtt_s=0.03), fair, 40))
    assert preferred(fair) == COUPLED


def test_a_prior_that_flatters_gives_way_to_hits() -> None:
    """Rows that go on to promise too much don't matter once coupled requests have shown what comes of it.

    And it lasts: more rows with the same promise do not bring the wrong choice back.
    """
    planner = AdaptivePolicy(vocab_size=4096)
    world = flattered(1.0)
    list(play(world, planner, 40))
    assert preferred(planner) == COUPLED
    for step in range(400):
        report = coupled_report(step, seen=2, accepted=int(step % 3 == 0), request=9)
        planner.observe(report)
        planner.openings(DEVICE)  # the controller's node asks with every plan
    assert preferred(planner) == REJECTION
    for _ in play(world, planner, 60):
        assert preferred(planner) == REJECTION


def promising(rejection: float, coupled: float) -> tuple[PlanValues, PlanValues]:
    """Plans that promise so many tokens a second."""
    blocks = PlanValues(k=32, gamma=4, min_draft=4)
    hints = blocks._replace(min_draft=0, acceptance=COUPLED)
    return (
        blocks._replace(belief=a_belief(tokens_per_s=rejection)),
        hints._replace(belief=a_belief(tokens_per_s=coupled)),
    )


@pytest.mark.parametrize("better", [REJECTION, COUPLED])
def test_the_acceptance_whose_promises_are_kept_ends_up_preferred(better: str) -> None:
    """A model of cost that flatters either acceptance by a fifth attracts to it until it has been tried.

    Requests follow the preference. The flattered one is left within 10 requests of 50 steps, and of the 30
    that follow nearly all have the better one.
    """
    true = {better: 30.0, **dict.fromkeys({REJECTION, COUPLED} - {better}, 27.0)}
    told = {better: 30.0, **dict.fromkeys({REJECTION, COUPLED} - {better}, 33.0)}
    planner, delivered = policy(), Delivered()
    plans = promising(told[REJECTION], told[COUPLED])
    chosen = list[str]()
    for _ in range(40):
        prefers = planner._promises_more(DEVICE, delivered, *plans)
        chosen.append(COUPLED if prefers else REJECTION)
        for _ in range(50):
            now = chosen[-1]
            delivered.observe(now, seconds=3 / true[now], promised_s=3 / told[now])
            planner._promises_more(DEVICE, delivered, *plans)
    assert chosen[0] != better
    assert better in chosen[:10]
    assert chosen[10:].count(better) >= 27, chosen


def test_one_look_at_a_fade_does_not_turn_the_preference() -> None:
    """Preference is of late looks: that the other promises twice as much counts once it has lasted."""
    planner, delivered = policy(), Delivered()
    for _ in range(30):
        assert planner._promises_more(DEVICE, delivered, *promising(20.0, 24.0))
    assert planner._promises_more(DEVICE, delivered, *promising(40.0, 24.0))
    for _ in range(30):
        last = planner._promises_more(DEVICE, delivered, *promising(40.0, 24.0))
    assert not last
    assert planner._promises_more("another device", delivered, *promising(20.0, 24.0))


def coupled_pair(*, alpha: float, hits: float) -> AcceptanceTrace:
    """A pair whose rows tell alpha and that picks are equal in nearly as many cases; they are in `hits`."""
    rng = np.random.default_rng(8)
    found = trace_of(rng.random((500, SAMPLES)) < hits, chance=alpha)
    return replace(found, coupled=np.full(500, hits), row_coupled=np.full((500, 2), 0.94 * alpha))


@pytest.mark.parametrize(
    ("alpha", "hits", "better"),
    [(0.8, 0.35, REJECTION), (0.35, 0.8, COUPLED)],
)
def test_requests_that_leave_it_open_end_up_with_the_better_acceptance(
    alpha: float, hits: float, better: str
) -> None:
    """Rows that flatter coupled picks, and rows that belie them: either way requests show what is faster."""
    one = Course(trace=coupled_pair(alpha=alpha, hits=hits), link=constant(20, 4), tokens=2500, seed=1)
    planner = AdaptivePolicy(vocab_size=one.trace.vocab_size, ladder=one.trace.ladder)
    came = simulate_requests(one, planner, each=125)
    assert preferred(planner, "device") == better
    assert came.opened[better] >= 0.7 * came.opened.total(), came.opened
