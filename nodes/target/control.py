"""The BS's end of its controller: reports go there, plans come back. It may be absent or die."""

from collections.abc import Callable, Iterable

from draftwire.codecs.control import ANY_REQUEST, ControlMessage, PlanOrder, Register
from draftwire.codecs.errors import Refusal, WireError
from draftwire.codecs.frame import decode_frame, encode_frame
from draftwire.nodes.target.plans import FirstPlans
from draftwire.nodes.target.served import Served, name_of
from draftwire.runtime.config import ControllerSettings
from draftwire.runtime.session.sendable import can_be_sent
from draftwire.runtime.transport import Endpoint, Transport

PEER = b"controller"
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
        refuse: Callable[[Refusal, bytes, str], None],
    ) -> None:
        """`name` is the BS's own: an order for it holds for every device never heard of."""
        self.plans = FirstPlans(settings, vocab_size=vocab_size)
        self._address, self._name, self._vocab_size = settings.address, name, vocab_size
        self._transport, self._refuse = transport, refuse
        self._endpoint: Endpoint | None = None
        self._sequence = 0

    async def connect(self) -> None:
        """Begin to look for the controller, and introduce the BS to it."""
        self._endpoint = await self._transport.connect(self._address, identity=self._name.encode())
        self.introduce()

    def introduce(self) -> None:
        """Say who reports. Said again with each new request, for a controller that has been started anew."""
        self.tell(Register(role="target", name=self._name, vocab_size=self._vocab_size))

    async def close(self) -> None:
        """Idempotent."""
        if self._endpoint is not None:
            await self._endpoint.close()

    def tell(self, message: ControlMessage, *, session: int = 0) -> None:
        """Dropped where nobody listens: the next report tells as much."""
        if self._endpoint is not None:
            self._sequence = (self._sequence + 1) % 2**32
            self._endpoint.send(b"", encode_frame(message, session=session, sequence=self._sequence))

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
                self.plans.ordered(order, everybody=order.device == self._name)
            else:
                for served in requests():
                    if served.number == order.request and name_of(served.peer) == order.device:
                        pins = served.session.request
                        values = self.plans.followed(order, pinned_k=pins.k, pinned_gamma=pins.gamma)
                        served.session.replan(**values)
                        replanned()


__all__ = ["Control"]
