"""What a node tells an observer: chosen events of its log, and what it says besides, as Event frames.

    reporter = Reporter(name="target", role=Role.TARGET, address=..., events=[STEP_EVENT], ...)
    set_up_logging(reporter=reporter)
    async with reporter.telling(transport):
        ...

Nobody waits for it. While the observer is away events wait in the connection's own queue, which is bounded.
Once that has lasted PATIENCE_S, or where it takes events more slowly than they come, they are dropped and
counted; that is said once, and once more when it goes on.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson
from structlog.typing import EventDict, FilteringBoundLogger

from draftwire.codecs.control import Event
from draftwire.codecs.errors import LocalError
from draftwire.codecs.frame import encode_frame
from draftwire.runtime.absence import LOOK_S, Absence
from draftwire.runtime.clock import Clock
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.memory import remember
from draftwire.runtime.security import Role, Service
from draftwire.runtime.telemetry import ALIVE_EVENT, LINK_EVENT
from draftwire.runtime.transport import DropReason, Endpoint, Transport, Trouble

ALIVE_S: Final = 5.0
"""How often each node says that it is there."""

MOST_TEXT: Final = 4096
"""Characters of one text; what is longer is cut. Each takes six bytes at most, and a frame holds 64 KiB."""

CUT: Final = "…"
"""Behind a text that was cut."""

MOST_LINKS: Final = 256
"""Links that an observer is told again when it comes back; of more, those that changed last."""

SLOW: Final = "it takes events more slowly than they come"

_TURNS: Final = round(ALIVE_S / LOOK_S)
"""The nodes of a process take turns in saying that they are there."""

_OF_THE_LOG: Final = frozenset({"node", "level", "timestamp", "exception"})
"""Fields of a log's event that say nothing of what happened."""


class Reporter:
    """Tells the observer of a topology; a place in set_up_logging's pipeline."""

    def __init__(
        self,
        *,
        name: str,
        role: Role,
        address: str,
        clock: Clock,
        logger: FilteringBoundLogger,
        events: Collection[str] = (),
        names: Sequence[str] = (),
    ) -> None:
        """`name`: of the connection and of the node. `events`: of the log, that are told. `names`: of all
        nodes of this process, where they are several; with keys all are below the one key.
        """
        self._name, self._role, self._address = name, role, address
        self._clock, self._logger = clock, logger
        self._events = frozenset(events)
        self._names = tuple(names) or (name,)
        self._endpoint: Endpoint | None = None
        self._sequence = 0
        self._links = dict[tuple[object, object], Mapping[str, Any]]()
        "the last event of each link, by direction and device: all that holds now"
        self._absence = Absence(away=self._goes_away, back=self._comes_back)
        self._given_up = False
        "whether it has been away for so long that nothing more waits for it"
        self._failing = False
        "whether it has been said that events are dropped, or soon will be"
        self._lost = self._lost_before = self._lost_told = 0

    @property
    def lost(self) -> int:
        """Events that were dropped."""
        return self._lost

    def __call__(self, logger: object, method: str, event: EventDict) -> EventDict:
        if event.get("event") in self._events:
            fields = {name: value for name, value in event.items() if name not in _OF_THE_LOG}
            if fields["event"] == LINK_EVENT:
                self._keep(fields)
            self._ship(self._name, fields)
        return event

    def tell(self, event: str, *, node: str | None = None, **fields: Any) -> None:
        """Tell it at once, or drop it; `node`: who tells, where this process has several."""
        self._ship(node or self._name, {"event": event, **fields})

    @asynccontextmanager
    async def telling(self, transport: Transport) -> AsyncIterator[None]:
        """Be connected while the block runs; what is told outside it is dropped.

        Where the observer's key is not allowed here that is said, and nothing told: a node does its work
        without. Raises AddressError for what is no address.
        """
        try:
            endpoint = await transport.connect(self._address, service=Service.OBSERVER, name=self._name)
        except ConfigurationError as error:
            self._logger.warning("report.keyless", address=self._address, detail=str(error))
            yield
            return
        self._endpoint = endpoint
        watching = asyncio.create_task(self._watch(endpoint), name=f"{self._name} reports")
        try:
            yield
        finally:
            self._endpoint = None
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await endpoint.close()

    async def _watch(self, endpoint: Endpoint) -> None:
        """Say who is there, and look whether anybody hears it."""
        turn = 0
        while True:
            now_s = self._clock.now_s()
            self._look(endpoint, now_s)
            for name in self._names[turn::_TURNS]:
                self.tell(ALIVE_EVENT, node=name, role=self._role.value)
            turn = (turn + 1) % _TURNS
            await self._clock.sleep_until(now_s + LOOK_S)

    def _look(self, endpoint: Endpoint, now_s: float) -> None:
        if self._absence.look(endpoint.trouble(), now_s):  # it may have been started anew, and know nothing
            for fields in self._links.values():
                self._ship(self._name, fields)
        if not self._absence.lasts and self._lost == self._lost_before:
            self._goes_on()
        self._lost_before = self._lost

    def _goes_away(self, trouble: Trouble) -> None:
        self._given_up = True
        self._fails(trouble.text)

    def _comes_back(self, after_s: float) -> None:
        self._given_up = False

    def _keep(self, fields: Mapping[str, Any]) -> None:
        """What an order says of all devices takes the place of what was said of each."""
        direction, device = fields.get("direction"), fields.get("device")
        if device is None and fields.get("ordered"):
            self._links = {key: kept for key, kept in self._links.items() if key[0] != direction}
        remember(self._links, (direction, device), fields, most=MOST_LINKS)

    def _ship(self, node: str, fields: Mapping[str, Any]) -> None:
        endpoint = self._endpoint
        if endpoint is None:
            return
        if self._given_up:
            self._lost += 1
            return
        try:
            event = Event(node=node, at_s=self._clock.now_s(), fields=_plain(fields))
            data = encode_frame(event, session=0, sequence=self._sequence)
        except (LocalError, orjson.JSONEncodeError, orjson.JSONDecodeError) as error:
            self._lost += 1
            self._fails(f"an event {fields.get('event')} can't travel: {error}")
            return
        self._sequence = (self._sequence + 1) % 2**32
        if endpoint.send(b"", data):
            return
        if DropReason.CLOSED in endpoint.statistics().dropped:
            self._endpoint = None  # the node has ended, and closed its transport
            return
        self._lost += 1
        if not self._failing:
            trouble = endpoint.trouble()
            self._fails(SLOW if trouble is None else trouble.text)

    def _fails(self, detail: str) -> None:
        if not self._failing:
            self._failing = True
            self._logger.warning("report.failed", address=self._address, detail=detail)

    def _goes_on(self) -> None:
        if self._failing:
            self._failing = False
            lost, self._lost_told = self._lost - self._lost_told, self._lost
            self._logger.warning("report.goes_on", address=self._address, lost=lost)


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has it, long texts cut. Raises JSONEncodeError for what has no spelling there."""
    short = {
        name: value[:MOST_TEXT] + CUT if isinstance(value, str) and len(value) > MOST_TEXT else value
        for name, value in fields.items()
    }
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    plain: dict[str, Any] = orjson.loads(orjson.dumps(short, default=repr, option=options))
    return plain


__all__ = ["ALIVE_S", "CUT", "MOST_TEXT", "SLOW", "Reporter"]
