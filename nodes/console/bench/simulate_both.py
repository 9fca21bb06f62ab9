"""The same requests over the same topology twice: four real processes, and the same nodes in virtual time.

The pair is synthetic and its steps take the paper's times, so both ways should need the same time but for
what a real machine adds: its processes' handling of messages, its scheduler, its timers. With K and gamma
fixed the tokens are the same ones, since all randomness is keyed by a request's seed.

What it adds is measured at gamma 1, as a constant for each block and each pass, and given to the simulation
of other settings: longer blocks, and the target alone. If it were no constant, these would not agree.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final

from draftwire.codecs.messages import Sampling
from draftwire.nodes.console.api import ConnectedDevice
from draftwire.nodes.console.runner import experiment
from draftwire.nodes.console.simulate.run import simulate
from draftwire.nodes.console.simulate.seeds import number_of
from draftwire.nodes.console.summary import OVERRUN
from draftwire.nodes.models.pacing import PAPER, PacedCompute, StepTimes
from draftwire.runtime.config import ChannelSettings, ModelSettings, Profile, Topology
from draftwire.runtime.link import LinkSpec, parse_link
from draftwire.runtime.session.request import Request

PAIR: Final = "synthetic:V=512,seed=1,noise=1.0"
"""Small, so that real steps end long before their time; its alpha is about 0.6."""

LINK: Final = "rate 5mbit delay 10ms"
"""Without jitter, so that both ways meet the same link."""

WAYS: Final[Mapping[str, tuple[int | None, int | None]]] = {
    "calibrating": (32, 1),
    "fixed": (32, 4),
    "alone": (None, 0),
    "auto": (None, None),
}
"""K and gamma of the requests; None: the controller chooses."""

LEARNING: Final = 1
"""Requests with which the controller meets the link, left out of its figures."""

PROMPT: Final = tuple(range(1, 33))
SLOWEST_TOKENS_PER_S: Final = 10.0
"""The target alone is twice as fast."""

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
    overruns: int = 0
    "blocks and passes that took longer than they are paced to"

    @property
    def tokens_per_s(self) -> float:
        """Output tokens a second."""
        return len(self.ids) / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    """One way of asking, in virtual and in real time: a pair of answers for each request."""

    virtual: Sequence[Answer]
    real: Sequence[Answer]

    @property
    def off_pct(self) -> float:
        """How far the median speeds lie apart, of the real one."""
        virtual, real = (median(one.tokens_per_s for one in some) for some in (self.virtual, self.real))
        return 100 * abs(virtual - real) / real

    @property
    def real_more_s(self) -> float:
        """What a real step takes beyond a virtual one; of the requests the median."""
        pairs = zip(self.virtual, self.real, strict=True)
        return median(real.seconds / real.steps - virtual.seconds / virtual.steps for virtual, real in pairs)

    @property
    def same_texts(self) -> bool:
        """Whether all tokens of all requests are."""
        return [one.ids for one in self.virtual] == [one.ids for one in self.real]

    def fields(self) -> dict[str, Any]:
        """For the JSON object."""
        return {
            "off_pct": self.off_pct,
            "real_more_ms_per_step": 1e3 * self.real_more_s,
            "virtual_tokens_per_s": [one.tokens_per_s for one in self.virtual],
            "real_tokens_per_s": [one.tokens_per_s for one in self.real],
            "virtual_steps": [one.steps for one in self.virtual],
            "real_steps": [one.steps for one in self.real],
            "overruns": sum(one.overruns for one in self.real),
            "same_texts": self.same_texts,
        }


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
    count: int, *, tokens: int, k: int | None, gamma: int | None, seed: int = 0, temperature: float = 1.0
) -> tuple[Request, ...]:
    """So many of one prompt, each with a seed of its own; K and gamma None: the controller chooses."""
    return tuple(
        Request(
            prompt=PROMPT,
            sampling=Sampling(temperature=temperature),
            seed=number_of(seed, "request", number),
            max_new_tokens=tokens,
            k=k,
            gamma=gamma,
        )
        for number in range(count)
    )


def asked_in_all_ways(count: int, *, tokens: int, seed: int) -> dict[str, tuple[Request, ...]]:
    """`count` requests in each of WAYS, and LEARNING before them where the controller chooses."""
    return {
        way: requests(count + (LEARNING if way == "auto" else 0), tokens=tokens, k=k, gamma=gamma, seed=seed)
        for way, (k, gamma) in WAYS.items()
    }


def handling_s(calibrating: Both) -> float:
    """For `simulate --handling`: a step with a block has it twice, so half of what real ones take more."""
    return max(0.0, calibrating.real_more_s / 2)


def times_with(handling_s: float) -> StepTimes:
    """The paper's, with this for each block and each pass besides."""
    return replace(PAPER, draft_s=PAPER.draft_s + handling_s, target_s=PAPER.target_s + handling_s)


def in_virtual_time(
    topology: Topology, asked: Sequence[Request], *, times: StepTimes = PAPER, seed: int = 0
) -> list[Answer]:
    """One device asks them, one after the other; outside of an event loop."""
    seconds = 2.0 + sum(one.max_new_tokens for one in asked) / SLOWEST_TOKENS_PER_S
    came = simulate(
        topology,
        devices=1,
        seconds=seconds,
        seed=seed,
        times=times,
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
    asked: Mapping[str, Sequence[Request]],
    *,
    progress: Callable[[str], None] = lambda text: None,
    begin: Callable[[str], None] = lambda name: None,
) -> dict[str, list[Answer]]:
    """Four processes are started; the ways of asking take turns. What the controller chooses has a device of
    its own. Raises a DraftwireError where a node can't be had.
    """
    answers: dict[str, list[Answer]] = {way: [] for way in asked}
    async with experiment(topology, progress=progress) as bench:
        for number in range(max(map(len, asked.values()))):
            for way, some in asked.items():
                if number < len(some):
                    begin(f"real request {number + 1}, {way}")
                    device = bench.device if way == "auto" else bench.other
                    answers[way].append(await _answer(device, some[number]))
                    await asyncio.sleep(PAUSE_S)
    return answers


async def _answer(device: ConnectedDevice, request: Request) -> Answer:
    slow_before = _slow_blocks(device)
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
        overruns=_slow_blocks(device)
        - slow_before
        + sum(one > OVERRUN * PAPER.target_s for one in account.step_s),
    )


def _slow_blocks(device: ConnectedDevice) -> int:
    """Of all its requests, those that took longer to draw than they are paced to."""
    return device.compute.overruns["draft"] if isinstance(device.compute, PacedCompute) else 0


__all__ = [
    "LEARNING",
    "WAYS",
    "Answer",
    "Both",
    "asked_in_all_ways",
    "handling_s",
    "in_real_time",
    "in_virtual_time",
    "requests",
    "small_topology",
    "times_with",
]
