"""Round trip, drafting, the target's line and the size of rows: known truths come out."""

from dataclasses import replace

import numpy as np
import pytest
from tests.harness.sizes import message_bytes
from tests.harness.tables import usual_set

from draftwire.nodes.controller.estimators.draft_step import DraftStep
from draftwire.nodes.controller.estimators.round_trip import MAX_JITTER_S, PRIOR_JITTER_S, RoundTrip
from draftwire.nodes.controller.estimators.round_trip import PRIOR_S as PRIOR_RTT_S
from draftwire.nodes.controller.estimators.row_size import RowSize
from draftwire.nodes.controller.estimators.target_step import PRIOR_S as PRIOR_STEP_S
from draftwire.nodes.controller.estimators.target_step import PRIOR_SLOPE, TargetStep
from draftwire.nodes.speculation.frames import true_frames


def line(*, at_zero_s: float, slope_s: float, lengths: list[int], noise: float, seed: int = 0) -> TargetStep:
    rng, target = np.random.default_rng(seed), TargetStep()
    for drafted in lengths:
        step_s = (at_zero_s + slope_s * drafted) * float(rng.normal(1, noise))
        target.observe(drafted=drafted, step_s=step_s, overhead_s=0.001)
    return target


# The round trip ---------------------------------------------------------------------------------------------


def test_drafting_and_sending_are_no_part_of_the_round_trip() -> None:
    """What the device needed to draft, and both messages their bits, are taken off."""
    trip = RoundTrip()
    assert trip.rtt_s == PRIOR_RTT_S
    for _ in range(3):
        trip.observe(turnaround_s=0.1, drafting_s=0.02, bits=2000, s_per_bit=1e-5)
    assert trip.rtt_s == pytest.approx(0.06)


def test_the_round_trip_is_a_median_and_never_negative() -> None:
    """Three wild samples in nine change nothing; the last 15 count; below 0 it is 0."""
    trip = RoundTrip()
    for turnaround_s in (0.05, 9.0, 0.05, 0.05, 9.0, 0.05, 0.05, 9.0, 0.05):
        trip.observe(turnaround_s=turnaround_s, drafting_s=0, bits=0, s_per_bit=0)
    assert trip.rtt_s == 0.05
    for _ in range(15):
        trip.observe(turnaround_s=0.01, drafting_s=0.02, bits=0, s_per_bit=0)
    assert trip.rtt_s == 0


def test_jitter_is_the_spread_of_round_trips() -> None:
    """The standard deviation of one way, of two that make a round trip, within its limits."""
    trip, rng = RoundTrip(), np.random.default_rng(0)
    assert trip.jitter_s == PRIOR_JITTER_S
    for off_s in rng.normal(0, 2e-3, (15, 2)).sum(axis=1):
        trip.observe(turnaround_s=0.05 + float(off_s), drafting_s=0, bits=0, s_per_bit=0)
    assert trip.jitter_s == pytest.approx(2e-3, rel=0.6)
    for turnaround_s in range(15):
        trip.observe(turnaround_s=turnaround_s, drafting_s=0, bits=0, s_per_bit=0)
    assert trip.jitter_s == MAX_JITTER_S


# Drafting ---------------------------------------------------------------------------------------------------


def test_an_outlier_does_not_move_the_draft_step() -> None:
    """Neither a first block, which reads the prompt, nor a stall in between: not for one plan."""
    draft = DraftStep()
    for step_s in (2.0, 0.004, 0.004, 0.003, 5.0, 0.003):
        draft.observe(step_s)
        assert draft.step_s == pytest.approx(0.0035, abs=6e-4)


def test_blocks_after_a_pause_are_slow_and_do_not_count() -> None:
    """Tries come in pairs, the first of which has text to catch up with: the other half decides."""
    draft = DraftStep()
    for step_s in (0.05, 0.004) * 6:
        draft.observe(step_s)
    assert draft.step_s == 0.004


# The target's step ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slope", [0.0, 0.01, 0.08, 0.3])
def test_the_slope_is_found(slope: float) -> None:
    """A CPU's steep slope is known within 20 %, to a percent of a step, after 20 steps at two lengths."""
    target = line(at_zero_s=0.04, slope_s=0.04 * slope, lengths=[4, 4, 2, 4] * 5, noise=0.01)
    assert target.slope_s == pytest.approx(0.04 * slope, rel=0.2, abs=0.01 * 0.04)
    assert target.at_zero_s + 4 * target.slope_s == pytest.approx(0.04 * (1 + 4 * slope), rel=0.02)


def test_without_spread_the_slope_is_the_priors() -> None:
    """One length alone says nothing: 1 % of a step, and the line goes through what was seen."""
    target = line(at_zero_s=0.1, slope_s=0.0, lengths=[4] * 30, noise=0.0)
    assert target.slope_s == pytest.approx(PRIOR_SLOPE * target.at_zero_s)
    assert target.at_zero_s + 4 * target.slope_s == pytest.approx(0.1)
    assert TargetStep().at_zero_s == PRIOR_STEP_S


def test_a_known_slope_is_not_forgotten_while_the_length_stays() -> None:
    """200 steps of one length after it was learnt leave the slope where it was."""
    lengths = [4, 2, 6, 4, 2, 6] * 3
    learnt = line(at_zero_s=0.04, slope_s=0.004, lengths=lengths, noise=0.0)
    later = line(at_zero_s=0.04, slope_s=0.004, lengths=lengths + [4] * 200, noise=0.0)
    assert learnt.slope_s == pytest.approx(0.004, rel=0.06)
    assert later.slope_s == pytest.approx(learnt.slope_s, rel=0.1)


def test_the_slope_is_never_negative() -> None:
    """Long blocks that happened to be fast do not make drafting free."""
    assert line(at_zero_s=0.1, slope_s=-0.01, lengths=[1, 5] * 20, noise=0.0).slope_s == 0


def test_stalls_are_clipped_and_lasting_change_is_followed() -> None:
    """A stall of 20 steps' length moves the line by under 10 %; a machine that got slower is believed."""
    target = line(at_zero_s=0.04, slope_s=0.0004, lengths=[4, 3, 4, 5] * 8, noise=0.01)
    target.observe(drafted=4, step_s=0.8, overhead_s=0.001)
    assert target.at_zero_s + 4 * target.slope_s == pytest.approx(0.0416, rel=0.1)
    for drafted in [4, 3, 4, 5] * 25:
        target.observe(drafted=drafted, step_s=0.08, overhead_s=0.001)
    assert target.at_zero_s + 4 * target.slope_s == pytest.approx(0.08, rel=0.1)


def test_alone_has_its_own_figure() -> None:
    """Once a step alone was seen it stands for d = 0; before, the line does. The overhead is a median."""
    target = line(at_zero_s=0.04, slope_s=0.0, lengths=[2, 4] * 10, noise=0.0)
    assert not target.knows_alone and target.alone_s == target.at_zero_s
    for _ in range(5):
        target.observe_alone(0.02)
    assert target.knows_alone and target.alone_s == pytest.approx(0.02)
    assert target.at_zero_s > 0.035 and target.overhead_s == 0.001


# The size of rows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("truth", "told"), [(0.8, 0.8), (1.0, 1.0), (0.83, 0.85)])
def test_rows_are_scaled_as_they_were_seen(truth: float, told: float) -> None:
    """Frames of text come out as they are, the scale in steps of 0.05."""
    size, real = RowSize(), true_frames(vocab_size=4096, row_scale=truth)
    assert size.scale == 1
    for count in (1, 4, 4, 3):
        rows_bytes = message_bytes(real.rows_bits(32, count))
        size.observe(k=32, count=count, rows_bytes=rows_bytes, vocab_size=4096)
    assert size.scale == pytest.approx(told)
    told_frames = true_frames(vocab_size=4096, row_scale=size.scale)
    assert told_frames.rows_bits(32, 4) == pytest.approx(real.rows_bits(32, 4), rel=0.03)


def test_rows_spelt_with_a_set_are_held_against_what_it_says() -> None:
    """A tenth above the set's own sizes is a scale of 1.1, at any K; against plain rows it would be none."""
    usual = usual_set(4096)
    tables = replace(usual, rungs=tuple(replace(rung, row_bits=5 * rung.k + 20) for rung in usual.rungs))
    size, unknown = RowSize(), RowSize()
    real = true_frames(vocab_size=4096, row_scale=1.1, tables=tables)
    for k in (3, 20, 32, 320, 700) * 4:
        rows_bytes = message_bytes(real.rows_bits(k, 4))
        size.observe(k=k, count=4, rows_bytes=rows_bytes, vocab_size=4096, tables=tables)
        unknown.observe(k=k, count=4, rows_bytes=rows_bytes, vocab_size=4096)
    assert size.scale == pytest.approx(1.1)
    assert unknown.scale < 0.9


def test_a_new_path_is_known_after_three_answers() -> None:
    """When the round trip jumps, up or down, the third answer over the new path ends the old one."""
    trip = RoundTrip()
    for rtt_s in (0.010, 0.100, 0.004):
        for i in range(20):
            trip.observe(turnaround_s=rtt_s + 1e-4 * (i % 3), drafting_s=0.0, bits=0.0, s_per_bit=1e-6)
            if i >= 2:
                assert trip.rtt_s == pytest.approx(rtt_s, abs=3e-4)


def test_single_slow_answers_are_no_new_path() -> None:
    """Two stalls in a row change nothing."""
    trip = RoundTrip()
    for i in range(40):
        stalled = i % 10 in (3, 4)
        trip.observe(turnaround_s=0.2 if stalled else 0.02, drafting_s=0.0, bits=0.0, s_per_bit=1e-6)
        if i >= 3:
            assert trip.rtt_s == pytest.approx(0.02)
