"""The plan of a request whose drafts are hints: coupled, or at temperature 0.

The best of nodes/controller/paths.py by what is known. Passes of many lengths come by themselves while the
device drafts ahead, and hits tell of acceptance at every place of a run, so little has to be explored: the
target alone, when it may be the faster choice, and drafts, when it was. Both take a few passes, until what is
under way has passed.
"""

from math import ceil, inf, log

from draftwire.codecs.control import COUPLED
from draftwire.nodes.controller.belief import Belief
from draftwire.nodes.controller.crowd import Others
from draftwire.nodes.controller.estimates import believed
from draftwire.nodes.controller.estimators.coupled import survives
from draftwire.nodes.controller.knowledge import (
    PLAIN,
    DeviceState,
    Knowledge,
    RequestState,
    TextState,
)
from draftwire.nodes.controller.paths import ALONE, STEP, PathChoices, Pins, in_steps, lesson_k
from draftwire.nodes.controller.pause import PATIENCE
from draftwire.nodes.controller.policy import PlanValues
from draftwire.nodes.speculation.frames import frames_of, rung_bits

GREEDY_K = 32
"Where K means nothing and nobody has named one."

WORTH = 1e-3
"""Drafts that the target does not wait for go on as long as they are expected to be faster than it is alone
by this share: else they are drafted for nothing."""

FIRST_GAMMA = 8
"The longest draft while the target's time has hardly been seen at different lengths."

ALONE_WORTH = 1.25
"Of the target alone: where drafts are expected to be this fast, no step alone is needed to compare."

ALONE_FIRST, ALONE_GROWS = 64, 4
"""Passes with drafts before the target alone is timed, and how many times more before it is timed again: a
look interrupts the path, and what it shows seldom changes."""

RETRY_GAMMA = 4
"The longest draft of a try."

CHANCE, DRY_MARGIN, MOST_DRY = 3e-4, 0.3, 48
"""Drafts that are sent faster than the link bears wait in its queue: then none is in time, and none tells how
slow the link is. Passes without drafts are taken for that once so many in a row have no more than this chance
of being bad luck; the margin is of passes, as drafts may just miss one. Where that would be very many, drafts
hardly pay, and a false alarm costs little."""

SETTLING = 4
"Passes of a look or of a try, beside those that a round trip takes."


class HintsPlanner:
    """One for all devices of a BS."""

    def __init__(
        self, known: Knowledge, *, ladder: tuple[int, ...], max_gamma: int, target_only: bool
    ) -> None:
        self._known, self._ladder, self._max_gamma = known, ladder, max_gamma
        self._target_only = target_only
        self._weighed: dict[tuple[str, float, str, Pins], PathChoices] = {}
        "since the newest report"

    def forget(self) -> None:
        """Something new is known."""
        self._weighed.clear()

    def opening(self, name: str, device: DeviceState, *, temperature: float) -> PlanValues:
        """What the device's next request of this kind begins with."""
        text, state = device.texts[temperature], RequestState(temperature=temperature, acceptance=COUPLED)
        choices = self._choices(name, device, text, state)
        plan = choices.best(longest=self._longest())
        alone = self._target_only and not choices.pays(plan, PATIENCE, WORTH)
        return self._told(device, choices, ALONE if alone else plan, "alone" if alone else "best")

    def plan(self, name: str, device: DeviceState, state: RequestState) -> PlanValues:
        """What this request should go by now."""
        assert state.temperature is not None
        text = device.texts[state.temperature]
        choices = self._choices(name, device, text, state)
        plan = choices.best(longest=self._longest() if state.pinned_gamma is None else state.pinned_gamma)
        late = state.dry >= self._most_dry(device, choices, gamma=state.gamma or 0)
        if late:
            state.dry = 0
            device.link.lost()
        if state.pinned_gamma is not None:
            return self._given(device, state, choices, plan, "pinned")
        patience = 0.0 if state.gamma == 0 else PATIENCE
        if self._target_only and not choices.pays(plan, patience, WORTH):
            device.looks_at_alone = 0
            return self._alone(device, text, state, choices)
        text.pause_of_hints.over()
        state.plans += 1
        if late:  # what is on the link has to be gone before new drafts can be in time
            state.looks_left = self._settling(device, choices)
        elif state.looks_left == 0 and self._look_at_alone(device, choices, plan):
            device.looks_at_alone += 1
            state.looks_left = self._settling(device, choices)
        if state.looks_left:
            state.looks_left -= 1
            look = self._given(device, state, choices, ALONE, "explore")
            state.gamma = choices.gamma(plan)  # what comes next goes on from here
            return look
        reason = "best" if state.pinned_k is None and state.pinned_min_draft is None else "pinned"
        return self._given(device, state, choices, plan, reason)

    def _alone(
        self, device: DeviceState, text: TextState, state: RequestState, choices: PathChoices
    ) -> PlanValues:
        """The target alone is expected to be faster: so it decodes alone, or drafts are tried."""
        trial = choices.best(longest=min(RETRY_GAMMA, self._max_gamma))
        loss_s = max(0.0, 1 - choices.rate(trial) * choices.alone_s) * choices.alone_s
        sharing = max(1, self._known.crowd.sessions)
        if text.pause_of_hints.due(loss_s, steps=self._settling(device, choices), sharing=sharing):
            return self._given(device, state, choices, trial, "retry")
        return self._given(device, state, choices, ALONE, "alone")

    def _look_at_alone(self, device: DeviceState, choices: PathChoices, plan: int) -> bool:
        """Whether the target alone should be timed: where it may be the better choice."""
        wait = ALONE_FIRST * ALONE_GROWS**device.looks_at_alone
        may_be = choices.rate(plan) * choices.alone_s < ALONE_WORTH
        return self._target_only and may_be and self._known.target.since_alone >= wait

    def _most_dry(self, device: DeviceState, choices: PathChoices, *, gamma: int) -> float:
        """Passes without drafts that may follow each other by chance: of paths that end before ids come."""
        alone = ceil((device.trip.rtt_s + device.draft.step_s) / choices.alone_s + DRY_MARGIN)
        ends = 1 - choices.survives(alone)
        if gamma <= alone:  # the log is always ahead of so short a draft, which fills no queue
            return inf
        paths = 1 + log(CHANCE) / log(ends) if 0 < ends < 1 else 1.0
        return min(ceil(alone * paths), MOST_DRY) if ends < 1 else MOST_DRY

    def _settling(self, device: DeviceState, choices: PathChoices) -> int:
        return SETTLING + ceil(device.trip.rtt_s / choices.alone_s)

    def _longest(self) -> int:
        """gamma, as far as it is known what long drafts cost."""
        known = self._known.passes(beside=True).knows_slope
        return self._max_gamma if known else min(FIRST_GAMMA, self._max_gamma)

    def _choices(
        self, name: str, device: DeviceState, text: TextState, state: RequestState
    ) -> PathChoices:
        pins = Pins(k=state.pinned_k, gamma=state.pinned_gamma, min_draft=state.pinned_min_draft)
        spelling = self._known.spelling(device, state)
        assert state.temperature is not None
        question = name, state.temperature, spelling, pins
        if question not in self._weighed:
            others = self._known.others(name)
            waiting, ahead = self._beliefs(device, text, state, spelling=spelling, others=others)
            self._weighed[question] = PathChoices(
                waiting=waiting,
                ahead=ahead,
                most_gamma=self._max_gamma,
                pins=pins,
                jitter_s=device.trip.jitter_s,
            )
        return self._weighed[question]

    def _beliefs(
        self,
        device: DeviceState,
        text: TextState,
        state: RequestState,
        *,
        spelling: str,
        others: Others | None,
    ) -> tuple[Belief, Belief]:
        """With the target's times while the device waits, and while it drafts."""
        whole, longest = text.whole, max(self._max_gamma, state.pinned_gamma or 0)
        passes = [self._known.passes(beside=beside) for beside in (False, True)]
        alphas = {self._k(device, state, spelling): text.coupled.mean(whole)}
        chances = survives(text.coupled.chances(whole), longest)
        made = {
            one: believed(
                self._known,
                device,
                text,
                alphas=alphas,
                spelling=spelling,
                acceptance=state.acceptance,
                hints=True,
                greedy=state.temperature == 0,
                passes=one,
                others=others,
                survives=chances,
            )
            for one in set(passes)  # most often the same
        }
        return made[passes[0]], made[passes[1]]

    def _k(self, device: DeviceState, state: RequestState, spelling: str) -> int:
        """Of single rows."""
        if state.pinned_k is not None:
            return state.pinned_k
        if state.temperature == 0:
            return device.k or GREEDY_K
        known = self._known
        ladder = tuple(k for k in self._ladder if k <= known.vocab_size) or (known.vocab_size,)
        frames = frames_of(
            vocab_size=known.vocab_size,
            row_scale=device.rows[spelling].scale,
            plain_scale=device.rows[PLAIN].scale,
            rungs=rung_bits(known.tables(spelling)),
        )
        return lesson_k(frames, uplink_bps=device.link.bps, ladder=ladder)

    def _given(
        self, device: DeviceState, state: RequestState, choices: PathChoices, plan: int, reason: str
    ) -> PlanValues:
        """The plan, remembered as the request's last."""
        state.gamma = choices.gamma(plan)
        return self._told(device, choices, plan, reason)

    def _told(self, device: DeviceState, choices: PathChoices, plan: int, reason: str) -> PlanValues:
        told = device.link.bearable_bps
        if not told / STEP < device.told_bps < told * STEP:
            device.told_bps = in_steps(told / STEP**0.5)
        return choices.told(plan, reason, uplink_bps=round(device.told_bps))


__all__ = ["GREEDY_K", "HintsPlanner"]
