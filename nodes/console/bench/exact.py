"""Exactness of the whole system, measured: greedy texts token by token, sampled texts by their law.

Both run through the four processes with the controller choosing K and gamma, the target in fp32 (in bf16 two
passes of different widths may disagree on a tie, whoever drafts).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.messages import Sampling
from draftwire.nodes.console.outcome import ALONE, AUTO
from draftwire.nodes.console.runner import Bench
from draftwire.nodes.models.catalogue import LoadOptions, load_target
from draftwire.nodes.models.vocabulary import fitted
from draftwire.nodes.speculation.sampling import target_distribution

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


async def exactness(
    bench: Bench, *, prompts: int, tokens: int, texts: int, progress: Callable[[str], None]
) -> Exactness:
    """Measure both on running nodes whose target computes in fp32."""
    mismatches = count = 0
    for prompt in GREEDY_PROMPTS[:prompts]:
        progress(f"greedy: {prompt}")
        alone = await bench.run(ALONE, prompt, tokens=tokens, temperature=0.0)
        auto = await bench.run(AUTO, prompt, tokens=tokens, temperature=0.0)
        mismatches += alone.token_ids != auto.token_ids
        count += len(auto.token_ids)
    opening = bench.device.tokenizer.encode_prompt(OPENING, chat=False)
    seen = Counter[tuple[int, ...]]()
    for seed in range(texts):
        if seed % 50 == 0:
            progress(f"sampled texts: {seed} of {texts}")
        generation = bench.device.generate(opening, max_new_tokens=LENGTH, temperature=1.0, seed=seed)
        seen[tuple([token.id async for token in generation])] += 1
    progress("the target's own law")
    law = law_behind(opening, bench=bench, least=EXPECTED / texts)
    tv, floor = total_variation(seen, law)
    return Exactness(
        greedy_tokens=count,
        greedy_mismatches=mismatches,
        texts=texts,
        tv=tv,
        tv_noise_floor=floor,
    )


def law_behind(opening: Sequence[int], *, bench: Bench, least: float) -> dict[tuple[int, ...], float]:
    """Probability of each text of LENGTH tokens that is at least as likely as `least`."""
    settings = bench.topology.pair.target
    model = fitted(load_target(settings.model, LoadOptions(dtype="float32")), bench.vocab_size)
    context = model.open()
    sampling = Sampling(temperature=1.0)
    texts: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(LENGTH):
        longer: dict[tuple[int, ...], float] = {}
        for text, mass in texts.items():
            p = mass * target_distribution(context.logits([*opening, *text], 1)[0], sampling)
            longer |= {(*text, int(x)): float(p[x]) for x in np.flatnonzero(p >= least)}
        texts = longer
    context.close()
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


__all__ = ["EXPECTED", "Exactness", "exactness", "law_behind", "total_variation"]
