"""Who takes part in a run: each node as its real start makes it, from parts at which faults can be played."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from math import isinf
from typing import Any, Final, TypeVar

import structlog
from structlog.typing import EventDict, FilteringBoundLogger

from draftwire.codecs.frame import PROTOCOL_VERSION
from draftwire.codecs.messages import Hello
from draftwire.nodes.channel.node import ChannelNode
from draftwire.nodes.channel.playing import Direction
from draftwire.nodes.console.chaos.disk import Disk
from draftwire.nodes.console.chaos.faults import Moment, Scenario
from draftwire.nodes.console.chaos.lives import Life
from draftwire.nodes.console.chaos.models import NOISE, TOKENIZER, VOCAB_SIZE, TabledModel
from draftwire.nodes.console.chaos.places import CHANNEL, CONTROLLER, TARGET, devices_of
from draftwire.nodes.console.chaos.wire import MortalTransport, Wire
from draftwire.nodes.console.simulate.seeds import number_of, stream_of
from draftwire.nodes.controller.choice import make_policy
from draftwire.nodes.controller.node import ControllerNode
from draftwire.nodes.controller.policy import FixedPolicy, PlanValues, Policy
from draftwire.nodes.device.node import DeviceNode
from draftwire.nodes.models.pacing import PAPER, Kind, StepTimes, Timed
from draftwire.nodes.speculation.noise import NOISE_VERSION
from draftwire.nodes.target.node import TargetNode
from draftwire.runtime.config import ControllerSettings, TargetSettings
from draftwire.runtime.link import LinkSchedule, LinkSpec, parse_schedule
from draftwire.runtime.security import Service
from draftwire.runtime.session.request import Timing

ADDRESSES: Final = {name: f"ipc://{name}" for name in (TARGET, CHANNEL, CONTROLLER)}

AHEAD: Final = 8
"""Tokens that the log may grow beyond a silent device: few, so that short answers meet the bound."""

SPARE_SESSIONS: Final = 1
"""Places of the base station beyond one a device: few, so that what the dead leave behind is in the way."""

HELLO: Final = Hello(
    protocol_version=PROTOCOL_VERSION,
    noise_version=NOISE_VERSION,
    vocab_size=VOCAB_SIZE,
    fingerprint=TOKENIZER.fingerprint,
)

T = TypeVar("T")
Note = Callable[[str, str, str], None]
"""(node, event, its fields as words): a log event."""


class LifeCompute:
    """Modelled compute of one life; its model may be slow, and the life may end with what it has computed."""

    def __init__(
        self, life: Life, *, computed: Callable[[object], None] | None = None, times: StepTimes = PAPER
    ) -> None:
        """`computed` hears what each run came to, before anybody does anything with it."""
        self._life, self._computed, self._times = life, computed, times
        self._turn = asyncio.Lock()

    async def run(
        self, kind: Kind, positions: int, work: Callable[[], T], *, sessions: int = 1
    ) -> Timed[T]:
        life = self._life
        async with self._turn:
            seconds = life.slow * self._times.seconds(kind, positions, sessions=sessions)
            began_s = life.clock.now_s()
            value = work()
            await life.clock.sleep_until(began_s + seconds)
            if self._computed is not None:
                self._computed(value)
            if life.dies_at(Moment.AFTER_PASS):
                await asyncio.sleep(0)  # which ends here
            return Timed(value=value, seconds=seconds, overran=False)

    def close(self) -> None:
        pass


class World:
    """Makes lives' nodes; holds what a node has apart from its life: its address, its link, its disk."""

    def __init__(
        self, scenario: Scenario, *, seed: int, wire: Wire, note: Note, complain: Callable[[str], None]
    ) -> None:
        """`note` hears log events, `complain` what a model can't bear."""
        self.tested: Callable[[object], None] = lambda outcomes: None
        "hears what each pass of the base station came to"
        self.scenario, self.seed, self.wire = scenario, seed, wire
        self.devices = tuple(devices_of(scenario))
        self.names = (CONTROLLER, TARGET, *([CHANNEL] if scenario.link else []), *self.devices)
        self.target: TargetNode | None = None
        self.channel: ChannelNode | None = None
        self.controller: ControllerNode | None = None
        self.device: dict[str, DeviceNode] = {}
        "the nodes of the newest lives"
        self.models: dict[str, TabledModel] = {}
        "of the newest lives"
        self.disks: dict[str, Disk] = {}
        "of devices that keep a journal"
        self.rate_bps: float | None = None
        "what the link has come down to; None: as the scenario has it"
        self._link = parse_schedule(scenario.link) if scenario.link else None
        self._note, self._complain = note, complain

    def node(self, life: Life) -> "ControllerNode | TargetNode | ChannelNode | DeviceNode":
        """What that life runs."""
        match life.name:
            case "controller":
                self.controller = made = self._make_controller(life)
                return made
            case "target":
                self.target = target = self._make_target(life)
                return target
            case "channel":
                self.channel = channel = self._make_channel(life)
                return channel
            case name:
                self.device[name] = device = self._make_device(life)
                return device

    def set_link(self) -> None:
        """The channel's, if it lives, to what it is now."""
        if self.channel is not None:
            for direction in Direction:
                self.channel.set_link(direction, self.link)

    @property
    def link(self) -> LinkSchedule | LinkSpec:
        """As it is now."""
        assert self._link is not None, "there is a channel"
        if self.rate_bps is None:
            return self._link
        spec = self._link.steps[0].link
        return replace(spec, rate_bps=self.rate_bps, trace=None, fading=None)

    def _make_controller(self, life: Life) -> ControllerNode:
        return ControllerNode(
            transport=MortalTransport(self.wire, life),
            address=ADDRESSES[CONTROLLER],
            policy=self._policy(),
            wall_s=life.clock.wall_s,
            logger=self._logger(life),
        )

    def _policy(self) -> Policy:
        k, gamma = self.scenario.k, self.scenario.gamma
        if k is None or gamma is None:
            return make_policy("adaptive")
        return FixedPolicy(PlanValues(k=k, gamma=gamma, min_draft=gamma))

    def _make_target(self, life: Life) -> TargetNode:
        model = self.models[life.name] = TabledModel(life, noise=0.0, complain=self._complain)
        return TargetNode(
            TargetSettings(
                address=ADDRESSES[TARGET], max_sessions=self.scenario.devices + SPARE_SESSIONS, ahead=AHEAD
            ),
            ControllerSettings(address=ADDRESSES[CONTROLLER]),
            transport=MortalTransport(self.wire, life),
            clock=life.clock,
            compute=LifeCompute(life, computed=lambda outcomes: self.tested(outcomes)),
            model=model,
            tokenizer=TOKENIZER,
            hello=HELLO,
            boot=number_of(self.seed, "boot", life.number, bits=32),
            wall_s=life.clock.wall_s,
            logger=self._logger(life),
            kv_budget=self.scenario.kv_tokens,
        )

    def _make_channel(self, life: Life) -> ChannelNode:
        return ChannelNode(
            transport=MortalTransport(self.wire, life),
            clock=life.clock,
            address=ADDRESSES[CHANNEL],
            target_address=ADDRESSES[TARGET],
            uplink=self.link,
            downlink=self.link,
            seed=number_of(self.seed, "channel", life.number, bits=62),
            max_devices=16,
            wall_s=life.clock.wall_s,
            logger=self._logger(life),
            lateness_budget_s=float(10**6),  # one that stood still says so itself
        )

    def _make_device(self, life: Life) -> DeviceNode:
        noise = 0.0 if self.scenario.draft_is_target else NOISE
        model = self.models[life.name] = TabledModel(life, noise=noise, complain=self._complain)
        through = bool(self.scenario.link)
        return DeviceNode(
            name=life.name,
            address=ADDRESSES[CHANNEL if through else TARGET],
            service=Service.CHANNEL if through else Service.TARGET,
            transport=MortalTransport(self.wire, life),
            clock=life.clock,
            compute=LifeCompute(life),
            model=model,
            hello=HELLO,
            logger=self._logger(life),
            numbers=stream_of(self.seed, "device", life.name, life.number),
            timing=Timing(),
            draft="tabled",
        )

    def _logger(self, life: Life) -> FilteringBoundLogger:
        def take(logger: object, method: str, event: EventDict) -> EventDict:
            if not life.dead:
                self._tell(life, method, event)
            raise structlog.DropEvent

        made: FilteringBoundLogger = structlog.wrap_logger(
            None,
            processors=[take],
            wrapper_class=structlog.make_filtering_bound_logger("error"),
            cache_logger_on_first_use=True,
        )
        return made.bind()

    def _tell(self, life: Life, method: str, event: EventDict) -> None:
        if event.get("exc_info"):
            event = structlog.processors.format_exc_info(None, method, event)
        name = str(event.pop("event"))
        self._note(life.name, name, " ".join(f"{key}={_short(value)}" for key, value in event.items()))


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 600 else f"...{text[-600:]}"


def spec_of(world: World) -> LinkSpec | None:
    """The link of a run as it begins; None: no channel."""
    link = world.link if world.scenario.link else None
    return link.steps[0].link if isinstance(link, LinkSchedule) else link


def rate_of(world: World) -> float | None:
    """bit/s of it, on average; None: no channel, or nothing bounds it."""
    spec = spec_of(world)
    rate_bps = None if spec is None else spec.mean_rate_bps
    return None if rate_bps is None or isinf(rate_bps) else rate_bps


__all__ = [
    "ADDRESSES",
    "LifeCompute",
    "World",
    "rate_of",
    "spec_of",
]
