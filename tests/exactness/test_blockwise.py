"""Blocks that are tested as a whole, by enumeration through the real session code: the law is the target's.

As in tests/exactness/test_enumeration.py; and the mistakes that would bend it, each seen.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pytest
from tests.harness.enumerate import EnumeratingNoise, explore
from tests.harness.killed import KilledPair
from tests.harness.links import behind_its_rows, lossy, without
from tests.harness.pair import Context, Direction, LinkScript, SessionPair, as_plan, perfect
from tests.harness.worlds import Scenario, assert_caught, assert_exact, request, world

from draftwire.codecs.messages import Commit, Draft, Message, Open, Origin, Plan, SparseLogits
from draftwire.nodes.speculation import sampling
from draftwire.nodes.target.verifier import verify
from draftwire.runtime.session.device import DeviceSession
from draftwire.runtime.session.request import DeviceRecord, Request, Timing
from draftwire.runtime.session.target import Step, TargetSession

WITHIN, WANTED, SHORT = world(3, seed=12), request(3), request(2)
TIMING = Timing(row_s=0.6, resend_s=0.4)


def whole(k: int, gamma: int) -> Plan:
    """A plan whose blocks are tested as a whole."""
    return replace(as_plan((k, gamma)), blockwise=True)


PLAN = whole(2, 2)


def under(
    plan: Plan = PLAN,
    *,
    link: Callable[[EnumeratingNoise], LinkScript] | None = None,
    make: type[SessionPair] = SessionPair,
    at_s: float | None = None,
    who: str = "",
    device_class: type[DeviceSession] = DeviceSession,
    wanted: Request = WANTED,
) -> Scenario:
    """A request by a plan, over a link, with a restart."""

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        over = perfect if link is None else link(noise)
        pair = make(
            WITHIN, wanted, noise, plan=plan, timing=TIMING, device_class=device_class, link=over
        )
        if at_s is not None and who in ("target", "both"):
            pair.at(at_s, pair.restart_target)
        if at_s is not None and who in ("device", "both"):
            pair.at(at_s + 0.01, pair.restart_device)
        return pair

    return scenario


@pytest.mark.parametrize(("k", "gamma"), [(1, 3), (2, 1), (2, 2), (2, 3), (3, 2)])
def test_law_is_the_targets_for_every_k_and_gamma(k: int, gamma: int) -> None:
    """Three tokens over a vocabulary of 3."""
    assert_exact(WITHIN, WANTED, under(whole(k, gamma)))


def mean_accepted(plan: Plan) -> float:
    """Drafted tokens that stand in the text, over all outcomes."""

    def run(noise: EnumeratingNoise) -> int:
        pair = under(plan)(noise)
        pair.run(until_s=120)
        return sum(taken.origin is Origin.ACCEPTED for taken in pair.taken)

    return sum(count * mass for count, mass in explore(run).items())


def test_never_fewer_are_accepted_than_one_by_one() -> None:
    """More, where a token has something to spare for those behind it; with one draft the same."""
    assert mean_accepted(whole(2, 1)) == pytest.approx(mean_accepted(as_plan((2, 1))), abs=1e-12)
    for k in (2, 3):
        assert mean_accepted(whole(k, 2)) > mean_accepted(as_plan((k, 2))) + 1e-4


@pytest.mark.parametrize("policy", ["by what was accepted", "by what was committed"])
def test_law_holds_when_plans_change_the_rule(policy: str) -> None:
    """From what tests have come to, or from the tokens of the log: for blocks that are not drawn yet."""

    def plan(pair: SessionPair) -> Plan:
        assert pair.target is not None
        log = pair.target.log
        accepted = sum(origin is Origin.ACCEPTED for origin in log.origins)
        turn = accepted if policy == "by what was accepted" else log.tokens[-1]
        return (whole(2, 2), as_plan((2, 2)), whole(3, 3), as_plan((2, 0)))[(turn + log.produced) % 4]

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        return SessionPair(WITHIN, WANTED, noise, plan=whole(2, 2), policy=plan)

    assert_exact(WITHIN, WANTED, scenario)


# ------------------------------------------------------------------------------- a bad link, and restarts


@pytest.mark.parametrize("kind", [Draft, SparseLogits, Commit, Open])
def test_law_holds_when_messages_are_lost(kind: type) -> None:
    """All rows are needed, so those that are lost are asked for, and nothing is decided before they come."""
    link = partial(lossy, of=kind, probability=0.3)
    assert_exact(WITHIN, SHORT, under(link=link, wanted=SHORT))


def some_rows_lost(noise: EnumeratingNoise) -> LinkScript:
    """Of the first two messages of rows only one row arrives, asked for or not."""
    seen = 0

    def link(direction: Direction, message: Message, index: int) -> Sequence[float]:
        nonlocal seen
        if not isinstance(message, SparseLogits):
            return (0.0,)
        seen += 1
        return () if seen <= 3 and len(message.rows) > 1 else (0.1 * seen,)

    return link


def by_its_ids(noise: EnumeratingNoise) -> LinkScript:
    """Rows take longer by what they hold, some longer than the rest of the world lasts."""

    def link(direction: Direction, message: Message, index: int) -> Sequence[float]:
        if isinstance(message, SparseLogits):
            return (0.1 + 3.0 * (int(message.rows[-1].ids[0]) % 2),)
        return (0.02,)

    return link


@pytest.mark.parametrize(
    "link", [some_rows_lost, by_its_ids, lambda noise: behind_its_rows(), lambda noise: without(2, (2, 3))]
)
def test_law_holds_however_rows_come(link: Callable[[EnumeratingNoise], LinkScript]) -> None:
    """One by one, late by what they hold, behind repeats: no row decides whether a block is used, or how."""
    assert_exact(WITHIN, WANTED, under(link=link))


@pytest.mark.parametrize("at_s", [0.01, pytest.param(0.3, marks=pytest.mark.slow), 0.7])
@pytest.mark.parametrize("who", ["target", "device", "both"])
@pytest.mark.parametrize("link", [by_its_ids, lambda noise: without(1, ())])
def test_law_holds_when_an_end_restarts_between_a_pass_and_its_rows(
    link: Callable[[EnumeratingNoise], LinkScript], who: str, at_s: float
) -> None:
    """The block comes again as it was, its rule included: by the BS's word, or by the device's record."""
    assert_exact(WITHIN, SHORT, under(link=link, at_s=at_s, who=who, wanted=SHORT))


class BothDie(KilledPair):
    """The BS loses its memory in the same moment."""

    def restart_device(self) -> None:
        self.restart_target()
        super().restart_device()


@pytest.mark.slow
@pytest.mark.parametrize("make", [KilledPair, BothDie])
def test_law_holds_at_whatever_moment_the_device_dies(make: type[KilledPair]) -> None:
    """Every moment of a request in turn, alone and together with the BS."""
    moment, met = 0, list[KilledPair]()

    def scenario(noise: EnumeratingNoise) -> KilledPair:
        met.append(
            make(WITHIN, SHORT, noise, plan=whole(2, 2), link=without(1, ()), timing=TIMING, kills={moment})
        )
        return met[-1]

    while moment == 0 or any(pair.deaths for pair in met):
        moment += 1
        met.clear()
        assert_exact(WITHIN, SHORT, scenario)
    assert moment > 20


# ---------------------------------------------------------------------------------------------- mistakes


def test_the_token_rules_residual_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """max(0, p - q) in the place of max(0, w p - q)."""
    right = sampling.residual
    monkeypatch.setattr(sampling, "residual", lambda p, row, scale=1.0: right(p, row))
    assert_caught("a block's correction from the token rule's residual", WITHIN, WANTED, under())


class FallsBack(SessionPair):
    """A BS that tests token by token where rows have not come by the time of the test."""

    def _test(self, step: Step, target: TargetSession) -> None:
        positions = range(len(step.tokens), len(step.tokens) + len(step.ids))
        if any(target._hints.row(step.draft_epoch, one) is None for one in positions):  # type: ignore[union-attr]
            logits = Context(self.world.target).logits([*step.tokens, *step.ids], len(step.ids) + 1)
            target._step = plain = replace(step, plan=replace(step.plan, blockwise=False))
            verdict = self._verdict = verify(plain, logits, target.request, self.noise)
            if verdict.token is None:
                target.needs_rows(plain, verdict.wanted, self.now_s)
            else:
                target.tested(plain, verdict.accepted, verdict.token, self.now_s)
            return
        super()._test(step, target)


def drawn_before_or_behind(noise: EnumeratingNoise) -> LinkScript:
    """Whether rows come before the test or behind it hangs on the last id that was drawn from them.

    Given the first alone both rules come to the same, so nothing less is seen.
    """

    def link(direction: Direction, message: Message, index: int) -> Sequence[float]:
        if isinstance(message, Draft):
            return (0.05 if message.ids[-1] == 0 else 0.2,)
        return (0.1,) if isinstance(message, SparseLogits) else (0.0,)

    return link


def test_the_token_rule_for_a_missing_row_is_caught() -> None:
    """Whether a row has come may hang on what was drawn; then so does the rule."""
    assert_exact(WITHIN, WANTED, under(link=drawn_before_or_behind))
    name = "a block tested token by token because a row is missing"
    assert_caught(name, WITHIN, WANTED, under(link=drawn_before_or_behind, make=FallsBack))


class ForgetsTheRule(DeviceSession):
    """Its record of the block that is out lacks how it is to be tested."""

    @property
    def record(self) -> DeviceRecord:
        record = super().record
        if record.outstanding is None:
            return record
        plan = replace(record.outstanding.plan, blockwise=False)
        return replace(record, outstanding=replace(record.outstanding, plan=plan))


def settled_by_its_ids(noise: EnumeratingNoise) -> LinkScript:
    """Rows of a block whose last id is 0 come at once, others' take long."""
    last = 0

    def link(direction: Direction, message: Message, index: int) -> Sequence[float]:
        nonlocal last
        if isinstance(message, Draft):
            last = message.ids[-1]
        if isinstance(message, SparseLogits):
            return (0.01,) if last == 0 else (0.5,)
        return (0.0,)

    return link


def test_a_restarted_device_that_forgets_the_rule_is_caught() -> None:
    """Both ends die: blocks that were settled by then were tested as a whole, the others token by token."""
    assert_exact(WITHIN, WANTED, under(link=settled_by_its_ids, at_s=0.3, who="both"))
    name = "a restarted device forgets how its block is to be tested"
    scenario = under(link=settled_by_its_ids, at_s=0.3, who="both", device_class=ForgetsTheRule)
    assert_caught(name, WITHIN, WANTED, scenario)
