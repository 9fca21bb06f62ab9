"""The draft device: draws blocks with the draft model, sends them, hands out what becomes final.

The session protocol decides what is to be done (runtime/session); this file connects it to a socket, a
clock and a model.
"""

import random
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from structlog.typing import FilteringBoundLogger

from draftwire.codecs.control import ANY_REQUEST
from draftwire.codecs.errors import Refusal, WireError
from draftwire.codecs.frame import AnyMessage, decode_frame, encode_frame
from draftwire.codecs.limits import MAX_TEXT_BYTES
from draftwire.codecs.messages import (
    Close,
    Commit,
    Hello,
    Message,
    Opened,
    Pong,
    Reason,
    Refused,
    SparseLogitsRequest,
    Welcome,
)
from draftwire.nodes.device.account import Account
from draftwire.nodes.device.checks import InvalidRequestError, check_request
from draftwire.nodes.device.drafter import draw_block
from draftwire.nodes.models.base import Context, LanguageModel
from draftwire.nodes.models.pacing import Compute
from draftwire.nodes.speculation.noise import Noise, PhiloxNoise
from draftwire.runtime.clock import Clock
from draftwire.runtime.errors import DraftwireError, EndpointClosedError, LocalError, PeerError
from draftwire.runtime.session.device import DeviceSession
from draftwire.runtime.session.request import DraftWork, Request, Taken, Timing
from draftwire.runtime.session.states import Device
from draftwire.runtime.transport import Endpoint, Transport
from draftwire.runtime.wake import Wake


class RequestRefusedError(PeerError):
    """Raised when a request cannot go on: the BS refused it, vanished, or exactness could not be kept."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        "name of the codecs' Reason"
        super().__init__(f"{reason.lower()}: {detail}")


class DraftFailedError(LocalError):
    """Raised when the draft model raises: it ends the request, others go on."""

    def __init__(self, error: Exception) -> None:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        super().__init__(f"the draft model failed: {cause[:MAX_TEXT_BYTES]}")


@dataclass(slots=True, kw_only=True)
class _Running:
    """One request under way."""

    number: int
    session: DeviceSession
    context: Context
    account: Account
    wake: Wake
    inbox: deque[tuple[Message, int]] = field(default_factory=deque)
    sequence: int = 0


class DeviceNode:
    """The device as an actor; `run` keeps its link, `answer` runs requests over it."""

    def __init__(
        self,
        *,
        name: str,
        address: str,
        transport: Transport,
        clock: Clock,
        compute: Compute,
        model: LanguageModel,
        hello: Hello,
        logger: FilteringBoundLogger,
        numbers: random.Random,
        noise: Noise | None = None,
        timing: Timing | None = None,
    ) -> None:
        """`address` is the channel's or the BS's; `numbers` draws the 32 bits that name a request."""
        self.name, self.address = name, address
        self.refused: Counter[Refusal | Reason] = Counter()
        self._transport, self._clock, self._compute = transport, clock, compute
        self._model, self._hello, self._log = model, hello, logger
        self._numbers, self._noise, self._timing = numbers, noise or PhiloxNoise(), timing or Timing()
        self._running: dict[int, _Running] = {}
        self._endpoint: Endpoint | None = None
        self._over: DraftwireError | None = None
        "why no request can be answered any more"

    async def run(self, started: Callable[[], None]) -> None:
        """Connect, then pass on what the BS says, until cancelled; requests under way are cancelled too."""
        self._endpoint = await self._transport.connect(self.address, identity=self.name.encode())
        self._log.info("device.ready", address=self.address)
        started()
        try:
            while True:
                received = await self._endpoint.receive()
                try:
                    frame = decode_frame(received.data)
                except WireError as error:
                    self._count_refusal(error.reason, str(error))
                    continue
                self._route(frame.session, frame.message, len(received.data))
        finally:
            self.give_up(EndpointClosedError(self.address))
            for running in self._running.values():
                running.session.cancel()
                self._flush(running)
            await self._endpoint.close()

    def give_up(self, error: DraftwireError) -> None:
        """The BS can't come back: every request, under way or later, raises `error`. The first one counts."""
        self._over = self._over or error
        for running in self._running.values():
            running.wake.set()

    def _route(self, number: int, message: AnyMessage, size: int) -> None:
        """To its request. A BS that serves one nobody waits for any more is told that it may forget it."""
        if not isinstance(message, Welcome | Refused | Opened | Commit | SparseLogitsRequest | Pong):
            detail = f"a base station has no business sending {type(message).__name__}"
            self._count_refusal(Refusal.KIND, detail)
            return
        if isinstance(message, Commit) and max(message.ids, default=0) >= self._hello.vocab_size:
            detail = f"token {max(message.ids)} is not below the vocabulary's size"
            self._count_refusal(Refusal.VOCABULARY, detail)
            return
        running = self._running.get(number)
        if running is not None:
            running.inbox.append((message, size))
            running.wake.set()
            return
        self._count_refusal(Reason.UNKNOWN_REQUEST, f"{type(message).__name__} for a request that is over")
        if isinstance(message, Opened | Commit | SparseLogitsRequest) and self._endpoint is not None:
            close = Close(incarnation=message.incarnation, known=0)
            self._endpoint.send(b"", encode_frame(close, session=number, sequence=0))

    async def answer(
        self, request: Request, *, account: Account | None = None
    ) -> AsyncGenerator[Taken, None]:
        """The output tokens of a request, each once, as they become final; `account` is filled on the way.

        Closing the iterator early cancels the request at the BS. Raises InvalidRequestError where the request
        can't begin, RequestRefusedError where it can't go on, DraftFailedError where the draft model can't,
        EndpointClosedError once `run` has ended.
        """
        check_request(
            request,
            vocab_size=self._hello.vocab_size,
            context_length=self._model.context_length,
        )
        now_s = self._clock.now_s()
        account = account or Account(vocab_size=self._hello.vocab_size)
        account.began_s = account.ended_s = now_s
        number = ANY_REQUEST
        while number == ANY_REQUEST or number in self._running:
            number = self._numbers.getrandbits(32)
        running = _Running(
            number=number,
            session=DeviceSession(request, self._hello, now_s=now_s, timing=self._timing),
            context=self._model.open(),
            account=account,
            wake=Wake(self._clock),
        )
        self._running[number] = running
        try:
            async with aclosing(self._drive(running)) as tokens:
                async for taken in tokens:
                    yield taken
        finally:
            running.session.cancel()
            self._flush(running)
            del self._running[number]
            running.context.close()

    async def _drive(self, running: _Running) -> AsyncGenerator[Taken, None]:
        session = running.session
        while True:
            if self._over is not None:
                raise self._over
            self._take_in(running)
            session.on_timer(self._clock.now_s())
            self._flush(running)
            for taken in session.take():
                yield taken
            if session.state is Device.FINISHED:
                return
            if session.state is Device.FAILED:
                assert session.refusal is not None
                reason, detail = session.refusal
                if reason is Reason.ABSENT:
                    detail = f"{self.address}: {detail}; start the target there, or correct the address"
                raise RequestRefusedError(reason.name, detail)
            work = session.work()
            if work is not None:
                await self._draw(running, work)
            elif not running.inbox:
                await running.wake.wait(session.next_deadline_s())

    async def _draw(self, running: _Running, work: DraftWork) -> None:
        """One block, in the worker's thread; what arrives meanwhile is heard before it is used."""
        try:
            timed = await self._compute.run(
                "draft",
                work.length,
                lambda: draw_block(
                    work,
                    running.session.request,
                    running.context,
                    support=self._model.support,
                    vocab_size=self._hello.vocab_size,
                    noise=self._noise,
                ),
            )
        except Exception as error:
            self._log.info("device.draft_failed", exc_info=True)
            raise DraftFailedError(error) from error
        running.account.drew(work.length, timed.seconds, work.plan)
        self._take_in(running)
        block = replace(timed.value, token_s=timed.seconds / work.length)
        running.session.drawn(block, self._clock.now_s())

    def _take_in(self, running: _Running) -> None:
        session = running.session
        while running.inbox:
            message, size = running.inbox.popleft()
            before = len(session.log)
            now_s = self._clock.now_s()
            session.receive(message, now_s)
            running.account.received(size)
            if isinstance(message, Commit):
                running.account.committed(message, len(session.log) - before, now_s)

    def _flush(self, running: _Running) -> None:
        """Encode and send one message after the other: a Draft is on its way before its rows are encoded."""
        for message in running.session.to_send():
            running.sequence += 1
            data = encode_frame(message, session=running.number, sequence=running.sequence)
            if self._endpoint is not None and self._endpoint.send(b"", data):
                running.account.sent(message, len(data))

    def _count_refusal(self, reason: Refusal | Reason, detail: str) -> None:
        """Every one counted, the first of a cause logged."""
        self.refused[reason] += 1
        if self.refused[reason] == 1:
            # A request that is over still has copies under way: nothing that a person must hear of.
            say = self._log.info if reason is Reason.UNKNOWN_REQUEST else self._log.warning
            say("device.refused", reason=reason.name.lower(), detail=detail)


__all__ = ["DeviceNode", "DraftFailedError", "InvalidRequestError", "RequestRefusedError"]
