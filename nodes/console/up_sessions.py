"""What many devices at one base station are doing: a session each, and the figures of all together.

A session follows its device's own answers. What the base station and the channel know besides, passes and
shares of the air, is read from the record that they append to.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

from draftwire.nodes.console.api import Generation
from draftwire.nodes.console.live import Window
from draftwire.nodes.device.account import Account
from draftwire.runtime.errors import DraftwireError
from draftwire.runtime.telemetry import SHARES_EVENT, STEP_EVENT

SPEED_OVER_S: Final = 5.0
"""Speeds that are shown while it runs are over so many seconds: a device has a few steps in them."""

SHARES_OVER: Final = 5
"""Events of the channel that a share lately is of: one comes a second."""

UPLINK: Final = "uplink"
"""The direction of the shares that are shown."""

COUNTS: Final = ("seen", "accepted", "drafted", "wasted", "bytes_up", "bytes_down")
"""Of an account, that are summed over the requests of a device."""


class State(StrEnum):
    """What a device is at."""

    WAITING = "waits"
    "for something to answer"
    OPENING = "opens"
    "no token has come yet"
    ANSWERING = "answers"
    FAILED = "failed"
    "its last request could not be answered; the reason is told"
    DONE = "done"
    "it is asked no more"


class Session:
    """One device: the answer under way, and those before it. Times are of one clock."""

    def __init__(self, name: str, *, now_s: float, busy: Callable[[], str] = lambda: "") -> None:
        """`busy` tells why the base station has no room for it, empty: it has."""
        self.name, self.busy = name, busy
        self.state = State.WAITING
        self.reason, self.exit_code = "", 0
        "of the last request that failed"
        self.failed, self.answered = 0, 0
        "requests that could not be answered, and those that ended well"
        self.tokens = 0
        "that came, of all requests"
        self._window = Window(now_s, over_s=SPEED_OVER_S)
        self._asked_s, self._busy_s = now_s, 0.0
        self._generation: Generation | None = None
        self._ended = Counter[str]()
        "COUNTS of the requests before the one under way"

    def asks(self, generation: Generation, now_s: float) -> None:
        """A request begins."""
        self._generation, self._asked_s, self.state = generation, now_s, State.OPENING

    def token(self, now_s: float) -> None:
        """A token of it has come."""
        self.state = State.ANSWERING
        self.tokens += 1
        self._window.add(now_s)

    def answers(self, now_s: float) -> None:
        """It has ended well."""
        self._end(State.WAITING, now_s)
        self.answered += 1

    def fails(self, error: DraftwireError, now_s: float) -> None:
        """A request could not be answered, or not begun."""
        self._end(State.FAILED, now_s)
        self.reason, self.exit_code = str(error), error.exit_code
        self.failed += 1

    def rests(self, now_s: float) -> None:
        """It is asked no more; what is under way will not end, but what it came to counts."""
        if self.state is not State.FAILED:
            self._end(State.DONE, now_s)

    def _end(self, state: State, now_s: float) -> None:
        if self.under_way:
            account = self._account
            assert account is not None
            self._ended.update({name: getattr(account, name) for name in COUNTS})
            self._busy_s += now_s - self._asked_s
        self.state = state

    @property
    def under_way(self) -> bool:
        """Whether a request is."""
        return self.state in (State.OPENING, State.ANSWERING)

    @property
    def has_asked(self) -> bool:
        """Whether it was asked anything, whatever came of it."""
        return self._generation is not None or self.failed > 0

    @property
    def text(self) -> str:
        """Of the answer under way, or the last one."""
        return "" if self._generation is None else self._generation.text

    @property
    def alpha(self) -> float | None:
        """Of all tokens that were tested; None: none was."""
        seen = self.count("seen")
        return self.count("accepted") / seen if seen else None

    @property
    def k(self) -> int | None:
        """Of the last plan heard of; None: no rows travel, or nothing was heard."""
        account = self._account
        rows = account is not None and not account.hints and self.gamma
        return account.plan.k if account is not None and account.plan is not None and rows else None

    @property
    def gamma(self) -> int | None:
        """The same; 0: the target decodes alone."""
        plan = None if self._account is None else self._account.plan
        return None if plan is None else plan.gamma

    def tokens_per_s(self, now_s: float) -> float:
        """Over the last seconds."""
        return self._window.a_second(now_s)

    def mean_tokens_per_s(self, now_s: float) -> float | None:
        """Over the time in which a request was under way; None: nothing has come."""
        busy_s = self._busy_s + (now_s - self._asked_s if self.under_way else 0.0)
        return self.tokens / busy_s if self.tokens and busy_s > 0 else None

    def count(self, name: str) -> int:
        """One of COUNTS, of all its requests."""
        under_way = getattr(self._account, name) if self.under_way else 0
        return self._ended[name] + int(under_way)

    @property
    def _account(self) -> Account | None:
        return None if self._generation is None else self._generation.account


class Witness:
    """What the record tells of all sessions together."""

    def __init__(self, now_s: float) -> None:
        self.passes, self.steps = 0.0, 0
        "of the target: a step is a session's part of a pass"
        self._passes, self._steps = (Window(now_s, over_s=SPEED_OVER_S) for _ in range(2))
        self._shares = deque[Mapping[str, float]](maxlen=SHARES_OVER)
        self._all_shares = Counter[str]()

    def tell(self, events: Iterable[Mapping[str, Any]], now_s: float) -> None:
        """New events of the record."""
        for event in events:
            if event["event"] == STEP_EVENT:
                part = 1 / max(1, event["pass_sessions"])
                self.passes, self.steps = self.passes + part, self.steps + 1
                self._passes.add(now_s, part)
                self._steps.add(now_s)
            elif event["event"] == SHARES_EVENT and event["direction"] == UPLINK:
                self._shares.append(event["shares"])
                self._all_shares.update(event["shares"])

    def air_shares(self, *, all_along: bool = False) -> Mapping[str, float]:
        """By device, 0 to 1: of the time in which the cell carried anything up, lately or all along; empty:
        nobody shares one, or nothing was told.
        """
        told = self._all_shares
        if not all_along:
            told = Counter()
            for shares in self._shares:
                told.update(shares)
        total = sum(told.values())
        return {name: share / total for name, share in told.items()} if total else {}

    def passes_per_s(self, now_s: float) -> float:
        """Over the last seconds."""
        return self._passes.a_second(now_s)

    def sessions_a_pass(self, now_s: float) -> float | None:
        """The same; None: there was no pass."""
        passes = self._passes.a_second(now_s)
        return self._steps.a_second(now_s) / passes if passes else None


__all__ = ["SHARES_OVER", "SPEED_OVER_S", "Session", "State", "Witness"]
