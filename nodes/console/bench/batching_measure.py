"""How long passes over many sessions take, beside a pass for each, and beside the cache of transformers.

Everything is measured in turn with everything else, in rounds, in an order drawn anew for each; ratios are of
one round. Times are the thread's own on its core: what else the machine does counts through the caches alone.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from time import thread_time_ns
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from draftwire.nodes.models.accelerated import on_host
from draftwire.nodes.models.base import Ask
from draftwire.nodes.models.huggingface import HuggingFaceModel
from draftwire.nodes.models.kv_slots import IMPLEMENTATION
from draftwire.nodes.target.batcher import CHUNK

LENGTHS: Final = (1, 9, 2, 8, 3, 7, 4, 6, 5, 5, 6, 4, 7, 3, 8, 2)
"""New ids of each session in a pass: 5 in the mean, as blocks of 0 to 8 drafted ones have them."""

HELD: Final = (160, 240)
"""Tokens that a session has before, least and most."""

CHUNK_BEHIND: Final = 128
"""Tokens of that prompt that were read before."""

WAYS: Final = ("together", "in_turn", "dynamic_cache", "with_chunk")

Seconds = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PassTimes:
    """Of one model; each array has an element for each round, in seconds of CPU."""

    together: Seconds
    "one pass over all sessions"
    in_turn: Seconds
    "a pass for each session"
    dynamic_cache: Seconds
    "the same by the model's own attention and transformers' DynamicCache, rolled back by crop"
    with_chunk: Seconds
    "one pass over all sessions and a chunk of a prompt"

    @property
    def over_one(self) -> Seconds:
        """Tokens a second together over those of one session after the other."""
        return self.in_turn / self.together

    @property
    def alone_overhead(self) -> Seconds:
        """One session by slots over one by DynamicCache."""
        return self.in_turn / self.dynamic_cache

    @property
    def chunk_cost(self) -> Seconds:
        """A pass with a chunk over one without."""
        return self.with_chunk / self.together


def pass_times(
    model: HuggingFaceModel, *, rounds: int, progress: Callable[[int], object], seed: int = 0
) -> PassTimes:
    """Measure. `progress` hears the number of each round before it begins; 0: one to warm up."""
    order = random.Random(seed)
    held = [[order.randrange(model.vocab_size) for _ in range(order.randint(*HELD))] for _ in LENGTHS]
    new = [[order.randrange(model.vocab_size) for _ in range(count)] for count in LENGTHS]
    prompt = [order.randrange(model.vocab_size) for _ in range(CHUNK_BEHIND + CHUNK)]
    ways = _ways(model, held, new, prompt)
    taken: dict[str, list[int]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        progress(number)
        for way in order.sample(WAYS, len(WAYS)):
            spent_ns = ways[way]()
            if number:
                taken[way].append(spent_ns)
    return PassTimes(**{way: np.array(spent) / 1e9 for way, spent in taken.items()})


def _ways(
    model: HuggingFaceModel, held: Sequence[list[int]], new: Sequence[list[int]], prompt: list[int]
) -> dict[str, Callable[[], int]]:
    """Each measures once; gives nanoseconds."""
    contexts = [model.open() for _ in held]
    asks = [
        Ask(context=context, tokens=[*before, *ids], rows=len(ids))
        for context, before, ids in zip(contexts, held, new, strict=True)
    ]
    for ask in asks:
        model.together([ask])
    read = Ask(context=model.open(), tokens=prompt[:CHUNK_BEHIND], rows=0)
    chunk = Ask(context=read.context, tokens=prompt, rows=0)
    model.together([read])
    caches = [_prefilled(model, before) for before in held]

    def together() -> int:
        return _spent_ns(lambda: model.together(asks))

    def in_turn() -> int:
        return sum(_spent_ns(lambda ask=ask: model.together([ask])) for ask in asks)  # type: ignore[misc]

    def dynamic_cache() -> int:
        def step(cache: DynamicCache, ids: list[int]) -> None:
            _forward(model, cache, ids)
            with torch.inference_mode():
                cache.crop(-len(ids))

        with _own_attention(model):
            return sum(
                _spent_ns(lambda cache=cache, ids=ids: step(cache, ids))  # type: ignore[misc]
                for cache, ids in zip(caches, new, strict=True)
            )

    def with_chunk() -> int:
        model.together([read])  # rolls back
        return _spent_ns(lambda: model.together([*asks, chunk]))

    return {
        "together": together,
        "in_turn": in_turn,
        "dynamic_cache": dynamic_cache,
        "with_chunk": with_chunk,
    }


def _spent_ns(work: Callable[[], object]) -> int:
    began = thread_time_ns()
    work()
    return thread_time_ns() - began


def _prefilled(model: HuggingFaceModel, tokens: list[int]) -> DynamicCache:
    cache = DynamicCache()
    with _own_attention(model):
        _forward(model, cache, tokens)
    return cache


@torch.inference_mode()
def _forward(model: HuggingFaceModel, cache: DynamicCache, ids: list[int]) -> NDArray[np.float32]:
    """As a context answers, by the model's own means: all logits of `ids`, which the cache has then."""
    logits: Tensor = model.wrapped(
        input_ids=torch.tensor([ids]), use_cache=True, return_dict=True, **{_cache_argument(model): cache}
    ).logits
    return on_host(logits[0])


def _cache_argument(model: HuggingFaceModel) -> str:
    """Renamed during transformers 5."""
    return "cache" if "cache" in signature(type(model.wrapped).forward).parameters else "past_key_values"


@contextmanager
def _own_attention(model: HuggingFaceModel) -> Iterator[None]:
    wrapped: Any = model.wrapped
    wrapped.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        wrapped.set_attn_implementation(IMPLEMENTATION)


__all__ = ["CHUNK_BEHIND", "HELD", "LENGTHS", "WAYS", "PassTimes", "pass_times"]
