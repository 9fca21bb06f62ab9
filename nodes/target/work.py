"""The target model at work: one model, one pass at a time, each over all sessions that wait for one."""

import asyncio
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from structlog.typing import FilteringBoundLogger

from draftwire.codecs.control import RowsReport, StepReport
from draftwire.codecs.limits import MAX_TEXT_BYTES
from draftwire.nodes.models.base import Ask, LanguageModel, answers
from draftwire.nodes.models.pacing import Compute
from draftwire.nodes.speculation.noise import Noise
from draftwire.nodes.target.batcher import Batcher, Part, Waiting
from draftwire.nodes.target.contexts import Contexts
from draftwire.nodes.target.gathering import Gathering
from draftwire.nodes.target.reading import Reading
from draftwire.nodes.target.requests import Requests
from draftwire.nodes.target.served import Served
from draftwire.nodes.target.verifier import Verdict, correct, verify, verify_block
from draftwire.nodes.target.waste import WasteBudget
from draftwire.runtime.clock import Clock
from draftwire.runtime.security import key_of
from draftwire.runtime.session.log import TokenLog
from draftwire.runtime.session.states import Target
from draftwire.runtime.session.target import Step
from draftwire.runtime.wake import Wake

MOST_LAG = 8
"""Tokens of the log that a step may have to compute beside its own positions; more are read before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A session's part of a pass."""

    served: Served
    ask: Ask
    log: TokenLog
    "as long as it was when the pass began, unless the device has brought another since"
    tokens: list[int]
    "the ask's: of the log, and drafts behind all of it"
    rows: int
    "new positions"
    step: Step | None
    "None: it only reads"


class Work:
    """What the sessions of a BS ask of its model, until it is drained; `news`: one of them may ask now."""

    def __init__(
        self,
        requests: Requests,
        contexts: Contexts,
        *,
        model: LanguageModel,
        clock: Clock,
        compute: Compute,
        noise: Noise,
        logger: FilteringBoundLogger,
        send: Callable[[Served], None],
        failed: Callable[[Served, str], None],
        told: Callable[[StepReport | RowsReport, int], None],
        waste_budget: int,
        weight_of: Callable[[str], float] = lambda device: 1.0,
    ) -> None:
        """`weight_of`: a device's, in turns where not all have room in a pass; `waste_budget`: of each
        device, in positions.

        `send` sends what a session has to say; `failed` hears which request the model has ended, and why;
        `told` gets each report and the number of its request.
        """
        self._requests, self._clock, self._compute, self._noise = requests, clock, compute, noise
        self._contexts, self._model = contexts, model
        self._batcher, self._weight_of = Batcher(), weight_of
        self._reading = Reading()
        self.waste = WasteBudget(budget=waste_budget, refuses=self._log_refused, allows=self._log_allowed)
        self._log, self._send, self._failed, self._told = logger, send, failed, told
        self._gathering, self._begins_s = Gathering(), 0.0
        self._wake = Wake(clock)
        self._stops_s: float | None = None
        "no pass begins from then on; None: it has not been told to stop"
        self._ended = asyncio.Event()
        self._passes = 0

    @property
    def idle(self) -> bool:
        """Whether the model is free."""
        return self._passes == 0

    @property
    def gathers(self) -> bool:
        """Whether the model is free and has something to do, and waits for more of it."""
        return self._begins_s > self._clock.now_s()

    @property
    def stops(self) -> bool:
        """Whether it has been told to stop."""
        return self._stops_s is not None

    def news(self) -> None:
        """A session may have something to do."""
        self._wake.set()

    async def drain(self, within_s: float) -> None:
        """Return when no session is under way, or after so long, the pass that is under way then included."""
        self._stops_s = self._clock.now_s() + within_s
        self._wake.set()
        await self._ended.wait()

    async def run(self) -> None:
        """Pass after pass while any session has work, then wait for news; until drained.

        What was due when a turn began has been seen to in it. It may be due still, as a step is that waits
        for memory, or for others; so the wait is for what comes after that.
        """
        while not self._over():
            now_s = self._clock.now_s()
            settled = [self._attend(served) for served in self._requests if self._requests.holds(served)]
            self._requests.forget(now_s)
            worked = await self._pass(now_s)
            if not worked and not any(settled) and not self._over():
                await self._wake.wait(self._next_deadline_s(now_s))
        self._ended.set()

    def tell_rows(self, served: Served) -> None:
        """What rows of its last block, or of its path, tell, where they have come."""
        session = served.session
        report = served.lesson.due()
        reports = [] if report is None else [report]
        if session.request.hints:
            reports += served.path_lesson.due(
                served.whose, length=len(session.log), is_right=session.is_right
            )
        for one in reports:
            self._told(one, served.number)

    def _over(self) -> bool:
        """Told to stop, and nothing is under way or its time has passed."""
        if self._stops_s is None:
            return False
        now_s = self._clock.now_s()
        return now_s >= self._stops_s or not self._requests.under_way(now_s)

    def _next_deadline_s(self, now_s: float) -> float | None:
        """After `now_s`."""
        deadlines = (
            self._stops_s,
            self._begins_s,
            self._reading.again_s,
            self._contexts.next_deadline_s(now_s),
            self._requests.next_deadline_s(now_s),
        )
        return min((one_s for one_s in deadlines if one_s is not None and one_s > now_s), default=None)

    def _attend(self, served: Served) -> bool:
        """What a session needs beside passes; whether a step of it has come to its end."""
        session, now_s = served.session, self._clock.now_s()
        if session.state in (Target.FINISHED, Target.CLOSED):
            self._contexts.close(served)
        if served.closed:
            served.forget_lessons()
            served.verdict = None
            return False
        if self._settle(served):
            return True
        if session.parked(now_s):
            served.forget_lessons()
        session.on_timer(now_s)
        self._send(served)
        return False

    async def _pass(self, now_s: float) -> bool:
        """One pass over whatever the batcher chooses; whether there was anything to do."""
        jobs = self._next_jobs(now_s)
        if not jobs:
            return False
        self._passes += 1
        for job in jobs:
            job.served.computing = True
        seconds = await self._computed(jobs)
        if seconds is not None:
            self._gathering.passed(seconds)
        else:  # what fails of one session's is no other's: each has a pass of its own
            for job in jobs:
                await self._computed([job])
        self._passes -= 1
        return True

    async def _computed(self, jobs: Sequence[Job]) -> float | None:
        """A pass over these and what comes of it; the seconds it took. None: it failed, and not at one alone.

        Cancelled, it leaves them as they are, in use: the worker's thread goes on to the pass's end.
        """
        rows = sum(job.rows for job in jobs)
        timed = await self._compute.run(
            "target", rows, lambda: self._outcomes(jobs), sessions=len(jobs)
        )
        if timed.value is None:
            return None
        for job in jobs:
            job.served.computing, job.served.passed_at_s = False, self._clock.now_s()
        for job, outcome in zip(jobs, timed.value, strict=True):
            if job.step is not None and isinstance(outcome, Verdict):  # whatever becomes of it
                drafted, accepted = len(job.step.ids), outcome.accepted
                self.waste.tested(job.served.name, drafted=drafted, accepted=accepted)
            if not self._requests.holds(job.served):  # let go meanwhile, when its context was in use
                self._contexts.close(job.served)
            elif isinstance(outcome, Exception):
                self._end(job.served, outcome)
            elif job.step is None or outcome is None:
                job.served.read(job.tokens, job.log)
            else:
                job.served.took_part(
                    job.tokens, job.log, seconds=timed.seconds, sessions=len(jobs), rows=rows
                )
                self._tested(job.served, job.step, outcome)
        return timed.seconds

    def _next_jobs(self, now_s: float) -> list[Job]:
        waiting: dict[Hashable, Served] = {one.claim.key: one for one in self._requests if not one.closed}
        going_on = [one for one in waiting.values() if one.has_work(now_s)]
        self._contexts.recall(going_on)
        wanted = [self._wants(one, now_s) for one in going_on if one.context is not None]
        under_way = {one.name for one in waiting.values() if not one.session.parked(now_s)}
        wanted = self._reading.paced(wanted, under_way=under_way, now_s=now_s)
        self._begins_s = self._gathered_s(waiting, wanted, now_s)
        if self._begins_s > now_s:
            return []
        others = len(waiting) > len(wanted) and self._requests.under_way(now_s) > len(wanted)
        parts = self._batcher.choose(wanted, others=others)
        self._account(parts, waiting, under_way, now_s)
        return [_job(waiting[part.key], part, now_s) for part in parts]

    def _account(
        self,
        parts: Sequence[Part],
        waiting: Mapping[Hashable, Served],
        under_way: Collection[str],
        now_s: float,
    ) -> None:
        """What is read of prompts while other keys are under way; a log that is computed once more is not."""
        for part in parts:
            served = waiting[part.key]
            if not part.reads:
                self._reading.stepped(now_s)
            elif not served.prefilled and any(key_of(one) != key_of(served.name) for one in under_way):
                self._reading.read(served.name, part.rows, now_s)

    def _wants(self, served: Served, now_s: float) -> Waiting:
        """What a session that has work would do in a pass now."""
        drafts, weight = served.session.next_drafts(now_s), self._weight_of(served.name)
        lag = max(1, len(served.session.log) - served.cached_tokens)  # the last token's row is wanted anyway
        if lag > MOST_LAG or drafts is None:
            return Waiting(key=served.claim.key, device=served.name, unread=lag - 1, weight=weight)
        return Waiting(key=served.claim.key, device=served.name, rows=lag + drafts, weight=weight)

    def _gathered_s(
        self, waiting: Mapping[Hashable, Served], wanted: Sequence[Waiting], now_s: float
    ) -> float:
        """When the next pass begins: those that are about to come may be worth a wait, though not to prompts
        alone. Devices that are refused drafts ride along: for them nobody else misses a pass."""
        here = {one.key for one in wanted}
        steps = [waiting[one.key] for one in wanted if one.rows]
        blocks = sum(one.waits for one in steps)
        riders = sum(not one.waits and self.waste.refused_s(one.name, now_s) > 0 for one in steps)
        away = [one.due_s for key, one in waiting.items() if key not in here and one.context is not None]
        return self._gathering.begins_s(
            now_s,
            steady=len(steps) - blocks - riders,
            blocks=blocks,
            riders=riders,
            due_s=[due_s for due_s in away if due_s is not None],
        )

    def _outcomes(self, jobs: Sequence[Job]) -> list[Verdict | Exception | None] | None:
        """In the worker's thread: rows of p behind each log and its drafts, then the tests. None: the model
        failed, and it need not be for all.
        """
        try:
            rows = answers(self._model, [job.ask for job in jobs])
            if len(rows) != len(jobs):
                raise ValueError(f"it gave {len(rows)} answers to {len(jobs)} sessions")
        except Exception as error:
            return [error] if len(jobs) == 1 else None
        return [self._outcome(job, logits) for job, logits in zip(jobs, rows, strict=True)]

    def _outcome(self, job: Job, logits: NDArray[np.float32]) -> Verdict | Exception | None:
        if job.step is None:
            return None
        try:
            if not np.isfinite(logits.max(axis=1)).all():  # -inf may stand in a row, not all over it
                raise ArithmeticError("its logits are not numbers")
            return verify(job.step, logits, job.served.session.request, self._noise)
        except Exception as error:
            return error

    def _tested(self, served: Served, step: Step, verdict: Verdict) -> None:
        """What a pass came to for a session, unless a Cancel, a Close or a lost log has overtaken it."""
        session, now_s = served.session, self._clock.now_s()
        if session.state is not Target.TESTING:
            return
        served.tested_at_s = now_s
        times = served.times(step, now_s)
        session.allow_drafts(self.waste.judge(served.name, now_s))
        if verdict.token is not None:
            session.tested(step, verdict.accepted, verdict.token, now_s, times=times)
            self._finish_step(served, verdict)
            return
        served.verdict = verdict
        session.needs_rows(step, verdict.wanted, now_s, times=times)
        self._settle(served)

    def _end(self, served: Served, error: Exception) -> None:
        """The target model has failed at a request: that ends it, and no other."""
        self._log.error("target.failed", device=served.name, request=served.number, exc_info=error)
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        detail = f"the target model failed: {cause}".encode()[:MAX_TEXT_BYTES].decode(errors="ignore")
        if self._requests.holds(served):
            self._requests.drop(served)
            self._failed(served, detail)

    def _settle(self, served: Served) -> bool:
        """The outcome, once the rows that it needs are there; whether it has come to that."""
        try:
            verdict = self._settled(served)
        except Exception as error:
            self._end(served, error)
            return True
        if verdict is None:
            return False
        assert verdict.token is not None
        step, now_s = verdict.step, self._clock.now_s()
        times = served.times(step, now_s)
        if step.plan.blockwise:
            self.waste.stood(served.name, verdict.accepted)
        served.session.allow_drafts(self.waste.judge(served.name, now_s))
        served.session.settled(step, verdict.accepted, verdict.token, now_s, times=times)
        self._finish_step(served, verdict)
        return True

    def _settled(self, served: Served) -> Verdict | None:
        """With its token; None: rows are lacking, or nothing waits for any."""
        session, verdict = served.session, served.verdict
        rows = session.rows()
        if rows is None or verdict is None:
            return None
        if verdict.step.plan.blockwise:
            return verify_block(verdict, rows, session.request, self._noise)
        return replace(verdict, token=correct(verdict, rows[0], session.request, self._noise))

    def _log_refused(self, key: str, for_s: float) -> None:
        self._log.warning(
            "target.drafts_refused",
            device=key,
            for_s=for_s,
            detail="its drafts hardly ever stand, and verifying them delays others",
        )

    def _log_allowed(self, key: str) -> None:
        self._log.info("target.drafts_allowed", device=key)

    def _finish_step(self, served: Served, verdict: Verdict) -> None:
        """The Commit first, then what the controller learns from."""
        served.verdict = None
        self._send(served)
        step, session = verdict.step, served.session
        report = served.report(step, accepted=verdict.accepted, now_s=self._clock.now_s())
        if not session.request.hints:
            if step.ids:
                served.lesson.was_tested(step, report, verdict.tested, session.incarnation)
                self.tell_rows(served)
        elif not session.request.sampling.greedy:
            behind = () if verdict.accepted < len(step.ids) else (verdict.p,)
            served.path_lesson.decoded(len(step.tokens), (*verdict.tested, *behind))
            self.tell_rows(served)
        self._told(report, served.number)


def _job(served: Served, part: Part, now_s: float) -> Job:
    """Begins the step, if it is to be one."""
    assert served.context is not None
    log = served.session.log
    if part.reads:
        tokens = log.tokens[: served.cached_tokens + part.rows]
        ask = Ask(context=served.context, tokens=tokens, rows=0)
        return Job(served=served, ask=ask, log=log, tokens=tokens, rows=part.rows, step=None)
    step = served.session.step(now_s)
    assert step is not None
    served.begins()
    tokens = [*step.tokens, *step.ids]
    ask = Ask(context=served.context, tokens=tokens, rows=len(step.ids) + 1)
    return Job(served=served, ask=ask, log=log, tokens=tokens, rows=part.rows, step=step)


__all__ = ["Work"]
