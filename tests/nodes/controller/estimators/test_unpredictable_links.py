"""A link that no estimate follows: how far off estimates were is remembered, and plans reckon with it."""

import math

import pytest

from draftwire.nodes.controller.estimators.link_rate import WINDOW, LinkRate
from draftwire.nodes.speculation.cost import Compute, LinkEstimate, forecast
from draftwire.nodes.speculation.frames import true_frames

BITS = 10_000.0


def told(rates_bps: list[float]) -> LinkRate:
    """An estimate that has seen a frame at each of these rates, without jitter."""
    link = LinkRate()
    for at, rate_bps in enumerate(rates_bps):
        link.observe(spacing_s=BITS / rate_bps, bits=BITS, at_s=at * 0.1, jitter_s=0.0)
    return link


def test_a_link_that_stands_still_leaves_nothing_to_reckon_with() -> None:
    """Once the first estimates are forgotten, none was off."""
    assert told([1e6] * (WINDOW + 10)).off_s_per_bit == ()


def test_deep_fades_are_remembered() -> None:
    """One frame in ten takes ten times as long: about that share of the errors says so."""
    off = told(([1e6] * 9 + [1e5]) * 8).off_s_per_bit
    assert len(off) == WINDOW
    assert sum(one > 4e-6 for one in off) == WINDOW // 10


def test_a_jump_is_forgotten() -> None:
    """After a change for good, its errors leave the window."""
    assert told([1e6] * 20 + [2e5] * (WINDOW + 10)).off_s_per_bit == ()


@pytest.mark.parametrize("k", [8, 320, 1280])
def test_a_wait_is_expected_over_what_the_link_may_do(k: int) -> None:
    """The step is the mean of those with each rate, as far as waiting for rows goes."""
    compute, frames = Compute(draft_step_s=3e-3, target_step_s=0.045), true_frames(vocab_size=32_000)

    def step_s(off: tuple[float, ...]) -> float:
        link = LinkEstimate(uplink_bps=1e6, downlink_bps=1e6, rtt_s=0.01, off_s_per_bit=off)
        return forecast(k=k, gamma=4, alpha=0.5, compute=compute, link=link, frames=frames).step_s

    each = [step_s((off,)) for off in (0.0, 9e-6, 49e-6)]
    assert step_s((0.0, 9e-6, 49e-6)) == pytest.approx(math.fsum(each) / 3)
    assert step_s(()) == each[0] <= each[1] <= each[2]
