"""The policy that adapts K and gamma: the plan of most expected tokens a second, by what reports have told.

Each plan is the best of a grid, K by gamma and the target alone, under the model of cost of
nodes/speculation/cost.py with the estimates of nodes/controller/estimators. What is never tried is never
learnt, so now and then a plan of a request is another one than the best:

- It draws from a larger K. Rows tell alpha for every smaller K, and little of larger ones; a controller that
  believes in K = 3 would never learn that K = 32 is better. The token drawn from the larger row counts as
  ever, so this costs bits only, and it is done only while what K hides may be worth more than them.
- It has another gamma, as long as the target's time has hardly been seen at different lengths. For the same
  reason gamma moves by at most 2 a plan; where passes are shared, all sessions show it, and it may fall at
  once.
- It is two steps of the target alone, where that may be the faster choice and has long not been timed. The
  first of them is slowed by what the block before it left to do, so the second counts.
- While the target decodes alone, drafts are tried again after a time: see pause.py.

Where all rows of a block are expected before the pass over it ends, the block is tested as a whole: that
accepts more, and costs nothing there. Requests whose drafts are hints are planned for in hints.py. What the
next request begins with is said for both kinds, and the one that promises more is preferred.

A plan rests on the reports of blocks drawn one plan earlier, as an order reaches the BS after the Commit of
the step that it was asked for. Pure: the same reports and questions give the same plans.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.control import ANY_REQUEST, REJECTION
from draftwire.codecs.limits import MAX_GAMMA, MAX_PLAIN_K
from draftwire.codecs.tables import TableSets
from draftwire.nodes.controller.belief import Belief
from draftwire.nodes.controller.blocks import BlockChoices
from draftwire.nodes.controller.crowd import Others
from draftwire.nodes.controller.estimates import believed
from draftwire.nodes.controller.estimators.delivered import Delivered
from draftwire.nodes.controller.hints import HintsPlanner
from draftwire.nodes.controller.knowledge import (
    MAX_DEVICES,
    DeviceState,
    Knowledge,
    RequestState,
    TextState,
)
from draftwire.nodes.controller.pause import PATIENCE
from draftwire.nodes.controller.policy import PlanValues, Report
from draftwire.nodes.speculation.acceptance import LADDER
from draftwire.runtime.memory import remember

MAX_MOVE = 2
"Of gamma, from one plan of a request to the next."

RETRY_GAMMA = 2
"The longest draft of a try: it is likely to be lost."

OPTIMISM, OPTIMISM_POSITIONS = 0.2, 8
"""Before the target is left to decode alone, alpha is taken for larger by this share of it, falling as the
prior's weight does: a prior that is too low would otherwise hardly ever meet the truth."""

LEAST_OPTIMISM = 0.05
"Of it: with less left, sessions that share passes do without, as all of them ask at each pass."

EXPLORE_FROM = 32
"A look above K shows at least this many entries: below, each rung tells little of the next."

EXPLORE_WORTH = 0.85
"Of the best plan's speed: a look that is slower than this goes one rung up only."

LOOK_PRICE = 0.005
"Of the speed, for looks: the slower a look is, the more plans lie between it and the last one."

MAX_LOOK_WAIT = 16
"Plans. However dear a look is, it is made after so many."

ALONE_EVERY = 64
"Steps with drafts from one step alone to the next."

LOOKS_ALONE = 2

ALONE_WORTH = 2.0
"Of the target alone: where drafts are expected to be this fast, no step alone is needed to compare."

OPENINGS_EVERY = 8
"Reports."

REMEMBERED = 0.9
"""Of what both acceptances promised at the last look, beside what they promise now: a request lasts longer
than a state of a link that fades, so which of them is preferred hangs on the last ten looks."""

USUAL_TEMPERATURE = 1.0
"Of a device that has only been heard of at temperature 0."


class AdaptivePolicy:
    """See above. One object serves all devices of a BS."""

    def __init__(
        self,
        *,
        vocab_size: int = 32_000,
        ladder: Sequence[int] = LADDER,
        max_gamma: int = 16,
        target_only: bool = True,
        explore_every: int = 4,
    ) -> None:
        """ladder: the K to choose from; target_only: whether gamma = 0 may be chosen; explore_every: plans of
        a request from one that may not be the best to the next. Raises ValueError for a value out of range.
        """
        _require(vocab_size >= 2, "vocab_size", vocab_size, "give the number of token ids, 2 or more")
        _require(1 <= max_gamma <= MAX_GAMMA, "max_gamma", max_gamma, f"give 1 to {MAX_GAMMA}")
        _require(explore_every >= 2, "explore_every", explore_every, "give 2 or more")
        rungs = tuple(sorted(set(ladder)))
        _require(
            bool(rungs) and 1 <= rungs[0] and rungs[-1] <= MAX_PLAIN_K,
            "ladder",
            list(ladder),
            f"give at least one K, each from 1 to {MAX_PLAIN_K}",
        )
        self._ladder, self._max_gamma = rungs, max_gamma
        self._target_only, self._explore_every = target_only, explore_every
        self._known = Knowledge(vocab_size=vocab_size)
        self._hints = HintsPlanner(
            self._known, ladder=rungs, max_gamma=max_gamma, target_only=target_only
        )
        self._weighed: dict[_Question, BlockChoices] = {}
        "since the newest report"
        self._opened: dict[str, tuple[int, tuple[PlanValues, ...]]] = {}
        "by device: reports of it until then, and what its next request was to begin with"
        self._promised: dict[str, NDArray[np.float64]] = {}
        "by device: seconds a token that rejection and coupled acceptance promised of late"

    @property
    def vocab_size(self) -> int:
        """V of the pair that the BS serves; set it when the BS has registered."""
        return self._known.vocab_size

    @vocab_size.setter
    def vocab_size(self, vocab_size: int) -> None:
        self._known.vocab_size = vocab_size
        self._forget()
        self._opened.clear()

    @property
    def table_sets(self) -> TableSets:
        """The sets whose rows have known sizes; rows of any other are learnt from the size of plain ones."""
        return self._known.table_sets

    @table_sets.setter
    def table_sets(self, table_sets: TableSets) -> None:
        self._known.table_sets = table_sets
        self._forget()
        self._opened.clear()

    def observe(self, report: Report) -> None:
        """Take one verification step, or the rows of one, into account."""
        self._known.observe(report)
        self._forget()

    def _forget(self) -> None:
        """Something new is known."""
        self._weighed.clear()
        self._hints.forget()

    def openings(self, device: str) -> tuple[PlanValues, ...]:
        """What the device's next request begins with, under rejection and where drafts are hints.

        Preferred is what has promised more tokens a second of late; coupled, while nothing is known of the
        device's text. Weighed anew after every report at first, then after some: nothing hangs on the newest.
        """
        reports = self._known.devices[device].reports
        if not reports:
            return self._openings(device)
        told = self._opened.get(device)
        few = told is None or told[0] < OPENINGS_EVERY
        every = 1 if few else OPENINGS_EVERY * (4 if self._known.crowd.shares(device) else 1)
        if told is None or not 0 <= reports - told[0] < every:
            told = reports, self._openings(device)
            remember(self._opened, device, told, most=MAX_DEVICES)
        return told[1]

    def _openings(self, device: str) -> tuple[PlanValues, ...]:
        known = self._known.devices[device]
        drafts_bind = known.temperature or USUAL_TEMPERATURE
        rejection = self._blocks(device, known, RequestState(temperature=drafts_bind))
        coupled = hints = self._hints.opening(device, known, temperature=drafts_bind)
        if known.temperature == 0:
            hints = self._hints.opening(device, known, temperature=0.0)
        text = known.texts[drafts_bind]
        seen = text.acceptance.seen + text.coupled.seen
        prefers = seen == 0 or self._promises_more(device, text.delivered, rejection, coupled)
        return rejection._replace(preferred=not prefers), hints._replace(preferred=prefers)

    def _promises_more(
        self, device: str, delivered: Delivered, rejection: PlanValues, coupled: PlanValues
    ) -> bool:
        """Whether coupled acceptance is expected to need fewer seconds a token."""
        now = np.array([delivered.slower(one.acceptance) / _promise(one) for one in (rejection, coupled)])
        of_late = REMEMBERED * self._promised.get(device, now) + (1 - REMEMBERED) * now
        remember(self._promised, device, of_late, most=MAX_DEVICES)
        return bool(of_late[1] <= of_late[0])

    def plan(self, device: str, request: int) -> PlanValues:
        """What this request should go by now; ANY_REQUEST: the device's next one."""
        known = self._known.devices[device]
        if request == ANY_REQUEST:
            if known.temperature == 0:
                return self._hints.opening(device, known, temperature=0.0)
            return self._blocks(device, known, RequestState(temperature=known.temperature))
        state = self._known.requests[device, request]
        if state.temperature is None:
            state.temperature = known.temperature
        if state.hints:
            given = self._hints.plan(device, known, state)
        else:
            given = self._blocks(device, known, state, request=request)
        state.promised = _promise(given)
        return given

    def _blocks(
        self, device: str, known: DeviceState, state: RequestState, *, request: int = ANY_REQUEST
    ) -> PlanValues:
        """The plan of a request under rejection, whose drafts bind; ANY_REQUEST: one to begin with."""
        assert state.temperature is not None
        text = known.texts[state.temperature]
        crowd, may_try = self._known.crowd, request != ANY_REQUEST
        choices = self._choices(device, known, text, state)
        pin = state.pinned_gamma
        if pin is not None:
            k, gamma = choices.best(pin, pin) if pin else (choices.ks[0], 0)
            crowd.planned((device, request), choices.adds(k, gamma))
        else:
            k, gamma = choices.best(1, self._max_gamma)
            pays = not self._target_only or self._may_pay(text, state, choices)
            crowd.planned((device, request), choices.adds(k, gamma if pays else 0))
            if pays and self._target_only and not crowd.use_drafts():
                alone = self._known.others(device, drafting=False)
                choices = choices if alone is None else choices.among(alone)
                pays = False
            if not pays:
                state.alone_s = choices.alone_beside_s
                return self._alone(text, state, choices, may_try=may_try)
            text.pause.over()
            if state.gamma is not None:
                least = max(1, state.gamma - MAX_MOVE) if choices.others is None else 1
                k, gamma = choices.best(least, min(state.gamma + MAX_MOVE, self._max_gamma))
        state.alone_s = choices.alone_beside_s
        return self._with_a_look(text, state, choices, k, gamma)

    def _choices(
        self, device: str, known: DeviceState, text: TextState, state: RequestState
    ) -> BlockChoices:
        """What is on offer, weighed once a report: the next request's plan is asked for with this one's."""
        assert state.temperature is not None
        longest = max(self._max_gamma, state.pinned_gamma or 0)
        spelling = self._known.spelling(known, state)
        question = device, state.temperature, spelling, state.pinned_k, longest
        if question not in self._weighed:
            others = self._known.others(device)
            if others is not None:
                self._known.compare(device, text, temperature=state.temperature)
            belief = self._belief(known, text, state, spelling=spelling, others=others)
            self._weighed[question] = BlockChoices(
                belief, longest, jitter_s=known.trip.jitter_s, others=others
            )
        return self._weighed[question]

    def _may_pay(self, text: TextState, state: RequestState, choices: BlockChoices) -> bool:
        """Whether drafts are expected to be faster than the target alone, or may turn out to be: AS2."""
        if choices.pays(0.0 if state.gamma == 0 else PATIENCE):
            return True
        prior = OPTIMISM_POSITIONS / (OPTIMISM_POSITIONS + text.acceptance.seen)
        if choices.others is not None and prior < LEAST_OPTIMISM:
            return False
        return choices.if_alpha(1 + OPTIMISM * prior).pays(0.0)

    def _alone(
        self, text: TextState, state: RequestState, choices: BlockChoices, *, may_try: bool
    ) -> PlanValues:
        """The target alone is expected to be faster: so it decodes alone, or a draft is tried."""
        k, gamma = choices.best(1, min(RETRY_GAMMA, self._max_gamma))
        sharing = max(1, self._known.crowd.sessions)
        if may_try and text.pause.due(choices.loss_s(k, gamma), sharing=sharing):
            return _given(state, choices, k, gamma, "retry")
        return _given(state, choices, k, 0, "alone")

    def _with_a_look(
        self, text: TextState, state: RequestState, choices: BlockChoices, k: int, gamma: int
    ) -> PlanValues:
        """This plan, or now and then one that shows what it does not."""
        by_itself = choices.others is None
        pinned = state.pinned_k is not None or state.pinned_gamma is not None
        reason = "pinned" if pinned else "best"
        state.plans += gamma > 0
        turn = state.plans % self._explore_every
        if state.pinned_gamma is None:
            if by_itself and state.looks_left == 0 and turn == self._explore_every // 2:
                state.looks_left = LOOKS_ALONE * self._look_at_alone(choices, k, gamma)
            if state.looks_left:
                state.looks_left -= 1
                look = _given(state, choices, k, 0, "explore")
                state.gamma = gamma  # what comes next goes on from here
                return look
            if by_itself and turn == 0 and not self._known.target.knows_slope:
                gamma = gamma - MAX_MOVE if gamma > MAX_MOVE else min(gamma + MAX_MOVE, self._max_gamma)
                reason = "explore"
        above = self._look_above(text, state, choices, k, gamma) if turn == 0 and gamma else None
        if above is not None:
            k, reason = above, "explore"
        return _given(state, choices, k, gamma, reason)

    def _look_at_alone(self, choices: BlockChoices, k: int, gamma: int) -> bool:
        """Whether steps alone should say how fast the target alone is: where it may be the better choice."""
        target = self._known.target
        old = not target.knows_alone or target.since_alone >= ALONE_EVERY
        return self._target_only and old and choices.rate(k, gamma) < ALONE_WORTH * choices.rate(k, 0)

    def _look_above(
        self, text: TextState, state: RequestState, choices: BlockChoices, k: int, gamma: int
    ) -> int | None:
        """The larger K to draw from now, if there may be anything to find."""
        ks = choices.ks
        at = ks.index(k)
        if at + 1 == len(ks) or not choices.more_above(k, gamma, text.acceptance.hidden(k)):
            return None
        far = max(min(at + 2, len(ks) - 1), next((i for i, rung in enumerate(ks) if rung >= EXPLORE_FROM), 0))
        best = choices.rate(k, gamma)
        above = ks[far] if choices.rate(ks[far], gamma) >= EXPLORE_WORTH * best else ks[at + 1]
        wait = min((1 - choices.rate(above, gamma) / best) / LOOK_PRICE, MAX_LOOK_WAIT)
        if state.plans - state.looked < wait:
            return None
        state.looked = state.plans
        return above

    def _belief(
        self,
        known: DeviceState,
        text: TextState,
        state: RequestState,
        *,
        spelling: str,
        others: Others | None,
    ) -> Belief:
        """What reports have told; the expected speeds are not known yet."""
        vocab_size = self.vocab_size
        ks = tuple(k for k in self._ladder if k <= vocab_size) or (vocab_size,)
        if state.pinned_k is not None:
            ks = (state.pinned_k,)
        return believed(
            self._known,
            known,
            text,
            alphas=text.acceptance.alphas(ks, since=text.alone_tokens if others is not None else 0),
            spelling=spelling,
            acceptance=REJECTION,
            hints=False,
            greedy=False,
            others=others,
        )


_Question = tuple[str, float, str, int | None, int]
"""Device, temperature, spelling, the K that is fixed, the longest draft: choices rest on these and on
reports."""


def _given(state: RequestState, choices: BlockChoices, k: int, gamma: int, reason: str) -> PlanValues:
    """The plan, remembered as the request's last."""
    state.gamma = gamma
    return choices.told(k, gamma, reason)


def _promise(plan: PlanValues) -> float:
    """Tokens a second."""
    assert plan.belief is not None
    return plan.belief.tokens_per_s


def _require(valid: bool, field: str, value: object, remedy: str) -> None:
    if not valid:
        raise ValueError(f"{field} is {value!r}: {remedy}")


__all__ = ["AdaptivePolicy"]
