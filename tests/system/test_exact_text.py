"""The text of four real processes is the text of the definition: token for token, over any link."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from tests.harness.reference import reference_text

import draftwire
from draftwire.codecs.messages import Finish
from draftwire.nodes.models.base import LanguageModel
from draftwire.nodes.models.catalogue import LoadOptions, load_draft, load_target
from draftwire.nodes.models.vocabulary import fitted
from draftwire.nodes.speculation.noise import PhiloxNoise
from draftwire.runtime.config import (
    ChannelSettings,
    ControllerSettings,
    DeviceSettings,
    ModelSettings,
    PairSettings,
    SamplingSettings,
    TargetSettings,
    Topology,
)
from draftwire.runtime.link import parse_link

LINKS = ("rate 20mbit delay 2ms", "rate 1mbit delay 20ms 3ms", "rate 200kbit delay 40ms")
K, GAMMA = 16, 3

CLOSE = 1e-4
"""Two scores nearer than this may swap places between passes of different shapes, in fp32."""

PROMPTS = (
    "Why is the sky blue?",
    "Name three rivers in Europe.",
    "What is 17 times 23?",
    "Write a haiku about rain.",
    "Explain what a neural network is.",
    "How do I boil an egg?",
    "Give me a synonym for happy.",
    "Who wrote Hamlet?",
    "List the planets of the solar system.",
    "What does HTTP stand for?",
    "Describe a cat in one sentence.",
    "Translate 'good morning' into French.",
    "What is the capital of Japan?",
    "Why do leaves change colour in autumn?",
    "Tell me a short story about a robot.",
    "How many legs has a spider?",
    "What is photosynthesis?",
    "Write a line of Python that prints hello.",
    "Is the earth round?",
    "Recommend a book about history.",
)


def _topology(model: str, *, link: str, temperature: float, tokens: int) -> Topology:
    words = parse_link(link)
    return Topology(
        pair=PairSettings(
            draft=ModelSettings(model=model, dtype="float32"),
            target=ModelSettings(model=model, dtype="float32"),
        ),
        target=TargetSettings(patience_s=60.0, threads=1),
        channel=ChannelSettings(uplink=words, downlink=words),
        controller=ControllerSettings(k=K, gamma=GAMMA),
        device=DeviceSettings(threads=1),
        sampling=SamplingSettings(temperature=temperature, max_new_tokens=tokens),
    )


def _target(name: str, vocab_size: int) -> LanguageModel:
    return fitted(load_target(name, LoadOptions(dtype="float32")), vocab_size)


@pytest.mark.parametrize(
    "link", [LINKS[1], *(pytest.param(link, marks=pytest.mark.slow) for link in (LINKS[0], LINKS[2]))]
)
def test_sampled_text_equals_the_reference(link: str) -> None:
    """At temperature 1 with K, gamma and seed fixed, each token is the reference's."""

    async def main() -> None:
        topology = _topology("tiny:", link=link, temperature=1.0, tokens=32)
        async with draftwire.connect(topology, launch=True) as device:
            size, eos = device.tokenizer.vocab_size, device.tokenizer.eos_ids
            target = _target("tiny:", size)
            draft = fitted(load_draft("tiny:", LoadOptions(dtype="float32")), size)
            for seed in range(2):
                generation = device.generate("Why is the sky blue?", seed=seed)
                tokens = [token.id async for token in generation]
                expected = list(
                    reference_text(
                        generation.request,
                        draft.open(),
                        target.open(),
                        k=K,
                        gamma=GAMMA,
                        vocab_size=size,
                        noise=PhiloxNoise(),
                    )
                )
                ends = [i for i, token in enumerate(expected) if token in eos]
                assert tokens == expected[: ends[0] + 1] if ends else tokens == expected, f"seed {seed}"
                assert generation.account.accepted > 0

    asyncio.run(main())


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("tiny:", 24),
        pytest.param("smollm2", 64, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_greedy_text_is_the_targets_own(model: str, tokens: int) -> None:
    """At temperature 0 twenty answers are the target's own argmax decoding, but for scores 1e-4 apart."""

    async def main() -> None:
        topology = _topology(model, link=LINKS[0], temperature=0.0, tokens=tokens)
        async with draftwire.connect(topology, launch=True) as device:
            eos = device.tokenizer.eos_ids
            alone = _target(model, device.tokenizer.vocab_size)
            for prompt in PROMPTS:
                generation = device.generate(prompt)
                answer = [token.id async for token in generation]
                whole = len(answer) == tokens or (
                    generation.finish is Finish.EOS and answer[-1] in eos
                )
                assert whole, f"{prompt!r} ended with {generation.finish} after {len(answer)}"
                assert not any(token in eos for token in answer[:-1])
                for position, gap in _disagreements(alone, generation.request.prompt, answer):
                    print(f"{prompt!r}, token {position}: its score is {gap:.3g} below the target's best")
                    assert gap <= CLOSE, f"{prompt!r}, token {position}: {gap}"

    asyncio.run(main())


def _disagreements(
    target: LanguageModel, prompt: Sequence[int], answer: Sequence[int]
) -> list[tuple[int, float]]:
    """(place, gap in score) of each token that is not the target's argmax, decoded one by one."""
    context, tokens, found = target.open(), list(prompt), list[tuple[int, float]]()
    for place, token in enumerate(answer):
        scores = context.logits(tokens, 1)[0]
        if int(np.argmax(scores)) != token:
            found.append((place, float(scores.max() - scores[token])))
        tokens.append(token)
    context.close()
    return found


def test_topologies_differ_in_the_link_alone() -> None:
    """What the three links are compared by is otherwise the same system."""
    first, *others = (_topology("tiny:", link=link, temperature=1.0, tokens=4) for link in LINKS)
    assert all(replace(other, channel=first.channel) == first for other in others)
