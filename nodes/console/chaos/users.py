"""Who asks at a device, and what was shown of each answer: kept outside of all nodes, over all lives."""

import random
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, Protocol

from draftwire.codecs.messages import Acceptance, Sampling
from draftwire.nodes.console.chaos.disk import Disk, MortalJournal
from draftwire.nodes.console.chaos.faults import Moment, Scenario
from draftwire.nodes.console.chaos.lives import Life
from draftwire.nodes.console.chaos.models import VOCAB_SIZE
from draftwire.nodes.console.chaos.outcome import Answer
from draftwire.nodes.console.simulate.seeds import stream_of
from draftwire.nodes.device.account import Account
from draftwire.nodes.device.entries import Entry
from draftwire.nodes.device.errors import NEVER_AGAIN, RequestRefusedError
from draftwire.nodes.device.journal import JournalError
from draftwire.nodes.device.node import DeviceNode
from draftwire.runtime.session.request import Request

PAUSE_S: Final = 1.0
"""Behind a refusal, and up to as long again: then the user tries once more."""

BEGINS_WITHIN_S: Final = 0.3
"""Devices begin to ask spread over so long; the first at once."""

PROMPT_TOKENS: Final = (4, 9)
"""From so many to so many."""

NO_JOURNAL: Final = "no journal"
"""Why an answer has no end whose device has died, or given up, without one."""


@dataclass(slots=True)
class Told:
    """One request, as its user knows it."""

    device: str
    place: int
    "from 0 on, of this device"
    request: Request
    ids: list[int] = field(default_factory=list)
    "shown so far"
    begun: bool = False
    over: bool = False
    ended: bool = False
    "whether the base station ended it"
    reason: str = ""
    acceptance: Acceptance = Acceptance.AUTO

    @property
    def id(self) -> str:
        """In the journal."""
        return f"request{self.place}"

    @property
    def under_way(self) -> bool:
        """Whether somebody waits for it."""
        return self.begun and not self.over

    def answer(self) -> Answer:
        """For those who look at the run."""
        settled = self.acceptance
        return Answer(
            device=self.device,
            number=self.place,
            acceptance=self.request.acceptance if settled is Acceptance.AUTO else settled,
            seed=self.request.seed,
            prompt=self.request.prompt,
            ids=tuple(self.ids),
            ended=self.ended,
            reason=self.reason,
        )


class Watcher(Protocol):
    """Who hears of what a user sees."""

    def shown(self, told: Told, position: int, token: int, journal: MortalJournal | None) -> None:
        """A token, by its place in the log; `told.ids` do not have it yet."""
        ...

    def over(self, told: Told) -> None:
        """No more comes of it."""
        ...

    def wrong(self, promise: str, what: str) -> None:
        """A promise is broken, as a sentence says."""
        ...


def requests_of(scenario: Scenario, device: str, *, seed: int) -> list[Told]:
    """What the user of a device will ask."""
    asked = list[Told]()
    for place in range(scenario.requests):
        stream = stream_of(seed, "request", device, place)
        request = Request(
            prompt=tuple(stream.randrange(VOCAB_SIZE) for _ in range(stream.randint(*PROMPT_TOKENS))),
            sampling=Sampling(temperature=scenario.temperature),
            seed=stream.getrandbits(64),
            max_new_tokens=scenario.tokens,
            k=scenario.k,
            gamma=scenario.gamma,
            acceptance=scenario.acceptance,
        )
        asked.append(Told(device, place, request))
    return asked


class User:
    """Of one device; each life of it is used by `use`, which goes on where the last one was left."""

    def __init__(
        self,
        device: str,
        scenario: Scenario,
        *,
        seed: int,
        disk: Disk | None,
        watcher: Watcher,
        ends: Callable[[str], None],
    ) -> None:
        """`disk`: None: no journal. `ends` has the process of the device end: its disk is full."""
        self.device, self.disk = device, disk
        self.told = requests_of(scenario, device, seed=seed)
        self.journal: MortalJournal | None = None
        "of the newest life"
        self.begins_s = 0.0
        self._numbers = stream_of(seed, "user", device)
        self._watcher, self._ends = watcher, ends

    @property
    def now(self) -> Told | None:
        """The request that is under way, or to be asked next; None: all is over."""
        return next((one for one in self.told if not one.over), None)

    async def use(self, life: Life, node: DeviceNode) -> None:
        """Ask, one request after the other, until all are over or the life is."""
        if life.number == 0 and self.begins_s:
            await life.clock.sleep_until(life.clock.now_s() + self.begins_s)
        with _journal_of(self.disk, life, self._numbers) as self.journal:
            while not life.dead and (told := self.now) is not None:
                try:
                    if self.journal is None:
                        await self._ask(told, life, node)
                    else:
                        await self._go_on(told, life, node)
                except RequestRefusedError as error:
                    self._refused(told, error)
                    pause_s = PAUSE_S * (1 + self._numbers.random())
                    await life.clock.sleep_until(life.clock.now_s() + pause_s)
                except JournalError:
                    self._ends(self.device)  # as the command line does; it starts again when there is room
                    return

    def died(self) -> None:
        """The life is over, and in the middle of a request perhaps."""
        told = self.now
        if self.disk is None and told is not None and told.under_way:
            self._finish(told, reason=NO_JOURNAL)

    async def _ask(self, told: Told, life: Life, node: DeviceNode) -> None:
        told.begun = True
        account = Account(vocab_size=VOCAB_SIZE)
        async with aclosing(node.answer(told.request, account=account)) as answer:
            async for taken in answer:
                self._show(told, taken.position, taken.token, life, account)
        if not life.dead:
            self._finish(told, ended=True)

    async def _go_on(self, told: Told, life: Life, node: DeviceNode) -> None:
        """From the journal, where it is in there; a power cut may have taken all of it."""
        journal = self.journal
        assert journal is not None
        entry = self._entry(told, journal)
        if entry is None:
            told.begun = True
            entry = node.enter(told.request, journal, id=told.id)
        account = Account(vocab_size=VOCAB_SIZE, acceptance=entry.record.acceptance)
        first = len(told.request.prompt)
        for position, token in enumerate(entry.output[len(told.ids) :], first + len(told.ids)):
            self._show(told, position, token, life, account)
        if not entry.end:
            async with aclosing(node.resume(entry, journal=journal, account=account)) as answer:
                async for taken in answer:
                    self._show(told, taken.position, taken.token, life, account)
        elif entry.end.upper() in {reason.name for reason in NEVER_AGAIN}:
            self._finish(told, reason=entry.end)
            return
        if not life.dead:
            self._finish(told, ended=True)

    def _entry(self, told: Told, journal: MortalJournal) -> Entry | None:
        kept = [one for one in journal._requests.all() if one.id == told.id]
        return kept[0] if kept else None

    def _show(self, told: Told, position: int, token: int, life: Life, account: Account) -> None:
        if life.dead:
            return
        told.acceptance = account.acceptance
        self._watcher.shown(told, position, token, self.journal)

    def _refused(self, told: Told, error: RequestRefusedError) -> None:
        if error.reason in {reason.name for reason in NEVER_AGAIN}:
            self._watcher.wrong("ends", f"{told.device} {told.id} was ended for good: {error}")
            self._finish(told, reason=error.reason.lower())
        elif self.journal is None and told.ids:
            self._finish(told, reason=f"{error.reason.lower()}, {NO_JOURNAL}")

    def _finish(self, told: Told, *, ended: bool = False, reason: str = "") -> None:
        told.over, told.ended, told.reason = True, ended, reason
        self._watcher.over(told)


class _NoJournal:
    """In the place of one."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        pass


def _journal_of(disk: Disk | None, life: Life, numbers: random.Random) -> MortalJournal | _NoJournal:
    if disk is None:
        return _NoJournal()
    return MortalJournal(
        disk, numbers=numbers, dead=lambda: life.dead, writes=lambda: life.dies_at(Moment.WRITING)
    )


__all__ = ["NO_JOURNAL", "PAUSE_S", "Told", "User", "Watcher", "requests_of"]
