"""The device of the pipelined simulation (pipelined.py): it drafts, tells, hears Commits, in virtual time.

As runtime/session/ahead.py has it, with one difference: what a token is does not matter, only whether it is
the log's. So a path is three numbers: where it starts, how far it has come, and where its first wrong token
stands.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from draftwire.codecs.frame import encode_frame
from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import Commit, Draft, Incarnation, Origin, Plan, StepTimes
from draftwire.nodes.console.bench.cycles import (
    JITTER_S,
    JITTER_TAIL_S,
    PING_BYTES,
    Course,
    runs_of,
)
from draftwire.nodes.console.bench.links import RadioLink
from draftwire.nodes.device.stopping import ID_BITS, SLOPE
from draftwire.nodes.speculation.frames import on_link_bits
from draftwire.nodes.speculation.stopping import EarlyStop
from draftwire.runtime.session.ahead import ROW_EVERY
from draftwire.runtime.session.device import ACKNOWLEDGE_EVERY

BEYOND: Final = 4 * MAX_GAMMA
"""Positions behind a run's last token that a path may reach."""

NEVER: Final = math.inf


@dataclass(frozen=True, kw_only=True)
class Text:
    """A course's text as drafts meet it. Lists by position."""

    course: Course
    right: list[int] = field(init=False, repr=False)
    "position of the first wrong token of a path that starts there"
    chances: list[float] = field(init=False, repr=False)
    "q of the device's pick"
    places: list[int] = field(init=False, repr=False)
    "in the trace"
    late_s: list[float] = field(init=False, repr=False)
    "jitter of one message after the other; the two directions read it from other places"

    def __post_init__(self) -> None:
        course, trace = self.course, self.course.trace
        count = course.tokens + BEYOND
        places = (course.places[0] + np.arange(count)) % len(trace.alpha)
        rng = np.random.default_rng([course.seed, 78])
        columns = rng.integers(trace.hits.shape[1], size=course.first + count)[course.first :]
        late_s = np.abs(rng.normal(0.0, JITTER_S, LATE)) + rng.exponential(JITTER_TAIL_S, LATE)
        derived = {
            "right": (np.arange(count) + runs_of(trace.hits[places, columns][None])[0]).tolist(),
            "chances": trace.chances[places, columns].astype(np.float64).tolist(),
            "places": places.tolist(),
            "late_s": (late_s if course.jitter else np.zeros(LATE)).tolist(),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)


LATE: Final = 4096
"""Messages until jitter repeats."""


class Told(NamedTuple):
    """A message on its way up. Of a Draft all fields; a row has its position as `start`; a ping no epoch."""

    at_s: float
    "arrival"
    known: int
    "the device's log length when it left"
    size: int
    epoch: int = -1
    start: int = 0
    end: int = 0
    wrong: int = 0
    "position of the path's first wrong token"
    last: bool = False
    row_behind_s: float = NEVER
    "of a row: when the message right before it arrived"


class Heard(NamedTuple):
    """A Commit on its way down."""

    at_s: float
    length: int
    "of the log"
    plan: Plan
    step_s: float


class Radio:
    """One direction of a link: whole messages in order, at the rate of the slot in which each begins."""

    def __init__(self, link: RadioLink, late_s: list[float], first: int) -> None:
        self._rates_bps: list[float] = link.rates_bps.tolist()
        self._slot_s, self._delay_s, self._began_s = link.slot_s, link.delay_s, link.began_s
        self._late_s, self._next = late_s, first
        self._free_s = self._last_s = 0.0

    def rate_bps(self, at_s: float) -> float:
        """Of a message that begins then."""
        return self._rates_bps[int((at_s + self._began_s) / self._slot_s) % len(self._rates_bps)]

    def send(self, now_s: float, bits: float) -> float:
        """When it arrives; none overtakes the one before it."""
        start_s = now_s if now_s > self._free_s else self._free_s
        self._free_s = start_s + bits / self.rate_bps(start_s)
        self._next += 1
        at_s = self._free_s + self._delay_s + self._late_s[self._next % LATE]
        if at_s > self._last_s:
            self._last_s = at_s
        return self._last_s


class Drafting:
    """The device. `advance` it to a time; what it has told by then stands in `told`, in order of arrival."""

    def __init__(self, text: Text, plan: Plan) -> None:
        course = text.course
        self.told: deque[Told] = deque()
        self.heard: deque[Heard] = deque()
        "Commits under way"
        self.drafted = 0
        self.known = 0
        self.plan = plan
        self.known_s = 0.0
        "when the newest Commit was heard"
        self._text = text
        self._token_s = course.compute.draft_step_s
        self._radio = Radio(course.link, text.late_s, 0)
        self._rule = EarlyStop()
        self._step_s = course.compute.target_step_s
        self._rows: list[int] = []
        self._rungs = {k: i for i, k in enumerate(course.trace.ladder)}
        self._acknowledged = 0
        self._free_s = 0.0
        "when the uplink has sent everything, by the plan's estimate"
        self._epoch = 0
        self._begin(0)
        self._draws_s = NEVER
        "when the token that is being drawn is there"
        self._drawing = 0
        "the epoch it is of"
        self._go_on(0.0)

    def _begin(self, start: int) -> None:
        self._epoch += 1
        self._start = self._end = self._said = start
        self._wrong = self._text.right[start]
        self._stopped = False
        self._rows.clear()

    def advance(self, until_s: float, *, or_told: bool = False) -> None:
        """Up to that time; `or_told`: no further than to the next message, if there is none yet."""
        while not (or_told and self.told):
            heard_s = self.heard[0].at_s if self.heard else NEVER
            next_s = min(heard_s, self._draws_s)
            if next_s > until_s or next_s == NEVER:
                return
            if next_s == heard_s:
                self._hear(self.heard.popleft())
            else:
                self._drew(next_s)

    def _in_one_go(self) -> bool:
        """Whether the device draws all of a block at once, with one row at most."""
        return self.plan.synchronous and not self.plan.early_stop

    def _complete(self) -> bool:
        return self._stopped or self._end - self.known >= self.plan.gamma

    def _drew(self, now_s: float) -> None:
        self.drafted += 1
        self._draws_s = NEVER
        if self._drawing == self._epoch:
            if self._end % ROW_EVERY == 0 and not (self._rows and self._in_one_go()):
                self._rows.append(self._end)
            self._end += 1
            if self.plan.early_stop:
                self._stopped = self._stops(now_s)
            self._tell_if_due(now_s)
        self._go_on(now_s)

    def _go_on(self, now_s: float) -> None:
        if self._draws_s == NEVER and not self._complete():
            self._draws_s, self._drawing = now_s + self._token_s, self._epoch

    def _stops(self, now_s: float) -> bool:
        """As nodes/device/stopping.py."""
        if not self.known_s:
            return False
        plan, cost_s = self.plan, SLOPE * self._step_s
        if self.plan.synchronous:
            cost_s += self._token_s + (ID_BITS / plan.uplink_bps if plan.uplink_bps else 0.0)
        chances = self._text.chances[self.known : self._end]
        return self._rule.stops(chances, tokens_per_s=self.known / self.known_s, token_s=cost_s)

    def _hear(self, heard: Heard) -> None:
        length, now_s = heard.length, heard.at_s
        if self.plan.early_stop or heard.plan.early_stop:
            for position in range(self._start, min(length, self._end, self._wrong + 1)):
                self._rule.observe(self._text.chances[position], position < self._wrong)
        self.known, self.known_s, self.plan, self._step_s = length, now_s, heard.plan, heard.step_s
        if length > min(self._wrong, self._end):
            self._begin(length)
        else:
            self._start, self._said = length, max(self._said, length)
            self._stopped = False
        self._tell_if_due(now_s)
        if length - self._acknowledged >= ACKNOWLEDGE_EVERY:
            self._acknowledge(now_s)
        self._go_on(now_s)

    def _acknowledge(self, now_s: float) -> None:
        """A device that waits says all that is outstanding again, any other one pings."""
        if self.plan.gamma and self._complete():
            self._said = self.known
            self._tell(now_s)
            return
        self._acknowledged = self.known
        self.told.append(Told(self._send(now_s, PING_BYTES), self.known, PING_BYTES))

    def _tell_if_due(self, now_s: float) -> None:
        plan, untold, drawn = self.plan, self._end > self._said, self._end - self.known
        if self._complete():
            if untold or drawn < plan.min_draft:
                self._tell(now_s)
        elif untold and drawn >= plan.min_draft and now_s >= self._free_s and not self.plan.synchronous:
            self._tell(now_s)

    def _tell(self, now_s: float) -> None:
        said, end, known = self._said, self._end, self.known
        size = draft_bytes(end - said)
        at_s = self._send(now_s, size)
        self.told.append(Told(at_s, known, size, self._epoch, said, end, self._wrong, self._complete()))
        self._said, self._acknowledged = end, known
        for position in self._rows:
            size = self._row_bytes(position)
            behind_s, at_s = at_s, self._send(now_s, size)
            self.told.append(Told(at_s, known, size, self._epoch, position, row_behind_s=behind_s))
        self._rows.clear()

    def _row_bytes(self, position: int) -> int:
        trace, rung = self._text.course.trace, self._rungs[self.plan.k]
        bits = trace.row_bits[self._text.places[position], rung]
        return math.ceil((trace.envelope_bits + float(bits)) / 8)

    def _send(self, now_s: float, size: int) -> float:
        bits, pace_bps = bits_of(size), self.plan.uplink_bps
        if pace_bps:
            self._free_s = max(self._free_s, now_s) + bits / pace_bps
        return self._radio.send(now_s, bits)


# Sizes ------------------------------------------------------------------------------------------------------

_INCARNATION = Incarnation(boot=0, counter=0)
_PLAN = Plan(number=0, k=1, gamma=0, min_draft=0)


@lru_cache(maxsize=4096)
def bits_of(size: int) -> float:
    """On the link."""
    return on_link_bits(size)


@lru_cache(maxsize=64)
def draft_bytes(ids: int) -> int:
    """Of a Draft of so many ids, without weights."""
    draft = Draft(
        incarnation=_INCARNATION,
        draft_epoch=0,
        known=0,
        start=0,
        path_hash=bytes(8),
        plan=_PLAN,
        ids=(0,) * ids,
        weights=(),
        rows_hash=bytes(8),
    )
    return len(encode_frame(draft, session=0, sequence=0))


@lru_cache(maxsize=1024)
def commit_bytes(ids: int) -> int:
    """Of a Commit of so many tokens."""
    commit = Commit(
        incarnation=_INCARNATION,
        position=0,
        log_hash=bytes(8),
        ids=(0,) * ids,
        origins=(Origin.ALONE,) * ids,
        tested_epoch=0,
        accepted=0,
        seen=0,
        plan=_PLAN,
        times=StepTimes(hold_s=0, step_s=0, wait_s=0),
    )
    return len(encode_frame(commit, session=0, sequence=0))


__all__ = [
    "BEYOND",
    "LATE",
    "Drafting",
    "Heard",
    "Radio",
    "Text",
    "Told",
    "bits_of",
    "commit_bytes",
    "draft_bytes",
]
