"""The target model at work: one model, one pass at a time, the sessions in turn."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
from structlog.typing import FilteringBoundLogger

from draftwire.codecs.control import RowsReport, StepReport
from draftwire.codecs.limits import MAX_TEXT_BYTES
from draftwire.nodes.models.pacing import Compute, Timed
from draftwire.nodes.speculation.noise import Noise
from draftwire.nodes.target.requests import Requests
from draftwire.nodes.target.served import Served
from draftwire.nodes.target.verifier import Verdict, correct, verify, verify_block
from draftwire.runtime.clock import Clock
from draftwire.runtime.session.states import Target
from draftwire.runtime.session.target import Step
from draftwire.runtime.wake import Wake

T = TypeVar("T")


class Work:
    """What the sessions of a BS ask of its model, until it is drained; `news`: one of them may ask now."""

    def __init__(
        self,
        requests: Requests,
        *,
        clock: Clock,
        compute: Compute,
        noise: Noise,
        logger: FilteringBoundLogger,
        send: Callable[[Served], None],
        failed: Callable[[Served, str], None],
        told: Callable[[StepReport | RowsReport, int], None],
    ) -> None:
        """`send` sends what a session has to say; `failed` hears which request the model has ended, and why;
        `told` gets each report and the number of its request.
        """
        self._requests, self._clock, self._compute, self._noise = requests, clock, compute, noise
        self._log, self._send, self._failed, self._told = logger, send, failed, told
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
        """Serve the sessions in turn while any of them has work, then wait for news; until drained."""
        while not self._over():
            worked = False
            for served in self._requests:
                if self._requests.holds(served) and not self._over():
                    worked |= await self._serve(served)
            self._requests.forget(self._clock.now_s())
            if not worked and not self._over():
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
        deadlines = (self._stops_s, self._requests.next_deadline_s(self._clock.now_s()))
        return min((one for one in deadlines if one is not None), default=None)

    async def _serve(self, served: Served) -> bool:
        """Whether there was something to do for the session."""
        session, now_s = served.session, self._clock.now_s()
        if served.closed:
            served.context.close()
            served.forget_lessons()
            served.verdict = None
            return False
        if self._settle(served):
            return True
        if session.parked(now_s):
            served.forget_lessons()
        session.on_timer(now_s)
        self._send(served)
        if not served.prefilled and session.state is Target.WAITING:
            await self._prefill(served)
            return True
        step = session.step(self._clock.now_s())
        if step is None:
            return False
        await self._step(served, step)
        return True

    async def _prefill(self, served: Served) -> None:
        """Compute the prompt while the device draws its first block."""
        tokens = list(served.session.log.tokens)
        await self._pass(served, len(tokens), lambda: served.context.logits(tokens, 1))
        served.prefilled = True

    async def _step(self, served: Served, step: Step) -> None:
        """One pass: rows of p behind the log and its drafts, then the test, in the worker's thread."""
        session, positions = served.session, len(step.ids) + 1
        served.begins()

        def work() -> Verdict:
            logits = served.context.logits([*step.tokens, *step.ids], positions)
            if not np.isfinite(logits.max(axis=1)).all():  # -inf may stand in a row, not all over it
                raise ArithmeticError("its logits are not numbers")
            return verify(step, logits, session.request, self._noise)

        timed = await self._pass(served, positions, work)
        if timed is None:
            return
        overtaken = session.state is not Target.TESTING  # by a Cancel, a Close, a device that lost its log
        if overtaken:
            return
        verdict = timed.value
        now_s = self._clock.now_s()
        served.step_s, served.tested_at_s = timed.seconds, now_s
        times = served.times(step, now_s)
        if verdict.token is not None:
            session.tested(step, verdict.accepted, verdict.token, now_s, times=times)
            self._finish_step(served, verdict)
            return
        served.verdict = verdict
        session.needs_rows(step, verdict.wanted, now_s, times=times)
        self._settle(served)

    async def _pass(self, served: Served, positions: int, work: Callable[[], T]) -> Timed[T] | None:
        """The target model at work. If it fails, that ends this request and no other: None."""
        self._passes += 1
        try:
            with served.computes():
                return await self._compute.run("target", positions, work)
        except Exception as error:
            self._log.exception("target.failed", device=served.name, request=served.number)
            cause = " ".join(f"{type(error).__name__}: {error}".split())
            detail = f"the target model failed: {cause}".encode()[:MAX_TEXT_BYTES].decode(errors="ignore")
        finally:
            self._passes -= 1
            if not self._requests.holds(served):  # it was let go meanwhile, when its context was in use
                served.context.close()
        self._requests.drop(served)
        self._failed(served, detail)
        return None

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


__all__ = ["Work"]
