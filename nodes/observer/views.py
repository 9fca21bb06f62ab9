"""What is known of one device: its answers, its plan and figures over time, and what was decided for it.

Whatever may be shown has a number, which rises: who has seen everything up to one is told what has a larger
one. What was forgotten, and had not been seen, is why a view is then told in full again. Pure.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from statistics import median
from typing import Final

from draftwire.codecs.control_fields import Json
from draftwire.nodes.observer.answers import Answer
from draftwire.nodes.observer.heard import DIRECTIONS, Asked, Carried, Decision, Ended, Step, Tokens
from draftwire.nodes.observer.recent import WINDOW_S, Alpha, Flow, Speed
from draftwire.nodes.observer.words import Teller

MAX_ANSWERS: Final = 20
MAX_POINTS: Final = 1200
MAX_DECISIONS: Final = 200
POINT_S: Final = 0.5
"""From one point to the next, while anything happens."""

QUIET_S: Final = 60.0
"""An answer whose device says nothing at all for so long has failed, as far as anybody can see. One that
waits, as for a base station, has not: its device says that it is there."""

WAITED_S: Final = 600.0
"""So has one that was told nothing of for so long: its device was started anew, and knows nothing of it."""

STEPS: Final = 20
"""Passes whose usual length is told."""


@dataclass(slots=True, kw_only=True)
class Way:
    """One direction of its link."""

    flow: Flow = field(default_factory=Flow)
    rate_bps: float | None = None
    "None: no limit, or not told"
    queued_bytes: int = 0
    dropped: int = 0

    def fields(self, now_s: float) -> dict[str, Json]:
        """As a feed tells it."""
        return {
            "bytes_per_s": round(self.flow.value(now_s), 1),
            "rate_bps": self.rate_bps,
            "queued_bytes": self.queued_bytes,
            "dropped": self.dropped,
            "total_bytes": self.flow.total,
        }


class View:
    """Of one device."""

    def __init__(self, name: str, *, number: int) -> None:
        """`number`: no other view has it."""
        self.name, self.number = name, number
        self.heard_s = float("-inf")
        "when anybody said anything of it"
        self.last = self.lost = 0
        "numbers of the newest that there is, and of the newest that was forgotten"
        self._answers = dict[str, Answer]()
        self._points = deque[tuple[int, dict[str, Json]]]()
        self._point_s = float("-inf")
        self._decisions = deque[tuple[int, dict[str, Json]]]()
        self._ways = {direction: Way() for direction in DIRECTIONS}
        self._by_channel = False
        "whether a channel tells of its bytes"
        self._alpha, self._speed, self._step_speed = Alpha(), Speed(), Speed()
        self._step_s = deque[float](maxlen=STEPS)
        self._steps_s = self._began_s = float("-inf")
        "when the last step was heard, and when answers began that follow on one another"
        self._plan: dict[str, Json] | None = None
        self._decided: int | None = None
        "the request of the last decision"
        self._estimated_bps: float | None = None
        self._alone: float | None = None
        "tokens a second expected of the target alone"
        self._sessions = 0
        self._teller = Teller()

    # What is told ------------------------------------------------------------------------------------------

    def step(self, step: Step, at_s: float) -> None:
        """A verification step."""
        self._alpha.observe(accepted=step.accepted, seen=step.seen)
        self._step_s.append(step.step_s)
        self._sessions = step.pass_sessions
        if at_s - self._steps_s > QUIET_S:
            self._step_speed.end()
        self._steps_s = at_s
        self._step_speed.observe(step.tokens, at_s)
        if self._decided != step.request:
            self._plan = _plan_fields(step.k, step.gamma, step.acceptance)
        if not self._by_channel:
            flow = self._ways["uplink"].flow
            flow.observe(flow.total + step.draft_bytes + step.rows_bytes, counted_s=at_s, at_s=at_s)
        self._happened(at_s)

    def decision(self, decision: Decision, at_s: float) -> None:
        """A plan, and the estimates that it rests on."""
        belief = decision.belief
        self._decided = decision.request
        if belief is not None:
            self._estimated_bps = belief.uplink_bps
            self._alone = belief.alone_tokens_per_s or None
        if belief is None or belief.reason != "explore":
            acceptance = "rejection" if belief is None else belief.acceptance
            self._plan = _plan_fields(decision.k, decision.gamma, acceptance)
        words = self._teller.hear(decision, sessions=self._sessions, now_s=at_s)
        if words is not None:
            told: dict[str, Json] = {"at_s": round(at_s, 3), "text": words}
            self._decisions.append((self._next(), told))
            self._bound(self._decisions, MAX_DECISIONS)
        self._happened(at_s)

    def carried(self, carried: Carried, *, counted_s: float, at_s: float) -> None:
        """What its channel has carried."""
        if not self._by_channel:
            self._by_channel = True
            self._ways["uplink"].flow = Flow()
        way = self._ways[carried.direction]
        way.flow.observe(carried.delivered_bytes, counted_s=counted_s, at_s=at_s)
        way.rate_bps, way.queued_bytes = carried.rate_bps, carried.queued_bytes
        way.dropped = carried.dropped
        self._happened(at_s)

    def asked(self, asked: Asked, at_s: float) -> None:
        """It begins an answer; one that goes by the same name is over."""
        if not self.running():
            self._speed.end()
            self._step_speed.end()
            self._began_s = at_s
        if asked.request in self._answers:
            self._forget(asked.request)
            self.lost = self._next()  # nobody may put its pieces behind the old ones
        answer = self._answers[asked.request] = Answer.begun(asked, self._next())
        while self.forget_oldest(but=MAX_ANSWERS):
            pass
        self._changed(answer, at_s)

    def tokens(self, tokens: Tokens, at_s: float) -> None:
        """An answer goes on. One that was not heard to begin begins here."""
        answer = self._known(tokens, at_s)
        self.lost = max(self.lost, answer.grow(tokens, self._next))
        self._speed.observe(len(tokens.pieces), at_s)
        self._changed(answer, at_s)

    def ended(self, ended: Ended, at_s: float) -> None:
        """An answer is whole, or has failed."""
        answer = self._known(ended, at_s)
        answer.end(ended)
        self._changed(answer, at_s)
        if not self.running():  # a line that is drawn through the points breaks here
            self._speed.end()
            self._point(at_s)

    def pass_time(self, now_s: float, *, silent_s: float) -> None:
        """Of some answers nothing more is expected. `silent_s`: for how long its device has said nothing."""
        for answer in self._answers.values():
            detail = ""
            if silent_s >= QUIET_S:
                detail = "its device says nothing any more"
            elif now_s - answer.heard_s >= WAITED_S:
                detail = f"nothing was told of it for {WAITED_S / 60:.0f} min"
            if detail and answer.state == "running":
                answer.state, answer.detail, answer.number = "failed", detail, self._next()
                self._speed.end()

    def forget_oldest(self, *, but: int) -> bool:
        """Forget its oldest answer, unless it has no more than so many; whether it did."""
        if len(self._answers) <= but:
            return False
        self._forget(next(iter(self._answers)))
        return True

    @property
    def size(self) -> int:
        """Bytes of its answers."""
        return sum(answer.size for answer in self._answers.values())

    # What is shown -----------------------------------------------------------------------------------------

    def answers(self, since: int) -> list[Json]:
        """Those that changed behind that number."""
        return [one.fields(since) for one in self._answers.values() if one.number > since]

    def points(self, since: int) -> list[Json]:
        """Those behind that number."""
        return list(_behind(self._points, since))

    def decisions(self, since: int) -> list[Json]:
        """Those behind that number."""
        return list(_behind(self._decisions, since))

    def plan(self) -> dict[str, Json] | None:
        """The one in force; None: none was heard of."""
        return self._plan

    def flow(self, now_s: float) -> dict[str, Json]:
        """Both directions."""
        return {direction: way.fields(now_s) for direction, way in self._ways.items()}

    def now(self, now_s: float) -> dict[str, Json]:
        """What is so at this moment."""
        return {
            "alpha": _rounded(self.alpha, 3),
            "tokens_per_s": _rounded(self._tokens_per_s(now_s), 2),
            "target_only_tokens_per_s": _rounded(self._target_only(), 2),
            "estimated_bps": self._estimated_bps,
        }

    @property
    def pass_s(self) -> float | None:
        """The target's usual pass; None: there was none."""
        return median(self._step_s) if self._step_s else None

    @property
    def alpha(self) -> float | None:
        """Accepted over tested of late; None: nothing was tested."""
        return self._alpha.value

    def running(self) -> int:
        """Answers that have not ended, as far as anybody can see."""
        return sum(answer.state == "running" for answer in self._answers.values())

    # -------------------------------------------------------------------------------------------------------

    def _target_only(self) -> float | None:
        pass_s = self.pass_s
        return self._alone if self._alone is not None else 1 / pass_s if pass_s else None

    def _tokens_per_s(self, now_s: float) -> float | None:
        """As the target tells, which counts each token, or else the device, which tells texts."""
        if self.running():
            told = self._step_speed if self._steps_s >= self._began_s else self._speed
            speed = told.value(now_s)
            return 0.0 if speed is None and now_s - self._began_s >= WINDOW_S else speed
        if not self._answers and now_s - self._steps_s < POINT_S * 4:
            return self._step_speed.value(now_s)
        return None

    def _known(self, told: Tokens | Ended, at_s: float) -> Answer:
        if told.request not in self._answers:
            self.asked(Asked(device=told.device, request=told.request, prompt=""), at_s)
        return self._answers[told.request]

    def _changed(self, answer: Answer, at_s: float) -> None:
        answer.number, answer.heard_s = self._next(), at_s
        self._happened(at_s)

    def _happened(self, at_s: float) -> None:
        if at_s - self._point_s >= POINT_S:
            self._point(at_s)

    def _point(self, at_s: float) -> None:
        plan = self._plan or {}
        now = self.now(at_s)
        point: dict[str, Json] = {
            "at_s": round(at_s, 3),
            "rate_bps": self._ways["uplink"].rate_bps,
            "estimated_bps": now["estimated_bps"],
            "alpha": now["alpha"],
            "k": (plan.get("k") or None) if plan.get("gamma") else None,  # it means nothing then
            "gamma": plan.get("gamma"),
            "tokens_per_s": now["tokens_per_s"],
            "target_only_tokens_per_s": now["target_only_tokens_per_s"],
        }
        self._point_s = at_s
        self._points.append((self._next(), point))
        self._bound(self._points, MAX_POINTS)

    def _next(self) -> int:
        self.last += 1
        return self.last

    def _bound(self, told: deque[tuple[int, dict[str, Json]]], most: int) -> None:
        while len(told) > most:
            self.lost = max(self.lost, told.popleft()[0])

    def _forget(self, request: str) -> None:
        self.lost = max(self.lost, self._answers.pop(request).number)


def _plan_fields(k: int, gamma: int, acceptance: str) -> dict[str, Json]:
    return {"k": k, "gamma": gamma, "alone": gamma == 0, "acceptance": acceptance}


def _behind(told: Sequence[tuple[int, dict[str, Json]]], since: int) -> Iterator[dict[str, Json]]:
    new = list(takewhile(lambda one: one[0] > since, reversed(told)))
    return (fields for _, fields in reversed(new))


def _rounded(value: float | None, places: int) -> float | None:
    return None if value is None else round(value, places)


__all__ = ["MAX_ANSWERS", "MAX_DECISIONS", "MAX_POINTS", "View", "Way"]
