"""The controller: takes the BS's reports, logs them, and answers with a plan where another one is better.

It stands beside the BS, so reports and plans cost the radio link nothing; a plan reaches the device on the
BS's next Commit. When it dies, the last plan stays in force.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType

from structlog.typing import FilteringBoundLogger

from draftwire.codecs.control import ANY_REQUEST, PlanOrder, Register, StepReport
from draftwire.codecs.errors import Refusal, WireError
from draftwire.codecs.frame import AnyMessage, decode_frame, encode_frame
from draftwire.nodes.controller.policy import PlanValues, Policy
from draftwire.runtime.telemetry import log_step, step_fields
from draftwire.runtime.transport import Endpoint, Transport

UNEXPECTED = "unexpected"
"""The cause under which messages are counted that are well formed but not for a controller."""


class ControllerNode:
    """An actor that plans by a Policy; see `run`."""

    name = "controller"

    def __init__(
        self,
        *,
        transport: Transport,
        address: str,
        policy: Policy,
        logger: FilteringBoundLogger,
    ) -> None:
        self.address = address
        "to bind; once started, the one bound"
        self._transport = transport
        self._policy = policy
        self._logger = logger
        self._refused: Counter[str] = Counter()
        self._sequence = 0

    async def run(self, started: Callable[[], None]) -> None:
        """Answer until cancelled. Raises AddressError if its address can't be bound."""
        endpoint = await self._transport.bind(self.address)
        self.address = endpoint.address
        started()
        try:
            while True:
                received = await endpoint.receive()
                self._receive(endpoint, received.peer, received.data)
        finally:
            await endpoint.close()

    def refused(self) -> Mapping[Refusal | str, int]:
        """Messages that were refused, by cause."""
        return MappingProxyType(dict(self._refused))

    def _receive(self, endpoint: Endpoint, peer: bytes, data: bytes) -> None:
        try:
            message = decode_frame(data).message
        except WireError as error:
            self._refuse(error.reason, peer, error.detail)
            return
        if isinstance(message, StepReport):
            self._policy.observe(message)
            log_step(self._logger, **step_fields(message))
            wanted = self._policy.plan(message.device, message.request)
            self._order(endpoint, peer, message.device, message.request, wanted)
        elif isinstance(message, Register):
            self._logger.info("registered", role=message.role, name=message.name)
            self._order(
                endpoint, peer, message.name, ANY_REQUEST, self._policy.plan(message.name, ANY_REQUEST)
            )
        else:
            self._refuse(UNEXPECTED, peer, f"{_kind(message)} is nothing that a controller is told")

    def _order(self, endpoint: Endpoint, peer: bytes, device: str, request: int, plan: PlanValues) -> None:
        order = PlanOrder(
            device=device, request=request, k=plan.k, gamma=plan.gamma, min_draft=plan.min_draft
        )
        self._sequence = (self._sequence + 1) % 2**32
        endpoint.send(peer, encode_frame(order, session=request, sequence=self._sequence))

    def _refuse(self, cause: str, peer: bytes, detail: str) -> None:
        if not self._refused[cause]:  # said once; how often is counted
            self._logger.warning(
                "refused", reason=str(cause), peer=peer.decode(errors="replace"), detail=detail
            )
        self._refused[cause] += 1


def _kind(message: AnyMessage) -> str:
    return type(message).__name__


__all__ = ["UNEXPECTED", "ControllerNode"]
