"""`simulate`: hundreds of devices in virtual time, and the same again from the same seed.

    came = simulate(load_topology("cell.toml"), devices=100, seconds=60, seed=1)
    print(came.speeds, came.trace_hash)
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from draftwire.codecs.control import StepReport
from draftwire.codecs.limits import MAX_GAMMA
from draftwire.nodes.channel.playing import Direction
from draftwire.nodes.console.simulate.alone import alone_tokens_per_s
from draftwire.nodes.console.simulate.asking import Ask, User, random_requests
from draftwire.nodes.console.simulate.collecting import seldom_collected
from draftwire.nodes.console.simulate.fleet import (
    Fleet,
    Places,
    longest_silent,
    named_devices,
    schedules_of,
    stuck,
)
from draftwire.nodes.console.simulate.outcomes import DeviceOutcome, Simulation
from draftwire.nodes.console.simulate.pairs import Pair, pair_of
from draftwire.nodes.console.simulate.telling import Telling
from draftwire.nodes.device.checks import check_pins
from draftwire.nodes.models.pacing import PAPER, StepTimes
from draftwire.runtime.actor import leaves
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.config import Topology
from draftwire.runtime.errors import ConfigurationError, DeadlockError, DraftwireError

MOST_DEVICES: Final = 10_000
MOST_SECONDS: Final = 1e6
LOOKS: Final = 400
"""So often in a run somebody looks: progress is told, and who has fallen silent is found."""

SILENT_S: Final = 60.0
"""Beyond the time after which a device gives up by itself: a device with a request under way that has sent
nothing for so long more waits for something that can't happen."""

Progress = Callable[[float, int], None]
"""Told of the virtual seconds that have passed, and of the steps so far."""


class Interrupted(KeyboardInterrupt):
    """Raised where Ctrl-C ends a simulation whose devices had begun; `so_far` is what it came to by then."""

    def __init__(self, so_far: Simulation) -> None:
        super().__init__()
        self.so_far = so_far


@dataclass(slots=True, kw_only=True)
class Passed:
    """How far a run has come."""

    virtual_s: float = 0.0
    wall_s: float = 0.0
    "that the virtual time took"


def simulate(
    topology: Topology,
    *,
    devices: int,
    seconds: float,
    seed: int = 0,
    per_bs: int = 1,
    pair: Pair | None = None,
    times: StepTimes = PAPER,
    ask: Ask | None = None,
    keep_texts: bool = False,
    record: Path | None = None,
    progress: Progress | None = None,
    colocated: bool = False,
    on_step: Callable[[StepReport], None] | None = None,
) -> Simulation:
    """Run the four nodes of `topology`, unchanged, for `devices` devices and `seconds` of virtual time.

    Each `per_bs` devices have a channel, a BS and a controller of their own. Devices are called device-0001
    and so on, and begin to ask within the first second; each asks one request after the other, what `ask`
    says, or prompts of random ids as [sampling] has it. What is under way at the end counts so far.

    All randomness comes from `seed`: the same arguments give the same `trace_hash`, in every process with the
    same versions of Python and numpy on the same kind of CPU: numpy's exp and log end in other digits where
    there is AVX512. `pair`: the models, None: those of the topology, see `pair_of`; `times`: how long their
    steps take. `keep_texts`: the outcome holds every request with its tokens. `record`: a file that gets the
    events a real run's record would hold. `colocated`: a BS's devices compute where it does, all steps in
    turn. `on_step` is told each verification step, as its BS reports it.

    It runs an event loop of its own, so call it outside of one. Raises ConfigurationError for what can't be
    run, DeadlockError, naming the tasks, where a node waits for something that can't happen, and Interrupted
    at a Ctrl-C.
    """
    check_size(topology, devices=devices, seconds=seconds, per_bs=per_bs, times=times)
    pair = pair_of(topology) if pair is None else pair
    _check_pins(topology, pair)
    ask = ask or random_requests(
        topology.sampling, seed=seed, vocab_size=pair.vocab_size, max_waste=topology.device.max_waste
    )
    telling = Telling(record)
    fleet = Fleet(
        topology,
        pair=pair,
        times=times,
        seed=seed,
        seconds=seconds,
        ask=ask,
        keep_texts=keep_texts,
        telling=telling,
        colocated=colocated,
        on_step=on_step,
    )
    passed = Passed()

    def came() -> Simulation:
        return Simulation(
            seed=seed,
            seconds=passed.virtual_s,
            pair=pair.name,
            devices=tuple(
                _outcome(user, fleet, topology, seconds=passed.virtual_s, pair=pair, times=times)
                for user in fleet.users.values()
            ),
            per_bs=per_bs,
            trace_hash=fleet.trace.hex(),
            wall_s=passed.wall_s,
            warned=telling.warned(),
            warnings=telling.words(),
        )

    try:
        played = _play(
            fleet,
            Places(devices=devices, per_bs=per_bs, named=named_devices(topology)),
            passed,
            patience_s=_patience_s(topology, times),
            seconds=seconds,
            progress=progress,
        )
        with seldom_collected():
            run_virtual(_unwrapped(played))
    except DeadlockError as error:
        telling.write("simulate.deadlock", virtual_s=error.now_s, waiting=error.waiting)
        raise
    except KeyboardInterrupt:
        if not passed.virtual_s:
            raise
        raise Interrupted(came()) from None
    finally:
        telling.close()
    return came()


async def _play(
    fleet: Fleet,
    places: Places,
    passed: Passed,
    *,
    patience_s: float,
    seconds: float,
    progress: Progress | None,
) -> None:
    """From the start of all nodes to the end of the time, or until it is cancelled: `passed` says when."""
    clock = LoopClock()
    async with asyncio.TaskGroup() as tasks:
        await fleet.start(places, tasks)
        began_s = time.perf_counter()
        try:
            for look in range(1, LOOKS + 1):
                await clock.sleep_until(seconds * (look / LOOKS))
                if progress is not None:
                    progress(clock.now_s(), sum(one.steps for one in fleet.users.values()))
                _check_silent(fleet, clock.now_s(), patience_s)
        finally:
            passed.virtual_s, passed.wall_s = clock.now_s(), time.perf_counter() - began_s
            fleet.end()


def _patience_s(topology: Topology, times: StepTimes) -> float:
    """How long a device with a request under way may send nothing: while it draws a block, it doesn't."""
    block_s = times.seconds("draft", MAX_GAMMA)
    return topology.device.absent_s + topology.device.reach_s + block_s + SILENT_S


def _check_silent(fleet: Fleet, now_s: float, patience_s: float) -> None:
    """A protocol at work says something while it waits, over however bad a link, and then gives up."""
    user = longest_silent(list(fleet.users.values()))
    if user is not None and now_s - user.active_s > patience_s:
        silent_s = now_s - user.active_s
        raise stuck(now_s, f"{user.device} has a request under way and has done nothing for {silent_s:.0f} s")


async def _unwrapped(main: Coroutine[Any, Any, None]) -> None:
    """The one error that ended all tasks, without the groups around it; of several what a person can mend."""
    try:
        await main
    except BaseExceptionGroup as group:
        errors = list(leaves(group))
        told = [one for one in errors if isinstance(one, DraftwireError)]
        if told or len(errors) == 1:
            raise (told or errors)[0] from None
        raise


def _outcome(
    user: User, fleet: Fleet, topology: Topology, *, seconds: float, pair: Pair, times: StepTimes
) -> DeviceOutcome:
    name, channel = user.device, topology.channel
    downlink = None if channel is None else schedules_of(channel, name)[Direction.DOWNLINK]
    return DeviceOutcome(
        device=name,
        bs=fleet.bs_of[name],
        asked_s=max(0.0, seconds - user.begins_s),
        tally=user.tally,
        alone_tokens_per_s=alone_tokens_per_s(
            times=times,
            sharing=fleet.sharing(name),
            places=topology.target.max_sessions,
            downlink=downlink,
            seconds=seconds,
            vocab_size=pair.vocab_size,
        ),
        series=user.series,
        requests=tuple(user.requests),
    )


def check_size(topology: Topology, *, devices: int, seconds: float, per_bs: int, times: StepTimes) -> None:
    """Raise ConfigurationError, naming the option, for what `simulate` can't run."""
    for key, value, most in (("--devices", devices, MOST_DEVICES), ("--per-bs", per_bs, MOST_DEVICES)):
        if not 1 <= value <= most:
            raise ConfigurationError(f"{value} will not do", key=key, remedy=f"write 1 to {most}")
    at_a_channel = min(devices, per_bs)
    if topology.channel is not None and at_a_channel > topology.channel.max_devices:
        raise ConfigurationError(
            f"{at_a_channel} devices at a channel, and its [channel] max_devices is "
            f"{topology.channel.max_devices}: the others would never be served",
            key="--per-bs",
            remedy=f"write at most {topology.channel.max_devices}, or raise [channel] max_devices",
        )
    if not 0 < seconds <= MOST_SECONDS:  # NaN fails too
        raise ConfigurationError(
            f"{seconds:g} s will not do", key="--seconds", remedy=f"write more than 0, up to {MOST_SECONDS:g}"
        )
    if times.seconds("target", 1) <= 0:
        problem = f"{times.target_s:g} s will not do: time would never pass"
        raise ConfigurationError(problem, key="--target-step", remedy="write a time above 0, such as 1ms")


def _check_pins(topology: Topology, pair: Pair) -> None:
    """Raise ConfigurationError for a K or gamma of [controller] that the pair at hand can't have."""
    settings = topology.controller
    try:
        check_pins(settings.k, settings.gamma, pair.vocab_size, key="controller.k")
    except ConfigurationError as error:
        if not pair.stands_in:
            raise
        problem = f"{error.problem} (of the pair that stands in here: {pair.name})"
        raise ConfigurationError(problem, key=error.key, remedy=error.remedy) from None


__all__ = [
    "MOST_DEVICES",
    "MOST_SECONDS",
    "Interrupted",
    "Progress",
    "Simulation",
    "check_size",
    "simulate",
]
