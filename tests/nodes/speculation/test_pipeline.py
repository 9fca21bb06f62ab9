"""The renewal model by itself: what it must be whatever the link does, and what can be worked out by hand.

tests/nodes/console/bench/test_pipelined.py holds it against the simulation of the protocol.
"""

import math

import numpy as np
import pytest

from draftwire.nodes.speculation.cost import Compute, Frames, LinkEstimate, forecast
from draftwire.nodes.speculation.frames import true_frames
from draftwire.nodes.speculation.pipeline import (
    PATIENCE_MARGIN_S,
    flow,
    flows,
    patience_s,
    pipelined_plans,
    synchronous,
)
from draftwire.nodes.speculation.timeline import timeline_of

COMPUTE = Compute(draft_step_s=4e-3, target_step_s=50e-3, target_per_token_s=0.5e-3, overhead_s=0.5e-3)
FLAT = Compute(draft_step_s=4e-3, target_step_s=50e-3)
FRAMES = true_frames(vocab_size=4096, rows=False)
NOTHING = Frames(draft_bits=lambda k, n: 0.0, rows_bits=lambda k, n: 0.0, commit_bits=lambda n: 0.0)
ALL = pipelined_plans(16)


def link(*, rtt_ms: float = 10.0, mbit: float = 20.0) -> LinkEstimate:
    return LinkEstimate(uplink_bps=mbit * 1e6, downlink_bps=mbit * 1e6, rtt_s=rtt_ms / 1e3)


def geometric(alpha: float, count: int = 17) -> list[float]:
    return [alpha**k for k in range(count)]


def test_every_plan_is_there_once() -> None:
    """gamma from 1 on, and every min_draft below it."""
    assert len(set(ALL)) == len(ALL) == 16 * 17 // 2
    assert all(0 <= wait < gamma <= 16 for gamma, wait in ALL)


@pytest.mark.parametrize("rtt_ms", [1, 40, 100])
@pytest.mark.parametrize("mbit", [0.1, 20])
@pytest.mark.parametrize("alpha", [0.2, 0.75, 0.95])
def test_a_renewal_has_as_many_tokens_as_guesses_are_right_and_one(
    alpha: float, mbit: float, rtt_ms: float
) -> None:
    """1 / (1 - alpha), whatever is planned; more only where nobody drafted a bonus, which is then no miss."""
    found = flows(
        plans=ALL,
        survives=geometric(alpha),
        compute=COMPUTE,
        link=link(rtt_ms=rtt_ms, mbit=mbit),
        frames=FRAMES,
    )
    assert (found.tokens >= 1 / (1 - alpha) - 1e-9).all()
    without_waiting = np.array([wait == 0 for _, wait in ALL])
    assert found.tokens[without_waiting] == pytest.approx(1 / (1 - alpha))
    assert (found.passes <= found.tokens + 1e-9).all()
    assert (found.drafted > 0).all()


def test_hazards_need_not_be_alike() -> None:
    """survives counts as it is, and goes on behind its end with its last hazards."""
    survives = [1.0, 0.3, *(0.3 * 0.8**k for k in range(1, 5))]  # then 0.8 a token
    expected = 1 + 0.3 / (1 - 0.8)
    one = flow(gamma=8, min_draft=0, survives=survives, compute=COMPUTE, link=link(), frames=FRAMES)
    assert one.tokens == pytest.approx(expected)
    longer = [*survives[:2], *(0.3 * 0.8**k for k in range(1, 40))]
    same = flow(gamma=8, min_draft=0, survives=longer, compute=COMPUTE, link=link(), frames=FRAMES)
    assert same.seconds == pytest.approx(one.seconds)


@pytest.mark.parametrize("wait", [1, 2, 5])
def test_a_draft_that_is_always_wrong_costs_what_can_be_counted(wait: int) -> None:
    """Commit down, min_draft tokens, one message up, a pass; a token every time."""
    one = flow(
        gamma=8, min_draft=wait, survives=[1.0, 0.0], compute=FLAT, link=link(mbit=1e3), frames=NOTHING
    )
    assert one.tokens == pytest.approx(1.0) and one.passes == pytest.approx(1.0)
    assert one.seconds == pytest.approx(10e-3 + wait * 4e-3 + 50e-3, abs=1e-3)


def test_a_bs_that_never_waits_is_the_target_alone_where_drafts_are_wrong() -> None:
    """A pass a token, and none of them longer than it was."""
    one = flow(gamma=16, min_draft=0, survives=[1.0, 0.0], compute=FLAT, link=link(), frames=FRAMES)
    assert one.tokens_per_s == pytest.approx(20.0)
    assert one.passes_per_token == pytest.approx(1.0)


def test_a_draft_that_is_always_right_fills_every_pass() -> None:
    """In 50 ms the device draws 12 tokens of 4 ms, so 12 drafts and a bonus come of each pass."""
    one = flow(
        gamma=32, min_draft=0, survives=[1.0, 1.0], compute=FLAT, link=link(rtt_ms=1), frames=NOTHING
    )
    assert one.tokens_per_s == pytest.approx(12.5 / 50e-3, rel=0.05)
    assert one.drafted_per_token == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize(("gamma", "most"), [(1, 1.0), (2, 1.5), (4, 2.5), (8, 4.5)])
def test_the_window_bounds_what_a_pass_can_have(gamma: int, most: float) -> None:
    """gamma ids beyond the known log: those of the pass under way are among them, so about half are ahead."""
    one = flow(gamma=gamma, min_draft=0, survives=[1.0, 1.0], compute=FLAT, link=link(), frames=NOTHING)
    assert one.tokens_per_s * 50e-3 == pytest.approx(most, rel=0.01)


@pytest.mark.parametrize("rtt_ms", [0, 10, 40, 100])
@pytest.mark.parametrize("alpha", [0.4, 0.8])
def test_more_drafts_never_slow_a_bs_that_does_not_wait(alpha: float, rtt_ms: float) -> None:
    """Where all passes take the same time, a longer window is never slower, nor the target alone faster."""
    plans = tuple((gamma, 0) for gamma in range(1, 17))
    found = flows(
        plans=plans, survives=geometric(alpha), compute=FLAT, link=link(rtt_ms=rtt_ms), frames=FRAMES
    )
    rates = found.tokens_per_s
    assert rates[0] >= 20.0 * (1 - 1e-9)
    assert (np.diff(rates) >= -0.01 * rates[:-1]).all()


@pytest.mark.parametrize("mbit", [0.1, 5])
@pytest.mark.parametrize("gamma", [1, 4, 16])
def test_blocks_are_forecast_as_ever(gamma: int, mbit: float) -> None:
    """min_draft = gamma is the cost model's step, where only ids travel and hazards are alike."""
    for alpha in (0.0, 0.6, 0.9):
        expected = forecast(
            k=1, gamma=gamma, alpha=alpha, compute=COMPUTE, link=link(mbit=mbit), frames=FRAMES
        )
        one = flow(
            gamma=gamma,
            min_draft=gamma,
            survives=geometric(alpha),
            compute=COMPUTE,
            link=link(mbit=mbit),
            frames=FRAMES,
        )
        assert one.tokens_per_s == pytest.approx(expected.tokens_per_s)
        assert (one.passes, one.drafted) == (1.0, gamma)


def test_the_target_alone_is_a_plan_too() -> None:
    """A token a step; where the downlink is slower than that, as many as it carries."""
    for rate, expected in ((20.0, 20.0), (0.02, 20e3 / FRAMES.commit_bits(0))):
        alone = synchronous(
            gamma=0, survives=[1.0], compute=COMPUTE, link=link(mbit=rate), frames=FRAMES
        )
        assert alone.tokens_per_s == pytest.approx(expected)
    slow = flow(
        gamma=4, min_draft=0, survives=geometric(0.5), compute=COMPUTE, link=link(mbit=0.005), frames=FRAMES
    )
    assert slow.passes / slow.seconds <= 5e3 / FRAMES.commit_bits(0) * (1 + 1e-9)


def test_rows_take_their_part_of_a_slow_link() -> None:
    """Every 8th token has a row behind it: ids that share the link with them come later."""
    bare, rows = (
        flow(
            gamma=16,
            min_draft=2,
            survives=geometric(0.8),
            compute=COMPUTE,
            link=link(mbit=0.1),
            frames=FRAMES,
            row_bits=bits,
        )
        for bits in (0.0, 4000.0)
    )
    assert bare.tokens_per_s > rows.tokens_per_s * 1.02


def test_patience_is_when_the_ids_should_be_there() -> None:
    """The round trip, both messages' bits, the token of the old path, those waited for, and a margin."""
    wait = 3
    bits = FRAMES.draft_bits(1, wait) + FRAMES.commit_bits(2)
    expected = 40e-3 + (wait + 1) * 4e-3 + bits / 1e6 + PATIENCE_MARGIN_S
    found = patience_s(
        min_draft=wait, compute=COMPUTE, link=link(rtt_ms=40, mbit=1), frames=FRAMES
    )
    assert found == pytest.approx(expected)


def test_estimates_that_hardly_move_meet_the_same_timeline() -> None:
    """What takes the time is remembered: only the chances are new with every report."""
    for rtt_ms, alpha in ((10.0, 0.6), (10.02, 0.61), (9.99, 0.62)):
        flows(
            plans=ALL, survives=geometric(alpha), compute=COMPUTE, link=link(rtt_ms=rtt_ms), frames=FRAMES
        )
    before = timeline_of.cache_info()
    flows(plans=ALL, survives=geometric(0.5), compute=COMPUTE, link=link(rtt_ms=10.01), frames=FRAMES)
    after = timeline_of.cache_info()
    assert (after.misses, after.hits) == (before.misses, before.hits + 1)


def test_an_unlimited_link_is_a_link() -> None:
    """No bit takes any time then."""
    endless = LinkEstimate(uplink_bps=math.inf, downlink_bps=math.inf, rtt_s=0.0)
    found = flows(
        plans=ALL, survives=geometric(0.7), compute=COMPUTE, link=endless, frames=FRAMES, row_bits=1e4
    )
    assert np.isfinite(found.tokens_per_s).all() and (found.tokens_per_s > 0).all()


@pytest.mark.parametrize(
    ("plan", "survives", "said"),
    [
        ((0, 0), [1.0, 0.5], "gamma is 0"),
        ((4, -1), [1.0, 0.5], "min_draft -1"),
        ((99, 2), [1.0, 0.5], "gamma is 99"),
        ((4, 0), [], "survives begins with"),
        ((4, 0), [0.9, 0.5], "survives begins with"),
        ((4, 0), [1.0, 0.5, 0.6], "survives rises"),
        ((4, 0), [1.0, -0.1], "survives rises"),
        ((4, 0), [1.0, math.nan], "survives rises"),
    ],
)
def test_what_can_t_be_is_refused(plan: tuple[int, int], survives: list[float], said: str) -> None:
    """The field, its value, and what to give."""
    with pytest.raises(ValueError, match=said):
        flows(plans=(plan,), survives=survives, compute=COMPUTE, link=link(), frames=FRAMES)


@pytest.mark.parametrize("alone_s", [1e-9, 1e-4])
def test_a_target_that_is_very_fast_alone_can_be_planned_for(alone_s: float) -> None:
    """Passes without drafts that take next to nothing beside those with some: a rate comes out even then."""
    compute = Compute(draft_step_s=4e-3, target_step_s=50e-3, alone_step_s=alone_s)
    found = flow(
        gamma=4, min_draft=0, survives=geometric(0.7), compute=compute, link=link(), frames=FRAMES
    )
    assert math.isfinite(found.tokens_per_s) and found.tokens_per_s > 0
