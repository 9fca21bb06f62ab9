"""Schedules of disturbances, and a pair that runs under one with its promises checked at every moment."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

import numpy as np
from tests.harness.pair import Direction, Planned, SessionPair, World
from tests.harness.paths import RepeatingDevice, Watch
from tests.harness.worlds import Text, request, world

from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import Acceptance, Finish, Message
from draftwire.nodes.speculation.noise import PhiloxNoise
from draftwire.runtime.session.request import Block, Request, Timing
from draftwire.runtime.session.states import Device, Target
from draftwire.runtime.session.target import TargetSession

Who = Literal["device", "target", "both"]
Fate = tuple[float, ...]
Draftsman = Literal["another", "target"]
"""The draft model: one that has nothing to do with the target, or the target itself."""
P = TypeVar("P", bound=SessionPair)

CALM_S = 0.05
"Delay of a message that nothing happens to."

QUICK = Timing(
    resend_s=0.5,
    resend_most_s=2.0,
    reopen_after=2,
    reach_s=1e6,
    absent_s=1e6,
    ping_s=0.5,
    patience_s=0.7,
    row_s=0.3,
    repeat_s=0.4,
    parked_s=5.0,
)
"Waits so short that every repeat, re-open and parking occurs in a run of a few scripted seconds."

MOST_MESSAGES = 6
"An end wants to send at most so many at one moment; the longest case is a block's Draft, rows and a Ping."

MOST_MOMENTS = 20_000
"Events of one run: far more than any takes, so reaching them is two ends that talk without an end."


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What happens to a run, and when it stops happening."""

    up: tuple[Fate, ...] = ()
    "the device's first messages, one by one: a delay for each copy that arrives; behind them all is calm"
    down: tuple[Fate, ...] = ()
    "likewise the BS's"
    restarts: tuple[tuple[float, Who], ...] = ()
    "(seconds, who loses all but what it has on record)"
    cancel_s: float | None = None
    "when the device is told to cancel; one that restarts later has forgotten it"
    plans: tuple[Planned, ...] = ((2, 2),)
    "by the length of the log in turn"
    timing: Timing = QUICK
    device_s: float = 0.0
    target_s: float = 0.0
    ahead: int = 64
    tokens: int = 8
    seed: int = 1
    acceptance: Acceptance = Acceptance.REJECTION
    max_waste: float | None = None
    uplink_s: float = 0.0
    stops: bool = False
    "whether the device stops drafting behind each token 0, where its plan allows for that"
    draft: Draftsman = "another"

    @property
    def world(self) -> World:
        """Its models."""
        within = world(3, self.seed)
        return World(3, within.target, within.target if self.draft == "target" else within.draft)

    def request(self, temperature: float) -> Request:
        """What is asked for."""
        return request(
            self.tokens,
            temperature=temperature,
            seed=self.seed,
            acceptance=self.acceptance,
            max_waste=self.max_waste,
        )


class WatchedDevice(RepeatingDevice):
    """Refuses to let its queue grow."""

    def to_send(self) -> list[Message]:
        """As DeviceSession."""
        out = super().to_send()
        assert len(out) <= MOST_MESSAGES, out
        return out


class WatchedTarget(TargetSession):
    """Refuses to let its queue or its rows grow."""

    def to_send(self) -> list[Message]:
        """As TargetSession."""
        out = super().to_send()
        assert len(out) <= MOST_MESSAGES, out
        assert self.rows_held <= MAX_GAMMA
        return out


def play(schedule: Schedule, *, temperature: float = 0.0) -> SessionPair:
    """The pair after its run under the schedule, every promise checked on the way."""
    return play_with(SessionPair, schedule, temperature=temperature)


def play_with(make: Callable[..., P], schedule: Schedule, *, temperature: float = 0.0) -> P:
    """As `play`; `make` makes the pair."""

    def link(direction: Direction, message: Message, index: int) -> Sequence[float]:
        fates = schedule.up if direction == "up" else schedule.down
        return fates[index] if index < len(fates) else (CALM_S,)

    def policy(pair: P) -> Planned:
        assert pair.target is not None
        return schedule.plans[pair.target.log.produced % len(schedule.plans)]

    def stops(pair: P, block: Block) -> bool:
        assert pair.device.plan is not None
        return schedule.stops and pair.device.plan.early_stop and block.ids[-1] == 0

    pair = make(
        schedule.world,
        schedule.request(temperature),
        PhiloxNoise(),
        plan=schedule.plans[0],
        policy=policy,
        link=link,
        timing=schedule.timing,
        device_s=schedule.device_s,
        target_s=schedule.target_s,
        uplink_s=schedule.uplink_s,
        stops=stops,
        ahead=schedule.ahead,
        device_class=WatchedDevice,
        target_class=WatchedTarget,
    )

    def restart(who: Who) -> None:
        if who != "device" and not pair.over():
            pair.restart_target()
        if who != "target" and not pair.over():
            pair.restart_device()

    for at_s, who in schedule.restarts:
        pair.at(at_s, partial(restart, who))
    if schedule.cancel_s is not None:
        pair.at(schedule.cancel_s, lambda: pair.device.cancel())
    watch = Watch(pair, schedule.plans)
    moments = 0

    def promises_hold() -> bool:
        nonlocal moments
        moments += 1
        check(pair)
        watch.check()
        return moments < MOST_MOMENTS

    pair.run(while_=promises_hold)
    check(pair)
    watch.check()
    assert pair.over(), f"no end at {pair.now_s} s: {pair.device.state}, {pair.target and pair.target.state}"
    return pair


def check(pair: SessionPair) -> None:
    """What holds at every moment: one token a position, and the device's log is a prefix of the BS's."""
    device, target = pair.device, pair.target
    assert [*pair.request.prompt, *pair.output] == device.log.tokens
    if target is not None and target.incarnation == device.incarnation:
        assert target.log.tokens[: len(device.log)] == device.log.tokens


def check_rest(pair: SessionPair) -> None:
    """What holds once the device has finished and nothing is on its way any more."""
    assert pair.device.state is Device.FINISHED, pair.device.refusal
    whole = len(pair.output) == pair.request.max_new_tokens
    assert pair.device.finish is (Finish.LENGTH if whole else Finish.CANCELLED)
    pair.rest()
    target = pair.target
    if target is not None and target.incarnation == pair.device.incarnation:
        assert target.log.tokens == pair.device.log.tokens
        assert target.state in (Target.CLOSED, Target.FINISHED)  # the latter: parked before a Close came
        assert (target.next_deadline_s(), target.to_send()) == (None, [])
    assert pair.device.to_send() == []


def greedy_text(within: World, tokens: int) -> Text:
    """What the target writes by itself at temperature 0."""
    log = list(request(tokens).prompt)
    for _ in range(tokens):
        log.append(int(np.argmax(within.target(log))))
    return tuple(log[1:])
