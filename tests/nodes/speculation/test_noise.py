"""Noise: each outcome has its probability, each key its own numbers, the same on every machine."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, product
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, chisquare, kstest

from draftwire.codecs.weights import WEIGHT_SUM
from draftwire.nodes.speculation.noise import NOISE_VERSION, Key, PhiloxNoise, Purpose, _log_uniforms

NOISE = PhiloxNoise()
KEYS = [
    Key(0, 0, 0, Purpose.DRAFT),
    Key(1, 1, 5, Purpose.ACCEPT),
    Key(20251125, 7, 1000, Purpose.DRAFT),
    Key(2**64 - 1, 2**32 - 1, 2**32 - 1, Purpose.TARGET),
]

# --------------------------------------------------------------------------- the same on every machine

MASK = 2**64 - 1


def philox(key: Key, count: int) -> list[int]:
    """Philox 4x64 with 10 rounds, as its authors write it; the counter's first word begins at 1."""
    words: list[int] = []
    for draw in range(1, 2 + count // 4):
        c = [draw, key.position, 0, 0]
        k = [key.seed, key.purpose << 32 | key.draft_epoch]
        for _ in range(10):
            a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
            c = [b >> 64 ^ c[1] ^ k[0], b & MASK, a >> 64 ^ c[3] ^ k[1], a & MASK]
            k = [k[0] + 0x9E3779B97F4A7C15 & MASK, k[1] + 0xBB67AE8584CAA73B & MASK]
        words += c
    return words[:count]


def splitmix(start: int, number: int) -> int:
    """The output of this number, from 0, of SplitMix64 as its authors write it, its state first `start`."""
    z = start + (number + 1) * 0x9E3779B97F4A7C15 & MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def race(key: Key, masses: Sequence[float], ids: Sequence[int]) -> int:
    """The index that wins: the least exponential over its mass, in plain Python."""
    uniforms = [((splitmix(philox(key, 1)[0], x) >> 11) + 0.5) * 2.0**-53 for x in ids]
    times = {i: -log(u) / mass for i, (u, mass) in enumerate(zip(uniforms, masses, strict=True)) if mass}
    return min(times, key=lambda i: times[i])


def uniform(key: Key) -> int:
    """The key's u times 2**53, found by asking for acceptances at q = 1."""
    low, high = 0, 2**53
    while high - low > 1:
        middle = (low + high) // 2
        if NOISE.accepts(key, middle * 2.0**-53, WEIGHT_SUM):
            high = middle
        else:
            low = middle
    return low


def test_golden_words() -> None:
    """The word of four keys, as noise version 2 has them: another number is another version."""
    assert NOISE_VERSION == 2
    assert [philox(key, 1)[0] for key in KEYS] == [
        0x68F2A1CB1907A6F3,
        0x13246B1363B2C09C,
        0xD63A366BF74875A6,
        0x70A0B11C62961C3D,
    ]


def test_golden_outcomes() -> None:
    """Drawn ids and verdicts of consecutive positions, as noise version 2 has them."""
    weights = np.array([1, 2**23, 2**23 - 1])
    drafted = [NOISE.draw_weights(Key(3, 1, i, Purpose.DRAFT), weights) for i in range(24)]
    accepted = [NOISE.accepts(Key(3, 1, i, Purpose.ACCEPT), 0.25, 2**23) for i in range(16)]
    drawn = [NOISE.draw_masses(Key(3, 0, i, Purpose.TARGET), np.arange(1.0, 8.0)) for i in range(24)]
    assert drafted == [1, 1, 2, 2, 2, 2, 1, 1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 2, 2, 1, 1, 1, 1, 1]
    assert [int(a) for a in accepted] == [1, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 0, 1, 0, 0]
    assert drawn == [3, 6, 6, 1, 6, 6, 5, 2, 3, 2, 5, 1, 3, 6, 6, 5, 5, 2, 6, 6, 6, 2, 6, 4]


@pytest.mark.parametrize("key", KEYS)
def test_numbers_are_those_of_a_second_implementation(key: Key) -> None:
    """Ticket, u and race of a key follow from Philox as published, written down a second time."""
    word = philox(key, 1)[0]
    assert uniform(key) == word >> 11
    ticket = word >> 40
    weights = np.array([ticket + 1, WEIGHT_SUM - ticket - 1])
    assert NOISE.draw_weights(key, weights) == 0
    assert NOISE.draw_weights(key, weights + np.array([-1, 1])) == 1
    for masses in (np.arange(1.0, 10.0), np.ones(3000), np.geomspace(1e-12, 1.0, 50)):
        assert NOISE.draw_masses(key, masses) == race(key, masses.tolist(), range(len(masses)))


def test_splitmix_is_the_published_one() -> None:
    """The first outputs from state 1234567, as its reference implementation prints them."""
    assert [splitmix(1234567, number) for number in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


@given(st.integers(0, MASK), st.integers(0, 2**32 - 1), st.data())
def test_an_id_has_its_number_whoever_else_is_asked(seed: int, position: int, data: st.DataObject) -> None:
    """Some ids in any order, however far apart: each races with the exponential that it has among all V."""
    ids = data.draw(st.lists(st.integers(0, 2**18 - 1), min_size=1, max_size=8, unique=True))
    masses = data.draw(st.lists(st.floats(1e-6, 1.0), min_size=len(ids), max_size=len(ids)))
    key = Key(seed, 0, position, Purpose.TARGET)
    assert NOISE.draw_masses(key, np.array(masses), np.array(ids)) == race(key, masses, ids)


@pytest.mark.parametrize("count", [1, 16383, 16384, 16385, 49152])
def test_all_ids_and_ids_by_name_are_the_same(count: int) -> None:
    """Made in pieces or one by one, backwards too: the winner among all ids wins among the same by name."""
    masses = np.random.default_rng(count).dirichlet(np.full(count, 0.2))
    ids = np.arange(count)
    for position in range(8):
        key = Key(5, 0, position, Purpose.TARGET)
        winner = NOISE.draw_masses(key, masses)
        assert NOISE.draw_masses(key, masses, ids) == winner
        assert NOISE.draw_masses(key, masses[::-1], ids[::-1]) == count - 1 - winner
        some = np.unique(np.append(ids[:: max(1, count // 50)], winner))
        assert some[NOISE.draw_masses(key, masses[some], some)] == winner


def test_keys_never_share_numbers() -> None:
    """Seeds, epochs, positions and purposes, also where their bits could be taken for each other's."""
    numbers = (0, 1, 2, 2**31, 2**32 - 1)
    keys = [
        Key(seed, epoch, position, purpose)
        for seed, epoch, position, purpose in product(
            (0, 1, 2**32, 2**32 + 1, 2**64 - 1), numbers, numbers, Purpose
        )
    ]
    assert len({uniform(key) for key in keys}) == len(keys)


def test_a_key_has_the_same_numbers_whenever_it_is_asked() -> None:
    """Nothing is remembered: the order of questions does not count."""
    masses = np.ones(50)
    once = [NOISE.draw_masses(key, masses) for key in KEYS]
    assert [PhiloxNoise().draw_masses(key, masses) for key in reversed(KEYS)] == once[::-1]


# --------------------------------------------------------------------------------- the right probability


def force(monkeypatch: pytest.MonkeyPatch, word: int) -> None:
    """Every key now has this word."""

    monkeypatch.setattr("draftwire.nodes.speculation.noise._word", lambda key: word)


def test_draw_weights_is_exact_at_every_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the 2**24 tickets the first weights[0] mean index 0, and so on; lower bits do not count."""
    weights = np.array([1, 1, 7, 2**20, 3, 2**23])
    weights = np.append(weights, WEIGHT_SUM - weights.sum())
    edges = np.cumsum(weights)
    for i, (last, weight) in enumerate(zip(edges - 1, weights, strict=True)):
        for ticket in (int(last - weight + 1), int(last)):
            for lower in (0, 2**40 - 1):
                force(monkeypatch, ticket << 40 | lower)
                assert NOISE.draw_weights(KEYS[0], weights) == i


@pytest.mark.parametrize("weight", [1, 3, 2**12 + 1, WEIGHT_SUM])
def test_acceptance_compares_products(monkeypatch: pytest.MonkeyPatch, weight: int) -> None:
    """u q < p, strictly: nothing at p = 0, everything at p >= q, and the edge itself is a rejection."""
    q = weight / WEIGHT_SUM
    force(monkeypatch, 0)
    assert not NOISE.accepts(KEYS[0], 0.0, weight)
    assert NOISE.accepts(KEYS[0], 5e-324, weight)
    force(monkeypatch, 2**64 - 1)
    assert NOISE.accepts(KEYS[0], q, weight) and NOISE.accepts(KEYS[0], 1.0, weight)
    force(monkeypatch, 2**63)  # u = 1/2
    assert not NOISE.accepts(KEYS[0], q / 2, weight)
    assert NOISE.accepts(KEYS[0], float(np.nextafter(q / 2, 1.0)), weight)


@pytest.mark.parametrize("word", [0, 2**64 - 1])
def test_what_has_no_mass_is_never_drawn(monkeypatch: pytest.MonkeyPatch, word: int) -> None:
    """Not even where u rounds to 1, or every quotient overflows."""

    def logs(start: int, count: int, ids: NDArray[np.int64] | None) -> NDArray[np.float64]:
        return np.full(count, log(((word >> 11) + 0.5) * 2.0**-53))

    monkeypatch.setattr("draftwire.nodes.speculation.noise._log_uniforms", logs)
    for masses in ([0.0, 0.5, 0.5], [0.0, 5e-324, 0.0], [0.0, 0.0, 1.0]):
        assert masses[NOISE.draw_masses(KEYS[0], np.array(masses))] > 0


def test_masses_are_drawn_in_proportion() -> None:
    """20000 positions, masses that do not sum to 1, one of them 0: chi-square above 0.001."""
    masses = np.array([0.3, 0.0, 1.2, 0.05, 2.0, 0.45])
    drawn = [NOISE.draw_masses(Key(11, 0, i, Purpose.TARGET), masses) for i in range(20000)]
    counts = np.bincount(drawn, minlength=len(masses))
    assert counts[1] == 0
    held = masses > 0
    expected = masses[held] / masses.sum() * len(drawn)
    assert chisquare(counts[held], expected).pvalue > 0.001


def test_masses_are_drawn_in_proportion_over_seeds() -> None:
    """20000 seeds at one position, 40 ids among 49152: chi-square above 0.001."""
    rng = np.random.default_rng(3)
    ids = np.sort(rng.choice(49152, 40, replace=False))
    masses = rng.dirichlet(np.full(40, 2.0))
    drawn = [NOISE.draw_masses(Key(seed, 0, 17, Purpose.TARGET), masses, ids) for seed in range(20000)]
    counts = np.bincount(drawn, minlength=len(ids))
    assert chisquare(counts, masses * len(drawn)).pvalue > 0.001


def test_every_id_has_a_uniform_number_of_its_own() -> None:
    """Of one key: V numbers are uniform, and no neighbour, at any of some distances, follows another."""
    for position in range(3):
        word = philox(Key(9, 0, position, Purpose.TARGET), 1)[0]
        u = np.exp(_log_uniforms(word, 49152, None))
        assert kstest(u, "uniform").pvalue > 0.001
        octave = (u * 8).astype(int)
        for lag in (1, 2, 3, 64, 4096):
            pairs = np.bincount(octave[:-lag] * 8 + octave[lag:], minlength=64).reshape(8, 8)
            assert chi2_contingency(pairs).pvalue > 0.0005, (position, lag)


def test_numbers_of_two_ids_and_of_two_positions_are_independent() -> None:
    """8000 seeds: what one id has tells nothing of another's, nor of its own at the next position."""
    ids = np.array([0, 1, 2, 48000])

    def numbers(seed: int, position: int) -> NDArray[np.float64]:
        return np.exp(_log_uniforms(philox(Key(seed, 0, position, Purpose.TARGET), 1)[0], 4, ids))

    here, there = (np.array([numbers(seed, at) for seed in range(8000)]) for at in (5, 6))
    columns = [*here.T, there[:, 0]]
    for i, j in combinations(range(len(columns)), 2):
        cells = Counter(zip((columns[i] * 4).astype(int), (columns[j] * 4).astype(int), strict=True))
        table = np.array([[cells[a, b] for a in range(4)] for b in range(4)])
        assert chi2_contingency(table).pvalue > 0.0005, (i, j)


def test_weights_are_drawn_in_proportion_over_epochs() -> None:
    """20000 epochs of one position: chi-square above 0.001."""
    weights = np.array([2**21, 2**22, 2**20, WEIGHT_SUM - 7 * 2**20])
    drawn = [NOISE.draw_weights(Key(11, i, 9, Purpose.DRAFT), weights) for i in range(20000)]
    counts = np.bincount(drawn, minlength=len(weights))
    assert chisquare(counts, weights / WEIGHT_SUM * len(drawn)).pvalue > 0.001


@pytest.mark.parametrize(("p", "q"), [(0.1, 0.4), (0.3, 0.35), (0.001, 0.5)])
def test_acceptance_has_its_rate_over_seeds(p: float, q: float) -> None:
    """20000 seeds: min(1, p / q), within four standard deviations."""
    weight = round(q * WEIGHT_SUM)
    n, rate = 20000, min(1.0, p / q)
    accepted = sum(NOISE.accepts(Key(seed, 1, 1, Purpose.ACCEPT), p, weight) for seed in range(n))
    assert abs(accepted - n * rate) < 4 * (n * rate * (1 - rate)) ** 0.5


def test_threads_do_not_meet_each_others_numbers() -> None:
    """Draws made in four threads at once are those of their keys: a BS draws in its loop and its worker."""
    keys = [Key(seed, 1, position, Purpose.TARGET) for seed in range(4) for position in range(300)]
    masses = np.linspace(1.0, 2.0, 50)
    alone = [NOISE.draw_masses(key, masses) for key in keys]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda key: NOISE.draw_masses(key, masses), keys))
    assert together == alone
