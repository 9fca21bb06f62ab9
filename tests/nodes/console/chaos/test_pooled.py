"""The law of tokens over many runs: what follows p passes, and small mistakes of acceptance are seen."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from draftwire.codecs.messages import Acceptance
from draftwire.nodes.console.chaos.faults import Fault, Kind, Leg, Scenario, Schedule
from draftwire.nodes.console.chaos.models import NOISE, VOCAB_SIZE, rows_behind, rows_of
from draftwire.nodes.console.chaos.outcome import Answer
from draftwire.nodes.console.chaos.pooled import BINS, EDGES, LEAST_TOKENS, NEVER, Pooled, counts

Floats = NDArray[np.float64]
LawOf = Callable[[Floats, Floats], Floats]
"""What tokens are drawn from where the target says p and the draft q."""

SCHEDULE = Schedule(seed=1, scenario=Scenario())
TOKENS = 16


def exact(p: Floats, q: Floats) -> Floats:
    """As it should be."""
    return p


def corrected_from_the_target(p: Floats, q: Floats) -> Floats:
    """A rejected draft is replaced by a draw from p, not from the residual."""
    accepted = np.minimum(p, q)
    law: Floats = accepted + (1 - accepted.sum()) * p
    return law


def accepted_too_often(p: Floats, q: Floats) -> Floats:
    """Drafts stand with probability min(1, 1.2 p / q)."""
    accepted = np.minimum(1.2 * p, q)
    residual = np.maximum(p - q, 0)
    total = residual.sum()
    law: Floats = accepted + (1 - accepted.sum()) * (residual / total if total else p)
    return law


def without_the_tail(p: Floats, q: Floats) -> Floats:
    """The ten least likely of the 24 ids are never drawn: some 2 % of the mass."""
    cut = np.where(p < np.sort(p)[10], 0.0, p)
    law: Floats = cut / cut.sum()
    return law


def softmax(logits: NDArray[np.float32]) -> Floats:
    """At temperature 1."""
    weights = np.exp(logits.astype(np.float64))
    law: Floats = weights / weights.sum()
    return law


def pooled(law_of: LawOf, *, answers: int) -> Pooled:
    """Of answers whose tokens follow that law."""
    random, found = np.random.default_rng(5), Pooled()
    for number in range(answers):
        prompt = tuple(int(one) for one in random.integers(VOCAB_SIZE, size=3))
        tokens = list(prompt)
        for _ in range(TOKENS):
            p, q = (softmax(rows_behind(rows_of(noise), tokens, 1)[0]) for noise in (0.0, NOISE))
            tokens.append(int(random.choice(VOCAB_SIZE, p=law_of(p, q))))
        found.add(SCHEDULE, answer(prompt, tuple(tokens[len(prompt) :]), number=number))
    return found


def answer(prompt: tuple[int, ...], ids: tuple[int, ...], *, number: int = 0, ended: bool = True) -> Answer:
    """One of device-1."""
    return Answer(
        device="device-1",
        number=number,
        acceptance=Acceptance.REJECTION,
        seed=number,
        prompt=prompt,
        ids=ids,
        ended=ended,
    )


def test_tokens_of_the_target_pass() -> None:
    """Every order's chance is an ordinary one, and every token is counted in each."""
    found = pooled(exact, answers=300)
    assert found.tokens == 300 * TOKENS
    assert found.counts.sum(axis=1).tolist() == [300 * TOKENS] * len(EDGES)
    assert found.counts.shape == (len(EDGES), BINS)
    chances = found.chances()
    assert all(chance is not None and chance > 1e-3 for chance in chances.values()), chances
    assert found.holds


@pytest.mark.parametrize("mistake", [corrected_from_the_target, accepted_too_often, without_the_tail])
def test_a_planted_mistake_is_seen_in_a_few_hundred_answers(mistake: LawOf) -> None:
    """Corrections from p, too much accepted, a tail cut off: each far below what chance allows."""
    found = pooled(mistake, answers=300)
    chances = found.chances()
    print(chances)
    assert not found.holds, chances
    assert min(chance for chance in chances.values() if chance is not None) < NEVER / 1000


def test_a_few_tokens_say_nothing() -> None:
    """Below the least number no chance is given, and nothing is held against the law."""
    found = Pooled()
    found.add(SCHEDULE, answer((1, 2), (3,) * (LEAST_TOKENS - 1)))
    assert found.chances() == dict.fromkeys(EDGES)
    assert found.holds
    found.add(SCHEDULE, answer((1, 2), (3,)))
    assert not found.holds


def test_what_counts_is_decided_without_the_text() -> None:
    """Without a journal any fault may cut slow texts off and leave quick ones whole: none of it counts."""
    death = Fault(kind=Kind.CRASH, at_s=1.0, node="device-1")
    away = Fault(kind=Kind.PARTITION, at_s=1.0, for_s=120.0, leg=Leg.UP)
    for faults in ((), (death,), (away,)):
        assert counts(Schedule(seed=1, scenario=Scenario(), faults=faults))
        assert not counts(Schedule(seed=1, scenario=Scenario(journal=False), faults=faults))
    assert not counts(Schedule(seed=1, scenario=Scenario(temperature=0.0)))
    assert not counts(Schedule(seed=1, scenario=Scenario(acceptance=Acceptance.COUPLED)))


def test_only_whole_answers_count() -> None:
    """What has not ended is left out, and so is an answer without tokens."""
    found = Pooled()
    found.add(SCHEDULE, answer((1, 2), (3, 4), ended=False))
    found.add(SCHEDULE, answer((1, 2), ()))
    assert found.tokens == 0
