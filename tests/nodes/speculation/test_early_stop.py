"""When a device stops drafting: by what became of tokens that it was as sure of."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from draftwire.nodes.speculation.stopping import BINS, EarlyStop

CHANCES = st.floats(0, 1)


def taught(*, rate_of: dict[float, float], seed: int = 1, n: int = 6000) -> EarlyStop:
    """After n tokens of each chance, which stood at its rate."""
    stop, rng = EarlyStop(), np.random.default_rng(seed)
    for _ in range(n):
        for chance, rate in rate_of.items():
            stop.observe(chance, bool(rng.random() < rate))
    return stop


def first_stop(stop: EarlyStop, chance: float, price: float) -> int:
    """Tokens that are outstanding when it stops, each drawn with this chance; 32 at most."""
    return next(
        (n for n in range(1, 32) if stop.stops([chance] * n, tokens_per_s=price, token_s=1.0)), 32
    )


def test_it_learns_the_rate_of_each_bin() -> None:
    """Whatever the first guess: a memory of a thousand tokens comes to the rate itself."""
    rates = {0.05: 0.6, 0.55: 0.2, 0.95: 0.9}
    stop = taught(rate_of=rates)
    for chance, rate in rates.items():
        assert stop.rate(chance) == pytest.approx(rate, abs=0.06)
        assert stop.rate(chance + 0.03) == stop.rate(chance)


def test_what_is_not_known_of_a_bin_is_the_mean() -> None:
    """And chances at both ends of the range have a bin."""
    stop = EarlyStop()
    assert {stop.rate(i / BINS) for i in range(BINS)} == {stop.mean}
    for i in range(400):
        stop.observe(0.5, i % 4 == 0)
    assert stop.rate(0.95) == stop.mean == pytest.approx(0.25, abs=0.05)
    assert stop.rate(1.0) == stop.rate(0.99)
    assert stop.rate(0.0) == stop.rate(0.01)


def test_it_forgets() -> None:
    """A text that has become hard is seen as such after about a thousand tokens."""
    stop = taught(rate_of={0.5: 1.0}, n=5000)
    assert stop.rate(0.5) > 0.99
    for _ in range(2000):
        stop.observe(0.5, False)
    assert stop.rate(0.5) < 0.15


@given(st.lists(CHANCES, min_size=1, max_size=16), CHANCES, st.floats(0, 2), st.floats(0, 2))
def test_it_is_monotone(chances: list[float], more: float, low: float, high: float) -> None:
    """One that stops would stop at any higher price, and with any less likely token in place of another."""
    stop = taught(rate_of={0.25: 0.3, 0.75: 0.8}, n=300)
    low, high = sorted((low, high))
    if stop.stops(chances, tokens_per_s=low, token_s=0.5):
        if stop.rate(more) <= stop.rate(chances[0]):
            assert stop.stops([more, *chances[1:]], tokens_per_s=low, token_s=0.5)
        assert stop.stops(chances, tokens_per_s=high, token_s=0.5)
        assert stop.stops(chances, tokens_per_s=low, token_s=0.6)


def test_the_price_is_where_it_says() -> None:
    """It stops once survival times the mean acceptance falls below what the time brings anyhow."""
    stop = taught(rate_of={0.55: 0.8}, n=8000)
    rate = stop.rate(0.55)
    for n in range(1, 6):
        worth = rate**n * rate  # nothing else was seen, so the mean is this bin's rate, and runs say little
        assert not stop.stops([0.55] * n, tokens_per_s=worth * 0.8, token_s=1.0)
        assert stop.stops([0.55] * n, tokens_per_s=10.0, token_s=worth * 0.125)


def test_an_easy_stretch_is_drafted_further_into() -> None:
    """Where tokens in a row that stand foretell more of them, how many have stood decides."""
    stop = EarlyStop()
    for _ in range(300):
        for hit in [*[True] * 12, False, False, True, False, False, False]:  # stretches, easy or hard
            stop.observe(0.5, hit)
    behind_a_miss = first_stop(stop, 0.5, 0.4)
    for _ in range(6):
        stop.observe(0.5, True)
    assert first_stop(stop, 0.5, 0.4) > behind_a_miss


def test_a_sure_draft_goes_further() -> None:
    """At the same price more tokens are drawn where they stand more often."""
    stop = taught(rate_of={0.15: 0.3, 0.55: 0.6, 0.95: 0.95})
    lengths = [first_stop(stop, chance, 0.2) for chance in (0.15, 0.55, 0.95)]
    assert lengths == sorted(lengths)
    assert lengths[0] == 1
    assert lengths[2] > lengths[1]


@given(st.lists(CHANCES, max_size=16), st.floats(0, 0.98))
def test_it_never_stops_where_everything_stands(chances: list[float], price: float) -> None:
    """However unsure the draft was: acceptance is learnt, not taken from the draft's word."""
    assert not ALWAYS_RIGHT.stops(chances, tokens_per_s=price, token_s=1.0)


ALWAYS_RIGHT = taught(rate_of={(i + 0.5) / BINS: 1.0 for i in range(BINS)}, n=12_000)


def test_the_first_token_is_always_drawn() -> None:
    """Whether to draft at all is for the plan to say."""
    stop = taught(rate_of={0.5: 0.0}, n=500)
    assert not stop.stops([], tokens_per_s=1e9, token_s=1.0)
    assert stop.stops([0.5], tokens_per_s=1e9, token_s=1.0)
