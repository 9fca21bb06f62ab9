"""The cost model says what the paper says, and more where the paper is silent."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from draftwire.nodes.speculation.cost import (
    PAPER_FRAMES,
    TIE,
    Compute,
    Forecast,
    Frames,
    LinkEstimate,
    alone_step_seconds,
    as2,
    best_length,
    best_plan,
    draft_cost_of_k,
    forecast,
    forecast_grid,
    full_row_cost,
    speedup,
    stationary_length,
    tokens_per_step,
)

TABLE_I = {
    0.4: {0.01: "4", 0.1: "2", 0.2: "1", 0.4: "1", 0.6: "1*"},
    0.6: {0.01: "7", 0.1: "3", 0.2: "2", 0.4: "1", 0.6: "1*"},
    0.8: {0.01: "14", 0.1: "6", 0.2: "4", 0.4: "2", 0.6: "1"},
}
TABLE_I_CELLS = [(alpha, cost, cell) for alpha, row in TABLE_I.items() for cost, cell in row.items()]
EXACT_TIES = {(0.4, 0.4), (0.6, 0.6)}

alphas = st.floats(0.01, 0.99)
costs = st.floats(0.005, 3.0)


# The paper's model ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "draft_cost", "cell"), TABLE_I_CELLS)
def test_table_i(alpha: float, draft_cost: float, cell: str) -> None:
    """gamma* is the paper's in all 15 cells; starred ones, and exact ties, leave the target alone."""
    gamma = best_length(alpha=alpha, draft_cost=draft_cost)
    assert gamma == int(cell.rstrip("*"))
    alone = cell.endswith("*") or (alpha, draft_cost) in EXACT_TIES
    assert as2(alpha=alpha, draft_cost=draft_cost) == (0 if alone else gamma)


@pytest.mark.parametrize("both", [0.4, 0.6])
def test_exact_ties_are_equal_up_to_the_tolerance(both: float) -> None:
    """At alpha = L one drafted token neither gains nor loses, whatever rounding says."""
    assert abs(speedup(alpha=both, gamma=1, draft_cost=both) - 1) < TIE


@pytest.mark.parametrize(
    ("k", "printed"), [(3, 0.07), (32, 0.0702), (320, 0.0723), (3200, 0.093), (32000, 0.3)]
)
def test_table_ii_draft_cost(k: int, printed: float) -> None:
    """L(K) of the paper's own bytes is Table II's column, to the digits printed."""
    assert draft_cost_of_k(k=k, vocab_size=32000, c=0.07, b_full=0.23) == pytest.approx(printed, abs=5e-5)


def test_full_row_cost_is_the_papers() -> None:
    """32000 probabilities of 16 bits at 50 Mbit/s take 0.23 of a target step of 44.5 ms."""
    b_full = full_row_cost(vocab_size=32000, rate_bps=50e6, target_step_s=0.0445)
    assert b_full == pytest.approx(0.23, abs=5e-4)


@given(alpha=alphas, draft_cost=costs)
def test_theorem_2_finds_what_exhaustive_search_finds(alpha: float, draft_cost: float) -> None:
    """No length from 1 on beats gamma*, and a shorter one that ties loses to it."""
    gamma = best_length(alpha=alpha, draft_cost=draft_cost)
    s = speedup(alpha=alpha, gamma=gamma, draft_cost=draft_cost)
    for other in range(1, 3 * gamma + 10):
        assert speedup(alpha=alpha, gamma=other, draft_cost=draft_cost) <= s * (1 + 2 * TIE)


@given(alpha=alphas, draft_cost=costs, gamma_max=st.integers(1, 12))
def test_a_bound_cuts_the_hill(alpha: float, draft_cost: float, gamma_max: int) -> None:
    """With a bound, the result is the best of 1 .. bound."""
    gamma = best_length(alpha=alpha, draft_cost=draft_cost, gamma_max=gamma_max)
    assert gamma == min(gamma_max, best_length(alpha=alpha, draft_cost=draft_cost))
    best = max(speedup(alpha=alpha, gamma=g, draft_cost=draft_cost) for g in range(1, gamma_max + 1))
    assert speedup(alpha=alpha, gamma=gamma, draft_cost=draft_cost) >= best * (1 - 2 * TIE)


@given(alpha=st.floats(0.001, 0.999), draft_cost=st.floats(1e-9, 0.999))
def test_s_is_flat_at_gamma0(alpha: float, draft_cost: float) -> None:
    """gamma0 solves S' = 0: alpha^(gamma+1) (1 - ln(alpha) (gamma + 1/L)) = 1."""
    gamma0 = stationary_length(alpha=alpha, draft_cost=draft_cost)
    log_alpha = math.log(alpha)
    left = (gamma0 + 1) * log_alpha + math.log1p(-log_alpha * (gamma0 + 1 / draft_cost))
    assert left == pytest.approx(0, abs=1e-9)


@given(alpha=st.floats(0, 1), gamma=st.integers(0, 60))
def test_tokens_per_step_is_the_sum(alpha: float, gamma: int) -> None:
    """The closed form equals 1 + alpha + ... + alpha^gamma, at 0 and 1 as between."""
    assert tokens_per_step(alpha=alpha, gamma=gamma) == pytest.approx(sum(alpha**i for i in range(gamma + 1)))


def test_limits() -> None:
    """The ends of the ranges have the values that approach them."""
    assert speedup(alpha=0.7, gamma=0, draft_cost=0.3) == 1
    assert speedup(alpha=1, gamma=4, draft_cost=0.25) == 2.5
    assert speedup(alpha=0, gamma=4, draft_cost=0.25) == 0.5
    assert tokens_per_step(alpha=1 - 1e-15, gamma=9) == pytest.approx(10)


@pytest.mark.parametrize(
    ("alpha", "draft_cost", "gamma"),
    [(0, 0, 1), (0, 0.1, 1), (0, 5, 1), (1, 1, 1), (1, 5, 1), (0.5, 1, 1), (0.5, 1e6, 1), (1e-300, 1e-3, 1)],
)
def test_where_drafting_hardly_pays_the_length_is_one(alpha: float, draft_cost: float, gamma: int) -> None:
    """Theorem 2's case gamma0 < 1, and every degenerate input that falls or stays flat."""
    assert best_length(alpha=alpha, draft_cost=draft_cost) == gamma
    assert as2(alpha=alpha, draft_cost=draft_cost) == 0 or draft_cost < alpha


@pytest.mark.parametrize("draft_cost", [1e-3, 1e-6, 1e-12, 1e-200])
def test_where_the_argument_of_w_underflows_the_length_is_still_found(draft_cost: float) -> None:
    """alpha^(1/L - 1) is 0 in floating point here; gamma* is still on top of the hill."""
    alpha = 0.1

    def gain(gamma: int) -> float:
        """Sign of S(gamma + 1) - S(gamma), with nothing that rounds away."""
        cost = draft_cost * tokens_per_step(alpha=alpha, gamma=gamma)
        return alpha ** (gamma + 1) * (1 + gamma * draft_cost) / cost - 1

    gamma = best_length(alpha=alpha, draft_cost=draft_cost)
    assert gain(gamma - 2) > 0  # gamma - 1 against gamma may be a tie up to TIE
    assert gain(gamma) <= 1e-9


@pytest.mark.parametrize(("alpha", "draft_cost"), [(1, 0), (1, 0.5), (0.5, 0), (1e-9, 0)])
def test_an_unbounded_length_is_refused_unless_bounded(alpha: float, draft_cost: float) -> None:
    """Where S rises for ever the error names the remedy, and the remedy works."""
    with pytest.raises(ValueError, match="give gamma_max"):
        best_length(alpha=alpha, draft_cost=draft_cost)
    assert best_length(alpha=alpha, draft_cost=draft_cost, gamma_max=16) == 16


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: speedup(alpha=1.5, gamma=1, draft_cost=0.1), "alpha is 1.5"),
        (lambda: speedup(alpha=math.nan, gamma=1, draft_cost=0.1), "alpha is nan"),
        (lambda: speedup(alpha=0.5, gamma=-1, draft_cost=0.1), "gamma is -1"),
        (lambda: speedup(alpha=0.5, gamma=1, draft_cost=-0.1), "draft_cost is -0.1"),
        (lambda: best_length(alpha=0.5, draft_cost=math.inf), "draft_cost is inf"),
        (lambda: best_length(alpha=0.5, draft_cost=0.1, gamma_max=0), "gamma_max is 0"),
        (lambda: draft_cost_of_k(k=0, vocab_size=9, c=0.1, b_full=0.1), "k is 0"),
        (lambda: draft_cost_of_k(k=10, vocab_size=9, c=0.1, b_full=0.1), "k is 10"),
        (lambda: draft_cost_of_k(k=1, vocab_size=9, c=-1, b_full=0.1), "c is -1"),
        (lambda: draft_cost_of_k(k=1, vocab_size=9, c=0.1, b_full=math.nan), "b_full is nan"),
        (lambda: full_row_cost(vocab_size=0, rate_bps=1, target_step_s=1), "vocab_size is 0"),
        (lambda: full_row_cost(vocab_size=9, rate_bps=0, target_step_s=1), "rate_bps is 0"),
        (lambda: full_row_cost(vocab_size=9, rate_bps=1, target_step_s=-1), "target_step_s is -1"),
        (lambda: Compute(draft_step_s=-1, target_step_s=1), "draft_step_s is -1"),
        (lambda: Compute(draft_step_s=0, target_step_s=0), "target_step_s is 0"),
        (lambda: Compute(draft_step_s=0, target_step_s=1, alone_step_s=0), "alone_step_s is 0"),
        (lambda: LinkEstimate(uplink_bps=0, downlink_bps=1, rtt_s=0), "uplink_bps is 0"),
        (lambda: LinkEstimate(uplink_bps=1, downlink_bps=1, rtt_s=-1), "rtt_s is -1"),
        (lambda: plan({}, [1]), "alphas is {}"),
        (lambda: plan({3: 0.5}, []), r"gammas is \[\]"),
        (lambda: plan({3: 0.5}, [0]), "gamma is 0"),
        (lambda: plan({0: 0.5}, [1]), "k is 0"),
        (lambda: plan({3: 2.0}, [1]), "alpha is 2.0"),
        (lambda: grid({}, [1]), "alphas is {}"),
        (lambda: grid({3: 0.5}, []), r"gammas is \[\]"),
    ],
)
def test_errors_name_field_and_value(call: Callable[[], object], field: str) -> None:
    """A value out of range is a ValueError that names it and says what to give."""
    with pytest.raises(ValueError, match=f"{field}: give"):
        call()


# True cost --------------------------------------------------------------------------------------------------

COMPUTE = Compute(draft_step_s=0.0031, target_step_s=0.0445, target_per_token_s=0.000445, overhead_s=0.0005)
LINK = LinkEstimate(uplink_bps=1e6, downlink_bps=2e6, rtt_s=0.01)
FRAMES = Frames(
    draft_bits=lambda k, gamma: 800 + 39 * gamma,
    rows_bits=lambda k, n: n * (7 * k + 400),
    commit_bits=lambda gamma: 800,
)


def plan(ladder: dict[int, float], gammas: list[int]) -> Forecast:
    return best_plan(alphas=ladder, gammas=gammas, compute=COMPUTE, link=LINK, frames=FRAMES)


def grid(ladder: dict[int, float], gammas: list[int]) -> object:
    return forecast_grid(alphas=ladder, gammas=gammas, compute=COMPUTE, link=LINK, frames=FRAMES)


def step_by_the_book(k: int, gamma: int, alpha: float, link: LinkEstimate) -> float:
    """The formula, term by term, in plain Python."""
    target_s = 0.0445 + 0.000445 * gamma
    wait_s = sum(
        alpha ** (j - 1) * (1 - alpha) * max(0, j * (7 * k + 400) / link.uplink_bps - target_s)
        for j in range(1, gamma + 1)
    )
    draft_bits = 800 + 39 * gamma
    step_s = gamma * 0.0031 + draft_bits / link.uplink_bps + 800 / link.downlink_bps
    step_s += link.rtt_s + target_s + 0.0005 + wait_s
    return max(step_s, (draft_bits + gamma * (7 * k + 400)) / link.uplink_bps)


ladders = st.dictionaries(st.integers(1, 4000), st.floats(0, 1), min_size=1, max_size=5)
links = st.builds(
    LinkEstimate,
    uplink_bps=st.floats(1e4, 1e9),
    downlink_bps=st.floats(1e4, 1e9),
    rtt_s=st.floats(0, 0.3),
)


@given(k=st.integers(1, 4000), gamma=st.integers(1, 20), alpha=st.floats(0, 1), link=links)
def test_a_step_takes_what_the_formula_says(k: int, gamma: int, alpha: float, link: LinkEstimate) -> None:
    """The vectorised step time equals the formula written out."""
    one = forecast(k=k, gamma=gamma, alpha=alpha, compute=COMPUTE, link=link, frames=FRAMES)
    assert one.step_s == pytest.approx(step_by_the_book(k, gamma, alpha, link))
    assert one.tokens_per_step == pytest.approx(tokens_per_step(alpha=alpha, gamma=gamma))
    assert one.tokens_per_s == pytest.approx(one.tokens_per_step / one.step_s)


@given(ladder=ladders, link=links)
def test_best_plan_is_the_best_of_all(ladder: dict[int, float], link: LinkEstimate) -> None:
    """No (K, gamma) of the ladders, nor the target alone, makes more tokens a second."""
    best = best_plan(alphas=ladder, gammas=range(1, 9), compute=COMPUTE, link=link, frames=FRAMES)
    for k, alpha in ladder.items():
        for gamma in range(9):
            one = forecast(k=k, gamma=gamma, alpha=alpha, compute=COMPUTE, link=link, frames=FRAMES)
            assert one.tokens_per_s <= best.tokens_per_s * (1 + 2 * TIE)
    assert best.speedup >= 1 and best.k in ladder


@given(alpha=alphas, c=st.floats(0, 0.5), k=st.integers(1, 32000), rate_bps=st.floats(1e6, 1e9))
def test_equation_21_is_the_special_case(alpha: float, c: float, k: int, rate_bps: float) -> None:
    """With the paper's frames, no round trip and a constant step, the best plan is Theorem 2's with AS2."""
    target_s = 0.0445
    b_full = full_row_cost(vocab_size=32000, rate_bps=rate_bps, target_step_s=target_s)
    draft_cost = draft_cost_of_k(k=k, vocab_size=32000, c=c, b_full=b_full)
    best = best_plan(
        alphas={k: alpha},
        gammas=range(1, 17),
        compute=Compute(draft_step_s=c * target_s, target_step_s=target_s),
        link=LinkEstimate(uplink_bps=rate_bps, downlink_bps=math.inf, rtt_s=0),
        frames=PAPER_FRAMES,
    )
    gamma = as2(alpha=alpha, draft_cost=draft_cost, gamma_max=16)
    s = max(1.0, speedup(alpha=alpha, gamma=gamma, draft_cost=draft_cost))
    assume(abs(s - 1) > 1e-9 or gamma == best.gamma)  # at S = 1 both answers are right
    assert best.gamma == gamma
    assert best.speedup == pytest.approx(s)


@given(ladder=ladders, link=links, together=st.booleans())
def test_the_grid_is_every_forecast(ladder: dict[int, float], link: LinkEstimate, together: bool) -> None:
    """Rows in the order of the ladder given, columns in that of the lengths, each as `forecast` has it."""
    frames, gammas = replace(FRAMES, rows_in_one=together), (3, 1, 8)
    tokens, seconds = forecast_grid(alphas=ladder, gammas=gammas, compute=COMPUTE, link=link, frames=frames)
    assert tokens.shape == seconds.shape == (len(ladder), 3)
    for row, (k, alpha) in enumerate(ladder.items()):
        for column, gamma in enumerate(gammas):
            one = forecast(k=k, gamma=gamma, alpha=alpha, compute=COMPUTE, link=link, frames=frames)
            assert tokens[row, column] == pytest.approx(one.tokens_per_step)
            assert seconds[row, column] == pytest.approx(one.step_s)


@given(ladder=ladders, link=links, faster=st.floats(1, 1e3), together=st.booleans())
def test_more_rate_is_never_slower(
    ladder: dict[int, float], link: LinkEstimate, faster: float, together: bool
) -> None:
    """Neither the best plan nor any other makes fewer tokens a second when either direction gets faster."""
    frames, gammas = replace(FRAMES, rows_in_one=together), range(1, 17)
    for changed in (
        replace(link, uplink_bps=faster * link.uplink_bps),
        replace(link, downlink_bps=faster * link.downlink_bps),
    ):
        speeds, bests = [], []
        for one in (link, changed):
            tokens, seconds = forecast_grid(
                alphas=ladder, gammas=gammas, compute=COMPUTE, link=one, frames=frames
            )
            speeds.append(tokens / seconds)
            bests.append(
                best_plan(alphas=ladder, gammas=gammas, compute=COMPUTE, link=one, frames=frames).tokens_per_s
            )
        assert (speeds[1] >= speeds[0] * (1 - 1e-12)).all()
        assert bests[1] >= bests[0] * (1 - 1e-12)


def test_rows_travel_behind_the_step() -> None:
    """Rows that arrive during the target's step cost nothing; later ones cost their rejection's wait."""
    none = Frames(draft_bits=FRAMES.draft_bits, rows_bits=lambda k, n: 0, commit_bits=FRAMES.commit_bits)
    for k, is_free in ((100, True), (20_000, False)):
        free, real = (
            forecast(k=k, gamma=4, alpha=0.5, compute=COMPUTE, link=LINK, frames=frames)
            for frames in (none, FRAMES)
        )
        assert (real.step_s == free.step_s) is is_free


def test_one_message_of_rows_is_there_when_its_last_row_is() -> None:
    """Rows in one message: even a rejection at the first token waits for the whole message."""
    together = replace(FRAMES, rows_in_one=True)
    for alpha in (0.0, 0.2):
        one = forecast(k=20_000, gamma=2, alpha=alpha, compute=COMPUTE, link=LINK, frames=together)
        wait_s = (1 - alpha**2) * (2 * (7 * 20_000 + 400) / 1e6 - (0.0445 + 2 * 0.000445))
        base_s = 2 * 0.0031 + (800 + 39 * 2) / 1e6 + 800 / 2e6 + 0.01 + 0.0445 + 2 * 0.000445 + 0.0005
        assert one.step_s == pytest.approx(base_s + wait_s)


def test_no_step_is_shorter_than_what_it_sends() -> None:
    """At alpha = 1 no row is ever needed, yet the uplink has to carry them all."""
    one = forecast(k=20_000, gamma=4, alpha=1, compute=COMPUTE, link=LINK, frames=FRAMES)
    assert one.step_s == pytest.approx((800 + 39 * 4 + 4 * (7 * 20_000 + 400)) / 1e6)


def test_the_target_alone_streams() -> None:
    """Alone, a token costs a target step, or its message where the downlink is slower; never a round trip."""
    assert alone_step_seconds(compute=COMPUTE, link=LINK, frames=FRAMES) == 0.0445
    slow = LinkEstimate(uplink_bps=1e6, downlink_bps=8000, rtt_s=1)
    assert alone_step_seconds(compute=COMPUTE, link=slow, frames=FRAMES) == 0.1
    far = LinkEstimate(uplink_bps=1e6, downlink_bps=1e6, rtt_s=1)
    best = best_plan(alphas={3: 0.5, 8: 0.6}, gammas=[1, 2], compute=COMPUTE, link=far, frames=FRAMES)
    assert (best.gamma, best.k, best.speedup) == (0, 8, 1)
    quick = replace(COMPUTE, alone_step_s=0.03)  # kernels for one row are often faster
    assert alone_step_seconds(compute=quick, link=LINK, frames=FRAMES) == 0.03


def test_ties_cost_few_bits_and_draft_long() -> None:
    """Equal speed: the smaller K, then the longer draft, and the target alone before any draft."""
    free = LinkEstimate(uplink_bps=math.inf, downlink_bps=math.inf, rtt_s=0)
    flat = Compute(draft_step_s=0.02, target_step_s=0.04)  # L = 0.5; S(1) = S(2) where 1 + a = 3 a^2
    alpha = (1 + math.sqrt(13)) / 6
    tied = best_plan(alphas={8: alpha, 3: alpha}, gammas=[2, 1], compute=flat, link=free, frames=FRAMES)
    assert (tied.k, tied.gamma) == (3, 2)
    assert best_plan(alphas={3: 0.5}, gammas=[1], compute=flat, link=free, frames=FRAMES).gamma == 0
