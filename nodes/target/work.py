"""The target model at work: one model, one pass at a time, each over all sessions that wait for one."""

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
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
from draftwire.nodes.target.requests import Requests
from draftwire.nodes.target.served import Served
from draftwire.nodes.target.verifier import Verdict, correct, verify, verify_block
from draftwire.runtime.clock import Clock
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
    tokens: list[int]
    "the ask's"
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
        weight_of: Callable[[str], float] = lambda device: 1.0,
    ) -> None:
        """`weight_of`: a device's, in turns where not all have room in a pass.

        `send` sends what a session has to say; `failed` hears which request the model has ended, and why;
        `told` gets each report and the number of its request.
        """
        self._requests, self._clock, self._compute, self._noise = requests, clock, compute, noise
        self._contexts, self._model = contexts, model
        self._batcher, self._weight_of = Batcher(), weight_of
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
        """Pass after pass while any session has work, then wait for news; until drained."""
        while not self._over():
            settled = [self._attend(served) for served in self._requests if self._requests.holds(served)]
            self._requests.forget(self._clock.now_s())
            worked = await self._pass()
            if not worked and not any(settled) and not self._over():
                await self._wake.wait(self._next_deadline_s())
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

    def _next_deadline_s(self) -> float | None:
        now_s = self._clock.now_s()
        begins_s = self._begins_s if self._begins_s > now_s else None
        deadlines = (
            self._stops_s,
            begins_s,
            self._contexts.next_deadline_s(),
            self._requests.next_deadline_s(now_s),
        )
        return min((one for one in deadlines if one is not None), default=None)

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

    async def _pass(self) -> bool:
        """One pass over whatever the batcher chooses; whether there was anything to do."""
        jobs = self._next_jobs()
        if not jobs:
            return False
        rows = sum(job.rows for job in jobs)
        self._passes += 1
        for job in jobs:
            job.served.computing = True
        try:
            timed = await self._compute.run(
                "target", rows, lambda: self._outcomes(jobs), sessions=len(jobs)
            )
        finally:
            self._passes -= 1
            for job in jobs:
                job.served.computing = False
                job.served.passed_at_s = self._clock.now_s()
                if not self._requests.holds(job.served):  # let go meanwhile, when its context was in use
                    self._contexts.close(job.served)
        self._gathering.passed(timed.seconds)
        for job, outcome in zip(jobs, timed.value, strict=True):
            if not self._requests.holds(job.served):
                continue
            if isinstance(outcome, Exception):
                self._end(job.served, outcome)
            elif job.step is None or outcome is None:
                job.served.read(job.tokens)
            else:
                job.served.took_part(job.tokens, seconds=timed.seconds, sessions=len(jobs), rows=rows)
                self._tested(job.served, job.step, outcome)
        return True

    def _next_jobs(self) -> list[Job]:
        now_s = self._clock.now_s()
        waiting: dict[Hashable, Served] = {id(one): one for one in self._requests if not one.closed}
        self._contexts.recall([one for one in waiting.values() if one.has_work(now_s)])
        wanted = [wants for one in waiting.values() if (wants := self._wants(one, now_s)) is not None]
        self._begins_s = self._gathered_s(waiting, {one.key for one in wanted}, now_s)
        if self._begins_s > now_s:
            return []
        others = len(waiting) > len(wanted) and self._requests.under_way(now_s) > len(wanted)
        parts = self._batcher.choose(wanted, others=others)
        return [_job(waiting[part.key], part, now_s) for part in parts]

    def _wants(self, served: Served, now_s: float) -> Waiting | None:
        """What a session would do in a pass now, if anything."""
        if served.context is None:
            return None
        step, weight = served.session.next_step(now_s), self._weight_of(served.name)
        lag = len(served.session.log) - served.cached_tokens
        if step is None and not served.is_fresh(now_s):
            return None
        if lag > MOST_LAG or step is None:
            return Waiting(key=id(served), device=served.name, unread=lag - 1, weight=weight)
        return Waiting(key=id(served), device=served.name, rows=lag + len(step.ids), weight=weight)

    def _gathered_s(self, waiting: Mapping[Hashable, Served], here: set[Hashable], now_s: float) -> float:
        """When the next pass begins: those that are about to come may be worth a wait."""
        blocks = sum(one.waits for key, one in waiting.items() if key in here)
        away = [one.due_s for key, one in waiting.items() if key not in here]
        return self._gathering.begins_s(
            now_s,
            steady=len(here) - blocks,
            blocks=blocks,
            due_s=[due_s for due_s in away if due_s is not None],
        )

    def _outcomes(self, jobs: Sequence[Job]) -> list[Verdict | Exception | None]:
        """In the worker's thread: rows of p behind each log and its drafts, then the tests. What fails of one
        session's is no other's: a pass that fails as a whole is done again for each alone.
        """
        try:
            rows: list[NDArray[np.float32] | Exception] = [
                *answers(self._model, [job.ask for job in jobs])
            ]
        except Exception as error:
            rows = [error if len(jobs) == 1 else _answer(self._model, job.ask) for job in jobs]
        return [self._outcome(job, logits) for job, logits in zip(jobs, rows, strict=True)]

    def _outcome(
        self, job: Job, logits: NDArray[np.float32] | Exception
    ) -> Verdict | Exception | None:
        if isinstance(logits, Exception) or job.step is None:
            return logits if isinstance(logits, Exception) else None
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
        """The outcome, once the rows that it needs are there."""
        session, verdict = served.session, served.verdict
        rows = session.rows()
        if rows is None or verdict is None:
            return False
        if verdict.step.plan.blockwise:
            verdict = verify_block(verdict, rows, session.request, self._noise)
        else:
            verdict = replace(verdict, token=correct(verdict, rows[0], session.request, self._noise))
        assert verdict.token is not None
        step, now_s = verdict.step, self._clock.now_s()
        session.settled(step, verdict.accepted, verdict.token, now_s, times=served.times(step, now_s))
        self._finish_step(served, verdict)
        return True

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
    if part.reads:
        end = served.cached_tokens + part.rows
        tokens = served.session.log.tokens[:end]
        ask = Ask(context=served.context, tokens=tokens, rows=0)
        return Job(served=served, ask=ask, tokens=tokens, rows=part.rows, step=None)
    step = served.session.step(now_s)
    assert step is not None
    served.begins()
    tokens = [*step.tokens, *step.ids]
    ask = Ask(context=served.context, tokens=tokens, rows=len(step.ids) + 1)
    return Job(served=served, ask=ask, tokens=tokens, rows=part.rows, step=step)


def _answer(model: LanguageModel, ask: Ask) -> NDArray[np.float32] | Exception:
    try:
        return answers(model, [ask])[0]
    except Exception as error:
        return error


__all__ = ["Work"]
