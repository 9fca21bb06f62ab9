"""Seconds a bit come from the spacing of a block's ids and rows."""

from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from draftwire.nodes.controller.estimators.link_rate import (
    CAUTIOUS_BPS,
    LOST_BPS,
    MAX_S_PER_BIT,
    MIN_S_PER_BIT,
    PRIOR_BPS,
    LinkRate,
)

JITTER_S = 0.3e-3


def feed(link: LinkRate, rate_bps: float, bits: float, *, steps: int, rng: np.random.Generator) -> None:
    for _ in range(steps):
        spacing_s = bits / rate_bps + float(rng.exponential(JITTER_S) - rng.exponential(JITTER_S))
        link.observe(spacing_s=spacing_s, bits=bits, at_s=0.0, jitter_s=JITTER_S)


@pytest.mark.parametrize("rate_bps", [0.1e6, 0.3e6, 1e6, 3e6])
def test_ten_steps_tell_the_rate(rate_bps: float) -> None:
    """The median error after 10 steps is at most 10 % where the rows take over 5 ms."""
    bits, errors = 17_000.0, list[float]()
    assert bits / rate_bps > 0.005
    for seed in range(25):
        link = LinkRate()
        feed(link, rate_bps, bits, steps=10, rng=np.random.default_rng(seed))
        errors.append(abs(link.bps / rate_bps - 1))
    assert median(errors) <= 0.10


@pytest.mark.parametrize(("before", "after", "steps"), [(5e6, 0.25e6, 2), (20e6, 1e6, 2), (0.1e6, 5e6, 8)])
def test_a_jump_is_believed(before: float, after: float, steps: int) -> None:
    """After a drop by 20 the estimate is within 20 % in 2 steps; a rise takes a few more."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        link = LinkRate()
        feed(link, before, 17_000, steps=40, rng=rng)
        feed(link, after, 17_000, steps=steps, rng=rng)
        assert link.bps == pytest.approx(after, rel=0.2)


def test_one_stray_sample_is_not_believed() -> None:
    """A single spacing 50 times too long leaves the settled estimate within a factor of 1.5."""
    link = LinkRate()
    feed(link, 1e6, 17_000, steps=40, rng=np.random.default_rng(0))
    link.observe(spacing_s=50 * 0.017, bits=17_000, at_s=0.0, jitter_s=JITTER_S)
    feed(link, 1e6, 17_000, steps=10, rng=np.random.default_rng(1))
    assert link.bps == pytest.approx(1e6, rel=0.5)


def test_silence_loosens_what_is_believed() -> None:
    """After a long pause one sample counts for more than it would have at once."""
    moved = []
    for at_s in (0.2, 60.0):
        link = LinkRate()
        feed(link, 1e6, 17_000, steps=40, rng=np.random.default_rng(0))
        link.observe(spacing_s=0.0175, bits=17_000, at_s=at_s, jitter_s=5e-3)
        moved.append(link.s_per_bit)
    assert moved[1] > moved[0]


def test_rows_that_overtook_say_nothing() -> None:
    """A spacing of 0 or less changes nothing."""
    link = LinkRate()
    before = link.s_per_bit
    for spacing_s in (0.0, -1.0):
        link.observe(spacing_s=spacing_s, bits=1000, at_s=0.0, jitter_s=0.0)
    assert link.s_per_bit == before


@given(
    st.lists(st.none() | st.tuples(st.floats(-1, 1e4), st.floats(1, 1e7), st.floats(-1e9, 1e9)), max_size=30)
)
def test_the_estimate_stays_in_its_range(samples: list[tuple[float, float, float] | None]) -> None:
    """Whatever is reported, and where nothing comes at all, it lies between 40 kbit/s and 200 Mbit/s."""
    link = LinkRate()
    for sample in samples:
        if sample is None:
            link.lost()
        else:
            spacing_s, bits, at_s = sample
            link.observe(spacing_s=spacing_s, bits=bits, at_s=at_s, jitter_s=1e-3)
        assert MIN_S_PER_BIT <= link.s_per_bit <= MAX_S_PER_BIT


def test_a_first_frame_that_is_far_off_decides() -> None:
    """The prior has no weight against it: a slow link is known after one message of rows."""
    link = LinkRate()
    link.observe(spacing_s=0.02, bits=2000, at_s=1.0, jitter_s=3e-4)
    assert link.bps == pytest.approx(0.1e6, rel=0.05)


def test_until_it_is_measured_little_is_sent() -> None:
    """At the cautious rate, or at one that messages have shown to be borne; then at what was measured."""
    link = LinkRate()
    assert link.bearable_bps == CAUTIOUS_BPS < link.bps
    assert not link.at_most(1 / 1e6)
    assert link.bearable_bps == pytest.approx(1e6) and link.bps == pytest.approx(PRIOR_BPS)
    link.observe(spacing_s=0.0005, bits=5000, at_s=1.0, jitter_s=3e-4)
    assert link.bearable_bps == link.bps > 1e6


def test_a_link_that_is_lost_is_found_again() -> None:
    """It counts as slow as links are, and one message of rows tells what it really is."""
    link = LinkRate()
    for step in range(20):
        link.observe(spacing_s=0.002, bits=2000, at_s=0.1 * step, jitter_s=3e-4)
    link.lost()
    assert link.bps == link.bearable_bps == LOST_BPS
    link.observe(spacing_s=0.002, bits=2000, at_s=3.0, jitter_s=3e-4)
    assert link.bps == pytest.approx(1e6, rel=0.05)
