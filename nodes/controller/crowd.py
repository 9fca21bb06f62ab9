"""The sessions of a busy BS: what the others bring and take, beside which a session's plan is chosen.

Passes are shared. A pass over s sessions takes T(s, positions), and it begins when those are there that are
worth waiting for. With E_i tokens expected of session i in a pass, and w the longest that one of them is
away, the BS brings

    (E_1 + E_2 + ...) / (T(s, all positions) + w)    tokens a second.

That is what a plan maximises where sessions share a BS: the others' tokens stand in the numerator, so that a
position, or a round trip that all have to wait for, costs what all lose by it. With nobody else it is the
session's own speed. As each plan is the best answer to the others' by one common measure, they come to rest.

One thing is no single session's to choose: a round trip is paid once for all, so with the others drafting it
costs a session nothing to draft as well, and with none drafting the first one would pay for all. So whether
drafts are in use at all is decided for all at once, by the sum above with everybody's best plan against
everybody decoding alone. docs/theory.md has the reasons, and what was measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from draftwire.codecs.control import COUPLED, StepReport
from draftwire.nodes.controller.estimators.pass_time import PassTime
from draftwire.nodes.speculation.together import longest_wait_s
from draftwire.runtime.memory import remember

MAX_MEMBERS = 1024

OF_HINTS = 0.2
"What the newest step weighs, where drafts are hints."

GONE = 3.0
"Times the time between its steps: a session that is silent for so long is not there any more."

LEAST_GONE_S = 0.3
"It is there for so long at least."

GREW = 2.0
"Times the time between its steps before: one pause of a minute is no session that has a step a minute."

PATIENCE = 0.03
"Drafts that are in use go on until they are expected to be slower than none by this share."

PACE_DECAY = 0.95
"Of how long steps with drafts were expected to take, and of what they took beyond that, each pass."

PACE_FADES = 0.99
"Of that, each pass while drafts are not in use."

PACE_PRIOR = 5.0
"Steps that took as long as expected, beside those that were seen."

MOST_SLOWER = 3.0
"Times the expected time, that a step counts for at most."

SLOPE_OVER = 3.0
"Positions: what a session's block may have more or fewer."

Name = tuple[str, int]
"A device, and its request."


class Adds(NamedTuple):
    """What a session adds to a pass; left as it is: of the target alone."""

    tokens: float = 1.0
    "expected of its step"
    rows: float = 1.0
    "positions of it"
    away_s: float = 0.0
    "from its Commit to its next block; 0: it is always there"


ALONE = Adds()


@dataclass(slots=True, kw_only=True)
class Member:
    """A session."""

    adds: Adds = ALONE
    "by the plan that is best for it, were drafts in use"
    at_s: float = 0.0
    "of its newest report"
    every_s: float = 0.0
    "between its reports"


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """All sessions but one, in a pass."""

    sessions: int
    tokens: float
    "a pass"
    wait_s: float
    "for the last of their blocks; 0: they have none"
    drafting: bool
    "whether drafts are taken to be in use: then a round trip is paid for by all"
    steady: int
    "sessions that have a step in every pass"
    at_zero_s: float
    "a pass over them and one position more"
    slope_s: float
    "more for each position behind that"
    overhead_s: float
    "the BS's own time a step"

    @property
    def alone_s(self) -> float:
        """From pass to pass, for a session that decodes alone beside them."""
        return self.at_zero_s + self.wait_s

    @property
    def cost_s(self) -> float:
        """Of a position: what it takes of the time of all, as if a session had to pay it alone."""
        return self.slope_s * (1 + self.tokens)

    def wait_beside_s(self, away_s: float) -> float:
        """For their blocks; where drafts are in use and they have none yet, for one that is away so long."""
        return away_s if self.drafting and not self.wait_s else self.wait_s

    def longest_wait_s(self) -> float:
        """How long the BS waits for a block beside theirs."""
        steady = 0 if self.drafting and not self.wait_s else self.steady
        blocks = self.sessions - steady + 1
        return longest_wait_s(pass_s=self.at_zero_s, steady=steady, blocks=blocks)


@dataclass(slots=True)
class Pace:
    """Of steps with drafts, from Commit to Commit, beside what was expected of them."""

    cycle_s: float = 0.0
    "expected now, the wait for blocks included"
    wait_s: float = 0.0
    "for blocks"
    late_s: float = 0.0
    "a decayed sum of what steps took beyond that"
    meant_s: float = 0.0
    "the same of what was expected"

    def observe(self, passed_s: float, *, sessions: int) -> None:
        """A step of one of so many sessions took so long."""
        decay = PACE_DECAY ** (1 / sessions)
        passed_s = min(passed_s, MOST_SLOWER * self.cycle_s)
        self.late_s = decay * self.late_s + (passed_s - self.cycle_s) / sessions
        self.meant_s = decay * self.meant_s + self.cycle_s / sessions

    def fade(self, sessions: int) -> None:
        """A step of one of so many without drafts: some day they are worth another look."""
        self.late_s *= PACE_FADES ** (1 / sessions)

    @property
    def slower(self) -> float:
        """Times the expected time, at least 1."""
        return max(1.0, 1 + self.late_s / (self.meant_s + PACE_PRIOR * self.cycle_s))


class Crowd:
    """Of one BS."""

    def __init__(self) -> None:
        self.passes = PassTime()
        self._members: dict[Name, Member] = {}
        self._here: list[tuple[Name, Member]] | None = None
        "who is there; None: to be found anew"
        self._now_s = 0.0
        self._drafts = True
        self._pace = Pace()

    def heard(self, report: StepReport) -> None:
        """A step. Where drafts are hints, what a session adds is what it has added of late."""
        name = report.device, report.request
        member = self._members.get(name) or Member()
        if member.at_s:
            self._paced(report, member, report.ended_at_s - member.at_s)
            most_s = max(LEAST_GONE_S, GREW * member.every_s)
            member.every_s = min(max(0.0, report.ended_at_s - member.at_s), most_s)
        member.at_s = self._now_s = report.ended_at_s
        self._here = None
        if report.acceptance == COUPLED or report.temperature == 0:
            tokens, rows, _ = member.adds
            tokens += OF_HINTS * (report.tokens - tokens)
            member.adds = Adds(tokens=tokens, rows=rows + OF_HINTS * (report.computed - rows))
        remember(self._members, name, member, most=MAX_MEMBERS)
        if report.pass_rows and report.step_s > 0:
            self.passes.observe(
                sessions=report.pass_sessions, rows=report.pass_rows, step_s=report.step_s, whose=name
            )

    def _paced(self, report: StepReport, member: Member, passed_s: float) -> None:
        """How long a step took with drafts in use: with all waits, and passes that it has missed. Its own
        pass counts as one of the usual length, as some read prompts besides, with drafts or without.
        """
        waited_for = 0 < member.adds.away_s <= self._pace.wait_s
        if not self._drafts:
            self._pace.fade(report.pass_sessions)
        elif report.drafted and waited_for and report.pass_sessions > 1:
            pass_s = self._pace.cycle_s - self._pace.wait_s
            self._pace.observe(passed_s - report.step_s + pass_s, sessions=report.pass_sessions)

    def planned(self, name: Name, adds: Adds) -> None:
        """What the session adds by its best plan."""
        member = self._members.get(name)
        if member is not None:
            member.adds = adds

    def shares(self, device: str) -> bool:
        """Whether other devices have sessions there."""
        return any(name[0] != device for name, _ in self._present())

    @property
    def sessions(self) -> int:
        """How many there are."""
        return len(self._present())

    def devices_but(self, device: str) -> set[str]:
        """Who has sessions there."""
        return {name[0] for name, _ in self._present()} - {device}

    def others(self, device: str, *, overhead_s: float, drafting: bool) -> Others | None:
        """Who shares the passes of this device, each by its best plan, or without drafts; None: nobody."""
        found = [one.adds for name, one in self._present() if name[0] != device]
        if not found or not self.passes.known:
            return None
        members = found if drafting else [ALONE] * len(found)
        tokens, rows, wait_s = self._together(members)
        at_zero_s = self.passes.seconds(sessions=len(members) + 1, rows=rows + 1)
        further_s = self.passes.seconds(sessions=len(members) + 1, rows=rows + 1 + SLOPE_OVER)
        return Others(
            sessions=len(members),
            tokens=tokens,
            wait_s=wait_s,
            drafting=drafting,
            steady=sum(not one.away_s for one in members),
            at_zero_s=at_zero_s,
            slope_s=max(0.0, further_s - at_zero_s) / SLOPE_OVER,
            overhead_s=overhead_s,
        )

    def use_drafts(self) -> bool:
        """Whether drafts are in use from now on: all sessions together bring more with them than without.

        Decided anew each time, for what was in use until then goes on within PATIENCE.
        """
        members = [one.adds for _, one in self._present()]
        if len(members) < 2 or not self.passes.known:
            return True
        tokens, rows, wait_s = self._together(members)
        cycle_s = self.passes.seconds(sessions=len(members), rows=rows) + wait_s
        alone_s = self.passes.seconds(sessions=len(members), rows=len(members))
        self._pace.cycle_s, self._pace.wait_s = cycle_s, wait_s
        worth = tokens / (cycle_s * self._pace.slower) * alone_s / len(members)
        self._drafts = worth > 1 - (PATIENCE if self._drafts else 0.0)
        return self._drafts

    def _present(self) -> list[tuple[Name, Member]]:
        if self._here is None:
            self._here = [
                (name, one)
                for name, one in self._members.items()
                if self._now_s - one.at_s <= max(LEAST_GONE_S, GONE * one.every_s)
            ]
        return self._here

    def _together(self, members: Sequence[Adds]) -> Adds:
        """What they have in a pass, on average, and the wait for the last block that is worth it.

        A BS begins without those that are away for longer, and they miss passes.
        """
        away = sorted(one.away_s for one in members)
        steady = away.count(0.0)
        pass_s = self.passes.seconds(sessions=len(away), rows=sum(one.rows for one in members))
        waits = [
            away_s
            for blocks, away_s in enumerate(away[steady:], start=1)
            if away_s < longest_wait_s(pass_s=pass_s, steady=steady, blocks=blocks)
        ]
        wait_s = max(waits, default=0.0)
        tokens, rows = 0.0, 0.0
        for one in members:
            missed = one.away_s > wait_s
            every = ceil((one.away_s + pass_s) / (pass_s + wait_s)) if missed else 1
            tokens, rows = tokens + one.tokens / every, rows + one.rows / every
        return Adds(tokens=tokens, rows=rows, away_s=wait_s)


__all__ = ["ALONE", "Adds", "Crowd", "Others", "Pace"]
