"""Small worlds with two models, and the law of their target's text, worked out directly."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.harness.enumerate import EnumeratingNoise, explore
from tests.harness.pair import LogitsOf, SessionPair, World, total_variation

from draftwire.codecs.messages import Acceptance, Sampling
from draftwire.nodes.speculation.sampling import target_distribution
from draftwire.runtime.session.request import Request

Text = tuple[int, ...]
Scenario = Callable[[EnumeratingNoise], SessionPair]
"""A pair that is ready to run, on noise that enumerates."""

EXACT = 1e-12
"""Total variation below which two laws count as equal: the rounding of some thousand sums."""


def world(vocab_size: int, seed: int, *, spread: float = 1.3) -> World:
    """Two unrelated models whose logits are normal with this spread, for every context anew."""

    def model(tag: int) -> LogitsOf:
        @cache
        def row(tokens: Text) -> NDArray[np.float32]:
            drawn = np.random.default_rng([seed, tag, *tokens]).normal(0, spread, vocab_size)
            return drawn.astype(np.float32)

        def logits_of(tokens: Sequence[int]) -> NDArray[np.float32]:
            return row(tuple(tokens))

        return logits_of

    return World(vocab_size, model(1), model(2))


def request(
    tokens: int,
    *,
    temperature: float = 1.0,
    seed: int = 1,
    acceptance: Acceptance = Acceptance.REJECTION,
    max_waste: float | None = None,
) -> Request:
    """A prompt of one token, to be continued by `tokens`."""
    return Request(
        prompt=(0,),
        sampling=Sampling(temperature=temperature),
        seed=seed,
        max_new_tokens=tokens,
        acceptance=acceptance,
        max_waste=max_waste,
    )


def coupled(tokens: int, **others: Any) -> Request:
    """The same, with drafts as hints at temperature 1."""
    return request(tokens, acceptance=Acceptance.COUPLED, **others)


def law_of_target(within: World, wanted: Request) -> dict[Text, float]:
    """The target's own: every text of the request's length with its probability."""
    law: dict[Text, float] = {(): 1.0}
    for _ in range(wanted.max_new_tokens):
        longer: dict[Text, float] = {}
        for text, mass in law.items():
            p = target_distribution(within.target([*wanted.prompt, *text]), wanted.sampling)
            for token in range(within.vocab_size):
                longer[(*text, token)] = mass * float(p[token])
        law = longer
    return law


CAUGHT = 1e-4
"""A mistake that moves the law by less than this would be no proof of anything."""


def law_of(scenario: Scenario) -> dict[Text, float]:
    """The law of the text that a scenario's device takes; each path has to end well."""

    def run(noise: EnumeratingNoise) -> Text:
        pair = scenario(noise)
        pair.run(until_s=120)
        assert pair.over(), f"no end: device {pair.device.state}, BS {pair.target and pair.target.state}"
        assert pair.device.refusal is None, pair.device.refusal
        return pair.output

    return explore(run)


def assert_exact(within: World, wanted: Request, scenario: Scenario) -> None:
    """The law of a scenario's text equals the target's."""
    tv = total_variation(law_of(scenario), law_of_target(within, wanted))
    assert tv < EXACT, tv


def assert_caught(name: str, within: World, wanted: Request, scenario: Scenario) -> None:
    """A mistake is seen, and how clearly."""
    tv = total_variation(law_of(scenario), law_of_target(within, wanted))
    print(f"{name}: TV {tv:.6f}")
    assert tv > CAUGHT
