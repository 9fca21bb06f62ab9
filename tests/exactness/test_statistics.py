"""Statistics at temperature 1: what comes out of the session code, through real wire bytes, is the target's.

A pooled chi-square sees no total variation below about 0.01 (tests/exactness/test_enumeration.py does); what
this adds are real models, real vocabularies, real rows and every byte of the wire.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2
from tests.harness.pair import Direction, LogitsOf, SessionPair, World

from draftwire.codecs.frame import decode_frame, encode_frame
from draftwire.codecs.messages import Message, Sampling
from draftwire.nodes.models.base import LanguageModel
from draftwire.nodes.models.catalogue import LoadOptions, load_draft, load_target, load_tokenizer
from draftwire.nodes.models.vocabulary import fitted
from draftwire.nodes.speculation.noise import PhiloxNoise
from draftwire.nodes.speculation.sampling import sparsify, target_distribution
from draftwire.runtime.session.request import Request

Floats = NDArray[np.float64]

POOL_BELOW = 10.0
"""Categories expected less often than this are pooled into one."""

SAMPLING = Sampling(temperature=1.0)
K, GAMMA = 16, 2


class WirePair(SessionPair):
    """Every message is spelt in bytes and read back, as between two processes."""

    def _transmit(self, direction: Direction, message: Message) -> None:
        read = decode_frame(encode_frame(message, session=1, sequence=1)).message
        assert isinstance(read, Message)
        super()._transmit(direction, read)


@dataclass
class Case:
    """A pair, a prompt, and the law of the first two tokens behind it."""

    world: World
    prompt: tuple[int, ...]

    def text(self, seed: int) -> tuple[int, ...]:
        """Two tokens, as the device takes them."""
        request = Request(prompt=self.prompt, sampling=SAMPLING, seed=seed, max_new_tokens=2)
        pair = WirePair(self.world, request, PhiloxNoise(), plan=(K, GAMMA))
        pair.run()
        return pair.output

    def law(self, model: Callable[[Sequence[int]], Floats], *, least: float) -> dict[tuple[int, ...], float]:
        """Probability of each pair of tokens at least as likely as `least`, if `model` spoke alone."""
        found: dict[tuple[int, ...], float] = {}
        first = model(self.prompt)
        for x in np.flatnonzero(first >= least):
            second = first[x] * model((*self.prompt, int(x)))
            found |= {(int(x), int(y)): float(second[y]) for y in np.flatnonzero(second >= least)}
        return found

    def p(self, tokens: Sequence[int]) -> Floats:
        """The target's distribution behind `tokens`."""
        return target_distribution(self.world.target(tokens), SAMPLING)

    def q(self, tokens: Sequence[int]) -> Floats:
        """The draft's, from its sparse row."""
        size = self.world.vocab_size
        row = sparsify(self.world.draft(tokens), None, k=K, temperature=1.0, vocab_size=size)
        q = np.zeros(size)
        q[row.ids] = row.weights / row.weights.sum()
        return q


def _logits_of(model: LanguageModel, prompt: Sequence[int], vocab_size: int) -> LogitsOf:
    """The model's logits behind the prompt and at most one token, each computed once.

    Behind two tokens a text of two is over: what is asked for there is cut off, so it may be anything.
    """
    context = model.open()

    @cache
    def row(tokens: tuple[int, ...]) -> NDArray[np.float32]:
        logits = -1e6 - np.arange(vocab_size, dtype=np.float32)  # unlike -inf all over, quick to partition
        columns = slice(None) if model.support is None else model.support
        logits[columns] = context.logits(tokens, 1)[0]
        return logits

    over = np.zeros(vocab_size, np.float32)
    return lambda tokens: over if len(tokens) > len(prompt) + 1 else row(tuple(tokens))


def _case(name: str, text: str, dtype: str) -> Case:
    tokenizer = load_tokenizer(name, end="draft")
    size, prompt = tokenizer.vocab_size, tuple(tokenizer.encode_prompt(text))
    options = LoadOptions(dtype=dtype)
    draft, target = fitted(load_draft(name, options), size), fitted(load_target(name, options), size)
    return Case(World(size, _logits_of(target, prompt, size), _logits_of(draft, prompt, size)), prompt)


@pytest.mark.parametrize(
    ("name", "text", "seeds"),
    [
        ("synthetic:V=64,seed=3,noise=1.0", "one two three", 2000),
        pytest.param(
            "smollm2",
            "Name a colour.",
            6000,
            marks=[pytest.mark.slow, pytest.mark.timeout(900)],
        ),
    ],
)
def test_two_tokens_are_distributed_as_the_targets(name: str, text: str, seeds: int) -> None:
    """Chi-square and total variation of the first two tokens over many seeds, against the target's law."""
    case = _case(name, text, "float32")
    observed = Counter(case.text(seed) for seed in range(seeds))
    least = POOL_BELOW / seeds
    target, draft = case.law(case.p, least=least), case.law(case.q, least=least)
    p_value, tv, floor = _compare(observed, target, seeds)
    print(
        f"\n{name}: {seeds} seeds from 0, {len(target)} categories and one pool: "
        f"chi-square p = {p_value:.3g}, TV = {tv:.4f}, noise floor {floor:.4f}"
    )
    assert p_value >= 1e-6
    assert tv <= floor
    against_draft, far, _ = _compare(observed, draft, seeds)
    print(f"against the draft's law, to show that the test can see: p = {against_draft:.3g}, TV = {far:.4f}")
    assert against_draft < 1e-6


def _compare(
    observed: Counter[tuple[int, ...]], law: dict[tuple[int, ...], float], count: int
) -> tuple[float, float, float]:
    """(p of a pooled chi-square, TV over the same categories, TV that `count` true draws stay below)."""
    p = np.array([*law.values(), max(0.0, 1.0 - sum(law.values()))])
    seen = np.array([observed[one] for one in law], dtype=np.float64)
    seen = np.append(seen, count - seen.sum())
    expected = np.maximum(p * count, 1e-9)
    statistic = float(((seen - expected) ** 2 / expected).sum())
    draws = np.random.default_rng(1).multinomial(count, p / p.sum(), size=300) / count
    floors = np.abs(draws - p).sum(axis=1) / 2
    return (
        float(chi2.sf(statistic, len(p) - 1)),
        float(np.abs(seen / count - p).sum() / 2),
        float(floors.mean() + 5 * floors.std()),
    )
