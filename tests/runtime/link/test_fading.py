"""Block Rayleigh fading against theory."""

import math
from math import nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from tests.harness.radio import fadings

from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import Fading
from draftwire.runtime.link.fading import CHUNK_BLOCKS, ROUND_CHUNKS

RADIO = Fading(snr_db=15, bandwidth_hz=2e6, coherence_s=0.05)
GOLDEN_BPS = [11576406.565331269, 5864933.789155625, 12042670.477175092]
"""The first blocks of RADIO with seed 42."""


def _rates_bps(fading: Fading, seed: int, blocks: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    curve, coherence_s = fading.curve(seed), fading.coherence_s
    return np.diff([curve.bits_by(block * coherence_s) for block in range(blocks + 1)]) / coherence_s


@pytest.mark.parametrize("snr_db", [-30, -10, -1e-9, 0, 1e-9, 5, 20, 60])
def test_the_mean_rate_is_the_ergodic_one(snr_db: float) -> None:
    """bandwidth e^(1/snr) E1(1/snr) / ln 2, by scipy where that does not overflow, else by its series."""
    fading = Fading(snr_db=snr_db, bandwidth_hz=1e6, coherence_s=0.01)
    x = 10 ** (-snr_db / 10)
    series = sum((-1) ** k * math.factorial(k) / x ** (k + 1) for k in range(9))
    expected = special.exp1(x) * math.exp(x) if x < 700 else series
    assert fading.mean_rate_bps == pytest.approx(1e6 * expected / math.log(2), rel=1e-11)


@pytest.mark.parametrize("snr_db", [-5.0, 15.0])
def test_a_long_run_has_the_ergodic_rate(snr_db: float) -> None:
    """A whole round of a million blocks carries what theory says, to a thousandth or two."""
    fading = Fading(snr_db=snr_db, bandwidth_hz=2e6, coherence_s=0.001)
    round_s = CHUNK_BLOCKS * ROUND_CHUNKS * 0.001
    carried_bps = fading.curve(7).bits_by(round_s) / round_s
    assert carried_bps == pytest.approx(fading.mean_rate_bps, rel=0.005)


def test_blocks_are_exponential_gains_and_independent() -> None:
    """The gain behind each block's rate is exponential with mean 1, so the rate is below R with probability
    1 - exp(-(2^(R / bandwidth) - 1) / snr); neighbours have nothing in common.
    """
    rates_bps = _rates_bps(RADIO, 3, 20_000)
    gains = (2 ** (rates_bps / RADIO.bandwidth_hz) - 1) / RADIO.snr
    assert stats.kstest(gains, "expon").pvalue > 1e-4
    assert abs(np.corrcoef(gains[:-1], gains[1:])[0, 1]) < 0.03
    for outage_bps in (1e6, 4e6, 9e6):
        theory = 1 - math.exp(-(2 ** (outage_bps / 2e6) - 1) / 10**1.5)
        assert np.mean(rates_bps < outage_bps) == pytest.approx(theory, abs=0.015)


def test_a_block_has_one_rate() -> None:
    """Within a coherence time the rate stands still."""
    curve = RADIO.curve(1)
    for block in (0, 3, CHUNK_BLOCKS - 1, CHUNK_BLOCKS):
        parts = [curve.bits_by((block + part / 4) * 0.05) for part in range(5)]
        assert np.diff(parts) == pytest.approx([(parts[4] - parts[0]) / 4] * 4, rel=1e-6)


@settings(max_examples=30)
@given(fadings, st.integers(0, 2**127), st.lists(st.floats(0, 3000), min_size=2, max_size=8))
def test_blocks_may_be_asked_for_in_any_order(fading: Fading, seed: int, at: list[float]) -> None:
    """The rate over time depends on the seed alone, not on what was asked before."""
    times_s = [blocks * fading.coherence_s for blocks in at]
    one, other = fading.curve(seed), fading.curve(seed)
    backwards = [other.bits_by(time_s) for time_s in reversed(times_s)]
    assert [one.bits_by(time_s) for time_s in times_s] == backwards[::-1]
    assert [one.when(bits) for bits in backwards] == [fading.curve(seed).when(bits) for bits in backwards]


def test_another_seed_is_another_link() -> None:
    """Seeds that differ anywhere, in the highest bits too, share no blocks."""
    first = [_rates_bps(RADIO, seed, 1)[0] for seed in (0, 1, 2**63, 1 << 64, (1 << 64) + 1)]
    assert len(set(first)) == 5


def test_the_blocks_of_a_seed_stay_the_same() -> None:
    """The draw is a fixed function of the seed: runs that were recorded can be repeated."""
    assert _rates_bps(RADIO, 42, 3) == pytest.approx(GOLDEN_BPS, rel=1e-9)


def test_behind_a_round_the_same_blocks_come_again() -> None:
    """Memory and time are bounded: a year on, and for any backlog, a query is answered from one round."""
    fading = Fading(snr_db=0, bandwidth_hz=1e3, coherence_s=1e-4)
    curve, round_s = fading.curve(1), CHUNK_BLOCKS * ROUND_CHUNKS * 1e-4
    of_one = curve.bits_by(round_s)
    assert curve.bits_by(round_s + 1.5) == pytest.approx(of_one + curve.bits_by(1.5))
    assert curve.bits_by(3e7) == pytest.approx(3e7 * fading.mean_rate_bps, rel=0.01)
    for bits in (of_one / 3, of_one, of_one * 7.3, 1e15):
        assert curve.bits_by(curve.when(bits)) == pytest.approx(bits, rel=1e-9)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((61, 1e6, 0.1), "rayleigh: snr 61 is out of range; write -30 to 60 db"),
        ((nan, 1e6, 0.1), "rayleigh: snr nan is out of range"),
        ((10, 999, 0.1), "rayleigh: bandwidth 999 is out of range; write 1000 to 10000000000 hz"),
        ((10, 1e6, 0), "rayleigh: coherence 0 is out of range; write 0.0001 to 60 s"),
        ((10, 1e6, 61), "rayleigh: coherence 61 is out of range"),
    ],
)
def test_a_fading_out_of_range_is_refused(values: tuple[float, float, float], message: str) -> None:
    """The error names the value and its bounds."""
    with pytest.raises(ConfigurationError) as caught:
        Fading(snr_db=values[0], bandwidth_hz=values[1], coherence_s=values[2])
    assert str(caught.value).startswith(message)
