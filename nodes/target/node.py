"""The target BS: admits requests, verifies drafts with the target model, commits tokens.

One model, one pass at a time, the sessions in turn. The session protocol decides what is to be done
(runtime/session); this file connects it to a socket, a clock and a model.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from structlog.typing import FilteringBoundLogger

from draftwire.codecs.control import StepReport
from draftwire.codecs.errors import Refusal, WireError
from draftwire.codecs.frame import decode_frame, encode_frame
from draftwire.codecs.limits import MAX_TEXT_BYTES
from draftwire.codecs.messages import (
    Cancel,
    Close,
    Draft,
    Hello,
    Incarnation,
    Open,
    Ping,
    Reason,
    Refused,
    SparseLogits,
    Welcome,
)
from draftwire.nodes.models.base import LanguageModel
from draftwire.nodes.models.pacing import Compute, Timed
from draftwire.nodes.speculation.noise import Noise, PhiloxNoise
from draftwire.nodes.target.admission import disagreement, unanswerable
from draftwire.nodes.target.control import Control
from draftwire.nodes.target.served import Served, name_of
from draftwire.nodes.target.stopping import Decoder, finish_rule
from draftwire.nodes.target.verifier import Verdict, correct, verify
from draftwire.runtime.clock import Clock
from draftwire.runtime.config import ControllerSettings, TargetSettings
from draftwire.runtime.session.request import Timing
from draftwire.runtime.session.states import Target
from draftwire.runtime.session.target import Step, TargetSession
from draftwire.runtime.transport import Endpoint, Received, Transport
from draftwire.runtime.wake import Wake

MAX_PEERS = 1024
"""Identities whose Hello is remembered; beyond it the oldest has to say it again."""

T = TypeVar("T")


class TargetNode:
    """The BS as an actor; `run` serves until it is cancelled."""

    name = "target"

    def __init__(
        self,
        settings: TargetSettings,
        controller: ControllerSettings,
        *,
        transport: Transport,
        clock: Clock,
        compute: Compute,
        model: LanguageModel,
        tokenizer: Decoder,
        hello: Hello,
        boot: int,
        logger: FilteringBoundLogger,
        noise: Noise | None = None,
        on_step: Callable[[StepReport], None] | None = None,
    ) -> None:
        """`controller` tells its address, and what is fixed for every request; `hello` is what a device must
        agree with; `boot` tells this life from the last (32 bits).
        """
        self.settings = settings
        self.refused: Counter[Refusal | Reason] = Counter()
        self._timing = Timing(patience_s=settings.patience_s)
        self._transport, self._clock, self._compute = transport, clock, compute
        self._model, self._tokenizer, self._hello, self._boot = model, tokenizer, hello, boot
        self._log, self._noise = logger, noise or PhiloxNoise()
        self._on_step = on_step
        self._requests: dict[tuple[bytes, int], Served] = {}
        self._greeted: dict[bytes, None] = {}
        self._incarnations = 0
        self._wake = Wake(clock)
        self._endpoint: Endpoint | None = None
        self._control = Control(
            controller,
            name=self.name,
            vocab_size=hello.vocab_size,
            transport=transport,
            refuse=self._count_refusal,
        )

    @property
    def address(self) -> str:
        """Where it is bound; settings' address before that."""
        return self.settings.address if self._endpoint is None else self._endpoint.address

    async def run(self, started: Callable[[], None]) -> None:
        """Bind, then serve. Raises AddressError where the address can't be had."""
        self._endpoint = await self._transport.bind(self.settings.address)
        try:
            await self._control.connect()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._receive(self._endpoint), name="target receives")
                tasks.create_task(self._work(), name="target works")
                obeying = self._control.obey(lambda: list(self._requests.values()), self._wake.set)
                tasks.create_task(obeying, name="target obeys")
                self._log.info("target.ready", address=self.address)
                started()
        finally:
            await self._endpoint.close()
            await self._control.close()

    # -- messages ------------------------------------------------------------------------------------------

    async def _receive(self, endpoint: Endpoint) -> None:
        while True:
            received = await endpoint.receive()
            try:
                frame = decode_frame(received.data)
            except WireError as error:
                self._count_refusal(error.reason, received.peer, str(error))
                continue
            match frame.message:
                case Hello():
                    self._greet(received.peer, frame.session, frame.message)
                case Open():
                    self._open(received, frame.session, frame.message)
                case Draft() | SparseLogits() | Ping() | Cancel() | Close() as message:
                    self._route(received, frame.session, message)
                case other:
                    detail = f"a device has no business sending {type(other).__name__}"
                    self._count_refusal(Refusal.KIND, received.peer, detail)
            self._wake.set()

    def _greet(self, peer: bytes, number: int, hello: Hello) -> None:
        """Both ends must mean the same by an id and by a key, or nothing could be exact."""
        refusal = disagreement(hello, self._hello)
        if refusal is not None:
            self._greeted.pop(peer, None)
            self._refuse(peer, number, refusal)
            return
        self._greeted[peer] = None
        while len(self._greeted) > MAX_PEERS:
            del self._greeted[next(iter(self._greeted))]
        self._reply(peer, number, Welcome(boot=self._boot))

    def _open(self, received: Received, number: int, opened: Open) -> None:
        peer, opened = received.peer, self._control.plans.pinned(opened)
        served = self._requests.get((peer, number))
        if served is not None and served.session.state is Target.CLOSED:
            if opened.device_try <= served.device_try:
                return  # a late copy: its request has been answered
            served = None
        refusal = unanswerable(opened, self._hello.vocab_size, self._model.context_length)
        if refusal is None and served is None:
            refusal = self._admission(peer, opened)
        if refusal is not None:
            self._refuse(peer, number, refusal)
            return
        if served is not None:
            served.opens(opened)
            served.session.receive(opened, self._clock.now_s())
            self._send(served)
            return
        self._incarnations += 1
        session = TargetSession(
            opened,
            Incarnation(boot=self._boot, counter=self._incarnations),
            plan=self._control.plans.first(name_of(peer), opened),
            vocab_size=self._hello.vocab_size,
            finish_of=finish_rule(
                self._tokenizer, max_new_tokens=opened.max_new_tokens, stop=opened.stop
            ),
            now_s=self._clock.now_s(),
            ahead=self.settings.ahead,
            timing=self._timing,
        )
        served = Served(
            peer=peer,
            number=number,
            session=session,
            context=self._model.open(),
            device_try=opened.device_try,
            drawn_before=opened.draft_epoch,
        )
        self._requests[peer, number] = served
        self._control.introduce()
        self._log.info("target.request", device=name_of(peer), request=number, prompt=opened.prompt_length)
        self._send(served)

    def _admission(self, peer: bytes, opened: Open) -> Refused | None:
        """Why the BS will not take another request, if it won't."""
        if peer not in self._greeted:
            return Refused(reason=Reason.NO_HELLO, detail="say Hello first", device_try=opened.device_try)
        if len(self._requests) >= self.settings.max_sessions and not self._make_room():
            return Refused(
                reason=Reason.BUSY,
                detail=f"all {self.settings.max_sessions} sessions are taken: try again later",
                device_try=opened.device_try,
            )
        return None

    def _make_room(self) -> bool:
        """Let a session go that is closed, else the one that has been parked longest."""
        now_s = self._clock.now_s()
        idle = [key for key, served in self._requests.items() if _evictable(served, now_s)]
        if not idle:
            return False
        oldest = min(idle, key=lambda key: self._requests[key].session.heard_s)
        self._requests.pop(oldest).context.close()
        return True

    def _route(
        self, received: Received, number: int, message: Draft | SparseLogits | Ping | Cancel | Close
    ) -> None:
        served = self._requests.get((received.peer, number))
        if served is None:
            refused = Refused(reason=Reason.UNKNOWN_REQUEST, detail="this base station holds no such request")
            self._refuse(received.peer, number, refused)
            return
        newest_epoch = served.session.newest_epoch
        served.session.receive(message, self._clock.now_s())
        if served.session.newest_epoch != newest_epoch and isinstance(message, Draft):
            served.took(message, received.at_s, len(received.data))
        elif isinstance(message, Ping):
            served.echoes.heard(message.known, size=len(received.data), at_s=received.at_s)
        elif isinstance(message, SparseLogits):
            served.rows_came(message, received.at_s, len(received.data))
        self._send(served)
        if isinstance(message, SparseLogits) and message.incarnation == served.session.incarnation:
            served.lesson.rows_came(message, size=len(received.data), at_s=received.at_s)
            self._tell_rows(served)

    # -- work ----------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        """Serve the sessions in turn for as long as any of them has work, then wait for news."""
        while True:
            worked = False
            for served in list(self._requests.values()):
                worked |= await self._serve(served)
            if not worked:
                await self._wake.wait(self._next_deadline_s())

    async def _serve(self, served: Served) -> bool:
        """Whether there was something to do for the session."""
        session = served.session
        if session.state is Target.CLOSED:
            served.context.close()
            served.lesson.forget()
            return False
        if self._correct(served):
            return True
        if session.parked(self._clock.now_s()):
            served.lesson.forget()
        session.on_timer(self._clock.now_s())
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
        if not step.ids:
            assert verdict.token is not None
            session.decoded(step, verdict.token, now_s, times=served.times(step, now_s))
        else:
            session.tested(step, verdict.accepted, verdict.token, now_s, times=served.times(step, now_s))
        served.verdict = verdict
        if session.state is not Target.ROW_WAIT:
            self._finish_step(served, verdict)
        else:
            self._correct(served)

    async def _pass(self, served: Served, positions: int, work: Callable[[], T]) -> Timed[T] | None:
        """The target model at work. If it fails, that ends this request and no other: None."""
        try:
            with served.computes():
                return await self._compute.run("target", positions, work)
        except Exception as error:
            self._log.exception("target.failed", device=name_of(served.peer), request=served.number)
            cause = " ".join(f"{type(error).__name__}: {error}".split())
            detail = f"the target model failed: {cause}".encode()[:MAX_TEXT_BYTES].decode(errors="ignore")
        if self._requests.get((served.peer, served.number)) is served:
            del self._requests[served.peer, served.number]
        served.context.close()
        refused = Refused(reason=Reason.TARGET_FAILED, detail=detail, device_try=served.device_try)
        self._refuse(served.peer, served.number, refused)
        return None

    def _correct(self, served: Served) -> bool:
        """The correction, once its row is there."""
        session, verdict = served.session, served.verdict
        if session.state is not Target.ROW_WAIT or verdict is None:
            return False
        row = session.row()
        if row is None:
            return False
        token = correct(verdict, row, session.request, self._noise)
        now_s = self._clock.now_s()
        session.corrected(verdict.step, token, now_s, times=served.times(verdict.step, now_s))
        self._finish_step(served, verdict)
        return True

    def _finish_step(self, served: Served, verdict: Verdict) -> None:
        """The Commit first, then what the controller learns from."""
        served.verdict = None
        self._send(served)
        step, session = verdict.step, served.session
        report = served.report(step, accepted=verdict.accepted, now_s=self._clock.now_s())
        if step.ids:
            served.lesson.was_tested(step, report, verdict.tested, session.incarnation)
            self._tell_rows(served)
        if self._on_step is not None:
            self._on_step(report)
        self._control.tell(report, session=served.number)

    def _tell_rows(self, served: Served) -> None:
        report = served.lesson.due()
        if report is not None:
            self._control.tell(report, session=served.number)

    def _next_deadline_s(self) -> float | None:
        now_s = self._clock.now_s()
        deadlines = [
            deadline_s
            for served in self._requests.values()
            if not served.session.parked(now_s)
            and (deadline_s := served.session.next_deadline_s()) is not None
        ]
        return min(deadlines, default=None)

    # -- sending -------------------------------------------------------------------------------------------

    def _send(self, served: Served) -> None:
        assert self._endpoint is not None
        for message in served.session.to_send():
            data = served.frame(message)
            if self._endpoint.send(served.peer, data):
                served.sent(message, len(data), self._clock.now_s())

    def _reply(self, peer: bytes, number: int, message: Welcome | Refused) -> None:
        assert self._endpoint is not None
        self._endpoint.send(peer, encode_frame(message, session=number, sequence=0))

    def _refuse(self, peer: bytes, number: int, refused: Refused) -> None:
        self._count_refusal(refused.reason, peer, refused.detail)
        self._reply(peer, number, refused)

    def _count_refusal(self, reason: Refusal | Reason, peer: bytes, detail: str) -> None:
        """Every one counted, the first of a cause logged."""
        self.refused[reason] += 1
        if self.refused[reason] == 1:
            self._log.warning("target.refused", reason=reason.name.lower(), peer=name_of(peer), detail=detail)


def _evictable(served: Served, now_s: float) -> bool:
    idle = served.session.state is Target.CLOSED or served.session.parked(now_s)
    return idle and not served.computing


__all__ = ["TargetNode"]
