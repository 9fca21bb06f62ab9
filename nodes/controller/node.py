"""The controller: takes the BS's reports, logs them, and answers each verification step with a plan.

It stands beside the BS, so reports and plans cost the radio link nothing; a plan reaches the device on the
BS's next Commit. When it dies, the last plan stays in force.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeVar

from structlog.typing import FilteringBoundLogger

from draftwire.codecs.control import ANY_DEVICE, ANY_REQUEST, PlanOrder, Register, RowsReport, StepReport
from draftwire.codecs.errors import Refusal, WireError
from draftwire.codecs.frame import AnyMessage, decode_frame, encode_frame
from draftwire.codecs.limits import MAX_PLAIN_K
from draftwire.codecs.probes import Probe, echo_of
from draftwire.codecs.tables import NO_TABLES, TableSets
from draftwire.nodes.controller.policy import (
    OpensWith,
    PlanValues,
    Policy,
    TablesAware,
    VocabularyAware,
)
from draftwire.runtime.memory import remember
from draftwire.runtime.security import Service
from draftwire.runtime.telemetry import DECISION_EVENT, log_rows, log_step, step_fields
from draftwire.runtime.transport import Endpoint, Offence, Received, Transport
from draftwire.runtime.transport.echoes import EchoBudgets
from draftwire.runtime.transport.quarantine import offence_in

T = TypeVar("T")

UNEXPECTED: Final = "unexpected"
"""The cause under which messages are counted that are well formed but not for a controller."""

IMPOSTOR: Final = "impostor"
"""The cause under which messages are counted whose sender goes by a name that its key does not have."""

POLICY_FAILED: Final = "policy failed"
"""The cause under which the policy's own errors are counted."""

MAX_REMEMBERED: Final = 4096
"""Base stations and devices remembered; beyond it the oldest is told its plan once more than it need be."""


class ControllerNode:
    """An actor that plans by a Policy; see `run`."""

    name = "controller"

    def __init__(
        self,
        *,
        transport: Transport,
        address: str,
        policy: Policy,
        wall_s: Callable[[], float],
        logger: FilteringBoundLogger,
        table_sets: TableSets = NO_TABLES,
    ) -> None:
        """`wall_s` is the clock on the wall, UTC; `table_sets`: those whose sizes the policy may know."""
        self.address = address
        "to bind; once started, the one bound"
        self._transport = transport
        self._policy = policy
        self._wall_s = wall_s
        self._logger = logger
        self._refused: Counter[str] = Counter()
        self._failed = set[str]()
        "kinds of error of the policy that have been logged"
        self._sequence = 0
        self._probed = EchoBudgets()
        self._vocab_sizes: dict[bytes, int] = {}
        "by a BS's connection"
        self._openings: dict[tuple[bytes, str], tuple[PlanOrder, ...]] = {}
        "by a BS's connection and device: what its next request was last ordered to begin with"
        self._attempt(lambda: self._tell_tables(table_sets))

    async def run(self, started: Callable[[], None]) -> None:
        """Answer until cancelled. Raises AddressError if its address can't be bound."""
        endpoint = await self._transport.bind(self.address, service=Service.CONTROLLER)
        self.address = endpoint.address
        self._logger.info("controller.ready", address=self.address)
        started()
        try:
            while True:
                received = await endpoint.receive()
                self._receive(endpoint, received)
        finally:
            await endpoint.close()

    def refused(self) -> Mapping[Refusal | str, int]:
        """What was refused, by cause: messages, and plans that the policy did not make."""
        return MappingProxyType(dict(self._refused))

    def _receive(self, endpoint: Endpoint, received: Received) -> None:
        peer, name = received.peer, received.name
        if received.impostor:
            self._refuse(IMPOSTOR, name, received.impostor)
            endpoint.offence(peer, Offence.IMPOSTOR)
            return
        try:
            message = decode_frame(received.data).message
        except WireError as error:
            self._refuse(error.reason, name, error.detail)
            if (offence := offence_in(error.reason)) is not None:
                endpoint.offence(peer, offence)
            return
        if isinstance(message, StepReport):
            log_step(self._logger, **step_fields(message))
            self._attempt(lambda: self._policy.observe(message))
            self._answer(endpoint, peer, message)
        elif isinstance(message, RowsReport):
            log_rows(self._logger, message)
            self._attempt(lambda: self._policy.observe(message))
        elif isinstance(message, Register):
            self._register(peer, message)
            self._order_openings(endpoint, peer, ANY_DEVICE)
        elif isinstance(message, Probe):
            if self._probed.may(peer, message, received.at_s):
                self._echo(endpoint, peer, message)
        else:
            self._refuse(UNEXPECTED, name, f"{_kind(message)} is nothing that a controller is told")
            endpoint.offence(peer, Offence.MISPLACED)

    def _echo(self, endpoint: Endpoint, peer: bytes, probe: Probe) -> None:
        endpoint.send(peer, encode_frame(echo_of(probe, self._wall_s()), session=0, sequence=0))

    def _register(self, peer: bytes, message: Register) -> None:
        """A BS introduces itself, again with each of its requests. It may have forgotten what it was told."""
        self._openings = {key: told for key, told in self._openings.items() if key[0] != peer}
        if self._vocab_sizes.get(peer) == message.vocab_size:
            return
        remember(self._vocab_sizes, peer, message.vocab_size, most=MAX_REMEMBERED)
        self._logger.info(
            "controller.registered", role=message.role, name=message.name, vocab_size=message.vocab_size
        )
        self._attempt(lambda: self._tell_vocabulary(message.vocab_size))

    def _tell_vocabulary(self, vocab_size: int) -> None:
        if isinstance(self._policy, VocabularyAware):
            self._policy.vocab_size = vocab_size

    def _tell_tables(self, table_sets: TableSets) -> None:
        if isinstance(self._policy, TablesAware):
            self._policy.table_sets = table_sets

    def _answer(self, endpoint: Endpoint, peer: bytes, report: StepReport) -> None:
        """An order for every report: its plan is the one the block was drawn with, not the one in force."""
        device, request = report.device, report.request

        def ordered() -> tuple[PlanValues, PlanOrder]:
            plan = self._sendable(peer, self._policy.plan(device, request))
            return plan, plan.order(device=device, request=request)

        made = self._attempt(ordered)
        if made is not None:
            plan, order = made
            self._send(endpoint, peer, order)
            self._attempt(lambda: self._log_decision(report, plan))
        if self._joins_others(peer, device):  # who comes next meets a busier BS
            self._order_openings(endpoint, peer, ANY_DEVICE)
        self._order_openings(endpoint, peer, device)

    def _joins_others(self, peer: bytes, device: str) -> bool:
        """Whether the device is new, and not the only one that this BS has told of."""
        if (peer, device) in self._openings:
            return False
        return any(bs == peer and name != ANY_DEVICE for bs, name in self._openings)

    def _order_openings(self, endpoint: Endpoint, peer: bytes, device: str) -> None:
        """What the device's next request begins with, as far as that has changed."""
        orders = self._attempt(lambda: self._openings_of(peer, device))
        if orders is None:
            return
        told = self._openings.get((peer, device), ())
        for order in orders:
            if order not in told:
                self._send(endpoint, peer, order)
        remember(self._openings, (peer, device), orders, most=MAX_REMEMBERED)

    def _openings_of(self, peer: bytes, device: str) -> tuple[PlanOrder, ...]:
        """The policy's, each acceptance at most once. Raises ValueError unless one is preferred."""
        policy = self._policy
        if not isinstance(policy, OpensWith):
            plan = self._sendable(peer, policy.plan(device, ANY_REQUEST))
            return (plan.order(device=device, request=ANY_REQUEST),)
        plans = policy.openings(device)
        kinds = [plan.acceptance for plan in plans]
        if len(set(kinds)) != len(kinds) or sum(plan.preferred for plan in plans) != 1:
            raise ValueError(f"openings for {kinds}: give one plan an acceptance, and prefer exactly one")
        return tuple(self._sendable(peer, plan).order(device=device, request=ANY_REQUEST) for plan in plans)

    def _send(self, endpoint: Endpoint, peer: bytes, order: PlanOrder) -> None:
        self._sequence = (self._sequence + 1) % 2**32
        endpoint.send(peer, encode_frame(order, session=order.request, sequence=self._sequence))

    def _log_decision(self, report: StepReport, plan: PlanValues) -> None:
        if plan.belief is None:
            return
        self._logger.info(
            DECISION_EVENT,
            device=report.device,
            request=report.request,
            step=report.step,
            at_s=report.ended_at_s,
            k=plan.k,
            gamma=plan.gamma,
            min_draft=plan.min_draft,
            early_stop=plan.early_stop,
            blockwise=plan.blockwise,
            patience_s=plan.patience_s,
            uplink_bps=plan.uplink_bps,
            belief=plan.belief.fields(),
        )

    def _sendable(self, peer: bytes, plan: PlanValues) -> PlanValues:
        """The plan with a K that the BS's vocabulary has a row for; a policy need not know V."""
        v = self._vocab_sizes.get(peer)
        if v is None or plan.k <= min(v, MAX_PLAIN_K):
            return plan
        return plan._replace(k=v if plan.k >= v else MAX_PLAIN_K)

    def _attempt(self, work: Callable[[], T]) -> T | None:
        """What `work` returns; a policy that raises, or whose plan can't be, is counted and logged once."""
        try:
            return work()
        except Exception as error:
            self._refused[POLICY_FAILED] += 1
            if (kind := type(error).__name__) not in self._failed:
                self._failed.add(kind)
                self._logger.exception("controller.policy_failed", detail="the last plan stays in force")
            return None

    def _refuse(self, cause: str, peer: str, detail: str) -> None:
        if not self._refused[cause]:  # said once; how often is counted
            self._logger.warning("controller.refused", reason=str(cause), peer=peer, detail=detail)
        self._refused[cause] += 1


def _kind(message: AnyMessage) -> str:
    return type(message).__name__


__all__ = ["IMPOSTOR", "POLICY_FAILED", "UNEXPECTED", "ControllerNode"]
