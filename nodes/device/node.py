"""The draft device: draws blocks with the draft model, sends them, hands out what becomes final.

The session protocol decides what is to be done (runtime/session); this file connects it to a socket, a
clock and a model.
"""

import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from structlog.typing import FilteringBoundLogger

from draftwire.codecs.control import ANY_REQUEST
from draftwire.codecs.errors import Refusal, WireError
from draftwire.codecs.frame import AnyMessage, decode_frame, encode_frame, spelling_of
from draftwire.codecs.messages import (
    Close,
    Commit,
    Hello,
    Opened,
    Pong,
    Reason,
    Refused,
    SparseLogitsRequest,
    Welcome,
)
from draftwire.codecs.tables import NO_TABLES, TableSets
from draftwire.nodes.device.account import Account
from draftwire.nodes.device.checks import InvalidRequestError, check_entry, check_request, model_name
from draftwire.nodes.device.drafter import draw_block
from draftwire.nodes.device.entries import Entry, new_id
from draftwire.nodes.device.errors import NEVER_AGAIN, DraftFailedError, RequestRefusedError, refused
from draftwire.nodes.device.journal import Journal, Page
from draftwire.nodes.device.running import Running
from draftwire.nodes.device.stopping import Stopping
from draftwire.nodes.device.trouble import TroubleWatch
from draftwire.nodes.models.base import LanguageModel
from draftwire.nodes.models.pacing import Compute
from draftwire.nodes.models.tables import tables_name
from draftwire.nodes.speculation.noise import Noise, PhiloxNoise
from draftwire.runtime.absence import LOOK_S
from draftwire.runtime.clock import Clock
from draftwire.runtime.errors import DraftwireError, EndpointClosedError
from draftwire.runtime.security import Service
from draftwire.runtime.session.device import DeviceSession
from draftwire.runtime.session.request import DraftWork, Request, Taken, Timing
from draftwire.runtime.session.states import Device
from draftwire.runtime.transport import Endpoint, Transport, Trouble
from draftwire.runtime.wake import Wake


class DeviceNode:
    """The device as an actor; `run` keeps its link, `answer` runs requests over it."""

    def __init__(
        self,
        *,
        name: str,
        address: str,
        service: Service = Service.TARGET,
        transport: Transport,
        clock: Clock,
        compute: Compute,
        model: LanguageModel,
        hello: Hello,
        logger: FilteringBoundLogger,
        numbers: random.Random,
        noise: Noise | None = None,
        timing: Timing | None = None,
        draft: str = "",
        tables: TableSets = NO_TABLES,
        pad_to: int = 0,
    ) -> None:
        """`address` and `service` are the channel's or the BS's; `numbers` draws the 32 bits that name a
        request, and those that name this life of the device. `draft`: the model's name, for journals.
        `tables`: those that `hello` offers. `pad_to`: frames are a multiple of so many bytes long; 0: no
        padding.
        """
        self.name, self.address, self._service = name, address, service
        self.refused: Counter[Refusal | Reason] = Counter()
        self._transport, self._clock, self._compute = transport, clock, compute
        self._model, self.hello, self._log = model, hello, logger
        self._numbers, self._noise, self._timing = numbers, noise or PhiloxNoise(), timing or Timing()
        self._draft, self._life = model_name(draft), numbers.getrandbits(32)
        self.tables, self._pad_to = tables, pad_to
        self._welcome: Welcome | None = None
        "the last that was logged"
        self._trouble = TroubleWatch(logger)
        self._stopping = Stopping()
        self._running: dict[int, Running] = {}
        self._endpoint: Endpoint | None = None
        self._over: DraftwireError | None = None
        "why no request can be answered any more"

    async def run(self, started: Callable[[], None]) -> None:
        """Connect, then pass on what the BS says, until cancelled; requests under way are cancelled too.

        Those of a journal are not: they may go on later.
        """
        self._endpoint = await self._transport.connect(self.address, service=self._service, name=self.name)
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
                self._leave(running)
            await self._endpoint.close()

    @property
    def context_length(self) -> int:
        """Of the draft model, in tokens."""
        return self._model.context_length

    @property
    def busy(self) -> str:
        """Why a request under way waits for room at the BS, in its words; empty: none does."""
        waiting = (running.session.busy for running in self._running.values())
        return next((busy.detail for busy in waiting if busy is not None), "")

    def give_up(self, error: DraftwireError) -> None:
        """The BS can't come back: every request, under way or later, raises `error`. The first one counts."""
        self._over = self._over or error
        for running in self._running.values():
            running.wake.set()

    def _route(self, number: int, message: AnyMessage, size: int) -> None:
        """To its request; a refusal of the connection itself to all.

        A BS that serves one nobody waits for any more is told that it may forget it.
        """
        if not isinstance(message, Welcome | Refused | Opened | Commit | SparseLogitsRequest | Pong):
            detail = f"a base station has no business sending {type(message).__name__}"
            self._count_refusal(Refusal.KIND, detail)
            return
        if isinstance(message, Commit) and max(message.ids, default=0) >= self.hello.vocab_size:
            detail = f"token {max(message.ids)} is not below the vocabulary's size"
            self._count_refusal(Refusal.VOCABULARY, detail)
            return
        concerned = [self._running[number]] if number in self._running else []
        if isinstance(message, Welcome) and concerned:
            self._log_welcome(message)
        if number == ANY_REQUEST and isinstance(message, Refused):
            concerned = list(self._running.values())
        for running in concerned:
            running.tell(message, size)
        if concerned:
            return
        self._count_refusal(Reason.UNKNOWN_REQUEST, f"{type(message).__name__} for a request that is over")
        if isinstance(message, Opened | Commit | SparseLogitsRequest) and self._endpoint is not None:
            close = Close(incarnation=message.incarnation, known=0)
            data = encode_frame(close, session=number, sequence=0, pad_to=self._pad_to)
            self._endpoint.send(b"", data)

    def answer(
        self, request: Request, *, account: Account | None = None, journal: Journal | None = None
    ) -> AsyncGenerator[Taken, None]:
        """The output tokens of a request, each once, as they become final; `account` is filled on the way.

        Closing the iterator early cancels the request at the BS; one that a `journal` keeps stays open.

        Raises InvalidRequestError where the request can't begin, RequestRefusedError where it can't go on,
        DraftFailedError where the draft can't, JournalError where the journal can't, EndpointClosedError once
        `run` has ended.
        """
        entry = self._new_entry(request)
        return self._answer(entry, None if journal is None else journal.begin(entry), account)

    def enter(self, request: Request, journal: Journal, *, id: str, text: str = "") -> Entry:
        """Write a new request into a journal, from which `resume` begins it. `text`: of its prompt.

        Raises InvalidRequestError where it can't begin, or where the journal has a request of that id, and
        JournalError where it can't be written.
        """
        entry = self._new_entry(request, id=id, text=text)
        journal.begin(entry)
        return entry

    def resume(
        self, entry: Entry, *, journal: Journal, account: Account | None = None
    ) -> AsyncGenerator[Taken, None]:
        """The tokens that come behind those of a journal's open request; see `answer`.

        Raises InvalidRequestError, too, for a request of another device, draft model or vocabulary.
        """
        self.check_entry(entry)
        return self._answer(entry, journal.page(entry.id), account)

    def check_entry(self, entry: Entry) -> None:
        """Raise InvalidRequestError for a request that can't go on here, or that is under way."""
        if entry.number in self._running:
            problem = f"request {entry.id} is being answered"
            raise InvalidRequestError(problem, key="id", remedy="wait for its end")
        check_entry(entry, device=self.name, draft=self._draft, hello=self.hello)
        self._check(entry.request)

    def _check(self, request: Request) -> None:
        context_length = self._model.context_length
        check_request(request, vocab_size=self.hello.vocab_size, context_length=context_length)

    def _new_entry(self, request: Request, *, id: str = "", text: str = "") -> Entry:
        self._check(request)
        number = ANY_REQUEST
        while number == ANY_REQUEST or number in self._running:
            number = self._numbers.getrandbits(32)
        return Entry(
            id=id or new_id(),
            number=number,
            device=self.name,
            draft=self._draft,
            vocab_size=self.hello.vocab_size,
            fingerprint=self.hello.fingerprint,
            request=request,
            text=text,
        )

    async def _answer(
        self, entry: Entry, page: Page | None, account: Account | None
    ) -> AsyncGenerator[Taken, None]:
        if not self._running:
            self._trouble.forget()
        account = account or Account(vocab_size=self.hello.vocab_size)
        account.began_s = account.ended_s = now_s = self._clock.now_s()
        running = self._running[entry.number] = Running(
            number=entry.number,
            session=DeviceSession(
                entry.request,
                self.hello,
                now_s=now_s,
                timing=self._timing,
                output=entry.output,
                device_try=entry.record.device_try,
                draft_epoch=entry.record.draft_epoch,
                outstanding=entry.record.outstanding,
                acceptance=entry.record.acceptance,
                life=self._life,
            ),
            context=self._model.open(),
            account=account,
            wake=Wake(self._clock),
            page=page,
            tables=self.tables,
            pad_to=self._pad_to,
        )
        try:
            async with aclosing(self._drive(running)) as tokens:
                async for taken in tokens:
                    yield taken
        finally:
            self._leave(running)
            del self._running[entry.number]
            running.context.close()

    async def _drive(self, running: Running) -> AsyncGenerator[Taken, None]:
        session, page = running.session, running.page
        while True:
            if self._over is not None:
                raise self._over
            running.take_in(self._clock.now_s())
            session.on_timer(self._clock.now_s())
            self._say_if_busy(running)
            tokens = session.take()
            if session.state is not Device.FAILED:
                self._flush(running, tokens)
            elif page is not None:
                page.keep(tokens, session.record, leaves=False, rests=True)
            for taken in tokens:
                yield taken
            if session.state is Device.FAILED:
                raise self._failure(running)
            if session.state is Device.FINISHED:
                if page is not None:
                    page.end(finish=session.finish.name.lower())
                return
            work = session.work()
            if work is not None:
                await self._draw(running, work)
            elif not running.inbox:
                await running.wake.wait(self._look(running))

    def _look(self, running: Running) -> float | None:
        """Until when to wait. Raises RequestRefusedError where the connection can't stand as things are."""
        now_s, deadline_s = self._clock.now_s(), running.session.next_deadline_s()
        self._trouble.look(self._connection_trouble(), now_s)
        opening = running.session.plan is None
        final = self._trouble.final(now_s, began_s=running.account.began_s)
        if opening and final is not None:
            raise RequestRefusedError(final.kind.name, final.text)
        if (opening or self._trouble.now is not None) and deadline_s is not None:
            return min(deadline_s, now_s + LOOK_S)
        return deadline_s

    def _failure(self, running: Running) -> RequestRefusedError:
        """Why the session has given up; in a journal the request ends with that, or stays open."""
        assert running.session.refusal is not None
        reason, detail = running.session.refusal
        if running.page is not None and reason in NEVER_AGAIN:
            running.page.end(reason=reason.name.lower())
        return refused(
            reason,
            detail,
            address=self.address,
            service=self._service,
            trouble=self._connection_trouble(),
            kept=running.page is not None,
        )

    def _connection_trouble(self) -> Trouble | None:
        return None if self._endpoint is None else self._endpoint.trouble()

    def _leave(self, running: Running) -> None:
        """Nobody waits for the answer any more."""
        if not running.may_go_on:
            running.session.cancel()
            self._flush(running)

    async def _draw(self, running: Running, work: DraftWork) -> None:
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
                    vocab_size=self.hello.vocab_size,
                    noise=self._noise,
                ),
            )
        except Exception as error:
            self._log.error("device.draft_failed", exc_info=True)
            raise DraftFailedError(error) from error
        running.account.drew(work.length, timed.seconds, work.plan)
        running.take_in(self._clock.now_s())
        block = replace(timed.value, token_s=timed.seconds / work.length)
        stops = self._stopping.after(running, block)
        running.session.drawn(block, self._clock.now_s(), stops=stops)

    def _flush(self, running: Running, taken: Sequence[Taken] = ()) -> None:
        for message, data in running.frames(taken, self._clock.now_s()):
            if self._endpoint is not None and self._endpoint.send(b"", data):
                tables = spelling_of(data, tables=self.tables)
                running.account.sent(message, len(data), tables=tables)

    def _say_if_busy(self, running: Running) -> None:
        """Once for each time that a request has to wait for room."""
        busy, told = running.session.busy, running.told_busy
        if busy is not None and not told:
            again_s = round(busy.again_s, 1)
            self._log.warning("device.waits", device=self.name, again_s=again_s, detail=busy.detail)
        running.told_busy = busy is not None

    def _log_welcome(self, welcome: Welcome) -> None:
        """Once for each life of a BS."""
        if welcome != self._welcome:
            self._welcome = welcome
            self._log.info("device.welcomed", tables=tables_name(welcome.tables))

    def _count_refusal(self, reason: Refusal | Reason, detail: str) -> None:
        """Every one counted, the first of a cause logged."""
        self.refused[reason] += 1
        if self.refused[reason] == 1:
            # A request that is over still has copies under way: nothing that a person must hear of.
            say = self._log.info if reason is Reason.UNKNOWN_REQUEST else self._log.warning
            say("device.refused", reason=reason.name.lower(), detail=detail)


__all__ = ["DeviceNode", "DraftFailedError", "InvalidRequestError", "RequestRefusedError"]
