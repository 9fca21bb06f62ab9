"""The first schedules, all of them: every promise holds, and two runs of each are the same."""

from dataclasses import replace

import pytest

from draftwire.codecs.messages import Acceptance
from draftwire.codecs.rows import Row
from draftwire.nodes.console.chaos.campaign import Failure, Tally, run_campaign
from draftwire.nodes.console.chaos.play import play
from draftwire.nodes.console.chaos.swarm import schedule_of
from draftwire.nodes.console.chaos.writing import written
from draftwire.nodes.speculation.noise import Noise
from draftwire.nodes.speculation.sampling import sample_target
from draftwire.nodes.target import work
from draftwire.nodes.target.verifier import Verdict
from draftwire.runtime.session.request import Request

FAST, SLOW, AT_ONCE = 200, 1200, 25


@pytest.mark.parametrize(
    "first",
    [
        *range(0, FAST, AT_ONCE),
        *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(FAST, SLOW, AT_ONCE)),
    ],
)
def test_promises_hold_under_the_schedules_from_this_seed_on(first: int) -> None:
    """Whatever dies, stalls, is lost or full. A failure prints its schedule, made small."""

    def tell(failure: Failure) -> None:
        print(failure.broken)
        print(written(failure.shrunk or failure.schedule))

    tally = Tally(wanted=AT_ONCE)
    run_campaign(map(schedule_of, range(first, first + AT_ONCE)), tally, play=play, told=tell)
    assert [one.schedule.seed for one in tally.failures] == []
    assert tally.schedules == AT_ONCE


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_law_holds_over_many_schedules_under_rejection() -> None:
    """Each token shown follows the target's law given what came before it, whatever happened."""
    tally = Tally(wanted=SLOW)
    for seed in range(SLOW):
        schedule = schedule_of(seed)
        tally.add(schedule, play(schedule))
    assert tally.law.tokens > 10_000
    assert tally.law.holds, tally.law.chances()


def corrected_from_p(verdict: Verdict, row: Row, request: Request, noise: Noise) -> int:
    """A draw from p where it should be from the residual."""
    return sample_target(verdict.p, request.seed, len(verdict.step.tokens) + verdict.accepted, noise)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_planted_bias_is_found_in_a_few_hundred_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Corrections from p break no promise of a single run; over 300 of them the law is seen to be another."""
    monkeypatch.setattr(work, "correct", corrected_from_p)
    tally = Tally(wanted=300)
    for seed in range(300):
        drawn = schedule_of(seed)
        scenario = replace(drawn.scenario, acceptance=Acceptance.REJECTION, temperature=1.0, k=16, gamma=3)
        schedule = replace(drawn, scenario=replace(scenario, draft_is_target=False))
        tally.add(schedule, play(schedule))
    assert tally.broken == {}
    assert not tally.law.holds, tally.law.chances()
    print(tally.law.tokens, tally.law.chances())
