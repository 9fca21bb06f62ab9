"""The BS's end of its controller: reports go there, plans come back. It may be absent or die."""

from collections.abc import Callable, Iterable
from typing import Final

from structlog.typing import FilteringBoundLogger

from draftwire.codecs.control import ANY_REQUEST, ControlMessage, PlanOrder, Register
from draftwire.codecs.errors import Refusal, WireError
from draftwire.codecs.frame import decode_frame, encode_frame
from draftwire.nodes.target.plans import FirstPlans
from draftwire.nodes.target.served import Served
from draftwire.runtime.absence import LOOK_S, Absence
from draftwire.runtime.clock import Clock
from draftwire.runtime.config import ControllerSettings
from draftwire.runtime.security import Service
from draftwire.runtime.session.sendable import can_be_sent
from draftwire.runtime.transport import Endpoint, Transport, Trouble

PEER: Final = "controller"
"""Who is said to have sent what was refused."""


class Control:
    """`plans` is what requests begin with; without a controller the last plan stays in force."""

    def __init__(
        self,
        settings: ControllerSettings,
        *,
        name: str,
        vocab_size: int,
        transport: Transport,
        clock: Clock,
        logger: FilteringBoundLogger,
        refuse: Callable[[Refusal, str, str], None],
    ) -> None:
        """`name` is how the controller knows this BS."""
        self.plans = FirstPlans(settings, vocab_size=vocab_size)
        self._address, self._name, self._vocab_size = settings.address, name, vocab_size
        self._transport, self._clock, self._log, self._refuse = transport, clock, logger, refuse
        self._endpoint: Endpoint | None = None
        self._sequence = 0
        self._absence = Absence(away=self._log_away, back=self._log_back)

    async def connect(self) -> None:
        """Begin to look for the controller, and introduce the BS to it."""
        self._endpoint = await self._transport.connect(
            self._address, service=Service.CONTROLLER, name=self._name
        )
        self.introduce()

    def introduce(self) -> None:
        """Say who reports. Said again with each new request and to a controller that is back."""
        self.tell(Register(role="target", name=self._name, vocab_size=self._vocab_size))

    async def close(self) -> None:
        """Idempotent."""
        if self._endpoint is not None:
            await self._endpoint.close()

    def tell(self, message: ControlMessage, *, session: int = 0) -> None:
        """Dropped where nobody listens: the next report tells as much, and none waits to be read late."""
        if self._endpoint is not None:
            self._look(self._endpoint)
            if not self._absence.lasts:
                self._send(self._endpoint, message, session)

    async def watch(self) -> None:
        """Say it once, by kind, if the controller is away for long; tell one that is back who reports."""
        assert self._endpoint is not None
        while True:
            await self._clock.sleep_until(self._clock.now_s() + LOOK_S)
            self._look(self._endpoint)

    def _look(self, endpoint: Endpoint) -> None:
        if self._absence.look(endpoint.trouble(), self._clock.now_s()):
            self.introduce()

    def _log_away(self, trouble: Trouble) -> None:
        self._log.warning("target.no_controller", kind=trouble.kind.value, text=trouble.text)

    def _log_back(self, after_s: float) -> None:
        self._log.info("target.controller_back", after_s=after_s)

    def _send(self, endpoint: Endpoint, message: ControlMessage, session: int) -> None:
        self._sequence = (self._sequence + 1) % 2**32
        endpoint.send(b"", encode_frame(message, session=session, sequence=self._sequence))

    async def obey(self, requests: Callable[[], Iterable[Served]], replanned: Callable[[], None]) -> None:
        """Follow orders until cancelled: of `requests`, or for those to come."""
        assert self._endpoint is not None
        while True:
            received = await self._endpoint.receive()
            try:
                order = decode_frame(received.data).message
            except WireError as error:
                self._refuse(error.reason, PEER, str(error))
                continue
            if not isinstance(order, PlanOrder):
                detail = f"a controller has no business sending {type(order).__name__}"
                self._refuse(Refusal.KIND, PEER, detail)
            elif not can_be_sent(order.k, self._vocab_size):
                self._refuse(Refusal.RANGE, PEER, f"no row of {order.k} entries can be sent")
            elif order.request == ANY_REQUEST:
                self.plans.ordered(order)
            else:
                for served in requests():
                    if served.number == order.request and served.name == order.device:
                        pins = served.session.request
                        plan = self.plans.followed(order, pinned_k=pins.k, pinned_gamma=pins.gamma)
                        served.session.replan(plan, patience_s=order.patience_s)
                        replanned()


__all__ = ["Control"]
