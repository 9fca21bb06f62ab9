"""The same requests over the same topology twice: four real processes, and the same nodes in virtual time.

The pair is synthetic and its steps take the paper's times, so both ways should need the same time but for
what a real machine adds: its processes' handling of messages, its scheduler, its timers. With K and gamma
fixed the tokens are the same ones, since all randomness is keyed by a request's seed.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from draftwire.codecs.messages import Sampling
from draftwire.nodes.console.api import ConnectedDevice
from draftwire.nodes.console.runner import experiment
from draftwire.nodes.console.simulate.run import simulate
from draftwire.runtime.config import ChannelSettings, ModelSettings, Profile, Topology
from draftwire.runtime.link import LinkSpec, parse_link
from draftwire.runtime.session.request import Request

PAIR: Final = "synthetic:V=512,seed=1,noise=1.0"
"""Small, so that real steps end long before their time; its alpha is about 0.6."""

LINK: Final = "rate 5mbit delay 10ms"
"""Without jitter, so that both ways meet the same link."""

K, GAMMA = 32, 3
PROMPT: Final = tuple(range(1, 33))
SLOWEST_TOKENS_PER_S: Final = 4.0
"""The target alone is five times as fast."""

PAUSE_S: Final = 0.1
"""Between real requests: the link carries what the last one left on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a request came to."""

    ids: tuple[int, ...]
    seconds: float
    "from its first Open to its last token"
    steps: int
    bytes_up: int

    @property
    def tokens_per_s(self) -> float:
        """Output tokens a second."""
        return len(self.ids) / self.seconds


def small_topology(*, link: str = LINK, pair: str = PAIR) -> Topology:
    """A pair that computes nothing to speak of, the paper's times, and one link in both directions."""
    topology = Topology.default()
    spec: LinkSpec = parse_link(link)
    model = ModelSettings(model=pair)
    return replace(
        topology,
        pair=replace(topology.pair, draft=model, target=model, tables=()),
        compute=replace(topology.compute, profile=Profile.PAPER),
        channel=replace(topology.channel or ChannelSettings(), uplink=spec, downlink=spec),
    )


def requests(
    count: int, *, tokens: int, temperature: float = 1.0, k: int | None = K, gamma: int | None = GAMMA
) -> tuple[Request, ...]:
    """So many of one prompt, each with a seed of its own; K and gamma None: the controller chooses."""
    return tuple(
        Request(
            prompt=PROMPT,
            sampling=Sampling(temperature=temperature),
            seed=seed,
            max_new_tokens=tokens,
            k=k,
            gamma=gamma,
        )
        for seed in range(1, count + 1)
    )


def in_virtual_time(topology: Topology, asked: Sequence[Request]) -> list[Answer]:
    """One device asks them, one after the other; outside of an event loop."""
    seconds = 2.0 + sum(one.max_new_tokens for one in asked) / SLOWEST_TOKENS_PER_S
    came = simulate(
        topology,
        devices=1,
        seconds=seconds,
        ask=lambda device, number: asked[number % len(asked)],
        keep_texts=True,
    )
    answered = [one for one in came.devices[0].requests if one.ended][: len(asked)]
    assert len(answered) == len(asked), "the time was long enough"
    return [
        Answer(ids=one.ids, seconds=one.seconds, steps=one.steps, bytes_up=one.bytes_up) for one in answered
    ]


async def in_real_time(
    topology: Topology,
    asked: Sequence[Sequence[Request]],
    *,
    progress: Callable[[str], None] = lambda text: None,
    begin: Callable[[str], None] = lambda name: None,
) -> list[list[Answer]]:
    """Four processes are started; each list of requests takes turns with the others, and each has a device of
    its own, of which there are two. Raises a DraftwireError where a node can't be had.
    """
    answers: list[list[Answer]] = [[] for _ in asked]
    async with experiment(topology, progress=progress) as bench:
        devices = (bench.other, bench.device)
        for number in range(max(map(len, asked))):
            for which, some in enumerate(asked):
                if number < len(some):
                    begin(f"real request {number + 1}")
                    answers[which].append(await _answer(devices[which], some[number]))
                    await asyncio.sleep(PAUSE_S)
    return answers


async def _answer(device: ConnectedDevice, request: Request) -> Answer:
    generation = device.generate(
        request.prompt,
        max_new_tokens=request.max_new_tokens,
        temperature=request.sampling.temperature,
        top_k=request.sampling.top_k,
        top_p=request.sampling.top_p,
        seed=request.seed,
        k=request.k,
        gamma=request.gamma,
    )
    ids = tuple([token.id async for token in generation])
    account = generation.account
    return Answer(
        ids=ids,
        seconds=account.ended_s - account.began_s,
        steps=account.steps,
        bytes_up=account.bytes_up,
    )


__all__ = ["Answer", "in_real_time", "in_virtual_time", "requests", "small_topology"]
