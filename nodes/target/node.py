"""The target BS: admits requests, verifies drafts with the target model, commits tokens.

The session protocol decides what is to be done (runtime/session), and work.py has the model do it; this file
connects both to a socket.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from structlog.typing import FilteringBoundLogger

from draftwire.codecs.control import RowsReport, StepReport
from draftwire.codecs.errors import Refusal, WireError
from draftwire.codecs.frame import decode_frame, encode_frame, spelling_of
from draftwire.codecs.messages import (
    Acceptance,
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
from draftwire.codecs.probes import Echo, Probe, echo_of
from draftwire.codecs.tables import NO_TABLES, TableSets
from draftwire.nodes.models.base import LanguageModel
from draftwire.nodes.models.pacing import Compute
from draftwire.nodes.models.tables import tables_name
from draftwire.nodes.speculation.noise import Noise, PhiloxNoise
from draftwire.nodes.target.account import Account, Unread
from draftwire.nodes.target.admission import (
    STOPS,
    block_waits,
    common_tables,
    disagreement,
    has_begun,
    has_block_out,
    is_another,
    no_room,
    unanswerable,
)
from draftwire.nodes.target.contexts import MB, Contexts
from draftwire.nodes.target.control import Control
from draftwire.nodes.target.greeted import Greeted
from draftwire.nodes.target.opening import Openings
from draftwire.nodes.target.requests import Requests
from draftwire.nodes.target.residency import Claim
from draftwire.nodes.target.rows_budget import TOO_FAST, RowsBudget
from draftwire.nodes.target.served import Served
from draftwire.nodes.target.stopping import Decoder, finish_rule
from draftwire.nodes.target.work import Work
from draftwire.runtime.clock import Clock
from draftwire.runtime.config import ControllerSettings, TargetSettings
from draftwire.runtime.security import Service
from draftwire.runtime.session.request import Timing
from draftwire.runtime.session.target import TargetSession
from draftwire.runtime.transport import Endpoint, EndpointStatistics, Offence, Received, Transport
from draftwire.runtime.transport.echoes import EchoBudgets
from draftwire.runtime.transport.quarantine import offence_in

PASS_FIRST_S = 1e-3
"""How long a Draft that finds the model free keeps the loop from reading on. Its rows come right behind it,
and to decode them holds the interpreter for longer than to begin a pass takes: the pass goes first."""


class TargetNode:
    """The BS as an actor; `run` serves until it is cancelled, `drain` brings what is under way to its end."""

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
        wall_s: Callable[[], float],
        logger: FilteringBoundLogger,
        noise: Noise | None = None,
        on_step: Callable[[StepReport], None] | None = None,
        name: str = "target",
        tables: TableSets = NO_TABLES,
        kv_budget: int | None = None,
        pad_to: int = 0,
    ) -> None:
        """`kv_budget` is the memory of all sessions in bytes where settings say nothing, None: no bound;
        `name` is how the controller knows this BS, with keys its key's; `controller` tells its address,
        and what is fixed for every request; `hello` is what a device must agree with; `boot` tells this life
        from the last (32 bits); `wall_s` is the clock on the wall, UTC; `tables` are the sets that rows may
        be spelt with; `pad_to`: frames to devices are a multiple of so many bytes long, 0: no padding.
        """
        self.settings, self.name, self._pad_to = settings, name, pad_to
        self._account = Account(logger)
        self.refused = self._account.refused
        self._timing = Timing(patience_s=settings.patience_s)
        self._transport, self._clock, self._wall_s, self._log = transport, clock, wall_s, logger
        self._model, self._tokenizer, self._hello, self._boot = model, tokenizer, hello, boot
        self._on_step, self.tables = on_step, tables
        self._requests = Requests(
            most=settings.max_sessions,
            forget_s=settings.forget_s,
            forgot=self._account.forgot,
            left=lambda served: self._contexts.close(served),
        )
        self._contexts = Contexts(
            model,
            self._requests,
            budget=kv_budget if settings.kv_budget_mb is None else settings.kv_budget_mb * MB,
            clock=clock,
            logger=logger,
        )
        self._openings, self._rows = Openings(), RowsBudget()
        self._greeted, self._probed, self._incarnations = Greeted(), EchoBudgets(), 0
        self._work = Work(
            self._requests,
            self._contexts,
            model=model,
            clock=clock,
            compute=compute,
            noise=noise or PhiloxNoise(),
            logger=logger,
            send=self._send,
            failed=self._fail,
            told=self._tell,
            waste_budget=settings.waste_budget,
            weight_of=settings.weight_of,
        )
        self._endpoint: Endpoint | None = None
        self._control = Control(
            controller,
            name=self.name,
            vocab_size=hello.vocab_size,
            transport=transport,
            clock=clock,
            logger=logger,
            refuse=self._account.refuse,
        )

    @property
    def address(self) -> str:
        """Where it is bound; where it will be before that."""
        return self.settings.binds if self._endpoint is None else self._endpoint.address

    def statistics(self) -> EndpointStatistics | None:
        """Of its socket, so far; None before it is bound."""
        return None if self._endpoint is None else self._endpoint.statistics()

    @property
    def sessions(self) -> int:
        """Requests held now, those that are closed and not forgotten included."""
        return sum(1 for _ in self._requests)

    async def run(self, started: Callable[[], None]) -> None:
        """Bind, then serve. Raises AddressError where the address can't be had."""
        self._endpoint = await self._transport.bind(self.address, service=Service.TARGET)
        try:
            await self._control.connect()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._receive(self._endpoint), name="target receives")
                tasks.create_task(self._work.run(), name="target works")
                obeying = self._control.obey(lambda: self._requests, self._work.news)
                tasks.create_task(obeying, name="target obeys")
                tasks.create_task(self._control.watch(), name="target watches")
                budget = self._contexts.residency.budget
                self._log.info("target.ready", address=self.address, kv_budget_bytes=budget)
                started()
        finally:
            await self._endpoint.close()
            await self._control.close()
            self._account.stopped(self._endpoint.statistics())

    async def drain(self, within_s: float) -> None:
        """Take no new request, go on with the others until they end or so long has passed.

        The pass that is under way then still ends, and its Commit leaves.
        """
        under_way = self._requests.under_way(self._clock.now_s())
        self._log.info("target.stopping", requests=under_way, within_s=within_s)
        await self._work.drain(within_s)

    # -- messages ------------------------------------------------------------------------------------------

    async def _receive(self, endpoint: Endpoint) -> None:
        while True:
            received = await endpoint.receive()
            if not (received.impostor or self._rows.take(received.name, received.data, received.at_s)):
                self._account.refuse(Unread.UNTESTED_ROWS, received.name, TOO_FAST)
                continue
            try:
                frame = decode_frame(received.data, tables=self.tables)
            except WireError as error:
                self._account.refuse(error.reason, received.name, str(error))
                if (offence := offence_in(error.reason)) is not None:
                    endpoint.offence(received.peer, offence)
                continue
            if received.impostor:
                endpoint.offence(received.peer, Offence.IMPOSTOR)
                refused = Refused(reason=Reason.IDENTITY, detail=received.impostor)
                self._refuse(received, frame.session, refused)
                continue
            concerns = False  # what concerns no session is no news, and nobody waits for it
            begins = self._work.idle and not self._work.gathers
            match frame.message:
                case Hello():
                    self._greet(received, frame.session, frame.message)
                case Open():
                    concerns = self._open(received, frame.session, frame.message)
                case Draft() | SparseLogits() | Ping() | Cancel() | Close() as message:
                    concerns = self._route(received, frame.session, message)
                case Probe() as probe:
                    if self._probed.may(received.peer, probe, received.at_s):
                        self._reply(received.peer, 0, echo_of(probe, self._wall_s()))
                case other:
                    detail = f"a device has no business sending {type(other).__name__}"
                    self._account.refuse(Refusal.KIND, received.name, detail)
                    endpoint.offence(received.peer, Offence.MISPLACED)
            if concerns:
                self._work.news()
            if concerns and begins and isinstance(frame.message, Draft):
                await self._clock.sleep_until(self._clock.now_s() + PASS_FIRST_S)

    def _greet(self, received: Received, number: int, hello: Hello) -> None:
        """Both ends must mean the same by an id and by a key, or nothing could be exact."""
        refusal = disagreement(hello, self._hello)
        if refusal is not None:
            self._greeted.remove(received.peer)
            self._refuse(received, number, refusal)
            return
        agreed = common_tables(hello, self.tables)
        self._greeted.add(received.peer, received.name, agreed)
        self._reply(received.peer, number, Welcome(boot=self._boot, tables=agreed))

    def _open(self, received: Received, number: int, opened: Open) -> bool:
        """Whether it is taken."""
        served, now_s = self._requests.get(received.name, number), self._clock.now_s()
        begins = served is None or opened.device_try > served.device_try
        if (busy := self._openings.look_at(received.name, number, opened, now_s)) is not None:
            self._refuse(received, number, busy)
            if self._openings.offends(received.name, number) and self._endpoint is not None:
                self._endpoint.offence(received.peer, Offence.MISPLACED)
            return False
        opened = self._control.plans.pinned(opened)
        if served is not None and ((served.closed and begins) or is_another(opened, served)):
            served = None
        if opened.acceptance is Acceptance.AUTO:
            chosen = self._control.plans.chosen(received.name)
            settled = chosen if served is None else served.session.request.acceptance
            opened = replace(opened, acceptance=settled)
        refusal = unanswerable(opened, self._hello.vocab_size, self._model.context_length)
        if served is not None:
            refusal = served.session.supersedes(opened) or refusal
        lacks = begins and (has_block_out(opened) if served is None else served.session.lacks(opened))
        if refusal is None and lacks and not self._work.waste.judge(received.name, now_s):
            refusal = block_waits(opened, self._work.waste.block_wait_s(received.name, now_s))
        claim = self._contexts.claim(received.name, opened)
        if refusal is None and served is None:
            if self._work.stops and has_begun(opened):
                return False  # its device asks again until a base station is back
            refusal = self._admission(received.peer, opened, claim)
        if refusal is not None:
            self._refuse(received, number, refusal)
            return False
        if begins:
            self._openings.begins(received.name, len(opened.tokens), now_s)
        if lacks:
            self._work.waste.let_through(received.name, now_s)
        if served is None:
            self._begin(received, number, opened, claim)
        elif not served.closed:  # else a late copy: its request has been answered
            served.opens(opened, received.peer, self._greeted.tables(received.peer))
            served.session.receive(opened, self._clock.now_s())
            self._send(served)
        return True

    def _begin(self, received: Received, number: int, opened: Open, claim: Claim) -> None:
        patience_s = self._control.plans.patience_s(received.name)
        session = TargetSession(
            opened,
            self._next_incarnation,
            plan=self._control.plans.first(received.name, opened),
            vocab_size=self._hello.vocab_size,
            finish_of=finish_rule(self._tokenizer, max_new_tokens=opened.max_new_tokens, stop=opened.stop),
            now_s=self._clock.now_s(),
            ahead=self.settings.ahead,
            timing=self._timing if patience_s is None else replace(self._timing, patience_s=patience_s),
            drafts=self._work.waste.judge(received.name, self._clock.now_s()),
        )
        served = Served(
            name=received.name,
            peer=received.peer,
            number=number,
            session=session,
            claim=claim,
            began_s=self._clock.now_s(),
            began_with=len(session.log),
            device_try=opened.device_try,
            drawn_before=opened.draft_epoch,
            tables=self._greeted.tables(received.peer),
            pad_to=self._pad_to,
        )
        self._contexts.open(served)
        self._requests.add(served)
        self._control.introduce()
        self._log.info(
            "target.request",
            device=received.name,
            request=number,
            prompt_tokens=opened.prompt_length,
            known_tokens=len(opened.tokens),
            tables=tables_name(served.tables),
        )
        self._send(served)

    def _next_incarnation(self) -> Incarnation:
        """One count for all requests of this life: one that is forgotten shares none when it comes back."""
        self._incarnations += 1
        return Incarnation(boot=self._boot, counter=self._incarnations)

    def _admission(self, peer: bytes, opened: Open, claim: Claim) -> Refused | None:
        """Why the BS will not take another request, if it won't; else there is room for it."""
        if peer not in self._greeted:
            return Refused(reason=Reason.NO_HELLO, detail="say Hello first", device_try=opened.device_try)
        if self._work.stops:
            return Refused(reason=Reason.BUSY, detail=STOPS, device_try=opened.device_try)
        return no_room(opened, claim, self._requests, self._contexts, now_s=self._clock.now_s())

    def _route(
        self, received: Received, number: int, message: Draft | SparseLogits | Ping | Cancel | Close
    ) -> bool:
        """Whether there is a session that it may concern."""
        served = self._requests.get(received.name, number)
        if served is None:
            refused = Refused(reason=Reason.UNKNOWN_REQUEST, detail="this base station holds no such request")
            self._refuse(received, number, refused)
            return False
        if message.incarnation == served.session.incarnation:
            served.peer = received.peer
        newest_epoch = served.session.newest_epoch
        served.session.receive(message, self._clock.now_s())
        if isinstance(message, Draft) and message.incarnation == served.session.incarnation:
            served.newest_at_s = received.at_s
            served.path_lesson.draft_came(message, received.at_s)
        if served.session.newest_epoch != newest_epoch and isinstance(message, Draft):
            served.took(message, received.at_s, len(received.data))
        elif isinstance(message, Ping):
            served.echoes.heard(message.known, size=len(received.data), at_s=received.at_s)
        elif isinstance(message, SparseLogits):
            tables = spelling_of(received.data, tables=self.tables)
            served.rows_came(message, received.at_s, len(received.data), tables=tables)
        self._send(served)
        if isinstance(message, SparseLogits) and message.incarnation == served.session.incarnation:
            if (link := served.learn(message, received.at_s, len(received.data), tables=tables)) is not None:
                self._tell(link, number)
            self._work.tell_rows(served)
        return message.incarnation == served.session.incarnation

    # -- sending -------------------------------------------------------------------------------------------

    def _send(self, served: Served) -> None:
        assert self._endpoint is not None
        for message in served.session.to_send():
            data = served.frame(message)
            if self._endpoint.send(served.peer, data):
                served.sent(message, len(data), self._clock.now_s())

    def _tell(self, report: StepReport | RowsReport, number: int) -> None:
        if isinstance(report, StepReport):
            served = self._requests.get(report.device, number)
            if served is not None and not served.session.request.hints:
                self._rows.tested(report.device, report.drafted * report.plan.k)
            if self._on_step is not None:
                self._on_step(report)
        self._control.tell(report, session=number)

    def _fail(self, served: Served, detail: str) -> None:
        refused = Refused(reason=Reason.TARGET_FAILED, detail=detail, device_try=served.device_try)
        self._account.refuse(refused.reason, served.name, refused.detail)
        self._reply(served.peer, served.number, refused)

    def _reply(self, peer: bytes, number: int, message: Welcome | Refused | Echo) -> None:
        assert self._endpoint is not None
        self._endpoint.send(peer, encode_frame(message, session=number, sequence=0, pad_to=self._pad_to))

    def _refuse(self, received: Received, number: int, refused: Refused) -> None:
        self._account.refuse(refused.reason, received.name, refused.detail)
        self._reply(received.peer, number, refused)


__all__ = ["TargetNode"]
