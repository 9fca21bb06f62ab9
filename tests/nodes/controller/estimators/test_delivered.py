"""Whether plans deliver what they promise, by acceptance."""

import pytest

from draftwire.codecs.control import COUPLED, REJECTION
from draftwire.nodes.controller.estimators.delivered import PRIOR_S, Delivered


def fed(acceptance: str, ratio: float, *, steps: int, into: Delivered | None = None) -> Delivered:
    """Steps of 50 ms that were promised to take less, or more, by `ratio`."""
    found = Delivered() if into is None else into
    for _ in range(steps):
        found.observe(acceptance, seconds=0.05, promised_s=0.05 / ratio)
    return found


def test_before_anything_promises_are_believed() -> None:
    """And of an acceptance that has never been used, whatever the other one came to."""
    assert Delivered().slower(COUPLED) == 1
    assert fed(REJECTION, 2.0, steps=500).slower(COUPLED) == 1


@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.5])
def test_it_is_seconds_over_promised_ones(ratio: float) -> None:
    """After some hundred steps, of either acceptance; a few steps say little."""
    found = fed(COUPLED, ratio, steps=400)
    fed(REJECTION, 1 / ratio, steps=400, into=found)
    assert found.slower(REJECTION) == pytest.approx(1 / ratio, rel=0.15)
    assert fed(COUPLED, ratio, steps=400).slower(COUPLED) == pytest.approx(ratio, rel=0.1)
    few = fed(COUPLED, ratio, steps=2).slower(COUPLED)
    assert abs(few - 1) < 0.12 * PRIOR_S + 0.2 * abs(ratio - 1)


def test_what_was_once_not_kept_is_forgotten_while_the_other_is_used() -> None:
    """Slowly: after a hundred steps it still counts, after thousands it is believed again."""
    found = fed(COUPLED, 2.0, steps=400)
    told = found.slower(COUPLED)
    fed(REJECTION, 1.0, steps=100, into=found)
    assert found.slower(COUPLED) > 1 + 0.7 * (told - 1)
    fed(REJECTION, 1.0, steps=3000, into=found)
    assert found.slower(COUPLED) < 1.05


def test_what_is_in_use_follows_sooner() -> None:
    """A link that has come to rest delivers again: half of it is seen within some seventy steps."""
    found = fed(COUPLED, 2.0, steps=400)
    fed(COUPLED, 1.0, steps=100, into=found)
    assert found.slower(COUPLED) < 1.5


@pytest.mark.parametrize("tokens", [1, 6])
def test_an_outage_decides_for_no_longer_than_some_steps_do(tokens: int) -> None:
    """A step of ten minutes, of one token or of several, counts as a few usual ones."""
    found = fed(COUPLED, 1.0, steps=200)
    found.observe(COUPLED, seconds=600.0, promised_s=0.02 * tokens)
    assert found.slower(COUPLED) < 1.15


def test_steps_of_few_tokens_count_in_full() -> None:
    """A promise is of tokens: a step of 200 ms that brings one of ten is as long as one that brings all."""
    found = Delivered()
    for step in range(500):
        found.observe(REJECTION, seconds=0.2, promised_s=0.02 if step % 2 else 0.38)
    assert found.slower(REJECTION) == pytest.approx(1.0, abs=0.02)


def test_a_change_for_good_gets_through() -> None:
    """A link on which every step takes twenty times as long is soon seen as what it is."""
    found = fed(COUPLED, 1.0, steps=200)
    for _ in range(200):
        found.observe(COUPLED, seconds=1.0, promised_s=0.05)
    assert found.slower(COUPLED) > 10
