"""Exactness of the whole system, measured: texts token by token, and sampled texts by their law.

All run through the four processes with the controller choosing K and gamma, the target in fp32 (in bf16 two
passes of different widths may disagree on a tie, whoever drafts). Of texts that differ from the target's own
the gap at the first such token is told: where its two scores lie within 1e-4, rounding alone may turn it.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.messages import Sampling
from draftwire.nodes.console.outcome import ALONE, AUTO, Outcome, Setting, auto
from draftwire.nodes.console.runner import Bench
from draftwire.nodes.models.base import Context
from draftwire.nodes.models.catalogue import LoadOptions, load_target
from draftwire.nodes.models.vocabulary import fitted
from draftwire.nodes.speculation.noise import PhiloxNoise
from draftwire.nodes.speculation.sampling import target_distribution, target_key
from draftwire.runtime.config import AcceptanceRule

GREEDY_PROMPTS: Final = (
    "Explain in a few sentences why the sky is blue.",
    "List three things to check before buying a used car.",
    "How does a bicycle stay upright?",
    "Write a short poem about the sea.",
    "What is a prime number?",
    "Describe the taste of an apple.",
)

OPENING: Final = "Once upon a time"
"Continued as it stands, without a chat template: short, and open enough that many words may follow."

LENGTH: Final = 2
"Tokens of a sampled text: drafted, accepted, corrected and bonus tokens all occur in it."

EXPECTED: Final = 5.0
"A text expected less often than this has no category of its own."

FLOOR_DRAWS: Final = 2000

FAR_AHEAD: Final = Setting(name="far ahead", k=32, gamma=8, acceptance="coupled", min_draft=0)
"The device drafts on all the time, and the target never waits."



@dataclass(frozen=True, slots=True, kw_only=True)
class Exactness:
    """What was found."""

    greedy_tokens: int
    greedy_mismatches: int
    "prompts whose text differs from the target's own, decoded alone"
    texts: int
    "that were sampled"
    tv: float
    "total variation between their empirical law and the target's, over the categories"
    tv_noise_floor: float
    "that so many true draws stay below, 99 times in 100"
    pipelined_mismatches: int | None = None
    "of the same prompts at temperature 0, ids far ahead of a target that never waits; None: not asked for"
    coupled_texts: int = 0
    coupled_mismatches: int | None = None
    "of those, sampled, that differ from the target's own of the same seed; None: not asked for"
    gaps: tuple[float, ...] = ()
    "of every text that differs, in nats: its own token's score there less the other's, noise included"

    def lines(self) -> list[str]:
        """For people."""
        told = [
            f"greedy: {self.greedy_mismatches} texts differ ({self.greedy_tokens} tokens); TV {self.tv:.4f}, "
            f"floor {self.tv_noise_floor:.4f} ({self.texts} texts)"
        ]
        if self.pipelined_mismatches is not None:
            told.append(
                f"far ahead: {self.pipelined_mismatches} greedy texts differ; coupled: "
                f"{self.coupled_mismatches} of {self.coupled_texts} differ from the target's own"
            )
        told += [f"a text differs where two scores are {gap:.1e} apart" for gap in self.gaps]
        return told


async def exactness(
    bench: Bench,
    *,
    prompts: int,
    tokens: int,
    texts: int,
    acceptance: AcceptanceRule,
    progress: Callable[[str], None],
) -> Exactness:
    """Measure all on running nodes whose target computes in fp32."""
    asked = GREEDY_PROMPTS[:prompts]
    pairs = await _texts(bench, asked, tokens, (AUTO,), temperature=0.0, told=progress)
    count = sum(len(other.token_ids) for _, _, other in pairs)
    differing = _differing(pairs)
    greedy = len(differing)
    ahead = coupled = None
    if acceptance is not AcceptanceRule.REJECTION:
        far = await _texts(bench, asked, tokens, (FAR_AHEAD,), temperature=0.0, told=progress)
        settings = (auto(AcceptanceRule.COUPLED), FAR_AHEAD)
        drawn = await _texts(bench, asked, tokens, settings, temperature=1.0, told=progress)
        ahead, coupled = len(_differing(far)), len(_differing(drawn))
        differing += _differing(far) + _differing(drawn)
    opening = bench.device.tokenizer.encode_prompt(OPENING, chat=False)
    seen = Counter[tuple[int, ...]]()
    for seed in range(texts):
        if seed % 50 == 0:
            progress(f"sampled texts: {seed} of {texts}")
        generation = bench.device.generate(
            opening, max_new_tokens=LENGTH, temperature=1.0, seed=seed, acceptance=acceptance
        )
        seen[tuple([token.id async for token in generation])] += 1
    progress("the target's own law")
    law = law_behind(opening, bench=bench, least=EXPECTED / texts)
    tv, floor = total_variation(seen, law)
    return Exactness(
        greedy_tokens=count,
        greedy_mismatches=greedy,
        texts=texts,
        tv=tv,
        tv_noise_floor=floor,
        pipelined_mismatches=ahead,
        coupled_texts=0 if coupled is None else len(drawn),
        coupled_mismatches=coupled,
        gaps=_gaps(bench, differing),
    )


_Pair = tuple[str, Outcome, Outcome]
"A prompt, the target's own answer, and another."


async def _texts(
    bench: Bench,
    prompts: Sequence[str],
    tokens: int,
    settings: Sequence[Setting],
    *,
    temperature: float,
    told: Callable[[str], None],
) -> list[_Pair]:
    pairs = list[_Pair]()
    for seed, prompt in enumerate(prompts):
        told(f"temperature {temperature:g}: {prompt}")
        alone = await bench.run(ALONE, prompt, tokens=tokens, temperature=temperature, seed=seed)
        for setting in settings:
            other = await bench.run(setting, prompt, tokens=tokens, temperature=temperature, seed=seed)
            pairs.append((prompt, alone, other))
    return pairs


def _differing(pairs: Sequence[_Pair]) -> list[_Pair]:
    return [pair for pair in pairs if pair[1].token_ids != pair[2].token_ids]


def _gaps(bench: Bench, pairs: Sequence[_Pair]) -> tuple[float, ...]:
    """At the first token that differs; a text that is only shorter has an infinite gap."""
    if not pairs:
        return ()
    found = list[float]()
    with _target_of(bench) as context:
        for prompt, alone, other in pairs:
            both = list(zip(alone.token_ids, other.token_ids, strict=False))
            at = next((i for i, (own, theirs) in enumerate(both) if own != theirs), len(both))
            if at == len(both):
                found.append(float("inf"))
                continue
            tokens = [*bench.device.tokenizer.encode_prompt(prompt), *alone.token_ids[:at]]
            logits = context.logits(tokens, 1)[0].astype(np.float64)
            gap = score_gap(
                logits, both[at], alone.temperature, seed=alone.seed, position=len(tokens)
            )
            found.append(gap)
    return tuple(found)


def score_gap(
    logits: NDArray[np.float64], ids: tuple[int, int], temperature: float, *, seed: int, position: int
) -> float:
    """The first id's score less the second's, in nats; noise included above temperature 0."""
    own, other = ids
    gap = float(logits[own] - logits[other])
    if temperature == 0:
        return gap
    return gap / temperature + _noise_gap(own, other, seed=seed, position=position)


def _noise_gap(own: int, other: int, *, seed: int, position: int) -> float:
    """log(e_other / e_own): the log-mass that the other one would have to have more, to be drawn."""
    noise, key, pair = PhiloxNoise(), target_key(seed, position), np.array([own, other])
    low, high = -log(1e30), log(1e30)
    for _ in range(80):
        middle = (low + high) / 2
        draws_other = noise.draw_masses(key, np.exp(np.array([0.0, middle])), pair) == 1
        low, high = (low, middle) if draws_other else (middle, high)
    return (low + high) / 2


@contextmanager
def _target_of(bench: Bench) -> Iterator[Context]:
    """The target model, here, in fp32."""
    settings = bench.topology.pair.target
    model = fitted(load_target(settings.model, LoadOptions(dtype="float32")), bench.vocab_size)
    context = model.open()
    try:
        yield context
    finally:
        context.close()


def law_behind(opening: Sequence[int], *, bench: Bench, least: float) -> dict[tuple[int, ...], float]:
    """Probability of each text of LENGTH tokens that is at least as likely as `least`."""
    sampling = Sampling(temperature=1.0)
    texts: dict[tuple[int, ...], float] = {(): 1.0}
    with _target_of(bench) as context:
        for _ in range(LENGTH):
            longer: dict[tuple[int, ...], float] = {}
            for text, mass in texts.items():
                p = mass * target_distribution(context.logits([*opening, *text], 1)[0], sampling)
                longer |= {(*text, int(x)): float(p[x]) for x in np.flatnonzero(p >= least)}
            texts = longer
    return texts


def total_variation(
    seen: Counter[tuple[int, ...]], law: dict[tuple[int, ...], float]
) -> tuple[float, float]:
    """TV over the law's texts and one category for all others; and what 99 of 100 true samples stay below."""
    count = seen.total()
    p = _with_rest(np.array(list(law.values())), 1.0)
    observed = _with_rest(np.array([seen[text] / count for text in law]), 1.0)
    draws = np.random.default_rng(0).multinomial(count, p, size=FLOOR_DRAWS) / count
    floor = np.quantile(np.abs(draws - p).sum(axis=1) / 2, 0.99)
    return float(np.abs(observed - p).sum() / 2), float(floor)


def _with_rest(masses: NDArray[np.float64], whole: float) -> NDArray[np.float64]:
    return np.append(masses, max(0.0, whole - masses.sum()))


__all__ = ["EXPECTED", "Exactness", "exactness", "law_behind", "score_gap", "total_variation"]
