"""One request under way at a device: its session, and what comes in, goes out and is written down of it."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from draftwire.codecs.frame import encode_frame
from draftwire.codecs.messages import Commit, Draft, Message, Open
from draftwire.codecs.tables import NO_TABLES, TableSet, TableSets, by_hash
from draftwire.nodes.device.account import Account
from draftwire.nodes.device.journal import Page
from draftwire.nodes.models.base import Context
from draftwire.runtime.link import LinkSpec
from draftwire.runtime.session.device import DeviceSession
from draftwire.runtime.session.request import Taken
from draftwire.runtime.wake import Wake

_LINK = LinkSpec()


@dataclass(slots=True, kw_only=True)
class Running:
    """A session and its surroundings."""

    number: int
    session: DeviceSession
    context: Context
    account: Account
    wake: Wake
    page: Page | None
    "where a journal keeps it; None: nowhere"
    tables: TableSets = field(default_factory=lambda: NO_TABLES)
    "the device's sets"
    pad_to: int = 0
    "bytes: frames are a multiple of it long; 0: as short as they are"
    told_busy: bool = False
    "whether the user knows that the BS has no room for it now"
    inbox: deque[tuple[Message, int]] = field(default_factory=deque)
    "messages with the sizes of their frames"
    sequence: int = 0

    @property
    def may_go_on(self) -> bool:
        """Whether it may go on after the end of this process, so that the BS must not be told to end it."""
        return self.page is not None and self.page.open

    def tell(self, message: Message, size: int) -> None:
        """A message has come for it."""
        self.inbox.append((message, size))
        self.wake.set()

    def take_in(self, now_s: float) -> None:
        """Let the session hear what has come."""
        while self.inbox:
            message, size = self.inbox.popleft()
            before = len(self.session.log)
            self.session.receive(message, now_s)
            self.account.received(size)
            if isinstance(message, Commit):
                news = len(self.session.log) - before
                self.account.acceptance = self.session.request.acceptance
                self.account.committed(message, news, now_s, ahead=self.session.ahead)

    def frames(self, taken: Sequence[Taken], now_s: float) -> Iterator[tuple[Message, bytes]]:
        """What is to be sent now. Each is encoded when its turn comes: a Draft leaves before its rows are.

        First the journal has `taken`, which can be shown then, and all that these messages lean on. Raises
        JournalError.
        """
        messages = self.session.to_send()
        if self.page is not None and self.page.open:
            hints = self.session.request.hints  # of a path that is lost with the device nothing hangs on
            leaves = any(isinstance(one, Open) or (isinstance(one, Draft) and not hints) for one in messages)
            rests = self.session.work() is None
            self.page.keep(taken, self.session.record, leaves=leaves, rests=rests)
        for message in messages:
            self.sequence += 1
            data = encode_frame(
                message,
                session=self.number,
                sequence=self.sequence,
                tables=self._agreed,
                pad_to=self.pad_to,
            )
            self._queue(len(data), now_s)
            yield message, data

    def _queue(self, size: int, now_s: float) -> None:
        """What leaves keeps the uplink busy, by the plan's estimate of its rate."""
        plan, ahead = self.session.plan, self.session.ahead
        if ahead is not None and plan is not None and plan.uplink_bps:
            sending_s = 8 * _LINK.bytes_on_link(size) / plan.uplink_bps
            ahead.uplink_free_s = max(ahead.uplink_free_s, now_s) + sending_s

    @property
    def _agreed(self) -> TableSet | None:
        """The set that rows are spelt with as they leave: for those sent again, what is agreed by then."""
        agreed = self.session.tables
        return None if agreed is None else by_hash(self.tables, agreed)


__all__ = ["Running"]
