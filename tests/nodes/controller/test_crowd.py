"""Sessions that share a base station are planned for together: none of them gains by what all lose."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from draftwire.codecs.control import ANY_DEVICE, ANY_REQUEST, REJECTION, RowsReport, StepReport
from draftwire.codecs.messages import Plan
from draftwire.nodes.console.bench.cell_selfish import SelfishPolicy
from draftwire.nodes.controller.adaptive import AdaptivePolicy
from draftwire.nodes.controller.crowd import ALONE, Adds, Crowd, Pace
from draftwire.nodes.controller.policy import PlanValues, Policy
from draftwire.nodes.speculation.together import TOLERANCE, longest_wait_s

PassTimes = Callable[[int, int], float]
"(sessions, positions) -> seconds"

DRAFT_S = 0.001
K = 32


def steep(sessions: int, rows: int) -> float:
    """As a CPU has it: sixteen positions more take 40 % of a pass over sixteen."""
    return 0.035 + 0.0005 * sessions + 0.0017 * rows


def flat(sessions: int, rows: int) -> float:
    """Positions take nothing."""
    return 0.045


class Cell:
    """Sessions in step with each other, as a base station that gathers has them; what is random is seeded."""

    def __init__(
        self, alphas: Sequence[float], *, passes: PassTimes, rtts_s: Sequence[float], seed: int
    ) -> None:
        self.alphas, self.passes, self.rtts_s = alphas, passes, rtts_s
        self.now_s = 1.0
        self.plans = [PlanValues(k=K, gamma=2, min_draft=2)] * len(alphas)
        self.tokens = np.zeros(len(alphas))
        self._rng, self._step = np.random.default_rng(seed), 0
        self._asked_s = [self.now_s] * len(alphas)
        self._next_s = [self.now_s + rtt_s + 2 * DRAFT_S for rtt_s in rtts_s]
        "when each session has its next step"

    def play(self, policy: Policy, passes: int) -> None:
        """So many passes."""
        for _ in range(passes):
            here = self._gathered()
            rows = sum(1 + self.plans[one].gamma for one in here)
            pass_s = self.passes(len(here), rows)
            began_s, self.now_s = self.now_s, self.now_s + pass_s
            for one in here:
                policy.observe(self._tested(one, began_s, pass_s, len(here), rows))
            self._step += 1
            for one in here:
                self.plans[one] = policy.plan(f"device-{one}", 1)
                gamma = self.plans[one].gamma
                self._asked_s[one] = self.now_s
                away_s = self.rtts_s[one] + gamma * DRAFT_S if gamma else 0.0
                self._next_s[one] = self.now_s + away_s

    def _gathered(self) -> list[int]:
        """Who is in the next pass, which begins now: the clock is at its beginning."""
        every = range(len(self.alphas))
        self.now_s = max(self.now_s, min(self._next_s))
        usual_s, begins_s = self.passes(len(self.alphas), len(self.alphas)), self.now_s
        steady = sum(not self.plans[one].gamma for one in every)
        for blocks, one in enumerate(sorted(every, key=lambda one: self._next_s[one]), start=1):
            longest_s = longest_wait_s(pass_s=usual_s, steady=steady, blocks=blocks)
            if self._next_s[one] - self.now_s < TOLERANCE * longest_s:
                begins_s = max(begins_s, self._next_s[one])
        self.now_s = begins_s
        return [one for one in every if self._next_s[one] <= begins_s]

    def _tested(self, one: int, began_s: float, pass_s: float, sessions: int, rows: int) -> StepReport:
        plan, gamma = self.plans[one], self.plans[one].gamma
        hits = self._rng.random(gamma) < self.alphas[one]
        accepted = int(np.argmin(hits)) if not hits.all() else gamma
        self.tokens[one] += accepted + 1
        came_s = self._next_s[one]
        return StepReport(
            device=f"device-{one}",
            request=1,
            step=self._step,
            plan=Plan(number=1, k=plan.k, gamma=gamma, min_draft=gamma),
            position=100 + self._step,
            drafted=gamma,
            seen=min(accepted + 1, gamma),
            accepted=accepted,
            computed=gamma + 1,
            step_s=pass_s,
            wait_s=0.0,
            hold_s=began_s + pass_s - came_s if gamma else 0.0,
            draft_bytes=60 if gamma else 0,
            rows_bytes=40 * gamma,
            draft_at_s=came_s,
            rows_at_s=came_s + 0.0002 if gamma else None,
            alone=not gamma,
            temperature=1.0,
            device_step_s=DRAFT_S,
            asked_at_s=self._asked_s[one] if gamma else None,
            asked_bytes=60 if gamma else 0,
            ended_at_s=self.now_s,
            echo_s=None,
            echo_bytes=0,
            pinned_k=K,
            pinned_gamma=None,
            tables="",
            acceptance=REJECTION,
            tokens=accepted + 1,
            pass_sessions=sessions,
            pass_rows=rows,
        )


def speed(
    policy: Policy,
    alphas: Sequence[float],
    *,
    passes: PassTimes = steep,
    rtt_s: float = 0.010,
    rtts_s: Sequence[float] | None = None,
    seed: int = 0,
) -> tuple[float, Cell]:
    """Tokens a second of all sessions together, over what the target alone brings them."""
    cell = Cell(alphas, passes=passes, rtts_s=rtts_s or [rtt_s] * len(alphas), seed=seed)
    cell.play(policy, 40)
    before, before_s = cell.tokens.sum(), cell.now_s
    cell.play(policy, 60)
    alone = len(alphas) / passes(len(alphas), len(alphas))
    return (cell.tokens.sum() - before) / (cell.now_s - before_s) / alone, cell


@pytest.mark.parametrize("seed", range(1))
def test_sixteen_sessions_do_not_fall_below_the_target_alone(seed: int) -> None:
    """Where positions take time, each for itself drafts until all are slower than without drafts."""
    together, _ = speed(AdaptivePolicy(), [0.3] * 16, seed=seed)
    selfish, _ = speed(SelfishPolicy(), [0.3] * 16, seed=seed)
    assert together > 0.93, f"seed {seed}"  # cold, and with what it tries now and then
    assert selfish < 0.9, f"seed {seed}: the trap is gone, so this test shows nothing"


def test_drafts_that_pay_are_in_use() -> None:
    """With easy text, and where positions take nothing."""
    assert speed(AdaptivePolicy(), [0.75] * 16)[0] > 1.1
    assert speed(AdaptivePolicy(), [0.5] * 6, passes=flat)[0] > 1.2


def test_texts_of_several_kinds_each_have_their_plan() -> None:
    """Easy ones draft more than hard ones beside them, and together they beat the target alone."""
    ratio, cell = speed(AdaptivePolicy(), [0.85] * 5 + [0.2] * 5)
    gammas = [plan.gamma for plan in cell.plans]
    assert ratio > 1.05
    assert np.mean(gammas[:5]) > np.mean(gammas[5:]) + 1


def test_a_device_far_away_does_not_make_all_wait() -> None:
    """With a round trip longer than a pass it has its own pace; the others keep theirs."""
    near, _ = speed(AdaptivePolicy(), [0.75] * 8)
    mixed, cell = speed(AdaptivePolicy(), [0.75] * 8, rtts_s=[0.010] * 7 + [0.200])
    assert mixed > 0.85 * near
    assert cell.tokens[7] < cell.tokens[:7].min()


def test_one_session_is_planned_for_as_ever() -> None:
    """What reports say of passes changes no plan of a session that has the base station for itself."""
    told, untold = AdaptivePolicy(), Untold()
    cells = [Cell([0.6], passes=steep, rtts_s=[0.01], seed=3) for _ in range(2)]
    for _ in range(80):
        cells[0].play(told, 1)
        cells[1].play(untold, 1)
        assert cells[0].plans == cells[1].plans


class Untold(AdaptivePolicy):
    """Of a base station that says nothing of its passes."""

    def observe(self, report: object) -> None:
        assert isinstance(report, StepReport)
        super().observe(replace(report, pass_sessions=1, pass_rows=0))


def heard(crowd: Crowd, cell: Cell, at_s: float, *devices: int) -> None:
    for one in devices:
        report = cell._tested(one, at_s - 0.05, 0.05, len(devices), 3 * len(devices))
        crowd.heard(replace(report, ended_at_s=at_s))


def test_a_session_that_falls_silent_is_not_reckoned_with() -> None:
    """A request that has ended tells nobody; its device's next one takes its place."""
    crowd, cell = Crowd(), Cell([0.5] * 3, passes=steep, rtts_s=[0.01] * 3, seed=0)
    for number in range(5):
        heard(crowd, cell, 2.0 + 0.1 * number, 0, 1, 2)
    found = crowd.others("device-0", overhead_s=0.0, drafting=True)
    assert found is not None and found.sessions == 2
    for number in range(5, 15):
        heard(crowd, cell, 2.0 + 0.1 * number, 0, 1)
    found = crowd.others("device-0", overhead_s=0.0, drafting=True)
    assert found is not None and found.sessions == 1
    for number in range(15, 25):
        heard(crowd, cell, 2.0 + 0.1 * number, 0)
    assert crowd.others("device-0", overhead_s=0.0, drafting=True) is None
    assert not crowd.shares("device-0")


def test_one_long_pause_is_not_taken_for_the_pace_of_a_session() -> None:
    """One that was held up for a minute, and then ends, is soon gone."""
    crowd, cell = Crowd(), Cell([0.5] * 2, passes=steep, rtts_s=[0.01] * 2, seed=0)
    for at_s in (2.0, 2.1, 62.0):
        heard(crowd, cell, at_s, 0, 1)
    for number in range(25):
        heard(crowd, cell, 62.1 + 0.1 * number, 0)
    assert not crowd.shares("device-0")


def test_steps_that_take_longer_than_expected_count_against_drafts() -> None:
    """Whatever it is that they wait for; without drafts it is forgotten by and by."""
    pace = Pace(cycle_s=0.1, wait_s=0.02)
    assert pace.slower == 1
    for _ in range(100):
        pace.observe(0.08, sessions=1)
    assert pace.slower == 1
    for _ in range(8 * 60):
        pace.observe(0.12, sessions=8)
    assert 1.12 < pace.slower < 1.2
    pace.observe(60.0, sessions=8)
    assert pace.slower < 1.25
    for _ in range(300):
        pace.fade(1)
    assert pace.slower < 1.02


def test_a_draft_model_shared_by_all_devices_is_noticed() -> None:
    """The others' drafting is no device's own, and in no round trip either if it comes and goes."""
    crowd, cell = Crowd(), Cell([0.5] * 4, passes=flat, rtts_s=[0.01] * 4, seed=0)

    def after(every_s: float) -> bool:
        began_s = crowd._now_s + 0.2
        for number in range(30):
            heard(crowd, cell, began_s + 2 + every_s * number, 0, 1, 2, 3)
            for one in range(4):
                crowd.planned((f"device-{one}", 1), Adds(tokens=1.5, rows=3.0, away_s=0.01))
            drafts = crowd.use_drafts()
        return drafts

    assert after(0.06)
    assert not after(0.09)


def test_sessions_that_decode_alone_share_the_price_of_tries() -> None:
    """Sixteen of hard text try so seldom that together they hardly lose by it."""
    ratio, cell = speed(AdaptivePolicy(), [0.1] * 16)
    assert ratio > 0.985
    assert sum(plan.gamma > 0 for plan in cell.plans) <= 1


def test_a_new_device_begins_with_what_others_have_told() -> None:
    """Among sessions of hard text no prior makes it draft for long."""
    policy, cell = AdaptivePolicy(), Cell([0.3] * 4, passes=steep, rtts_s=[0.01] * 4, seed=1)
    before = policy.plan("device-9", ANY_REQUEST)
    for _ in range(15):
        cell.play(policy, 1)
        for one in range(4):
            policy.observe(rows_of(f"device-{one}", 0.3))
    after = policy.openings(ANY_DEVICE)[0]
    assert before.belief is not None and after.belief is not None
    assert after.gamma < before.gamma
    assert max(after.belief.alphas.values()) < 0.8 * max(before.belief.alphas.values())


def rows_of(device: str, alpha: float) -> RowsReport:
    return RowsReport(
        device=device,
        request=1,
        step=0,
        temperature=1.0,
        k=K,
        ladder=(K,),
        alphas=((alpha,), (alpha,)),
        low=(alpha, alpha),
        high=(alpha, alpha),
        gap=(0.0, 0.0),
        filled=(0.0, 0.0),
        rows_bytes=80,
        draft_at_s=1.0,
        rows_at_s=1.001,
        tables="",
        coupled=(alpha, alpha),
    )


def test_drafts_are_given_up_by_all_at_once() -> None:
    """A round trip is paid once for all: so it is weighed for all, with some patience once it is paid."""
    crowd, cell = Crowd(), Cell([0.5] * 4, passes=flat, rtts_s=[0.01] * 4, seed=0)
    for number in range(5):
        heard(crowd, cell, 2.0 + 0.1 * number, 0, 1, 2, 3)

    for rows in (4, 6, 9, 12, 15):
        crowd.passes.observe(sessions=4, rows=rows, step_s=0.05)

    def draft(tokens: float) -> None:
        for one in range(4):
            crowd.planned((f"device-{one}", 1), Adds(tokens=tokens, rows=3.0, away_s=0.01))

    wait = 1 + 0.01 / crowd.passes.seconds(sessions=4, rows=12)
    draft(1.1 * wait)
    assert crowd.use_drafts()
    draft(0.98 * wait)
    assert crowd.use_drafts()
    draft(0.9 * wait)
    assert not crowd.use_drafts()
    draft(0.98 * wait)
    assert not crowd.use_drafts()
    assert crowd.others("device-0", overhead_s=0.0, drafting=False) != crowd.others(
        "device-0", overhead_s=0.0, drafting=True
    )
    assert ALONE.tokens == ALONE.rows == 1
