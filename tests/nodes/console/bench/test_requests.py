"""A text asked for in several requests: the same text as in one, each request one of its own."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from tests.harness.coins import tossed

from draftwire.codecs.control import COUPLED, REJECTION, StepReport
from draftwire.codecs.limits import MAX_GAMMA
from draftwire.nodes.console.bench import cycles, pipelined
from draftwire.nodes.console.bench.cycles import DEVICE, Course
from draftwire.nodes.console.bench.drafting import Radio, Text
from draftwire.nodes.console.bench.links import LINKS, alternating, constant
from draftwire.nodes.console.bench.requests import Requests, simulate_requests
from draftwire.nodes.controller.adaptive import AdaptivePolicy
from draftwire.nodes.controller.policy import PlanValues, Report

TRACE = tossed(0.7)
TOKENS, EACH = 230, 60


def course(link: str = "1/10", *, first: int = 0, tokens: int = TOKENS) -> Course:
    return Course(trace=TRACE, link=LINKS[link](1), tokens=tokens, seed=3, first=first)


class Alternating(AdaptivePolicy):
    """Plans that never change, the acceptance of requests in turn; and what it is told."""

    def __init__(self, *acceptances: str, gamma: int = 4) -> None:
        super().__init__(vocab_size=TRACE.vocab_size, ladder=TRACE.ladder)
        self.acceptances, self.gamma = acceptances, gamma
        self.told: list[Report] = []
        self.planned: list[int] = []

    def openings(self, device: str) -> tuple[PlanValues, ...]:
        assert device == DEVICE
        wanted = self._acceptance(self.told[-1].request + 1 if self.told else 1)
        return tuple(one._replace(preferred=one.acceptance == wanted) for one in self._plans)

    def observe(self, report: Report) -> None:
        self.told.append(report)

    def plan(self, device: str, request: int) -> PlanValues:
        self.planned.append(request)
        return next(one for one in self._plans if one.acceptance == self._acceptance(request))

    def _acceptance(self, request: int) -> str:
        return self.acceptances[(request - 1) % len(self.acceptances)]

    @property
    def _plans(self) -> tuple[PlanValues, ...]:
        blocks = PlanValues(k=8, gamma=self.gamma, min_draft=self.gamma)
        return blocks, blocks._replace(min_draft=0, acceptance=COUPLED, patience_s=0.1)

    @property
    def steps(self) -> list[StepReport]:
        return [one for one in self.told if isinstance(one, StepReport)]


def asked(*acceptances: str, link: str = "1/10") -> tuple[Requests, Alternating]:
    policy = Alternating(*acceptances)
    return simulate_requests(course(link), policy, each=EACH), policy


# A part is a part of the whole ------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [1, 37, 200])
def test_a_course_that_begins_later_meets_the_same_text(first: int) -> None:
    """Places in the trace, blocks accepted, rows' bits and coupled picks are those of the whole."""
    whole, part = course(tokens=first + 100), course(first=first, tokens=100)
    assert part.places.tolist() == whole.places[first:].tolist()
    # A run that is cut short by the end of what was drawn is longer than any draft.
    runs, of_all = (np.minimum(one.runs, MAX_GAMMA) for one in (part, whole))
    assert runs[:, :100].tolist() == of_all[:, first : first + 100].tolist()
    assert np.diff(part.bits) == pytest.approx(np.diff(whole.bits)[:, first:])
    of_part, of_whole = Text(course=part), Text(course=whole)
    assert [at + first for at in of_part.right[:100]] == of_whole.right[first:][:100]
    assert of_part.chances[:100] == of_whole.chances[first:][:100]
    assert of_part.places == of_whole.places[first:]


@pytest.mark.parametrize("name", ["20<>0.1", "fading 50ms", "LTE-like"])
def test_a_link_that_began_earlier_is_the_same_later(name: str) -> None:
    """Its rate at a time of its own clock, for whoever asks by a clock that started then."""
    whole = LINKS[name](4)
    for began_s in (0.0, 0.026, 12.5, 999.0):
        part = replace(whole, began_s=began_s)
        late_s = [0.0] * 4096
        for at_s in (0.0, 0.024, 0.3, 77.7):
            expected = whole.rate_bps(began_s + at_s)
            assert part.rate_bps(at_s) == Radio(part, late_s, 0).rate_bps(at_s) == expected


# Requests ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["20/1", "20<>0.1", "fading 200ms"])
@pytest.mark.parametrize(("acceptance", "way"), [(REJECTION, cycles), (COUPLED, pipelined)])
def test_requests_go_through_the_text_as_one_run_does(acceptance: str, way: object, link: str) -> None:
    """Each token comes once, and what is right there is what one request finds right."""
    came, policy = asked(acceptance, link=link)
    once = Alternating(acceptance)
    whole = way.simulate(course(link), once)  # type: ignore[attr-defined]
    assert came.opened == {acceptance: 4}
    assert TOKENS <= came.tokens < TOKENS + 17 and came.steps == len(policy.steps)
    assert came.tokens == sum(step.tokens for step in policy.steps)
    if acceptance == COUPLED:
        (seen, hits), (of_one, their_hits) = (
            (sum(one.seen for one in steps), sum(one.accepted for one in steps))
            for steps in (policy.steps, once.steps)
        )
        assert hits / seen == pytest.approx(their_hits / of_one, abs=0.04)
    else:
        blocks = {begun: step.accepted for begun, step in _places(policy.steps)}
        runs = course(link).runs[1]
        assert blocks == {begun: min(4, int(runs[begun])) for begun in blocks}
    assert came.tokens_per_s == pytest.approx(whole.tokens_per_s, rel=0.12)


def _places(steps: list[StepReport]) -> list[tuple[int, StepReport]]:
    """Of each step: where it began in the whole text."""
    found, tokens = [], 0
    for step in steps:
        found.append((tokens, step))
        tokens += step.tokens
    return found


def test_each_request_has_its_number_and_begins_for_itself() -> None:
    """Numbers rise; positions, steps and the first block's question begin anew; plans are of that one."""
    _, policy = asked(REJECTION, COUPLED)
    numbers = [step.request for step in policy.steps]
    assert numbers == sorted(numbers) and set(numbers) == {1, 2, 3, 4}
    for number in (1, 2, 3, 4):
        own = [step for step in policy.steps if step.request == number]
        assert own[0].position == own[0].step == 0
        assert {step.acceptance for step in own} == {REJECTION if number % 2 else COUPLED}
        if number % 2:
            assert own[0].asked_at_s is None
        assert policy.planned.count(number) == len(own)
    rows = [one for one in policy.told if not isinstance(one, StepReport)]
    assert {one.request for one in rows} == {1, 2, 3, 4}


def test_times_go_on_from_request_to_request() -> None:
    """By one clock of the BS: each step ends behind the one before, the last with the run's end."""
    came, policy = asked(COUPLED, REJECTION)
    ended_s = [step.ended_at_s for step in policy.steps]
    assert ended_s == sorted(ended_s)
    assert ended_s[-1] == pytest.approx(came.seconds, abs=0.02)
    starts = {step.request: step for step in reversed(policy.steps)}
    for before, step in zip(policy.steps, policy.steps[1:], strict=False):
        if before.request == step.request and step.drafted:
            assert before.ended_at_s - 0.5 < step.draft_at_s < step.ended_at_s
        if step.asked_at_s is not None:
            assert starts[step.request].ended_at_s <= step.asked_at_s < step.draft_at_s


def test_a_link_that_changes_goes_on_where_it_was() -> None:
    """A link that falls for good, in effect, is slow in every request behind its fall, not only in one."""
    falling = alternating(20, 0.05, every_s=3.0, rtt_ms=10)
    one = Course(trace=TRACE, link=falling, tokens=200, seed=3)
    policy = Alternating(REJECTION)
    simulate_requests(one, policy, each=10)
    for step in policy.steps[1:]:
        if step.asked_at_s is not None and step.draft_at_s % 3.0 > 0.7 and step.asked_at_s % 3.0 > 0.5:
            slow = int(step.draft_at_s // 3.0) % 2 == 1
            assert (step.draft_at_s - step.asked_at_s > 0.035) == slow, step


def test_no_request_is_longer_than_is_left() -> None:
    """One of a whole course's tokens is the run itself, whatever its acceptance."""
    simulations: list[tuple[str, Callable[..., cycles.Run]]] = [
        (REJECTION, cycles.simulate),
        (COUPLED, pipelined.simulate),
    ]
    for acceptance, simulate in simulations:
        one = Course(trace=TRACE, link=constant(1, 10), tokens=80, seed=1)
        came = simulate_requests(one, Alternating(acceptance), each=1000)
        whole = simulate(one, Alternating(acceptance))
        assert (came.tokens, came.seconds, came.steps) == (whole.tokens, whole.seconds, whole.steps)
        assert came.opened.total() == 1
