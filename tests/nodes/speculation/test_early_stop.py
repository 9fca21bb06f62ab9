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


def test_before_anything_is_known_a_bin_has_its_centre() -> None:
    """And chances at both ends of the range have a bin."""
    stop = EarlyStop()
    for i in range(BINS):
        assert stop.rate(i / BINS) == pytest.approx((i + 0.5) / BINS)
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
    """One that stops goes on stopping with another token outstanding, and at any higher price."""
    stop = taught(rate_of={0.25: 0.3, 0.75: 0.8}, n=300)
    low, high = sorted((low, high))
    if stop.stops(chances, tokens_per_s=low, token_s=0.5):
        assert stop.stops([*chances, more], tokens_per_s=low, token_s=0.5)
        assert stop.stops(chances, tokens_per_s=high, token_s=0.5)
        assert stop.stops(chances, tokens_per_s=low, token_s=0.6)


def test_the_price_is_where_it_says() -> None:
    """It stops once survival times the mean acceptance falls below what the time brings anyhow."""
    stop = taught(rate_of={0.55: 0.8}, n=8000)
    rate = stop.rate(0.55)
    for n in range(1, 6):
        worth = rate**n * rate  # nothing else was seen, so the mean is this bin's rate
        assert not stop.stops([0.55] * n, tokens_per_s=worth * 0.999, token_s=1.0)
        assert stop.stops([0.55] * n, tokens_per_s=10.0, token_s=worth * 0.1001)


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
