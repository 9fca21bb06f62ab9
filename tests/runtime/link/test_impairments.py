"""What befalls messages, against theory: shares, bursts, distributions, correlation, repairs."""

import math
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, special, stats
from tests.harness.radio import specs, streams

from draftwire.runtime.link import BurstLoss, Distribution, LinkSpec, RandomLoss, Streams
from draftwire.runtime.link.impairments import (
    CUT,
    MAX_TRIES,
    PARETO_DEVIATION,
    PARETO_MEAN,
    PARETONORMAL_DEVIATION,
    PARETONORMAL_MEAN,
    Draws,
    Fate,
)
from draftwire.runtime.link.streams import spread

JITTERY = LinkSpec(delay_s=1.0, jitter_s=1.0)
STREAMS = ("jitter", "loss", "retransmission", "duplicate", "corrupt", "reorder")


def _fates(spec: LinkSpec, count: int, *, seed: int = 1, size_bytes: int = 100) -> list[Fate]:
    draws = Draws(streams(seed))
    return [draws.next(spec, size_bytes) for _ in range(count)]


def _share(values: list[bool]) -> float:
    return sum(values) / len(values)


# The distributions of jitter


def _pareto(u: float) -> float:
    return min(CUT, (float(stats.pareto.ppf(u, b=3)) - 1.5) * 4 / 3)


def _normal(u: float) -> float:
    return min(CUT, max(-CUT, float(special.ndtri(u))))


QUANTILES: dict[Distribution, Callable[[float], float]] = {
    Distribution.UNIFORM: lambda u: 2 * u - 1,
    Distribution.NORMAL: _normal,
    Distribution.PARETO: lambda u: (_pareto(u) - PARETO_MEAN) / PARETO_DEVIATION,
    Distribution.PARETONORMAL: lambda u: (
        (_normal(u) / 4 + 3 * _pareto(u) / 4 - PARETONORMAL_MEAN) / PARETONORMAL_DEVIATION
    ),
}


@pytest.mark.parametrize("distribution", Distribution)
@pytest.mark.parametrize("correlation", [0.0, 0.5])
@pytest.mark.parametrize("copies", [False, True])
def test_jitter_has_the_distribution_it_names(
    distribution: Distribution, correlation: float, copies: bool
) -> None:
    """Kolmogorov and Smirnov find no fault with 20,000 of any distribution, correlated or not, nor copies."""
    spec = replace(JITTERY, distribution=distribution, jitter_correlation=correlation, duplicate=1.0)
    jitters = [fate.copy_jitter if copies else fate.jitter for fate in _fates(spec, 20_000)]
    # Of a chain, every 20th: they are independent, to 0.5^20.
    values = np.array(jitters if not correlation else jitters[::20])
    most = math.sqrt(math.log(2 / 1e-4) / (2 * len(values)))  # Dvoretzky, Kiefer, Wolfowitz and Massart
    for u in np.linspace(0.005, 0.985, 50):
        assert abs(np.mean(values <= QUANTILES[distribution](u)) - u) < most, u


@pytest.mark.parametrize(
    ("distribution", "deviation"),
    [
        (Distribution.UNIFORM, 1 / math.sqrt(3)),
        (Distribution.NORMAL, 1.0),
        (Distribution.PARETO, 1.0),
        (Distribution.PARETONORMAL, 1.0),
    ],
)
def test_jitter_has_mean_0_and_the_deviation_it_names(distribution: Distribution, deviation: float) -> None:
    """By quadrature of the quantiles, so the constants are right; `uniform` apart, jitter is a deviation."""
    quantile, kinks = QUANTILES[distribution], (special.ndtr(-CUT), 1 - 4.5**-3, special.ndtr(CUT))
    mean, _ = integrate.quad(quantile, 0, 1, points=kinks, limit=200)
    square, _ = integrate.quad(lambda u: quantile(u) ** 2, 0, 1, points=kinks, limit=200)
    assert mean == pytest.approx(0.0, abs=1e-7)
    assert math.sqrt(square) == pytest.approx(deviation, rel=1e-4)  # normal is cut off and not scaled up


@pytest.mark.parametrize("distribution", Distribution)
def test_jitter_has_the_least_and_the_most_of_netems_tables(distribution: Distribution) -> None:
    """Whatever number is drawn, the least and the greatest one too, jitter is finite and within the cut."""
    low = -CUT / 4 + 3 / 4 * -2 / 3
    ends = tuple(_jitter_of_number(number, distribution) for number in (0.0, 1 - 2.0**-53))
    expected = {
        Distribution.UNIFORM: (-1.0, 1.0),
        Distribution.NORMAL: (-CUT, CUT),
        Distribution.PARETO: tuple((x - PARETO_MEAN) / PARETO_DEVIATION for x in (-2 / 3, CUT)),
        Distribution.PARETONORMAL: tuple(
            (x - PARETONORMAL_MEAN) / PARETONORMAL_DEVIATION for x in (low, CUT)
        ),
    }
    assert ends == pytest.approx(expected[distribution])


class _Always:
    """A source of one number."""

    def __init__(self, number: float) -> None:
        self.number = number

    def random(self) -> float:
        """That one."""
        return self.number


def _jitter_of_number(number: float, distribution: Distribution) -> float:
    source = _Always(number)
    draws = Draws(Streams(**dict.fromkeys(STREAMS, source), fading=1))
    plain = replace(JITTERY, distribution=distribution)
    first = draws.next(plain, 1).jitter
    for _ in range(100):
        assert math.isfinite(draws.next(replace(plain, jitter_correlation=0.5), 1).jitter)
    return first


# Correlation


def _rank_correlation(values: NDArray[np.float64]) -> float:
    return float(stats.spearmanr(values[:-1], values[1:]).statistic)


@pytest.mark.parametrize("correlation", [0.0, 0.25, 0.9])
def test_jitter_is_correlated_as_a_gaussian_copula(correlation: float) -> None:
    """The rank correlation of neighbours is 6 / pi asin(correlation / 2), whatever the distribution, and a
    message's with its copy's too.
    """
    for distribution in (Distribution.UNIFORM, Distribution.PARETO):
        spec = replace(
            JITTERY, distribution=distribution, jitter_correlation=correlation, duplicate=1.0
        )
        fates = _fates(spec, 20_000)
        jitters = np.array([fate.jitter for fate in fates])
        expected = 6 / math.pi * math.asin(correlation / 2)
        assert _rank_correlation(jitters) == pytest.approx(expected, abs=0.025)
        copies = [fate.copy_jitter for fate in fates]
        assert stats.spearmanr(jitters, copies).statistic == pytest.approx(expected, abs=0.025)


@pytest.mark.parametrize("correlation", [0.0, 0.25, 0.75])
def test_correlation_leaves_shares_alone_and_makes_runs(correlation: float) -> None:
    """5 % stay 5 % however correlated (netem's filter makes 0.2 % of them), and two in a row have the
    probability of the bivariate normal law.
    """
    spec = LinkSpec(
        delay_s=1.0,
        loss=RandomLoss(share=0.05, correlation=correlation),
        duplicate=0.05,
        duplicate_correlation=correlation,
        corrupt=0.05,
        corrupt_correlation=correlation,
        reorder=0.05,
        reorder_correlation=correlation,
    )
    fates = _fates(spec, 40_000)
    edge = special.ndtri(0.05)
    both = float(stats.multivariate_normal.cdf([edge, edge], cov=[[1, correlation], [correlation, 1]]))
    for events in (
        [fate.lost for fate in fates],
        [fate.copied for fate in fates],
        [fate.flipped_bit is not None for fate in fates],
        [fate.overtakes for fate in fates],
    ):
        assert _share(events) == pytest.approx(0.05, abs=0.008)
        in_a_row = _share([a and b for a, b in pairwise(events)])
        assert in_a_row == pytest.approx(both, abs=0.15 * both + 0.0015)


def test_correlation_that_begins_goes_on_from_the_last_number() -> None:
    """What was drawn before a link was correlated counts: the first correlated jitter knows the last one."""
    pairs = []
    for seed in range(400):
        draws = Draws(streams(seed))
        before = draws.next(JITTERY, 1).jitter
        pairs.append((before, draws.next(replace(JITTERY, jitter_correlation=0.9), 1).jitter))
    assert stats.spearmanr(pairs).statistic == pytest.approx(0.89, abs=0.06)


# Loss


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 1.0])
def test_random_loss_has_its_share(share: float) -> None:
    """So many messages are lost, none at 0 % and all at 100 %."""
    lost = _share([fate.lost for fate in _fates(LinkSpec(loss=RandomLoss(share=share)), 20_000)])
    assert lost == pytest.approx(share, abs=4.5 * math.sqrt(share * (1 - share) / 20_000))


def test_burst_loss_takes_its_states_in_netems_order() -> None:
    """A message is lost by the state it finds, the first one the good state, and then the state moves on."""
    swapping = BurstLoss(to_bad=1.0, to_good=1.0)
    assert [fate.lost for fate in _fates(LinkSpec(loss=swapping), 5)] == [False, True, False, True, False]
    inverse = replace(swapping, bad_loss=0.0, good_loss=1.0)
    assert [fate.lost for fate in _fates(LinkSpec(loss=inverse), 4)] == [True, False, True, False]
    stuck = BurstLoss(to_bad=1.0, to_good=0.0)
    assert [fate.lost for fate in _fates(LinkSpec(loss=stuck), 4)] == [False, True, True, True]


def test_burst_loss_has_the_share_and_the_bursts_of_the_chain() -> None:
    """The stationary share of the bad state is p / (p + r), a burst is 1 / r long and a gap 1 / p."""
    loss = BurstLoss(to_bad=0.02, to_good=0.2)
    lost = [fate.lost for fate in _fates(LinkSpec(loss=loss), 60_000)]
    assert _share(lost) == pytest.approx(0.02 / 0.22, rel=0.06)
    runs = [(is_lost, len(list(run))) for is_lost, run in groupby(lost)]
    assert np.mean([length for is_lost, length in runs if is_lost]) == pytest.approx(1 / 0.2, rel=0.06)
    assert np.mean([length for is_lost, length in runs if not is_lost]) == pytest.approx(1 / 0.02, rel=0.06)


def test_burst_loss_mixes_the_losses_of_both_states() -> None:
    """With losses in both states the share is their mean, weighed by the time in each."""
    loss = BurstLoss(to_bad=0.1, to_good=0.3, bad_loss=0.6, good_loss=0.02)
    lost = [fate.lost for fate in _fates(LinkSpec(loss=loss), 40_000)]
    assert _share(lost) == pytest.approx(0.25 * 0.6 + 0.75 * 0.02, rel=0.05)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_repairs_take_as_many_tries_as_a_coin(share: float) -> None:
    """With `arq` a message is lost share / (1 - share) times on average, geometrically, never for ever."""
    fates = _fates(LinkSpec(loss=RandomLoss(share=share), arq_s=0.01), 20_000)
    losses = np.array([fate.losses for fate in fates])
    assert not any(fate.lost for fate in fates)
    mean, variance = share / (1 - share), share / (1 - share) ** 2
    assert losses.mean() == pytest.approx(mean, abs=4.5 * math.sqrt(variance / len(losses)))
    assert np.mean(losses == 0) == pytest.approx(1 - share, abs=0.02)
    assert losses.var() == pytest.approx(variance, rel=0.1)


def test_repairs_of_burst_loss_wait_for_the_good_state() -> None:
    """In a bad state that loses everything, a message is repeated until the state ends: 1 / r tries."""
    fates = _fates(LinkSpec(loss=BurstLoss(to_bad=0.3, to_good=0.25), arq_s=0.01), 20_000)
    # The first loss has moved the state on already: 1 + (1 - r) / r losses of those that are lost at all.
    assert np.mean([fate.losses for fate in fates if fate.losses]) == pytest.approx(1 / 0.25, rel=0.04)


def test_repairs_of_correlated_loss_go_on_from_the_loss() -> None:
    """A correlated loss is followed by correlated tries, so repairs take longer than by a coin."""

    def losses(correlation: float) -> float:
        loss = RandomLoss(share=0.3, correlation=correlation)
        return float(np.mean([fate.losses for fate in _fates(LinkSpec(loss=loss, arq_s=0.0), 10_000)]))

    assert losses(0.0) == pytest.approx(3 / 7, abs=0.03)
    assert losses(0.9) > 1.0


def test_a_message_is_given_up_behind_so_many_tries() -> None:
    """Where hardly anything comes through, a message is sent a thousand times and then lost."""
    (fate,) = _fates(LinkSpec(loss=RandomLoss(share=1 - 1e-12), arq_s=0.01), 1)
    assert (fate.lost, fate.losses) == (True, MAX_TRIES - 1)


def test_repairing_does_not_change_who_is_hit() -> None:
    """The messages that need repairs with `arq` are those that are lost without."""
    for loss in (RandomLoss(share=0.2, correlation=0.5), BurstLoss(to_bad=0.1, to_good=0.3, good_loss=0.05)):
        lost = [fate.lost for fate in _fates(LinkSpec(loss=loss), 2000)]
        assert lost == [fate.losses > 0 for fate in _fates(LinkSpec(loss=loss, arq_s=0.01), 2000)]


# The others


def test_copies_and_damage_have_their_shares() -> None:
    """So many messages arrive twice, or with one bit flipped, any bit of it."""
    fates = _fates(LinkSpec(duplicate=0.3, corrupt=0.1), 20_000, size_bytes=10)
    assert _share([fate.copied for fate in fates]) == pytest.approx(0.3, abs=0.015)
    bits = [fate.flipped_bit for fate in fates if fate.flipped_bit is not None]
    assert len(bits) / len(fates) == pytest.approx(0.1, abs=0.01)
    assert stats.chisquare(np.bincount(bits, minlength=80)).pvalue > 1e-4


def test_overtaking_has_its_share_of_the_candidates() -> None:
    """Without a gap a share of all messages overtakes; with `gap 4` only ones behind three that did not."""
    spec = LinkSpec(delay_s=1.0, reorder=0.3)
    assert _share([fate.overtakes for fate in _fates(spec, 20_000)]) == pytest.approx(0.3, abs=0.015)
    overtakes = [fate.overtakes for fate in _fates(replace(spec, reorder_gap=4), 20_000)]
    between = [len(list(run)) for overtaking, run in groupby(overtakes) if not overtaking]
    assert min(between) == 3
    assert _share(overtakes) == pytest.approx(1 / (3 + 1 / 0.3), rel=0.03)


def test_nothing_befalls_at_0_and_all_does_at_100_percent() -> None:
    """Whatever number is drawn, the least and the greatest one too, a share of 0 is never and 1 is always."""
    for number in (0.0, 1 - 2.0**-53):
        draws = Draws(Streams(**dict.fromkeys(STREAMS, _Always(number)), fading=1))
        never, always = LinkSpec(loss=RandomLoss(share=0.0)), LinkSpec(
            delay_s=1.0, loss=RandomLoss(share=1.0), duplicate=1.0, corrupt=1.0, reorder=1.0
        )
        fate = draws.next(never, 3)
        assert not (fate.lost or fate.copied or fate.overtakes or fate.flipped_bit is not None)
        fate = draws.next(always, 3)
        assert fate.lost and fate.copied and fate.overtakes
        assert fate.flipped_bit == (23 if number else 0)


# Streams


@settings(max_examples=50)
@given(specs(), specs(), st.integers(0, 2**20))
def test_no_impairment_shifts_another(spec: LinkSpec, other: LinkSpec, seed: int) -> None:
    """Whatever else two links do, what they do alike befalls the same messages in the same way."""
    jitter = ("distribution", "jitter_correlation")
    parts: list[tuple[tuple[str, ...], Callable[[Fate], object]]] = [
        (jitter, lambda fate: fate.jitter),
        (("loss", "arq_s"), lambda fate: (fate.lost, fate.losses)),
        (("duplicate", "duplicate_correlation"), lambda fate: fate.copied),
        ((*jitter, "duplicate", "duplicate_correlation"), lambda fate: fate.copy_jitter),
        (("corrupt", "corrupt_correlation"), lambda fate: fate.flipped_bit),
        (("reorder", "reorder_correlation", "reorder_gap"), lambda fate: fate.overtakes),
    ]
    for names, part in parts:
        delay_s = max(spec.delay_s, other.delay_s)  # which some of these need
        alike = replace(other, delay_s=delay_s, **{name: getattr(spec, name) for name in names})
        left, right = _fates(spec, 30, seed=seed), _fates(alike, 30, seed=seed)
        assert [part(fate) for fate in left] == [part(fate) for fate in right], names


class _Counted(random.Random):
    """Counts what was taken."""

    taken = 0

    def random(self) -> float:
        """The next number."""
        self.taken += 1
        return super().random()


@settings(max_examples=50)
@given(specs())
def test_every_message_takes_the_same_count_of_numbers(spec: LinkSpec) -> None:
    """From each stream, whatever the link is: the n-th message meets the same numbers on every link."""
    sources = {name: _Counted(name) for name in STREAMS}
    draws = Draws(Streams(**sources, fading=1))
    for number in range(1, 11):
        draws.next(spec, number)
        assert [sources[name].taken / number for name in STREAMS] == [2, 2, 1, 1, 2, 1]


def test_numbers_spread_from_one_are_uniform_and_its_own() -> None:
    """Streams made of one number each are uniform, and those of neighbours have nothing in common."""
    rows = np.array([[next(source) for _ in range(20)] for source in map(spread, _grid(2000))])
    assert stats.kstest(rows.ravel(), "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(rows[:-1, 0], rows[1:, 0])[0, 1]) < 0.1
    assert abs(np.corrcoef(rows[:, 0], rows[:, 1])[0, 1]) < 0.1
    assert 0 <= rows.min() and rows.max() < 1


def _grid(count: int) -> list[float]:
    return [number * 2.0**-53 for number in range(count)]
