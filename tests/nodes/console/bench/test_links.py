"""The links of the benchmark."""

import numpy as np
import pytest

from draftwire.nodes.console.bench.links import LEAST_BPS, LINKS, RadioLink, alternating, constant, rayleigh


@pytest.mark.parametrize("name", LINKS)
def test_a_link_is_a_function_of_its_seed(name: str) -> None:
    """The same seed gives the same link; its rates lie between what a radio falls back to and 50 Mbit/s."""
    first, second = LINKS[name](3), LINKS[name](3)
    assert first.name == name
    assert np.array_equal(first.rates_bps, second.rates_bps)
    assert first.rates_bps.min() >= LEAST_BPS and first.rates_bps.max() <= 50e6
    if first.changing and "<>" not in name:
        assert not np.array_equal(first.rates_bps, LINKS[name](4).rates_bps)


def test_thirteen_links_of_which_six_change() -> None:
    """Seven that stand still, two that jump, three that fade, one like LTE."""
    assert len(LINKS) == 13
    assert sum(LINKS[name](0).changing for name in LINKS) == 6


def test_rates_follow_the_time() -> None:
    """A rate holds for its slot, and the slots begin anew behind the last."""
    link = alternating(20, 0.1, rtt_ms=10)
    assert [link.rate_bps(at_s) for at_s in (0, 4.99, 5.0, 9.99, 10.0)] == [20e6, 20e6, 1e5, 1e5, 20e6]
    assert constant(1, 40).rate_bps(1e6) == 1e6
    assert constant(1, 40).delay_s == 0.02


def test_fading_has_the_capacity_s_mean() -> None:
    """10 dB over 0.3 MHz: 0.3 E[log2(1 + 10 g)] is 0.87 Mbit/s."""
    link = rayleigh(coherence_ms=50, seed=1)
    gains = np.random.default_rng(9).exponential(size=200_000)
    assert link.mean_bps == pytest.approx(0.3e6 * np.log2(1 + 10 * gains).mean(), rel=0.03)


@pytest.mark.parametrize(
    ("field", "value"), [("delay_s", -1.0), ("slot_s", 0.0), ("rates_bps", np.array([1e6, 0.0]))]
)
def test_values_out_of_range_are_named(field: str, value: object) -> None:
    """ValueError names the field."""
    fields = {"name": "x", "delay_s": 0.0, "slot_s": 1.0, "rates_bps": np.array([1e6])} | {field: value}
    with pytest.raises(ValueError, match=field):
        RadioLink(**fields)  # type: ignore[arg-type]
