"""What every experiment uses: the four nodes started once, and requests whose setting and link vary.

    async with experiment(topology) as bench:
        async for outcome in interleaved(bench, settings=[ALONE, AUTO], scenes=[scene], tokens=96, repeats=3):
            print(outcome.setting.name, outcome.tokens_per_s)

A speed is the same thing for every setting: output tokens over the time from the request's first Open to its
last token. Both ends' reading of the prompt is within it, starting the nodes and loading weights is not.
"""

import asyncio
import math
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console

from draftwire.nodes.channel.control import order_link
from draftwire.nodes.console.api import ConnectedDevice, connect
from draftwire.nodes.console.bars import bar_on
from draftwire.nodes.console.keys import node_transport
from draftwire.nodes.console.launch import launched, on_this_host
from draftwire.nodes.console.outcome import (
    ALONE,
    AUTO,
    COUPLED,
    OUTCOME_EVENT,
    PIPELINED,
    PROMPT,
    Outcome,
    Scene,
    Setting,
    append_event,
    auto,
    fixed,
    outcome_of,
)
from draftwire.runtime.clock import LoopClock
from draftwire.runtime.config import ChannelSettings, Topology
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import Distribution, LinkSpec
from draftwire.runtime.security import Role
from draftwire.runtime.transport import ZmqTransport

WARM_UP_TOKENS: Final = 16
ORDER_WITHIN_S: Final = 10.0
"""For the channel's answer, which takes milliseconds."""

JITTERS: Final = 3
"""So many times a standard deviation hardly any message is late."""

SLOW_SHARE: Final = 0.1
"""Of the mean of a rate that moves by itself."""

Begin = Callable[[str], None]
"""Told of each request before it runs."""


class Bench:
    """Four running nodes; see `experiment`."""

    def __init__(
        self,
        device: ConnectedDevice,
        other: ConnectedDevice,
        topology: Topology,
        transport: ZmqTransport,
        record: Path | None,
        own: Mapping[str, ConnectedDevice],
    ) -> None:
        """`own`: of adaptive settings beside AUTO, by the setting's name."""
        assert topology.channel is not None
        self.device = device
        "whose K and gamma the controller chooses"
        self.other = other
        "for fixed settings: so the controller learns of the first one's link and text from its own requests"
        self.topology = topology
        self.scene = Scene.of(str(topology.channel.uplink_schedule))
        "what the link does now"
        self._transport = transport
        self._record = record
        self._own = own

    @property
    def vocab_size(self) -> int:
        """V of the pair."""
        return self.device.tokenizer.vocab_size

    def device_for(self, setting: Setting) -> ConnectedDevice:
        """The device that asks by this setting."""
        if setting.name in self._own:
            return self._own[setting.name]
        return self.device if setting.is_auto else self.other

    async def link(self, scene: Scene) -> None:
        """Both directions do `scene` from now on; a schedule starts at its beginning.

        A link that stands still and stands already is left alone. Raises ConfigurationError if the channel
        refuses it.
        """
        if scene.link == self.scene.link and not scene.changes:
            return
        assert self.topology.channel is not None
        state = await order_link(
            self._transport,
            self.topology.channel.control,
            uplink=scene.link,
            downlink=scene.link,
            clock=LoopClock(),
            timeout_s=ORDER_WITHIN_S,
        )
        if state.refused is not None:
            raise ConfigurationError(
                f"the channel refuses {scene.link!r}: {state.refused}", remedy="correct the link's words"
            )
        self.scene = scene

    async def settle(
        self,
        prompt: str = PROMPT,
        *,
        tokens: int,
        temperature: float = 1.0,
        acceptance: str = AUTO.acceptance,
    ) -> None:
        """An answer of the controller's choice that nobody measures."""
        meeting = self.device.generate(
            prompt, max_new_tokens=tokens, temperature=temperature, acceptance=acceptance
        )
        async for _ in meeting:
            pass

    async def run(
        self,
        setting: Setting,
        prompt: str = PROMPT,
        *,
        tokens: int,
        seed: int = 0,
        temperature: float = 1.0,
        repeat: int = 0,
    ) -> Outcome:
        """One request over the link as it is, to its end. With a record, its outcome is appended there.

        Returns when the link has carried what the request left on it, so that the next one finds it free.
        Raises RequestRefusedError where it can't go on, ChildFailedError if a node has ended.
        """
        generation = self.device_for(setting).generate(
            prompt,
            max_new_tokens=tokens,
            temperature=temperature,
            top_k=0,
            top_p=1.0,
            seed=seed,
            k=setting.k,
            gamma=setting.gamma,
            acceptance=setting.acceptance,
            min_draft=setting.waits_at(temperature),
        )
        ids = [token.id async for token in generation]
        outcome = outcome_of(
            generation,
            ids,
            setting=setting,
            scene=self.scene,
            repeat=repeat,
            seed=seed,
            temperature=temperature,
        )
        if self._record is not None:
            append_event(self._record, OUTCOME_EVENT, outcome.fields())
        await asyncio.sleep(settling_s(outcome))
        return outcome


@asynccontextmanager
async def experiment(
    topology: Topology,
    *,
    record: Path | None = None,
    capture: Path | None = None,
    settings: Sequence[Setting] = (),
    progress: Callable[[str], None] = lambda text: None,
) -> AsyncIterator[Bench]:
    """The four nodes of `topology` on this host, started once and warmed up by two short requests.

    There are two devices, one for what the controller chooses and one for fixed settings, and one more for
    each adaptive setting of `settings` that is not AUTO's. A topology without a channel gets one. `record`: a
    file that the nodes and the bench append their events to; `capture`: one that gets every frame. Raises a
    DraftwireError, or UnsupportedModelError, where a node can't be had.
    """
    # Each request says what it fixes.
    controller = replace(topology.controller, k=None, gamma=None, min_draft=None)
    channel = topology.channel or ChannelSettings()
    topology = replace(topology, channel=channel, controller=controller, observer=None)
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="draftwire-"))
        topology = on_this_host(topology, Path(folder))
        nodes = await stack.enter_async_context(
            launched(topology, record=record, capture=capture, progress=progress)
        )
        await nodes.ready()
        device = await stack.enter_async_context(connect(topology, launch=False, progress=progress))
        await stack.enter_async_context(device.dependent_on(nodes))
        transport = node_transport(topology, Role.CHANNEL)  # for orders to it
        stack.push_async_callback(transport.close)

        async def another(name: str) -> ConnectedDevice:
            named = replace(topology.device, name=f"{topology.device.name}/{name}")
            one = await stack.enter_async_context(connect(replace(topology, device=named), launch=False))
            await stack.enter_async_context(one.dependent_on(nodes))
            return one

        other = await another("fixed")
        own = {one.name: await another(one.name) for one in settings if one.is_auto and not one.rivals}
        progress("warming up")
        for one in (other, *own.values(), device):
            async for _ in one.generate(PROMPT, max_new_tokens=WARM_UP_TOKENS):
                pass
        yield Bench(device, other, topology, transport, record, own)


def order_of(
    settings: Sequence[Setting], scenes: Sequence[Scene], repeats: int
) -> Iterator[tuple[int, Scene, Setting]]:
    """Every setting in every scene, once a repeat; who comes first in a scene turns with the repeat.

    So a machine that grows slower, or is shared for a while, does so for all of them.
    """
    for repeat in range(repeats):
        turn = repeat % max(1, len(settings))
        for scene in scenes:
            for setting in (*settings[turn:], *settings[:turn]):
                yield repeat, scene, setting


async def interleaved(
    bench: Bench,
    *,
    settings: Sequence[Setting],
    scenes: Sequence[Scene],
    tokens: int,
    repeats: int,
    prompt: str = PROMPT,
    seed: int = 0,
    temperature: float = 1.0,
    settle_tokens: int = 0,
    progress: Begin = lambda text: None,
) -> AsyncIterator[Outcome]:
    """The outcomes in `order_of`: one prompt and one number of tokens for all, another seed for each scene
    and repeat: where the controller has learnt from a request, none with the same noise may follow.

    `settle_tokens`: of an answer that is not measured, with which the controller meets a link that stands
    still, whenever it is another one than before, by the acceptance of the setting called auto. `progress` is
    told of each request before it runs.
    """
    meets = next((one.acceptance for one in settings if one.rivals), AUTO.acceptance)
    for repeat, scene, setting in order_of(settings, scenes, repeats):
        met, number = scene == bench.scene, repeat * len(scenes) + scenes.index(scene)
        progress(f"{setting.name}, repeat {repeat + 1}")
        await bench.link(scene)
        if settle_tokens and not met and not scene.changes:
            await bench.settle(prompt, tokens=settle_tokens, temperature=temperature, acceptance=meets)
        yield await bench.run(
            setting, prompt, tokens=tokens, seed=seed + number, temperature=temperature, repeat=repeat
        )


@contextmanager
def progress_bar(total: int, *, console: Console | None = None) -> Iterator[Begin]:
    """A bar on stderr over `total` requests, on a terminal; call the value before each, with its name."""
    console = console or Console(stderr=True)
    with bar_on(console) as bar:
        task = bar.add_task("", total=total)
        begun = 0

        def begin(name: str) -> None:
            nonlocal begun
            bar.update(task, completed=begun, description=name)
            begun += 1

        yield begin


def settling_s(outcome: Outcome) -> float:
    """How long what a request left behind may occupy the link: rows of one block, and an empty message.

    Where the rate moves by itself this is a guess: an outage may be longer.
    """
    specs = [step.link for step in outcome.scene.schedule.steps]
    rates = [_slow_bps(spec) for spec in specs if spec.mean_rate_bps]
    delays = [spec.delay_s + _most_jitter_s(spec) + (spec.arq_s or 0.0) for spec in specs]
    block_bytes = outcome.bytes_up / max(1, outcome.steps) + 500
    return 2 * max(delays) + (8 * block_bytes / min(rates) if rates else 0.0)


def _most_jitter_s(link: LinkSpec) -> float:
    return link.jitter_s * (1 if link.distribution is Distribution.UNIFORM else JITTERS)


def _slow_bps(link: LinkSpec) -> float:
    """The rate, or one that a rate which moves by itself is seldom below."""
    mean_bps = link.mean_rate_bps or math.inf
    return mean_bps if link.rate_bps is not None else SLOW_SHARE * mean_bps


__all__ = [
    "ALONE",
    "AUTO",
    "COUPLED",
    "OUTCOME_EVENT",
    "PIPELINED",
    "PROMPT",
    "Begin",
    "Bench",
    "Outcome",
    "Scene",
    "Setting",
    "append_event",
    "auto",
    "experiment",
    "fixed",
    "interleaved",
    "order_of",
    "progress_bar",
    "settling_s",
]
