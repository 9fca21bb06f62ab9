"""Coupled acceptance through real processes: one text a seed, over any link, whoever is killed."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.harness.cell import VOCAB_SIZE
from tests.harness.mortal import SEED, system
from tests.harness.processes import wait_until
from tests.harness.reference import target_text
from tests.system.test_exact_text import CLOSE, LINKS, PROMPTS

import draftwire
from draftwire.codecs.messages import Acceptance, Sampling
from draftwire.nodes.device.journal import Journal
from draftwire.nodes.models.base import LanguageModel
from draftwire.nodes.models.catalogue import LoadOptions, load_target
from draftwire.nodes.models.synthetic import SyntheticPair, SyntheticTokenizer
from draftwire.nodes.models.vocabulary import fitted
from draftwire.nodes.speculation.noise import PhiloxNoise
from draftwire.nodes.speculation.sampling import target_distribution, target_key
from draftwire.runtime.config import (
    ChannelSettings,
    DeviceSettings,
    ModelSettings,
    PairSettings,
    SamplingSettings,
    TargetSettings,
    Topology,
)
from draftwire.runtime.link import parse_link
from draftwire.runtime.session.request import Request

TOKENS = 120
PROMPT = "hello there"


def undisturbed(temperature: float) -> list[str]:
    """The words that the target writes by itself."""
    tokenizer = SyntheticTokenizer(VOCAB_SIZE)
    wanted = Request(
        prompt=tuple(tokenizer.encode_prompt(PROMPT)),
        sampling=Sampling(temperature=temperature),
        seed=SEED,
        max_new_tokens=TOKENS,
        acceptance=Acceptance.COUPLED,
    )
    target = SyntheticPair(vocab_size=VOCAB_SIZE, seed=1).target
    return tokenizer.decode(target_text(wanted, target.open(), PhiloxNoise())).split()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("min_draft", [0, 2, 4])
@pytest.mark.parametrize("temperature", [0.7, 0.0])
def test_a_kill_of_any_node_changes_no_text(tmp_path: Path, temperature: float, min_draft: int) -> None:
    """Each of the servers, then the device, in mid-answer; it goes on from its journal."""
    journal = tmp_path / "journal.jsonl"
    words = ("--acceptance", "coupled", "--min-draft", str(min_draft), "--journal", str(journal))
    with system(tmp_path, temperature=temperature, tokens=TOKENS) as nodes:
        device = nodes.start("device", PROMPT, *words)
        for role, count in (("target", 10), ("controller", 25), ("channel", 40)):
            nodes.wait_for_tokens(device, count)
            nodes.restart(role)
        nodes.wait_for_tokens(device, 60)
        nodes.kill("device")
        with Journal(journal) as kept:
            (entry,) = kept.open_entries()
        again = nodes.start("device", "--journal", str(journal), "--resume", entry.id)
        wait_until(lambda: again.popen.poll() is not None, "the answer ends")
        assert again.ended() == 0, again.err.read_text()
        whole = undisturbed(temperature)
        assert device.words() == whole[: len(device.words())]
        assert again.words() == whole[-len(again.words()) :]
        assert len(device.words()) + len(again.words()) >= TOKENS


def _topology(model: str, link: str, tokens: int) -> Topology:
    words = parse_link(link)
    return Topology(
        pair=PairSettings(
            draft=ModelSettings(model=model, dtype="float32"),
            target=ModelSettings(model=model, dtype="float32"),
        ),
        target=TargetSettings(threads=1),
        channel=ChannelSettings(uplink=words, downlink=words),
        device=DeviceSettings(threads=1),
        sampling=SamplingSettings(temperature=1.0, max_new_tokens=tokens),
    )


def gaps(target: LanguageModel, request: Request, answer: Sequence[int]) -> list[tuple[int, float]]:
    """(place, gap of scores, noise included) of each token that the target would not pick by itself."""
    context, tokens, found = target.open(), list(request.prompt), list[tuple[int, float]]()
    for place, token in enumerate(answer):
        logits = context.logits(tokens, 1)[0]
        p = target_distribution(logits, request.sampling)
        with np.errstate(divide="ignore"):
            scores = np.log(p) + gumbel(request.seed, len(tokens), len(p))
        best = int(scores.argmax())
        if best != token:
            found.append((place, float(scores[best] - scores[token])))
        tokens.append(token)
    context.close()
    return found


def gumbel(seed: int, position: int, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The noise of each id: the greatest log p + noise is the pick."""
    from draftwire.nodes.speculation.noise import _log_uniforms, _word

    return -np.log(-_log_uniforms(_word(target_key(seed, position)), count, None))


@pytest.mark.parametrize(
    ("model", "tokens", "prompts", "plans"),
    [
        pytest.param("tiny:", 16, 1, 2, marks=pytest.mark.slow),
        pytest.param("smollm2", 32, 2, 2, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_every_plan_gives_the_targets_own_text(model: str, tokens: int, prompts: int, plans: int) -> None:
    """Real models in fp32, blocks and pipelined: another token only where scores are 1e-4 apart."""

    async def main() -> None:
        for link in LINKS[:1] if model == "tiny:" else (LINKS[0], LINKS[2]):
            async with draftwire.connect(_topology(model, link, tokens), launch=True) as device:
                alone = fitted(
                    load_target(model, LoadOptions(dtype="float32")), device.tokenizer.vocab_size
                )
                for prompt in PROMPTS[:prompts]:
                    for gamma, min_draft in ((4, 4), (8, 0), (8, 2))[-plans:]:
                        generation = device.generate(
                            prompt, seed=3, acceptance="coupled", gamma=gamma, min_draft=min_draft
                        )
                        answer = [token.id async for token in generation]
                        for place, gap in gaps(alone, generation.request, answer):
                            where = f"{prompt!r}, {gamma}/{min_draft}, token {place}"
                            print(f"{where}: its score is {gap:.3g} below that of the target's pick")
                            assert gap <= CLOSE, where

    asyncio.run(main())
