"""SessionPair: both ends of one request over a scripted link, in scripted time.

The real session code, the real drafter and verifier; only models, link and clock are played. A link script
is a function (direction, message, index) -> delays in seconds, one for each copy that arrives: () drops the
message, (0.0, 0.0) duplicates it. Compute takes `device_s` and `target_s`, so that messages can arrive while
a pass is under way.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.frame import PROTOCOL_VERSION
from draftwire.codecs.messages import (
    Acceptance,
    Draft,
    Finish,
    Hello,
    Incarnation,
    Message,
    Open,
    Plan,
    Reason,
    Refused,
)
from draftwire.nodes.device.drafter import draw_block
from draftwire.nodes.speculation.noise import NOISE_VERSION, Noise
from draftwire.nodes.target.verifier import Verdict, correct, verify, verify_block
from draftwire.runtime.session.device import DeviceSession
from draftwire.runtime.session.request import Block, DeviceRecord, Request, Taken, Timing
from draftwire.runtime.session.states import Device, Target
from draftwire.runtime.session.target import Step, TargetSession

Direction = Literal["up", "down"]
LinkScript = Callable[[Direction, Message, int], Sequence[float]]
LogitsOf = Callable[[Sequence[int]], NDArray[np.float32]]

HELLO = Hello(
    protocol_version=PROTOCOL_VERSION, noise_version=NOISE_VERSION, vocab_size=2, fingerprint=bytes(8)
)

Planned = tuple[int, int] | Plan
"""(K, gamma) of a plan whose blocks the BS waits for; or all of a plan."""


def as_plan(planned: Planned, *, number: int = 1) -> Plan:
    """The plan, by this number."""
    if isinstance(planned, Plan):
        return replace(planned, number=number)
    k, gamma = planned
    return Plan(number=number, k=k, gamma=gamma, min_draft=gamma)


def perfect(direction: Direction, message: Message, index: int) -> Sequence[float]:
    """A link that delivers everything at once."""
    return (0.0,)


@dataclass
class World:
    """The two models: logits behind a sequence of tokens, shape [V]."""

    vocab_size: int
    target: LogitsOf
    draft: LogitsOf


@dataclass
class Context:
    """A model's context without a cache."""

    logits_of: LogitsOf

    def logits(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
        """Shape [rows, V]."""
        ends = range(len(tokens) - rows + 1, len(tokens) + 1)
        return np.stack([self.logits_of(tokens[:end]) for end in ends])


@dataclass(order=True)
class _Event:
    at_s: float
    order: int
    act: Callable[[], None] = field(compare=False)


class SessionPair:
    """Run it with `run`; restart either end from outside with `restart_target`, `restart_device`."""

    hello = HELLO
    "what the device says first"

    def __init__(
        self,
        world: World,
        request: Request,
        noise: Noise,
        *,
        plan: Planned = (2, 2),
        link: LinkScript = perfect,
        policy: Callable[["SessionPair"], Planned] | None = None,
        timing: Timing | None = None,
        device_s: float = 0.0,
        target_s: float = 0.0,
        uplink_s: float = 0.0,
        stops: Callable[["SessionPair", Block], bool] | None = None,
        device_class: type[DeviceSession] = DeviceSession,
        target_class: type[TargetSession] = TargetSession,
        ahead: int = 64,
    ) -> None:
        """`device_s` a block, or a token of a path; `uplink_s`: what a device thinks that a Draft takes to
        leave; `stops`: whether it stops drafting behind a block, until the log grows.
        """
        self.world, self.request, self.noise = world, request, noise
        self.link, self.policy, self.timing = link, policy, timing or Timing()
        self.device_s, self.target_s, self.uplink_s, self.stops = device_s, target_s, uplink_s, stops
        self.device_class, self.target_class = device_class, target_class
        self.ahead = ahead
        self.now_s = 0.0
        self.boot = 1
        self.taken: list[Taken] = []
        self.plan = as_plan(plan)
        self.target: TargetSession | None = None
        self.device = device_class(request, self.hello, now_s=0.0, timing=self.timing)
        self._events: list[_Event] = []
        self._order = count()
        self._sent = {"up": 0, "down": 0}
        self._drawing = False
        self._verdict: Verdict | None = None
        self._incarnations = self._served_try = 0
        self.on_drawn: Callable[[Block, bool], None] = lambda block, kept: None
        """hears of each block, once the session has it, and whether it stands: of a path it may have come too
        late"""

    # -- running -------------------------------------------------------------------------------------------

    def run(self, *, until_s: float = 1000.0, while_: Callable[[], bool] | None = None) -> None:
        """Until the device has finished or failed and nothing is in flight, or `until_s`."""
        self._settle()
        while not self.over() and (while_ is None or while_()):
            at_s = self._next_s()
            if at_s is None or at_s > until_s:
                return
            self.now_s = max(self.now_s, at_s)
            if self._events and self._events[0].at_s <= self.now_s:
                heapq.heappop(self._events).act()
            else:
                self.device.on_timer(self.now_s)
                if self.target is not None:
                    self.target.on_timer(self.now_s)
            self._settle()

    def rest(self, *, until_s: float = 1000.0) -> None:
        """After the device's end: until nothing is in flight and the BS waits for nothing, or `until_s`."""
        self._settle()
        while (at_s := self._next_s()) is not None and at_s <= until_s:
            self.now_s = max(self.now_s, at_s)
            if self._events and self._events[0].at_s <= self.now_s:
                heapq.heappop(self._events).act()
            else:
                self.device.on_timer(self.now_s)
                if self.target is not None:
                    self.target.on_timer(self.now_s)
            self._settle()

    def over(self) -> bool:
        """Whether the device's end has come to rest."""
        return self.device.state in (Device.FINISHED, Device.FAILED)

    @property
    def output(self) -> tuple[int, ...]:
        """The tokens that the device has taken, checked to be one of each position, in order."""
        start = len(self.request.prompt)
        assert [t.position for t in self.taken] == list(range(start, start + len(self.taken)))
        return tuple(t.token for t in self.taken)

    def restart_target(self) -> None:
        """The BS loses everything it held."""
        self.target = None
        self.boot += 1
        self._verdict = None

    def restart_device(self) -> None:
        """The device loses all but its record: tokens taken, its try, its highest epoch, the block out."""
        self.go_on_from(self.device.record, self.taken)

    def go_on_from(self, record: DeviceRecord, taken: Sequence[Taken]) -> None:
        """Another life of the device begins, with these on disk."""
        self.device = self.device_class(
            self.request,
            self.hello,
            now_s=self.now_s,
            timing=self.timing,
            output=[one.token for one in taken],
            origins=[one.origin for one in taken],
            device_try=record.device_try,
            draft_epoch=record.draft_epoch,
            outstanding=record.outstanding,
            acceptance=record.acceptance,
        )
        self._drawing = False

    def at(self, at_s: float, act: Callable[[], None]) -> None:
        """Do something at a time."""
        heapq.heappush(self._events, _Event(at_s, next(self._order), act))

    # -- the played parts ----------------------------------------------------------------------------------

    def _next_s(self) -> float | None:
        times = [self._events[0].at_s] if self._events else []
        for end in (self.device, self.target):
            deadline_s = None if end is None else end.next_deadline_s()
            if deadline_s is not None:
                times.append(deadline_s)
        return min(times, default=None)

    def _settle(self) -> None:
        """Let both ends do all they can do now."""
        self._target_works()
        self._target_sends()
        self._device_works()
        self._device_sends()

    def _device_sends(self) -> None:
        self.taken.extend(self.device.take())
        for message in self.device.to_send():
            ahead = self.device.ahead
            if ahead is not None and isinstance(message, Draft):
                ahead.uplink_free_s = max(ahead.uplink_free_s, self.now_s) + self.uplink_s
            self._transmit("up", message)

    def _transmit(self, direction: Direction, message: Message) -> None:
        index = self._sent[direction]
        self._sent[direction] += 1
        for delay_s in self.link(direction, message, index):
            deliver = self._deliver_up if direction == "up" else self._deliver_down
            self.at(self.now_s + delay_s, lambda deliver=deliver: deliver(message))  # type: ignore[misc]

    def _deliver_down(self, message: Message) -> None:
        self.device.receive(message, self.now_s)

    def _deliver_up(self, message: Message) -> None:
        """What a BS node does before its sessions: Hello is its own, unknown requests are refused."""
        if isinstance(message, Hello):
            return
        if isinstance(message, Open) and message.acceptance is Acceptance.AUTO:
            message = replace(message, acceptance=Acceptance.COUPLED)
        if isinstance(message, Open) and self._begins(message):
            self._served_try = message.device_try
            self.target = self.target_class(
                message,
                self._next_incarnation,
                plan=self.plan,
                vocab_size=self.world.vocab_size,
                finish_of=self._finish_of,
                now_s=self.now_s,
                ahead=self.ahead,
                timing=self.timing,
            )
        elif self.target is None:
            self._transmit("down", Refused(reason=Reason.UNKNOWN_REQUEST, detail="no such request"))
        elif isinstance(message, Open) and (refused := self.target.supersedes(message)) is not None:
            self._transmit("down", refused)
        else:
            if isinstance(message, Open):
                self._served_try = max(self._served_try, message.device_try)
            self.target.receive(message, self.now_s)

    def _next_incarnation(self) -> Incarnation:
        self._incarnations += 1
        return Incarnation(boot=self.boot, counter=self._incarnations)

    def _begins(self, opened: Open) -> bool:
        """Whether the BS has no session for it, or one that is closed and of an older try."""
        over = self.target is not None and self.target.state is Target.CLOSED
        return self.target is None or (over and opened.device_try > self._served_try)

    def _finish_of(self, tokens: Sequence[int], prompt_length: int) -> Finish:
        done = len(tokens) - prompt_length >= self.request.max_new_tokens
        return Finish.LENGTH if done else Finish.RUNNING

    def _device_works(self) -> None:
        """All that it can draw now; what it has to say is said before it draws on."""
        while not self._drawing and self._draws():
            self._device_sends()

    def _draws(self) -> bool:
        """Whether there was something to draw."""
        device, work = self.device, self.device.work()
        if work is None:
            return False
        block = draw_block(
            work,
            device.request,
            Context(self.world.draft),
            support=None,
            vocab_size=self.world.vocab_size,
            noise=self.noise,
        )
        if self.device_s == 0:
            self._drew(block)
            return True
        self._drawing = True

        def deliver() -> None:
            if device is self.device:
                self._drawing = False
                self._drew(block)

        self.at(self.now_s + self.device_s, deliver)
        return True

    def _drew(self, block: Block) -> None:
        ahead = self.device.ahead
        held = 0 if ahead is None else len(ahead.chances)
        stops = self.stops is not None and self.stops(self, block)
        self.device.drawn(block, self.now_s, stops=stops)
        self.on_drawn(block, ahead is None or len(ahead.chances) > held)

    def _target_works(self) -> None:
        while (target := self.target) is not None:
            self._correct()
            step = target.step(self.now_s)
            if step is None:
                return
            if self.target_s:
                self.at(self.now_s + self.target_s, lambda step=step, target=target: self._test(step, target))  # type: ignore[misc]
                return
            self._test(step, target)

    def _test(self, step: Step, target: TargetSession) -> None:
        if target is not self.target:
            return
        logits = Context(self.world.target).logits([*step.tokens, *step.ids], len(step.ids) + 1)
        verdict = verify(step, logits, target.request, self.noise)
        self._verdict = verdict
        if verdict.token is None:
            target.needs_rows(step, verdict.wanted, self.now_s)
        else:
            target.tested(step, verdict.accepted, verdict.token, self.now_s)
        self._replan()

    def _correct(self) -> None:
        target, verdict = self.target, self._verdict
        if target is None or verdict is None or target.state is not Target.ROW_WAIT:
            return
        rows = target.rows()
        if rows is None:
            return
        if verdict.step.plan.blockwise:
            verdict = verify_block(verdict, rows, target.request, self.noise)
        else:
            verdict = replace(verdict, token=correct(verdict, rows[0], target.request, self.noise))
        assert verdict.token is not None
        target.settled(verdict.step, verdict.accepted, verdict.token, self.now_s)
        self._replan()

    def _replan(self) -> None:
        if self.policy is not None and self.target is not None:
            self.target.replan(as_plan(self.policy(self)))

    def _target_sends(self) -> None:
        if self.target is None:
            return
        for message in self.target.to_send():
            self._transmit("down", message)


def total_variation(a: dict[Any, float], b: dict[Any, float]) -> float:
    """Half the sum of |a - b| over all outcomes."""
    return sum(abs(a.get(key, 0.0) - b.get(key, 0.0)) for key in a.keys() | b.keys()) / 2
